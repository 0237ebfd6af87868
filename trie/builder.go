package trie

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

const (
	// MaxTerm is the length of the longest term, in bytes.
	MaxTerm = 1<<15 - 1
	// MaxK is the greatest [Options.K].
	MaxK = 1000
)

// Options are what is not required. The zero value of each field means its default.
type Options struct {
	// K is how many of the best terms are cached for each prefix: as many as are
	// usually shown. More can be asked for, and take longer. Default 10.
	K int
}

// A Builder collects terms. It is not safe for concurrent use. Use [NewBuilder].
type Builder struct {
	k     int
	text  []byte
	ends  []int // of the terms in text
	sums  []uint64
	wrong error
}

// NewBuilder returns an empty builder, or nil's defaults with an out-of-range option,
// which Build then reports.
func NewBuilder(opts *Options) *Builder {
	b := &Builder{k: 10}
	if opts != nil && opts.K != 0 {
		b.k = opts.K
	}
	if b.k < 1 || b.k > MaxK {
		b.wrong = fmt.Errorf("%w: K %d, not in [1, %d]", ErrInvalid, b.k, MaxK)
	}
	return b
}

// Add adds weight to a term's, which is made if there is none: so a log of (term,
// count) can be added line by line. Sums stop at 2^64-1. The term is any bytes, of
// which it is a copy that is kept; the empty one is allowed.
func (b *Builder) Add(term string, weight uint64) {
	if len(term) > MaxTerm {
		if b.wrong == nil {
			b.wrong = fmt.Errorf("%w: a term of %d bytes, limit %d", ErrTooLarge, len(term), MaxTerm)
		}
		return
	}
	b.text = append(b.text, term...)
	b.ends = append(b.ends, len(b.text))
	b.sums = append(b.sums, weight)
}

// Len returns how many terms were added, repeated ones counted again.
func (b *Builder) Len() int { return len(b.ends) }

// An entry is a term while it is sorted by a key: eight of its bytes, or its weight.
type entry struct {
	key uint64
	i   uint32
}

// sortByKey sorts by key, and leaves entries of equal keys in their order. It may use,
// and returns, either of two slices of the same length: a radix sort, a byte of the key
// at a time, beginning with the last, without those that are the same everywhere.
func sortByKey(list, room []entry) []entry {
	if len(list) < 256 {
		slices.SortStableFunc(list, func(x, y entry) int { return cmp.Compare(x.key, y.key) })
		return list
	}
	var counts [8][256]int
	for _, e := range list {
		for d := range counts {
			counts[d][byte(e.key>>(8*d))]++
		}
	}
	for d := range counts {
		n := &counts[d]
		if n[byte(list[0].key>>(8*d))] == len(list) {
			continue
		}
		at := 0
		for v, size := range n {
			n[v] = at
			at += size
		}
		for _, e := range list {
			v := byte(e.key >> (8 * d))
			room[n[v]] = e
			n[v]++
		}
		list, room = room, list
	}
	return list
}

func (b *Builder) term(i uint32) []byte {
	begin := 0
	if i > 0 {
		begin = b.ends[i-1]
	}
	return b.text[begin:b.ends[i]]
}

func keyOf(t []byte) uint64 {
	if len(t) >= 8 {
		return binary.BigEndian.Uint64(t)
	}
	var p [8]byte
	copy(p[:], t)
	return binary.BigEndian.Uint64(p[:])
}

// Build returns the image of all terms. The builder can be added to afterwards, and
// built again. It costs a sort, and memory of about 80 bytes for each term beside the
// text.
func (b *Builder) Build() (*Image, error) {
	terms, weights, err := b.sorted()
	if err != nil {
		return nil, err
	}
	return write(terms, weights, b.k)
}

// sorted returns the terms in order, each once, with their weights.
func (b *Builder) sorted() (terms [][]byte, weights []uint64, err error) {
	if b.wrong != nil {
		return nil, nil, b.wrong
	}
	if len(b.ends) > math.MaxInt32 {
		return nil, nil, fmt.Errorf("%w: %d terms", ErrTooLarge, len(b.ends))
	}
	order := make([]entry, len(b.ends))
	for i := range order {
		order[i] = entry{keyOf(b.term(uint32(i))), uint32(i)}
	}
	order = sortByKey(order, make([]entry, len(order)))
	for lo := 0; lo < len(order); { // those that begin with the same eight bytes
		hi := lo + 1
		for hi < len(order) && order[hi].key == order[lo].key {
			hi++
		}
		if same := order[lo:hi]; len(same) > 1 {
			for i := range same {
				if t := b.term(same[i].i); len(t) > 8 {
					same[i].key = keyOf(t[8:])
				} else {
					same[i].key = 0
				}
			}
			slices.SortFunc(same, func(x, y entry) int {
				if x.key != y.key {
					return cmp.Compare(x.key, y.key)
				}
				return bytes.Compare(b.term(x.i), b.term(y.i))
			})
		}
		lo = hi
	}
	// The same term more than once is one.
	terms, weights = make([][]byte, 0, len(order)), make([]uint64, 0, len(order))
	for _, e := range order {
		t, w := b.term(e.i), b.sums[e.i]
		if n := len(terms); n > 0 && bytes.Equal(terms[n-1], t) {
			weights[n-1] += min(w, math.MaxUint64-weights[n-1])
			continue
		}
		terms, weights = append(terms, t), append(weights, w)
	}
	return terms, weights, nil
}

