// Package tsdb_test compares package tsdb with Prometheus' tsdb as a library:
//
//	cd bench/tsdb && GOWORK=off go test -bench Vs .
//
// Both get the same generated series: a quarter constant, a third counters, a
// third gauges of two decimals, a tenth noise with all digits; six labels each.
// The NAB series are read from the archive that ASHLAR_NAB names, or from the
// slice in tsdb/testdata.
package tsdb_test

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	promdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/tsdb"
)

var ctx = context.Background()

const (
	t0   = 1_767_225_600_000 // 2026-01-01
	step = 15_000
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// rows holds generated values: rows[i][s] is series s at step i. They are those
// of the measurements that our goals stand on.
func rows(series, steps int) [][]float64 {
	state := make([]float64, series)
	rnd := make([]*rand.Rand, series)
	for s := range state {
		rnd[s] = rand.New(rand.NewPCG(7, uint64(s)))
		switch k := s % 20; {
		case k < 5:
			state[s] = float64(s % 7)
		case k >= 12:
			state[s] = 20 + float64(s%60)
		}
	}
	out := make([][]float64, steps)
	for i := range out {
		row := make([]float64, series)
		for s := range row {
			switch k := s % 20; {
			case k < 5: // constant
				row[s] = state[s]
			case k < 12: // counter
				state[s] += math.Round(float64(1+s%300) * (0.5 + rnd[s].Float64()))
				row[s] = state[s]
			case k < 18: // gauge
				state[s] += rnd[s].NormFloat64() * 0.4
				row[s] = math.Round(state[s]*100) / 100
			default:
				row[s] = 100 + rnd[s].NormFloat64()*10
			}
		}
		out[i] = row
	}
	return out
}

func labelPairs(i int) []string {
	return []string{
		"__name__", "metric_" + strconv.Itoa(i%50), "instance", "host-" + strconv.Itoa(i/50%1000) + ":9100",
		"job", "node", "path", "/api/v1/p" + strconv.Itoa(i%97), "region", "r" + strconv.Itoa(i%5), "id", strconv.Itoa(i),
	}
}

// A side is a database under test with its series.
type ours struct {
	db    *tsdb.DB
	dir   string
	batch tsdb.Batch
	at    int // the next step
}

func openOurs(b *testing.B, series int, o tsdb.Options) *ours {
	x := &ours{dir: b.TempDir()}
	o.Now = func() time.Time { return time.UnixMilli(t0).AddDate(2, 0, 0) }
	if o.HeadBytes == 0 {
		o.HeadBytes = 4 << 30 // as Prometheus, which has no budget
		o.LogBytes = 16 << 30
	}
	var err error
	x.db, err = tsdb.Open(x.dir, &o)
	must(err)
	b.Cleanup(func() { x.db.Close() })
	x.batch = tsdb.Batch{Refs: make([]tsdb.Ref, series), T: make([]int64, series), V: make([]float64, series)}
	for i := range series {
		x.batch.Refs[i], err = x.db.Series("bench", tsdb.Pairs(labelPairs(i)...))
		must(err)
	}
	return x
}

// append adds one sample to each series.
func (x *ours) append(row []float64) {
	for i := range x.batch.T {
		x.batch.T[i] = t0 + int64(x.at)*step
	}
	x.batch.V = row
	_, err := x.db.Append(ctx, x.batch)
	must(err)
	x.at++
}

type prom struct {
	db   *promdb.DB
	dir  string
	ls   []labels.Labels
	refs []storage.SeriesRef
	at   int
}

func openProm(dir string, long bool) *promdb.DB {
	o := promdb.DefaultOptions()
	o.RetentionDuration = 0
	if long {
		o.MinBlockDuration = 20 * 365 * 24 * 3600_000
		o.MaxBlockDuration = o.MinBlockDuration
	}
	return openPromWith(dir, o)
}

func openPromWith(dir string, o *promdb.Options) *promdb.DB {
	db, err := promdb.Open(dir, slog.New(slog.DiscardHandler), nil, o, nil)
	must(err)
	db.DisableCompactions()
	return db
}

func newProm(b *testing.B, series int, long bool) *prom {
	x := &prom{dir: b.TempDir()}
	x.db = openProm(x.dir, long)
	b.Cleanup(func() { x.db.Close() })
	x.refs = make([]storage.SeriesRef, series)
	for i := range series {
		x.ls = append(x.ls, labels.FromStrings(labelPairs(i)...))
	}
	return x
}

func (x *prom) append(row []float64) {
	a := x.db.AppenderV2(ctx)
	for i, v := range row {
		ref, err := a.Append(x.refs[i], x.ls[i], 0, t0+int64(x.at)*step, v, nil, nil, storage.AOptions{})
		must(err)
		x.refs[i] = ref
	}
	must(a.Commit())
	x.at++
}

func (x *ours) scan(ms ...tsdb.Matcher) (n int) {
	sum := 0.0
	for s, err := range x.db.Query(ctx, tsdb.All, ms...) {
		must(err)
		for b, err := range s.Blocks() {
			must(err)
			n += len(b.V)
			v := b.V
			var four [4]float64 // slices let the caller add side by side
			for ; len(v) >= 4; v = v[4:] {
				four[0] += v[0]
				four[1] += v[1]
				four[2] += v[2]
				four[3] += v[3]
			}
			sum += four[0] + four[1] + four[2] + four[3]
			for _, v := range v {
				sum += v
			}
		}
	}
	sink = sum
	return n
}

func (x *prom) scan(ms ...*labels.Matcher) (n int) {
	q, err := x.db.Querier(0, 1<<60)
	must(err)
	defer q.Close()
	ss := q.Select(ctx, false, nil, ms...)
	var it chunkenc.Iterator
	sum := 0.0
	for ss.Next() {
		it = ss.At().Iterator(it)
		for it.Next() == chunkenc.ValFloat {
			_, v := it.At()
			sum += v
			n++
		}
	}
	must(ss.Err())
	sink = sum
	return n
}

var sink float64

func BenchmarkVs(b *testing.B) {
	b.Run("append/prometheus", func(b *testing.B) { benchAppend(b, tsdb.SyncNone, 2.5) })
	// Prometheus does not sync a commit; ours does, and is compared all the same.
	b.Run("durable/prometheus-unsynced", func(b *testing.B) { benchAppend(b, tsdb.SyncGroup, 0) })
	b.Run("late/ashlar-in-order", benchLate)
	b.Run("scan/prometheus", benchScan)
	b.Run("regexp/prometheus", benchRegexp)
	b.Run("reopen/prometheus", benchReopen)
	b.Run("heap/prometheus", benchHeap)
	b.Run("mix-size/prometheus", benchMixSize)
	if name := os.Getenv("ASHLAR_NAB"); name != "" {
		b.Run("nab-size/prometheus", func(b *testing.B) { benchNAB(b, name) })
	} else {
		b.Run("nab-slice-size/prometheus", func(b *testing.B) { benchNAB(b, "../../tsdb/testdata/nab/slice.tar.gz") })
	}
}

const small = 10_000

// cycle is the number of steps in a round of appending: both sides finish blocks
// again and again (of 120 and 256 samples), and a round should hold their share.
const cycle = 256

func benchAppend(b *testing.B, level tsdb.Durability, goal float64) {
	values := rows(small, 64)
	x, y := openOurs(b, small, tsdb.Options{Sync: level}), newProm(b, small, true)
	x.append(values[0]) // both know their series
	y.append(values[0])
	versus.Run(b, versus.Case{
		N: cycle,
		Ours: func(r *versus.Round) {
			begin := time.Now()
			for range r.N {
				x.append(values[x.at%64])
			}
			r.Metric(float64(r.N*small)/time.Since(begin).Seconds(), "samples/s")
		},
		Theirs: func(r *versus.Round) {
			begin := time.Now()
			for range r.N {
				y.append(values[y.at%64])
			}
			r.Metric(float64(r.N*small)/time.Since(begin).Seconds(), "samples/s")
		},
		Goal: goal,
	})
}

// benchLate appends the same samples twice: in order, and with a tenth of them up
// to an hour late. Nothing may be lost.
func benchLate(b *testing.B) {
	const hour = 3600_000 / step
	values := rows(small, 64)
	x, y := openOurs(b, small, tsdb.Options{Sync: tsdb.SyncNone}), openOurs(b, small, tsdb.Options{Sync: tsdb.SyncNone})
	refs := x.batch.Refs
	rnd := rand.New(rand.NewPCG(1, 2))
	var delayed [hour + 1]tsdb.Batch // a ring: what comes at a step, besides its own
	accepted := 0
	put := func(to *tsdb.Batch, s, at int) {
		to.Refs, to.T, to.V = append(to.Refs, refs[s]), append(to.T, t0+int64(at)*step), append(to.V, values[at%64][s])
	}
	late := func(r *versus.Round) {
		r.Stop()
		now := &x.batch
		now.Refs, now.T, now.V = now.Refs[:0], now.T[:0], now.V[:0]
		for s := range small {
			if rnd.IntN(10) == 0 {
				put(&delayed[(x.at+1+rnd.IntN(hour))%len(delayed)], s, x.at)
			} else {
				put(now, s, x.at)
			}
		}
		due := &delayed[x.at%len(delayed)]
		now.Refs, now.T, now.V = append(now.Refs, due.Refs...), append(now.T, due.T...), append(now.V, due.V...)
		due.Refs, due.T, due.V = due.Refs[:0], due.T[:0], due.V[:0]
		x.at++
		r.Start()
		res, err := x.db.Append(ctx, *now)
		must(err)
		accepted += res.Accepted
	}
	x.batch.Refs = nil
	versus.Run(b, versus.Case{
		N: cycle,
		Ours: func(r *versus.Round) {
			for range r.N {
				late(r)
			}
		},
		Theirs: func(r *versus.Round) {
			for range r.N {
				y.append(values[y.at%64])
			}
		},
		Goal: 0.7,
	})
	if got := x.scan(); got != accepted {
		b.Fatalf("%d samples of %d", got, accepted)
	}
}

// filled returns both with the same samples; sealed, if asked for.
func filled(b *testing.B, series, steps int, seal bool) (*ours, *prom) {
	x, y := openOurs(b, series, tsdb.Options{Sync: tsdb.SyncNone, Manual: true}), newProm(b, series, true)
	for _, row := range rows(series, steps) {
		x.append(row)
		y.append(row)
	}
	if seal {
		must(x.db.Seal(ctx))
		must(y.db.CompactHead(promdb.NewRangeHead(y.db.Head(), t0, t0+int64(steps)*step)))
	}
	return x, y
}

func benchScan(b *testing.B) {
	x, y := filled(b, small, 480, true)
	all := labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+")
	n := small * 480
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			begin := time.Now()
			for range r.N {
				if got := x.scan(); got != n {
					panic(fmt.Sprint(got, " samples"))
				}
			}
			r.Metric(float64(r.N*n)/time.Since(begin).Seconds(), "samples/s")
		},
		Theirs: func(r *versus.Round) {
			begin := time.Now()
			for range r.N {
				if got := y.scan(all); got != n {
					panic(fmt.Sprint(got, " samples"))
				}
			}
			r.Metric(float64(r.N*n)/time.Since(begin).Seconds(), "samples/s")
		},
		Goal: 7,
	})
}

