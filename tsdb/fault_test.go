package tsdb

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// open opens a DB whose test fails if it cannot.
func open(t testing.TB, opts *Options) *DB {
	t.Helper()
	db, err := Open("db", opts)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// fill appends n samples, one a second, to each of some series of a source and
// returns what a query must answer.
func fill(t testing.TB, db *DB, m *model, source string, series, n int, from int64) {
	t.Helper()
	var b Batch
	for i := range series {
		l := Pairs("id", fmt.Sprint(i))
		ref, err := db.Series(source, l)
		require.NoError(t, err)
		key, _ := l.appendKey(nil)
		for j := range n {
			ts, v := from+int64(j)*1000, float64(i*1000+j)/4
			b.Refs, b.T, b.V = append(b.Refs, ref), append(b.T, ts), append(b.V, v)
			m.put(seriesID{source, string(key)}, ts, v)
		}
	}
	_, err := db.Append(t.Context(), b)
	require.NoError(t, err)
}

// files lists the files in a directory with a suffix.
func files(t testing.TB, fsys vfs.FS, dir, suffix string) (out []string) {
	t.Helper()
	names, err := fsys.List(filepath.Join("db", dir))
	require.NoError(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, suffix) {
			out = append(out, filepath.Join("db", dir, n))
		}
	}
	return out
}

// TestPowerCut cuts the power at each call of a story, and looks whether all
// that was acknowledged is there afterwards, and nothing that never was.
func TestPowerCut(t *testing.T) {
	seeds, stride := 1, 5
	if full {
		seeds, stride = 4, 1
	}
	cuts := 0
	for seed := range uint64(seeds) {
		for cut := 1 + int(seed); ; cut += stride {
			sim := vfs.NewSim()
			sim.CutAt(cut)
			acked, maybe := powerStory(t, sim, seed)
			cuts++
			after := sim.Crash(seed*1000 + uint64(cut))
			opts := testOptions(after)
			opts.ChunkRange = time.Minute
			db, err := Open("db", opts)
			require.NoError(t, err, "seed %d, cut %d", seed, cut)
			require.False(t, db.report.Rebuilt)
			require.Empty(t, db.report.Damage, "seed %d, cut %d", seed, cut)
			got := read(t, db, All)
			for id, want := range acked.samples {
				have := map[int64]float64{}
				for i, ts := range got[id].t {
					have[ts] = got[id].v[i]
				}
				for ts, v := range want {
					g, ok := have[ts]
					other, changed := maybe.samples[id][ts]
					gone := math.IsNaN(other) // a delete that was not acknowledged
					require.True(t, ok && (g == v || changed && g == other) || changed && gone && !ok, "seed %d, cut %d: %v at %d = %v, want %v or %v", seed, cut, id, ts, g, v, other)
				}
			}
			for id, c := range got {
				for i, ts := range c.t {
					v, ok := acked.samples[id][ts]
					other, changed := maybe.samples[id][ts]
					require.True(t, ok && v == c.v[i] || changed && other == c.v[i], "seed %d, cut %d: %v at %d = %v was never appended, or deleted", seed, cut, id, ts, c.v[i])
				}
			}
			rep, err := db.Verify(t.Context())
			require.NoError(t, err)
			require.Empty(t, rep.Damage)
			// It must work on.
			fill(t, db, newModel(), "after", 1, 3, start+7200_000)
			require.NoError(t, db.Seal(t.Context()))
			require.NoError(t, db.Close())
			if sim.Ops() < cut {
				break
			}
		}
	}
	t.Logf("%d power cuts", cuts)
}

