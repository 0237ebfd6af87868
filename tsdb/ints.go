package tsdb

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// maxBlock is the number of samples in the largest block. Part of the format.
const maxBlock = 1024

// Integer coding, version 1. The number of values n, 1 ≤ n ≤ 1024, is known from
// the block around it.
//
//	size  field
//	1     mode: bit 0 delta, bit 1 divisor, bit 2 patches; the others are zero
//	1     width w of a packed value in bits, 0 ≤ w ≤ 56 or w = 64
//	      with a divisor: origin (zigzag varint), divisor ≥ 2 (uvarint)
//	      with delta: the first value (zigzag varint); n−1 differences are packed
//	      base (zigzag varint)
//	⌈nw/8⌉ packed: value − base, w bits each, from the lowest bit up
//	      with patches: their count ≥ 1 (uvarint), then for each the distance
//	      from the one before (uvarint) and value − base (uvarint), modulo 2^64
//
// Differences are modulo 2^64, so every sequence can be coded.
const (
	modeDelta   = 1 << 0
	modeDivisor = 1 << 1
	modePatches = 1 << 2
	modeAll     = modeDelta | modeDivisor | modePatches
)

// intCoder holds the scratch space of coding. It is not safe for concurrent use.
type intCoder struct {
	scaled [maxBlock]int64
	diff   [maxBlock]int64
}

// A packing is a way to write values: base, width, and what it costs.
type packing struct {
	base    int64
	width   int
	patches int
	bits    int    // cost of packed values and patches
	least   uint64 // all values are at least this far from 0 on one side; 0: they are not
}

// append appends the coding of x, 1 ≤ len(x) ≤ maxBlock.
func (c *intCoder) append(dst []byte, x []int64) []byte {
	if step, ok := constantStep(x); ok { // as what follows would, with less work
		if step == 0 {
			return binary.AppendVarint(append(dst, 0, 0), x[0])
		}
		dst = binary.AppendVarint(append(dst, modeDelta, 0), x[0])
		return binary.AppendVarint(dst, step)
	}
	mode := byte(0)
	origin, g := int64(0), uint64(1)
	if len(x) > 2 {
		if g = divisor(x); g > 1 {
			mode |= modeDivisor
			origin = x[0]
			divide(c.scaled[:len(x)], x, origin, g)
			x = c.scaled[:len(x)]
		}
	}
	packed := x
	var p packing
	if len(x) == 1 {
		p = choose(x)
	} else {
		d := c.diff[:len(x)-1]
		for i := range d {
			d[i] = x[i+1] - x[i]
		}
		delta := choose(d)
		cost := delta.bits + 8*varintLen(x[0])
		if cost >= leastBits(len(x), delta.least) {
			p = choose(x)
		}
		if p.bits == 0 || cost < p.bits {
			p, packed = delta, d
			mode |= modeDelta
		}
	}
	if p.patches > 0 {
		mode |= modePatches
	}
	dst = append(dst, mode, byte(p.width))
	if mode&modeDivisor != 0 {
		dst = binary.AppendVarint(dst, origin)
		dst = binary.AppendUvarint(dst, g)
	}
	if mode&modeDelta != 0 {
		dst = binary.AppendVarint(dst, x[0])
	}
	dst = binary.AppendVarint(dst, p.base)
	dst = pack(dst, packed, p.base, p.width)
	if p.patches > 0 {
		dst = binary.AppendUvarint(dst, uint64(p.patches))
		last := 0
		for i, v := range packed {
			if u := uint64(v - p.base); bits.Len64(u) > p.width {
				dst = binary.AppendUvarint(dst, uint64(i-last))
				dst = binary.AppendUvarint(dst, u)
				last = i
			}
		}
	}
	return dst
}

// divide sets dst to (x − origin) / g, which leaves no remainder: then a shift
// and a multiplication modulo 2^64 by the inverse of what is odd of g do it.
func divide(dst, x []int64, origin int64, g uint64) {
	shift := bits.TrailingZeros64(g)
	odd := g >> shift
	inverse := odd*3 ^ 2 // right in 5 bits; each step doubles them
	for range 4 {
		inverse *= 2 - odd*inverse
	}
	for i, v := range x {
		dst[i] = (v - origin) >> shift * int64(inverse)
	}
}

