package trie

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// A Hit is a term that was found, by its place in one image. What it is called and
// weighs is for that image to say.
type Hit uint32

// AppendTerm appends the text of a hit's term.
func (m *Image) AppendTerm(dst []byte, h Hit) []byte { return m.appendTerm(dst, int(h)) }

// Term returns the text of a hit's term. It costs about 0.1 µs, and an allocation.
func (m *Image) Term(h Hit) string {
	var buf [64]byte
	return string(m.appendTerm(buf[:0], int(h)))
}

// Weight returns the weight of a hit's term.
func (m *Image) Weight(h Hit) uint64 { return m.weight(int(h)) }

// A Cursor is a prefix that grows and shrinks, as somebody types. Each step, each step
// back, and the best terms for where it is take a tenth of a microsecond or so and
// allocate nothing. A Cursor stays with its image, also when an [Index] has a newer
// one. It is not safe for concurrent use, and may be copied. Use [Image.Cursor].
type Cursor struct {
	m     *Image
	at    place
	depth int // bytes that match
	wrong int // bytes behind them that match no term
	back  [backSteps]place
}

// A place is a range of terms with a common prefix; if it is that of a node, or of a
// prefix in the middle of a node's, node is its number, and otherwise negative: -1, or
// less where it is known where the text of the first is.
type place struct{ node, lo, hi int32 }

const backSteps = 32

// Cursor returns a cursor at the empty prefix.
func (m *Image) Cursor() Cursor { return Cursor{m: m, at: m.root()} }

func (m *Image) root() place {
	if m.nodes > 0 {
		return place{0, 0, int32(m.n)}
	}
	return place{-1, 0, int32(m.n)}
}

// Len returns how many terms have the prefix.
func (c *Cursor) Len() int {
	if c.wrong > 0 {
		return 0
	}
	return int(c.at.hi - c.at.lo)
}

// Depth returns the length of the prefix in bytes.
func (c *Cursor) Depth() int { return c.depth + c.wrong }

// Step adds a byte to the prefix and tells whether there are terms with it.
func (c *Cursor) Step(b byte) bool {
	if c.wrong == 0 {
		if next, ok := c.m.step(c.at, c.depth, b); ok {
			c.back[c.depth%backSteps] = c.at
			c.at = next
			c.depth++
			return true
		}
	}
	c.wrong++
	return false
}

// StepString adds a string to the prefix and tells whether there are terms with it.
func (c *Cursor) StepString(s string) bool {
	for i := range len(s) {
		if !c.Step(s[i]) {
			c.wrong += len(s) - i - 1
			return false
		}
	}
	return c.wrong == 0
}

// Back takes the last byte off the prefix, if there is one. After more than 32 steps
// back in a row it begins anew from the top.
func (c *Cursor) Back() {
	switch {
	case c.wrong > 0:
		c.wrong--
	case c.depth == 0:
	default:
		c.depth--
		c.at = c.back[c.depth%backSteps]
		if c.depth%backSteps == 0 && c.depth > 0 {
			c.refill()
		}
	}
}

// refill finds again the places that later steps have overwritten.
func (c *Cursor) refill() {
	text := c.m.appendTerm(nil, int(c.at.lo))
	at := c.m.root()
	for i := range min(c.depth, len(text)) {
		c.back[i%backSteps] = at
		at, _ = c.m.step(at, i, text[i])
	}
}

// Reset goes back to the empty prefix.
func (c *Cursor) Reset() { c.at, c.depth, c.wrong = c.m.root(), 0, 0 }

// Top appends up to K of the best terms with the prefix, the best first, where K is
// the image's. Terms of equal weight are in the order of their bytes.
func (c *Cursor) Top(dst []Hit) []Hit {
	if c.wrong > 0 {
		return dst
	}
	return c.m.top(dst, c.at, c.m.k)
}

// top appends up to k ≤ m.k of the best of a place.
func (m *Image) top(dst []Hit, at place, k int) []Hit {
	size := int(at.hi - at.lo)
	switch {
	case at.node >= 0:
		return m.list(dst, int(at.node), min(k, size))
	case size <= few && size <= k:
		return m.fewRanked(dst, at, size)
	default:
		var room [256]uint64
		return m.ranked(dst, room[:min(size, len(room))], at, k)
	}
}

// few terms are ranked by comparing each with each, which needs no branch that a
// processor would guess wrongly every other time.
const few = 16

// fewRanked appends n terms from a place on by their ranks: each comes behind as many as
// have a lower one.
func (m *Image) fewRanked(dst []Hit, at place, n int) []Hit {
	p, b := m.section[secRanks], uint64(m.bits)
	bit := uint64(at.lo) * b
	if n <= 0 || (bit+uint64(n-1)*b)/8+8 > uint64(len(p)) {
		return dst
	}
	var ranks, lower [few]uint64
	mask := uint64(1)<<b - 1
	for i := range n {
		r := binary.LittleEndian.Uint64(p[bit/8:]) >> (bit % 8) & mask
		bit += b
		before := uint64(0)
		for j, x := range ranks[:i&(few-1)] {
			less := (x - r) >> 63 // 1 if x < r
			before += less
			lower[j] += 1 - less
		}
		ranks[i&(few-1)], lower[i&(few-1)] = r, before
	}
	begin := len(dst)
	dst = slices.Grow(dst, n)[:begin+n]
	for i, place := range lower[:n] {
		dst[begin+int(place)] = Hit(at.lo) + Hit(i)
	}
	return dst
}

