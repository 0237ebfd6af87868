package tsdb

import (
	"context"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// faults says which tests show what the package does about which fault; the same
// table, in words, is in docs/TRIALS.md.
var faults = map[string][]string{
	"torn tail of the log":                            {"TestTornLogTail", "TestPowerCut"},
	"damaged record in the middle of the log":         {"TestDamagedLogRecord", "TestLostDefinitionIsReported"},
	"damaged block":                                   {"TestDamagedChunkBlock", "TestDamagedChunkAnywhere"},
	"damaged footer or index":                         {"TestDamagedChunkAnywhere", "TestRebuildSetsAside", "FuzzSection"},
	"manifest torn, missing or of a later version":    {"TestManifestDamage", "TestFutureVersionIsRefusedUntouched", "TestRebuiltKeepsWhatCameAfterDelete"},
	"disk full in an append, a seal, the manifest":    {"TestDiskFull", "TestFullDiskExpires"},
	"failed sync":                                     {"TestFailedSyncEndsWriting"},
	"directory opened twice":                          {"TestOpenTwice"},
	"clock backwards, a sample in the year 2262":      {"TestTooOldAndFuture"},
	"time that comes twice":                           {"TestDuplicatesAndOrder", "TestNAB", "TestHead"},
	"out of order, too old":                           {"TestModel", "TestTooOldAndFuture", "TestHead"},
	"NaN payloads, infinities, -0, denormal numbers":  {"TestValuesRoundTrip", "FuzzValues", "TestGoldenBlocks"},
	"first and last int64, empty and reversed ranges": {"TestTooOldAndFuture", "TestExtremeTimes", "TestInvalidArguments"},
	"bad labels":                                      {"TestInvalidArguments"},
	"label explosion":                                 {"TestLabelExplosion", "TestHeadBudget"},
	"hostile regular expression":                      {"TestHostileRegexp"},
	"hostile chunk file":                              {"FuzzChunk", "FuzzBlock", "FuzzLogBlock", "FuzzSection"},
	"hostile record or manifest":                      {"FuzzRecord", "FuzzManifest"},
	"archive slow, failing, with half an object":      {"TestArchive", "TestArchivedChunksExpire"},
	"missing chunk":                                   {"TestMissingChunkIsAnError"},
	"power cut at any call":                           {"TestPowerCut", "TestMarksOutliveNoRecords"},
	"process killed":                                  {"TestKill"},
}

// TestFaultsHaveTests: each row of the table names tests that exist.
func TestFaultsHaveTests(t *testing.T) {
	have := map[string]bool{}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") {
			src, err := os.ReadFile(e.Name())
			require.NoError(t, err)
			for _, m := range decl.FindAllSubmatch(src, -1) {
				have[string(m[1])] = true
			}
		}
	}
	for fault, tests := range faults {
		for _, name := range tests {
			require.True(t, have[name], "%s: no %s", fault, name)
		}
	}
}

// TestRebuildSetsAside: without a manifest, a chunk whose index cannot be read is
// kept under another name, and the others are found.
func TestRebuildSetsAside(t *testing.T) {
	sim, m := sealedSim(t)
	names := files(t, sim, "chunks", ".chk")
	size, err := sim.Stat(names[0])
	require.NoError(t, err)
	require.NoError(t, sim.Flip(names[0], 3, 1))
	require.NoError(t, sim.Flip(names[0], size-20, 1))
	for i := range 2 {
		require.NoError(t, sim.Remove(manifestName("db", i)))
	}
	db := open(t, testOptions(sim))
	require.True(t, db.OpenReport().Rebuilt)
	require.Len(t, db.OpenReport().Damage, 1)
	require.ErrorIs(t, db.OpenReport().Damage[0], ErrCorrupt)
	require.Equal(t, []string{names[0] + ".bad"}, files(t, sim, "chunks", ".bad"))
	r := Range{start + 600_000, start + 1200_000}
	sameColumns(t, m.query(r, nil), read(t, db, r), "the other range")
	ms := []Matcher{Eq(SourceLabel, "b")}
	sameColumns(t, m.query(All, ms), read(t, db, All, ms...), "the other source")
}

// TestExtremeTimes: the ends of int64 are refused or cut off, and overflow
// nothing.
func TestExtremeTimes(t *testing.T) {
	opts := testOptions(vfs.NewSim())
	opts.MaxFuture = math.MaxInt64
	db := open(t, opts)
	ref, err := db.Series("s", nil)
	require.NoError(t, err)
	ts := []int64{math.MinInt64, minTime - 1, minTime, -1, 0, start, maxTime - 1, maxTime, math.MaxInt64}
	b := Batch{T: ts}
	for i := range ts {
		b.Refs, b.V = append(b.Refs, ref), append(b.V, float64(i))
	}
	res, err := db.Append(t.Context(), b)
	require.ErrorIs(t, err, ErrTooOld)
	require.ErrorIs(t, err, ErrFuture)
	require.Equal(t, Result{Accepted: 5, TooOld: 2, Future: 2}, res)
	all := Range{math.MinInt64, math.MaxInt64}
	want := column{ts[2:7], b.V[2:7]}
	check := func() {
		t.Helper()
		for _, c := range read(t, db, all) {
			require.Equal(t, want, c)
		}
		n := uint64(0)
		for a, err := range db.Aggregate(t.Context(), all, time.Hour) {
			require.NoError(t, err)
			require.NoError(t, a.Err)
			for _, x := range a.Buckets {
				n += x.Count
			}
		}
		require.Equal(t, uint64(5), n)
	}
	check()
	require.NoError(t, db.Seal(t.Context()))
	check()
	_, err = db.AppendLogs(t.Context(), []LogLine{{ref, math.MinInt64, "x"}})
	require.ErrorIs(t, err, ErrTooOld)
	require.NoError(t, db.Delete(t.Context(), all, Re(SourceLabel, ".*")))
	require.Empty(t, read(t, db, all))
}

