package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/stream"
)

// The topics. Events are partitioned by user, so that a visit is in one partition.
// What is to be grouped by something else goes into a topic with another key: the
// errors, by route.
const (
	partitions = 4

	topicEvents    = "events"    // key: user or address; value: Avro
	topicErrors    = "errors"    // key: route; value: Avro; only status 500 and above
	topicMalformed = "malformed" // value: the line; header "why"
	topicUsers     = "users"     // key: user; value: JSON of a profile; compacted
	topicCollector = "collector" // key: "batch"; value: the last batch taken in
)

// createTopics makes the topics that are written to from outside.
func createTopics(ctx context.Context, l stream.Log) error {
	for name, o := range map[string]stream.TopicOptions{
		topicEvents:    {Partitions: partitions},
		topicErrors:    {Partitions: partitions},
		topicMalformed: {},
		topicUsers:     {}, // every change is kept: the join asks for rows of the past
		topicCollector: {Compact: true},
	} {
		if err := l.CreateTopic(ctx, name, &o); err != nil {
			return err
		}
	}
	return nil
}

// A collector takes in lines and appends them to the log. It is not safe for
// concurrent use.
type collector struct {
	log    stream.Transactor
	v1, v2 *writer
	last   int  // the last batch
	unsure bool // it may be another: a transaction failed, and may be in all the same
	counts taken
}

// taken counts what became of lines.
type taken struct {
	Lines, Events, Malformed int
	Text                     int // bytes
	Reasons                  map[string]int
}

func (t *taken) add(o taken) {
	t.Lines, t.Events, t.Malformed = t.Lines+o.Lines, t.Events+o.Events, t.Malformed+o.Malformed
	t.Text += o.Text
	for reason, n := range o.Reasons {
		t.Reasons[reason] += n
	}
}

func newCollector(ctx context.Context, l stream.Transactor) (*collector, error) {
	c := &collector{log: l, last: -1, counts: taken{Reasons: map[string]int{}}}
	var err error
	if c.v1, err = newWriter(schemaV1); err != nil {
		return nil, err
	}
	if c.v2, err = newWriter(schemaV2); err != nil {
		return nil, err
	}
	if err := createTopics(ctx, l); err != nil {
		return nil, err
	}
	return c, c.recall(ctx)
}

// recall looks up where the collector before us stopped, or we ourselves.
func (c *collector) recall(ctx context.Context) error {
	err := each(ctx, c.log, topicCollector, 0, func(r *stream.Record) (err error) {
		c.last, err = strconv.Atoi(string(r.Value))
		return err
	})
	c.unsure = err != nil
	return err
}

// take appends a batch of lines, each with its host in front, in one transaction
// together with the batch's number. A client that got no answer sends the batch
// again, and it is in once: so nothing is lost between client and log, and nothing
// is there twice.
func (c *collector) take(ctx context.Context, batch int, lines []string) error {
	if c.unsure {
		if err := c.recall(ctx); err != nil {
			return err
		}
	}
	if batch <= c.last {
		return nil // it was in, only the answer was lost
	}
	var (
		events, failures [partitions][]stream.Record
		malformed        []stream.Record
		n                = taken{Reasons: map[string]int{}}
	)
	for _, line := range lines {
		host, text, _ := strings.Cut(line, "\t")
		n.Lines++
		n.Text += len(text) + 1
		e, err := parse(text)
		if err != nil {
			n.Malformed++
			n.Reasons[err.Error()]++
			malformed = append(malformed, stream.Record{Value: []byte(line), Headers: []stream.Header{{Key: "why", Value: []byte(err.Error())}}})
			continue
		}
		a := accessOf(host, &e)
		w := c.v2
		if a.Micros < 0 {
			w = c.v1 // from a server that knows nothing of version 2
		}
		value, err := w.encode(&a)
		if err != nil {
			return err
		}
		n.Events++
		key := a.owner()
		p := stream.PartitionOf([]byte(key), partitions)
		events[p] = append(events[p], stream.Record{Key: []byte(key), Value: value, Time: a.Time})
		if a.Status >= 500 {
			key := a.route()
			p := stream.PartitionOf([]byte(key), partitions)
			failures[p] = append(failures[p], stream.Record{Key: []byte(key), Value: value, Time: a.Time})
		}
	}
	tx := &stream.Tx{}
	add := func(topic string, p int, records []stream.Record) {
		if len(records) > 0 {
			tx.Appends = append(tx.Appends, stream.Append{Partition: stream.Partition{Topic: topic, Number: p}, Records: records})
		}
	}
	for p := range partitions {
		add(topicEvents, p, events[p])
		add(topicErrors, p, failures[p])
	}
	add(topicMalformed, 0, malformed)
	add(topicCollector, 0, []stream.Record{{Key: []byte("batch"), Value: strconv.AppendInt(nil, int64(batch), 10)}})
	if _, err := c.log.Transact(ctx, tx); err != nil {
		c.unsure = true
		return err
	}
	c.last = batch
	c.counts.add(n)
	return nil
}

// each calls f for every record that is in a partition now. The record is valid
// during the call.
func each(ctx context.Context, l stream.Log, topic string, partition int, f func(*stream.Record) error) error {
	p := stream.Partition{Topic: topic, Number: partition}
	first, next, err := l.Bounds(ctx, p)
	if err != nil {
		return err
	}
	for r, err := range stream.Scan(ctx, l, p, first, next) {
		if err == nil {
			err = f(&r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// everywhere calls f for every record of all partitions of a topic. A topic that
// does not exist has none.
func everywhere(ctx context.Context, l stream.Log, topic string, f func(partition int, r *stream.Record) error) error {
	o, err := l.Topic(ctx, topic)
	if errors.Is(err, stream.ErrNotFound) {
		return nil
	}
	for p := 0; err == nil && p < o.Partitions; p++ {
		err = each(ctx, l, topic, p, func(r *stream.Record) error { return f(p, r) })
	}
	return err
}

// batches cuts lines into what clients send at once.
func batches(lines []sent, size int) [][]string {
	var out [][]string
	for i, s := range lines {
		if i%size == 0 {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], s.host+"\t"+s.text)
	}
	return out
}