// list appends the first n of a node's list.
func (m *Image) list(dst []Hit, node, n int) []Hit {
	p, b := m.section[secLists], uint64(m.bits)
	at := uint64(node) * uint64(m.k) * b // in bits
	if n <= 0 || (at+uint64(n-1)*b)/8+8 > uint64(len(p)) {
		return dst
	}
	begin := len(dst)
	dst = slices.Grow(dst, n)[:begin+n]
	mask := uint64(1)<<b - 1
	for i := range dst[begin:] {
		dst[begin+i] = Hit(binary.LittleEndian.Uint64(p[at/8:]) >> (at % 8) & mask)
		at += b
	}
	return dst
}

// ranked appends the best of len(keys) terms from a place on, sorted by insertion.
func (m *Image) ranked(dst []Hit, keys []uint64, at place, k int) []Hit {
	p, b := m.section[secRanks], uint64(m.bits)
	bit := uint64(at.lo) * b
	if len(keys) == 0 || (bit+uint64(len(keys)-1)*b)/8+8 > uint64(len(p)) {
		return dst
	}
	mask := uint64(1)<<b - 1
	for n := range keys {
		key := binary.LittleEndian.Uint64(p[bit/8:])>>(bit%8)&mask<<32 | uint64(uint32(at.lo)+uint32(n))
		bit += b
		i := n
		for ; i > 0 && keys[i-1] > key; i-- {
			keys[i] = keys[i-1]
		}
		keys[i] = key
	}
	for _, key := range keys[:min(k, len(keys))] {
		dst = append(dst, Hit(uint32(key)))
	}
	return dst
}

// step returns the place of the prefix of length depth at a place and one more byte.
func (m *Image) step(at place, depth int, b byte) (place, bool) {
	if at.node < 0 {
		return m.narrow(at, depth, b)
	}
	n := m.node(int(at.node))
	if depth < n.depth { // in the middle of what all its terms begin with
		if c, ok := m.byteAt(n.lo, depth); !ok || c != b {
			return place{}, false
		}
		return at, true
	}
	i := bytes.IndexByte(n.labelBytes, b)
	if i < 0 {
		return place{}, false
	}
	sizes := m.section[secSizes][n.child:][:n.children]
	before := bytes.Count(sizes[:i], []byte{0}) // children before it that are nodes
	if sizes[i] == 0 {
		next := n.first + before
		lo, hi := m.bounds(next)
		return place{int32(next), int32(lo), int32(hi)}, hi > lo
	}
	lo, from := n.lo, 0
	if n.terminal {
		lo++
	}
	if before > 0 {
		from = bytes.LastIndexByte(sizes[:i], 0) + 1
		_, lo = m.bounds(n.first + before - 1)
	}
	for _, s := range sizes[from:i] {
		lo += int(s)
	}
	hi := lo + int(sizes[i])
	return place{-1, int32(lo), int32(hi)}, lo >= 0 && hi <= m.n
}

// narrow returns the part of a place without a node whose terms go on with b after
// depth bytes. It reads how much each term shares with the one before: the byte at
// depth can only change where that is not more than depth. The first term of a place
// shares less than that with the one before, which has another prefix: so its own text
// has the byte, and where that is known nothing before it is read.
func (m *Image) narrow(at place, depth int, b byte) (place, bool) {
	lo, hi := int(at.lo), int(at.hi)
	text := m.section[secText]
	pos, next := lo, at.text()
	if next < 0 || lo%perBlock == 0 {
		pos = lo &^ (perBlock - 1)
	}
	out, found := place{node: -1}, false
	c := -1
	for ; pos < hi; pos++ {
		if pos%perBlock == 0 {
			next, c = m.blockAt(pos/perBlock), -1
		}
		if uint(next) >= uint(len(text)) {
			return place{}, false
		}
		begin := next
		shared, follow := int(text[next]&15), int(text[next]>>4)
		if next++; shared == 15 || follow == 15 {
			shared, follow, next = long(text, next, shared, follow)
		}
		if i := depth - shared; i >= 0 {
			if c = -1; i < follow && next+i < len(text) {
				c = int(text[next+i])
			}
		}
		next += follow
		if pos < lo {
			continue
		}
		if c == int(b) {
			if !found {
				out, found = placeAt(pos, begin), true
			}
			out.hi = int32(pos + 1)
		} else if found || c > int(b) {
			break
		}
	}
	return out, found
}

// placeAt returns the place from a term on whose text is known to be at next.
func placeAt(pos, next int) place {
	if next > math.MaxInt32-2 {
		return place{node: -1, lo: int32(pos)}
	}
	return place{node: int32(-2 - next), lo: int32(pos)}
}

