package trie

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
	"math"
	"math/bits"
)

// An image, version 1. Integers are little-endian; positions are those of the terms
// in the order of their bytes, ranks those by falling weight.
//
//	offset  size  field
//	0       4     magic "TRI\x00"
//	4       2     version, 1
//	6       2     K, the length of cached lists
//	8       4     terms N
//	12      4     nodes
//	16      1     bits of a position, b
//	17      3     zero
//	20      …     sections: offset (8), length (8), CRC-32C (4) each
//	160     4     CRC-32C of all before
//
// and then the sections:
//
//	0 nodes    20 bytes each, in breadth-first order: lo (4), hi (4), first child (4),
//	           first node among the children (4), depth (2), children (2). The highest
//	           bit of children says that the term at lo is the node's prefix itself.
//	1 labels   of the children of all nodes, one byte each: how their prefixes go on
//	2 sizes    of the children, one byte each: how many terms; 0 for one that is a
//	           node itself, which are numbered on from the first
//	3 lists    for each node the positions of its K best terms, the best first, b bits
//	           each, packed from the lowest bit up; those of a node with fewer are
//	           followed by zeros
//	4 ranks    of each position, b bits each, packed
//	5 weights  for each 64 ranks 8 bytes of offset; then, for each 64, the weights as
//	           uvarints: the first, and how much less each next one is
//	6 text     for each 16 terms 4 bytes of offset; then the terms: how many bytes it
//	           shares with the term before (none at the first of 16) and how many
//	           follow, in the lower and upper half of a byte, where 15 says that a
//	           uvarint of the rest comes behind; then those that follow
//
// Part of the format: never renumber.
const (
	magic    = "TRI\x00"
	version  = 1
	sections = 6 + 1
	headSize = 20 + 20*sections + 4

	secNodes = iota - 4
	secLabels
	secSizes
	secLists
	secRanks
	secWeights
	secText

	nodeSize    = 20
	perBlock    = 16 // terms
	perWeights  = 64 // ranks
	terminalBit = 1 << 15
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// An Image is an immutable set of terms with weights, made by a [Builder] or loaded
// from bytes. It is safe for concurrent use by multiple goroutines.
type Image struct {
	data    []byte
	k       int
	n       int // terms
	nodes   int
	bits    uint
	section [sections][]byte
}

// Load returns the image in b, which must not change as long as the image is used: it
// may be a mapped file. It checks all sums, in about a millisecond for 10 MB, and
// wraps [ErrCorrupt] or [ErrVersion] in its error. Bytes with right sums that no
// Builder made may give wrong answers, never a panic.
func Load(b []byte) (*Image, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < headSize || string(b[:4]) != magic:
		return nil, fmt.Errorf("%w: no image", ErrCorrupt)
	case le.Uint16(b[4:]) != version:
		return nil, fmt.Errorf("%w: %d", ErrVersion, le.Uint16(b[4:]))
	case le.Uint32(b[headSize-4:]) != crc32.Checksum(b[:headSize-4], castagnoli):
		return nil, fmt.Errorf("%w: checksum of the head", ErrCorrupt)
	}
	m := &Image{data: b, k: int(le.Uint16(b[6:])), n: int(le.Uint32(b[8:])), nodes: int(le.Uint32(b[12:])), bits: uint(b[16])}
	end := uint64(headSize)
	for i := range m.section {
		h := b[20+20*i:]
		at, size := le.Uint64(h), le.Uint64(h[8:])
		if at != end || size > uint64(len(b))-at {
			return nil, fmt.Errorf("%w: section %d from %d, %d bytes", ErrCorrupt, i, at, size)
		}
		end = at + size
		m.section[i] = b[at:end:end]
		if crc32.Checksum(m.section[i], castagnoli) != le.Uint32(h[16:]) {
			return nil, fmt.Errorf("%w: checksum of section %d", ErrCorrupt, i)
		}
	}
	if end != uint64(len(b)) || m.nodes == 0 && m.n > 255 || m.k < 1 || m.k > MaxK || m.n < 0 || m.nodes < 0 || m.bits != bitsFor(m.n) ||
		len(m.section[secNodes]) != m.nodes*nodeSize || len(m.section[secLabels]) != len(m.section[secSizes]) ||
		uint64(len(m.section[secRanks])) != packedSize(uint64(m.n), m.bits) ||
		uint64(len(m.section[secLists])) != packedSize(uint64(m.nodes)*uint64(m.k), m.bits) ||
		len(m.section[secText]) < 4*blocks(m.n, perBlock) || len(m.section[secWeights]) < 8*blocks(m.n, perWeights) {
		return nil, fmt.Errorf("%w: sections that do not fit", ErrCorrupt)
	}
	return m, nil
}

// Bytes returns the image's bytes, for a file or the network. They must not be
// changed.
func (m *Image) Bytes() []byte { return m.data }

// Len returns the number of terms.
func (m *Image) Len() int { return m.n }

// K returns the length of the lists that are cached.
func (m *Image) K() int { return m.k }

func blocks(n, per int) int { return (n + per - 1) / per }

// bitsFor returns how many bits a position takes.
func bitsFor(n int) uint { return uint(max(1, bits.Len(uint(max(0, n-1))))) }

// packedSize has room behind the last for reading eight bytes at each. Sizes in bits
// are more than an int holds on small machines.
func packedSize(n uint64, b uint) uint64 {
	if n == 0 {
		return 0
	}
	return (n*uint64(b)+7)/8 + 7
}

