package hll

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// The constants of likelihood.go, from the definition: the update of value k has
// mass 2^-φ(k) with φ(k) = t+1+⌊(k-1)/2^t⌋, for k from -∞ to ∞ since far from its
// ends a register knows of none, and it is known whether it happened, given that
// it did, if no update above k+d did. With C = x²·I, I the information of one
// register, and κ = x³·E(l”'), Cox and Snell's bias is (4C-κ)/(2C²)/m.
func constants(t, d int) (bias, deviation float64) {
	const phases = 8 // of the period in which C and κ swing by nearly nothing
	steps := 1 << t
	rho := func(k int) float64 { return math.Exp2(-float64(t+1) - math.Floor(float64(k-1)/float64(steps))) }
	for phase := range phases {
		x := math.Exp2(float64(phase) / phases)
		var c, kappa, above float64
		for k := 50 * steps; k > -10*steps; k-- {
			y := x * rho(k)
			if y > 200 {
				break
			}
			e := math.Expm1(y)
			p := -math.Expm1(-y) * math.Exp(-x*above)
			c += p * y * y * (e + 1) / (e * e)
			kappa += p * y * y * y * (e + 1) * (e + 2) / (e * e * e)
			above += rho(k + d)
		}
		bias += (4*c - kappa) / (2 * c * c) / phases
		deviation += 1 / math.Sqrt(c) / phases
	}
	return bias, deviation
}

func TestConstants(t *testing.T) {
	near := func(a, b float64) bool { return math.Abs(a-b) < 2e-5 }
	if b, e := constants(0, 0); !near(b, hllBias) || !near(e, hllError) {
		t.Errorf("HyperLogLog: bias %.5f, error %.5f", b, e)
	}
	for d := range MaxWidth + 1 {
		if b, e := constants(tBits, d); !near(b, exaBias[d]) || !near(e, exaError[d]) {
			t.Errorf("width %d: bias %.5f, error %.5f", d, b, e)
		}
	}
}

// What the registers tell, counted update by update.
func TestLikelihood(t *testing.T) {
	rng := newRand(5)
	for range 200 {
		p, d := uint8(3+rng.IntN(6)), uint8(rng.IntN(MaxWidth+1))
		hs := hashesOf(rng, rng.IntN(2000))
		e, s := &Exa{p: p, d: d}, &Sketch{p: p}
		e.toRegisters()
		s.toRegisters()
		for _, h := range hs {
			e.AddHash(h)
			s.AddHash(h)
		}
		var wantE, wantS likelihood
		for i := range 1 << p {
			r := e.register(i)
			u := int(r >> d)
			for k := 1; k <= 4*(65-tBits-int(p)); k++ {
				phi := min(tBits+1+(k-1)/4, 64-int(p))
				switch {
				case k == u || k < u && u-k <= int(d) && r>>(int(d)-(u-k))&1 == 1:
					wantE.seen[phi]++
				case k > u || u-k <= int(d):
					wantE.unseen += math.Exp2(-float64(phi))
				}
			}
			for k := 1; k <= 65-int(p); k++ {
				phi := min(k, 64-int(p))
				if r := int(s.register(i)); k == r {
					wantS.seen[phi]++
				} else if k > r {
					wantS.unseen += math.Exp2(-float64(phi))
				}
			}
		}
		for _, c := range []struct{ got, want *likelihood }{{e.likelihood(), &wantE}, {s.likelihood(), &wantS}} {
			if c.got.seen != c.want.seen || math.Abs(c.got.unseen-c.want.unseen) > 1e-9*c.want.unseen {
				t.Fatalf("p=%d d=%d %d hashes: %v\nwant %v", p, d, len(hs), c.got, c.want)
			}
		}
	}
}

