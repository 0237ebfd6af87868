package hll

import (
	"fmt"
	"math"
	"sync/atomic"
)

// A Concurrent is an [Exa] of width [MaxWidth] that many goroutines add to without
// a lock: it is safe for concurrent use by multiple goroutines. Each register is a
// word that is changed by compare-and-swap; in a large set nearly all additions
// only read. Use [NewConcurrent].
type Concurrent struct {
	p    uint8
	regs []uint32
}

// NewConcurrent returns an empty sketch of precision p from [MinPrecision] to
// [MaxPrecision], with standard error 0.344/√m, m = 2^p. It has all its 4·m bytes
// from the start.
func NewConcurrent(p int) (*Concurrent, error) {
	if p < MinPrecision || p > MaxPrecision {
		return nil, fmt.Errorf("%w: precision %d, not in [%d, %d]", ErrInvalid, p, MinPrecision, MaxPrecision)
	}
	return &Concurrent{uint8(p), make([]uint32, 1<<p)}, nil
}

// AddHash adds an item by 64 well-mixed bits of hash and tells whether this call
// changed the sketch.
func (c *Concurrent) AddHash(h uint64) (changed bool) {
	i, k := update(h, c.p)
	reg := &c.regs[i]
	for {
		r := atomic.LoadUint32(reg)
		if k+MaxWidth < uint64(r>>MaxWidth) {
			return false
		}
		n := uint32(raise(uint64(r), k, MaxWidth))
		if n == r {
			return false
		}
		if atomic.CompareAndSwapUint32(reg, r, n) {
			return true
		}
	}
}

// Add adds an item and tells whether this call changed the sketch.
func (c *Concurrent) Add(item []byte) (changed bool) { return c.AddHash(hashBytes(item)) }

// AddString is Add for a string.
func (c *Concurrent) AddString(item string) (changed bool) { return c.AddHash(hashString(item)) }

// Estimate returns the number of different items, as [Exa.Estimate] of a snapshot.
func (c *Concurrent) Estimate() float64 { return c.Snapshot().Estimate() }

// Snapshot returns a sketch of all items whose Add returned before the call, and
// of some of those that are being added. It can be merged, which lowers it to the
// other's width, and stored.
func (c *Concurrent) Snapshot() *Exa {
	s := &Exa{p: c.p, d: MaxWidth}
	s.toRegisters()
	for i := range c.regs {
		s.set(i, uint64(atomic.LoadUint32(&c.regs[i])))
	}
	return s
}

// Concurrent returns a sketch that goes on from this one, of the same precision. Its
// width must be [MaxWidth], as a snapshot's is, or it must not have turned to registers
// yet; else the error is [ErrIncompatible], since what a narrower one has forgotten
// would be missing.
func (s *Exa) Concurrent() (*Concurrent, error) {
	c, err := NewConcurrent(int(s.p))
	if err != nil {
		return nil, err
	}
	if s.regs == nil {
		for _, tok := range s.tokens.slots {
			if tok != 0 {
				c.AddHash(exaHash(tok))
			}
		}
		return c, nil
	}
	if s.d != MaxWidth {
		return nil, fmt.Errorf("%w: width %d, want %d", ErrIncompatible, s.d, MaxWidth)
	}
	for i := range c.regs {
		c.regs[i] = uint32(s.register(i))
	}
	return c, nil
}

// Reset forgets all items. Items that are added meanwhile may stay or not.
func (c *Concurrent) Reset() {
	for i := range c.regs {
		atomic.StoreUint32(&c.regs[i], 0)
	}
}

// A Rightmost is the idea behind the package without the rest: it remembers the
// greatest number of zeros at the right end of any hash. It is here to be read and
// compared with; its estimate is a power of two, often wrong by a factor of two
// and sometimes of ten. The zero value has seen nothing.
type Rightmost struct{ zeros uint8 } // plus one

// AddHash adds an item by 64 well-mixed bits of hash and tells whether the state
// changed.
func (r *Rightmost) AddHash(h uint64) (changed bool) {
	z := uint8(1)
	for h&1 == 0 && z < 65 {
		h >>= 1
		z++
	}
	changed = z > r.zeros
	r.zeros = max(r.zeros, z)
	return changed
}

// Add adds an item and tells whether the state changed.
func (r *Rightmost) Add(item []byte) (changed bool) { return r.AddHash(hashBytes(item)) }

// AddString is Add for a string.
func (r *Rightmost) AddString(item string) (changed bool) { return r.AddHash(hashString(item)) }

// Merge adds all items of the other.
func (r *Rightmost) Merge(other Rightmost) { r.zeros = max(r.zeros, other.zeros) }

// Estimate returns 2 to the number of zeros, and 0 when nothing was added.
func (r *Rightmost) Estimate() float64 {
	if r.zeros == 0 {
		return 0
	}
	return math.Ldexp(1, int(r.zeros)-1)
}
