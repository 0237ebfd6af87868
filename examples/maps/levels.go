package main

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/ashlar-go/ashlar/graph"
)

// levels is part 3: the sparse graphs of a hierarchy, and how high a trip climbs.
func (s *story) levels(context.Context) error {
	levels := s.h.Levels()
	total := s.n.g.Nodes()
	// Local, city and country: sparse graphs with all nodes, a tenth and a hundredth.
	layers := []layer{{name: "local", level: 0}, {name: "city"}, {name: "country"}}
	for i, share := range []int{10, 100} {
		above := total
		for l := range levels {
			if above <= total/share {
				layers[i+1].level = l
				break
			}
			above -= levels[l]
		}
	}
	s.say("%d levels; a graph of the nodes from a level on, with shortcuts for what was left out, has the same distances:", len(levels))
	s.say("             nodes     arcs   of them shortcuts   Dijkstra on it looks at")
	r := rand.New(rand.NewPCG(9, 9))
	full, err := graph.NewSearch(s.n.g, s.n.millis)
	if err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		b := graph.NewBuilder(total)
		var weights []uint32
		shortcuts := 0
		for o := range s.h.Overlay(l.level) {
			l.arcs = append(l.arcs, o)
			b.AddArc(o.Tail, o.Head)
			weights = append(weights, o.Weight)
			if o.Shortcut {
				shortcuts++
			}
		}
		var nodes []graph.NodeID
		for u := range graph.NodeID(total) {
			if s.h.Level(u) >= l.level {
				nodes = append(nodes, u)
			}
		}
		l.nodes = len(nodes)
		g, err := b.Build()
		if err != nil {
			return err
		}
		q, err := graph.NewSearch(g, weights)
		if err != nil {
			return err
		}
		looked, fullLooked := 0, 0
		const asked = 40
		for range asked {
			u, v := nodes[r.IntN(len(nodes))], nodes[r.IntN(len(nodes))]
			d, err := q.Distance(u, v)
			looked += q.Settled()
			want, err2 := full.Distance(u, v)
			fullLooked += full.Settled()
			if err := errors.Join(err, err2, check(d == want, "the sparse graph has the distance from %d to %d", u, v)); err != nil {
				return err
			}
		}
		s.say("  %-8s %7s  %7s   %17s   %s nodes, and %s on all roads", l.name, num(l.nodes), num(len(l.arcs)), num(shortcuts), num(looked/asked), num(fullLooked/asked))
	}
	q := s.h.NewQuery()
	var highest [3]int
	for i, t := range s.trips {
		if _, err := q.Distance(t.from, t.to); err != nil {
			return err
		}
		path := q.AppendPath(nil)
		var on [3]int
		for j := range len(path) + 1 {
			u := t.from
			if j > 0 {
				u = s.n.g.Head(path[j-1])
			}
			level := s.h.Level(u)
			highest[i] = max(highest[i], level)
			for k := len(layers) - 1; k >= 0; k-- {
				if level >= layers[k].level {
					on[k]++
					break
				}
			}
		}
		s.say("the %-6s trip climbs to level %2d of %d: %3d of its crossings are local, %3d of the city, %3d of the country", t.size, highest[i], len(levels)-1, on[0], on[1], on[2])
	}
	// One trip says little: the average over all questions.
	limits := [3]uint32{4 * 60_000, 12 * 60_000, graph.Inf}
	var climbed [3]float64
	var asked [3]int
	for i := range 3 * len(s.pairs) {
		p := s.pairs[i%len(s.pairs)]
		if i >= len(s.pairs) { // and near ones, of which there are few by chance
			p.t = graph.NodeID(min(uint64(s.n.g.Nodes()-1), uint64(p.s)+uint64(p.t)%2000))
		}
		d, err := q.Distance(p.s, p.t)
		if err != nil {
			return err
		}
		class, top := 0, s.h.Level(p.s)
		for d > limits[class] {
			class++
		}
		for _, a := range q.AppendPath(nil) {
			top = max(top, s.h.Level(s.n.g.Head(a)))
		}
		climbed[class] += float64(top)
		asked[class]++
	}
	for i := range climbed {
		climbed[i] /= float64(max(asked[i], 1))
	}
	s.say("on average a trip of at most 4 minutes climbs to level %.0f, one of at most 12 minutes to %.0f, and longer ones to %.0f", climbed[0], climbed[1], climbed[2])
	if err := s.draw("levels.svg", func() string { return drawLevels(s.n, levels, s.trips, highest, layers) }); err != nil {
		return err
	}
	return s.claim(highest[0] < highest[1] && highest[0] < highest[2] && climbed[0]+3 < climbed[1] && climbed[1]+3 < climbed[2], "the longer the trip, the higher it climbs: %v, %v", highest, climbed)
}
