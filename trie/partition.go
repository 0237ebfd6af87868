package trie

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// PartitionOptions are what NewPartitioned does not require. The zero value of each
// field means its default.
type PartitionOptions struct {
	// Terms is how many terms a partition has at most, 2 or more. New partitions are
	// filled to three quarters. Default 4096.
	Terms int
	// HalfLife is after how long a query counts half in a partition's load. Default one
	// minute.
	HalfLife time.Duration
	// Hot is how many times the mean load makes a partition hot; above 1. Of fewer
	// partitions than that none ever is, nor is one with a load below 64 queries.
	// Default 4.
	Hot float64
	// Copies is how many copies a hot partition gets at most that cannot be split.
	// Default 8.
	Copies int
}

// A Partitioned index divides the terms, in the order of their bytes, into many small
// ranges, each an [Image] of its own: to be on several machines, and so that new counts
// rebuild a small part. It gives the same answers as one image of all terms.
//
//	prefixes     ""  "n"  "ne"  "new"          each with its K best: the router
//	                  │
//	boundaries   ───┬─┴────┬───────────┬────   few, in a sorted list
//	partitions   a… │ ha…  │ new c…    │ sa…   up to 4096 terms each
//
// A prefix whose terms are all in one partition is answered there. Only prefixes of a
// boundary have terms in several; they are few, the short ones among them are what is
// typed most, and the best terms of each are collected in one more small image, the
// router, of which each machine can have a copy. No query up to K asks two partitions.
//
// Queries are counted for each partition; [Partitioned.Balance] splits those that are
// hot between the prefixes that people ask for, and gives copies to those in which that
// is one prefix. Where a partition and its copies are is for the caller to decide: it
// asks [Partitioned.Partitions] for the images, by IDs that change when they do, and
// tells what was asked there by [Partitioned.Record].
//
// With 600,000 terms in 168 partitions a count costs the one that it is in and a new
// router, some 15 ms; all of them anew cost as much as one image.
//
// Everything that changes makes new partitions and a new router and publishes them in
// one step: readers never wait and never see half a change. A Partitioned is safe for
// concurrent use by multiple goroutines.
type Partitioned struct {
	k      int
	opts   PartitionOptions
	table  atomic.Pointer[table]
	router meter

	mu   sync.Mutex // of those who change the table
	last time.Time  // of Balance
	ids  uint64
}

// A table is one state of a Partitioned. It never changes, but for the meters.
type table struct {
	from  []string // of the partitions: [from[i], from[i+1])
	parts []*part
	heads *Image
}

type part struct {
	id     uint64
	image  *Image
	copies int
	load   *meter // goes on when the partition is rebuilt
}

// A Partition describes a range of terms.
type Partition struct {
	// ID is another one whenever the terms or their weights are: who has the image of
	// an ID never needs it again.
	ID uint64
	// The terms are at least From and, if To is not empty, less than To.
	From, To string
	Image    *Image
	// Load is how many queries it answered, where older ones count less; as of the last
	// Balance.
	Load float64
	// Copies is how many machines should have it, 1 or more.
	Copies int
}

// A Change tells what a call did.
type Change struct {
	Rebuilt []uint64 // IDs of the partitions that were made
	Kept    int      // partitions that stayed as they were
	Split   int      // partitions that became two or more
	Merged  int      // partitions that were joined to the one before
	Copied  int      // partitions that have another number of copies
}

// NewPartitioned divides an image. It costs about as much as to build the image, apart
// from the sort.
func NewPartitioned(m *Image, opts *PartitionOptions) (*Partitioned, error) {
	p := &Partitioned{k: m.k, opts: PartitionOptions{Terms: 4096, HalfLife: time.Minute, Hot: 4, Copies: 8}}
	if o := opts; o != nil {
		p.opts.Terms = cmp.Or(o.Terms, p.opts.Terms)
		p.opts.HalfLife = cmp.Or(o.HalfLife, p.opts.HalfLife)
		p.opts.Hot = cmp.Or(o.Hot, p.opts.Hot)
		p.opts.Copies = cmp.Or(o.Copies, p.opts.Copies)
	}
	if o := p.opts; o.Terms < 2 || o.HalfLife < 0 || !(o.Hot > 1) || o.Copies < 1 {
		return nil, fmt.Errorf("%w: partitions of %d terms, half-life %v, hot from %v times the mean, up to %d copies", ErrInvalid, o.Terms, o.HalfLife, o.Hot, o.Copies)
	}
	t := &table{}
	if err := p.divide(t, "", m.slice(0, m.n), &meter{}, 1); err != nil {
		return nil, err
	}
	if err := p.publish(t); err != nil {
		return nil, err
	}
	return p, nil
}