// powerStory appends, overwrites, deletes, seals and merges until the power
// fails. Maybe holds what the one call that failed may have done; NaN stands for
// a sample that it deletes.
func powerStory(t *testing.T, sim *vfs.Sim, seed uint64) (acked, maybe *model) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	acked, maybe = newModel(), newModel()
	opts := testOptions(sim)
	opts.ChunkRange = time.Minute
	opts.Rollups = []Rollup{{Step: 10 * time.Second}}
	db, err := Open("db", opts)
	if err != nil {
		return acked, maybe
	}
	defer db.Close()
	clock := int64(start)
	for range 30 {
		switch rnd.IntN(8) {
		default:
			var b Batch
			try := newModel()
			for range 40 {
				source, l := fmt.Sprint("s", rnd.IntN(2)), Pairs("id", fmt.Sprint(rnd.IntN(3)))
				ref, err := db.Series(source, l)
				if err != nil {
					return acked, maybe
				}
				key, _ := l.appendKey(nil)
				clock += rnd.Int64N(3000)
				ts := clock - rnd.Int64N(2)*rnd.Int64N(200_000)
				b.Refs, b.T, b.V = append(b.Refs, ref), append(b.T, ts), append(b.V, rnd.Float64())
				try.put(seriesID{source, string(key)}, ts, b.V[len(b.V)-1])
			}
			_, err := db.Append(t.Context(), b)
			if errors.Is(err, ErrNotFound) {
				panic("a series was forgotten between Series and Append")
			}
			if err != nil {
				return acked, try
			}
			for id, s := range try.samples {
				for ts, v := range s {
					acked.put(id, ts, v)
				}
			}
		case 0:
			r := Range{clock - rnd.Int64N(150_000), clock - rnd.Int64N(50_000)}
			if r.From >= r.To {
				continue
			}
			ms := []Matcher{Eq("id", fmt.Sprint(rnd.IntN(3)))}
			if err := db.Delete(t.Context(), r, ms...); err != nil {
				for id, c := range acked.query(r, ms) {
					for _, ts := range c.t {
						maybe.put(id, ts, math.NaN())
					}
				}
				return acked, maybe
			}
			acked.delete(r, ms)
		case 1:
			if db.Seal(t.Context()) != nil {
				return acked, maybe
			}
		}
	}
	return acked, maybe
}

func TestTornLogTail(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	m := newModel()
	fill(t, db, m, "s", 2, 100, start)
	sim = sim.Kill()
	log := files(t, sim, "wal", ".wal")[0]
	f, err := sim.Open(log)
	require.NoError(t, err)
	// What an unfinished write leaves: half a frame behind the end.
	db2 := open(t, testOptions(sim))
	end := 512 + int64(db2.log.End()-db2.log.Head())
	require.NoError(t, db2.Close())
	_ = end
	size, err := f.Size()
	require.NoError(t, err)
	buf := make([]byte, size)
	_, err = f.ReadAt(buf, 0)
	require.NoError(t, err)
	last := size
	for last > 0 && buf[last-1] == 0 {
		last--
	}
	_, err = f.WriteAt([]byte{9, 0, 0, 0, 1, 2, 3}, (last+7)&^7)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	db3 := open(t, testOptions(sim))
	require.True(t, db3.OpenReport().Torn)
	require.Empty(t, db3.OpenReport().Damage)
	sameColumns(t, m.query(All, nil), read(t, db3, All), "after a torn tail")
}

func TestDamagedLogRecord(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	m, lost := newModel(), newModel()
	fill(t, db, m, "s", 1, 100, start)
	pos := db.log.End()
	fill(t, db, lost, "s", 1, 100, start+200_000)
	fill(t, db, m, "s", 1, 100, start+400_000)
	fill(t, db, m, "s", 1, 100, start+600_000)
	head := db.log.Head()
	sim = sim.Kill()
	require.NoError(t, sim.Flip(files(t, sim, "wal", ".wal")[0], int64(512+pos-head)+40, 3))
	db = open(t, testOptions(sim))
	require.NotEmpty(t, db.OpenReport().Damage)
	require.ErrorIs(t, db.OpenReport().Damage[0], ErrCorrupt)
	sameColumns(t, m.query(All, nil), read(t, db, All), "records behind the damage are kept")
	// And writing goes on.
	fill(t, db, m, "s", 1, 100, start+800_000)
	sameColumns(t, m.query(All, nil), read(t, db, All), "after more")
}

