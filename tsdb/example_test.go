package tsdb_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/ashlar-go/ashlar/tsdb"
)

// openTemp opens a database for an example, with the clock at its data.
func openTemp(o tsdb.Options) (db *tsdb.DB, done func()) {
	dir, err := os.MkdirTemp("", "tsdb")
	if err != nil {
		panic(err)
	}
	o.Now = func() time.Time { return time.UnixMilli(1_700_100_000_000) }
	if db, err = tsdb.Open(dir, &o); err != nil {
		panic(err)
	}
	return db, func() { db.Close(); os.RemoveAll(dir) }
}

// Two hosts report their load every 15 seconds; one sample comes late.
func Example() {
	db, done := openTemp(tsdb.Options{})
	defer done()
	ctx := context.Background()

	var b tsdb.Batch
	for _, host := range []string{"web-1", "web-2", "db-1"} {
		ref, err := db.Series(host, tsdb.Pairs("name", "load", "host", host))
		if err != nil {
			panic(err)
		}
		for i, v := range []float64{0.5, 0.75, 4.25, 0.5} {
			b.Refs = append(b.Refs, ref)
			b.T = append(b.T, 1_700_000_000_000+int64(i)*15_000)
			b.V = append(b.V, v)
		}
	}
	b.T[0], b.T[3] = b.T[3], b.T[0] // any order will do
	res, err := db.Append(ctx, b)
	fmt.Println(res.Accepted, err)

	for s, err := range db.Query(ctx, tsdb.All, tsdb.Eq("name", "load"), tsdb.Re("host", "web-.*")) {
		if err != nil {
			panic(err)
		}
		for b, err := range s.Blocks() {
			fmt.Println(s.Label("host"), b.V, err)
		}
	}
	// Output:
	// 12 <nil>
	// web-1 [0.5 0.75 4.25 0.5] <nil>
	// web-2 [0.5 0.75 4.25 0.5] <nil>
}

// Sealed blocks are summed up from the index.
func ExampleDB_Aggregate() {
	db, done := openTemp(tsdb.Options{})
	defer done()
	ctx := context.Background()
	ref, _ := db.Series("shop", tsdb.Pairs("name", "orders"))
	var b tsdb.Batch
	for i := range 120 {
		b.Refs = append(b.Refs, ref)
		b.T = append(b.T, 1_699_999_200_000+int64(i)*60_000)
		b.V = append(b.V, float64(i%10))
	}
	if _, err := db.Append(ctx, b); err != nil {
		panic(err)
	}
	if err := db.Seal(ctx); err != nil {
		panic(err)
	}
	for s, err := range db.Aggregate(ctx, tsdb.All, time.Hour, tsdb.Eq("name", "orders")) {
		if err != nil {
			panic(err)
		}
		for _, b := range s.Buckets {
			fmt.Println(time.UnixMilli(b.T).UTC().Format("15:04"), b.Count, b.Sum, b.Mean(), b.Max)
		}
	}
	// Output:
	// 22:00 60 270 4.5 9
	// 23:00 60 270 4.5 9
}

// At the limit new series are refused, and the report says which label is to
// blame.
func ExampleDB_TopLabels() {
	db, done := openTemp(tsdb.Options{MaxSeries: 3})
	defer done()
	for i := range 5 {
		_, err := db.Series("app", tsdb.Pairs("name", "latency", "user", fmt.Sprint("u", i)))
		if err != nil {
			fmt.Println(err)
		}
	}
	for _, l := range db.TopLabels(1) {
		fmt.Println(l.Name, l.Values)
	}
	// Output:
	// tsdb: too many series: 3
	// tsdb: too many series: 3
	// user 3
}

// Lines of text stand beside the metrics of the same source.
func ExampleDB_Logs() {
	db, done := openTemp(tsdb.Options{})
	defer done()
	ctx := context.Background()
	ref, _ := db.Series("web-1", tsdb.Pairs("unit", "nginx"))
	_, err := db.AppendLogs(ctx, []tsdb.LogLine{
		{Ref: ref, T: 1_700_000_000_000, Text: "GET /a 200"},
		{Ref: ref, T: 1_700_000_001_000, Text: "GET /b 503"},
		{Ref: ref, T: 1_700_000_002_000, Text: "GET /c 200"},
	})
	if err != nil {
		panic(err)
	}
	for e, err := range db.Logs(ctx, tsdb.All, regexp.MustCompile(` 5\d\d$`), tsdb.Eq("unit", "nginx")) {
		fmt.Println(e.Source, e.Text, err)
	}
	for e := range db.Logs(ctx, tsdb.All, tsdb.Contains("/c")) {
		fmt.Println(e.Labels(), e.Text)
	}
	// Output:
	// web-1 GET /b 503 <nil>
	// {unit="nginx"} GET /c 200
}
