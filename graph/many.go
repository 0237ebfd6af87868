package graph

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// climb fills label, by depth, with the distances from rank s to it and to all above it
// in the elimination tree, over ways that lead up only; or, if down is set, with those
// from them to s. It says in path which nodes these are. What is behind the depth of s is
// left as it is.
func (m *Metric) climb(label, path []uint32, s uint32, down bool) {
	t := m.t
	p := &t.nodes[s]
	for i := range label[:p.depth+1] {
		label[i] = Inf
	}
	label[p.depth] = 0
	for r := s; ; r = p.parent {
		p = &t.nodes[r]
		path[p.depth] = r
		if d := label[p.depth]; d < Inf && p.first < p.end {
			row, depth := m.costs.row(p.first, p.end), t.depth[p.first:p.end]
			depth = depth[:len(row)]
			if down {
				for i := range row {
					l := &label[depth[i]]
					*l = min(*l, d+row[i].down)
				}
			} else {
				for i := range row {
					l := &label[depth[i]]
					*l = min(*l, d+row[i].up)
				}
			}
		}
		if p.parent == none {
			return
		}
	}
}

// lanes is how many starts are swept at the same time.
const lanes = 8

// Targets is a set of nodes to which, or from which, many distances are asked: it holds
// what the ways to them have in common. It belongs to one metric, does not change and is
// safe for concurrent use by multiple goroutines.
//
// Behind it is the sweep of PHAST and RPHAST (Delling, Goldberg, Nowatzyk and Werneck,
// 2011): all nodes above a target in the elimination tree are looked at once, from the
// top down, and each takes its distance from those above it.
type Targets struct {
	m    *Metric
	size int
	// The nodes to look at, a parent before its children: the labels by depth are then
	// always those of the nodes above.
	nodes []uint32
	// Which of them each target is.
	place []uint32
	pool  sync.Pool // of *sweep
}

// A sweep is the memory of one.
type sweep struct {
	source []uint32        // labels of the start, by depth
	path   []uint32        // which nodes these are
	label  []uint32        // of the node that is looked at and those above it
	found  []uint32        // of all nodes of the targets
	wide   [][lanes]uint32 // the same for several starts
	wideBy [][lanes]uint32
}

// Targets returns the set of these nodes, in their order; a node may be in it more than
// once. A node out of range gives an error wrapping [ErrInvalid]. It takes a few
// microseconds for each node that is far from all others.
func (m *Metric) Targets(nodes []NodeID) (*Targets, error) {
	t := m.t
	for i, u := range nodes {
		if err := t.g.checkNode("target", u); err != nil {
			return nil, fmt.Errorf("%w (number %d)", err, i)
		}
	}
	tt := &Targets{m: m, size: len(nodes), place: make([]uint32, len(nodes))}
	ranks := make([]uint64, len(nodes))
	for i, u := range nodes {
		ranks[i] = uint64(t.rank[u])<<32 | uint64(i)
	}
	slices.Sort(ranks)
	// From the highest rank on, each up to where it meets those before: trail holds, by
	// depth, the nodes above the last one, and never a node that is not looked at.
	trail := make([]uint32, t.height)
	for i := range trail {
		trail[i] = none
	}
	tt.nodes = make([]uint32, 0, min(len(t.nodes), 64*len(nodes)))
	for i := len(ranks) - 1; i >= 0; i-- {
		r := uint32(ranks[i] >> 32)
		from := len(tt.nodes)
		for x := r; x != none; {
			p := &t.nodes[x]
			if trail[p.depth] == x {
				break
			}
			trail[p.depth] = x
			tt.nodes = append(tt.nodes, x)
			x = p.parent
		}
		slices.Reverse(tt.nodes[from:])
		tt.place[uint32(ranks[i])] = uint32(len(tt.nodes)) - 1
	}
	return tt, nil
}

// above tells whether x is r or above it in the elimination tree.
func (t *Topology) above(x, r uint32) bool { return t.lo[x] <= r && r <= x }

// Len returns the number of targets.
func (tt *Targets) Len() int { return tt.size }

func (tt *Targets) sweep() *sweep {
	if s, ok := tt.pool.Get().(*sweep); ok {
		return s
	}
	h := tt.m.t.height
	return &sweep{source: make([]uint32, h), path: make([]uint32, h), label: make([]uint32, h), found: make([]uint32, len(tt.nodes))}
}

