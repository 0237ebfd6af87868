package blob_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/ashlar-go/ashlar/blob"
)

// stores returns the stores to measure.
func stores(b *testing.B) []struct {
	name  string
	store blob.Store
} {
	return []struct {
		name  string
		store blob.Store
	}{
		{"mem", blob.NewMem()},
		{"dir", open(b, b.TempDir(), nil)},
		{"nosync", open(b, b.TempDir(), &blob.Options{NoSync: true})},
	}
}

var sizes = []int{1 << 10, 100 << 10, 10 << 20}

func BenchmarkPut(b *testing.B) {
	for _, s := range stores(b) {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("store=%s/size=%dKiB", s.name, size>>10), func(b *testing.B) {
				data := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := blob.PutBytes(b.Context(), s.store, fmt.Sprint("bench/", i%16), data); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// Sixteen goroutines put small objects: how far the syncs overlap.
func BenchmarkPutParallel(b *testing.B) {
	for _, s := range stores(b) {
		b.Run("store="+s.name+"/size=1KiB", func(b *testing.B) {
			data := make([]byte, 1<<10)
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				key := fmt.Sprintf("bench/%p", pb)
				for pb.Next() {
					if _, err := blob.PutBytes(b.Context(), s.store, key, data); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, s := range stores(b) {
		for _, size := range sizes {
			if _, err := blob.PutBytes(b.Context(), s.store, "bench", make([]byte, size)); err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("store=%s/size=%dKiB", s.name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					obj, err := s.store.Get(b.Context(), "bench")
					if err != nil {
						b.Fatal(err)
					}
					if n, err := io.Copy(io.Discard, obj); err != nil || n != int64(size) {
						b.Fatal(n, err)
					}
					obj.Close()
				}
			})
		}
	}
}

func BenchmarkGetRange(b *testing.B) {
	for _, s := range stores(b) {
		if _, err := blob.PutBytes(b.Context(), s.store, "bench", make([]byte, 10<<20)); err != nil {
			b.Fatal(err)
		}
		b.Run("store="+s.name+"/range=4KiB", func(b *testing.B) {
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				obj, err := s.store.GetRange(b.Context(), "bench", i*4096%(10<<20), 4096)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, obj); err != nil {
					b.Fatal(err)
				}
				obj.Close()
			}
		})
	}
}

// A page of 100 keys out of the middle of a listing.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		for _, s := range stores(b) {
			if s.name == "dir" {
				continue // the same files as nosync
			}
			b.Run(fmt.Sprintf("store=%s/objects=%d", s.name, n), func(b *testing.B) {
				for i := range n {
					if _, err := blob.PutBytes(b.Context(), s.store, fmt.Sprintf("p%02d/%06d", i%100, i), nil); err != nil {
						b.Fatal(err)
					}
				}
				for b.Loop() {
					k := 0
					for _, err := range s.store.List(b.Context(), "", "p50/") {
						if err != nil {
							b.Fatal(err)
						}
						if k++; k == 100 {
							break
						}
					}
				}
			})
		}
	}
}