func TestLostDefinitionIsReported(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	m, lost := newModel(), newModel()
	pos := db.log.End() // the series record of lost
	head := db.log.Head()
	fill(t, db, lost, "lost", 1, 10, start)
	fill(t, db, m, "kept", 1, 10, start)
	fill(t, db, lost, "lost", 1, 10, start+20_000)
	sim = sim.Kill()
	require.NoError(t, sim.Flip(files(t, sim, "wal", ".wal")[0], int64(512+pos-head)+18, 1))
	db = open(t, testOptions(sim))
	require.Equal(t, 2, db.OpenReport().LostRecords)
	sameColumns(t, m.query(All, nil), read(t, db, All), "others are kept")
}

// sealedSim has two sources with two chunks each.
func sealedSim(t *testing.T) (*vfs.Sim, *model) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	m := newModel()
	for _, source := range []string{"a", "b"} {
		fill(t, db, m, source, 300, 20, start)
		fill(t, db, m, source, 300, 20, start+600_000)
	}
	require.NoError(t, db.Seal(t.Context()))
	require.NoError(t, db.Close())
	return sim, m
}

// TestDamagedChunkBlock damages each block of a small chunk in turn.
func TestDamagedChunkBlock(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	m := newModel()
	fill(t, db, m, "a", 5, 30, start)
	fill(t, db, m, "b", 5, 30, start)
	require.NoError(t, db.Seal(t.Context()))
	c := db.byName["a"].chunks[0]
	c.hold()
	x, err := c.index()
	require.NoError(t, err)
	blocks, keys := x.blocks, x.keys
	c.release()
	require.NoError(t, db.Close())
	for i, b := range blocks {
		damaged := sim.Crash(0)
		require.NoError(t, damaged.Flip(c.path(), b.off+int64(b.size)/2, 5))
		db, err := Open("db", testOptions(damaged))
		require.NoError(t, err)
		errs, series := 0, 0
		for s, err := range db.Query(t.Context(), All) {
			require.NoError(t, err)
			n := 0
			for b, err := range s.Blocks() {
				if err != nil {
					var ce *CorruptError
					require.ErrorAs(t, err, &ce)
					require.ErrorIs(t, err, ErrCorrupt)
					require.Equal(t, "a", ce.Source)
					require.Equal(t, keyLabels(keys[i]), ce.Labels)
					require.Equal(t, Range{b0(x, i).minT, b0(x, i).maxT + 1}, ce.Range)
					errs++
					continue
				}
				n += len(b.T)
			}
			if n == 30 {
				series++
			}
		}
		require.Equal(t, 1, errs)
		require.Equal(t, 9, series, "damage to one block hides no other")
		for a, err := range db.Aggregate(t.Context(), All, time.Second) {
			require.NoError(t, err)
			require.Equal(t, a.Source == "a" && a.key == keys[i], a.Err != nil)
		}
		rep, err := db.Verify(t.Context())
		require.NoError(t, err)
		require.Len(t, rep.Damage, 1)
		require.NoError(t, db.Close())
	}
}

func b0(x *chunkIndex, i int) *blockMeta { return &x.blocks[i] }

