package graph

import (
	"fmt"
	"math"
)

// Dijkstra returns the length of a shortest path from s to t and its arcs, by the
// algorithm of Dijkstra (1959) in its plainest form: it is what every faster way in this
// package is tested against. If there is no path, the length is [Inf]; if s is t, it is 0
// and the path has no arcs. It allocates memory for all nodes: [NewSearch] reuses it.
func Dijkstra(g *Graph, weights []uint32, s, t NodeID) (distance uint32, path []ArcID, err error) {
	if err := g.checkWeights(weights); err != nil {
		return Inf, nil, err
	}
	if err := g.checkNode("node", max(s, t)); err != nil {
		return Inf, nil, err
	}
	dist, by := make([]uint32, g.Nodes()), make([]ArcID, g.Nodes())
	for i := range dist {
		dist[i] = Inf
	}
	dist[s] = 0
	queue := heap{{0, s}}
	for len(queue) > 0 {
		at := queue.pop()
		if at.key > dist[at.node] {
			continue
		}
		if at.node == t {
			break
		}
		for _, a := range g.Out(at.node) {
			if d := at.key + weights[a]; d < dist[g.head[a]] {
				dist[g.head[a]], by[g.head[a]] = d, a
				queue.push(entry{d, g.head[a]})
			}
		}
	}
	if dist[t] == Inf {
		return Inf, nil, nil
	}
	for u := t; u != s; u = g.tail[by[u]] {
		path = append(path, by[u])
	}
	reverse(path)
	return dist[t], path, nil
}

func reverse(path []ArcID) {
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
}

// An entry is a node in a heap with its key.
type entry struct {
	key  uint32
	node uint32
}

// A heap gives the entry with the least key first. Each node has four below it, so that
// they share a cache line (Johnson, 1975).
type heap []entry