// packed returns element i of packed numbers of b bits, up to 32.
func packed(p []byte, i int, b uint) int {
	at := uint64(i) * uint64(b)
	if i < 0 || at/8+8 > uint64(len(p)) {
		return 0
	}
	return int(binary.LittleEndian.Uint64(p[at/8:]) >> (at % 8) & (1<<b - 1))
}

func putPacked(p []byte, i int, b uint, v uint64) {
	at := uint64(i) * uint64(b)
	x := binary.LittleEndian.Uint64(p[at/8:])
	binary.LittleEndian.PutUint64(p[at/8:], x|v<<(at%8))
}

// A node is a prefix with more than K terms.
type node struct {
	lo, hi     int // its terms
	child      int // its first child's place in labels and sizes
	first      int // node: the first of its children that are nodes
	depth      int // length of its prefix
	children   int
	terminal   bool // the term at lo is the prefix
	labelBytes []byte
}

// node returns node i, with bounds that can be relied on. What is above an int on a small
// machine is negative here.
func (m *Image) node(i int) (n node) {
	p := m.section[secNodes]
	if i < 0 || i >= m.nodes {
		return node{}
	}
	p = p[i*nodeSize:][:nodeSize]
	le := binary.LittleEndian
	c := le.Uint16(p[18:])
	n = node{
		lo: int(le.Uint32(p)), hi: int(le.Uint32(p[4:])), child: int(le.Uint32(p[8:])), first: int(le.Uint32(p[12:])),
		depth: int(le.Uint16(p[16:])), children: int(c &^ terminalBit), terminal: c&terminalBit != 0,
	}
	if labels := m.section[secLabels]; n.lo < 0 || n.lo > n.hi || n.hi > m.n || n.child < 0 || n.child > len(labels) || n.children > len(labels)-n.child || n.first <= i && n.first != 0 {
		return node{}
	}
	n.labelBytes = m.section[secLabels][n.child:][:n.children]
	return n
}

// bounds returns the terms of node i, none if they cannot be relied on.
func (m *Image) bounds(i int) (lo, hi int) {
	if i < 0 || i >= m.nodes {
		return 0, 0
	}
	p := m.section[secNodes][i*nodeSize:][:nodeSize]
	lo, hi = int(binary.LittleEndian.Uint32(p)), int(binary.LittleEndian.Uint32(p[4:]))
	if lo < 0 || lo > hi || hi > m.n {
		return 0, 0
	}
	return lo, hi
}

// rank returns the rank of a position.
func (m *Image) rank(pos int) int { return packed(m.section[secRanks], pos, m.bits) }

// Weight returns the weight of a term, by its [Hit]'s position.
func (m *Image) weight(pos int) uint64 {
	r := m.rank(pos)
	p := m.section[secWeights]
	if pos < 0 || pos >= m.n || r >= m.n {
		return 0
	}
	at := binary.LittleEndian.Uint64(p[r/perWeights*8:])
	if at > uint64(len(p)) {
		return 0
	}
	p = p[at:]
	var w uint64
	for i := range r%perWeights + 1 {
		v, n := binary.Uvarint(p)
		if n <= 0 {
			return 0
		}
		if p = p[n:]; i == 0 {
			w = v
		} else {
			w -= min(w, v)
		}
	}
	return w
}

// blockAt returns where a block's terms begin in the text.
func (m *Image) blockAt(i int) int {
	if i < 0 || i >= blocks(m.n, perBlock) {
		return math.MaxInt
	}
	return int(binary.LittleEndian.Uint32(m.section[secText][4*i:]))
}

// long reads the rests of lengths that are 15 or more. After a mistake next is behind
// the text.
func long(text []byte, next, shared, follow int) (s, f, n int) {
	for _, l := range []*int{&shared, &follow} {
		if *l == 15 {
			v, size := binary.Uvarint(text[min(next, len(text)):])
			if size <= 0 || v > MaxTerm {
				return 0, 0, len(text)
			}
			*l, next = *l+int(v), next+size
		}
	}
	return shared, follow, next
}

// terms reads terms in their order.
type terms struct {
	m    *Image
	text []byte // of the last term
	pos  int    // of the next one
	at   int    // where that is
}

// termsAt returns a reader before a position. It uses buf for the text.
func (m *Image) termsAt(buf []byte, pos int) terms {
	t := terms{m, buf, pos &^ (perBlock - 1), 0}
	for t.pos < pos && t.next() {
	}
	return t
}

// next reads a term, and returns false if there is none or it cannot be read.
func (t *terms) next() bool {
	if t.pos < 0 || t.pos >= t.m.n {
		return false
	}
	if t.pos%perBlock == 0 {
		t.at, t.text = t.m.blockAt(t.pos/perBlock), t.text[:0]
	}
	text, next := t.m.section[secText], t.at
	if uint(next) >= uint(len(text)) {
		return false
	}
	shared, follow := int(text[next]&15), int(text[next]>>4)
	if next++; shared == 15 || follow == 15 {
		shared, follow, next = long(text, next, shared, follow)
	}
	if shared > len(t.text) || follow > len(text)-next {
		return false
	}
	t.text = append(t.text[:shared], text[next:next+follow]...)
	t.at = next + follow
	t.pos++
	return true
}

// appendTerm appends the text of the term at a position.
func (m *Image) appendTerm(dst []byte, pos int) []byte {
	t := m.termsAt(dst[len(dst):], pos)
	if t.pos != pos || !t.next() {
		return dst
	}
	return append(dst, t.text...)
}

// All yields all terms with their weights, in the order of the terms' bytes.
func (m *Image) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		t := m.termsAt(nil, 0)
		for pos := 0; t.next(); pos++ {
			if !yield(string(t.text), m.weight(pos)) {
				return
			}
		}
	}
}
