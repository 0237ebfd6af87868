package tsdb

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"
	"sync"
)

// A Block is a run of samples of one series, in order of time.
type Block struct {
	T []int64
	V []float64
}

// A Series is one series of a query. It is valid until the loop's next step.
type Series struct {
	Source string

	key string
	q   *query
	e   *entry
}

// Labels returns the labels, sorted by name.
func (s *Series) Labels() Labels { return keyLabels(s.key) }

// Label returns the value of one label, or "".
func (s *Series) Label(name string) string { return keyValue(s.Source, s.key, name) }

// Blocks yields the samples of the series in the query's range, in order of
// time, in runs of at most some thousands. The slices are valid until the next
// step. Where data is damaged, the error is a [CorruptError] that tells the
// range; the loop goes on behind it.
func (s *Series) Blocks() iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		s.q.walk(s.e, s.key, nil, func(t []int64, v []float64, err error) bool {
			return yield(Block{t, v}, err)
		})
	}
}

// Query yields the series that all matchers accept and that have samples in the
// range, or may have: source by source, otherwise in no certain order. With an
// error the Series is nil: the arguments are wrong, the context has ended, or
// an index is damaged ([CorruptError]); after the latter the loop goes on.
//
// A query sees at least what was appended before it began, and not what is
// deleted before it began.
func (db *DB) Query(ctx context.Context, r Range, ms ...Matcher) iter.Seq2[*Series, error] {
	return func(yield func(*Series, error) bool) {
		q, err := db.newQuery(ctx, r, chunkSamples, ms)
		if err != nil {
			yield(nil, err)
			return
		}
		q.run(func(s *Series, err error) bool {
			if err == nil && !q.has(s.e) {
				return true
			}
			return yield(s, err)
		})
	}
}

// A query is a Query, an Aggregate or a scan of logs while it runs.
type query struct {
	db     *DB
	ctx    context.Context
	rng    Range
	kind   chunkKind
	ms     []Matcher // but those on the source
	source []Matcher

	parts []part
	buf   *queryBuf
	items []item
	view  headView

	duplicates uint64 // found in merging
}

// A part is a chunk or head of one source.
type part struct {
	chunk *chunk
	x     *chunkIndex
	read  blockReader
	dead  []deadRange
	head  *head
	lines map[uint32][]logEntry // of a head of logs, by series
}

// A deadRange is a tombstone as it affects a chunk.
type deadRange struct {
	rng Range
	ord []uint32 // sorted
}

// An entry is a series found, with its ordinal in each part that has it.
type entry struct {
	key   string
	first partRef
	more  []partRef
}

type partRef struct {
	part int32
	ord  uint32
}

// queryBuf is the large scratch space of a query.
type queryBuf struct {
	block  blockBuf
	head   headCoder
	t, t2  []int64
	v, v2  []float64
	readCh []byte
}

var queryBufs = sync.Pool{New: func() any { return new(queryBuf) }}

func (db *DB) newQuery(ctx context.Context, r Range, kind chunkKind, ms []Matcher) (*query, error) {
	if r.From >= r.To {
		return nil, fmt.Errorf("%w: range [%d, %d)", ErrInvalid, r.From, r.To)
	}
	q := &query{db: db, ctx: ctx, rng: Range{max(r.From, minTime), min(r.To, maxTime)}, kind: kind}
	for _, m := range ms {
		if err := m.check(); err != nil {
			return nil, err
		}
		if m.name == SourceLabel {
			q.source = append(q.source, m)
		} else {
			q.ms = append(q.ms, m)
		}
	}
	if db.closed.Load() {
		return nil, ErrClosed
	}
	return q, ctx.Err()
}

