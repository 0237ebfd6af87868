package graph

import (
	"fmt"
	"math"
	"slices"
)

// A NodeID is the number of a node, 0 ≤ id < [Graph.Nodes].
type NodeID = uint32

// An ArcID is the number of an arc, 0 ≤ id < [Graph.Arcs]: arcs are numbered in the
// order in which they were added.
type ArcID = uint32

const (
	// MaxWeight is the largest weight of an arc, and the largest distance: a path that
	// is longer counts as none, in [Dijkstra] and everywhere else. In milliseconds it
	// is 24 days.
	MaxWeight = Inf - 1
	// Inf is the weight of a closed arc and the distance of what cannot be reached. Two
	// of them fit into 32 bits, so that no sum wraps.
	Inf = math.MaxInt32

	none = math.MaxUint32 // no node, no arc

	maxNodes = 1 << 30
	maxArcs  = 1 << 30
	noCoord  = math.MinInt32
	perDeg   = 1e7 // coordinates are kept in units of 1e-7 degree, about a centimetre
)

// A Builder collects a graph. It is not safe for concurrent use.
type Builder struct {
	n          int
	tail, head []uint32
	lat, lon   []int32
	turns      []Turn
	err        error
}

// NewBuilder returns a builder of a graph of n nodes, 0 ≤ n ≤ 2^30, and no arcs. What
// is wrong with n is told by [Builder.Build].
func NewBuilder(n int) *Builder {
	b := &Builder{n: n}
	if n < 0 {
		b.err = fmt.Errorf("%w: %d nodes", ErrInvalid, n)
	} else if n > maxNodes {
		b.err = fmt.Errorf("%w: %d nodes, above %d", ErrTooLarge, n, maxNodes)
	}
	return b
}

// AddArc adds an arc from u to v and returns its number. Parallel arcs are different
// arcs, the cheapest of which a route takes; a loop keeps its number but is on no route.
// A node out of range makes [Builder.Build] fail, with the number of the arc.
func (b *Builder) AddArc(u, v NodeID) ArcID {
	id := len(b.tail)
	switch {
	case b.err != nil:
		return none
	case int64(u) >= int64(b.n) || int64(v) >= int64(b.n):
		b.err = fmt.Errorf("%w: arc %d from %d to %d of %d, numbered from 0", ErrInvalid, id, u, v, b.n)
		return none
	case id >= maxArcs:
		b.err = fmt.Errorf("%w: more than %d arcs", ErrTooLarge, maxArcs)
		return none
	}
	b.tail, b.head = append(b.tail, u), append(b.head, v)
	return ArcID(id)
}

// AddEdge adds an arc from u to v and one back, whose number is one more.
func (b *Builder) AddEdge(u, v NodeID) ArcID {
	id := b.AddArc(u, v)
	b.AddArc(v, u)
	return id
}

// SetCoord says where node u is, in degrees: −90 ≤ lat ≤ 90 and −180 ≤ lon ≤ 180. They
// are kept to 1e-7 degree. Coordinates make [Dissect] better and faster, and [NewLocator]
// and [Search.AStar] need them. What is out of range makes [Builder.Build] fail.
func (b *Builder) SetCoord(u NodeID, lat, lon float64) {
	switch {
	case b.err != nil:
		return
	case int64(u) >= int64(b.n):
		b.err = fmt.Errorf("%w: coordinates of node %d of %d, numbered from 0", ErrInvalid, u, b.n)
		return
	case !(lat >= -90 && lat <= 90 && lon >= -180 && lon <= 180):
		b.err = fmt.Errorf("%w: node %d at latitude %v, longitude %v", ErrInvalid, u, lat, lon)
		return
	}
	if b.lat == nil {
		b.lat, b.lon = make([]int32, b.n), make([]int32, b.n)
		for i := range b.lat {
			b.lat[i] = noCoord
		}
	}
	b.lat[u], b.lon[u] = int32(math.Round(lat*perDeg)), int32(math.Round(lon*perDeg))
}

// Build returns the graph, or the first thing that was wrong with it. The builder may be
// used on.
func (b *Builder) Build() (*Graph, error) {
	if b.err != nil {
		return nil, b.err
	}
	g := &Graph{
		tail: slices.Clone(b.tail), head: slices.Clone(b.head),
		lat: slices.Clone(b.lat), lon: slices.Clone(b.lon),
	}
	g.first, g.out = bucket(b.n, g.tail)
	g.rfirst, g.in = bucket(b.n, g.head)
	var err error
	if g.turns, err = newTurns(g, b.turns); err != nil {
		return nil, err
	}
	return g, nil
}

// bucket sorts the arcs by their end, keeping their order otherwise.
func bucket(n int, end []uint32) (first, arcs []uint32) {
	first, arcs = make([]uint32, n+1), make([]uint32, len(end))
	for _, u := range end {
		first[u+1]++
	}
	for u := range n {
		first[u+1] += first[u]
	}
	at := slices.Clone(first)
	for a, u := range end {
		arcs[at[u]] = uint32(a)
		at[u]++
	}
	return first, arcs
}

