package cms

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

var sink uint64

// stream is 1<<20 hashes of items by Zipf's law.
var stream = func() []uint64 {
	zipf := rand.NewZipf(newRand(1), 1.1, 1, 1<<20)
	keys := make([]uint64, 1<<20)
	for i := range keys {
		keys[i] = mix(zipf.Uint64())
	}
	return keys
}()

func BenchmarkAdd(b *testing.B) {
	for _, kib := range []int{64, 640, 6400} {
		b.Run(fmt.Sprintf("kib=%d", kib), func(b *testing.B) {
			s, err := NewSize(kib<<10/16, 4)
			if err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				sink = s.AddHash(stream[i&(1<<20-1)], 1)
				i++
			}
		})
	}
}

func BenchmarkCount(b *testing.B) {
	for _, kib := range []int{64, 640, 6400} {
		b.Run(fmt.Sprintf("kib=%d", kib), func(b *testing.B) {
			s, err := NewSize(kib<<10/16, 4)
			if err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				sink = s.CountHash(stream[i&(1<<20-1)])
				i++
			}
		})
	}
}

func BenchmarkTopKAdd(b *testing.B) {
	for _, k := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			top, err := NewTopK[uint64](k, 160*k+1024)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				top.Add(stream[i&(1<<20-1)], 1)
				i++
			}
		})
	}
}

func BenchmarkHeavyAdd(b *testing.B) {
	for _, m := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("counters=%d", m), func(b *testing.B) {
			v, err := NewHeavy[uint64](m)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				v.Add(stream[i&(1<<20-1)], 1)
				i++
			}
		})
	}
}
