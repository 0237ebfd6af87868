package tsdb

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
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
	late       [lateShards]lateLog
	bytes      atomic.Int64 // estimate of the memory it takes, but for series
	epoch      uint64       // of the log, when the head was made
	pos        uint64       // of the log, when it was frozen
	born       time.Time    // when it was made
	logs       []logEntry   // of a head of logs
}

// grow makes room for n series.
func (h *head) grow(n int) {
	if n > len(h.series) {
		h.series = append(h.series, make([]headSeries, n-len(h.series))...)
	}
}

// headSeries is one series in a head, 64 bytes. A buffer takes the newest samples
// as they come, at most 32; before them are packed blocks. Blocks of 32 are
// young: four are joined to one of 128, and these and four more to one of 256.
//
//	data  [ 256 ][ 256 ][ 128 ][ 32 ][ 32 ]    buffer ( t v, t v, ... )
//	                     ^ young
//
// The buffer has 32 slots, one for each step of time, so that a gap costs nothing
// and a sample that is a little late finds its place. It needs no memory while all
// its values are the same. Otherwise vals holds the values; where times follow no
// step, odd holds them. So a sample of an ordinary series touches two cache lines.
//
// All of data is older than all of the buffer. Late samples lie before the buffer
// and count above those of data. Data is only ever appended to or replaced, so a
// reader may keep the slice.
type headSeries struct {
	data   []byte
	vals   *[bufSize]float64 // nil: each value in the buffer is same
	odd    *[bufSize]uint32  // times since the head's start; mostly nil
	same   float64
	first  uint32 // of the buffer, since the head's start; if that is empty: the last of data
	step   uint32 // between slots, if n > 1; may be that of the buffer before if not
	filled uint32 // bit i: slot i has a sample
	n      uint8  // slots up to the last that is filled
	nYoung uint8  // buffers packed since the last block of 256, and youngJoined; see packLate
	hint   uint8  // exponent
	steady bool   // slot i is at first + i·step; else at odd[i], and all are filled
}

const (
	bufSize    = 32
	youngSize  = 8 // buffers that make a block of packedSize
	packedSize = bufSize * youngSize

	youngJoined = 1 << 7 // in nYoung: the first four of the young are one block
)

// Estimates of memory.
const (
	headSeriesBytes = 64
	headValsBytes   = bufSize * 8
	headOddBytes    = bufSize * 4
)

// empty is never true of a series with late samples.
func (s *headSeries) empty() bool { return s.n == 0 && len(s.data) == 0 }

// add puts a sample in, and reports whether it replaced one that is in the
// buffer. Other replacements are found when late samples are joined.
func (h *head) add(s *headSeries, ord uint32, c *headCoder, t int64, v float64) (replaced bool) {
	off, n := uint32(t-h.start), s.n
	if n < 2 || !s.steady || uint64(off) != uint64(s.first)+uint64(n)*uint64(s.step) {
		slot, ok := h.place(s, ord, c, off)
		if !ok {
			if len(s.data) > 0 && (off < s.first || off == s.first && s.n == 0) {
				h.addLate(s, ord, c, off, v)
				return false
			}
			return h.addOdd(s, ord, c, off, v)
		}
		if s.filled&(1<<slot) != 0 && s.n > 0 {
			h.put(s, slot, v)
			return true
		}
		n = slot
	}
	h.put(s, n, v)
	s.filled |= 1 << n
	if s.n = max(s.n, n+1); s.n == bufSize {
		h.pack(s, ord, c)
	}
	return false
}

// place finds the slot of a sample that is not the next. It is false if there is
// none: the sample is late, or follows no step.
func (h *head) place(s *headSeries, ord uint32, c *headCoder, off uint32) (slot uint8, ok bool) {
	if s.n == 0 {
		if len(s.data) > 0 && off <= s.first {
			return 0, false
		}
		s.first, s.steady, s.filled = off, true, 0
		return 0, true
	}
	if !s.steady || off < s.first {
		return 0, false
	}
	d := off - s.first
	if s.n == 1 && d > 0 && (s.step == 0 || d%s.step != 0 || d/s.step >= bufSize) {
		s.step = d
	}
	switch {
	case d == 0:
		return 0, true
	case s.step == 0 || d%s.step != 0:
		return 0, false
	case d/s.step < bufSize:
		return uint8(d / s.step), true
	case bits.OnesCount32(s.filled) < bufSize*3/4:
		return 0, false
	}
	h.pack(s, ord, c) // nearly full, and the next is far away
	s.first, s.steady, s.filled = off, true, 0
	return 0, true
}

// put sets the value of a slot.
func (h *head) put(s *headSeries, slot uint8, v float64) {
	switch {
	case s.vals != nil:
	case s.n == 0:
		s.same = v
		return
	case math.Float64bits(v) == math.Float64bits(s.same):
		return
	default:
		h.spread(s)
	}
	s.vals[slot%bufSize] = v
}