// From appends the distances from s to all targets to dst, in their order; [Inf] where
// there is no way.
func (tt *Targets) From(dst []uint32, s NodeID) ([]uint32, error) { return tt.ask(dst, s, false) }

// To appends the distances from all targets to t to dst, such as those of many drivers to
// one rider.
func (tt *Targets) To(dst []uint32, t NodeID) ([]uint32, error) { return tt.ask(dst, t, true) }

func (tt *Targets) ask(dst []uint32, u NodeID, to bool) ([]uint32, error) {
	m := tt.m
	t := m.t
	if err := t.g.checkNode("node", u); err != nil {
		return dst, err
	}
	w := tt.sweep()
	defer tt.pool.Put(w)
	s := t.rank[u]
	m.climb(w.source, w.path, s, to)
	label, source, path := w.label, w.source[:t.nodes[s].depth+1], w.path
	for i, r := range tt.nodes {
		p := &t.nodes[r]
		d := uint32(Inf)
		if int(p.depth) < len(source) && path[p.depth] == r {
			d = source[p.depth]
		}
		d = m.descend(label, p, d, to)
		label[p.depth] = d
		w.found[i] = d
	}
	dst = slices.Grow(dst, tt.size)
	for _, i := range tt.place {
		dst = append(dst, w.found[i])
	}
	return dst, nil
}

// descend returns the distance of a node, d at most, given the labels of those above it.
func (m *Metric) descend(label []uint32, p *place, d uint32, to bool) uint32 {
	if p.first == p.end {
		return d
	}
	row, depth := m.costs.row(p.first, p.end), m.t.depth[p.first:p.end]
	depth = depth[:len(row)]
	// Four at a time, so that no minimum need wait for another; and the nearest heads
	// last, whose labels are the latest.
	a, b, c := d, d, d
	if to {
		for n := len(row); n >= 4; n = len(row) {
			r, h := (*[4]cost)(row[n-4:]), (*[4]uint32)(depth[n-4:])
			a = min(a, label[h[3]]+r[3].up)
			b = min(b, label[h[2]]+r[2].up)
			c = min(c, label[h[1]]+r[1].up)
			d = min(d, label[h[0]]+r[0].up)
			row, depth = row[:n-4], depth[:n-4]
		}
		for i := len(row) - 1; i >= 0; i-- {
			d = min(d, label[depth[i]]+row[i].up)
		}
	} else {
		for n := len(row); n >= 4; n = len(row) {
			r, h := (*[4]cost)(row[n-4:]), (*[4]uint32)(depth[n-4:])
			a = min(a, label[h[3]]+r[3].down)
			b = min(b, label[h[2]]+r[2].down)
			c = min(c, label[h[1]]+r[1].down)
			d = min(d, label[h[0]]+r[0].down)
			row, depth = row[:n-4], depth[:n-4]
		}
		for i := len(row) - 1; i >= 0; i-- {
			d = min(d, label[depth[i]]+row[i].down)
		}
	}
	return min(a, b, c, d)
}

// Matrix appends the distances from each start to each target to dst: row after row, one
// for each start. It works on [Options.Workers] goroutines. A node out of range gives an
// error wrapping [ErrInvalid].
func (m *Metric) Matrix(dst []uint32, starts, targets []NodeID) ([]uint32, error) {
	tt, err := m.Targets(targets)
	if err != nil {
		return dst, err
	}
	return tt.Matrix(dst, starts)
}

