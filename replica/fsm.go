package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// Kinds of log entry. Part of the log format: never renumber.
const (
	entryBatch = 1 // uvarint count, then count × (uvarint length, bytes)
	entryAudit = 2 // u64 index, u64 digest: the leader's digest after index
)

// Snapshot stream: 4 bytes magic, then index u64 and digest u64 of the state,
// both little-endian, then the machine's own bytes. The engine's snapshot
// store keeps a checksum over all of it.
const snapshotMagic = "ASR\x01"

// fsm shows a Machine to the engine. All methods but wait run on the engine's
// one state machine goroutine.
type fsm struct {
	machine Machine
	durable func(index uint64) error // waits until the local log is flushed up to index
	fail    func(error)

	mu      sync.Mutex
	applied uint64        // highest index whose effects are in the machine
	moved   chan struct{} // closed and replaced when applied moves

	broken   error         // entries were left out: the state must not be used further
	audits   [8]auditPoint // the digests after the last audit entries
	commands uint64        // commands applied since the last audit entry

	// scratch, kept between batches
	cmds []Command
	ends []int
}

type auditPoint struct{ index, digest uint64 }

func newFSM(m Machine, durable func(uint64) error, fail func(error)) *fsm {
	return &fsm{machine: m, durable: durable, fail: fail, moved: make(chan struct{})}
}

func (f *fsm) setApplied(index uint64) {
	f.mu.Lock()
	if index > f.applied {
		f.applied = index
		close(f.moved)
		f.moved = make(chan struct{})
	}
	f.mu.Unlock()
}

func (f *fsm) appliedIndex() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

// wait returns when everything up to index has been applied.
func (f *fsm) wait(ctx context.Context, index uint64, closed <-chan struct{}) error {
	for {
		f.mu.Lock()
		applied, moved := f.applied, f.moved
		f.mu.Unlock()
		if applied >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-closed:
			return ErrClosed
		}
	}
}

// Apply implements raft.FSM; the engine uses ApplyBatch.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies committed entries. The answer to an entry is the []any of
// its commands' answers, or an error.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	last := logs[len(logs)-1].Index
	out := make([]any, len(logs))
	if f.broken == nil {
		// On an error the node is stopping: its machine must not run ahead of
		// its disk.
		f.broken = f.durable(last)
	}
	if f.broken != nil {
		for i := range out {
			out[i] = f.broken
		}
		return out
	}
	f.cmds, f.ends = f.cmds[:0], f.ends[:0]
	start := 0 // first log whose commands are in f.cmds
	flush := func(end int) {
		if len(f.cmds) > 0 {
			answers := make([]any, len(f.cmds))
			f.machine.Apply(f.cmds, answers)
			for i, a := range answers {
				if h, ok := a.(Halt); ok && f.broken == nil {
					f.broken = fmt.Errorf("replica: log entry %d: %w", f.cmds[i].Index, h.Err)
				}
			}
			f.commands += uint64(len(f.cmds))
			from := 0
			for i, e := range f.ends {
				if e > from {
					out[start+i] = answers[from:e:e]
					from = e
				}
			}
		}
		clear(f.cmds)
		f.cmds, f.ends, start = f.cmds[:0], f.ends[:0], end
	}
	for i, l := range logs {
		if l.Type == raft.LogCommand && len(l.Data) > 0 && l.Data[0] == entryAudit {
			flush(i)
			f.audit(l)
		} else if l.Type == raft.LogCommand {
			var err error
			if f.cmds, err = appendCommands(f.cmds, l); err != nil {
				// The bytes were checksummed on the way: another version wrote them.
				f.broken = err
				f.fail(err)
				for i := range out {
					out[i] = err
				}
				return out
			}
		}
		f.ends = append(f.ends, len(f.cmds))
	}
	flush(len(logs))
	if f.broken != nil {
		f.fail(f.broken)
		for i := range out {
			out[i] = f.broken
		}
		return out
	}
	f.setApplied(last)
	return out
}

