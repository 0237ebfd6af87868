package hll

import (
	"bytes"
	"errors"
	"math"
	"sync"
	"testing"
)

// Many goroutines that add overlapping items make the sketch of the set.
func TestConcurrent(t *testing.T) {
	rng := newRand(16)
	hs := hashesOf(rng, 40_000)
	c, err := NewConcurrent(6)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range hs { // half of all, from different places on
				if h := hs[(i+w*5000)%len(hs)]; (i/7+w)%2 == 0 {
					c.AddHash(h)
				}
				if i%10_000 == 0 {
					c.Estimate()
				}
			}
		})
	}
	wg.Wait()
	var added []uint64
	for w := range 2 {
		for i := range hs {
			if (i/7+w)%2 == 0 {
				added = append(added, hs[(i+w*5000)%len(hs)])
			}
		}
	}
	for w := 2; w < 8; w++ {
		for i := range hs {
			if (i/7+w)%2 == 0 {
				added = append(added, hs[(i+w*5000)%len(hs)])
			}
		}
	}
	want := exaOf(6, MaxWidth, added)
	if !bytes.Equal(encoding(t, c.Snapshot()), encoding(t, want)) {
		t.Fatal("not the sketch of the set")
	}
	if c.Estimate() != want.Estimate() {
		t.Fatal("not its estimate")
	}
	// A snapshot joins the others after lowering, exactly.
	e := exaOf(6, Width, nil)
	e.Merge(c.Snapshot())
	if !bytes.Equal(encoding(t, e), encoding(t, exaOf(6, Width, added))) {
		t.Fatal("merged into another")
	}
	// And a snapshot goes on.
	again, err := c.Snapshot().Concurrent()
	if err != nil {
		t.Fatal(err)
	}
	few, err := exaOf(6, Width, hs[:20]).Concurrent()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hashesOf(newRand(99), 500) {
		again.AddHash(h)
		want.AddHash(h)
	}
	if !bytes.Equal(encoding(t, again.Snapshot()), encoding(t, want)) {
		t.Fatal("a snapshot goes on as another")
	}
	if n := few.Estimate(); math.Abs(n-20) > 4 {
		t.Errorf("%v of 20", n)
	}
	if _, err := exaOf(6, Width, added).Concurrent(); !errors.Is(err, ErrIncompatible) {
		t.Errorf("from a narrower one: %v", err)
	}
	c.Reset()
	if c.Estimate() != 0 {
		t.Fatal("not empty after Reset")
	}
}

// Each change is reported to one caller.
func TestConcurrentChanged(t *testing.T) {
	c, err := NewConcurrent(3)
	if err != nil {
		t.Fatal(err)
	}
	hs := hashesOf(newRand(17), 3000)
	var changes [4]int
	var wg sync.WaitGroup
	for w := range changes {
		wg.Go(func() {
			for _, h := range hs {
				if c.AddHash(h) {
					changes[w]++
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range changes {
		total += n
	}
	// Each change sets a bit or raises a register, never the other way.
	most := 0
	for i := range c.regs {
		most += int(c.regs[i] >> MaxWidth)
	}
	if total == 0 || total > most {
		t.Errorf("%d changes, at most %d are possible", total, most)
	}
	if n := c.Estimate(); math.IsNaN(n) {
		t.Error(n)
	}
}
