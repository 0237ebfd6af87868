// Package graph_test compares package graph with Dijkstra's algorithm from both ends, on
// the same roads in the same run:
//
//	cd bench && GOWORK=off ASHLAR_ROADS=… go test -bench Vs ./graph
//
// ASHLAR_ROADS names a folder with the New York network of the 9th DIMACS Implementation
// Challenge (USA-road-t.NY.gr.gz and USA-road-d.NY.co.gz); without it the roads are
// generated. RoutingKit, the fastest library in C++, is not run: on New York, measured
// once with the same Dijkstra's algorithm beside it, it answers a distance 547 times as
// fast as that, with the path 133 times, customizes in 4.5 of its queries, updates one
// arc 388 times as fast and 10,000 in 2.2 of its customizations.
package graph_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/graph"
)

// roads is what is measured on.
type roads struct {
	g       *graph.Graph
	weights []uint32
	topo    [2]*graph.Topology // for one worker and for two
	m       *graph.Metric
	search  *graph.Search
	pairs   [1 << 14][2]graph.NodeID
}

var load = sync.OnceValues(func() (*roads, error) {
	r := new(roads)
	var err error
	if dir := os.Getenv("ASHLAR_ROADS"); dir != "" {
		var files [2]*gzip.Reader
		for i, name := range []string{"USA-road-t.NY.gr.gz", "USA-road-d.NY.co.gz"} {
			f, err := os.Open(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			defer f.Close()
			if files[i], err = gzip.NewReader(f); err != nil {
				return nil, err
			}
		}
		r.g, r.weights, err = graph.ReadDIMACS(files[0], files[1])
	} else {
		r.g, r.weights, _, err = graph.Generate(512, 512, 1)
	}
	if err != nil {
		return nil, err
	}
	if r.topo[1], err = graph.Dissect(context.Background(), r.g, &graph.Options{Workers: 2}); err != nil {
		return nil, err
	}
	if r.topo[0], err = graph.Dissect(context.Background(), r.g, &graph.Options{Workers: 1, Order: r.topo[1].Order()}); err != nil {
		return nil, err
	}
	if r.m, err = r.topo[0].Customize(r.weights); err != nil {
		return nil, err
	}
	if r.search, err = graph.NewSearch(r.g, r.weights); err != nil {
		return nil, err
	}
	rng := splitmix(42)
	for i := range r.pairs {
		r.pairs[i] = [2]graph.NodeID{uint32(rng.n(r.g.Nodes())), uint32(rng.n(r.g.Nodes()))}
	}
	return r, nil
})

type splitmix uint64

func (s *splitmix) n(n int) int {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

// jam returns k changes: an arc takes three times as long, or half as long, as usual.
func (r *roads) jam(rng *splitmix, k int) []graph.Change {
	changes := make([]graph.Change, k)
	for i := range changes {
		a := uint32(rng.n(r.g.Arcs()))
		w := r.weights[a] * 3
		if rng.n(2) == 0 {
			w = r.weights[a] / 2
		}
		changes[i] = graph.Change{Arc: a, Weight: w}
	}
	return changes
}

func BenchmarkVs(b *testing.B) {
	r, err := load()
	if err != nil {
		b.Fatal(err)
	}
	check := func(b *testing.B, err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	at := 0
	pair := func() (s, t graph.NodeID) {
		at++
		p := r.pairs[at%len(r.pairs)]
		return p[0], p[1]
	}
	// The peer of most: one query, at random.
	bidirectional := func(round *versus.Round) {
		settled := 0
		for range round.N {
			s, t := pair()
			_, err := r.search.Bidirectional(s, t)
			check(b, err)
			settled += r.search.Settled()
		}
		round.Metric(float64(settled)/float64(round.N), "settled")
	}
	q := r.m.NewQuery()
	for range 200 { // the two must agree
		s, t := pair()
		want, err := r.search.Bidirectional(s, t)
		check(b, err)
		if got, err := q.Distance(s, t); err != nil || got != want {
			b.Fatalf("from %d to %d: %d, %v, want %d", s, t, got, err, want)
		}
	}

	b.Run("query/bidirectional-dijkstra", func(b *testing.B) {
		versus.Run(b, versus.Case{
			Ours: func(round *versus.Round) {
				for range round.N {
					s, t := pair()
					_, err := q.Distance(s, t)
					check(b, err)
				}
			},
			Theirs: bidirectional, Goal: 900, Allocs: true,
		})
	})

	b.Run("path/bidirectional-dijkstra", func(b *testing.B) {
		var path []graph.ArcID
		versus.Run(b, versus.Case{
			Ours: func(round *versus.Round) {
				arcs := 0
				for range round.N {
					s, t := pair()
					_, err := q.Distance(s, t)
					check(b, err)
					path = q.AppendPath(path[:0])
					arcs += len(path)
				}
				round.Metric(float64(arcs)/float64(round.N), "arcs")
			},
			Theirs: func(round *versus.Round) {
				for range round.N {
					s, t := pair()
					_, err := r.search.Bidirectional(s, t)
					check(b, err)
					path = r.search.AppendPath(path[:0])
				}
			},
			Goal: 400, Allocs: true,
		})
	})

	// One customization against one query: x-faster of 0.25 is four queries.
	customize := func(topo *graph.Topology) func(*versus.Round) {
		return func(round *versus.Round) {
			for range round.N {
				_, err := topo.Customize(r.weights)
				check(b, err)
			}
		}
	}
	b.Run("customize/bidirectional-dijkstra", func(b *testing.B) {
		versus.Run(b, versus.Case{Ours: customize(r.topo[0]), Theirs: bidirectional, Goal: 1 / 2.7})
	})
	b.Run("customize-2-threads/1-thread", func(b *testing.B) {
		versus.Run(b, versus.Case{Ours: customize(r.topo[1]), Theirs: customize(r.topo[0]), Goal: 1 / 0.65})
	})

	b.Run("update/bidirectional-dijkstra", func(b *testing.B) {
		rng := splitmix(7)
		m, n := r.m, 0
		versus.Run(b, versus.Case{
			Ours: func(round *versus.Round) {
				for range round.N {
					if n++; n%(1<<14) == 0 {
						m = r.m
					}
					var err error
					m, err = m.Update(r.jam(&rng, 1))
					check(b, err)
				}
			},
			Theirs: bidirectional, Goal: 400, Allocs: true,
		})
	})
	// Many arcs against all of them.
	for _, k := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("update-%d/customize", k), func(b *testing.B) {
			rng := splitmix(7)
			versus.Run(b, versus.Case{
				Ours: func(round *versus.Round) {
					for range round.N {
						round.Stop()
						changes := r.jam(&rng, k)
						round.Start()
						_, err := r.m.Update(changes)
						check(b, err)
					}
				},
				Theirs: customize(r.topo[0]), Goal: 1 / 1.1,
			})
		})
	}

	// From 100 drivers, wherever they are, to one rider: nothing is prepared. The peer
	// answers for one of them.
	b.Run("onetomany/bidirectional-dijkstra", func(b *testing.B) {
		drivers := make([]graph.NodeID, 100)
		var etas []uint32
		versus.Run(b, versus.Case{
			Ours: func(round *versus.Round) {
				for range round.N {
					for i := range drivers {
						drivers[i], _ = pair()
					}
					_, rider := pair()
					tt, err := r.m.Targets(drivers)
					check(b, err)
					etas, err = tt.To(etas[:0], rider)
					check(b, err)
				}
			},
			Theirs: bidirectional, Goal: 40,
		})
	})
	// The distances to all nodes.
	b.Run("all/dijkstra", func(b *testing.B) {
		var all []uint32
		versus.Run(b, versus.Case{
			Ours: func(round *versus.Round) {
				for range round.N {
					s, _ := pair()
					var err error
					all, err = r.m.All(all[:0], s)
					check(b, err)
				}
			},
			Theirs: func(round *versus.Round) {
				for range round.N {
					s, _ := pair()
					var err error
					all, err = r.search.All(all[:0], s)
					check(b, err)
				}
			},
			Goal: 6,
		})
	})
	// 100 × 1,000 distances against one query for each.
	b.Run("matrix/query", func(b *testing.B) {
		nodes := make([]graph.NodeID, 1000)
		for i := range nodes {
			nodes[i], _ = pair()
		}
		var matrix []uint32
		versus.Run(b, versus.Case{
			Ours: func(round *versus.Round) {
				for range round.N {
					var err error
					matrix, err = r.m.Matrix(matrix[:0], nodes[:100], nodes)
					check(b, err)
				}
			},
			Theirs: func(round *versus.Round) {
				for range round.N {
					for _, s := range nodes[:100] {
						for _, t := range nodes {
							_, err := q.Distance(s, t)
							check(b, err)
						}
					}
				}
			},
		})
	})
}
