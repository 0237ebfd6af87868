package cms

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// A Key is what [TopK] and [Heavy] list.
type Key interface{ ~string | ~uint64 }

// An Item is a row of a list.
type Item[K Key] struct {
	Key K
	// Count is the best estimate, between Lower and Upper.
	Count uint64
	// Lower and Upper are bounds of the truth that always hold.
	Lower, Upper uint64
}

// hasher tells the kinds of keys apart, which a type parameter cannot.
type hasher[K Key] struct{ isString bool }

func newHasher[K Key]() hasher[K] {
	return hasher[K]{reflect.TypeFor[K]().Kind() == reflect.String}
}

func (s hasher[K]) hash(key K) uint64 {
	if s.isString {
		return xxhash.Sum64String(*(*string)(unsafe.Pointer(&key)))
	}
	return mix(*(*uint64)(unsafe.Pointer(&key)) + 0x9e3779b97f4a7c15)
}

// home returns where a hash's search begins in a table of so many slots.
func home(h uint64, slots int) int { return int(h >> 32 * uint64(slots) >> 32) }

const (
	// MaxK is the greatest k of a [TopK].
	MaxK = 1 << 15

	minCells = 16
)

// A TopK lists the k items that were added most often. Use [NewTopK], or
// UnmarshalBinary of the zero value.
//
// The watch on an item is exact, and all before it may have been: Lower is what was
// added since the watch began, Upper is that and all that was added before and is
// not known to be another's. Items at the head of the list are watched from early
// on. Count, in between, adds what the filter had of the item when the watch began,
// and is what the list is sorted by.
//
// A TopK is not safe for concurrent use, but for calls that do not change it.
type TopK[K Key] struct {
	hasher[K]
	k      int
	budget int

	// The watched, in no order; entry i of all of them is one.
	keys   []K
	counts []uint64
	guess  []uint32  // of the count, what came from the filter
	before []float32 // what was added before the watch and not known to be another's
	pos    []uint16  // where in heap
	heap   []uint16  // entries, the least count first
	index  []uint16  // open addressing by hash: entry + 1

	filter

	total uint64
	known uint64 // sum of what all watches have seen
}

// tableBytes is what an entry takes in the table.
func tableBytes[K Key]() int { return int(unsafe.Sizeof(*new(K))) + 8 + 4 + 4 + 2 + 2 + 2*2 }

// NewTopK returns an empty list of the k most frequent items, 1 to [MaxK], in so
// many bytes. The table takes 32 of them for an item, 40 for a string's header,
// and what is left makes the filter: 8 KiB for 100 integers find 97 of 100 in a
// stream of millions, twice as many find all. The text of strings comes on top.
func NewTopK[K Key](k, bytes int) (*TopK[K], error) {
	if k < 1 || k > MaxK {
		return nil, fmt.Errorf("%w: k %d, not in [1, %d]", ErrInvalid, k, MaxK)
	}
	if least := k*tableBytes[K]() + minCells*cellBytes; bytes < least || bytes > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes for k %d, not from %d to %d", ErrInvalid, bytes, k, least, math.MaxInt32)
	}
	cells := (bytes - k*tableBytes[K]()) / cellBytes
	return &TopK[K]{hasher: newHasher[K](), k: k, budget: bytes, filter: newFilter(cells)}, nil
}

// K returns k.
func (t *TopK[K]) K() int { return t.k }

// Total returns the sum of all that was added.
func (t *TopK[K]) Total() uint64 { return t.total }

// find returns the entry of a key, or -1.
func (t *TopK[K]) find(key K, h uint64) int {
	if len(t.index) == 0 {
		return -1
	}
	for i := home(h, len(t.index)); ; {
		e := t.index[i]
		if e == 0 {
			return -1
		}
		if t.keys[e-1] == key {
			return int(e - 1)
		}
		if i++; i == len(t.index) {
			i = 0
		}
	}
}

