package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/wal"
)

var ctx = context.Background()

func open(t testing.TB, dir string, opts *wal.Options) *wal.Log {
	t.Helper()
	l, err := wal.Open(dir, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l
}

type rec struct {
	pos  uint64
	data string
}

func replay(t testing.TB, l *wal.Log, from uint64) (recs []rec) {
	t.Helper()
	for r, err := range l.Replay(from) {
		if err != nil {
			t.Fatalf("Replay: %v", err)
		}
		recs = append(recs, rec{r.Pos, string(r.Data)})
	}
	return recs
}

func equal(t testing.TB, what string, got, want []rec) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s: %d records, want %d; the first missing is at %d", what, len(got), len(want), want[i].pos)
		case i >= len(want):
			t.Fatalf("%s: %d records, want %d; the first surplus is at %d", what, len(got), len(want), got[i].pos)
		case got[i] != want[i]:
			t.Fatalf("%s: record %d is %.20q at %d, want %.20q at %d", what, i, got[i].data, got[i].pos, want[i].data, want[i].pos)
		}
	}
}

// TestModel runs random operations on a log and on a slice.
func TestModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { testModel(t, seed) })
	}
}

func testModel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	var fsys vfs.FS = vfs.NewSim()
	dir := "log"
	if seed%5 == 0 {
		fsys, dir = vfs.OS, t.TempDir()
	}
	opts := &wal.Options{SegmentSize: 4096 << rng.IntN(4), FS: fsys}
	l := open(t, dir, opts)
	defer func() { l.Close() }()
	var model []rec
	n := 0
	data := func() []byte {
		n++
		size := rng.IntN(200)
		if rng.IntN(30) == 0 {
			size = rng.IntN(12000)
		}
		return append([]byte(fmt.Sprintf("%d:", n)), make([]byte, size)...)
	}
	for range 600 {
		switch op := rng.IntN(100); {
		case op < 50:
			d := data()
			pos, end, err := l.Append(d)
			if err != nil {
				t.Fatalf("Append: %v", err)
			}
			if end != l.End() || pos >= end {
				t.Fatalf("Append = %d, %d; the log ends at %d", pos, end, l.End())
			}
			model = append(model, rec{pos, string(d)})
		case op < 65:
			var b wal.Batch
			var ds [][]byte
			for range rng.IntN(20) {
				d := data()
				if err := b.Add(d[:len(d)/2], d[len(d)/2:]); err != nil {
					t.Fatal(err)
				}
				ds = append(ds, d)
			}
			if _, err := l.AppendBatch(&b); err != nil {
				t.Fatalf("AppendBatch: %v", err)
			}
			for i, d := range ds {
				model = append(model, rec{b.Pos(i), string(d)})
			}
		case op < 80:
			if err := l.Sync(ctx, l.End()); err != nil {
				t.Fatalf("Sync: %v", err)
			}
		case op < 84 && len(model) > 0:
			i := rng.IntN(len(model))
			if _, err := l.TruncateFrom(model[i].pos); err != nil {
				t.Fatalf("TruncateFrom: %v", err)
			}
			if _, err := l.Read(model[i].pos, nil); !errors.Is(err, wal.ErrNotFound) {
				t.Fatalf("Read of a cut record: %v", err)
			}
			model = model[:i:i]
		case op < 88:
			i, pos := len(model), l.End()
			if len(model) > 0 && rng.IntN(8) > 0 {
				i = rng.IntN(len(model))
				pos = model[i].pos
			}
			if _, err := l.TruncateBefore(pos); err != nil {
				t.Fatalf("TruncateBefore: %v", err)
			}
			model = model[i:]
		case op < 90:
			if err := l.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			if _, _, err := l.Append(nil); !errors.Is(err, wal.ErrClosed) {
				t.Fatalf("Append after Close: %v", err)
			}
			l = open(t, dir, opts)
			if r := l.Recovery(); !r.Clean || r.Torn != nil {
				t.Fatalf("Recovery after Close = %+v", r)
			}
		case op < 92:
			equal(t, "Replay", replay(t, l, 0), model)
		case len(model) > 0:
			i := rng.IntN(len(model))
			got, err := l.Read(model[i].pos, make([]byte, 0, rng.IntN(1000)))
			if err != nil || string(got) != model[i].data {
				t.Fatalf("Read(%d) = %.20q, %v; want %.20q", model[i].pos, got, err, model[i].data)
			}
			equal(t, "Replay from the middle", replay(t, l, model[i].pos), model[i:])
		}
	}
	equal(t, "Replay", replay(t, l, 0), model)
}

func TestConcurrent(t *testing.T) {
	l := open(t, t.TempDir(), &wal.Options{SegmentSize: 64 << 10})
	defer l.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				d := bytes.Repeat([]byte{byte(g)}, 100+i)
				pos, end, err := l.Append(d)
				if err == nil {
					err = l.Sync(ctx, end)
				}
				if err != nil {
					t.Errorf("append and sync: %v", err)
					return
				}
				got, err := l.Read(pos, nil)
				if err != nil && !errors.Is(err, wal.ErrNotFound) || err == nil && !bytes.Equal(got, d) {
					t.Errorf("Read(%d) = %d bytes, %v", pos, len(got), err)
				}
				if g == 0 && i%20 == 19 {
					if _, err := l.TruncateBefore(pos); err != nil {
						t.Errorf("TruncateBefore: %v", err)
					}
				}
				if g == 1 && i%10 == 0 {
					for _, err := range l.Replay(0) {
						if err != nil {
							t.Errorf("Replay: %v", err)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	s := l.Stats()
	if s.Records < 800 || s.Syncs == 0 || s.Syncs > s.Waits+20 {
		t.Errorf("Stats = %+v", s)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	if _, err := wal.Open(dir, nil); !errors.Is(err, wal.ErrLocked) {
		t.Errorf("second Open: %v, want ErrLocked", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	open(t, dir, nil).Close()
	if _, err := os.Stat(filepath.Join(dir, "0000000000000001.wal")); err != nil {
		t.Error(err)
	}
}
