package ratelimit

import (
	"fmt"
	"math"
	"time"
)

// A Rate is so many requests in so much time. Use [Per].
type Rate struct {
	Count  int
	Period time.Duration
}

// Per returns the rate of n requests in each d.
func Per(n int, d time.Duration) Rate { return Rate{n, d} }

// String returns the rate as "100/1s".
func (r Rate) String() string { return fmt.Sprintf("%d/%v", r.Count, r.Period) }

// check: counts fit in 31 bits, and periods in the years that a clock of sixteenths
// of a nanosecond runs.
func (r Rate) check() error {
	if r.Count < 1 || r.Count > math.MaxInt32 || r.Period < 1 || r.Period > maxPeriod {
		return fmt.Errorf("%w: rate %v: 1 to %d requests in 1ns to %v", ErrInvalid, r, math.MaxInt32, maxPeriod)
	}
	return nil
}

const maxPeriod = 366 * 24 * time.Hour

// A Policy says how many requests of a key pass when. It is one of [GCRA],
// [TokenBucket], [FixedWindow], [SlidingLog] and [SlidingCounter].
type Policy interface {
	rate() Rate
	compile() (rule, error)
}

// Time inside is in ticks: sixteenths of a nanosecond, for rates whose gap is no whole
// number of nanoseconds. A limiter's begins in the middle of them, with 9 years to
// both sides.
const (
	ticksPerNano = 16
	middle       = 1 << 62
	lastTick     = 15 << 59 // a year before the end, for sums
)

func ticks(d time.Duration) int64 {
	const most = middle / ticksPerNano
	return int64(max(-most, min(d, most))) * ticksPerNano
}

// nanos rounds up: who waits so long has waited long enough.
func nanos(t int64) time.Duration {
	if t <= 0 {
		return 0
	}
	return time.Duration((t-1)/ticksPerNano + 1)
}

// A rule is a policy at work. State is what it keeps of a key: one word, or, if
// words is not 0, so many of 32 bits beside it.
//
// Take decides about n requests at a time, given the word and, for rules with
// memory, the words, which it changes if they pass. Fades tells when a key's state will
// be as good as none. Give takes back n requests that were let through at a time, as
// far as they still count.
type rule interface {
	words() int
	burst() int // the most that can ever pass at once
	take(word int64, mem []uint32, now int64, n int64) (next int64, d Decision)
	give(word int64, mem []uint32, at, now int64, n int64) (next int64)
	fades(word int64) int64
	// Possible tells whether a state can have come about until a time.
	possible(word int64, mem []uint32, at int64) bool
	// name and numbers identify the rule in a snapshot.
	name() (kind byte, numbers [3]int64)
}

// A GCRA lets through a steady flow of Rate, and Burst at once after a pause: the
// generic cell rate algorithm (ATM Forum, 1996), which remembers one number, the
// theoretical arrival time: when the flow will be back on schedule. In any time T it
// lets through at most Burst + Rate·T, and that little more than Rate only once.
type GCRA struct {
	Rate  Rate
	Burst int // 0: as much as Rate.Count, so that a window may see twice that
}

func (p GCRA) rate() Rate { return p.Rate }

func (p GCRA) compile() (rule, error) {
	if err := p.Rate.check(); err != nil {
		return nil, err
	}
	burst := p.Burst
	if burst == 0 {
		burst = p.Rate.Count
	}
	if burst < 1 || burst > math.MaxInt32 {
		return nil, fmt.Errorf("%w: burst %d, not in [1, %d]", ErrInvalid, p.Burst, math.MaxInt32)
	}
	// Rounded up: never more than the rate.
	gap := (ticks(p.Rate.Period)-1)/int64(p.Rate.Count) + 1
	if gap > ticks(maxPeriod)/int64(burst) {
		return nil, fmt.Errorf("%w: a burst of %d at %v takes longer than %v to come back", ErrInvalid, burst, p.Rate, maxPeriod)
	}
	return &gcra{gap: gap, depth: gap * int64(burst), size: int64(burst)}, nil
}

type gcra struct {
	gap   int64 // between two requests of a steady flow
	depth int64 // how far ahead of the schedule a key may be
	size  int64
}

func (g *gcra) words() int                     { return 0 }
func (g *gcra) burst() int                     { return int(g.size) }
func (g *gcra) fades(tat int64) int64          { return tat }
func (g *gcra) name() (kind byte, id [3]int64) { return 'g', [3]int64{g.gap, g.size} }
func (g *gcra) left(tat, now int64) (n int64)  { return (g.depth - (tat - now)) / g.gap }
func (g *gcra) refused(tat, now, n int64) Decision {
	d := Decision{Limit: int(g.size), ResetAfter: nanos(tat - now)}
	if tat-now < g.depth {
		d.Remaining = int(g.left(tat, now))
	}
	if n > g.size {
		d.RetryAfter = Never
	} else {
		d.RetryAfter = nanos(tat + n*g.gap - g.depth - now)
	}
	return d
}