// TestDamagedChunkAnywhere flips bits all over a chunk file: the answer is right
// or there is an error, and the other source is untouched.
func TestDamagedChunkAnywhere(t *testing.T) {
	sim, m := sealedSim(t)
	rnd := rand.New(rand.NewPCG(8, 8))
	names := files(t, sim, "chunks", ".chk")
	require.Len(t, names, 4)
	rounds := 100
	if full {
		rounds = 3000
	}
	want := m.query(All, nil)
	wantB := m.query(All, []Matcher{Eq(SourceLabel, "b")})
	for round := range rounds {
		damaged := sim.Crash(0)
		size, err := sim.Stat(names[0])
		require.NoError(t, err)
		off := rnd.Int64N(size)
		if round%4 == 0 {
			off = size - 1 - rnd.Int64N(64) // footer and the second copy
		} else if round%4 == 1 {
			off = rnd.Int64N(32)
		}
		require.NoError(t, damaged.Flip(names[0], off, rnd.IntN(8)))
		db, err := Open("db", testOptions(damaged))
		require.NoError(t, err)
		errs := 0
		for s, err := range db.Query(t.Context(), All) {
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
				errs++
				continue
			}
			w := want[seriesID{s.Source, s.key}]
			n := 0
			for b, err := range s.Blocks() {
				if err != nil {
					require.ErrorIs(t, err, ErrCorrupt)
					errs++
					continue
				}
				for i := range b.T {
					j, _ := find(w.t, b.T[i])
					require.Equal(t, w.v[j], b.V[i])
				}
				n += len(b.T)
			}
			require.True(t, n == len(w.t) || errs > 0 || s.Source == "a", "missing samples need an error")
		}
		if round%4 < 2 {
			require.Zero(t, errs, "pointers exist twice: off %d of %d", off, size)
		}
		sameColumns(t, wantB, read(t, db, All, Eq(SourceLabel, "b")), "the other source")
		if errs > 0 {
			rep, err := db.Verify(t.Context())
			require.NoError(t, err)
			require.NotEmpty(t, rep.Damage)
		}
		require.NoError(t, db.Close())
	}
}

func find(t []int64, x int64) (int, bool) {
	for i := range t {
		if t[i] == x {
			return i, true
		}
	}
	return 0, false
}

func TestManifestDamage(t *testing.T) {
	sim, m := sealedSim(t)
	want := m.query(All, nil)
	for _, kill := range [][]int{{0}, {1}, {0, 1}} {
		damaged := sim.Crash(0)
		for _, i := range kill {
			require.NoError(t, damaged.Flip(manifestName("db", i), 20, 1))
		}
		db, err := Open("db", testOptions(damaged))
		require.NoError(t, err)
		require.Equal(t, len(kill) == 2, db.OpenReport().Rebuilt)
		require.Len(t, db.OpenReport().Damage, len(kill))
		sameColumns(t, want, read(t, db, All), kill)
		require.NoError(t, db.Close())
		db, err = Open("db", testOptions(damaged))
		require.NoError(t, err)
		sameColumns(t, want, read(t, db, All), kill)
		require.NoError(t, db.Seal(t.Context()))
		require.NoError(t, db.Close())
	}
	missing := sim.Crash(0)
	require.NoError(t, missing.Remove(manifestName("db", 0)))
	require.NoError(t, missing.Remove(manifestName("db", 1)))
	db := open(t, testOptions(missing))
	sameColumns(t, want, read(t, db, All), "no manifest")
}

