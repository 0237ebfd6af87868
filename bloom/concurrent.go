package bloom

import (
	"fmt"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// A Concurrent is a [Filter] that many goroutines use at the same time, without
// locks: it is safe for concurrent use by multiple goroutines. An item is
// contained from the moment its Add returns. Use [NewConcurrent].
type Concurrent struct {
	lines []line
	k     int
}

// NewConcurrent returns a filter as [New] does.
func NewConcurrent(n uint64, p float64) (*Concurrent, error) {
	b, k, err := size(n, p)
	if err != nil {
		return nil, err
	}
	return &Concurrent{make([]line, b), k}, nil
}

// A line is a block of atomic words.
type line [8]atomic.Uint64

// AddHash adds an item by its hash and tells whether this call changed the
// filter. Of several that add one item at the same time, more than one may be
// told so.
func (c *Concurrent) AddHash(h uint64) (changed bool) {
	// Most additions to a filter in use change nothing: look before writing, since a
	// write takes the line away from the other processors.
	if c.ContainsHash(h) {
		return false
	}
	b := &c.lines[where(h, len(c.lines))]
	source := next(h)
	for left := c.k; ; left -= draws {
		g := source
		for range min(left, draws) {
			if w, m := &b[g>>61], uint64(1)<<(g>>55&63); w.Load()&m == 0 && w.Or(m)&m == 0 {
				changed = true
			}
			g <<= 9
		}
		if left <= draws {
			return changed
		}
		source = next(source ^ source>>32)
	}
}

// ContainsHash tells whether an item was added: false is certain for an item whose
// Add has returned.
func (c *Concurrent) ContainsHash(h uint64) bool {
	b, source := &c.lines[where(h, len(c.lines))], next(h)
	all := uint64(1)
	switch c.k { // the loop below, unrolled
	case 7:
		all &= b[source<<54>>61].Load() >> (source << 54 >> 55 & 63)
		fallthrough
	case 6:
		all &= b[source<<45>>61].Load() >> (source << 45 >> 55 & 63)
		fallthrough
	case 5:
		all &= b[source<<36>>61].Load() >> (source << 36 >> 55 & 63)
		fallthrough
	case 4:
		all &= b[source<<27>>61].Load() >> (source << 27 >> 55 & 63)
		fallthrough
	case 3:
		all &= b[source<<18>>61].Load() >> (source << 18 >> 55 & 63)
		fallthrough
	case 2:
		all &= b[source<<9>>61].Load() >> (source << 9 >> 55 & 63)
		fallthrough
	case 1:
		all &= b[source>>61].Load() >> (source >> 55 & 63)
	default:
		for left := c.k; ; left -= draws {
			g := source
			for range min(left, draws) {
				all &= b[g>>61].Load() >> (g >> 55 & 63)
				g <<= 9
			}
			if all == 0 || left <= draws {
				return all != 0
			}
			source = next(source ^ source>>32)
		}
	}
	return all != 0
}

// Add adds an item, as AddHash does.
func (c *Concurrent) Add(item []byte) bool { return c.AddHash(xxhash.Sum64(item)) }

// AddString is Add for a string.
func (c *Concurrent) AddString(item string) bool { return c.AddHash(xxhash.Sum64String(item)) }

// Contains tells whether an item was added, as ContainsHash does.
func (c *Concurrent) Contains(item []byte) bool { return c.ContainsHash(xxhash.Sum64(item)) }

// ContainsString is Contains for a string.
func (c *Concurrent) ContainsString(item string) bool {
	return c.ContainsHash(xxhash.Sum64String(item))
}

// Union adds all items of a filter with the same parameters. Errors are those of
// [Filter.Union].
func (c *Concurrent) Union(other *Filter) error {
	if len(c.lines) != len(other.blocks) || c.k != other.k {
		return fmt.Errorf("%w: %d bits and %d hashes, %d bits and %d hashes", ErrIncompatible, c.Bits(), c.k, other.Bits(), other.k)
	}
	for i := range other.blocks {
		for j, w := range other.blocks[i] {
			if w != 0 {
				c.lines[i][j].Or(w)
			}
		}
	}
	return nil
}

// Snapshot returns a filter of what is contained now. It holds all items whose Add
// returned before the call.
func (c *Concurrent) Snapshot() *Filter {
	f := &Filter{make([]block, len(c.lines)), c.k}
	for i := range c.lines {
		for j := range c.lines[i] {
			f.blocks[i][j] = c.lines[i][j].Load()
		}
	}
	return f
}

// Bits returns the size in bits.
func (c *Concurrent) Bits() uint64 { return blockBits * uint64(len(c.lines)) }