func benchRegexp(b *testing.B) {
	const series = 100_000
	x, y := filled(b, series, 4, true)
	m := labels.MustNewMatcher(labels.MatchRegexp, "id", ".*77.*")
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for range r.N {
				n := 0
				for _, err := range x.db.Query(ctx, tsdb.All, tsdb.Re("id", ".*77.*")) {
					must(err)
					n++
				}
				r.Metric(float64(n), "series")
			}
		},
		Theirs: func(r *versus.Round) {
			for range r.N {
				q, err := y.db.Querier(0, 1<<60)
				must(err)
				ss := q.Select(ctx, false, &storage.SelectHints{Start: 0, End: 1 << 60, Func: "series"}, m)
				n := 0
				for ss.Next() {
					n++
				}
				must(ss.Err())
				q.Close()
				r.Metric(float64(n), "series")
			}
		},
		Goal: 5,
	})
}

// copyDir makes of a live directory what a kill leaves. It waits for the disk,
// so that nobody's fsync pays for the copy.
func copyDir(b *testing.B, dir string) string {
	to := filepath.Join(b.TempDir(), "copy")
	must(os.CopyFS(to, os.DirFS(dir)))
	syscall.Sync()
	return to
}

func benchReopen(b *testing.B) {
	const series, steps = 100_000, 40
	x, y := filled(b, series, steps, false)
	killedX, killedY := copyDir(b, x.dir), copyDir(b, y.dir)
	x.db.Close()
	y.db.Close()
	round := func(r *versus.Round, from string, open func(dir string) io.Closer) {
		for range r.N {
			r.Stop()
			dir := copyDir(b, from)
			runtime.GC()
			r.Start()
			db := open(dir)
			r.Stop()
			db.Close()
			os.RemoveAll(dir)
		}
	}
	versus.Run(b, versus.Case{
		N: 1,
		Ours: func(r *versus.Round) {
			round(r, killedX, func(dir string) io.Closer {
				db, err := tsdb.Open(dir, &tsdb.Options{Sync: tsdb.SyncNone, Manual: true, HeadBytes: 4 << 30})
				must(err)
				if n := db.OpenReport().Replayed; n != series*steps {
					panic(fmt.Sprint(n, " samples"))
				}
				return db
			})
		},
		Theirs: func(r *versus.Round) {
			round(r, killedY, func(dir string) io.Closer { return openProm(dir, true) })
		},
		Goal: 3,
	})
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// benchHeap measures what 10,000 series of 480 samples keep in memory, unsealed.
func benchHeap(b *testing.B) {
	values := rows(small, 480)
	versus.Run(b, versus.Case{
		N: 1,
		Ours: func(r *versus.Round) {
			r.Stop()
			h := heapNow()
			x := openOurs(b, small, tsdb.Options{Sync: tsdb.SyncNone, Manual: true})
			r.Start()
			for _, row := range values {
				x.append(row)
			}
			r.Stop()
			x.batch = tsdb.Batch{}
			h = heapNow() - h
			r.Size(h)
			r.Metric(float64(h)/small, "B/series")
			x.db.Close()
			*x = ours{db: x.db}
		},
		Theirs: func(r *versus.Round) {
			r.Stop()
			h := heapNow()
			y := newProm(b, small, true)
			r.Start()
			for _, row := range values {
				y.append(row)
			}
			r.Stop()
			h = heapNow() - h
			r.Size(h)
			r.Metric(float64(h)/small, "B/series")
			y.db.Close()
		},
	})
}

func dirSize(dir string, match func(path string) bool) (n int64) {
	must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && match(path) {
			info, err := d.Info()
			must(err)
			n += info.Size()
		}
		return err
	}))
	return n
}