func TestFutureVersionIsRefusedUntouched(t *testing.T) {
	sim, _ := sealedSim(t)
	f, err := sim.Open(manifestName("db", 1))
	require.NoError(t, err)
	m := (&manifest{seq: 1 << 40, nextChunk: 1, nextTomb: 1}).encode()
	m[8] = 2
	m = m[:len(m)-4]
	sum := crc(m)
	m = append(m, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
	require.NoError(t, f.Truncate(0))
	_, err = f.WriteAt(m, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	before := sim.String()
	_, err = Open("db", testOptions(sim))
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, before, sim.String())
}

func TestMissingChunkIsAnError(t *testing.T) {
	sim, m := sealedSim(t)
	require.NoError(t, sim.Remove(files(t, sim, "chunks", ".chk")[0]))
	db := open(t, testOptions(sim))
	require.Len(t, db.OpenReport().Damage, 1)
	errs := 0
	for _, err := range db.Query(t.Context(), All) {
		if err != nil {
			var ce *CorruptError
			require.ErrorAs(t, err, &ce)
			require.Equal(t, Range{start, start + 600_000}, ce.Range)
			errs++
		}
	}
	require.Equal(t, 1, errs)
	r := Range{start + 600_000, start + 1_200_000}
	sameColumns(t, m.query(r, nil), read(t, db, r), "the other range")
}

func TestDiskFull(t *testing.T) {
	sim := vfs.NewSim()
	opts := testOptions(sim)
	db := open(t, opts)
	m := newModel()
	fill(t, db, m, "s", 20, 50, start)
	isFull := false
	sim.SetHook(func(op vfs.Op) error {
		if isFull && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate) {
			return fmt.Errorf("%w: %w", vfs.ErrNoSpace, syscall.ENOSPC)
		}
		return nil
	})
	isFull = true
	ref, err := db.Series("s", Pairs("id", "0"))
	require.NoError(t, err)
	_, err = db.Append(t.Context(), Batch{[]Ref{ref}, []int64{start + 500_000}, []float64{1}})
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, db.Seal(t.Context()), ErrNoSpace)
	require.ErrorIs(t, db.Delete(t.Context(), All, Eq("id", "1")), ErrNoSpace)
	sameColumns(t, m.query(All, nil), read(t, db, All), "reads work, nothing is lost")
	require.Empty(t, files(t, sim, "chunks", ".chk"), "no half chunk is published")
	isFull = false
	fill(t, db, m, "s", 20, 50, start+100_000)
	require.NoError(t, db.Seal(t.Context()))
	sameColumns(t, m.query(All, nil), read(t, db, All), "it recovers when there is room")
	db2 := open(t, testOptions(sim.Kill()))
	sameColumns(t, m.query(All, nil), read(t, db2, All), "also after a kill")
}

// TestFullDiskExpires needs the reserve: a manifest must be written to unlink.
func TestFullDiskExpires(t *testing.T) {
	sim := vfs.NewSim()
	now := at(start + 1000_000)
	opts := testOptions(sim)
	opts.Now = func() time.Time { return now }
	opts.Retention = time.Hour
	db := open(t, opts)
	m := newModel()
	fill(t, db, m, "s", 20, 50, start)
	require.NoError(t, db.Seal(t.Context()))
	require.Len(t, files(t, sim, "chunks", ".chk"), 1)
	isFull, freed := true, false
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpRemove && strings.HasSuffix(op.Name, "RESERVE") {
			freed = true
		}
		if isFull && !freed && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate) {
			return fmt.Errorf("%w: %w", vfs.ErrNoSpace, syscall.ENOSPC)
		}
		return nil
	})
	now = at(start + 3*3600_000)
	require.NoError(t, db.Maintain(t.Context()))
	require.True(t, freed)
	require.Empty(t, files(t, sim, "chunks", ".chk"))
	isFull = false
	require.NoError(t, db.Maintain(t.Context()))
	require.True(t, db.reserve, "it is made again")
}

func TestFailedSyncEndsWriting(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	m := newModel()
	fill(t, db, m, "s", 2, 50, start)
	broken := errors.New("broken disk")
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpDatasync && strings.HasSuffix(op.Name, ".wal") {
			return broken
		}
		return nil
	})
	ref, err := db.Series("s", Pairs("id", "0"))
	require.NoError(t, err)
	b := Batch{[]Ref{ref}, []int64{start + 500_000}, []float64{1}}
	_, err = db.Append(t.Context(), b)
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, err, broken)
	sim.SetHook(nil)
	_, err = db.Append(t.Context(), b)
	require.ErrorIs(t, err, ErrFailed, "a sync that succeeds later proves nothing")
	require.Len(t, read(t, db, All), 2)
	require.Error(t, db.Close())
	db = open(t, testOptions(sim.Crash(1)))
	got := read(t, db, Range{start, start + 400_000})
	sameColumns(t, m.query(All, nil), got, "what was acknowledged")
}

func TestOpenTwice(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	_, err := Open("db", testOptions(sim))
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, db.Close())
	require.NoError(t, db.Close())
	open(t, testOptions(sim))
}

