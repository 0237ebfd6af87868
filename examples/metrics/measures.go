package main

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hamba/avro/v2"
	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
	"github.com/ashlar-go/ashlar/tsdb"
)

// What the story measures and counts, part by part.

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

// num writes a number with separators.
func num(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func reasons(counts map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %s", num(counts[k]), k))
	}
	return strings.Join(out, ", ")
}

func clockTime(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.TimeOnly) }

// encoded says what the schema is good for.
type encoded struct {
	json, avro, jsonPacked, avroPacked int // bytes of all events
	old, new                           int // events by the version of their schema
	newReadsOld, oldReadsNew           int // of these, read right by the other version
	block, blind                       int // records in a block, and those read right without its schema
}

func encodings(ctx context.Context, l stream.Log) (e encoded, err error) {
	now, err := newReader(schemaV2, schemaV1)
	if err != nil {
		return e, err
	}
	before, err := newReader(schemaV1, schemaV2)
	if err != nil {
		return e, err
	}
	w1, err := newWriter(schemaV1)
	if err != nil {
		return e, err
	}
	var asJSON, asAvro bytes.Buffer
	events := 0
	pack := func() error {
		for _, p := range []struct {
			b      *bytes.Buffer
			packed *int
		}{{&asJSON, &e.jsonPacked}, {&asAvro, &e.avroPacked}} {
			var out bytes.Buffer
			z, err := flate.NewWriter(&out, flate.DefaultCompression)
			if err != nil {
				return err
			}
			if _, err := z.Write(p.b.Bytes()); err != nil {
				return err
			}
			if err := z.Close(); err != nil {
				return err
			}
			*p.packed += out.Len()
			p.b.Reset()
		}
		return nil
	}
	var block bytes.Buffer // of records of version 2, without their heads
	var inBlock []access
	err = everywhere(ctx, l, topicEvents, func(_ int, r *stream.Record) error {
		var a, b access
		if err := now.decode(r.Value, &a); err != nil {
			return err
		}
		b.Micros = -2 // nobody knows what is not read
		if err := before.decode(r.Value, &b); err != nil {
			return err
		}
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		asJSON.Write(append(text, '\n'))
		asAvro.Write(r.Value[messageHead:])
		e.json += len(text) + 1
		e.avro += len(r.Value)
		if events++; events%blockRecords == 0 {
			if err := pack(); err != nil {
				return err
			}
		}
		ours := a
		if binary.LittleEndian.Uint64(r.Value[2:]) == binary.LittleEndian.Uint64(w1.head[2:]) {
			e.old++
			// The same in both, and the default for what was not written.
			if b.Micros = -1; a == b && a.Micros == -1 {
				e.newReadsOld++
			}
			return nil
		}
		e.new++
		if len(inBlock) < blockRecords {
			block.Write(r.Value[messageHead:])
			inBlock = append(inBlock, a)
		}
		if ours.Micros = -2; ours == b && a.Micros >= 0 {
			e.oldReadsNew++
		}
		return nil
	})
	if err != nil {
		return e, err
	}
	if err := pack(); err != nil {
		return e, err
	}
	// The same bytes, read by the wrong schema.
	e.block = len(inBlock)
	blind := avro.NewReader(nil, 0).Reset(block.Bytes())
	for i := range inBlock {
		var a access
		if decodeNext(w1.schema, blind, &a) != nil {
			break // what is taken for a length is none
		}
		if a.Micros = inBlock[i].Micros; a == inBlock[i] {
			e.blind++
		}
	}
	return e, nil
}

// enrichment is what it costs to learn who a user is, and whether it is true.
type enrichment struct {
	askedEvents, events     int
	asked                   int64
	askedMicros, joinMicros float64
	changed                 int // users
	wrongLatest, wrongAt    int // events
}

const askedEvents = 1000

func enrichments(ctx context.Context, l stream.Log, users *flow.Table, changes []change) (e enrichment, err error) {
	r, err := newReader(schemaV2, schemaV1)
	if err != nil {
		return e, err
	}
	var events []access
	err = everywhere(ctx, l, topicEvents, func(_ int, rec *stream.Record) error {
		var a access
		err := r.decode(rec.Value, &a)
		events = append(events, a)
		return err
	})
	if err != nil {
		return e, err
	}
	service := startUserService(users)
	defer service.Close()
	start := time.Now()
	for i := range events[:askedEvents] {
		if err := service.ask(ctx, events[i].User); err != nil {
			return e, err
		}
	}
	e.askedEvents, e.asked = askedEvents, service.asked.Load()
	e.askedMicros = float64(time.Since(start).Microseconds()) / float64(e.askedEvents)

	// What was true when, straight from the changes.
	history := map[string][]change{}
	for _, c := range changes {
		history[c.user] = append(history[c.user], c)
		if len(history[c.user]) == 2 {
			e.changed++
		}
	}
	joined := make([]string, len(events))
	start = time.Now()
	for i := range events {
		row, ok := users.At(events[i].User, flow.At(events[i].Time))
		if joined[i], err = group(row, ok); err != nil {
			return e, err
		}
	}
	e.events = len(events)
	e.joinMicros = float64(time.Since(start).Microseconds()) / float64(e.events)
	for i := range events {
		truth := nobody
		for _, c := range history[events[i].User] {
			if !c.from.After(events[i].Time) {
				truth = c.Country + "/" + c.Plan
			}
		}
		row, ok := users.Get(events[i].User)
		latest, err := group(row, ok)
		if err != nil {
			return e, err
		}
		if latest != truth {
			e.wrongLatest++
		}
		if joined[i] != truth {
			e.wrongAt++
		}
	}
	return e, nil
}

