package shard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/graph"
)

// ErrForeign is returned by a part that is asked for a node or an arc of another one.
var ErrForeign = errors.New("shard: node or arc of another part")

// A Part is what one process has: the arcs between the nodes of one part, and their
// hierarchy. It is safe for concurrent use by multiple goroutines.
type Part struct {
	number  int
	nodes   []graph.NodeID // of the whole graph, by the part's numbers, rising
	borders []graph.NodeID // the part's numbers
	arcs    []graph.ArcID  // of the whole graph, by the part's numbers, rising
	cuts    []CutArc       // that leave it; their weights change with the state

	update sync.Mutex
	state  atomic.Pointer[partState]
	pool   sync.Pool // of *graph.Query
}

// A partState is a part at one version.
type partState struct {
	version uint64
	metric  *graph.Metric
	targets *graph.Targets // the borders
	overlay Overlay
}

// A CutArc leads from a border node of one part to one of another.
type CutArc struct {
	Arc        graph.ArcID
	Tail, Head graph.NodeID
	Weight     uint32
}

// An Overlay is what a router needs of a part.
type Overlay struct {
	Version uint64
	Part    int
	Borders []graph.NodeID // rising
	Cuts    []CutArc       // that leave the part
	Arcs    []OverlayArc   // within the part
}

// An OverlayArc is the length of a shortest way within a part between two of its borders,
// by their places in [Overlay.Borders].
type OverlayArc struct{ From, To, Weight uint32 }

// An Answer is distances within a part.
type Answer struct {
	Version uint64
	From    []uint32 // from the start to each border
	To      []uint32 // from each border to the target
	Direct  uint32   // from start to target, if both are there
}

// NewPart builds part number of a placement. It keeps only what belongs to the part of g
// and of the weights. Opts are for [graph.Dissect].
func NewPart(ctx context.Context, g *graph.Graph, weights []uint32, pl *Placement, number int, opts *graph.Options) (*Part, error) {
	if number < 0 || number >= pl.Parts() {
		return nil, fmt.Errorf("%w: part %d of %d", graph.ErrInvalid, number, pl.Parts())
	}
	if len(pl.of) != g.Nodes() || len(weights) != g.Arcs() {
		return nil, fmt.Errorf("%w: a placement of %d nodes and %d weights for %d nodes and %d arcs", graph.ErrInvalid, len(pl.of), len(weights), g.Nodes(), g.Arcs())
	}
	p := &Part{number: number}
	inside := func(u graph.NodeID) bool { return pl.Part(u) == number }
	for u := range graph.NodeID(g.Nodes()) {
		if inside(u) {
			p.nodes = append(p.nodes, u)
		}
	}
	b := graph.NewBuilder(len(p.nodes))
	border := make([]bool, len(p.nodes))
	for i, u := range p.nodes {
		lat, lon, ok := g.Coord(u)
		if ok {
			b.SetCoord(graph.NodeID(i), lat, lon)
		}
		for _, a := range g.In(u) {
			border[i] = border[i] || !inside(g.Tail(a))
		}
	}
	var own []uint32
	for a := range graph.ArcID(g.Arcs()) {
		u, v := g.Tail(a), g.Head(a)
		if !inside(u) {
			continue
		}
		i, _ := slices.BinarySearch(p.nodes, u)
		if !inside(v) {
			border[i] = true
			if weights[a] > graph.Inf {
				return nil, fmt.Errorf("%w: weight %d of arc %d", graph.ErrInvalid, weights[a], a)
			}
			p.cuts = append(p.cuts, CutArc{a, u, v, weights[a]})
			continue
		}
		j, _ := slices.BinarySearch(p.nodes, v)
		b.AddArc(graph.NodeID(i), graph.NodeID(j))
		p.arcs, own = append(p.arcs, a), append(own, weights[a])
	}
	for i := range border {
		if border[i] {
			p.borders = append(p.borders, graph.NodeID(i))
		}
	}
	sub, err := b.Build()
	if err != nil {
		return nil, err
	}
	topo, err := graph.Dissect(ctx, sub, opts)
	if err != nil {
		return nil, err
	}
	m, err := topo.Customize(own)
	if err != nil {
		return nil, err
	}
	// Versions begin anywhere, so that a part that was started again has none that a router
	// knows of the one before.
	if err := p.set(m, p.cuts, 1+rand.Uint64()>>1); err != nil {
		return nil, err
	}
	return p, nil
}

// set makes a metric the part's state.
func (p *Part) set(m *graph.Metric, cuts []CutArc, version uint64) error {
	targets, err := m.Targets(p.borders)
	if err != nil {
		return err
	}
	all, err := targets.Matrix(nil, p.borders)
	if err != nil {
		return err
	}
	s := &partState{version: version, metric: m, targets: targets}
	s.overlay = Overlay{Version: version, Part: p.number, Cuts: cuts, Arcs: needed(all, len(p.borders))}
	for _, i := range p.borders {
		s.overlay.Borders = append(s.overlay.Borders, p.nodes[i])
	}
	p.state.Store(s)
	return nil
}

