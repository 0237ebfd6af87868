package cms

import (
	"fmt"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
)

const (
	// MaxDepth is the greatest number of rows of a [Sketch].
	MaxDepth = 16
	// MaxCells is the greatest number of counters of a [Sketch], of four bytes each.
	MaxCells = 1 << 31
)

// Odd factors, one for each row: the high bits of the product with a hash are the
// row's hash (multiply-shift, Dietzfelbinger and others, 1997). They are successive
// outputs of SplitMix64 from 1, made odd.
var factors = func() (f [MaxDepth]uint64) {
	for i := range f {
		f[i] = mix(uint64(i+1)*0x9e3779b97f4a7c15) | 1
	}
	return f
}()

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// A Sketch is a count-min sketch with conservative update. Counters have 32 bits
// and stay at their greatest value when they reach it. Use [New] or [NewSize], or
// UnmarshalBinary of the zero value.
//
// A Sketch is not safe for concurrent use, but for calls that do not change it.
type Sketch struct {
	width uint64
	cells []uint32 // row by row
	total uint64
	// By how much a count may exceed its counters' because Decay rounds up.
	rounded uint64
}

// New returns a sketch whose counts exceed the truth by more than epsilon·Total
// with probability at most delta: ⌈e/epsilon⌉ counters in each of ⌈ln(1/delta)⌉
// rows. Both are above 0 and below 1; 0.0001 and 0.01 make 5 rows and 544 KB.
func New(epsilon, delta float64) (*Sketch, error) {
	if !(epsilon > 0 && epsilon < 1 && delta > 0 && delta < 1) {
		return nil, fmt.Errorf("%w: epsilon %v and delta %v, not above 0 and below 1", ErrInvalid, epsilon, delta)
	}
	width := math.Ceil(math.E / epsilon)
	if width > MaxCells {
		return nil, fmt.Errorf("%w: epsilon %v needs more than %d counters", ErrInvalid, epsilon, uint64(MaxCells))
	}
	return NewSize(int(min(width, math.MaxInt)), int(math.Ceil(-math.Log(delta))))
}

// NewSize returns a sketch of depth rows, 1 to [MaxDepth], with width counters
// each, together at most [MaxCells]. It holds 4·width·depth bytes.
func NewSize(width, depth int) (*Sketch, error) {
	if depth < 1 || depth > MaxDepth {
		return nil, fmt.Errorf("%w: %d rows, not in [1, %d]", ErrInvalid, depth, MaxDepth)
	}
	if width < 1 || uint64(width) > MaxCells/uint64(depth) {
		return nil, fmt.Errorf("%w: %d rows of %d counters, not from 1 to %d together", ErrInvalid, depth, width, uint64(MaxCells))
	}
	return &Sketch{width: uint64(width), cells: make([]uint32, width*depth)}, nil
}

// Width returns the number of counters in a row.
func (s *Sketch) Width() int { return int(s.width) }

// Depth returns the number of rows.
func (s *Sketch) Depth() int { return len(s.cells) / int(max(1, s.width)) }

// Total returns the sum of all that was added.
func (s *Sketch) Total() uint64 { return s.total }

// place returns where the counter of row i is in the row. Width is below 2^32.
func place(h uint64, i int, width uint64) uint64 { return h * factors[i] >> 32 * width >> 32 }

// AddHash adds an item n times, by 64 well-mixed bits of hash, and returns its new
// count. It costs two passes over depth counters.
func (s *Sketch) AddHash(h uint64, n uint32) uint64 {
	s.total = saturate(s.total, uint64(n))
	cells, w := s.cells, s.width
	if uint64(len(cells)) != 4*w {
		return s.addAny(h, n)
	}
	// Four rows, which is what most have, without loops. All counters are written,
	// since which of them grow is nothing that a processor could foresee.
	a := h * factors[0] >> 32 * w >> 32
	b := h*factors[1]>>32*w>>32 + w
	c := h*factors[2]>>32*w>>32 + 2*w
	d := h*factors[3]>>32*w>>32 + 3*w
	ca, cb, cc, cd := cells[a], cells[b], cells[c], cells[d]
	least := min(ca, cb, cc, cd, math.MaxUint32-n) + n
	cells[a], cells[b], cells[c], cells[d] = max(ca, least), max(cb, least), max(cc, least), max(cd, least)
	return uint64(least)
}

