package main

import (
	"context"
	"math/rand/v2"

	"github.com/ashlar-go/ashlar/examples/internal/newyork"
	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

// roads is the network with what finds the way on it.
type roads struct {
	*newyork.Network
	metric  *graph.Metric
	locator *graph.Locator
}

func openRoads(ctx context.Context) (*roads, error) {
	n, err := newyork.Load()
	if err != nil {
		return nil, err
	}
	topo, err := graph.Dissect(ctx, n.Graph, nil)
	if err != nil {
		return nil, err
	}
	r := &roads{Network: n}
	if r.metric, err = topo.Customize(n.Millis); err != nil {
		return nil, err
	}
	r.locator, err = graph.NewLocator(n.Graph)
	return r, err
}

// place returns a node: the crossings of Midtown are three times as likely as others.
func (r *roads) place(rng *rand.Rand) graph.NodeID {
	for {
		u := graph.NodeID(rng.IntN(r.Graph.Nodes()))
		lat, lon, _ := r.Graph.Coord(u)
		if rng.IntN(3) == 0 || geohash.Distance(lat, lon, 40.755, -73.985) < 3000 {
			return u
		}
	}
}

// etas returns the milliseconds from each node to a target.
func (r *roads) etas(from []graph.NodeID, to graph.NodeID) ([]uint32, error) {
	targets, err := r.metric.Targets(from)
	if err != nil {
		return nil, err
	}
	return targets.To(nil, to)
}

// A driver is a car on the roads.
type driver struct {
	id     int
	rating float64
	arc    graph.ArcID
	on     uint32        // milliseconds driven on the arc
	route  []graph.ArcID // what comes after it; none: anywhere
	busy   bool
}

// fleet makes n drivers, somewhere on the roads.
func (r *roads) fleet(n int, seed uint64) []*driver {
	rng := rand.New(rand.NewPCG(seed, 12))
	list := make([]*driver, n)
	for i := range list {
		out := r.Graph.Out(r.place(rng))
		list[i] = &driver{id: i, rating: 4 + rng.Float64(), arc: out[rng.IntN(len(out))]}
	}
	return list
}

// move drives on for some time. Whoever has no route turns anywhere but back, where that
// is possible.
func (r *roads) move(d *driver, millis uint32, rng *rand.Rand) {
	for millis > 0 {
		left := r.Millis[d.arc] - min(d.on, r.Millis[d.arc])
		if millis < left {
			d.on += millis
			return
		}
		millis -= left
		d.on = 0
		if len(d.route) > 0 {
			d.arc, d.route = d.route[0], d.route[1:]
			continue
		}
		if d.busy {
			d.on = r.Millis[d.arc] // stands at the end of its route
			return
		}
		out := r.Graph.Out(r.Graph.Head(d.arc))
		next := out[rng.IntN(len(out))]
		if r.Graph.Head(next) == r.Graph.Tail(d.arc) {
			next = out[rng.IntN(len(out))]
		}
		d.arc = next
	}
}

// at returns where a driver is.
func (r *roads) at(d *driver) (lat, lon float64) {
	lat, lon, _ = r.Graph.Coord(r.Graph.Tail(d.arc))
	lat2, lon2, _ := r.Graph.Coord(r.Graph.Head(d.arc))
	f := min(1, float64(d.on)/float64(max(1, r.Millis[d.arc])))
	return lat + f*(lat2-lat), lon + f*(lon2-lon)
}

// next returns the node to which a driver drives, and in how many milliseconds it is there.
func (r *roads) next(d *driver) (graph.NodeID, uint32) {
	return r.Graph.Head(d.arc), r.Millis[d.arc] - min(d.on, r.Millis[d.arc])
}