// A reservation may be far ahead, but not so far that time would overflow.
func (g *gcra) possible(tat int64, _ []uint32, _ int64) bool {
	return tat >= 0 && tat <= lastTick
}

func (g *gcra) take(tat int64, _ []uint32, now, n int64) (int64, Decision) {
	tat = max(tat, now)
	if n > g.size {
		return tat, g.refused(tat, now, n)
	}
	next := tat + n*g.gap
	if next-now > g.depth {
		return tat, g.refused(tat, now, n)
	}
	return next, Decision{OK: true, Limit: int(g.size), Remaining: int(g.left(next, now)), ResetAfter: nanos(next - now)}
}

func (g *gcra) give(tat int64, _ []uint32, _, now, n int64) int64 {
	return max(tat-n*g.gap, min(tat, now))
}

// A TokenBucket holds up to Burst tokens and gets Rate of them, evenly; a request
// takes one. It decides exactly as a [GCRA] with the same numbers, which is the same
// bucket told by when it will be full; it is here for its name.
type TokenBucket struct {
	Rate  Rate
	Burst int // 0: as much as Rate.Count
}

func (p TokenBucket) rate() Rate             { return p.Rate }
func (p TokenBucket) compile() (rule, error) { return GCRA(p).compile() }

// A FixedWindow counts in windows of Rate.Period that begin at multiples of it since
// 1970. It is the simplest and the weakest: who sends at the end of one window and
// the beginning of the next gets through twice Rate.Count in a moment. Counts go to
// 8,388,607, periods from a millisecond up.
type FixedWindow struct{ Rate Rate }

func (p FixedWindow) rate() Rate { return p.Rate }

const (
	windowBits  = 23
	windowCount = 1<<windowBits - 1
)

func (p FixedWindow) compile() (rule, error) {
	if err := p.Rate.check(); err != nil {
		return nil, err
	}
	if p.Rate.Count > windowCount || p.Rate.Period < time.Millisecond {
		return nil, fmt.Errorf("%w: rate %v: a fixed window takes up to %d in 1ms or longer", ErrInvalid, p.Rate, windowCount)
	}
	return &fixed{int64(p.Rate.Count), ticks(p.Rate.Period)}, nil
}

type fixed struct{ limit, period int64 }

func (f *fixed) words() int                     { return 0 }
func (f *fixed) burst() int                     { return int(f.limit) }
func (f *fixed) fades(word int64) int64         { return word >> windowBits * f.period }
func (f *fixed) name() (kind byte, id [3]int64) { return 'f', [3]int64{f.limit, f.period} }

func (f *fixed) possible(word int64, _ []uint32, at int64) bool {
	return word >= 0 && word&windowCount <= f.limit && word>>windowBits <= f.window(at)+1
}

// window numbers windows from 1 on; word 0 is then of none.
func (f *fixed) window(now int64) int64 { return now/f.period + 1 }

func (f *fixed) take(word int64, _ []uint32, now, n int64) (int64, Decision) {
	window, count := f.window(now), int64(0)
	if word>>windowBits >= window { // a later one, if clocks of two callers differ
		window, count = word>>windowBits, word&windowCount
	}
	reset := nanos(window*f.period - now)
	d := Decision{Limit: int(f.limit), Remaining: int(f.limit - count), ResetAfter: reset}
	switch {
	case n > f.limit:
		d.RetryAfter = Never
		return word, d
	case count+n > f.limit:
		d.RetryAfter = reset
		return word, d
	}
	d.OK, d.Remaining = true, int(f.limit-count-n)
	return window<<windowBits | (count + n), d
}

func (f *fixed) give(word int64, _ []uint32, at, _, n int64) int64 {
	if word>>windowBits == f.window(at) {
		return word - min(n, word&windowCount)
	}
	return word
}

// A SlidingLog remembers when each request was let through, and lets through no more
// than Rate.Count in any window of Rate.Period, exactly. It costs 4 bytes for each of
// Rate.Count for every key, of which there may be up to 65,536. Times are kept to a
// 2^31st of the period, rounded so that the limit holds.
type SlidingLog struct{ Rate Rate }

func (p SlidingLog) rate() Rate { return p.Rate }

const maxLog = 1 << 16