// run visits each source, and there each series.
func (q *query) run(yield func(*Series, error) bool) {
	q.buf = queryBufs.Get().(*queryBuf)
	defer queryBufs.Put(q.buf)
	q.db.mu.RLock()
	sources := slices.Clone(q.db.sources)
	q.db.mu.RUnlock()
	s := &Series{q: q}
	for _, src := range sources {
		if !matchKey(src.name, "", q.source) {
			continue
		}
		entries, errs := q.enter(src)
		ok := true
		for _, err := range errs {
			if ok {
				ok = yield(nil, err)
			}
		}
		for i := range entries {
			if !ok {
				break
			}
			if err := q.ctx.Err(); err != nil {
				yield(nil, err)
				ok = false
				break
			}
			s.Source, s.key, s.e = src.name, entries[i].key, &entries[i]
			ok = yield(s, nil)
		}
		q.leave()
		if !ok {
			return
		}
	}
}

// enter takes hold of the parts of a source and finds the series in them.
func (q *query) enter(src *source) (entries []entry, errs []error) {
	db := q.db
	db.mu.RLock()
	for _, c := range src.chunks {
		if c.info.kind == q.kind && q.rng.overlaps(c.info.minT, c.info.maxT) {
			c.hold()
			q.parts = append(q.parts, part{chunk: c})
		}
	}
	for _, h := range src.frozen {
		if h.kind == q.kind && q.rng.overlaps(h.start, h.end-1) {
			q.parts = append(q.parts, part{head: h.head})
		}
	}
	open := src.heads
	if q.kind == chunkLogs {
		open = src.logs
	}
	for _, h := range open {
		if q.rng.overlaps(h.start, h.end-1) {
			q.parts = append(q.parts, part{head: h})
		}
	}
	keys := src.keys
	tombs := db.tombs
	db.mu.RUnlock()
	return q.find(src, keys, tombs)
}

// find finds the series in the parts.
func (q *query) find(src *source, keys []string, tombs []tombstone) (entries []entry, errs []error) {
	db := q.db
	var headOrds []uint32
	if len(q.parts) > 0 && q.parts[len(q.parts)-1].head != nil {
		headOrds = db.findHead(src, keys, q.ms)
	}
	one := len(q.parts) == 1
	byKey := map[string]int32{}
	add := func(key string, at partRef) {
		if one {
			entries = append(entries, entry{key: key, first: at})
			return
		}
		if i, ok := byKey[key]; ok {
			entries[i].more = append(entries[i].more, at)
			return
		}
		byKey[key] = int32(len(entries))
		entries = append(entries, entry{key: key, first: at})
	}
	for i := range q.parts {
		p := &q.parts[i]
		if p.head != nil {
			db.mu.RLock()
			for _, ord := range headOrds {
				if q.kind == chunkLogs || int(ord) < len(p.head.series) && !p.head.series[ord].empty() {
					add(keys[ord], partRef{int32(i), ord})
				}
			}
			db.mu.RUnlock()
			continue
		}
		x, err := p.chunk.index()
		if err != nil {
			db.stats.corrupt.Add(1)
			errs = append(errs, err)
			continue
		}
		p.x, p.read = x, blockReader{f: p.chunk.f, size: p.chunk.info.size}
		if i == 0 {
			p.read.buf = q.buf.readCh[:0]
		}
		for j, lost := range x.lost {
			if q.rng.overlaps(lost.minT, lost.maxT) {
				db.stats.corrupt.Add(1)
				errs = append(errs, p.chunk.fail("", Range{lost.minT, lost.maxT + 1}, x.why[j]))
			}
		}
		for _, t := range tombs {
			if t.maxChunk >= p.chunk.info.id && q.kind != chunkRollup && t.rng.overlaps(p.chunk.info.minT, p.chunk.info.maxT) {
				if d, ok := deadIn(x, src.name, &t); ok {
					p.dead = append(p.dead, d)
				}
			}
		}
		for _, ord := range sorted(x.find(q.ms)) {
			add(x.keys[ord], partRef{int32(i), ord})
		}
	}
	return entries, errs
}

func sorted(ords []uint32) []uint32 {
	if !slices.IsSorted(ords) {
		slices.Sort(ords)
	}
	return ords
}

