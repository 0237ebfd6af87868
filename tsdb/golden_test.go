package tsdb

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

var update = flag.Bool("update", false, "write the golden files of this version of the format; never for one that was released")

const golden = "testdata/v1"

// goldenOptions are those of the golden database.
func goldenOptions(fsys vfs.FS) *Options {
	opts := testOptions(fsys)
	opts.Rollups = []Rollup{{Step: time.Minute}}
	return opts
}

// goldenStory fills a database with one of each: chunks of samples, rollups and
// logs, a tombstone, and in the log series, samples of all kinds, lines and a
// delete. The model holds what it must answer.
func goldenStory(t *testing.T, db *DB) *model {
	m := newModel()
	put := func(source string, l Labels, ts []int64, v []float64) {
		ref, err := db.Series(source, l)
		require.NoError(t, err)
		key, err := l.appendKey(nil)
		require.NoError(t, err)
		b := Batch{T: ts, V: v}
		for i := range ts {
			b.Refs = append(b.Refs, ref)
			m.put(seriesID{source, string(key)}, ts[i], v[i])
		}
		_, err = db.Append(t.Context(), b)
		require.NoError(t, err)
	}
	line := func(source, text string, at int64) {
		l := Pairs("unit", "x")
		ref, err := db.Series(source, l)
		require.NoError(t, err)
		key, err := l.appendKey(nil)
		require.NoError(t, err)
		_, err = db.AppendLogs(t.Context(), []LogLine{{ref, at, text}})
		require.NoError(t, err)
		m.logs[seriesID{source, string(key)}] = append(m.logs[seriesID{source, string(key)}], logEntry{t: at, text: text})
	}
	remove := func(r Range, ms ...Matcher) {
		require.NoError(t, db.Delete(t.Context(), r, ms...))
		m.delete(r, ms)
	}
	for i, c := range goldenColumns() {
		l := Pairs("kind", c.name, "host", fmt.Sprintf("host-%d:9100", i))
		if i == 0 {
			l = nil
		}
		put([]string{"a", "b"}[i%2], l, c.t, c.v)
	}
	line("a", "one line", start+5)
	line("a", "line 7 of many", start+6)
	put("later", nil, []int64{start + 3600_000}, []float64{1}) // so that ranges before it are finished
	require.NoError(t, db.Seal(t.Context()))
	remove(Range{start + 10_000, start + 20_000}, Re("kind", "c.*"), Ne("host", "none"))
	for i, c := range goldenColumns() {
		for j := range c.t {
			c.t[j] += 1200_000
		}
		put([]string{"b", "c"}[i%2], Pairs("kind", c.name, "is", "in the log"), c.t, c.v)
	}
	line("b", "a line in the log, 7", start+1200_005)
	remove(Range{start + 1210_000, start + 1220_000}, NotRe("kind", "noise|odd"), Eq(SourceLabel, "c"))
	return m
}

type goldenColumn struct {
	name string
	column
}

// goldenColumns covers every coding of times and values.
func goldenColumns() []goldenColumn {
	noise := uint64(88172645463325252)
	next := func() uint64 { // xorshift: the same for ever
		noise ^= noise << 13
		noise ^= noise >> 7
		noise ^= noise << 17
		return noise
	}
	var out []goldenColumn
	add := func(name string, n int, at func(i int) int64, v func(i int) float64) {
		c := goldenColumn{name: name}
		for i := range n {
			c.t, c.v = append(c.t, start+at(i)), append(c.v, v(i))
		}
		out = append(out, c)
	}
	steady := func(i int) int64 { return int64(i) * 1000 }
	counter := 0.0
	add("constant", 40, steady, func(int) float64 { return 2.5 })
	add("counter", 40, steady, func(int) float64 { counter += float64(next() % 100); return counter })
	add("cents", 40, func(i int) int64 { return steady(i) + int64(i*i%7) }, func(int) float64 { return float64(next()%10_000) / 100 })
	add("noise", 40, func(i int) int64 { return steady(i + i/9) }, func(int) float64 { return 100 + 10*(math.Float64frombits(next()>>12|1023<<52)-1) })
	add("bits", 20, steady, func(int) float64 { return math.Float64frombits(next()) })
	add("odd", len(oddFloats), steady, func(i int) float64 { return oddFloats[i] })
	add("patches", 60, func(i int) int64 { return steady(i) + int64(i/59*100_000) }, func(i int) float64 {
		if i%25 == 7 {
			return math.Inf(1)
		}
		return float64(i%4) / 10
	})
	return out
}

