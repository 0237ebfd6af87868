package redis_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/ashlar-go/ashlar/adapters/redis"
	viagoredis "github.com/ashlar-go/ashlar/adapters/redis/goredis"
	. "github.com/ashlar-go/ashlar/ratelimit"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func newLimiter(t testing.TB, c redis.Client, p Policy, o redis.Options) *redis.Limiter {
	t.Helper()
	l, err := redis.New(c, p, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Settle)
	return l
}

func check(t testing.TB, c Checker, key string, n int) Decision {
	t.Helper()
	d, err := c.Check(ctx, key, n)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A model is the slow, obvious form of a policy, for one key, in microseconds.
type model interface {
	remaining(now int64) int
	pass(now int64, n int)
}

// bucket is the textbook's: tokens come in evenly, in fractions.
type bucket struct {
	rate, burst, tokens *big.Rat
	last                int64
}

func newBucket(r Rate, burst int, now int64) *bucket {
	b := new(big.Rat).SetInt64(int64(burst))
	return &bucket{big.NewRat(int64(r.Count)*1000, int64(r.Period)), b, new(big.Rat).Set(b), now}
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
	begin func(now int64) int64
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

var policies = map[string]struct {
	policy Policy
	gap    int64
	model  func(now int64) model
}{
	"gcra":       {GCRA{Rate: Per(10, time.Second), Burst: 5}, 100_000, func(now int64) model { return newBucket(Per(10, time.Second), 5, now) }},
	"gcra-third": {GCRA{Rate: Per(3, time.Second), Burst: 4}, 333_333, func(now int64) model { return newBucket(Per(3, time.Second), 4, now) }},
	"gcra-prime": {GCRA{Rate: Per(9_999_991, time.Second), Burst: 7}, 1, func(now int64) model { return newBucket(Per(9_999_991, time.Second), 7, now) }},
	"gcra-day":   {GCRA{Rate: Per(7, 24*time.Hour), Burst: 3}, 12_342_857_142, func(now int64) model { return newBucket(Per(7, 24*time.Hour), 3, now) }},
	"bucket":     {TokenBucket{Rate: Per(100, time.Minute)}, 600_000, func(now int64) model { return newBucket(Per(100, time.Minute), 100, now) }},
	"fixed": {FixedWindow{Rate: Per(7, 2*time.Second)}, 300_000, func(int64) model {
		return &events{limit: 7, begin: func(now int64) int64 { return now - now%2_000_000 }}
	}},
	"log": {SlidingLog{Rate: Per(9, time.Second)}, 110_000, func(int64) model {
		return &events{limit: 9, begin: func(now int64) int64 { return now - 1_000_000 + 1 }}
	}},
	"counter": {SlidingCounter{Rate: Per(20, time.Second), Buckets: 4}, 50_000, func(int64) model {
		return &events{limit: 20, begin: func(now int64) int64 { return now - now%250_000 - 1_000_000 }}
	}},
}

// Every decision is the model's, and RetryAfter is right to the microsecond.
func TestAgainstModels(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		for _, name := range slices.Sorted(maps.Keys(policies)) {
			p := policies[name]
			t.Run(name, func(t *testing.T) {
				clk := newMoment(t, addr, prefix+name)
				l, err := redis.NewWithClock(c, p.policy, &redis.Options{Prefix: prefix + name}, clk.clock)
				if err != nil {
					t.Fatal(err)
				}
				for seed := range uint64(2) {
					rng, key, m := newRand(seed), fmt.Sprint("k", seed), p.model(clk.us)
					for step := range 150 {
						clk.pass(int64(rng.ExpFloat64() * float64(p.gap) * []float64{0.1, 1, 10}[rng.IntN(3)]))
						n, left := 1+rng.IntN(3), m.remaining(clk.us)
						if d := check(t, l, key, 0); !d.OK || d.Remaining != left {
							t.Fatalf("seed %d, step %d: %+v, %d remain", seed, step, d, left)
						}
						d := check(t, l, key, n)
						if d.OK != (left >= n) {
							t.Fatalf("seed %d, step %d: %d more: %+v, %d remain", seed, step, n, d, left)
						}
						if !d.OK {
							if d.Remaining != left || d.RetryAfter <= 0 || d.ResetAfter < d.RetryAfter && n <= d.Limit {
								t.Fatalf("seed %d, step %d: %+v, %d remain", seed, step, d, left)
							}
							clk.pass(d.RetryAfter.Microseconds() - 1)
							if check(t, l, key, n).OK || m.remaining(clk.us) >= n {
								t.Fatalf("seed %d, step %d: passes before %v are over", seed, step, d.RetryAfter)
							}
							clk.pass(1)
							if d = check(t, l, key, n); !d.OK {
								t.Fatalf("seed %d, step %d: still refused: %+v", seed, step, d)
							}
						}
						m.pass(clk.us, n)
						if left = m.remaining(clk.us); d.Remaining != left {
							t.Fatalf("seed %d, step %d: %+v, %d remain", seed, step, d, left)
						}
						if rng.IntN(10) == 0 {
							clk.pass(d.ResetAfter.Microseconds())
							if d := check(t, l, key, 0); d.Remaining != d.Limit || m.remaining(clk.us) != d.Limit {
								t.Fatalf("seed %d, step %d: %+v after the reset", seed, step, d)
							}
						}
					}
				}
			})
		}
	})
}

