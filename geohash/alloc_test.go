//go:build !race

package geohash

import (
	"math/rand/v2"
	"testing"
)

const slow = false

// Under the race detector a pool forgets at random, and so this is not there.
func TestNearestAllocatesNothing(t *testing.T) {
	ix := NewIndex[int](nil)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 10000 {
		lat, lon := somewhere(r, 1)
		if err := ix.Put(i, lat, lon); err != nil {
			t.Fatal(err)
		}
	}
	dst := make([]Found[int], 0, 10)
	if n := testing.AllocsPerRun(100, func() { dst, _ = ix.Nearest(dst[:0], 55.75, 37.6, 10, nil) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = ix.Put(r.IntN(10000), 55.75+r.NormFloat64()*0.1, 37.6) }); n > 1 {
		t.Errorf("%v allocations a move", n)
	}
}
