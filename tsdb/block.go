package tsdb

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A block holds 1 to 1024 samples of a series: their number (uvarint), their
// times (integers), then one or more columns of values, which a chunk's kind
// fixes: one for samples, six for rollups.

// appendBlock appends the block of the times t, which rise, and columns of the
// same length. Hints, of which there is one for each column, carry from block to
// block what suited.
func (c *coder) appendBlock(dst []byte, t []int64, hints []int, cols ...[]float64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t)))
	dst = c.intCoder.append(dst, t)
	for i, v := range cols {
		dst, hints[i] = c.appendValues(dst, v, hints[i])
	}
	return dst
}

// A blockBuf is what a block is decoded into.
type blockBuf struct {
	t    [maxBlock]int64
	x    [maxBlock]int64
	v    [maxBlock]float64
	more [][]float64 // further columns
}

// decode decodes a block with one column, or more, of which the second and later
// go to b.more. The times are checked to rise.
func (b *blockBuf) decode(src []byte, cols int) (t []int64, v []float64, err error) {
	r := reader{b: src}
	n := r.uvarint()
	if r.err || n == 0 || n > maxBlock {
		return nil, nil, fmt.Errorf("%w: block of %d samples", ErrCorrupt, n)
	}
	t = b.t[:n]
	rest, err := decodeInts(t, r.b)
	if err != nil {
		return nil, nil, err
	}
	rises := linear(r.b, t)
	for i := 1; i < len(t) && !rises; i++ {
		if t[i] <= t[i-1] {
			return nil, nil, fmt.Errorf("%w: times of a block do not rise", ErrCorrupt)
		}
	}
	v = b.v[:n]
	if rest, err = decodeValues(v, b.x[:n], rest); err != nil {
		return nil, nil, err
	}
	for len(b.more) < cols-1 {
		b.more = append(b.more, make([]float64, maxBlock))
	}
	for i := range cols - 1 {
		b.more[i] = b.more[i][:n]
		if rest, err = decodeValues(b.more[i], b.x[:n], rest); err != nil {
			return nil, nil, err
		}
	}
	if len(rest) > 0 {
		return nil, nil, fmt.Errorf("%w: %d bytes behind a block", ErrCorrupt, len(rest))
	}
	return t, v, nil
}

// linear reports whether times, decoded from src, rise because they have a
// constant step that cannot overflow.
func linear(src []byte, t []int64) bool {
	if len(t) < 2 || src[0]&(modeDelta|modePatches) != modeDelta || src[1] != 0 {
		return false
	}
	step := uint64(t[1] - t[0])
	return step-1 < 1<<50 && t[0] >= minTime && t[0] < maxTime
}

// A summary is what a block, or a bucket, holds in short. NaN is left out.
type summary struct {
	count                      uint64
	sum, min, max, first, last float64
}

func (s *summary) add(v float64) {
	if v != v {
		return
	}
	if s.count == 0 {
		*s = summary{1, v, v, v, v, v}
		return
	}
	s.count++
	s.sum += v
	if v < s.min {
		s.min = v
	}
	if v > s.max {
		s.max = v
	}
	s.last = v
}

// merge adds what came after s.
func (s *summary) merge(o *summary) {
	if o.count == 0 {
		return
	}
	if s.count == 0 {
		*s = *o
		return
	}
	s.count += o.count
	s.sum += o.sum
	s.min = min(s.min, o.min)
	s.max = max(s.max, o.max)
	s.last = o.last
}

func summarize(v []float64) (s summary) {
	for _, x := range v {
		s.add(x)
	}
	return s
}

// Coding of a summary over n samples:
//
//	flags, 1 byte: 0 nothing but NaN; 1 constant: the value, 8 bytes; 2 decimal:
//	exponent, 1 byte, min, max−min, first−min, last−min (varints), sum, 8 bytes;
//	3 five values of 8 bytes. Plus 4: the count follows the flags (uvarint);
//	without it the count is n.
const (
	sumNone = iota
	sumConstant
	sumDecimal
	sumRaw
	sumCounted = 4
)

func (s *summary) append(dst []byte, n int) []byte {
	if s.count == 0 {
		return append(dst, sumNone)
	}
	flags := byte(0)
	if s.count != uint64(n) {
		flags = sumCounted
	}
	head := func(kind byte) {
		dst = append(dst, kind|flags)
		if flags != 0 {
			dst = binary.AppendUvarint(dst, s.count)
		}
	}
	put := func(v float64) { dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v)) }
	same := func(v float64) bool { return math.Float64bits(v) == math.Float64bits(s.min) }
	if same(s.max) && same(s.first) && same(s.last) && s.sum == s.min*float64(s.count) {
		head(sumConstant)
		put(s.min)
		return dst
	}
	for e := 0; e <= maxExponent; e++ {
		lo, ok1 := decimal(s.min, e)
		hi, ok2 := decimal(s.max, e)
		first, ok3 := decimal(s.first, e)
		last, ok4 := decimal(s.last, e)
		if ok1 && ok2 && ok3 && ok4 {
			head(sumDecimal)
			dst = append(dst, byte(e))
			for _, d := range [...]int64{lo, hi - lo, first - lo, last - lo} {
				dst = binary.AppendVarint(dst, d)
			}
			put(s.sum)
			return dst
		}
	}
	head(sumRaw)
	for _, v := range [...]float64{s.sum, s.min, s.max, s.first, s.last} {
		put(v)
	}
	return dst
}

func (s *summary) read(r *reader, n int) {
	flags := r.byte()
	if flags == sumNone {
		*s = summary{}
		return
	}
	s.count = uint64(n)
	if flags&sumCounted != 0 {
		s.count = r.uvarint()
	}
	get := func() float64 { return math.Float64frombits(r.uint64()) }
	switch flags &^ sumCounted {
	case sumConstant:
		v := get()
		s.sum, s.min, s.max, s.first, s.last = v*float64(s.count), v, v, v, v
	case sumDecimal:
		e := r.byte()
		if e > maxExponent {
			r.fail()
			return
		}
		lo := r.varint()
		s.min = float64(lo) / pow10[e]
		s.max = float64(lo+r.varint()) / pow10[e]
		s.first = float64(lo+r.varint()) / pow10[e]
		s.last = float64(lo+r.varint()) / pow10[e]
		s.sum = get()
	case sumRaw:
		s.sum, s.min, s.max, s.first, s.last = get(), get(), get(), get(), get()
	default:
		r.fail()
	}
	if s.count == 0 || s.count > uint64(n) && n <= maxBlock {
		r.fail()
	}
}
