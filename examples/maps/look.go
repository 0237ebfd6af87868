package main

import (
	"math"

	"github.com/ashlar-go/ashlar/graph"
)

// lookedAt returns the nodes that searches for a way of length d look at. Hierarchies tell
// theirs; for the others it follows from the distances of all nodes: Dijkstra's algorithm
// looks at what is nearer than the target, from both ends at what is nearer to either than
// half of the way, and A* at what may be on a way of that length by the straight line.
func lookedAt(n *network, weights []uint32, m *graph.Metric, h *graph.Hierarchy, s, t graph.NodeID, d uint32) []searched {
	list := []searched{{name: nameDijkstra}, {name: nameBoth}, {name: nameAStar}}
	from, err := m.All(nil, s)
	if err != nil {
		return nil
	}
	back, err := m.Targets(allNodes(n.g))
	if err != nil {
		return nil
	}
	to, err := back.To(nil, t)
	if err != nil {
		return nil
	}
	scale := math.Inf(1) // the least weight of a straight metre
	for a := range graph.ArcID(n.g.Arcs()) {
		if metres := n.straight(a); metres > 0 {
			scale = min(scale, float64(weights[a])/metres)
		}
	}
	for u := range graph.NodeID(n.g.Nodes()) {
		if from[u] < d {
			list[0].nodes = append(list[0].nodes, u)
		}
		if from[u] < d/2 || to[u] < d/2 {
			list[1].nodes = append(list[1].nodes, u)
		}
		if from[u] < d && float64(from[u])+scale*n.between(u, t) < float64(d) {
			list[2].nodes = append(list[2].nodes, u)
		}
	}
	q := m.NewQuery()
	if _, err := q.Distance(s, t); err != nil {
		return nil
	}
	x := searched{name: nameCustomizable, few: true}
	for u := range q.Visited {
		x.nodes = append(x.nodes, u)
	}
	list = append(list, x)
	if h == nil {
		return list
	}
	y := searched{name: nameClassic, few: true}
	hq := h.NewQuery()
	if _, err := hq.Distance(s, t); err != nil {
		return nil
	}
	for u := range hq.Visited {
		y.nodes = append(y.nodes, u)
	}
	return append(list, y)
}

const (
	nameDijkstra     = "Dijkstra"
	nameBoth         = "from both ends"
	nameAStar        = "A*"
	nameClassic      = "classic hierarchy"
	nameCustomizable = "customizable"
)

func allNodes(g *graph.Graph) []graph.NodeID {
	list := make([]graph.NodeID, g.Nodes())
	for u := range list {
		list[u] = graph.NodeID(u)
	}
	return list
}