func TestClosed(t *testing.T) {
	db := open(t, testOptions(vfs.NewSim()))
	require.NoError(t, db.Close())
	_, err := db.Series("s", nil)
	require.ErrorIs(t, err, ErrClosed)
	_, err = db.Append(t.Context(), Batch{})
	require.ErrorIs(t, err, ErrClosed)
	_, err = db.AppendLogs(t.Context(), nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, db.Delete(t.Context(), All, Eq("a", "b")), ErrClosed)
	require.ErrorIs(t, db.Seal(t.Context()), ErrClosed)
	_, err = db.Verify(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	for _, err := range db.Query(t.Context(), All) {
		require.ErrorIs(t, err, ErrClosed)
	}
}

func TestDuplicatesAndOrder(t *testing.T) {
	db := open(t, testOptions(vfs.NewSim()))
	ref, err := db.Series("s", Pairs("id", "0"))
	require.NoError(t, err)
	one := func(ts int64, v float64) Result {
		res, err := db.Append(t.Context(), Batch{[]Ref{ref}, []int64{ts}, []float64{v}})
		require.NoError(t, err)
		return res
	}
	one(start+1000, 1)
	one(start+3000, 3)
	require.Equal(t, 1, one(start+1000, 10).Duplicates)
	require.Equal(t, 0, one(start+2000, 2).Duplicates)
	require.NoError(t, db.Seal(t.Context()))
	one(start+2000, 20) // a sample in a chunk
	got := read(t, db, All)
	require.Len(t, got, 1)
	for _, c := range got {
		require.Equal(t, column{[]int64{start + 1000, start + 2000, start + 3000}, []float64{10, 20, 3}}, c)
	}
	one(start+3600_000*2, 0) // so that the range is finished
	require.NoError(t, db.Seal(t.Context()))
	require.Equal(t, uint64(2), db.Stats().Duplicates, "the second was found by merging")
	require.Equal(t, 2, db.Stats().Chunks)
}

func TestTooOldAndFuture(t *testing.T) {
	opts := testOptions(vfs.NewSim())
	now := at(start)
	opts.Now = func() time.Time { return now }
	opts.Retention = time.Hour
	db := open(t, opts)
	ref, err := db.Series("s", Pairs("id", "0"))
	require.NoError(t, err)
	future := time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	b := Batch{
		[]Ref{ref, ref, ref, ref, 1 << 40, ref},
		[]int64{start - 3600_000 - 1, start - 3600_000, future, start + 3600_000, start, math.MaxInt64},
		[]float64{1, 2, 3, 4, 5, 6},
	}
	res, err := db.Append(t.Context(), b)
	require.ErrorIs(t, err, ErrTooOld)
	require.ErrorIs(t, err, ErrFuture)
	require.ErrorIs(t, err, ErrNotFound)
	require.Equal(t, Result{Accepted: 2, TooOld: 1, Future: 2, Unknown: 1}, res)
	// Now the newest sample is an hour ahead; no more than that has expired.
	require.NoError(t, db.Seal(t.Context()))
	require.Len(t, read(t, db, Range{start, start + 7200_000}), 1)
	// The clock steps back: what is kept does not change.
	now = at(start - 30*24*3600_000)
	_, err = db.Append(t.Context(), Batch{[]Ref{ref}, []int64{start - 1}, []float64{1}})
	require.ErrorIs(t, err, ErrTooOld)
}

func TestRetentionAndRollups(t *testing.T) {
	sim := vfs.NewSim()
	now := at(start + 1200_000)
	opts := testOptions(sim)
	opts.Now = func() time.Time { return now }
	opts.Retention = 2 * time.Hour
	opts.Rollups = []Rollup{{Step: time.Minute, Keep: 48 * time.Hour}, {Step: 5 * time.Minute}}
	db := open(t, opts)
	m := newModel()
	fill(t, db, m, "s", 3, 600, start)
	fill(t, db, m, "s", 3, 600, start+600_000)
	r := Range{start, start + 1200_000}
	for range 2 {
		checkAggregate(t, db, m, r, 10*time.Minute, nil)
		require.NoError(t, db.Seal(t.Context()))
		now = at(start + 1200_000 + 3600_000)
	}
	fill(t, db, newModel(), "other", 1, 1, start+3600_000)
	now = at(start + 20*3600_000)
	require.NoError(t, db.Seal(t.Context()))
	require.Empty(t, read(t, db, All), "samples have expired")
	checkAggregate(t, db, m, r, time.Minute, []Matcher{Eq(SourceLabel, "s")})
	checkAggregate(t, db, m, r, 10*time.Minute, []Matcher{Eq("id", "1")})
	now = at(start + 50*3600_000)
	require.NoError(t, db.Maintain(t.Context()))
	checkAggregate(t, db, m, r, 5*time.Minute, []Matcher{Eq(SourceLabel, "s")})
	require.NoError(t, db.Delete(t.Context(), Range{start, start + 600_000}, Eq("id", "1")))
	m.delete(Range{start, start + 600_000}, []Matcher{Eq("id", "1")})
	checkAggregate(t, db, m, r, 5*time.Minute, []Matcher{Eq(SourceLabel, "s")})
}

func TestInvalidArguments(t *testing.T) {
	db := open(t, testOptions(vfs.NewSim()))
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		source string
		l      Labels
		want   error
	}{
		{"s", Pairs("", "x"), ErrInvalid},
		{"s", Pairs("a", "1", "a", "2"), ErrInvalid},
		{"s", Pairs("a", "\xff"), ErrInvalid},
		{"\xff", Pairs("a", "b"), ErrInvalid},
		{"s", Pairs(SourceLabel, "b"), ErrInvalid},
		{"s", Pairs("a", long), ErrTooLarge},
		{long, Pairs("a", "b"), ErrTooLarge},
	} {
		_, err := db.Series(c.source, c.l)
		require.ErrorIs(t, err, c.want, "%.20s %.40s", c.source, c.l)
	}
	a, err := db.Series("s", Pairs("b", "2", "a", "1", "empty", ""))
	require.NoError(t, err)
	b, err := db.Series("s", Pairs("a", "1", "b", "2"))
	require.NoError(t, err)
	require.Equal(t, a, b)
	_, err = db.Append(t.Context(), Batch{Refs: []Ref{a}})
	require.ErrorIs(t, err, ErrInvalid)
	for _, r := range []Range{{5, 5}, {6, 5}} {
		for _, err := range db.Query(t.Context(), r) {
			require.ErrorIs(t, err, ErrInvalid)
		}
		require.ErrorIs(t, db.Delete(t.Context(), r, Eq("a", "b")), ErrInvalid)
	}
	require.ErrorIs(t, db.Delete(t.Context(), All), ErrInvalid)
	for _, o := range []Options{{Sync: 7}, {ChunkRange: 1}, {Retention: -1}, {Rollups: []Rollup{{Step: 7 * time.Hour}}}, {ArchivePrefix: "x"}} {
		_, err := Open("other", &o)
		require.ErrorIs(t, err, ErrInvalid, "%+v", o)
	}
}

