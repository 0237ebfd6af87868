package graph

import (
	"context"
	"fmt"
	"iter"
	"slices"
)

// A Hierarchy is a contraction hierarchy (Geisberger, Sanders, Schultes and Delling,
// 2008): nodes are removed one by one, the least important first, and where a shortest
// way led through the node, a shortcut takes its place. Unlike a [Topology] it belongs to
// its weights: it has fewer arcs and its queries look at fewer nodes, although they take
// longer, since they need queues; and a single weight that changes means to build it
// again. It does not change and is safe for concurrent use by
// multiple goroutines.
//
// Its levels are maps of less and less detail: the nodes of level L and above, with the
// arcs of [Hierarchy.Overlay] between them, are a graph in which all distances are those
// of the roads. Level 0 is every lane, and the highest has the crossings that lead from
// one end of the country to the other. A long route climbs from lane to motorway, and back
// down.
type Hierarchy struct {
	g         *Graph
	rank      []uint32 // of each node
	order     []uint32 // node of each rank
	level     []uint32 // of each rank
	up        [2]ladder
	shortcuts int
	free      bool // some arc costs nothing: a path may have loops to cut
}

// A ladder is the arcs from each rank to higher ones: forward ones, or those that lead
// down, seen from their heads.
type ladder struct {
	first []uint32
	arcs  []rung
}

// A rung leads to a higher rank. Of a shortcut, down and up are its halves, by their
// numbers: it goes down to a rank below both its ends, and up again. Of an arc of the
// graph, down is none, and up its number there.
type rung struct{ to, weight, down, up uint32 }

// Contract builds the hierarchy of a graph with these weights, as in [Dijkstra]. The order
// is found on the way unless opts has one: the next node is that of the lowest
//
//	level + shortcuts/arcs + hops of the shortcuts/hops of the arcs
//
// where arcs are those which vanish with it (Dibbelt, Strasser and Wagner, 2016, section
// 7.1). New York takes some ten seconds. It uses one processor. It returns early with
// ctx.Err() when ctx ends, and an error wrapping [ErrTooDense] if there would be more arcs
// than opts allow.
func Contract(ctx context.Context, g *Graph, weights []uint32, opts *Options) (*Hierarchy, error) {
	o, err := opts.fill(g)
	if err != nil {
		return nil, err
	}
	if err := g.checkWeights(weights); err != nil {
		return nil, err
	}
	if o.Order != nil {
		if err := checkOrder(o.Order, g.Nodes()); err != nil {
			return nil, err
		}
	}
	c := newContraction(ctx, g, weights, o.MaxArcs)
	if o.Order != nil {
		for _, u := range o.Order {
			if err := c.simulate(u); err != nil {
				return nil, err
			}
			if err := c.contract(u); err != nil {
				return nil, err
			}
		}
	} else if err := c.run(); err != nil {
		return nil, err
	}
	h := c.finish()
	h.free = slices.Contains(weights, 0)
	return h, nil
}

// A link is an arc or a shortcut between nodes that are still there.
type link struct {
	node, weight uint32
	via, arc     uint32 // the node between the ends of a shortcut, or none, and an arc of the graph
	hops         uint32 // arcs of the graph
}

// links are those of a node, in one direction. Some lead to nodes that are gone.
type links struct {
	all  []link
	gone int
}

// A contraction is a hierarchy that is being built.
type contraction struct {
	ctx     context.Context
	steps   uint // searches for witnesses
	g       *Graph
	maxArcs int
	side    [2][]links // out of each node, and into it
	rank    []uint32   // none: still there
	order   []uint32
	level   []uint32 // of each node: one more than the highest below it that is gone
	up      [2]ladder

	// The search for witnesses.
	label   []reach
	epoch   uint32
	targets []uint32 // epoch, for the nodes sought
	queue   heap
	found   []shortcut
	tried   uint32 // the node that found is for
}

// A reach is how far a node is from where a search began, if it is of the search's epoch,
// and the number of what led there.
type reach struct{ epoch, dist, by uint32 }

// A shortcut is one that the removal of a node needs.
type shortcut struct{ from, to, weight, hops uint32 }