// audit notes the own digest at l and compares an older one with the leader's.
func (f *fsm) audit(l *raft.Log) {
	digest := f.machine.Digest()
	if len(l.Data) == 17 && digest != 0 {
		index, want := binary.LittleEndian.Uint64(l.Data[1:]), binary.LittleEndian.Uint64(l.Data[9:])
		for _, p := range f.audits {
			if p.index == index && index != 0 && p.digest != want {
				f.fail(fmt.Errorf("%w: at log index %d: digest %016x, leader %016x", ErrDiverged, index, p.digest, want))
			}
		}
	}
	copy(f.audits[1:], f.audits[:])
	f.mu.Lock()
	f.audits[0] = auditPoint{l.Index, digest}
	f.mu.Unlock()
	f.commands = 0
}

// lastAudit returns the newest audit point.
func (f *fsm) lastAudit() auditPoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.audits[0]
}

func appendAudit(p auditPoint) []byte {
	b := make([]byte, 17)
	b[0] = entryAudit
	binary.LittleEndian.PutUint64(b[1:], p.index)
	binary.LittleEndian.PutUint64(b[9:], p.digest)
	return b
}

// appendCommands decodes an entry's commands.
func appendCommands(dst []Command, l *raft.Log) ([]Command, error) {
	b := l.Data
	bad := func(why string) ([]Command, error) {
		return dst, fmt.Errorf("%w: log entry %d: %s", ErrCorrupt, l.Index, why)
	}
	if len(b) == 0 || b[0] != entryBatch {
		return bad("unknown kind")
	}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)) {
		return bad("bad count")
	}
	b = b[1+k:]
	for range n {
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			return bad("command beyond the end")
		}
		b = b[k:]
		dst = append(dst, Command{Index: l.Index, Term: l.Term, Data: b[:size:size]})
		b = b[size:]
	}
	if len(b) != 0 {
		return bad("bytes behind the last command")
	}
	return dst, nil
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.broken != nil {
		// The engine believes that everything was applied.
		return nil, f.broken
	}
	s, err := f.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	var head [20]byte
	copy(head[:], snapshotMagic)
	binary.LittleEndian.PutUint64(head[4:], f.appliedIndex())
	binary.LittleEndian.PutUint64(head[12:], f.machine.Digest())
	return &fsmSnapshot{head: head, s: s}, nil
}

type fsmSnapshot struct {
	head [20]byte
	s    Snapshot
}

func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	w := bufio.NewWriterSize(sink, 1<<16)
	_, err := w.Write(s.head[:])
	if err == nil {
		_, err = s.s.WriteTo(w)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (s *fsmSnapshot) Release() { s.s.Release() }

// Restore implements raft.FSM.
func (f *fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	index, err := f.restore(bufio.NewReaderSize(rc, 1<<16))
	if err != nil {
		f.broken = err
		f.fail(err)
		return err
	}
	f.broken = nil
	f.mu.Lock()
	f.audits = [8]auditPoint{}
	f.applied = index // may go back: the engine then replays the log behind it
	close(f.moved)
	f.moved = make(chan struct{})
	f.mu.Unlock()
	return nil
}

// restore returns the index up to which the restored state reflects the log.
func (f *fsm) restore(r io.Reader) (index uint64, err error) {
	var head [20]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:4]) != snapshotMagic {
		return 0, fmt.Errorf("%w: not a snapshot of this package, or of a newer version", ErrCorrupt)
	}
	if err := f.machine.Restore(r); err != nil {
		return 0, fmt.Errorf("replica: restore: %w", err)
	}
	index, want := binary.LittleEndian.Uint64(head[4:]), binary.LittleEndian.Uint64(head[12:])
	if got := f.machine.Digest(); got != want {
		return 0, fmt.Errorf("%w: snapshot at log index %d restores to digest %016x, was %016x", ErrDiverged, index, got, want)
	}
	return index, nil
}