// write makes an image of sorted terms.
func write(terms [][]byte, weights []uint64, k int) (*Image, error) {
	n := len(terms)
	width := bitsFor(n)
	le := binary.LittleEndian

	// Ranks: by falling weight, then by term.
	order := make([]entry, n, 2*n)
	for i := range order {
		order[i] = entry{^weights[i], uint32(i)}
	}
	order = sortByKey(order, order[n:2*n])
	byRank := make([]uint32, n)
	for r, e := range order {
		byRank[r] = e.i
	}
	rankOf := make([]uint32, n)
	var sec [sections][]byte
	sec[secRanks] = make([]byte, packedSize(uint64(n), width))
	sec[secWeights] = make([]byte, 8*blocks(n, perWeights))
	var before uint64
	for r, pos := range byRank {
		rankOf[pos] = uint32(r)
		putPacked(sec[secRanks], int(pos), width, uint64(r))
		w := weights[pos]
		if r%perWeights == 0 {
			le.PutUint64(sec[secWeights][r/perWeights*8:], uint64(len(sec[secWeights])))
			sec[secWeights] = binary.AppendUvarint(sec[secWeights], w)
		} else {
			sec[secWeights] = binary.AppendUvarint(sec[secWeights], before-w)
		}
		before = w
	}

	// Text.
	text := make([]byte, 4*blocks(n, perBlock))
	for i, t := range terms {
		shared := 0
		if i%perBlock == 0 {
			if uint64(len(text)) > math.MaxUint32 {
				return nil, fmt.Errorf("%w: more than 4 GiB of text", ErrTooLarge)
			}
			le.PutUint32(text[i/perBlock*4:], uint32(len(text)))
		} else {
			shared = common(terms[i-1], t)
		}
		follow := len(t) - shared
		text = append(text, byte(min(shared, 15)|min(follow, 15)<<4))
		if shared >= 15 {
			text = binary.AppendUvarint(text, uint64(shared-15))
		}
		if follow >= 15 {
			text = binary.AppendUvarint(text, uint64(follow-15))
		}
		text = append(text, t[shared:]...)
	}
	sec[secText] = text

	// Nodes, breadth first.
	type pending struct{ lo, hi, depth int }
	var queue []pending
	if n > k || n > 255 {
		queue = append(queue, pending{0, n, common(terms[0], terms[n-1])})
	}
	type span struct{ child, children, first int }
	var spans []span // of the nodes, for their lists
	for i := 0; i < len(queue); i++ {
		q := queue[i]
		s := span{child: len(sec[secLabels]), first: len(queue)}
		at := q.lo
		terminal := len(terms[q.lo]) == q.depth
		if terminal {
			at++
		}
		for at < q.hi {
			c := terms[at][q.depth]
			end := at + sortSearch(q.hi-at, func(j int) bool { return terms[at+j][q.depth] > c })
			sec[secLabels] = append(sec[secLabels], c)
			if end-at > k || end-at > 255 {
				sec[secSizes] = append(sec[secSizes], 0)
				queue = append(queue, pending{at, end, common(terms[at], terms[end-1])})
			} else {
				sec[secSizes] = append(sec[secSizes], byte(end-at))
			}
			s.children++
			at = end
		}
		if s.first == len(queue) {
			s.first = 0
		}
		spans = append(spans, s)
		var p [nodeSize]byte
		le.PutUint32(p[:], uint32(q.lo))
		le.PutUint32(p[4:], uint32(q.hi))
		le.PutUint32(p[8:], uint32(s.child))
		le.PutUint32(p[12:], uint32(s.first))
		le.PutUint16(p[16:], uint16(q.depth))
		c := uint16(s.children)
		if terminal {
			c |= terminalBit
		}
		le.PutUint16(p[18:], c)
		sec[secNodes] = append(sec[secNodes], p[:]...)
	}

	// Lists, from the last node up: a node's best are among its children's best.
	sec[secLists] = make([]byte, packedSize(uint64(len(queue))*uint64(k), width))
	var ranks []uint32
	for i := len(queue) - 1; i >= 0; i-- {
		q, s := queue[i], spans[i]
		ranks = ranks[:0]
		at, next := q.lo, s.first
		if len(terms[q.lo]) == q.depth {
			ranks = append(ranks, rankOf[at])
			at++
		}
		for c := range s.children {
			if size := int(sec[secSizes][s.child+c]); size > 0 {
				ranks = append(ranks, rankOf[at:at+size]...)
				at += size
				continue
			}
			for j := range min(k, queue[next].hi-queue[next].lo) {
				ranks = append(ranks, rankOf[packed(sec[secLists], next*k+j, width)])
			}
			at = queue[next].hi
			next++
		}
		slices.Sort(ranks)
		for j := range min(k, q.hi-q.lo) {
			putPacked(sec[secLists], i*k+j, width, uint64(byRank[ranks[j]]))
		}
	}

	data := make([]byte, headSize)
	copy(data, magic)
	le.PutUint16(data[4:], version)
	le.PutUint16(data[6:], uint16(k))
	le.PutUint32(data[8:], uint32(n))
	le.PutUint32(data[12:], uint32(len(queue)))
	data[16] = byte(width)
	for i, s := range sec {
		h := data[20+20*i:]
		le.PutUint64(h, uint64(len(data)))
		le.PutUint64(h[8:], uint64(len(s)))
		le.PutUint32(h[16:], crc32.Checksum(s, castagnoli))
		data = append(data, s...)
	}
	le.PutUint32(data[headSize-4:], crc32.Checksum(data[:headSize-4], castagnoli))
	return Load(data)
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// sortSearch returns the least i in [0, n] for which f is true, looking near the
// beginning first.
func sortSearch(n int, f func(i int) bool) int {
	hi := 1
	for hi < n && !f(hi) {
		hi *= 2
	}
	lo := hi / 2
	hi = min(hi, n)
	for lo < hi {
		if mid := lo + (hi-lo)/2; f(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}
