package tsdb

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Value coding, version 1. All kinds give back each float64 bit for bit.
//
//	size  field
//	1     kind
//	      constant: the value, 8 bytes
//	      decimal:  exponent e ≤ 15, integers d; value = d / 10^e; then the count
//	                of exceptions (uvarint) and for each the distance from the
//	                one before (uvarint) and the value, 8 bytes
//	      bits:     integers; see order
//	      split:    bits r of the right part, 1 byte, 1 ≤ r ≤ 56; k − 1 for k
//	                left parts, 1 byte, k ≤ 16, each a uvarint; their number for
//	                each value, ⌈log2 k⌉ bits; the right parts, r bits
//
// Decimal is the idea of ALP with division: 10^e and d below 2^53 are exact, and
// IEEE 754 rounds the quotient as a reader of decimal numbers rounds, so every
// number that was written with up to 15 digits comes back. Split is ALP's
// coding for numbers that use all their digits.
const (
	kindConstant = 0
	kindDecimal  = 1
	kindBits     = 2
	kindSplit    = 3
)

const maxExponent = 15

var pow10 = [maxExponent + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// A coder codes blocks. It is not safe for concurrent use.
type coder struct {
	intCoder
	ints   [maxBlock]int64
	except [maxBlock]int32
	a, b   []byte
}

// decimal returns the integer d with v = d/10^e, bit for bit.
func decimal(v float64, e int) (d int64, ok bool) {
	x := v * pow10[e]
	const limit = 1 << 53
	if !(x > -limit && x < limit) {
		return 0, false
	}
	if x < 0 {
		d = int64(x - 0.5)
	} else {
		d = int64(x + 0.5)
	}
	return d, math.Float64bits(float64(d)/pow10[e]) == math.Float64bits(v)
}

// noDecimal is the hint after a block whose values were no decimals: then a few
// of the next tell whether to look closer.
const noDecimal = maxExponent + 1

// exponent returns the least exponent that suits a sample of v, beginning with
// the hint, and whether most values are decimal at all.
func exponent(v []float64, hint int) (e int, ok bool) {
	looks := 32
	if hint == noDecimal {
		looks, hint = 4, 0
	}
	step := max(len(v)/looks, 1)
	best, bestMiss := 0, len(v)+1
	total := (len(v) + step - 1) / step
	if hint > 0 {
		// The hint must be needed: a value that a lower exponent misses.
		miss, needed := 0, false
		for i := 0; i < len(v); i += step {
			if _, ok := decimal(v[i], hint); !ok {
				miss++
			} else if !needed {
				_, ok := decimal(v[i], hint-1)
				needed = !ok
			}
		}
		if needed && miss*16 <= total {
			return hint, true
		}
	}
	for e := 0; e <= maxExponent; e++ {
		miss := 0
		for i := 0; i < len(v); i += step {
			if _, ok := decimal(v[i], e); !ok {
				miss++
			}
		}
		if miss < bestMiss {
			best, bestMiss = e, miss
		}
		if miss*16 <= total {
			break
		}
	}
	return best, bestMiss*2 < total
}

// appendValues appends the coding of v, 1 ≤ len(v) ≤ maxBlock. Hint is the
// exponent that suited the block before, or noDecimal, or 0; the one to hint next
// is returned.
func (c *coder) appendValues(dst []byte, v []float64, hint int) ([]byte, int) {
	first := math.Float64bits(v[0])
	same := true
	for _, x := range v {
		if math.Float64bits(x) != first {
			same = false
			break
		}
	}
	if same {
		dst = append(dst, kindConstant)
		return binary.LittleEndian.AppendUint64(dst, first), hint
	}
	begin := len(dst)
	e, ok := exponent(v, hint)
	if ok {
		var misses int
		dst, misses = c.appendDecimal(dst, v, e)
		if misses*10 <= len(v) && len(dst)-begin < 6*len(v) {
			return dst, e
		}
	}
	c.a = c.appendBits(c.a[:0], v)
	if split, ok := c.appendSplit(c.b[:0], v); ok {
		c.b = split
		if len(split) < len(c.a) {
			c.a, c.b = c.b, c.a
		}
	}
	if ok && len(dst)-begin <= len(c.a) {
		return dst, e
	}
	return append(dst[:begin], c.a...), noDecimal
}

func (c *coder) appendDecimal(dst []byte, v []float64, e int) ([]byte, int) {
	d := c.ints[:len(v)]
	misses := 0
	last, known := int64(0), false
	for i, x := range v {
		n, ok := decimal(x, e)
		if !ok {
			c.except[misses] = int32(i)
			misses++
			n = last // costs least where neighbours are alike
		} else if !known {
			known = true
			for j := range i {
				d[j] = n
			}
		}
		d[i], last = n, n
	}
	dst = append(dst, kindDecimal, byte(e))
	dst = c.append(dst, d)
	dst = binary.AppendUvarint(dst, uint64(misses))
	at := int32(0)
	for _, i := range c.except[:misses] {
		dst = binary.AppendUvarint(dst, uint64(i-at))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v[i]))
		at = i
	}
	return dst, misses
}

