package flow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

var ctx = context.Background()

// scaled returns how often to do something: few times, or all with ASHLAR_FULL.
func scaled(few, all int) int {
	if os.Getenv("ASHLAR_FULL") != "" {
		return all
	}
	return few
}

// click is what the tests' source holds: key, time in seconds, number.
func click(key string, at, n int) stream.Record {
	return stream.Record{Key: []byte(key), Time: time.Unix(int64(at), 0), Value: binary.AppendVarint(nil, int64(n))}
}

func decodeClick(r *stream.Record) (Event[int], error) {
	n, k := binary.Varint(r.Value)
	if k <= 0 {
		return Event[int]{}, errors.New("no number")
	}
	return Event[int]{Key: string(r.Key), Time: At(r.Time), Value: int(n)}, nil
}

func encodePane(p *Pane[[]int]) stream.Record {
	return stream.Record{
		Key:   fmt.Appendf(nil, "%s@%d", p.Key, p.Start.Time().Unix()),
		Value: fmt.Appendf(nil, "%v-%v #%d %v %v", p.Start.Time().Unix(), p.End.Time().Unix(), p.Index, p.Kind, p.Value),
	}
}

func testJob(l stream.Transactor, spec Spec) *Job[int, []int] {
	return &Job[int, []int]{
		Log: l, Name: "job", Source: "clicks", Decode: decodeClick, Window: spec, Aggregate: collect(),
		WindowOptions: &WindowOptions{Lateness: 20 * time.Second}, Watermarks: &WatermarkOptions{Bound: 5 * time.Second},
		Sink: "panes", Encode: encodePane,
	}
}