func TestLabelExplosion(t *testing.T) {
	opts := testOptions(vfs.NewSim())
	opts.MaxSeries, opts.MaxSeriesPerSource = 150, 100
	db := open(t, opts)
	refused := 0
	for i := range 500 {
		if _, err := db.Series("app", Pairs("job", "x", "user", fmt.Sprint(i))); err != nil {
			require.ErrorIs(t, err, ErrTooManySeries)
			refused++
		}
	}
	require.Equal(t, 400, refused)
	_, err := db.Series("app", Pairs("job", "x", "user", "7"))
	require.NoError(t, err, "those that exist are not affected")
	top := db.TopLabels(1)
	require.Equal(t, TopLabel{"user", 100, 100, "0", 1}, top[0])
}

// TestIdleSeriesAreForgotten also shows that the limit counts active series.
func TestIdleSeriesAreForgotten(t *testing.T) {
	opts := testOptions(vfs.NewSim())
	opts.MaxSeries = 10
	now := opts.Now()
	opts.Now = func() time.Time { return now }
	db := open(t, opts)
	m := newModel()
	fill(t, db, m, "old", 10, 5, start)
	_, err := db.Series("new", nil)
	require.ErrorIs(t, err, ErrTooManySeries)
	ref, err := db.Series("old", Pairs("id", "0"))
	require.NoError(t, err)
	for i := range 3 {
		_, err := db.Append(t.Context(), Batch{[]Ref{ref}, []int64{start + 10_000 + int64(i)}, []float64{1}})
		require.NoError(t, err)
		require.NoError(t, db.Seal(t.Context()))
		require.Equal(t, 10, db.Stats().Series, "sealing alone forgets nobody")
	}
	now = now.Add(opts.ChunkRange)
	_, err = db.Append(t.Context(), Batch{[]Ref{ref}, []int64{start + 15_000}, []float64{1}})
	require.NoError(t, err)
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, 1, db.Stats().Series)
	require.Len(t, read(t, db, All), 10, "their samples stay")
	fill(t, db, m, "old", 10, 5, start+20_000)
	require.Len(t, read(t, db, All), 10)
}

