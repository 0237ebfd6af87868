package bloom

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// A block is what one item's bits lie in.
type block [8]uint64

// A Filter is a blocked Bloom filter. Use [New] or [NewBits]; the zero Filter
// contains nothing and takes nothing. Reads may run together, writes need
// exclusive access; see [Concurrent].
type Filter struct {
	blocks []block
	k      int
}

// New returns a filter for n items, of which p·n others will be said to be there
// when it is full: 1 ≤ n, 1e-9 ≤ p < 1. It allocates what it will ever need.
func New(n uint64, p float64) (*Filter, error) {
	b, k, err := size(n, p)
	if err != nil {
		return nil, err
	}
	return &Filter{make([]block, b), k}, nil
}

// NewBits returns a filter of at least that many bits, rounded up to blocks of
// 512, that sets k of them for each item, 1 ≤ k ≤ 21.
func NewBits(size uint64, k int) (*Filter, error) {
	if k < 1 || k > maxHashes {
		return nil, fmt.Errorf("%w: %d hashes: want 1 to %d", ErrInvalid, k, maxHashes)
	}
	if size == 0 {
		return nil, fmt.Errorf("%w: no bits", ErrInvalid)
	}
	if size > MaxBits {
		return nil, fmt.Errorf("%w: %d bits, above %d", ErrTooLarge, size, uint64(MaxBits))
	}
	return &Filter{make([]block, (size+blockBits-1)/blockBits), k}, nil
}

// HashUint64 mixes a number for AddHash and ContainsHash, whose argument must be
// spread evenly over the 64-bit numbers.
func HashUint64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15 // the finaliser of splitmix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// The bits of an item. Part of the format: never change. The block is chosen by
// the upper bits of the hash. Within it each of the k bits is chosen by nine bits
// from the upper end of the hash times an odd constant, which depend on all bits
// of the hash; a product serves for seven of them.
const (
	draws = 7
	step  = 0x9e3779b97f4a7c15
)

func where(h uint64, blocks int) uint64 {
	b, _ := bits.Mul64(h, uint64(blocks))
	return b
}

// next returns the source of the next seven bits.
func next(g uint64) uint64 { return g * step }

// hasMany tells whether k bits of a block are set.
func (b *block) hasMany(source uint64, k int) bool {
	for left := k; ; left -= draws {
		all, g := uint64(1), source
		for range min(left, draws) {
			all &= b[g>>61] >> (g >> 55 & 63)
			g <<= 9
		}
		if all == 0 || left <= draws {
			return all != 0
		}
		source = next(source ^ source>>32)
	}
}

// setMany sets k bits of a block and tells whether all of them were set.
func (b *block) setMany(source uint64, k int) bool {
	all := uint64(1)
	for left := k; ; left -= draws {
		g := source
		for range min(left, draws) {
			i, shift := g>>61, g>>55&63
			all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
			g <<= 9
		}
		if left <= draws {
			return all != 0
		}
		source = next(source ^ source>>32)
	}
}

// AddHash adds an item by its hash and tells whether the filter changed: if not,
// it contained the item or took it for contained.
func (f *Filter) AddHash(h uint64) (changed bool) {
	if len(f.blocks) == 0 {
		return false
	}
	b, source := &f.blocks[where(h, len(f.blocks))], next(h)
	all := uint64(1)
	var i, shift uint64
	switch f.k { // setMany, unrolled
	case 7:
		i, shift = source<<54>>61, source<<54>>55&63
		all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
		fallthrough
	case 6:
		i, shift = source<<45>>61, source<<45>>55&63
		all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
		fallthrough
	case 5:
		i, shift = source<<36>>61, source<<36>>55&63
		all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
		fallthrough
	case 4:
		i, shift = source<<27>>61, source<<27>>55&63
		all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
		fallthrough
	case 3:
		i, shift = source<<18>>61, source<<18>>55&63
		all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
		fallthrough
	case 2:
		i, shift = source<<9>>61, source<<9>>55&63
		all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
		fallthrough
	case 1:
		i, shift = source>>61, source>>55&63
		all, b[i] = all&(b[i]>>shift), b[i]|1<<shift
	default:
		return !b.setMany(source, f.k)
	}
	return all == 0
}

