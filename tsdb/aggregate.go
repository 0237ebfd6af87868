package tsdb

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"
)

// A Bucket sums up the samples of one series from T on for one step. NaN, the
// stale marker among them, takes no part; infinities do.
type Bucket struct {
	T                          int64 // a multiple of the step
	Count                      uint64
	Sum, Min, Max, First, Last float64
}

// Mean returns Sum / Count.
func (b *Bucket) Mean() float64 { return b.Sum / float64(b.Count) }

// Buckets is what [DB.Aggregate] yields for a series. It is valid until the
// loop's next step.
type Buckets struct {
	Source  string
	Buckets []Bucket // by T; none is empty
	// Err tells what is missing from the buckets, or is nil.
	Err error

	key string
}

// Labels returns the labels, sorted by name.
func (b *Buckets) Labels() Labels { return keyLabels(b.key) }

// Label returns the value of one label, or "".
func (b *Buckets) Label(name string) string { return keyValue(b.Source, b.key, name) }

// Aggregate yields the series that all matchers accept and that have numbers in
// the range, in buckets of step, which begin at multiples of it. Buckets that
// hold whole blocks are answered from the index without reading them. Sums are
// right within rounding; all else is exact.
//
// Where the samples have expired and a rollup remains, that is used: its records
// count where they begin, so a step and a range that are multiples of the
// rollup's step lose nothing.
func (db *DB) Aggregate(ctx context.Context, r Range, step time.Duration, ms ...Matcher) iter.Seq2[*Buckets, error] {
	return func(yield func(*Buckets, error) bool) {
		q, err := db.newQuery(ctx, r, chunkSamples, ms)
		if err == nil && step < time.Millisecond {
			err = fmt.Errorf("%w: step %v", ErrInvalid, step)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		rolled, errs := db.rolled(q, step.Milliseconds())
		for _, err := range errs {
			if !yield(nil, err) {
				return
			}
		}
		a := aggregator{step: step.Milliseconds(), from: q.rng.From}
		out := &Buckets{}
		ok := true
		q.run(func(s *Series, err error) bool {
			if err != nil {
				ok = yield(nil, err)
				return ok
			}
			a.reset()
			id := seriesID{s.Source, s.key}
			if old := rolled[id]; old != nil { // older than any sample
				a.out = append(a.out, old.out...)
				delete(rolled, id)
			}
			q.walk(s.e, s.key, a.short, a.add)
			if len(a.out) == 0 && a.err == nil {
				return true
			}
			*out = Buckets{Source: s.Source, key: s.key, Buckets: a.out, Err: a.err}
			ok = yield(out, nil)
			return ok
		})
		for id, old := range rolled {
			if !ok {
				return
			}
			*out = Buckets{Source: id.source, key: id.key, Buckets: old.out}
			ok = yield(out, nil)
		}
	}
}

type seriesID struct{ source, key string }

// An aggregator puts samples that come in order of time into buckets.
type aggregator struct {
	step, from int64
	out        []Bucket
	err        error
}

func (a *aggregator) reset() { a.out, a.err = a.out[:0], nil }

func (b *Bucket) summary() summary {
	return summary{b.Count, b.Sum, b.Min, b.Max, b.First, b.Last}
}

// merge adds a summary to the bucket that begins at t, the last or a new one.
func (a *aggregator) merge(t int64, s *summary) {
	if s.count == 0 {
		return
	}
	if n := len(a.out); n > 0 && a.out[n-1].T == t {
		have := a.out[n-1].summary()
		have.merge(s)
		s = &have
		a.out = a.out[:n-1]
	}
	a.out = append(a.out, Bucket{t, s.count, s.sum, s.min, s.max, s.first, s.last})
}

func (a *aggregator) short(m *blockMeta) bool {
	t := m.minT - mod(m.minT, a.step)
	if m.maxT-t >= a.step {
		return false
	}
	a.merge(t, &m.sum)
	return true
}

func (a *aggregator) add(t []int64, v []float64, err error) bool {
	if err != nil {
		if a.err == nil {
			a.err = err
		}
		return true
	}
	for len(t) > 0 {
		start := t[0] - mod(t[0], a.step)
		n, _ := slices.BinarySearch(t, start+a.step)
		s := summarize(v[:n])
		a.merge(start, &s)
		t, v = t[n:], v[n:]
	}
	return true
}

// rolled returns buckets from rollups for the ranges whose samples are gone.
func (db *DB) rolled(q *query, step int64) (map[seriesID]*aggregator, []error) {
	type span struct {
		source string
		rng    Range
	}
	db.mu.RLock()
	have := map[span]bool{}
	best := map[span]*chunk{}
	for _, s := range db.sources {
		if !matchKey(s.name, "", q.source) {
			continue
		}
		for _, c := range s.chunks {
			if c.info.kind == chunkSamples {
				have[span{s.name, c.info.rng}] = true
			}
		}
		for _, c := range s.chunks {
			at := span{s.name, c.info.rng}
			if c.info.kind != chunkRollup || have[at] || !q.rng.overlaps(c.info.minT, c.info.maxT) {
				continue
			}
			// The coarsest that divides the step, else the finest.
			old := best[at]
			fits := step%c.info.step == 0
			if old == nil || fits && (step%old.info.step != 0 || c.info.step > old.info.step) ||
				!fits && step%old.info.step != 0 && c.info.step < old.info.step {
				best[at] = c
			}
		}
	}
	var chunks []*chunk
	for _, c := range best {
		c.hold()
		chunks = append(chunks, c)
	}
	db.mu.RUnlock()
	slices.SortFunc(chunks, func(a, b *chunk) int {
		if a.info.rng.From < b.info.rng.From {
			return -1
		}
		return 1
	})
	out := map[seriesID]*aggregator{}
	var errs []error
	var b blockBuf
	for _, c := range chunks {
		if err := db.addRolled(q, c, step, out, &b); err != nil {
			errs = append(errs, err)
		}
		c.release()
	}
	return out, errs
}

func (db *DB) addRolled(q *query, c *chunk, step int64, out map[seriesID]*aggregator, b *blockBuf) error {
	x, err := c.index()
	if err != nil {
		return err
	}
	if len(x.lost) > 0 {
		err = c.fail("", c.info.rng, x.why[0])
	}
	read := blockReader{f: c.f, size: c.info.size}
	var dead []deadRange
	db.mu.RLock()
	tombs := db.tombs
	db.mu.RUnlock()
	for i := range tombs {
		if tombs[i].maxChunk >= c.info.id {
			if d, ok := deadIn(x, c.info.source, &tombs[i]); ok {
				dead = append(dead, d)
			}
		}
	}
	deleted := func(ord uint32, at int64) bool {
		for i := range dead {
			if at >= dead[i].rng.From && at < dead[i].rng.To {
				if _, ok := slices.BinarySearch(dead[i].ord, ord); ok {
					return true
				}
			}
		}
		return false
	}
	for _, ord := range sorted(x.find(q.ms)) {
		key := x.keys[ord]
		for i := range x.series(ord) {
			m := &x.series(ord)[i]
			if !q.rng.overlaps(m.minT, m.maxT) {
				continue
			}
			payload, rerr := read.read(m)
			var t []int64
			var count []float64
			if rerr == nil {
				t, count, rerr = b.decode(payload, rollupColumns)
			}
			if rerr != nil {
				err = c.fail(key, Range{m.minT, m.maxT + 1}, rerr)
				continue
			}
			id := seriesID{c.info.source, key}
			a := out[id]
			if a == nil {
				a = &aggregator{step: step}
				out[id] = a
			}
			for j, at := range t {
				if at < q.rng.From || at >= q.rng.To || deleted(ord, at) {
					continue
				}
				s := summary{uint64(count[j]), b.more[0][j], b.more[1][j], b.more[2][j], b.more[3][j], b.more[4][j]}
				a.merge(at-mod(at, step), &s)
			}
		}
	}
	return err
}
