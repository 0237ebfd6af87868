package graph

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/internal/minheap"
)

// ErrNotFound is returned by a [Locator] where there is nothing to find.
var ErrNotFound = errors.New("graph: nothing found")

// A Locator finds the node or the arc that is nearest to a place. It does not change and
// is safe for concurrent use by multiple goroutines.
//
// Distances are those on a sphere, so that poles and the antimeridian are places like any
// other; an arc is the shortest line between its ends. Nodes and arcs stand in two trees
// of boxes in space, packed along the curve of geohashes (a packed R-tree: Kamel and
// Faloutsos, 1993), which a search opens the nearest first.
type Locator struct {
	g     *Graph
	at    []vec // of each node
	nodes boxes
	arcs  boxes
	pool  sync.Pool // of *queue
}

// boxFan is how many boxes, or things, a box has in it.
const boxFan = 16

// boxes is a tree of boxes, packed: level 0 has a box around each boxFan things, and each
// other level around as many boxes of the one below.
type boxes struct {
	things []uint32
	levels [][]box
}

type box struct{ low, high [3]float32 }

// NewLocator returns a locator for the nodes of g that have coordinates, and the arcs
// whose ends both have. It wraps [ErrInvalid] in its error if there are none. It takes
// some 30 bytes for a node and 6 for an arc, and half a second for a million arcs.
func NewLocator(g *Graph) (*Locator, error) {
	l := &Locator{g: g, at: make([]vec, g.Nodes())}
	var nodes, arcs []uint32
	known := func(u uint32) bool { return len(g.lat) > 0 && g.lat[u] != noCoord }
	for u := range l.at {
		if known(uint32(u)) {
			l.at[u] = g.vector(uint32(u))
			nodes = append(nodes, uint32(u))
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: to locate needs coordinates, and no node has any", ErrInvalid)
	}
	for a := range g.tail {
		if known(g.tail[a]) && known(g.head[a]) {
			arcs = append(arcs, uint32(a))
		}
	}
	cells := make([]geohash.Cell, g.Nodes())
	for _, u := range nodes {
		lat, lon, _ := g.Coord(u)
		c, err := geohash.CellAt(lat, lon, geohash.MaxBits)
		if err != nil {
			return nil, fmt.Errorf("%w: node %d: %w", ErrInvalid, u, err)
		}
		cells[u] = c
	}
	slices.SortFunc(nodes, func(x, y uint32) int { return cmp.Or(cmp.Compare(cells[x], cells[y]), cmp.Compare(x, y)) })
	// An arc stands where its lower end does, so that both directions of a road are
	// together.
	cellOf := func(a uint32) geohash.Cell { return min(cells[g.tail[a]], cells[g.head[a]]) }
	slices.SortFunc(arcs, func(x, y uint32) int { return cmp.Or(cmp.Compare(cellOf(x), cellOf(y)), cmp.Compare(x, y)) })
	l.nodes.pack(nodes, func(u uint32) box { return boxAround(0, l.at[u]) })
	l.arcs.pack(arcs, func(a uint32) box {
		p, q := l.at[g.tail[a]], l.at[g.head[a]]
		half := p.sub(q).norm() / 2
		// The line bulges out of the chord.
		return boxAround(1-math.Sqrt(max(0, 1-half*half)), p, q)
	})
	return l, nil
}

// boxAround returns a box with room around the points, and for rounding.
func boxAround(room float64, points ...vec) box {
	inf := float32(math.Inf(1))
	b := box{[3]float32{inf, inf, inf}, [3]float32{-inf, -inf, -inf}}
	room += 2e-7
	for _, p := range points {
		for i, x := range [3]float64{p.x, p.y, p.z} {
			b.low[i] = min(b.low[i], float32(x-room))
			b.high[i] = max(b.high[i], float32(x+room))
		}
	}
	return b
}

func (t *boxes) pack(things []uint32, around func(uint32) box) {
	t.things = things
	join := func(a, b box) box {
		for i := range a.low {
			a.low[i], a.high[i] = min(a.low[i], b.low[i]), max(a.high[i], b.high[i])
		}
		return a
	}
	var level []box
	for i, x := range things {
		if b := around(x); i%boxFan == 0 {
			level = append(level, b)
		} else {
			level[len(level)-1] = join(level[len(level)-1], b)
		}
	}
	t.levels = append(t.levels, level)
	for len(level) > 1 {
		var next []box
		for i, b := range level {
			if i%boxFan == 0 {
				next = append(next, b)
			} else {
				next[len(next)-1] = join(next[len(next)-1], b)
			}
		}
		t.levels = append(t.levels, next)
		level = next
	}
}

// squared returns the square of the least distance of a point to the box.
func (b *box) squared(p *[3]float64) float64 {
	sum := 0.0
	for i := range b.low {
		d := max(float64(b.low[i])-p[i], p[i]-float64(b.high[i]), 0)
		sum += d * d
	}
	return sum
}

// A queue holds the boxes that a search may look into, by the squares of their distances.
type queue = minheap.Heap[float64, openBox]

type openBox struct{ level, index int32 }

// Node returns the node nearest to a place in degrees, and how many metres it is away. Of
// several it is the lowest. Keep says which nodes count; nil is all. It wraps [ErrInvalid]
// in its error for a place out of range, and [ErrNotFound] if no node counts. Near the
// network it takes some microseconds; from the other side of the Earth, where all is
// about as far, it looks at most of it.
func (l *Locator) Node(lat, lon float64, keep func(NodeID) bool) (u NodeID, metres float64, err error) {
	p, err := l.place(lat, lon)
	if err != nil {
		return none, math.Inf(1), err
	}
	best := nearest{math.Inf(1), none}
	l.search(&l.nodes, &p, &best, func(u uint32) {
		d := p.sub(l.at[u])
		best.offer(d.dot(d), u, keep)
	})
	if best.id == none {
		return none, math.Inf(1), fmt.Errorf("%w: no node near latitude %v, longitude %v", ErrNotFound, lat, lon)
	}
	return best.id, arcOf(math.Sqrt(best.d)), nil
}

// Arc returns the point on an arc that is nearest to a place in degrees, and how many
// metres it is away. Of several arcs, such as the two directions of a road, it is the
// lowest. Keep and the errors are as for [Locator.Node].
func (l *Locator) Arc(lat, lon float64, keep func(ArcID) bool) (Point, float64, error) {
	p, err := l.place(lat, lon)
	if err != nil {
		return Point{Arc: none}, math.Inf(1), err
	}
	best := nearest{math.Inf(1), none}
	l.search(&l.arcs, &p, &best, func(a uint32) {
		d, _ := l.toArc(&p, a)
		best.offer(d, a, keep)
	})
	if best.id == none {
		return Point{Arc: none}, math.Inf(1), fmt.Errorf("%w: no arc near latitude %v, longitude %v", ErrNotFound, lat, lon)
	}
	d, fraction := l.toArc(&p, best.id)
	return Point{best.id, fraction}, arcOf(math.Sqrt(d)), nil
}

func (l *Locator) place(lat, lon float64) (vec, error) {
	if !(lat >= -90 && lat <= 90 && lon >= -180 && lon <= 180) {
		return vec{}, fmt.Errorf("%w: latitude %v, longitude %v", ErrInvalid, lat, lon)
	}
	return unit(lat, lon), nil
}

// A nearest is the best so far: the square of its distance, along a straight line.
type nearest struct {
	d  float64
	id uint32
}

func (n *nearest) offer(d float64, id uint32, keep func(uint32) bool) {
	if (d < n.d || d == n.d && id < n.id) && (keep == nil || keep(id)) {
		n.d, n.id = d, id
	}
}

// toArc returns the square of the distance of p to the arc, along a straight line, and
// where on the arc the nearest point is. Both directions of a road give the same.
func (l *Locator) toArc(p *vec, arc uint32) (d, fraction float64) {
	u, v := l.g.tail[arc], l.g.head[arc]
	turned := u > v
	if turned {
		u, v = v, u
	}
	a, b := l.at[u], l.at[v]
	pa, pb := p.sub(a), p.sub(b)
	d, fraction = pa.dot(pa), 0
	if x := pb.dot(pb); x < d {
		d, fraction = x, 1
	}
	// The foot on the great circle, if it is between the ends.
	if n := a.cross(b); n.dot(n) > 1e-24 {
		foot := p.sub(n.scale(p.dot(n) / n.dot(n)))
		if r := foot.norm(); r > 1e-12 {
			foot = foot.scale(1 / r)
			if a.cross(foot).dot(n) > 0 && foot.cross(b).dot(n) > 0 {
				if x := p.sub(foot); x.dot(x) < d {
					d = x.dot(x)
					fraction = min(1, arcOf(foot.sub(a).norm())/arcOf(b.sub(a).norm()))
				}
			}
		}
	}
	if turned {
		fraction = 1 - fraction
	}
	return d, fraction
}

// search offers what may be nearest or as near.
func (l *Locator) search(t *boxes, v *vec, best *nearest, offer func(uint32)) {
	if len(t.things) == 0 {
		return
	}
	p := [3]float64{v.x, v.y, v.z}
	q, _ := l.pool.Get().(*queue)
	if q == nil {
		q = new(queue)
	}
	defer l.pool.Put(q)
	*q = (*q)[:0]
	q.Push(0, openBox{int32(len(t.levels) - 1), 0})
	for len(*q) > 0 {
		next := q.Pop()
		if next.Key > best.d {
			break
		}
		at := next.Value
		first := int(at.index) * boxFan
		if at.level == 0 {
			for _, x := range t.things[first:min(first+boxFan, len(t.things))] {
				offer(x)
			}
			continue
		}
		below := t.levels[at.level-1]
		for i := first; i < min(first+boxFan, len(below)); i++ {
			if d := below[i].squared(&p); d <= best.d {
				q.Push(d, openBox{at.level - 1, int32(i)})
			}
		}
	}
}
