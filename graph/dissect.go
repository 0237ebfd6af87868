package graph

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Options configures [Dissect]. Nil, and a zero field, mean the default.
type Options struct {
	// Workers is how many goroutines work at the same time. The result does not depend
	// on it. Default: GOMAXPROCS.
	Workers int

	// MaxArcs is the size of the hierarchy above which the graph is refused as too
	// dense. Default: 40 for each node and arc, and a million. Road networks have about
	// five for each node.
	MaxArcs int

	// Order is the order of the nodes, least important first, if it is known already
	// ([Topology.Order]): then nothing is dissected.
	Order []NodeID
}

func (o *Options) fill(g *Graph) (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Workers < 0 || opts.MaxArcs < 0 {
		return opts, fmt.Errorf("%w: %d workers, at most %d arcs", ErrInvalid, opts.Workers, opts.MaxArcs)
	}
	if opts.Workers == 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.MaxArcs == 0 {
		opts.MaxArcs = min(maxArcs, 40*(g.Nodes()+g.Arcs())+1<<20)
	}
	opts.MaxArcs = min(opts.MaxArcs, maxArcs)
	return opts, nil
}

// Dissect prepares g for the fast queries, whatever its weights will be: it orders the
// nodes by nested dissection and finds the shortcuts of that order. New York takes a few
// seconds; [Topology.WriteTo] keeps the result. It returns early with ctx.Err() when ctx
// ends, and an error wrapping [ErrTooDense] if the graph is unlike roads.
func Dissect(ctx context.Context, g *Graph, opts *Options) (*Topology, error) {
	o, err := opts.fill(g)
	if err != nil {
		return nil, err
	}
	order := o.Order
	if order == nil {
		if order, err = dissect(ctx, g, o.Workers); err != nil {
			return nil, err
		}
	} else if err := checkOrder(order, g.Nodes()); err != nil {
		return nil, err
	}
	return newTopology(ctx, g, order, o)
}

func checkOrder(order []NodeID, n int) error {
	if len(order) != n {
		return fmt.Errorf("%w: an order of %d nodes for %d", ErrInvalid, len(order), n)
	}
	seen := make([]bool, n)
	for i, u := range order {
		if int64(u) >= int64(n) || seen[u] {
			return fmt.Errorf("%w: node %d in place %d of the order is out of range or there before", ErrInvalid, u, i)
		}
		seen[u] = true
	}
	return nil
}

// dissect returns the nodes of g, least important first.
func dissect(ctx context.Context, g *Graph, workers int) ([]NodeID, error) {
	d := &dissection{ctx: ctx, g: g, order: make([]NodeID, 0, g.Nodes()), slots: make(chan struct{}, max(0, workers-1))}
	d.strip()
	if g.located() {
		d.at = make([]vec, g.Nodes())
		for u := range d.at {
			d.at[u] = g.vector(NodeID(u))
		}
	}
	rest := d.rest()
	base := len(d.order)
	d.order = d.order[:base+len(rest.id)]
	d.where = make([]uint32, g.Nodes())
	for i := range d.where {
		d.where[i] = none
	}
	d.split(rest, d.order[base:], new(cutter))
	d.tasks.Wait()
	return d.order, ctx.Err()
}

// A dissection orders nodes by finding few that cut the graph in two parts of similar
// size; these come last, and each part is ordered in the same way (George: Nested
// Dissection of a Regular Finite Element Mesh, 1973).
type dissection struct {
	ctx   context.Context
	g     *Graph
	near  [][]uint32 // neighbours in the undirected graph of what is left
	at    []vec
	order []NodeID
	where []uint32 // place in the order, as far as it is known
	slots chan struct{}
	tasks sync.WaitGroup
}

