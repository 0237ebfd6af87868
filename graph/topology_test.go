package graph

import (
	"context"
	"fmt"
	"testing"
)

// random returns a graph of up to n nodes with all that is odd: loops, parallel arcs,
// parts that are not connected, closed arcs, arcs that cost nothing.
func random(seed uint64, n int) (*Graph, []uint32) {
	rng := splitmix(seed)
	n = 1 + rng.n(n)
	b := NewBuilder(n)
	var weights []uint32
	arcs := rng.n(3*n + 1)
	near := 1 + rng.n(n)
	for range arcs {
		u := rng.n(n)
		v := min(n-1, max(0, u-near/2+rng.n(near)))
		b.AddArc(uint32(u), uint32(v))
		weights = append(weights, randomWeight(&rng))
	}
	if rng.n(2) == 0 {
		for u := range n {
			b.SetCoord(uint32(u), float64(rng.n(9)), float64(u%7))
		}
	}
	g, err := b.Build()
	if err != nil {
		panic(err)
	}
	return g, weights
}

func randomWeight(rng *splitmix) uint32 {
	switch rng.n(12) {
	case 0:
		return Inf
	case 1:
		return 0
	case 2:
		return MaxWeight - uint32(rng.n(1000))
	case 3, 4, 5:
		return uint32(1 + rng.n(3))
	}
	return uint32(rng.n(1000))
}

// checkPath tells whether path leads from s to t and is as long as said.
func checkPath(g *Graph, weight func(ArcID) uint32, s, t NodeID, distance uint32, path []ArcID) error {
	at, sum := s, uint64(0)
	passed := map[NodeID]bool{}
	for _, a := range path {
		if passed[at] {
			return fmt.Errorf("the path comes to %d again: %v", at, path)
		}
		passed[at] = true
		if g.Tail(a) != at {
			return fmt.Errorf("arc %d leaves %d, the path is at %d: %v", a, g.Tail(a), at, path)
		}
		at = g.Head(a)
		sum += uint64(weight(a))
	}
	switch {
	case len(path) > 0 && passed[at]:
		return fmt.Errorf("the path comes to %d again: %v", at, path)
	case distance == Inf && len(path) > 0:
		return fmt.Errorf("a path where there is none: %v", path)
	case distance < Inf && (at != t || sum != uint64(distance)):
		return fmt.Errorf("path to %d of length %d, want to %d of length %d: %v", at, sum, t, distance, path)
	}
	return nil
}

// The hierarchy has what elimination in its order gives, by brute force.
func TestTopologyIsElimination(t *testing.T) {
	for seed := range uint64(200) {
		g, _ := random(seed, 40)
		topo, err := Dissect(context.Background(), g, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := g.Nodes()
		joined := make([][]bool, n)
		for u := range joined {
			joined[u] = make([]bool, n)
		}
		for a := range uint32(g.Arcs()) {
			u, v := topo.Rank(g.Tail(a)), topo.Rank(g.Head(a))
			joined[u][v], joined[v][u] = true, true
		}
		arcs := 0
		for r := range n {
			for x := r + 1; x < n; x++ {
				if !joined[r][x] {
					continue
				}
				arcs++
				e := topo.find(uint32(r), uint32(x))
				if e == none || topo.head[e] != uint32(x) || topo.depth[e] != topo.nodes[x].depth {
					t.Fatalf("seed %d: no arc from rank %d to %d", seed, r, x)
				}
				for y := r + 1; y < n; y++ {
					if joined[r][y] {
						joined[x][y], joined[y][x] = true, true
					}
				}
			}
		}
		if arcs != topo.Stats().Arcs {
			t.Fatalf("seed %d: %d arcs, want %d", seed, topo.Stats().Arcs, arcs)
		}
		again, err := Dissect(context.Background(), g, &Options{Order: topo.Order()})
		if err != nil || fmt.Sprint(again.order) != fmt.Sprint(topo.order) {
			t.Fatalf("seed %d: %v: the order of the order is another: %v, %v", seed, err, again.order, topo.order)
		}
	}
}

// Every way to a distance agrees with Dijkstra's.
func TestDistance(t *testing.T) {
	for seed := range uint64(300) {
		g, weights := random(seed, 60)
		topo, err := Dissect(context.Background(), g, &Options{Workers: 1 + int(seed%3)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := topo.Customize(weights)
		if err != nil {
			t.Fatal(err)
		}
		search, err := NewSearch(g, weights)
		if err != nil {
			t.Fatal(err)
		}
		q := m.NewQuery()
		rng := splitmix(seed)
		for range 50 {
			s, u := uint32(rng.n(g.Nodes())), uint32(rng.n(g.Nodes()))
			want, path, err := Dijkstra(g, weights, s, u)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkPath(g, m.Weight, s, u, want, path); err != nil {
				t.Fatalf("seed %d: Dijkstra: %v", seed, err)
			}
			if got, err := q.Distance(s, u); err != nil || got != want {
				t.Fatalf("seed %d: Distance(%d, %d) = %d, %v, want %d", seed, s, u, got, err, want)
			}
			if err := checkPath(g, m.Weight, s, u, want, q.AppendPath(nil)); err != nil {
				t.Fatalf("seed %d: path from %d to %d: %v", seed, s, u, err)
			}
			ways := []func(s, t NodeID) (uint32, error){search.Distance, search.Bidirectional}
			if g.located() {
				ways = append(ways, search.AStar)
			}
			for i, way := range ways {
				got, err := way(s, u)
				if err != nil || got != want {
					t.Fatalf("seed %d: way %d: distance from %d to %d is %d, %v, want %d", seed, i, s, u, got, err, want)
				}
				if err := checkPath(g, m.Weight, s, u, want, search.AppendPath(nil)); err != nil {
					t.Fatalf("seed %d: way %d from %d to %d: %v", seed, i, s, u, err)
				}
			}
		}
	}
}