// A run is some terms in order.
type run struct {
	terms   [][]byte
	weights []uint64
}

func (r run) sub(lo, hi int) run { return run{r.terms[lo:hi], r.weights[lo:hi]} }

func (r run) equal(o run) bool {
	return slices.Equal(r.weights, o.weights) && slices.EqualFunc(r.terms, o.terms, bytes.Equal)
}

// slice returns the terms at positions from lo on and before hi.
func (m *Image) slice(lo, hi int) run {
	var r run
	var text []byte
	t := m.termsAt(nil, lo)
	for pos := lo; pos < hi && t.next(); pos++ {
		begin := len(text)
		text = append(text, t.text...)
		r.terms = append(r.terms, text[begin:len(text):len(text)])
		r.weights = append(r.weights, m.weight(pos))
	}
	return r
}

// divide appends to a table the partitions of a range that begins at from.
func (p *Partitioned) divide(t *table, from string, r run, load *meter, copies int) error {
	pieces := 1
	if n := len(r.terms); n > p.opts.Terms {
		pieces = blocks(n, max(1, p.opts.Terms*3/4))
	}
	lo := 0
	for i := range pieces {
		hi := (i + 1) * len(r.terms) / pieces
		if i > 0 {
			from, load, copies = separator(r.terms[lo-1], r.terms[lo]), &meter{}, 1
		}
		if err := p.add(t, from, r.sub(lo, hi), load, copies); err != nil {
			return err
		}
		lo = hi
	}
	return nil
}

// add appends one partition.
func (p *Partitioned) add(t *table, from string, r run, load *meter, copies int) error {
	m, err := write(r.terms, r.weights, p.k)
	if err != nil {
		return err
	}
	p.ids++
	t.from = append(t.from, from)
	t.parts = append(t.parts, &part{p.ids, m, copies, load})
	return nil
}

// keep appends a partition of another table.
func (t *table) keep(from string, x *part) {
	t.from, t.parts = append(t.from, from), append(t.parts, x)
}

// separator returns the shortest string that is above a and not above b.
func separator(a, b []byte) string { return string(b[:common(a, b)+1]) }

// find returns the partition in which a string would be.
func (t *table) find(s string) int {
	return sort.Search(len(t.from)-1, func(i int) bool { return t.from[i+1] > s })
}

// spans tells whether terms with a prefix may be in more than partition i, in which the
// prefix itself would be.
func (t *table) spans(i int, prefix string) bool {
	return i+1 < len(t.from) && strings.HasPrefix(t.from[i+1], prefix)
}

// to returns the end of partition i, "" for none.
func (t *table) to(i int) string {
	if i+1 < len(t.from) {
		return t.from[i+1]
	}
	return ""
}

// publish makes the router and shows the table to readers.
func (p *Partitioned) publish(t *table) error {
	var found []candidateTerm
	var before string
	g := t.gatherer(p.k)
	for i := 1; i < len(t.from); i++ {
		// The prefixes of this boundary that are none of the one before.
		b := t.from[i]
		shortest := 0
		if i > 1 {
			shortest = common([]byte(before), []byte(b))
			if shortest < len(before) {
				shortest++
			}
		}
		before = b
		if shortest == len(b) {
			continue
		}
		list, terms := g.gather(i-1, b[:shortest])
		found = append(found, list...)
		// A longer prefix has some of the terms of a shorter one. Where it has all of them,
		// so has each between the two.
		var longer func(n, m, terms, left int)
		longer = func(n, m, terms, left int) {
			switch mid := (n + m) / 2; {
			case terms == left:
			case m-n == 1:
				list, _ := g.gather(i-1, b[:m])
				found = append(found, list...)
			default:
				_, half := g.gather(i-1, b[:mid])
				longer(n, mid, terms, half)
				longer(mid, m, half, left)
			}
		}
		_, left := g.gather(i-1, b[:len(b)-1])
		longer(shortest, len(b)-1, terms, left)
	}
	slices.SortFunc(found, func(a, b candidateTerm) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.hit, b.hit))
	})
	var r run
	for _, c := range slices.Compact(found) {
		s := t.suggestion(c)
		r.terms, r.weights = append(r.terms, []byte(s.Term)), append(r.weights, s.Weight)
	}
	var err error
	if t.heads, err = write(r.terms, r.weights, p.k); err != nil {
		return err
	}
	p.table.Store(t)
	return nil
}

