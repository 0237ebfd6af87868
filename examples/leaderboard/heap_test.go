package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Both heaps of k hold what sorting everything would put first, whatever comes.
func TestHeapsAgreeWithSorting(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		k := 1 + r.IntN(20)
		least, greatest, all := newHeap(lesser), newHeap(greater), newHeap(greater)
		counts := map[string]uint64{}
		for range 500 {
			id := fmt.Sprint(r.IntN(1 + r.IntN(60)))
			counts[id] += 1 + r.Uint64N(3)
			e := entry{id, counts[id]}
			least.offer(e, k)
			greatest.offerMax(e, k)
			if i, ok := all.place[id]; ok {
				all.set(i, e)
			} else {
				all.push(e)
			}
		}
		var want []entry
		for id, n := range counts {
			want = append(want, entry{id, n})
		}
		slices.SortFunc(want, byRank)
		top := want[:min(k, len(want))]
		if got := ranked(least.entries, k); !slices.Equal(got, top) {
			t.Fatalf("seed %d: the min-heap has %v, want %v", seed, got, top)
		}
		if got := ranked(greatest.entries, k); !slices.Equal(got, top) {
			t.Fatalf("seed %d: the max-heap has %v, want %v", seed, got, top)
		}
		if got := exactly(counts, k); !slices.Equal(got, top) {
			t.Fatalf("seed %d: exactly gives %v, want %v", seed, got, top)
		}
		for _, e := range want {
			if got := all.pop(); got != e {
				t.Fatalf("seed %d: popped %v, want %v", seed, got, e)
			}
		}
		if len(all.place) != 0 {
			t.Fatalf("seed %d: %d places are left of an empty heap", seed, len(all.place))
		}
	}
}

// The plain sketch never says too little, and often too much.
func TestPlain(t *testing.T) {
	p := newPlain(64, 4)
	counts := map[string]uint64{}
	r := rand.New(rand.NewPCG(3, 3))
	for range 5000 {
		id := fmt.Sprint(r.IntN(500))
		counts[id]++
		if got := p.AddString(id, 1); got < counts[id] {
			t.Fatalf("%s counts %d, is %d", id, got, counts[id])
		}
	}
	above := 0
	for id, n := range counts {
		if p.CountString(id) > n {
			above++
		}
	}
	if above == 0 {
		t.Error("500 items in 64 counters share none")
	}
	if got := p.CountString("never"); got > 5000 {
		t.Errorf("an item that never came counts %d", got)
	}
}