func (h *heap) push(e entry) {
	q := append(*h, e)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 4
		if q[up].key <= e.key {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = e
	*h = q
}

func (h *heap) pop() entry {
	q := *h
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	*h = q
	i := 0
	for {
		c := 4*i + 1
		if c >= len(q) {
			break
		}
		m := c
		if c+4 <= len(q) {
			if q[c+1].key < q[m].key {
				m = c + 1
			}
			if q[c+2].key < q[m].key {
				m = c + 2
			}
			if q[c+3].key < q[m].key {
				m = c + 3
			}
		} else {
			for j := c + 1; j < len(q); j++ {
				if q[j].key < q[m].key {
					m = j
				}
			}
		}
		if q[m].key >= last.key {
			break
		}
		q[i] = q[m]
		i = m
	}
	if len(q) > 0 {
		q[i] = last
	}
	return top
}

// A Search answers queries without any preparation but a copy of the weights, by
// Dijkstra's algorithm, in one direction, in both, or led by a potential. It keeps its
// memory from query to query and is not safe for concurrent use.
type Search struct {
	g       *Graph
	side    [2]side // forward, backward
	label   []label
	epoch   uint64 // shifted
	settled int
	middle  uint32
	at      []vec // for A*
	scale   float64
}

// A side is a search in one direction.
type side struct {
	first []uint32
	to    []target
	arcs  []uint32 // of to
	by    []uint32 // by which of to each node was reached; none for the first
	queue heap
}

type target struct{ node, weight uint32 }

// A label holds the distances of a node from both sides, since who improves one wants to
// see the other, each with the epoch of its query in the upper half. Epochs count down:
// to be nearer and to be of an earlier query is one comparison.
type label [2]uint64

// NewSearch returns a search on g with these weights, which are copied. It costs 24 bytes
// a node and 16 an arc.
func NewSearch(g *Graph, weights []uint32) (*Search, error) {
	if err := g.checkWeights(weights); err != nil {
		return nil, err
	}
	q := &Search{g: g, label: make([]label, g.Nodes()), middle: none}
	q.restart()
	for i := range q.side {
		x, end := &q.side[i], g.head
		x.first, x.arcs = g.first, g.out
		if i == 1 {
			x.first, x.arcs, end = g.rfirst, g.in, g.tail
		}
		x.by = make([]uint32, g.Nodes())
		x.to = make([]target, len(x.arcs))
		for j, a := range x.arcs {
			x.to[j] = target{end[a], weights[a]}
		}
	}
	return q, nil
}

// Settled returns how many nodes the last query took from its queues for good: the size
// of the searched area.
func (q *Search) Settled() int { return q.settled }

func (q *Search) begin(s, t NodeID) error {
	q.settled, q.middle = 0, none
	if err := q.g.checkNode("node", max(s, t)); err != nil {
		return err
	}
	if q.epoch == 0 {
		q.restart()
	}
	q.epoch -= 1 << 32
	for i, u := range [2]NodeID{s, t} {
		x := &q.side[i]
		x.queue = append(x.queue[:0], entry{0, u})
		x.by[u] = none
		q.label[u][i] = q.epoch
	}
	return nil
}

// restart forgets all labels.
func (q *Search) restart() {
	q.epoch = math.MaxUint32 << 32
	for i := range q.label {
		q.label[i] = label{math.MaxUint64, math.MaxUint64}
	}
}

// found tells whether this query has labelled the node, from that side.
func (q *Search) found(u NodeID, side int) bool { return q.label[u][side]>>32 == q.epoch>>32 }

// dist returns the distance of a node that was found.
func (q *Search) dist(u NodeID, side int) uint32 { return uint32(q.label[u][side]) }

// settle follows the arcs from a node of the forward side, at distance d, and queues what
// is nearer than known, by its distance and what estimate adds.
func (q *Search) settle(u NodeID, d uint32, estimate func(NodeID) uint32) {
	x := &q.side[0]
	q.settled++
	for j := x.first[u]; j < x.first[u+1]; j++ {
		to := x.to[j]
		d := d + to.weight
		if l := &q.label[to.node]; d < Inf && q.epoch|uint64(d) < l[0] {
			l[0], x.by[to.node] = q.epoch|uint64(d), j
			if estimate != nil {
				d += estimate(to.node)
			}
			x.queue.push(entry{d, to.node})
		}
	}
}

// Distance returns the length of a shortest path from s to t, searching from s alone.
func (q *Search) Distance(s, t NodeID) (uint32, error) {
	if err := q.begin(s, t); err != nil {
		return Inf, err
	}
	x := &q.side[0]
	for len(x.queue) > 0 {
		at := x.queue.pop()
		if at.key > q.dist(at.node, 0) {
			continue
		}
		if at.node == t {
			q.settled++
			q.middle = t
			return at.key, nil
		}
		q.settle(at.node, at.key, nil)
	}
	return Inf, nil
}

// Bidirectional returns the same, searching from both ends until the searches have met
// and no shorter way is possible.
func (q *Search) Bidirectional(s, t NodeID) (uint32, error) {
	if err := q.begin(s, t); err != nil {
		return Inf, err
	}
	if s == t {
		q.middle = s
		return 0, nil
	}
	best, epoch := uint32(Inf), q.epoch
	for len(q.side[0].queue) > 0 && len(q.side[1].queue) > 0 {
		f, b := q.side[0].queue[0].key, q.side[1].queue[0].key
		if f+b >= best {
			break
		}
		own := 0
		if b < f {
			own = 1
		}
		x, other := &q.side[own], 1-own
		at := x.queue.pop()
		if at.key > q.dist(at.node, own) {
			continue
		}
		q.settled++
		for j := x.first[at.node]; j < x.first[at.node+1]; j++ {
			to := x.to[j]
			d := at.key + to.weight
			if d >= Inf {
				continue
			}
			if l := &q.label[to.node]; epoch|uint64(d) < l[own] {
				l[own], x.by[to.node] = epoch|uint64(d), j
				x.queue.push(entry{d, to.node})
				if o := l[other]; o>>32 == epoch>>32 && d+uint32(o) < best {
					best, q.middle = d+uint32(o), to.node
				}
			}
		}
	}
	return best, nil
}

// AStar returns the same, led by the straight line to t (Hart, Nilsson and Raphael,
// 1968): a node is the later the farther it is from t. How much of the weight a straight
// metre needs at least is found from the arcs when it is first called. It wraps
// [ErrInvalid] in its error if some node has no coordinates.
func (q *Search) AStar(s, t NodeID) (uint32, error) {
	if q.at == nil {
		if err := q.locate(); err != nil {
			return Inf, err
		}
	}
	if err := q.begin(s, t); err != nil {
		return Inf, err
	}
	// The estimate is consistent, up to its rounding down: a node is searched again if
	// a better way to it is found.
	estimate := func(u NodeID) uint32 {
		d := q.at[u].sub(q.at[t]).norm() * q.scale
		return uint32(min(d, MaxWeight))
	}
	x := &q.side[0]
	x.queue[0].key = estimate(s)
	best := uint32(Inf)
	for len(x.queue) > 0 {
		at := x.queue.pop()
		if at.key >= best {
			break
		}
		from := q.dist(at.node, 0)
		if from+estimate(at.node) < at.key {
			continue
		}
		if at.node == t {
			q.settled++
			best, q.middle = from, t
			continue
		}
		q.settle(at.node, from, estimate)
	}
	return best, nil
}

// locate finds the scale with which no arc is cheaper than the line between its ends, and
// so no path either.
func (q *Search) locate() error {
	if !q.g.located() {
		return fmt.Errorf("%w: A* needs the coordinates of all nodes", ErrInvalid)
	}
	q.at = make([]vec, q.g.Nodes())
	for u := range q.at {
		q.at[u] = q.g.vector(NodeID(u))
	}
	q.scale = math.MaxFloat64
	x := &q.side[0]
	for u := range q.at {
		for _, to := range x.to[x.first[u]:x.first[u+1]] {
			if d := q.at[u].sub(q.at[to.node]).norm(); d > 0 {
				q.scale = min(q.scale, float64(to.weight)/d)
			}
		}
	}
	if q.scale == math.MaxFloat64 {
		q.scale = 0
	}
	q.scale *= 1 - 1e-9 // for what float64 rounds
	return nil
}

// AppendPath appends the arcs of the path that the last query found, from s to t; nothing
// if it found none.
func (q *Search) AppendPath(dst []ArcID) []ArcID {
	if q.middle == none {
		return dst
	}
	from := len(dst)
	f, b := &q.side[0], &q.side[1]
	for u := q.middle; f.by[u] != none; u = q.g.tail[dst[len(dst)-1]] {
		dst = append(dst, f.arcs[f.by[u]])
	}
	reverse(dst[from:])
	if !q.found(q.middle, 1) {
		return dst // a search from s alone
	}
	for u := q.middle; b.by[u] != none; u = q.g.head[dst[len(dst)-1]] {
		dst = append(dst, b.arcs[b.by[u]])
	}
	return dst
}

// All returns the distance from s to every node, appended to dst, [Inf] where there is no
// way.
func (q *Search) All(dst []uint32, s NodeID) ([]uint32, error) {
	if err := q.begin(s, s); err != nil {
		return dst, err
	}
	x := &q.side[0]
	for len(x.queue) > 0 {
		at := x.queue.pop()
		if at.key == q.dist(at.node, 0) {
			q.settle(at.node, at.key, nil)
		}
	}
	for u := range uint32(len(q.label)) {
		d := uint32(Inf)
		if q.found(u, 0) {
			d = q.dist(u, 0)
		}
		dst = append(dst, d)
	}
	return dst, nil
}
