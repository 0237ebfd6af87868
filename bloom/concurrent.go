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
	words []atomic.Uint64 // eight for each block
	k     int
}

// NewConcurrent returns a filter as [New] does.
func NewConcurrent(n uint64, p float64) (*Concurrent, error) {
	b, k, err := size(n, p)
	if err != nil {
		return nil, err
	}
	return &Concurrent{makeWords(int(b)), k}, nil
}

func makeWords(blocks int) []atomic.Uint64 { return make([]atomic.Uint64, 8*blocks) }

// AddHash adds an item by its hash and tells whether this call changed the
// filter. Of several that add one item at the same time, more than one may be
// told so.
func (c *Concurrent) AddHash(h uint64) (changed bool) {
	b := c.words[8*where(h, len(c.words)/8):][:8]
	source := next(h)
	for left := c.k; ; left -= draws {
		g := source
		for range min(left, draws) {
			// Most bits of a filter in use are set: look before writing, since a
			// write takes the line away from the other processors.
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
	b := c.words[8*where(h, len(c.words)/8):][:8]
	source := next(h)
	for left := c.k; ; left -= draws {
		g := source
		for range min(left, draws) {
			if b[g>>61].Load()>>(g>>55&63)&1 == 0 {
				return false
			}
			g <<= 9
		}
		if left <= draws {
			return true
		}
		source = next(source ^ source>>32)
	}
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
	if blocks := len(c.words) / 8; blocks != len(other.blocks) || c.k != other.k {
		return fmt.Errorf("%w: %d bits and %d hashes, %d bits and %d hashes", ErrIncompatible, c.Bits(), c.k, other.Bits(), other.k)
	}
	for i := range other.blocks {
		for j, w := range other.blocks[i] {
			if w != 0 {
				c.words[8*i+j].Or(w)
			}
		}
	}
	return nil
}

// Snapshot returns a filter of what is contained now. It holds all items whose Add
// returned before the call.
func (c *Concurrent) Snapshot() *Filter {
	f := &Filter{make([]block, len(c.words)/8), c.k}
	for i := range c.words {
		f.blocks[i/8][i%8] = c.words[i].Load()
	}
	return f
}

// Bits returns the size in bits.
func (c *Concurrent) Bits() uint64 { return 64 * uint64(len(c.words)) }
