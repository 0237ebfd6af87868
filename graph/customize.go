package graph

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A Metric is a hierarchy with weights: a snapshot of what each arc of the graph costs.
// It is made by [Topology.Customize] and [Metric.Update], does not change and is safe for
// concurrent use by multiple goroutines.
type Metric struct {
	t       *Topology
	costs   book[cost]   // of the arcs of the hierarchy
	vias    book[cost]   // of each arc: what its costs consist of
	weights book[uint32] // of the arcs of the graph
	free    bool         // some arc may cost nothing: a path may have loops to cut
}

// A cost is what an arc of the hierarchy costs from its tail up to its head, and down
// again. Among the vias it is what the two consist of: an arc of the graph or,
// marked with viaShortcut, two arcs from a node below both ends, the first of which, to
// the arc's tail, stands here.
type cost struct{ up, down uint32 }

const (
	viaShortcut = 1 << 31
	weightBits  = 9 // binary logarithm of how many of the weights of the graph are on a page
)

// Customize gives the hierarchy these weights, one for each arc of the graph in the order
// of their numbers: 0 ≤ weight ≤ [MaxWeight], or [Inf] for an arc that is closed. They
// are copied. What is out of range gives an error wrapping [ErrInvalid].
//
// It takes a few times as long as one query of Dijkstra's algorithm from both ends, on
// [Options.Workers] goroutines. To change the weights of some arcs, use [Metric.Update].
func (t *Topology) Customize(weights []uint32) (*Metric, error) {
	if err := t.g.checkWeights(weights); err != nil {
		return nil, err
	}
	m := &Metric{t: t, free: slices.Contains(weights, 0)}
	all := make([]uint32, len(weights))
	copy(all, weights)
	m.weights = newBook(all, weightBits)
	m.customize()
	return m, nil
}

// Topology returns the hierarchy.
func (m *Metric) Topology() *Topology { return m.t }

// Weight returns the weight of an arc of the graph. It panics if there is no such arc.
func (m *Metric) Weight(a ArcID) uint32 {
	_ = m.t.slot[a]
	return *m.weights.at(a)
}

// customize finds all costs from m.weights.
func (m *Metric) customize() {
	t := m.t
	m.costs = newBook(make([]cost, len(t.head)), t.pageBits)
	m.vias = newBook(make([]cost, len(t.head)), t.pageBits)
	tasks := t.tasks()
	if t.workers == 1 || len(tasks) == 1 {
		w := newBench(t)
		for r := range uint32(len(t.nodes)) {
			w.node(m, r)
		}
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range t.workers {
		all.Go(func() {
			w := newBench(t)
			for i := int(next.Add(1)) - 1; i < len(tasks); i = int(next.Add(1)) - 1 {
				for r := tasks[i][0]; r < tasks[i][1]; r++ {
					w.node(m, r)
				}
			}
		})
	}
	all.Wait()
	w := newBench(t)
	at := uint32(0)
	for _, k := range append(tasks, [2]uint32{uint32(len(t.nodes)), 0}) {
		for r := at; r < k[0]; r++ {
			w.node(m, r)
		}
		at = k[1]
	}
}

// tasks returns subtrees to be worked on at the same time.
func (t *Topology) tasks() [][2]uint32 {
	limit := uint32(len(t.nodes)/(8*t.workers) + 1)
	var tasks [][2]uint32
	for r := len(t.nodes) - 1; r >= 0; {
		if size := uint32(r) + 1 - t.lo[r]; size <= limit {
			tasks = append(tasks, [2]uint32{t.lo[r], uint32(r) + 1})
			r = int(t.lo[r]) - 1
		} else {
			r--
		}
	}
	for i, j := 0, len(tasks)-1; i < j; i, j = i+1, j-1 {
		tasks[i], tasks[j] = tasks[j], tasks[i]
	}
	return tasks
}

// A bench is where the costs of one node are worked out.
type bench struct {
	at []both // by depth
}

// A both is the costs of an arc, each with what it consists of in the lower half: so the
// least of several is the cheapest and, of equal ones, always the same.
type both struct{ up, down uint64 }

func newBench(t *Topology) *bench { return &bench{at: make([]both, t.height)} }

// node finds the costs of a node's arcs, those of all below it being known: the cheapest
// of the graph's own arcs and of the ways over a node below both ends.
func (w *bench) node(m *Metric, r uint32) {
	t := m.t
	p := &t.nodes[r]
	if p.first == p.end {
		return
	}
	depth := t.depth[p.first:p.end]
	at := w.at
	for _, d := range depth {
		at[d] = both{Inf<<32 | none, Inf<<32 | none}
	}
	for _, in := range t.in[t.inFirst[r]:t.inFirst[r+1]] {
		c := uint64(*m.weights.at(in.arc))<<32 | uint64(in.arc)
		b := &at[t.depth[in.slot>>1]]
		if in.slot&1 == 0 {
			b.up = min(b.up, c)
		} else {
			b.down = min(b.down, c)
		}
	}
	for _, l := range t.low[t.lowFirst[r]:t.lowFirst[r+1]] {
		over := t.depth[l.arc+1 : l.end]
		if len(over) == 0 {
			continue
		}
		rest := m.costs.row(l.arc, l.end)
		c := rest[0]
		up := uint64(c.down)<<32 | uint64(l.arc|viaShortcut)
		down := uint64(c.up)<<32 | uint64(l.arc|viaShortcut)
		rest = rest[1:][:len(over)]
		for i := range rest {
			b := &at[over[i]]
			b.up = min(b.up, up+uint64(rest[i].up)<<32)
			b.down = min(b.down, down+uint64(rest[i].down)<<32)
		}
	}
	row, via := m.costs.row(p.first, p.end), m.vias.row(p.first, p.end)
	via = via[:len(row)]
	depth = depth[:len(row)]
	for i, d := range depth {
		b := &at[d]
		row[i], via[i] = cost{uint32(b.up >> 32), uint32(b.down >> 32)}, cost{uint32(b.up), uint32(b.down)}
	}
}
