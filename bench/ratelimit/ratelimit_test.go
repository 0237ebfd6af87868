// Package ratelimit_test compares package ratelimit with other limiters for Go, each
// with its own clock and its own table of keys, or sync.Map where it has none:
//
//	cd bench && GOWORK=off go test -bench Vs ./ratelimit
package ratelimit_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	juju "github.com/juju/ratelimit"
	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	"github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/time/rate"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/ratelimit"
)

const keys = 1_000_000

var names, order = func() ([]string, []int32) {
	names, order := make([]string, keys), make([]int32, keys)
	for i := range names {
		names[i] = "user:" + strconv.Itoa(i)
	}
	for i, p := range rand.New(rand.NewPCG(1, 2)).Perm(keys) {
		order[i] = int32(p)
	}
	return names, order
}()

// makers of a limiter of so many requests in a period for each key.
var makers = []struct {
	name string
	make func(b *testing.B, limit int, period time.Duration) func(key string) bool
}{
	{"x-time-rate", func(_ *testing.B, limit int, period time.Duration) func(string) bool {
		var m sync.Map
		return func(key string) bool {
			v, ok := m.Load(key)
			if !ok {
				v, _ = m.LoadOrStore(key, rate.NewLimiter(rate.Limit(float64(limit)/period.Seconds()), limit))
			}
			return v.(*rate.Limiter).Allow()
		}
	}},
	{"juju", func(_ *testing.B, limit int, period time.Duration) func(string) bool {
		var m sync.Map
		return func(key string) bool {
			v, ok := m.Load(key)
			if !ok {
				v, _ = m.LoadOrStore(key, juju.NewBucketWithRate(float64(limit)/period.Seconds(), int64(limit)))
			}
			return v.(*juju.Bucket).TakeAvailable(1) == 1
		}
	}},
	{"sethvargo", func(b *testing.B, limit int, period time.Duration) func(string) bool {
		s, err := memorystore.New(&memorystore.Config{Tokens: uint64(limit), Interval: period, InitialAlloc: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close(context.Background()) })
		return func(key string) bool {
			_, _, _, ok, _ := s.Take(context.Background(), key)
			return ok
		}
	}},
	{"throttled", func(b *testing.B, limit int, period time.Duration) func(string) bool {
		s, err := memstore.NewCtx(0)
		if err != nil {
			b.Fatal(err)
		}
		g, err := throttled.NewGCRARateLimiterCtx(s, throttled.RateQuota{MaxRate: throttled.PerDuration(limit, period), MaxBurst: limit - 1})
		if err != nil {
			b.Fatal(err)
		}
		return func(key string) bool {
			limited, _, err := g.RateLimitCtx(context.Background(), key, 1)
			return err == nil && !limited
		}
	}},
	{"ulule", func(_ *testing.B, limit int, period time.Duration) func(string) bool {
		l := ulule.New(memory.NewStore(), ulule.Rate{Period: period, Limit: int64(limit)})
		return func(key string) bool {
			c, err := l.Get(context.Background(), key)
			return err == nil && !c.Reached
		}
	}},
}

func ours(b *testing.B, limit int, period time.Duration) func(key string) bool {
	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(limit, period)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return l.Allow
}

// two runs f in two goroutines, each with its half of n.
func two(n int, f func(from, to int)) {
	var wg sync.WaitGroup
	wg.Go(func() { f(0, n/2) })
	f(n/2, n)
	wg.Wait()
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkVs: key is one key asked for by two goroutines, below its limit; deny the
// same above it; keys1m a million keys in random order,
// none of which is as good as forgotten.
func BenchmarkVs(b *testing.B) {
	one := func(allow func(string) bool) func(*versus.Round) {
		return func(r *versus.Round) {
			two(r.N, func(from, to int) {
				for range to - from {
					allow("user:1")
				}
			})
		}
	}
	for _, m := range makers {
		b.Run("key/"+m.name, func(b *testing.B) {
			const endless = 1_000_000_000
			versus.Run(b, versus.Case{Ours: one(ours(b, endless, time.Second)), Theirs: one(m.make(b, endless, time.Second)), Goal: 1.54})
		})
	}
	for _, m := range makers {
		b.Run("deny/"+m.name, func(b *testing.B) {
			versus.Run(b, versus.Case{Ours: one(ours(b, 1, time.Second)), Theirs: one(m.make(b, 1, time.Second))})
		})
	}
	for _, m := range makers {
		b.Run("keys1m/"+m.name, func(b *testing.B) {
			side := func(make func(b *testing.B, limit int, period time.Duration) func(string) bool) func(*versus.Round) {
				before := heap()
				allow := make(b, 1000, time.Hour) // no key is forgotten meanwhile
				for _, name := range names {
					allow(name)
				}
				bytes := heap() - before
				at := 0
				return func(r *versus.Round) {
					two(r.N, func(from, to int) {
						for i := from; i < to; i++ {
							allow(names[order[(at+i)%keys]])
						}
					})
					at += r.N
					r.Stop()
					r.Size(bytes)
					r.Metric(float64(bytes)/keys, "B/key")
				}
			}
			versus.Run(b, versus.Case{Ours: side(ours), Theirs: side(m.make), Goal: 2})
		})
	}
}