// Matrix is [Metric.Matrix] for targets that are known.
func (tt *Targets) Matrix(dst []uint32, starts []NodeID) ([]uint32, error) {
	m := tt.m
	t := m.t
	for i, u := range starts {
		if err := t.g.checkNode("start", u); err != nil {
			return dst, fmt.Errorf("%w (number %d)", err, i)
		}
	}
	if tt.size > 0 && len(starts) > math.MaxInt/8/tt.size {
		return dst, fmt.Errorf("%w: a matrix of %d × %d", ErrTooLarge, len(starts), tt.size)
	}
	base := len(dst)
	dst = slices.Grow(dst, len(starts)*tt.size)[:base+len(starts)*tt.size]
	out := dst[base:]
	var next atomic.Int64
	work := func() {
		w := tt.sweep()
		defer tt.pool.Put(w)
		if w.wide == nil {
			w.wide, w.wideBy = make([][lanes]uint32, t.height), make([][lanes]uint32, len(tt.nodes))
		}
		for {
			i := int(next.Add(lanes)) - lanes
			if i >= len(starts) {
				return
			}
			some := starts[i:min(i+lanes, len(starts))]
			tt.several(w, some)
			for j := range some {
				line := out[(i+j)*tt.size:][:tt.size]
				for k, at := range tt.place {
					line[k] = w.wideBy[at][j]
				}
			}
		}
	}
	if t.workers == 1 || len(starts) <= lanes {
		work()
		return dst, nil
	}
	var all sync.WaitGroup
	for range t.workers {
		all.Go(work)
	}
	all.Wait()
	return dst, nil
}

// several sweeps for up to as many starts as there are lanes.
func (tt *Targets) several(w *sweep, starts []NodeID) {
	m := tt.m
	t := m.t
	var sources [lanes]uint32
	labels := make([]uint32, len(starts)*t.height)
	for j, u := range starts {
		sources[j] = t.rank[u]
		m.climb(labels[j*t.height:][:t.height], w.path, sources[j], false)
	}
	label := w.wide
	for i, r := range tt.nodes {
		p := &t.nodes[r]
		d := &w.wideBy[i]
		for j := range d {
			d[j] = Inf
		}
		for j := range starts {
			if t.above(r, sources[j]) {
				d[j] = labels[j*t.height+int(p.depth)]
			}
		}
		if p.first < p.end {
			row, depth := m.costs.row(p.first, p.end), t.depth[p.first:p.end]
			depth = depth[:len(row)]
			for k := len(row) - 1; k >= 0; k-- {
				l, c := &label[depth[k]], row[k].down
				d[0] = min(d[0], l[0]+c)
				d[1] = min(d[1], l[1]+c)
				d[2] = min(d[2], l[2]+c)
				d[3] = min(d[3], l[3]+c)
				d[4] = min(d[4], l[4]+c)
				d[5] = min(d[5], l[5]+c)
				d[6] = min(d[6], l[6]+c)
				d[7] = min(d[7], l[7]+c)
			}
		}
		label[p.depth] = *d
	}
}

// All appends the distances from s to every node of the graph to dst, [Inf] where there
// is no way: one sweep over the hierarchy from the top down.
func (m *Metric) All(dst []uint32, s NodeID) ([]uint32, error) {
	base := len(dst)
	n := m.t.g.Nodes()
	if err := m.t.g.checkNode("node", s); err != nil {
		return dst, err
	}
	dst = slices.Grow(dst, n)[:base+n]
	out := dst[base:]
	for i := range out {
		out[i] = Inf
	}
	err := m.Isochrone(s, Inf-1, func(u NodeID, d uint32) bool {
		out[u] = d
		return true
	})
	return dst, err
}

// Isochrone yields the nodes that are at most limit away from s, with their distances, in
// no particular order, until yield returns false. A limit above [MaxWeight] means that:
// every node that can be reached. Parts of the graph that are wholly too far are skipped.
func (m *Metric) Isochrone(s NodeID, limit uint32, yield func(u NodeID, distance uint32) bool) error {
	t := m.t
	if err := t.g.checkNode("node", s); err != nil {
		return err
	}
	limit = min(limit, MaxWeight)
	label, source, path := make([]uint32, t.height), make([]uint32, t.height), make([]uint32, t.height)
	x := t.rank[s]
	m.climb(source, path, x, false)
	for r := len(t.nodes) - 1; r >= 0; r-- {
		p := &t.nodes[r]
		d := uint32(Inf)
		inside := t.above(uint32(r), x)
		if inside {
			d = source[p.depth]
		}
		d = m.descend(label, p, d, false)
		label[p.depth] = d
		if d <= limit {
			if !yield(t.order[r], d) {
				return nil
			}
			continue
		}
		if inside {
			continue
		}
		// The heads of the root are all that a subtree borders on.
		near := false
		for _, h := range t.depth[p.first:p.end] {
			if label[h] <= limit {
				near = true
				break
			}
		}
		if !near {
			r = int(t.lo[r])
		}
	}
	return nil
}