// order maps the bits of a float64 to an integer so that numbers keep their
// order; it is its own inverse.
func order(b int64) int64 { return b ^ int64(uint64(b>>63)>>1) }

func (c *coder) appendBits(dst []byte, v []float64) []byte {
	x := c.ints[:len(v)]
	for i, f := range v {
		x[i] = order(int64(math.Float64bits(f)))
	}
	return c.append(append(dst, kindBits), x)
}

// appendSplit is false where the left parts are too many.
func (c *coder) appendSplit(dst []byte, v []float64) ([]byte, bool) {
	// Fewer left bits mean fewer parts; sign and exponent are 12.
	for left := 16; left >= 11; left-- {
		r := 64 - left
		if r > 56 {
			break
		}
		var parts [16]uint64
		k, fits := 0, true
		for i, f := range v {
			p := math.Float64bits(f) >> r
			j := slices.Index(parts[:k], p)
			if j < 0 {
				if k == len(parts) {
					fits = false
					break
				}
				parts[k] = p
				j = k
				k++
			}
			c.ints[i] = int64(j)
		}
		if !fits {
			continue
		}
		dst = append(dst, kindSplit, byte(r), byte(k-1))
		for _, p := range parts[:k] {
			dst = binary.AppendUvarint(dst, p)
		}
		x := c.ints[:len(v)]
		dst = pack(dst, x, 0, bits.Len(uint(k-1)))
		for i, f := range v {
			x[i] = int64(math.Float64bits(f) & (1<<r - 1))
		}
		return pack(dst, x, 0, r), true
	}
	return dst, false
}

// decodeValues decodes len(v) values, with x of the same length as scratch, and
// returns what follows them in src.
func decodeValues(v []float64, x []int64, src []byte) ([]byte, error) {
	all := v
	r := reader{b: src}
	switch kind := r.byte(); {
	case r.err:
		return nil, fmt.Errorf("%w: values cut off", ErrCorrupt)
	case kind == kindConstant:
		f := math.Float64frombits(r.uint64())
		for i := range v {
			v[i] = f
		}
	case kind == kindDecimal:
		e := r.byte()
		if r.err || e > maxExponent {
			return nil, fmt.Errorf("%w: exponent %d", ErrCorrupt, e)
		}
		rest, err := decodeInts(x, r.b)
		if err != nil {
			return nil, err
		}
		r.b = rest
		if e == 0 {
			for len(x) >= 4 && len(v) >= 4 {
				v[0], v[1], v[2], v[3] = float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
				x, v = x[4:], v[4:]
			}
			for i, d := range x {
				v[i] = float64(d)
			}
			v = all
		} else {
			p := pow10[e]
			for len(x) >= 4 && len(v) >= 4 { // quotients overlap
				v[0], v[1], v[2], v[3] = float64(x[0])/p, float64(x[1])/p, float64(x[2])/p, float64(x[3])/p
				x, v = x[4:], v[4:]
			}
			for i, d := range x {
				v[i] = float64(d) / p
			}
			v = all
		}
		n, at := r.uvarint(), uint64(0)
		if n > uint64(len(v)) {
			return nil, fmt.Errorf("%w: %d exceptions for %d values", ErrCorrupt, n, len(v))
		}
		for range n {
			at += r.uvarint()
			u := r.uint64()
			if r.err || at >= uint64(len(v)) {
				return nil, fmt.Errorf("%w: exception out of range", ErrCorrupt)
			}
			v[at] = math.Float64frombits(u)
		}
	case kind == kindBits:
		rest, err := decodeInts(x, r.b)
		if err != nil {
			return nil, err
		}
		r.b = rest
		for i, d := range x {
			v[i] = math.Float64frombits(uint64(order(d)))
		}
	case kind == kindSplit:
		right, k := int(r.byte()), int(r.byte())+1
		if r.err || right < 1 || right > 56 || k > 16 {
			return nil, fmt.Errorf("%w: split values", ErrCorrupt)
		}
		var parts [16]uint64
		for i := range k {
			parts[i] = r.uvarint()
		}
		w := bits.Len(uint(k - 1))
		codes := r.bytes(packedLen(len(v), w))
		body := r.bytes(packedLen(len(v), right))
		if r.err {
			return nil, fmt.Errorf("%w: values cut off", ErrCorrupt)
		}
		unpack(x, codes[:len(codes)+min(len(body), 8)], 0, w)
		for i, j := range x {
			v[i] = math.Float64frombits(parts[j&15] << right)
		}
		unpack(x, body[:len(body)+min(len(r.b), 8)], 0, right)
		for i, u := range x {
			v[i] = math.Float64frombits(math.Float64bits(v[i]) | uint64(u))
		}
	default:
		return nil, fmt.Errorf("%w: values of kind %d", ErrCorrupt, kind)
	}
	if r.err {
		return nil, fmt.Errorf("%w: values cut off", ErrCorrupt)
	}
	return r.b, nil
}
