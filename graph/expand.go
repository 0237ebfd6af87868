package graph

import (
	"fmt"
	"slices"
)

// An Expansion is a graph with turns as a plain graph: its nodes are the arcs of the
// other, its arcs the turns that are allowed from one to the next. So what a turn costs
// and where none is allowed is part of every distance, which no hierarchy of the graph
// itself could know. It does not change and is safe for concurrent use by multiple
// goroutines.
//
//	x, err := g.Expand(graph.Inf)
//	topo, err := graph.Dissect(ctx, x.Graph(), nil)
//	m, err := x.Customize(topo, weights) // those of g
//	d, err := m.NewQuery().Distance(s, t) // nodes of g
type Expansion struct {
	of   *Graph
	g    *Graph
	cost []uint32 // of the turn of each arc of g
}

// Expand returns the expansion of g. A turn back to the node from which the road comes is
// a U-turn and costs uTurn if [Builder.SetTurn] says nothing about it; [Inf] forbids
// U-turns but at dead ends, from which no other arc leads away, where they are free. A
// loop is an arc like others here. An expansion has as many nodes as g has arcs, and
// about three arcs for each. Its hierarchy is much larger than that of g: that of New
// York has eight times the arcs, and takes ten times as long to customize.
func (g *Graph) Expand(uTurn uint32) (*Expansion, error) {
	if uTurn > Inf {
		return nil, fmt.Errorf("%w: a U-turn costs %d, above %d", ErrInvalid, uTurn, uint32(Inf))
	}
	count := 0
	for u := range uint32(g.Nodes()) {
		count += len(g.In(u)) * len(g.Out(u))
		if count > maxArcs {
			return nil, fmt.Errorf("%w: more than %d turns", ErrTooLarge, maxArcs)
		}
	}
	x := &Expansion{of: g}
	b := NewBuilder(g.Arcs())
	turns := g.turns
	for a := range uint32(g.Arcs()) {
		for len(turns) > 0 && turns[0].From < a {
			turns = turns[1:]
		}
		own := turns
		for i := range own {
			if own[i].From != a {
				own = own[:i]
				break
			}
		}
		away := false
		for _, to := range g.Out(g.head[a]) {
			away = away || g.head[to] != g.tail[a]
		}
		for _, to := range g.Out(g.head[a]) {
			cost := uint32(0)
			if g.head[to] == g.tail[a] {
				if cost = uTurn; cost == Inf && !away {
					cost = 0
				}
			}
			if i, ok := slices.BinarySearchFunc(own, to, func(t Turn, to uint32) int { return int(int64(t.To) - int64(to)) }); ok {
				cost = own[i].Cost
			}
			if cost < Inf {
				b.AddArc(a, to)
				x.cost = append(x.cost, cost)
			}
		}
		if g.located() {
			lat, lon := g.vector(g.tail[a]).add(g.vector(g.head[a])).degrees()
			b.SetCoord(a, lat, lon)
		}
	}
	var err error
	x.g, err = b.Build()
	return x, err
}

// Graph returns the plain graph, for [Dissect]. Its nodes have the numbers of the arcs of
// the graph that was expanded.
func (x *Expansion) Graph() *Graph { return x.g }

// Weights returns what the arcs of the plain graph cost, given what those of the expanded
// one do: an arc and the turn behind it, [Inf] if that is more than [MaxWeight].
func (x *Expansion) Weights(weights []uint32) ([]uint32, error) {
	if err := x.of.checkWeights(weights); err != nil {
		return nil, err
	}
	w := make([]uint32, x.g.Arcs())
	for a := range w {
		w[a] = min(Inf, weights[x.g.tail[a]]+x.cost[a])
	}
	return w, nil
}

// A TurnMetric is a [Metric] of an expansion. It does not change and is safe for
// concurrent use by multiple goroutines.
type TurnMetric struct {
	x       *Expansion
	m       *Metric
	weights book[uint32] // of the graph that was expanded
}

// Customize gives the hierarchy of the plain graph the weights of the arcs of the graph
// that was expanded. A hierarchy of another graph gives an error wrapping
// [ErrIncompatible].
func (x *Expansion) Customize(t *Topology, weights []uint32) (*TurnMetric, error) {
	if t.g != x.g && !(slices.Equal(t.g.tail, x.g.tail) && slices.Equal(t.g.head, x.g.head)) {
		return nil, fmt.Errorf("%w: the hierarchy is not that of the expansion", ErrIncompatible)
	}
	w, err := x.Weights(weights)
	if err != nil {
		return nil, err
	}
	m, err := t.Customize(w)
	if err != nil {
		return nil, err
	}
	return &TurnMetric{x, m, newBook(slices.Clone(weights), weightBits)}, nil
}

