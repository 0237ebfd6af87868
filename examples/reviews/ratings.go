package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
)

const (
	partitions   = 4
	topicReviews = "reviews" // what users write
	topicRatings = "ratings" // by business: what stands beside it
	topicWords   = "words"   // by user and business: what was last said
	groupExact   = "exact"
	groupNaive   = "naive"
)

func keyOf(b businessID) []byte { return binary.BigEndian.AppendUint32(nil, uint32(b)) }

func createTopics(ctx context.Context, log stream.Log) error {
	for _, topic := range []string{topicReviews, topicRatings, topicWords} {
		o := &stream.TopicOptions{Partitions: partitions, Compact: topic != topicReviews}
		if err := log.CreateTopic(ctx, topic, o); err != nil {
			return err
		}
	}
	return nil
}

// write appends reviews, those of one business to one partition.
func write(ctx context.Context, log stream.Log, reviews []review) error {
	var batches [partitions][]stream.Record
	for _, v := range reviews {
		value, err := json.Marshal(v)
		if err != nil {
			return err
		}
		key := keyOf(v.Business)
		p := stream.PartitionOf(key, partitions)
		batches[p] = append(batches[p], stream.Record{Key: key, Value: value})
	}
	for p, batch := range batches {
		if len(batch) == 0 {
			continue
		}
		if _, err := log.Append(ctx, stream.Partition{Topic: topicReviews, Number: p}, batch); err != nil {
			return err
		}
	}
	return nil
}

// ---- exact ----------------------------------------------------------------------

// An aggregator keeps the ratings of one partition. What it knows is in the log too: the
// changed ratings, the users' last words and how far it has read are written in one
// transaction. So an aggregator that is lost leaves nothing half done, and the next one
// reads what it knew.
type aggregator struct {
	log    stream.Transactor
	number int
	next   int64
	*ledger
}

