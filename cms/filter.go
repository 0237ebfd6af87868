package cms

import (
	"math"
	"slices"
)

const cellBytes = 6 // fingerprint and count

// wear[c] is the probability, in 2^-32, that an item wears down another's cell of
// count c: 1.08^-c. That of the last, one in 300 million, is for all above too.
var wear = func() (p [256]uint32) {
	for c := range p {
		p[c] = uint32(min(math.MaxUint32, math.Exp2(32)*math.Pow(1.08, -float64(c))))
	}
	return p
}()

// usurp is such that an item takes another's cell of count c at once with
// probability 1/(usurp·(c+1)). The paper's cells stay for ever once their count is
// high, and then nobody new is ever noticed; like this, an item that comes some
// usurp times as often as the owner ever did gets the cell.
const usurp = 8

// A filter is a HeavyKeeper of one row: cells, each with the fingerprint of an item
// and a count, at most that of the item, that others wear down.
type filter struct {
	prints []uint16
	worn   []uint32 // counts; 0: free
	random uint64   // xorshift
}

func newFilter(cells int) filter {
	return filter{make([]uint16, cells), make([]uint32, cells), 0x9e3779b97f4a7c15}
}

// cell returns where an item's cell is, and its fingerprint, which is never zero.
func (f *filter) cell(h uint64) (i int, print uint16) {
	return int(h * factors[0] >> 32 * uint64(len(f.worn)) >> 32), uint16(h) | 1
}

// add adds an item and returns its count, which is 0 if it has no cell.
func (f *filter) add(h uint64, n uint32) (seen uint32) {
	i, print := f.cell(h)
	c := f.worn[i]
	if f.prints[i] == print && c > 0 {
		c += min(n, math.MaxUint32-c)
		f.worn[i] = c
		return c
	}
	if n != 1 {
		return f.contend(i, print, n)
	}
	r := f.next()
	switch {
	case uint32(r) <= wear[min(c, uint32(len(wear)-1))]:
		if c > 1 {
			f.worn[i] = c - 1
			return 0
		}
	case r>>32*(uint64(c)+1) >= 1<<32/usurp:
		return 0
	}
	f.prints[i], f.worn[i] = print, 1
	return 1
}

// contend is n attempts to get another's cell. Instead of tossing coins for each,
// it draws how many it takes until the next succeeds.
func (f *filter) contend(i int, print uint16, n uint32) uint32 {
	left := float64(n)
	for c := f.worn[i]; c > 0; c-- {
		worn := f.tries(float64(wear[min(c, uint32(len(wear)-1))]) / (1 << 32))
		usurped := f.tries(1 / (usurp * (float64(c) + 1)))
		if left -= min(worn, usurped); left < 0 {
			return 0
		}
		f.worn[i] = c - 1
		if usurped < worn || c == 1 {
			// The attempt that succeeded is the first of what is counted.
			f.prints[i], f.worn[i] = print, uint32(left)+1
			return f.worn[i]
		}
	}
	f.prints[i], f.worn[i] = print, n
	return n
}

// tries draws how many attempts it takes until one succeeds with probability p.
func (f *filter) tries(p float64) float64 {
	if p >= 0.9999 {
		return 1
	}
	u := float64(f.next()>>11+1) / (1 << 53)
	return max(1, math.Ceil(math.Log(u)/math.Log1p(-p)))
}

// count returns an item's count.
func (f *filter) count(h uint64) uint32 {
	if i, print := f.cell(h); f.prints[i] == print {
		return f.worn[i]
	}
	return 0
}

// keep takes an item that is not watched any more.
func (f *filter) keep(h, count uint64) {
	c := uint32(min(count, math.MaxUint32))
	if i, print := f.cell(h); f.worn[i] < c {
		f.prints[i], f.worn[i] = print, c
	}
}

// forget frees the cell of an item that is watched now.
func (f *filter) forget(h uint64) {
	if i, print := f.cell(h); f.prints[i] == print {
		f.worn[i] = 0
	}
}

func (f *filter) next() uint64 {
	x := f.random
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	f.random = x
	return x * 0x2545f4914f6cdd1d
}

func (f *filter) merge(other *filter) {
	if f.random ^= other.random << 1; f.random == 0 {
		f.random = 1
	}
	for i, c := range other.worn {
		switch {
		case c == 0:
		case f.worn[i] > 0 && f.prints[i] == other.prints[i]:
			f.worn[i] += min(c, math.MaxUint32-f.worn[i])
		case c > f.worn[i]:
			f.prints[i], f.worn[i] = other.prints[i], c
		}
	}
}

func (f *filter) clone() filter {
	return filter{slices.Clone(f.prints), slices.Clone(f.worn), f.random}
}
