package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// Who is asked while Redis is away says what was chosen, soon, and returns to Redis when
// that is back.
func TestFailure(t *testing.T) {
	for _, stall := range []bool{false, true} {
		t.Run(fmt.Sprintf("stall=%t", stall), func(t *testing.T) {
			s, prefix := common(t)
			p := newProxy(t, s.addr)
			away := func(gone bool) {
				p.stall.Store(gone)
				if !stall && gone {
					p.cut()
				}
			}
			// It waits for an answer of its own, after the limiter's caller has got its.
			rc := goredis.NewClient(&goredis.Options{Addr: p.addr, DisableIdentity: true, ReadTimeout: 500 * time.Millisecond, MaxRetries: 1})
			t.Cleanup(func() { _ = rc.Close() })
			c := viagoredis.New(rc)
			policy := GCRA{Rate: Per(12, time.Hour)}
			var mu sync.Mutex
			var told []error
			make := func(f redis.Failure) *redis.Limiter {
				return newLimiter(t, c, policy, redis.Options{
					Prefix: prefix, Failure: f, Nodes: 4, Timeout: 300 * time.Millisecond, Pause: 400 * time.Millisecond,
					OnError: func(err error) { mu.Lock(); told = append(told, err); mu.Unlock() },
				})
			}
			fail, open, closed, local := make(redis.Fail), make(redis.Open), make(redis.Closed), make(redis.Local)
			check(t, fail, "k", 2)
			away(true)
			if _, err := fail.Check(ctx, "k", 1); !errors.Is(err, redis.ErrTimeout) {
				t.Fatalf("%v, want ErrTimeout", err)
			}
			for range 30 {
				if d := check(t, open, "k", 1); !d.OK {
					t.Fatalf("open: %+v", d)
				}
			}
			for range 30 {
				if d := check(t, closed, "k", 1); d.OK || d.RetryAfter <= 0 {
					t.Fatalf("closed: %+v", d)
				}
			}
			passed := 0
			for range 10 {
				if check(t, local, "k", 1).OK {
					passed++
				}
			}
			if passed != 3 {
				t.Fatalf("%d pass the fourth part of 12", passed)
			}
			ds, err := local.CheckMany(ctx, []redis.Request{{"k", 1}, {"other", 1}}, nil)
			if err != nil || ds[0].OK || !ds[1].OK {
				t.Fatalf("%+v, %v", ds, err)
			}
			if d, i, err := redis.CheckAll(ctx, 1, redis.Rule{Limiter: local, Key: "other"}, redis.Rule{Limiter: local, Key: "k"}); err != nil || d.OK || i != 1 {
				t.Fatalf("%+v, %d, %v", d, i, err)
			}
			// The caller's own deadline is a failure too, its cancellation is not.
			within, cancel := context.WithTimeout(ctx, time.Millisecond)
			if d, err := local.Check(within, "third", 1); err != nil || !d.OK {
				t.Fatalf("%+v, %v", d, err)
			}
			<-within.Done()
			cancel()
			if _, err := fail.Check(within, "k", 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			mu.Lock()
			if len(told) < 70 {
				t.Fatalf("told of %d", len(told))
			}
			mu.Unlock()
			if st := open.Stats(); st.Without != 30 || st.Failures < 1 || st.Calls > 8 {
				t.Fatalf("%+v: a server that failed is left alone", st)
			}
			away(false)
			eventually(t, func() bool {
				d, err := closed.Check(ctx, "k", 0)
				return err == nil && d.OK
			})
			// All ask again, not only one from time to time.
			before := closed.Stats().Without
			for range 20 {
				check(t, closed, "other", 0)
			}
			if st := closed.Stats(); st.Without != before {
				t.Fatalf("%+v: Redis is back", st)
			}
			if d := check(t, fail, "k", 0); d.Remaining > 10 {
				t.Fatalf("%+v", d)
			}
		})
	}
}

// A context that ends while others are waited for leaves before the request does: it is
// not counted.
func TestQueue(t *testing.T) {
	s, prefix := common(t)
	p := newProxy(t, s.addr)
	l := newLimiter(t, viaGoRedis(t, p.addr), GCRA{Rate: Per(100, time.Hour)}, redis.Options{Prefix: prefix, Flights: 1, Timeout: 5 * time.Second})
	check(t, l, "k", 1)
	p.delay.Store(int64(300 * time.Millisecond))
	var wg sync.WaitGroup
	wg.Go(func() { check(t, l, "k", 1) })
	eventually(t, func() bool { return l.Stats().Calls == 2 })
	var gone atomic.Int64
	for i := range 50 {
		within, cancel := context.WithCancel(ctx)
		wg.Go(func() {
			_, err := l.Check(within, "k", 1)
			if i%2 == 0 && errors.Is(err, context.Canceled) {
				gone.Add(1)
			} else if i%2 == 1 && err != nil {
				t.Error(err)
			}
			cancel()
		})
		if i%2 == 0 {
			cancel()
		}
	}
	wg.Wait()
	p.delay.Store(0)
	if d := check(t, l, "k", 0); gone.Load() != 25 || d.Remaining != 100-2-25 {
		t.Fatalf("%d left, %+v", gone.Load(), d)
	}
	if st := l.Stats(); st.Calls > 6 {
		t.Fatalf("%+v: 25 requests that came together", st)
	}
}

// Lost answers never let more through.
func TestLostAnswers(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, _ redis.Client) {
		p := newProxy(t, addr)
		c := viaGoRedis(t, p.addr)
		if t.Name() == "TestLostAnswers/rueidis" {
			c = viaRueidis(t, p.addr)
		}
		p.lose.Store(20)
		l := newLimiter(t, c, GCRA{Rate: Per(500, time.Hour)}, redis.Options{Prefix: prefix, Timeout: time.Second})
		var passed, failures atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 300 {
					if d, err := l.Check(ctx, "k", 1); err != nil {
						failures.Add(1)
					} else if d.OK {
						passed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := passed.Load(); n > 500 || n < 300 || p.lost.Load() < 3 {
			t.Fatalf("%d pass, %d failures, %d answers lost", n, failures.Load(), p.lost.Load())
		}
	})
}

// Three servers that are a cluster: batches go to each of them, rules of one tag are
// decided together, others are refused before anything is counted.
func TestCluster(t *testing.T) {
	t.Parallel()
	var addrs []string
	var nodes []*goredis.Client
	for range 3 {
		s := startCluster(t)
		addrs, nodes = append(addrs, s.addr), append(nodes, raw(t, s.addr))
	}
	for i, n := range nodes {
		from, to := i*16384/3, (i+1)*16384/3-1
		if err := n.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", from, to).Err(); err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(addrs[0])
		if err := n.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := n.Do(ctx, "CLUSTER", "MEET", host, port).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() bool {
		for _, n := range nodes {
			info, err := n.ClusterInfo(ctx).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	cc := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = cc.Close() })
	for name, c := range map[string]redis.Client{"goredis": viagoredis.New(cc), "rueidis": viaRueidis(t, addrs[0])} {
		t.Run(name, func(t *testing.T) {
			if !c.Cluster() {
				t.Fatal("not seen as a cluster")
			}
			l := newLimiter(t, c, GCRA{Rate: Per(2, time.Hour)}, redis.Options{Prefix: name + ":"})
			route := newLimiter(t, c, SlidingLog{Rate: Per(1, time.Hour)}, redis.Options{Prefix: name + "-route:"})
			var reqs []redis.Request
			for i := range 300 {
				reqs = append(reqs, redis.Request{Key: fmt.Sprint("k", i%100), N: 1})
			}
			ds, err := l.CheckMany(ctx, reqs, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range ds {
				if d.OK != (i < 200) {
					t.Fatalf("request %d: %+v", i, d)
				}
			}
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					if d, err := l.Check(ctx, fmt.Sprint("g", i), 1); err != nil || !d.OK || d.Remaining != 1 {
						t.Errorf("%+v, %v", d, err)
					}
				})
			}
			wg.Wait()
			both := []redis.Rule{{Limiter: l, Key: "{u7}"}, {Limiter: route, Key: "{u7}:/search"}}
			for i := range 3 {
				d, rule, err := redis.CheckAll(ctx, 1, both...)
				if err != nil || d.OK != (i < 1) || rule != 1 {
					t.Fatalf("%d: %+v, rule %d, %v", i, d, rule, err)
				}
			}
			if d := check(t, l, "{u7}", 0); d.Remaining != 1 {
				t.Fatalf("refused requests count: %+v", d)
			}
			both[1].Key = "{u8}:/search"
			if _, _, err := redis.CheckAll(ctx, 1, both...); !errors.Is(err, redis.ErrSlots) {
				t.Fatal(err)
			}
			if d := check(t, l, "{u7}", 0); d.Remaining != 1 {
				t.Fatalf("refused requests count: %+v", d)
			}
		})
	}
	// The slot that we compute is the servers'.
	rng := newRand(1)
	for range 500 {
		key := ""
		for range rng.IntN(12) {
			key += string("ab{}\x00é"[rng.IntN(6)])
		}
		if want := nodes[0].ClusterKeySlot(ctx, key).Val(); int64(redis.Slot(key)) != want {
			t.Fatalf("slot of %q: %d, want %d", key, redis.Slot(key), want)
		}
	}
}

// startCluster starts a node of a cluster, at a port below 55536: its bus is 10,000 above.
func startCluster(t *testing.T) *server {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := 10_000 + l.Addr().(*net.TCPAddr).Port%40_000
		_ = l.Close()
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err != nil {
			continue
		}
		_ = l.Close()
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port+10_000)); err != nil {
			continue
		}
		_ = l.Close()
		return start(t, "--port", fmt.Sprint(port), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
	}
}
