package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
	"github.com/ashlar-go/ashlar/trie"
)

const (
	topicClicks  = "clicks"
	topicMinutes = "minutes" // counts by term and minute
	partitions   = 4
	minutes      = 10 // that the clicks of a run are spread over
)

// began is when the first click was, in the time of the events.
var began = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// A click is a suggestion that somebody took, or what he typed to its end.
type click struct {
	At     time.Time
	User   int
	Prefix string // what was typed by then
	Term   string // the key of its record: all clicks of a term are in one partition
}

func (c click) record() stream.Record {
	return stream.Record{Key: []byte(c.Term), Value: fmt.Appendf(nil, "%d\t%s", c.User, c.Prefix), Time: c.At}
}

func clickOf(r *stream.Record) (click, error) {
	user, prefix, ok := strings.Cut(string(r.Value), "\t")
	n, err := strconv.Atoi(user)
	if !ok || err != nil {
		return click{}, fmt.Errorf("a record that is no click: %q", r.Value)
	}
	return click{r.Time, n, prefix, string(r.Key)}, nil
}

// send appends clicks to the log, divided by term.
func send(ctx context.Context, l stream.Log, list []click) error {
	var by [partitions][]stream.Record
	for _, c := range list {
		n := stream.PartitionOf([]byte(c.Term), partitions)
		by[n] = append(by[n], c.record())
	}
	for n, records := range by {
		for len(records) > 0 {
			some := records[:min(2000, len(records))]
			if _, err := l.Append(ctx, stream.Partition{Topic: topicClicks, Number: n}, some); err != nil {
				return err
			}
			records = records[len(some):]
		}
	}
	return nil
}

// ---- the archive ----------------------------------------------------------------

const (
	archivePrefix = "clicks/"
	archiveChunk  = 4000 // records of a partition in one object
	archiveLimit  = 8 << 20
)

// archive stores what is new in the log, click by click. The same records make the same
// object under the same name: after a crash between the object and the commit it is
// written again, and nothing is there twice.
func archive(ctx context.Context, l stream.Log, store blob.Store) (objects int, err error) {
	const group = "archive"
	done, err := l.Committed(ctx, group)
	if err != nil {
		return 0, err
	}
	for n := range partitions {
		p := stream.Partition{Topic: topicClicks, Number: n}
		_, end, err := l.Bounds(ctx, p)
		if err != nil {
			return objects, err
		}
		for from := done[p].Next; from < end; from += archiveChunk {
			to := min(from+archiveChunk, end)
			var out bytes.Buffer
			z := gzip.NewWriter(&out)
			for r, err := range stream.Scan(ctx, l, p, from, to) {
				if err != nil {
					return objects, err
				}
				fmt.Fprintf(z, "%d\t%s\t%s\n", r.Time.UnixMilli(), r.Key, r.Value)
			}
			if err := z.Close(); err != nil {
				return objects, err
			}
			if _, err := blob.PutBytes(ctx, store, fmt.Sprintf("%s%d-%012d.tsv.gz", archivePrefix, n, from), out.Bytes()); err != nil {
				return objects, err
			}
			objects++
			if err := l.Commit(ctx, group, map[stream.Partition]stream.Offset{p: {Next: to}}); err != nil {
				return objects, err
			}
		}
	}
	return objects, nil
}

// readArchive calls f for each click in the archive. It needs no log.
func readArchive(ctx context.Context, store blob.Store, f func(c click)) (size int64, err error) {
	for info, err := range store.List(ctx, archivePrefix, "") {
		if err != nil {
			return size, err
		}
		size += info.Size
		data, _, err := blob.GetBytes(ctx, store, info.Key, archiveLimit)
		if err != nil {
			return size, err
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return size, fmt.Errorf("%s: %w", info.Key, err)
		}
		lines := bufio.NewScanner(z)
		for lines.Scan() {
			f4 := strings.Split(lines.Text(), "\t")
			if len(f4) != 4 {
				return size, fmt.Errorf("%s: no click: %q", info.Key, lines.Text())
			}
			at, err1 := strconv.ParseInt(f4[0], 10, 64)
			user, err2 := strconv.Atoi(f4[2])
			if err1 != nil || err2 != nil {
				return size, fmt.Errorf("%s: no click: %q", info.Key, lines.Text())
			}
			f(click{time.UnixMilli(at), user, f4[3], f4[1]})
		}
		if err := lines.Err(); err != nil {
			return size, fmt.Errorf("%s: %w", info.Key, err)
		}
	}
	return size, nil
}

// ---- the stream: counts by window ------------------------------------------------

// A spot is a term in a minute.
type spot struct {
	term   string
	minute int64 // since 1970
}

type count struct {
	Term   string
	Minute int64
	Count  int64
}

// countWindows runs the job that counts clicks by term and minute, and reads its panes.
func countWindows(ctx context.Context, l stream.Transactor) (map[spot]int64, error) {
	job := &flow.Job[click, int64]{
		Log: l, Name: topicMinutes, Source: topicClicks, Sink: topicMinutes,
		Decode: func(r *stream.Record) (flow.Event[click], error) {
			c, err := clickOf(r)
			return flow.Event[click]{Key: c.Term, Time: flow.At(c.At), Value: c}, err
		},
		Window: flow.Tumbling(time.Minute), Aggregate: flow.Count[click](),
		Watermarks: &flow.WatermarkOptions{Bound: 10 * time.Second},
		Encode: func(p *flow.Pane[int64]) stream.Record {
			value, err := json.Marshal(count{p.Key, p.Start.Time().Unix() / 60, p.Value})
			if err != nil {
				panic(err) // it holds a text and numbers
			}
			return stream.Record{Key: fmt.Appendf(nil, "%s\t%d", p.Key, p.Start.Time().Unix()), Value: value, Time: p.Start.Time()}
		},
	}
	if err := job.RunToEnd(ctx); err != nil {
		return nil, err
	}
	out := map[spot]int64{}
	for n := range partitions {
		p := stream.Partition{Topic: topicMinutes, Number: n}
		first, end, err := l.Bounds(ctx, p)
		if err != nil {
			return nil, err
		}
		for r, err := range stream.Scan(ctx, l, p, first, end) {
			if err != nil {
				return nil, err
			}
			var c count
			if err := json.Unmarshal(r.Value, &c); err != nil {
				return nil, err
			}
			out[spot{c.Term, c.Minute}] = c.Count
		}
	}
	return out, nil
}

// ---- the batch -------------------------------------------------------------------

// clickWeight is what a click counts beside the weights that the phrases come with.
const clickWeight = 20_000

// rebuild is the batch job: all phrases, and all clicks in the archive up to a time.
func rebuild(ctx context.Context, store blob.Store, list []phrase, until time.Time) (m *trie.Image, clicks int, err error) {
	b := trie.NewBuilder(&trie.Options{K: k})
	for _, p := range list {
		b.Add(p.term, p.weight)
	}
	_, err = readArchive(ctx, store, func(c click) {
		if c.At.Before(until) {
			b.Add(c.Term, clickWeight)
			clicks++
		}
	})
	if err != nil {
		return nil, 0, err
	}
	m, err = b.Build()
	return m, clicks, err
}