// TestHostileRegexp: package regexp needs linear time, and refuses what would be
// too large.
func TestHostileRegexp(t *testing.T) {
	db := open(t, testOptions(vfs.NewSim()))
	var b Batch
	var keys []string
	for i := range 200 {
		l := Pairs("v", strings.Repeat("a", 50*i)+"!")
		ref, err := db.Series("s", l)
		require.NoError(t, err)
		b.Refs, b.T, b.V = append(b.Refs, ref), append(b.T, start), append(b.V, 1)
		key, err := l.appendKey(nil)
		require.NoError(t, err)
		keys = append(keys, string(key))
	}
	_, err := db.Append(t.Context(), b)
	require.NoError(t, err)
	for _, expr := range []string{`(a+)+$`, `(a*)*b`, `(a|aa)+!`, `(.*)(.*)(.*)(.*)(.*)x`, `(a?){50}a{50}!`} {
		want := 0
		for _, key := range keys {
			if slowMatch(key, []Matcher{Re("v", expr)}) {
				want++
			}
		}
		require.Len(t, read(t, db, All, Re("v", expr)), want, expr)
	}
	for _, expr := range []string{`(a{1000}){1000}`, `((((a{10}){10}){10}){10}){10}`} {
		for _, err := range db.Query(t.Context(), All, Re("v", expr)) {
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	for _, err := range db.Query(ctx, All, Re("v", ".*!")) {
		require.ErrorIs(t, err, context.Canceled)
		n++
	}
	require.Equal(t, 1, n)
}

// TestAggregateReadsNoBlocks: buckets that hold whole blocks come from the index,
// so that even damaged blocks do not matter to them.
func TestAggregateReadsNoBlocks(t *testing.T) {
	sim := vfs.NewSim()
	db := open(t, testOptions(sim))
	m := newModel()
	fill(t, db, m, "s", 4, 300, start)
	require.NoError(t, db.Seal(t.Context()))
	c := db.byName["s"].chunks[0]
	c.hold()
	x, err := c.index()
	require.NoError(t, err)
	for i := range x.blocks {
		require.NoError(t, sim.Flip(c.path(), x.blocks[i].off+int64(x.blocks[i].size)/2, 1))
	}
	c.release()
	checkAggregate(t, db, m, All, 10*time.Minute, nil)
	series := 0
	for a, err := range db.Aggregate(t.Context(), All, time.Minute) {
		require.NoError(t, err)
		require.ErrorIs(t, a.Err, ErrCorrupt, "smaller buckets must look into blocks")
		series++
	}
	require.Equal(t, 4, series)
}

// TestLogFilters: a scan by text or regular expression over heads and chunks.
func TestLogFilters(t *testing.T) {
	db := open(t, testOptions(vfs.NewSim()))
	var lines []LogLine
	for i := range 3000 {
		ref, err := db.Series(fmt.Sprint("s", i%2), Pairs("unit", fmt.Sprint("u", i%3)))
		require.NoError(t, err)
		lines = append(lines, LogLine{ref, start + int64(i), fmt.Sprintf("GET /page/%d status=%d", i, 200+i%5*75)})
	}
	_, err := db.AppendLogs(t.Context(), lines[:2000])
	require.NoError(t, err)
	require.NoError(t, db.Seal(t.Context()))
	_, err = db.AppendLogs(t.Context(), lines[2000:])
	require.NoError(t, err)
	for _, c := range []struct {
		filter TextFilter
		match  func(string) bool
	}{
		{nil, func(string) bool { return true }},
		{Contains("/page/17"), func(s string) bool { return strings.Contains(s, "/page/17") }},
		{regexp.MustCompile(`status=(350|500)$`), func(s string) bool { return strings.HasSuffix(s, "=350") || strings.HasSuffix(s, "=500") }},
		{Contains("absent"), func(string) bool { return false }},
	} {
		want := 0
		r := Range{start + 500, start + 2500}
		for i, l := range lines {
			if l.T >= r.From && l.T < r.To && i%3 == 1 && c.match(l.Text) {
				want++
			}
		}
		got := 0
		for e, err := range db.Logs(t.Context(), r, c.filter, Eq("unit", "u1")) {
			require.NoError(t, err)
			require.True(t, c.match(e.Text))
			require.Equal(t, fmt.Sprintf("GET /page/%d status=%d", e.T-start, 200+(e.T-start)%5*75), e.Text)
			got++
		}
		require.Equal(t, want, got, c.filter)
	}
}
