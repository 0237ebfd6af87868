package graph

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// roadFile opens a gzipped file in the folder that ASHLAR_ROADS names, and what is of
// Monaco in testdata.
func roadFile(t testing.TB, name string) io.Reader {
	path := filepath.Join(os.Getenv("ASHLAR_ROADS"), name)
	if strings.HasPrefix(name, "monaco.") {
		path = filepath.Join("testdata", name)
	}
	f, err := os.Open(path)
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

// newYork is that of the 9th DIMACS Implementation Challenge.
func newYork(t testing.TB) (*Graph, []uint32) {
	g, w, err := ReadDIMACS(roadFile(t, "USA-road-t.NY.gr.gz"), roadFile(t, "USA-road-d.NY.co.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return g, w
}

// monaco has one-ways and turn restrictions.
func monaco(t testing.TB) (*Graph, []uint32) {
	g, w, err := ReadDIMACS(roadFile(t, "monaco.t.gr.gz"), roadFile(t, "monaco.co.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return g, w
}

// moscow is made of pairs of integers, positions in metres and links, and a class of speed
// for each link of the largest part, once, in the order of its lower and its higher end.
func moscow(t testing.TB) (*Graph, []uint32) {
	read := func(name string) []byte {
		b, err := io.ReadAll(roadFile(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pairs := func(b []byte) (list [][2]int32) {
		for ; len(b) >= 8; b = b[8:] {
			list = append(list, [2]int32{int32(binary.LittleEndian.Uint32(b)), int32(binary.LittleEndian.Uint32(b[4:]))})
		}
		return list
	}
	at, links, classes := pairs(read("moscow.co.bin.gz")), pairs(read("moscow.gr.bin.gz")), read("moscow.class.bin.gz")
	for i, l := range links {
		links[i] = [2]int32{min(l[0], l[1]) - 1, max(l[0], l[1]) - 1}
	}
	slices.SortFunc(links, func(a, b [2]int32) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	links = slices.Compact(links)
	all := NewBuilder(len(at))
	for _, l := range links {
		all.AddEdge(uint32(l[0]), uint32(l[1]))
	}
	g, err := all.Build()
	if err != nil {
		t.Fatal(err)
	}
	component, count := g.Components()
	sizes := make([]int, count)
	for _, c := range component {
		sizes[c]++
	}
	largest := uint32(slices.Index(sizes, slices.Max(sizes)))
	links = slices.DeleteFunc(links, func(l [2]int32) bool { return component[l[0]] != largest })
	if len(links) != len(classes) {
		t.Fatalf("%d links, %d classes", len(links), len(classes))
	}
	b := NewBuilder(len(at)) // what is in other parts stays, without arcs
	for u, p := range at {
		b.SetCoord(uint32(u), 55.58+float64(p[1])/111320, 37.39+float64(p[0])/62900)
	}
	var w []uint32
	for i, l := range links {
		u, v := l[0], l[1]
		b.AddEdge(uint32(u), uint32(v))
		metres := math.Hypot(float64(at[u][0]-at[v][0]), float64(at[u][1]-at[v][1]))
		millis := uint32(max(1, math.Round(metres*3600/[]float64{90, 60, 40, 25}[classes[i]])))
		w = append(w, millis, millis)
	}
	if g, err = b.Build(); err != nil {
		t.Fatal(err)
	}
	return g, w
}

// checkJam compares 100 × 100 distances with Dijkstra's, before and after one arc in a
// hundred takes three times as long and one half as long.
func checkJam(t *testing.T, g *Graph, weights []uint32) {
	topo, err := Dissect(context.Background(), g, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", topo.Stats())
	m, err := topo.Customize(weights)
	if err != nil {
		t.Fatal(err)
	}
	rng := splitmix(42)
	for round, part := range []int{0, 1, 100} { // of a hundred: a share of the jam at a time
		now := slices.Clone(weights)
		var changes []Change
		for range g.Arcs() / 100 * part / 100 {
			slow, fast := uint32(rng.n(g.Arcs())), uint32(rng.n(g.Arcs()))
			changes = append(changes, Change{slow, 3 * weights[slow]}, Change{fast, weights[fast] / 2})
		}
		for _, c := range changes {
			now[c.Arc] = c.Weight
		}
		jam := m
		for some := range slices.Chunk(changes, max(1, len(changes)/3)) {
			if jam, err = jam.Update(some); err != nil {
				t.Fatal(err)
			}
		}
		search, err := NewSearch(g, now)
		if err != nil {
			t.Fatal(err)
		}
		q := jam.NewQuery()
		wrong, side := 0, 100
		var all []uint32
		var path []ArcID
		for range side {
			s := uint32(rng.n(g.Nodes()))
			if all, err = search.All(all[:0], s); err != nil {
				t.Fatal(err)
			}
			for range side {
				u := uint32(rng.n(g.Nodes()))
				d, err := q.Distance(s, u)
				if err != nil {
					t.Fatal(err)
				}
				path = q.AppendPath(path[:0])
				if d != all[u] || checkPath(g, jam.Weight, s, u, d, path) != nil {
					wrong++
				}
			}
		}
		t.Logf("round %d: %d arcs changed, %d of %d wrong", round, len(changes), wrong, side*side)
		if wrong > 0 {
			t.Fail()
		}
	}
}

// One round on made-up roads.
func TestJam(t *testing.T) {
	g, millis, decimetres, err := Generate(60, 60, 1)
	if err != nil {
		t.Fatal(err)
	}
	checkJam(t, g, millis)
	if len(decimetres) != g.Arcs() {
		t.Fatal(len(decimetres))
	}
}

// The same on the real roads of Monaco, with turns; with ASHLAR_FULL=1 and ASHLAR_ROADS, a
// folder with road networks, on others too.
func TestRealRoads(t *testing.T) {
	networks := map[string]func(testing.TB) (*Graph, []uint32){"monaco": monaco}
	turns := []string{"monaco"}
	if os.Getenv("ASHLAR_FULL") != "" && os.Getenv("ASHLAR_ROADS") != "" {
		networks["new-york"], networks["moscow"] = newYork, moscow
		turns = append(turns, "osm-baltimore")
	}
	for name, load := range networks {
		t.Run(name, func(t *testing.T) {
			g, w := load(t)
			checkJam(t, g, w)
		})
	}
	for _, place := range turns {
		t.Run(place+"-turns", func(t *testing.T) { checkRestrictions(t, place) })
	}
}

// checkRestrictions compares 1,000 distances with turns with a search of the arcs.
func checkRestrictions(t *testing.T, place string) {
	plain, weights, err := ReadDIMACS(roadFile(t, place+".t.gr.gz"), roadFile(t, place+".co.gz"))
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(plain.Nodes())
	for a := range uint32(plain.Arcs()) {
		b.AddArc(plain.Tail(a), plain.Head(a))
	}
	for u := range uint32(plain.Nodes()) {
		lat, lon, _ := plain.Coord(u)
		b.SetCoord(u, lat, lon)
	}
	restrictions := 0
	for lines := bufio.NewScanner(roadFile(t, place+".tr.gz")); lines.Scan(); {
		line := lines.Bytes()
		if len(line) == 0 || line[0] != 'r' {
			continue
		}
		words := bytes.Fields(line)
		f, err := integers(make([]int64, 0, 3), bytes.Join(words[1:4], []byte(" ")))
		if err != nil {
			t.Fatal(err)
		}
		if string(words[4]) == "only" {
			b.OnlyTurn(uint32(f[0]-1), uint32(f[2]-1))
		} else {
			b.SetTurn(uint32(f[0]-1), uint32(f[2]-1), Inf)
		}
		restrictions++
	}
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	x, err := g.Expand(Inf)
	if err != nil {
		t.Fatal(err)
	}
	topo, err := Dissect(context.Background(), x.Graph(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := x.Customize(topo, weights)
	if err != nil {
		t.Fatal(err)
	}
	q := m.NewQuery()
	expanded, err := x.Weights(weights)
	if err != nil {
		t.Fatal(err)
	}
	search, err := NewSearch(x.Graph(), expanded)
	if err != nil {
		t.Fatal(err)
	}
	rng := splitmix(42)
	wrong, detours := 0, 0
	plainSearch, err := NewSearch(g, weights)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		s, u := uint32(rng.n(g.Nodes())), uint32(rng.n(g.Nodes()))
		want := uint32(Inf)
		if s == u {
			want = 0
		}
		for _, a := range g.Out(s) {
			for _, b := range g.In(u) {
				d, err := search.Distance(a, b)
				if err != nil {
					t.Fatal(err)
				}
				if d < Inf && s != u {
					want = min(want, d+weights[b])
				}
			}
		}
		got, err := q.Distance(s, u)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			wrong++
		}
		if without, _ := plainSearch.Distance(s, u); without != got {
			detours++
		}
	}
	t.Logf("%d restrictions, %+v: %d of 1,000 wrong, %d need a detour", restrictions, topo.Stats(), wrong, detours)
	if wrong > 0 {
		t.Fail()
	}
}
