package redis_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/adapters/redis"
	"github.com/ashlar-go/ashlar/idem"
	. "github.com/ashlar-go/ashlar/ratelimit"
)

// Nobody can choose a key that is called in Redis as another, long one is.
func TestNamesDiffer(t *testing.T) {
	s, prefix := common(t)
	l := newLimiter(t, viaGoRedis(t, s.addr), GCRA{Rate: Per(1, time.Hour)}, redis.Options{Prefix: prefix})
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "#" + hex.EncodeToString(sum[:])
	}
	for _, long := range []string{strings.Repeat("x", 300), "{user 7}" + strings.Repeat("x", 300), strings.Repeat("x", 300) + "{" + strings.Repeat("y", 300) + "}"} {
		taken := map[string]string{}
		for _, key := range []string{long, hash(long), "{user 7}" + hash(long), hash(hash(long)), "a" + hash(long), hash(long) + "0", hash(long)[1:]} {
			name := l.Name(key)
			if other, ok := taken[name]; ok {
				t.Fatalf("%q and %q are both %q", key, other, name)
			}
			taken[name] = key
			if strings.HasPrefix(key, "{user 7}") && redis.Slot(name) != redis.Slot("{user 7}") {
				t.Fatalf("%q is in another slot than its tag", name)
			}
		}
	}
	long := strings.Repeat("x", 300)
	for _, key := range []string{hash(long), long} {
		if d := check(t, l, key, 1); !d.OK {
			t.Fatalf("%.70q: %+v, it is the first", key, d)
		}
	}
}

// A hanging client does not answer while it is told to hang.
type hanging struct {
	redis.Client
	heeds bool
	hang  atomic.Bool
	hung  atomic.Int64  // calls
	free  chan struct{} // closed: they end
}

func (c *hanging) Heeds() bool { return c.heeds }

func (c *hanging) Do(ctx context.Context, cmds []redis.Command) []redis.Reply {
	if !c.hang.Load() {
		return c.Client.Do(ctx, cmds)
	}
	c.hung.Add(1)
	replies := make([]redis.Reply, len(cmds))
	ended := ctx.Done()
	if !c.heeds {
		ended = nil
	}
	select {
	case <-ended:
	case <-c.free:
	}
	for i := range replies {
		replies[i].Err = context.DeadlineExceeded
	}
	return replies
}

// soon fails where f does not return.
func soon(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what + " does not return")
	}
}

// A client that hangs is not waited for longer than the timeout, neither by who joins what
// is told behind nor by Close.
func TestNearHangingClient(t *testing.T) {
	s, prefix := common(t)
	for _, heeds := range []bool{false, true} {
		t.Run(fmt.Sprint(heeds), func(t *testing.T) {
			c := &hanging{Client: viaPrompt(t, s.addr), heeds: heeds, free: make(chan struct{})}
			t.Cleanup(func() { close(c.free) }) // after Close, should that wait for it
			l := newLimiter(t, c, GCRA{Rate: Per(100, time.Hour)}, redis.Options{Prefix: prefix + t.Name(), Timeout: 300 * time.Millisecond})
			n, err := redis.NewNear(l, &redis.NearOptions{Mode: redis.WriteBack, MaxPending: 2, Flush: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			check(t, n, "k", 1)
			eventually(t, func() bool { return check(t, l, "k", 0).Remaining == 99 })
			n.Settle()
			c.hang.Store(true)
			check(t, n, "k", 1)
			eventually(t, func() bool { return c.hung.Load() > 0 }) // told behind
			soon(t, "Check", func() {
				for range 3 {
					if _, err = n.Check(ctx, "k", 1); err != nil {
						return
					}
				}
			})
			if !errors.Is(err, redis.ErrTimeout) {
				t.Fatalf("%v, want ErrTimeout", err)
			}
			soon(t, "Close", func() { err = n.Close() })
			if !errors.Is(err, redis.ErrTimeout) {
				t.Fatalf("Close: %v, what has passed is not counted", err)
			}
			if !heeds && c.hung.Load() > 4 {
				t.Fatalf("%d calls hang, want at most Flights and one", c.hung.Load())
			}
		})
	}
}

// A forgetful client does not say what it has done.
type forgetful struct {
	redis.Client
	on atomic.Bool
}

func (c *forgetful) Do(ctx context.Context, cmds []redis.Command) []redis.Reply {
	replies := c.Client.Do(ctx, cmds)
	if c.on.Load() {
		for i := range replies {
			replies[i] = redis.Reply{Err: errLost}
		}
	}
	return replies
}

// After a lost answer Close tells that again, and then what has passed since.
func TestNearCloseTellsAll(t *testing.T) {
	s, prefix := common(t)
	c := &forgetful{Client: viaPrompt(t, s.addr)}
	l := newLimiter(t, c, GCRA{Rate: Per(1000, time.Hour)}, redis.Options{Prefix: prefix})
	n := newNear(t, l, redis.NearOptions{Mode: redis.WriteBack, MaxPending: 100, Flush: time.Hour})
	for range 2 {
		for range 10 {
			check(t, n, "k", 1)
		}
		c.on.Store(true)
		n.Sweep()
	}
	c.on.Store(false)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if d := check(t, l, "k", 0); d.Remaining != 980 {
		t.Fatalf("%+v: 20 of 1000 have passed", d)
	}
}

// A slow client has stored a value some time before it says so.
type slowFill struct {
	redis.Client
	done      atomic.Bool
	held, end chan struct{}
}

func (c *slowFill) Do(ctx context.Context, cmds []redis.Command) []redis.Reply {
	replies := c.Client.Do(ctx, cmds)
	if len(cmds[0].Args) > 0 && cmds[0].Args[0] == "fill" && replies[0].Err == nil && c.done.CompareAndSwap(false, true) {
		close(c.held)
		<-c.end
	}
	return replies
}

// A load before the value is stale puts nothing that is older than Delete into this process'
// memory.
func TestCacheEarlyDelete(t *testing.T) {
	s, prefix := common(t)
	c := &slowFill{Client: viaPrompt(t, s.addr), held: make(chan struct{}), end: make(chan struct{})}
	cache := newCache(t, c, redis.CacheOptions{Prefix: prefix, Local: time.Hour, TTL: time.Hour, Beta: 1e6, Timeout: time.Minute})
	let := sync.OnceFunc(func() { close(c.end) })
	t.Cleanup(let) // before Close
	src := &source{}
	src.set("old")
	end := time.Now().Add(time.Hour).UnixMicro()
	if err := raw(t, s.addr).HSet(ctx, prefix+"k", "v", "old", "d", time.Hour.Microseconds(), "e", end).Err(); err != nil {
		t.Fatal(err)
	}
	get(t, cache, "k", src, "old")
	<-c.held // what was loaded behind is in Redis
	src.set("new")
	if err := cache.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	get(t, cache, "k", src, "new")
	let()
	if err := cache.Close(); err != nil { // waits for what is behind
		t.Fatal(err)
	}
	get(t, cache, "k", src, "new")
	if st := cache.Stats(); st.Early != 1 || st.Local != 1 {
		t.Fatalf("%+v: one load behind, one answer from memory", st)
	}
}

// A load that never returns, or ends its goroutine, is an error, and the next one is as if it
// had not been.
func TestCacheLoadsThatDoNotReturn(t *testing.T) {
	s, prefix := common(t)
	cache := newCache(t, viaPrompt(t, s.addr), redis.CacheOptions{Prefix: prefix, LoadTimeout: 300 * time.Millisecond, Timeout: 5 * time.Second})
	src, release := &source{}, make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let) // before Close
	src.set("v")
	for key, load := range map[string]func(context.Context) ([]byte, error){
		"ends":  func(context.Context) ([]byte, error) { runtime.Goexit(); return nil, nil },
		"hangs": func(context.Context) ([]byte, error) { <-release; return []byte("late"), nil },
	} {
		var errs [2]error
		soon(t, "Get", func() {
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { _, errs[i] = cache.Get(ctx, key, load) })
			}
			wg.Wait()
		})
		for _, err := range errs {
			if err == nil || errors.Is(err, context.DeadlineExceeded) != (key == "hangs") {
				t.Fatalf("%s: %v", key, err)
			}
		}
		soon(t, "the next Get", func() { get(t, cache, key, src, "v") })
	}
	let()
	if err := cache.Close(); err != nil {
		t.Fatal(err)
	}
}

