package flow_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// events returns n events over four minutes; 5 % of them arrive up to 10 s late.
func events(n, keys int) []flow.Event[float64] {
	rng := rand.New(rand.NewPCG(1, 2))
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("key-%07d", i)
	}
	es := make([]flow.Event[float64], n)
	start := flow.At(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	step := 4 * time.Minute / time.Duration(n)
	for i := range es {
		at := start + flow.Instant(time.Duration(i)*step)
		if rng.IntN(20) == 0 {
			at -= flow.Instant(rng.Int64N(int64(10 * time.Second)))
		}
		es[i] = flow.Event[float64]{Key: names[rng.IntN(keys)], Time: at, Value: rng.Float64()}
	}
	return es
}

// BenchmarkWindow: an operation is two million events over four minutes, with the
// panes they fire. Hopping has 60 windows to an event, of which it fires one a
// second, as Tumbling does.
func BenchmarkWindow(b *testing.B) {
	for _, keys := range []int{100, 1_000, 10_000} {
		const n = 2_000_000
		es := events(n, keys)
		for _, s := range []struct {
			name string
			spec flow.Spec
		}{
			{"tumbling", flow.Tumbling(time.Second)},
			{"hopping", flow.Hopping(time.Minute, time.Second)},
			{"sliding", flow.Sliding(10 * time.Second)},
			{"session", flow.Session(10 * time.Second)},
		} {
			b.Run(fmt.Sprintf("kind=%s/keys=%d", s.name, keys), func(b *testing.B) {
				panes := 0
				for b.Loop() {
					w, err := flow.NewWindow(s.spec, flow.Numbers(), &flow.WindowOptions{Lateness: 0})
					if err != nil {
						b.Fatal(err)
					}
					m, _ := flow.NewWatermarks(1, 0, &flow.WatermarkOptions{Bound: 10 * time.Second})
					panes = 0
					emit := func(flow.Pane[flow.Stats]) { panes++ }
					for i := range es {
						m.Observe(0, es[i].Time, 0)
						if !w.Add(&es[i], emit) {
							b.Fatal("late")
						}
						w.Advance(m.Input(0), emit)
					}
					w.Advance(es[len(es)-1].Time+flow.Instant(time.Minute), emit)
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(panes)/n, "panes/event")
			})
		}
	}
}

// BenchmarkJob counts events through a log on the disk, exactly once, event by
// event and in mini-batches.
func BenchmarkJob(b *testing.B) {
	for _, batch := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			n := 100_000
			if batch == 1 {
				n = 1000
			}
			l, err := stream.OpenLocal(b.TempDir(), &stream.Options{CleanEvery: -1})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			if err := l.CreateTopic(b.Context(), "in", nil); err != nil {
				b.Fatal(err)
			}
			var rs []stream.Record
			for i, e := range events(n, 1000) {
				rs = append(rs, stream.Record{Key: []byte(e.Key), Time: e.Time.Time(), Value: binary.AppendUvarint(nil, uint64(i))})
				if len(rs) == 10_000 || i == n-1 {
					if _, err := l.Append(b.Context(), stream.Partition{Topic: "in"}, rs); err != nil {
						b.Fatal(err)
					}
					rs = rs[:0]
				}
			}
			run := 0
			for b.Loop() {
				run++
				job := flow.Job[int, int64]{
					Log: l, Name: fmt.Sprint("job", run), Source: "in", Sink: fmt.Sprint("out", run), Batch: batch,
					Decode: func(r *stream.Record) (flow.Event[int], error) {
						return flow.Event[int]{Key: string(r.Key), Time: flow.At(r.Time)}, nil
					},
					Window: flow.Tumbling(time.Minute), Aggregate: flow.Count[int](),
					Watermarks: &flow.WatermarkOptions{Bound: 10 * time.Second},
					Encode: func(p *flow.Pane[int64]) stream.Record {
						return stream.Record{Key: []byte(p.Key), Time: p.Start.Time(), Value: binary.AppendVarint(nil, p.Value)}
					},
				}
				if err := job.RunToEnd(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
