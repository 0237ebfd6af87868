package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ashlar-go/ashlar/graph"
)

// A place is where trips begin and end.
type place struct {
	name     string
	lat, lon float64
}

// places are some in New York, the ends of trips first.
var places = []place{
	{"Times Square", 40.7580, -73.9855},
	{"Union Square", 40.7359, -73.9906},
	{"Prospect Park", 40.6602, -73.9690},
	{"Van Cortlandt Park", 40.8890, -73.8950},
	{"JFK Airport", 40.6446, -73.7833},
	{"Battery Park", 40.7033, -74.0170},
	{"Grand Central", 40.7527, -73.9772},
	{"Columbia University", 40.8075, -73.9626},
	{"Yankee Stadium", 40.8296, -73.9262},
	{"LaGuardia Airport", 40.7769, -73.8740},
	{"Flushing", 40.7580, -73.8300},
	{"Bay Ridge", 40.6350, -74.0220},
}

// A trip is a question that the parts of the story ask again and again.
type trip struct {
	size     string // short, medium, long
	from, to graph.NodeID
	name     string
}

// known tells whether the places are in the network.
func known(l *graph.Locator) bool {
	for _, p := range places {
		if _, metres, err := l.Node(p.lat, p.lon, nil); err != nil || metres > 700 {
			return false
		}
	}
	return true
}

// chooseTrips returns a short, a medium and a long trip: between places with names where
// they are in the network, and else from a node in its middle to others.
func chooseTrips(n *network, l *graph.Locator) ([3]trip, error) {
	trips := [3]trip{{size: "short"}, {size: "medium"}, {size: "long"}}
	if known(l) {
		for i, ends := range [3][2]place{{places[0], places[1]}, {places[0], places[2]}, {places[3], places[4]}} {
			t := &trips[i]
			t.name = ends[0].name + " to " + ends[1].name
			var err, err2 error
			t.from, _, err = l.Node(ends[0].lat, ends[0].lon, nil)
			t.to, _, err2 = l.Node(ends[1].lat, ends[1].lon, nil)
			if err := errors.Join(err, err2); err != nil {
				return trips, err
			}
		}
		return trips, nil
	}
	q, err := graph.NewSearch(n.g, n.millis)
	if err != nil {
		return trips, err
	}
	r := rand.New(rand.NewPCG(3, 3))
	for range 100 {
		from := graph.NodeID(r.IntN(n.g.Nodes()))
		dist, err := q.All(nil, from)
		if err != nil {
			return trips, err
		}
		far := uint32(0)
		for _, d := range dist {
			if d != graph.Inf {
				far = max(far, d)
			}
		}
		found := 0
		for i, share := range []float64{0.1, 0.4, 0.98} {
			for u, d := range dist {
				if d != graph.Inf && float64(d) > share*float64(far) && float64(d) < (share+0.1)*float64(far) {
					trips[i].from, trips[i].to = from, graph.NodeID(u)
					trips[i].name = fmt.Sprintf("crossing %d to crossing %d", from, u)
					found++
					break
				}
			}
		}
		if far > 0 && found == 3 {
			return trips, nil
		}
	}
	return trips, errors.New("no trips: is the network in pieces?")
}

// A pair is a question.
type pair struct{ s, t graph.NodeID }

// randomPairs returns questions between any two nodes.
func randomPairs(n *network, count int, seed uint64) []pair {
	r := rand.New(rand.NewPCG(seed, seed))
	pairs := make([]pair, count)
	for i := range pairs {
		pairs[i] = pair{graph.NodeID(r.IntN(n.g.Nodes())), graph.NodeID(r.IntN(n.g.Nodes()))}
	}
	return pairs
}

// sum adds up weights along a path.
func sum(weights func(graph.ArcID) uint32, path []graph.ArcID) uint32 {
	total := uint64(0)
	for _, a := range path {
		total += uint64(weights(a))
	}
	return uint32(min(total, graph.Inf))
}

// leads tells whether arcs follow each other from one node to another.
func leads(g *graph.Graph, path []graph.ArcID, s, t graph.NodeID) bool {
	at := s
	for _, a := range path {
		if g.Tail(a) != at {
			return false
		}
		at = g.Head(a)
	}
	return at == t
}

// eta writes a time in minutes and seconds.
func eta(millis uint32) string {
	if millis == graph.Inf {
		return "no way"
	}
	d := (time.Duration(millis) * time.Millisecond).Round(time.Second)
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// num writes a number with separators.
func num(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