// A candidateTerm is one of the best of a partition.
type candidateTerm struct {
	weight uint64
	part   int
	hit    Hit
}

// A gatherer collects the best terms of several partitions. It keeps the lists of whole
// partitions, which are parts of many prefixes.
type gatherer struct {
	t     *table
	k     int
	whole [][]candidateTerm // by partition
	all   []candidateTerm
	hits  []Hit
}

func (t *table) gatherer(k int) *gatherer {
	return &gatherer{t: t, k: max(0, k), whole: make([][]candidateTerm, len(t.parts))}
}

// best appends the best of partition j from a place on.
func (g *gatherer) best(dst []candidateTerm, j int, at place) []candidateTerm {
	m := g.t.parts[j].image
	g.hits = m.best(g.hits[:0], []place{at}, g.k)
	for _, h := range g.hits {
		dst = append(dst, candidateTerm{m.Weight(h), j, h})
	}
	return dst
}

// gather returns the best terms with a prefix, from partition i on in which the prefix
// itself would be, and how many there are.
func (g *gatherer) gather(i int, prefix string) (best []candidateTerm, terms int) {
	all := g.all[:0]
	for j := i; j == i || j < len(g.t.from) && strings.HasPrefix(g.t.from[j], prefix); j++ {
		m := g.t.parts[j].image
		if j > i && strings.HasPrefix(g.t.to(j), prefix) { // all of it
			if terms += m.n; g.whole[j] == nil && m.n > 0 {
				g.whole[j] = g.best(nil, j, m.root())
			}
			all = append(all, g.whole[j]...)
		} else if at, ok := m.find(prefix); ok {
			terms += int(at.hi - at.lo)
			all = g.best(all, j, at)
		}
	}
	// Partitions are in the order of their terms, and so are positions within one.
	slices.SortFunc(all, func(a, b candidateTerm) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.part, b.part), cmp.Compare(a.hit, b.hit))
	})
	g.all = all
	return all[:min(g.k, len(all))], terms
}

// suggestion returns a candidate with its text.
func (t *table) suggestion(c candidateTerm) Suggestion {
	return Suggestion{t.parts[c.part].image.Term(c.hit), c.weight, 0}
}

// Complete appends up to k of the best terms that begin with the prefix, the best first:
// the same as [Image.Complete] of one image of all terms. Up to K it asks one partition
// or the router, and for more, of a short prefix, all partitions with such terms.
func (p *Partitioned) Complete(dst []Suggestion, prefix string, k int) []Suggestion {
	t := p.table.Load()
	i := t.find(prefix)
	switch {
	case !t.spans(i, prefix):
		t.parts[i].load.record(prefix, 1)
		return t.parts[i].image.Complete(dst, prefix, k)
	case k <= p.k:
		p.router.count.Add(1)
		return t.heads.Complete(dst, prefix, k)
	}
	p.router.count.Add(1)
	best, _ := t.gatherer(k).gather(i, prefix)
	for _, c := range best {
		dst = append(dst, t.suggestion(c))
	}
	return dst
}

// Lookup returns the weight of a term, and whether it is there. It counts as no query.
func (p *Partitioned) Lookup(term string) (weight uint64, ok bool) {
	t := p.table.Load()
	return t.parts[t.find(term)].image.Lookup(term)
}