// TestGoldenDatabase reads a database that version 1 of the format left behind
// when it was killed. Whatever comes later must still read it.
func TestGoldenDatabase(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	sim := vfs.NewSim()
	require.NoError(t, sim.MkdirAll("db/chunks"))
	require.NoError(t, sim.MkdirAll("db/wal"))
	files := 0
	for _, dir := range []string{"", "chunks", "wal"} {
		entries, err := os.ReadDir(filepath.Join(golden, "db", dir))
		require.NoError(t, err)
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			data, err := os.ReadFile(filepath.Join(golden, "db", dir, e.Name()))
			require.NoError(t, err)
			f, err := sim.Create(filepath.Join("db", dir, e.Name()))
			require.NoError(t, err)
			_, err = f.WriteAt(data, 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			files++
		}
	}
	require.GreaterOrEqual(t, files, 6)
	// What must come out is computed by the same story on a new database.
	want := goldenStory(t, open(t, goldenOptions(vfs.NewSim())))
	db := open(t, goldenOptions(sim))
	rep := db.OpenReport()
	require.Empty(t, rep.Damage)
	require.Zero(t, rep.LostRecords)
	require.Zero(t, rep.Removed)
	require.False(t, rep.Rebuilt)
	require.NotZero(t, rep.Replayed)
	kinds := map[chunkKind]int{}
	for _, c := range db.man.chunks {
		kinds[c.kind]++
	}
	require.Len(t, kinds, 3, "samples, rollups and logs")
	require.NotEmpty(t, db.tombs)
	check := func(what string) {
		sameColumns(t, want.query(All, nil), read(t, db, All), what)
		ms := []Matcher{Eq("kind", "cents")}
		sameColumns(t, want.query(All, ms), read(t, db, All, ms...), what)
		checkAggregate(t, db, want, Range{start, start + 3600_000}, time.Minute, nil)
		checkLogs(t, db, want, All, nil)
		found, err := db.Verify(t.Context())
		require.NoError(t, err)
		require.Empty(t, found.Damage)
	}
	check("as it was found")
	require.NoError(t, db.Seal(t.Context()))
	check("sealed and merged by this version")
}

// writeGolden kills a database after the story and keeps its files, without the
// zeros that files of the log end in.
func writeGolden(t *testing.T) {
	sim := vfs.NewSim()
	db, err := Open("db", goldenOptions(sim))
	require.NoError(t, err)
	goldenStory(t, db)
	sim = sim.Kill()
	require.NoError(t, os.RemoveAll(filepath.Join(golden, "db")))
	for _, dir := range []string{"", "chunks", "wal"} {
		require.NoError(t, os.MkdirAll(filepath.Join(golden, "db", dir), 0o755))
		for _, name := range files(t, sim, dir, "") {
			base := filepath.Base(name)
			if base == "LOCK" || base == "RESERVE" || base == "chunks" || base == "wal" {
				continue
			}
			data, err := vfs.ReadFile(sim, name, 1<<30)
			require.NoError(t, err)
			if dir == "wal" {
				if data = bytes.TrimRight(data, "\x00"); len(data) == 0 {
					continue // the next segment
				}
				data = append(data, make([]byte, 64)...)
			}
			require.NoError(t, os.WriteFile(filepath.Join(golden, "db", dir, base), data, 0o644))
		}
	}
	var blocks bytes.Buffer
	fmt.Fprintln(&blocks, "# Blocks of version 1: name, size of the columns, bytes. The values are those of goldenColumns.")
	var c coder
	for _, x := range goldenColumns() {
		fmt.Fprintf(&blocks, "%s %d %x\n", x.name, len(x.t), c.appendBlock(nil, x.t, make([]int, 1), x.v))
	}
	require.NoError(t, os.WriteFile(filepath.Join(golden, "blocks.txt"), blocks.Bytes(), 0o644))
}

// TestGoldenBlocks decodes blocks that version 1 coded. A later coder may choose
// other bytes, a later decoder must give the same samples.
func TestGoldenBlocks(t *testing.T) {
	f, err := os.Open(filepath.Join(golden, "blocks.txt"))
	require.NoError(t, err)
	defer f.Close()
	want := goldenColumns()
	var b blockBuf
	kinds, modes := map[byte]bool{}, map[byte]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		w := want[0]
		want = want[1:]
		field := strings.Fields(lines.Text())
		require.Len(t, field, 3)
		require.Equal(t, w.name, field[0])
		data, err := hex.DecodeString(field[2])
		require.NoError(t, err)
		ts, v, err := b.decode(data, 1)
		require.NoError(t, err, w.name)
		require.Equal(t, w.t, ts, w.name)
		for i := range v {
			require.Equal(t, math.Float64bits(w.v[i]), math.Float64bits(v[i]), "%s %d", w.name, i)
		}
		rest, err := decodeInts(make([]int64, len(ts)), data[1:])
		require.NoError(t, err)
		modes[data[1]] = true
		kinds[rest[0]] = true
		if rest[0] == kindDecimal {
			modes[rest[2]] = true
		}
	}
	require.Empty(t, want)
	require.Equal(t, map[byte]bool{kindConstant: true, kindDecimal: true, kindBits: true, kindSplit: true}, kinds)
	for _, bit := range []byte{modeDelta, modeDivisor, modePatches} {
		some := false
		for m := range modes {
			some = some || m&bit != 0
		}
		require.True(t, some, "no integers with mode bit %d", bit)
	}
}
