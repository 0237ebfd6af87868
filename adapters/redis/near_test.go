package redis_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/adapters/redis"
	. "github.com/ashlar-go/ashlar/ratelimit"
)

func newNear(t testing.TB, l *redis.Limiter, o redis.NearOptions) *redis.Near {
	t.Helper()
	n, err := redis.NewNear(l, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// A lossy client does what it is told, and sometimes does not tell; or it repeats itself.
type lossy struct {
	redis.Client
	mu    sync.Mutex
	rng   *rand.Rand
	one   int // in so many answers is lost; 0: none
	lost  int
	late  []redis.Command // come again later
	calls int
}

var errLost = errors.New("lost")

func (c *lossy) Do(ctx context.Context, cmds []redis.Command) []redis.Reply {
	c.mu.Lock()
	c.calls += len(cmds)
	lose := c.one > 0 && c.rng.IntN(c.one) == 0
	kind := c.rng.IntN(3)
	late := c.late
	c.late = nil
	if lose && kind == 0 {
		c.late = cmds
	}
	c.mu.Unlock()
	if late != nil {
		c.Client.Do(ctx, late)
	}
	var replies []redis.Reply
	if kind != 2 || !lose {
		replies = c.Client.Do(ctx, cmds)
	}
	if lose {
		c.mu.Lock()
		c.lost++
		c.mu.Unlock()
		replies = make([]redis.Reply, len(cmds))
		for i := range replies {
			replies[i].Err = errLost
		}
	}
	return replies
}

// An admission is n requests that passed at a moment, in microseconds.
type admission struct{ at, n int64 }

// excess returns by how much more than burst plus what comes in has passed in the worst of
// all windows.
func excess(list []admission, burst int64, r Rate) int64 {
	worst := int64(-1 << 62)
	for i := range list {
		sum := int64(0)
		for _, a := range list[i:] {
			sum += a.n
			worst = max(worst, sum-burst-(a.at-list[i].at)*1000*int64(r.Count)/int64(r.Period))
		}
	}
	return worst
}

// Nodes that come, go and die, answers that are lost, questions that come twice and late,
// at moments that the test chooses: with leases nothing is ever let through too much, and
// with write-back no more than MaxPending for each node and each death.
func TestNearBound(t *testing.T) {
	s, prefix := common(t)
	for _, mode := range []redis.Mode{redis.Lease, redis.WriteBack, redis.Deny} {
		for _, rate := range []Rate{Per(100, time.Second), Per(7, 300*time.Millisecond)} {
			t.Run(fmt.Sprint(mode, "-", rate.Count), func(t *testing.T) {
				seeds := uint64(3)
				if full {
					seeds = 60
				}
				passed := 0
				for seed := range seeds {
					passed += nearBound(t, s, fmt.Sprint(prefix, mode, rate.Count, "-", seed), mode, rate, seed)
				}
				if passed < 100 {
					t.Fatalf("only %d pass", passed)
				}
			})
		}
	}
}

func nearBound(t *testing.T, s *server, prefix string, mode redis.Mode, rate Rate, seed uint64) (passed int) {
	const nodes, burst, pending = 4, 40, 5
	clk := newMoment(t, s.addr, prefix)
	rng := newRand(seed)
	var now atomic.Int64 // of all nodes, like the server's; they count from another moment
	now.Store(1)
	c := &lossy{Client: viaGoRedis(t, s.addr), rng: newRand(seed + 100), one: []int{0, 5, 3}[seed%3]}
	limiter, err := redis.NewWithClock(c, GCRA{Rate: rate, Burst: burst}, &redis.Options{Prefix: prefix}, clk.clock)
	if err != nil {
		t.Fatal(err)
	}
	open := func() *redis.Near {
		n, err := redis.NewNearWithClock(limiter, &redis.NearOptions{
			Mode: mode, Lease: []time.Duration{2 * time.Second, 400 * time.Millisecond}[seed/3%2], Share: 8, MaxPending: pending, Flush: time.Hour,
		}, clk.clock, now.Load)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	all := make([]*redis.Near, nodes)
	for i := range all {
		all[i] = open()
	}
	var list []admission
	deaths := int64(0)
	ask := func(i, n int) bool {
		d, err := all[i].Check(ctx, "k", n)
		if err != nil && !errors.Is(err, errLost) {
			t.Fatal(err)
		}
		ok := err == nil && d.OK
		if ok {
			list = append(list, admission{clk.us, int64(n)})
			passed += n
		}
		all[i].Settle()
		return ok
	}
	for range 500 {
		us := int64(rng.ExpFloat64() * float64(rate.Period.Microseconds()) / float64(rate.Count) * []float64{0, 0.1, 1, 20}[rng.IntN(4)])
		now.Add(us * 1000)
		clk.pass(us)
		i := rng.IntN(nodes)
		switch k := rng.IntN(200); {
		case k == 0:
			all[i].Abandon()
			all[i] = open()
			deaths++
		case k == 1:
			if err := all[i].Close(); err != nil {
				deaths++
			}
			all[i] = open()
		case k < 12:
			all[i].Sweep()
		case k >= 22:
			n := 1 + rng.IntN(2)
			if rng.IntN(8) == 0 {
				n = 1 + rng.IntN(12)
			}
			ask(i, n)
		case k < 22: // all at once, after a pause or not
			for _, i := range rng.Perm(nodes) {
				for range 3 * burst {
					if !ask(i, 1) {
						break
					}
				}
			}
		}
	}
	bound := int64(0)
	if mode == redis.WriteBack {
		bound = (nodes + deaths) * pending
	}
	if got := excess(list, burst, rate); got > bound {
		t.Fatalf("seed %d, %v: %d too many, bound %d; %d deaths, %d answers lost", seed, rate, got, bound, deaths, c.lost)
	}
	for _, n := range all {
		_ = n.Close()
	}
	return passed
}

// With one node and good answers nobody is refused who would pass without it, and all that
// it holds goes back when it is closed.
func TestNearExact(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		for _, mode := range []redis.Mode{redis.Lease, redis.WriteBack, redis.Deny} {
			l := newLimiter(t, c, GCRA{Rate: Per(100, time.Hour)}, redis.Options{Prefix: prefix + fmt.Sprint(mode)})
			n := newNear(t, l, redis.NearOptions{Mode: mode})
			for i := range 60 {
				d := check(t, n, "k", 1)
				if !d.OK || d.Limit != 100 || d.Remaining > 99-i+5 || d.Remaining < 99-i-20 {
					t.Fatalf("mode %d, request %d: %+v", mode, i, d)
				}
			}
			if mode != redis.WriteBack {
				eventually(t, func() bool { return check(t, n, "k", 0).Remaining == 40 })
			}
			if d := check(t, n, "k", 101); d.OK || d.RetryAfter != Never {
				t.Fatalf("mode %d: %+v", mode, d)
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			if d := check(t, l, "k", 0); d.Remaining != 40 {
				t.Fatalf("mode %d: %+v, 40 remain", mode, d)
			}
			if _, err := n.Check(ctx, "k", 1); !errors.Is(err, redis.ErrClosed) {
				t.Fatalf("mode %d: %v", mode, err)
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			n = newNear(t, l, redis.NearOptions{Mode: mode})
			passed := 0
			for range 100 {
				d := check(t, n, "k", 1)
				if d.OK {
					passed++
				} else if d.RetryAfter <= 0 || d.RetryAfter > 37*time.Second || d.Limit != 100 {
					t.Fatalf("mode %d: %+v", mode, d)
				}
			}
			st := n.Stats()
			if passed != 40 || st.Refused < 50 || mode != redis.WriteBack && check(t, l, "k", 0).Remaining != 0 {
				t.Fatalf("mode %d: %d pass, 40 remained; %+v", mode, passed, st)
			}
			if d := check(t, n, "other", 100); !d.OK {
				t.Fatalf("mode %d: the whole burst: %+v", mode, d)
			}
		}
	})
}

// Other policies have the deny cache.
func TestNearDeny(t *testing.T) {
	s, prefix := common(t)
	c := viaGoRedis(t, s.addr)
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		p := policies[name]
		l := newLimiter(t, c, p.policy, redis.Options{Prefix: prefix + name})
		if _, ok := p.policy.(GCRA); !ok && name != "bucket" {
			if _, err := redis.NewNear(l, nil); !errors.Is(err, redis.ErrUnsupported) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if p.gap < 1000 {
			continue // no time to be refused in
		}
		n := newNear(t, l, redis.NearOptions{Mode: redis.Deny})
		limit := check(t, n, "k", 0).Limit
		eventually(t, func() bool { return check(t, n, "k", limit).OK || !check(t, n, "k", 1).OK })
		before := n.Stats()
		var first Decision
		eventually(t, func() bool { first = check(t, n, "k", limit); return !first.OK })
		d := check(t, n, "k", limit)
		if d.OK || d.RetryAfter <= 0 || d.RetryAfter > first.RetryAfter || d.Limit != limit {
			t.Fatalf("%s: %+v after %+v", name, d, first)
		}
		if st := n.Stats(); st.Refused == before.Refused {
			t.Fatalf("%s: %+v: not remembered", name, st)
		}
		if first.RetryAfter < 700*time.Millisecond { // it ends
			eventually(t, func() bool { return check(t, n, "k", 1).OK })
		}
	}
}

// Goroutines that want the same and different keys at once get the limit of each, no less
// and no more.
func TestNearTogether(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		for _, mode := range []redis.Mode{redis.Lease, redis.WriteBack, redis.Deny} {
			const keys, limit, nodes = 20, 200, 2
			var counts [keys]atomic.Int64
			var wg sync.WaitGroup
			var all [nodes]*redis.Near
			for i := range all {
				l := newLimiter(t, c, GCRA{Rate: Per(limit, time.Hour)}, redis.Options{Prefix: prefix + fmt.Sprint(mode), Timeout: 5 * time.Second})
				all[i] = newNear(t, l, redis.NearOptions{Mode: mode, MaxPending: 8, Lease: 200 * time.Millisecond})
				for g := range 12 {
					wg.Go(func() {
						for k := range 10 * limit {
							key := (g*7 + k) % keys
							if d, err := all[i].Check(ctx, fmt.Sprint("k", key), 1); err != nil {
								t.Error(err)
								return
							} else if d.OK {
								counts[key].Add(1)
							}
						}
					})
				}
			}
			wg.Wait()
			// What the other holds comes back.
			for key := range counts {
				if mode == redis.Lease {
					eventually(t, func() bool {
						for _, n := range all {
							if check(t, n, fmt.Sprint("k", key), 1).OK {
								counts[key].Add(1)
							}
						}
						return counts[key].Load() >= limit
					})
				}
				most := int64(limit)
				if mode == redis.WriteBack {
					most += nodes * 8
				}
				if n := counts[key].Load(); n < limit || n > most {
					t.Fatalf("mode %d: %d pass with key %d, from %d to %d may", mode, n, key, limit, most)
				}
			}
			for _, n := range all {
				if err := n.Close(); err != nil {
					t.Fatal(err)
				}
				if st := n.Stats(); mode != redis.Deny && st.Calls > st.Near/4 {
					t.Fatalf("mode %d: %+v", mode, st)
				}
			}
		}
	})
}

// A stranger's many keys cost a bounded memory, and not the place of keys that come often.
func TestNearFull(t *testing.T) {
	s, prefix := common(t)
	l := newLimiter(t, viaGoRedis(t, s.addr), GCRA{Rate: Per(1000, time.Hour)}, redis.Options{Prefix: prefix})
	n := newNear(t, l, redis.NearOptions{MaxKeys: 128, Lease: time.Minute})
	for range 20 {
		check(t, n, "often", 1)
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 100 {
				if d := check(t, n, fmt.Sprint("once-", g, "-", i), 1); !d.OK {
					t.Errorf("%+v", d)
				}
			}
		})
	}
	wg.Wait()
	before := n.Stats()
	for range 20 {
		check(t, n, "often", 1)
	}
	if st := n.Stats(); st.Keys > 128 || st.Far-before.Far > 3 {
		t.Fatalf("%+v after %+v", st, before)
	}
	if d := check(t, n, "often", 0); d.Remaining != 960 {
		t.Fatalf("%+v", d)
	}
}