// The local limiter, at the same moments, says the same.
func TestAgainstLocal(t *testing.T) {
	s, prefix := common(t)
	c := viaGoRedis(t, s.addr)
	for i, p := range []Policy{
		GCRA{Rate: Per(10, time.Second), Burst: 5},
		FixedWindow{Rate: Per(7, 2*time.Second)},
		SlidingCounter{Rate: Per(20, time.Second)},
		SlidingCounter{Rate: Per(20, time.Second), Interpolate: true},
		SlidingCounter{Rate: Per(9, time.Second), Interpolate: true, Buckets: 5},
	} {
		t.Run(fmt.Sprintf("%T", p), func(t *testing.T) {
			prefix := fmt.Sprint(prefix, i, ":")
			clk := newMoment(t, s.addr, prefix)
			l, err := redis.NewWithClock(c, p, &redis.Options{Prefix: prefix}, clk.clock)
			if err != nil {
				t.Fatal(err)
			}
			local, err := New(p, nil)
			if err != nil {
				t.Fatal(err)
			}
			rng := newRand(uint64(i))
			for step := range 400 {
				clk.pass(int64(rng.ExpFloat64() * 50_000 * []float64{0.1, 1, 10}[rng.IntN(3)]))
				n := rng.IntN(4)
				if step%50 == 49 {
					n = 100
				}
				got, want := check(t, l, "k", n), local.AllowAt(clk.time(), "k", n)
				// The server counts microseconds.
				for _, d := range []*time.Duration{&got.RetryAfter, &want.RetryAfter, &got.ResetAfter, &want.ResetAfter} {
					if *d != Never {
						*d = (*d + time.Microsecond - 1).Truncate(time.Microsecond)
					}
				}
				if got.Remaining == got.Limit && got.ResetAfter == 0 {
					want.ResetAfter = 0 // the local counter tells when its bucket ends
				}
				if got != want {
					t.Fatalf("step %d: %d at %v: %+v, local %+v", step, n, clk.time(), got, want)
				}
			}
		})
	}
}

// A batch decides as one request after the other, also when keys come twice.
func TestMany(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		for _, name := range slices.Sorted(maps.Keys(policies)) {
			p := policies[name].policy
			clk := newMoment(t, addr, prefix+name)
			var both [2]*redis.Limiter
			for i := range both {
				var err error
				if both[i], err = redis.NewWithClock(c, p, &redis.Options{Prefix: fmt.Sprint(prefix, name, i), Batch: 7}, clk.clock); err != nil {
					t.Fatal(err)
				}
			}
			rng := newRand(3)
			var out []Decision
			for range 5 {
				clk.pass(rng.Int64N(3 * policies[name].gap))
				reqs := make([]redis.Request, 60)
				for i := range reqs {
					reqs[i] = redis.Request{Key: fmt.Sprint("k", rng.IntN(20)), N: rng.IntN(3)}
				}
				var err error
				if out, err = both[0].CheckMany(ctx, reqs, out); err != nil || len(out) != len(reqs) {
					t.Fatal(len(out), err)
				}
				for i, r := range reqs {
					if want := check(t, both[1], r.Key, r.N); out[i] != want {
						t.Fatalf("%s: request %d: %+v, alone %+v", name, i, out[i], want)
					}
				}
			}
			if got := both[0].Stats().Calls; got != 5*9 {
				t.Fatalf("%d scripts, want 45", got)
			}
		}
	})
}