// spread makes room for values that differ.
func (h *head) spread(s *headSeries) {
	s.vals = new([bufSize]float64)
	for i := range s.n {
		s.vals[i] = s.same
	}
	h.bytes.Add(headValsBytes)
}

// trim lets go of odd if nothing needs it.
func (h *head) trim(s *headSeries) {
	if s.odd != nil && s.steady {
		h.bytes.Add(-headOddBytes)
		s.odd = nil
	}
}

// times appends the times of the buffer to dst.
func (s *headSeries) times(dst []int64, start int64) []int64 {
	if !s.steady {
		for _, off := range s.slots() {
			dst = append(dst, start+int64(off))
		}
		return dst
	}
	t := start + int64(s.first)
	for i := range s.n {
		if s.filled>>i&1 != 0 {
			dst = append(dst, t)
		}
		t += int64(s.step)
	}
	return dst
}

// slots returns the times in odd.
func (s *headSeries) slots() []uint32 {
	if s.odd == nil {
		return nil
	}
	return s.odd[:s.n]
}

// values appends the values of the buffer to dst.
func (s *headSeries) values(dst []float64) []float64 {
	if s.vals != nil && s.full() {
		return append(dst, s.vals[:s.n]...)
	}
	for i := range s.n {
		switch {
		case s.filled>>i&1 == 0:
		case s.vals != nil:
			dst = append(dst, s.vals[i])
		default:
			dst = append(dst, s.same)
		}
	}
	return dst
}

// full reports whether all slots up to n are filled.
func (s *headSeries) full() bool { return s.filled == 1<<s.n-1 }

// addOdd puts a sample into the buffer, which is not empty, at any place.
func (h *head) addOdd(s *headSeries, ord uint32, c *headCoder, off uint32, v float64) (replaced bool) {
	if s.steady {
		h.unstep(s)
	}
	n := int(s.n)
	t := s.odd
	i, found := n, false
	if off <= t[n-1] {
		i, found = slices.BinarySearch(t[:n], off)
	}
	h.putOdd(s, i, found, v)
	if found {
		return true
	}
	copy(t[i+1:n+1], t[i:n])
	t[i] = off
	s.first = t[0]
	s.n++
	s.filled = 1<<s.n - 1
	if s.n == bufSize {
		h.pack(s, ord, c)
	}
	return false
}

// putOdd sets value i, or inserts one there.
func (h *head) putOdd(s *headSeries, i int, found bool, v float64) {
	if s.vals == nil {
		if math.Float64bits(v) == math.Float64bits(s.same) {
			return
		}
		h.spread(s)
	}
	if !found {
		copy(s.vals[i+1:s.n+1], s.vals[i:s.n])
	}
	s.vals[i] = v
}

// unstep moves the samples of a steady buffer together, and their times to odd.
func (h *head) unstep(s *headSeries) {
	if s.odd == nil {
		s.odd = new([bufSize]uint32)
		h.bytes.Add(headOddBytes)
	}
	o, n := s.odd, uint8(0)
	for i := range s.n {
		if s.filled>>i&1 == 0 {
			continue
		}
		o[n] = s.first + uint32(i)*s.step
		if s.vals != nil {
			s.vals[n] = s.vals[i]
		}
		n++
	}
	s.n, s.steady, s.filled = n, false, 1<<n-1
}

// A headCoder has what packing needs. One serves all heads.
type headCoder struct {
	coder
	t          [maxBlock]int64
	grid       [gridSlots / 8]byte
	out        []byte
	whole      []byte
	allT       []int64
	allV       []float64
	mergedT    []int64
	mergedV    []float64
	pairs      []sample
	lateT      []int64
	lateV      []float64
	taken      []sample
	duplicates uint64
}

// The blocks in data, which never leave the memory:
//
//	4  time of the first sample since the head's start
//	2  size of the rest, of which a block of packedSize needs few
//	   n (uvarint)
//	1  kind of the times: step, grid or free
//	   step: the step (uvarint)
//	   grid: the step, the number of slots (uvarints), a bit for each slot, 1 if
//	         there is a sample
//	   free: integers, counted from the first
//	   values, as in a file
const (
	packedHeader = 6

	timesStep = 0
	timesGrid = 1
	timesFree = 2

	gridSlots = 4 * packedSize // of the largest grid
)

func packedStart(data []byte) uint32 { return binary.LittleEndian.Uint32(data) }

// packedEnd returns where the block at the front of data ends.
func packedEnd(data []byte) int { return packedHeader + int(binary.LittleEndian.Uint16(data[4:])) }

