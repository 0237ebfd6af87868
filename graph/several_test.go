package graph

import (
	"context"
	"testing"
)

// Several ends are the best of each pair of them.
func TestDistanceFrom(t *testing.T) {
	for seed := range uint64(200) {
		g, weights := random(seed, 60)
		topo, err := Dissect(context.Background(), g, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := topo.Customize(weights)
		if err != nil {
			t.Fatal(err)
		}
		q := m.NewQuery()
		rng := splitmix(seed)
		ends := func() []Access {
			as := make([]Access, rng.n(6))
			for i := range as {
				as[i] = Access{uint32(rng.n(g.Nodes())), randomWeight(&rng)}
			}
			return as
		}
		for range 30 {
			starts, targets := ends(), ends()
			want := uint64(Inf)
			for _, s := range starts {
				for _, u := range targets {
					d, _, err := Dijkstra(g, weights, s.Node, u.Node)
					if err != nil {
						t.Fatal(err)
					}
					want = min(want, uint64(d)+uint64(s.Cost)+uint64(u.Cost))
				}
			}
			got, err := q.DistanceFrom(starts, targets)
			if err != nil || uint64(got) != want {
				t.Fatalf("seed %d: from %v to %v: %d, %v, want %d", seed, starts, targets, got, err, want)
			}
			path := q.AppendPath(nil)
			if want == Inf {
				if len(path) > 0 {
					t.Fatalf("seed %d: path %v to nowhere", seed, path)
				}
				continue
			}
			// The path and its ends add up to what was said.
			ok := false
			for _, s := range starts {
				for _, u := range targets {
					if rest := int64(got) - int64(s.Cost) - int64(u.Cost); rest >= 0 {
						ok = ok || checkPath(g, m.Weight, s.Node, u.Node, uint32(rest), path) == nil
					}
				}
			}
			if !ok {
				t.Fatalf("seed %d: path %v from %v to %v does not cost %d", seed, path, starts, targets, got)
			}
			seen := map[NodeID]bool{}
			for u := range q.Visited {
				if seen[u] {
					t.Fatalf("seed %d: node %d visited again", seed, u)
				}
				seen[u] = true
			}
		}
	}
}

// Points on arcs: nodes are put where they are.
func TestDistanceBetween(t *testing.T) {
	for seed := range uint64(200) {
		g, weights := random(seed, 30)
		if g.Arcs() == 0 {
			continue
		}
		topo, err := Dissect(context.Background(), g, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := topo.Customize(weights)
		if err != nil {
			t.Fatal(err)
		}
		q := m.NewQuery()
		rng := splitmix(seed)
		for range 30 {
			from := Point{uint32(rng.n(g.Arcs())), []float64{0, 0.25, 0.5, 1}[rng.n(4)]}
			to := Point{uint32(rng.n(g.Arcs())), []float64{0, 0.25, 0.5, 1}[rng.n(4)]}
			if rng.n(3) == 0 {
				to.Arc = from.Arc
			}
			// A graph with a node more in the arc of each point.
			b := NewBuilder(g.Nodes() + 2)
			var w []uint32
			n := uint32(g.Nodes())
			for a := range uint32(g.Arcs()) {
				b.AddArc(g.Tail(a), g.Head(a))
				w = append(w, weights[a])
			}
			add := func(u, v NodeID, c uint32) {
				b.AddArc(u, v)
				w = append(w, c)
			}
			part := func(p Point) uint32 { return uint32(p.Fraction*float64(weights[p.Arc]) + 0.5) }
			if weights[from.Arc] < Inf && weights[to.Arc] < Inf {
				add(n, g.Head(from.Arc), weights[from.Arc]-part(from))
				add(g.Tail(to.Arc), n+1, part(to))
				if from.Arc == to.Arc && to.Fraction >= from.Fraction {
					add(n, n+1, part(to)-part(from))
				}
			}
			whole, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := Dijkstra(whole, w, n, n+1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := q.DistanceBetween(from, to)
			if err != nil || got != want {
				t.Fatalf("seed %d: from %v to %v: %d, %v, want %d", seed, from, to, got, err, want)
			}
			path := q.AppendPath(nil)
			if want == Inf {
				if len(path) > 0 {
					t.Fatalf("path %v to nowhere", path)
				}
				continue
			}
			if path[0] != from.Arc || path[len(path)-1] != to.Arc {
				t.Fatalf("path %v from %v to %v", path, from, to)
			}
			sum := int64(0)
			for i, a := range path {
				if i > 0 && g.Tail(a) != g.Head(path[i-1]) {
					t.Fatalf("path %v is broken at %d", path, i)
				}
				sum += int64(weights[a])
			}
			if sum -= int64(part(from)) + int64(weights[to.Arc]) - int64(part(to)); sum != int64(want) {
				t.Fatalf("path %v costs %d, want %d", path, sum, want)
			}
		}
	}
}