// byArrival counts requests by the minute in which they arrive, which is what a job
// without event time does, and says how many windows are wrong.
func byArrival(lines []sent, users *flow.Table, right results) (wrong, n int, err error) {
	got := results{}
	b := &batch{users: users}
	for _, s := range lines {
		e, err := parse(s.text)
		if err != nil {
			continue
		}
		a := accessOf(s.host, &e)
		key, err := b.group(&a)
		if err != nil {
			return 0, 0, err
		}
		minute := s.arrives.Truncate(time.Minute).Unix()
		at := place{key: key, start: minute, end: minute + 60}
		got[at] = got[at].add(&a)
	}
	_, differ := compare(right, got)
	return len(differ), len(right), nil
}

// largest returns the window with the most requests whose key is this, or any.
func largest(r results, key string) (best place) {
	for _, p := range r.places() {
		if (key == "" || p.key == key) && r[p].Requests > r[best].Requests {
			best = p
		}
	}
	return best
}

// errorsByMinute returns the most errors of a route that a fixed minute has.
func errorsByMinute(ctx context.Context, l stream.Log, route string) (most int, err error) {
	n := map[int64]int{}
	err = everywhere(ctx, l, topicErrors, func(_ int, r *stream.Record) error {
		if string(r.Key) == route {
			minute := r.Time.Truncate(time.Minute).Unix()
			n[minute]++
			most = max(most, n[minute])
		}
		return nil
	})
	return most, err
}

// firedAgain counts the panes that are not the first of their window.
func firedAgain(ctx context.Context, l stream.Log, job string) (n int, err error) {
	err = everywhere(ctx, l, job, func(_ int, r *stream.Record) error {
		var w window
		if err := json.Unmarshal(r.Value, &w); err != nil {
			return err
		}
		if w.Kind == flow.Late {
			n++
		}
		return nil
	})
	return n, err
}

// rowing is what the same samples cost as rows and as series. Times are in ms.
type rowing struct {
	samples                      int
	rowBytes, rowUsed            float64 // a sample
	rowWrite, rowRead            float64
	seriesWrite, seriesRead      float64
	rowSum, seriesSum, windowSum float64
}

// rowsAgainstSeries writes the windows to both, in batches of a thousand that are
// on the disk when they are acknowledged, and asks both for all requests of pro
// users.
func rowsAgainstSeries(ctx context.Context, l stream.Log, db *tsdb.DB, dir string) (r rowing, err error) {
	rows, err := openRows(dir)
	if err != nil {
		return r, err
	}
	defer rows.db.Close()
	var all []sample
	last := map[place]int64{}
	err = everywhere(ctx, l, jobTumbling, func(partition int, rec *stream.Record) error {
		var w window
		if err := json.Unmarshal(rec.Value, &w); err != nil {
			return err
		}
		if strings.HasSuffix(w.Key, "/pro") {
			last[place{partition, w.Key, w.Start.Unix(), w.End.Unix()}] = w.Requests
		}
		return samplesOf(partition, &w, func(s sample) error { all = append(all, s); return nil })
	})
	if err != nil {
		return r, err
	}
	for _, n := range last {
		r.windowSum += float64(n)
	}
	const batch = 1000
	millis := func(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

	start := time.Now()
	for part := range slices.Chunk(all, batch) {
		if err := rows.insert(part); err != nil {
			return r, err
		}
	}
	r.rowWrite = millis(start)
	start = time.Now()
	a := newAppender(db)
	for i, s := range all {
		if err := a.add(ctx, s.t, s.v, sourceShop, s.labels...); err != nil {
			return r, err
		}
		if (i+1)%batch == 0 {
			if err := a.flush(ctx); err != nil {
				return r, err
			}
		}
	}
	if err := a.flush(ctx); err != nil {
		return r, err
	}
	r.seriesWrite = millis(start)

	start = time.Now()
	n := 0
	for _, country := range countries {
		sum, found, err := rows.sum("name,requests,country," + country + ",plan,pro,")
		if err != nil {
			return r, err
		}
		r.rowSum, n = r.rowSum+sum, n+found
	}
	r.rowRead = millis(start)
	start = time.Now()
	sums, err := total(ctx, db, tsdb.All, 24*time.Hour, tsdb.Eq("name", "requests"), tsdb.Eq("plan", "pro"))
	if err != nil {
		return r, err
	}
	for _, v := range sums {
		r.seriesSum += v
	}
	r.seriesRead = millis(start)

	file, used, err := rows.size()
	if err != nil {
		return r, err
	}
	err = rows.db.View(func(tx *bbolt.Tx) error {
		r.samples = tx.Bucket(rowBucket).Stats().KeyN
		return nil
	})
	r.rowBytes, r.rowUsed = float64(file)/float64(r.samples), float64(used)/float64(r.samples)
	return r, err
}

// search counts the lines of a class that contain a text.
func search(ctx context.Context, db *tsdb.DB, text, class string) (n int, millis float64, err error) {
	start := time.Now()
	for _, err := range db.Logs(ctx, tsdb.All, tsdb.Contains(text), tsdb.Eq("name", "access"), tsdb.Eq("class", class)) {
		if err != nil {
			return n, 0, err
		}
		n++
	}
	return n, float64(time.Since(start).Microseconds()) / 1000, nil
}
