package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/ashlar-go/ashlar/graph"
)

// worstStretch returns the arcs in the middle of a path, about so many decimetres of them,
// whose jam costs the most.
func worstStretch(n *network, m *graph.Metric, from, to graph.NodeID, path []graph.ArcID, most uint32) ([]graph.ArcID, error) {
	var worst []graph.ArcID
	highest := uint32(0)
	q := m.NewQuery()
	for i := len(path) / 5; i < len(path)*4/5+1; i += 5 {
		end, length := i, uint32(0)
		for end < len(path) && length < most {
			length += n.decimetres[path[end]]
			end++
		}
		jammed, err := m.Update(slowed(m, path[i:end]))
		if err != nil {
			return nil, err
		}
		q.Reset(jammed)
		d, err := q.Distance(from, to)
		if err != nil {
			return nil, err
		}
		if d > highest && end > i {
			highest, worst = d, path[i:end]
		}
	}
	return worst, nil
}

// slowed returns what a jam on some arcs changes.
func slowed(m *graph.Metric, arcs []graph.ArcID) (list []graph.Change) {
	for _, a := range arcs {
		list = append(list, graph.Change{Arc: a, Weight: uint32(min(uint64(m.Weight(a))*jamFactor, graph.MaxWeight))})
	}
	return list
}

// wrong is part 4: a jam, and a hierarchy whose shortcuts stay as they were made.
func (s *story) wrong(ctx context.Context) error {
	t := s.trips[2]
	q := s.free.NewQuery()
	if _, err := q.Distance(t.from, t.to); err != nil {
		return err
	}
	var err error
	if s.jam, err = worstStretch(s.n, s.free, t.from, t.to, q.AppendPath(nil), 40_000); err != nil {
		return err
	}
	slower := slices.Clone(s.n.millis)
	for _, c := range slowed(s.free, s.jam) {
		slower[c.Arc] = c.Weight
	}
	// One road in a hundred, besides.
	everywhere := slices.Clone(slower)
	r := rand.New(rand.NewPCG(4, 4))
	for range len(everywhere) / 100 {
		everywhere[r.IntN(len(everywhere))] *= 3
	}
	f, err := freeze(s.h, s.n.millis)
	if err != nil {
		return err
	}
	pairs := append(slices.Clone(s.pairs[:len(s.pairs)/4]), pair{t.from, t.to})
	s.say("the stretch of the long trip that can least be spared, %.1f km, takes %d times as long", float64(sum(s.length, s.jam))/1e4, jamFactor)
	s.say("shortcuts stay as they were made and get the new sums of their two halves:")
	s.say("                                 shortcuts that are   wrong answers   the worst   the long trip")
	s.say("                                 heavier    missing   of %5s", num(len(pairs)))
	// The order stays the same, so that what is missing can be counted.
	order := make([]graph.NodeID, s.n.g.Nodes())
	for u := range order {
		order[s.h.Rank(graph.NodeID(u))] = graph.NodeID(u)
	}
	inOrder := &graph.Options{Order: order}
	var wrongs [3]int
	for i, c := range []struct {
		name    string
		weights []uint32
	}{{"empty roads", s.n.millis}, {"the jam", slower}, {"the jam, 1 % of roads × 3", everywhere}} {
		weights := func(a graph.ArcID) uint32 { return c.weights[a] }
		heavier := f.patch(weights)
		missing := 0
		if i > 0 {
			now, err := graph.Contract(ctx, s.n.g, c.weights, inOrder)
			if err != nil {
				return err
			}
			missing = lacking(s.h, now)
		}
		m, err := s.topo.Customize(c.weights)
		if err != nil {
			return err
		}
		q, err := graph.NewSearch(s.n.g, c.weights)
		if err != nil {
			return err
		}
		ours := m.NewQuery()
		wrong, worst := 0, 1.0
		for _, p := range pairs {
			want, err := q.Bidirectional(p.s, p.t)
			got, err2 := ours.Distance(p.s, p.t)
			if err := errors.Join(err, err2, check(got == want, "the customizable hierarchy is exact: %d to %d", p.s, p.t)); err != nil {
				return err
			}
			if d := f.distance(p.s, p.t); d != want {
				wrong++
				worst = max(worst, float64(d)/float64(want))
				if err := check(d > want, "no way is shorter than the shortest"); err != nil {
					return err
				}
			}
		}
		wrongs[i] = wrong
		best, err := ours.Distance(t.from, t.to)
		if err != nil {
			return err
		}
		s.say("  %-28s  %8s   %8s   %13d   %8.2f×   %s min, best %s", c.name, num(heavier), num(missing), wrong, worst, eta(f.distance(t.from, t.to)), eta(best))
	}
	s.say("the hierarchy of part 2 with the same weights: 0 wrong; it has every shortcut that any weights may need")
	return s.claim(wrongs[0] == 0 && wrongs[1] > 0 && wrongs[2] > wrongs[1], "patched shortcuts are right at first, and then wrong")
}
