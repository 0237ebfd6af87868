package hll

import "math"

// A likelihood gathers what m registers tell about the number n of items. Items
// come as a Poisson process, so each possible update of a register is a coin of
// its own: one of mass 2^-φ has happened with probability 1 - e^(-x·2^-φ), where
// x = n/m. Of those whose outcome is known, seen counts the ones that happened by
// their φ, and unseen is the mass of the others:
//
//	ln L(x) = -x·unseen + Σ seen[φ]·ln(1 - e^(-x·2^-φ))
//
// (Ertl 2025, equation 15, in other letters.)
type likelihood struct {
	seen   [64]float64
	unseen float64
}

// solve returns the n of greatest likelihood, corrected by the factor 1/(1+c/m)
// for what the likelihood is biased by to first order, and its variance: one by
// the information in what was observed, less the n by which a Poisson process
// varies by itself and the number of items does not.
//
// The derivative times x is h(x) = Σ seen[φ]·ψ(x·2^-φ) - x·unseen with
// ψ(y) = y/(e^y-1), which falls and is convex. So Newton's method that starts
// below the root stays below and climbs. The start is the root when all masses
// are replaced by their mean, which by Jensen's inequality is below.
func (l *likelihood) solve(m, c float64) (n, variance float64) {
	lo, hi := 0, -1
	var count, mass float64
	for phi, k := range l.seen {
		if k != 0 {
			if hi < 0 {
				lo = phi
			}
			hi = phi
			count += k
			mass += math.Ldexp(k, -phi)
		}
	}
	switch {
	case hi < 0:
		return 0, 0
	case l.unseen <= 0:
		return math.Inf(1), math.Inf(1)
	}
	x := count / mass * math.Log1p(mass/l.unseen)
	var info float64
	for range 100 { // takes 3 to 6
		// y and e = e^y - 1 for the largest φ, which double on the way down.
		y := math.Ldexp(x, -hi)
		e := math.Expm1(y)
		h, slope := -x*l.unseen, -x*l.unseen
		info = 0
		for phi := hi; phi >= lo && y < 64; phi-- { // beyond, ψ is nothing
			if k := l.seen[phi]; k != 0 {
				h += k * y / e
				// yψ'(y) = (y·e - y²·(e+1))/e², which for a small y would be the
				// difference of nearly equal numbers.
				if y < 1e-3 {
					slope += k * y * (y/6 - 0.5)
				} else {
					slope += k * y * (e - y*(e+1)) / (e * e)
				}
				info += k * (y / e) * (y / e) * (e + 1)
			}
			y, e = 2*y, e*(e+2)
		}
		step := x * h / -slope
		if !(step > 1e-14*x) {
			break
		}
		x += step
	}
	n = m * x / (1 + c/m)
	return n, max(0, n*n/info-n)
}

// bounds are those of an estimate at sigma standard deviations.
func bounds(n, variance, sigma float64) (lo, hi float64) {
	if math.IsInf(n, 1) {
		return n, n
	}
	d := math.Abs(sigma) * math.Sqrt(variance)
	return max(0, n-d), n + d
}

// The bias of the estimate relative to its truth is c/m to first order (Cox and
// Snell 1968), and its standard error e/√m, where c and e are of the registers'
// kind. TestConstants computes these from the definition of the registers.
const hllBias, hllError = 1.01016, 1.03670

// By the width d.
var (
	exaBias = [MaxWidth + 1]float64{
		1.00009, 0.85489, 0.73410, 0.63122, 0.54161, 0.46852, 0.40753, 0.35565, 0.31081, 0.27388,
		0.24295, 0.21673, 0.19439, 0.17575, 0.16007, 0.14685, 0.13578, 0.12642, 0.11850, 0.11186,
		0.10639, 0.10171, 0.09773, 0.09440, 0.09169,
	}
	exaError = [MaxWidth + 1]float64{
		1.00277, 0.92798, 0.86092, 0.79956, 0.74233, 0.69219, 0.64751, 0.60717, 0.57043, 0.53828,
		0.50990, 0.48474, 0.46255, 0.44315, 0.42619, 0.41145, 0.39886, 0.38786, 0.37831, 0.37015,
		0.36336, 0.35743, 0.35231, 0.34798, 0.34444,
	}
)
