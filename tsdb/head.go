package tsdb

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// headKey tells what a head, and the chunk made of it, is for.
type headKey struct {
	kind   chunkKind
	source string
	start  int64
}

// A head collects the samples of one source in one time range until they are
// sealed into a chunk. Samples may come in any order.
type head struct {
	start, end int64
	series     []headSeries // by the source's ordinal
	used       int          // series with samples
	bytes      int64        // estimate of the memory it takes
	epoch      uint64       // of the log, when the head was made
	pos        uint64       // of the log, when it was frozen
	born       time.Time    // when it was made
	logs       []logEntry   // of a head of logs
}

// headSeries is one series in a head. It holds at most 32 samples as they came;
// before them packed blocks, the young of 32 samples, which are joined to blocks
// of 256.
//
//	data  [ 256 ][ 256 ][ 32 ][ 32 ]    buf [ t v, t v, ... ]    late [ ... ]
//	                     ^ young
//
// All of data is older than all of buf. Late samples lie among those of data
// and count above them. Data is only ever appended to or replaced, so a reader
// may keep the slice.
type headSeries struct {
	data   []byte
	buf    *headBuf
	late   *lateBuf
	packed int64  // time of the last sample in data, if there are any
	young  uint32 // where the young blocks begin in data
	n      uint8  // samples in buf
	nYoung uint8
	hint   uint8 // exponent
}

const (
	bufSize    = 32
	youngSize  = 8 // blocks of bufSize that make one of packedSize
	packedSize = bufSize * youngSize
	lateSize   = 128
)

type headBuf struct {
	t [bufSize]uint32 // since the head's start
	v [bufSize]float64
}

// lateBuf holds late samples as they came.
type lateBuf struct {
	t []int64
	v []float64
}

// sorted returns the samples by time, of those at one time the last, valid until
// c is used again.
func (l *lateBuf) sorted(c *headCoder) ([]int64, []float64) {
	c.pairs, c.lateT, c.lateV = c.pairs[:0], c.lateT[:0], c.lateV[:0]
	for i, t := range l.t {
		c.pairs = append(c.pairs, sample{t, l.v[i]})
	}
	slices.SortStableFunc(c.pairs, func(a, b sample) int { return cmp.Compare(a.t, b.t) })
	for _, p := range c.pairs {
		if n := len(c.lateT); n > 0 && c.lateT[n-1] == p.t {
			c.lateV[n-1] = p.v
			c.duplicates++
			continue
		}
		c.lateT, c.lateV = append(c.lateT, p.t), append(c.lateV, p.v)
	}
	return c.lateT, c.lateV
}

type sample struct {
	t int64
	v float64
}

func (s *headSeries) empty() bool { return s.n == 0 && len(s.data) == 0 && s.late == nil }

// add puts a sample in, and reports whether it replaced one that is in buf.
// Other replacements are found when late samples are joined.
func (h *head) add(s *headSeries, c *headCoder, t int64, v float64) (replaced bool) {
	off := uint32(t - h.start)
	if s.buf == nil {
		s.buf = new(headBuf)
		h.bytes += int64(headSeriesBytes + headBufBytes)
		h.used++
	}
	n := int(s.n)
	if n > 0 && off > s.buf.t[n-1] || n == 0 && (len(s.data) == 0 || t > s.packed) {
		s.buf.t[n], s.buf.v[n] = off, v
		if s.n++; s.n == bufSize {
			h.pack(s, c)
		}
		return false
	}
	if len(s.data) > 0 && t <= s.packed {
		h.addLate(s, c, t, v)
		return false
	}
	i, found := slices.BinarySearch(s.buf.t[:n], off)
	if found {
		s.buf.v[i] = v
		return true
	}
	copy(s.buf.t[i+1:n+1], s.buf.t[i:n])
	copy(s.buf.v[i+1:n+1], s.buf.v[i:n])
	s.buf.t[i], s.buf.v[i] = off, v
	if s.n++; s.n == bufSize {
		h.pack(s, c)
	}
	return false
}

const (
	headSeriesBytes = 64
	headBufBytes    = bufSize * 12
)

