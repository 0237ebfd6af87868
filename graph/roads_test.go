package graph

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"
)

// roadFile opens a gzipped file in the folder that ASHLAR_ROADS names.
func roadFile(t testing.TB, name string) io.Reader {
	f, err := os.Open(filepath.Join(os.Getenv("ASHLAR_ROADS"), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func newYork(t testing.TB) (*Graph, []uint32) {
	g, w, err := ReadDIMACS(roadFile(t, "USA-road-t.NY.gr.gz"), roadFile(t, "USA-road-d.NY.co.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return g, w
}

func TestTrial(t *testing.T) {
	if os.Getenv("ASHLAR_ROADS") == "" {
		t.Skip("ASHLAR_ROADS")
	}
	g, w := newYork(t)
	at := time.Now()
	topo, err := Dissect(context.Background(), g, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("dissect", time.Since(at))
	t.Logf("%+v", topo.Stats())
	at = time.Now()
	topo, err = Dissect(context.Background(), g, &Options{Order: topo.Order(), Workers: 1})
	t.Log("build", time.Since(at))
	t.Logf("%+v", topo.Stats())
	var m *Metric
	for range 5 {
		at = time.Now()
		m, _ = topo.Customize(w)
		t.Log("customize", time.Since(at))
	}
	topo.workers = 2
	for range 3 {
		at = time.Now()
		m, _ = topo.Customize(w)
		t.Log("customize 2", time.Since(at))
	}
	rng := splitmix(42)
	q := m.NewQuery()
	s, _ := NewSearch(g, w)
	bad := 0
	for range 100 {
		x, y := uint32(rng.n(g.Nodes())), uint32(rng.n(g.Nodes()))
		a, _ := q.Distance(x, y)
		b, _ := s.Bidirectional(x, y)
		if a != b {
			bad++
		}
	}
	t.Log("bad", bad)
	at = time.Now()
	for range 100 {
		x, y := uint32(rng.n(g.Nodes())), uint32(rng.n(g.Nodes()))
		s.Bidirectional(x, y)
	}
	t.Log("bidirectional", time.Since(at)/100)
	at = time.Now()
	for range 20000 {
		x, y := uint32(rng.n(g.Nodes())), uint32(rng.n(g.Nodes()))
		q.Distance(x, y)
	}
	t.Log("query", time.Since(at)/20000)
}

func BenchmarkNewYork(b *testing.B) {
	g, w := newYork(b)
	var order []NodeID
	if f, err := os.ReadFile("/tmp/ny.order"); err == nil {
		order = unsafe.Slice((*uint32)(unsafe.Pointer(&f[0])), len(f)/4)
	}
	topo, err := Dissect(context.Background(), g, &Options{Order: order})
	if err != nil {
		b.Fatal(err)
	}
	if order == nil {
		o := topo.Order()
		os.WriteFile("/tmp/ny.order", unsafe.Slice((*byte)(unsafe.Pointer(&o[0])), 4*len(o)), 0o644)
	}
	m, _ := topo.Customize(w)
	s, _ := NewSearch(g, w)
	rng := splitmix(42)
	qs := make([][2]uint32, 1<<14)
	for i := range qs {
		qs[i] = [2]uint32{uint32(rng.n(g.Nodes())), uint32(rng.n(g.Nodes()))}
	}
	b.Run("bidirectional", func(b *testing.B) {
		i := 0
		for b.Loop() {
			s.Bidirectional(qs[i%len(qs)][0], qs[i%len(qs)][1])
			i++
		}
	})
	q := m.NewQuery()
	b.Run("distance", func(b *testing.B) {
		i := 0
		for b.Loop() {
			q.Distance(qs[i%len(qs)][0], qs[i%len(qs)][1])
			i++
		}
	})
	b.Run("path", func(b *testing.B) {
		i := 0
		var p []ArcID
		for b.Loop() {
			q.Distance(qs[i%len(qs)][0], qs[i%len(qs)][1])
			p = q.AppendPath(p[:0])
			i++
		}
	})
	for _, k := range []int{100, 1000, 10000} {
		var targets []NodeID
		for range k {
			targets = append(targets, uint32(rng.n(g.Nodes())))
		}
		b.Run(fmt.Sprint("cold", k), func(b *testing.B) {
			var dst []uint32
			i := 0
			for b.Loop() {
				tt, _ := m.Targets(targets)
				dst, _ = tt.To(dst[:0], qs[i%len(qs)][0])
				i++
			}
		})
		b.Run(fmt.Sprint("warm", k), func(b *testing.B) {
			var dst []uint32
			i := 0
			tt, _ := m.Targets(targets)
			for b.Loop() {
				dst, _ = tt.From(dst[:0], qs[i%len(qs)][0])
				i++
			}
		})
	}
	b.Run("matrix1000", func(b *testing.B) {
		var us []NodeID
		for i := range 1000 {
			us = append(us, qs[i][0])
		}
		var dst []uint32
		for b.Loop() {
			dst, _ = m.Matrix(dst[:0], us, us)
		}
	})
	b.Run("all", func(b *testing.B) {
		var dst []uint32
		for b.Loop() {
			dst, _ = m.All(dst[:0], 77)
		}
	})
	b.Run("alldijkstra", func(b *testing.B) {
		var dst []uint32
		for b.Loop() {
			dst, _ = s.All(dst[:0], 77)
		}
	})
	for _, k := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprint("update", k), func(b *testing.B) {
			rng := splitmix(7)
			m2 := m
			m, n := m, 0
			for b.Loop() {
				if n++; n*k > 1<<15 {
					m, n = m2, 0
				}
				var changes []Change
				for range k {
					a := uint32(rng.n(g.Arcs()))
					changes = append(changes, Change{a, w[a] * []uint32{1, 6}[rng.n(2)] / 2})
				}
				m, _ = m.Update(changes)
			}
		})
	}
	for k := range 2 {
		topo.workers = k + 1
		b.Run(fmt.Sprint("customize", k+1), func(b *testing.B) {
			for b.Loop() {
				topo.Customize(w)
			}
		})
	}
}
