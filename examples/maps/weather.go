package main

import (
	"context"
	"errors"
	"time"

	"github.com/ashlar-go/ashlar/graph"
)

// snow is how much longer a road of each class takes: fast ones lose most.
var snow = [classes]float64{1.9, 1.7, 1.5, 1.3}

// weather is part 6: all roads get slower.
func (s *story) weather(context.Context) error {
	under := func(m *graph.Metric) []uint32 {
		weights := make([]uint32, s.n.g.Arcs())
		for a := range weights {
			weights[a] = uint32(min(float64(m.Weight(graph.ArcID(a)))*snow[s.n.class[a]], graph.MaxWeight))
		}
		return weights
	}
	weights := under(s.free)
	began := time.Now()
	white, err := s.topo.Customize(weights)
	if err != nil {
		return err
	}
	took := time.Since(began)
	both, err := s.topo.Customize(under(s.jammed))
	if err != nil {
		return err
	}
	s.say("snow: %s take %.1f times as long, %s %.1f; all %s arcs get new weights in %s ms", classNames[0], snow[0], classNames[classes-1], snow[classes-1], num(s.n.g.Arcs()), millis(took))
	s.say("                empty roads     08:15, jam            snow      jam and snow    km on fast roads, empty and in snow")
	for _, t := range s.trips {
		var etas [4]string
		var fast [4]float64
		for i, m := range []*graph.Metric{s.free, s.jammed, white, both} {
			q := m.NewQuery()
			d, err := q.Distance(t.from, t.to)
			if err != nil {
				return err
			}
			etas[i] = eta(d)
			for _, a := range q.AppendPath(nil) {
				if s.n.class[a] <= 1 {
					fast[i] += float64(s.n.decimetres[a]) / 1e4
				}
			}
		}
		s.say("  %-8s  %15s%15s%16s%18s    %14.1f  %4.1f", t.size, etas[0], etas[1], etas[2], etas[3], fast[0], fast[2])
	}
	for _, m := range []*graph.Metric{white, both} {
		wrong, err := s.mistakes(m, s.pairs[:len(s.pairs)/10])
		if err := errors.Join(err, check(wrong == 0, "weather is exact too: %d wrong", wrong)); err != nil {
			return err
		}
	}
	s.say("%d questions of each asked of Dijkstra too: 0 differ", len(s.pairs)/10)
	return nil
}
