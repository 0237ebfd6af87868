package cms

import (
	"fmt"
	"slices"
)

const (
	// MaxCounters is the greatest number of counters of a [Heavy].
	MaxCounters = 1 << 26

	minSlots = 8
)

// A Heavy finds the items that make up more than a share of the whole, for certain:
// with m counters, each item's count is known to within 2·Total/m, and every item
// above that is in the list. On skewed streams it is much closer. Use [NewHeavy],
// or UnmarshalBinary of the zero value.
//
// A Heavy is not safe for concurrent use, but for calls that do not change it.
type Heavy[K Key] struct {
	hasher[K]
	counters int
	n        int      // counters in use
	keys     []K      // slots of a table with open addressing
	counts   []uint64 // 0: free
	missed   uint64   // what was subtracted so far from any item
	total    uint64
}

// NewHeavy returns an empty sketch of so many counters, 8 to [MaxCounters]: to find
// all items of a share φ of the whole, take 2/φ or more. It starts small and grows
// to 22 bytes for a counter of integers and 32 for one of strings, without their
// text.
func NewHeavy[K Key](counters int) (*Heavy[K], error) {
	if counters < 8 || counters > MaxCounters {
		return nil, fmt.Errorf("%w: %d counters, not in [8, %d]", ErrInvalid, counters, MaxCounters)
	}
	return &Heavy[K]{hasher: newHasher[K](), counters: counters}, nil
}

// Counters returns the number of counters.
func (v *Heavy[K]) Counters() int { return v.counters }

// Total returns the sum of all that was added.
func (v *Heavy[K]) Total() uint64 { return v.total }

// Error returns by how much counts may be too low: Upper less Lower of every item,
// and Upper of those that are not in the list. It is at most 2·Total/Counters, and
// one more for each Decay.
func (v *Heavy[K]) Error() uint64 { return v.missed }

// find returns the slot of a key, or the free one where it belongs. Not all slots
// are in use.
func (v *Heavy[K]) find(key K) int {
	i := home(v.hash(key), len(v.keys))
	for v.counts[i] != 0 && v.keys[i] != key {
		if i++; i == len(v.keys) {
			i = 0
		}
	}
	return i
}

// Add adds an item n times. Once in about half as many new items as there are
// counters it makes room, in time proportional to them; otherwise it costs a
// look-up.
func (v *Heavy[K]) Add(key K, n uint32) { v.add(key, uint64(n)) }

func (v *Heavy[K]) add(key K, n uint64) {
	if n == 0 {
		return
	}
	v.total = saturate(v.total, n)
	v.put(key, n)
}

func (v *Heavy[K]) put(key K, n uint64) {
	if len(v.keys) == 0 {
		v.resize(minSlots)
	}
	i := v.find(key)
	if v.counts[i] != 0 {
		v.counts[i] = saturate(v.counts[i], n)
		return
	}
	if v.n == v.counters {
		if n = v.makeRoom(n); n == 0 {
			return
		}
		i = v.find(key)
	}
	v.keys[i], v.counts[i] = key, n
	if v.n++; v.n < v.counters && slotsFor(v.n+1) > len(v.keys) {
		v.resize(min(2*len(v.keys), slotsFor(v.counters)))
	}
}

// slotsFor leaves a quarter of the slots free.
func slotsFor(n int) int { return max(minSlots, n+n/3+1) }

func (v *Heavy[K]) resize(slots int) {
	keys, counts := v.keys, v.counts
	v.keys, v.counts = make([]K, slots), make([]uint64, slots)
	for i, c := range counts {
		if c != 0 {
			j := v.find(keys[i])
			v.keys[j], v.counts[j] = keys[i], c
		}
	}
}

// makeRoom subtracts the median of all counts and of n, which is about to come,
// from each, and returns what is left of n. At least half of them lose as much as
// the median, which bounds how often that can be: the sum of all losses of an item
// is at most 2·Total/counters.
func (v *Heavy[K]) makeRoom(n uint64) uint64 {
	all := make([]uint64, 0, v.n+1)
	for _, c := range v.counts {
		if c != 0 {
			all = append(all, c)
		}
	}
	median := nth(append(all, n), v.n/2)
	v.missed = saturate(v.missed, median)
	v.lower(func(c uint64) uint64 { return c - min(c, median) })
	return n - min(n, median)
}

