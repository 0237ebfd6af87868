package main

import (
	"math"
	"math/rand/v2"

	"github.com/ashlar-go/ashlar/hll"
)

// A curvePoint is what four ways of counting are worth at some number of users: the
// relative error over many runs, and the bytes.
type curvePoint struct {
	n                       int
	rightmost, sketch, exa  float64 // root of the mean square of the relative error
	sketchBytes, exaBytes   int
	exactBytes, oneBytes    int // exact: four bytes for each id, at least
	sketchWithin, exaWithin int // runs within two standard errors, as Bounds says
	runs                    int
}

// errorCurve measures at 10, 30, 100, … up to most users.
func errorCurve(most, runs int) ([]curvePoint, error) {
	var sizes []int
	for n := 10; n <= most; n *= 10 {
		sizes = append(sizes, n)
		if 3*n <= most {
			sizes = append(sizes, 3*n)
		}
	}
	type sample struct {
		rightmost, sketch, exa  float64
		sketchBytes, exaBytes   int
		sketchWithin, exaWithin bool
	}
	samples := make([][]sample, runs)
	err := shared(runs, func(run int) error {
		rng := rand.New(rand.NewPCG(seed, 1000+uint64(run)))
		var one hll.Rightmost
		sketch, err := hll.New(precision)
		if err != nil {
			return err
		}
		exa, err := hll.NewExa(exaPrecision)
		if err != nil {
			return err
		}
		added := 0
		for _, n := range sizes {
			for ; added < n; added++ {
				h := rng.Uint64()
				one.AddHash(h)
				sketch.AddHash(h)
				exa.AddHash(h)
			}
			s := sample{one.Estimate(), sketch.Estimate(), exa.Estimate(), sketch.SizeBytes(), exa.SizeBytes(), false, false}
			lo, hi := sketch.Bounds(2)
			s.sketchWithin = lo <= float64(n) && float64(n) <= hi
			lo, hi = exa.Bounds(2)
			s.exaWithin = lo <= float64(n) && float64(n) <= hi
			samples[run] = append(samples[run], s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]curvePoint, len(sizes))
	for i, n := range sizes {
		p := curvePoint{n: n, exactBytes: 4 * n, oneBytes: 1, runs: runs}
		for _, run := range samples {
			s := run[i]
			square := func(x float64) float64 { return (x/float64(n) - 1) * (x/float64(n) - 1) / float64(runs) }
			p.rightmost += square(s.rightmost)
			p.sketch += square(s.sketch)
			p.exa += square(s.exa)
			p.sketchBytes, p.exaBytes = max(p.sketchBytes, s.sketchBytes), max(p.exaBytes, s.exaBytes)
			if s.sketchWithin {
				p.sketchWithin++
			}
			if s.exaWithin {
				p.exaWithin++
			}
		}
		p.rightmost, p.sketch, p.exa = math.Sqrt(p.rightmost), math.Sqrt(p.sketch), math.Sqrt(p.exa)
		out[i] = p
	}
	return out, nil
}