// Fuzzy finds the same as [Image.Fuzzy] of one image of all terms, in the same order. It
// asks every partition, and counts as no query.
func (p *Partitioned) Fuzzy(dst []Suggestion, query string, edits, k int) ([]Suggestion, error) {
	begin := len(dst)
	for _, x := range p.table.Load().parts {
		var err error
		if dst, err = x.image.Fuzzy(dst, query, edits, k); err != nil {
			return dst[:begin], err
		}
	}
	slices.SortStableFunc(dst[begin:], func(a, b Suggestion) int {
		return cmp.Or(cmp.Compare(a.Edits, b.Edits), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Term, b.Term))
	})
	return dst[:begin+min(max(0, k), len(dst)-begin)], nil
}

// Route returns the partition that has all terms with a prefix. False means that several
// may have some: then the router answers, up to K terms.
func (p *Partitioned) Route(prefix string) (Partition, bool) {
	t := p.table.Load()
	i := t.find(prefix)
	if t.spans(i, prefix) {
		return Partition{}, false
	}
	return t.describe(i), true
}

// Router returns the image that answers prefixes with terms in several partitions, and
// how many queries [Partitioned.Complete] has left to it. For other prefixes its answers
// are wrong. It belongs to the partitions of now: who needs both takes them while nothing
// changes them.
func (p *Partitioned) Router() (m *Image, queries uint64) {
	return p.table.Load().heads, p.router.count.Load()
}

// Partitions returns the partitions in their order.
func (p *Partitioned) Partitions() []Partition {
	t := p.table.Load()
	list := make([]Partition, len(t.parts))
	for i := range list {
		list[i] = t.describe(i)
	}
	return list
}

func (t *table) describe(i int) Partition {
	x := t.parts[i]
	return Partition{x.id, t.from[i], t.to(i), x.image, x.load.decayed(), x.copies}
}

// Len returns the number of terms.
func (p *Partitioned) Len() (n int) {
	for _, x := range p.table.Load().parts {
		n += x.image.n
	}
	return n
}

// K returns the length of the lists that are cached.
func (p *Partitioned) K() int { return p.k }

// Record counts queries for a prefix that were answered elsewhere, from an image of a
// partition.
func (p *Partitioned) Record(prefix string, queries uint64) {
	const most = 1 << 40 // so that no sum of samples overflows
	queries = min(queries, most)
	if queries == 0 {
		return
	}
	t := p.table.Load()
	if i := t.find(prefix); t.spans(i, prefix) {
		p.router.count.Add(queries)
	} else {
		t.parts[i].load.record(prefix, queries)
	}
}

// Update adds the counts of a log, in which terms may come in any order and again and
// again, and rebuilds the partitions that they are in; one that gets too many terms is
// divided. After an error everything is as it was.
func (p *Partitioned) Update(log iter.Seq2[string, uint64]) (Change, error) {
	b := NewBuilder(&Options{K: p.k})
	for term, n := range log {
		b.Add(term, n)
	}
	terms, weights, err := b.sorted()
	if err != nil {
		return Change{}, err
	}
	more := run{terms, weights}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rebuild(func(x *part, end []byte) (run, bool) {
		var some run
		if some, more = more.before(end); len(some.terms) == 0 {
			return run{}, false
		}
		return x.image.slice(0, x.image.n).plus(some)
	})
}

// Replace makes the terms those of an image, as a batch job has counted them anew.
// Partitions in which nothing has changed stay. The image's K must be the same.
func (p *Partitioned) Replace(m *Image) (Change, error) {
	if m.k != p.k {
		return Change{}, fmt.Errorf("%w: an image with K %d, where it is %d", ErrInvalid, m.k, p.k)
	}
	all := m.slice(0, m.n)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rebuild(func(x *part, end []byte) (run, bool) {
		var now run
		now, all = all.before(end)
		return now, len(now.terms) != x.image.n || !now.equal(x.image.slice(0, x.image.n))
	})
}

// before returns the terms below an end, nil for none, and the others.
func (r run) before(end []byte) (run, run) {
	i := len(r.terms)
	if end != nil {
		i = sort.Search(i, func(i int) bool { return bytes.Compare(r.terms[i], end) >= 0 })
	}
	return r.sub(0, i), r.sub(i, len(r.terms))
}

