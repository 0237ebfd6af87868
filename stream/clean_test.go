package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A clock that tests turn.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func TestRetention(t *testing.T) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	l := mustOpen(t, vfs.NewSim(), "log", &Options{SegmentSize: 4096, CleanEvery: -1, Now: c.Now})
	create(t, l, "short", &TopicOptions{Retention: time.Hour})
	create(t, l, "small", &TopicOptions{RetainBytes: 3000})
	create(t, l, "all", nil)
	short, small, all := Partition{Topic: "short"}, Partition{Topic: "small"}, Partition{Topic: "all"}
	for i := range 60 {
		v := fmt.Sprint(i, strings.Repeat("x", 200))
		// An event time far in the future must not keep or expire anything.
		if _, err := l.Append(ctx, short, []Record{{Value: []byte(v), Time: time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)}}); err != nil {
			t.Fatal(err)
		}
		add(t, l, small, v)
		add(t, l, all, v)
		c.now = c.now.Add(2 * time.Minute)
	}
	before := l.Stats()
	if err := l.Clean(ctx); err != nil {
		t.Fatal(err)
	}
	first, next, _ := l.Bounds(ctx, short)
	if next != 60 || first < 20 || first > 31 {
		t.Errorf("short holds [%d, %d), want about the last 30", first, next)
	}
	first, next, _ = l.Bounds(ctx, small)
	if kept := (next - first) * 300; next != 60 || kept < 3000 || kept > 3000+4096 {
		t.Errorf("small holds [%d, %d)", first, next)
	}
	if got := values(t, l, all); len(got) != 60 {
		t.Errorf("all has %d records", len(got))
	}
	if after := l.Stats(); after.Disk >= before.Disk*3/4 || after.Cleaned == 0 {
		t.Errorf("%d bytes before, %d after", before.Disk, after.Disk)
	}
	var off *OffsetError
	if err := l.Read(ctx, short, 0, new(Batch)); !errors.As(err, &off) || off.First == 0 {
		t.Errorf("Read before the first offset = %v", err)
	}
	// Nothing is left of a partition that expired altogether, and its offsets go on.
	c.now = c.now.Add(24 * time.Hour)
	if err := l.Clean(ctx); err != nil {
		t.Fatal(err)
	}
	if first, next, _ := l.Bounds(ctx, short); first != 60 || next != 60 {
		t.Errorf("short holds [%d, %d)", first, next)
	}
	if off, err := l.Append(ctx, short, []Record{{Value: []byte("x")}}); err != nil || off != 60 {
		t.Errorf("Append = %d, %v", off, err)
	}
}