func (s *Sketch) addAny(h uint64, n uint32) uint64 {
	var at [MaxDepth]*uint32
	least := uint32(math.MaxUint32)
	depth := 0
	for rows := s.cells; uint64(len(rows)) >= s.width && depth < MaxDepth; depth++ {
		at[depth] = &rows[place(h, depth, s.width)]
		least = min(least, *at[depth])
		rows = rows[s.width:]
	}
	least = min(least, math.MaxUint32-n) + n
	for _, p := range at[:depth] {
		*p = max(*p, least)
	}
	return uint64(least)
}

// CountHash returns how often an item was added: never too low, unless counters
// are at their end, and too high by what shares its counters in all rows.
func (s *Sketch) CountHash(h uint64) uint64 {
	least := uint32(math.MaxUint32)
	rows := s.cells
	for i := 0; uint64(len(rows)) >= s.width && i < MaxDepth; i++ {
		least = min(least, rows[place(h, i, s.width)])
		rows = rows[s.width:]
	}
	return uint64(least)
}

// Add adds an item n times and returns its new count.
func (s *Sketch) Add(item []byte, n uint32) uint64 { return s.AddHash(xxhash.Sum64(item), n) }

// AddString is Add for a string.
func (s *Sketch) AddString(item string, n uint32) uint64 {
	return s.AddHash(xxhash.Sum64String(item), n)
}

// Count returns how often an item was added, as CountHash does.
func (s *Sketch) Count(item []byte) uint64 { return s.CountHash(xxhash.Sum64(item)) }

// CountString is Count for a string.
func (s *Sketch) CountString(item string) uint64 { return s.CountHash(xxhash.Sum64String(item)) }

// Epsilon returns the share of Total that counts exceed by at most, with
// probability 1-Delta: e/width.
func (s *Sketch) Epsilon() float64 { return math.E / float64(s.width) }

// Delta returns the probability that a count exceeds the truth by more than
// Epsilon·Total: e^-depth. It holds for the textbook's update and so all the more
// for the conservative one, which stays far below.
func (s *Sketch) Delta() float64 { return math.Exp(-float64(s.Depth())) }

// Bounds returns between which numbers an item's truth lies: at most hi, which is
// its count; and at least lo, which is Epsilon·Total less, with probability
// 1-Delta.
func (s *Sketch) Bounds(h uint64) (lo, hi uint64) {
	hi = s.CountHash(h)
	return hi - min(hi, saturate(uint64(math.Ceil(s.Epsilon()*float64(s.total))), s.rounded)), hi
}

// Merge adds the counts of a sketch of the same size, or returns
// [ErrIncompatible]. Counts stay upper bounds. They may be above those of one
// sketch that saw everything, whose conservative update knew more.
func (s *Sketch) Merge(other *Sketch) error {
	if s.width != other.width || len(s.cells) != len(other.cells) {
		return fmt.Errorf("%w: %d×%d and %d×%d", ErrIncompatible, s.Depth(), s.width, other.Depth(), other.width)
	}
	for i, c := range other.cells {
		s.cells[i] += min(c, math.MaxUint32-s.cells[i])
	}
	s.total, s.rounded = saturate(s.total, other.total), saturate(s.rounded, other.rounded)
	return nil
}

// Decay multiplies all counts by keep, from 0 to 1, rounding up: old events weigh
// less from now on, and counts are upper bounds of the sums of weights. Because they
// are rounded up, counts up to 1/(1-keep) do not fall any more: call it seldom and with
// a small keep rather than often with one near 1. It costs a pass over all counters.
func (s *Sketch) Decay(keep float64) error {
	if !(keep >= 0 && keep <= 1) {
		return fmt.Errorf("%w: factor %v, not in [0, 1]", ErrInvalid, keep)
	}
	for i, c := range s.cells {
		s.cells[i] = uint32(math.Ceil(float64(c) * keep))
	}
	s.total = scaleUp(s.total, keep)
	if keep < 1 {
		s.rounded = saturate(scaleUp(s.rounded, keep), 1)
	}
	return nil
}

// Clone returns a copy.
func (s *Sketch) Clone() *Sketch {
	return &Sketch{s.width, append([]uint32(nil), s.cells...), s.total, s.rounded}
}

// Reset forgets all items.
func (s *Sketch) Reset() {
	clear(s.cells)
	s.total, s.rounded = 0, 0
}

