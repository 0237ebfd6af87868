package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ashlar-go/ashlar/stream"
)

// payload returns n records of 128 bytes.
func payload(n int) []stream.Record {
	rs := make([]stream.Record, n)
	for i := range rs {
		rs[i] = stream.Record{Key: fmt.Appendf(nil, "key-%06d", i), Value: bytes.Repeat([]byte("v"), 118)}
	}
	return rs
}

func openBench(b *testing.B, s stream.Sync) (*stream.Local, stream.Partition) {
	b.Helper()
	l, err := stream.OpenLocal(b.TempDir(), &stream.Options{Sync: s, CleanEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	if err := l.CreateTopic(ctx, "t", &stream.TopicOptions{Partitions: 4}); err != nil {
		b.Fatal(err)
	}
	return l, stream.Partition{Topic: "t"}
}

var ctx = context.Background()

// BenchmarkAppend: one writer. An operation is one batch.
func BenchmarkAppend(b *testing.B) {
	for _, s := range []struct {
		name string
		sync stream.Sync
	}{{"none", stream.SyncNone}, {"group", stream.SyncGroup}} {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("sync=%s/batch=%d", s.name, n), func(b *testing.B) {
				l, p := openBench(b, s.sync)
				rs := payload(n)
				b.SetBytes(int64(128 * n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := l.Append(ctx, p, rs); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// BenchmarkDurable: many writers of small batches share syncs.
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("writers=%d/batch=10", writers), func(b *testing.B) {
			l, _ := openBench(b, stream.SyncGroup)
			rs := payload(10)
			b.SetParallelism(writers)
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				p := stream.Partition{Topic: "t", Number: int(n.Add(1)) % 4}
				for pb.Next() {
					if _, err := l.Append(ctx, p, rs); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(10*b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkRead reads a partition that was written in batches, beside three others.
func BenchmarkRead(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			l, p := openBench(b, stream.SyncNone)
			rs := payload(n)
			const total = 200_000
			for i := range total * 4 / n {
				if _, err := l.Append(ctx, stream.Partition{Topic: "t", Number: i % 4}, rs); err != nil {
					b.Fatal(err)
				}
			}
			var batch stream.Batch
			b.SetBytes(128 * total)
			b.ReportAllocs()
			for b.Loop() {
				got := 0
				for from := int64(0); from < total; from = batch.Next {
					if err := l.Read(ctx, p, from, &batch); err != nil {
						b.Fatal(err)
					}
					got += len(batch.Records)
				}
				if got != total {
					b.Fatalf("%d records", got)
				}
			}
			b.ReportMetric(float64(total*b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkTransact moves records from a topic to another, exactly once.
func BenchmarkTransact(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			l, p := openBench(b, stream.SyncGroup)
			rs := payload(n)
			b.SetBytes(int64(128 * n))
			for b.Loop() {
				tx := &stream.Tx{Group: "g", Offsets: map[stream.Partition]stream.Offset{p: {}}}
				for i := range 4 {
					tx.Appends = append(tx.Appends, stream.Append{Partition: stream.Partition{Topic: "t", Number: i}, Records: rs[i*n/4 : (i+1)*n/4]})
				}
				if _, err := l.Transact(ctx, tx); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
