package main

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/ashlar-go/ashlar/hll"
)

// How good many registers are, against one.

// An errorsOf says how far estimates are from the truth.
type errorsOf struct {
	median float64 // of the factor between estimate and truth, whichever way
	rms    float64 // root of the mean square of the relative error
}

func summarise(estimates []float64, truth float64) (e errorsOf) {
	factors := make([]float64, len(estimates))
	for i, x := range estimates {
		e.rms += (x - truth) * (x - truth) / (truth * truth)
		factors[i] = max(x/truth, truth/max(x, 1e-300))
	}
	e.rms = math.Sqrt(e.rms / float64(len(estimates)))
	slices.Sort(factors)
	e.median = factors[len(factors)/2]
	return e
}

// instances is the idea taken literally: m one-register counters, of which
// each item is given to one at random, by the low bits of its hash. The rest of the
// hash is what the counter sees.
type instances struct {
	p    int
	each []hll.Rightmost
}

func newInstances(p int) *instances { return &instances{p, make([]hll.Rightmost, 1<<p)} }

func (x *instances) addHash(h uint64) {
	x.each[h&(1<<x.p-1)].AddHash(h >> x.p)
}

// mean adds the instances' estimates up: each counts its own part. A single lucky
// one spoils the sum.
func (x *instances) mean() (sum float64) {
	for i := range x.each {
		sum += x.each[i].Estimate()
	}
	return sum
}

// harmonic is the estimator of Flajolet and others, 2007: α·m²/Σ 2^−M, where M is
// the number of zeros plus one. The harmonic mean hardly notices a lucky instance.
func (x *instances) harmonic() float64 {
	m, sum := float64(len(x.each)), 0.0
	for i := range x.each {
		if e := x.each[i].Estimate(); e > 0 {
			sum += 1 / (2 * e)
		} else {
			sum++ // has seen nothing: M = 0
		}
	}
	alpha := 0.7213 / (1 + 1.079/m)
	if len(x.each) == 16 {
		alpha = 0.673
	}
	return alpha * m * m / sum
}

// trial is one row of the comparison.
type trial struct {
	instances              int
	mean, harmonic, sketch errorsOf
	theory                 float64 // standard error of HyperLogLog
}

// compareRegisters estimates n items in many runs, each with other items, which all
// ways of counting get to see.
func compareRegisters(n, runs int) ([]trial, error) {
	ps := []int{0, 4, 8, 14}
	type result struct{ mean, harmonic, sketch []float64 }
	results := make([]result, len(ps))
	for i := range results {
		results[i] = result{make([]float64, runs), make([]float64, runs), make([]float64, runs)}
	}
	err := shared(runs, func(run int) error {
		rng := rand.New(rand.NewPCG(seed, uint64(run)))
		var all []*instances
		var sketches []*hll.Sketch
		for _, p := range ps {
			all = append(all, newInstances(p))
			s, err := hll.New(max(p, hll.MinPrecision))
			if err != nil {
				return err
			}
			sketches = append(sketches, s)
		}
		for range n {
			h := rng.Uint64() // different items have hashes that look like this
			for i := range all {
				all[i].addHash(h)
				if i > 0 {
					sketches[i].AddHash(h)
				}
			}
		}
		for i, x := range all {
			results[i].mean[run], results[i].harmonic[run] = x.mean(), x.harmonic()
			results[i].sketch[run] = sketches[i].Estimate()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]trial, len(ps))
	for i, p := range ps {
		m := 1 << p
		out[i] = trial{instances: m, mean: summarise(results[i].mean, float64(n)), theory: 1.04 / math.Sqrt(float64(m))}
		if p > 0 {
			out[i].harmonic, out[i].sketch = summarise(results[i].harmonic, float64(n)), summarise(results[i].sketch, float64(n))
		}
	}
	return out, nil
}

// shared calls f for 0 to n−1 on all processors.
func shared(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	workers := min(8, runtime.GOMAXPROCS(0))
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// careless counts the same users without hashing them, or not by chance.
type careless struct {
	consecutive          float64 // one register, ids without gaps
	tens                 float64 // one register, every id is a multiple of 1,024
	one                  float64 // one register, a single user whose id is 2^40
	sketchRaw            float64 // HyperLogLog of raw ids
	byCountry            float64 // 16 instances, chosen by country
	byHash               float64 // 16 instances, chosen by hash
	hashed               float64 // HyperLogLog of hashed ids
	consecutiveN, stepsN int
}

func carelessly(n int) (c careless, err error) {
	c.consecutiveN, c.stepsN = n, 1000
	var r, tens, one hll.Rightmost
	raw, err := hll.New(precision)
	if err != nil {
		return c, err
	}
	hashed, err := hll.New(precision)
	if err != nil {
		return c, err
	}
	for id := uint64(1); id <= uint64(n); id++ {
		r.AddHash(id)
		raw.AddHash(id)
		hashed.AddHash(hll.HashUint64(id))
	}
	for i := range uint64(c.stepsN) {
		tens.AddHash((i + 1) << 10)
	}
	one.AddHash(1 << 40)
	c.consecutive, c.tens, c.one = r.Estimate(), tens.Estimate(), one.Estimate()
	c.sketchRaw, c.hashed = raw.Estimate(), hashed.Estimate()

	// Instances that stand for countries: the largest has half of the users, the
	// next a quarter of them, and so on.
	country, byHash := newInstances(4), newInstances(4)
	for id := range uint64(n) {
		h := hll.HashUint64(id)
		k := 0
		for k < 15 && id>>k&1 == 1 {
			k++
		}
		country.each[k].AddHash(h >> 4)
		byHash.addHash(h)
	}
	c.byCountry, c.byHash = country.harmonic(), byHash.harmonic()
	return c, nil
}
