package tsdb

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// full reports whether long tests should run long.
var full = os.Getenv("ASHLAR_FULL") != ""

// A model is the slow and obvious database: for each series its samples by time.
type model struct {
	samples map[seriesID]map[int64]float64
	logs    map[seriesID][]logEntry
}

func newModel() *model {
	return &model{map[seriesID]map[int64]float64{}, map[seriesID][]logEntry{}}
}

func (m *model) put(id seriesID, t int64, v float64) {
	if m.samples[id] == nil {
		m.samples[id] = map[int64]float64{}
	}
	m.samples[id][t] = v
}

func (m *model) delete(r Range, ms []Matcher) {
	for id, s := range m.samples {
		if slowMatchSource(id, ms) {
			for t := range s {
				if t >= r.From && t < r.To {
					delete(s, t)
				}
			}
		}
	}
	for id := range m.logs {
		if slowMatchSource(id, ms) {
			m.logs[id] = slices.DeleteFunc(m.logs[id], func(l logEntry) bool { return l.t >= r.From && l.t < r.To })
		}
	}
}

func slowMatchSource(id seriesID, ms []Matcher) bool {
	for _, m := range ms {
		if m.name == SourceLabel {
			if !m.matches(id.source) {
				return false
			}
		} else if !slowMatch(id.key, []Matcher{m}) {
			return false
		}
	}
	return true
}

func (m *model) query(r Range, ms []Matcher) map[seriesID]column {
	out := map[seriesID]column{}
	for id, s := range m.samples {
		if !slowMatchSource(id, ms) {
			continue
		}
		var c column
		for t := range s {
			if t >= r.From && t < r.To {
				c.t = append(c.t, t)
			}
		}
		slices.Sort(c.t)
		for _, t := range c.t {
			c.v = append(c.v, s[t])
		}
		if len(c.t) > 0 {
			out[id] = c
		}
	}
	return out
}

// read returns what a DB answers.
func read(t testing.TB, db *DB, r Range, ms ...Matcher) map[seriesID]column {
	t.Helper()
	out := map[seriesID]column{}
	for s, err := range db.Query(t.Context(), r, ms...) {
		require.NoError(t, err)
		id := seriesID{s.Source, s.key}
		require.NotContains(t, out, id, "a series comes once")
		var c column
		for b, err := range s.Blocks() {
			require.NoError(t, err)
			require.NotEmpty(t, b.T)
			c.t, c.v = append(c.t, b.T...), append(c.v, b.V...)
		}
		require.True(t, slices.IsSortedFunc(c.t, func(a, b int64) int { return cmp.Or(cmp.Compare(a, b), 1) }), "times rise")
		if len(c.t) > 0 {
			out[id] = c
		}
	}
	return out
}

func sameColumns(t testing.TB, want, got map[seriesID]column, what any) {
	t.Helper()
	require.Equal(t, len(want), len(got), what)
	for id, w := range want {
		g, ok := got[id]
		require.True(t, ok, "%v: %v is missing", what, id)
		require.True(t, slices.Equal(w.t, g.t), "%v: times of %v: %d, want %d", what, id, len(g.t), len(w.t))
		for i := range w.v {
			if math.Float64bits(w.v[i]) != math.Float64bits(g.v[i]) {
				t.Fatalf("%v: %v at %d = %v, want %v", what, id, w.t[i], g.v[i], w.v[i])
			}
		}
	}
}

// start is a whole multiple of all chunk ranges in the tests.
const start = 1_700_006_400_000

func at(ms int64) time.Time { return time.UnixMilli(ms) }

// testOptions has a clock that stands well after start.
func testOptions(fsys vfs.FS) *Options {
	return &Options{
		fs: fsys, Manual: true, ChunkRange: 10 * time.Minute, HeadBytes: 64 << 20,
		Now: func() time.Time { return at(start + 24*3600_000) },
	}
}

// TestModel runs random operations on a DB and on the model.
func TestModel(t *testing.T) {
	seeds := 12
	if full {
		seeds = 400
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, uint64(seed), 150) })
	}
}

