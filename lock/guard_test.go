package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func newGuard(t testing.TB, o *GuardOptions) *Guard {
	t.Helper()
	g, err := NewGuard(o)
	require.NoError(t, err)
	return g
}

func stale(t *testing.T, err error, got, max uint64) {
	t.Helper()
	require.ErrorIs(t, err, ErrStale)
	var s *StaleError
	require.ErrorAs(t, err, &s)
	require.Equal(t, [2]uint64{got, max}, [2]uint64{s.Got, s.Max})
}

// The trace of Guard's comment: the token counts from the read on.
func TestGuardAdvancesBeforeTheFirstRead(t *testing.T) {
	ctx, g := t.Context(), newGuard(t, nil)
	require.NoError(t, g.Check(ctx, "file", 7)) // C1 reads
	require.NoError(t, g.Check(ctx, "file", 8)) // C2 reads
	stale(t, g.Check(ctx, "file", 7), 7, 8)     // C1 writes
	require.NoError(t, g.Check(ctx, "file", 8)) // C2 writes
	require.NoError(t, g.Check(ctx, "other", 1), "another resource")
	require.Equal(t, uint64(8), g.Highest("file"))
	require.Equal(t, uint64(0), g.Highest("new"))
	require.Equal(t, GuardStats{Resources: 2, Entered: 4, Refused: 1}, g.Stats())
	require.Equal(t, `lock: stale token: "file": token 7, 8 has been seen`, g.Check(ctx, "file", 7).Error())
}

func TestGuardInvalid(t *testing.T) {
	_, err := NewGuard(&GuardOptions{MaxResources: -1})
	require.ErrorIs(t, err, ErrInvalid)

	ctx, g := t.Context(), newGuard(t, nil)
	for _, c := range []struct {
		resource string
		token    uint64
	}{{"", 1}, {strings.Repeat("x", 1025), 1}, {"a\xff", 1}, {"a", 0}} {
		require.ErrorIs(t, g.Check(ctx, c.resource, c.token), ErrInvalid, "%.10q %d", c.resource, c.token)
		_, err := g.Enter(ctx, c.resource, c.token)
		require.ErrorIs(t, err, ErrInvalid)
		_, err = g.EnterRead(ctx, c.resource, c.token)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, g.Do(ctx, c.resource, c.token, func() error { panic("called") }), ErrInvalid)
	}
	require.Zero(t, g.Stats())
	require.NoError(t, g.Check(ctx, strings.Repeat("x", 1024), 1<<64-1))

	gone, cancel := context.WithCancelCause(ctx)
	cause := errors.New("gone")
	cancel(cause)
	require.ErrorIs(t, g.Check(gone, "a", 9), cause)
	require.Equal(t, uint64(0), g.Highest("a"), "a call that never began leaves no trace")
}

// Between a Check and the write that it was for a higher token may come in and
// read. Inside Do it cannot.
func TestGuardCheckThenWriteHasAWindow(t *testing.T) {
	ctx := t.Context()
	t.Run("Check", func(t *testing.T) {
		g, file := newGuard(t, nil), "old"
		require.NoError(t, g.Check(ctx, "f", 7)) // C1 may write
		require.NoError(t, g.Check(ctx, "f", 8)) // C2 reads, before C1 has written
		read := file
		file += "+C1" // too late, and nobody refuses it
		require.Equal(t, "old+C1", file)
		require.NoError(t, g.Check(ctx, "f", 8))
		file = read + "+C2"
		require.Equal(t, "old+C2", file, "C1 was told it may write, and its write is lost")
	})
	t.Run("Do", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, g, file, read := t.Context(), newGuard(t, nil), "old", ""
			writing, write := make(chan bool), make(chan bool)
			go g.Do(ctx, "f", 7, func() error {
				close(writing)
				<-write
				file += "+C1"
				return nil
			})
			<-writing
			go g.Do(ctx, "f", 8, func() error { read = file; return nil })
			synctest.Wait()
			require.Equal(t, "", read, "C2 waits")
			close(write)
			synctest.Wait()
			require.Equal(t, "old+C1", read)
		})
	})
}

