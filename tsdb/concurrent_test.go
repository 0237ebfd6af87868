package tsdb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// TestConcurrent appends, queries, sums up, deletes and seals at the same time.
func TestConcurrent(t *testing.T) {
	opts := testOptions(vfs.NewSim())
	opts.Manual = false
	opts.HeadBytes = 64 << 10
	opts.IndexBytes = 1 // so that indexes come and go
	opts.Rollups = []Rollup{{Step: time.Minute}}
	db := open(t, opts)
	const writers, batches, series = 4, 60, 10
	var acked [writers]atomic.Int64
	var wg, readers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for w := range writers {
		wg.Go(func() {
			for i := range batches {
				var b Batch
				for s := range series {
					ref, err := db.Series(fmt.Sprint("w", w), Pairs("id", fmt.Sprint(s)))
					if err != nil {
						t.Error(err)
						return
					}
					for j := range 20 {
						b.Refs, b.T, b.V = append(b.Refs, ref), append(b.T, start+int64(i*20+j)*1000), append(b.V, float64(i*20+j))
					}
				}
				if _, err := db.Append(t.Context(), b); err != nil {
					t.Error(err)
					return
				}
				acked[w].Store(int64(i + 1))
			}
		})
	}
	for r := range 3 {
		readers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w := n % writers
				least := int(acked[w].Load()) * 20
				have := 0
				for s, err := range db.Query(ctx, All, Eq(SourceLabel, fmt.Sprint("w", w)), Eq("id", fmt.Sprint(n%series))) {
					if err != nil {
						break
					}
					for b, err := range s.Blocks() {
						if err != nil {
							if ctx.Err() == nil {
								t.Error(err)
							}
							continue
						}
						for i := range b.T {
							if b.V[i] != float64((b.T[i]-start)/1000) {
								t.Errorf("%v at %d", b.V[i], b.T[i])
							}
						}
						have += len(b.T)
					}
				}
				if have < least && ctx.Err() == nil {
					t.Errorf("%d samples, %d were acknowledged before", have, least)
				}
				if r == 0 {
					for _, err := range db.Aggregate(ctx, All, time.Minute, Re("id", "[0-3]")) {
						if err != nil && ctx.Err() == nil {
							t.Error(err)
						}
					}
					db.Stats()
					db.TopLabels(3)
				}
			}
		})
	}
	readers.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			var err error
			switch n % 3 {
			case 0:
				err = db.Seal(ctx)
			case 1:
				err = db.Delete(ctx, Range{start - 1000, start}, Eq("id", "3"))
			default:
				_, err = db.Verify(ctx)
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	stop()
	readers.Wait()
	require.NoError(t, db.Seal(t.Context()))
	n := 0
	for _, c := range read(t, db, All) {
		n += len(c.t)
	}
	require.Equal(t, writers*batches*series*20, n)
}

// TestSyncInterval waits until the log is synced by itself.
func TestSyncInterval(t *testing.T) {
	opts := testOptions(vfs.NewSim())
	opts.Sync, opts.SyncEvery = SyncInterval, time.Millisecond
	db := open(t, opts)
	m := newModel()
	fill(t, db, m, "s", 2, 10, start)
	require.Eventually(t, func() bool { return db.log.Durable() == db.log.End() }, 10*time.Second, time.Millisecond)
	after := open(t, testOptions(opts.fs.(*vfs.Sim).Crash(0)))
	sameColumns(t, m.query(All, nil), read(t, after, All), "after a power cut")
}

// TestLargeBatches appends batches that several cores share, late and repeated
// samples among them, and reads them back from heads, from the log and sealed.
func TestLargeBatches(t *testing.T) {
	sim := vfs.NewSim()
	opts := testOptions(sim)
	opts.ChunkRange = 2 * time.Hour
	db := open(t, opts)
	m := newModel()
	rnd := rand.New(rand.NewPCG(21, 4))
	const series = 50
	var refs [2 * series]Ref
	var ids [2 * series]seriesID
	for i := range refs {
		source, l := fmt.Sprint("s", i%2), Pairs("id", fmt.Sprint(i))
		var err error
		refs[i], err = db.Series(source, l)
		require.NoError(t, err)
		key, err := l.appendKey(nil)
		require.NoError(t, err)
		ids[i] = seriesID{source, string(key)}
	}
	duplicates := uint64(0)
	for step := range 12 {
		var b Batch
		for range 3 * shareSamples {
			i := rnd.IntN(len(refs))
			ts := start + int64(step)*600_000 + rnd.Int64N(600_000)
			if rnd.IntN(5) == 0 {
				ts -= rnd.Int64N(3_600_000)
			}
			ts -= ts % 250
			v := float64(rnd.IntN(100)) / 4
			if _, ok := m.samples[ids[i]][ts]; ok {
				duplicates++
			}
			b.Refs, b.T, b.V = append(b.Refs, refs[i]), append(b.T, ts), append(b.V, v)
			m.put(ids[i], ts, v)
		}
		_, err := db.Append(t.Context(), b)
		require.NoError(t, err)
	}
	sameColumns(t, m.query(All, nil), read(t, db, All), "in heads")
	opts.fs = sim.Kill()
	again := open(t, opts)
	sameColumns(t, m.query(All, nil), read(t, again, All), "from the log")
	require.NoError(t, again.Seal(t.Context()))
	sameColumns(t, m.query(All, nil), read(t, again, All), "sealed")
	require.Equal(t, duplicates, again.Stats().Duplicates)
}
