package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/examples/internal/golden"
	"github.com/ashlar-go/ashlar/stream"
)

// TestMain lets the test's binary be the process that the example kills.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// TestRun runs the whole example, whose claims are its own assertions, and checks
// that README.md shows this output, but for what varies.
func TestRun(t *testing.T) {
	n := usual
	if slow {
		n = 10_000
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, n, ""); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if slow {
		return // README.md has the output for more lines
	}
	golden.Check(t, out.String(), mask)
}

var (
	number = regexp.MustCompile(`[+-]?\d+([.,]\d+)*(ms|µs|s)?\b`)
	spaces = regexp.MustCompile(` +`)
)

// mask replaces what differs from run to run: times, what the killed broker lost,
// what files of storage formats measure, and how Parquet is told of. What the
// windows say, their digests, and all that was counted, is the same every time.
func mask(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		for _, varies := range []string{
			"events that count nowhere", "windows by minute that are wrong", "events that a consumer finds who comes afterwards", "again as if the answer had been lost",
			"a request for each event", "a join with the table", "rows in a B-tree", "columns of a series", "the index that was being written", "its own runtime",
			"of the Numenta Anomaly Benchmark", "lines of text by server", "record files by schema", "events/s   waits", "in the cold tier", "are added up from",
			"all of it at hand", "only the last three days", "after a week only", "windows = ", "compressed by deflate",
		} {
			if strings.Contains(line, varies) {
				line = spaces.ReplaceAllString(number.ReplaceAllString(line, "#"), " ")
			}
		}
		if strings.HasPrefix(line, "as Parquet too") {
			line = "as Parquet too\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"events that count nowhere    3,927 of 39,764\n", "events that count nowhere # of #\n"},
		{"  minutes  6,694 records, SHA-256 01fa43b18cf1…\n", "  minutes  6,694 records, SHA-256 01fa43b18cf1…\n"},
		{"as Parquet too: 39,718 rows in 400,000 bytes, 10.1 each\n", "as Parquet too\n"},
		{"  event by event    4,346 events/s   waits: median    0.4 ms\n", " event by event # events/s waits: median # ms\n"},
	} {
		if got := mask(c.in); got != c.want {
			t.Errorf("mask(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	at := time.Date(2026, 3, 2, 8, 0, 1, 0, time.UTC)
	full := entry{"203.0.113.9", "ann", at, "GET", "/cart", 200, 5120, "https://shop.example/", "Mozilla/5.0", 1830}
	bare := entry{"2001:db8::1", "", at, "HEAD", "/", 304, 0, "-", `says "hello"`, -1}
	for _, c := range []struct {
		line string
		want entry
		err  error
	}{
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0100] "GET /cart HTTP/1.1" 200 5120 "https://shop.example/" "Mozilla/5.0" 1830`, full, nil},
		{`2001:db8::1 - - [02/Mar/2026:08:00:01 +0000] "HEAD / HTTP/2.0" 304 - "-" "says \"hello\""`, bare, nil},
		{``, entry{}, errAddress},
		{`2026-03-02T09:00:01Z [shop] GET /cart in 400us`, entry{}, errAddress},
		{`nonsense - ann [02/Mar/2026:09:00:01 +0100] "GET / HTTP/1.1" 200 1 "-" "-"`, entry{}, errAddress},
		{`203.0.113.9 - ann [02/Mar/2026:09:00`, entry{}, errTime},
		{`203.0.113.9 - ann [32/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, entry{}, errTime},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTT`, entry{}, errQuotes},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "\x16\x03\x01" 400 1 "-" "-"`, entry{}, errRequest},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" OK 1 "-" "-"`, entry{}, errStatus},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 999 1 "-" "-"`, entry{}, errStatus},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 200 -7 "-" "-"`, entry{}, errStatus},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 200`, entry{}, errStatus},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "Moz`, entry{}, errQuotes},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "-" fast`, entry{}, errRest},
		{`203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "-" -5`, entry{}, errRest},
	} {
		got, err := parse(c.line)
		if !errors.Is(err, c.err) || c.err == nil && got != c.want {
			t.Errorf("parse(%s) = %+v, %v, want %+v, %v", c.line, got, err, c.want, c.err)
		}
	}
}

// A line that can be read is written as it was read.
func FuzzParse(f *testing.F) {
	for _, s := range generate(10_000).lines[:50] {
		f.Add(s.text)
	}
	f.Add(`::1 - - [02/Mar/2026:09:00:01 +0000] "GET / HTTP/1.1" 200 1 "\\" "-"`)
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parse(line)
		if err != nil || strings.Contains(line, `\`) { // a backslash may stand for something else
			return
		}
		again, err := parse(e.line())
		if err != nil || again != e {
			t.Errorf("%q is %+v, written %q, and that %+v, %v", line, e, e.line(), again, err)
		}
	})
}

// The scene is the same every time, and has what the story tells of.
func TestScene(t *testing.T) {
	a, b := generate(10_000), generate(10_000)
	if !reflect.DeepEqual(a, b) {
		t.Fatal("two scenes differ")
	}
	if len(a.lines) != 10_000 || !slices.IsSortedFunc(a.lines, func(x, y sent) int { return x.arrives.Compare(y.arrives) }) {
		t.Errorf("%d lines, or not in the order of their arrival", len(a.lines))
	}
	future, late := 0, 0
	for _, s := range a.lines {
		e, err := parse(s.text)
		if err != nil {
			continue
		}
		if e.Time.After(clock.Add(maxAhead)) {
			future++
		}
		if s.arrives.Sub(e.Time) > bound+lateness+time.Minute {
			late++
		}
	}
	if future == 0 || late == 0 {
		t.Errorf("%d lines from the future, %d very late ones, want some", future, late)
	}
}

func TestUnknownSchema(t *testing.T) {
	other := strings.Replace(schemaV2, `"micros"`, `"nanos"`, 1)
	w, err := newWriter(other)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReader(schemaV2, schemaV1)
	if err != nil {
		t.Fatal(err)
	}
	var a access
	for _, b := range [][]byte{nil, {0xC3, 0x01}, append([]byte{0xC3, 0x02}, w.head[2:]...), w.head[:]} {
		if err := r.decode(b, &a); !errors.Is(err, errNoMessage) {
			t.Errorf("decode(%x) = %v, want errNoMessage", b, err)
		}
	}
	known, err := newWriter(schemaV1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.decode(append(known.head[:], 2), &a); err == nil {
		t.Error("a message that was cut off was read")
	}
}

// A batch that is sent again is taken once, by a new collector too, and a line is
// an event or is kept as malformed.
func TestCollectorTakesOnce(t *testing.T) {
	l := stream.NewMem()
	defer l.Close()
	all := batches(generate(10_000).lines[:900], 300)
	for range 2 {
		c, err := newCollector(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for i, lines := range all {
				if err := c.take(t.Context(), i, lines); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	n := 0
	for _, topic := range []string{topicEvents, topicMalformed} {
		if err := everywhere(t.Context(), l, topic, func(int, *stream.Record) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n != 900 {
		t.Errorf("%d records of 900 lines that were sent four times", n)
	}
}

// A doubtful log does what it is asked to, and says that it did not.
type doubtful struct {
	*stream.Mem
	fail bool
}

func (d *doubtful) Transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	firsts, err := d.Mem.Transact(ctx, tx)
	if err == nil && d.fail {
		err = context.DeadlineExceeded
	}
	return firsts, err
}

// A batch whose answer was lost between log and collector is in once too.
func TestCollectorUnsure(t *testing.T) {
	l := &doubtful{Mem: stream.NewMem()}
	defer l.Close()
	c, err := newCollector(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	for i, lines := range batches(generate(10_000).lines[:900], 300) {
		l.fail = true
		if err := c.take(t.Context(), i, lines); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("batch %d: %v, want the log's error", i, err)
		}
		l.fail = false
		if err := c.take(t.Context(), i, lines); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, topic := range []string{topicEvents, topicMalformed} {
		if err := everywhere(t.Context(), l, topic, func(int, *stream.Record) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n != 900 {
		t.Errorf("%d records of 900 lines", n)
	}
}

// testLake returns a store with the events of a small scene.
func testLake(t *testing.T) blob.Store {
	t.Helper()
	l := stream.NewMem()
	t.Cleanup(func() { l.Close() })
	c, err := newCollector(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	for i, lines := range batches(generate(10_000).lines, 1000) {
		if err := c.take(t.Context(), i, lines); err != nil {
			t.Fatal(err)
		}
	}
	store := blob.NewMem()
	k, err := newLake(store, l)
	if err != nil {
		t.Fatal(err)
	}
	// Twice, as after a crash before the commit: the same files.
	for range 2 {
		if err := k.archive(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Commit(t.Context(), "lake", map[stream.Partition]stream.Offset{{Topic: topicEvents}: {Next: 0}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(lakeEvents(t, store)); got != c.counts.Events {
		t.Fatalf("%d events in the lake, want %d", got, c.counts.Events)
	}
	return store
}

func lakeEvents(t *testing.T, store blob.Store) (out []access) {
	t.Helper()
	if _, _, err := readLake(t.Context(), store, func(a *access) error { out = append(out, *a); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLake(t *testing.T) { testLake(t) }

// What is damaged is refused.
func TestContainerDamage(t *testing.T) {
	store := testLake(t)
	for info, err := range store.List(t.Context(), lakePrefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		file, _, err := blob.GetBytes(t.Context(), store, info.Key, lakeLimit)
		if err != nil {
			t.Fatal(err)
		}
		read := func(b []byte) (n int, err error) {
			err = readContainer(b, func(_ avro.Schema, _ []byte, count int) error { n += count; return nil })
			return n, err
		}
		whole, err := read(file)
		if err != nil || whole == 0 {
			t.Fatalf("%d records, %v", whole, err)
		}
		for _, cut := range []int{0, 3, 4, 20, len(file) / 2, len(file) - 17, len(file) - 1} {
			if n, err := read(file[:cut]); err == nil {
				t.Errorf("a file cut to %d of %d bytes has %d records", cut, len(file), n)
			}
		}
		bad := slices.Clone(file)
		bad[len(bad)-1] ^= 1
		if n, err := read(bad); !errors.Is(err, errContainer) {
			t.Errorf("a wrong marker: %d records, %v", n, err)
		}
		return
	}
	t.Fatal("the lake is empty")
}

// Any bytes are a record file or an error.
func FuzzContainer(f *testing.F) {
	s, err := avro.Parse(`"long"`)
	if err != nil {
		f.Fatal(err)
	}
	c := newContainer(s)
	f.Add(slices.Clone(c.bytes()))
	for i := range 3 * blockRecords / 2 {
		c.add([]byte{byte(2 * (i % 50))})
	}
	f.Add(slices.Clone(c.bytes()))
	f.Fuzz(func(t *testing.T, file []byte) {
		_ = readContainer(file, func(_ avro.Schema, _ []byte, count int) error {
			if count < 0 {
				t.Errorf("a block of %d records", count)
			}
			return nil
		})
	})
}

func TestTouched(t *testing.T) {
	late := map[string][]int64{"a": {100}}
	for _, c := range []struct {
		p    place
		job  string
		want bool
	}{
		{place{key: "a", start: 60, end: 120}, jobTumbling, true},
		{place{key: "b", start: 60, end: 120}, jobTumbling, false},
		{place{key: "a", start: 101, end: 161}, jobTumbling, false},
		{place{key: "a", start: 40, end: 100}, jobTumbling, false}, // half-open
		{place{key: "a", start: 40, end: 100}, jobSliding, true},   // ends with its event
		{place{key: "a", start: 399, end: 800}, jobSession, true},
		{place{key: "a", start: 401, end: 800}, jobSession, false},
	} {
		if got := touched(c.p, c.job, late); got != c.want {
			t.Errorf("touched(%+v, %s) = %v, want %v", c.p, c.job, got, c.want)
		}
	}
}

func TestParseFilter(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   `[]`,
		`country=de`:                         `[country="de"]`,
		` country=~"de|fr",plan!=free  x!~a`: `[country=~"de|fr" plan!="free" x!~"a"]`,
		`plan=""`:                            `[plan=""]`,
		`country`:                            `error`,
		`country=de fr`:                      `error`,
		`=x`:                                 `error`,
	} {
		got, err := parseFilter(text)
		shown := fmt.Sprint(got)
		if err != nil {
			shown = "error"
		}
		if shown != want {
			t.Errorf("parseFilter(%q) = %s, %v, want %s", text, shown, err, want)
		}
	}
}

func TestNum(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -12: "-12"} {
		if got := num(n); got != want {
			t.Errorf("num(%d) = %s, want %s", n, got, want)
		}
	}
}