// lower changes all counts by f; those at zero go. Each item is taken out and put in
// again, from behind a free slot on, so that all that are on its way are in place
// already.
func (v *Heavy[K]) lower(f func(c uint64) uint64) {
	begin := 0
	for begin < len(v.counts) && v.counts[begin] != 0 {
		begin++
	}
	for n := range v.counts {
		i := begin + n
		if i >= len(v.counts) {
			i -= len(v.counts)
		}
		c := v.counts[i]
		if c == 0 {
			continue
		}
		v.counts[i] = 0
		if c = f(c); c == 0 {
			v.n--
			continue
		}
		j := v.find(v.keys[i])
		v.keys[j], v.counts[j] = v.keys[i], c
	}
	for i, c := range v.counts {
		if c == 0 {
			clear(v.keys[i : i+1]) // let go of strings
		}
	}
}

// nth returns the element that would be at index n if s were sorted. It reorders s
// (Hoare, 1961). The expected cost is linear.
func nth(s []uint64, n int) uint64 {
	seed := uint64(len(s))
	for len(s) > 16 {
		seed = mix(seed + 0x9e3779b97f4a7c15)
		pivot := s[seed%uint64(len(s))]
		i, j := 0, len(s)-1
		for i <= j {
			for s[i] < pivot {
				i++
			}
			for s[j] > pivot {
				j--
			}
			if i <= j {
				s[i], s[j] = s[j], s[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			s = s[:j+1]
		case n >= i:
			s, n = s[i:], n-i
		default:
			return pivot
		}
	}
	slices.Sort(s)
	return s[n]
}

// Count returns between which numbers an item's truth lies, for certain.
func (v *Heavy[K]) Count(key K) (lower, upper uint64) {
	if v.n == 0 {
		return 0, v.missed
	}
	c := v.counts[v.find(key)]
	return c, saturate(c, v.missed)
}

// List returns the items that have a counter, the most frequent first. Count is
// Upper. Items whose Upper is above a share of [Heavy.Total] include all that have
// it; those whose Lower is, only such.
func (v *Heavy[K]) List() []Item[K] {
	items := make([]Item[K], 0, v.n)
	for i, c := range v.counts {
		if c != 0 {
			upper := saturate(c, v.missed)
			items = append(items, Item[K]{v.keys[i], upper, c, upper})
		}
	}
	sortItems(items)
	return items
}

// Merge adds the counts of another sketch, which stays as it is. The result has as
// many counters as v, and its bounds hold for the whole: it is off by at most
// 2·Total/m, where m is the lesser number of counters.
func (v *Heavy[K]) Merge(other *Heavy[K]) {
	if v == other {
		other = other.Clone()
	}
	// In an order that does not depend on slots, so that equal sketches merge
	// equally.
	for _, it := range other.List() {
		v.put(it.Key, it.Lower)
	}
	v.total = saturate(v.total, other.total)
	v.missed = saturate(v.missed, other.missed)
}

// Decay multiplies all counts by keep, from 0 to 1: old events weigh less from now
// on. The bounds are those of the sum of weights.
func (v *Heavy[K]) Decay(keep float64) error {
	if !(keep >= 0 && keep <= 1) {
		return fmt.Errorf("%w: factor %v, not in [0, 1]", ErrInvalid, keep)
	}
	if keep == 1 {
		return nil
	}
	v.lower(func(c uint64) uint64 { return scaleDown(c, keep) })
	// Rounding takes less than one from a counter.
	v.missed, v.total = saturate(scaleUp(v.missed, keep), 1), scaleUp(v.total, keep)
	return nil
}

// Clone returns a copy.
func (v *Heavy[K]) Clone() *Heavy[K] {
	c := *v
	c.keys, c.counts = slices.Clone(v.keys), slices.Clone(v.counts)
	return &c
}

// Reset forgets all items.
func (v *Heavy[K]) Reset() {
	*v = Heavy[K]{hasher: v.hasher, counters: v.counters}
}