// Add adds an item n times. When it takes the place of another in the list, that
// one is returned.
func (t *TopK[K]) Add(key K, n uint32) (evicted K, ok bool) {
	h := t.hash(key)
	t.total = saturate(t.total, uint64(n))
	if e := t.find(key, h); e >= 0 {
		t.counts[e] = saturate(t.counts[e], uint64(n))
		t.known = saturate(t.known, uint64(n))
		if p := int(t.pos[e]); 2*p+1 < len(t.heap) {
			t.down(p)
		}
		return evicted, false
	}
	if n == 0 {
		return evicted, false
	}
	if len(t.keys) < t.k {
		t.watch(key, h, uint64(n), 0, uint64(n))
		return evicted, false
	}
	seen := t.filter.add(h, n)
	least := t.counts[t.heap[0]]
	// Who is not watched has had no more than the least of the watched: a count that
	// was above that already is another's, with the same fingerprint.
	if uint64(seen) <= least || uint64(seen-n) > least {
		return evicted, false
	}
	evicted = t.unwatchLeast()
	t.watch(key, h, uint64(seen), seen-n, uint64(n))
	t.filter.forget(h)
	return evicted, true
}

// Count returns the estimate for any item, watched or not. That of an item which is
// not watched comes from the filter: it is at most the least count of the list, and
// often 0.
func (t *TopK[K]) Count(key K) uint64 {
	h := t.hash(key)
	if e := t.find(key, h); e >= 0 {
		return t.item(e).Count
	}
	if len(t.keys) < t.k {
		return 0
	}
	return min(uint64(t.filter.count(h)), t.counts[t.heap[0]])
}

// watch begins to watch an item whose count is known to be at least n now.
func (t *TopK[K]) watch(key K, h, count uint64, guess uint32, n uint64) {
	others := t.total - n
	before := roundUp(others - min(others, t.known))
	e := len(t.keys)
	t.keys = append(t.keys, key)
	t.counts = append(t.counts, count)
	t.guess = append(t.guess, guess)
	t.before = append(t.before, before)
	t.heap = append(t.heap, uint16(e))
	t.pos = append(t.pos, uint16(e))
	t.known = saturate(t.known, n)
	t.up(e)
	if 2*len(t.keys) > len(t.index) && len(t.index) < 2*t.k {
		t.reindex(min(2*t.k, 2*t.indexSlots(len(t.keys))))
		return
	}
	t.enter(e, h)
}

// roundUp returns the least float32 that is not below n.
func roundUp(n uint64) float32 {
	f := float32(n)
	if f < 1<<64 && uint64(f) < n {
		f = math.Nextafter32(f, math.MaxFloat32)
	}
	return f
}

func (t *TopK[K]) enter(e int, h uint64) {
	i := home(h, len(t.index))
	for t.index[i] != 0 {
		if i++; i == len(t.index) {
			i = 0
		}
	}
	t.index[i] = uint16(e + 1)
}

func (t *TopK[K]) reindex(slots int) {
	t.index = make([]uint16, slots)
	for e, key := range t.keys {
		t.enter(e, t.hash(key))
	}
}

// unwatchLeast takes the least of the watched off the table and gives its count to
// the filter.
func (t *TopK[K]) unwatchLeast() K {
	e := int(t.heap[0])
	key, last := t.keys[e], len(t.keys)-1
	t.known -= min(t.known, t.counts[e]-uint64(t.guess[e]))
	t.leave(key)
	t.filter.keep(t.hash(key), t.counts[e])

	// Off the heap, and the last entry in the hole.
	end := t.heap[last]
	t.heap = t.heap[:last]
	if last > 0 {
		t.heap[0] = end
		t.pos[end] = 0
		t.down(0)
	}
	if e != last {
		t.slotOf(t.keys[last], func(i int) { t.index[i] = uint16(e + 1) })
		t.keys[e], t.counts[e], t.guess[e], t.before[e] = t.keys[last], t.counts[last], t.guess[last], t.before[last]
		t.pos[e] = t.pos[last]
		t.heap[t.pos[e]] = uint16(e)
	}
	clear(t.keys[last:])
	t.keys, t.counts, t.guess, t.before, t.pos = t.keys[:last], t.counts[:last], t.guess[:last], t.before[:last], t.pos[:last]
	return key
}

