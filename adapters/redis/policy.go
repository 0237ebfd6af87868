package redis

import (
	_ "embed"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

var (
	//go:embed lua/clock.lua
	luaClock string
	//go:embed lua/flow.lua
	luaFlow string
	//go:embed lua/gcra.lua
	luaGCRA string
	//go:embed lua/rules.lua
	luaRules string
	//go:embed lua/lease.lua
	luaLease string
	//go:embed lua/post.lua
	luaPost string
	//go:embed lua/idem.lua
	luaIdem string
	//go:embed lua/cache.lua
	luaCache string
)

// exact is below what a Lua number, a double, holds every integer.
const exact = 1 << 53

// A rule is a policy as the scripts take it. Its time is whole microseconds.
type rule struct {
	kind    byte // g, f, l, c: as in rules.lua
	numbers [4]int64
	args    [5]string
	limit   int64

	num, den, gap int64 // g: the gap is num/den µs, and gap that rounded up
}

// compile makes the rule of a policy.
func compile(p ratelimit.Policy) (*rule, error) {
	// The local limiter knows what a policy may be.
	if _, err := ratelimit.New(p, &ratelimit.Options{MaxKeys: 1}); err != nil {
		return nil, err
	}
	var r *rule
	switch p := p.(type) {
	case ratelimit.GCRA:
		r = flowRule(p)
	case ratelimit.TokenBucket:
		r = flowRule(ratelimit.GCRA(p))
	case ratelimit.FixedWindow:
		r = &rule{kind: 'f', limit: int64(p.Rate.Count), numbers: [4]int64{int64(p.Rate.Count), micros(p.Rate.Period)}}
		if err := window(p.Rate); err != nil {
			return nil, err
		}
	case ratelimit.SlidingLog:
		r = &rule{kind: 'l', limit: int64(p.Rate.Count), numbers: [4]int64{int64(p.Rate.Count), micros(p.Rate.Period)}}
		if err := window(p.Rate); err != nil {
			return nil, err
		}
	case ratelimit.SlidingCounter:
		b, smooth := int64(p.Buckets), int64(0)
		if b == 0 {
			b = 10
		}
		if p.Interpolate {
			smooth = 1
			if p.Buckets == 0 {
				b = 1
			}
		}
		width := (micros(p.Rate.Period)-1)/b + 1
		r = &rule{kind: 'c', limit: int64(p.Rate.Count), numbers: [4]int64{int64(p.Rate.Count), width, b, smooth}}
		if err := window(p.Rate); err != nil {
			return nil, err
		}
		if hi, lo := bits.Mul64(uint64(r.limit), uint64(width)); smooth == 1 && (hi != 0 || lo >= exact) {
			return nil, fmt.Errorf("%w: interpolating %v is not exact in a double", ErrUnsupported, p.Rate)
		}
	default:
		return nil, fmt.Errorf("%w: %T", ErrUnsupported, p)
	}
	r.args[0] = string(rune(r.kind))
	for i, n := range r.numbers {
		r.args[i+1] = strconv.FormatInt(n, 10)
	}
	return r, nil
}

// window checks that a period is long enough for a clock of microseconds.
func window(r ratelimit.Rate) error {
	if r.Period < time.Millisecond {
		return fmt.Errorf("%w: %v, a window lasts at least 1ms", ErrUnsupported, r)
	}
	return nil
}

// micros rounds up.
func micros(d time.Duration) int64 { return int64((d-1)/time.Microsecond) + 1 }

func flowRule(p ratelimit.GCRA) *rule {
	burst := int64(p.Burst)
	if burst == 0 {
		burst = int64(p.Rate.Count)
	}
	num, den := int64(p.Rate.Period), 1000*int64(p.Rate.Count)
	for a, b := num, den; ; a, b = b, a%b { // reduced
		if b == 0 {
			num, den = num/a, den/a
			break
		}
	}
	r := &rule{kind: 'g', limit: burst, num: num, den: den, gap: (num-1)/den + 1}
	q, rest := r.times(burst)
	r.numbers = [4]int64{q, rest, num, den}
	return r
}

// times returns n gaps as whole microseconds and parts of one.
func (r *rule) times(n int64) (whole, parts int64) {
	hi, lo := bits.Mul64(uint64(n), uint64(r.num))
	if hi >= uint64(r.den) {
		return math.MaxInt64, 0
	}
	q, rest := bits.Div64(hi, lo, uint64(r.den))
	return int64(q), int64(rest)
}

// leasable tells whether the scripts can count with whole bursts in advance.
func (r *rule) leasable() bool {
	if r.kind != 'g' {
		return false
	}
	hi, lo := bits.Mul64(uint64(r.limit), uint64(r.num))
	return hi == 0 && lo < exact
}

// cost returns what n requests cost, for the script.
func (r *rule) cost(n int64) (q, rest int64) {
	if r.kind != 'g' {
		return 0, 0
	}
	return r.times(min(n, r.limit+1)) // more never pass, either
}

// width is how many integers a reply to the rule has.
func (r *rule) width() int {
	switch r.kind {
	case 'l':
		return 4
	case 'c':
		return int(r.numbers[2]) + 3
	}
	return 3
}

// decide makes the decision about n requests from what the script answered.
func (r *rule) decide(reply []int64, n int64) (ratelimit.Decision, error) {
	if reply[0] < 0 {
		return ratelimit.Decision{}, ErrWrongType
	}
	d := ratelimit.Decision{OK: reply[0] == 1, Limit: int(r.limit)}
	var wait int64
	switch r.kind {
	case 'g':
		d.Remaining = int(r.level(reply[1], reply[2]))
		d.ResetAfter = duration(reply[1] + sign(reply[2]))
		// Until what it costs fits.
		q, rest := r.times(min(n, r.limit))
		q, rest = q+reply[1]-r.numbers[0], rest+reply[2]-r.numbers[1]
		wait = q + (rest+2*r.den-1)/r.den - 1
	case 'f':
		d.Remaining = int(max(0, r.limit-reply[1]))
		wait = reply[2]
		d.ResetAfter = duration(wait)
	case 'l':
		d.Remaining = int(max(0, r.limit-reply[1]))
		d.ResetAfter, wait = duration(reply[2]), reply[3]
	case 'c':
		var reset int64
		d.Remaining, wait, reset = r.counter(reply[1], reply[2:], n)
		d.ResetAfter = duration(reset)
	}
	switch {
	case d.OK:
	case n > r.limit:
		d.RetryAfter = ratelimit.Never
	default:
		d.RetryAfter = duration(max(1, wait))
	}
	return d, nil
}

func duration(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

func sign(n int64) int64 {
	if n > 0 {
		return 1
	}
	return 0
}

// level returns how many requests pass when the flow is so far ahead.
func (r *rule) level(T, F int64) int64 {
	q, rest := r.numbers[0]-T, r.numbers[1]-F
	if rest < 0 {
		q, rest = q-1, rest+r.den
	}
	if q < 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(q), uint64(r.den))
	lo, carry := bits.Add64(lo, uint64(rest), 0)
	if hi += carry; hi >= uint64(r.num) {
		return r.limit
	}
	n, _ := bits.Div64(hi, lo, uint64(r.num))
	return min(int64(n), r.limit)
}

// counter returns what remains of a SlidingCounter, after how long n would pass, and
// after how long nothing counts any more. Counts go from the oldest bucket, of which a
// part is in the window, to the newest, which has lasted for past.
func (r *rule) counter(past int64, counts []int64, n int64) (remaining int, wait, reset int64) {
	width, smooth := r.numbers[1], r.numbers[3] == 1
	sum := int64(0)
	for i, c := range counts {
		if sum += c; c > 0 {
			reset = int64(i+1)*width - past
		}
	}
	// After i more buckets, counts[i] is the oldest, and so much of it counts.
	weighs := func(i int, at int64) int64 {
		if !smooth {
			return counts[i]
		}
		return (counts[i]*(width-at) + width - 1) / width
	}
	remaining = int(max(0, r.limit-sum+counts[0]-weighs(0, past)))
	for i, c := range counts {
		sum -= c // of all but the oldest
		room := r.limit - sum - n
		if room < 0 {
			continue
		}
		from := int64(0) // of the newest bucket's time
		if i == 0 {
			from = past
		}
		if weighs(i, from) <= room {
			return remaining, int64(i)*width + from - past, reset
		}
		if smooth && room > 0 {
			// ceil(c·(width-at)/width) ≤ room from at = width - floor(room·width/c) on.
			if at := width - room*width/c; at < width {
				return remaining, int64(i)*width + max(at, from) - past, reset
			}
		}
	}
	return remaining, int64(len(counts))*width - past, reset
}
