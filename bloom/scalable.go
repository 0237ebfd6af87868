package bloom

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// A Scalable is a row of filters of which each has room for twice as many items as
// the one before and is wrong at 0.8 times its rate, so that the sum stays below the
// rate asked for however many there are (Almeida et al.). Beyond the number it
// began with it takes about twice the bits of a filter of the right size. Use
// [NewScalable]. Reads may run together, writes need exclusive access.
type Scalable struct {
	n     uint64 // items of the first filter
	p     float64
	parts []*Filter // oldest first
	room  uint64    // changes that the last one can still take
}

// tighten is how much smaller each filter's rate is than the one's before.
const tighten = 0.8

// NewScalable returns a filter that begins with room for n items and grows, with a
// false-positive rate of at most p throughout. The ranges are those of [New], but
// p is at least 1e-7.
func NewScalable(n uint64, p float64) (*Scalable, error) {
	if !(p >= 1e-7 && p < 1) {
		return nil, fmt.Errorf("%w: false-positive rate %v is not in [1e-7, 1)", ErrInvalid, p)
	}
	s := &Scalable{n: n, p: p}
	if err := s.grow(); err != nil {
		return nil, err
	}
	return s, nil
}

// grow adds a filter.
func (s *Scalable) grow() error {
	n, p := s.part(len(s.parts))
	f, err := New(n, p)
	if err != nil {
		return err
	}
	s.parts, s.room = append(s.parts, f), n
	return nil
}

// part returns what the i-th filter is made for.
func (s *Scalable) part(i int) (n uint64, p float64) {
	n, p = s.n, s.p*(1-tighten)
	for range i {
		n, p = 2*n, max(p*tighten, minRate)
	}
	return n, p
}

// AddHash adds an item by its hash and tells whether the filter changed. What is
// contained already takes no room. When the filter cannot grow any more, beyond
// [MaxBits], it goes on with a rising rate.
func (s *Scalable) AddHash(h uint64) (changed bool) {
	last := len(s.parts) - 1
	for _, f := range s.parts[:last] {
		if f.ContainsHash(h) {
			return false
		}
	}
	if !s.parts[last].AddHash(h) {
		return false
	}
	if s.room--; s.room == 0 && s.grow() != nil {
		s.room = s.n
	}
	return true
}

// ContainsHash tells whether an item was added: false is certain. The newest
// filter, which has half of the items, is asked first.
func (s *Scalable) ContainsHash(h uint64) bool {
	for i := len(s.parts) - 1; i >= 0; i-- {
		if s.parts[i].ContainsHash(h) {
			return true
		}
	}
	return false
}

// Add adds an item, as AddHash does.
func (s *Scalable) Add(item []byte) bool { return s.AddHash(xxhash.Sum64(item)) }

// AddString is Add for a string.
func (s *Scalable) AddString(item string) bool { return s.AddHash(xxhash.Sum64String(item)) }

// Contains tells whether an item was added, as ContainsHash does.
func (s *Scalable) Contains(item []byte) bool { return s.ContainsHash(xxhash.Sum64(item)) }

// ContainsString is Contains for a string.
func (s *Scalable) ContainsString(item string) bool { return s.ContainsHash(xxhash.Sum64String(item)) }

// Bits returns the size of all filters in bits.
func (s *Scalable) Bits() (n uint64) {
	for _, f := range s.parts {
		n += f.Bits()
	}
	return n
}

// FPR returns the false-positive rate at this moment.
func (s *Scalable) FPR() float64 { return anyOf(s.parts) }

// anyOf is the rate of asking several filters.
func anyOf(fs []*Filter) float64 {
	none := 1.0
	for _, f := range fs {
		none *= 1 - f.FPR()
	}
	return 1 - none
}

// Cardinality estimates how many different items were added.
func (s *Scalable) Cardinality() (n float64) {
	for _, f := range s.parts {
		n += f.Cardinality()
	}
	return n
}

// Reset removes all items and all filters but the first.
func (s *Scalable) Reset() {
	s.parts[0].Reset()
	s.parts, s.room = s.parts[:1], s.n
}

// A Generations remembers the items of the last few periods. Items are added to
// the newest; when a period is over, [Generations.Rotate] drops the oldest one's
// items all at once. Use [NewGenerations]. Reads may run together, writes need
// exclusive access.
type Generations struct {
	parts []*Filter
	at    int // the newest
}

// NewGenerations returns a filter of g periods, 1 to 64, with room for n items in
// each, whose false-positive rate over all of them is at most p. An item is
// remembered for at least g−1 and at most g periods.
func NewGenerations(n uint64, p float64, g int) (*Generations, error) {
	if g < 1 || g > 64 {
		return nil, fmt.Errorf("%w: %d generations: want 1 to 64", ErrInvalid, g)
	}
	if !(p >= 64*minRate && p < 1) {
		return nil, fmt.Errorf("%w: false-positive rate %v is not in [%v, 1)", ErrInvalid, p, 64*minRate)
	}
	f, err := New(n, p/float64(g)) // the chances add up to at most p
	if err != nil {
		return nil, err
	}
	s := &Generations{parts: []*Filter{f}}
	for len(s.parts) < g {
		s.parts = append(s.parts, &Filter{make([]block, len(f.blocks)), f.k})
	}
	return s, nil
}

// AddHash adds an item by its hash to the newest generation, which it is
// remembered from, and tells whether it was in none.
func (g *Generations) AddHash(h uint64) (fresh bool) {
	fresh = true
	for i, f := range g.parts {
		if i != g.at && f.ContainsHash(h) {
			fresh = false
		}
	}
	return g.parts[g.at].AddHash(h) && fresh
}

// ContainsHash tells whether an item was added in the last generations: false is
// certain.
func (g *Generations) ContainsHash(h uint64) bool {
	for i := range g.parts { // the newest first
		if g.parts[(g.at+len(g.parts)-i)%len(g.parts)].ContainsHash(h) {
			return true
		}
	}
	return false
}

// Add adds an item, as AddHash does.
func (g *Generations) Add(item []byte) bool { return g.AddHash(xxhash.Sum64(item)) }

// AddString is Add for a string.
func (g *Generations) AddString(item string) bool { return g.AddHash(xxhash.Sum64String(item)) }

// Contains tells whether an item was added, as ContainsHash does.
func (g *Generations) Contains(item []byte) bool { return g.ContainsHash(xxhash.Sum64(item)) }

// ContainsString is Contains for a string.
func (g *Generations) ContainsString(item string) bool {
	return g.ContainsHash(xxhash.Sum64String(item))
}

// Rotate begins a new generation in the place of the oldest, whose items are
// forgotten. It allocates nothing.
func (g *Generations) Rotate() {
	g.at = (g.at + 1) % len(g.parts)
	g.parts[g.at].Reset()
}

// Len returns the number of generations.
func (g *Generations) Len() int { return len(g.parts) }

// Bits returns the size of all generations in bits.
func (g *Generations) Bits() uint64 { return uint64(len(g.parts)) * g.parts[0].Bits() }

// FPR returns the false-positive rate at this moment.
func (g *Generations) FPR() float64 { return anyOf(g.parts) }
