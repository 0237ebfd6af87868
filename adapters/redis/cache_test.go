package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/adapters/redis"
)

func newCache(t testing.TB, c redis.Client, o redis.CacheOptions) *redis.Cache {
	t.Helper()
	cache, err := redis.NewCache(c, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	return cache
}

// A source is what values are loaded from.
type source struct {
	loads atomic.Int64
	gate  chan struct{} // nil: open
	err   atomic.Pointer[error]
	value atomic.Pointer[string]
}

func (s *source) load(ctx context.Context) ([]byte, error) {
	s.loads.Add(1)
	v := s.value.Load() // what was there at the beginning
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := s.err.Load(); err != nil {
		return nil, *err
	}
	if v == nil {
		return nil, redis.ErrNotFound
	}
	return []byte(*v), nil
}

func (s *source) fail(err error) { s.err.Store(&err) }

func (s *source) set(v string) { s.value.Store(&v) }

func get(t testing.TB, c *redis.Cache, key string, s *source, want string) {
	t.Helper()
	if v, err := c.Get(ctx, key, s.load); err != nil || string(v) != want {
		t.Fatalf("Get(%q) = %q, %v, want %q", key, v, err, want)
	}
}

// Two hundred callers in four processes who come at once load once, and the same when the
// value is past its time.
func TestCacheStampede(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		clk := newMoment(t, addr, prefix)
		o := redis.CacheOptions{Prefix: prefix, Timeout: 5 * time.Second, TTL: time.Minute, Beta: -1}
		var caches []*redis.Cache
		for range 4 {
			cache, err := redis.NewCacheWithClock(c, &o, clk.clock)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cache.Close() })
			caches = append(caches, cache)
		}
		s := &source{gate: make(chan struct{})}
		s.set("1")
		stampede := func(want ...string) {
			var wg sync.WaitGroup
			var answers atomic.Int64
			for i := range 200 {
				wg.Go(func() {
					v, err := caches[i%4].Get(ctx, "k", s.load)
					if err != nil || string(v) != want[0] && string(v) != want[len(want)-1] {
						t.Errorf("%q, %v, want %q", v, err, want)
					}
					answers.Add(1)
				})
			}
			// With a value to go on with, only who loads waits, and those who share that.
			eventually(t, func() bool { return s.loads.Load() > 0 && (len(want) == 1 || answers.Load() >= 100) })
			s.gate <- struct{}{}
			wg.Wait()
			if n := s.loads.Swap(0); n != 1 {
				t.Fatalf("%d loads for 200 callers", n)
			}
		}
		stampede("1")
		for _, cache := range caches {
			get(t, cache, "k", s, "1")
		}
		if n := s.loads.Load(); n != 0 {
			t.Fatalf("%d loads of a fresh value", n)
		}
		s.set("2")
		clk.pass(61_000_000)
		stampede("1", "2")
		if st := caches[0].Stats(); st.Shared == 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// Before a value is stale one of many asks for it again, behind: the nearer the end the more
// likely, as XFetch has it.
func TestCacheEarly(t *testing.T) {
	s, prefix := common(t)
	c := viaGoRedis(t, s.addr)
	clk := newMoment(t, s.addr, prefix)
	cache, err := redis.NewCacheWithClock(c, &redis.CacheOptions{Prefix: prefix, Timeout: 5 * time.Second, TTL: time.Minute, Beta: 2}, clk.clock)
	if err != nil {
		t.Fatal(err)
	}
	src, r := &source{}, raw(t, s.addr)
	src.set("1")
	keys := 400
	if full {
		keys = 10_000
	}
	for _, left := range []time.Duration{30 * time.Second, 4 * time.Second, time.Second} {
		const took = 2 * time.Second
		early := 0
		for k := range keys {
			key := fmt.Sprint("k", left, k)
			if err := r.HSet(ctx, prefix+key, "v", "old", "d", took.Microseconds(), "e", clk.us+left.Microseconds()).Err(); err != nil {
				t.Fatal(err)
			}
			before := cache.Stats().Early
			get(t, cache, key, src, "old") // never waits
			early += int(cache.Stats().Early - before)
		}
		want := math.Exp(-left.Seconds() / (2 * took.Seconds())) // P(Δβ·ln(1/u) ≥ left)
		sigma := math.Sqrt(want * (1 - want) / float64(keys))
		if got := float64(early) / float64(keys); math.Abs(got-want) > 5*sigma+1e-9 {
			t.Errorf("%v before the end %.3f load early, want %.3f ± %.3f", left, got, want, sigma)
		}
	}
	if err := cache.Close(); err != nil { // waits for them
		t.Fatal(err)
	}
	if st := cache.Stats(); uint64(src.loads.Load()) != st.Early || st.Loads != st.Early {
		t.Fatalf("%d loads, %+v", src.loads.Load(), st)
	}
}

