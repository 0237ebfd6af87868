package main

import (
	"slices"

	"github.com/ashlar-go/ashlar/graph"
)

// A plain is the hierarchy of graph.Topology in its plainest form: all shortcuts that the
// order of the nodes asks for, whatever the weights, and the weight of each found from the
// lowest up. The package does the same with less memory, in a fraction of the time, and
// again only where something changed. This one is to read, and to count how many
// shortcuts a jam concerns.
type plain struct {
	g    *graph.Graph
	rank []uint32
	up   [][]uint32    // of each rank, the higher ranks that it has an arc to or from, rising
	cost [][][2]uint32 // of each of these: to it, and from it
	road [][][2]bool   // whether a road leads to it, and from it
}

func newPlain(t *graph.Topology) *plain {
	g := t.Graph()
	p := &plain{g: g, rank: make([]uint32, g.Nodes()), up: make([][]uint32, g.Nodes())}
	for r, u := range t.Order() {
		p.rank[u] = uint32(r)
	}
	for a := range graph.ArcID(g.Arcs()) {
		if low, high := p.ends(a); low != high {
			p.up[low] = append(p.up[low], high)
		}
	}
	for r := range p.up {
		slices.Sort(p.up[r])
		p.up[r] = slices.Compact(p.up[r])
		// When r is taken away its neighbours are joined. To hand them to the lowest of
		// them is enough: when that goes, it joins them with the next.
		if len(p.up[r]) > 1 {
			next := p.up[r][0]
			p.up[next] = append(p.up[next], p.up[r][1:]...)
		}
	}
	for _, up := range p.up {
		p.cost = append(p.cost, make([][2]uint32, len(up)))
		p.road = append(p.road, make([][2]bool, len(up)))
	}
	for a := range graph.ArcID(g.Arcs()) {
		if r, i, side, ok := p.find(a); ok {
			p.road[r][i][side] = true
		}
	}
	return p
}

// ends returns the ranks of an arc's ends.
func (p *plain) ends(a graph.ArcID) (low, high uint32) {
	x, y := p.rank[p.g.Tail(a)], p.rank[p.g.Head(a)]
	return min(x, y), max(x, y)
}

// find returns where an arc of the graph is: side 1 leads down.
func (p *plain) find(a graph.ArcID) (r uint32, i, side int, ok bool) {
	low, high := p.ends(a)
	i, ok = slices.BinarySearch(p.up[low], high)
	if p.rank[p.g.Tail(a)] == high {
		side = 1
	}
	return low, i, side, ok
}

// customize finds all weights, and returns how many shortcuts have another one than
// before; each direction counts. A shortcut is an arc that is not a road itself.
func (p *plain) customize(weights func(graph.ArcID) uint32) (changed int) {
	before := p.cost
	p.cost = make([][][2]uint32, len(before))
	for r := range p.cost {
		p.cost[r] = make([][2]uint32, len(p.up[r]))
		for i := range p.cost[r] {
			p.cost[r][i] = [2]uint32{graph.Inf, graph.Inf}
		}
	}
	for a := range graph.ArcID(p.g.Arcs()) {
		if r, i, side, ok := p.find(a); ok {
			p.cost[r][i][side] = min(p.cost[r][i][side], weights(a))
		}
	}
	for r, up := range p.up {
		for i, x := range up {
			for j := i + 1; j < len(up); j++ {
				at, _ := slices.BinarySearch(p.up[x], up[j]) // they were joined
				over, c := &p.cost[x][at], p.cost[r]
				over[0] = min(over[0], c[i][1]+c[j][0]) // x down to r, and up to the other
				over[1] = min(over[1], c[j][1]+c[i][0])
			}
		}
	}
	for r := range p.cost {
		for i := range p.cost[r] {
			for side := range 2 {
				if p.cost[r][i][side] != before[r][i][side] && !p.road[r][i][side] {
					changed++
				}
			}
		}
	}
	return changed
}

// shortcuts counts them, each direction.
func (p *plain) shortcuts() (n int) {
	for r := range p.road {
		for _, road := range p.road[r] {
			for _, is := range road {
				if !is {
					n++
				}
			}
		}
	}
	return n
}

// distance goes up from both ends. All ways lead along one line from each: the next node
// is always the lowest that the last one has an arc to.
func (p *plain) distance(s, t graph.NodeID) uint32 {
	best, dist := uint32(graph.Inf), [2]map[uint32]uint32{}
	for side, start := range [2]uint32{p.rank[s], p.rank[t]} {
		d := map[uint32]uint32{start: 0}
		for r := start; ; r = p.up[r][0] {
			from, ok := d[r]
			if !ok {
				from = graph.Inf
			}
			for i, x := range p.up[r] {
				w := min(from+p.cost[r][i][side], graph.Inf)
				if old, ok := d[x]; !ok || w < old {
					d[x] = w
				}
			}
			if len(p.up[r]) == 0 {
				break
			}
		}
		dist[side] = d
	}
	for r, d := range dist[0] {
		if e, ok := dist[1][r]; ok {
			best = min(best, d+e)
		}
	}
	return best
}