// constantStep reports whether x changes by the same step throughout, or not at
// all.
func constantStep(x []int64) (step int64, ok bool) {
	if len(x) < 2 {
		return 0, true
	}
	step = x[1] - x[0]
	for i := 2; i < len(x); i++ {
		if x[i]-x[i-1] != step {
			return 0, false
		}
	}
	return step, true
}

// divisor returns the largest g that divides all differences, or 1 where they
// are all the same, which needs none, or may overflow.
func divisor(x []int64) uint64 {
	const safe = 1 << 61
	g, last, same := uint64(0), x[1]-x[0], true
	for i, v := range x {
		if v >= safe || v <= -safe {
			return 1
		}
		if i == 0 {
			continue
		}
		d := v - x[i-1]
		if d == last && i > 1 {
			continue
		}
		same = same && i == 1
		last = d
		if d < 0 {
			d = -d
		}
		if u := uint64(d); u != 0 && (g == 0 || u%g != 0) {
			for u != 0 {
				g, u = u, g%u
			}
			if g == 1 {
				return 1
			}
		}
	}
	if same {
		return 1
	}
	return max(g, 1)
}

// choose finds a good packing of x.
func choose(x []int64) packing {
	lo, hi := x[0], x[0]
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	least := uint64(0)
	if lo > 0 {
		least = uint64(lo)
	} else if hi < 0 {
		least = -uint64(hi)
	}
	if lo == hi {
		return packing{base: lo, bits: 8 * varintLen(lo), least: least}
	}
	p := cost(x, lo, uint64(hi-lo))
	p.least = least
	if len(x) < 16 || p.bits < 2*len(x) {
		return p
	}
	// The least value may be an outlier: try one that few values are below of.
	var few [16]int64
	step := len(x) / 16
	for i := range few {
		few[i] = x[i*step]
	}
	for i := 1; i < len(few); i++ { // insertion sort
		for j := i; j > 0 && few[j] < few[j-1]; j-- {
			few[j], few[j-1] = few[j-1], few[j]
		}
	}
	spread := uint64(few[14] - few[0])
	if base := few[0] - int64(spread/16); base > lo && uint64(base-lo) > spread/2 { // else it saves no bit
		if alt := cost(x, base, 1<<63); alt.bits < p.bits {
			alt.least = least
			return alt
		}
	}
	return p
}

// leastBits returns a bound of what choose finds for n values that rise, or fall,
// by at least d > 0 each: then w bits hold no more than 2^w/d of them, and a patch
// costs 16 bits or more. So it is best to hold all but one, or to patch all.
func leastBits(n int, d uint64) int {
	if hi, spread := bits.Mul64(d, uint64(n-1)); hi == 0 && spread > 0 {
		return min(n*(bits.Len64(spread)-1), 16*(n-2))
	}
	return 0
}

// cost returns the cheapest packing of x over the base, from which no value is
// further than most.
func cost(x []int64, base int64, most uint64) packing {
	var count, odd [65]int32 // two, since one counter after the other would wait for itself
	i := 0
	for ; i+2 <= len(x); i += 2 {
		count[bits.Len64(uint64(x[i]-base))]++
		odd[bits.Len64(uint64(x[i+1]-base))]++
	}
	if i < len(x) {
		count[bits.Len64(uint64(x[i]-base))]++
	}
	p := packing{base: base, bits: 1 << 30}
	above, patchBits := 0, 0
	top := bits.Len64(most)
	if top > 56 {
		top = 64
	}
	for w := top; w >= 0; w-- {
		if w <= 56 || w == 64 {
			b := len(x)*w + patchBits
			if above > 0 {
				b += 8
			}
			if b < p.bits {
				p.bits, p.width, p.patches = b, w, above
			}
		}
		n := int(count[w] + odd[w])
		above += n
		patchBits += n * 8 * (1 + (w+6)/7) // a distance is mostly one byte
		if patchBits >= p.bits {
			break // it only grows
		}
	}
	p.bits += 8 * varintLen(base)
	return p
}

