package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/wal"
)

func TestFenceLog(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	l, err := OpenFenceLog(dir)
	require.NoError(t, err)
	_, err = OpenFenceLog(dir)
	require.Error(t, err, "one process at a time")
	g := newGuard(t, &GuardOptions{Store: l})
	require.NoError(t, g.Check(ctx, "a", 7))
	require.NoError(t, g.Check(ctx, "a", 8))
	require.NoError(t, g.Check(ctx, "b", 9))
	require.ErrorIs(t, l.Save(ctx, "", 1), ErrInvalid)
	require.ErrorIs(t, l.Save(ctx, strings.Repeat("x", 2000), 1), ErrInvalid)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	require.ErrorIs(t, g.Check(ctx, "a", 10), ErrClosed)

	l, err = OpenFenceLog(dir)
	require.NoError(t, err)
	defer l.Close()
	g = newGuard(t, &GuardOptions{Store: l})
	stale(t, g.Check(ctx, "a", 7), 7, 8)
	stale(t, g.Check(ctx, "b", 8), 8, 9)
	require.NoError(t, g.Check(ctx, "b", 9))
}

// small makes segments so small that there are many.
func small(fsys vfs.FS) *wal.Options { return &wal.Options{FS: fsys, SegmentSize: 4 << 10} }

// Whatever Save and Trim acknowledged before the power went is there after it:
// cut at every call that changes the disk, with rewriting going on.
func TestFenceLogPowerCut(t *testing.T) {
	run := func(l *FenceLog, r *rand.Rand, m model, floor *uint64) error {
		l.above = 0 // rewrite as often as possible
		for i := range uint64(60) {
			if r.IntN(15) == 0 {
				if err := l.Trim(context.Background(), i/2); err != nil {
					return err
				}
				*floor = max(*floor, i/2)
			}
			resource := fmt.Sprint("r", r.IntN(5))
			if err := l.Save(context.Background(), resource, 1+i); err != nil {
				return err
			}
			m.check(resource, 1+i)
		}
		return nil
	}
	total := 0
	for cut := 1; ; cut++ {
		sim := vfs.NewSim()
		sim.CutAt(cut)
		m, floor := model{}, uint64(0)
		l, err := openFenceLog("fences", small(sim))
		if err == nil {
			err = run(l, rand.New(rand.NewPCG(uint64(cut), 2)), m, &floor)
			l.Close()
		}
		for seed := range uint64(4) {
			after, oerr := openFenceLog("fences", small(sim.Crash(seed)))
			require.NoError(t, oerr, "cut %d, seed %d", cut, seed)
			gotFloor, got, lerr := after.Load()
			require.NoError(t, lerr)
			require.GreaterOrEqual(t, gotFloor, floor)
			for resource, want := range m {
				if got[resource] < want && gotFloor < want {
					t.Fatalf("cut %d, seed %d: %q has %d, floor %d, want %d", cut, seed, resource, got[resource], gotFloor, want)
				}
			}
			require.NoError(t, after.Save(context.Background(), "new", 99))
			require.NoError(t, after.Close())
		}
		if total++; err == nil {
			break
		}
	}
	t.Logf("cut at each of %d calls", total-1)
}

// The log stays small however many tokens pass through it.
func TestFenceLogRewrites(t *testing.T) {
	l, err := openFenceLog("fences", small(vfs.NewSim()))
	require.NoError(t, err)
	l.above = 4096
	ctx := t.Context()
	for i := range uint64(5000) {
		require.NoError(t, l.Save(ctx, fmt.Sprint("r", i%10), 1+i))
		require.Less(t, l.log.End()-l.log.Head(), uint64(16<<10))
	}
	_, got, err := l.Load()
	require.NoError(t, err)
	require.Len(t, got, 10)
	require.Equal(t, uint64(5000), got["r9"])
	require.NoError(t, l.Close())
}

// A token that another call has written, but not yet synced, does not count.
func TestFenceLogWaitsForTheSync(t *testing.T) {
	sim := vfs.NewSim()
	l, err := openFenceLog("fences", small(sim))
	require.NoError(t, err)
	syncing, sync1 := make(chan bool, 8), make(chan bool)
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpDatasync || op.Kind == vfs.OpSync {
			syncing <- true
			<-sync1
		}
		return nil
	})
	done := make(chan error, 2)
	go func() { done <- l.Save(context.Background(), "f", 5) }()
	<-syncing
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- l.Save(ctx, "f", 5) }()
	cancel() // it can only end by this, since nothing is synced
	require.ErrorIs(t, <-done, context.Canceled)
	close(sync1)
	require.NoError(t, <-done)
	sim.SetHook(nil)
	require.NoError(t, l.Close())
}

