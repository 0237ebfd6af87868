package tsdb_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	promdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/ashlar-go/ashlar/tsdb"
)

// TestDifferential does the same to our database and to Prometheus', and asks
// both the same: samples in and out of order, repeated ones, deletes, all four
// operators, with data in memory, sealed, and opened again.
//
// Where the two mean to differ the test keeps away:
//   - A second value at a time: the last counts here, Prometheus refuses it. Only
//     equal values are repeated.
//   - A sample appended after a delete of its time is there here; Prometheus may
//     hide it. Nothing is appended to times that were deleted.
//   - Late samples that Prometheus (v0.316.0) was told to delete may come back,
//     from its head or when it is opened again. A run has late samples or deletes;
//     both together are tested against a model, in package tsdb.
//   - Series without samples in the range: never yielded by Prometheus; here one
//     may be, empty, and is left out.
func TestDifferential(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { differ(t, seed) })
	}
}

type twoDBs struct {
	t    *testing.T
	ours *tsdb.DB
	prom *promdb.DB
}

func openTwo(t *testing.T, dir string) *twoDBs {
	x := &twoDBs{t: t}
	var err error
	x.ours, err = tsdb.Open(filepath.Join(dir, "ours"), &tsdb.Options{
		Manual: true, ChunkRange: 2 * time.Hour, Sync: tsdb.SyncNone,
		Now: func() time.Time { return time.UnixMilli(t0).AddDate(1, 0, 0) },
	})
	must(err)
	x.prom = openPromLate(filepath.Join(dir, "prom"))
	return x
}

func (x *twoDBs) close() {
	must(x.ours.Close())
	must(x.prom.Close())
}

func differ(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 5))
	dir := t.TempDir()
	x := openTwo(t, dir)
	defer func() { x.close() }()
	type serie struct {
		pairs []string
		last  int64
		at    map[int64]float64
	}
	var series []*serie
	for i := range 30 {
		pairs := []string{"__name__", fmt.Sprint("m", i%3), "id", strconv.Itoa(i)}
		if i%2 == 0 {
			pairs = append(pairs, "host", fmt.Sprintf("web-%d.example:9100", i%7))
		}
		if i%5 == 0 {
			pairs = append(pairs, "zone", strings.Repeat("ä", i/5)+"\n")
		}
		series = append(series, &serie{pairs: pairs, last: t0, at: map[int64]float64{}})
	}
	late := seed%2 == 0
	clock, barrier := int64(t0), int64(t0) // nothing is appended before the barrier
	for range 120 {
		switch k := rnd.IntN(12); {
		case k < 8:
			var b tsdb.Batch
			a := x.prom.AppenderV2(ctx)
			for range 1 + rnd.IntN(400) {
				s := series[rnd.IntN(len(series))]
				clock += rnd.Int64N(2000)
				at := clock
				if late && rnd.IntN(6) == 0 {
					at = max(barrier, clock-rnd.Int64N(3*3600_000))
				}
				v, known := s.at[at]
				if !known {
					v = float64(rnd.IntN(1000)) / 10
					if rnd.IntN(20) == 0 {
						v = rnd.NormFloat64()
					}
				}
				s.at[at] = v
				ref, err := x.ours.Series("bench", tsdb.Pairs(s.pairs...))
				must(err)
				b.Refs, b.T, b.V = append(b.Refs, ref), append(b.T, at), append(b.V, v)
				_, err = a.Append(0, labels.FromStrings(s.pairs...), 0, at, v, nil, nil, storage.AOptions{})
				must(err)
			}
			must(a.Commit())
			res, err := x.ours.Append(ctx, b)
			must(err)
			if res.Accepted != len(b.T) {
				t.Fatalf("seed %d: %+v of %d", seed, res, len(b.T))
			}
		case k < 9 && !late:
			from := t0 + rnd.Int64N(clock-t0+1)
			to := min(from+1+rnd.Int64N(1800_000), clock)
			if from >= to {
				continue
			}
			ours, theirs := matchers(rnd, 1+rnd.IntN(2))
			must(x.ours.Delete(ctx, tsdb.Range{From: from, To: to}, ours...))
			must(x.prom.Delete(ctx, from, to-1, theirs...)) // its end is included
			barrier = max(barrier, to)
		case k < 10:
			if rnd.IntN(2) == 0 {
				must(x.ours.Seal(ctx))
			}
			if rnd.IntN(2) == 0 {
				must(x.prom.CompactOOOHead(ctx))
				must(x.prom.Compact(ctx))
			}
		case k < 11:
			x.close()
			x = openTwo(t, dir)
		}
		for range 3 {
			from := t0 + rnd.Int64N(clock-t0+1)
			ours, theirs := matchers(rnd, 1+rnd.IntN(3))
			x.compare(fmt.Sprintf("seed %d", seed), from, from+1+rnd.Int64N(clock-from+1), ours, theirs)
		}
	}
	x.compare(fmt.Sprintf("seed %d, at the end", seed), t0, clock+1, nil, []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+")})
}

