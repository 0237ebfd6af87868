package sketches_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/datasketches-go/hll"
	"github.com/axiomhq/hyperloglog"
	clark "github.com/clarkduvall/hyperloglog"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	ours "github.com/ashlar-go/ashlar/hll"
)

// A distinct is what the comparison needs of a sketch, which is for a standard
// error of 0.8 %.
type distinct struct {
	add      func(h uint64)
	estimate func() float64
	merge    func() // another of the same size
	bytes    func() int64
}

// fresh returns hashes that nobody else gets.
func fresh(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, 1)).Uint64 }

func fill(n int, seed uint64, add func(h uint64)) {
	next := fresh(seed)
	for range n {
		add(next())
	}
}

func exa(b *testing.B, n int) distinct {
	s, err := ours.NewExa(11)
	if err != nil {
		b.Fatal(err)
	}
	other := s.Clone()
	fill(n, 1, func(h uint64) { s.AddHash(h) })
	fill(n, 2, func(h uint64) { other.AddHash(h) })
	return distinct{
		func(h uint64) { s.AddHash(h) }, s.Estimate, func() { s.Merge(other) },
		func() int64 { c, _ := s.MarshalBinary(); return int64(len(c)) },
	}
}

func axiom(b *testing.B, n int) distinct {
	s, other := hyperloglog.New14(), hyperloglog.New14()
	fill(n, 1, s.InsertHash)
	fill(n, 2, other.InsertHash)
	return distinct{
		s.InsertHash, func() float64 { return float64(s.Estimate()) },
		func() {
			if err := s.Merge(other); err != nil {
				b.Fatal(err)
			}
		},
		func() int64 { c, _ := s.MarshalBinary(); return int64(len(c)) },
	}
}

type hashed uint64

func (h hashed) Sum64() uint64 { return uint64(h) }

func duvall(b *testing.B, n int) distinct {
	s, err := clark.NewPlus(14)
	if err != nil {
		b.Fatal(err)
	}
	other, _ := clark.NewPlus(14)
	fill(n, 1, func(h uint64) { s.Add(hashed(h)) })
	fill(n, 2, func(h uint64) { other.Add(hashed(h)) })
	return distinct{
		func(h uint64) { s.Add(hashed(h)) }, func() float64 { return float64(s.Count()) },
		func() {
			if err := s.Merge(other); err != nil {
				b.Fatal(err)
			}
		},
		func() int64 { c, _ := s.GobEncode(); return int64(len(c)) },
	}
}

func datasketches(b *testing.B, n int) distinct {
	s, err := hll.NewHllSketch(14, hll.TgtHllTypeHll4)
	if err != nil {
		b.Fatal(err)
	}
	other, _ := hll.NewHllSketch(14, hll.TgtHllTypeHll4)
	add := func(s hll.HllSketch) func(h uint64) {
		return func(h uint64) {
			if err := s.UpdateUInt64(h); err != nil {
				b.Fatal(err)
			}
		}
	}
	fill(n, 1, add(s))
	fill(n, 2, add(other))
	union, err := hll.NewUnion(14)
	if err != nil {
		b.Fatal(err)
	}
	if err := union.UpdateSketch(s); err != nil {
		b.Fatal(err)
	}
	return distinct{
		add(s), func() float64 {
			e, err := s.GetCompositeEstimate() // what is left after a merge
			if err != nil {
				b.Fatal(err)
			}
			return e
		},
		func() {
			if err := union.UpdateSketch(other); err != nil {
				b.Fatal(err)
			}
		},
		func() int64 { c, _ := s.ToCompactSlice(); return int64(len(c)) },
	}
}

var sinkFloat float64

func versusDistinct(b *testing.B, peer func(b *testing.B, n int) distinct, n int, what string, goal float64) {
	sides := [2]distinct{exa(b, n), peer(b, n)}
	side := func(d distinct) func(*versus.Round) {
		h := uint64(0)
		return func(r *versus.Round) {
			switch what {
			case "add": // ever new items
				for range r.N {
					h += 0x9e3779b97f4a7c15
					d.add(ours.HashUint64(h))
				}
			case "estimate":
				for range r.N {
					sinkFloat = d.estimate()
				}
			case "merge":
				for range r.N {
					d.merge()
				}
			}
			r.Stop()
			r.Size(d.bytes())
		}
	}
	versus.Run(b, versus.Case{Ours: side(sides[0]), Theirs: side(sides[1]), Goal: goal})
}

// BenchmarkVs compares sketches of 0.8 % standard error, ExaLogLog with p = 11 and
// HyperLogLog with p = 14.
func BenchmarkVs(b *testing.B) {
	for _, c := range []struct {
		what, peer string
		goal       float64
		make       func(b *testing.B, n int) distinct
	}{
		{"add", "axiomhq", 1, axiom},
		{"add", "clarkduvall", 0, duvall},
		{"add", "datasketches-hll4", 0, datasketches},
		{"estimate", "axiomhq", 10, axiom},
		{"estimate", "clarkduvall", 0, duvall},
		{"merge", "axiomhq", 2, axiom},
		{"merge", "clarkduvall", 0, duvall},
		{"merge", "datasketches-hll4", 0, datasketches},
	} {
		b.Run("hll-"+c.what+"/"+c.peer, func(b *testing.B) { versusDistinct(b, c.make, 1_000_000, c.what, c.goal) })
	}
	b.Run("hll-first1000/axiomhq", func(b *testing.B) {
		versus.Run(b, versus.Case{
			Ours: func(r *versus.Round) {
				for range r.N {
					s, _ := ours.NewExa(11)
					fill(1000, 1, func(h uint64) { s.AddHash(h) })
				}
			},
			Theirs: func(r *versus.Round) {
				for range r.N {
					fill(1000, 1, hyperloglog.New14().InsertHash)
				}
			},
			Allocs: true,
		})
	})
	// Error over 1,000 runs beside the bytes: the time is that of the whole runs.
	b.Run("hll-error/axiomhq", func(b *testing.B) {
		const runs, n = 1000, 100_000
		type result struct{ rmse, bias float64 }
		measure := func(estimate func(next func() uint64) (float64, int)) (res result, bytes int) {
			for run := range runs {
				e, size := estimate(fresh(uint64(run)))
				bytes = size
				e = e/n - 1
				res.rmse += e * e / runs
				res.bias += e / runs
			}
			res.rmse = math.Sqrt(res.rmse)
			return res, bytes
		}
		side := func(estimate func(next func() uint64) (float64, int)) func(*versus.Round) {
			var res result
			var bytes int
			done := false
			return func(r *versus.Round) {
				if !done { // the same in each round
					res, bytes = measure(estimate)
					done = true
				}
				r.Metric(100*res.rmse, "%rmse")
				r.Metric(100*res.bias, "%bias")
				r.Size(int64(bytes))
			}
		}
		versus.Run(b, versus.Case{
			N: 1,
			Ours: side(func(next func() uint64) (float64, int) {
				s, _ := ours.NewExa(11)
				for range n {
					s.AddHash(next())
				}
				c, _ := s.MarshalBinary()
				return s.Estimate(), len(c)
			}),
			Theirs: side(func(next func() uint64) (float64, int) {
				s := hyperloglog.New14()
				for range n {
					s.InsertHash(next())
				}
				c, _ := s.MarshalBinary()
				return float64(s.Estimate()), len(c)
			}),
		})
	})
	bloomVs(b)
	cmsVs(b)
}