func (p SlidingLog) compile() (rule, error) {
	if err := p.Rate.check(); err != nil {
		return nil, err
	}
	if p.Rate.Count > maxLog {
		return nil, fmt.Errorf("%w: rate %v: a log takes up to %d", ErrInvalid, p.Rate, maxLog)
	}
	period := ticks(p.Rate.Period)
	grain := period>>31 + 1
	return &slidingLog{limit: int64(p.Rate.Count), period: period, grain: grain, span: uint32((period-1)/grain + 1)}, nil
}

// A slidingLog's memory is a ring: mem[0] is where the oldest is, mem[1] how many
// there are, and then the times at which they stop counting, in grains: as
// differences to the key's word, which is the latest such time that there was, modulo
// 2^32. A time is rounded up, and so counts a grain too long at most.
type slidingLog struct {
	limit, period, grain int64
	span                 uint32 // period in grains, rounded up
}

func (l *slidingLog) words() int                     { return int(l.limit) + 2 }
func (l *slidingLog) burst() int                     { return int(l.limit) }
func (l *slidingLog) fades(word int64) int64         { return word * l.grain }
func (l *slidingLog) name() (kind byte, id [3]int64) { return 'l', [3]int64{l.limit, l.period} }

func (l *slidingLog) possible(word int64, mem []uint32, at int64) bool {
	if word < 0 || word > at/l.grain+2*int64(l.span)+2 || int64(mem[0]) >= l.limit || int64(mem[1]) > l.limit {
		return false
	}
	before := int64(0)
	for i := range mem[1] {
		e := l.ring(mem, i, word)
		if e < before {
			return false
		}
		before = e
	}
	return true
}

// ring returns entry i from the oldest, as time in grains.
func (l *slidingLog) ring(mem []uint32, i uint32, word int64) int64 {
	e := mem[2+(mem[0]+i)%uint32(l.limit)]
	return word - int64(uint32(word)-e)
}

func (l *slidingLog) take(word int64, mem []uint32, now, n int64) (int64, Decision) {
	at := now / l.grain
	for mem[1] > 0 && l.ring(mem, 0, word) <= at {
		mem[0] = (mem[0] + 1) % uint32(l.limit)
		mem[1]--
	}
	count := int64(mem[1])
	d := Decision{Limit: int(l.limit), Remaining: int(l.limit - count)}
	if count > 0 {
		d.ResetAfter = nanos(word*l.grain - now)
	}
	switch free := count + n - l.limit; {
	case n > l.limit:
		d.RetryAfter = Never
		return word, d
	case free > 0: // so many have to go first
		d.RetryAfter = nanos(l.ring(mem, uint32(free-1), word)*l.grain - now)
		return word, d
	}
	// Later than all before, so that the ring stays in order.
	end := max(at+int64(l.span)+1, word)
	for range n {
		mem[2+(mem[0]+mem[1])%uint32(l.limit)] = uint32(end)
		mem[1]++
	}
	d.OK, d.Remaining, d.ResetAfter = true, int(l.limit-count-n), nanos(end*l.grain-now)
	return end, d
}

// give takes off the newest: which of them it was makes no difference to the count,
// and the others stop counting no earlier than they should.
func (l *slidingLog) give(word int64, mem []uint32, at, _, n int64) int64 {
	for i := mem[1]; i > 0 && n > 0; i-- {
		if l.ring(mem, i-1, word) < at/l.grain+int64(l.span)+1 {
			break // older than what is given back, which is forgotten already
		}
		mem[1]--
		n--
	}
	return word
}

// A SlidingCounter counts in Buckets equal parts of Rate.Period. It costs 4 bytes for
// each of them for every key.
//
// By default it is conservative: the oldest part is counted whole as long as a moment
// of it is in the window, so that no window of Rate.Period ever sees more than
// Rate.Count; a request may be refused up to a part of the period too early. With
// Interpolate the oldest part counts as if its requests had come evenly, as many
// gateways do, with one part to a period: right on average, and up to twice
// Rate.Count in a window for somebody who chooses the moments.
type SlidingCounter struct {
	Rate        Rate
	Buckets     int // 1 to 1,000; 0: 10, or 1 with Interpolate
	Interpolate bool
}

func (p SlidingCounter) rate() Rate { return p.Rate }

