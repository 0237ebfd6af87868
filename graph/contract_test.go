package graph

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// checkHierarchy compares all pairs, or so many random ones, with Dijkstra.
func checkHierarchy(t *testing.T, name string, g *Graph, weights []uint32, h *Hierarchy, pairs int) {
	t.Helper()
	q := h.NewQuery()
	check := func(s, v NodeID) {
		want, _, err := Dijkstra(g, weights, s, v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.Distance(s, v)
		if err != nil || got != want {
			t.Fatalf("%s: from %d to %d: %d, %v; want %d", name, s, v, got, err, want)
		}
		path := q.AppendPath(nil)
		if err := checkPath(g, func(a ArcID) uint32 { return weights[a] }, s, v, got, path); err != nil {
			t.Fatalf("%s: from %d to %d: %v", name, s, v, err)
		}
	}
	if n := g.Nodes(); n*n <= pairs {
		for s := range n {
			for v := range n {
				check(NodeID(s), NodeID(v))
			}
		}
		return
	}
	rng := splitmix(9)
	for range pairs {
		check(NodeID(rng.n(g.Nodes())), NodeID(rng.n(g.Nodes())))
	}
}

func TestContract(t *testing.T) {
	for seed := range uint64(400) {
		g, weights := random(seed, 40)
		h, err := Contract(context.Background(), g, weights, nil)
		if err != nil {
			t.Fatal(err)
		}
		checkHierarchy(t, "random", g, weights, h, 1600)
	}
	g, weights, _, err := Generate(40, 40, 3)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Contract(context.Background(), g, weights, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkHierarchy(t, "generated", g, weights, h, 500)
}

// Any order is right, if not fast.
func TestContractInOrder(t *testing.T) {
	for seed := range uint64(100) {
		g, weights := random(seed, 30)
		rng := splitmix(seed)
		order := make([]NodeID, g.Nodes())
		for i := range order {
			j := rng.n(i + 1)
			order[i], order[j] = order[j], uint32(i)
		}
		h, err := Contract(context.Background(), g, weights, &Options{Order: order})
		if err != nil {
			t.Fatal(err)
		}
		for i, u := range order {
			if h.Rank(u) != i {
				t.Fatalf("node %d has rank %d, want %d", u, h.Rank(u), i)
			}
		}
		checkHierarchy(t, "in order", g, weights, h, 900)
	}
}

// Each level is a graph with the same distances between its nodes.
func TestOverlay(t *testing.T) {
	for seed := range uint64(100) {
		g, weights := random(seed, 30)
		h, err := Contract(context.Background(), g, weights, nil)
		if err != nil {
			t.Fatal(err)
		}
		counts := h.Levels()
		sum := 0
		for _, n := range counts {
			sum += n
		}
		if sum != g.Nodes() {
			t.Fatalf("levels %v for %d nodes", counts, g.Nodes())
		}
		for level := range len(counts) {
			b := NewBuilder(g.Nodes())
			var w []uint32
			shortcuts := 0
			for a := range h.Overlay(level) {
				if h.Level(a.Tail) < level || h.Level(a.Head) < level || h.Level(a.Tail) == h.Level(a.Head) {
					t.Fatalf("level %d has an arc from level %d to %d", level, h.Level(a.Tail), h.Level(a.Head))
				}
				if a.Shortcut {
					shortcuts++
				} else if g.Tail(a.Arc) != a.Tail || g.Head(a.Arc) != a.Head || weights[a.Arc] != a.Weight {
					t.Fatalf("arc %d is said to be %+v", a.Arc, a)
				}
				b.AddArc(a.Tail, a.Head)
				w = append(w, a.Weight)
			}
			if level == 0 && shortcuts != h.Shortcuts() {
				t.Fatalf("%d shortcuts, want %d", shortcuts, h.Shortcuts())
			}
			sparse, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			for s := range g.Nodes() {
				for v := range g.Nodes() {
					if h.Level(NodeID(s)) < level || h.Level(NodeID(v)) < level {
						continue
					}
					want, _, _ := Dijkstra(g, weights, NodeID(s), NodeID(v))
					if got, _, _ := Dijkstra(sparse, w, NodeID(s), NodeID(v)); got != want {
						t.Fatalf("seed %d level %d: from %d to %d it is %d, want %d", seed, level, s, v, got, want)
					}
				}
			}
		}
	}
}

func TestContractRefuses(t *testing.T) {
	g, weights := random(7, 40)
	ctx := context.Background()
	if _, err := Contract(ctx, g, weights[1:], nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a weight too few: %v", err)
	}
	if _, err := Contract(ctx, g, weights, &Options{Order: make([]NodeID, g.Nodes())}); !errors.Is(err, ErrInvalid) {
		t.Errorf("an order that is none: %v", err)
	}
	if _, err := Contract(ctx, g, weights, &Options{MaxArcs: 1}); !errors.Is(err, ErrTooDense) {
		t.Errorf("too many arcs: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Contract(ended, g, weights, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	h, err := Contract(ctx, g, weights, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := h.NewQuery()
	if d, err := q.Distance(0, NodeID(g.Nodes())); !errors.Is(err, ErrInvalid) || d != Inf {
		t.Errorf("a node that is none: %d, %v", d, err)
	}
	if path := q.AppendPath(nil); path != nil {
		t.Errorf("path of a question that failed: %v", path)
	}
}

// The middle of a star must come last: without it, all leaves would be neighbours.
func TestContractStar(t *testing.T) {
	const leaves = 100_000
	b := NewBuilder(leaves + 1)
	weights := make([]uint32, 2*leaves)
	for u := range uint32(leaves) {
		b.AddEdge(leaves, u)
		weights[2*u], weights[2*u+1] = u, 1
	}
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	h, err := Contract(context.Background(), g, weights, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := h.NewQuery()
	if d, err := q.Distance(5, 77); err != nil || d != 78 || h.Shortcuts() > 10 {
		t.Errorf("from leaf to leaf: %d, %v, with %d shortcuts", d, err, h.Shortcuts())
	}
}

// BenchmarkContract builds hierarchies of generated roads, or of New York if ASHLAR_ROADS
// names the folder of its files, and asks for distances and paths.
func BenchmarkContract(b *testing.B) {
	run := func(name string, g *Graph, weights []uint32) {
		var h *Hierarchy
		b.Run(name+"/build", func(b *testing.B) {
			for b.Loop() {
				var err error
				if h, err = Contract(context.Background(), g, weights, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(h.Shortcuts()), "shortcuts")
		})
		if h == nil {
			return
		}
		q := h.NewQuery()
		var path []ArcID
		for _, c := range []struct {
			name string
			path bool
		}{{"distance", false}, {"path", true}} {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				rng := splitmix(42)
				b.ReportAllocs()
				for b.Loop() {
					s, t := NodeID(rng.n(g.Nodes())), NodeID(rng.n(g.Nodes()))
					if _, err := q.Distance(s, t); err != nil {
						b.Fatal(err)
					}
					if c.path {
						path = q.AppendPath(path[:0])
					}
				}
			})
		}
	}
	if os.Getenv("ASHLAR_ROADS") != "" {
		g, weights := newYork(b)
		run("newyork", g, weights)
		return
	}
	for _, side := range []int{50, 100, 200} {
		g, weights, _, err := Generate(side, side, 1)
		if err != nil {
			b.Fatal(err)
		}
		run(fmt.Sprintf("side=%d", side), g, weights)
	}
}

// A star whose middle goes first, by an order that somebody gives, ends when it is told to,
// and when it is too large.
func TestContractWrongOrder(t *testing.T) {
	const leaves = 3000
	b := NewBuilder(leaves + 1)
	weights := make([]uint32, 2*leaves)
	for u := range uint32(leaves) {
		b.AddEdge(leaves, u)
		weights[2*u], weights[2*u+1] = 1, 1
	}
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	order := []NodeID{leaves}
	for u := range uint32(leaves) {
		order = append(order, u)
	}
	if _, err := Contract(context.Background(), g, weights, &Options{Order: order, MaxArcs: 10_000}); !errors.Is(err, ErrTooDense) {
		t.Errorf("too many: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := newContraction(ctx, g, weights, maxArcs)
	cancel()
	if err := c.simulate(leaves); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