// plus returns the sums of two runs, and whether they differ from the first.
func (r run) plus(o run) (sum run, changed bool) {
	for len(r.terms)+len(o.terms) > 0 {
		order := -1
		switch {
		case len(r.terms) == 0:
			order = 1
		case len(o.terms) > 0:
			order = bytes.Compare(r.terms[0], o.terms[0])
		}
		var term []byte
		var w uint64
		if order <= 0 {
			term, w = r.terms[0], r.weights[0]
			r = r.sub(1, len(r.terms))
		}
		if order >= 0 {
			more := min(o.weights[0], math.MaxUint64-w)
			changed = changed || more > 0 || order > 0
			term, w = o.terms[0], w+more
			o = o.sub(1, len(o.terms))
		}
		sum.terms, sum.weights = append(sum.terms, term), append(sum.weights, w)
	}
	return sum, changed
}

// rebuild asks for each partition, in their order, whether its terms have changed and
// what they are then; end is the first that is not of it, nil for none. It publishes a
// table if any have changed.
func (p *Partitioned) rebuild(now func(x *part, end []byte) (run, bool)) (Change, error) {
	old := p.table.Load()
	t := &table{}
	var c Change
	for i, x := range old.parts {
		var end []byte
		if to := old.to(i); to != "" {
			end = []byte(to)
		}
		r, changed := now(x, end)
		if !changed {
			t.keep(old.from[i], x)
			c.Kept++
			continue
		}
		n := len(t.parts)
		if err := p.divide(t, old.from[i], r, x.load, x.copies); err != nil {
			return Change{}, err
		}
		if len(t.parts) > n+1 {
			c.Split++
		}
		for _, y := range t.parts[n:] {
			c.Rebuilt = append(c.Rebuilt, y.id)
		}
	}
	if len(c.Rebuilt) == 0 {
		return c, nil
	}
	return c, p.publish(t)
}

// Balance brings the loads up to date, where now is what the clock says, and answers to
// them. A hot partition is split where that divides its queries best and parts none of
// the prefixes that were asked for; where nearly all ask for the same, it gets as many
// copies as bring each below the limit. Small neighbours that are asked for little are
// joined. It goes one step at a time: call it now and then, such as every few seconds. A
// time before the last one counts as the same.
func (p *Partitioned) Balance(now time.Time) (Change, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	factor := 1.0
	if !p.last.IsZero() {
		factor = math.Exp2(-float64(max(0, now.Sub(p.last))) / float64(p.opts.HalfLife))
	}
	if now.After(p.last) {
		p.last = now
	}
	old := p.table.Load()
	total := 0.0
	for _, x := range old.parts {
		total += x.load.decay(factor)
	}
	mean := total / float64(len(old.parts))
	hot := p.opts.Hot * mean

	t := &table{}
	var c Change
	for i := 0; i < len(old.parts); i++ {
		x, from := old.parts[i], old.from[i]
		load := x.load.decayed()
		copies := 1
		if load > hot && load >= least {
			at, left, right, ok := x.cut()
			if ok {
				r := x.image.slice(0, x.image.n)
				if err := p.add(t, from, r.sub(0, at), left, 1); err != nil {
					return Change{}, err
				}
				if err := p.add(t, separator(r.terms[at-1], r.terms[at]), r.sub(at, len(r.terms)), right, 1); err != nil {
					return Change{}, err
				}
				c.Split++
				c.Rebuilt = append(c.Rebuilt, p.ids-1, p.ids)
				continue
			}
			copies = min(p.opts.Copies, int(math.Ceil(load/hot)))
		}
		if n := len(t.parts) - 1; n >= 0 && copies == 1 && p.cold(t.parts[n], mean) && p.cold(x, mean) &&
			t.parts[n].image.n+x.image.n <= p.opts.Terms/2 && t.parts[n].load.decayed()+load <= mean {
			a, b := t.parts[n].image, x.image
			both := a.slice(0, a.n)
			more := b.slice(0, b.n)
			both.terms, both.weights = append(both.terms, more.terms...), append(both.weights, more.weights...)
			joined := t.parts[n].load.join(x.load)
			from = t.from[n]
			if i := slices.Index(c.Rebuilt, t.parts[n].id); i >= 0 {
				c.Rebuilt = slices.Delete(c.Rebuilt, i, i+1)
			} else {
				c.Kept--
			}
			t.from, t.parts = t.from[:n], t.parts[:n]
			if err := p.add(t, from, both, joined, 1); err != nil {
				return Change{}, err
			}
			c.Merged++
			c.Rebuilt = append(c.Rebuilt, p.ids)
			continue
		}
		c.Kept++
		if copies != x.copies {
			c.Copied++
			x = &part{x.id, x.image, copies, x.load}
		}
		t.keep(from, x)
	}
	if len(c.Rebuilt) > 0 {
		return c, p.publish(t)
	}
	if c.Copied > 0 {
		t.heads = old.heads
		p.table.Store(t)
	}
	return c, nil
}