// A request counts with all rules or with none.
func TestAll(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		clk := newMoment(t, addr, prefix)
		rng := newRand(4)
		var rules []redis.Rule
		var models []model
		for _, name := range slices.Sorted(maps.Keys(policies)) {
			p := policies[name]
			if p.gap > 1_000_000 || p.gap < 10 {
				continue
			}
			l, err := redis.NewWithClock(c, p.policy, &redis.Options{Prefix: prefix + name}, clk.clock)
			if err != nil {
				t.Fatal(err)
			}
			rules, models = append(rules, redis.Rule{Limiter: l, Key: "{u}:x"}), append(models, p.model(clk.us))
		}
		refused := map[int]bool{}
		for step := range 400 {
			clk.pass(int64(rng.ExpFloat64() * 100_000))
			n := 1 + rng.IntN(2)
			from := rng.IntN(len(rules))
			to := from + 1 + rng.IntN(len(rules)-from)
			want := -1
			least := 1 << 30
			for i, m := range models[from:to] {
				if m.remaining(clk.us) < n && want < 0 {
					want = i
				}
				least = min(least, m.remaining(clk.us)-n)
			}
			d, rule, err := redis.CheckAll(ctx, n, rules[from:to]...)
			if err != nil || d.OK != (want < 0) || !d.OK && rule != want || d.OK && d.Remaining != least {
				t.Fatalf("step %d: %+v, rule %d, %v; want rule %d, least %d", step, d, rule, err, want, least)
			}
			for i, m := range models {
				if d.OK && i >= from && i < to {
					m.pass(clk.us, n)
				}
				if left := check(t, rules[i].Limiter, rules[i].Key, 0).Remaining; left != m.remaining(clk.us) {
					t.Fatalf("step %d: rule %d has %d left, want %d", step, i, left, m.remaining(clk.us))
				}
			}
			if !d.OK {
				refused[from+rule] = true
			}
		}
		if len(refused) < 4 {
			t.Fatalf("only the rules %v ever refused", refused)
		}
		if _, _, err := redis.CheckAll(ctx, 1, rules[0], rules[0]); !errors.Is(err, redis.ErrInvalid) {
			t.Fatalf("the same rule twice: %v", err)
		}
		if d, i, err := redis.CheckAll(ctx, 1); !d.OK || i != -1 || err != nil {
			t.Fatalf("no rule: %+v, %d, %v", d, i, err)
		}
	})
}

// Many clients at the same time, as fast as they can, get no more than the bound of the
// policy through in any window of its period, by the clock of the one that counts.
func TestBound(t *testing.T) {
	s, prefix := common(t)
	const limit, period = 20, 100 * time.Millisecond
	rate := Per(limit, period)
	for name, c := range map[string]struct {
		policy Policy
		bound  int
	}{
		"gcra":         {GCRA{Rate: rate, Burst: 10}, limit + 10},
		"gcra-one":     {GCRA{Rate: rate, Burst: 1}, limit + 1},
		"fixed":        {FixedWindow{Rate: rate}, 2 * limit},
		"log":          {SlidingLog{Rate: rate}, limit},
		"counter":      {SlidingCounter{Rate: rate, Buckets: 5}, limit},
		"interpolated": {SlidingCounter{Rate: rate, Interpolate: true}, 2 * limit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			length := 500 * time.Millisecond
			if full {
				length *= 10
			}
			stop := time.Now().Add(length)
			var mu sync.Mutex
			var passed []time.Duration // at the earliest
			var late []time.Duration   // at the latest
			begin := time.Now()
			var wg sync.WaitGroup
			for i := range 4 {
				open := viaGoRedis
				if i%2 == 1 {
					open = viaRueidis
				}
				l := newLimiter(t, open(t, s.addr), c.policy, redis.Options{Prefix: prefix + name, Timeout: 5 * time.Second})
				for range 3 {
					wg.Go(func() {
						for time.Now().Before(stop) {
							from := time.Since(begin)
							d, err := l.Check(ctx, "k", 1)
							if err != nil {
								t.Error(err)
								return
							}
							if d.OK {
								mu.Lock()
								passed, late = append(passed, from), append(late, time.Since(begin))
								mu.Unlock()
							}
						}
					})
				}
			}
			wg.Wait()
			slices.Sort(passed)
			slices.Sort(late)
			// What surely passed within a window: from the earliest to the latest moment.
			most := 0
			for i := range passed {
				n := 0
				for j := range late {
					if passed[j] >= passed[i] && late[j] < passed[i]+period {
						n++
					}
				}
				most = max(most, n)
			}
			if most > c.bound || len(passed) < limit*2 {
				t.Fatalf("%d in a window, bound %d; %d in all", most, c.bound, len(passed))
			}
		})
	}
}