// strip orders what is simple first: nodes with at most two neighbours, in rounds of
// nodes that are no neighbours, until there are none. That is most of a map: dead ends and
// the points that give a road its shape. Two neighbours become neighbours of each other.
func (d *dissection) strip() {
	n := d.g.Nodes()
	d.near = make([][]uint32, n)
	degree := make([]int, n)
	gone := make([]bool, n)
	touched := make([]uint32, n)
	for u := range n {
		var l []uint32
		for _, a := range d.g.Out(NodeID(u)) {
			l = append(l, d.g.head[a])
		}
		for _, a := range d.g.In(NodeID(u)) {
			l = append(l, d.g.tail[a])
		}
		slices.Sort(l)
		l = slices.Compact(l)
		if i, ok := slices.BinarySearch(l, uint32(u)); ok {
			l = slices.Delete(l, i, i+1)
		}
		d.near[u], degree[u] = l, len(l)
	}
	alive := func(u uint32) []uint32 {
		if len(d.near[u]) != degree[u] {
			d.near[u] = slices.DeleteFunc(d.near[u], func(v uint32) bool { return gone[v] })
		}
		return d.near[u]
	}
	var work, later []uint32
	for u := range n {
		if degree[u] <= 2 {
			work = append(work, uint32(u))
		}
	}
	for round := uint32(1); len(work) > 0; round++ {
		later = later[:0]
		for _, u := range work {
			if gone[u] {
				continue
			}
			if touched[u] == round {
				later = append(later, u)
				continue
			}
			gone[u] = true
			d.order = append(d.order, u)
			l := alive(u)
			for _, v := range l {
				degree[v]--
				touched[v] = round
			}
			if len(l) == 2 {
				a, b := l[0], l[1]
				x, y := a, b
				if len(d.near[x]) > len(d.near[y]) {
					x, y = y, x
				}
				if !slices.Contains(d.near[x], y) {
					d.near[a], d.near[b] = append(d.near[a], b), append(d.near[b], a)
					degree[a]++
					degree[b]++
				}
			}
			for _, v := range l {
				if degree[v] <= 2 {
					later = append(later, v)
				}
			}
			d.near[u] = nil
		}
		work, later = later, work
	}
	for u := range n {
		if !gone[u] {
			alive(uint32(u))
			slices.Sort(d.near[u])
		}
	}
}

// rest returns what strip has left.
func (d *dissection) rest() *part {
	p := &part{first: []uint32{0}}
	local := make([]uint32, len(d.near))
	for u, l := range d.near {
		if l != nil {
			local[u] = uint32(len(p.id))
			p.id = append(p.id, uint32(u))
		}
	}
	for _, u := range p.id {
		for _, v := range d.near[u] {
			p.to = append(p.to, local[v])
		}
		p.first = append(p.first, uint32(len(p.to)))
	}
	p.twin = make([]uint32, len(p.to))
	at := slices.Clone(p.first)
	// Edges are sorted by both ends: the next edge of v to a lower node is u's.
	for u := range p.id {
		for e := p.first[u]; e < p.first[u+1]; e++ {
			v := p.to[e]
			p.twin[e] = at[v]
			at[v]++
		}
	}
	return p
}

const (
	smallPart = 250   // ordered greedily
	forked    = 2_000 // worth a goroutine
	balance   = 0.25  // of the nodes, at least, on each side of a cut
)

// split writes the order of the part's nodes to out, which is as long.
func (d *dissection) split(p *part, out []NodeID, c *cutter) {
	for len(p.id) > smallPart {
		if d.ctx.Err() != nil {
			return
		}
		if parts := p.components(); len(parts) > 1 {
			at := 0
			for _, q := range parts {
				d.fork(q, out[at:at+len(q.id)], c)
				at += len(q.id)
			}
			return
		}
		inside, chosen := d.bestCut(p, c)
		k := len(out)
		for u := len(p.id) - 1; u >= 0; u-- {
			if chosen[u] {
				k--
				out[k] = p.id[u]
			}
		}
		if k == len(out) {
			panic("graph: a cut without nodes")
		}
		a := p.sub(func(u int) bool { return !chosen[u] && inside[u] })
		b := p.sub(func(u int) bool { return !chosen[u] && !inside[u] })
		d.fork(a, out[:len(a.id)], c)
		p, out = b, out[len(a.id):k]
	}
	d.greedy(p, out)
}

