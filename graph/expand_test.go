package graph

import (
	"context"
	"testing"
)

// turnCost is what a turn costs, from the definition.
func turnCost(g *Graph, uTurn uint32, a, b ArcID) uint64 {
	for _, t := range g.turns {
		if t.From == a && t.To == b {
			return uint64(t.Cost)
		}
	}
	if g.Head(b) != g.Tail(a) {
		return 0
	}
	if uTurn == Inf {
		for _, c := range g.Out(g.Head(a)) {
			if g.Head(c) != g.Tail(a) {
				return Inf
			}
		}
		return 0
	}
	return uint64(uTurn)
}

// turnDijkstra searches the arcs of g themselves: what it costs to get to the end of
// each arc.
func turnDijkstra(g *Graph, weights []uint32, uTurn uint32, starts map[ArcID]uint32) []uint32 {
	end, done := make([]uint32, g.Arcs()), make([]bool, g.Arcs())
	for a := range end {
		end[a] = Inf
	}
	for a, c := range starts {
		end[a] = c
	}
	for {
		at := -1
		for a := range end {
			if !done[a] && end[a] < Inf && (at < 0 || end[a] < end[at]) {
				at = a
			}
		}
		if at < 0 {
			return end
		}
		done[at] = true
		for _, b := range g.Out(g.Head(ArcID(at))) {
			d := uint64(end[at]) + turnCost(g, uTurn, ArcID(at), b) + uint64(weights[b])
			if d < uint64(end[b]) {
				end[b] = uint32(d)
			}
		}
	}
}

func TestTurns(t *testing.T) {
	for seed := range uint64(120) {
		plain, weights := random(seed, 25)
		if plain.Arcs() == 0 {
			continue
		}
		rng := splitmix(seed)
		b := NewBuilder(plain.Nodes())
		for a := range uint32(plain.Arcs()) {
			b.AddArc(plain.Tail(a), plain.Head(a))
		}
		for range rng.n(2 * plain.Arcs()) {
			in := uint32(rng.n(plain.Arcs()))
			if out := plain.Out(plain.Head(in)); len(out) > 0 {
				to := out[rng.n(len(out))]
				if rng.n(4) == 0 {
					b.OnlyTurn(in, to)
				} else {
					b.SetTurn(in, to, []uint32{0, 1, 500, Inf, Inf, MaxWeight}[rng.n(6)])
				}
			}
		}
		g, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		uTurn := []uint32{0, 3, Inf}[rng.n(3)]
		x, err := g.Expand(uTurn)
		if err != nil {
			t.Fatal(err)
		}
		topo, err := Dissect(context.Background(), x.Graph(), nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := x.Customize(topo, weights)
		if err != nil {
			t.Fatal(err)
		}
		if seed%2 == 1 { // the same by changes
			other := make([]uint32, len(weights))
			var changes []Change
			for a := range other {
				if other[a] = weights[a]; rng.n(3) == 0 {
					other[a] = randomWeight(&rng)
					changes = append(changes, Change{ArcID(a), weights[a]})
				}
			}
			if m, err = x.Customize(topo, other); err != nil {
				t.Fatal(err)
			}
			if m, err = m.Update(changes); err != nil {
				t.Fatal(err)
			}
		}
		q := m.NewQuery()
		check := func(what string, got, want uint32, from NodeID, path []ArcID) {
			t.Helper()
			if got != want {
				t.Fatalf("seed %d: %s is %d, want %d", seed, what, got, want)
			}
			for i, a := range path {
				if g.Tail(a) != from {
					t.Fatalf("seed %d: %s: path %v is broken at %d", seed, what, path, i)
				}
				from = g.Head(a)
			}
		}
		for s := range uint32(g.Nodes()) {
			starts := map[ArcID]uint32{}
			for _, a := range g.Out(s) {
				starts[a] = weights[a]
			}
			end := turnDijkstra(g, weights, uTurn, starts)
			for u := range uint32(g.Nodes()) {
				want := uint32(Inf)
				for _, a := range g.In(u) {
					want = min(want, end[a])
				}
				if s == u {
					want = 0
				}
				got, err := q.Distance(s, u)
				if err != nil {
					t.Fatal(err)
				}
				path := q.AppendPath(nil)
				check("distance", got, want, s, path)
				if want < Inf && s != u {
					// The path costs what it should.
					sum := uint32(0)
					at := map[ArcID]uint32{path[0]: weights[path[0]]}
					for i, a := range path {
						only := turnDijkstra(g, weights, uTurn, at)
						if i+1 == len(path) {
							sum = only[a]
						} else if only[path[i+1]] == Inf {
							t.Fatalf("seed %d: no way along %v", seed, path)
						}
					}
					if sum != want {
						t.Fatalf("seed %d: path %v costs %d, want %d", seed, path, sum, want)
					}
				}
			}
		}
		for range 50 {
			from := Point{uint32(rng.n(g.Arcs())), []float64{0, 0.25, 1}[rng.n(3)]}
			to := Point{uint32(rng.n(g.Arcs())), []float64{0, 0.25, 1}[rng.n(3)]}
			if rng.n(4) == 0 {
				to.Arc = from.Arc
			}
			wf, wt := weights[from.Arc], weights[to.Arc]
			want := uint32(Inf)
			if wf < Inf && wt < Inf {
				pf, pt := uint32(from.Fraction*float64(wf)+0.5), uint32(to.Fraction*float64(wt)+0.5)
				if from.Arc == to.Arc && to.Fraction >= from.Fraction {
					want = pt - pf
				} else {
					// On from the first arc, by any way that is not along the rest of it.
					starts := map[ArcID]uint32{}
					sum := turnCost(g, uTurn, from.Arc, to.Arc) + uint64(wf-pf) + uint64(pt)
					if g.Head(from.Arc) != g.Tail(to.Arc) {
						sum = Inf
					}
					for _, b := range g.Out(g.Head(from.Arc)) {
						if c := turnCost(g, uTurn, from.Arc, b) + uint64(wf-pf) + uint64(weights[b]); c < Inf {
							starts[b] = uint32(c)
						}
					}
					for a, c := range turnDijkstra(g, weights, uTurn, starts) {
						if g.Head(ArcID(a)) == g.Tail(to.Arc) && c < Inf {
							sum = min(sum, uint64(c)+turnCost(g, uTurn, ArcID(a), to.Arc)+uint64(pt))
						}
					}
					want = uint32(min(sum, Inf))
				}
			}
			got, err := q.DistanceBetween(from, to)
			if err != nil {
				t.Fatal(err)
			}
			check("distance between points", got, want, g.Tail(from.Arc), q.AppendPath(nil))
		}
	}
}