func TestClockSteps(t *testing.T) {
	s, prefix := common(t)
	c := viaGoRedis(t, s.addr)
	for name, p := range policies {
		if p.gap < 1000 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			clk := newMoment(t, s.addr, prefix+name)
			l, err := redis.NewWithClock(c, p.policy, &redis.Options{Prefix: prefix + name}, clk.clock)
			if err != nil {
				t.Fatal(err)
			}
			for check(t, l, "k", 1).OK {
			}
			clk.pass(-int64(10 * 24 * time.Hour / time.Microsecond))
			d := check(t, l, "k", 1)
			if d.OK {
				t.Fatalf("a clock that went back lets more through: %+v", d)
			}
			// Nobody waits for the ten days.
			longest := 3 * time.Duration(d.Limit) * time.Duration(p.gap+1) * time.Microsecond
			if d.RetryAfter > longest || d.ResetAfter > longest {
				t.Fatalf("%+v, more than %v", d, longest)
			}
			clk.pass(d.RetryAfter.Microseconds())
			if !check(t, l, "k", 1).OK {
				t.Fatal("still refused")
			}
			clk.pass(longest.Microseconds())
			if d := check(t, l, "k", 0); d.Remaining != d.Limit {
				t.Fatalf("%+v", d)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		l := newLimiter(t, c, GCRA{Rate: Per(1, time.Hour)}, redis.Options{Prefix: prefix})
		keys := []string{
			"", "a", "A", "\x00", "\xff\xfe", "a b", "a\r\nb", "{", "}", "{}", "{}a", "{a}", "{a}b", "ä😀",
			strings.Repeat("k", redis.MaxKey), strings.Repeat("k", redis.MaxKey+1), strings.Repeat("k", 1<<20),
			"{a}" + strings.Repeat("k", 1<<20), "{b}" + strings.Repeat("k", 1<<20),
		}
		for _, key := range keys {
			if !check(t, l, key, 1).OK || check(t, l, key, 1).OK {
				t.Fatalf("key %.20q of %d bytes is another's", key, len(key))
			}
			if name := l.Name(key); len(name) > 2*redis.MaxKey+10 || strings.HasPrefix(key, "{a}") && redis.Slot(name) != redis.Slot("a") {
				t.Fatalf("%.20q is called %q", key, name)
			}
		}
		for _, key := range keys {
			if err := l.Reset(ctx, key); err != nil {
				t.Fatal(err)
			}
			if !check(t, l, key, 1).OK {
				t.Fatalf("%.20q after Reset", key)
			}
		}
		if d := check(t, l, "big", 2); d.OK || d.RetryAfter != Never {
			t.Fatalf("%+v", d)
		}
		if d := check(t, l, "big", 1<<31-1); d.OK || d.RetryAfter != Never {
			t.Fatalf("%+v", d)
		}
		if d := check(t, l, "big", -5); !d.OK || d.Remaining != 1 {
			t.Fatalf("%+v", d)
		}
	})
}

// What is there of something else is neither read nor overwritten.
func TestWrongType(t *testing.T) {
	s, prefix := common(t)
	r, c := raw(t, s.addr), viaGoRedis(t, s.addr)
	for name, p := range policies {
		l := newLimiter(t, c, p.policy, redis.Options{Prefix: prefix + name, Failure: redis.Open})
		r.HSet(ctx, l.Name("hash"), "a", "b")
		r.Set(ctx, l.Name("text"), "text", 0)
		for _, key := range []string{"hash", "text"} {
			if _, err := l.Check(ctx, key, 1); !errors.Is(err, redis.ErrWrongType) {
				t.Fatalf("%s, %s: %v", name, key, err)
			}
			if _, _, err := redis.CheckAll(ctx, 1, redis.Rule{Limiter: l, Key: key}); !errors.Is(err, redis.ErrWrongType) {
				t.Fatalf("%s, %s: %v", name, key, err)
			}
		}
		if r.HGet(ctx, l.Name("hash"), "a").Val() != "b" || r.Get(ctx, l.Name("text")).Val() != "text" {
			t.Fatal("overwritten")
		}
		check(t, l, "fine", 1) // no failure of Redis
		if st := l.Stats(); st.Failures != 0 || st.Without != 0 {
			t.Fatalf("%+v", st)
		}
	}
}

