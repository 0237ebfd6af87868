// Package redis_test compares the limits of adapters/redis with those of redis_rate, on
// one redis-server that the benchmark starts:
//
//	cd bench/redis && GOWORK=off go test -bench Vs .
//
// Both use go-redis with the same options, and a client of their own; what is named
// rueidis is ours on that client. Keys are 10,000, in random order, and all pass; of
// redis-lease and redis-writeback they come as Zipf's law has it, with exponent 1.1, each
// limited to 1,000 a second, so that those that come most often are refused now and then.
package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/ashlar-go/ashlar/adapters/redis"
	viagoredis "github.com/ashlar-go/ashlar/adapters/redis/goredis"
	"github.com/ashlar-go/ashlar/adapters/redis/rueidisclient"
	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/ratelimit"
)

var ctx = context.Background()

const keys = 10_000

var names, order = func() ([]string, []int) {
	names := make([]string, keys)
	for i := range names {
		names[i] = "user:" + strconv.Itoa(i)
	}
	return names, rand.New(rand.NewPCG(1, 2)).Perm(keys)
}()

const (
	count  = 1_000_000
	period = time.Second
)

// serve starts a server and returns its address.
func serve(b *testing.B) string {
	b.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		b.Skip("redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", b.TempDir())
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c := dial(b, "127.0.0.1:"+port)
	for i := 0; c.Ping(ctx).Err() != nil; i++ {
		if i == 500 {
			b.Fatal("redis-server does not answer")
		}
		<-time.After(10 * time.Millisecond)
	}
	return "127.0.0.1:" + port
}

func dial(b *testing.B, addr string) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: addr, PoolSize: 64, ContextTimeoutEnabled: true})
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func rate(b *testing.B, addr string) *redis_rate.Limiter { return redis_rate.NewLimiter(dial(b, addr)) }

var limit = redis_rate.Limit{Rate: count, Burst: count, Period: period}

func ours(b *testing.B, c redis.Client, prefix string) *redis.Limiter {
	b.Helper()
	l, err := redis.New(c, ratelimit.GCRA{Rate: ratelimit.Per(count, period)}, &redis.Options{Prefix: prefix, Timeout: 5 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func viaRueidis(b *testing.B, addr string) redis.Client {
	b.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return rueidisclient.New(c)
}

// among makes so many goroutines each do their part of n operations.
func among(b *testing.B, goroutines int, do func(key string) error) func(*versus.Round) {
	return func(r *versus.Round) {
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := g; i < r.N; i += goroutines {
					if err := do(names[order[i%keys]]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

var errRefused = fmt.Errorf("refused")

func checks(l *redis.Limiter) func(string) error {
	return func(key string) error {
		d, err := l.Check(ctx, key, 1)
		if err == nil && !d.OK {
			err = errRefused
		}
		return err
	}
}

func allows(l *redis_rate.Limiter) func(string) error {
	return func(key string) error {
		d, err := l.Allow(ctx, key, limit)
		if err == nil && d.Allowed != 1 {
			err = errRefused
		}
		return err
	}
}

// trace is which keys come when, by Zipf's law.
var trace = func() []int {
	z := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.1, 1, keys-1)
	trace := make([]int, 1<<20)
	for i := range trace {
		trace[i] = int(z.Uint64())
	}
	return trace
}()

// along makes so many goroutines each do their part of the next n of the trace, and reports
// what calls counts, for each of them.
func along(b *testing.B, goroutines int, do func(key string) error, calls func() uint64) func(*versus.Round) {
	at := 0
	return func(r *versus.Round) {
		before := calls()
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := g; i < r.N; i += goroutines {
					if err := do(names[trace[(at+i)%len(trace)]]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		at += r.N
		r.Metric(float64(calls()-before)/float64(r.N), "calls/op")
	}
}

// BenchmarkVs: redis/N is one key a call from N goroutines; redis-batch decides on many
// keys at a time, redis_rate by a call for each from 64 goroutines, since it has no batches.
// redis-lease and redis-writeback have a near-cache in front, with 64 goroutines too; calls/op
// is how many commands go to Redis for each decision.
func BenchmarkVs(b *testing.B) {
	addr := serve(b)
	for _, n := range []int{1, 8, 64} {
		goal := 0.0
		if n == 64 {
			goal = 1.8
		}
		b.Run(fmt.Sprintf("redis-%d/redis_rate", n), func(b *testing.B) {
			versus.Run(b, versus.Case{
				Ours:   among(b, n, checks(ours(b, viagoredis.New(dial(b, addr)), "a:"))),
				Theirs: among(b, n, allows(rate(b, addr))),
				Beside: map[string]func(*versus.Round){
					"rueidis": among(b, n, checks(ours(b, viaRueidis(b, addr), "b:"))),
				},
				Goal: goal,
			})
		})
	}
	const batch = 64
	many := func(l *redis.Limiter) func(*versus.Round) {
		var out []ratelimit.Decision
		reqs := make([]redis.Request, batch)
		return func(r *versus.Round) {
			for at := 0; at < r.N; at += batch {
				for i := range reqs {
					reqs[i] = redis.Request{Key: names[order[(at+i)%keys]], N: 1}
				}
				var err error
				if out, err = l.CheckMany(ctx, reqs[:min(batch, r.N-at)], out); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("redis-batch/redis_rate", func(b *testing.B) {
		versus.Run(b, versus.Case{
			Ours:   many(ours(b, viagoredis.New(dial(b, addr)), "c:")),
			Theirs: among(b, batch, allows(rate(b, addr))),
			Beside: map[string]func(*versus.Round){"rueidis": many(ours(b, viaRueidis(b, addr), "d:"))},
			Goal:   3,
		})
	})
	few := redis_rate.Limit{Rate: 1000, Burst: 1000, Period: time.Second}
	for name, mode := range map[string]redis.Mode{"lease": redis.Lease, "writeback": redis.WriteBack} {
		b.Run("redis-"+name+"/redis_rate", func(b *testing.B) {
			l, err := redis.New(viagoredis.New(dial(b, addr)), ratelimit.GCRA{Rate: ratelimit.Per(few.Rate, few.Period)}, &redis.Options{Prefix: name + ":", Timeout: 5 * time.Second})
			if err != nil {
				b.Fatal(err)
			}
			near, err := redis.NewNear(l, &redis.NearOptions{Mode: mode})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = near.Close() })
			theirs := rate(b, addr)
			n := uint64(0)
			versus.Run(b, versus.Case{
				Ours: along(b, 64, func(key string) error {
					_, err := near.Check(ctx, key, 1)
					return err
				}, func() uint64 { return near.Stats().Calls }),
				Theirs: func(r *versus.Round) {
					along(b, 64, func(key string) error {
						_, err := theirs.Allow(ctx, key, few)
						return err
					}, func() uint64 { return n })(r)
					r.Metric(1, "calls/op")
				},
				Goal: 3,
			})
		})
	}
}
