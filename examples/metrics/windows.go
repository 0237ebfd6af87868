package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// The four jobs. Each reads a topic from its beginning and writes its windows to
// the topic of its own name.
const (
	jobTumbling = "minutes"      // requests, errors, bytes, time: by minute and group
	jobHopping  = "five-minutes" // the same over five minutes, every minute
	jobSliding  = "last-minute"  // errors of a route in the 60 s before each
	jobSession  = "visits"       // requests of a user without a pause of five minutes
)

// specs are the windows of the jobs.
var specs = map[string]flow.Spec{
	jobTumbling: flow.Tumbling(time.Minute),
	jobHopping:  flow.Hopping(5*time.Minute, time.Minute),
	jobSliding:  flow.Sliding(time.Minute),
	jobSession:  flow.Session(pause),
}

// A tally is what is known about the requests of a window. It holds whole numbers,
// so that it does not depend on the order in which they are added.
type tally struct {
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"` // status 500 and above
	Bytes    int64 `json:"bytes"`
	Timed    int64 `json:"timed"`  // requests whose time is known
	Micros   int64 `json:"micros"` // what these took together
	Slowest  int64 `json:"slowest"`
}

func (t tally) add(a *access) tally {
	one := tally{Requests: 1, Bytes: a.Bytes}
	if a.Status >= 500 {
		one.Errors = 1
	}
	if a.Micros >= 0 {
		one.Timed, one.Micros, one.Slowest = 1, a.Micros, a.Micros
	}
	return t.merge(one)
}

func (t tally) merge(o tally) tally {
	return tally{
		t.Requests + o.Requests, t.Errors + o.Errors, t.Bytes + o.Bytes,
		t.Timed + o.Timed, t.Micros + o.Micros, max(t.Slowest, o.Slowest),
	}
}

func tallies() flow.Aggregate[access, tally] {
	return flow.Aggregate[access, tally]{
		Add:   func(t tally, e *flow.Event[access]) tally { return t.add(&e.Value) },
		Merge: tally.merge,
	}
}

// A job of the example: those for groups need the user table.
func newJob(l stream.Transactor, name string, users *flow.Table) (*flow.Job[access, tally], error) {
	// The program knows schema version 2; half of the servers write version 1.
	r, err := newReader(schemaV2, schemaV1)
	if err != nil {
		return nil, err
	}
	j := &flow.Job[access, tally]{
		Log: l, Name: name, Source: topicEvents, Sink: name,
		Decode: func(rec *stream.Record) (flow.Event[access], error) {
			e := flow.Event[access]{Key: string(rec.Key), Time: flow.At(rec.Time)}
			return e, r.decode(rec.Value, &e.Value)
		},
		Window: specs[name], Aggregate: tallies(),
		WindowOptions: &flow.WindowOptions{Lateness: lateness},
		Watermarks:    &flow.WatermarkOptions{Bound: bound, MaxAhead: maxAhead},
		Encode:        encodeWindow,
		Now:           func() time.Time { return clock },
	}
	switch name {
	case jobTumbling, jobHopping:
		j.Enrich = enrich(users)
	case jobSliding:
		j.Source = topicErrors
	}
	return j, nil
}

// A window is a pane as it is written: with its place, so that a reader can put a
// later one in the place of an earlier one.
type window struct {
	Key   string    `json:"key"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Index int       `json:"index"`
	Kind  flow.Kind `json:"kind"`
	tally
}

func encodeWindow(p *flow.Pane[tally]) stream.Record {
	w := window{p.Key, p.Start.Time(), p.End.Time(), p.Index, p.Kind, p.Value}
	value, err := json.Marshal(w)
	if err != nil {
		panic(err) // it holds numbers, texts and times of this century
	}
	return stream.Record{Key: fmt.Appendf(nil, "%s|%d|%d", w.Key, w.Start.Unix(), w.End.Unix()), Value: value, Time: w.Start}
}

// A place is where a window is. Each partition counts its own events: who reads
// adds the partitions up.
type place struct {
	partition  int
	key        string
	start, end int64 // seconds
}

func (p place) String() string {
	return fmt.Sprintf("%s %s", time.Unix(p.start, 0).UTC().Format("15:04:05"), p.key)
}

// results is the last state of each window of a job.
type results map[place]tally

// readResults reads all windows that a job has written.
func readResults(ctx context.Context, l stream.Log, job string) (results, error) {
	out := results{}
	err := everywhere(ctx, l, job, func(partition int, r *stream.Record) error {
		var w window
		if err := json.Unmarshal(r.Value, &w); err != nil {
			return err
		}
		at := place{partition, w.Key, w.Start.Unix(), w.End.Unix()}
		if w.Kind == flow.Retracted { // its session has become part of another
			delete(out, at)
		} else {
			out[at] = w.tally
		}
		return nil
	})
	return out, err
}

// requests adds up what the windows counted.
func (r results) requests() (n int64) {
	for _, t := range r {
		n += t.Requests
	}
	return n
}

// places returns the windows by time and key.
func (r results) places() []place {
	out := make([]place, 0, len(r))
	for p := range r {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.key, b.key), a.partition-b.partition)
	})
	return out
}

// digest is the SHA-256 of all records that a job has put out and aside, byte by
// byte and in their order. Offsets, which are in a header of what is put aside, are
// left out where another engine counts them in its own way.
func digest(ctx context.Context, l stream.Log, job string, offsets bool) (sum string, records int, err error) {
	h := sha256.New()
	for _, topic := range []string{job, job + ".side"} {
		err = everywhere(ctx, l, topic, func(partition int, r *stream.Record) error {
			records++
			fmt.Fprintf(h, "%s/%d %q %q %v", topic, partition, r.Key, r.Value, r.Time.UnixMilli())
			for _, x := range r.Headers {
				if offsets || x.Key != flow.OffsetHeader {
					fmt.Fprintf(h, " %q=%q", x.Key, x.Value)
				}
			}
			return nil
		})
		if err != nil {
			return "", 0, err
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6]), records, nil
}

// sides counts the records in a job's side output by reason.
func sides(ctx context.Context, l stream.Log, job string) (map[string]int, error) {
	out := map[string]int{}
	err := everywhere(ctx, l, job+".side", func(_ int, r *stream.Record) error {
		for _, h := range r.Headers {
			if h.Key == flow.ReasonHeader {
				out[string(h.Value)]++
			}
		}
		return nil
	})
	return out, err
}
