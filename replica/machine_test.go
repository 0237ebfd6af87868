package replica

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"sync"
)

// journal is a machine that remembers every command. Its answer is the number
// of commands before.
type journal struct {
	mu      sync.Mutex
	entries []string
	sum     uint64
	flip    bool // corrupts the digest, to be found by an audit
}

func (j *journal) Apply(batch []Command, answers []any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, c := range batch {
		answers[i] = len(j.entries)
		j.add(string(c.Data))
	}
}

func (j *journal) add(s string) {
	h := fnv.New64a()
	fmt.Fprint(h, j.sum, s)
	j.sum = h.Sum64()
	j.entries = append(j.entries, s)
}

func (j *journal) Digest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.flip {
		return j.sum ^ 1
	}
	return j.sum | 1<<63
}

func (j *journal) Snapshot() (Snapshot, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return journalSnapshot(j.entries[:len(j.entries):len(j.entries)]), nil
}

func (j *journal) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries, j.sum = nil, 0
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return fmt.Errorf("journal: %w", ErrCorrupt)
		}
		j.add(string(b[k : k+int(n)]))
		b = b[k+int(n):]
	}
	return nil
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.entries...)
}

type journalSnapshot []string

func (s journalSnapshot) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	for _, e := range s {
		b.Write(binary.AppendUvarint(nil, uint64(len(e))))
		b.WriteString(e)
	}
	return b.WriteTo(w)
}

func (journalSnapshot) Release() {}
