package stream

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

var updateGolden = flag.Bool("update", false, "write testdata anew")

const golden = "testdata/v1"

// goldenLog fills a log with something of everything that is in files.
func goldenLog(t *testing.T, l *Local) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(l.CreateTopic(ctx, "plain", &TopicOptions{Partitions: 2, Retention: time.Hour, RetainBytes: 1 << 40}))
	check(l.CreateTopic(ctx, "keyed", &TopicOptions{Compact: true}))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range 5 {
		_, err := l.Append(ctx, Partition{"plain", i % 2}, []Record{
			{Key: []byte("key"), Value: []byte{byte(i)}, Time: at.Add(time.Duration(i) * time.Second)},
			{Value: []byte("a value"), Headers: []Header{{"name", []byte("x")}, {"", nil}}},
			{Key: []byte("tombstone")},
		})
		check(err)
	}
	for _, v := range []string{"first", "second"} {
		_, err := l.Append(ctx, Partition{"keyed", 0}, []Record{{Key: []byte("k"), Value: []byte(v)}})
		check(err)
	}
	_, err := l.Transact(ctx, &Tx{
		Appends: []Append{{Partition{"plain", 1}, []Record{{Value: []byte("in a transaction")}}}},
		Group:   "group", Offsets: map[Partition]Offset{{"plain", 0}: {Next: 3, Epoch: 1}},
	})
	check(err)
}

// goldenText returns everything that the log holds, as text.
func goldenText(t *testing.T, l *Local) (lines []string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"keyed", "plain"} {
		o, err := l.Topic(ctx, name)
		check(err)
		lines = append(lines, fmt.Sprintf("%s %+v", name, o))
		for n := range o.Partitions {
			p := Partition{name, n}
			first, next, err := l.Bounds(ctx, p)
			check(err)
			lines = append(lines, fmt.Sprint(p, first, next))
			for r, err := range Scan(ctx, l, p, first, next) {
				check(err)
				lines = append(lines, fmt.Sprintf("%d %q %q %t %v %q", r.Offset, r.Key, r.Value, r.Value == nil, r.Time, r.Headers))
			}
		}
	}
	at, err := l.Committed(ctx, "group")
	check(err)
	return append(lines, fmt.Sprint(at))
}

// A directory of version 1 is read for ever: testdata has one.
func TestGolden(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "log")
	l := mustOpen(t, vfs.OS, fresh, &Options{SegmentSize: 64 << 10})
	goldenLog(t, l)
	want := goldenText(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if *updateGolden {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(golden, os.DirFS(fresh)); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, vfs.OS, dir, nil)
	if d := l.Recovery().Damage; len(d) > 0 {
		t.Fatal(d)
	}
	if got := goldenText(t, l); !slices.Equal(got, want) {
		t.Fatalf("read as\n%q\nwritten as\n%q", got, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
