package graph

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// A Change gives an arc another weight; [Inf] closes it.
type Change struct {
	Arc    ArcID
	Weight uint32
}

// Update returns the metric with some weights changed, exactly as if [Topology.Customize]
// had been called with all of them; m stays as it is. If an arc is changed twice, the
// last change holds. An arc or a weight out of range gives an error wrapping
// [ErrInvalid], and then nothing is changed.
//
// Only the shortcuts that a change concerns are worked out again, from the lowest up, and
// only the pages on which they stand are copied: m and the new metric share the rest. A
// change of one arc takes a few dozen microseconds. Of very many at once Update makes a
// new metric as Customize does.
func (m *Metric) Update(changes []Change) (*Metric, error) {
	for i, c := range changes {
		if int64(c.Arc) >= int64(m.t.g.Arcs()) {
			return nil, fmt.Errorf("%w: change %d: arc %d of %d, numbered from 0", ErrInvalid, i, c.Arc, m.t.g.Arcs())
		}
		if c.Weight > Inf {
			return nil, fmt.Errorf("%w: change %d: weight %d of arc %d, above %d", ErrInvalid, i, c.Weight, c.Arc, uint32(Inf))
		}
	}
	if len(changes) == 0 {
		return m, nil
	}
	u := m.t.updates.Get()
	defer m.t.updates.Put(u)
	return u.run(m, changes), nil
}

// An update carries changes up through a hierarchy.
type update struct {
	old, m  *Metric
	costs   revision[cost]
	vias    revision[cost]
	weights revision[uint32]
	queue   heap // of arcs by the ranks of their tails; the node is the arc and a bit, 1 if its costs must be found anew
	arcs    []uint32
	work    int // how many costs were looked at
}

// updates keeps the memory of updates.
type updates struct{ pool sync.Pool }

func (p *updates) Get() *update {
	if u, ok := p.pool.Get().(*update); ok {
		return u
	}
	return new(update)
}

func (p *updates) Put(u *update) {
	u.old, u.m = nil, nil
	p.pool.Put(u)
}

// run makes the metric that is old with the changes.
func (u *update) run(old *Metric, changes []Change) *Metric {
	t := old.t
	limit := t.costly()
	u.work, u.queue = 0, u.queue[:0]
	u.weights.begin(old.weights)
	for _, c := range changes {
		*u.weights.at(c.Arc) = c.Weight
	}
	m := &Metric{t: t, weights: u.weights.book, free: old.free}
	for _, c := range changes {
		m.free = m.free || c.Weight == 0
	}
	if t.guess(changes) > limit {
		m.customize()
		return m
	}
	u.old, u.m = old, m
	u.costs.begin(old.costs)
	u.vias.begin(old.vias)
	m.costs, m.vias = u.costs.book, u.vias.book
	for _, c := range changes {
		s := t.slot[c.Arc]
		if s == none {
			continue
		}
		tail := min(t.rank[t.g.tail[c.Arc]], t.rank[t.g.head[c.Arc]])
		u.offer(tail, s, old.Weight(c.Arc), m.Weight(c.Arc), c.Arc)
	}
	for len(u.queue) > 0 {
		r := u.queue[0].key
		p := &t.nodes[r]
		u.arcs = u.arcs[:0]
		for len(u.queue) > 0 && u.queue[0].key == r {
			u.arcs = append(u.arcs, u.queue.pop().node)
		}
		slices.Sort(u.arcs)
		// All of them first: the ways over this node take two.
		k := 0
		for i, a := range u.arcs {
			if i+1 < len(u.arcs) && u.arcs[i+1]>>1 == a>>1 {
				continue // the bit comes last
			}
			e := a >> 1
			if a&1 != 0 {
				u.recompute(r, e)
			}
			if *old.costs.at(e) != *m.costs.at(e) {
				u.arcs[k] = e
				k++
			}
		}
		for _, e := range u.arcs[:k] {
			u.spread(p, e)
		}
		if u.work > limit {
			m.customize()
			break
		}
	}
	return m
}