// While Redis is away a lease is spent to its end; then the limiter's policy decides.
// MaxPending and no more pass where it is told afterwards, and are counted once when Redis
// is back.
func TestNearFailure(t *testing.T) {
	s, prefix := common(t)
	for _, f := range []redis.Failure{redis.Fail, redis.Open, redis.Closed, redis.Local} {
		for _, mode := range []redis.Mode{redis.Lease, redis.WriteBack} {
			t.Run(fmt.Sprint(f, mode), func(t *testing.T) {
				t.Parallel()
				prefix := fmt.Sprint(prefix, f, mode)
				c := &lossy{Client: viaGoRedis(t, s.addr), rng: newRand(1)}
				l := newLimiter(t, c, GCRA{Rate: Per(80, time.Hour)}, redis.Options{
					Prefix: prefix, Failure: f, Nodes: 8, Pause: 100 * time.Millisecond,
				})
				n := newNear(t, l, redis.NearOptions{Mode: mode, Lease: time.Minute, MaxPending: 5})
				for range 20 {
					if !check(t, n, "k", 1).OK {
						t.Fatal("refused")
					}
				}
				if mode == redis.WriteBack {
					eventually(t, func() bool { n.Sweep(); return check(t, l, "k", 0).Remaining == 60 })
				}
				n.Settle()
				c.mu.Lock()
				c.one = 1 // all
				c.mu.Unlock()
				here, after := 0, 0
				for range 60 {
					before := n.Stats().Near
					d, err := n.Check(ctx, "k", 1)
					if n.Stats().Near > before {
						here++
						continue
					}
					if d.OK {
						after++
					}
					if (err != nil) != (f == redis.Fail) || f == redis.Open && !d.OK || f == redis.Closed && d.OK {
						t.Fatalf("%+v, %v", d, err)
					}
				}
				if mode == redis.WriteBack && here > 5 || here > 20 || here < 1 || f == redis.Local && after != 10 {
					t.Fatalf("%d pass here, then %d", here, after)
				}
				c.mu.Lock()
				c.one = 0
				c.mu.Unlock()
				var d Decision
				eventually(t, func() bool {
					var err error
					d, err = n.Check(ctx, "k", 0)
					return err == nil && d.Remaining <= 60-here && d.Remaining > 0 && (f != redis.Open || d.Remaining < 80)
				})
				if mode == redis.WriteBack {
					eventually(t, func() bool { n.Sweep(); return check(t, l, "k", 0).Remaining == 60-here })
				} else if d.Remaining < 60-here-20 {
					t.Fatalf("%+v, %d passed here", d, here)
				}
			})
		}
	}
}