func TestGuardEnter(t *testing.T) {
	enter := func(g *Guard, token uint64, read bool) (leave func(), done chan error) {
		done = make(chan error, 1)
		var once sync.Once
		var out func()
		go func() {
			f := g.Enter
			if read {
				f = g.EnterRead
			}
			l, err := f(context.Background(), "f", token)
			out = l
			done <- err
		}()
		synctest.Wait()
		return func() { once.Do(func() { out() }); synctest.Wait() }, done
	}
	waits := func(t *testing.T, done chan error) {
		t.Helper()
		require.Empty(t, done, "should wait")
	}
	t.Run("readers share, writers wait, in order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, nil)
			leave5, r5 := enter(g, 5, true)
			require.NoError(t, <-r5)
			leave6, r6 := enter(g, 5, true)
			require.NoError(t, <-r6)
			leave8, w8 := enter(g, 8, false)
			waits(t, w8)
			leave5b, r5b := enter(g, 5, true)
			require.ErrorIs(t, <-r5b, ErrStale)
			leave8b, r8b := enter(g, 8, true)
			waits(t, r8b) // behind the writer
			leave5()
			waits(t, w8)
			leave6()
			require.NoError(t, <-w8)
			waits(t, r8b)
			leave8()
			require.NoError(t, <-r8b)
			leave8b()
			_ = leave5b
			require.NoError(t, g.Check(t.Context(), "f", 9))
		})
	})
	t.Run("stale while waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, nil)
			leave5, w5 := enter(g, 5, false)
			require.NoError(t, <-w5)
			_, w6 := enter(g, 6, false)
			waits(t, w6)
			leave7, w7 := enter(g, 7, false)
			stale(t, <-w6, 6, 7) // 7 has arrived
			waits(t, w7)
			_, w5b := enter(g, 5, false)
			stale(t, <-w5b, 5, 7)
			leave5()
			require.NoError(t, <-w7)
			leave7()
		})
	})
	t.Run("same token one after the other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, nil)
			leave1, a := enter(g, 5, false)
			require.NoError(t, <-a)
			leave2, b := enter(g, 5, false)
			waits(t, b)
			leave1()
			require.NoError(t, <-b)
			leave2()
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, nil)
			leave, err := g.EnterRead(t.Context(), "f", 5)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			w := make(chan error, 1)
			go func() { w <- g.Check(ctx, "f", 6) }()
			synctest.Wait()
			r := make(chan error, 1)
			go func() {
				leave, err := g.EnterRead(t.Context(), "f", 6)
				if err == nil {
					leave()
				}
				r <- err
			}()
			synctest.Wait()
			waits(t, r)
			require.ErrorIs(t, <-w, context.DeadlineExceeded)
			require.Equal(t, time.Minute, time.Since(start))
			synctest.Wait()
			require.NoError(t, <-r, "it was only behind the one that gave up")
			leave()
			leave() // nothing happens
			stale(t, g.Check(t.Context(), "f", 5), 5, 6)
			require.NoError(t, g.Check(t.Context(), "f", 6))
		})
	})
	t.Run("panic inside Do", func(t *testing.T) {
		g := newGuard(t, nil)
		require.Panics(t, func() { g.Do(t.Context(), "f", 1, func() error { panic("bug") }) })
		require.NoError(t, g.Check(t.Context(), "f", 1))
	})
}

// Holders with rising tokens, each late by chance, read, modify and write one
// counter. Whoever is not refused must have added to it.
func TestGuardRace(t *testing.T) {
	g := newGuard(t, &GuardOptions{MaxResources: 1}) // trimming all the time
	ctx := t.Context()
	var token atomic.Uint64
	var counter, added, refused int // guarded by the guard alone
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				tok := token.Add(1)
				var read int
				err := g.Do(ctx, "f", tok, func() error { read = counter; return nil })
				if rand.IntN(2) == 0 {
					g.Check(ctx, fmt.Sprint("other", tok), tok)
				}
				if err == nil {
					err = g.Do(ctx, "f", tok, func() error { counter = read + 1; added++; return nil })
				}
				if err != nil && !errors.Is(err, ErrStale) {
					t.Error(err)
				}
				if err != nil {
					_ = g.Do(ctx, "f", token.Add(1), func() error { refused++; return nil })
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, added, counter, "lost updates")
	t.Logf("%d added, %d refused", added, g.Stats().Refused)
}

// model is the guard as it would be without limits: the highest token of each
// resource.
type model map[string]uint64

func (m model) check(resource string, token uint64) bool {
	if token < m[resource] {
		return false
	}
	m[resource] = token
	return true
}

// A guard without limits does what the model does. One with limits, restarts
// and failing stores never lets in what the model would refuse, and lets in
// every token that is higher than all before.
func TestGuardModel(t *testing.T) {
	ctx := t.Context()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		limited := seed%2 == 1
		var o GuardOptions
		var disk *memStore
		if limited {
			disk = &memStore{highest: map[string]uint64{}}
			o = GuardOptions{MaxResources: 1 + r.IntN(4), Store: disk}
		}
		g, m := newGuard(t, &o), model{}
		newest := uint64(1)
		for range 200 {
			if limited && r.IntN(20) == 0 {
				g = newGuard(t, &o)
			}
			if limited {
				disk.fail = r.IntN(10) == 0
			}
			resource := fmt.Sprint("r", r.IntN(6))
			token, fresh := 1+r.Uint64N(newest), r.IntN(3) == 0
			if fresh {
				newest += 1 + r.Uint64N(3)
				token = newest
			}
			err := g.Check(ctx, resource, token)
			if errors.Is(err, errDisk) {
				continue // the model never heard of it: the guard may be stricter
			}
			want := true
			if err == nil || !limited {
				want = m.check(resource, token)
			}
			if err == nil && !want || err != nil && (!limited || fresh) && want {
				t.Fatalf("seed %d: Check(%q, %d) = %v, want %v", seed, resource, token, err, want)
			}
		}
	}
}