// costly is how many costs an update may look at in the time of a customization. It is
// measured: a triangle takes a quarter of the time, an arc as much.
func (t *Topology) costly() int {
	work := t.triangles/4 + t.arcs
	if t.workers > 1 {
		work = work * 2 / 3
	}
	return work
}

// guess is how many costs an update will look at: of those above the changed arcs about
// one in two. Some of many changes stand for all.
func (t *Topology) guess(changes []Change) int {
	const some = 256
	if len(changes) <= 4*some {
		return 0 // begin, and see
	}
	sum := 0
	for i := range some {
		s := t.slot[changes[i*len(changes)/some].Arc]
		if s == none {
			continue
		}
		a := changes[i*len(changes)/some].Arc
		for r := min(t.rank[t.g.tail[a]], t.rank[t.g.head[a]]); r != none; r = t.nodes[r].parent {
			sum += int(t.nodes[r].end - t.nodes[r].first)
		}
	}
	return int(float64(sum) / (2 * some) * float64(len(changes)))
}

// offer says that a way along the slot, which cost so much before, costs so much now. If
// that is less than known, it is taken; if it was the one taken before and costs more
// now, the arc waits to be found anew.
func (u *update) offer(tail, slot, before, now, via uint32) {
	m := u.m
	e := slot >> 1
	c := m.costs.at(e).side(slot & 1)
	if now > c && before != c {
		return // neither taken nor to be taken
	}
	v := m.vias.at(e).side(slot & 1)
	switch {
	case now < c || now == c && via < v:
		if now < c {
			u.costs.at(e).set(slot&1, now)
			u.queue.push(entry{tail, e << 1})
		}
		if via != v {
			u.vias.at(e).set(slot&1, via)
		}
	case now > c && v == via:
		u.queue.push(entry{tail, e<<1 | 1})
	}
}

// side returns the cost up, or down if the bit is set.
func (c *cost) side(down uint32) uint32 {
	if down != 0 {
		return c.down
	}
	return c.up
}

func (c *cost) set(down, v uint32) {
	if down != 0 {
		c.down = v
	} else {
		c.up = v
	}
}

// recompute finds the costs of an arc of rank r from all ways.
func (u *update) recompute(r, e uint32) {
	t, m := u.m.t, u.m
	b := both{Inf<<32 | none, Inf<<32 | none}
	in := t.in[t.inFirst[r]:t.inFirst[r+1]]
	i, _ := slices.BinarySearchFunc(in, e<<1, func(in input, s uint32) int { return cmp.Compare(in.slot, s) })
	for ; i < len(in) && in[i].slot>>1 == e; i++ {
		c := uint64(m.Weight(in[i].arc))<<32 | uint64(in[i].arc)
		if in[i].slot&1 == 0 {
			b.up = min(b.up, c)
		} else {
			b.down = min(b.down, c)
		}
	}
	h := t.head[e]
	below, above := t.low[t.lowFirst[r]:t.lowFirst[r+1]], t.low[t.lowFirst[h]:t.lowFirst[h+1]]
	u.work += len(below) / 4
	over := func(x, y uint32) { // the arcs from a node below to both ends
		c, d := m.costs.at(x), m.costs.at(y)
		b.up = min(b.up, (uint64(c.down)+uint64(d.up))<<32|uint64(x|viaShortcut))
		b.down = min(b.down, (uint64(c.up)+uint64(d.down))<<32|uint64(x|viaShortcut))
		u.work++
	}
	// The nodes below both, in the order of their arcs.
	j := 0
	for _, l := range below {
		if len(above)-j > 8*len(below) {
			k, _ := slices.BinarySearchFunc(above[j:], l.arc, func(l lower, e uint32) int { return cmp.Compare(l.arc, e) })
			j += k
		}
		for j < len(above) && above[j].arc <= l.arc {
			j++
		}
		if j == len(above) {
			break
		}
		if above[j].arc < l.end {
			over(l.arc, above[j].arc)
		}
	}
	c, via := cost{uint32(b.up >> 32), uint32(b.down >> 32)}, cost{uint32(b.up), uint32(b.down)}
	if c != *m.costs.at(e) {
		*u.costs.at(e) = c
	}
	if via != *m.vias.at(e) {
		*u.vias.at(e) = via
	}
}

