package graph

import (
	"cmp"
	"fmt"
	"slices"
)

// An Access is a node and what it costs from a start to get there, or from there to the
// target.
type Access struct {
	Node NodeID
	Cost uint32
}

// DistanceFrom returns the length of the shortest of all paths that begin at one of the
// starts and end at one of the targets, what these cost included, or [Inf] if there is
// none: for a house between two crossings, or a station with several entrances. It visits
// what one question for each of them would visit, but each node once. [Query.AppendPath]
// gives the path without the parts that the costs stand for.
func (q *Query) DistanceFrom(starts, targets []Access) (uint32, error) {
	q.forget()
	t := q.m.t
	for i, list := range [2][]Access{starts, targets} {
		c := &q.cursor[i]
		c.list = c.list[:0]
		for _, a := range list {
			if err := t.g.checkNode("node", a.Node); err != nil {
				return Inf, err
			}
			if a.Cost > Inf {
				return Inf, fmt.Errorf("%w: access to node %d costs %d, above %d", ErrInvalid, a.Node, a.Cost, uint32(Inf))
			}
			c.list = append(c.list, Access{t.rank[a.Node], a.Cost})
		}
		slices.SortFunc(c.list, func(a, b Access) int { return cmp.Compare(a.Node, b.Node) })
	}
	q.many = true
	up, down := &q.cursor[0], &q.cursor[1]
	x, y := up.begin(t, q.up), down.begin(t, q.down)
	best := uint32(Inf)
	for x != none || y != none {
		q.settled++
		switch {
		case x < y:
			if y != none || q.up[t.nodes[x].depth].dist() < best {
				q.relaxUp(&t.nodes[x])
			}
			x = up.next(t, q.up)
		case y < x:
			q.relaxDown(&t.nodes[y])
			y = down.next(t, q.down)
		default:
			p := &t.nodes[x]
			u, d := q.up[p.depth].dist(), q.down[p.depth].dist()
			if s := u + d; s < best {
				best, q.meet, q.middle = s, [2]Access{{x, u}, {x, d}}, p.depth
			}
			if u < best {
				q.relaxUp(p)
			}
			if d < best {
				q.relaxDown(p)
			}
			x, y = up.next(t, q.up), down.next(t, q.down)
		}
	}
	q.best = best
	return best, nil
}

// A cursor visits all that is above some nodes in the elimination tree, in the order of
// the ranks. Since that is a post-order, labels by depth are always those of the nodes
// above the one that is visited.
type cursor struct {
	list []Access // ranks, sorted
	i    int      // the first of the list that is still to come
	at   uint32
}

func (c *cursor) begin(t *Topology, label []label64) uint32 {
	c.i, c.at = 0, none
	return c.next(t, label)
}

func (c *cursor) next(t *Topology, label []label64) uint32 {
	parent := uint32(none)
	if c.at != none {
		parent = t.nodes[c.at].parent
	}
	if c.i == len(c.list) || c.list[c.i].Node > parent {
		c.at = parent
		return c.at
	}
	r := c.list[c.i].Node
	p := &t.nodes[r]
	if r != parent {
		// A branch that meets the others at parent: what is there now is of those.
		from := 0
		if parent != none {
			from = int(t.nodes[parent].depth) + 1
		}
		for i := range label[from : p.depth+1] {
			label[from+i] = farAway
		}
	}
	for ; c.i < len(c.list) && c.list[c.i].Node == r; c.i++ {
		l := &label[p.depth]
		*l = min(*l, label64(c.list[c.i].Cost)<<32|label64(p.depth))
	}
	c.at = r
	return r
}

// settle makes a question with several ends one with two: those of the path.
func (q *Query) settle() {
	t := q.m.t
	q.many = false
	for _, a := range q.cursor[0].list {
		if q.s = a.Node; q.reaches(q.up, q.meet[0], a, (*Query).relaxUp) {
			break
		}
	}
	for _, a := range q.cursor[1].list {
		if q.t = a.Node; q.reaches(q.down, q.meet[1], a, (*Query).relaxDown) {
			break
		}
	}
	q.middle = t.nodes[q.meet[0].Node].depth
}

// reaches tells whether the way from a to the meeting node is as long as it should be.
func (q *Query) reaches(label []label64, meet, a Access, relax func(*Query, *place)) bool {
	t := q.m.t
	if !t.above(meet.Node, a.Node) {
		return false
	}
	p := &t.nodes[a.Node]
	for i := range label[:p.depth+1] {
		label[i] = farAway
	}
	label[p.depth] = label64(a.Cost)<<32 | label64(p.depth)
	end := t.nodes[meet.Node].depth
	for p.depth > end {
		relax(q, p)
		p = &t.nodes[p.parent]
	}
	return label[end].dist() == meet.Cost
}