// TestCompaction compares a compacted topic with a map, and checks that space is
// given back, that nothing that was the last of its key goes, that an order of
// offsets is kept, and that tombstones go in the end.
func TestCompaction(t *testing.T) {
	for seed := range uint64(20) {
		c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		sim := vfs.NewSim()
		o := &Options{SegmentSize: 4096, CleanEvery: -1, CleanRatio: 0.3, Now: c.Now, Sync: Sync(seed % 3)}
		l := mustOpen(t, sim, "log", o)
		create(t, l, "other", nil)
		create(t, l, "t", &TopicOptions{Compact: true, TombstoneKeep: time.Hour})
		p := Partition{Topic: "t"}
		rng := rand.New(rand.NewPCG(seed, 5))
		want := map[string]string{}
		lastOffset := map[string]int64{}
		for i := range 600 {
			k := fmt.Sprint("k", rng.IntN(20))
			r := Record{Key: []byte(k)}
			if rng.IntN(5) > 0 {
				r.Value = fmt.Append(nil, i, strings.Repeat("v", rng.IntN(100)))
			}
			off, err := l.Append(ctx, p, []Record{r})
			if err != nil {
				t.Fatal(err)
			}
			lastOffset[k] = off
			if delete(want, k); r.Value != nil {
				want[k] = string(r.Value)
			}
			if i%10 == 0 {
				add(t, l, Partition{Topic: "other"}, "x")
			}
			c.now = c.now.Add(time.Second)
			if i%97 == 0 {
				if err := l.Clean(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if i == 300 {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = mustOpen(t, sim, "log", o)
			}
		}
		check := func(when string, most int) {
			t.Helper()
			got, n, last := map[string]string{}, 0, int64(-1)
			first, next, _ := l.Bounds(ctx, p)
			for r, err := range Scan(ctx, l, p, first, next) {
				if err != nil {
					t.Fatalf("seed %d %s: %v", seed, when, err)
				}
				if n++; r.Offset <= last {
					t.Fatalf("seed %d %s: offset %d after %d", seed, when, r.Offset, last)
				}
				last = r.Offset
				if delete(got, string(r.Key)); r.Value != nil {
					got[string(r.Key)] = string(r.Value)
				}
				if r.Value != nil && r.Offset > lastOffset[string(r.Key)] {
					t.Fatalf("seed %d %s: a record from nowhere", seed, when)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d %s: %v, want %v", seed, when, got, want)
			}
			if n > most {
				t.Errorf("seed %d %s: %d records for %d keys", seed, when, n, len(want))
			}
			if got := values(t, l, Partition{Topic: "other"}); len(got) != 60 {
				t.Errorf("seed %d %s: the other topic has %d records", seed, when, len(got))
			}
		}
		check("before", 600)
		if err := l.Clean(ctx); err != nil {
			t.Fatal(err)
		}
		check("cleaned", 250)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, sim, "log", o)
		check("opened again", 250)
		l.Close()
	}
}

// TestTombstonesGo: only after their time, and never before older records of
// their key.
func TestTombstonesGo(t *testing.T) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	l := mustOpen(t, vfs.NewSim(), "log", &Options{SegmentSize: 4096, CleanEvery: -1, CleanRatio: 0.001, Now: c.Now})
	create(t, l, "t", &TopicOptions{Compact: true, TombstoneKeep: time.Hour})
	p := Partition{Topic: "t"}
	put := func(k string, v []byte) {
		if _, err := l.Append(ctx, p, []Record{{Key: []byte(k), Value: v}}); err != nil {
			t.Fatal(err)
		}
	}
	fill := func() {
		for i := range 10 {
			put("filler", fmt.Append(nil, i, strings.Repeat("x", 1000)))
		}
	}
	count := func() (n int) {
		first, next, _ := l.Bounds(ctx, p)
		for r, err := range Scan(ctx, l, p, first, next) {
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Key) == "gone" {
				n++
			}
		}
		return n
	}
	clean := func() {
		if err := l.Clean(ctx); err != nil {
			t.Fatal(err)
		}
	}
	put("gone", []byte("v"))
	fill()
	put("gone", nil)
	fill()
	clean()
	if n := count(); n != 1 {
		t.Errorf("%d records of the key, want the tombstone", n)
	}
	c.now = c.now.Add(2 * time.Hour)
	fill()
	clean()
	if n := count(); n != 0 {
		t.Errorf("%d records of the key after the tombstone's time", n)
	}
}

// TestReadersDuringCleaning: a reader in the middle of a segment that is replaced
// reads on.
func TestReadersDuringCleaning(t *testing.T) {
	l := mustOpen(t, vfs.OS, t.TempDir(), &Options{SegmentSize: 4096, CleanEvery: -1, CleanRatio: 0.001, Sync: SyncNone})
	create(t, l, "t", &TopicOptions{Compact: true, TombstoneKeep: 1})
	p := Partition{Topic: "t"}
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && i < 3000; i++ {
			_, err = l.Append(ctx, p, []Record{{Key: fmt.Append(nil, i%7), Value: fmt.Append(nil, i)}})
		}
		done <- err
	}()
	var b Batch
	last := int64(-1)
	for from := int64(0); from < 3000; from = b.Next {
		b.MaxBytes = 300
		if err := l.Read(ctx, p, from, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			if r.Offset <= last || string(r.Value) != fmt.Sprint(r.Offset) {
				t.Fatalf("offset %d after %d: %q", r.Offset, last, r.Value)
			}
			last = r.Offset
		}
		if from%5 == 0 {
			if err := l.Clean(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-done; err != nil || last != 2999 {
		t.Errorf("%v, the last offset is %d", err, last)
	}
}