// spread offers the ways that lead along an arc of a node and another of its arcs. If
// that has changed as well, the lower one of the two does it.
func (u *update) spread(p *place, e uint32) {
	t := u.m.t
	m := u.m
	row, before := m.costs.row(p.first, p.end), u.old.costs.row(p.first, p.end)
	head := t.head[p.first:p.end]
	at := e - p.first
	was, c, h := before[at], row[at], head[at]
	u.work += len(row)
	// Most ways concern nobody: they were not taken and are not shorter than what is.
	// That is seen from the costs alone. Often only one direction has changed.
	up, down := was.up != c.up, was.down != c.down
	heads, nodes := t.head, t.nodes
	for i := range at {
		d := row[i]
		if before[i] != d {
			continue
		}
		tail := head[i]
		// The heads between the two are in its row too, and often no others.
		k := nodes[tail].first + at - i - 1
		for heads[k] != h {
			k++
		}
		taken := *m.costs.at(k)
		if was, now := d.down+was.up, d.down+c.up; up && (now <= taken.up || was == taken.up) && min(was, now) <= Inf {
			u.offer(tail, k<<1, was, now, p.first+i|viaShortcut)
		}
		if was, now := d.up+was.down, d.up+c.down; down && (now <= taken.down || was == taken.down) && min(was, now) <= Inf {
			u.offer(tail, k<<1|1, was, now, p.first+i|viaShortcut)
		}
	}
	if int(at)+1 == len(row) {
		return
	}
	q := &nodes[h]
	over, ours := heads[q.first:q.end], m.costs.row(q.first, q.end)
	ours = ours[:len(over)]
	k := 0
	for i := at + 1; i < uint32(len(row)); i++ {
		b, d := before[i], row[i]
		for over[k] != head[i] {
			k++
		}
		taken := ours[k]
		if was, now := was.down+b.up, c.down+d.up; (now <= taken.up || was == taken.up) && was != now && min(was, now) <= Inf {
			u.offer(h, (q.first+uint32(k))<<1, was, now, e|viaShortcut)
		}
		if was, now := was.up+b.down, c.up+d.down; (now <= taken.down || was == taken.down) && was != now && min(was, now) <= Inf {
			u.offer(h, (q.first+uint32(k))<<1|1, was, now, e|viaShortcut)
		}
	}
}

// A Live is the metric of the moment, for readers that go on while it changes. It is safe
// for concurrent use by multiple goroutines.
type Live struct {
	mu      sync.Mutex // held by writers
	current atomic.Pointer[Metric]
}

// NewLive returns a Live whose metric is m.
func NewLive(m *Metric) *Live {
	l := new(Live)
	l.current.Store(m)
	return l
}

// Metric returns the metric of the moment. It never waits. What it returns does not
// change: questions that belong together are asked of one metric.
func (l *Live) Metric() *Metric { return l.current.Load() }

// Apply makes the changes, by [Metric.Update], and shows the new metric to readers that
// ask from now on. Writers wait for one another. On an error nothing is changed.
func (l *Live) Apply(changes []Change) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.current.Load().Update(changes)
	if err == nil {
		l.current.Store(m)
	}
	return err
}

// Replace makes m the metric of the moment, such as one with all weights new. Changes
// applied before are those of the metric that is replaced.
func (l *Live) Replace(m *Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current.Store(m)
}