// A Graph is a directed graph, made by a [Builder] or by a loader. It does not change and
// is safe for concurrent use by multiple goroutines. What its arcs cost is not part of
// it: the same graph may have many weights, such as seconds, metres, and seconds in the
// rain.
type Graph struct {
	first, out []uint32 // the arcs that leave u: out[first[u]:first[u+1]]
	rfirst, in []uint32 // the arcs that enter u
	tail, head []uint32
	lat, lon   []int32 // empty if no node has coordinates
	turns      []Turn  // sorted by their arcs
}

// Nodes returns the number of nodes.
func (g *Graph) Nodes() int { return max(0, len(g.first)-1) }

// Arcs returns the number of arcs.
func (g *Graph) Arcs() int { return len(g.tail) }

// Tail returns the node that arc a leaves. It panics if there is no such arc.
func (g *Graph) Tail(a ArcID) NodeID { return g.tail[a] }

// Head returns the node that arc a enters. It panics if there is no such arc.
func (g *Graph) Head(a ArcID) NodeID { return g.head[a] }

// Out returns the arcs that leave node u, in the order in which they were added. The
// slice is the graph's own and must not be changed. It panics if there is no such node.
func (g *Graph) Out(u NodeID) []ArcID { return g.out[g.first[u]:g.first[u+1]] }

// In returns the arcs that enter node u, like [Graph.Out].
func (g *Graph) In(u NodeID) []ArcID { return g.in[g.rfirst[u]:g.rfirst[u+1]] }

// Coord returns where node u is, in degrees, or false if that was not said. It panics if
// there is no such node.
func (g *Graph) Coord(u NodeID) (lat, lon float64, ok bool) {
	if len(g.lat) == 0 {
		_ = g.first[u+1]
		return 0, 0, false
	}
	if g.lat[u] == noCoord {
		return 0, 0, false
	}
	return float64(g.lat[u]) / perDeg, float64(g.lon[u]) / perDeg, true
}

// located tells whether every node has coordinates.
func (g *Graph) located() bool {
	return len(g.lat) == g.Nodes() && !slices.Contains(g.lat, noCoord)
}

// vector returns the node's point on the unit sphere.
func (g *Graph) vector(u NodeID) vec {
	return unit(float64(g.lat[u])/perDeg, float64(g.lon[u])/perDeg)
}

func (g *Graph) checkNode(what string, u NodeID) error {
	if int64(u) >= int64(g.Nodes()) {
		return fmt.Errorf("%w: %s %d of %d, numbered from 0", ErrInvalid, what, u, g.Nodes())
	}
	return nil
}

// checkWeights tells whether there is one weight for each arc, in range.
func (g *Graph) checkWeights(weights []uint32) error {
	if len(weights) != g.Arcs() {
		return fmt.Errorf("%w: %d weights for %d arcs", ErrInvalid, len(weights), g.Arcs())
	}
	for a, w := range weights {
		if w > Inf {
			return fmt.Errorf("%w: weight %d of arc %d, above %d", ErrInvalid, w, a, uint32(Inf))
		}
	}
	return nil
}

// WeightOf returns a cost as a weight: the nearest whole number. It wraps [ErrInvalid] in
// its error if v is negative, above [MaxWeight] or not a number; +Inf is [Inf], a closed
// arc.
func WeightOf(v float64) (uint32, error) {
	if math.IsInf(v, 1) {
		return Inf, nil
	}
	if !(v >= 0 && v <= MaxWeight) {
		return 0, fmt.Errorf("%w: weight %v", ErrInvalid, v)
	}
	return uint32(math.Round(v)), nil
}

// earthRadius is the mean radius in metres.
const earthRadius = 6_371_008.8

// A vec is a point in space, in radii of the Earth from its centre.
type vec struct{ x, y, z float64 }

func unit(lat, lon float64) vec {
	sa, ca := math.Sincos(lat * (math.Pi / 180))
	if lat == 90 || lat == -90 {
		ca = 0 // so that all longitudes of a pole are one point
	}
	if lon == 180 {
		lon = -180 // and both ends of the map
	}
	so, co := math.Sincos(lon * (math.Pi / 180))
	return vec{ca * co, ca * so, sa}
}

func (a vec) dot(b vec) float64   { return a.x*b.x + a.y*b.y + a.z*b.z }
func (a vec) sub(b vec) vec       { return vec{a.x - b.x, a.y - b.y, a.z - b.z} }
func (a vec) add(b vec) vec       { return vec{a.x + b.x, a.y + b.y, a.z + b.z} }
func (a vec) scale(f float64) vec { return vec{a.x * f, a.y * f, a.z * f} }
func (a vec) cross(b vec) vec     { return vec{a.y*b.z - a.z*b.y, a.z*b.x - a.x*b.z, a.x*b.y - a.y*b.x} }
func (a vec) norm() float64       { return math.Sqrt(a.dot(a)) }
func (a vec) degrees() (lat, lon float64) {
	return math.Atan2(a.z, math.Hypot(a.x, a.y)) * (180 / math.Pi), math.Atan2(a.y, a.x) * (180 / math.Pi)
}

// arcOf turns the length of a chord of the unit sphere into metres on the ground.
func arcOf(chord float64) float64 { return 2 * earthRadius * math.Asin(min(1, chord/2)) }
