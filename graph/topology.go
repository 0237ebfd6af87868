package graph

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"sync"
)

// A Topology is a customizable contraction hierarchy of a graph (Dibbelt, Strasser and
// Wagner, 2016): the order of its nodes and the shortcuts of that order, whatever the
// weights. It is made by [Dissect] or read from a file, does not change and is safe for
// concurrent use by multiple goroutines.
type Topology struct {
	g       *Graph
	workers int

	// A node is called by its rank here: its place in the order, which is a post-order
	// of the elimination tree, so that a subtree is a range that ends with its root.
	rank  []uint32 // of each node of g
	order []uint32 // the node of g of each rank
	nodes []place
	lo    []uint32 // the lowest rank in the subtree of each rank

	// Arcs of the hierarchy lead up, from a node to those of higher rank. Those of one
	// node stand together, the nearest first, and never on two pages (see pageBits).
	head     []uint32 // by rank
	depth    []uint32 // of the head
	lowFirst []uint32
	low      []lower // the arcs that lead up to a node, by their tails

	// Where the arcs of g went.
	slot    []uint32 // of each arc of g: its arc here and a bit, 1 if it leads down; none for loops
	inFirst []uint32
	in      []input // by the rank of the lower end, then by slot

	arcs        int // in use; head is longer
	triangles   int
	height      int
	pageBits    uint
	maxDegree   int
	fingerprint uint64
	once        sync.Once
	updates     updates
	unmap       func() error
}

// A place is what a query needs of a node.
type place struct {
	first, end uint32 // its arcs
	parent     uint32 // in the elimination tree: the lowest of its heads, or none
	depth      uint32 // how many nodes are above it in the tree
}

// A lower is an arc seen from its head, and where the arcs of its tail end: the arcs
// between lead from the tail to nodes above the head.
type lower struct{ arc, end uint32 }

// An input is an arc of the graph seen from the arc of the hierarchy that stands for it.
type input struct{ slot, arc uint32 }

// Stats says how large a hierarchy is.
type Stats struct {
	Nodes     int
	Arcs      int     // of the hierarchy, each for both directions
	Triangles int     // that a customization looks at
	Height    int     // of the elimination tree: the most nodes a query visits on one side
	MeanDepth float64 // how many nodes it visits on average
	MaxDegree int     // the most arcs that lead up from a node
}

// Stats counts, in time proportional to the number of nodes.
func (t *Topology) Stats() Stats {
	s := Stats{Nodes: len(t.nodes), Arcs: t.arcs, Triangles: t.triangles, Height: t.height, MaxDegree: t.maxDegree}
	sum := 0
	for i := range t.nodes {
		sum += int(t.nodes[i].depth) + 1
	}
	if s.Nodes > 0 {
		s.MeanDepth = float64(sum) / float64(s.Nodes)
	}
	return s
}

// Graph returns the graph of the hierarchy.
func (t *Topology) Graph() *Graph { return t.g }

// Order returns the nodes, the least important first: [Options.Order] makes the same
// hierarchy of it.
func (t *Topology) Order() []NodeID { return slices.Clone(t.order) }

// Rank returns the place of node u in the order, 0 ≤ rank < nodes: how important the node
// is. It panics if there is no such node.
func (t *Topology) Rank(u NodeID) int { return int(t.rank[u]) }

// newTopology finds the shortcuts of an order: when nodes are removed from the lowest on,
// the higher neighbours of each become neighbours of each other.
func newTopology(ctx context.Context, g *Graph, order []NodeID, o Options) (*Topology, error) {
	n := g.Nodes()
	t := &Topology{g: g, workers: o.Workers, rank: make([]uint32, n), order: make([]uint32, n), nodes: make([]place, n), lo: make([]uint32, n)}
	for i, u := range order {
		t.rank[u] = uint32(i)
	}
	t.postorder(order)
	first, heads, err := t.eliminate(ctx, o.MaxArcs)
	if err != nil {
		return nil, err
	}
	t.lay(first, heads)
	t.place()
	return t, nil
}

// postorder finds the elimination tree of the order (Liu, 1990) and makes ranks a
// post-order of it, which has the same shortcuts.
func (t *Topology) postorder(order []NodeID) {
	n := len(order)
	parent, jump := make([]uint32, n), make([]uint32, n)
	for r := range parent {
		parent[r], jump[r] = none, none
	}
	climb := func(v, r uint32) {
		for v < r {
			up := jump[v]
			if up == r {
				return
			}
			jump[v] = r
			if up == none {
				parent[v] = r
				return
			}
			v = up
		}
	}
	for r, u := range order {
		for _, a := range t.g.Out(u) {
			climb(t.rank[t.g.head[a]], uint32(r))
		}
		for _, a := range t.g.In(u) {
			climb(t.rank[t.g.tail[a]], uint32(r))
		}
	}
	size := make([]uint32, n)
	for r := range size {
		size[r]++
		if p := parent[r]; p != none {
			size[p] += size[r]
		}
	}
	// From the roots down; each subtree ends where the next begins.
	end := jump // of what is left for the children
	place := make([]uint32, n)
	whole := uint32(n)
	for r := n - 1; r >= 0; r-- {
		hi := &whole
		if p := parent[r]; p != none {
			hi = &end[p]
		}
		place[r] = *hi - 1
		end[r] = *hi - 1
		*hi -= size[r]
		t.lo[place[r]] = *hi
	}
	for r, u := range order {
		t.rank[u], t.order[place[r]] = place[r], u
	}
	for r, p := range parent {
		q := uint32(none)
		if p != none {
			q = place[p]
		}
		t.nodes[place[r]].parent = q
	}
}