func (h *head) addLate(s *headSeries, c *headCoder, t int64, v float64) {
	if s.late == nil {
		s.late = &lateBuf{}
		h.bytes += 64
	}
	l := s.late
	l.t, l.v = append(l.t, t), append(l.v, v)
	h.bytes += 16
	if len(l.t) >= lateSize {
		h.fold(s, c)
	}
}

// A headCoder has what packing needs. One serves all heads.
type headCoder struct {
	coder
	block      blockBuf
	t          [maxBlock]int64
	out        []byte
	allT       []int64
	allV       []float64
	mergedT    []int64
	mergedV    []float64
	pairs      []sample
	lateT      []int64
	lateV      []float64
	duplicates uint64
}

// The blocks in data have a header: time since the head's start of the first
// sample, 4 bytes, and size, 4 bytes.
const packedHeader = 8

func (h *head) appendPacked(c *headCoder, dst []byte, s *headSeries, t []int64, v []float64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t[0]-h.start))
	dst = append(dst, 0, 0, 0, 0)
	begin := len(dst)
	hint := [1]int{int(s.hint)}
	dst = c.appendBlock(dst, t, hint[:], v)
	s.hint = uint8(hint[0])
	binary.LittleEndian.PutUint32(dst[begin-4:], uint32(len(dst)-begin))
	return dst
}

// grow returns data with room for n bytes more, and little beyond.
func (h *head) grow(data []byte, n int) []byte {
	if cap(data)-len(data) >= n {
		return data
	}
	need := len(data) + n
	out := make([]byte, len(data), need+need/16)
	copy(out, data)
	h.bytes += int64(cap(out) - cap(data))
	return out
}

// pack moves buf to data.
func (h *head) pack(s *headSeries, c *headCoder) {
	n := int(s.n)
	t := c.t[:n]
	for i, off := range s.buf.t[:n] {
		t[i] = h.start + int64(off)
	}
	c.out = h.appendPacked(c, c.out[:0], s, t, s.buf.v[:n])
	s.packed = t[n-1]
	s.n = 0
	if s.nYoung++; s.nYoung < youngSize {
		s.data = append(h.grow(s.data, len(c.out)), c.out...)
		return
	}
	// Join the young. Their bytes may be in a reader's hands: make new ones.
	c.allT, c.allV = c.allT[:0], c.allV[:0]
	h.unpack(c, s.data[s.young:])
	h.unpack(c, c.out)
	c.out = h.appendRuns(c, c.out[:0], s, c.allT, c.allV)
	h.replace(s, int(s.young), c.out)
}

// replace puts tail in place of data from at on.
func (h *head) replace(s *headSeries, at int, tail []byte) {
	size := at + len(tail)
	out := make([]byte, 0, size+size/16)
	out = append(append(out, s.data[:at]...), tail...)
	h.bytes += int64(cap(out) - cap(s.data))
	s.data = out
	s.young = uint32(len(out))
	s.nYoung = 0
}

// appendRuns appends blocks of packedSize.
func (h *head) appendRuns(c *headCoder, dst []byte, s *headSeries, t []int64, v []float64) []byte {
	for len(t) > 0 {
		n := min(len(t), packedSize)
		dst = h.appendPacked(c, dst, s, t[:n], v[:n])
		t, v = t[n:], v[n:]
	}
	return dst
}

// unpack appends the samples of packed blocks to allT and allV.
func (h *head) unpack(c *headCoder, data []byte) {
	for len(data) >= packedHeader {
		size := int(binary.LittleEndian.Uint32(data[4:]))
		t, v, err := c.block.decode(data[packedHeader:packedHeader+size], 1)
		if err != nil {
			panic(err) // our own bytes, in memory
		}
		c.allT, c.allV = append(c.allT, t...), append(c.allV, v...)
		data = data[packedHeader+size:]
	}
}

