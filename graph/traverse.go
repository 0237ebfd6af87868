package graph

import (
	"errors"
	"fmt"
	"iter"
)

// ErrCycle is wrapped by a [CycleError].
var ErrCycle = errors.New("graph: cycle")

// A CycleError tells why there is no topological order.
type CycleError struct {
	Arcs []ArcID // the head of each is the tail of the next, and that of the last of the first
}

// Error tells the length of the cycle and its first arc.
func (e *CycleError) Error() string {
	return fmt.Sprintf("graph: a cycle of %d arcs, one of them is arc %d", len(e.Arcs), e.Arcs[0])
}

// Unwrap returns [ErrCycle].
func (e *CycleError) Unwrap() error { return ErrCycle }

// BreadthFirst returns an iterator over the nodes that can be reached from some, each
// once, with the least number of arcs from there; the near ones first, those of one
// distance in the order of the arcs. It panics if there is no such node. It takes a bit
// for each node of the graph.
func (g *Graph) BreadthFirst(from ...NodeID) iter.Seq2[NodeID, int] {
	return func(yield func(NodeID, int) bool) {
		seen := make(bitset, (g.Nodes()+63)/64)
		var ring, next []NodeID
		add := func(u NodeID) {
			if !seen.has(int(u)) {
				seen.set(int(u))
				next = append(next, u)
			}
		}
		for _, u := range from {
			_ = g.first[u+1]
			add(u)
		}
		for hops := 0; len(next) > 0; hops++ {
			ring, next = next, ring[:0]
			for _, u := range ring {
				if !yield(u, hops) {
					return
				}
				for _, a := range g.Out(u) {
					add(g.head[a])
				}
			}
		}
	}
}

// DepthFirst returns an iterator over the same nodes, each once, with the number of arcs
// by which the walk came there: a node's heads follow it, in the order of the arcs, each
// with all that is first reached through it. That is how a thread of comments is read.
func (g *Graph) DepthFirst(from ...NodeID) iter.Seq2[NodeID, int] {
	return func(yield func(NodeID, int) bool) {
		seen := make(bitset, (g.Nodes()+63)/64)
		type frame struct {
			node NodeID
			next int // arc
		}
		var stack []frame
		for _, s := range from {
			_ = g.first[s+1]
			if seen.has(int(s)) {
				continue
			}
			seen.set(int(s))
			if !yield(s, 0) {
				return
			}
			stack = append(stack[:0], frame{s, 0})
			for len(stack) > 0 {
				top := &stack[len(stack)-1]
				out := g.Out(top.node)
				if top.next == len(out) {
					stack = stack[:len(stack)-1]
					continue
				}
				v := g.head[out[top.next]]
				top.next++
				if seen.has(int(v)) {
					continue
				}
				seen.set(int(v))
				if !yield(v, len(stack)) {
					return
				}
				stack = append(stack, frame{v, 0})
			}
		}
	}
}

// TopologicalOrder returns the nodes so that each arc leads from an earlier to a later
// one: what others depend on comes first if arcs lead from it (Kahn, 1962). If a cycle
// prevents that, the error is a [CycleError] with the arcs of one. It takes time
// proportional to nodes and arcs.
func (g *Graph) TopologicalOrder() ([]NodeID, error) {
	n := g.Nodes()
	order, missing := make([]NodeID, 0, n), make([]uint32, n)
	for u := range n {
		missing[u] = uint32(len(g.In(NodeID(u))))
		if missing[u] == 0 {
			order = append(order, NodeID(u))
		}
	}
	for i := 0; i < len(order); i++ {
		for _, a := range g.Out(order[i]) {
			v := g.head[a]
			if missing[v]--; missing[v] == 0 {
				order = append(order, v)
			}
		}
	}
	if len(order) == n {
		return order, nil
	}
	// Whoever is left waits for one that is left: going back, a node comes again.
	var u NodeID
	for missing[u] == 0 {
		u++
	}
	place, back := map[NodeID]int{}, []ArcID(nil)
	for {
		if from, again := place[u]; again {
			back = back[from:]
			reverse(back)
			return nil, &CycleError{back}
		}
		place[u] = len(back)
		for _, a := range g.In(u) {
			if missing[g.tail[a]] > 0 {
				back = append(back, a)
				u = g.tail[a]
				break
			}
		}
	}
}

// Components returns for each node the number of its strongly connected component, and
// how many there are: nodes have the same number if there is a way from each to each
// other (Tarjan, 1972). An arc never leads to a component of a higher number. It takes
// time proportional to nodes and arcs, and does not recurse.
func (g *Graph) Components() (component []uint32, count int) {
	n := g.Nodes()
	component = make([]uint32, n)
	index, low := make([]uint32, n), make([]uint32, n) // index 0: not seen
	type frame struct {
		node NodeID
		next int
	}
	var calls []frame
	var open []NodeID
	clock := uint32(0)
	enter := func(u NodeID) {
		clock++
		index[u], low[u], component[u] = clock, clock, none
		open = append(open, u)
		calls = append(calls, frame{u, 0})
	}
	for s := range n {
		if index[s] > 0 {
			continue
		}
		enter(NodeID(s))
		for len(calls) > 0 {
			top := &calls[len(calls)-1]
			u := top.node
			if out := g.Out(u); top.next < len(out) {
				v := g.head[out[top.next]]
				top.next++
				if index[v] == 0 {
					enter(v)
				} else if component[v] == none {
					low[u] = min(low[u], index[v])
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				up := calls[len(calls)-1].node
				low[up] = min(low[up], low[u])
			}
			if low[u] != index[u] {
				continue
			}
			for {
				v := open[len(open)-1]
				open = open[:len(open)-1]
				component[v] = uint32(count)
				if v == u {
					break
				}
			}
			count++
		}
	}
	return component, count
}