// eliminate returns the heads of the arcs that lead up from each rank, in no order: those
// of the graph and those of the children in the tree.
func (t *Topology) eliminate(ctx context.Context, limit int) (first, heads []uint32, err error) {
	n := len(t.nodes)
	first = make([]uint32, n+1)
	heads = make([]uint32, 0, 2*t.g.Arcs())
	seen := make([]uint32, n)
	child, sibling := make([]uint32, n), make([]uint32, n)
	for r := range seen {
		seen[r], child[r], sibling[r] = none, none, none
	}
	for r := range uint32(n) {
		if r%4096 == 0 && ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		seen[r] = r
		u := t.order[r]
		for _, a := range t.g.Out(u) {
			if v := t.rank[t.g.head[a]]; v > r && seen[v] != r {
				seen[v] = r
				heads = append(heads, v)
			}
		}
		for _, a := range t.g.In(u) {
			if v := t.rank[t.g.tail[a]]; v > r && seen[v] != r {
				seen[v] = r
				heads = append(heads, v)
			}
		}
		for c := child[r]; c != none; c = sibling[c] {
			for _, v := range heads[first[c]:first[c+1]] {
				if seen[v] != r {
					seen[v] = r
					heads = append(heads, v)
				}
			}
		}
		first[r+1] = uint32(len(heads))
		if len(heads) > limit {
			return nil, nil, fmt.Errorf("%w: more than %d arcs", ErrTooDense, limit)
		}
		if p := t.nodes[r].parent; p != none {
			sibling[r], child[p] = child[p], r
		}
	}
	return first, heads, nil
}

// lay sorts the arcs and gives them their places on pages.
func (t *Topology) lay(first, heads []uint32) {
	n := len(t.nodes)
	t.arcs = len(heads)
	for r := range n {
		t.maxDegree = max(t.maxDegree, int(first[r+1]-first[r]))
	}
	t.pageBits = pageBits(t.arcs, t.maxDegree)
	at := uint32(0)
	for r := range n {
		d := first[r+1] - first[r]
		t.triangles += triangles(d)
		at = align(at, d, t.pageBits)
		t.nodes[r].first, t.nodes[r].end = at, at
		at += d
	}
	t.head, t.depth = make([]uint32, at), make([]uint32, at)
	// Sorted by their heads, arcs come to their tails in the order of the heads.
	t.lowFirst, t.low = make([]uint32, n+1), make([]lower, len(heads))
	for _, v := range heads {
		t.lowFirst[v+1]++
	}
	for r := range n {
		t.lowFirst[r+1] += t.lowFirst[r]
	}
	to := slices.Clone(t.lowFirst)
	for r := range n {
		for _, v := range heads[first[r]:first[r+1]] {
			t.low[to[v]].arc = uint32(r) // for now
			to[v]++
		}
	}
	for r := range n {
		for i := t.lowFirst[r]; i < t.lowFirst[r+1]; i++ {
			l := &t.low[i]
			p := &t.nodes[l.arc]
			*l = lower{p.end, p.first + first[l.arc+1] - first[l.arc]}
			t.head[p.end] = uint32(r)
			p.end++
		}
	}
	for r := n - 1; r >= 0; r-- {
		p := &t.nodes[r]
		if p.parent != none {
			p.depth = t.nodes[p.parent].depth + 1
		}
		t.height = max(t.height, int(p.depth)+1)
		for e := p.first; e < p.end; e++ {
			t.depth[e] = t.nodes[t.head[e]].depth
		}
	}
}

// triangles returns how many pairs of d arcs there are.
func triangles(d uint32) int { return int(uint64(d) * uint64(max(d, 1)-1) / 2) }

// pageBits returns the binary logarithm of how many arcs a page holds: those of any node,
// and enough that there are not many pages.
func pageBits(arcs, maxDegree int) uint {
	return uint(max(9, bits.Len(uint(max(0, maxDegree-1))), bits.Len(uint(arcs>>14))))
}

// align returns the first place from at on where d arcs stand on one page.
func align(at, d uint32, pageBits uint) uint32 {
	if d > 0 && at>>pageBits != (at+d-1)>>pageBits {
		at = (at>>pageBits + 1) << pageBits
	}
	return at
}

// place finds the slots of the graph's arcs.
func (t *Topology) place() {
	n := len(t.nodes)
	g := t.g
	t.slot = make([]uint32, g.Arcs())
	t.inFirst = make([]uint32, n+1)
	for a := range t.slot {
		u, v := t.rank[g.tail[a]], t.rank[g.head[a]]
		t.slot[a] = none
		if u == v {
			continue
		}
		down := uint32(0)
		if u > v {
			u, v, down = v, u, 1
		}
		t.slot[a] = t.find(u, v)<<1 | down
		t.inFirst[u+1]++
	}
	for r := range n {
		t.inFirst[r+1] += t.inFirst[r]
	}
	t.in = make([]input, t.inFirst[n])
	to := slices.Clone(t.inFirst)
	for a, s := range t.slot {
		if s == none {
			continue
		}
		r := min(t.rank[g.tail[a]], t.rank[g.head[a]])
		t.in[to[r]] = input{s, uint32(a)}
		to[r]++
	}
	for r := range n {
		slices.SortFunc(t.in[t.inFirst[r]:t.inFirst[r+1]], func(a, b input) int {
			return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.arc, b.arc))
		})
	}
}

// find returns the arc from rank u up to v, or none.
func (t *Topology) find(u, v uint32) uint32 {
	p := &t.nodes[u]
	i, ok := slices.BinarySearch(t.head[p.first:p.end], v)
	if !ok {
		return none
	}
	return p.first + uint32(i)
}