// Where answers take longer than a lease lasts, requests are decided on in Redis.
func TestNearSlow(t *testing.T) {
	s, prefix := common(t)
	p := newProxy(t, s.addr)
	p.delay.Store(int64(30 * time.Millisecond))
	l := newLimiter(t, viaGoRedis(t, p.addr), GCRA{Rate: Per(16, time.Hour)}, redis.Options{Prefix: prefix, Timeout: 5 * time.Second})
	n := newNear(t, l, redis.NearOptions{Lease: 10 * time.Millisecond, Share: 4})
	passed := 0
	for range 17 {
		if check(t, n, "k", 1).OK {
			passed++
		}
	}
	if passed > 16 || passed < 5 {
		t.Fatalf("%d of 16 pass", passed)
	}
}

func TestNearArguments(t *testing.T) {
	s, prefix := common(t)
	l := newLimiter(t, viaGoRedis(t, s.addr), GCRA{Rate: Per(10, time.Second)}, redis.Options{Prefix: prefix})
	for i, o := range []redis.NearOptions{
		{Mode: redis.Deny + 1}, {Lease: time.Millisecond}, {Lease: time.Hour}, {Share: -1}, {MaxPending: 11}, {Flush: -1}, {MaxKeys: -1},
	} {
		if _, err := redis.NewNear(l, &o); !errors.Is(err, redis.ErrInvalid) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := redis.NewNear(nil, nil); !errors.Is(err, redis.ErrInvalid) {
		t.Error(err)
	}
	n := newNear(t, l, redis.NearOptions{})
	if n.Limiter() != l || n.Policy() != l.Policy() {
		t.Error("another limiter")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := n.Check(gone, "k", 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := n.Wait(ctx, "k", 11); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	for range 15 {
		if err := n.Wait(ctx, "k", 1); err != nil {
			t.Fatal(err)
		}
	}
	raw(t, s.addr).Set(ctx, l.Name("text"), "text", 0)
	if _, err := n.Check(ctx, "text", 1); !errors.Is(err, redis.ErrWrongType) {
		t.Error(err)
	}
}