// deadIn returns what a tombstone deletes from a chunk.
func deadIn(x *chunkIndex, source string, t *tombstone) (deadRange, bool) {
	ms := make([]Matcher, 0, len(t.ms))
	for _, m := range t.ms {
		if m.name != SourceLabel {
			ms = append(ms, m)
		} else if !m.matches(source) {
			return deadRange{}, false
		}
	}
	d := deadRange{t.rng, sorted(x.find(ms))}
	return d, len(d.ord) > 0
}

func (q *query) leave() {
	for i := range q.parts {
		if c := q.parts[i].chunk; c != nil {
			c.release()
		}
		if i == 0 {
			q.buf.readCh = q.parts[0].read.buf
		}
	}
	clear(q.parts)
	q.parts = q.parts[:0]
}

// findHead returns the ordinals of a source's series that the matchers accept.
func (db *DB) findHead(src *source, keys []string, ms []Matcher) []uint32 {
	db.mu.RLock()
	x := src.index
	db.mu.RUnlock()
	if x == nil || len(x.keys) > len(keys) || len(keys)-len(x.keys) > 256+len(x.keys)/8 {
		x = newLabelIndex(keys)
		db.mu.Lock()
		src.index = x
		db.mu.Unlock()
	}
	ords := x.find(ms)
	for i := len(x.keys); i < len(keys); i++ {
		if keys[i] != gone && matchKey(src.name, keys[i], ms) {
			ords = append(ords, uint32(i))
		}
	}
	// Forgotten since the index was made?
	return slices.DeleteFunc(ords, func(ord uint32) bool { return keys[ord] == gone })
}

// An item is a run of samples in one part: a block of a chunk, or all that a
// head has.
type item struct {
	minT, maxT int64
	part       int32
	ord        uint32
	meta       *blockMeta // nil: the head's
}

func (e *entry) refs(yield func(partRef) bool) {
	if !yield(e.first) {
		return
	}
	for _, r := range e.more {
		if !yield(r) {
			return
		}
	}
}

// has reports whether a series may have samples in the range.
func (q *query) has(e *entry) bool {
	for r := range e.refs {
		p := &q.parts[r.part]
		if p.head != nil {
			return true
		}
		bs := p.x.series(r.ord)
		if q.rng.overlaps(bs[0].minT, bs[len(bs)-1].maxT) {
			return true
		}
	}
	return false
}

// collect lists the items of a series in the range, by time, then by priority.
func (q *query) collect(e *entry) {
	q.items = q.items[:0]
	for r := range e.refs {
		p := &q.parts[r.part]
		if p.head != nil {
			q.items = append(q.items, item{minT: max(p.head.start, q.rng.From), maxT: min(p.head.end, q.rng.To) - 1, part: r.part, ord: r.ord})
			continue
		}
		bs := p.x.series(r.ord)
		from := sort.Search(len(bs), func(i int) bool { return bs[i].maxT >= q.rng.From })
		for i := from; i < len(bs) && bs[i].minT < q.rng.To; i++ {
			q.items = append(q.items, item{bs[i].minT, bs[i].maxT, r.part, r.ord, &bs[i]})
		}
	}
	if len(e.more) > 0 {
		slices.SortStableFunc(q.items, func(a, b item) int {
			switch {
			case a.minT < b.minT:
				return -1
			case a.minT > b.minT:
				return 1
			}
			return 0
		})
	}
}