func (p *Partitioned) cold(x *part, mean float64) bool {
	return x.copies == 1 && x.load.decayed() <= mean
}

const (
	samples    = 64   // prefixes that a meter remembers
	sampleBits = 3    // one query in 2^3
	sampleSize = 1024 // of the longest that is remembered, in bytes
	enough     = 16   // samples for a decision
	least      = 64   // queries, below which a load says little
)

// A meter counts queries and remembers some. The zero meter is ready.
type meter struct {
	count atomic.Uint64 // since the last decay

	mu     sync.Mutex
	load   float64
	recent [samples]sample
	filled int // samples that there were
}

// A sample is a prefix, and the queries for which it stands.
type sample struct {
	prefix  string
	queries uint64
}

// record counts queries and remembers one in eight of them, not those at even distances,
// which a regular pattern might always hit.
func (m *meter) record(prefix string, n uint64) {
	c := m.count.Add(n)
	if len(prefix) <= sampleSize && (n >= 1<<sampleBits || (c*0x9E3779B97F4A7C15)>>(64-sampleBits) == 0) {
		m.mu.Lock()
		m.recent[m.filled%samples] = sample{strings.Clone(prefix), max(n, 1<<sampleBits)}
		m.filled++
		m.mu.Unlock()
	}
}

// decay makes older queries count less, adds those since, and returns the load.
func (m *meter) decay(factor float64) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load = m.load*factor + float64(m.count.Swap(0))
	return m.load
}

func (m *meter) decayed() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load
}

// join returns a meter with the load of two and samples of both.
func (m *meter) join(o *meter) *meter {
	j := &meter{load: m.decayed() + o.decayed()}
	for _, x := range []*meter{m, o} {
		list := x.samples()
		for _, s := range list[:min(samples/2, len(list))] {
			j.recent[j.filled] = s
			j.filled++
		}
	}
	return j
}

func (m *meter) samples() []sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.recent[:min(m.filled, samples)])
}

// cut returns the position at which to split a partition, and the meters of both sides:
// there where the larger side gets the fewest of the sampled queries, and none is for
// terms of both. False means that one side would have nearly all.
func (x *part) cut() (at int, left, right *meter, ok bool) {
	type span struct {
		lo, hi int
		sample
	}
	var spans []span
	var ends []int
	total := uint64(0)
	for _, s := range x.load.samples() {
		if place, ok := x.image.find(s.prefix); ok {
			spans = append(spans, span{int(place.lo), int(place.hi), s})
			ends = append(ends, int(place.lo), int(place.hi))
			total += s.queries
		}
	}
	if len(spans) < enough {
		return 0, nil, nil, false
	}
	slices.Sort(ends)
	fewest := total + 1
	for _, e := range slices.Compact(ends) {
		if e <= 0 || e >= x.image.n {
			continue
		}
		before, after := uint64(0), uint64(0)
		for _, s := range spans {
			if s.hi <= e {
				before += s.queries
			} else if s.lo >= e {
				after += s.queries
			}
		}
		if n := total - min(before, after); n < fewest {
			at, fewest = e, n
		}
	}
	if at == 0 || float64(fewest) > 0.8*float64(total) {
		return 0, nil, nil, false
	}
	load := x.load.decayed()
	left, right = &meter{}, &meter{}
	for _, s := range spans {
		m := right
		if s.hi <= at {
			m = left
		} else if s.lo < at {
			continue // the router will answer it
		}
		m.recent[m.filled] = s.sample
		m.filled++
		m.load += float64(s.queries) / float64(total) * load
	}
	return at, left, right, true
}
