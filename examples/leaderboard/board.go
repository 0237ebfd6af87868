package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/cms"
)

// Sizes of what a consumer keeps for its partition. candidates are more than the
// board shows, because boards are merged: see merge.go.
const (
	sketchWidth = 1024 // counters in a row: off by at most e/1024 = 0.27 % of all
	sketchDepth = 4    // rows: in 98 of 100 cases
	candidates  = 100
	topBytes    = 8 << 10
	minuteItems = 50
	minuteBytes = 8 << 10
)

// A shard is all that the consumer of a partition knows: the counts since ever, by
// sketch and heap and by cms.TopK, and those of each minute.
type shard struct {
	next    int64 // offset of the first play that is not counted
	all     *textbook
	sketch  *cms.Sketch // that of all
	top     *cms.TopK[string]
	minutes *minuteBoards
}

func newShard() (*shard, error) {
	s := &shard{}
	var err error
	if s.sketch, err = cms.NewSize(sketchWidth, sketchDepth); err != nil {
		return nil, err
	}
	if s.top, err = cms.NewTopK[string](candidates, topBytes); err != nil {
		return nil, err
	}
	if s.minutes, err = newMinuteBoards(); err != nil {
		return nil, err
	}
	s.all = newTextbook(s.sketch, candidates)
	return s, nil
}

func (s *shard) add(p play) error {
	s.all.add(p.ID, p.Count)
	s.top.Add(p.ID, p.Count)
	return s.minutes.add(p)
}

// total is how many plays are counted.
func (s *shard) total() uint64 { return s.sketch.Total() }

// encode writes all of the shard. The same plays in the same batches make the same
// bytes, whenever the process was killed.
func (s *shard) encode() ([]byte, error) {
	b := binary.LittleEndian.AppendUint64(nil, uint64(s.next))
	part := func(x []byte, err error) error {
		b = binary.AppendUvarint(b, uint64(len(x)))
		b = append(b, x...)
		return err
	}
	if err := part(s.sketch.MarshalBinary()); err != nil {
		return nil, err
	}
	if err := part(s.top.MarshalBinary()); err != nil {
		return nil, err
	}
	// The heap as it lies: the same tree after a restart.
	b = binary.AppendUvarint(b, uint64(len(s.all.heap.entries)))
	for _, e := range s.all.heap.entries {
		_ = part([]byte(e.ID), nil)
		b = binary.AppendUvarint(b, e.Count)
	}
	m := s.minutes
	b = binary.AppendVarint(b, int64(m.latest()))
	b = binary.AppendUvarint(b, m.late)
	b = binary.AppendUvarint(b, m.again)
	starts := m.starts()
	b = binary.AppendUvarint(b, uint64(len(starts)))
	for _, start := range starts {
		b = binary.AppendVarint(b, start)
		if err := part(m.boards[start].MarshalBinary()); err != nil {
			return nil, err
		}
	}
	return b, nil
}

var errState = errors.New("not the state of a shard")

// decodeShard undoes encode. No bytes mean that nothing was counted yet.
func decodeShard(b []byte) (*shard, error) {
	s, err := newShard()
	if err != nil || len(b) == 0 {
		return s, err
	}
	r := reader{b: b}
	s.next = int64(binary.LittleEndian.Uint64(r.take(8)))
	if err := s.sketch.UnmarshalBinary(r.sized()); err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	if err := s.top.UnmarshalBinary(r.sized()); err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	for range r.count() {
		e := entry{ID: string(r.sized()), Count: r.uvarint()}
		s.all.heap.place[e.ID] = len(s.all.heap.entries)
		s.all.heap.entries = append(s.all.heap.entries, e)
	}
	m := s.minutes
	m.restore(r.varint())
	m.late, m.again = r.uvarint(), r.uvarint()
	for range r.count() {
		start := r.varint()
		var t cms.TopK[string]
		if err := t.UnmarshalBinary(r.sized()); err != nil {
			return nil, fmt.Errorf("%w: %w", errState, err)
		}
		m.boards[start] = &t
	}
	if r.bad || len(r.b) > 0 {
		return nil, errState
	}
	return s, nil
}

// A reader takes values off the front of bytes. After the first that does not fit all
// are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return make([]byte, min(n, 8))
	}
	x := r.b[:n]
	r.b = r.b[n:]
	return x
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) sized() []byte { return r.take(r.uvarint()) }

// count reads how many values follow, each of a byte at least.
func (r *reader) count() uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return n
}

// ranked returns entries as a board shows them: the first k.
func ranked(entries []entry, k int) []entry {
	list := slices.SortedFunc(slices.Values(entries), byRank)
	return list[:min(k, len(list))]
}

// listed returns the first k of a cms.TopK.
func listed(t *cms.TopK[string], k int) []entry {
	list := make([]entry, 0, k)
	for _, i := range t.List() {
		list = append(list, entry{i.Key, i.Count})
	}
	return ranked(list, k)
}

// exactly returns the first k of all counts.
func exactly(counts map[string]uint64, k int) []entry {
	h := newHeap(lesser)
	for id, n := range counts {
		h.offer(entry{id, n}, k)
	}
	return ranked(h.entries, k)
}

// overlap counts the items that two boards have in common.
func overlap(a, b []entry) (n int) {
	for _, e := range a {
		if slices.ContainsFunc(b, func(o entry) bool { return o.ID == e.ID }) {
			n++
		}
	}
	return n
}

// off returns by how much the counts of a board differ from the exact ones: on
// average and at most, as a share of the exact count.
func off(list []entry, exact map[string]uint64) (mean, most float64) {
	for _, e := range list {
		x := float64(exact[e.ID])
		d := (float64(e.Count) - x) / x
		if d < 0 {
			d = -d
		}
		mean += d / float64(len(list))
		most = max(most, d)
	}
	return mean, most
}

// minute returns the start of the minute in which a time lies, in milliseconds.
func minute(t time.Time) int64 { return t.Truncate(time.Minute).UnixMilli() }