// fold joins the late samples with the blocks among which they lie.
func (h *head) fold(s *headSeries, c *headCoder) {
	lt, lv := s.late.sorted(c)
	first := uint32(lt[0] - h.start)
	at := 0
	for at < len(s.data) { // to the last block that begins at or before first
		next := at + packedHeader + int(binary.LittleEndian.Uint32(s.data[at+4:]))
		if next >= len(s.data) || binary.LittleEndian.Uint32(s.data[next:]) > first {
			break
		}
		at = next
	}
	c.allT, c.allV = c.allT[:0], c.allV[:0]
	h.unpack(c, s.data[at:])
	n := len(c.allT)
	c.mergedT, c.mergedV = mergeSamples(c.mergedT[:0], c.mergedV[:0], c.allT, c.allV, lt, lv)
	c.duplicates += uint64(n + len(lt) - len(c.mergedT))
	c.out = h.appendRuns(c, c.out[:0], s, c.mergedT, c.mergedV)
	h.replace(s, at, c.out)
	h.bytes -= int64(16*len(s.late.t) + 64)
	s.late = nil
}

// mergeSamples appends the union of a and b, which rise; where both have a time
// b's value counts.
func mergeSamples(t []int64, v []float64, at []int64, av []float64, bt []int64, bv []float64) ([]int64, []float64) {
	for len(at) > 0 && len(bt) > 0 {
		switch {
		case at[0] < bt[0]:
			t, v = append(t, at[0]), append(v, av[0])
			at, av = at[1:], av[1:]
		case at[0] > bt[0]:
			t, v = append(t, bt[0]), append(v, bv[0])
			bt, bv = bt[1:], bv[1:]
		default:
			t, v = append(t, bt[0]), append(v, bv[0])
			at, av, bt, bv = at[1:], av[1:], bt[1:], bv[1:]
		}
	}
	t, v = append(append(t, at...), bt...), append(append(v, av...), bv...)
	return t, v
}

// A headView is a series of a head as it was at one moment.
type headView struct {
	start int64
	data  []byte
	t     []int64 // of buf
	v     []float64
	late  lateBuf
}

// view copies what may change.
func (h *head) view(ord uint32, w *headView) bool {
	if int(ord) >= len(h.series) || h.series[ord].empty() {
		return false
	}
	s := &h.series[ord]
	w.start, w.data = h.start, s.data
	w.t, w.v = w.t[:0], w.v[:0]
	if s.buf != nil {
		for _, off := range s.buf.t[:s.n] {
			w.t = append(w.t, h.start+int64(off))
		}
		w.v = append(w.v, s.buf.v[:s.n]...)
	}
	w.late.t, w.late.v = w.late.t[:0], w.late.v[:0]
	if s.late != nil {
		w.late.t, w.late.v = append(w.late.t, s.late.t...), append(w.late.v, s.late.v...)
	}
	return true
}

// samples returns all samples of the view, valid until c is used again.
func (w *headView) samples(c *headCoder) ([]int64, []float64) {
	h := head{start: w.start}
	c.allT, c.allV = c.allT[:0], c.allV[:0]
	h.unpack(c, w.data)
	c.allT, c.allV = append(c.allT, w.t...), append(c.allV, w.v...)
	if len(w.late.t) == 0 {
		return c.allT, c.allV
	}
	lt, lv := w.late.sorted(c)
	n := len(c.allT) + len(lt)
	c.mergedT, c.mergedV = mergeSamples(c.mergedT[:0], c.mergedV[:0], c.allT, c.allV, lt, lv)
	c.duplicates += uint64(n - len(c.mergedT))
	return c.mergedT, c.mergedV
}

// set replaces what the head has of a series.
func (h *head) set(ord uint32, c *headCoder, t []int64, v []float64) {
	s := &h.series[ord]
	h.bytes -= int64(cap(s.data))
	*s = headSeries{buf: s.buf, hint: s.hint}
	if len(t) == 0 {
		if s.buf != nil {
			s.buf = nil
			h.used--
			h.bytes -= headSeriesBytes + headBufBytes
		}
		return
	}
	c.out = h.appendRuns(c, c.out[:0], s, t, v)
	s.data = slices.Clone(c.out)
	s.young = uint32(len(s.data))
	s.packed = t[len(t)-1]
	h.bytes += int64(cap(s.data))
	if s.buf == nil {
		s.buf = new(headBuf)
	}
}
