// Package sketches_test compares packages hll, cms and bloom with others for Go, for
// the same error, memory, or number of items and rate:
//
//	cd bench && GOWORK=off go test -bench Vs ./sketches
package sketches_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	bab "github.com/bits-and-blooms/bloom/v3"
	"github.com/cespare/xxhash/v2"
	"github.com/greatroar/blobloom"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/bloom"
)

const rate = 0.01

var hashes = func() []uint64 {
	rng := rand.New(rand.NewPCG(1, 2))
	hs := make([]uint64, 1<<22)
	for i := range hs {
		hs[i] = rng.Uint64()
	}
	return hs
}()

var keys = func() (ks [][]byte) {
	for i := range 1 << 20 {
		ks = append(ks, []byte(fmt.Sprintf("customer/%015d", i)))
	}
	return ks
}()

// A filter is what the comparison needs of one.
type filter struct {
	add   func(h uint64)
	has   func(h uint64) bool
	bytes int64
}

func blocked(b *testing.B, n uint64) filter {
	f, err := bloom.New(n, rate)
	if err != nil {
		b.Fatal(err)
	}
	return filter{func(h uint64) { f.AddHash(h) }, f.ContainsHash, int64(f.Bits() / 8)}
}

func greatroar(b *testing.B, n uint64) filter {
	f := blobloom.NewOptimized(blobloom.Config{Capacity: n, FPRate: rate})
	return filter{f.Add, f.Has, int64(f.NumBits() / 8)}
}

// wrong is the rate in per cent, and fails the benchmark if an item was lost.
func wrong(b *testing.B, f filter, n int) float64 {
	for _, h := range hashes[:n] {
		if !f.has(h) {
			b.Fatal("an item is lost")
		}
	}
	rng, bad := rand.New(rand.NewPCG(3, 4)), 0
	for range 8_000_000 {
		if f.has(rng.Uint64()) {
			bad++
		}
	}
	return float64(bad) / 8e4
}

var sink bool

func compare(b *testing.B, n int, make func(b *testing.B, n uint64) filter, what string) {
	makeSide := func(side int) filter {
		if side == 0 {
			return blocked(b, uint64(n))
		}
		return make(b, uint64(n))
	}
	sides := [2]filter{makeSide(0), makeSide(1)}
	var rates [2]float64
	for i, f := range sides {
		for _, h := range hashes[:n] {
			f.add(h)
		}
		rates[i] = wrong(b, f, n)
	}
	side := func(i int) func(*versus.Round) {
		f := sides[i]
		at := 0
		return func(r *versus.Round) {
			switch what {
			case "add": // a new filter, filled as far as the round goes
				r.Stop()
				f = makeSide(i)
				r.Start()
				for at := range r.N {
					f.add(hashes[at])
				}
			case "again": // the same bits are computed and looked up
				for range r.N {
					f.add(hashes[at%n])
					at++
				}
			case "hit":
				for range r.N {
					sink = f.has(hashes[at%n])
					at++
				}
			case "miss":
				for range r.N {
					sink = f.has(hashes[len(hashes)/2+at%(len(hashes)/2)])
					at++
				}
			}
			r.Metric(rates[i], "%wrong")
			r.Size(f.bytes)
		}
	}
	c := versus.Case{Ours: side(0), Theirs: side(1), Goal: 1.5}
	if n > 100_000 {
		c.Goal = 1 // out of cache
	}
	if what == "add" {
		c.N = n
	}
	versus.Run(b, c)
}

// bloomVs compares filters for 1 % false answers.
func bloomVs(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		for _, what := range []string{"add", "again", "hit", "miss"} {
			b.Run(fmt.Sprintf("bloom-%s-%d/blobloom", what, n), func(b *testing.B) { compare(b, n, greatroar, what) })
		}
	}
	const n = 1_000_000
	b.Run("bloom-key-hit/bits-and-blooms", func(b *testing.B) {
		f, err := bloom.New(n, rate)
		if err != nil {
			b.Fatal(err)
		}
		g := bab.NewWithEstimates(n, rate)
		for _, k := range keys[:n] {
			f.Add(k)
			g.Add(k)
		}
		at := 0
		versus.Run(b, versus.Case{
			Ours: func(r *versus.Round) {
				for range r.N {
					sink = f.Contains(keys[at%n])
					at++
				}
				r.Size(int64(f.Bits() / 8))
			},
			Theirs: func(r *versus.Round) {
				for range r.N {
					sink = g.Test(keys[at%n])
					at++
				}
				r.Size(int64(g.Cap() / 8))
			},
		})
	})
	b.Run("bloom-key-hit/blobloom+xxhash", func(b *testing.B) {
		f, err := bloom.New(n, rate)
		if err != nil {
			b.Fatal(err)
		}
		g := blobloom.NewOptimized(blobloom.Config{Capacity: n, FPRate: rate})
		for _, k := range keys[:n] {
			f.Add(k)
			g.Add(xxhash.Sum64(k))
		}
		at := 0
		versus.Run(b, versus.Case{
			Ours: func(r *versus.Round) {
				for range r.N {
					sink = f.Contains(keys[at%n])
					at++
				}
			},
			Theirs: func(r *versus.Round) {
				for range r.N {
					sink = g.Has(xxhash.Sum64(keys[at%n]))
					at++
				}
			},
		})
	})
	for _, again := range []bool{false, true} {
		name, goal := "bloom-concurrent-add/blobloom", 2.0 // new filters, filled by two goroutines
		if again {
			name, goal = "bloom-concurrent-again/blobloom", 0 // nothing new
		}
		b.Run(name, func(b *testing.B) {
			ours := func() func(h uint64) {
				c, err := bloom.NewConcurrent(n, rate)
				if err != nil {
					b.Fatal(err)
				}
				return func(h uint64) { c.AddHash(h) }
			}
			theirs := func() func(h uint64) {
				return blobloom.NewSyncOptimized(blobloom.Config{Capacity: n, FPRate: rate}).Add
			}
			side := func(fresh func() func(h uint64)) func(*versus.Round) {
				add := fresh()
				fill := func(n int) {
					done := make(chan bool)
					for w := range 2 {
						go func() {
							for _, h := range hashes[w*n/2 : (w+1)*n/2] {
								add(h)
							}
							done <- true
						}()
					}
					<-done
					<-done
				}
				fill(n)
				return func(r *versus.Round) {
					if !again {
						r.Stop()
						add = fresh()
						r.Start()
					}
					fill(r.N)
				}
			}
			versus.Run(b, versus.Case{N: n, Ours: side(ours), Theirs: side(theirs), Goal: goal})
		})
	}
}