// openPromLate opens Prometheus' database so that it takes samples out of order.
func openPromLate(dir string) *promdb.DB {
	o := promdb.DefaultOptions()
	o.RetentionDuration = 0
	o.OutOfOrderTimeWindow = 400 * 24 * 3600_000
	o.EnableOverlappingCompaction = true
	return openPromWith(dir, o)
}

// matchers makes the same n matchers for both.
func matchers(rnd *rand.Rand, n int) (ours []tsdb.Matcher, theirs []*labels.Matcher) {
	names := []string{"__name__", "id", "host", "zone", "absent"}
	values := []string{"", "m1", "7", "12", "web-2.example:9100", "ä\n", "none"}
	exprs := []string{".*", ".+", "", "m[01]", "1.*", ".*1", ".*2.*", "web-.*", "web-[24].example:.*", "m0|m2|x", "(?i)WEB.*", "[^0-9]*", "1?2", "ä.*", ".*e.*m.*p.*", "a|"}
	for range n {
		name, value, expr := names[rnd.IntN(len(names))], values[rnd.IntN(len(values))], exprs[rnd.IntN(len(exprs))]
		switch rnd.IntN(4) {
		case 0:
			ours, theirs = append(ours, tsdb.Eq(name, value)), append(theirs, labels.MustNewMatcher(labels.MatchEqual, name, value))
		case 1:
			ours, theirs = append(ours, tsdb.Ne(name, value)), append(theirs, labels.MustNewMatcher(labels.MatchNotEqual, name, value))
		case 2:
			ours, theirs = append(ours, tsdb.Re(name, expr)), append(theirs, labels.MustNewMatcher(labels.MatchRegexp, name, expr))
		default:
			ours, theirs = append(ours, tsdb.NotRe(name, expr)), append(theirs, labels.MustNewMatcher(labels.MatchNotRegexp, name, expr))
		}
	}
	return ours, theirs
}

// answers maps series to their samples, as text.
type answers map[string][]string

func oneSample(at int64, v float64) string { return fmt.Sprintf("%d %x", at, math.Float64bits(v)) }

func askOurs(db *tsdb.DB, from, to int64, ms []tsdb.Matcher) answers {
	out := answers{}
	for s, err := range db.Query(ctx, tsdb.Range{From: from, To: to}, ms...) {
		must(err)
		var got []string
		for b, err := range s.Blocks() {
			must(err)
			for i := range b.T {
				got = append(got, oneSample(b.T[i], b.V[i]))
			}
		}
		if len(got) > 0 {
			out[s.Labels().String()] = got
		}
	}
	return out
}

func askProm(db *promdb.DB, from, to int64, ms []*labels.Matcher) answers {
	out := answers{}
	q, err := db.Querier(from, to-1)
	must(err)
	defer q.Close()
	// Trimming is left out: with tombstones it can panic (v0.316.0, Intervals.Add).
	ss := q.Select(context.Background(), false, &storage.SelectHints{Start: from, End: to - 1, DisableTrimming: true}, ms...)
	for ss.Next() {
		var l tsdb.Labels
		ss.At().Labels().Range(func(x labels.Label) { l = append(l, tsdb.Label{Name: x.Name, Value: x.Value}) })
		var got []string
		it := ss.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			if at, v := it.At(); at >= from && at < to {
				got = append(got, oneSample(at, v))
			}
		}
		must(it.Err())
		if len(got) > 0 {
			out[l.String()] = got
		}
	}
	must(ss.Err())
	return out
}

func (x *twoDBs) compare(what string, from, to int64, ours []tsdb.Matcher, theirs []*labels.Matcher) {
	x.t.Helper()
	a, b := askOurs(x.ours, from, to, ours), askProm(x.prom, from, to, theirs)
	if len(a) != len(b) {
		x.t.Errorf("%s: %v: %d series, Prometheus has %d", what, ours, len(a), len(b))
	}
	for l, w := range b {
		if g := a[l]; !slices.Equal(g, w) {
			x.t.Fatalf("%s: %v: %s has %d samples, Prometheus has %d", what, ours, l, len(g), len(w))
		}
	}
}