func newContraction(ctx context.Context, g *Graph, weights []uint32, maxArcs int) *contraction {
	n := g.Nodes()
	c := &contraction{
		ctx: ctx, g: g, maxArcs: maxArcs, rank: make([]uint32, n), order: make([]uint32, 0, n), level: make([]uint32, n),
		label: make([]reach, n), targets: make([]uint32, n), tried: none,
	}
	for u := range n {
		c.rank[u] = none
	}
	for i := range c.side {
		c.up[i].first = make([]uint32, 1, n+1)
		c.side[i] = make([]links, n)
		arcs, end := g.Out, g.head
		if i == 1 {
			arcs, end = g.In, g.tail
		}
		for u := range n {
			ids := arcs(uint32(u))
			l := make([]link, 0, len(ids))
			for _, a := range ids {
				if end[a] != uint32(u) && weights[a] < Inf {
					l = append(l, link{end[a], weights[a], none, a, 1})
				}
			}
			// Of parallel arcs, the cheapest, and of those the first.
			slices.SortFunc(l, func(x, y link) int {
				if x.node != y.node {
					return int(x.node) - int(y.node)
				}
				if x.weight != y.weight {
					return int(x.weight) - int(y.weight)
				}
				return int(x.arc) - int(y.arc)
			})
			l = slices.CompactFunc(l, func(x, y link) bool { return x.node == y.node })
			c.side[i][u].all = slices.Clip(l)
		}
	}
	return c
}

// run contracts all nodes in the order of their keys. A key is found again when the node
// comes up, if a neighbour has gone meanwhile: keys rarely fall.
func (c *contraction) run() error {
	n := c.g.Nodes()
	stale := make([]bool, n)
	queue := make(heap, 0, n)
	for u := range n {
		key, err := c.key(uint32(u))
		if err != nil {
			return err
		}
		queue.push(entry{key, uint32(u)})
	}
	for len(queue) > 0 {
		at := queue.pop()
		u := at.node
		if stale[u] {
			stale[u] = false
			key, err := c.key(u)
			if err != nil {
				return err
			}
			if key > at.key && len(queue) > 0 && key > queue[0].key {
				queue.push(entry{key, u})
				continue
			}
		}
		if c.tried != u {
			if err := c.simulate(u); err != nil {
				return err
			}
		}
		for i := range c.side {
			for _, l := range c.side[i][u].all {
				stale[l.node] = true
			}
		}
		if err := c.contract(u); err != nil {
			return err
		}
	}
	return nil
}

// wide is the number of pairs of neighbours above which a node is not tried: it comes last.
const wide = 1 << 12

// key returns how late a node should go, in thousandths.
func (c *contraction) key(u uint32) (uint32, error) {
	in, out := &c.side[1][u], &c.side[0][u]
	arcs := in.len() + out.len()
	if pairs := in.len() * out.len(); pairs > wide {
		return 1<<30 + uint32(min(pairs, 1<<30-1)), nil
	}
	if err := c.simulate(u); err != nil {
		return 0, err
	}
	if arcs == 0 {
		return 1000 * c.level[u], nil
	}
	var hops, removed uint64
	for _, s := range c.found {
		hops += uint64(s.hops)
	}
	for i := range c.side {
		for _, l := range c.side[i][u].all {
			if c.rank[l.node] == none {
				removed += uint64(l.hops)
			}
		}
	}
	key := 1000*uint64(c.level[u]) + 1000*uint64(len(c.found))/uint64(arcs) + 1000*hops/removed
	return uint32(min(key, 1<<30-1)), nil
}

func (l *links) len() int { return len(l.all) - l.gone }

