package graph

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
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
