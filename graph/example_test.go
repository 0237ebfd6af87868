package graph_test

import (
	"context"
	"fmt"

	"github.com/ashlar-go/ashlar/graph"
)

// A town with a bridge and a ford:
//
//	0 ── 1 ═bridge═ 2 ── 3
//	     └── 4 ford ┘
func town() (*graph.Graph, []uint32) {
	b := graph.NewBuilder(5)
	var seconds []uint32
	for _, road := range [][3]uint32{{0, 1, 60}, {1, 2, 30}, {2, 3, 60}, {1, 4, 100}, {4, 2, 100}} {
		b.AddEdge(road[0], road[1])
		seconds = append(seconds, road[2], road[2])
	}
	g, err := b.Build()
	if err != nil {
		panic(err)
	}
	return g, seconds
}

// Distances, the way, and the way around a jam. The metric from before the jam still
// answers as before.
func Example() {
	g, seconds := town()
	topo, err := graph.Dissect(context.Background(), g, nil)
	if err != nil {
		panic(err)
	}
	quiet, err := topo.Customize(seconds)
	if err != nil {
		panic(err)
	}
	bridge := graph.ArcID(2) // from 1 to 2
	jam, err := quiet.Update([]graph.Change{{Arc: bridge, Weight: 600}})
	if err != nil {
		panic(err)
	}
	for _, m := range []*graph.Metric{quiet, jam} {
		q := m.NewQuery()
		there, _ := q.Distance(0, 3)
		fmt.Print(there, " s over")
		for _, a := range q.AppendPath(nil) {
			fmt.Print(" ", g.Head(a))
		}
		back, _ := q.Distance(3, 0)
		fmt.Println(", back", back, "s")
	}
	// Output:
	// 150 s over 1 2 3, back 150 s
	// 320 s over 1 4 2 3, back 150 s
}

// The times of three drivers to a rider, and of all nodes within two minutes of him.
func ExampleMetric_Targets() {
	g, seconds := town()
	topo, err := graph.Dissect(context.Background(), g, nil)
	if err != nil {
		panic(err)
	}
	m, err := topo.Customize(seconds)
	if err != nil {
		panic(err)
	}
	drivers, err := m.Targets([]graph.NodeID{0, 3, 4})
	if err != nil {
		panic(err)
	}
	rider := graph.NodeID(2)
	etas, err := drivers.To(nil, rider)
	fmt.Println(etas, err)
	within := 0
	err = m.Isochrone(rider, 120, func(u graph.NodeID, seconds uint32) bool {
		within += int(seconds)
		return true
	})
	fmt.Println(within, err)
	// Output:
	// [90 60 100] <nil>
	// 280 <nil>
}

// Readers go on with the metric that they have while others are told of a closure.
func ExampleLive() {
	g, seconds := town()
	topo, err := graph.Dissect(context.Background(), g, nil)
	if err != nil {
		panic(err)
	}
	m, err := topo.Customize(seconds)
	if err != nil {
		panic(err)
	}
	live := graph.NewLive(m)
	q := live.Metric().NewQuery()
	if err := live.Apply([]graph.Change{{Arc: 2, Weight: graph.Inf}, {Arc: 6, Weight: graph.Inf}}); err != nil {
		panic(err)
	}
	before, _ := q.Distance(0, 3)
	q.Reset(live.Metric())
	after, _ := q.Distance(0, 3)
	fmt.Println(before, after == graph.Inf)
	// Output: 150 true
}

// No turn is allowed from the road 0–1 into the road 1–3: the way goes on to 2, the end of
// the road, turns round there and comes back.
func ExampleGraph_Expand() {
	b := graph.NewBuilder(4)
	in := b.AddEdge(0, 1)  // 0 ── 1 ── 2
	on := b.AddEdge(1, 2)  //      |
	out := b.AddEdge(1, 3) //      3
	b.SetTurn(in, out, graph.Inf)
	g, err := b.Build()
	if err != nil {
		panic(err)
	}
	x, err := g.Expand(graph.Inf) // no U-turns but at dead ends
	if err != nil {
		panic(err)
	}
	topo, err := graph.Dissect(context.Background(), x.Graph(), nil)
	if err != nil {
		panic(err)
	}
	m, err := x.Customize(topo, []uint32{10, 10, 20, 20, 30, 30})
	if err != nil {
		panic(err)
	}
	q := m.NewQuery()
	d, err := q.Distance(0, 3)
	fmt.Println(d, err, q.AppendPath(nil), "by way of", on)
	// Output: 80 <nil> [0 2 3 4] by way of 2
}

// Two points on roads, given by an arc and how far along it they are.
func ExampleQuery_DistanceBetween() {
	g, seconds := town()
	topo, err := graph.Dissect(context.Background(), g, nil)
	if err != nil {
		panic(err)
	}
	m, err := topo.Customize(seconds)
	if err != nil {
		panic(err)
	}
	q := m.NewQuery()
	d, err := q.DistanceBetween(graph.Point{Arc: 0, Fraction: 0.5}, graph.Point{Arc: 4, Fraction: 0.25})
	fmt.Println(d, err, q.AppendPath(nil))
	// Output: 75 <nil> [0 2 4]
}
