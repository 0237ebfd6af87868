package nats

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// TestJob runs a job of package stream/flow over the log, and again, from
// another connection. Each event counts once.
func TestJob(t *testing.T) {
	url := single(t)
	testJob(t, func() *Log { return dial(t, url, nil) })
}

func testJob(t *testing.T, open func() *Log) {
	const events, keys = 200, 5
	l := open()
	ps := newTopic(t, l, "clicks", 2)
	c, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i := range events {
		r := stream.Record{Key: fmt.Append(nil, "k", i%keys), Value: []byte("x"), Time: time.Unix(int64(i), 0)}
		if _, err := l.Append(c, ps[i%keys%2], []stream.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		job := flow.Job[string, int64]{
			Log: open(), Name: "clicks by key", Source: "clicks", Sink: "counts", Batch: 7,
			Decode: func(r *stream.Record) (flow.Event[string], error) {
				return flow.Event[string]{Key: string(r.Key), Time: flow.At(r.Time)}, nil
			},
			Window: flow.Tumbling(20 * time.Second), Aggregate: flow.Count[string](),
			Encode: func(p *flow.Pane[int64]) stream.Record {
				return stream.Record{Key: fmt.Append(nil, p.Key, p.Start), Value: fmt.Append(nil, p.Value)}
			},
		}
		if err := job.RunToEnd(c); err != nil {
			t.Fatal(err)
		}
	}
	last := map[string]int{}
	for n := range ps {
		p := stream.Partition{Topic: "counts", Number: n}
		_, next, err := l.Bounds(c, p)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range stream.Scan(c, l, p, 0, next) {
			if err != nil {
				t.Fatal(err)
			}
			var v int
			fmt.Sscan(string(r.Value), &v)
			last[string(r.Key)] += v
		}
	}
	total := 0
	for _, n := range last {
		total += n
	}
	if total != events || len(last) != keys*events/20 {
		t.Errorf("%d events in %d windows, want %d in %d", total, len(last), events, keys*events/20)
	}
}
