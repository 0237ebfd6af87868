package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
)

// A tether is one client's way to the servers, which can be cut and mended.
type tether struct {
	w     *world
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *tether) dial(ctx context.Context, address string) (net.Conn, error) {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, errors.New("no route")
	}
	nc, err := l.w.dial(ctx, address)
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, nc)
		l.mu.Unlock()
	}
	return nc, err
}

func (l *tether) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for _, c := range l.conns {
			c.Close()
		}
		l.conns = nil
	}
}

// TestClockRates (V7) lets a holder's clock run fast or slow. It is cut off at
// a random moment while somebody waits. With a clock inside the stated bound
// (Options.Drift, 5 %) it has given up by the moment the next client is granted
// the lock, without any guard. With one far outside it has not, which shows that
// the test bites, and the guard refuses what it writes then.
func TestClockRates(t *testing.T) {
	for _, rate := range []float64{0.955, 1, 1.05, 1.3, 0.8} {
		t.Run(fmt.Sprint("rate=", rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { clockRate(t, rate, rounds(t, "ASHLAR_CLOCKS", 20)) })
		})
	}
}

func clockRate(t *testing.T, rate float64, n int) {
	w := newWorld(t, 500*time.Millisecond)
	rng := rand.New(rand.NewPCG(uint64(rate*100), 1))
	ctx := context.Background()
	guard, err := lock.NewGuard(nil)
	require.NoError(t, err)
	start := time.Now()
	skewed := func() time.Duration { return time.Duration(float64(time.Since(start)) * rate) }
	line := &tether{w: w}
	holder, err := lock.Dial(ctx, w.ids, &lock.Options{TTL: 2 * time.Second, Dial: line.dial, Clock: skewed})
	require.NoError(t, err)
	next := w.client("next")
	both, late := 0, 0
	for i := range n {
		key := fmt.Sprint("k", i)
		held, err := holder.Lock(ctx, key)
		require.NoError(t, err)
		require.NoError(t, guard.Check(ctx, key, held.Token()))
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond) // virtual
		if held.Err() != nil {
			t.Fatalf("lost while connected: %v", held.Err())
		}
		line.set(true)
		l, err := next.Lock(ctx, key)
		require.NoError(t, err)
		select {
		case <-held.Lost(): // by itself, before anybody asks Err
		default:
			late++
		}
		if held.Err() == nil {
			both++
		}
		require.NoError(t, guard.Check(ctx, key, l.Token()))
		require.ErrorIs(t, guard.Check(ctx, key, held.Token()), lock.ErrStale)
		line.set(false)
		require.NoError(t, l.Unlock(ctx))
		for held.Err() == nil {
			time.Sleep(100 * time.Millisecond) // virtual
		}
	}
	if rate > 0.95 {
		require.Zero(t, both, "two believed to hold the lock with a clock inside the bound")
		require.Zero(t, late, "Lost was closed after the next client had the lock")
	} else {
		require.NotZero(t, both, "a clock that is far too slow should have been noticed")
	}
	holder.Close()
	next.Close()
	w.close()
}

// A jump of the client's boot-time clock, as after a suspended machine, ends the
// lease at the next look, before any timer has fired.
func TestClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 500*time.Millisecond)
		start := time.Now()
		var mu sync.Mutex
		var slept time.Duration
		c, err := lock.Dial(context.Background(), w.ids, &lock.Options{TTL: 2 * time.Second, Dial: w.dial, Clock: func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Since(start) + slept
		}})
		require.NoError(t, err)
		l, err := c.Lock(context.Background(), "k")
		require.NoError(t, err)
		require.NoError(t, l.Err())
		mu.Lock()
		slept = time.Hour
		mu.Unlock()
		require.ErrorIs(t, l.Err(), lock.ErrLost)
		<-l.Lost()
		require.ErrorIs(t, context.Cause(l.Context()), lock.ErrLost)
		require.ErrorIs(t, l.Unlock(context.Background()), lock.ErrNotHeld)
		// The client goes on with a new session.
		l, err = c.Lock(context.Background(), "k")
		require.NoError(t, err)
		require.NoError(t, l.Unlock(context.Background()))
		c.Close()
		w.close()
	})
}
