package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 123_456_789, time.UTC)

// A clock that is moved by hand.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time       { return start.Add(time.Duration(c.ns.Load())) }
func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func limiter(t testing.TB, p Policy, opts *Options) (*Limiter, *clock) {
	t.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	c := &clock{}
	o.Now = c.now
	l, err := New(p, &o)
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

// A model is the slow, obvious form of a policy, for one key: remaining tells how many
// may pass at a time, in nanoseconds since start.
type model interface {
	remaining(now int64) int
	pass(now int64, n int)
}

// bucket is the textbook's: tokens come in evenly, in fractions.
type bucket struct {
	rate   *big.Rat // tokens in a nanosecond
	burst  *big.Rat
	tokens *big.Rat
	last   int64
}

func newBucket(r Rate, burst int) *bucket {
	b := new(big.Rat).SetInt64(int64(burst))
	return &bucket{big.NewRat(int64(r.Count), int64(r.Period)), b, new(big.Rat).Set(b), 0}
}

func (b *bucket) remaining(now int64) int {
	b.tokens.Add(b.tokens, new(big.Rat).Mul(b.rate, new(big.Rat).SetInt64(now-b.last)))
	b.last = now
	if b.tokens.Cmp(b.burst) > 0 {
		b.tokens.Set(b.burst)
	}
	return int(new(big.Int).Quo(b.tokens.Num(), b.tokens.Denom()).Int64())
}

func (b *bucket) pass(now int64, n int) {
	b.remaining(now)
	b.tokens.Sub(b.tokens, new(big.Rat).SetInt64(int64(n)))
}

// events remembers all that passed, and counts those that a window holds.
type events struct {
	limit int
	begin func(now int64) int64 // of the window that ends now
	times []int64
}

func (e *events) remaining(now int64) int {
	n := e.limit
	for _, t := range e.times {
		if t >= e.begin(now) {
			n--
		}
	}
	return n
}

func (e *events) pass(now int64, n int) {
	for range n {
		e.times = append(e.times, now)
	}
}

// since1970 returns nanoseconds since 1970.
func since1970(now int64) int64 { return start.UnixNano() + now }

func cases() map[string]struct {
	policy Policy
	model  func() model
} {
	window := func(d time.Duration) func(now int64) int64 {
		return func(now int64) int64 { return now - int64(d) + 1 }
	}
	type c = struct {
		policy Policy
		model  func() model
	}
	return map[string]c{
		"gcra":     {GCRA{Per(10, time.Second), 5}, func() model { return newBucket(Per(10, time.Second), 5) }},
		"gcra-one": {GCRA{Per(1000, time.Second), 1}, func() model { return newBucket(Per(1000, time.Second), 1) }},
		"bucket":   {TokenBucket{Per(100, time.Minute), 0}, func() model { return newBucket(Per(100, time.Minute), 100) }},
		"fixed": {FixedWindow{Per(7, 2*time.Second)}, func() model {
			return &events{limit: 7, begin: func(now int64) int64 { return now - since1970(now)%int64(2*time.Second) }}
		}},
		"log": {SlidingLog{Per(9, time.Second)}, func() model { return &events{limit: 9, begin: window(time.Second)} }},
	}
}

// Every decision is the model's, and RetryAfter is right to the nanosecond.
func TestAgainstModels(t *testing.T) {
	for name, c := range cases() {
		t.Run(name, func(t *testing.T) {
			for run := range uint64(20) {
				rng := newRand(run)
				l, clk := limiter(t, c.policy, nil)
				m := c.model()
				gap := time.Duration(float64(l.policy.rate().Period) / float64(l.policy.rate().Count))
				for step := range 300 {
					clk.pass(time.Duration(rng.ExpFloat64() * float64(gap) * []float64{0.1, 1, 10}[rng.IntN(3)]))
					n := 1 + rng.IntN(3)
					now := clk.ns.Load()
					left := m.remaining(now)
					if d := l.AllowN("k", 0); !d.OK || d.Remaining != left {
						t.Fatalf("step %d: %+v, %d remain", step, d, left)
					}
					d := l.AllowN("k", n)
					if d.OK != (left >= n) {
						t.Fatalf("step %d: %d more: %+v, %d remain", step, n, d, left)
					}
					if d.OK {
						m.pass(now, n)
						if d.Remaining != left-n || d.RetryAfter != 0 {
							t.Fatalf("step %d: %+v, %d remain", step, d, left-n)
						}
					} else if d.RetryAfter <= 0 {
						t.Fatalf("step %d: %+v", step, d)
					} else if n <= d.Limit {
						if m.remaining(now+int64(d.RetryAfter)) < n {
							t.Fatalf("step %d: after %v still refused", step, d.RetryAfter)
						}
					}
				}
			}
		})
	}
}

// After RetryAfter the same request passes, and a moment before it does not; after
// ResetAfter all of the limit passes.
func TestRetryAndReset(t *testing.T) {
	policies := map[string]Policy{
		"counter":      SlidingCounter{Rate: Per(20, time.Second)},
		"counter-3":    SlidingCounter{Rate: Per(5, 7*time.Nanosecond*1e6), Buckets: 3},
		"interpolated": SlidingCounter{Rate: Per(20, time.Second), Interpolate: true},
		"interpol-4":   SlidingCounter{Rate: Per(20, time.Second), Interpolate: true, Buckets: 4},
	}
	for name, c := range cases() {
		policies[name] = c.policy
	}
	for name, p := range policies {
		t.Run(name, func(t *testing.T) {
			for run := range uint64(30) {
				rng := newRand(run)
				l, clk := limiter(t, p, nil)
				period := l.policy.rate().Period
				for range 200 {
					clk.pass(time.Duration(rng.ExpFloat64() * float64(period) / float64(1+rng.IntN(50))))
					n := 1 + rng.IntN(min(3, l.rule.burst()))
					d := l.AllowN("k", n)
					if d.Remaining < 0 || d.Limit != l.rule.burst() {
						t.Fatalf("%+v", d)
					}
					if !d.OK {
						at := clk.now()
						if d.RetryAfter <= 0 || d.RetryAfter > 2*period {
							t.Fatalf("%+v", d)
						}
						// Times in between must not change the state: ask with a copy.
						for _, c := range []struct {
							after time.Duration
							want  bool
						}{{d.RetryAfter - 2, false}, {d.RetryAfter, true}} {
							if got := peek(t, l, at.Add(c.after), n); got != c.want && !(name[0] == 'i' && !c.want) && c.after > 0 && !(name == "log" && !c.want) {
								t.Fatalf("%+v: %v later %t", d, c.after, got)
							}
						}
					}
					if got := peek(t, l, clk.now().Add(d.ResetAfter), d.Limit); !got {
						t.Fatalf("%+v: not all passes after the reset", d)
					}
				}
			}
		})
	}
}

// peek asks a copy of a limiter.
func peek(t *testing.T, l *Limiter, at time.Time, n int) bool {
	t.Helper()
	b, err := l.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Restore(b, l.policy, &Options{Now: l.clock})
	if err != nil {
		t.Fatal(err)
	}
	return c.AllowAt(at, "k", n).OK
}

// bound is what each policy promises for any window of its period; without the last
// moment of it, GCRA's is one less.
func bound(p Policy) int {
	r := p.rate()
	switch p := p.(type) {
	case GCRA:
		return p.Burst + r.Count - 1
	case TokenBucket:
		return r.Count + r.Count - 1
	case FixedWindow:
		return 2 * r.Count
	case SlidingCounter:
		if p.Interpolate {
			return 2 * r.Count
		}
	}
	return r.Count
}

// An adversary that chooses every moment never gets more through in any window than
// the policy's bound, and reaches it where it is said to be reached.
func TestBounds(t *testing.T) {
	const limit = 12
	period := time.Second
	for name, c := range map[string]struct {
		p       Policy
		reached int
	}{
		"gcra":         {GCRA{Per(limit, period), 4}, limit + 3},
		"gcra-one":     {GCRA{Per(limit, period), 1}, limit},
		"bucket":       {TokenBucket{Rate: Per(limit, period)}, 2*limit - 1},
		"fixed":        {FixedWindow{Per(limit, period)}, 2 * limit},
		"log":          {SlidingLog{Per(limit, period)}, limit},
		"counter":      {SlidingCounter{Rate: Per(limit, period)}, limit},
		"counter-1":    {SlidingCounter{Rate: Per(limit, period), Buckets: 1}, limit},
		"interpolated": {SlidingCounter{Rate: Per(limit, period), Interpolate: true}, 2*limit - 1},
	} {
		t.Run(name, func(t *testing.T) {
			most := 0
			for run := range uint64(200) {
				rng := newRand(run)
				l, clk := limiter(t, c.p, nil)
				var passed []int64
				for range 150 {
					// Moments that matter: edges of windows, just before and after, when
					// the next one passes, storms, and anything between.
					switch rng.IntN(6) {
					case 0:
						edge := int64(period) - since1970(clk.ns.Load())%int64(period)
						clk.pass(time.Duration(max(0, edge-1+rng.Int64N(3))))
					case 1:
						clk.pass(period/12*time.Duration(rng.IntN(13)) + time.Duration(rng.Int64N(3)))
					case 2:
						clk.pass(l.AllowN("k", limit).ResetAfter)
					case 3:
						clk.pass(time.Duration(rng.Int64N(int64(period))))
					default:
						if d := l.AllowN("k", 1); d.OK {
							passed = append(passed, clk.ns.Load())
						} else {
							clk.pass(d.RetryAfter)
						}
					}
					storm := rng.IntN(2*limit + 1)
					for range storm {
						if l.Allow("k") {
							passed = append(passed, clk.ns.Load())
						}
					}
				}
				for i, j := 0, 0; i < len(passed); i++ {
					for passed[i]-passed[j] >= int64(period) {
						j++
					}
					most = max(most, i-j+1)
				}
			}
			if most > bound(c.p) {
				t.Errorf("%d pass in one window, the bound is %d", most, bound(c.p))
			}
			if most < c.reached {
				t.Errorf("only %d pass in one window, %d are possible: the search is no adversary", most, c.reached)
			}
		})
	}
}

// A rate whose gap is no whole number of ticks neither drifts nor exceeds.
func TestDrift(t *testing.T) {
	for _, r := range []Rate{Per(3, time.Second), Per(7, time.Millisecond), Per(7_000_000, time.Second), Per(1, time.Hour)} {
		l, clk := limiter(t, GCRA{r, 1}, nil)
		passed := 0
		const want = 20_000
		for range want {
			d := l.AllowN("k", 1)
			if !d.OK {
				clk.pass(d.RetryAfter)
				d = l.AllowN("k", 1)
			}
			if d.OK {
				passed++
			}
		}
		took := float64(clk.ns.Load())
		exact := float64(passed-1) * float64(r.Period) / float64(r.Count)
		if took < exact*(1-1e-9) || took > exact*1.005+float64(passed) {
			t.Errorf("%v: %d took %v, exactly it is %v", r, passed, time.Duration(took), time.Duration(exact))
		}
	}
}

func TestArguments(t *testing.T) {
	second := Per(1, time.Second)
	for _, p := range []Policy{
		nil,
		GCRA{},
		GCRA{Rate: Per(0, time.Second)},
		GCRA{Rate: Per(1, 0)},
		GCRA{Rate: Per(-1, time.Second)},
		GCRA{Rate: Per(1, -1)},
		GCRA{second, -1},
		GCRA{Per(1, 300*24*time.Hour), 1000},
		GCRA{Rate: Per(1, math.MaxInt64)},
		TokenBucket{second, -5},
		FixedWindow{Per(1<<24, time.Second)},
		FixedWindow{Per(1, time.Microsecond)},
		SlidingLog{Per(1<<17, time.Second)},
		SlidingCounter{Rate: second, Buckets: -1},
		SlidingCounter{Rate: second, Buckets: 1001},
		SlidingCounter{Rate: Per(1, 5), Buckets: 10},
	} {
		if _, err := New(p, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%#v: %v", p, err)
		}
	}
	for _, o := range []Options{{MaxKeys: -1}, {Full: 3}} {
		if _, err := New(GCRA{Rate: second}, &o); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	l, _ := limiter(t, GCRA{second, 5}, nil)
	if d := l.AllowN("k", 6); d.OK || d.RetryAfter != Never || d.Remaining != 5 {
		t.Errorf("more than the burst: %+v", d)
	}
	if d := l.AllowN("k", -1); !d.OK || d.Remaining != 5 {
		t.Errorf("a negative number: %+v", d)
	}
	if d := l.AllowN("k", math.MaxInt); d.OK || d.RetryAfter != Never {
		t.Errorf("a huge number: %+v", d)
	}
}

// Times that go back, or lie far away, harm nobody.
func TestStrangeTimes(t *testing.T) {
	for name, c := range cases() {
		l, _ := limiter(t, c.policy, nil)
		rng := newRand(1)
		for range 2000 {
			at := start.Add(time.Duration(rng.Int64N(int64(time.Hour))))
			switch rng.IntN(10) {
			case 0:
				at = start.Add(-1000 * time.Hour)
			case 1:
				at = start.Add(10 * 365 * 24 * time.Hour)
			case 2:
				at = time.Time{}
			}
			if d := l.AllowAt(at, "k", 1); d.Remaining < 0 || d.Remaining > d.Limit || d.RetryAfter < 0 || d.ResetAfter < 0 {
				t.Fatalf("%s: %+v", name, d)
			}
		}
	}
}

// Many goroutines together get no more than one would.
func TestConcurrent(t *testing.T) {
	for name, p := range map[string]Policy{
		"gcra": GCRA{Per(1, time.Hour), 500}, "fixed": FixedWindow{Per(500, time.Hour)},
		"log": SlidingLog{Per(500, time.Hour)}, "counter": SlidingCounter{Rate: Per(500, time.Hour)},
	} {
		l, _ := limiter(t, p, nil)
		var wg sync.WaitGroup
		var passed [20]atomic.Int64
		for w := range 8 {
			wg.Go(func() {
				rng := newRand(uint64(w))
				for range 4000 {
					k := rng.IntN(len(passed))
					n := 1 + rng.IntN(2)
					if l.AllowN(fmt.Sprint("key-", k), n).OK {
						passed[k].Add(int64(n))
					}
				}
			})
		}
		wg.Wait()
		for k := range passed {
			if n := passed[k].Load(); n != 500 {
				t.Errorf("%s: %d of 500 pass", name, n)
			}
		}
	}
}

// Keys come and go by the hundred thousand while the table grows and reuses slots: no
// key ever gets more than its burst, and none that is still counted is forgotten.
func TestManyKeys(t *testing.T) {
	for name, p := range map[string]Policy{
		"gcra": GCRA{Per(10, time.Second), 3}, "fixed": FixedWindow{Per(3, 250*time.Millisecond)},
		"counter": SlidingCounter{Rate: Per(3, 250*time.Millisecond)}, "log": SlidingLog{Per(3, 250*time.Millisecond)},
	} {
		l, clk := limiter(t, p, &Options{MaxKeys: 50_000})
		for round := range 15 {
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := range 500 {
						for n := range 5 {
							if got := l.Allow(fmt.Sprint(round, "-", w, "-", i)); got != (n < 3) {
								t.Errorf("%s: round %d: request %d of a new key passes: %t", name, round, n, got)
								return
							}
						}
					}
				})
			}
			wg.Wait()
			if round > 0 { // of the round before, some still count
				for w := range 4 {
					for i := range 500 {
						if d := l.AllowN(fmt.Sprint(round-1, "-", w, "-", i), 0); name == "gcra" && d.Remaining > 1 {
							t.Fatalf("%s: round %d: %+v of a key of the round before", name, round, d)
						}
					}
				}
			}
			clk.pass(100 * time.Millisecond)
		}
		if s := l.Stats(); s.Keys > 20_000 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Whoever makes up keys without end gets no more memory than there is to be.
func TestHostileKeys(t *testing.T) {
	const keys = 10_000
	for _, full := range []Full{Evict, Deny, Admit} {
		l, clk := limiter(t, GCRA{Per(1, time.Hour), 2}, &Options{MaxKeys: keys, Full: full})
		l.AllowN("victim", 2)
		denied, forgotten := 0, 0
		for i := range 20 * keys {
			d := l.AllowN(fmt.Sprint("made up ", i), 1)
			switch {
			case d.Full && d.OK != (full == Admit):
				t.Fatalf("full %d: %+v", full, d)
			case d.Full && full == Evict:
				t.Fatalf("no room was made: %+v", d)
			case !d.OK:
				denied++
			}
			if i%1000 == 0 && l.AllowN("victim", 0).Remaining > 0 {
				forgotten++
			}
		}
		if s := l.Stats(); s.Keys > keys+2*shardCount || s.Bytes > 25*keys+shardCount*(128+256) {
			t.Errorf("full %d: %+v", full, s)
		}
		if full == Deny && denied < 18*keys {
			t.Errorf("%d denied", denied)
		}
		// The victim is two ahead, everybody else one: it is the last to be forgotten.
		if forgotten > 0 {
			t.Errorf("full %d: the victim was forgotten", full)
		}
		// When all are forgotten, there is room again.
		clk.pass(3 * time.Hour)
		for i := range keys / 2 {
			if d := l.AllowN(fmt.Sprint("later ", i), 1); !d.OK || d.Full {
				t.Fatalf("full %d, later: %+v", full, d)
			}
		}
	}
}

// The bytes for a key that the documentation promises.
func TestBytesPerKey(t *testing.T) {
	const n = 200_000
	l, _ := limiter(t, GCRA{Per(1, time.Hour), 1}, &Options{MaxKeys: n})
	for i := range n - 64*60 { // shards are not equally full
		l.Allow(fmt.Sprint(i))
	}
	if s := l.Stats(); float64(s.Bytes)/float64(s.Keys) > 25 {
		t.Errorf("%.1f bytes a key", float64(s.Bytes)/float64(s.Keys))
	}
	if got := testing.AllocsPerRun(1000, func() { l.Allow("0") }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// All rules or none.
func TestAllowAll(t *testing.T) {
	for name, p := range map[string]Policy{
		"gcra": GCRA{Per(1, time.Hour), 10}, "fixed": FixedWindow{Per(10, time.Hour)},
		"log": SlidingLog{Per(10, time.Hour)}, "counter": SlidingCounter{Rate: Per(10, time.Hour)},
	} {
		user, _ := limiter(t, p, nil)
		ip, _ := limiter(t, GCRA{Per(1, time.Hour), 4}, nil)
		for i := range 6 {
			d, rule := AllowAll(1, Rule{user, "ann"}, Rule{ip, "1.2.3.4"})
			if want := i < 4; d.OK != want || rule != 1 {
				t.Fatalf("%s: request %d: %+v by rule %d", name, i, d, rule)
			}
		}
		// What the address refused does not count with the user.
		if d := user.AllowN("ann", 0); d.Remaining != 6 {
			t.Errorf("%s: %d remain", name, d.Remaining)
		}
		if d, rule := AllowAll(11, Rule{ip, "other"}, Rule{user, "ann"}); d.OK || rule != 0 || d.RetryAfter != Never {
			t.Errorf("%s: %+v by rule %d", name, d, rule)
		}
	}
	if d, rule := AllowAll(1); !d.OK || rule != -1 {
		t.Errorf("no rules: %+v, %d", d, rule)
	}
	// From many goroutines, with one tight rule: the loose one counts just what passed.
	loose, _ := limiter(t, GCRA{Per(100_000, time.Hour), 1_000_000}, nil)
	tight, _ := limiter(t, GCRA{Per(1, time.Hour), 100}, nil)
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if d, _ := AllowAll(1, Rule{loose, "k"}, Rule{tight, "k"}); d.OK {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 100 || loose.AllowN("k", 0).Remaining != 1_000_000-100 {
		t.Errorf("%d pass, %d remain", passed.Load(), loose.AllowN("k", 0).Remaining)
	}
}

// Reservations queue up evenly, and a cancelled one makes room.
func TestReserve(t *testing.T) {
	l, clk := limiter(t, GCRA{Per(10, time.Second), 2}, nil)
	var rs []Reservation
	for i := range 5 {
		r, err := l.Reserve("k", 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := max(0, time.Duration(i-1)*100*time.Millisecond); r.Delay != want {
			t.Fatalf("reservation %d: %v, want %v", i, r.Delay, want)
		}
		rs = append(rs, r)
	}
	if l.Allow("k") {
		t.Error("one passes before those that wait")
	}
	rs[4].Cancel()
	rs[3].Cancel()
	r, err := l.Reserve("k", 1)
	if err != nil || r.Delay != 200*time.Millisecond {
		t.Errorf("after two have gone: %v, %v", r.Delay, err)
	}
	// Places in the middle are taken for good by those behind them.
	q, qclk := limiter(t, GCRA{Per(1, time.Second), 1}, nil)
	var places []Reservation
	used := map[time.Duration]int{}
	for range 10 {
		r, err := q.Reserve("k", 1)
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, r)
	}
	for i, r := range places {
		if i > 0 && i < 5 {
			r.Cancel()
		} else {
			used[r.Delay]++
		}
	}
	for range 5 {
		r, err := q.Reserve("k", 1)
		if err != nil {
			t.Fatal(err)
		}
		if used[r.Delay]++; used[r.Delay] > 1 {
			t.Fatalf("two have the place after %v", r.Delay)
		}
	}
	// And one whose time has come gives nothing back.
	late, lclk := limiter(t, GCRA{Per(1, time.Second), 5}, nil)
	full, err := late.Reserve("k", 5)
	if err != nil {
		t.Fatal(err)
	}
	lclk.pass(5 * time.Second)
	passed := 0
	for range 5 {
		if late.Allow("k") {
			passed++
		}
	}
	full.Cancel()
	if passed != 5 || late.Allow("k") {
		t.Fatalf("%d of 5 pass, and then another", passed)
	}
	qclk.pass(time.Hour)
	clk.pass(time.Hour)
	r.Cancel() // long past: nothing to give back
	if d := l.AllowN("k", 0); d.Remaining != 2 {
		t.Errorf("%+v", d)
	}
	if _, err := l.Reserve("k", 3); !errors.Is(err, ErrTooMany) {
		t.Errorf("more than the burst: %v", err)
	}
	w, _ := limiter(t, FixedWindow{Per(1, time.Second)}, nil)
	if _, err := w.Reserve("k", 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a fixed window: %v", err)
	}
	Reservation{}.Cancel()
}

// Wait lets all through, no faster than the rate; and gives up in time.
func TestWait(t *testing.T) {
	for name, p := range map[string]Policy{
		"gcra": GCRA{Per(1000, time.Second), 1}, "fixed": FixedWindow{Per(20, 20*time.Millisecond)},
		"log": SlidingLog{Per(20, 20*time.Millisecond)}, "counter": SlidingCounter{Rate: Per(20, 20*time.Millisecond)},
	} {
		l, err := New(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 8 {
					if err := l.Wait(context.Background(), "k", 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		// 80 at 20 in 20 ms: the first 20 or 40 at once, the others in 2 windows or more.
		if took := time.Since(began); took < 39*time.Millisecond {
			t.Errorf("%s: 80 pass in %v", name, took)
		}
		if err := l.Wait(context.Background(), "k", 100_000); !errors.Is(err, ErrTooMany) {
			t.Errorf("%s: too many: %v", name, err)
		}
	}
	l, err := New(GCRA{Per(1, time.Hour), 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(context.Background(), "k", 1); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := l.Wait(soon, "k", 1); !errors.Is(err, ErrTooMany) {
		t.Errorf("a deadline: %v", err)
	}
	gone, stop := context.WithCancel(context.Background())
	waits := make(chan error)
	go func() { waits <- l.Wait(gone, "k", 1) }()
	for l.AllowN("k", 0).ResetAfter < time.Hour+time.Minute { // until it has its place
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if reset := l.AllowN("k", 0).ResetAfter; reset > time.Hour {
		t.Errorf("the places of those who gave up are still taken: %v", reset)
	}
	if err := l.Wait(gone, "k", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	if _, err := l.Check(gone, "k", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Check: %v", err)
	}
}

// reference is SipHash with any number of rounds, from the paper.
func reference(c, d int, k0, k1 uint64, s string) uint64 {
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	rotate := func(x uint64, n int) uint64 { return x<<n | x>>(64-n) }
	round := func() {
		v[0] += v[1]
		v[2] += v[3]
		v[1] = rotate(v[1], 13) ^ v[0]
		v[3] = rotate(v[3], 16) ^ v[2]
		v[0] = rotate(v[0], 32)
		v[2] += v[1]
		v[0] += v[3]
		v[1] = rotate(v[1], 17) ^ v[2]
		v[3] = rotate(v[3], 21) ^ v[0]
		v[2] = rotate(v[2], 32)
	}
	b := append([]byte(s), make([]byte, 8-len(s)%8)...)
	b[len(b)-1] = byte(len(s))
	for ; len(b) > 0; b = b[8:] {
		var m uint64
		for i := range 8 {
			m |= uint64(b[i]) << (8 * i)
		}
		v[3] ^= m
		for range c {
			round()
		}
		v[0] ^= m
	}
	v[2] ^= 0xff
	for range d {
		round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func TestSipHash(t *testing.T) {
	// The vector of the paper's appendix A, which is for 2-4.
	if got := reference(2, 4, 0x0706050403020100, 0x0f0e0d0c0b0a0908, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e"); got != 0xa129ca6149be45e5 {
		t.Fatalf("the reference is none: %x", got)
	}
	rng := newRand(2)
	for n := range 70 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint64())
		}
		k0, k1 := rng.Uint64(), rng.Uint64()
		if got, want := sipHash(k0, k1, string(b)), reference(1, 3, k0, k1, string(b)); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}
