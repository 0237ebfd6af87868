package flow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

func TestSpecs(t *testing.T) {
	for _, s := range []Spec{{}, Tumbling(0), Tumbling(-1), Hopping(10, 0), Hopping(10, 11), Sliding(0), Session(-1)} {
		if _, err := NewWindow(s, Count[int](), nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewWindow(%+v) = %v", s, err)
		}
	}
	if _, err := NewWindow(Tumbling(1), Count[int](), &WindowOptions{Lateness: -1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("NewWindow with negative lateness = %v", err)
	}
	if _, err := NewWindow(Tumbling(1), Aggregate[int, int]{}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("NewWindow without functions = %v", err)
	}
}

func TestFloor(t *testing.T) {
	for _, c := range []struct{ t, step, offset, want int64 }{
		{0, 10, 0, 0}, {9, 10, 0, 0}, {10, 10, 0, 10}, {-1, 10, 0, -10}, {-10, 10, 0, -10}, {-11, 10, 0, -20}, {2, 10, 3, -7}, {3, 10, 3, 3},
	} {
		if got := Instant(c.t).floor(time.Duration(c.step), time.Duration(c.offset)); got != Instant(c.want) {
			t.Errorf("floor(%d, %d, %d) = %d, want %d", c.t, c.step, c.offset, got, c.want)
		}
	}
}

func TestWatermarks(t *testing.T) {
	w, err := NewWatermarks(3, 0, &WatermarkOptions{Bound: 10, Idle: 100, MaxAhead: 50})
	if err != nil {
		t.Fatal(err)
	}
	want := func(now, mark Instant) {
		t.Helper()
		if got := w.Current(now); got != mark {
			t.Errorf("Current(%d) = %d, want %d", now, got, mark)
		}
	}
	want(0, Beginning)
	w.Observe(0, 40, 1)
	w.Observe(1, 30, 1)
	want(1, Beginning) // input 2 has not been seen
	want(100, 19)      // and is idle now
	w.Observe(2, 25, 100)
	want(100, 19) // it never falls
	w.Observe(0, 60, 100)
	w.Observe(1, 60, 100)
	want(100, 19)
	w.Observe(2, 60, 101)
	want(101, 49)
	if w.Observe(2, 1000, 102) {
		t.Error("an event 898 ahead passes, MaxAhead is 50")
	}
	want(102, 49)
	w.End(0)
	w.End(1)
	want(102, 49)
	w.End(2)
	want(102, Forever)
	// All idle: it stands still.
	w, _ = NewWatermarks(1, 0, &WatermarkOptions{Idle: 10})
	w.Observe(0, 5, 0)
	want(0, 4)
	want(1000, 4)
	if _, err := NewWatermarks(0, 0, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("NewWatermarks(0) = %v", err)
	}
}

// TestTable compares a table with a scan over all its changes.
func TestTable(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 4))
		l := stream.NewMem()
		if err := l.CreateTopic(ctx, "users", &stream.TopicOptions{Partitions: 2, Compact: true}); err != nil {
			t.Fatal(err)
		}
		type change struct {
			at    int
			value []byte
		}
		all := map[string][]change{}
		for i := range 200 {
			k, at := fmt.Sprint("u", rng.IntN(8)), rng.IntN(1000)
			var v []byte
			if rng.IntN(4) > 0 {
				v = fmt.Append(nil, i)
			}
			all[k] = append(all[k], change{at, v})
			p := stream.Partition{Topic: "users", Number: stream.PartitionOf([]byte(k), 2)}
			if _, err := l.Append(ctx, p, []stream.Record{{Key: []byte(k), Value: v, Time: Instant(at).Time()}}); err != nil {
				t.Fatal(err)
			}
		}
		latest, err := LoadTable(ctx, l, "users", nil)
		if err != nil {
			t.Fatal(err)
		}
		versions, err := LoadTable(ctx, l, "users", &TableOptions{History: -1})
		if err != nil {
			t.Fatal(err)
		}
		recent, err := LoadTable(ctx, l, "users", &TableOptions{History: 300})
		if err != nil {
			t.Fatal(err)
		}
		live := 0
		for k, cs := range all {
			last := cs[len(cs)-1].value
			if v, ok := latest.Get(k); ok != (last != nil) || string(v) != string(last) {
				t.Errorf("seed %d: Get(%s) = %q, want %q", seed, k, v, last)
			}
			if last != nil {
				live++
			}
			newest := 0
			for _, c := range cs {
				newest = max(newest, c.at)
			}
			for at := -1; at < 1001; at += 13 {
				var want []byte
				best := -1
				for _, c := range cs {
					if c.at <= at && c.at >= best {
						best, want = c.at, c.value
					}
				}
				if v, ok := versions.At(k, Instant(at)); ok != (want != nil) || string(v) != string(want) {
					t.Errorf("seed %d: At(%s, %d) = %q, want %q", seed, k, at, v, want)
				}
				if v, ok := recent.At(k, Instant(at)); at >= newest-300 && (ok != (want != nil) || string(v) != string(want)) {
					t.Errorf("seed %d: with history At(%s, %d) = %q, want %q", seed, k, at, v, want)
				}
			}
		}
		if latest.Len() != live {
			t.Errorf("seed %d: Len = %d, want %d", seed, latest.Len(), live)
		}
	}
}

func TestTableRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := stream.NewMem()
		defer l.Close()
		if err := l.CreateTopic(ctx, "users", nil); err != nil {
			t.Fatal(err)
		}
		table, err := LoadTable(ctx, l, "users", nil)
		if err != nil {
			t.Fatal(err)
		}
		c, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- table.Run(c) }()
		held := make(chan error, 1)
		go func() { held <- table.Hold(c, 10) }()
		for _, at := range []Instant{5, 12} {
			synctest.Wait()
			select {
			case <-held:
				t.Errorf("Hold(10) returned before %d", at)
			default:
			}
			if _, err := l.Append(ctx, stream.Partition{Topic: "users"}, []stream.Record{{Key: []byte("a"), Value: []byte("1"), Time: at.Time()}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-held; err != nil {
			t.Errorf("Hold = %v", err)
		}
		if err := table.CatchUp(c); err != nil {
			t.Error(err)
		}
		if v, ok := table.Get("a"); !ok || string(v) != "1" {
			t.Errorf("Get = %q, %v", v, ok)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	})
}

// FuzzState: an error, or a state that encodes to what decodes the same.
func FuzzState(f *testing.F) {
	for i, spec := range specs {
		w, _ := NewWindow(spec, collect(), &WindowOptions{Lateness: 50})
		for k := range 10 {
			w.Add(&Event[int]{Key: "k", Time: Instant(k * k), Value: k}, func(Pane[[]int]) {})
		}
		w.Advance(40, func(Pane[[]int]) {})
		w.Checkpoint(func(_ string, b []byte) { f.Add(byte(i), slices.Clone(b)) })
	}
	f.Fuzz(func(t *testing.T, i byte, b []byte) {
		w, err := NewWindow(specs[int(i)%len(specs)], collect(), &WindowOptions{Lateness: 50})
		if err != nil {
			t.Fatal(err)
		}
		k, err := w.decode("k", b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrIncompatible) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		enc := w.encode(nil, k)
		again, err := w.decode("k", enc)
		if err != nil || !slices.Equal(w.encode(nil, again), enc) {
			t.Fatalf("encoded again: %v", err)
		}
	})
}