func saturate(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// scaleUp returns keep·n, rounded up.
func scaleUp(n uint64, keep float64) uint64 {
	f := float64(n)
	if n > 1<<53 {
		f = math.Nextafter(f, math.Inf(1))
	}
	f = math.Ceil(f * keep)
	if n > 1<<53 {
		f = math.Nextafter(f, math.Inf(1))
	}
	if f >= math.MaxUint64 {
		return n
	}
	return min(n, uint64(f))
}

// scaleDown returns keep·n, rounded down.
func scaleDown(n uint64, keep float64) uint64 {
	f := float64(n) * keep
	if n > 1<<53 {
		f = max(0, math.Nextafter(f, 0)*(1-0x1p-52))
	}
	if f >= math.MaxUint64 {
		return n
	}
	return min(n, uint64(f))
}

// A Window counts items over the last stretch of time: a ring of sketches, each of
// an equal part of it, of which the oldest is reused. Time is the caller's: it may
// be that of events. Use [NewWindow].
//
// A Window is not safe for concurrent use, but for calls of Count.
type Window struct {
	slot   time.Duration
	slots  []*Sketch
	newest int64 // number of the newest slot since 1970; it is in slots[newest mod len]
	begun  bool
}

// NewWindow returns a window over the last span of time, in so many slots, 1 to
// 1,000, each with a sketch of depth rows of width counters. It holds
// 4·width·depth·(slots+1) bytes.
func NewWindow(span time.Duration, slots, width, depth int) (*Window, error) {
	if slots < 1 || slots > 1000 || span < time.Duration(slots) || span%time.Duration(slots) != 0 {
		return nil, fmt.Errorf("%w: %v in %d slots: 1 to 1,000 of whole nanoseconds each", ErrInvalid, span, slots)
	}
	w := &Window{slot: span / time.Duration(slots)}
	for range slots + 1 {
		s, err := NewSize(width, depth)
		if err != nil {
			return nil, err
		}
		w.slots = append(w.slots, s)
	}
	return w, nil
}

func (w *Window) number(t time.Time) int64 {
	n := t.UnixNano()
	q := n / int64(w.slot)
	if n%int64(w.slot) < 0 {
		q--
	}
	return q
}

func (w *Window) at(n int64) *Sketch {
	m := int64(len(w.slots))
	return w.slots[(n%m+m)%m]
}

// AddHash adds an item n times at time t and tells whether that was taken: an item
// that is older than the window is not. A later time than any before moves the
// window on. Times are between the years 1678 and 2262.
func (w *Window) AddHash(h uint64, n uint32, t time.Time) (taken bool) {
	k := w.number(t)
	if !w.begun {
		w.newest, w.begun = k, true
	}
	if k <= w.newest-int64(len(w.slots)) {
		return false
	}
	if k-w.newest >= int64(len(w.slots)) {
		for _, s := range w.slots {
			s.Reset()
		}
		w.newest = k
	}
	for w.newest < k {
		w.newest++
		w.at(w.newest).Reset()
	}
	w.at(k).AddHash(h, n)
	return true
}

// CountHash returns how often an item was added in the span that ends at t, t
// included, which is not before the latest item: what is older than the span before
// that is forgotten. It is never too low, for what was taken. It counts at most one slot too
// much at the beginning, and exceeds the truth of that longer span by more than
// e/width of all in it with probability at most e^-depth. It costs slots·depth
// counters.
//
// What is newer than t in t's own slot is counted too.
func (w *Window) CountHash(h uint64, t time.Time) (n uint64) {
	if !w.begun {
		return 0
	}
	last := w.number(t)
	first := last - int64(len(w.slots)) + 1
	for k := max(first, w.newest-int64(len(w.slots))+1); k <= min(last, w.newest); k++ {
		n += w.at(k).CountHash(h)
	}
	return n
}

// Total returns the sum of all that CountHash counts at t.
func (w *Window) Total(t time.Time) (n uint64) {
	if !w.begun {
		return 0
	}
	last := w.number(t)
	first := last - int64(len(w.slots)) + 1
	for k := max(first, w.newest-int64(len(w.slots))+1); k <= min(last, w.newest); k++ {
		n = saturate(n, w.at(k).Total())
	}
	return n
}

// AddString adds a string as AddHash does.
func (w *Window) AddString(item string, n uint32, t time.Time) (taken bool) {
	return w.AddHash(xxhash.Sum64String(item), n, t)
}

// CountString counts a string as CountHash does.
func (w *Window) CountString(item string, t time.Time) uint64 {
	return w.CountHash(xxhash.Sum64String(item), t)
}