// A failed flush ends the log's life, and the guard lets nobody in on it.
func TestFenceLogFailedSync(t *testing.T) {
	sim := vfs.NewSim()
	l, err := openFenceLog("fences", small(sim))
	require.NoError(t, err)
	g := newGuard(t, &GuardOptions{Store: l})
	require.NoError(t, g.Check(t.Context(), "f", 5))
	boom := errors.New("boom")
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpDatasync || op.Kind == vfs.OpSync {
			return boom
		}
		return nil
	})
	require.ErrorIs(t, g.Check(t.Context(), "f", 6), boom)
	sim.SetHook(nil)
	require.Error(t, g.Check(t.Context(), "f", 6), "trying again is no cure")
	require.Error(t, l.Close())
}

// A full disk refuses a token and forgets nothing; later there is room again.
func TestFenceLogFullDisk(t *testing.T) {
	sim := vfs.NewSim()
	l, err := openFenceLog("fences", small(sim))
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, l.Save(ctx, "f", 5))
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite {
			return vfs.ErrNoSpace
		}
		return nil
	})
	require.ErrorIs(t, l.Save(ctx, "f", 6), vfs.ErrNoSpace)
	require.ErrorIs(t, l.Save(ctx, "f", 6), vfs.ErrNoSpace, "it was not taken for saved")
	sim.SetHook(nil)
	require.NoError(t, l.Save(ctx, "f", 6))
	after, err := openFenceLog("fences", small(sim.Crash(1)))
	require.NoError(t, err)
	_, got, _ := after.Load()
	require.Equal(t, uint64(6), got["f"])
	require.NoError(t, after.Close())
	require.NoError(t, l.Close())
}

func TestFenceLogCorrupt(t *testing.T) {
	for name, c := range map[string]struct {
		records []string
		want    error
	}{
		"short":         {[]string{"\x03"}, ErrCorrupt},
		"no version":    {[]string{string(record(recordRaise, 1, "a"))}, ErrCorrupt},
		"other version": {[]string{string(record(recordVersion, 2, ""))}, ErrVersion},
		"unknown kind":  {[]string{string(record(recordVersion, 1, "")), string(record(9, 1, "a"))}, ErrCorrupt},
		"empty name":    {[]string{string(record(recordVersion, 1, "")), string(record(recordRaise, 1, ""))}, ErrCorrupt},
	} {
		sim := vfs.NewSim()
		w, err := wal.Open("fences", &wal.Options{FS: sim})
		require.NoError(t, err)
		for _, r := range c.records {
			_, _, err = w.Append([]byte(r))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		_, err = openFenceLog("fences", small(sim))
		require.ErrorIs(t, err, c.want, name)
	}
	sim := vfs.NewSim()
	l, err := openFenceLog("fences", small(sim))
	require.NoError(t, err)
	for i := range uint64(100) {
		require.NoError(t, l.Save(t.Context(), "f", 1+i))
	}
	require.NoError(t, l.Close())
	names, err := sim.List("fences")
	require.NoError(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, ".wal") {
			_ = sim.Flip(filepath.Join("fences", n), 1000, 3)
		}
	}
	_, err = openFenceLog("fences", small(sim))
	require.ErrorIs(t, err, ErrCorrupt, "a damaged log is not taken for an empty one")
}

// Many goroutines save at once, and share flushes.
func TestFenceLogConcurrent(t *testing.T) {
	l, err := OpenFenceLog(t.TempDir())
	require.NoError(t, err)
	l.above = 1 << 10
	g := newGuard(t, &GuardOptions{Store: l, MaxResources: 20})
	var wg sync.WaitGroup
	for w := range uint64(8) {
		wg.Go(func() {
			for i := range uint64(50) {
				if err := g.Check(context.Background(), fmt.Sprint("r", i%30), 100+10*i+w); err != nil && !errors.Is(err, ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	floor, got, err := l.Load()
	require.NoError(t, err)
	for r, token := range got {
		require.LessOrEqual(t, token, max(floor, g.Highest(r)))
	}
	require.NoError(t, l.Close())
}

// FuzzFenceRecord replays any bytes: an error, or what encodes to the same.
func FuzzFenceRecord(f *testing.F) {
	f.Add(record(recordRaise, 7, "invoices/42"))
	f.Add(record(recordFloor, 9, ""))
	f.Add(record(recordVersion, fenceVersion, ""))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &FenceLog{highest: map[string]uint64{}}
		err := l.replay(b, false)
		switch {
		case errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion):
			require.Empty(t, l.highest)
		case err != nil:
			t.Fatal(err)
		default:
			for r, token := range l.highest {
				require.Equal(t, b, record(recordRaise, token, r))
			}
		}
	})
}