// text returns where the text of a place's first term is, negative if that is not known.
func (at place) text() int { return -2 - int(at.node) }

// byteAt returns a byte of a term.
func (m *Image) byteAt(pos, depth int) (b byte, ok bool) {
	text, c := m.section[secText], -1
	next := m.blockAt(pos / perBlock)
	for range pos%perBlock + 1 {
		if uint(next) >= uint(len(text)) {
			return 0, false
		}
		shared, follow := int(text[next]&15), int(text[next]>>4)
		if next++; shared == 15 || follow == 15 {
			shared, follow, next = long(text, next, shared, follow)
		}
		if i := depth - shared; i >= 0 {
			if c = -1; i < follow && next+i < len(text) {
				c = int(text[next+i])
			}
		}
		next += follow
	}
	return byte(c), c >= 0
}

// find returns the place of a prefix, and false if no term has it.
func (m *Image) find(prefix string) (at place, ok bool) {
	at = m.root()
	for i := range len(prefix) {
		if at, ok = m.step(at, i, prefix[i]); !ok {
			return at, false
		}
	}
	return at, at.hi > at.lo
}

// A Suggestion is a term with its weight.
type Suggestion struct {
	Term   string
	Weight uint64
	// Edits is how many edits Fuzzy found the term away; 0 for Complete.
	Edits int
}

// Complete appends up to k of the best terms that begin with the prefix, the best
// first. Up to K they are cached; for more it searches, in time that grows with k and
// not with how many terms there are.
func (m *Image) Complete(dst []Suggestion, prefix string, k int) []Suggestion {
	at, ok := m.find(prefix)
	if !ok {
		return dst
	}
	var buf [32]Hit
	for _, h := range m.best(buf[:0], []place{at}, k) {
		dst = append(dst, Suggestion{m.Term(h), m.Weight(h), 0})
	}
	return dst
}

// Lookup returns the weight of a term, and whether it is there.
func (m *Image) Lookup(term string) (weight uint64, ok bool) {
	at, ok := m.find(term)
	// Of those that begin with it, it is the first.
	if !ok || len(m.appendTerm(nil, int(at.lo))) != len(term) {
		return 0, false
	}
	return m.weight(int(at.lo)), true
}

// best appends the k best terms of some places, which do not overlap: it goes from
// each place to the parts with the best terms, never to others.
func (m *Image) best(dst []Hit, places []place, k int) []Hit {
	if len(places) == 1 && k <= m.k {
		return m.top(dst, places[0], max(0, k))
	}
	var h search
	left := m.parts() // of an image that no Builder made, parts may come again and again
	push := func(at place) {
		if left--; at.lo >= at.hi || left < 0 {
			return
		}
		if at.node >= 0 {
			first := packed(m.section[secLists], int(at.node)*m.k, m.bits)
			h.push(candidate{m.rank(first), at})
			return
		}
		for pos := at.lo; pos < at.hi && left >= 0; pos++ {
			left--
			h.push(candidate{m.rank(int(pos)), place{-1, pos, pos + 1}})
		}
	}
	for _, at := range places {
		push(at)
	}
	for found := 0; found < k && len(h) > 0; {
		at := h.pop().at
		if at.node < 0 {
			dst = append(dst, Hit(at.lo))
			found++
			continue
		}
		// Open the node.
		n := m.node(int(at.node))
		lo, next := n.lo, n.first
		if n.terminal {
			push(place{-1, int32(lo), int32(lo + 1)})
			lo++
		}
		for _, size := range m.section[secSizes][n.child:][:n.children] {
			if size > 0 {
				push(place{-1, int32(lo), int32(min(lo+int(size), m.n))})
				lo += int(size)
				continue
			}
			child := m.node(next)
			push(place{int32(next), int32(child.lo), int32(child.hi)})
			lo = child.hi
			next++
		}
	}
	return dst
}

// parts bounds how many places there are, with single terms.
func (m *Image) parts() int { return 2*m.n + 2*len(m.section[secLabels]) + 10 }

// A candidate is a place and the rank of the best term in it.
type candidate struct {
	rank int
	at   place
}

// A search is a heap of candidates, the best first.
type search []candidate

func (h *search) push(c candidate) {
	s := append(*h, c)
	i := len(s) - 1
	for i > 0 && s[(i-1)/2].rank > c.rank {
		s[i] = s[(i-1)/2]
		i = (i - 1) / 2
	}
	s[i] = c
	*h = s
}

func (h *search) pop() candidate {
	s := *h
	top, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	i := 0
	for len(s) > 0 {
		c := 2*i + 1
		if c >= len(s) {
			break
		}
		if c+1 < len(s) && s[c+1].rank < s[c].rank {
			c++
		}
		if s[c].rank >= last.rank {
			break
		}
		s[i] = s[c]
		i = c
	}
	if len(s) > 0 {
		s[i] = last
	}
	*h = s
	return top
}
