package tsdb

import (
	"cmp"
	"math"
	"slices"
)

// A lateLog holds the late samples of a head's series, as they came, until they
// are joined with the samples among which they lie. All series share one list,
// which is written from front to back, and each of their samples points at the
// one before: to keep a list for each series would cost several misses of the
// cache a sample.
//
//	ends   series 0: 4, 2 samples    series 1: 3, 1 sample    ...
//	list   [ . ][ ←0 ][ . ][ . ][ ←1 ]
//
// A head has lateShards of them, so that as many goroutines can work on it.
type lateLog struct {
	ends []lateEnd // by ordinal / lateShards; short while nobody is late
	list []lateSample
	dead int // samples in list that are taken
}

// A lateEnd is where the samples of a series are.
type lateEnd struct {
	last uint32 // index in list of the last, plus 1
	n    uint32
}

type lateSample struct {
	v    float64
	off  uint32 // since the head's start
	prev uint32 // as lateEnd.last
}

const (
	lateShards = 4
	lateSize   = 128 // late samples of a series that are joined at the latest

	lateEndBytes    = 8
	lateSampleBytes = 16
)

type sample struct {
	t int64
	v float64
}

// lateOf returns where the late samples of a series are found.
func (h *head) lateOf(ord uint32) (*lateLog, *lateEnd) {
	l := &h.late[ord%lateShards]
	if i := int(ord / lateShards); i < len(l.ends) {
		return l, &l.ends[i]
	}
	return l, nil
}

func (h *head) hasLate(ord uint32) bool {
	_, e := h.lateOf(ord)
	return e != nil && e.n > 0
}

// addLate keeps a sample for later. The series has samples in data.
func (h *head) addLate(s *headSeries, ord uint32, c *headCoder, off uint32, v float64) {
	l, e := h.lateOf(ord)
	if e == nil {
		before := cap(l.ends)
		l.ends = append(l.ends, make([]lateEnd, int(ord/lateShards)+1-len(l.ends))...)
		h.bytes.Add(int64(cap(l.ends)-before) * lateEndBytes)
		_, e = h.lateOf(ord)
	}
	if len(l.list) == cap(l.list) {
		l.makeRoom(h)
	}
	l.list = append(l.list, lateSample{v, off, e.last})
	e.last, e.n = uint32(len(l.list)), e.n+1
	if e.n >= lateSize {
		h.fold(s, ord, c)
	}
}

// makeRoom drops what is taken, if that is the half, or makes the list longer.
func (l *lateLog) makeRoom(h *head) {
	before := cap(l.list)
	if 2*l.dead < len(l.list) || l.dead == 0 {
		l.list = slices.Grow(l.list, max(256, len(l.list)/2))
	} else {
		old := l.list
		l.list = make([]lateSample, 0, max(256, 2*(len(old)-l.dead)))
		for i := range l.ends {
			e := &l.ends[i]
			begin := len(l.list)
			for at := e.last; at != 0; at = old[at-1].prev {
				l.list = append(l.list, old[at-1])
			}
			slices.Reverse(l.list[begin:])
			l.chain(e, begin)
		}
		l.dead = 0
	}
	h.bytes.Add(int64(cap(l.list)-before) * lateSampleBytes)
}

// chain makes the samples from begin on those of a series.
func (l *lateLog) chain(e *lateEnd, begin int) {
	e.last, e.n = 0, uint32(len(l.list)-begin)
	for i := begin; i < len(l.list); i++ {
		l.list[i].prev = e.last
		e.last = uint32(i + 1)
	}
}

// appendLate appends the late samples of a series to dst, the last first.
func (h *head) appendLate(dst []sample, ord uint32) []sample {
	l, e := h.lateOf(ord)
	if e == nil {
		return dst
	}
	for at := e.last; at != 0; at = l.list[at-1].prev {
		dst = append(dst, sample{h.start + int64(l.list[at-1].off), l.list[at-1].v})
	}
	return dst
}

// takeLate takes away the late samples of a series with offsets from first to
// last, the last that came first. They are valid until c is used again.
func (h *head) takeLate(ord uint32, c *headCoder, first, last uint32) []sample {
	c.taken = c.taken[:0]
	l, e := h.lateOf(ord)
	if e == nil {
		return nil
	}
	link := &e.last // where to say which sample comes before
	for at := e.last; at != 0; {
		x := &l.list[at-1]
		if first <= x.off && x.off <= last {
			c.taken = append(c.taken, sample{h.start + int64(x.off), x.v})
		} else {
			*link = at
			link = &x.prev
		}
		at = x.prev
	}
	*link = 0
	e.n -= uint32(len(c.taken))
	l.dead += len(c.taken)
	return c.taken
}

// join merges late samples, of which the last come first, with those in allT and
// allV. The result is valid until c is used again.
func (h *head) join(c *headCoder, late []sample) ([]int64, []float64) {
	c.pairs, c.lateT, c.lateV = append(c.pairs[:0], late...), c.lateT[:0], c.lateV[:0]
	slices.SortStableFunc(c.pairs, func(a, b sample) int { return cmp.Compare(a.t, b.t) })
	for _, p := range c.pairs {
		if n := len(c.lateT); n > 0 && c.lateT[n-1] == p.t {
			c.duplicates++ // an older one
			continue
		}
		c.lateT, c.lateV = append(c.lateT, p.t), append(c.lateV, p.v)
	}
	n := len(c.allT) + len(c.lateT)
	c.mergedT, c.mergedV = mergeSamples(c.mergedT[:0], c.mergedV[:0], c.allT, c.allV, c.lateT, c.lateV)
	c.duplicates += uint64(n - len(c.mergedT))
	return c.mergedT, c.mergedV
}

// fold joins the late samples with the blocks among which they lie.
func (h *head) fold(s *headSeries, ord uint32, c *headCoder) {
	late := h.takeLate(ord, c, 0, math.MaxUint32)
	least := late[0].t
	for _, x := range late {
		least = min(least, x.t)
	}
	first := uint32(least - h.start)
	at := 0
	for { // to the last block that begins at or before first
		next := at + packedEnd(s.data[at:])
		if next >= len(s.data) || packedStart(s.data[next:]) > first {
			break
		}
		at = next
	}
	c.allT, c.allV = c.allT[:0], c.allV[:0]
	h.unpack(c, s.data[at:])
	t, v := h.join(c, late)
	c.out = h.appendRuns(c, c.out[:0], s, t, v)
	h.replace(c, s, at, len(s.data))
	s.nYoung = 0
}

// mergeSamples appends the union of a and b, which rise; where both have a time
// b's value counts. It is meant for few in b.
func mergeSamples(t []int64, v []float64, at []int64, av []float64, bt []int64, bv []float64) ([]int64, []float64) {
	for len(at) > 0 && len(bt) > 0 {
		n := 0
		for n < len(at) && at[n] < bt[0] {
			n++
		}
		t, v = append(t, at[:n]...), append(v, av[:n]...)
		if at, av = at[n:], av[n:]; len(at) == 0 {
			break
		}
		n = 0
		for n < len(bt) && bt[n] < at[0] {
			n++
		}
		t, v = append(t, bt[:n]...), append(v, bv[:n]...)
		if bt, bv = bt[n:], bv[n:]; len(bt) > 0 && bt[0] == at[0] {
			at, av = at[1:], av[1:]
		}
	}
	t, v = append(append(t, at...), bt...), append(append(v, av...), bv...)
	return t, v
}