// simulate sets found to the shortcuts that the removal of u needs: from a neighbour to
// another unless there is a way around u that is no longer, a witness. Too short a search
// finds a shortcut too many, never one too few. It ends early when the context does, or
// when there would be more than fit.
func (c *contraction) simulate(u uint32) error {
	if c.steps++; c.steps&255 == 1 && c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	c.found, c.tried = c.found[:0], u
	out := c.side[0][u].all
	for _, a := range c.side[1][u].all {
		if c.rank[a.node] != none {
			continue
		}
		farthest, count := uint32(0), 0
		c.nextEpoch()
		for _, b := range out {
			if b.node != a.node && c.rank[b.node] == none && a.weight+b.weight < Inf {
				farthest = max(farthest, a.weight+b.weight)
				c.targets[b.node] = c.epoch
				count++
			}
		}
		if count == 0 {
			continue
		}
		if c.steps++; c.steps&255 == 1 && c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if len(c.found) > c.maxArcs {
			return fmt.Errorf("%w: more than %d shortcuts instead of node %d, after %d of %d nodes", ErrTooDense, c.maxArcs, u, len(c.order), c.g.Nodes())
		}
		c.witness(a.node, u, farthest, count)
		for _, b := range out {
			if c.targets[b.node] != c.epoch {
				continue
			}
			w := a.weight + b.weight
			if l := &c.label[b.node]; l.epoch != c.epoch || l.dist > w {
				c.found = append(c.found, shortcut{a.node, b.node, w, a.hops + b.hops})
			}
		}
	}
	return nil
}

func (c *contraction) nextEpoch() {
	if c.epoch++; c.epoch == 0 {
		clear(c.label)
		clear(c.targets)
		c.epoch = 1
	}
}

// witness searches from s without u, up to a distance, until all targets are reached.
func (c *contraction) witness(s, u, farthest uint32, targets int) {
	const patience = 120 // nodes
	c.label[s] = reach{c.epoch, 0, none}
	c.queue = append(c.queue[:0], entry{0, s})
	for settled := 0; len(c.queue) > 0 && settled < patience; {
		at := c.queue.pop()
		if at.key > c.label[at.node].dist {
			continue
		}
		settled++
		if c.targets[at.node] == c.epoch {
			if targets--; targets == 0 {
				return
			}
		}
		for i := range c.side[0][at.node].all {
			l := &c.side[0][at.node].all[i]
			d := at.key + l.weight
			if d > farthest || l.node == u || c.rank[l.node] != none {
				continue
			}
			if x := &c.label[l.node]; x.epoch != c.epoch || d < x.dist {
				*x = reach{c.epoch, d, none}
				c.queue.push(entry{d, l.node})
			}
		}
	}
}

// contract removes u, for which found is set.
func (c *contraction) contract(u uint32) error {
	r := uint32(len(c.order))
	c.order = append(c.order, u)
	for i := range c.side {
		for _, l := range c.side[i][u].all {
			if c.rank[l.node] != none {
				continue
			}
			c.up[i].arcs = append(c.up[i].arcs, rung{l.node, l.weight, l.via, l.arc})
			c.level[l.node] = max(c.level[l.node], c.level[u]+1)
			c.side[1-i][l.node].drop(c.rank, u)
		}
		c.up[i].first = append(c.up[i].first, uint32(len(c.up[i].arcs)))
		c.side[i][u] = links{}
	}
	c.rank[u], c.tried = r, none
	if len(c.up[0].arcs)+len(c.up[1].arcs) > c.maxArcs {
		return fmt.Errorf("%w: more than %d arcs after %d of %d nodes", ErrTooDense, c.maxArcs, len(c.order), c.g.Nodes())
	}
	for _, s := range c.found {
		c.side[0][s.from].put(c.rank, link{s.to, s.weight, u, none, s.hops})
		c.side[1][s.to].put(c.rank, link{s.from, s.weight, u, none, s.hops})
	}
	return nil
}

// drop counts one more that is gone, and clears up when they are many.
func (l *links) drop(rank []uint32, u uint32) {
	if l.gone++; 2*l.gone > len(l.all) {
		l.all = slices.DeleteFunc(l.all, func(x link) bool { return rank[x.node] != none || x.node == u })
		l.gone = 0
	}
}

// put adds a link, or makes the one to that node cheaper.
func (l *links) put(rank []uint32, x link) {
	for i := range l.all {
		if l.all[i].node == x.node {
			if x.weight < l.all[i].weight {
				l.all[i] = x
			}
			return
		}
	}
	if l.gone > 0 && len(l.all) == cap(l.all) {
		l.all = slices.DeleteFunc(l.all, func(x link) bool { return rank[x.node] != none })
		l.gone = 0
	}
	l.all = append(l.all, x)
}

