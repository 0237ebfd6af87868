package hll

import (
	"fmt"
	"testing"
)

var (
	sinkBool  bool
	sinkFloat float64
)

func filled(p, n int) (*Exa, *Sketch) {
	rng := newRand(1)
	e, s := &Exa{p: uint8(p), d: Width}, &Sketch{p: uint8(p)}
	for range n {
		h := rng.Uint64()
		e.AddHash(h)
		s.AddHash(h)
	}
	return e, s
}

// BenchmarkAdd adds ever new items to a sketch of so many.
func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000, 100_000_000} {
		e, s := filled(11, min(n, 10_000_000))
		b.Run(fmt.Sprintf("exa/n=%d", n), func(b *testing.B) {
			h := uint64(1)
			for b.Loop() {
				h += 0x9e3779b97f4a7c15
				sinkBool = e.AddHash(h * (h>>31 | 1))
			}
		})
		b.Run(fmt.Sprintf("sketch/n=%d", n), func(b *testing.B) {
			h := uint64(1)
			for b.Loop() {
				h += 0x9e3779b97f4a7c15
				sinkBool = s.AddHash(h * (h>>31 | 1))
			}
		})
	}
}

// BenchmarkFirst adds the first items of a new sketch.
func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e, _ := NewExa(11)
				for i := range n {
					e.AddHash(HashUint64(uint64(i)))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/item")
		})
	}
}

func BenchmarkEstimate(b *testing.B) {
	for _, p := range []int{8, 11, 14} {
		e, s := filled(p, 1_000_000)
		b.Run(fmt.Sprintf("exa/p=%d", p), func(b *testing.B) {
			for b.Loop() {
				sinkFloat = e.Estimate()
			}
		})
		b.Run(fmt.Sprintf("sketch/p=%d", p), func(b *testing.B) {
			for b.Loop() {
				sinkFloat = s.Estimate()
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, p := range []int{8, 11, 14} {
		e, s := filled(p, 1_000_000)
		e2, s2 := filled(p, 3_000_000)
		b.Run(fmt.Sprintf("exa/p=%d", p), func(b *testing.B) {
			for b.Loop() {
				e.Merge(e2)
			}
		})
		b.Run(fmt.Sprintf("sketch/p=%d", p), func(b *testing.B) {
			for b.Loop() {
				s.Merge(s2)
			}
		})
	}
}