func (h *head) appendPacked(c *headCoder, dst []byte, s *headSeries, t []int64, v []float64) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t[0]-h.start))
	dst = append(dst, 0, 0)
	begin := len(dst)
	dst = binary.AppendUvarint(dst, uint64(len(t)))
	dst = c.appendTimes(dst, t, int64(s.step))
	dst, hint := c.appendValues(dst, v, int(s.hint))
	s.hint = uint8(hint)
	if len(dst)-begin > math.MaxUint16 {
		panic("tsdb: a block of 256 samples takes 64 KiB")
	}
	binary.LittleEndian.PutUint16(dst[begin-2:], uint16(len(dst)-begin))
	return dst
}

// appendTimes appends the times of a block, which may follow a step.
func (c *headCoder) appendTimes(dst []byte, t []int64, step int64) []byte {
	if one, ok := constantStep(t); ok {
		return binary.AppendUvarint(append(dst, timesStep), uint64(one))
	}
	if step == 0 {
		step = t[1] - t[0]
	}
	clear(c.grid[:])
	c.grid[0] = 1
	slot, fits := int64(0), true
	for i := 1; i < len(t) && fits; i++ {
		if d := t[i] - t[i-1]; d == step {
			slot++
		} else {
			slot += d / step
			fits = d%step == 0
		}
		if fits = fits && slot < gridSlots; fits {
			c.grid[slot/8] |= 1 << (slot % 8)
		}
	}
	if fits && slot < 4*int64(len(t)) {
		dst = binary.AppendUvarint(append(dst, timesGrid), uint64(step))
		dst = binary.AppendUvarint(dst, uint64(slot+1))
		return append(dst, c.grid[:slot/8+1]...)
	}
	rel := c.t[:len(t)]
	for i, at := range t {
		rel[i] = at - t[0]
	}
	return c.intCoder.append(append(dst, timesFree), rel)
}

// unpack appends the samples of packed blocks to allT and allV.
func (h *head) unpack(c *headCoder, data []byte) {
	for len(data) > 0 {
		end := packedEnd(data)
		r := reader{b: data[packedHeader:end]}
		n := int(r.uvarint())
		have := len(c.allT)
		c.allT, c.allV = slices.Grow(c.allT, n)[:have+n], slices.Grow(c.allV, n)[:have+n]
		rest, err := c.times(c.allT[have:], h.start+int64(packedStart(data)), &r)
		if err == nil {
			rest, err = decodeValues(c.allV[have:], c.ints[:n], rest)
		}
		if err != nil || len(rest) > 0 {
			panic(fmt.Sprint("tsdb: packed samples: ", err)) // our own bytes, in memory
		}
		data = data[end:]
	}
}

// times decodes the times of a block that begins at first.
func (c *headCoder) times(t []int64, first int64, r *reader) (rest []byte, err error) {
	switch r.byte() {
	case timesStep:
		step := int64(r.uvarint())
		for i := range t {
			t[i] = first
			first += step
		}
	case timesGrid:
		step, slots := int64(r.uvarint()), int(r.uvarint())
		i := 0
		for _, b := range r.bytes((slots + 7) / 8) {
			for ; b != 0 && i < len(t); b &= b - 1 {
				t[i] = first + step*int64(bits.TrailingZeros8(b))
				i++
			}
			first += 8 * step
		}
	case timesFree:
		rest, err := decodeInts(t, r.b)
		for i := range t {
			t[i] += first
		}
		return rest, err
	}
	return r.b, nil
}

// pack moves the buffer to data.
func (h *head) pack(s *headSeries, ord uint32, c *headCoder) {
	at := len(s.data)
	s.nYoung++
	switch s.nYoung { // join the young?
	case youngSize / 2:
		if !h.hasLate(ord) {
			at = lastBlocks(s.data, youngSize/2-1)
			s.nYoung |= youngJoined
		}
	case youngSize, youngSize | youngJoined:
		if !h.hasLate(ord) {
			at = s.youngBegin(s.nYoung - 1)
			s.nYoung = 0
		}
	}
	c.allT, c.allV = c.allT[:0], c.allV[:0]
	h.unpack(c, s.data[at:])
	have := len(c.allT)
	c.allT, c.allV = s.times(c.allT, h.start), s.values(c.allV)
	n := len(c.allT)
	if s.vals != nil && same(c.allV[have:]) { // they may remain so
		s.vals = nil
		h.bytes.Add(-headValsBytes)
	}
	if (n-have)*2 <= int(s.n) {
		s.step = 0 // it has become longer
	}
	s.first, s.n, s.filled = uint32(c.allT[n-1]-h.start), 0, 0
	h.trim(s)
	c.out = h.appendRuns(c, c.out[:0], s, c.allT, c.allV)
	if at == len(s.data) && at+len(c.out) <= cap(s.data) {
		s.data = append(s.data, c.out...)
	} else {
		h.replace(c, s, at, len(s.data)) // bytes in a reader's hands stay as they are
	}
	if s.nYoung&^youngJoined == 2*youngSize {
		h.packLate(s, ord, c)
	}
}

