package shard

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

// A Placement says which part each node belongs to. It does not change.
type Placement struct {
	parts int
	of    []uint16 // of each node
	runs  []Run
}

// A Run is consecutive cells along the curve that belong to one part.
type Run struct {
	First, Last geohash.Cell // of the cells
	Part        int
	Nodes       int
}

const maxParts = 1 << 12

// Place divides the nodes of a graph among parts by the geohash cells of their
// coordinates, of so many bits: a cell belongs to one part as a whole, and a part has
// cells that follow each other along the curve. 20 bits are cells of 39 by 20 km, and
// suit a country; a city takes 25 to 30. All parts have about the same number of nodes,
// as far as cells allow it. The error wraps [graph.ErrInvalid] if a node has no
// coordinates, or there are fewer cells than parts.
func Place(g *graph.Graph, parts, bits int) (*Placement, error) {
	if parts < 1 || parts > maxParts {
		return nil, fmt.Errorf("%w: %d parts, want 1 to %d", graph.ErrInvalid, parts, maxParts)
	}
	if g.Nodes() < parts {
		return nil, fmt.Errorf("%w: %d parts for %d nodes", graph.ErrInvalid, parts, g.Nodes())
	}
	cells := make([]geohash.Cell, g.Nodes())
	order := make([]graph.NodeID, g.Nodes())
	for u := range cells {
		lat, lon, ok := g.Coord(graph.NodeID(u))
		if !ok {
			return nil, fmt.Errorf("%w: node %d has no coordinates", graph.ErrInvalid, u)
		}
		c, err := geohash.CellAt(lat, lon, bits)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", graph.ErrInvalid, err)
		}
		cells[u], order[u] = c, graph.NodeID(u)
	}
	slices.SortFunc(order, func(a, b graph.NodeID) int { return cmp.Or(cmp.Compare(cells[a], cells[b]), cmp.Compare(a, b)) })
	p := &Placement{parts: parts, of: make([]uint16, g.Nodes())}
	distinct := 0
	for i, u := range order {
		if i == 0 || cells[u] != cells[order[i-1]] {
			distinct++
		}
	}
	if distinct < parts {
		return nil, fmt.Errorf("%w: %d parts for %d cells of %d bits", graph.ErrInvalid, parts, distinct, bits)
	}
	part, began := 0, 0
	for i, u := range order {
		if i > 0 && cells[u] != cells[order[i-1]] {
			// A new cell: to the next part if this one has its share of what is left, or
			// the cells that are left are needed for the parts that are.
			share := (len(order) - began + parts - part - 1) / (parts - part)
			if part+1 < parts && (i-began >= share || distinct <= parts-part-1) {
				p.runs[part].Nodes = i - began
				part, began = part+1, i
			}
		}
		if len(p.runs) == part {
			p.runs = append(p.runs, Run{First: cells[u], Part: part})
		}
		if i == 0 || cells[u] != cells[order[i-1]] {
			distinct--
		}
		p.runs[part].Last = cells[u]
		p.of[u] = uint16(part)
	}
	p.runs[part].Nodes = len(order) - began
	return p, nil
}

// Parts returns how many parts there are.
func (p *Placement) Parts() int { return p.parts }

// Part returns the part of a node. It panics if there is no such node.
func (p *Placement) Part(u graph.NodeID) int { return int(p.of[u]) }

// Runs returns the cells of each part.
func (p *Placement) Runs() []Run { return slices.Clone(p.runs) }
