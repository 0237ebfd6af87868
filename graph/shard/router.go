package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/graph"
	"github.com/ashlar-go/ashlar/internal/minheap"
)

// ErrUnsteady is returned when a part changed faster than a question could be asked, some
// ten times in a row.
var ErrUnsteady = errors.New("shard: parts change faster than they answer")

// A Peer is a part as a router sees it: a [Part] of this process or a [Client] of another.
type Peer interface {
	Overlay(ctx context.Context) (*Overlay, error)
	Ask(ctx context.Context, q Question) (*Answer, error)
	Unpack(ctx context.Context, legs []Leg) (*Legs, error)
}

// A Router finds ways through all parts. It is safe for concurrent use by multiple
// goroutines.
type Router struct {
	placement *Placement
	peers     []Peer
	base      []uint32 // the number of each part's first border in the overlay; one more at the end
	borders   []graph.NodeID
	maps      []atomic.Pointer[roads]
	reading   []sync.Mutex
	pool      sync.Pool // of *search
}

// roads is a part's piece of the overlay: the arcs that leave each of its borders.
type roads struct {
	version uint64
	first   []uint32
	arcs    []road
}

type road struct {
	to, weight uint32      // a border of the overlay
	arc        graph.ArcID // if it leads to another part
}

const inside = 1<<32 - 1 // as the arc of a road: it stays within the part

// A Trace says what a question cost.
type Trace struct {
	Requests int // to parts
	Parts    int // that the way leads through, if a path was asked for
	Settled  int // borders that the router looked at
	Retries  int // since a part had changed
}

// NewRouter reads the overlays of all parts, in the order of their numbers.
func NewRouter(ctx context.Context, pl *Placement, peers []Peer) (*Router, error) {
	if len(peers) != pl.Parts() {
		return nil, fmt.Errorf("%w: %d peers for %d parts", graph.ErrInvalid, len(peers), pl.Parts())
	}
	r := &Router{placement: pl, peers: peers, maps: make([]atomic.Pointer[roads], len(peers)), reading: make([]sync.Mutex, len(peers))}
	var overlays []*Overlay
	for i, p := range peers {
		o, err := p.Overlay(ctx)
		if err != nil {
			return nil, fmt.Errorf("shard: part %d: %w", i, err)
		}
		if o.Part != i {
			return nil, fmt.Errorf("%w: peer %d has part %d", graph.ErrInvalid, i, o.Part)
		}
		overlays = append(overlays, o)
		r.base = append(r.base, uint32(len(r.borders)))
		r.borders = append(r.borders, o.Borders...)
	}
	r.base = append(r.base, uint32(len(r.borders)))
	for i, o := range overlays {
		m, err := r.chart(i, o)
		if err != nil {
			return nil, err
		}
		r.maps[i].Store(m)
	}
	return r, nil
}

// number returns the number of a border node in the overlay.
func (r *Router) number(u graph.NodeID) (uint32, bool) {
	if int64(u) >= int64(len(r.placement.of)) {
		return 0, false
	}
	p := r.placement.Part(u)
	i, ok := slices.BinarySearch(r.borders[r.base[p]:r.base[p+1]], u)
	return r.base[p] + uint32(i), ok
}

// chart makes roads of an overlay. A part never changes its borders.
func (r *Router) chart(part int, o *Overlay) (*roads, error) {
	own := r.borders[r.base[part]:r.base[part+1]]
	if o.Part != part || !slices.Equal(o.Borders, own) {
		return nil, fmt.Errorf("%w: part %d has other borders than before", graph.ErrIncompatible, part)
	}
	m := &roads{version: o.Version, first: make([]uint32, len(own)+1), arcs: make([]road, len(o.Arcs)+len(o.Cuts))}
	tails := make([]uint32, 0, len(m.arcs))
	heads := make([]road, 0, len(m.arcs))
	for _, a := range o.Arcs {
		if int64(a.From) >= int64(len(own)) || int64(a.To) >= int64(len(own)) || a.Weight > graph.Inf {
			return nil, fmt.Errorf("%w: part %d has an arc from border %d to %d of %d", graph.ErrCorrupt, part, a.From, a.To, len(own))
		}
		tails = append(tails, a.From)
		heads = append(heads, road{r.base[part] + a.To, a.Weight, inside})
	}
	for _, a := range o.Cuts {
		tail, ok := r.number(a.Tail)
		head, ok2 := r.number(a.Head)
		if !ok || !ok2 || tail < r.base[part] || tail >= r.base[part+1] || a.Weight > graph.Inf {
			return nil, fmt.Errorf("%w: part %d has an arc from node %d to %d, which are no borders", graph.ErrCorrupt, part, a.Tail, a.Head)
		}
		tails = append(tails, tail-r.base[part])
		heads = append(heads, road{head, a.Weight, a.Arc})
	}
	for _, t := range tails {
		m.first[t+1]++
	}
	for i := range own {
		m.first[i+1] += m.first[i]
	}
	at := slices.Clone(m.first)
	for i, t := range tails {
		m.arcs[at[t]] = heads[i]
		at[t]++
	}
	return m, nil
}

