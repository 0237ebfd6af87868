package graph

import (
	"context"
	"slices"
	"testing"
)

// Distances of many at once are those of each alone.
func TestMany(t *testing.T) {
	for seed := range uint64(200) {
		g, weights := random(seed, 60)
		topo, err := Dissect(context.Background(), g, &Options{Workers: 1 + int(seed%3)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := topo.Customize(weights)
		if err != nil {
			t.Fatal(err)
		}
		n := g.Nodes()
		want := make([][]uint32, n)
		search, _ := NewSearch(g, weights)
		for s := range want {
			if want[s], err = search.All(nil, uint32(s)); err != nil {
				t.Fatal(err)
			}
			got, err := m.All(nil, uint32(s))
			if err != nil || !slices.Equal(got, want[s]) {
				t.Fatalf("seed %d: All(%d) = %v, %v, want %v", seed, s, got, err, want[s])
			}
		}
		rng := splitmix(seed)
		some := func() []NodeID {
			us := make([]NodeID, rng.n(30))
			for i := range us {
				us[i] = uint32(rng.n(n))
			}
			return us
		}
		targets := some()
		tt, err := m.Targets(targets)
		if err != nil || tt.Len() != len(targets) {
			t.Fatal(err)
		}
		for s := range uint32(n) {
			from, err := tt.From([]uint32{7}, s)
			if err != nil {
				t.Fatal(err)
			}
			to, err := tt.To(nil, s)
			if err != nil {
				t.Fatal(err)
			}
			for i, u := range targets {
				if from[1+i] != want[s][u] || to[i] != want[u][s] {
					t.Fatalf("seed %d: from %d to %d: %d, want %d; back: %d, want %d", seed, s, u, from[1+i], want[s][u], to[i], want[u][s])
				}
			}
			limit := randomWeight(&rng)
			got := make([]uint32, n)
			for i := range got {
				got[i] = Inf
			}
			err = m.Isochrone(s, limit, func(u NodeID, d uint32) bool {
				if d > limit || got[u] != Inf {
					t.Fatalf("seed %d: node %d at %d again or beyond %d", seed, u, d, limit)
				}
				got[u] = d
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			for u, d := range want[s] {
				if d > limit {
					d = Inf
				}
				if d != got[u] {
					t.Fatalf("seed %d: isochrone %d of %d: node %d at %d, want %d", seed, limit, s, u, got[u], d)
				}
			}
		}
		starts := some()
		matrix, err := m.Matrix(nil, starts, targets)
		if err != nil || len(matrix) != len(starts)*len(targets) {
			t.Fatal(len(matrix), err)
		}
		for i, s := range starts {
			for j, u := range targets {
				if got := matrix[i*len(targets)+j]; got != want[s][u] {
					t.Fatalf("seed %d: matrix has %d from %d to %d, want %d", seed, got, s, u, want[s][u])
				}
			}
		}
	}
}
