package graph

import (
	"cmp"
	"fmt"
	"slices"
)

// A Turn says what it costs to go on from one arc to the next.
type Turn struct {
	From, To ArcID  // To leaves the node that From enters
	Cost     uint32 // in the unit of the weights; Inf forbids the turn
}

// SetTurn says that it costs so much to go on from arc in to arc out, beside their
// weights; [Inf] forbids it. Other turns cost nothing. Turns count in [Graph.Expand]
// only: [Dijkstra] and hierarchies of the graph itself do not know them. Arcs that do not
// meet, and a cost out of range, make [Builder.Build] fail. The last word on a turn holds.
func (b *Builder) SetTurn(in, out ArcID, cost uint32) {
	b.turns = append(b.turns, Turn{in, out, cost})
}

// OnlyTurn forbids all turns from arc in but the one to arc out, at the node where they
// meet. Arcs that are added later are not forbidden.
func (b *Builder) OnlyTurn(in, out ArcID) {
	if int64(in) < int64(len(b.head)) {
		for a, u := range b.tail {
			if u == b.head[in] && ArcID(a) != out {
				b.SetTurn(in, ArcID(a), Inf)
			}
		}
	}
	if int64(in) >= int64(len(b.head)) || int64(out) >= int64(len(b.tail)) || b.head[in] != b.tail[out] {
		b.SetTurn(in, out, 0) // which Build refuses
	}
}

// newTurns checks and sorts turns.
func newTurns(g *Graph, turns []Turn) ([]Turn, error) {
	turns = slices.Clone(turns)
	for _, t := range turns {
		switch {
		case int64(t.From) >= int64(g.Arcs()) || int64(t.To) >= int64(g.Arcs()):
			return nil, fmt.Errorf("%w: turn from arc %d to %d, of %d arcs, numbered from 0", ErrInvalid, t.From, t.To, g.Arcs())
		case g.head[t.From] != g.tail[t.To]:
			return nil, fmt.Errorf("%w: turn from arc %d, which enters %d, to arc %d, which leaves %d", ErrInvalid, t.From, g.head[t.From], t.To, g.tail[t.To])
		case t.Cost > Inf:
			return nil, fmt.Errorf("%w: turn from arc %d to %d costs %d, above %d", ErrInvalid, t.From, t.To, t.Cost, uint32(Inf))
		}
	}
	slices.SortStableFunc(turns, func(a, b Turn) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	kept := turns[:0]
	for i, t := range turns {
		if i+1 < len(turns) && turns[i+1].From == t.From && turns[i+1].To == t.To {
			continue
		}
		kept = append(kept, t)
	}
	return kept, nil
}

// Turns returns the turns that cost something or are forbidden, in the order of their
// arcs. The slice is the graph's own and must not be changed.
func (g *Graph) Turns() []Turn { return g.turns }
