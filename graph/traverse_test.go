package graph

import (
	"errors"
	"slices"
	"testing"
)

// hops returns the least number of arcs between all pairs, -1 for none.
func hops(g *Graph) [][]int {
	n := g.Nodes()
	h := make([][]int, n)
	for u := range h {
		h[u] = make([]int, n)
		for v := range h[u] {
			h[u][v] = -1
		}
		h[u][u] = 0
	}
	for range n { // Bellman and Ford
		for u := range n {
			for a := range g.Arcs() {
				from, to := g.Tail(ArcID(a)), g.Head(ArcID(a))
				if d := h[u][from]; d >= 0 && (h[u][to] < 0 || d+1 < h[u][to]) {
					h[u][to] = d + 1
				}
			}
		}
	}
	return h
}

func TestBreadthFirst(t *testing.T) {
	for seed := range uint64(100) {
		g, _ := random(seed, 30)
		h := hops(g)
		rng := splitmix(seed)
		from := []NodeID{NodeID(rng.n(g.Nodes())), NodeID(rng.n(g.Nodes()))}
		got, last := map[NodeID]int{}, 0
		for u, d := range g.BreadthFirst(from...) {
			if _, again := got[u]; again || d < last {
				t.Fatalf("seed %d: node %d again, or after farther ones", seed, u)
			}
			got[u], last = d, d
		}
		for u := range g.Nodes() {
			a, b := h[from[0]][u], h[from[1]][u]
			want := min(a, b)
			if want < 0 {
				want = max(a, b)
			}
			if d, ok := got[NodeID(u)]; ok != (want >= 0) || ok && d != want {
				t.Fatalf("seed %d: node %d at %d hops, %v; want %d", seed, u, d, ok, want)
			}
		}
	}
}

func TestDepthFirst(t *testing.T) {
	type step struct {
		u NodeID
		d int
	}
	for seed := range uint64(100) {
		g, _ := random(seed, 30)
		var want, got []step
		seen := map[NodeID]bool{}
		var visit func(u NodeID, d int)
		visit = func(u NodeID, d int) {
			if seen[u] {
				return
			}
			seen[u] = true
			want = append(want, step{u, d})
			for _, a := range g.Out(u) {
				visit(g.Head(a), d+1)
			}
		}
		rng := splitmix(seed)
		from := []NodeID{NodeID(rng.n(g.Nodes())), NodeID(rng.n(g.Nodes()))}
		for _, u := range from {
			visit(u, 0)
		}
		for u, d := range g.DepthFirst(from...) {
			got = append(got, step{u, d})
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
		for range g.DepthFirst(from...) {
			break // must not go on
		}
	}
}

func TestTopologicalOrderAndComponents(t *testing.T) {
	cycles := 0
	for seed := range uint64(300) {
		rng := splitmix(seed)
		n := 1 + rng.n(20)
		b := NewBuilder(n)
		for range rng.n(3 * n) {
			u, v := rng.n(n), rng.n(n)
			if seed%2 == 0 && u > v {
				u, v = v, u
			}
			if seed%2 != 0 || u != v {
				b.AddArc(uint32(u), uint32(v))
			}
		}
		g, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		h := hops(g)
		comp, count := g.Components()
		named := map[uint32]bool{}
		loops := false
		for u := range n {
			named[comp[u]] = true
			for v := range n {
				if together := h[u][v] >= 0 && h[v][u] >= 0; together != (comp[u] == comp[v]) {
					t.Fatalf("seed %d: %d and %d in components %d and %d", seed, u, v, comp[u], comp[v])
				}
			}
		}
		for a := range g.Arcs() {
			if comp[g.Head(ArcID(a))] > comp[g.Tail(ArcID(a))] {
				t.Fatalf("seed %d: an arc to a higher component", seed)
			}
			loops = loops || g.Head(ArcID(a)) == g.Tail(ArcID(a))
		}
		if len(named) != count {
			t.Fatalf("seed %d: %d components, said to be %d", seed, len(named), count)
		}
		order, err := g.TopologicalOrder()
		if acyclic := count == n && !loops; acyclic != (err == nil) {
			t.Fatalf("seed %d: acyclic %v, but %v", seed, acyclic, err)
		}
		if err != nil {
			cycles++
			var c *CycleError
			if !errors.As(err, &c) || !errors.Is(err, ErrCycle) || len(c.Arcs) == 0 {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for i, a := range c.Arcs {
				if next := c.Arcs[(i+1)%len(c.Arcs)]; g.Head(a) != g.Tail(next) {
					t.Fatalf("seed %d: %v is no cycle", seed, c.Arcs)
				}
			}
			continue
		}
		place := make([]int, n)
		for i, u := range order {
			place[u] = i
		}
		for a := range g.Arcs() {
			if place[g.Tail(ArcID(a))] >= place[g.Head(ArcID(a))] {
				t.Fatalf("seed %d: arc %d leads back in %v", seed, a, order)
			}
		}
	}
	if cycles == 0 {
		t.Error("no graph with a cycle")
	}
}

// A path of a million nodes must not overflow a stack.
func TestTraverseDeep(t *testing.T) {
	const n = 1_000_000
	b := NewBuilder(n)
	for u := range uint32(n - 1) {
		b.AddArc(u, u+1)
	}
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	depth := 0
	for _, d := range g.DepthFirst(0) {
		depth = d
	}
	if _, count := g.Components(); depth != n-1 || count != n {
		t.Errorf("depth %d, %d components", depth, count)
	}
	if order, err := g.TopologicalOrder(); err != nil || order[n-1] != n-1 {
		t.Error(err)
	}
}
