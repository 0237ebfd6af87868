package main

import (
	"context"
	"errors"
	"time"

	"github.com/ashlar-go/ashlar/graph"
)

// A searcher answers one question and says how many nodes it looked at.
type searcher struct {
	name   string
	ask    func(s, t graph.NodeID) (uint32, error)
	looked func() int

	total int
	took  time.Duration
	wrong int
}

func searchers(n *network, weights []uint32, h *graph.Hierarchy, m *graph.Metric) ([]*searcher, error) {
	q, err := graph.NewSearch(n.g, weights)
	if err != nil {
		return nil, err
	}
	ch, cch := h.NewQuery(), m.NewQuery()
	return []*searcher{
		{name: nameDijkstra, ask: q.Distance, looked: q.Settled},
		{name: nameBoth, ask: q.Bidirectional, looked: q.Settled},
		{name: nameAStar, ask: q.AStar, looked: q.Settled},
		{name: nameClassic, ask: ch.Distance, looked: ch.Settled},
		{name: nameCustomizable, ask: cch.Distance, looked: cch.Settled},
	}, nil
}

// searches is part 2: five ways to search, and how many crossings each looks at.
func (s *story) searches(context.Context) error {
	list, err := searchers(s.n, s.n.millis, s.h, s.free)
	if err != nil {
		return err
	}
	truth := make([]uint32, len(s.pairs))
	for i, x := range list {
		if _, err := x.ask(s.pairs[0].s, s.pairs[0].t); err != nil { // what is found out at the first question
			return err
		}
		for j, p := range s.pairs {
			began := time.Now()
			d, err := x.ask(p.s, p.t)
			x.took += time.Since(began)
			if err != nil {
				return err
			}
			x.total += x.looked()
			if i == 0 {
				truth[j] = d
			} else if d != truth[j] {
				x.wrong++
			}
		}
	}
	// Dijkstra's algorithm in a dozen lines, for some of them.
	for j, p := range s.pairs[:min(25, len(s.pairs))] {
		d, _, err := graph.Dijkstra(s.n.g, s.n.millis, p.s, p.t)
		if err := errors.Join(err, check(d == truth[j], "the plain algorithm says the same")); err != nil {
			return err
		}
	}
	s.say("%s questions between any two crossings; then nodes looked at for a trip that is", num(len(s.pairs)))
	s.say("                      nodes looked at   wrong       µs     short   medium     long")
	for _, x := range list {
		var looked [3]string
		for i, t := range s.trips {
			if _, err := x.ask(t.from, t.to); err != nil {
				return err
			}
			looked[i] = num(x.looked())
		}
		count := float64(len(s.pairs))
		s.say("  %-18s  %15s   %5d  %7.1f   %7s  %7s  %7s", x.name, num(int(float64(x.total)/count)), x.wrong, x.took.Seconds()*1e6/count, looked[0], looked[1], looked[2])
	}
	for _, x := range list {
		if err := check(x.wrong == 0, "%s is exact", x.name); err != nil {
			return err
		}
	}
	if err := s.drawSearches(); err != nil {
		return err
	}
	return s.claim(list[0].total > list[1].total && list[1].total > 20*list[4].total && list[4].total > list[3].total,
		"from both ends a search looks less far, and hierarchies look at next to nothing")
}

// drawSearches finds out which nodes were looked at, as far as searches do not tell.
func (s *story) drawSearches() error {
	return s.draw("search.svg", func() string {
		t, n := s.trips[2], s.n
		q := s.free.NewQuery()
		d, _ := q.Distance(t.from, t.to)
		path := q.AppendPath(nil)
		list := lookedAt(n, s.n.millis, s.free, s.h, t.from, t.to, d)
		return drawSearches(n, t, path, list)
	})
}
