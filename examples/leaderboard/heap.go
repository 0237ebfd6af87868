package main

import (
	"hash/fnv"
	"math"
)

// An entry is an item with its count.
type entry struct {
	ID    string `json:"id"`
	Count uint64 `json:"count"`
}

// before orders a board: the more frequent first, and by name where counts are equal,
// so that every machine makes the same list.
func before(a, b entry) bool {
	return a.Count > b.Count || a.Count == b.Count && a.ID < b.ID
}

// byRank is before for sorting.
func byRank(a, b entry) int {
	switch {
	case before(a, b):
		return -1
	case before(b, a):
		return 1
	}
	return 0
}

// A heap is a binary tree in a slice: the children of i are 2i+1 and 2i+2, and no
// child goes in front of its parent. So the root is the first by its order, and a
// change costs a walk between root and leaf, log₂ of the size.
//
// With the order "the lesser first" it is a min-heap: its root is the weakest of the
// best, the one that a newcomer has to beat. With "the greater first" it is a
// max-heap.
type heap struct {
	first    func(a, b entry) bool
	entries  []entry
	place    map[string]int // of each item in entries
	compared int            // how often two entries were compared
}

func newHeap(first func(a, b entry) bool) *heap {
	return &heap{first: first, place: map[string]int{}}
}

// lesser is the order of a min-heap, greater that of a max-heap.
func lesser(a, b entry) bool  { return before(b, a) }
func greater(a, b entry) bool { return before(a, b) }

func (h *heap) less(i, j int) bool {
	h.compared++
	return h.first(h.entries[i], h.entries[j])
}

func (h *heap) swap(i, j int) {
	h.entries[i], h.entries[j] = h.entries[j], h.entries[i]
	h.place[h.entries[i].ID], h.place[h.entries[j].ID] = i, j
}

func (h *heap) up(i int) {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h *heap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.entries) {
			return
		}
		if child+1 < len(h.entries) && h.less(child+1, child) {
			child++
		}
		if !h.less(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h *heap) push(e entry) {
	h.entries = append(h.entries, e)
	i := len(h.entries) - 1
	h.place[e.ID] = i
	h.up(i)
}

// set gives the entry at i another count, or another item its place.
func (h *heap) set(i int, e entry) {
	delete(h.place, h.entries[i].ID)
	h.entries[i] = e
	h.place[e.ID] = i
	h.down(i)
	h.up(h.place[e.ID])
}

// pop takes the root away.
func (h *heap) pop() entry {
	e, last := h.entries[0], len(h.entries)-1
	h.swap(0, last)
	h.entries = h.entries[:last]
	delete(h.place, e.ID)
	h.down(0)
	return e
}

// offer lets an item with its new count compete for one of the k places of a
// min-heap. Most items do not get in, and cost one comparison.
func (h *heap) offer(e entry, k int) {
	if i, ok := h.place[e.ID]; ok {
		h.set(i, e)
		return
	}
	if len(h.entries) < k {
		h.push(e)
		return
	}
	h.compared++
	if h.first(h.entries[0], e) { // the root is beaten
		h.set(0, e)
	}
}

// offerMax does the same in a max-heap. Its root is the best, which nobody asks for:
// the weakest is one of the leaves, half of all entries, and they must all be looked at.
func (h *heap) offerMax(e entry, k int) {
	if i, ok := h.place[e.ID]; ok {
		h.set(i, e)
		return
	}
	if len(h.entries) < k {
		h.push(e)
		return
	}
	weakest := len(h.entries) / 2
	for i := weakest + 1; i < len(h.entries); i++ {
		if h.less(weakest, i) {
			weakest = i
		}
	}
	h.compared++
	if h.first(e, h.entries[weakest]) {
		h.set(weakest, e)
	}
}

// A textbook is the classic fast path: a count-min sketch, which can tell the count
// of any item but lists none, and a min-heap of the k best so far.
type textbook struct {
	sketch counter
	heap   *heap
	k      int
}

// A counter is a count-min sketch, as far as a textbook needs one.
type counter interface {
	AddString(item string, n uint32) uint64
	CountString(item string) uint64
}

func newTextbook(c counter, k int) *textbook {
	return &textbook{c, newHeap(lesser), k}
}

func (t *textbook) add(id string, n uint32) {
	t.heap.offer(entry{id, t.sketch.AddString(id, n)}, t.k)
}

// A plain is a count-min sketch as it was first published (Cormode and Muthukrishnan,
// 2005): an item has a counter in each row, an addition raises all of them, and the
// count is the least. cms.Sketch raises only those that would else be below the new
// count, which leaves much less to errors.
type plain struct {
	rows [][]uint32
}

func newPlain(width, depth int) *plain {
	p := &plain{make([][]uint32, depth)}
	for i := range p.rows {
		p.rows[i] = make([]uint32, width)
	}
	return p
}

// each calls f with the item's counter in each row. The rows need hashes that know
// nothing of each other; they are made of the two halves of one.
func (p *plain) each(item string, f func(*uint32)) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(item)) // never an error
	x := h.Sum64()
	x ^= x >> 33 // FNV mixes its upper bits badly
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	a, b := uint32(x), uint32(x>>32)|1
	for i, row := range p.rows {
		f(&row[(a+uint32(i)*b)%uint32(len(row))])
	}
}

// AddString implements counter.
func (p *plain) AddString(item string, n uint32) uint64 {
	p.each(item, func(c *uint32) { *c += n })
	return p.CountString(item)
}

// CountString implements counter.
func (p *plain) CountString(item string) uint64 {
	least := uint32(math.MaxUint32)
	p.each(item, func(c *uint32) { least = min(least, *c) })
	return uint64(least)
}
