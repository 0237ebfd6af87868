// Package stream_test compares the local stream log with kfake, the Kafka of
// franz-go in one process, with its segments on disk, and with an embedded NATS
// JetStream:
//
//	cd bench/stream && GOWORK=off go test -bench Vs .
//
// An operation is one record of 128 bytes, in batches of 1,000 or as the peer's
// client batches by itself. The peers are servers, reached through their client
// over loopback TCP (kfake) or in memory (NATS); ours is called. That is the
// point of it, and what it costs: ours serves one process.
package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/stream"
)

const batch = 1000

var (
	ctx   = context.Background()
	value = bytes.Repeat([]byte("v"), 128)
	part  = stream.Partition{Topic: "in"}
)

func records() []stream.Record {
	rs := make([]stream.Record, batch)
	for i := range rs {
		rs[i].Value = value
	}
	return rs
}

func ashlar(b *testing.B, s stream.Sync) *stream.Local {
	b.Helper()
	l, err := stream.OpenLocal(b.TempDir(), &stream.Options{Sync: s})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	if err := l.CreateTopic(ctx, "in", nil); err != nil {
		b.Fatal(err)
	}
	return l
}

// kafka starts kfake on disk and returns a client that produces to its one
// partition.
func kafka(b *testing.B, sync bool) (cl *kgo.Client, addrs []string) {
	b.Helper()
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "in"), kfake.DataDir(b.TempDir())}
	if sync {
		opts = append(opts, kfake.SyncWrites())
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	cl, err = kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("in"),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cl.Close)
	return cl, c.ListenAddrs()
}

// js starts JetStream with a file store and returns a stream of it.
func js(b *testing.B, sync bool) (jetstream.JetStream, jetstream.Stream) {
	b.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: b.TempDir(), SyncAlways: sync, NoLog: true, NoSigs: true})
	if err != nil {
		b.Fatal(err)
	}
	go s.Start() // ends with Shutdown
	if !s.ReadyForConnections(10 * time.Second) {
		b.Fatal("NATS does not start")
	}
	b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	j, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	st, err := j.CreateStream(ctx, jetstream.StreamConfig{Name: "in", Subjects: []string{"in"}, Storage: jetstream.FileStorage})
	if err != nil {
		b.Fatal(err)
	}
	return j, st
}

func appendOurs(b *testing.B, l *stream.Local) func(*versus.Round) {
	rs := records()
	return func(r *versus.Round) {
		for n := r.N; n > 0; n -= batch {
			if _, err := l.Append(ctx, part, rs[:min(n, batch)]); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func produceKafka(b *testing.B, cl *kgo.Client) func(*versus.Round) {
	return func(r *versus.Round) {
		for range r.N {
			cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					b.Error(err)
				}
			})
		}
		if err := cl.Flush(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func publishNATS(b *testing.B, j jetstream.JetStream) func(*versus.Round) {
	return func(r *versus.Round) {
		for range r.N {
			if _, err := j.PublishAsync("in", value, jetstream.WithStallWait(10*time.Second)); err != nil {
				b.Fatal(err)
			}
		}
		<-j.PublishAsyncComplete()
	}
}

func BenchmarkVs(b *testing.B) {
	// Both leave syncing to the system.
	b.Run("append/kfake", func(b *testing.B) {
		cl, _ := kafka(b, false)
		versus.Run(b, versus.Case{Ours: appendOurs(b, ashlar(b, stream.SyncNone)), Theirs: produceKafka(b, cl), N: 200_000, Goal: 1.5})
	})
	b.Run("append/jetstream", func(b *testing.B) {
		j, _ := js(b, false)
		versus.Run(b, versus.Case{Ours: appendOurs(b, ashlar(b, stream.SyncNone)), Theirs: publishNATS(b, j), Goal: 10})
	})
	// Every record is synced before it is acknowledged.
	b.Run("durable/kfake", func(b *testing.B) {
		cl, _ := kafka(b, true)
		versus.Run(b, versus.Case{Ours: appendOurs(b, ashlar(b, stream.SyncGroup)), Theirs: produceKafka(b, cl), N: 100_000, Goal: 1})
	})
	b.Run("durable/jetstream", func(b *testing.B) {
		j, _ := js(b, true)
		versus.Run(b, versus.Case{Ours: appendOurs(b, ashlar(b, stream.SyncGroup)), Theirs: publishNATS(b, j)})
	})
	// A round reads a topic of total records from the beginning.
	const total = 200_000
	readOurs := func(b *testing.B) func(*versus.Round) {
		l := ashlar(b, stream.SyncNone)
		appendOurs(b, l)(&versus.Round{N: total})
		var batch stream.Batch
		return func(r *versus.Round) {
			for got, from := 0, int64(0); got < r.N; from = batch.Next {
				if err := l.Read(ctx, part, from, &batch); err != nil {
					b.Fatal(err)
				}
				got += len(batch.Records)
			}
		}
	}
	b.Run("read/kfake", func(b *testing.B) {
		cl, addrs := kafka(b, false)
		produceKafka(b, cl)(&versus.Round{N: total})
		versus.Run(b, versus.Case{N: total, Ours: readOurs(b), Goal: 1.5, Theirs: func(r *versus.Round) {
			c, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumeTopics("in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.FetchMaxWait(100*time.Millisecond))
			if err != nil {
				b.Fatal(err)
			}
			for got := 0; got < r.N; {
				f := c.PollFetches(ctx)
				if err := f.Err(); err != nil {
					b.Fatal(err)
				}
				got += f.NumRecords()
			}
			r.Stop()
			c.Close()
		}})
	})
	b.Run("read/jetstream", func(b *testing.B) {
		j, st := js(b, false)
		publishNATS(b, j)(&versus.Round{N: total})
		run := 0
		versus.Run(b, versus.Case{N: total, Ours: readOurs(b), Theirs: func(r *versus.Round) {
			run++
			c, err := st.CreateConsumer(ctx, jetstream.ConsumerConfig{Name: fmt.Sprint("c", run), AckPolicy: jetstream.AckNonePolicy})
			if err != nil {
				b.Fatal(err)
			}
			for got := 0; got < r.N; {
				ms, err := c.Fetch(min(10_000, r.N-got))
				if err != nil {
					b.Fatal(err)
				}
				for range ms.Messages() {
					got++
				}
				if err := ms.Error(); err != nil {
					b.Fatal(err)
				}
			}
		}})
	})
}
