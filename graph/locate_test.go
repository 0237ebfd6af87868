package graph

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/ashlar-go/ashlar/geohash"
)

// places returns a graph somewhere on the globe, and a function for places near it.
func places(t *testing.T, kind int, seed uint64) (g *Graph, place func() (lat, lon float64)) {
	rng := splitmix(seed)
	part := func() float64 { return float64(rng.n(1_000_001)) / 1_000_000 }
	place = func() (lat, lon float64) {
		switch kind {
		case 0: // a town
			return 40 + part()*0.1, -74 + part()*0.1
		case 1: // both sides of the antimeridian
			return -17 + part()*0.1, geohash.Wrap(179.95 + part()*0.1)
		case 2: // around a pole
			return 90 - part()*0.1, part()*360 - 180
		case 3: // few places, many at the same one
			return float64(rng.n(3)), float64(rng.n(3))
		}
		return math.Asin(2*part()-1) * 180 / math.Pi, part()*360 - 180
	}
	n := 1 + rng.n(300)
	b := NewBuilder(n)
	for u := range n {
		if rng.n(10) > 0 || u == 0 {
			lat, lon := place()
			b.SetCoord(uint32(u), lat, lon)
		}
	}
	for range rng.n(3 * n) {
		u, v := uint32(rng.n(n)), uint32(rng.n(n))
		if rng.n(2) == 0 {
			b.AddEdge(u, v)
		} else {
			b.AddArc(u, v)
		}
	}
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return g, place
}

func TestLocatorNode(t *testing.T) {
	for seed := range uint64(100) {
		g, place := places(t, int(seed%5), seed)
		l, err := NewLocator(g)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			lat, lon := place()
			want := math.Inf(1)
			for u := range g.Nodes() {
				if a, b, ok := g.Coord(NodeID(u)); ok && u%3 != 1 {
					want = min(want, geohash.Distance(lat, lon, a, b))
				}
			}
			u, metres, err := l.Node(lat, lon, func(u NodeID) bool { return u%3 != 1 })
			if err != nil {
				t.Fatal(err)
			}
			a, b, _ := g.Coord(u)
			if got := geohash.Distance(lat, lon, a, b); math.Abs(got-want) > 1e-3 || math.Abs(metres-want) > 1e-2 || u%3 == 1 {
				t.Fatalf("seed %d: node %d at %v m, said to be at %v, the nearest is at %v", seed, u, got, metres, want)
			}
		}
	}
}

// The nearest of a thousand points of each arc is hardly nearer, and not much farther.
func TestLocatorArc(t *testing.T) {
	const steps = 1000
	for seed := range uint64(25) {
		g, place := places(t, int(seed%5), seed)
		l, err := NewLocator(g)
		if err != nil {
			t.Fatal(err)
		}
		at := func(p Point) vec { // along the shorter great circle
			a, b := l.at[g.Tail(p.Arc)], l.at[g.Head(p.Arc)]
			angle := 2 * math.Asin(min(1, a.sub(b).norm()/2))
			if angle < 1e-9 {
				return a
			}
			v := a.scale(math.Sin((1 - p.Fraction) * angle)).add(b.scale(math.Sin(p.Fraction * angle)))
			return v.scale(1 / v.norm())
		}
		for range 4 {
			lat, lon := place()
			here := unit(lat, lon)
			want, slack := math.Inf(1), 0.0
			for a := range g.Arcs() {
				_, _, tailOK := g.Coord(g.Tail(ArcID(a)))
				_, _, headOK := g.Coord(g.Head(ArcID(a)))
				if !tailOK || !headOK {
					continue
				}
				for i := range steps + 1 {
					p := Point{ArcID(a), float64(i) / steps}
					if d := arcOf(at(p).sub(here).norm()); d < want {
						want = d
						slack = arcOf(l.at[g.Tail(p.Arc)].sub(l.at[g.Head(p.Arc)]).norm()) / steps
					}
				}
			}
			p, metres, err := l.Arc(lat, lon, nil)
			if math.IsInf(want, 1) {
				if !errors.Is(err, ErrNotFound) {
					t.Fatalf("seed %d: no arcs, but %v, %v", seed, p, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got := arcOf(at(p).sub(here).norm())
			if got > want+1e-2 || got < want-slack-1e-2 || math.Abs(got-metres) > 0.1 {
				t.Fatalf("seed %d: %v is at %v m, said to be at %v, the nearest is at %v", seed, p, got, metres, want)
			}
			if u, v := g.Tail(p.Arc), g.Head(p.Arc); u != v {
				for a := range p.Arc {
					if g.Tail(a) == v && g.Head(a) == u || g.Tail(a) == u && g.Head(a) == v {
						t.Fatalf("seed %d: arc %d, but %d is the same road", seed, p.Arc, a)
					}
				}
			}
		}
	}
}

func TestLocatorRefuses(t *testing.T) {
	bare, err := NewBuilder(4).Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewLocator(bare); !errors.Is(err, ErrInvalid) {
		t.Errorf("no coordinates: %v", err)
	}
	g, _ := places(t, 0, 1)
	l, err := NewLocator(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range [][2]float64{{91, 0}, {0, 181}, {math.NaN(), 0}, {0, math.Inf(1)}} {
		if _, _, err := l.Node(p[0], p[1], nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", p, err)
		}
		if _, _, err := l.Arc(p[0], p[1], nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", p, err)
		}
	}
	if _, _, err := l.Node(0, 0, func(NodeID) bool { return false }); !errors.Is(err, ErrNotFound) {
		t.Errorf("none counts: %v", err)
	}
}

// BenchmarkLocator makes locators of networks of three sizes, and looks for places in them.
func BenchmarkLocator(b *testing.B) {
	for _, side := range []int{40, 127, 400} {
		g, _, _, err := Generate(side, side, 1)
		if err != nil {
			b.Fatal(err)
		}
		var l *Locator
		b.Run(fmt.Sprintf("New/nodes=%d", g.Nodes()), func(b *testing.B) {
			before := heapBytes()
			for b.Loop() {
				if l, err = NewLocator(g); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(heapBytes()-before)/float64(g.Nodes()+g.Arcs()), "B/node+arc")
		})
		if l == nil {
			continue
		}
		rng := splitmix(1)
		near := func() (lat, lon float64) {
			lat, lon, _ = g.Coord(NodeID(rng.n(g.Nodes())))
			return lat + 0.0003, lon + 0.0002
		}
		b.Run(fmt.Sprintf("Node/nodes=%d", g.Nodes()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lat, lon := near()
				if _, _, err := l.Node(lat, lon, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("Arc/nodes=%d", g.Nodes()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lat, lon := near()
				if _, _, err := l.Arc(lat, lon, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