// fork splits the part in a goroutine of its own if one is to be had.
func (d *dissection) fork(p *part, out []NodeID, c *cutter) {
	if len(p.id) >= forked {
		select {
		case d.slots <- struct{}{}:
			d.tasks.Go(func() {
				d.split(p, out, new(cutter))
				<-d.slots
			})
			return
		default:
		}
	}
	d.split(p, out, c)
}

// bestCut tries several directions and returns the side of each node and which nodes
// separate the sides.
func (d *dissection) bestCut(p *part, c *cutter) (inside, chosen []bool) {
	n := len(p.id)
	c.key = resize(c.key, n)
	inside, chosen = make([]bool, n), make([]bool, n)
	trial, best := make([]bool, n), math.Inf(1)
	limit := 16 + 8*int(math.Sqrt(float64(n)))
	for k := range d.directions(p, c) {
		cap := limit
		if !math.IsInf(best, 1) {
			cap = min(limit, int(best*float64(n)/2))
		}
		k(c.key)
		edges, ok := c.cut(p, balance, cap, trial)
		if !ok {
			continue
		}
		near := 0
		for _, in := range trial {
			if in {
				near++
			}
		}
		// Few edges, for what they cut off.
		if score := float64(edges) / float64(min(near, n-near)); score < best {
			best = score
			copy(inside, trial)
		}
	}
	if math.IsInf(best, 1) { // all cuts are large: halves, by the last direction
		c.nth(c.order, n/2)
		for _, u := range c.order[:n/2] {
			inside[u] = true
		}
	}
	c.cover(p, inside, chosen)
	return inside, chosen
}

// directions yields functions that set the keys of the nodes: projections of where they
// are on lines in several directions or, without coordinates, differences of how many
// edges they are from two nodes far apart.
func (d *dissection) directions(p *part, c *cutter) func(yield func(func([]float64)) bool) {
	return func(yield func(func([]float64)) bool) {
		if d.at != nil {
			var centre vec
			for _, u := range p.id {
				centre = centre.add(d.at[u])
			}
			if centre.norm() < 1e-9 {
				centre = vec{0, 0, 1}
			}
			centre = centre.scale(1 / centre.norm())
			east := vec{0, 0, 1}.cross(centre)
			if east.norm() < 1e-9 {
				east = vec{1, 0, 0}
			}
			east = east.scale(1 / east.norm())
			north := centre.cross(east)
			const directions = 4
			for i := range directions {
				sin, cos := math.Sincos(math.Pi * float64(i) / directions)
				line := east.scale(cos).add(north.scale(sin))
				if !yield(func(key []float64) {
					for u, id := range p.id {
						key[u] = d.at[id].dot(line)
					}
				}) {
					return
				}
			}
			return
		}
		// a and b are far apart; x and y are far from both.
		a := far(p.hops(c, 0))
		fromA := slices.Clone(p.hops(c, a))
		b := far(fromA)
		fromB := slices.Clone(p.hops(c, b))
		sum := make([]uint32, len(fromA))
		for u := range sum {
			sum[u] = min(fromA[u], fromB[u])
		}
		x := far(sum)
		fromX := slices.Clone(p.hops(c, x))
		y := far(fromX)
		fromY := p.hops(c, y)
		for _, pair := range [][2][]uint32{{fromA, fromB}, {fromX, fromY}} {
			if !yield(func(key []float64) {
				for u := range key {
					key[u] = float64(pair[0][u]) - float64(pair[1][u])
				}
			}) {
				return
			}
		}
	}
}

// far returns the first of the nodes with the largest distance.
func far(hops []uint32) uint32 {
	return uint32(slices.Index(hops, slices.Max(hops)))
}

// hops returns how many edges each node is from u.
func (p *part) hops(c *cutter, u uint32) []uint32 {
	c.level, c.queue = resize(c.level, len(p.id)), resize(c.queue, len(p.id))
	for i := range c.level {
		c.level[i] = none
	}
	c.level[u], c.queue[0] = 0, u
	for head, tail := 0, 1; head < tail; head++ {
		u := c.queue[head]
		for _, v := range p.to[p.first[u]:p.first[u+1]] {
			if c.level[v] == none {
				c.level[v] = c.level[u] + 1
				c.queue[tail] = v
				tail++
			}
		}
	}
	return c.level
}