// slotOf calls f with the place of a key in the index.
func (t *TopK[K]) slotOf(key K, f func(i int)) {
	i := home(t.hash(key), len(t.index))
	for t.keys[t.index[i]-1] != key {
		if i++; i == len(t.index) {
			i = 0
		}
	}
	f(i)
}

// leave takes a key out of the index and moves up those behind it that would not
// be found any more.
func (t *TopK[K]) leave(key K) {
	t.slotOf(key, func(hole int) {
		n := len(t.index)
		for i := (hole + 1) % n; t.index[i] != 0; i = (i + 1) % n {
			h := home(t.hash(t.keys[t.index[i]-1]), n)
			if (i-h+n)%n >= (i-hole+n)%n {
				t.index[hole] = t.index[i]
				hole = i
			}
		}
		t.index[hole] = 0
	})
}

// less is the order of the heap: the last of the list is the least, so that what a
// decoded TopK does next is what the encoded one would have done.
func (t *TopK[K]) less(a, b uint16) bool {
	if t.counts[a] != t.counts[b] {
		return t.counts[a] < t.counts[b]
	}
	return t.keys[a] > t.keys[b]
}

// down restores the heap below i after its count has grown.
func (t *TopK[K]) down(i int) {
	e := t.heap[i]
	for {
		c := 2*i + 1
		if c >= len(t.heap) {
			break
		}
		if c+1 < len(t.heap) && t.less(t.heap[c+1], t.heap[c]) {
			c++
		}
		if !t.less(t.heap[c], e) {
			break
		}
		t.heap[i] = t.heap[c]
		t.pos[t.heap[i]] = uint16(i)
		i = c
	}
	t.heap[i] = e
	t.pos[e] = uint16(i)
}

// up restores the heap above i.
func (t *TopK[K]) up(i int) {
	e := t.heap[i]
	for i > 0 && t.less(e, t.heap[(i-1)/2]) {
		t.heap[i] = t.heap[(i-1)/2]
		t.pos[t.heap[i]] = uint16(i)
		i = (i - 1) / 2
	}
	t.heap[i] = e
	t.pos[e] = uint16(i)
}

func (t *TopK[K]) item(e int) Item[K] {
	lower := t.counts[e] - uint64(t.guess[e])
	upper := uint64(math.MaxUint64)
	if b := float64(t.before[e]); b < math.MaxUint64 {
		upper = saturate(lower, uint64(b))
	}
	return Item[K]{t.keys[e], min(t.counts[e], upper), lower, upper}
}

// List returns the watched items, the most frequent first.
func (t *TopK[K]) List() []Item[K] {
	items := make([]Item[K], len(t.keys))
	for e := range items {
		items[e] = t.item(e)
	}
	sortItems(items)
	return items
}

func sortItems[K Key](items []Item[K]) { slices.SortFunc(items, compareItems) }

// compareItems is the order of a list: the greater count first.
func compareItems[K Key](a, b Item[K]) int {
	if c := cmp.Compare(b.Count, a.Count); c != 0 {
		return c
	}
	return cmp.Compare(a.Key, b.Key)
}

// Merge adds the counts of a TopK of the same k and size, which stays as it is, or
// returns [ErrIncompatible]. The list is then of the union of both: an item that
// one of them watches has the other's count from its table or its filter. Lower
// and Upper hold for the whole.
func (t *TopK[K]) Merge(other *TopK[K]) error {
	if t.k != other.k || len(t.worn) != len(other.worn) {
		return fmt.Errorf("%w: k %d in %d bytes and k %d in %d", ErrIncompatible, t.k, t.budget, other.k, other.budget)
	}
	rows := make([]Item[K], 0, len(t.keys)+len(other.keys))
	for e := range t.keys {
		rows = append(rows, sum(t.item(e), other.whatever(t.keys[e])))
	}
	for e, key := range other.keys {
		if t.find(key, t.hash(key)) < 0 {
			rows = append(rows, sum(other.item(e), t.whatever(key)))
		}
	}
	sortItems(rows)

	merged := &TopK[K]{
		hasher: t.hasher, k: t.k, budget: t.budget, filter: t.filter.clone(), total: saturate(t.total, other.total),
	}
	merged.filter.merge(&other.filter)
	n := min(len(rows), t.k)
	for _, r := range rows[:n] {
		merged.filter.forget(t.hash(r.Key))
	}
	for _, r := range rows[n:] {
		merged.filter.keep(t.hash(r.Key), r.Count)
	}
	merged.fill(rows[:n])
	*t = *merged
	return nil
}

