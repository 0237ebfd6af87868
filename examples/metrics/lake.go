package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// The data lake: every event as it came, in record files in an object store, for
// questions that nobody has asked yet. Names say which day and hour a file is of,
// in the way that Hive, Spark and DuckDB prune by:
//
//	events/v2/date=2026-03-02/hour=09/3-000000005000.avro
const (
	lakePrefix = "events/"
	lakeChunk  = 5000    // records of a partition that are archived in one step
	lakeLimit  = 1 << 30 // no file is larger
)

// A lake archives what is in the log. It is a consumer like the others: its
// offsets are in the log.
type lake struct {
	store   blob.Store
	log     stream.Log
	schemas map[uint64]namedSchema
}

type namedSchema struct {
	name string
	avro.Schema
}

func newLake(store blob.Store, l stream.Log) (*lake, error) {
	k := &lake{store, l, map[uint64]namedSchema{}}
	for name, text := range map[string]string{"v1": schemaV1, "v2": schemaV2} {
		s, err := avro.Parse(text)
		if err != nil {
			return nil, err
		}
		f, err := fingerprint(s)
		if err != nil {
			return nil, err
		}
		k.schemas[f] = namedSchema{name, s}
	}
	return k, nil
}

// archive writes what is new. The same records make the same files under the same
// names: after a crash between writing and committing it writes them again, and
// nothing is there twice.
func (k *lake) archive(ctx context.Context) error {
	const group = "lake"
	done, err := k.log.Committed(ctx, group)
	if err != nil {
		return err
	}
	for n := range partitions {
		p := stream.Partition{Topic: topicEvents, Number: n}
		_, end, err := k.log.Bounds(ctx, p)
		if err != nil {
			return err
		}
		for from := done[p].Next; from < end; from += lakeChunk {
			to := min(from+lakeChunk, end)
			if err := k.chunk(ctx, p, from, to); err != nil {
				return err
			}
			if err := k.log.Commit(ctx, group, map[stream.Partition]stream.Offset{p: {Next: to}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunk writes the records [from, to) of a partition: a file for each hour and
// schema among them. What is in a message behind its head is a record already.
func (k *lake) chunk(ctx context.Context, p stream.Partition, from, to int64) error {
	files := map[string]*container{}
	for r, err := range stream.Scan(ctx, k.log, p, from, to) {
		if err != nil {
			return err
		}
		if len(r.Value) < messageHead {
			return errNoMessage
		}
		schema, ok := k.schemas[binary.LittleEndian.Uint64(r.Value[2:])]
		if !ok {
			return errNoMessage
		}
		t := r.Time.UTC()
		name := fmt.Sprintf("%s%s/date=%s/hour=%02d/%d-%012d.avro", lakePrefix, schema.name, t.Format(time.DateOnly), t.Hour(), p.Number, from)
		if files[name] == nil {
			files[name] = newContainer(schema.Schema)
		}
		files[name].add(r.Value[messageHead:])
	}
	for name, c := range files {
		if _, err := blob.PutBytes(ctx, k.store, name, c.bytes()); err != nil {
			return err
		}
	}
	return nil
}

// read calls f for every event in the lake. It needs neither the log nor the jobs:
// files tell their own schema.
func readLake(ctx context.Context, store blob.Store, f func(*access) error) (files int, size int64, err error) {
	want, err := avro.Parse(schemaV2)
	if err != nil {
		return 0, 0, err
	}
	compat := avro.NewSchemaCompatibility()
	for info, err := range store.List(ctx, lakePrefix, "") {
		if err != nil {
			return files, size, err
		}
		if !strings.HasSuffix(info.Key, ".avro") {
			continue
		}
		files, size = files+1, size+info.Size
		file, _, err := blob.GetBytes(ctx, store, info.Key, lakeLimit)
		if err != nil {
			return files, size, err
		}
		err = readContainer(file, func(wrote avro.Schema, records []byte, count int) error {
			schema, err := compat.Resolve(want, wrote)
			if err != nil {
				return err
			}
			r := avro.NewReader(nil, 0).Reset(records)
			for range count {
				var a access
				if err := decodeNext(schema, r, &a); err != nil {
					return err
				}
				if err := f(&a); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return files, size, fmt.Errorf("%s: %w", info.Key, err)
		}
	}
	return files, size, nil
}

// A batch is the other way to the same windows: with all events at hand, sorted,
// without watermarks and without the packages that the stream uses.
type batch struct {
	events []access // by time
	users  *flow.Table
	future int // left out: their clock was wrong
}

func loadBatch(ctx context.Context, store blob.Store, users *flow.Table) (*batch, int, int64, error) {
	b := &batch{users: users}
	files, size, err := readLake(ctx, store, func(a *access) error {
		if a.Time.After(clock.Add(maxAhead)) {
			b.future++
		} else {
			b.events = append(b.events, *a)
		}
		return nil
	})
	slices.SortStableFunc(b.events, func(a, b access) int { return a.Time.Compare(b.Time) })
	return b, files, size, err
}

// without returns the batch without the events that a job put aside.
func (b *batch) without(late []access) *batch {
	gone := map[access]int{}
	for _, a := range late {
		gone[a]++
	}
	c := &batch{users: b.users}
	for _, a := range b.events {
		if gone[a] > 0 {
			gone[a]--
			continue
		}
		c.events = append(c.events, a)
	}
	return c
}

func (b *batch) group(a *access) (string, error) {
	row, ok := b.users.At(a.User, flow.At(a.Time))
	return group(row, ok)
}

// compute returns the windows of a job.
func (b *batch) compute(job string) (results, error) {
	out := results{}
	put := func(key string, start, end int64, a *access) {
		at := place{key: key, start: start, end: end}
		out[at] = out[at].add(a)
	}
	switch job {
	case jobTumbling, jobHopping:
		for i := range b.events {
			a := &b.events[i]
			key, err := b.group(a)
			if err != nil {
				return nil, err
			}
			minute := a.Time.Truncate(time.Minute).Unix()
			if job == jobTumbling {
				put(key, minute, minute+60, a)
				continue
			}
			for start := minute - 4*60; start <= minute; start += 60 {
				put(key, start, start+5*60, a)
			}
		}
	case jobSession:
		for user, own := range b.by(func(a *access) string { return a.owner() }, 0) {
			for len(own) > 0 {
				n := 1
				for n < len(own) && own[n].Time.Sub(own[n-1].Time) < pause {
					n++
				}
				for i := range own[:n] {
					put(user, own[0].Time.Unix(), own[n-1].Time.Add(pause).Unix(), &own[i])
				}
				own = own[n:]
			}
		}
	case jobSliding:
		for route, own := range b.by(func(a *access) string { return a.route() }, 500) {
			first := 0
			for i := range own {
				end := own[i].Time
				if i+1 < len(own) && own[i+1].Time.Equal(end) {
					continue // one window for an instant
				}
				for end.Sub(own[first].Time) >= time.Minute {
					first++
				}
				for k := first; k <= i; k++ {
					put(route, end.Add(-time.Minute).Unix(), end.Unix(), &own[k])
				}
			}
		}
	}
	return out, nil
}

// by divides the events whose status is at least the given one.
func (b *batch) by(key func(*access) string, status int) map[string][]access {
	out := map[string][]access{}
	for i := range b.events {
		if a := &b.events[i]; a.Status >= status {
			out[key(a)] = append(out[key(a)], *a)
		}
	}
	return out
}

// merged adds up the partitions.
func (r results) merged() results {
	out := results{}
	for p, t := range r {
		p.partition = 0
		out[p] = out[p].merge(t)
	}
	return out
}

// compare counts the windows that are the same in both, and returns the others.
func compare(a, b results) (same int, differ []place) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for p := range all {
		x, inA := a[p]
		y, inB := b[p]
		if inA && inB && x == y {
			same++
		} else {
			differ = append(differ, p)
		}
	}
	slices.SortFunc(differ, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.start, b.start), strings.Compare(a.key, b.key))
	})
	return same, differ
}

// tardy finds the events of a topic that came when the watermark was past them by
// more than the lateness. A window that holds one may lack it, or not, depending on
// how long it is: only there may stream and batch differ.
func tardy(ctx context.Context, l stream.Log, topic string) ([]access, error) {
	r, err := newReader(schemaV2, schemaV1)
	if err != nil {
		return nil, err
	}
	var out []access
	var latest [partitions]time.Time
	err = everywhere(ctx, l, topic, func(p int, rec *stream.Record) error {
		if rec.Time.After(clock.Add(maxAhead)) {
			return nil
		}
		if mark := latest[p].Add(-bound); !mark.Before(rec.Time.Add(lateness)) {
			var a access
			if err := r.decode(rec.Value, &a); err != nil {
				return err
			}
			out = append(out, a)
		}
		if rec.Time.After(latest[p]) {
			latest[p] = rec.Time
		}
		return nil
	})
	return out, err
}

// touched tells whether a window of a job holds, or a session is near, an event
// that is among these.
func touched(p place, job string, events map[string][]int64) bool {
	from, to := p.start, p.end
	switch job {
	case jobSession: // it might have joined what is now apart
		pause := int64(pause / time.Second)
		from, to = from-pause, to+pause
	case jobSliding: // they hold their last instant, but not their first
		to++
	}
	for _, t := range events[p.key] {
		if from <= t && t < to {
			return true
		}
	}
	return false
}

// lateEvents returns the events that a job put aside because they were late.
func lateEvents(ctx context.Context, l stream.Log, job string) ([]access, error) {
	r, err := newReader(schemaV2, schemaV1)
	if err != nil {
		return nil, err
	}
	var out []access
	err = everywhere(ctx, l, job+".side", func(_ int, rec *stream.Record) error {
		for _, h := range rec.Headers {
			if h.Key == flow.ReasonHeader && string(h.Value) == flow.ReasonLate {
				var a access
				if err := r.decode(rec.Value, &a); err != nil {
					return err
				}
				out = append(out, a)
			}
		}
		return nil
	})
	return out, err
}