// Refresh reads a part's overlay unless the router has that version, which [Part.Update]
// returned. A router finds out by itself that a part of a question's ends has changed, and
// that a part of a path has; of a part in between it would not know. So who updates a part
// tells the routers, or each router asks from time to time with version 0, which no part
// has.
func (r *Router) Refresh(ctx context.Context, part int, version uint64) error {
	if part < 0 || part >= len(r.peers) {
		return fmt.Errorf("%w: part %d of %d", graph.ErrInvalid, part, len(r.peers))
	}
	r.reading[part].Lock()
	defer r.reading[part].Unlock()
	if r.maps[part].Load().version == version {
		return nil
	}
	o, err := r.peers[part].Overlay(ctx)
	if err != nil {
		return fmt.Errorf("shard: part %d: %w", part, err)
	}
	m, err := r.chart(part, o)
	if err != nil {
		return err
	}
	r.maps[part].Store(m)
	return nil
}

// Size returns how many nodes and arcs the overlay has.
func (r *Router) Size() (nodes, arcs int) {
	for i := range r.maps {
		arcs += len(r.maps[i].Load().arcs)
	}
	return len(r.borders), arcs
}

// Distance returns the length of a shortest path through all parts, [graph.Inf] if there
// is none. A node out of range gives an error wrapping [graph.ErrInvalid], a part that
// does not answer one that names it.
func (r *Router) Distance(ctx context.Context, s, t graph.NodeID) (uint32, Trace, error) {
	d, _, trace, err := r.ask(ctx, s, t, false)
	return d, trace, err
}

// Path returns that length and the arcs of the path, by their numbers in the whole graph.
func (r *Router) Path(ctx context.Context, s, t graph.NodeID) (uint32, []graph.ArcID, Trace, error) {
	return r.ask(ctx, s, t, true)
}

const patience = 10

func (r *Router) ask(ctx context.Context, s, t graph.NodeID, path bool) (uint32, []graph.ArcID, Trace, error) {
	var trace Trace
	if n := len(r.placement.of); int64(max(s, t)) >= int64(n) {
		return graph.Inf, nil, trace, fmt.Errorf("%w: node %d, nodes end at %d", graph.ErrInvalid, max(s, t), n)
	}
	for ; trace.Retries < patience; trace.Retries++ {
		d, arcs, ok, err := r.try(ctx, s, t, path, &trace)
		if err != nil {
			return graph.Inf, nil, trace, err
		}
		if ok {
			return d, arcs, trace, nil
		}
	}
	return graph.Inf, nil, trace, fmt.Errorf("%w: from %d to %d", ErrUnsteady, s, t)
}

// A search is the memory of one question.
type search struct {
	maps   []*roads
	labels []label
	epoch  uint32
	heap   minheap.Heap[uint32, uint32] // borders by their distances
}

type label struct {
	epoch, dist uint32
	from        uint32 // a border, or inside: the start
	arc         graph.ArcID
}

// try asks once. It returns false if a part has changed meanwhile.
func (r *Router) try(ctx context.Context, s, t graph.NodeID, path bool, trace *Trace) (uint32, []graph.ArcID, bool, error) {
	from, to := r.placement.Part(s), r.placement.Part(t)
	q, _ := r.pool.Get().(*search)
	if q == nil {
		q = &search{labels: make([]label, len(r.borders))}
	}
	defer r.pool.Put(q)
	q.maps = q.maps[:0]
	for i := range r.maps {
		q.maps = append(q.maps, r.maps[i].Load())
	}
	var start, target *Answer
	if from == to {
		trace.Requests++
		a, err := r.peers[from].Ask(ctx, Question{s, t, true, true})
		if err != nil {
			return 0, nil, false, fmt.Errorf("shard: part %d: %w", from, err)
		}
		start, target = a, a
	} else {
		trace.Requests += 2
		var errStart, errTarget error
		done := make(chan struct{})
		go func() {
			defer close(done)
			target, errTarget = r.peers[to].Ask(ctx, Question{Target: t, HasTarget: true})
		}()
		start, errStart = r.peers[from].Ask(ctx, Question{Start: s, HasStart: true})
		<-done
		if errStart != nil {
			return 0, nil, false, fmt.Errorf("shard: part %d: %w", from, errStart)
		}
		if errTarget != nil {
			return 0, nil, false, fmt.Errorf("shard: part %d: %w", to, errTarget)
		}
	}
	for _, x := range []struct {
		part int
		a    *Answer
	}{{from, start}, {to, target}} {
		if x.a.Version != q.maps[x.part].version {
			return 0, nil, false, r.Refresh(ctx, x.part, x.a.Version)
		}
	}
	if n := int(r.base[from+1] - r.base[from]); len(start.From) != n {
		return 0, nil, false, fmt.Errorf("%w: part %d answers for %d of %d borders", graph.ErrCorrupt, from, len(start.From), n)
	}
	if n := int(r.base[to+1] - r.base[to]); len(target.To) != n {
		return 0, nil, false, fmt.Errorf("%w: part %d answers for %d of %d borders", graph.ErrCorrupt, to, len(target.To), n)
	}
	best := uint32(graph.Inf)
	if from == to {
		best = start.Direct
	}
	best, last := r.search(q, from, to, start.From, target.To, best, trace)
	if !path || best >= graph.Inf {
		return best, nil, true, nil
	}
	arcs, ok, err := r.unpack(ctx, q, s, t, last, trace)
	return best, arcs, ok, err
}

