package graph

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
)

// long is how large graphs are: 100,000 nodes, or a million if there is time.
func long() int {
	if os.Getenv("ASHLAR_FULL") != "" {
		return 1_000_000
	}
	return 100_000
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// hierarchy dissects and customizes.
func hierarchy(t testing.TB, g *Graph, weights []uint32) *Metric {
	t.Helper()
	topo := must[*Topology](t)(Dissect(context.Background(), g, nil))
	return must[*Metric](t)(topo.Customize(weights))
}

func ones(n int) []uint32 { return slices.Repeat([]uint32{1}, n) }

func TestEmpty(t *testing.T) {
	for n := range 3 {
		g := must[*Graph](t)(NewBuilder(n).Build())
		m := hierarchy(t, g, nil)
		q := m.NewQuery()
		for s := range uint32(n) {
			for u := range uint32(n) {
				want := uint32(Inf)
				if s == u {
					want = 0
				}
				if d, err := q.Distance(s, u); d != want || err != nil || len(q.AppendPath(nil)) > 0 {
					t.Fatal(n, s, u, d, err)
				}
			}
		}
		if _, err := q.Distance(uint32(n), 0); !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
		if all, err := m.Matrix(nil, nil, nil); len(all) > 0 || err != nil {
			t.Fatal(all, err)
		}
	}
}

func TestRefused(t *testing.T) {
	invalid := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	build := func(n int, f func(b *Builder)) error {
		b := NewBuilder(n)
		f(b)
		_, err := b.Build()
		return err
	}
	invalid("−1 nodes", build(-1, func(*Builder) {}), ErrInvalid)
	invalid("2^30+1 nodes", build(1<<30+1, func(*Builder) {}), ErrTooLarge)
	invalid("head", build(2, func(b *Builder) { b.AddArc(0, 2) }), ErrInvalid)
	invalid("tail", build(2, func(b *Builder) { b.AddEdge(2, 0) }), ErrInvalid)
	invalid("coordinates of none", build(2, func(b *Builder) { b.SetCoord(2, 0, 0) }), ErrInvalid)
	for _, c := range [][2]float64{{90.1, 0}, {-91, 0}, {0, 180.5}, {0, -181}, {math.NaN(), 0}, {0, math.Inf(1)}} {
		invalid(fmt.Sprint(c), build(1, func(b *Builder) { b.SetCoord(0, c[0], c[1]) }), ErrInvalid)
	}
	turn := func(f func(b *Builder)) error {
		return build(3, func(b *Builder) {
			b.AddArc(0, 1)
			b.AddArc(1, 2)
			f(b)
		})
	}
	invalid("turn between arcs that do not meet", turn(func(b *Builder) { b.SetTurn(1, 0, 1) }), ErrInvalid)
	invalid("turn from no arc", turn(func(b *Builder) { b.SetTurn(7, 0, 1) }), ErrInvalid)
	invalid("turn to no arc", turn(func(b *Builder) { b.SetTurn(0, 7, 1) }), ErrInvalid)
	invalid("cost of a turn", turn(func(b *Builder) { b.SetTurn(0, 1, Inf+1) }), ErrInvalid)
	invalid("only turn", turn(func(b *Builder) { b.OnlyTurn(0, 0) }), ErrInvalid)

	b := NewBuilder(2)
	b.AddEdge(0, 1)
	g := must[*Graph](t)(b.Build())
	_, err := g.Expand(Inf + 1)
	invalid("cost of a U-turn", err, ErrInvalid)
	for _, o := range []*Options{
		{Workers: -1},
		{MaxArcs: -1},
		{Order: []NodeID{0}},
		{Order: []NodeID{0, 0}},
		{Order: []NodeID{0, 2}},
		{Order: []NodeID{}},
	} {
		_, err := Dissect(context.Background(), g, o)
		invalid(fmt.Sprintf("%+v", o), err, ErrInvalid)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Dissect(ctx, g, nil)
	invalid("cancelled", err, context.Canceled)

	m := hierarchy(t, g, ones(2))
	topo := m.Topology()
	for _, w := range [][]uint32{nil, ones(1), ones(3), {1, Inf + 1}} {
		_, err := topo.Customize(w)
		invalid(fmt.Sprint("weights ", w), err, ErrInvalid)
		_, err = NewSearch(g, w)
		invalid(fmt.Sprint("weights ", w), err, ErrInvalid)
		_, _, err = Dijkstra(g, w, 0, 1)
		invalid(fmt.Sprint("weights ", w), err, ErrInvalid)
	}
	for _, c := range [][]Change{{{2, 1}}, {{0, Inf + 1}}, {{0, 7}, {9, 1}}} {
		_, err := m.Update(c)
		invalid(fmt.Sprint("changes ", c), err, ErrInvalid)
		live := NewLive(m)
		invalid("applied", live.Apply(c), ErrInvalid)
		if live.Metric() != m || m.Weight(0) != 1 {
			t.Error("changed on an error")
		}
	}
	if same, err := m.Update(nil); same != m || err != nil {
		t.Error("no change is another metric", err)
	}
	q := m.NewQuery()
	search := must[*Search](t)(NewSearch(g, ones(2)))
	for _, p := range [][2]NodeID{{0, 2}, {2, 0}, {none, 0}} {
		if _, err := q.Distance(0, 1); err != nil {
			t.Fatal(err)
		}
		_, err := q.Distance(p[0], p[1])
		invalid(fmt.Sprint("query ", p), err, ErrInvalid)
		if path := q.AppendPath(nil); len(path) > 0 {
			t.Error("the path of a question before", path)
		}
		for i, f := range []func(s, t NodeID) (uint32, error){search.Distance, search.Bidirectional} {
			if _, err := f(0, 1); err != nil {
				t.Fatal(err)
			}
			_, err = f(p[0], p[1])
			invalid(fmt.Sprint("search ", i, p), err, ErrInvalid)
			if path := search.AppendPath(nil); len(path) > 0 {
				t.Error("the path of a search before", path)
			}
		}
		_, err = m.Matrix(nil, p[:], []NodeID{0})
		invalid("matrix", err, ErrInvalid)
		_, err = m.Matrix(nil, []NodeID{0}, p[:])
		invalid("matrix", err, ErrInvalid)
		_, err = q.DistanceFrom([]Access{{p[0], 0}, {p[1], 0}}, nil)
		invalid("several", err, ErrInvalid)
		_, _, err = Dijkstra(g, ones(2), p[0], p[1])
		invalid("Dijkstra", err, ErrInvalid)
	}
	for _, p := range []Point{{2, 0}, {0, -0.1}, {0, 1.1}, {0, math.NaN()}} {
		_, err := q.DistanceBetween(p, Point{})
		invalid(fmt.Sprint("from ", p), err, ErrInvalid)
		_, err = q.DistanceBetween(Point{}, p)
		invalid(fmt.Sprint("to ", p), err, ErrInvalid)
	}
	_, err = search.AStar(0, 1)
	invalid("A* without coordinates", err, ErrInvalid)
	b = NewBuilder(3)
	b.AddEdge(0, 1)
	b.AddEdge(1, 2)
	_, err = must[*Expansion](t)(must[*Graph](t)(b.Build()).Expand(0)).Customize(topo, ones(4))
	invalid("hierarchy of another graph", err, ErrIncompatible)
	for v, want := range map[float64]uint32{0: 0, 1.4: 1, MaxWeight: MaxWeight, math.Inf(1): Inf} {
		if w, err := WeightOf(v); w != want || err != nil {
			t.Errorf("WeightOf(%v) = %d, %v", v, w, err)
		}
	}
	for _, v := range []float64{-1, math.NaN(), math.Inf(-1), Inf, 1e300} {
		_, err := WeightOf(v)
		invalid(fmt.Sprint("weight ", v), err, ErrInvalid)
	}
}

// A chain of nodes, a star, a circle of arcs that cost nothing: nothing recurses, no
// clique is made.
func TestShapes(t *testing.T) {
	n := long()
	shapes := map[string]func(b *Builder, i uint32){
		"chain":  func(b *Builder, i uint32) { b.AddEdge(i-1, i) },
		"oneway": func(b *Builder, i uint32) { b.AddArc(i-1, i) },
		"star":   func(b *Builder, i uint32) { b.AddEdge(0, i) },
		"tree":   func(b *Builder, i uint32) { b.AddEdge((i-1)/3, i) },
		"pairs": func(b *Builder, i uint32) {
			if i%2 == 1 {
				b.AddEdge(i-1, i)
			}
		},
		"parallel": func(b *Builder, _ uint32) { b.AddEdge(0, 1) },
		"loops":    func(b *Builder, i uint32) { b.AddArc(i, i) },
	}
	for name, add := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := NewBuilder(n)
			for i := 1; i < n; i++ {
				add(b, uint32(i))
			}
			g := must[*Graph](t)(b.Build())
			m := hierarchy(t, g, ones(g.Arcs()))
			if s := m.Topology().Stats(); s.Arcs > 3*n || s.Height > 200 {
				t.Fatalf("%+v", s)
			}
			search := must[*Search](t)(NewSearch(g, ones(g.Arcs())))
			q := m.NewQuery()
			rng := splitmix(3)
			for range 20 {
				s, u := uint32(rng.n(n)), uint32(rng.n(n))
				want := must[uint32](t)(search.Bidirectional(s, u))
				if got := must[uint32](t)(q.Distance(s, u)); got != want {
					t.Fatalf("from %d to %d: %d, want %d", s, u, got, want)
				}
				if err := checkPath(g, m.Weight, s, u, want, q.AppendPath(nil)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// In an order from one end to the other a chain has as many levels as nodes.
func TestWorstOrder(t *testing.T) {
	n := long() / 10
	b := NewBuilder(n)
	order := make([]NodeID, n)
	for i := 1; i < n; i++ {
		b.AddEdge(uint32(i-1), uint32(i))
		order[i] = uint32(i)
	}
	g := must[*Graph](t)(b.Build())
	topo := must[*Topology](t)(Dissect(context.Background(), g, &Options{Order: order}))
	m := must[*Metric](t)(topo.Customize(ones(g.Arcs())))
	q := m.NewQuery()
	if d, err := q.Distance(0, uint32(n-1)); d != uint32(n-1) || err != nil || len(q.AppendPath(nil)) != n-1 {
		t.Fatal(d, err)
	}
}

func TestDense(t *testing.T) {
	const n = 300
	b := NewBuilder(n)
	var weights []uint32
	rng := splitmix(9)
	for u := range uint32(n) {
		for v := range u {
			b.AddEdge(u, v)
			weights = append(weights, uint32(rng.n(1000)), uint32(rng.n(1000)))
		}
	}
	g := must[*Graph](t)(b.Build())
	m := hierarchy(t, g, weights)
	if s := m.Topology().Stats(); s.Arcs != n*(n-1)/2 || s.Height != n || s.MaxDegree != n-1 {
		t.Fatalf("%+v", s)
	}
	q := m.NewQuery()
	for range 50 {
		s, u := uint32(rng.n(n)), uint32(rng.n(n))
		want, _, err := Dijkstra(g, weights, s, u)
		if got, err2 := q.Distance(s, u); got != want || err != nil || err2 != nil {
			t.Fatal(got, want, err, err2)
		}
	}
	if _, err := Dissect(context.Background(), g, &Options{MaxArcs: 1000}); !errors.Is(err, ErrTooDense) {
		t.Fatal(err)
	}
	// A graph of random arcs cannot be cut.
	b = NewBuilder(20_000)
	for range 60_000 {
		b.AddEdge(uint32(rng.n(20_000)), uint32(rng.n(20_000)))
	}
	g = must[*Graph](t)(b.Build())
	if _, err := Dissect(context.Background(), g, nil); !errors.Is(err, ErrTooDense) {
		t.Fatal(err)
	}
}

// Coordinates may say nothing, or wrap around the Earth.
func TestCoordinates(t *testing.T) {
	const w = 40
	for name, at := range map[string]func(x, y int) (lat, lon float64){
		"equal":        func(int, int) (float64, float64) { return 1, 2 },
		"line":         func(_, y int) (float64, float64) { return 0, float64(y) / 100 },
		"antimeridian": func(x, y int) (float64, float64) { return float64(y) / 100, 180 - math.Mod(float64(x)/100+359.8, 360) },
		"pole":         func(x, y int) (float64, float64) { return 90 - float64(y)/100, float64(x)*9 - 180 },
		"opposite":     func(x, y int) (float64, float64) { return float64(y%2)*180 - 90, float64(x) },
	} {
		b := NewBuilder(w * w)
		for x := range w {
			for y := range w {
				u := uint32(y*w + x)
				lat, lon := at(x, y)
				b.SetCoord(u, lat, lon)
				if x > 0 {
					b.AddEdge(u, u-1)
				}
				if y > 0 {
					b.AddEdge(u, u-w)
				}
			}
		}
		g, err := b.Build()
		if err != nil {
			t.Fatal(name, err)
		}
		m := hierarchy(t, g, ones(g.Arcs()))
		if s := m.Topology().Stats(); s.Height > 8*w { // 137 with proper coordinates
			t.Errorf("%s: %+v", name, s)
		}
		q := m.NewQuery()
		search := must[*Search](t)(NewSearch(g, ones(g.Arcs())))
		rng := splitmix(4)
		for range 50 {
			s, u := uint32(rng.n(w*w)), uint32(rng.n(w*w))
			want := must[uint32](t)(search.Distance(s, u))
			if got := must[uint32](t)(search.AStar(s, u)); got != want {
				t.Errorf("%s: A* says %d from %d to %d, want %d", name, got, s, u, want)
			}
			if got := must[uint32](t)(q.Distance(s, u)); got != want {
				t.Errorf("%s: %d from %d to %d, want %d", name, got, s, u, want)
			}
		}
	}
}

// The order does not depend on how many work on it.
func TestWorkers(t *testing.T) {
	g, millis, _, err := Generate(50, 60, 2)
	if err != nil {
		t.Fatal(err)
	}
	var order []NodeID
	var first *Metric
	for _, workers := range []int{1, 2, 5} {
		topo := must[*Topology](t)(Dissect(context.Background(), g, &Options{Workers: workers}))
		m := must[*Metric](t)(topo.Customize(millis))
		if first == nil {
			order, first = topo.Order(), m
		}
		if !slices.Equal(topo.Order(), order) {
			t.Fatalf("%d workers find another order", workers)
		}
		sameMetric(t, m, first)
	}
}

// Every arc closed at once, opened again, and a million changes in one batch.
func TestManyChanges(t *testing.T) {
	g, millis, _, err := Generate(30, 30, 3)
	if err != nil {
		t.Fatal(err)
	}
	m := hierarchy(t, g, millis)
	var closed, open []Change
	for a, w := range millis {
		closed, open = append(closed, Change{uint32(a), Inf}), append(open, Change{uint32(a), w})
	}
	none := must[*Metric](t)(m.Update(closed))
	q := none.NewQuery()
	for u := range uint32(g.Nodes()) {
		if d, err := q.Distance(0, u); err != nil || (d == 0) != (u == 0) || u != 0 && d != Inf {
			t.Fatal(u, d, err)
		}
	}
	sameMetric(t, must[*Metric](t)(none.Update(open)), m)
	// The same with changes one by one, which is never a customization.
	again := none
	for _, c := range open {
		again = must[*Metric](t)(again.Update([]Change{c}))
	}
	sameMetric(t, again, m)

	rng := splitmix(1)
	batch := make([]Change, 1_000_000)
	now := slices.Clone(millis)
	for i := range batch {
		batch[i] = Change{uint32(rng.n(g.Arcs())), uint32(rng.n(1000))}
		now[batch[i].Arc] = batch[i].Weight
	}
	sameMetric(t, must[*Metric](t)(m.Update(batch)), must[*Metric](t)(m.Topology().Customize(now)))
}

// Readers ask while writers change: each sees one metric as it was at some time.
func TestLive(t *testing.T) {
	g, millis, _, err := Generate(20, 20, 4)
	if err != nil {
		t.Fatal(err)
	}
	m := hierarchy(t, g, millis)
	// Of the metrics, number i has all weights times 1+i.
	const versions = 4
	all := make([][]Change, versions)
	want := make([][]uint32, versions)
	for i := range all {
		for a, w := range millis {
			all[i] = append(all[i], Change{uint32(a), w * uint32(1+i)})
		}
		scaled := must[*Metric](t)(m.Update(all[i]))
		want[i] = must[[]uint32](t)(scaled.All(nil, 0))
	}
	live := NewLive(m)
	var readers, writers sync.WaitGroup
	done := make(chan struct{})
	for r := range 3 {
		readers.Go(func() {
			rng := splitmix(r)
			q := live.Metric().NewQuery()
			var all []uint32
			for {
				select {
				case <-done:
					return
				default:
				}
				now := live.Metric()
				q.Reset(now)
				version := int(now.Weight(0)/millis[0]) - 1
				u := uint32(rng.n(g.Nodes()))
				if d, err := q.Distance(0, u); err != nil || d != want[version][u] {
					t.Errorf("version %d: node %d at %d, %v, want %d", version, u, d, err, want[version][u])
					return
				}
				if all, err := now.All(all[:0], 0); err != nil || !slices.Equal(all, want[version]) {
					t.Errorf("version %d: %v", version, err)
					return
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			rng := splitmix(100 + w)
			for range 30 {
				if err := live.Apply(all[rng.n(versions)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	live.Replace(m)
	if live.Metric() != m {
		t.Fatal("not replaced")
	}
}

// A distance allocates nothing, nor does a path that fits.
func TestAllocs(t *testing.T) {
	g, millis, _, err := Generate(30, 30, 5)
	if err != nil {
		t.Fatal(err)
	}
	q := hierarchy(t, g, millis).NewQuery()
	path := make([]ArcID, 0, g.Arcs())
	last := uint32(g.Nodes() - 1)
	ask := func() {
		if _, err := q.Distance(0, last); err != nil {
			t.Fatal(err)
		}
		path = q.AppendPath(path[:0])
		if _, err := q.DistanceBetween(Point{0, 0.5}, Point{uint32(g.Arcs() - 1), 0.5}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	if n := testing.AllocsPerRun(100, ask); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}