func (x *ours) size() int64 { return x.db.Stats().ChunkSize }

// size is that of all blocks, index included.
func (x *prom) size() int64 {
	n := int64(0)
	for _, bl := range x.db.Blocks() {
		n += dirSize(filepath.Join(x.dir, bl.Meta().ULID.String()), func(string) bool { return true })
	}
	return n
}

// benchMixSize reports bytes on the disk, index included, of 1,000 series with
// 1,920 samples; the time is that of a scan.
func benchMixSize(b *testing.B) {
	const series, steps = 1000, 1920
	x, y := filled(b, series, steps, true)
	sizes(b, x, y, series*steps)
}

func sizes(b *testing.B, x *ours, y *prom, n int) {
	all := labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+")
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for range r.N {
				if got := x.scan(); got != n {
					panic(fmt.Sprint(got, " samples, want ", n))
				}
			}
			r.Size(x.size())
			r.Metric(float64(x.size())/float64(n), "B/sample")
		},
		Theirs: func(r *versus.Round) {
			for range r.N {
				if got := y.scan(all); got != n {
					panic(fmt.Sprint(got, " samples, want ", n))
				}
			}
			r.Size(y.size())
			r.Metric(float64(y.size())/float64(n), "B/sample")
		},
	})
}

// benchNAB stores each NAB file as a series. Repeated times are left out, since
// Prometheus refuses them.
func benchNAB(b *testing.B, name string) {
	x := openOurs(b, 0, tsdb.Options{Sync: tsdb.SyncNone, Manual: true, ChunkRange: 32 * 24 * time.Hour})
	y := newProm(b, 0, true)
	total, lo, hi := 0, int64(1<<60), int64(0)
	must(eachNAB(name, func(file string, t []int64, v []float64) {
		ref, err := x.db.Series("nab", tsdb.Pairs("__name__", file))
		must(err)
		refs := make([]tsdb.Ref, len(t))
		for i := range refs {
			refs[i] = ref
		}
		_, err = x.db.Append(ctx, tsdb.Batch{Refs: refs, T: t, V: v})
		must(err)
		a := y.db.AppenderV2(ctx)
		var pref storage.SeriesRef
		l := labels.FromStrings("__name__", file)
		for i := range t {
			pref, err = a.Append(pref, l, 0, t[i], v[i], nil, nil, storage.AOptions{})
			must(err)
			lo, hi = min(lo, t[i]), max(hi, t[i])
		}
		must(a.Commit())
		total += len(t)
	}))
	must(x.db.Seal(ctx))
	must(y.db.CompactHead(promdb.NewRangeHead(y.db.Head(), lo, hi+1)))
	sizes(b, x, y, total)
}

func eachNAB(name string, f func(file string, t []int64, v []float64)) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !strings.HasSuffix(h.Name, ".csv") {
			continue
		}
		var t []int64
		var v []float64
		for lines := bufio.NewScanner(tr); lines.Scan(); {
			stamp, value, _ := strings.Cut(lines.Text(), ",")
			at, err := time.Parse(time.DateTime, strings.SplitN(stamp, ".", 2)[0])
			if err != nil {
				continue
			}
			x, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return err
			}
			if ms := at.UnixMilli(); len(t) == 0 || ms > t[len(t)-1] {
				t, v = append(t, ms), append(v, x)
			}
		}
		f(h.Name, t, v)
	}
}