// The solution is the root: the likelihood falls to both sides.
func TestSolve(t *testing.T) {
	rng := newRand(6)
	for range 2000 {
		var l likelihood
		for range 1 + rng.IntN(8) {
			l.seen[1+rng.IntN(61)] += float64(rng.IntN(1000))
		}
		l.unseen = math.Exp2(-40 * rng.Float64())
		x, _ := l.solve(1, 0)
		slope := func(x float64) (s float64) {
			for phi, k := range l.seen {
				if k > 0 {
					s += k * math.Exp2(-float64(phi)) / math.Expm1(x*math.Exp2(-float64(phi)))
				}
			}
			return s - l.unseen
		}
		if x == 0 && slope(1e-300) <= 0 {
			continue
		}
		if !(slope(x*(1-1e-9)) >= 0 && slope(x*(1+1e-9)) <= 0) {
			t.Fatalf("%v: %v is no root: slopes %v, %v", l, x, slope(x*(1-1e-9)), slope(x*(1+1e-9)))
		}
	}
}

// drawn returns sketches as they are after about n items, of which the number in
// each register is Poisson: for each update, toss its coin. So n can be anything.
func drawn(rng *rand.Rand, p, d uint8, n float64) (*Exa, *Sketch) {
	e, s := &Exa{p: p, d: d}, &Sketch{p: p}
	e.toRegisters()
	s.toRegisters()
	x := n / float64(uint64(1)<<p)
	var chance [64]float64
	for phi := range chance {
		chance[phi] = -math.Expm1(-x * math.Exp2(-float64(phi)))
	}
	happens := func(phi int) bool { return rng.Float64() < chance[phi] }
	for i := range 1 << p {
		var r uint64
		for k := 1; k <= 4*(65-tBits-int(p)); k++ {
			if happens(min(tBits+1+(k-1)/4, 64-int(p))) {
				r = raise(r, uint64(k), d)
			}
		}
		e.set(i, r)
		for k := 65 - int(p); k > 0; k-- {
			if happens(min(k, 64-int(p))) {
				s.set(i, uint64(k))
				break
			}
		}
	}
	return e, s
}

// A spread gathers relative errors.
type spread struct{ n, sum, squares, inside float64 }

func (s *spread) add(estimate, lo, hi, truth float64) {
	e := estimate/truth - 1
	s.n++
	s.sum += e
	s.squares += e * e
	if lo <= truth && truth <= hi {
		s.inside++
	}
}

func (s *spread) bias() float64 { return s.sum / s.n }
func (s *spread) rmse() float64 { return math.Sqrt(s.squares / s.n) }

// check holds a spread to a standard error: the bias to a fifth of it, the error
// itself to a tenth above, and two standard errors to 95.4 % of the truths.
func (s *spread) check(t *testing.T, what string, n, rse float64) {
	t.Helper()
	if b := s.bias(); math.Abs(b) > 0.2*rse {
		t.Errorf("%s: n=%g: bias %.4f %% is %.2f standard errors", what, n, 100*b, b/rse)
	}
	if r := s.rmse(); r > 1.1*rse {
		t.Errorf("%s: n=%g: error %.4f %%, want %.4f %%", what, n, 100*r, 100*rse)
	}
	if in := s.inside / s.n; in < 0.93 || in > 0.985 {
		t.Errorf("%s: n=%g: %.1f %% of truths within two standard errors", what, n, 100*in)
	}
}

// Error and bias are as promised up to the exa-scale.
func TestErrorAtAnySize(t *testing.T) {
	const runs = 1000
	for _, n := range []float64{1e5, 1e7, 1e9, 1e12, 1e15, 1e18} {
		rng := newRand(uint64(math.Float64bits(n)))
		var es, ss spread
		var e *Exa
		var s *Sketch
		for range runs {
			e, s = drawn(rng, 6, Width, n)
			lo, hi := e.Bounds(2)
			es.add(e.Estimate(), lo, hi, n)
			lo, hi = s.Bounds(2)
			ss.add(s.Estimate(), lo, hi, n)
		}
		es.check(t, "Exa", n, e.RelativeError())
		ss.check(t, "Sketch", n, s.RelativeError())
	}
}