// needed returns the arcs between n borders without which some distance between them
// would be longer: those that are as long as two others, each shorter, are not.
func needed(all []uint32, n int) []OverlayArc {
	var arcs []OverlayArc
	for i := range n {
		row := all[i*n : (i+1)*n]
		for j, w := range row {
			if i == j || w >= graph.Inf {
				continue
			}
			need := true
			for k, x := range row {
				if x < w && all[k*n+j] < w && x+all[k*n+j] == w {
					need = false
					break
				}
			}
			if need {
				arcs = append(arcs, OverlayArc{uint32(i), uint32(j), w})
			}
		}
	}
	return arcs
}

// Overlay returns what a router needs.
func (p *Part) Overlay(context.Context) (*Overlay, error) { return &p.state.Load().overlay, nil }

// Nodes returns how many nodes, arcs between them, and border nodes the part has.
func (p *Part) Nodes() (nodes, arcs, borders int) { return len(p.nodes), len(p.arcs), len(p.borders) }

func (p *Part) node(u graph.NodeID) (graph.NodeID, error) {
	i, ok := slices.BinarySearch(p.nodes, u)
	if !ok {
		return 0, fmt.Errorf("%w: node %d in part %d", ErrForeign, u, p.number)
	}
	return graph.NodeID(i), nil
}

// A Question asks for distances within a part: from a start to the borders, from the
// borders to a target, and between both.
type Question struct {
	Start, Target       graph.NodeID
	HasStart, HasTarget bool
}

// Ask answers a question, all of it at one version.
func (p *Part) Ask(_ context.Context, q Question) (*Answer, error) {
	s := p.state.Load()
	a := &Answer{Version: s.version, Direct: graph.Inf}
	var start, target graph.NodeID
	var err error
	if q.HasStart {
		if start, err = p.node(q.Start); err != nil {
			return nil, err
		}
		if a.From, err = s.targets.From(nil, start); err != nil {
			return nil, err
		}
	}
	if q.HasTarget {
		if target, err = p.node(q.Target); err != nil {
			return nil, err
		}
		if a.To, err = s.targets.To(nil, target); err != nil {
			return nil, err
		}
	}
	if q.HasStart && q.HasTarget {
		query := p.query(s.metric)
		defer p.pool.Put(query)
		a.Direct, err = query.Distance(start, target)
	}
	return a, err
}

func (p *Part) query(m *graph.Metric) *graph.Query {
	if q, ok := p.pool.Get().(*graph.Query); ok {
		q.Reset(m)
		return q
	}
	return m.NewQuery()
}

// A Leg is a part of a path between two nodes of one part.
type Leg struct{ From, To graph.NodeID }

// Legs are the arcs of legs, at one version.
type Legs struct {
	Version uint64
	Arcs    [][]graph.ArcID // of each leg
}

// Unpack returns the arcs of shortest ways within the part.
func (p *Part) Unpack(_ context.Context, legs []Leg) (*Legs, error) {
	s := p.state.Load()
	r := &Legs{Version: s.version, Arcs: make([][]graph.ArcID, len(legs))}
	q := p.query(s.metric)
	defer p.pool.Put(q)
	for i, l := range legs {
		u, err := p.node(l.From)
		if err != nil {
			return nil, err
		}
		v, err := p.node(l.To)
		if err != nil {
			return nil, err
		}
		if _, err := q.Distance(u, v); err != nil {
			return nil, err
		}
		path := q.AppendPath([]graph.ArcID{})
		for j, a := range path {
			path[j] = p.arcs[a]
		}
		r.Arcs[i] = path
	}
	return r, nil
}

// Update changes weights of arcs that leave nodes of the part, by their numbers in the
// whole graph; those that lead to another part are the part's too. It returns the new
// version. If one is of another part or out of range, nothing is changed. Questions go on
// meanwhile; it costs the update of the hierarchy and of the overlay.
func (p *Part) Update(_ context.Context, changes []graph.Change) (version uint64, err error) {
	p.update.Lock()
	defer p.update.Unlock()
	s := p.state.Load()
	cuts := slices.Clone(s.overlay.Cuts)
	var own []graph.Change
	for _, c := range changes {
		if c.Weight > graph.Inf {
			return 0, fmt.Errorf("%w: weight %d of arc %d, above %d", graph.ErrInvalid, c.Weight, c.Arc, uint32(graph.Inf))
		}
		if i, ok := slices.BinarySearch(p.arcs, c.Arc); ok {
			own = append(own, graph.Change{Arc: graph.ArcID(i), Weight: c.Weight})
			continue
		}
		i, ok := slices.BinarySearchFunc(cuts, c.Arc, func(a CutArc, id graph.ArcID) int { return int(a.Arc) - int(id) })
		if !ok {
			return 0, fmt.Errorf("%w: arc %d in part %d", ErrForeign, c.Arc, p.number)
		}
		cuts[i].Weight = c.Weight
	}
	m := s.metric
	if len(own) > 0 {
		if m, err = m.Update(own); err != nil {
			return 0, err
		}
	}
	if err := p.set(m, cuts, s.version+1); err != nil {
		return 0, err
	}
	return s.version + 1, nil
}
