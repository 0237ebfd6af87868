package parquet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	pq "github.com/parquet-go/parquet-go"

	"github.com/ashlar-go/ashlar/adapters/parquet"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/tsdb"
)

// sampleRow is how a reader sees a row of WriteSeries, with a column for host.
type sampleRow struct {
	Source string            `parquet:"source"`
	Labels map[string]string `parquet:"labels"`
	Host   *string           `parquet:"host,optional"`
	T      time.Time         `parquet:"t,timestamp(millisecond)"`
	V      float64           `parquet:"v"`
}

func open(t *testing.T) *tsdb.DB {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), &tsdb.Options{Manual: true, MaxFuture: 100 * 365 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func ref(t *testing.T, db *tsdb.DB, source string, labels ...string) tsdb.Ref {
	t.Helper()
	r, err := db.Series(source, tsdb.Pairs(labels...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is read back is what the database holds: every value bit by bit, labels,
// sources, and times, from before 1970 too.
func TestSeries(t *testing.T) {
	db := open(t)
	rng := rand.New(rand.NewPCG(1, 2))
	special := []float64{
		math.NaN(), math.Float64frombits(0x7ff0000000000002), math.Float64frombits(0xfff8dead00000000), // a stale marker's kind, a payload and a sign
		math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0, math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1,
	}
	want := map[string]uint64{}
	var b tsdb.Batch
	for i, labels := range [][]string{
		{"name", "cpu", "host", "web-1", "mode", "idle"}, {"name", "cpu", "host", "wëb-2"}, {"name", "up"}, {"host", "only"},
	} {
		source := fmt.Sprint("source ", i%2)
		r := ref(t, db, source, labels...)
		names := map[string]string{}
		for k := 0; k < len(labels); k += 2 {
			names[labels[k]] = labels[k+1]
		}
		for k := range 3000 {
			at, v := int64(k-10)*15_000+rng.Int64N(1000), rng.NormFloat64()
			if k < len(special) {
				v = special[k]
			}
			b.Refs, b.T, b.V = append(b.Refs, r), append(b.T, at), append(b.V, v)
			want[rowKey(source, names, at)] = math.Float64bits(v)
		}
	}
	if _, err := db.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := db.Seal(t.Context()); err != nil { // half from chunks,
		t.Fatal(err)
	}
	late := ref(t, db, "source 0", "name", "late", "host", "x")
	if _, err := db.Append(t.Context(), tsdb.Batch{Refs: []tsdb.Ref{late}, T: []int64{5}, V: []float64{math.Copysign(0, -1)}}); err != nil {
		t.Fatal(err)
	}
	want[rowKey("source 0", map[string]string{"name": "late", "host": "x"}, 5)] = 1 << 63 // one from memory

	var file bytes.Buffer
	n, err := parquet.WriteSeries(&file, db.Query(t.Context(), tsdb.All), &parquet.Options{
		Columns: []string{"host"}, GroupRows: 5000, Metadata: map[string]string{"made by": "a test"},
	})
	if err != nil || n != int64(len(want)) {
		t.Fatalf("WriteSeries is %d, %v, want %d rows", n, err, len(want))
	}
	for _, row := range read[sampleRow](t, file.Bytes()) {
		labels := maps.Clone(row.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		if _, ok := labels["host"]; ok {
			t.Fatalf("%v has its host in the map too", labels)
		}
		if row.Host != nil {
			labels["host"] = *row.Host
		}
		key := rowKey(row.Source, labels, row.T.UnixMilli())
		bits, ok := want[key]
		if !ok || bits != math.Float64bits(row.V) {
			t.Fatalf("%s is %x, want %x, which is there: %v", key, math.Float64bits(row.V), bits, ok)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("%d rows are missing, %s for one", len(want), slices.Sorted(maps.Keys(want))[0])
	}

	f, err := pq.OpenFile(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := f.Lookup("made by"); v != "a test" {
		t.Errorf("metadata is %q", v)
	}
	if g := len(f.RowGroups()); g < 3 {
		t.Errorf("%d row groups, want at least 3 of 5,000 rows", g)
	}
	// A reader that trusts minima and maxima of v would lose rows beside NaN.
	leaf, _ := f.Schema().Lookup("v")
	for _, g := range f.Metadata().RowGroups {
		s := g.Columns[leaf.ColumnIndex].MetaData.Statistics
		if len(s.MinValue) > 0 || len(s.MaxValue) > 0 {
			t.Errorf("column v has bounds %x, %x", s.MinValue, s.MaxValue)
		}
	}
}

func rowKey(source string, labels map[string]string, at int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", source, at)
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, " %s=%q", k, labels[k])
	}
	return b.String()
}

func read[T any](t *testing.T, file []byte) []T {
	t.Helper()
	rows, err := pq.Read[T](bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// The same input makes the same bytes, so that a job that is repeated writes the
// same object.
func TestSameBytes(t *testing.T) {
	db := open(t)
	var b tsdb.Batch
	r := ref(t, db, "s", "a", "1", "b", "2", "c", "3", "d", "4", "e", "5")
	for i := range 1000 {
		b.Refs, b.T, b.V = append(b.Refs, r), append(b.T, int64(i)), append(b.V, float64(i))
	}
	if _, err := db.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var first []byte
	for range 5 {
		var file bytes.Buffer
		if _, err := parquet.WriteSeries(&file, db.Query(t.Context(), tsdb.All), nil); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = file.Bytes()
		}
		if !bytes.Equal(first, file.Bytes()) {
			t.Fatal("two files of the same series differ")
		}
	}
}

func TestLogs(t *testing.T) {
	db := open(t)
	type row struct {
		Source string            `parquet:"source"`
		Labels map[string]string `parquet:"labels"`
		Class  *string           `parquet:"class,optional"`
		T      time.Time         `parquet:"t,timestamp(millisecond)"`
		Text   string            `parquet:"text"`
	}
	texts := []string{"", "GET / 200", "line\nbreak", "nul \x00 byte", "ünï", "not UTF-8 \xff\xfe", strings.Repeat("long ", 50_000)}
	var lines []tsdb.LogLine
	r := ref(t, db, "web-1", "unit", "nginx", "class", "2xx")
	for i, text := range texts {
		lines = append(lines, tsdb.LogLine{Ref: r, T: int64(i) * 1000, Text: text})
	}
	if _, err := db.AppendLogs(t.Context(), lines); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	n, err := parquet.WriteLogs(&file, db.Logs(t.Context(), tsdb.All, nil), &parquet.Options{Columns: []string{"class"}})
	if err != nil || n != int64(len(texts)) {
		t.Fatalf("WriteLogs is %d, %v", n, err)
	}
	class := "2xx"
	var want []row
	for i, text := range texts {
		want = append(want, row{"web-1", map[string]string{"unit": "nginx"}, &class, time.UnixMilli(int64(i) * 1000).UTC(), text})
	}
	if got := read[row](t, file.Bytes()); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %.300v\nwant %.300v", got, want)
	}
}

func TestRecords(t *testing.T) {
	type header struct {
		Key   string `parquet:"key"`
		Value []byte `parquet:"value"`
	}
	type row struct {
		Topic     string   `parquet:"topic"`
		Partition int32    `parquet:"partition"`
		Offset    int64    `parquet:"offset"`
		Time      *int64   `parquet:"time,optional"`
		Key       []byte   `parquet:"key"`
		Value     *[]byte  `parquet:"value,optional"`
		Headers   []header `parquet:"headers,list"`
	}
	l := stream.NewMem()
	defer l.Close()
	p := stream.Partition{Topic: "clicks", Number: 1}
	if err := l.CreateTopic(t.Context(), "clicks", &stream.TopicOptions{Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 2, 9, 0, 0, 123_456_000, time.UTC)
	old := time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC)
	beyond := time.Date(400_000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := l.Append(t.Context(), p, []stream.Record{
		{Key: []byte("ann"), Value: []byte{0, 1, 255}, Time: at, Headers: []stream.Header{{Key: "why", Value: []byte("x")}, {Key: "why", Value: nil}}},
		{Key: []byte("bob"), Value: nil, Time: old}, // a tombstone
		{Value: []byte{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	records := func(yield func(stream.Record, error) bool) {
		for r, err := range stream.Scan(t.Context(), l, p, 0, 3) {
			if !yield(r, err) {
				return
			}
		}
		yield(stream.Record{Offset: 3, Value: []byte("far"), Time: beyond}, nil) // a log may not keep such a time
	}
	n, err := parquet.WriteRecords(&file, p, records, nil)
	if err != nil || n != 4 {
		t.Fatalf("WriteRecords is %d, %v", n, err)
	}
	got := read[row](t, file.Bytes())
	if len(got) != 4 {
		t.Fatalf("%d rows, want 4", len(got))
	}
	for i, r := range got {
		if r.Topic != "clicks" || r.Partition != 1 || r.Offset != int64(i) {
			t.Errorf("row %d is %s/%d offset %d", i, r.Topic, r.Partition, r.Offset)
		}
	}
	if r := got[0]; string(r.Key) != "ann" || r.Value == nil || !bytes.Equal(*r.Value, []byte{0, 1, 255}) || r.Time == nil || *r.Time != at.UnixMicro() ||
		len(r.Headers) != 2 || r.Headers[0].Key != "why" || string(r.Headers[0].Value) != "x" || r.Headers[1].Key != "why" || len(r.Headers[1].Value) != 0 {
		t.Errorf("the first row is %+v", r)
	}
	if r := got[1]; r.Value != nil || r.Time == nil || *r.Time != old.UnixMicro() || len(r.Headers) != 0 {
		t.Errorf("the tombstone is %+v", r)
	}
	if r := got[2]; r.Value == nil || len(*r.Value) != 0 || r.Time != nil || len(r.Key) != 0 {
		t.Errorf("the empty record is %+v", r)
	}
	if r := got[3]; r.Time != nil {
		t.Errorf("a time that is out of range is %d, want null", *r.Time)
	}
}

// point is a row of WriteRows.
type point struct {
	Name string  `parquet:"name,dict"`
	X    float64 `parquet:"x,split"`
}

func points(n int, fail error) iter.Seq2[point, error] {
	return func(yield func(point, error) bool) {
		for i := range n {
			if !yield(point{fmt.Sprint("p", i%7), float64(i)}, nil) {
				return
			}
		}
		if fail != nil {
			yield(point{}, fail)
		}
	}
}

func TestRows(t *testing.T) {
	for _, n := range []int{0, 1, 1023, 1024, 1025, 5000} {
		var file bytes.Buffer
		got, err := parquet.WriteRows(&file, points(n, nil), &parquet.Options{GroupRows: 2000})
		if err != nil || got != int64(n) {
			t.Fatalf("WriteRows of %d is %d, %v", n, got, err)
		}
		rows := read[point](t, file.Bytes())
		if len(rows) != n {
			t.Fatalf("%d rows read, want %d", len(rows), n)
		}
		for i, r := range rows {
			if want := (point{fmt.Sprint("p", i%7), float64(i)}); r != want {
				t.Fatalf("row %d is %v, want %v", i, r, want)
			}
		}
	}
}

// An error of the sequence is returned, and what was written is no file that a
// reader accepts.
func TestErrorLeavesNoFile(t *testing.T) {
	broken := errors.New("damaged block")
	db := open(t)
	r := ref(t, db, "s", "name", "n")
	if _, err := db.Append(t.Context(), tsdb.Batch{Refs: []tsdb.Ref{r}, T: []int64{1}, V: []float64{1}}); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	failing := func(yield func(*tsdb.Series, error) bool) {
		for s, err := range db.Query(t.Context(), tsdb.All) {
			if !yield(s, err) {
				return
			}
		}
		yield(nil, broken)
	}
	for name, write := range map[string]func(io.Writer) (int64, error){
		"series": func(w io.Writer) (int64, error) { return parquet.WriteSeries(w, failing, nil) },
		"logs":   func(w io.Writer) (int64, error) { return parquet.WriteLogs(w, db.Logs(ended, tsdb.All, nil), nil) },
		"rows":   func(w io.Writer) (int64, error) { return parquet.WriteRows(w, points(3000, broken), nil) },
		"records": func(w io.Writer) (int64, error) {
			return parquet.WriteRecords(w, stream.Partition{}, failedScan(broken), nil)
		},
		"a full disk": func(w io.Writer) (int64, error) {
			return parquet.WriteRows(io.MultiWriter(&full{room: 100}, w), points(5000, nil), &parquet.Options{GroupRows: 1000})
		},
	} {
		var file bytes.Buffer
		n, err := write(&file)
		if err == nil || n != 0 {
			t.Errorf("%s: %d rows, error %v, want an error", name, n, err)
		}
		if _, err := pq.OpenFile(bytes.NewReader(file.Bytes()), int64(file.Len())); err == nil {
			t.Errorf("%s: what was left is a Parquet file", name)
		}
	}
}

func failedScan(err error) iter.Seq2[stream.Record, error] {
	return func(yield func(stream.Record, error) bool) { yield(stream.Record{}, err) }
}

// A full writer takes some bytes and then no more.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

func TestInvalid(t *testing.T) {
	none := func(func(*tsdb.Series, error) bool) {}
	for _, c := range []struct {
		name string
		do   func() (int64, error)
	}{
		{"a label named like a column", func() (int64, error) {
			return parquet.WriteSeries(io.Discard, none, &parquet.Options{Columns: []string{"v"}})
		}},
		{"a label twice", func() (int64, error) {
			return parquet.WriteSeries(io.Discard, none, &parquet.Options{Columns: []string{"a", "a"}})
		}},
		{"a label without a name", func() (int64, error) {
			return parquet.WriteSeries(io.Discard, none, &parquet.Options{Columns: []string{""}})
		}},
		{"negative rows", func() (int64, error) {
			return parquet.WriteSeries(io.Discard, none, &parquet.Options{GroupRows: -1})
		}},
		{"columns of records", func() (int64, error) {
			return parquet.WriteRecords(io.Discard, stream.Partition{}, failedScan(nil), &parquet.Options{Columns: []string{"a"}})
		}},
		{"a negative partition", func() (int64, error) {
			return parquet.WriteRecords(io.Discard, stream.Partition{Number: -1}, failedScan(nil), nil)
		}},
		{"columns of rows", func() (int64, error) {
			return parquet.WriteRows(io.Discard, points(1, nil), &parquet.Options{Columns: []string{"a"}})
		}},
	} {
		if n, err := c.do(); !errors.Is(err, parquet.ErrInvalid) || n != 0 {
			t.Errorf("%s: %d, %v, want ErrInvalid", c.name, n, err)
		}
	}
}

// Records become a file that DuckDB or Spark reads.
func ExampleWriteRecords() {
	ctx := context.Background()
	l := stream.NewMem()
	defer l.Close()
	p := stream.Partition{Topic: "clicks"}
	l.CreateTopic(ctx, "clicks", nil)
	l.Append(ctx, p, []stream.Record{{Key: []byte("ann"), Value: []byte("/"), Time: time.Unix(0, 0)}})

	var file bytes.Buffer // or a file of another name, renamed at the end
	n, err := parquet.WriteRecords(&file, p, stream.Scan(ctx, l, p, 0, 1), nil)
	fmt.Println(n, err)
	// Output: 1 <nil>
}

func BenchmarkWriteSeries(b *testing.B) {
	db, err := tsdb.Open(b.TempDir(), &tsdb.Options{Manual: true})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var batch tsdb.Batch
	const n = 100_000
	for s := range 100 {
		r, err := db.Series("s", tsdb.Pairs("name", "cpu", "host", fmt.Sprint("h", s)))
		if err != nil {
			b.Fatal(err)
		}
		for i := range n / 100 {
			batch.Refs, batch.T, batch.V = append(batch.Refs, r), append(batch.T, int64(i)*15_000), append(batch.V, float64(i%50)/10)
		}
	}
	if _, err := db.Append(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if rows, err := parquet.WriteSeries(io.Discard, db.Query(b.Context(), tsdb.All), nil); err != nil || rows != n {
			b.Fatal(rows, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
