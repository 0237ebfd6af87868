package minheap

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAgainstSorting(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var h Heap[int, string]
		var keys []int
		for range r.IntN(200) {
			if len(keys) > 0 && r.IntN(3) == 0 {
				slices.Sort(keys)
				if got := h.Pop(); got.Key != keys[0] || got.Value != "x" {
					t.Fatalf("seed %d: %v, want %d", seed, got, keys[0])
				}
				keys = keys[1:]
				continue
			}
			k := r.IntN(50)
			h.Push(k, "x")
			keys = append(keys, k)
		}
		if len(h) != len(keys) {
			t.Fatalf("seed %d: %d items, want %d", seed, len(h), len(keys))
		}
		slices.Sort(keys)
		for _, k := range keys {
			if h[0].Key != k || h.Pop().Key != k {
				t.Fatalf("seed %d: want %d", seed, k)
			}
		}
	}
}

func BenchmarkPushPop(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	var h Heap[uint32, uint32]
	for range 1000 {
		h.Push(r.Uint32(), 0)
	}
	for b.Loop() {
		top := h.Pop()
		h.Push(top.Key+uint32(r.IntN(1<<20)), 0)
	}
}