// components returns the connected parts, in the order of their first nodes.
func (p *part) components() []*part {
	name := make([]uint32, len(p.id))
	for i := range name {
		name[i] = none
	}
	var queue []uint32
	var count uint32
	for s := range name {
		if name[s] != none {
			continue
		}
		name[s] = count
		queue = append(queue[:0], uint32(s))
		for len(queue) > 0 {
			u := queue[len(queue)-1]
			queue = queue[:len(queue)-1]
			for _, v := range p.to[p.first[u]:p.first[u+1]] {
				if name[v] == none {
					name[v] = count
					queue = append(queue, v)
				}
			}
		}
		count++
	}
	if count == 1 {
		return []*part{p}
	}
	// One pass for all: there may be very many.
	parts := make([]*part, count)
	local, slot := make([]uint32, len(p.id)), make([]uint32, len(p.to))
	for u, i := range name {
		if parts[i] == nil {
			parts[i] = &part{first: []uint32{0}}
		}
		q := parts[i]
		local[u] = uint32(len(q.id))
		q.id = append(q.id, p.id[u])
	}
	for u, i := range name {
		q := parts[i]
		for e := p.first[u]; e < p.first[u+1]; e++ {
			slot[e] = uint32(len(q.to))
			q.to = append(q.to, local[p.to[e]])
			q.twin = append(q.twin, p.twin[e])
		}
		q.first = append(q.first, uint32(len(q.to)))
	}
	for _, q := range parts {
		for i := range q.twin {
			q.twin[i] = slot[q.twin[i]]
		}
	}
	return parts
}

// sub returns the part of some of the nodes.
func (p *part) sub(keep func(u int) bool) *part {
	local, slot := make([]uint32, len(p.id)), make([]uint32, len(p.to))
	q := &part{first: []uint32{0}}
	for u := range p.id {
		local[u] = none
		if keep(u) {
			local[u] = uint32(len(q.id))
			q.id = append(q.id, p.id[u])
		}
	}
	q.first = make([]uint32, 1, len(q.id)+1)
	for u := range p.id {
		if local[u] == none {
			continue
		}
		for e := p.first[u]; e < p.first[u+1]; e++ {
			if v := local[p.to[e]]; v != none {
				slot[e] = uint32(len(q.to))
				q.to, q.twin = append(q.to, v), append(q.twin, p.twin[e])
			}
		}
		q.first = append(q.first, uint32(len(q.to)))
	}
	for i := range q.twin {
		q.twin[i] = slot[q.twin[i]]
	}
	return q
}

// greedy orders a small part: always the node next that has the fewest neighbours, those
// outside included, and joins these (Tinney and Walker, 1967).
func (d *dissection) greedy(p *part, out []NodeID) {
	n := len(p.id)
	if n <= 1 {
		copy(out, p.id)
		return
	}
	// Numbers below n are the part's nodes, those from n its neighbours outside.
	number := make(map[uint32]int, 2*n)
	for i, u := range p.id {
		number[u] = i
	}
	for _, u := range p.id {
		for _, v := range d.near[u] {
			if _, ok := number[v]; !ok {
				number[v] = len(number)
			}
		}
	}
	words := (len(number) + 63) / 64
	sets := make(bitset, n*words)
	near := func(i int) bitset { return sets[i*words : (i+1)*words] }
	for i, u := range p.id {
		near(i).set(i)
		for _, v := range d.near[u] {
			near(i).set(number[v])
		}
	}
	done := make([]bool, n)
	for k := range n {
		best, bestCount := -1, 0
		for i := range n {
			if done[i] {
				continue
			}
			if count := near(i).count(); best < 0 || count < bestCount {
				best, bestCount = i, count
			}
		}
		done[best] = true
		out[k] = p.id[best]
		for i := range n {
			if !done[i] && near(i).has(best) {
				x, y := near(i), near(best)
				for w := range x {
					x[w] |= y[w]
				}
				x[best/64] &^= 1 << (best % 64)
			}
		}
	}
}