func (c *contraction) finish() *Hierarchy {
	h := &Hierarchy{g: c.g, rank: c.rank, order: c.order, up: c.up, level: make([]uint32, len(c.order))}
	for r, u := range c.order {
		h.level[r] = c.level[u]
	}
	for i := range h.up {
		h.up[i].arcs = slices.Clip(h.up[i].arcs)
		for j := range h.up[i].arcs {
			h.up[i].arcs[j].to = c.rank[h.up[i].arcs[j].to]
		}
	}
	for r := range h.order {
		for i := range h.up {
			for j := h.up[i].first[r]; j < h.up[i].first[r+1]; j++ {
				x := &h.up[i].arcs[j]
				if x.down == none {
					continue
				}
				h.shortcuts++
				via, tail, head := c.rank[x.down], uint32(r), x.to
				if i == 1 {
					tail, head = head, tail
				}
				x.down, x.up = h.up[1].number(via, tail), h.up[0].number(via, head)
			}
		}
	}
	return h
}

// number returns that of the rung from r to a rank, which is there.
func (l *ladder) number(r, to uint32) uint32 {
	j := l.first[r]
	for l.arcs[j].to != to {
		j++
	}
	return j
}

// Graph returns the graph of the hierarchy.
func (h *Hierarchy) Graph() *Graph { return h.g }

// Shortcuts returns how many arcs were added to those of the graph.
func (h *Hierarchy) Shortcuts() int { return h.shortcuts }

// Rank returns the place of node u in the order in which nodes were removed. It panics if
// there is no such node.
func (h *Hierarchy) Rank(u NodeID) int { return int(h.rank[u]) }

// Level returns the level of node u: one above the highest level of those of its
// neighbours which were removed before it, 0 if none was. It panics if there is no such
// node.
func (h *Hierarchy) Level(u NodeID) int { return int(h.level[h.rank[u]]) }

// Levels returns how many nodes each level has.
func (h *Hierarchy) Levels() []int {
	var counts []int
	for _, l := range h.level {
		for int(l) >= len(counts) {
			counts = append(counts, 0)
		}
		counts[l]++
	}
	return counts
}

// An OverlayArc is an arc of the graph or a shortcut. Arc is its number in the graph, if
// Shortcut is false.
type OverlayArc struct {
	Tail, Head NodeID
	Weight     uint32
	Arc        ArcID
	Shortcut   bool
}

// Overlay returns an iterator over the arcs and shortcuts between nodes of a level and
// above. Distances in this graph are those of the whole one.
func (h *Hierarchy) Overlay(level int) iter.Seq[OverlayArc] {
	return func(yield func(OverlayArc) bool) {
		for r := range h.order {
			if int(h.level[r]) < level {
				continue
			}
			for i := range h.up {
				for _, x := range h.up[i].from(uint32(r)) {
					o := OverlayArc{h.order[r], h.order[x.to], x.weight, x.up, x.down != none}
					if o.Shortcut {
						o.Arc = 0
					}
					if i == 1 {
						o.Tail, o.Head = o.Head, o.Tail
					}
					if !yield(o) {
						return
					}
				}
			}
		}
	}
}

func (l *ladder) from(r uint32) []rung { return l.arcs[l.first[r]:l.first[r+1]] }

// A HierarchyQuery answers questions with a [Hierarchy]. It keeps its memory, 24 bytes a
// node, from question to question and is not safe for concurrent use.
type HierarchyQuery struct {
	h       *Hierarchy
	epoch   uint32
	labels  [2][]reach // by rank; by is the number of a rung
	queues  [2]heap
	settled []uint32 // ranks
	middle  uint32
	stack   []rung
}

// NewQuery returns a query on the hierarchy.
func (h *Hierarchy) NewQuery() *HierarchyQuery {
	q := &HierarchyQuery{h: h, middle: none}
	for i := range q.labels {
		q.labels[i] = make([]reach, len(h.order))
	}
	return q
}

