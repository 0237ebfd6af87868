package graph

import (
	"context"
	"fmt"
	"testing"
)

// A sample is a made-up network and its hierarchy.
type sample struct {
	g       *Graph
	weights []uint32
	m       *Metric
	pairs   [1024][2]NodeID
}

var samples = map[int]*sample{}

// sized calls f with networks of three sizes: 1,600, 16,000 and 160,000 nodes.
func sized(b *testing.B, f func(b *testing.B, s *sample)) {
	for _, side := range []int{40, 127, 400} {
		s := samples[side]
		if s == nil {
			s = new(sample)
			var err error
			if s.g, s.weights, _, err = Generate(side, side, 1); err != nil {
				b.Fatal(err)
			}
			s.m = hierarchy(b, s.g, s.weights)
			rng := splitmix(1)
			for i := range s.pairs {
				s.pairs[i] = [2]NodeID{uint32(rng.n(s.g.Nodes())), uint32(rng.n(s.g.Nodes()))}
			}
			samples[side] = s
		}
		b.Run(fmt.Sprintf("nodes=%d", s.g.Nodes()), func(b *testing.B) { f(b, s) })
	}
}

func BenchmarkDistance(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		q, i := s.m.NewQuery(), 0
		b.ReportAllocs()
		for b.Loop() {
			p := s.pairs[i%len(s.pairs)]
			if _, err := q.Distance(p[0], p[1]); err != nil {
				b.Fatal(err)
			}
			i++
		}
		b.ReportMetric(float64(q.Settled()), "settled")
	})
}

func BenchmarkPath(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		q, i, arcs := s.m.NewQuery(), 0, 0
		var path []ArcID
		b.ReportAllocs()
		for b.Loop() {
			p := s.pairs[i%len(s.pairs)]
			if _, err := q.Distance(p[0], p[1]); err != nil {
				b.Fatal(err)
			}
			path = q.AppendPath(path[:0])
			arcs += len(path)
			i++
		}
		b.ReportMetric(float64(arcs)/float64(i), "arcs")
	})
}

func BenchmarkDijkstra(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		search, err := NewSearch(s.g, s.weights)
		if err != nil {
			b.Fatal(err)
		}
		for name, f := range map[string]func(s, t NodeID) (uint32, error){"one": search.Distance, "two": search.Bidirectional, "astar": search.AStar} {
			b.Run("way="+name, func(b *testing.B) {
				i, settled := 0, 0
				for b.Loop() {
					p := s.pairs[i%len(s.pairs)]
					if _, err := f(p[0], p[1]); err != nil {
						b.Fatal(err)
					}
					settled += search.Settled()
					i++
				}
				b.ReportMetric(float64(settled)/float64(i), "settled")
			})
		}
	})
}

func BenchmarkCustomize(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.m.Topology().Customize(s.weights); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		for _, k := range []int{1, 100} {
			b.Run(fmt.Sprintf("arcs=%d", k), func(b *testing.B) {
				rng := splitmix(2)
				b.ReportAllocs()
				for b.Loop() {
					changes := make([]Change, k)
					for i := range changes {
						a := uint32(rng.n(s.g.Arcs()))
						changes[i] = Change{a, s.weights[a] * uint32(1+5*rng.n(2)) / 2}
					}
					if _, err := s.m.Update(changes); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

func BenchmarkTargets(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		for _, k := range []int{100, 1000} {
			var nodes []NodeID
			for i := range k {
				nodes = append(nodes, s.pairs[i][0])
			}
			b.Run(fmt.Sprintf("targets=%d", k), func(b *testing.B) {
				tt, err := s.m.Targets(nodes)
				if err != nil {
					b.Fatal(err)
				}
				var dst []uint32
				i := 0
				for b.Loop() {
					if dst, err = tt.From(dst[:0], s.pairs[i%len(s.pairs)][1]); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
	})
}

func BenchmarkAll(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		var dst []uint32
		i := 0
		for b.Loop() {
			var err error
			if dst, err = s.m.All(dst[:0], s.pairs[i%len(s.pairs)][0]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}

func BenchmarkDissect(b *testing.B) {
	sized(b, func(b *testing.B, s *sample) {
		for b.Loop() {
			if _, err := Dissect(context.Background(), s.g, nil); err != nil {
				b.Fatal(err)
			}
		}
		stats := s.m.Topology().Stats()
		b.ReportMetric(float64(stats.Arcs)/float64(stats.Nodes), "arcs/node")
	})
}