// While the client hangs, requests whose callers have left are not kept.
func TestQueueOfHangingClient(t *testing.T) {
	c := &hanging{free: make(chan struct{})}
	c.hang.Store(true)
	l := newLimiter(t, notCluster{c}, GCRA{Rate: Per(1, time.Hour)}, redis.Options{Timeout: time.Millisecond})
	for i := range 10 {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := l.Check(ctx, "k", 1); !errors.Is(err, redis.ErrTimeout) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := l.Queued(); n > 1 {
			t.Fatalf("round %d: %d requests are kept, and nobody waits", i, n)
		}
	}
	close(c.free)
	l.Settle()
}

type notCluster struct{ *hanging }

func (notCluster) Cluster() bool { return false }

// A rate whose fraction is not round is counted exactly by the Limiter only.
func TestNearUnsupportedRate(t *testing.T) {
	c := notCluster{&hanging{}}
	l := newLimiter(t, c, GCRA{Rate: Per(999_983, 24*time.Hour)}, redis.Options{})
	if _, err := redis.NewNear(l, nil); !errors.Is(err, redis.ErrUnsupported) {
		t.Error(err)
	}
	newNear(t, l, redis.NearOptions{Mode: redis.Deny})
	newNear(t, newLimiter(t, c, GCRA{Rate: Per(1_000_000, 24*time.Hour)}, redis.Options{}), redis.NearOptions{})
}

// A repeating client sends all twice, as after a lost answer.
type repeating struct{ redis.Client }

func (c repeating) Do(ctx context.Context, cmds []redis.Command) []redis.Reply {
	c.Client.Do(ctx, cmds)
	return c.Client.Do(ctx, cmds)
}

// A repetition of Begin tells what was taken over, as the first did.
func TestIdemRepeatedBegin(t *testing.T) {
	s, prefix := common(t)
	c, clk := viaPrompt(t, s.addr), newMoment(t, s.addr, prefix)
	b, err := redis.NewIdemWithClock(repeating{c}, &redis.IdemOptions{Prefix: prefix}, clk.clock)
	if err != nil {
		t.Fatal(err)
	}
	start := idem.Start{Key: "k", Lease: time.Second, Keep: time.Hour}
	var last idem.Record
	for i := range 3 {
		rec, before, won, err := b.Begin(ctx, start)
		if err != nil || !won || rec.Token != uint64(i+1) || !reflect.DeepEqual(before, last) {
			t.Fatalf("attempt %d: %+v, before %+v, want %+v, %t, %v", i+1, rec, before, last, won, err)
		}
		last = rec
		clk.pass(2_000_000)
	}
	clk.pass(2 * time.Hour.Microseconds()) // forgotten, but still in Redis
	if rec, before, won, err := b.Begin(ctx, start); err != nil || !won || rec.Token != 1 || before.Key != "" {
		t.Fatalf("%+v, before %+v, %t, %v", rec, before, won, err)
	}
}
