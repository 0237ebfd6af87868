package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/adapters/redis"
	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/idem/idemtest"
)

func newIdem(t testing.TB, c redis.Client, o redis.IdemOptions) *redis.Idem {
	t.Helper()
	b, err := redis.NewIdem(c, &o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIdemConformance(t *testing.T) {
	clients(t, func(t *testing.T, addr, prefix string, c redis.Client) {
		n := 0
		idemtest.Run(t, func(t *testing.T) (idem.Backend, func(time.Duration)) {
			n++
			prefix := fmt.Sprint(prefix, n, ":")
			clk := newMoment(t, addr, prefix)
			b, err := redis.NewIdemWithClock(c, &redis.IdemOptions{Prefix: prefix, Partitions: 7}, clk.clock)
			if err != nil {
				t.Fatal(err)
			}
			return b, func(d time.Duration) { clk.pass(d.Microseconds()) }
		})
	})
}

// By the server's own clock records go away, and what lists them too.
func TestIdemExpiry(t *testing.T) {
	s, prefix := common(t)
	b := newIdem(t, viaGoRedis(t, s.addr), redis.IdemOptions{Prefix: prefix, Partitions: 1})
	r := raw(t, s.addr)
	begin := func(key string) {
		t.Helper()
		if _, _, won, err := b.Begin(ctx, idem.Start{Key: key, Lease: 20 * time.Millisecond, Keep: 50 * time.Millisecond}); !won || err != nil {
			t.Fatal(won, err)
		}
	}
	for i := range 12 {
		begin(fmt.Sprint("k", i))
	}
	eventually(t, func() bool { // dead, and forgotten in the end
		list, err := b.Unfinished(ctx, 20)
		return err == nil && len(list) == 0 && r.Exists(ctx, prefix+"{0}k:k0").Val() == 0
	})
	begin("one more")
	begin("another")
	if n := r.ZCard(ctx, prefix+"{0}leases").Val(); n != 2 {
		t.Fatalf("%d keys are listed as begun, want 2", n)
	}
	if n := r.ZCard(ctx, prefix+"{0}ends").Val(); n != 2 {
		t.Fatalf("%d keys are listed by their ends, want 2", n)
	}
}

// A repetition after a lost answer is no second attempt, and work is done once through a
// network that loses answers.
func TestIdemLostAnswers(t *testing.T) {
	s, prefix := common(t)
	p := newProxy(t, s.addr)
	p.lose.Store(9)
	stores := make([]*idem.Store, 3)
	for i := range stores {
		var err error
		b := newIdem(t, viaGoRedis(t, p.addr), redis.IdemOptions{Prefix: prefix})
		if stores[i], err = idem.New(b, &idem.Options{Lease: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	const keys = 40
	var done [keys]atomic.Int64
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			for k := range keys {
				result, err := s.Do(ctx, fmt.Sprint("k", k), nil, func(context.Context, *idem.Attempt) ([]byte, error) {
					done[k].Add(1)
					return []byte(fmt.Sprint(k)), nil
				})
				if err != nil || string(result) != fmt.Sprint(k) {
					t.Errorf("process %d, key %d: %q, %v", i, k, result, err)
				}
			}
		})
	}
	wg.Wait()
	for k := range done {
		if n := done[k].Load(); n != 1 {
			t.Errorf("key %d: the work is done %d times", k, n)
		}
	}
	if p.lost.Load() < 5 {
		t.Fatalf("only %d answers were lost", p.lost.Load())
	}
}

// What is there of somebody else's is neither read nor overwritten.
func TestIdemForeign(t *testing.T) {
	s, prefix := common(t)
	r := raw(t, s.addr)
	b := newIdem(t, viaGoRedis(t, s.addr), redis.IdemOptions{Prefix: prefix, Partitions: 1})
	r.Set(ctx, prefix+"{0}k:text", "text", 0)
	r.HSet(ctx, prefix+"{0}k:hash", "s", "1")
	r.HSet(ctx, prefix+"{0}k:bad", "s", "9", "t", "x", "e", "9000000000000000")
	if _, err := b.Get(ctx, "text"); err == nil || errors.Is(err, idem.ErrNotFound) {
		t.Fatal(err)
	}
	for _, key := range []string{"hash", "bad"} {
		if _, err := b.Get(ctx, key); !errors.Is(err, idem.ErrCorrupt) {
			t.Fatalf("%s: %v", key, err)
		}
		if _, _, won, err := b.Begin(ctx, idem.Start{Key: key, Lease: time.Second, Keep: time.Second}); won || err == nil {
			t.Fatalf("%s: won %t, %v", key, won, err)
		}
	}
	for i, o := range []redis.IdemOptions{{Prefix: "{"}, {Partitions: -1}, {Partitions: 1 << 20}, {Timeout: -1}} {
		if _, err := redis.NewIdem(viaGoRedis(t, s.addr), &o); !errors.Is(err, redis.ErrInvalid) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A server that does not answer is not waited for.
func TestIdemTimeout(t *testing.T) {
	s, prefix := common(t)
	p := newProxy(t, s.addr)
	b := newIdem(t, viaRueidis(t, p.addr), redis.IdemOptions{Prefix: prefix, Timeout: 50 * time.Millisecond})
	p.stall.Store(true)
	if _, err := b.Get(ctx, "k"); !errors.Is(err, redis.ErrTimeout) {
		t.Fatal(err)
	}
	within, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	// Or the connection is broken since the time before.
	if _, err := b.Get(within, "k"); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, redis.ErrTimeout) {
		t.Fatal(err)
	}
}

func FuzzIdemRecord(f *testing.F) {
	f.Add("1", "1", "hash", "", "1767268800123456", "1767268800123457", "1767268800123458")
	f.Add("9", "-1", "", "r", "", "x", "")
	f.Fuzz(func(t *testing.T, state, token, hash, result, began, lease, ends string) {
		rec, err := redis.ReadRecord("k", []any{state, token, hash, result, began, lease, ends, "own"})
		if err != nil {
			if !errors.Is(err, idem.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if rec.State < idem.Begun || rec.State > idem.Released || string(rec.Hash) != hash || string(rec.Result) != result {
			t.Fatalf("%+v", rec)
		}
	})
}