// ContainsHash tells whether an item was added: false is certain.
func (f *Filter) ContainsHash(h uint64) bool {
	if len(f.blocks) == 0 {
		return false
	}
	b, source := &f.blocks[where(h, len(f.blocks))], next(h)
	// hasMany, unrolled. It looks at all bits: to stop at the first that is not set
	// saves less than the processor loses by guessing wrong when that will be.
	all := uint64(1)
	switch f.k {
	case 7:
		all &= b[source<<54>>61] >> (source << 54 >> 55 & 63)
		fallthrough
	case 6:
		all &= b[source<<45>>61] >> (source << 45 >> 55 & 63)
		fallthrough
	case 5:
		all &= b[source<<36>>61] >> (source << 36 >> 55 & 63)
		fallthrough
	case 4:
		all &= b[source<<27>>61] >> (source << 27 >> 55 & 63)
		fallthrough
	case 3:
		all &= b[source<<18>>61] >> (source << 18 >> 55 & 63)
		fallthrough
	case 2:
		all &= b[source<<9>>61] >> (source << 9 >> 55 & 63)
		fallthrough
	case 1:
		all &= b[source>>61] >> (source >> 55 & 63)
	default:
		return b.hasMany(source, f.k)
	}
	return all != 0
}

// Add adds an item and tells whether the filter changed.
func (f *Filter) Add(item []byte) bool { return f.AddHash(xxhash.Sum64(item)) }

// AddString is Add for a string.
func (f *Filter) AddString(item string) bool { return f.AddHash(xxhash.Sum64String(item)) }

// Contains tells whether an item was added: false is certain.
func (f *Filter) Contains(item []byte) bool { return f.ContainsHash(xxhash.Sum64(item)) }

// ContainsString is Contains for a string.
func (f *Filter) ContainsString(item string) bool { return f.ContainsHash(xxhash.Sum64String(item)) }

// Bits returns the size in bits.
func (f *Filter) Bits() uint64 { return uint64(len(f.blocks)) * blockBits }

// Hashes returns how many bits are set for each item.
func (f *Filter) Hashes() int { return f.k }

// compatible returns an error unless the filters have the same parameters.
func (f *Filter) compatible(o *Filter) error {
	if len(f.blocks) != len(o.blocks) || f.k != o.k {
		return fmt.Errorf("%w: %d bits and %d hashes, %d bits and %d hashes", ErrIncompatible, f.Bits(), f.k, o.Bits(), o.k)
	}
	return nil
}

// Union makes f the filter of all items of both. The other stays as it is. If the
// parameters differ it returns an error wrapping [ErrIncompatible] and leaves f as
// it was.
func (f *Filter) Union(other *Filter) error {
	if err := f.compatible(other); err != nil {
		return err
	}
	for i := range f.blocks {
		for j := range f.blocks[i] {
			f.blocks[i][j] |= other.blocks[i][j]
		}
	}
	return nil
}

// Merge is Union, under the name that all sketches have.
func (f *Filter) Merge(other *Filter) error { return f.Union(other) }

// Intersect keeps in f what both filters have. It contains every item that was
// added to both, and takes more others for contained than a filter of the
// intersection would. Errors are those of Union.
func (f *Filter) Intersect(other *Filter) error {
	if err := f.compatible(other); err != nil {
		return err
	}
	for i := range f.blocks {
		for j := range f.blocks[i] {
			f.blocks[i][j] &= other.blocks[i][j]
		}
	}
	return nil
}

// Clone returns a copy.
func (f *Filter) Clone() *Filter {
	return &Filter{append([]block(nil), f.blocks...), f.k}
}

// Reset removes all items.
func (f *Filter) Reset() { clear(f.blocks) }

func (b *block) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// FPR returns the false-positive rate at this moment: the chance that an item
// which was not added is said to be contained. It looks at the whole filter.
func (f *Filter) FPR() float64 {
	if len(f.blocks) == 0 {
		return 0
	}
	sum := 0.0
	for i := range f.blocks {
		sum += math.Pow(float64(f.blocks[i].count())/blockBits, float64(f.k))
	}
	return sum / float64(len(f.blocks))
}

// Cardinality estimates how many different items were added, from the bits that
// are set in each block (Swamidass and Baldi). It looks at the whole filter. Up to
// the number of items it was made for the error is below 1 % for filters of more
// than some thousand items.
func (f *Filter) Cardinality() float64 {
	sum := 0.0
	for i := range f.blocks {
		empty := blockBits - float64(f.blocks[i].count())
		// A full block says that there are many, not how many.
		sum += math.Log(math.Max(empty, 0.5) / blockBits)
	}
	if sum == 0 {
		return 0
	}
	return sum / float64(f.k) / math.Log1p(-1.0/blockBits)
}