func (p SlidingCounter) compile() (rule, error) {
	if err := p.Rate.check(); err != nil {
		return nil, err
	}
	buckets := p.Buckets
	if buckets == 0 {
		buckets = 10
		if p.Interpolate {
			buckets = 1
		}
	}
	if buckets < 1 || buckets > 1000 || p.Rate.Period < time.Duration(buckets) {
		return nil, fmt.Errorf("%w: %d buckets for %v, not in [1, 1000]", ErrInvalid, p.Buckets, p.Rate)
	}
	width := (ticks(p.Rate.Period)-1)/int64(buckets) + 1
	return &counter{limit: int64(p.Rate.Count), width: width, buckets: int64(buckets), smooth: p.Interpolate}, nil
}

// A counter's word is the number of the newest bucket, and its memory one count for
// each of buckets+1.
type counter struct {
	limit, width, buckets int64
	smooth                bool
}

func (c *counter) words() int { return int(c.buckets) + 1 }
func (c *counter) burst() int { return int(c.limit) }
func (c *counter) fades(word int64) int64 {
	if word == 0 {
		return 0
	}
	return (word + c.buckets) * c.width // when its newest bucket leaves the window
}

func (c *counter) name() (kind byte, id [3]int64) {
	smooth := int64(0)
	if c.smooth {
		smooth = 1
	}
	return 'c', [3]int64{c.limit, c.width, c.buckets<<1 | smooth}
}

func (c *counter) possible(word int64, mem []uint32, at int64) bool {
	if word < 0 || word > at/c.width+2 {
		return false
	}
	for _, n := range mem {
		if int64(n) > c.limit {
			return false
		}
	}
	return true
}

// turn makes k the newest bucket.
func (c *counter) turn(word int64, mem []uint32, k int64) {
	for i := max(word+1, k-c.buckets); i <= k; i++ {
		mem[i%(c.buckets+1)] = 0
	}
}

// weight returns how much of the oldest bucket's n counts when past of the newest
// bucket's width has passed, rounded up.
func (c *counter) weight(n, past int64) int64 {
	if !c.smooth {
		return n
	}
	return int64(math.Ceil(float64(n) * float64(c.width-past) / float64(c.width)))
}

func (c *counter) take(word int64, mem []uint32, now, n int64) (int64, Decision) {
	k := max(now/c.width+1, word) // bucket numbers begin at 1; word 0 is none
	c.turn(word, mem, k)
	past := max(0, now-(k-1)*c.width)
	var sum int64 // without the oldest
	for i := k - c.buckets + 1; i <= k; i++ {
		if i > 0 {
			sum += int64(mem[i%(c.buckets+1)])
		}
	}
	oldest := int64(0)
	if k > c.buckets {
		oldest = int64(mem[(k-c.buckets)%(c.buckets+1)])
	}
	count := sum + c.weight(oldest, past)
	d := Decision{Limit: int(c.limit), Remaining: int(max(0, c.limit-count))}
	switch {
	case n > c.limit:
		d.RetryAfter = Never
	case count+n > c.limit:
		d.RetryAfter = nanos(c.retry(mem, k, past, sum, oldest, n))
	default:
		mem[k%(c.buckets+1)] += uint32(n)
		d.OK, d.Remaining = true, int(c.limit-count-n)
	}
	if count > 0 || d.OK {
		newest := k
		for newest > k-c.buckets && mem[newest%(c.buckets+1)] == 0 {
			newest--
		}
		d.ResetAfter = nanos((newest+c.buckets)*c.width - (k-1)*c.width - past)
	}
	return k, d
}

// retry returns after how many ticks n pass if nobody else comes.
func (c *counter) retry(mem []uint32, k, past, sum, oldest, n int64) int64 {
	for i := int64(0); i <= c.buckets; i++ {
		// The newest is k+i now, and oldest is about to leave.
		if room := c.limit - sum - n; room >= 0 {
			if !c.smooth {
				if room >= oldest {
					return max(0, i*c.width-past)
				}
			} else {
				need := c.width // when oldest counts no more than room
				if oldest > 0 {
					need = int64(math.Ceil(float64(c.width) * (1 - float64(min(room, oldest))/float64(oldest))))
				}
				if need < c.width || oldest == 0 {
					return max(0, i*c.width+need*sign(oldest)-past)
				}
			}
		}
		next := k + i + 1 - c.buckets // the next to be oldest
		oldest = 0
		if next > 0 && next <= k {
			oldest = int64(mem[next%(c.buckets+1)])
		}
		sum -= oldest
	}
	return (c.buckets+1)*c.width - past
}

func sign(n int64) int64 {
	if n > 0 {
		return 1
	}
	return 0
}

func (c *counter) give(word int64, mem []uint32, at, _, n int64) int64 {
	if k := at/c.width + 1; k <= word && k > word-c.buckets-1 {
		i := k % (c.buckets + 1)
		mem[i] -= uint32(min(n, int64(mem[i])))
	}
	return word
}