// fill makes the source, with out of order and too late events.
func fill(t testing.TB, l stream.Log, parts, n int, seed uint64) {
	t.Helper()
	if err := l.CreateTopic(ctx, "clicks", &stream.TopicOptions{Partitions: parts}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := range n {
		key := fmt.Sprint("user", rng.IntN(10))
		at := i/2 - rng.IntN(8)
		if rng.IntN(20) == 0 {
			at -= rng.IntN(100)
		}
		r := click(key, at, i)
		if rng.IntN(50) == 0 {
			r.Value = nil // cannot be decoded
		}
		p := stream.Partition{Topic: "clicks", Number: stream.PartitionOf(r.Key, parts)}
		if _, err := l.Append(ctx, p, []stream.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

// content returns a topic's records, partition by partition, as text.
func content(t testing.TB, l stream.Log, topic string) []string {
	t.Helper()
	o, err := l.Topic(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for n := range o.Partitions {
		p := stream.Partition{Topic: topic, Number: n}
		_, next, err := l.Bounds(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range stream.Scan(ctx, l, p, 0, next) {
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%d/%d %s = %s", n, r.Offset, r.Key, r.Value)
			for _, h := range r.Headers {
				fmt.Fprintf(&b, " %s:%s", h.Key, h.Value)
			}
			out = append(out, b.String())
		}
	}
	return out
}

// everyEventOnce checks that each number of the source is in exactly one tumbling
// window's last pane, or on the side.
func everyEventOnce(t *testing.T, l stream.Log, n int) {
	t.Helper()
	last := map[string]string{}
	for _, s := range content(t, l, "panes") {
		_, s, _ = strings.Cut(s, " ")
		key, value, _ := strings.Cut(s, " = ")
		last[key] = value
	}
	seen := 0
	for _, v := range last {
		seen += len(strings.Fields(v[strings.LastIndex(v, "[")+1 : len(v)-1]))
	}
	if side := len(content(t, l, "job.side")); seen+side != n || side == 0 {
		t.Errorf("%d events in windows and %d on the side, of %d", seen, side, n)
	}
}

func TestJobToEnd(t *testing.T) {
	l := stream.NewMem()
	defer l.Close()
	const n = 500
	fill(t, l, 3, n, 1)
	if err := testJob(l, Tumbling(10*time.Second)).RunToEnd(ctx); err != nil {
		t.Fatal(err)
	}
	everyEventOnce(t, l, n)
	reasons := map[string]int{}
	for _, s := range content(t, l, "job.side") {
		_, r, _ := strings.Cut(s, ReasonHeader+":")
		r, _, _ = strings.Cut(r, " "+OffsetHeader)
		reasons[r]++
	}
	if len(reasons) != 2 || reasons[ReasonLate] == 0 || reasons["no number"] == 0 {
		t.Errorf("reasons %v", reasons)
	}
}

// A flaky log fails at random, before or after it has done what was asked.
type flaky struct {
	stream.Transactor
	mu  sync.Mutex
	rng *rand.Rand
	n   int // failures so far
}

var errFlaky = errors.New("connection lost")

func (f *flaky) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rng.IntN(6) == 0 {
		f.n++
		return true
	}
	return false
}

func (f *flaky) Transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	if f.fails() {
		return nil, errFlaky
	}
	firsts, err := f.Transactor.Transact(ctx, tx)
	if err == nil && f.fails() {
		return nil, errFlaky // it was done, and nobody knows
	}
	return firsts, err
}

func (f *flaky) Read(ctx context.Context, p stream.Partition, from int64, b *stream.Batch) error {
	if p.Topic == "clicks" {
		if f.fails() {
			return errFlaky
		}
		f.mu.Lock()
		b.MaxBytes = 1 + f.rng.IntN(2000)
		f.mu.Unlock()
	}
	return f.Transactor.Read(ctx, p, from, b)
}

// TestJobSurvives stops a job again and again, at reads and at commits of which
// nobody knows whether they were done, with batches of all sizes. In the end every
// topic is byte by byte what one undisturbed run makes.
func TestJobSurvives(t *testing.T) {
	for _, spec := range []Spec{Tumbling(10 * time.Second), Hopping(12*time.Second, 4*time.Second), Sliding(7 * time.Second), Session(3 * time.Second)} {
		want := stream.NewMem()
		const n = 400
		fill(t, want, 3, n, 3)
		if err := testJob(want, spec).RunToEnd(ctx); err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(scaled(3, 30)) {
			l := stream.NewMem()
			fill(t, l, 3, n, 3)
			f := &flaky{Transactor: l, rng: rand.New(rand.NewPCG(seed, 8))}
			runs := 0
			for {
				j := testJob(f, spec)
				j.Batch = 1 + int(seed)*7
				err := j.RunToEnd(ctx)
				if err == nil {
					break
				}
				if !errors.Is(err, errFlaky) {
					t.Fatalf("%v seed %d: %v", spec, seed, err)
				}
				runs++
			}
			if runs < 3 {
				t.Errorf("%v seed %d: only %d runs", spec, seed, runs)
			}
			for _, topic := range []string{"panes", "job.side"} {
				if got, want := content(t, l, topic), content(t, want, topic); !slices.Equal(got, want) {
					t.Fatalf("%v seed %d: %s differs after %d runs:\n%q\nwant\n%q", spec, seed, topic, runs, got, want)
				}
			}
		}
	}
}

// TestInterleavings feeds one operator from three inputs in 1,000 different
// interleavings, over all kinds of windows: the last pane of every window is the same, and nothing is late,
// since the watermark is the least of the inputs'.
func TestInterleavings(t *testing.T) {
	const inputs, n = 3, 60
	rng := rand.New(rand.NewPCG(1, 1))
	rows := make([][]Event[int], inputs)
	for i := range rows {
		at := 0
		for k := range n {
			at += rng.IntN(5)
			rows[i] = append(rows[i], Event[int]{Key: fmt.Sprint("k", rng.IntN(4)), Time: Instant(at - rng.IntN(6)), Value: i*n + k})
		}
	}
	for _, spec := range specs {
		var want map[string][]int
		for shuffle := range scaled(100, 1000) {
			w, err := NewWindow(spec, collect(), nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := NewWatermarks(inputs, 0, &WatermarkOptions{Bound: 6})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]int{}
			emit := func(p Pane[[]int]) {
				if p.Index != 0 || p.Kind != OnTime {
					t.Fatalf("%v shuffle %d: pane %+v", spec, shuffle, p)
				}
				got[name(p.Key, span{p.Start, p.End})] = slices.Sorted(slices.Values(p.Value))
			}
			var next [inputs]int
			for left := inputs * n; left > 0; left-- {
				i := rng.IntN(inputs)
				for next[i] == n {
					i = (i + 1) % inputs
				}
				e := rows[i][next[i]]
				next[i]++
				m.Observe(i, e.Time, 0)
				if next[i] == n {
					m.End(i)
				}
				if !w.Add(&e, emit) {
					t.Fatalf("%v shuffle %d: %+v is late", spec, shuffle, e)
				}
				w.Advance(m.Current(0), emit)
			}
			w.Advance(Forever, emit)
			if want == nil {
				want = got
			}
			if !maps.EqualFunc(got, want, slices.Equal) {
				t.Fatalf("%v shuffle %d: panes %v, want %v", spec, shuffle, got, want)
			}
		}
	}
}

// TestJobIdle: a partition that is silent does not keep its windows for ever.
func TestJobIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := stream.NewMem()
		defer l.Close()
		if err := l.CreateTopic(ctx, "clicks", &stream.TopicOptions{Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		put := func(part int, r stream.Record) {
			if _, err := l.Append(ctx, stream.Partition{Topic: "clicks", Number: part}, []stream.Record{r}); err != nil {
				t.Fatal(err)
			}
		}
		j := testJob(l, Tumbling(10*time.Second))
		j.Watermarks = &WatermarkOptions{Idle: time.Minute, MaxAhead: 24 * time.Hour}
		c, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- j.Run(c) }()
		now := int(time.Now().Unix())
		put(0, click("a", now, 1))
		put(1, click("b", now, 2))
		put(1, click("b", now+1_000_000, 9)) // a clock that is wrong by days
		synctest.Wait()
		if got := content(t, l, "panes"); len(got) != 0 {
			t.Errorf("panes %q before their time", got)
		}
		for i := range 10 { // only partition 1 goes on
			time.Sleep(20 * time.Second)
			put(1, click("b", now+20*(i+1), 3))
		}
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		got := strings.Join(content(t, l, "panes"), "\n")
		if !strings.Contains(got, "a@") || !strings.Contains(got, "b@") {
			t.Errorf("panes %s", got)
		}
		if side := content(t, l, "job.side"); len(side) != 1 || !strings.Contains(side[0], ReasonFuture) {
			t.Errorf("side %q", side)
		}
	})
}

// TestJobShared: two members share a job; one leaves in the middle, and the result
// is that of one run.
func TestJobShared(t *testing.T) {
	const n = 600
	want := stream.NewMem()
	fill(t, want, 4, n, 5)
	one := testJob(want, Tumbling(10*time.Second))
	c1, stop := context.WithCancel(ctx)
	runUntil(t, want, c1, stop, func(c context.Context) error { return one.Run(c) })

	l := stream.NewMem()
	fill(t, l, 4, n, 5)
	j := testJob(l, Tumbling(10*time.Second))
	j.Batch = 10
	handle, err := j.Handler(ctx)
	if err != nil {
		t.Fatal(err)
	}
	g, err := stream.NewGroup(ctx, l, "job", []string{"clicks"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	c2, stop2 := context.WithCancel(ctx)
	runUntil(t, l, c2, stop2, func(c context.Context) error {
		var wg sync.WaitGroup
		for i := range 2 {
			m, err := g.Join(c, fmt.Sprint("m", i))
			if err != nil {
				return err
			}
			wg.Go(func() { _ = m.Run(c, handle) }) // it ends with c, or by Leave
			if i == 0 {
				wg.Go(m.Leave)
			}
		}
		wg.Wait()
		return c.Err()
	})
	for _, topic := range []string{"panes", "job.side"} {
		if got, want := content(t, l, topic), content(t, want, topic); !slices.Equal(got, want) {
			t.Errorf("%s differs:\n%q\nwant\n%q", topic, got, want)
		}
	}
}

// runUntil runs a job until its group has committed all of the source.
func runUntil(t *testing.T, l stream.Log, c context.Context, stop func(), run func(context.Context) error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- run(c) }()
	// Progress shows in the state topic: wait for each commit there.
	for p := range 4 {
		part := stream.Partition{Topic: "clicks", Number: p}
		_, end, err := l.Bounds(ctx, part)
		if err != nil {
			t.Fatal(err)
		}
		for r := range waitCommits(l, p) {
			at, err := l.Committed(ctx, "job")
			if err != nil {
				t.Fatal(err)
			}
			if _ = r; at[part].Next == end {
				break
			}
		}
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// waitCommits yields after each commit of a partition's task.
func waitCommits(l stream.Log, n int) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for {
			if _, err := l.Topic(ctx, "job.state"); err == nil {
				break
			}
		}
		for r, err := range stream.Tail(ctx, l, stream.Partition{Topic: "job.state", Number: n}, 0) {
			if err != nil || !yield(r.Offset) {
				return
			}
		}
	}
}

// TestFloatsAreTheSameAfterRestart: sums of floating-point numbers depend on the
// order of adding, so that order may not depend on when there was a checkpoint.
func TestFloatsAreTheSameAfterRestart(t *testing.T) {
	for _, spec := range []Spec{Tumbling(10), Hopping(12, 4), Sliding(20), Session(3)} {
		for seed := range uint64(20) {
			var results [2][]Pane[Stats]
			for run := range results {
				rng := rand.New(rand.NewPCG(seed, 1))
				w, err := NewWindow(spec, Numbers(), &WindowOptions{Lateness: 10})
				if err != nil {
					t.Fatal(err)
				}
				saved := map[string][]byte{}
				emit := func(p Pane[Stats]) { results[run] = append(results[run], p) }
				for i := range 300 {
					e := Event[float64]{Key: "k", Time: Instant(i + rng.IntN(8)), Value: rng.ExpFloat64() * 1e9}
					w.Add(&e, emit)
					w.Advance(Instant(i-rng.IntN(3)), emit)
					if rng.IntN(9) > 0 || run == 0 {
						continue
					}
					w.Checkpoint(func(key string, b []byte) {
						if delete(saved, key); b != nil {
							saved[key] = slices.Clone(b)
						}
					})
					mark := w.Watermark()
					w, _ = NewWindow(spec, Numbers(), &WindowOptions{Lateness: 10})
					if err := w.Restore(mark, saved); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !slices.Equal(results[0], results[1]) {
				t.Fatalf("%v seed %d: panes differ after restarts", spec, seed)
			}
		}
	}
}
