package kafka

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ashlar-go/ashlar/stream"
)

const benchSize = 128 // bytes of a value

func benchRecords(n int) []stream.Record {
	rs := make([]stream.Record, n)
	for i := range rs {
		rs[i].Value = bytes.Repeat([]byte{byte(i)}, benchSize)
	}
	return rs
}

// BenchmarkAppend measures the client with brokers of this process, which share
// the processor with it and keep records in memory.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 100, 1000} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("batch=%d/writers=%d", batch, writers), func(b *testing.B) {
				_, brokers := cluster(b)
				l := dial(b, brokers, nil)
				ps := newTopic(b, l, "t", 4)
				rs := benchRecords(batch)
				b.SetParallelism(max(1, writers/2)) // times the processors
				b.ResetTimer()
				if writers == 1 {
					for i := 0; b.Loop(); i++ {
						if _, err := l.Append(ctx, ps[i%4], rs); err != nil {
							b.Fatal(err)
						}
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for i := 0; pb.Next(); i++ {
							if _, err := l.Append(ctx, ps[i%4], rs); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				b.ReportMetric(float64(b.N)*float64(batch)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// BenchmarkRead reads what is in one partition, over and over.
func BenchmarkRead(b *testing.B) {
	_, brokers := cluster(b, kfake.NumBrokers(1))
	l := dial(b, brokers, nil)
	p := newTopic(b, l, "t", 1)[0]
	rs := benchRecords(1000)
	for range 100 {
		if _, err := l.Append(ctx, p, rs); err != nil {
			b.Fatal(err)
		}
	}
	var batch stream.Batch
	from, n := int64(0), 0
	for b.Loop() {
		if err := l.Read(ctx, p, from, &batch); err != nil {
			b.Fatal(err)
		}
		if n += len(batch.Records); batch.Next == 100_000 {
			batch.Next = 0
		}
		from = batch.Next
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkTransact moves 1000 records at a time.
func BenchmarkTransact(b *testing.B) {
	_, brokers := cluster(b)
	l := dial(b, brokers, nil)
	in, out := newTopic(b, l, "in", 1)[0], newTopic(b, l, "out", 1)[0]
	rs := benchRecords(1000)
	for b.Loop() {
		_, err := l.Transact(ctx, &stream.Tx{
			Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {}}, Appends: []stream.Append{{Partition: out, Records: rs}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
}