// whatever returns what is known of any item.
func (t *TopK[K]) whatever(key K) Item[K] {
	h := t.hash(key)
	if e := t.find(key, h); e >= 0 {
		return t.item(e)
	}
	it := Item[K]{Key: key, Upper: t.total - min(t.total, t.known)}
	if len(t.keys) == t.k {
		it.Count = min(uint64(t.filter.count(h)), t.counts[t.heap[0]], it.Upper)
	} else {
		it.Upper = 0 // while there is room, everybody is watched
	}
	return it
}

func sum[K Key](a, b Item[K]) Item[K] {
	return Item[K]{a.Key, saturate(a.Count, b.Count), saturate(a.Lower, b.Lower), saturate(a.Upper, b.Upper)}
}

// fill makes the rows the watched of an empty table.
func (t *TopK[K]) fill(rows []Item[K]) {
	t.makeTable(len(rows))
	for i, r := range rows {
		t.set(i, r)
	}
	t.reindex(t.indexSlots(len(rows)))
}

// makeTable makes room for n items, which are then to be set in the order of a list.
func (t *TopK[K]) makeTable(n int) {
	t.keys, t.counts, t.guess = make([]K, n), make([]uint64, n), make([]uint32, n)
	t.before, t.pos, t.heap = make([]float32, n), make([]uint16, n), make([]uint16, n)
	t.known = 0
}

func (t *TopK[K]) set(i int, r Item[K]) {
	t.keys[i] = r.Key
	t.guess[i] = uint32(min(r.Count-r.Lower, math.MaxUint32))
	t.counts[i] = r.Lower + uint64(t.guess[i])
	t.before[i] = roundUp(r.Upper - r.Lower)
	last := len(t.heap) - 1 - i // a list from its end is a heap
	t.pos[i], t.heap[last] = uint16(last), uint16(i)
	t.known = saturate(t.known, r.Lower)
}

func (t *TopK[K]) indexSlots(n int) int { return min(2*t.k, max(8, 2*n+2)) }

// Decay multiplies all counts by keep, from 0 to 1: old events weigh less from now
// on. Lower and Upper are bounds of the sum of weights.
func (t *TopK[K]) Decay(keep float64) error {
	if !(keep >= 0 && keep <= 1) {
		return fmt.Errorf("%w: factor %v, not in [0, 1]", ErrInvalid, keep)
	}
	rows := t.List()
	for i, r := range rows {
		r.Lower, r.Upper = scaleDown(r.Lower, keep), scaleUp(r.Upper, keep)
		r.Count = min(max(r.Lower, scaleDown(r.Count, keep)), r.Upper)
		rows[i] = r
	}
	for i, c := range t.worn {
		t.worn[i] = uint32(float64(c) * keep)
	}
	sortItems(rows)
	t.total, t.known = scaleUp(t.total, keep), 0
	t.fill(rows)
	return nil
}

// Clone returns a copy.
func (t *TopK[K]) Clone() *TopK[K] {
	c := *t
	c.keys, c.counts, c.guess, c.before = slices.Clone(t.keys), slices.Clone(t.counts), slices.Clone(t.guess), slices.Clone(t.before)
	c.pos, c.heap, c.index = slices.Clone(t.pos), slices.Clone(t.heap), slices.Clone(t.index)
	c.filter = t.filter.clone()
	return &c
}

// Reset forgets all items.
func (t *TopK[K]) Reset() {
	clear(t.prints)
	clear(t.worn)
	t.total, t.known = 0, 0
	t.fill(nil)
}

// SizeBytes returns the bytes of memory that the table, which grows up to k items, and
// the filter hold, without the text of strings.
func (t *TopK[K]) SizeBytes() int {
	return len(t.keys)*(tableBytes[K]()-4) + 2*len(t.index) + cellBytes*len(t.worn)
}
