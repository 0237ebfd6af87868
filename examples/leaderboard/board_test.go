package main

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

// A shard that is written and read is the same one, and counts on as one that was
// never written.
func TestShardGoesOn(t *testing.T) {
	list := generate(40_000)[1]
	never, err := newShard()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newShard()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range list {
		if err := errors.Join(never.add(p.play), s.add(p.play)); err != nil {
			t.Fatal(err)
		}
		if i%1000 != 0 {
			continue
		}
		state, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if s, err = decodeShard(state); err != nil {
			t.Fatal(err)
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(state, again) {
			t.Fatalf("after %d plays: decoding does not undo encoding", i+1)
		}
	}
	a, b := s.minutes, never.minutes
	if !slices.Equal(s.all.heap.entries, never.all.heap.entries) || s.total() != never.total() || s.top.Total() != never.top.Total() ||
		a.late != b.late || a.again != b.again || a.late == 0 || a.again == 0 || !slices.Equal(a.starts(), b.starts()) || a.watermark() != b.watermark() {
		t.Errorf("the shard that was written counted otherwise: %d late and %d again, %d late and %d again", a.late, a.again, b.late, b.again)
	}
	for _, start := range a.starts() {
		if a.boards[start].Total() != b.boards[start].Total() {
			t.Errorf("minute %s: %d counts, want %d", clock(start), a.boards[start].Total(), b.boards[start].Total())
		}
	}
}

// Bytes that are not a shard are an error, and never a panic.
func FuzzShard(f *testing.F) {
	s, err := newShard()
	if err != nil {
		f.Fatal(err)
	}
	c := newCrowd(2)
	for i := range 300 {
		if err := s.add(c.play(0, opening.Add(time.Duration(i)*time.Second))); err != nil {
			f.Fatal(err)
		}
	}
	state, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[:len(state)-1])
	f.Add(state[:5])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeShard(b)
		if err != nil {
			return
		}
		if _, err := s.encode(); err != nil {
			t.Errorf("a shard that was read cannot be written: %v", err)
		}
	})
}
