package idem_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ashlar-go/ashlar/idem"
)

// BenchmarkBeginComplete is two synced steps for each key, by so many at once.
func BenchmarkBeginComplete(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			s := open(b, b.TempDir(), nil)
			var next atomic.Int64
			b.SetParallelism((n + 1) / 2)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					a, err := s.Begin(ctx, fmt.Sprint(next.Add(1)), nil)
					if err == nil {
						err = a.Complete(ctx, []byte("result"))
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

// BenchmarkKnown asks for keys that were never begun, with and without a filter.
func BenchmarkKnown(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		for _, expect := range []int{-1, 100_000} {
			b.Run(fmt.Sprintf("keys=%d/filter=%t", n, expect > 0), func(b *testing.B) {
				s := open(b, b.TempDir(), &idem.Options{Expect: expect})
				fillStore(b, s, n)
				i := 0
				for b.Loop() {
					if _, known, err := s.Known(ctx, fmt.Sprint("new-", i)); known || err != nil {
						b.Fatal(known, err)
					}
					i++
				}
			})
		}
	}
}

func fillStore(b *testing.B, s *idem.Store, n int) {
	done := make(chan error, 64)
	for w := range cap(done) {
		go func() {
			var err error
			for i := w; i < n && err == nil; i += cap(done) {
				_, err = s.Begin(ctx, fmt.Sprint(i), nil)
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
