package graph

import (
	"fmt"
)

// A Query answers questions about one metric at a time: how far, and which way. It keeps
// its memory, about 24 bytes for each level of the elimination tree, from question to
// question. It is not safe for concurrent use: have one for each goroutine, or a pool.
//
// A question walks from both ends up the elimination tree (Dibbelt, Strasser and Wagner,
// 2016): all ways lead over nodes on these two paths, of which there are a few hundred in
// a country. Labels are kept by depth, since a node's arcs lead to its ancestors only, so
// that they stay in the nearest cache and need no clean-up but of themselves.
type Query struct {
	m       *Metric
	up      []label64 // by depth: from the start up to there
	down    []label64 // by depth: from there down to the target
	best    uint32
	middle  uint32 // the depth where the two meet; none if they do not
	s, t    uint32 // ranks
	prefix  uint32 // the arcs before s and behind t of a question between points
	suffix  uint32
	direct  bool // the path is the arc prefix alone
	stackUp []uint32
	stackDn []uint32
	todo    []span
	settled int

	// Of a question with several ends.
	many   bool
	cursor [2]cursor
	meet   [2]Access // the rank where they meet, with the distances from both sides
}

// A label64 is a distance and, in its lower half, the depth of the node below from which
// it comes: the least of them is the shortest.
type label64 uint64

const farAway = label64(Inf) << 32

func (l label64) dist() uint32 { return uint32(l >> 32) }

// NewQuery returns a query on m.
func (m *Metric) NewQuery() *Query {
	q := &Query{middle: none}
	q.Reset(m)
	return q
}

// Reset makes q a query on another metric, of any topology. It costs nothing if that is
// no higher than the one before.
func (q *Query) Reset(m *Metric) {
	q.m = m
	q.forget()
	if h := m.t.height; len(q.up) < h {
		q.up, q.down = make([]label64, h), make([]label64, h)
	}
}

// forget makes q a query that has found nothing.
func (q *Query) forget() {
	q.best, q.middle, q.direct, q.many, q.settled = Inf, none, false, false, 0
	q.prefix, q.suffix = none, none
	q.cursor[0].list, q.cursor[1].list = q.cursor[0].list[:0], q.cursor[1].list[:0]
}

// Distance returns the length of a shortest path from s to t, or [Inf] if there is none.
// It allocates nothing. A node out of range gives an error wrapping [ErrInvalid].
func (q *Query) Distance(s, t NodeID) (uint32, error) {
	q.forget()
	if err := q.m.t.g.checkNode("node", max(s, t)); err != nil {
		return Inf, err
	}
	q.search(q.m.t.rank[s], q.m.t.rank[t])
	return q.best, nil
}

// search finds the shortest way from rank x to rank y.
func (q *Query) search(x, y uint32) {
	t := q.m.t
	q.s, q.t = x, y
	px, py := &t.nodes[x], &t.nodes[y]
	for i := range q.up[:px.depth+1] {
		q.up[i] = farAway
	}
	for i := range q.down[:py.depth+1] {
		q.down[i] = farAway
	}
	q.up[px.depth], q.down[py.depth] = label64(px.depth), label64(py.depth)
	q.settled = 1
	for x != y {
		if x < y {
			q.relaxUp(px)
			if x = px.parent; x == none {
				return
			}
			px = &t.nodes[x]
		} else {
			q.relaxDown(py)
			if y = py.parent; y == none {
				return
			}
			py = &t.nodes[y]
		}
		q.settled++
	}
	best := uint32(Inf)
	for p := px; ; p = &t.nodes[p.parent] {
		u, d := q.up[p.depth].dist(), q.down[p.depth].dist()
		if s := u + d; s < best {
			best, q.middle = s, p.depth
		}
		switch {
		case u < best && d < best:
			q.relax(p)
		case u < best:
			q.relaxUp(p)
		case d < best:
			q.relaxDown(p)
		}
		if p.parent == none {
			break
		}
		q.settled++
	}
	q.best = best
}

func (q *Query) relaxUp(p *place) {
	d := q.up[p.depth]
	if d >= farAway || p.first == p.end {
		return
	}
	d = d&^(1<<32-1) | label64(p.depth)
	t := q.m.t
	row := q.m.costs.row(p.first, p.end)
	depth := t.depth[p.first:p.end]
	depth = depth[:len(row)]
	up := q.up
	for i := range row {
		l := &up[depth[i]]
		*l = min(*l, d+label64(row[i].up)<<32)
	}
}