// Keys live as long as they matter.
func TestExpiry(t *testing.T) {
	s, prefix := common(t)
	r, c := raw(t, s.addr), viaGoRedis(t, s.addr)
	for name, p := range policies {
		l := newLimiter(t, c, p.policy, redis.Options{Prefix: prefix + name})
		d := check(t, l, "k", 1)
		ttl := r.PTTL(ctx, l.Name("k")).Val()
		if p.gap > 1000 && (ttl <= 0 || ttl > 2*d.ResetAfter+2*time.Millisecond || ttl < d.ResetAfter-2*time.Second) {
			t.Fatalf("%s: lives for %v, counts for %v", name, ttl, d.ResetAfter)
		}
		check(t, l, "peek", 0)
		if r.Exists(ctx, l.Name("peek")).Val() != 0 {
			t.Fatalf("%s: looking leaves a key", name)
		}
	}
	l := newLimiter(t, c, GCRA{Rate: Per(100, time.Second)}, redis.Options{Prefix: prefix + "gone"})
	check(t, l, "k", 1)
	eventually(t, func() bool { return r.Exists(ctx, l.Name("k")).Val() == 0 })
}

func TestArguments(t *testing.T) {
	s, _ := common(t)
	c := viaGoRedis(t, s.addr)
	good := GCRA{Rate: Per(1, time.Second)}
	for i, try := range []struct {
		c    redis.Client
		p    Policy
		o    *redis.Options
		want error
	}{
		{nil, good, nil, redis.ErrInvalid},
		{c, nil, nil, ErrInvalid},
		{c, GCRA{}, nil, ErrInvalid},
		{c, SlidingLog{Rate: Per(1, time.Microsecond)}, nil, redis.ErrUnsupported},
		{c, SlidingCounter{Rate: Per(1<<31-1, 300*24*time.Hour), Interpolate: true}, nil, redis.ErrUnsupported},
		{c, good, &redis.Options{Timeout: -1}, redis.ErrInvalid},
		{c, good, &redis.Options{Batch: 1001}, redis.ErrInvalid},
		{c, good, &redis.Options{Prefix: "{x}"}, redis.ErrInvalid},
		{c, good, &redis.Options{Failure: redis.Local}, redis.ErrInvalid},
		{c, good, &redis.Options{Failure: redis.Local + 1}, redis.ErrInvalid},
	} {
		if _, err := redis.New(try.c, try.p, try.o); !errors.Is(err, try.want) {
			t.Errorf("%d: %v, want %v", i, err, try.want)
		}
	}
	l := newLimiter(t, c, good, redis.Options{})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.Check(gone, "k", 1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// Scripts come back by themselves.
func TestScriptFlush(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		l := newLimiter(t, c, GCRA{Rate: Per(1000, time.Hour)}, redis.Options{Prefix: prefix})
		r := raw(t, addr)
		var wg sync.WaitGroup
		var passed atomic.Int64
		for range 8 {
			wg.Go(func() {
				for range 200 {
					if check(t, l, "k", 1).OK {
						passed.Add(1)
					}
				}
			})
		}
		for range 20 {
			if err := r.ScriptFlush(ctx).Err(); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		if n := passed.Load(); n != 1000 {
			t.Fatalf("%d pass, want 1000", n)
		}
		if _, _, err := redis.CheckAll(ctx, 1, redis.Rule{Limiter: l, Key: "x"}, redis.Rule{Limiter: l, Key: "y"}); err != nil {
			t.Fatal(err)
		}
	})
}

// A server that is killed comes back with what its log has: with appendfsync always all
// that was answered; with everysec it may have kept back what came while it was syncing.
func TestRestart(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			t.Parallel()
			s := start(t, "--appendonly", "yes", "--appendfsync", fsync)
			// No retries in the client: each request is counted once, or not at all.
			rc := goredis.NewClient(&goredis.Options{Addr: s.addr, MaxRetries: -1, DisableIdentity: true})
			t.Cleanup(func() { _ = rc.Close() })
			l := newLimiter(t, viagoredis.New(rc), GCRA{Rate: Per(300, time.Hour)}, redis.Options{Timeout: 2 * time.Second})
			var passed, failures atomic.Int64
			var wg sync.WaitGroup
			halt := make(chan struct{})
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-halt:
							return
						default:
						}
						if d, err := l.Check(ctx, "k", 1); err != nil {
							failures.Add(1)
						} else if d.OK {
							passed.Add(1)
						}
					}
				})
			}
			eventually(t, func() bool { return passed.Load() > 100 })
			s.kill()
			before := passed.Load()
			eventually(t, func() bool { return failures.Load() > 0 })
			s.run()
			eventually(t, func() bool { d, err := l.Check(ctx, "k", 0); return err == nil && d.Remaining == 0 })
			close(halt)
			wg.Wait()
			most := int64(300)
			if fsync != "always" {
				most += before
			}
			if n := passed.Load(); n > most {
				t.Fatalf("%d pass, of them %d before the kill; at most %d may", n, before, most)
			}
			if passed.Load() < 300-20 { // some of which nobody heard
				t.Fatalf("only %d pass", passed.Load())
			}
		})
	}
}
