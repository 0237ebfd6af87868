package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// Event by event, or in mini-batches: Flink's way, Spark's way, and what lies
// between. All three run the same job over the same events, and the same windows
// come out; what differs is how often they commit, and whom that keeps waiting.
type pace struct {
	name  string
	batch int           // flow.Job.Batch
	tick  time.Duration // how often it looks for new events; 0: at once
}

var paces = []pace{
	{"event by event, as Flink works", 1, 0},
	{"what there is, a commit for all", 1000, 0},
	{"every 200ms, as Spark works", 1000, 200 * time.Millisecond},
}

// A watched log notes when the commits of a job came, and lets the job read only
// at the ticks of a clock if there is one.
type watched struct {
	stream.Transactor
	job string

	mu      sync.Mutex
	tick    time.Duration
	want    int64 // events that are still to be committed
	commits []commit
	seen    map[stream.Partition]int64
	done    chan struct{} // closed when all events are committed
}

// A commit is when all before an offset of a partition counted.
type commit struct {
	p    stream.Partition
	next int64
	at   time.Time
}

// Read implements [stream.Log].
func (w *watched) Read(ctx context.Context, p stream.Partition, from int64, b *stream.Batch) error {
	w.mu.Lock()
	tick := w.tick
	w.mu.Unlock()
	if tick > 0 {
		wait := time.NewTimer(time.Until(time.Now().Truncate(tick).Add(tick)))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return w.Transactor.Read(ctx, p, from, b)
}

// Transact implements [stream.Transactor].
func (w *watched) Transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	firsts, err := w.Transactor.Transact(ctx, tx)
	if err == nil && tx.Group == w.job {
		w.mu.Lock()
		defer w.mu.Unlock()
		for p, o := range tx.Offsets {
			if o.Next == stream.Keep {
				continue
			}
			w.commits = append(w.commits, commit{p, o.Next, time.Now()})
			w.want -= o.Next - w.seen[p]
			w.seen[p] = o.Next
		}
		if w.want <= 0 && w.done != nil {
			close(w.done)
			w.done = nil
		}
	}
	return firsts, err
}

// A timing is how one pace did.
type timing struct {
	perSecond   float64 // of a backlog
	median, p99 time.Duration
	commits     int     // for the events that trickled in
	windows     results // all of them
}

// measure lets a job work off a backlog and then follow a trickle of events.
func (p pace) measure(ctx context.Context, dir string, backlog, trickle []stream.Record, every time.Duration) (t timing, err error) {
	l, err := stream.OpenLocal(dir, nil)
	if err != nil {
		return t, err
	}
	defer l.Close()
	if err := createTopics(ctx, l); err != nil {
		return t, err
	}
	source := stream.Partition{Topic: topicEvents} // one partition, so that both have one worker
	if _, err := l.Append(ctx, source, backlog); err != nil {
		return t, err
	}
	w := &watched{Transactor: l, job: jobSession, want: int64(len(backlog)), seen: map[stream.Partition]int64{}, done: make(chan struct{})}
	j, err := newJob(w, jobSession, nil)
	if err != nil {
		return t, err
	}
	j.Batch = p.batch
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	caughtUp := w.done
	start := time.Now()
	go func() { // ends with running
		ended <- j.Run(running)
	}()
	select {
	case <-caughtUp:
	case err := <-ended:
		return t, err
	}
	t.perSecond = float64(len(backlog)) / time.Since(start).Seconds()

	// Now events come one at a time. How long does each wait until it counts?
	w.mu.Lock()
	w.want, w.tick, w.commits, w.done = int64(len(trickle)), p.tick, nil, make(chan struct{})
	caughtUp = w.done
	w.mu.Unlock()
	arrived := make([]time.Time, len(trickle))
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := range trickle {
		<-ticker.C
		if _, err := l.Append(ctx, source, trickle[i:i+1]); err != nil {
			return t, err
		}
		arrived[i] = time.Now()
	}
	select {
	case <-caughtUp:
	case err := <-ended:
		return t, err
	}
	cancel()
	<-ended
	var waits []time.Duration
	i, base := 0, len(backlog)
	for _, c := range w.commits {
		if c.p != source || c.next <= int64(base+i) {
			continue
		}
		t.commits++
		for ; i < len(arrived) && int64(base+i) < c.next; i++ {
			waits = append(waits, max(0, c.at.Sub(arrived[i])))
		}
	}
	if len(waits) != len(trickle) {
		return t, fmt.Errorf("%d of %d events were seen to be committed", len(waits), len(trickle))
	}
	slices.Sort(waits)
	t.median, t.p99 = waits[len(waits)/2], waits[len(waits)*99/100]
	j.Log = l
	if err := j.RunToEnd(ctx); err != nil {
		return t, err
	}
	t.windows, err = readResults(ctx, l, jobSession)
	return t, err
}

// someEvents copies the first events of a partition, at most n.
func someEvents(ctx context.Context, l stream.Log, n int64) ([]stream.Record, error) {
	var out []stream.Record
	p := stream.Partition{Topic: topicEvents}
	_, end, err := l.Bounds(ctx, p)
	if err != nil {
		return nil, err
	}
	for r, err := range stream.Scan(ctx, l, p, 0, min(n, end)) {
		if err != nil {
			return nil, err
		}
		out = append(out, stream.Record{Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Time: r.Time})
	}
	return out, nil
}

// instants returns when events happened.
func instants(events []access, key func(*access) (string, error)) (map[string][]int64, error) {
	out := map[string][]int64{}
	for i := range events {
		k, err := key(&events[i])
		if err != nil {
			return nil, err
		}
		out[k] = append(out[k], flow.At(events[i].Time).Time().Unix())
	}
	return out, nil
}