// youngBegin returns where the young blocks begin, of which there are n, with
// youngJoined if four of them have become one.
func (s *headSeries) youngBegin(n uint8) int {
	if n&youngJoined != 0 {
		n -= youngJoined + youngSize/2 - 1
	}
	return lastBlocks(s.data, int(n))
}

// packLate joins the elder half of the young with the samples that are late for
// them. A series with late samples has twice as many young blocks as others, so
// that most have come when it is time, and cost little. When nobody is late any
// more all are joined.
func (h *head) packLate(s *headSeries, ord uint32, c *headCoder) {
	at, end := s.youngBegin(s.nYoung), lastBlocks(s.data, youngSize)
	late := h.takeLate(ord, c, packedStart(s.data[at:]), packedStart(s.data[end:])-1)
	s.nYoung = youngSize
	if len(late) == 0 && !h.hasLate(ord) {
		end, s.nYoung = len(s.data), 0
	}
	c.allT, c.allV = c.allT[:0], c.allV[:0]
	h.unpack(c, s.data[at:end])
	t, v := h.join(c, late)
	c.out = h.appendRuns(c, c.out[:0], s, t, v)
	h.replace(c, s, at, end)
}

// same reports whether all values are the same.
func same(v []float64) bool {
	for _, x := range v {
		if math.Float64bits(x) != math.Float64bits(v[0]) {
			return false
		}
	}
	return true
}

// lastBlocks returns where the last k ≤ 16 blocks of data begin. They are found
// from the front, since it is rarely asked.
func lastBlocks(data []byte, k int) int {
	var at [2 * youngSize]int
	n := 0
	for i := 0; i < len(data); i += packedEnd(data[i:]) {
		at[n%len(at)] = i
		n++
	}
	return at[(n-k)%len(at)]
}

// replace puts c.out in place of data[at:end], in new memory without room that
// the allocator would not waste anyway.
func (h *head) replace(c *headCoder, s *headSeries, at, end int) {
	c.whole = append(append(append(c.whole[:0], s.data[:at]...), c.out...), s.data[end:]...)
	out := append([]byte(nil), c.whole...) // which clears nothing
	h.bytes.Add(int64(cap(out) - cap(s.data)))
	s.data = out
}

// appendRuns appends blocks of nearly equal size, at most packedSize.
func (h *head) appendRuns(c *headCoder, dst []byte, s *headSeries, t []int64, v []float64) []byte {
	for blocks := (len(t) + packedSize - 1) / packedSize; blocks > 0; blocks-- {
		n := (len(t) + blocks - 1) / blocks
		dst = h.appendPacked(c, dst, s, t[:n], v[:n])
		t, v = t[n:], v[n:]
	}
	return dst
}

// A headView is a series of a head as it was at one moment.
type headView struct {
	start int64
	data  []byte
	t     []int64 // of the buffer
	v     []float64
	late  []sample
}

// view copies what may change.
func (h *head) view(ord uint32, w *headView) bool {
	if int(ord) >= len(h.series) || h.series[ord].empty() {
		return false
	}
	s := &h.series[ord]
	w.start, w.data = h.start, s.data
	w.t, w.v = s.times(w.t[:0], h.start), s.values(w.v[:0])
	w.late = h.appendLate(w.late[:0], ord)
	return true
}

// samples returns all samples of the view, valid until c is used again.
func (w *headView) samples(c *headCoder) ([]int64, []float64) {
	h := head{start: w.start}
	c.allT, c.allV = c.allT[:0], c.allV[:0]
	h.unpack(c, w.data)
	c.allT, c.allV = append(c.allT, w.t...), append(c.allV, w.v...)
	if len(w.late) == 0 {
		return c.allT, c.allV
	}
	return h.join(c, w.late)
}

// set replaces what the head has of a series.
func (h *head) set(ord uint32, c *headCoder, t []int64, v []float64) {
	s := &h.series[ord]
	h.takeLate(ord, c, 0, math.MaxUint32)
	h.bytes.Add(-int64(cap(s.data)))
	if s.vals != nil {
		h.bytes.Add(-headValsBytes)
	}
	if s.odd != nil {
		h.bytes.Add(-headOddBytes)
	}
	*s = headSeries{hint: s.hint}
	if len(t) == 0 {
		return
	}
	c.out = h.appendRuns(c, c.out[:0], s, t, v)
	s.data = append([]byte(nil), c.out...)
	s.first = uint32(t[len(t)-1] - h.start)
	h.bytes.Add(int64(cap(s.data)))
}