func TestHeadBudget(t *testing.T) {
	opts := testOptions(vfs.NewSim())
	opts.HeadBytes = 64 << 10
	db := open(t, opts)
	m := newModel()
	peak := int64(0)
	for i := range 40 {
		fill(t, db, m, fmt.Sprint("s", i%4), 20, 50, start+int64(i)*50_000)
		peak = max(peak, db.Stats().HeadBytes)
	}
	require.LessOrEqual(t, peak, 3*opts.HeadBytes)
	require.NotZero(t, db.Stats().Seals)
	sameColumns(t, m.query(All, nil), read(t, db, All), "all")
	require.NoError(t, db.Seal(t.Context()))
	sameColumns(t, m.query(All, nil), read(t, db, All), "merged")
	require.Less(t, db.Stats().LogSize, int64(4<<10), "the log is cut")
}

func crc(b []byte) uint32 { return frame.Checksum(b) }

// TestMarksOutliveNoRecords: what a power cut took from the log must not be
// marked as sealed, since its positions are used again.
func TestMarksOutliveNoRecords(t *testing.T) {
	for seed := range uint64(20) {
		sim := vfs.NewSim()
		opts := testOptions(sim)
		opts.Sync = SyncNone
		db := open(t, opts)
		m := newModel()
		fill(t, db, m, "s", 3, 50, start)
		require.NoError(t, db.Seal(t.Context()))
		sim = sim.Crash(seed)
		opts = testOptions(sim)
		db = open(t, opts)
		fill(t, db, m, "s", 3, 50, start+60_000)
		db = open(t, testOptions(sim.Kill()))
		sameColumns(t, m.query(All, nil), read(t, db, All), seed)
	}
}

// TestRebuiltKeepsWhatCameAfterDelete loses the manifest after a delete and a
// new sample in its range.
func TestRebuiltKeepsWhatCameAfterDelete(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	fill(t, db, newModel(), "s", 1, 10, start)
	require.NoError(t, db.Delete(t.Context(), All, Eq("id", "0")))
	m := newModel()
	fill(t, db, m, "s", 1, 10, start+5000)
	require.NoError(t, db.Seal(t.Context()))
	sim = sim.Kill()
	for i := range 2 {
		require.NoError(t, sim.Flip(manifestName("db", i), 20, 1))
	}
	db = open(t, testOptions(sim))
	require.True(t, db.OpenReport().Rebuilt)
	got := read(t, db, Range{start + 5000, start + 60_000})
	sameColumns(t, m.query(All, nil), got, "what came after the delete")
}