func runModel(t *testing.T, seed uint64, ops int) {
	rnd := rand.New(rand.NewPCG(seed, 77))
	sim := vfs.NewSim()
	opts := testOptions(sim)
	opts.Rollups = []Rollup{{Step: time.Minute}}
	now := opts.Now()
	opts.Now = func() time.Time { return now }
	dir := filepath.Join("db")
	db, err := Open(dir, opts)
	require.NoError(t, err)
	defer func() { db.Close() }()
	m := newModel()
	type known struct {
		id  seriesID
		l   Labels
		ref Ref
	}
	var series []known
	resolve := func(k *known) {
		ref, err := db.Series(k.id.source, k.l)
		require.NoError(t, err)
		k.ref = ref
	}
	for i := range 12 {
		l := Labels{{"name", []string{"cpu", "mem"}[i%2]}, {"id", fmt.Sprint(i / 4)}}
		key, err := l.appendKey(nil)
		require.NoError(t, err)
		series = append(series, known{id: seriesID{fmt.Sprint("src", i%3), string(key)}, l: l})
		resolve(&series[i])
	}
	matchers := func() []Matcher {
		all := []Matcher{
			Eq("name", "cpu"), Ne("name", "cpu"), Re("id", "[01]"), NotRe("id", "1|2"), Eq(SourceLabel, "src1"), Re(SourceLabel, "src[02]"),
			Re("id", ".*"), Eq("none", ""), Ne("id", "2"), Re("name", ".*e.*"), NotRe(SourceLabel, ".*2"),
		}
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:1+rnd.IntN(2)]
	}
	randomRange := func() Range {
		from := start + rnd.Int64N(3_600_000) - 600_000
		return Range{from, from + 1 + rnd.Int64N(3_000_000)}
	}
	clock := int64(start)
	for op := range ops {
		now = now.Add(3 * time.Minute)
		switch k := rnd.IntN(20); {
		case k < 11:
			var b Batch
			n := 1 + rnd.IntN(300)
			late := rnd.IntN(3) == 0
			for range n {
				s := &series[rnd.IntN(len(series))]
				ts := clock
				if late {
					ts -= rnd.Int64N(1_800_000)
				}
				clock += rnd.Int64N(400)
				ts -= ts % 10 // so that times meet
				v := float64(rnd.IntN(1000)) / 10
				if rnd.IntN(30) == 0 {
					v = oddFloats[rnd.IntN(len(oddFloats))]
				}
				b.Refs, b.T, b.V = append(b.Refs, s.ref), append(b.T, ts), append(b.V, v)
				m.put(s.id, ts, v)
			}
			res, err := db.Append(t.Context(), b)
			if errors.Is(err, ErrNotFound) { // forgotten: ask again, as documented
				for i := range series {
					old := series[i].ref
					resolve(&series[i])
					for j := range b.Refs {
						if b.Refs[j] == old {
							b.Refs[j] = series[i].ref
						}
					}
				}
				res, err = db.Append(t.Context(), b)
			}
			require.NoError(t, err)
			require.Equal(t, n, res.Accepted)
		case k < 13:
			s := &series[rnd.IntN(len(series))]
			resolve(s)
			text := fmt.Sprintf("line %d of %s", op, strings.Repeat("x", rnd.IntN(50)))
			ts := clock - rnd.Int64N(1_000_000)
			_, err := db.AppendLogs(t.Context(), []LogLine{{s.ref, ts, text}, {s.ref, ts, text + "!"}})
			require.NoError(t, err)
			m.logs[s.id] = append(m.logs[s.id], logEntry{t: ts, text: text}, logEntry{t: ts, text: text + "!"})
		case k < 14:
			r, ms := randomRange(), matchers()
			if rnd.IntN(2) == 0 {
				r.To = r.From + 100_000
			}
			require.NoError(t, db.Delete(t.Context(), r, ms...))
			m.delete(r, ms)
		case k < 15:
			require.NoError(t, db.Seal(t.Context()))
		case k < 16:
			require.NoError(t, db.Maintain(t.Context()))
		case k < 17:
			if rnd.IntN(2) == 0 {
				require.NoError(t, db.Close())
			}
			sim = sim.Kill()
			opts.fs = sim
			if db, err = Open(dir, opts); err != nil {
				t.Fatal(err)
			}
			require.Empty(t, db.OpenReport().Damage)
			for i := range series {
				resolve(&series[i])
			}
		default:
			r, ms := randomRange(), matchers()
			sameColumns(t, m.query(r, ms), read(t, db, r, ms...), fmt.Sprintf("seed %d, op %d: %v %v", seed, op, r, ms))
			checkAggregate(t, db, m, r, []time.Duration{time.Second, time.Minute, 7 * time.Minute, time.Hour}[rnd.IntN(4)], ms)
			checkLogs(t, db, m, r, ms)
		}
	}
	sameColumns(t, m.query(All, nil), read(t, db, All), fmt.Sprintf("seed %d, all", seed))
	require.NoError(t, db.Seal(t.Context()))
	sameColumns(t, m.query(All, nil), read(t, db, All), fmt.Sprintf("seed %d, sealed", seed))
	rep, err := db.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, rep.Damage)
}

func checkAggregate(t testing.TB, db *DB, m *model, r Range, step time.Duration, ms []Matcher) {
	t.Helper()
	want := map[seriesID][]Bucket{}
	for id, c := range m.query(r, ms) {
		a := aggregator{step: step.Milliseconds()}
		for i, ts := range c.t { // one by one
			s := summarize(c.v[i : i+1])
			a.merge(ts-mod(ts, a.step), &s)
		}
		if len(a.out) > 0 {
			want[id] = a.out
		}
	}
	n := 0
	for b, err := range db.Aggregate(t.Context(), r, step, ms...) {
		require.NoError(t, err)
		require.NoError(t, b.Err)
		w := want[seriesID{b.Source, b.key}]
		require.Len(t, b.Buckets, len(w))
		n++
		for i, g := range b.Buckets {
			x := w[i]
			// Where infinities meet, the order of additions decides.
			finite := math.Abs(g.Sum) < 1e300 && math.Abs(x.Sum) < 1e300
			require.True(t, !finite || math.Abs(g.Sum-x.Sum) <= 1e-9*max(math.Abs(x.Sum), 1e6), "sum %v, want %v", g.Sum, x.Sum)
			g.Sum, x.Sum = 0, 0
			require.Equal(t, x, g)
		}
	}
	require.Equal(t, len(want), n)
}

func checkLogs(t testing.TB, db *DB, m *model, r Range, ms []Matcher) {
	t.Helper()
	want := map[seriesID][]string{}
	for id, lines := range m.logs {
		lines = slices.Clone(lines)
		slices.SortStableFunc(lines, byTime)
		for _, l := range lines {
			if slowMatchSource(id, ms) && l.t >= r.From && l.t < r.To && strings.Contains(l.text, "7") {
				want[id] = append(want[id], fmt.Sprint(l.t, l.text))
			}
		}
	}
	got := map[seriesID][]string{}
	for e, err := range db.Logs(t.Context(), r, Contains("7"), ms...) {
		require.NoError(t, err)
		id := seriesID{e.Source, e.key}
		got[id] = append(got[id], fmt.Sprint(e.T, e.Text))
	}
	require.Equal(t, want, got)
}
