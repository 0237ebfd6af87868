package wal_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/internal/wal"
)

// BenchmarkCommit is append and sync on the disk of the temporary directory, by
// one goroutine and by sixteen that share syncs.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{64, 1024, 16 << 10} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("size=%d/writers=%d", size, writers), func(b *testing.B) {
				l := open(b, b.TempDir(), nil)
				defer l.Close()
				data := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var wg sync.WaitGroup
				before := l.Stats().Syncs
				b.ResetTimer()
				for w := range writers {
					wg.Go(func() {
						for i := w; i < b.N; i += writers {
							_, end, err := l.Append(data)
							if err == nil {
								err = l.Sync(ctx, end)
							}
							if err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(l.Stats().Syncs-before)/float64(b.N), "syncs/op")
			})
		}
	}
}

// BenchmarkAppend is one write without a sync.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64, 1024, 16 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			l := open(b, b.TempDir(), nil)
			defer l.Close()
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				pos, _, err := l.Append(data)
				if err != nil {
					b.Fatal(err)
				}
				if l.End()-l.Head() > 64<<20 { // keep the disk small
					if _, err := l.TruncateBefore(pos); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkReplay reads a log from the page cache.
func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			l := open(b, b.TempDir(), nil)
			defer l.Close()
			var batch wal.Batch
			for range n {
				if err := batch.Add(make([]byte, 200)); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := l.AppendBatch(&batch); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(n) * 200)
			for b.Loop() {
				got := 0
				for _, err := range l.Replay(0) {
					if err != nil {
						b.Fatal(err)
					}
					got++
				}
				if got != n {
					b.Fatalf("%d records, want %d", got, n)
				}
			}
		})
	}
}
