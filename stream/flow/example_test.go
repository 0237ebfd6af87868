package flow_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// Visits are counted by minute. One arrives late and fires its window again, one
// far too late.
func ExampleWindow() {
	w, err := flow.NewWindow(flow.Tumbling(time.Minute), flow.Count[string](), &flow.WindowOptions{Lateness: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	show := func(p flow.Pane[int64]) {
		fmt.Printf("%s %s: %d, pane %d, %v\n", p.Key, p.Start.Time().Format("15:04"), p.Value, p.Index, p.Kind)
	}
	noon := flow.At(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	visit := func(after time.Duration) {
		e := flow.Event[string]{Key: "home", Time: noon + flow.Instant(after)}
		if !w.Add(&e, show) {
			fmt.Println("too late:", e.Time.Time().Format("15:04:05"))
		}
	}
	visit(5 * time.Second)
	visit(59 * time.Second)
	visit(61 * time.Second)
	w.Advance(noon+flow.Instant(70*time.Second), show)
	visit(30 * time.Second)
	w.Advance(noon+flow.Instant(3*time.Minute), show)
	visit(30 * time.Second)
	// Output:
	// home 12:00: 2, pane 0, on time
	// home 12:00: 3, pane 1, late
	// home 12:01: 1, pane 0, on time
	// too late: 12:00:30
}

// A job sums up payments by country, which a table of users knows.
func ExampleJob() {
	ctx := context.Background()
	l := stream.NewMem() // or stream.OpenLocal(dir, nil)
	defer l.Close()
	l.CreateTopic(ctx, "users", &stream.TopicOptions{Compact: true})
	l.CreateTopic(ctx, "payments", nil)
	l.Append(ctx, stream.Partition{Topic: "users"}, []stream.Record{
		{Key: []byte("ann"), Value: []byte("France")}, {Key: []byte("bob"), Value: []byte("Peru")},
	})
	for i, who := range []string{"ann", "bob", "ann", "eve"} {
		l.Append(ctx, stream.Partition{Topic: "payments"}, []stream.Record{
			{Key: []byte(who), Value: []byte{byte(10 * (i + 1))}, Time: time.Unix(int64(i), 0)},
		})
	}

	users, err := flow.LoadTable(ctx, l, "users", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	job := flow.Job[float64, flow.Stats]{
		Log: l, Name: "by country", Source: "payments",
		Decode: func(r *stream.Record) (flow.Event[float64], error) {
			return flow.Event[float64]{Key: string(r.Key), Time: flow.At(r.Time), Value: float64(r.Value[0])}, nil
		},
		Enrich: func(_ context.Context, e *flow.Event[float64]) error {
			country, ok := users.Get(e.Key)
			if !ok {
				return fmt.Errorf("no user %s", e.Key)
			}
			e.Key = string(country)
			return nil
		},
		Window: flow.Tumbling(time.Hour), Aggregate: flow.Numbers(),
		Sink: "sums",
		Encode: func(p *flow.Pane[flow.Stats]) stream.Record {
			return stream.Record{Key: []byte(p.Key), Value: fmt.Append(nil, p.Value.Sum)}
		},
	}
	fmt.Println(job.RunToEnd(ctx))
	for _, topic := range []string{"sums", "by country.side"} {
		p := stream.Partition{Topic: topic}
		_, next, _ := l.Bounds(ctx, p)
		for r, err := range stream.Scan(ctx, l, p, 0, next) {
			fmt.Printf("%s: %s %q %v", topic, r.Key, r.Value, err)
			for _, h := range r.Headers {
				fmt.Printf(" %s=%s", h.Key, h.Value)
			}
			fmt.Println()
		}
	}
	// Output:
	// <nil>
	// sums: France "40" <nil>
	// sums: Peru "20" <nil>
	// by country.side: eve "(" <nil> flow-reason=no user eve flow-offset=3
}