func (q *Query) relaxDown(p *place) {
	d := q.down[p.depth]
	if d >= farAway || p.first == p.end {
		return
	}
	d = d&^(1<<32-1) | label64(p.depth)
	t := q.m.t
	row := q.m.costs.row(p.first, p.end)
	depth := t.depth[p.first:p.end]
	depth = depth[:len(row)]
	down := q.down
	for i := range row {
		l := &down[depth[i]]
		*l = min(*l, d+label64(row[i].down)<<32)
	}
}

// relax is relaxUp and relaxDown of a node that both sides have reached.
func (q *Query) relax(p *place) {
	if p.first == p.end {
		return
	}
	u, d := q.up[p.depth], q.down[p.depth]
	u, d = u&^(1<<32-1)|label64(p.depth), d&^(1<<32-1)|label64(p.depth)
	t := q.m.t
	row := q.m.costs.row(p.first, p.end)
	depth := t.depth[p.first:p.end]
	depth = depth[:len(row)]
	up := q.up
	down := q.down[:len(up)]
	for i := range row {
		h := depth[i]
		up[h] = min(up[h], u+label64(row[i].up)<<32)
		down[h] = min(down[h], d+label64(row[i].down)<<32)
	}
}

// AppendPath appends the arcs of the path of the last question, from its start to its
// target; none if there is no path. It follows what is stored with each shortcut and
// never searches the graph: some 50 ns an arc.
func (q *Query) AppendPath(dst []ArcID) []ArcID {
	switch {
	case q.direct:
		return append(dst, q.prefix)
	case q.middle == none:
		return dst
	case q.many:
		q.settle()
	}
	t := q.m.t
	q.stackUp = t.ancestors(q.stackUp, q.s, len(q.up))
	q.stackDn = t.ancestors(q.stackDn, q.t, len(q.down))
	if q.prefix != none {
		dst = append(dst, q.prefix)
	}
	begin := len(dst)
	// From the middle down to the start, then played backwards.
	m, todo := q.m, q.todo[:0]
	for d := q.middle; ; {
		below := uint32(q.up[d])
		if below == d {
			break
		}
		todo = append(todo, m.span(t.find(q.stackUp[below], q.stackUp[d])<<1))
		d = below
	}
	dst, todo = m.unpack(dst, todo)
	for d := q.middle; ; {
		below := uint32(q.down[d])
		if below == d {
			break
		}
		todo = append(todo[:0], m.span(t.find(q.stackDn[below], q.stackDn[d])<<1|1))
		dst, todo = m.unpack(dst, todo)
		d = below
	}
	q.todo = todo
	if m.free {
		dst = dst[:begin+len(t.g.cutLoops(dst[begin:]))]
	}
	if q.suffix != none {
		dst = append(dst, q.suffix)
	}
	return dst
}

// ancestors returns the node and all above it, by depth.
func (t *Topology) ancestors(dst []uint32, r uint32, height int) []uint32 {
	if len(dst) < height {
		dst = make([]uint32, height)
	}
	for ; r != none; r = t.nodes[r].parent {
		dst[t.nodes[r].depth] = r
	}
	return dst
}

// A span is an arc of the hierarchy in one direction that waits to be unpacked, with what
// that needs: read when it is put on the stack, so that it is there when its turn comes.
type span struct{ down, via, depth uint32 }

func (m *Metric) span(slot uint32) span {
	e := slot >> 1
	v := m.vias.at(e)
	return span{slot & 1, v.up ^ (v.up^v.down)&-(slot&1), m.t.depth[e]}
}

// unpack appends the arcs of the graph that the spans on the stack stand for, the last
// one first.
func (m *Metric) unpack(dst []ArcID, todo []span) ([]ArcID, []span) {
	depth := m.t.depth
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for s.via&viaShortcut != 0 {
			// From the node below both ends, via leads to the tail, other to the head.
			via := s.via &^ viaShortcut
			other := via + 1
			for depth[other] != s.depth {
				other++
			}
			// Down one of them and up the other; without a branch that is hard to guess.
			swap := (via ^ other) & -s.down
			todo = append(todo, m.span((other^swap)<<1))
			s = m.span((via^swap)<<1 | 1)
		}
		dst = append(dst, s.via)
	}
	return dst, todo
}