// The bias is small at every size, above all where tokens turn to registers: each
// run is followed from nothing to far behind the turn.
func TestBiasOnTheWay(t *testing.T) {
	const runs = 2000
	for _, p := range []int{8, 11} {
		var at []int
		for n := 1; n < 20_000; n += 1 + n/3 {
			at = append(at, n)
		}
		es, ss := make([]spread, len(at)), make([]spread, len(at))
		var mu sync.Mutex
		var wg sync.WaitGroup
		const workers = 4
		for w := range workers {
			wg.Go(func() {
				rng := newRand(uint64(100*p + w))
				for range runs / workers {
					e, _ := NewExa(p)
					s, _ := New(p)
					n := 0
					for i, stop := range at {
						for ; n < stop; n++ {
							h := rng.Uint64()
							e.AddHash(h)
							s.AddHash(h)
						}
						ne, ns := e.Estimate(), s.Estimate()
						mu.Lock()
						es[i].add(ne, 0, 0, float64(n))
						ss[i].add(ns, 0, 0, float64(n))
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		for i, n := range at {
			for _, c := range []struct {
				what string
				s    *spread
				rse  float64
			}{{"Exa", &es[i], (&Exa{p: uint8(p), d: Width}).RelativeError()}, {"Sketch", &ss[i], (&Sketch{p: uint8(p)}).RelativeError()}} {
				if b := c.s.bias(); math.Abs(b) > 0.2*c.rse {
					t.Errorf("%s p=%d n=%d: bias %.4f %% is %.2f standard errors", c.what, p, n, 100*b, b/c.rse)
				}
				if r := c.s.rmse(); r > 1.08*c.rse {
					t.Errorf("%s p=%d n=%d: error %.4f %%, want at most %.4f %%", c.what, p, n, 100*r, 100*c.rse)
				}
			}
		}
	}
}

// Bounds hold the truth as often as they say, at every fill.
func TestBounds(t *testing.T) {
	for _, n := range []int{200, 400, 1000, 3000, 30_000} {
		rng := newRand(uint64(n))
		var es, ss spread
		for range 2000 {
			e, _ := NewExa(7)
			s, _ := New(7)
			for range n {
				h := rng.Uint64()
				e.AddHash(h)
				s.AddHash(h)
			}
			lo, hi := e.Bounds(2)
			es.add(e.Estimate(), lo, hi, float64(n))
			lo, hi = s.Bounds(2)
			ss.add(s.Estimate(), lo, hi, float64(n))
		}
		for what, s := range map[string]*spread{"Exa": &es, "Sketch": &ss} {
			if in := s.inside / s.n; in < 0.935 || in > 0.975 {
				t.Errorf("%s: n=%d: %.1f %% of truths within two standard errors, want 95.4", what, n, 100*in)
			}
		}
	}
}

// While there are tokens, the estimate is as good as exact.
func TestSmallSets(t *testing.T) {
	var s spread
	for run := range 200 {
		rng := newRand(uint64(run))
		e, _ := NewExa(11)
		for range 1000 {
			e.AddHash(rng.Uint64())
		}
		if e.regs != nil {
			t.Fatal("registers already")
		}
		lo, hi := e.Bounds(4)
		if lo > 1001 || hi < 999 || hi-lo > 5 { // two may look the same, one in 400 times
			t.Fatalf("from %v to %v", lo, hi)
		}
		s.add(e.Estimate(), lo, hi, 1000)
	}
	if s.rmse() > 0.0002 {
		t.Errorf("error %.4f %%", 100*s.rmse())
	}
}

func TestEndOfRegisters(t *testing.T) {
	e, s := &Exa{p: 3, d: Width}, &Sketch{p: 3}
	e.toRegisters()
	s.toRegisters()
	if e.Estimate() != 0 || s.Estimate() != 0 {
		t.Error("empty registers are not zero")
	}
	for i := range 8 {
		e.set(i, 240<<Width|(1<<Width-1))
		s.set(i, 62)
	}
	if lo, hi := e.Bounds(2); lo != hi || !math.IsInf(lo, 1) {
		t.Errorf("between %v and %v", lo, hi)
	}
	for _, n := range []float64{e.Estimate(), s.Estimate()} {
		if !math.IsInf(n, 1) {
			t.Errorf("registers at their end: %v", n)
		}
	}
}