// search finds the least sum over the overlay, and the border by which the way comes to
// the target; inside, if it never leaves its part.
func (r *Router) search(q *search, from, to int, start, target []uint32, best uint32, trace *Trace) (uint32, uint32) {
	if q.epoch++; q.epoch == 0 {
		clear(q.labels)
		q.epoch = 1
	}
	last := uint32(inside)
	q.heap = q.heap[:0]
	for i, d := range start {
		if d < best {
			x := r.base[from] + uint32(i)
			q.labels[x] = label{q.epoch, d, inside, inside}
			q.heap.Push(d, x)
		}
	}
	for len(q.heap) > 0 {
		at := q.heap.Pop()
		if at.Key >= best {
			break
		}
		if at.Key > q.labels[at.Value].dist {
			continue
		}
		trace.Settled++
		part := r.partOf(at.Value)
		if part == to {
			if d := at.Key + target[at.Value-r.base[to]]; d < best {
				best, last = d, at.Value
			}
		}
		m := q.maps[part]
		i := at.Value - r.base[part]
		for _, a := range m.arcs[m.first[i]:m.first[i+1]] {
			d := at.Key + a.weight
			if l := &q.labels[a.to]; d < best && (l.epoch != q.epoch || d < l.dist) {
				*l = label{q.epoch, d, at.Value, a.arc}
				q.heap.Push(d, a.to)
			}
		}
	}
	return best, last
}

func (r *Router) partOf(border uint32) int { return r.placement.Part(r.borders[border]) }

// unpack asks the parts for the arcs of the path that came to the target by a border.
func (r *Router) unpack(ctx context.Context, q *search, s, t graph.NodeID, last uint32, trace *Trace) ([]graph.ArcID, bool, error) {
	// A piece is a leg within a part, or an arc between two.
	type piece struct {
		part int
		leg  int
		arc  graph.ArcID
	}
	var pieces []piece // from the target on
	legs := make([][]Leg, len(r.peers))
	add := func(part int, from, to graph.NodeID) {
		pieces = append(pieces, piece{part, len(legs[part]), inside})
		legs[part] = append(legs[part], Leg{from, to})
	}
	if last == inside {
		add(r.placement.Part(s), s, t)
	} else {
		add(r.placement.Part(t), r.borders[last], t)
		for x := last; ; {
			l := &q.labels[x]
			if l.from == inside {
				add(r.placement.Part(s), s, r.borders[x])
				break
			}
			if l.arc == inside {
				add(r.partOf(x), r.borders[l.from], r.borders[x])
			} else {
				pieces = append(pieces, piece{arc: l.arc})
			}
			x = l.from
		}
	}
	answers := make([]*Legs, len(r.peers))
	errs := make([]error, len(r.peers))
	var wg sync.WaitGroup
	for part := range legs {
		if len(legs[part]) == 0 {
			continue
		}
		trace.Requests++
		trace.Parts++
		wg.Go(func() { answers[part], errs[part] = r.peers[part].Unpack(ctx, legs[part]) })
	}
	wg.Wait()
	for part, a := range answers {
		switch {
		case errs[part] != nil:
			return nil, false, fmt.Errorf("shard: part %d: %w", part, errs[part])
		case a == nil:
		case a.Version != q.maps[part].version:
			return nil, false, r.Refresh(ctx, part, a.Version)
		case len(a.Arcs) != len(legs[part]):
			return nil, false, fmt.Errorf("%w: part %d answers %d of %d legs", graph.ErrCorrupt, part, len(a.Arcs), len(legs[part]))
		}
	}
	path := []graph.ArcID{}
	for _, p := range slices.Backward(pieces) {
		if p.arc != inside {
			path = append(path, p.arc)
		} else {
			path = append(path, answers[p.part].Arcs[p.leg]...)
		}
	}
	return path, true, nil
}
