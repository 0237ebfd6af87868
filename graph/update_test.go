package graph

import (
	"context"
	"testing"
)

// sameMetric tells whether two metrics have the same weights and vias.
func sameMetric(t *testing.T, got, want *Metric) {
	t.Helper()
	topo := want.t
	for r := range topo.nodes {
		p := &topo.nodes[r]
		for e := p.first; e < p.end; e++ {
			if *got.costs.at(e) != *want.costs.at(e) {
				t.Fatalf("arc %d of rank %d costs %v, want %v", e, r, *got.costs.at(e), *want.costs.at(e))
			}
			if *got.vias.at(e) != *want.vias.at(e) {
				t.Fatalf("arc %d of rank %d consists of %x, want %x", e, r, *got.vias.at(e), *want.vias.at(e))
			}
		}
	}
	for a := range uint32(topo.g.Arcs()) {
		if got.Weight(a) != want.Weight(a) {
			t.Fatalf("weight of arc %d is %d, want %d", a, got.Weight(a), want.Weight(a))
		}
	}
}

// Any changes give what a customization with the changed weights gives, to the bit, and
// leave the metric before as it was.
func TestUpdateIsCustomize(t *testing.T) {
	for seed := range uint64(300) {
		g, weights := random(seed, 60)
		if g.Arcs() == 0 {
			continue
		}
		topo, err := Dissect(context.Background(), g, nil)
		if err != nil {
			t.Fatal(err)
		}
		first, err := topo.Customize(weights)
		if err != nil {
			t.Fatal(err)
		}
		rng := splitmix(seed)
		m, now := first, append([]uint32(nil), weights...)
		for range 8 {
			var changes []Change
			for range 1 + rng.n(4) {
				c := Change{uint32(rng.n(g.Arcs())), randomWeight(&rng)}
				changes = append(changes, c)
				now[c.Arc] = c.Weight
			}
			before := m
			if m, err = m.Update(changes); err != nil {
				t.Fatal(err)
			}
			want, err := topo.Customize(now)
			if err != nil {
				t.Fatal(err)
			}
			sameMetric(t, m, want)
			// And back again.
			var back []Change
			for _, c := range changes {
				back = append(back, Change{c.Arc, before.Weight(c.Arc)})
			}
			again, err := m.Update(back)
			if err != nil {
				t.Fatal(err)
			}
			sameMetric(t, again, before)
		}
		want, _ := topo.Customize(weights)
		sameMetric(t, first, want)
	}
}
