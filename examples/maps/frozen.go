package main

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"

	"github.com/ashlar-go/ashlar/graph"
)

// A frozen is the tempting way to keep a contraction hierarchy while traffic changes: the
// shortcuts stay those of the morning, each remembers the node that it was made over, and
// when a road under it gets slower the shortcut gets the new sum of its two halves.
//
//	    x              morning: the way over x is the best from u to v, y's is second.
//	2 ╱   ╲ 2          A shortcut u─v of 4 over x was made; none over y.
//	u       v          jam at x: the shortcut gets 30. The best is now 5, over y, and
//	3 ╲   ╱ 2          nothing in the hierarchy knows it: y was taken away.
//	    y
//
// It gives ways that exist, and not the shortest: shortcuts that the morning did not need
// are not there.
type frozen struct {
	g    *graph.Graph
	rank []uint32
	arcs []frozenArc // by the lower of their ends
	up   [][]uint32  // of each node, the arcs to higher nodes, and
	down [][]uint32  // those from higher nodes
	dist [2][]uint32
	seen []graph.NodeID
}

// A frozenArc is a road, or a shortcut with its halves.
type frozenArc struct {
	tail, head  graph.NodeID
	weight      uint32
	id          graph.ArcID
	first, then int32 // arcs, the halves of a shortcut
}

// freeze keeps the roads and shortcuts of a hierarchy.
func freeze(h *graph.Hierarchy, weights []uint32) (*frozen, error) {
	g := h.Graph()
	f := &frozen{g: g, rank: make([]uint32, g.Nodes()), up: make([][]uint32, g.Nodes()), down: make([][]uint32, g.Nodes())}
	for u := range f.rank {
		f.rank[u] = uint32(h.Rank(graph.NodeID(u)))
		for side := range f.dist {
			f.dist[side] = append(f.dist[side], graph.Inf)
		}
	}
	for a := range graph.ArcID(g.Arcs()) {
		f.arcs = append(f.arcs, frozenArc{g.Tail(a), g.Head(a), weights[a], a, isRoad, isRoad})
	}
	for o := range h.Overlay(0) {
		if o.Shortcut {
			f.arcs = append(f.arcs, frozenArc{o.Tail, o.Head, o.Weight, 0, unknown, unknown})
		}
	}
	// From the lowest up: the halves of a shortcut meet at a node below both its ends.
	lower := func(a *frozenArc) uint32 { return min(f.rank[a.tail], f.rank[a.head]) }
	slices.SortStableFunc(f.arcs, func(a, b frozenArc) int { return cmp.Compare(lower(&a), lower(&b)) })
	missing := map[[2]graph.NodeID]uint32{}
	for i := range f.arcs {
		a := &f.arcs[i]
		if a.first == unknown {
			missing[[2]graph.NodeID{a.tail, a.head}] = uint32(i)
		}
		if f.rank[a.tail] < f.rank[a.head] {
			f.up[a.tail] = append(f.up[a.tail], uint32(i))
		} else if f.rank[a.tail] > f.rank[a.head] {
			f.down[a.head] = append(f.down[a.head], uint32(i))
		}
	}
	for x := range f.up {
		for _, in := range f.down[x] {
			for _, out := range f.up[x] {
				ends := [2]graph.NodeID{f.arcs[in].tail, f.arcs[out].head}
				i, ok := missing[ends]
				if ok && f.arcs[in].weight+f.arcs[out].weight == f.arcs[i].weight {
					f.arcs[i].first, f.arcs[i].then = int32(in), int32(out)
					delete(missing, ends)
				}
			}
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%d shortcuts have no halves", len(missing))
	}
	return f, nil
}

const (
	isRoad  = -1
	unknown = -2
)

// patch gives roads their new weights and shortcuts the new sums of their halves. It
// returns how many shortcuts got another weight.
func (f *frozen) patch(weights func(graph.ArcID) uint32) (shortcuts int) {
	for i := range f.arcs {
		a := &f.arcs[i]
		if a.first == isRoad {
			a.weight = weights(a.id)
			continue
		}
		w := min(f.arcs[a.first].weight+f.arcs[a.then].weight, graph.Inf)
		if w != a.weight {
			shortcuts++
		}
		a.weight = w
	}
	return shortcuts
}

// distance climbs from both ends, as in any contraction hierarchy.
func (f *frozen) distance(s, t graph.NodeID) uint32 {
	for _, u := range f.seen {
		f.dist[0][u], f.dist[1][u] = graph.Inf, graph.Inf
	}
	f.seen = append(f.seen[:0], s, t)
	best := uint32(graph.Inf)
	for side, start := range [2]graph.NodeID{s, t} {
		f.dist[side][start] = 0
		queue := frontier{{0, start}}
		for len(queue) > 0 {
			at := heap.Pop(&queue).(reached)
			if at.dist > f.dist[side][at.node] {
				continue
			}
			if d := f.dist[0][at.node] + f.dist[1][at.node]; d < best {
				best = d
			}
			ladder := f.up
			if side == 1 {
				ladder = f.down
			}
			for _, i := range ladder[at.node] {
				a := &f.arcs[i]
				to := a.head
				if side == 1 {
					to = a.tail
				}
				if d := at.dist + a.weight; d < f.dist[side][to] {
					f.dist[side][to] = d
					f.seen = append(f.seen, to)
					heap.Push(&queue, reached{d, to})
				}
			}
		}
	}
	return best
}

// A reached is a node with a distance.
type reached struct {
	dist uint32
	node graph.NodeID
}

type frontier []reached

func (q frontier) Len() int           { return len(q) }
func (q frontier) Less(i, j int) bool { return q[i].dist < q[j].dist }
func (q frontier) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *frontier) Push(x any)        { *q = append(*q, x.(reached)) }
func (q *frontier) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

// lacking compares the shortcuts of two hierarchies of one order: how many the second has
// that the first does not.
func lacking(before, after *graph.Hierarchy) (missing int) {
	had := map[[2]graph.NodeID]bool{}
	for o := range before.Overlay(0) {
		had[[2]graph.NodeID{o.Tail, o.Head}] = true
	}
	for o := range after.Overlay(0) {
		if o.Shortcut && !had[[2]graph.NodeID{o.Tail, o.Head}] {
			missing++
		}
	}
	return missing
}