// walk yields the samples of a series in order. For a block of which nobody else
// has a sample in its time, and nothing is deleted, it first asks short, if that
// is not nil, whether the index's summary will do.
func (q *query) walk(e *entry, key string, short func(m *blockMeta) bool, yield func(t []int64, v []float64, err error) bool) {
	q.collect(e)
	items := q.items
	for len(items) > 0 {
		if q.ctx != nil && q.ctx.Err() != nil { // none where chunks are merged
			yield(nil, nil, q.ctx.Err())
			return
		}
		n, end := 1, items[0].maxT
		for n < len(items) && items[n].minT <= end {
			end = max(end, items[n].maxT)
			n++
		}
		group := items[:n]
		items = items[n:]
		if n == 1 {
			it := &group[0]
			if it.meta != nil && short != nil && it.minT >= q.rng.From && it.maxT < q.rng.To && !q.parts[it.part].touched(it) && short(it.meta) {
				continue
			}
			t, v, err := q.decode(it, key)
			if err != nil {
				if !yield(nil, nil, err) {
					return
				}
				continue
			}
			if len(t) > 0 && !yield(t, v, nil) {
				return
			}
			continue
		}
		slices.SortStableFunc(group, func(a, b item) int { return int(a.part) - int(b.part) })
		b := q.buf
		b.t, b.v = b.t[:0], b.v[:0]
		for i := range group {
			t, v, err := q.decode(&group[i], key)
			if err != nil {
				if !yield(nil, nil, err) {
					return
				}
				continue
			}
			if len(b.t) == 0 || len(t) > 0 && t[0] > b.t[len(b.t)-1] {
				b.t, b.v = append(b.t, t...), append(b.v, v...)
				continue
			}
			b.t2, b.v2 = mergeSamples(b.t2[:0], b.v2[:0], b.t, b.v, t, v)
			q.duplicates += uint64(len(b.t) + len(t) - len(b.t2))
			b.t, b.t2, b.v, b.v2 = b.t2, b.t, b.v2, b.v
		}
		if len(b.t) > 0 && !yield(b.t, b.v, nil) {
			return
		}
	}
}

// touched reports whether a tombstone may delete from an item.
func (p *part) touched(it *item) bool {
	for i := range p.dead {
		if p.dead[i].rng.overlaps(it.minT, it.maxT) {
			if _, ok := slices.BinarySearch(p.dead[i].ord, it.ord); ok {
				return true
			}
		}
	}
	return false
}

// decode returns the samples of an item that are in the range and not deleted,
// valid until the next call.
func (q *query) decode(it *item, key string) ([]int64, []float64, error) {
	p := &q.parts[it.part]
	if p.head != nil {
		q.db.mu.RLock()
		ok := p.head.view(it.ord, &q.view)
		q.db.mu.RUnlock()
		if !ok {
			return nil, nil, nil
		}
		t, v := q.view.samples(&q.buf.head)
		t, v = clip(t, v, q.rng)
		return t, v, nil
	}
	payload, err := p.read.read(it.meta)
	var t []int64
	var v []float64
	if err == nil {
		t, v, err = q.buf.block.decode(payload, 1)
	}
	if err == nil && (len(t) != int(it.meta.n) || t[0] != it.meta.minT || t[len(t)-1] != it.meta.maxT) {
		err = fmt.Errorf("%w: block is not what the index says", ErrCorrupt)
	}
	if err != nil {
		q.db.stats.corrupt.Add(1)
		return nil, nil, p.chunk.fail(key, Range{it.meta.minT, it.meta.maxT + 1}, err)
	}
	if it.minT < q.rng.From || it.maxT >= q.rng.To {
		t, v = clip(t, v, q.rng)
	}
	for i := range p.dead {
		if d := &p.dead[i]; d.rng.overlaps(it.minT, it.maxT) {
			if _, ok := slices.BinarySearch(d.ord, it.ord); ok {
				t, v = cut(t, v, d.rng)
			}
		}
	}
	return t, v, nil
}

// clip returns the samples in the range.
func clip(t []int64, v []float64, r Range) ([]int64, []float64) {
	i, _ := slices.BinarySearch(t, r.From)
	j, _ := slices.BinarySearch(t, r.To)
	return t[i:j], v[i:j]
}

// cut removes the samples in the range, in place.
func cut(t []int64, v []float64, r Range) ([]int64, []float64) {
	i, _ := slices.BinarySearch(t, r.From)
	j, _ := slices.BinarySearch(t, r.To)
	return slices.Delete(t, i, j), slices.Delete(v, i, j)
}