// TestRealLabels asks both for series among 20,000 real label sets, the file
// prometheus-20kseries.json.gz that ASHLAR_LABELS names, and compares the sizes
// of their indexes.
func TestRealLabels(t *testing.T) {
	name := os.Getenv("ASHLAR_LABELS")
	if name == "" {
		t.Skip("ASHLAR_LABELS does not name prometheus-20kseries.json.gz")
	}
	sets := readLabelSets(t, name)
	dir := t.TempDir()
	x := openTwo(t, dir)
	defer x.close()
	var b tsdb.Batch
	a := x.prom.AppenderV2(ctx)
	values := map[string]map[string]int{}
	for i, pairs := range sets {
		ref, err := x.ours.Series("bench", tsdb.Pairs(pairs...))
		must(err)
		b.Refs, b.T, b.V = append(b.Refs, ref), append(b.T, t0+int64(i%10)), append(b.V, float64(i))
		_, err = a.Append(0, labels.FromStrings(pairs...), 0, t0+int64(i%10), float64(i), nil, nil, storage.AOptions{})
		must(err)
		for j := 0; j < len(pairs); j += 2 {
			if values[pairs[j]] == nil {
				values[pairs[j]] = map[string]int{}
			}
			values[pairs[j]][pairs[j+1]]++
		}
	}
	must(a.Commit())
	_, err := x.ours.Append(ctx, b)
	must(err)
	rnd := rand.New(rand.NewPCG(6, 6))
	names := make([]string, 0, len(values))
	for n := range values {
		names = append(names, n)
	}
	slices.Sort(names)
	expr := func(name string) string { // that fits some values of a label
		var all []string
		for v := range values[name] {
			all = append(all, v)
		}
		slices.Sort(all)
		v := all[rnd.IntN(len(all))]
		i := rnd.IntN(len(v) + 1)
		switch rnd.IntN(5) {
		case 0:
			return v[:i] + ".*"
		case 1:
			return ".*" + v[i:]
		case 2:
			return ".*" + v[i:min(i+3, len(v))] + ".*"
		case 3:
			return v + "|" + all[rnd.IntN(len(all))]
		}
		return v[:i] + ".+" + v[i:]
	}
	ask := func(what string) {
		for n := range 40 {
			var ours []tsdb.Matcher
			var theirs []*labels.Matcher
			for range 1 + rnd.IntN(2) {
				name := names[rnd.IntN(len(names))]
				e := expr(name)
				if !regexpSafe(e) {
					continue
				}
				if rnd.IntN(3) == 0 {
					ours, theirs = append(ours, tsdb.NotRe(name, e)), append(theirs, labels.MustNewMatcher(labels.MatchNotRegexp, name, e))
				} else {
					ours, theirs = append(ours, tsdb.Re(name, e)), append(theirs, labels.MustNewMatcher(labels.MatchRegexp, name, e))
				}
			}
			if len(ours) > 0 {
				x.compare(fmt.Sprint(what, " ", n), t0, t0+100, ours, theirs)
			}
		}
	}
	ask("in memory")
	must(x.ours.Seal(ctx))
	must(x.prom.CompactHead(promdb.NewRangeHead(x.prom.Head(), t0, t0+100)))
	ask("sealed")
	// What a chunk takes beyond its samples, of which each has 13 bytes and a few.
	size := x.ours.Stats().ChunkSize
	theirs := int64(0)
	for _, bl := range x.prom.Blocks() {
		theirs += dirSize(filepath.Join(dir, "prom", bl.Meta().ULID.String()), func(path string) bool { return filepath.Base(path) == "index" })
	}
	t.Logf("%d series: the whole chunk %.1f bytes a series, Prometheus' index alone %.1f", len(sets), float64(size)/float64(len(sets)), float64(theirs)/float64(len(sets)))
	if size >= theirs {
		t.Errorf("a chunk of %d bytes, Prometheus' index has %d", size, theirs)
	}
}

// regexpSafe reports whether a text holds nothing that a regular expression means
// otherwise, but for what expr put in.
func regexpSafe(s string) bool { return !strings.ContainsAny(s, `\()[]{}?^$`) }

func readLabelSets(t *testing.T, name string) (sets [][]string) {
	f, err := os.Open(name)
	must(err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(err)
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m map[string]string
		must(json.Unmarshal(lines.Bytes(), &m))
		var pairs []string
		for n, v := range m {
			pairs = append(pairs, n, v)
		}
		sets = append(sets, pairs)
	}
	must(lines.Err())
	return sets
}
