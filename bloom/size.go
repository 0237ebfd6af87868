package bloom

import (
	"fmt"
	"math"
)

// MaxBits is the largest size of a filter: 2^40 bits, 128 GiB.
const MaxBits = 1 << 40

const (
	blockBits = 512
	maxHashes = 21
	minRate   = 1e-9
)

// A load is how likely a block is to hold i items, for i = from, from+1, …
type load struct {
	from float64
	p    []float64
}

// crowded is the mean number of items in a block of 512 bits above which every
// answer is yes.
const crowded = 4096

// loadOf returns the load of b blocks with n items: binomial, B(n, 1/b), which for
// many blocks is Poisson (Putze et al., section 3). What lies more than ten
// standard deviations from the mean is left out.
func loadOf(n, b float64) load {
	mean := n / b
	if b == 1 || mean > crowded {
		return load{math.Min(mean, crowded), []float64{1}}
	}
	width := 10*math.Sqrt(mean) + 10
	lo, hi := math.Max(0, math.Floor(mean-width)), math.Min(n, math.Ceil(mean+width))
	l := load{lo, make([]float64, 0, int(hi-lo)+1)}
	logB, logRest := math.Log(1/b), math.Log1p(-1/b)
	lgN, _ := math.Lgamma(n + 1)
	for i := lo; i <= hi; i++ {
		lg, _ := math.Lgamma(i + 1)
		if n > 1e7 { // such large logarithms have no digits left for their difference
			l.p = append(l.p, math.Exp(i*math.Log(mean)-mean-lg))
			continue
		}
		lgRest, _ := math.Lgamma(n - i + 1)
		l.p = append(l.p, math.Exp(lgN-lg-lgRest+i*logB+(n-i)*logRest))
	}
	return l
}

// rate returns the false-positive rate with k hashes.
func (l load) rate(k int) (sum float64) {
	for j, p := range l.p {
		sum += p * blockRate(l.from+float64(j), float64(k))
	}
	return sum
}

// best returns the count of hashes with the lowest rate, and that rate. The rate
// falls up to the best count and rises from there.
func (l load) best() (k int, rate float64) {
	k, rate = 1, l.rate(1)
	for k < maxHashes {
		r := l.rate(k + 1)
		if r >= rate {
			break
		}
		k, rate = k+1, r
	}
	return k, rate
}

// blockRate is the chance that a block of i items says yes to another one: that k
// random bits of 512 are set after k·i were. The number of set bits varies a
// little; the second factor is the second-order effect of that.
func blockRate(i, k float64) float64 {
	if i == 0 {
		return 0
	}
	empty := math.Pow(1-1.0/blockBits, k*i) // a bit is not set
	fill := 1 - empty
	both := math.Pow(1-2.0/blockBits, k*i) // neither of two is
	variance := empty*(1-empty)/blockBits + (1-1.0/blockBits)*(both-empty*empty)
	return math.Min(1, math.Pow(fill, k)*(1+k*(k-1)/2*math.Max(0, variance)/(fill*fill)))
}

// size returns the fewest blocks, and the best count of hashes for them, so that n
// items give a rate of at most p.
func size(n uint64, p float64) (blocks uint64, k int, err error) {
	if n == 0 {
		return 0, 0, fmt.Errorf("%w: no items", ErrInvalid)
	}
	if !(p >= minRate && p < 1) {
		return 0, 0, fmt.Errorf("%w: false-positive rate %v is not in [%v, 1)", ErrInvalid, p, minRate)
	}
	// What the sum leaves out, the draws that a product serves for together, adds a
	// quarter of a per cent to the rate: measured over 60 filters.
	p *= 0.995
	// The least that any filter needs is log₂(1/p) bits an item; begin there.
	hi := max(1, uint64(float64(n)*-math.Log2(p)/blockBits))
	lo := uint64(0) // too few
	for {
		if hi > MaxBits/blockBits {
			return 0, 0, fmt.Errorf("%w: %d items at rate %v need more than %d bits", ErrTooLarge, n, p, uint64(MaxBits))
		}
		if _, r := loadOf(float64(n), float64(hi)).best(); r <= p {
			break
		}
		lo, hi = hi, hi+hi/2+1
	}
	for hi-lo > 1+hi>>20 { // to a millionth
		mid := lo + (hi-lo)/2
		if _, r := loadOf(float64(n), float64(mid)).best(); r <= p {
			hi = mid
		} else {
			lo = mid
		}
	}
	k, _ = loadOf(float64(n), float64(hi)).best()
	return hi, k, nil
}