// varintLen returns the length in bytes of a zigzag varint.
func varintLen(v int64) int {
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7
}

// packedLen is the size in bytes of n values of w bits.
func packedLen(n, w int) int { return (n*w + 7) / 8 }

// pack appends the low w bits of each v−base.
func pack(dst []byte, x []int64, base int64, w int) []byte {
	switch {
	case w == 0:
		return dst
	case w == 64:
		for _, v := range x {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v-base))
		}
		return dst
	}
	mask := uint64(1)<<w - 1
	acc, have := uint64(0), 0
	end := len(dst) + packedLen(len(x), w)
	for _, v := range x {
		u := uint64(v-base) & mask
		acc |= u << have
		have += w
		if have >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			have -= 64
			acc = u >> (w - have)
		}
	}
	for len(dst) < end {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// unpack reads len(x) values of w bits and adds base. Src has packedLen bytes or
// more.
func unpack(x []int64, src []byte, base int64, w int) {
	switch {
	case w == 0:
		for i := range x {
			x[i] = base
		}
		return
	case w == 64:
		for i := range x {
			x[i] = int64(binary.LittleEndian.Uint64(src[8*i:])) + base
		}
		return
	}
	mask := uint64(1)<<w - 1
	i, bit := 0, 0
	// Eight values are w bytes, so that their shifts repeat. The last load of
	// a group begins at most at byte 7w/8 and has 8 bytes.
	if w <= 8 {
		for ; i+8 <= len(x) && bit>>3+8 <= len(src); i, bit = i+8, bit+8*w {
			u := binary.LittleEndian.Uint64(src[bit>>3:])
			g := x[i : i+8 : i+8]
			g[0] = int64(u&mask) + base
			g[1] = int64(u>>(w&63)&mask) + base
			g[2] = int64(u>>(2*w&63)&mask) + base
			g[3] = int64(u>>(3*w&63)&mask) + base
			g[4] = int64(u>>(4*w&63)&mask) + base
			g[5] = int64(u>>(5*w&63)&mask) + base
			g[6] = int64(u>>(6*w&63)&mask) + base
			g[7] = int64(u>>(7*w&63)&mask) + base
		}
	} else if w <= 28 {
		// Two values in one load: 7 bits of offset and 2w are at most 63.
		for ; i+2 <= len(x) && bit>>3+8 <= len(src); i, bit = i+2, bit+2*w {
			u := binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7)
			g := x[i : i+2 : i+2]
			g[0] = int64(u&mask) + base
			g[1] = int64(u>>(w&63)&mask) + base
		}
	}
	for ; i < len(x) && bit>>3+8 <= len(src); i, bit = i+1, bit+w {
		x[i] = int64(binary.LittleEndian.Uint64(src[bit>>3:])>>(bit&7)&mask) + base
	}
	for ; i < len(x); i, bit = i+1, bit+w {
		var last [8]byte
		copy(last[:], src[bit>>3:])
		x[i] = int64(binary.LittleEndian.Uint64(last[:])>>(bit&7)&mask) + base
	}
}

// unpackSums is unpack, w ≤ 56, followed by adding each value to the one before,
// and to v.
func unpackSums(x []int64, src []byte, base int64, w int, v int64) {
	mask := uint64(1)<<w - 1
	i, bit := 0, 0
	if w <= 8 {
		for ; i+8 <= len(x) && bit>>3+8 <= len(src); i, bit = i+8, bit+8*w {
			u := binary.LittleEndian.Uint64(src[bit>>3:])
			g := x[i : i+8 : i+8]
			v += int64(u&mask) + base
			g[0] = v
			v += int64(u>>(w&63)&mask) + base
			g[1] = v
			v += int64(u>>(2*w&63)&mask) + base
			g[2] = v
			v += int64(u>>(3*w&63)&mask) + base
			g[3] = v
			v += int64(u>>(4*w&63)&mask) + base
			g[4] = v
			v += int64(u>>(5*w&63)&mask) + base
			g[5] = v
			v += int64(u>>(6*w&63)&mask) + base
			g[6] = v
			v += int64(u>>(7*w&63)&mask) + base
			g[7] = v
		}
	} else if w <= 28 {
		// Two values in one load: 7 bits of offset and 2w are at most 63.
		for ; i+2 <= len(x) && bit>>3+8 <= len(src); i, bit = i+2, bit+2*w {
			u := binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7)
			g := x[i : i+2 : i+2]
			v += int64(u&mask) + base
			g[0] = v
			v += int64(u>>(w&63)&mask) + base
			g[1] = v
		}
	}
	for ; i < len(x) && bit>>3+8 <= len(src); i, bit = i+1, bit+w {
		v += int64(binary.LittleEndian.Uint64(src[bit>>3:])>>(bit&7)&mask) + base
		x[i] = v
	}
	for ; i < len(x); i, bit = i+1, bit+w {
		var last [8]byte
		copy(last[:], src[bit>>3:])
		v += int64(binary.LittleEndian.Uint64(last[:])>>(bit&7)&mask) + base
		x[i] = v
	}
}