func openAggregator(ctx context.Context, log stream.Transactor, number int) (*aggregator, error) {
	a := &aggregator{log: log, number: number, ledger: newLedger()}
	offsets, err := log.Committed(ctx, groupExact)
	if err != nil {
		return nil, err
	}
	a.next = max(0, offsets[stream.Partition{Topic: topicReviews, Number: number}].Next)
	for _, topic := range []string{topicRatings, topicWords} {
		p := stream.Partition{Topic: topic, Number: number}
		first, end, err := log.Bounds(ctx, p)
		if err != nil {
			return nil, err
		}
		for r, err := range stream.Scan(ctx, log, p, first, end) {
			if err != nil {
				return nil, err
			}
			if topic == topicRatings {
				var v rating
				err = json.Unmarshal(r.Value, &v)
				a.ratings[businessID(binary.BigEndian.Uint32(r.Key))] = v
			} else {
				a.last[[2]int32{int32(binary.BigEndian.Uint32(r.Key)), int32(binary.BigEndian.Uint32(r.Key[4:]))}] = int(r.Value[0])
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// errKilled is what a part returns that was to die at this place.
var errKilled = errors.New("killed")

// catchUp reads to the present end. If dies is true, it is lost after its first batch
// was reckoned and before that is written.
func (a *aggregator) catchUp(ctx context.Context, dies bool) error {
	p := stream.Partition{Topic: topicReviews, Number: a.number}
	_, end, err := a.log.Bounds(ctx, p)
	if err != nil {
		return err
	}
	var b stream.Batch
	for a.next < end {
		if err := a.log.Read(ctx, p, a.next, &b); err != nil {
			return err
		}
		ratings, words := map[businessID]rating{}, map[string]byte{}
		for i := range b.Records {
			var v review
			if err := json.Unmarshal(b.Records[i].Value, &v); err != nil {
				return err
			}
			ratings[v.Business] = a.add(v)
			words[string(binary.BigEndian.AppendUint32(keyOf(businessID(v.User)), uint32(v.Business)))] = byte(v.Stars)
		}
		if dies {
			return errKilled
		}
		tx := stream.Tx{Group: groupExact, Offsets: map[stream.Partition]stream.Offset{p: {Next: b.Next}}}
		var out, said []stream.Record
		for id, r := range ratings {
			value, err := json.Marshal(r)
			if err != nil {
				return err
			}
			out = append(out, stream.Record{Key: keyOf(id), Value: value})
		}
		for key, stars := range words {
			said = append(said, stream.Record{Key: []byte(key), Value: []byte{stars}})
		}
		tx.Appends = []stream.Append{
			{Partition: stream.Partition{Topic: topicRatings, Number: a.number}, Records: out},
			{Partition: stream.Partition{Topic: topicWords, Number: a.number}, Records: said},
		}
		if _, err := a.log.Transact(ctx, &tx); err != nil {
			return err
		}
		a.next = b.Next
	}
	return nil
}

// An exact is the aggregators of all partitions.
type exact struct {
	log   stream.Transactor
	parts [partitions]*aggregator
	lost  int // aggregators
}

func openExact(ctx context.Context, log stream.Transactor) (*exact, error) {
	e := &exact{log: log}
	var err error
	for i := range e.parts {
		if e.parts[i], err = openAggregator(ctx, log, i); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// catchUp reads to the end; one that is lost on the way is replaced by another, which has
// nothing but the log.
func (e *exact) catchUp(ctx context.Context, dies bool) error {
	for i := range e.parts {
		err := e.parts[i].catchUp(ctx, dies)
		if errors.Is(err, errKilled) {
			e.lost++
			if e.parts[i], err = openAggregator(ctx, e.log, i); err == nil {
				err = e.parts[i].catchUp(ctx, false)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *exact) rating(id businessID) rating {
	return e.parts[stream.PartitionOf(keyOf(id), partitions)].ratings[id]
}

// ---- naive ----------------------------------------------------------------------

// A naive consumer adds the stars of each review to the row in the database, and then
// writes how far it has read. Second thoughts count as more reviews, and what was added
// before a crash is added again.
type naive struct {
	log  stream.Transactor
	rows map[businessID]rating // the database: it survives
	lost int
}

func (n *naive) catchUp(ctx context.Context, dies bool) error {
	for number := range partitions {
		p := stream.Partition{Topic: topicReviews, Number: number}
		_, end, err := n.log.Bounds(ctx, p)
		if err != nil {
			return err
		}
		die := dies
		var b stream.Batch
		for {
			offsets, err := n.log.Committed(ctx, groupNaive)
			if err != nil {
				return err
			}
			next := max(0, offsets[p].Next)
			if next >= end {
				break
			}
			if err := n.log.Read(ctx, p, next, &b); err != nil {
				return err
			}
			for i := range b.Records {
				var v review
				if err := json.Unmarshal(b.Records[i].Value, &v); err != nil {
					return err
				}
				if v.Stars > 0 {
					r := n.rows[v.Business]
					n.rows[v.Business] = rating{r.Sum + v.Stars, r.Count + 1}
				}
			}
			if die { // before the offset is written: the next one begins where this one did
				die = false
				n.lost++
				continue
			}
			if err := n.log.Commit(ctx, groupNaive, map[stream.Partition]stream.Offset{p: {Next: b.Next}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ---- by night ---------------------------------------------------------------------

// An archive keeps the raw reviews of each hour as an object: what the batch job reads.
type archive struct{ store blob.Store }

func (a *archive) put(ctx context.Context, hour int, reviews []review) error {
	var b strings.Builder
	for _, v := range reviews {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	_, err := blob.PutBytes(ctx, a.store, fmt.Sprintf("reviews/day=%d/hour=%02d.jsonl", hour/24, hour%24), []byte(b.String()))
	return err
}

// batch reads everything there is and returns all ratings, and how many reviews it read.
func (a *archive) batch(ctx context.Context) (map[businessID]rating, int, error) {
	l, read := newLedger(), 0
	for info, err := range a.store.List(ctx, "reviews/", "") {
		if err != nil {
			return nil, 0, err
		}
		data, _, err := blob.GetBytes(ctx, a.store, info.Key, 64<<20)
		if err != nil {
			return nil, 0, err
		}
		d := json.NewDecoder(strings.NewReader(string(data)))
		for d.More() {
			var v review
			if err := d.Decode(&v); err != nil {
				return nil, 0, fmt.Errorf("%s: %w", path.Base(info.Key), err)
			}
			l.add(v)
			read++
		}
	}
	return l.ratings, read, nil
}

// ---- side by side -------------------------------------------------------------------

// Four ways to have a rating beside each business.
const (
	wayExact = iota
	wayNight
	wayNaive
	wayBoth
	ways
)

var wayNames = [ways]string{"stream, exactly once", "batch at 3 o'clock", "stream, adding up", "adding up, batch at 3 o'clock"}

// A drift is how far a way is from the truth at a time.
type drift struct {
	mean  float64 // stars, over the businesses that show any
	worst float64
	wrong int // businesses that show another half star, or none
}

// An hour is what a visitor would see at the end of it.
type hour struct {
	number int
	drift  [ways]drift
}

// A weekRun feeds a week to the four ways, an hour at a time.
type weekRun struct {
	log     stream.Transactor
	archive archive
	exact   *exact
	naive   *naive
	both    *naive
	night   map[businessID]rating
	truth   *ledger
	hours   []hour
	batches int
	read    int // reviews, by batches
}

const (
	nightly = 3  // o'clock
	killed  = 31 // hours between losses
)

func newWeekRun(ctx context.Context, log stream.Transactor, store blob.Store) (*weekRun, error) {
	if err := createTopics(ctx, log); err != nil {
		return nil, err
	}
	w := &weekRun{log: log, archive: archive{store}, night: map[businessID]rating{}, truth: newLedger()}
	w.naive = &naive{log: log, rows: map[businessID]rating{}}
	w.both = &naive{rows: map[businessID]rating{}}
	var err error
	w.exact, err = openExact(ctx, log)
	return w, err
}

// step takes the reviews of one hour. If dies is true, each consumer is lost in it.
func (w *weekRun) step(ctx context.Context, reviews []review, dies bool) error {
	n := len(w.hours)
	if n%24 == nightly {
		rows, read, err := w.archive.batch(ctx)
		if err != nil {
			return err
		}
		w.night, w.read = rows, w.read+read
		w.batches++
		w.both.rows = map[businessID]rating{}
		for id, r := range rows {
			w.both.rows[id] = r
		}
	}
	if err := write(ctx, w.log, reviews); err != nil {
		return err
	}
	if err := w.archive.put(ctx, n, reviews); err != nil {
		return err
	}
	before := make(map[businessID]rating, len(w.naive.rows))
	for id, r := range w.naive.rows {
		before[id] = r
	}
	if err := errors.Join(w.exact.catchUp(ctx, dies), w.naive.catchUp(ctx, dies)); err != nil {
		return err
	}
	for id, r := range w.naive.rows { // the same additions, to rows that the night set right
		b := w.both.rows[id]
		w.both.rows[id] = rating{b.Sum + r.Sum - before[id].Sum, b.Count + r.Count - before[id].Count}
	}
	for _, v := range reviews {
		w.truth.add(v)
	}
	h := hour{number: n}
	for way := range ways {
		h.drift[way] = w.driftOf(way)
	}
	w.hours = append(w.hours, h)
	return nil
}

// shown returns the rating that a way shows.
func (w *weekRun) shown(way int, id businessID) rating {
	switch way {
	case wayExact:
		return w.exact.rating(id)
	case wayNight:
		return w.night[id]
	case wayNaive:
		return w.naive.rows[id]
	}
	return w.both.rows[id]
}

func halves(r rating) int { return int(2*r.stars() + 0.5) }

func (w *weekRun) driftOf(way int) drift {
	var d drift
	n := 0
	for id, r := range w.truth.ratings {
		if r.Count == 0 {
			continue
		}
		x := w.shown(way, id)
		if halves(x) != halves(r) {
			d.wrong++
		}
		if x.Count > 0 {
			n++
			off := max(x.stars()-r.stars(), r.stars()-x.stars())
			d.mean += off
			d.worst = max(d.worst, off)
		}
	}
	if n > 0 {
		d.mean /= float64(n)
	}
	return d
}

func (h hour) String() string {
	return fmt.Sprintf("%s %02d:59", time.Weekday((h.number/24 + 1) % 7).String()[:3], h.number%24)
}

// hourly cuts reviews into the hours of the week.
func hourly(reviews []review) [][]review {
	hours := make([][]review, int(week/time.Hour))
	for _, v := range reviews {
		h := int(v.At / time.Hour)
		hours[h] = append(hours[h], v)
	}
	return hours
}