// Metric returns the metric of the plain graph.
func (m *TurnMetric) Metric() *Metric { return m.m }

// Weight returns the weight of an arc of the graph that was expanded. It panics if there
// is no such arc.
func (m *TurnMetric) Weight(a ArcID) uint32 {
	_ = m.x.of.tail[a]
	return *m.weights.at(a)
}

// Update is [Metric.Update], with changes of arcs of the graph that was expanded.
func (m *TurnMetric) Update(changes []Change) (*TurnMetric, error) {
	var r revision[uint32]
	r.begin(m.weights)
	var turns []Change
	for i, c := range changes {
		if int64(c.Arc) >= int64(m.x.of.Arcs()) {
			return nil, fmt.Errorf("%w: change %d: arc %d of %d, numbered from 0", ErrInvalid, i, c.Arc, m.x.of.Arcs())
		}
		if c.Weight > Inf {
			return nil, fmt.Errorf("%w: change %d: weight %d of arc %d, above %d", ErrInvalid, i, c.Weight, c.Arc, uint32(Inf))
		}
		*r.at(c.Arc) = c.Weight
		for _, a := range m.x.g.Out(c.Arc) {
			turns = append(turns, Change{a, min(Inf, c.Weight+m.x.cost[a])})
		}
	}
	next, err := m.m.Update(turns)
	if err != nil {
		return nil, err
	}
	return &TurnMetric{m.x, next, r.book}, nil
}

// A TurnQuery is a [Query] between nodes, or points on arcs, of a graph that was
// expanded. It is not safe for concurrent use.
type TurnQuery struct {
	m        *TurnMetric
	q        *Query
	from, to []Access
	before   ArcID // the arc of a start between its ends
	direct   bool
}

// NewQuery returns a query on m.
func (m *TurnMetric) NewQuery() *TurnQuery { return &TurnQuery{m: m, q: m.m.NewQuery(), before: none} }

// Reset makes q a query on another metric.
func (q *TurnQuery) Reset(m *TurnMetric) {
	q.m, q.before, q.direct = m, none, false
	q.q.Reset(m.m)
}

// Distance returns the length of a shortest way from s to t with the turns on it, or
// [Inf] if there is none. It may set out on any arc and arrive on any. They are all
// asked for at the same time, by [Query.DistanceFrom].
func (q *TurnQuery) Distance(s, t NodeID) (uint32, error) {
	q.before, q.direct = none, false
	q.q.forget()
	g := q.m.x.of
	if err := g.checkNode("node", max(s, t)); err != nil {
		return Inf, err
	}
	if s == t {
		return 0, nil
	}
	q.from, q.to = q.from[:0], q.to[:0]
	for _, a := range g.Out(s) {
		q.from = append(q.from, Access{a, 0})
	}
	for _, a := range g.In(t) {
		q.to = append(q.to, Access{a, q.m.Weight(a)})
	}
	return q.q.DistanceFrom(q.from, q.to)
}

// DistanceBetween is [Query.DistanceBetween] with turns.
func (q *TurnQuery) DistanceBetween(from, to Point) (uint32, error) {
	q.before, q.direct = none, false
	q.q.forget()
	a, whole, err := partOf(from, &q.m.weights)
	if err != nil {
		return Inf, err
	}
	b, _, err := partOf(to, &q.m.weights)
	if err != nil || a == Inf || b == Inf {
		return Inf, err
	}
	q.before = from.Arc
	if from.Arc == to.Arc && to.Fraction >= from.Fraction {
		q.direct = true
		return b - a, nil
	}
	q.from, q.to = q.from[:0], append(q.to[:0], Access{to.Arc, b})
	for _, turn := range q.m.x.g.Out(from.Arc) {
		if w := whole - a + q.m.x.cost[turn]; w < Inf {
			q.from = append(q.from, Access{q.m.x.g.head[turn], w})
		}
	}
	return q.q.DistanceFrom(q.from, q.to)
}

// AppendPath appends the arcs of the path of the last question.
func (q *TurnQuery) AppendPath(dst []ArcID) []ArcID {
	if q.direct {
		return append(dst, q.before)
	}
	if q.q.middle == none {
		return dst
	}
	if q.before != none {
		dst = append(dst, q.before)
	}
	// The arcs of the plain graph are turns: what they lead to, behind the first.
	n := len(dst)
	dst = append(dst, 0)
	dst = q.q.AppendPath(dst)
	dst[n] = q.q.m.t.order[q.q.s]
	for i := n + 1; i < len(dst); i++ {
		dst[i] = q.m.x.g.head[dst[i]]
	}
	return dst
}

// Settled returns how many arcs the last question has looked at.
func (q *TurnQuery) Settled() int { return q.q.settled }