// decodeInts decodes len(x) values and returns what follows them in src.
func decodeInts(x []int64, src []byte) ([]byte, error) {
	if len(src) < 2 {
		return nil, fmt.Errorf("%w: integers cut off", ErrCorrupt)
	}
	r := reader{b: src[2:]}
	mode, w := src[0], int(src[1])
	if mode&^modeAll != 0 || w > 56 && w != 64 {
		return nil, fmt.Errorf("%w: integers of mode %d, width %d", ErrCorrupt, mode, w)
	}
	var origin int64
	g := uint64(1)
	if mode&modeDivisor != 0 {
		origin, g = r.varint(), r.uvarint()
		if g < 2 {
			r.fail()
		}
	}
	packed := x
	if mode&modeDelta != 0 {
		x[0] = r.varint()
		packed = x[1:]
	}
	base := r.varint()
	body := r.bytes(packedLen(len(packed), w))
	if r.err {
		return nil, fmt.Errorf("%w: integers cut off", ErrCorrupt)
	}
	if mode&modeDelta != 0 && mode&modePatches == 0 { // the usual case, in one pass
		step, scale := base, int64(g)
		if w == 0 {
			v := x[0]*scale + origin
			step *= scale
			i := 0
			for ; i+4 <= len(x); i += 4 { // four sums that wait for one
				g := x[i : i+4 : i+4]
				g[0], g[1], g[2], g[3] = v, v+step, v+2*step, v+3*step
				v += 4 * step
			}
			for ; i < len(x); i++ {
				x[i] = v
				v += step
			}
			return r.b, nil
		}
		if w <= 56 {
			unpackSums(packed, body[:len(body)+min(len(r.b), 8)], base, w, x[0])
			if scale != 1 {
				for i := range x {
					x[i] = x[i]*scale + origin
				}
			}
			return r.b, nil
		}
	}
	// The bytes behind body are readable too: let loads reach into them.
	unpack(packed, body[:len(body)+min(len(r.b), 8)], base, w)
	if mode&modePatches != 0 {
		n, at := r.uvarint(), uint64(0)
		if n == 0 || n > uint64(len(packed)) {
			return nil, fmt.Errorf("%w: %d patches for %d integers", ErrCorrupt, n, len(packed))
		}
		for range n {
			at += r.uvarint()
			u := r.uvarint()
			if r.err || at >= uint64(len(packed)) {
				return nil, fmt.Errorf("%w: patch out of range", ErrCorrupt)
			}
			packed[at] = int64(u) + base
		}
	}
	if mode&modeDelta != 0 {
		v := x[0]
		for i := range packed {
			v += packed[i]
			packed[i] = v
		}
	}
	if mode&modeDivisor != 0 {
		for i := range x {
			x[i] = x[i]*int64(g) + origin
		}
	}
	return r.b, nil
}

// A reader takes values off the front of b. After the first that is not there,
// err is set and all further values are zero.
type reader struct {
	b   []byte
	err bool
}

func (r *reader) fail() { r.b, r.err = nil, true }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes returns the next n bytes, which alias r.b and may be extended over what
// follows.
func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// text returns a string with its length in front.
func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return ""
	}
	return string(r.bytes(int(n)))
}

// count returns a number of things that take at least size bytes each, so that
// room for them may be made.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}