var errDisk = errors.New("disk")

// memStore is a FenceStore that can fail.
type memStore struct {
	mu      sync.Mutex
	floor   uint64
	highest map[string]uint64
	fail    bool
	gate    chan bool // if not nil, Save waits for it
}

func (s *memStore) Load() (uint64, map[string]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]uint64{}
	for k, v := range s.highest {
		if v > s.floor {
			m[k] = v
		}
	}
	return s.floor, m, nil
}

func (s *memStore) Save(_ context.Context, resource string, token uint64) error {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errDisk
	}
	s.highest[resource] = max(s.highest[resource], token)
	return nil
}

func (s *memStore) Trim(_ context.Context, floor uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errDisk
	}
	s.floor = max(s.floor, floor)
	return nil
}

func TestGuardStore(t *testing.T) {
	t.Run("durable before it is let in", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &memStore{highest: map[string]uint64{}, gate: make(chan bool)}
			g := newGuard(t, &GuardOptions{Store: s})
			done := make(chan error, 1)
			go func() { done <- g.Check(t.Context(), "f", 8) }()
			synctest.Wait()
			require.Empty(t, done)
			stale(t, g.Check(t.Context(), "f", 7), 7, 8) // refused already
			s.gate <- true
			require.NoError(t, <-done)
			require.NoError(t, g.Check(t.Context(), "f", 8), "known: no second write")
		})
	})
	t.Run("failure", func(t *testing.T) {
		s := &memStore{highest: map[string]uint64{"f": 6}}
		g := newGuard(t, &GuardOptions{Store: s})
		stale(t, g.Check(t.Context(), "f", 5), 5, 6)
		s.fail = true
		require.ErrorIs(t, g.Check(t.Context(), "f", 8), errDisk)
		stale(t, g.Check(t.Context(), "f", 7), 7, 8)
		require.ErrorIs(t, g.Check(t.Context(), "f", 8), errDisk, "still not saved")
		s.fail = false
		require.NoError(t, g.Check(t.Context(), "f", 8))
		require.Equal(t, uint64(8), s.highest["f"])
	})
	t.Run("unreadable", func(t *testing.T) {
		_, err := NewGuard(&GuardOptions{Store: brokenStore{}})
		require.ErrorIs(t, err, errDisk)
	})
}

type brokenStore struct{ FenceStore }

func (brokenStore) Load() (uint64, map[string]uint64, error) { return 0, nil, errDisk }

func TestGuardFloor(t *testing.T) {
	ctx := t.Context()
	s := &memStore{highest: map[string]uint64{"old": 50, "new": 150}}
	g := newGuard(t, &GuardOptions{Floor: 100, Store: s})
	stale(t, g.Check(ctx, "old", 60), 60, 100)
	stale(t, g.Check(ctx, "unknown", 99), 99, 100)
	require.NoError(t, g.Check(ctx, "unknown", 100))
	stale(t, g.Check(ctx, "new", 120), 120, 150)
	require.Equal(t, uint64(100), g.Highest("never seen"))
}

func TestGuardMaxResources(t *testing.T) {
	ctx, g := t.Context(), newGuard(t, &GuardOptions{MaxResources: 16})
	leave, err := g.Enter(ctx, "busy", 1) // the lowest, and in use
	require.NoError(t, err)
	for i := range uint64(1000) {
		require.NoError(t, g.Check(ctx, fmt.Sprint("r", i), 10+i))
		require.LessOrEqual(t, g.Stats().Resources, 16)
	}
	floor := g.Stats().Floor
	require.Greater(t, floor, uint64(900))
	stale(t, g.Check(ctx, "r0", floor-1), floor-1, floor)
	leave()
	require.NoError(t, g.Check(ctx, "busy", 2), "it was never forgotten")

	s := &memStore{highest: map[string]uint64{"a": 1}, fail: true}
	g = newGuard(t, &GuardOptions{MaxResources: 1, Store: s})
	require.ErrorIs(t, g.Check(ctx, "b", 2), errDisk, "nothing is forgotten before the floor is saved")
	require.Equal(t, uint64(1), g.Highest("a"))
}

func BenchmarkGuardCheck(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("resources=%d", n), func(b *testing.B) {
			g := newGuard(b, nil)
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("invoices/%d", i)
				require.NoError(b, g.Check(b.Context(), names[i], 1))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := g.Check(context.Background(), names[i%n], uint64(2+i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