func TestCacheNegative(t *testing.T) {
	s, prefix := common(t)
	c := viaGoRedis(t, s.addr)
	clk := newMoment(t, s.addr, prefix)
	cache, err := redis.NewCacheWithClock(c, &redis.CacheOptions{Prefix: prefix, Timeout: 5 * time.Second, Beta: -1}, clk.clock)
	if err != nil {
		t.Fatal(err)
	}
	src := &source{}
	for range 5 {
		if v, err := cache.Get(ctx, "k", src.load); !errors.Is(err, redis.ErrNotFound) || v != nil {
			t.Fatal(v, err)
		}
	}
	if n := src.loads.Load(); n != 1 {
		t.Fatalf("%d loads of nothing", n)
	}
	src.set("v")
	clk.pass(10_000_001)
	get(t, cache, "k", src, "v")
	never := newCache(t, c, redis.CacheOptions{Prefix: prefix + "never", Negative: -1})
	src = &source{}
	for range 3 {
		if _, err := never.Get(ctx, "k", src.load); !errors.Is(err, redis.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if n := src.loads.Load(); n != 3 {
		t.Fatalf("%d loads, and nothing may be remembered", n)
	}
}

// What is past its time is better than an error, and errors are not asked for at each call.
func TestCacheStaleOnError(t *testing.T) {
	s, prefix := common(t)
	c := viaGoRedis(t, s.addr)
	clk := newMoment(t, s.addr, prefix)
	cache, err := redis.NewCacheWithClock(c, &redis.CacheOptions{Prefix: prefix, Timeout: 5 * time.Second, TTL: time.Minute, ErrorPause: 5 * time.Second, Beta: -1}, clk.clock)
	if err != nil {
		t.Fatal(err)
	}
	src := &source{}
	src.set("1")
	get(t, cache, "k", src, "1")
	boom := errors.New("boom")
	src.fail(boom)
	clk.pass(61_000_000)
	for range 10 {
		get(t, cache, "k", src, "1")
	}
	if n := src.loads.Load(); n != 2 {
		t.Fatalf("%d loads, want 2", n)
	}
	clk.pass(5_000_001)
	get(t, cache, "k", src, "1")
	if n := src.loads.Load(); n != 3 {
		t.Fatalf("%d loads, want 3", n)
	}
	src.err.Store(nil)
	src.set("2")
	clk.pass(5_000_001)
	get(t, cache, "k", src, "2")
	// With nothing to go on with, the error is each caller's.
	src.fail(boom)
	for range 2 {
		if _, err := cache.Get(ctx, "other", src.load); !errors.Is(err, boom) {
			t.Fatal(err)
		}
	}
	if n := src.loads.Load(); n != 6 {
		t.Fatalf("%d loads, want 6", n)
	}
	if _, err := cache.Get(ctx, "panics", func(context.Context) ([]byte, error) { panic("ouch") }); err == nil {
		t.Fatal("a panic is no error")
	}
}

// A value that was read before Delete is not kept after it.
func TestCacheDelete(t *testing.T) {
	clients(t, func(t *testing.T, _, prefix string, c redis.Client) {
		for _, local := range []time.Duration{0, time.Hour} {
			o := redis.CacheOptions{Prefix: prefix + local.String(), Local: local, Timeout: 5 * time.Second}
			cache, other := newCache(t, c, o), newCache(t, c, redis.CacheOptions{Prefix: o.Prefix, Timeout: 5 * time.Second})
			s := &source{gate: make(chan struct{})}
			s.set("old")
			done := make(chan string)
			go func() {
				v, _ := cache.Get(ctx, "k", s.load)
				done <- string(v)
			}()
			eventually(t, func() bool { return s.loads.Load() == 1 })
			s.set("new")
			if err := other.Delete(ctx, "k"); err != nil {
				t.Fatal(err)
			}
			s.gate <- struct{}{}
			if v := <-done; v != "old" { // it asked before
				t.Fatal(v)
			}
			close(s.gate)
			get(t, cache, "k", s, "new")
			s.set("newer")
			if err := cache.Delete(ctx, "k"); err != nil {
				t.Fatal(err)
			}
			get(t, cache, "k", s, "newer")
			get(t, other, "k", s, "newer")
		}
	})
}

// What this process keeps is bounded, and what is used stays.
func TestCacheLocal(t *testing.T) {
	s, prefix := common(t)
	const bytes1 = 1 << 20
	cache := newCache(t, viaGoRedis(t, s.addr), redis.CacheOptions{Prefix: prefix, Timeout: 5 * time.Second, Local: time.Hour, LocalBytes: bytes1, TTL: time.Hour, Beta: -1})
	src := &source{}
	src.set(string(bytes.Repeat([]byte("v"), 2000)))
	want := *src.value.Load()
	for i := range 1200 {
		get(t, cache, fmt.Sprint("k", i), src, want)
		get(t, cache, "often", src, want)
	}
	st := cache.Stats()
	if st.Bytes > bytes1 || st.Bytes < bytes1/2 {
		t.Fatalf("%+v, bound %d", st, bytes1)
	}
	if n := src.loads.Load(); n != 1201 || st.Local != 1199 {
		t.Fatalf("%d loads, %+v: what is asked for often left", n, st)
	}
	src.set(string(bytes.Repeat([]byte("v"), 2<<20)))
	for range 2 {
		get(t, cache, "large", src, *src.value.Load())
	}
	if n := src.loads.Load(); n != 1203 {
		t.Fatalf("%d loads: a value above MaxValue is kept", n)
	}
}

// When Redis is away values are loaded without it, one call at a time for each key; who
// loads may die, and is not waited for longer than LoadTimeout.
func TestCacheFailure(t *testing.T) {
	s, prefix := common(t)
	p := newProxy(t, s.addr)
	o := redis.CacheOptions{Prefix: prefix, Timeout: 100 * time.Millisecond, Pause: 200 * time.Millisecond, LoadTimeout: 300 * time.Millisecond}
	cache := newCache(t, viaRueidis(t, p.addr), o)
	src := &source{}
	src.set("1")
	p.stall.Store(true)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { get(t, cache, "k", src, "1") })
	}
	wg.Wait()
	for range 5 {
		get(t, cache, "k", src, "1")
	}
	if n, st := src.loads.Load(), cache.Stats(); n > 6 || st.Without != uint64(n) {
		t.Fatalf("%d loads, %+v", n, st)
	}
	p.stall.Store(false)
	p.cut()
	eventually(t, func() bool {
		get(t, cache, "k", src, "1")
		return cache.Stats().Hits > 0
	})
	// Somebody has the token and is no more.
	raw(t, s.addr).HSet(ctx, prefix+"dead", "t", "nobody", "u", time.Now().Add(200*time.Millisecond).UnixMicro())
	get(t, cache, "dead", src, "1")
	// Who gives up does not take the others' value away.
	src.gate = make(chan struct{})
	gone, cancel := context.WithCancel(ctx)
	first := make(chan error)
	go func() { _, err := cache.Get(gone, "shared", src.load); first <- err }()
	before := src.loads.Load()
	eventually(t, func() bool { return src.loads.Load() > before || cache.Stats().Loads > uint64(before) })
	wg.Go(func() { get(t, cache, "shared", src, "1") })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(src.gate)
	wg.Wait()
	if err := cache.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Get(ctx, "k", src.load); !errors.Is(err, redis.ErrClosed) {
		t.Fatal(err)
	}
	for i, o := range []redis.CacheOptions{{TTL: 1}, {Beta: math.NaN()}, {Local: -1}, {Prefix: "}"}, {LoadTimeout: -1}} {
		if _, err := redis.NewCache(viaGoRedis(t, s.addr), &o); !errors.Is(err, redis.ErrInvalid) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func FuzzCacheReply(f *testing.F) {
	f.Add("fresh", "60000000", "value", "v", "1000")
	f.Add("load", "-9223372036854775808", "", "", "")
	f.Fuzz(func(t *testing.T, state, left, value, there, took string) {
		v, d, ok, err := redis.ReadCacheReply([]any{state, left, value, there, took})
		if err != nil {
			if !errors.Is(err, redis.ErrReply) {
				t.Fatal(err)
			}
			return
		}
		if string(v) != value || d < 0 || ok != (there != "") {
			t.Fatalf("%q, %v, %t", v, d, ok)
		}
	})
}