// Settled returns how many nodes the last question has looked at.
func (q *Query) Settled() int { return q.settled }

// Visited yields the nodes that the last question has looked at: those above its start
// and above its target in the elimination tree, each once.
func (q *Query) Visited(yield func(NodeID) bool) {
	if q.settled == 0 {
		return
	}
	t := q.m.t
	x, y := q.s, q.t
	if len(q.cursor[0].list)+len(q.cursor[1].list) > 0 {
		seen := map[uint32]bool{}
		for i := range q.cursor {
			for _, a := range q.cursor[i].list {
				for r := a.Node; r != none && !seen[r]; r = t.nodes[r].parent {
					seen[r] = true
					if !yield(t.order[r]) {
						return
					}
				}
			}
		}
		return
	}
	for x != none || y != none {
		r := min(x, y) // none is the largest
		if !yield(t.order[r]) {
			return
		}
		if x == r {
			x = t.nodes[r].parent
		}
		if y == r {
			y = t.nodes[r].parent
		}
	}
}

// A Point is a place on an arc: 0 is its tail and 1 its head.
type Point struct {
	Arc      ArcID
	Fraction float64
}

// partOf returns what the arc costs from its tail to the point, rounded, and to its end.
func partOf(p Point, weights *book[uint32]) (part, whole uint32, err error) {
	if int64(p.Arc) >= int64(weights.n) {
		return 0, 0, fmt.Errorf("%w: arc %d of %d, numbered from 0", ErrInvalid, p.Arc, weights.n)
	}
	if !(p.Fraction >= 0 && p.Fraction <= 1) {
		return 0, 0, fmt.Errorf("%w: fraction %v of arc %d", ErrInvalid, p.Fraction, p.Arc)
	}
	whole = *weights.at(p.Arc)
	if whole == Inf {
		return Inf, Inf, nil
	}
	return uint32(p.Fraction*float64(whole) + 0.5), whole, nil
}

// DistanceBetween returns the length of a shortest path between two points on arcs: the
// rest of the first arc, the way from its head to the tail of the second, and the part of
// that before the point; or the part between them, if they are on the same arc and the
// target is not behind the start. Parts of an arc are rounded. The path leaves a closed
// arc for no other. The arcs of the path, for [Query.AppendPath], begin with that of the
// start and end with that of the target. To allow for both directions of a road, ask for
// each of its two arcs.
func (q *Query) DistanceBetween(from, to Point) (uint32, error) {
	q.forget()
	a, wholeA, err := partOf(from, &q.m.weights)
	if err != nil {
		return Inf, err
	}
	b, _, err := partOf(to, &q.m.weights)
	if err != nil {
		return Inf, err
	}
	if a == Inf || b == Inf {
		return Inf, nil
	}
	q.prefix, q.suffix = from.Arc, to.Arc
	if from.Arc == to.Arc && to.Fraction >= from.Fraction {
		q.direct, q.best = true, b-a
		return q.best, nil
	}
	t := q.m.t
	q.search(t.rank[t.g.head[from.Arc]], t.rank[t.g.tail[to.Arc]])
	sum := uint64(q.best) + uint64(wholeA-a) + uint64(b)
	if sum >= Inf {
		q.middle, q.best = none, Inf
		return Inf, nil
	}
	q.best = uint32(sum)
	return q.best, nil
}

// cutLoops takes out of a path what leads back to a node that it has passed, as arcs that
// cost nothing may, and returns what is left of it, in the same place.
func (g *Graph) cutLoops(path []ArcID) []ArcID {
	if len(path) == 0 {
		return path
	}
	// How many arcs are before each node.
	at := make(map[NodeID]int, len(path)+1)
	at[g.tail[path[0]]] = 0
	kept := path[:0]
	for _, a := range path {
		before, again := at[g.head[a]]
		if !again {
			kept = append(kept, a)
			at[g.head[a]] = len(kept)
			continue
		}
		for _, b := range kept[before:] {
			delete(at, g.head[b])
		}
		kept = kept[:before]
		at[g.head[a]] = before
	}
	return kept
}