// Distance returns the length of a shortest path from s to t, or [Inf] if there is none. A
// node out of range gives an error wrapping [ErrInvalid].
//
// It climbs from both ends until nothing higher can be nearer. A node that is reached in
// a better way from above is not climbed from: it is on no shortest way (stall on demand).
func (q *HierarchyQuery) Distance(s, t NodeID) (uint32, error) {
	q.middle, q.settled = none, q.settled[:0]
	if err := q.h.g.checkNode("node", max(s, t)); err != nil {
		return Inf, err
	}
	if q.epoch++; q.epoch == 0 {
		clear(q.labels[0])
		clear(q.labels[1])
		q.epoch = 1
	}
	for i, u := range [2]NodeID{s, t} {
		r := q.h.rank[u]
		q.queues[i] = append(q.queues[i][:0], entry{0, r})
		q.labels[i][r] = reach{q.epoch, 0, none}
	}
	best := uint32(Inf)
	for {
		i := 0
		switch f, b := q.queues[0], q.queues[1]; {
		case len(f) == 0 && len(b) == 0:
			return best, nil
		case len(f) == 0 || len(b) > 0 && b[0].key < f[0].key:
			i = 1
		}
		if q.queues[i][0].key >= best {
			return best, nil
		}
		at := q.queues[i].pop()
		if at.key > q.labels[i][at.node].dist {
			continue
		}
		q.settled = append(q.settled, at.node)
		if l := &q.labels[1-i][at.node]; l.epoch == q.epoch && at.key+l.dist < best {
			best, q.middle = at.key+l.dist, at.node
		}
		if !q.stalled(i, at) {
			q.climb(i, at)
		}
	}
}

// stalled reports whether a better way comes down to a node.
func (q *HierarchyQuery) stalled(i int, at entry) bool {
	for _, x := range q.h.up[1-i].from(at.node) {
		if l := &q.labels[i][x.to]; l.epoch == q.epoch && l.dist+x.weight < at.key {
			return true
		}
	}
	return false
}

func (q *HierarchyQuery) climb(i int, at entry) {
	up := &q.h.up[i]
	for j := up.first[at.node]; j < up.first[at.node+1]; j++ {
		x := &up.arcs[j]
		d := at.key + x.weight
		if l := &q.labels[i][x.to]; d < Inf && (l.epoch != q.epoch || d < l.dist) {
			*l = reach{q.epoch, d, j}
			q.queues[i].push(entry{d, x.to})
		}
	}
}

// Settled returns how many nodes the last question has looked at.
func (q *HierarchyQuery) Settled() int { return len(q.settled) }

// Visited yields the nodes that the last question has looked at; those that both sides
// did come twice.
func (q *HierarchyQuery) Visited(yield func(NodeID) bool) {
	for _, r := range q.settled {
		if !yield(q.h.order[r]) {
			return
		}
	}
}

// AppendPath appends the arcs of the path of the last question, from its start to its
// target; none if there is no path. A shortcut is replaced by its two halves until only
// arcs of the graph are left.
func (q *HierarchyQuery) AppendPath(dst []ArcID) []ArcID {
	if q.middle == none {
		return dst
	}
	begin := len(dst)
	// The way up is known from its end: so it goes on the stack as it comes.
	for r := q.middle; q.labels[0][r].by != none; r = q.h.up[0].below(q.labels[0][r].by) {
		q.stack = append(q.stack, q.h.up[0].arcs[q.labels[0][r].by])
	}
	dst = q.unpack(dst)
	for r := q.middle; q.labels[1][r].by != none; r = q.h.up[1].below(q.labels[1][r].by) {
		q.stack = append(q.stack, q.h.up[1].arcs[q.labels[1][r].by])
		dst = q.unpack(dst)
	}
	if q.h.free {
		dst = dst[:begin+len(q.h.g.cutLoops(dst[begin:]))]
	}
	return dst
}

// below returns the rank that rung j leads up from: the last whose rungs begin there or
// before.
func (l *ladder) below(j uint32) uint32 {
	n, _ := slices.BinarySearch(l.first, j+1)
	return uint32(n - 1)
}

// unpack appends the arcs of what is on the stack, the top first.
func (q *HierarchyQuery) unpack(dst []ArcID) []ArcID {
	for len(q.stack) > 0 {
		x := q.stack[len(q.stack)-1]
		q.stack = q.stack[:len(q.stack)-1]
		if x.down == none {
			dst = append(dst, x.up)
			continue
		}
		q.stack = append(q.stack, q.h.up[0].arcs[x.up], q.h.up[1].arcs[x.down])
	}
	return dst
}
