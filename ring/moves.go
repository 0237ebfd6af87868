package ring

import (
	"iter"
	"math"
)

// An Arc is the positions [From, To] of the circle, both included; From ≤ To.
type Arc struct{ From, To uint64 }

// Share returns the part of the circle that the arc is.
func (a Arc) Share() float64 { return (float64(a.To-a.From) + 1) / math.Exp2(64) }

// Contains tells whether a key's position is in the arc.
func (a Arc) Contains(h uint64) bool { return a.From <= h && h <= a.To }

// A Move is an arc that changes hands. From or To is "" where a ring has no nodes.
type Move struct {
	Arc
	Old, New string
}

// arcs yields the arcs of the circle and their owners, in order from 0; -1 stands
// for nobody.
func (s *state) arcs() iter.Seq2[Arc, int] {
	return func(yield func(Arc, int) bool) {
		if len(s.at) == 0 {
			yield(Arc{0, math.MaxUint64}, -1)
			return
		}
		from := uint64(0)
		for i, at := range s.at {
			if i > 0 && at == s.at[i-1] {
				continue // a point that another node's hides
			}
			if !yield(Arc{from, at}, int(s.owner[i])) || at == math.MaxUint64 {
				return
			}
			from = at + 1
		}
		yield(Arc{from, math.MaxUint64}, int(s.owner[0]))
	}
}

func (s *state) name(i int) string {
	if i < 0 {
		return ""
	}
	return s.nodes[i].name
}

// Shares returns the exact part of all positions that each node owns. The parts
// add up to 1.
func (r *Ring) Shares() map[string]float64 {
	s := r.state.Load()
	shares := make(map[string]float64, len(s.nodes))
	for a, o := range s.arcs() {
		if o >= 0 {
			shares[s.nodes[o].name] += a.Share()
		}
	}
	return shares
}

// Moves yields the arcs whose owner differs between an old ring and this one, in
// the order of the circle: what has to be moved to come from one to the other.
// Neighbouring arcs that move between the same nodes come as one.
func (r *Ring) Moves(old *Ring) iter.Seq[Move] {
	was, is := old.state.Load(), r.state.Load()
	return func(yield func(Move) bool) {
		next, stop := iter.Pull2(was.arcs())
		defer stop()
		oldArc, oldOwner, _ := next()
		var run Move // what was found and not yet yielded
		open := false
		for arc, owner := range is.arcs() {
			for from := arc.From; ; {
				to := min(arc.To, oldArc.To)
				m := Move{Arc{from, to}, was.name(oldOwner), is.name(owner)}
				switch {
				case open && run.Old == m.Old && run.New == m.New && run.To+1 == m.Arc.From:
					run.To = to
				case m.Old != m.New:
					if open && !yield(run) {
						return
					}
					run, open = m, true
				}
				if oldArc.To == to && to != math.MaxUint64 {
					oldArc, oldOwner, _ = next()
				}
				if to == arc.To {
					break
				}
				from = to + 1
			}
		}
		if open {
			yield(run)
		}
	}
}

// Moved returns the part of all positions whose owner differs between an old ring
// and this one.
func (r *Ring) Moved(old *Ring) float64 {
	sum := 0.0
	for m := range r.Moves(old) {
		sum += m.Share()
	}
	return sum
}
