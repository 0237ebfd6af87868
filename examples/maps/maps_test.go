package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/examples/internal/newyork"
	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

func TestMain(m *testing.M) {
	child.Main(roles)
	os.Exit(m.Run())
}

// varying are times.
var varying = []*regexp.Regexp{
	regexp.MustCompile(`(made in) [\d.]+ (s)`),
	regexp.MustCompile(`(empty roads) [\d.]+ (ms later)`),
	regexp.MustCompile(`(?m)^(  (?:Dijkstra|from both ends|A\*|classic hierarchy|customizable) +[\d,]+ +\d+) +[\d.]+( )`),
	regexp.MustCompile(`(?m)^(  \d\d:\d\d +[\d,]+ +[\d,]+) +[\d.]+( )`),
	regexp.MustCompile(`(a reader asked) [\d,]+ (times)`),
	regexp.MustCompile(`(new weights in) [\d.]+ (ms)`),
	regexp.MustCompile(`(checked in) [\d.]+ (ms)`),
	regexp.MustCompile(`(?m)^(  (?:the graph: |an index).*\S) +[\d.]+ +[\d.]+()$`),
}

var spaces = regexp.MustCompile(` +`)

func mask(out string) string {
	for _, r := range varying {
		out = r.ReplaceAllString(out, "$1 # $2")
	}
	return spaces.ReplaceAllString(out, " ")
}

func TestMask(t *testing.T) {
	a := "made in 0.5 s; with the weights of empty roads 11.3 ms later\n  A*      9,521       0   1494.9       542\n  08:09     9       1,405      1.17    26:52\n  an index, a question for each hop     700.9      28.09\n"
	b := "made in 10.9 s; with the weights of empty roads 1.3 ms later\n  A*      9,521       0      94.9       542\n  08:09     9       1,405     11.17    26:52\n  an index, a question for each hop      70.9       2.09\n"
	if mask(a) != mask(b) {
		t.Errorf("%q and %q", mask(a), mask(b))
	}
	for _, c := range []string{strings.Replace(a, "9,521", "9,522", 1), strings.Replace(a, "1,405", "1,406", 1), strings.Replace(a, "26:52", "26:53", 1)} {
		if mask(a) == mask(c) {
			t.Errorf("what counts is masked: %q", c)
		}
	}
}

// grid returns a small network of streets, its shape always the same.
func grid(t testing.TB, size int) *network {
	t.Helper()
	g, millis, decimetres, err := graph.Generate(size, size, 5)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{name: "a grid", g: g, millis: millis, decimetres: decimetres}
	n.classify()
	return n
}

// The story does not depend on New York.
func TestOtherNetwork(t *testing.T) {
	n := grid(t, 40)
	dir := t.TempDir()
	gr, co := filepath.Join(dir, "x.gr"), filepath.Join(dir, "x.co")
	writeDIMACS(t, n, gr, co)
	var out bytes.Buffer
	if err := run(t.Context(), &out, files{gr: gr, co: co}, 1_000, 100, filepath.Join(dir, "svg")); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if err := run(t.Context(), &out, files{gr: gr}, 1_000, 100, ""); err == nil {
		t.Error("a map without coordinates")
	}
	if err := run(t.Context(), &out, files{osm: gr}, 1_000, 100, ""); err == nil {
		t.Error("a DIMACS file as one of OpenStreetMap")
	}
}

func writeDIMACS(t *testing.T, n *network, gr, co string) {
	t.Helper()
	var arcs, nodes bytes.Buffer
	fmt.Fprintf(&arcs, "p sp %d %d\n", n.g.Nodes(), n.g.Arcs())
	for a := range graph.ArcID(n.g.Arcs()) {
		fmt.Fprintf(&arcs, "a %d %d %d\n", n.g.Tail(a)+1, n.g.Head(a)+1, n.millis[a])
	}
	fmt.Fprintf(&nodes, "p aux sp co %d\n", n.g.Nodes())
	for u := range graph.NodeID(n.g.Nodes()) {
		lat, lon, _ := n.g.Coord(u)
		fmt.Fprintf(&nodes, "v %d %.0f %.0f\n", u+1, lon*1e6, lat*1e6)
	}
	if err := errors.Join(os.WriteFile(gr, arcs.Bytes(), 0o644), os.WriteFile(co, nodes.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// The embedded extract is one piece, in order along the curve, and encodes to itself.
func TestExtract(t *testing.T) {
	n, err := openEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	if _, count := n.g.Components(); count != 1 {
		t.Errorf("%d pieces", count)
	}
	points, edges, err := extract(n.g, units(n), n.decimetres, extractBox)
	if err != nil {
		t.Fatal(err)
	}
	again, err := newyork.Decode(bytes.NewReader(newyork.Encode(points, edges)))
	if err != nil {
		t.Fatal(err)
	}
	if again.Graph.Nodes() != n.g.Nodes() || !slices.Equal(again.Millis, n.millis) || !slices.Equal(again.Decimetres, n.decimetres) || !slices.Equal(again.Class, n.class) {
		t.Error("the extract of the extract differs")
	}
	for a := range graph.ArcID(n.g.Arcs()) {
		if again.Graph.Tail(a) != n.g.Tail(a) || again.Graph.Head(a) != n.g.Head(a) {
			t.Fatalf("arc %d differs", a)
		}
		// No road is shorter than the line between its ends, but for rounding.
		if line := n.straight(a); line > 1.02*float64(n.decimetres[a])/10+2 {
			t.Errorf("arc %d is %d dm long, its ends %.1f m apart", a, n.decimetres[a], line)
		}
	}
}

// units turns milliseconds back.
func units(n *network) (list []uint32) {
	for _, ms := range n.millis {
		list = append(list, (ms*5+newyork.Unit/2)/newyork.Unit)
	}
	return list
}

// What is cut out of a network keeps the roads within the box, and only those.
func TestCut(t *testing.T) {
	oneWays := grid(t, 30)
	b := graph.NewBuilder(oneWays.g.Nodes())
	n := &network{}
	for u := range graph.NodeID(oneWays.g.Nodes()) {
		lat, lon, _ := oneWays.g.Coord(u)
		b.SetCoord(u, lat, lon)
	}
	for _, r := range roadsOf(oneWays) {
		b.AddEdge(r.u, r.v)
		for range 2 {
			n.millis = append(n.millis, oneWays.millis[r.arcs[0]])
			n.decimetres = append(n.decimetres, oneWays.decimetres[r.arcs[0]])
		}
	}
	var err error
	if n.g, err = b.Build(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	gr, co := filepath.Join(dir, "x.gr"), filepath.Join(dir, "x.co")
	writeDIMACS(t, n, gr, co)
	to := filepath.Join(dir, "out.gz")
	all := geohash.Box{South: -90, North: 90, West: -180, East: 180}
	if err := cut(files{gr: gr, co: co}, all, to); err == nil {
		t.Error("cut without lengths")
	}
	if _, _, err := extract(oneWays.g, oneWays.millis, oneWays.decimetres, all); err == nil {
		t.Error("a file of roads in both directions was made of one-way streets")
	}
	if err := cut(files{gr: gr, co: co, lengths: gr}, all, to); err != nil {
		t.Fatal(err)
	}
	in, err := openGzip(to)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	whole, err := newyork.Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Graph.Nodes() != n.g.Nodes() {
		t.Errorf("%d nodes, want %d", whole.Graph.Nodes(), n.g.Nodes())
	}
	half := n.box()
	half.East = (half.West + half.East) / 2
	points, edges, err := extract(n.g, n.millis, n.decimetres, half)
	if err != nil {
		t.Fatal(err)
	}
	if len(points) < n.g.Nodes()/4 || len(points) > n.g.Nodes()*3/4 || len(edges) == 0 {
		t.Errorf("%d of %d nodes are in half of the box, with %d edges", len(points), n.g.Nodes(), len(edges))
	}
	for _, p := range points {
		if float64(p.Lon)/1e6 > half.East+1e-6 {
			t.Errorf("%v is not in %v", p, half)
		}
	}
}

// The plain hierarchy has the distances of Dijkstra, after any change of weights, and so
// does the frozen one as long as nothing changes.
func TestPlainAndFrozen(t *testing.T) {
	n := grid(t, 16)
	topo, err := graph.Dissect(t.Context(), n.g, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := graph.Contract(t.Context(), n.g, n.millis, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := freeze(h, n.millis)
	if err != nil {
		t.Fatal(err)
	}
	p, weights, r := newPlain(topo), slices.Clone(n.millis), rand.New(rand.NewPCG(1, 1))
	wrong := 0
	for round := range 5 {
		changed := p.customize(func(a graph.ArcID) uint32 { return weights[a] })
		if round > 0 && changed == 0 {
			t.Error("no shortcut has changed")
		}
		if again := p.customize(func(a graph.ArcID) uint32 { return weights[a] }); again != 0 {
			t.Errorf("%d shortcuts have changed without reason", again)
		}
		f.patch(func(a graph.ArcID) uint32 { return weights[a] })
		for _, x := range randomPairs(n, 100, uint64(round)) {
			want, _, err := graph.Dijkstra(n.g, weights, x.s, x.t)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.distance(x.s, x.t); got != want {
				t.Errorf("round %d, %v: %d, want %d", round, x, got, want)
			}
			if got := f.distance(x.s, x.t); got < want || round == 0 && got != want {
				t.Errorf("round %d, %v: frozen %d, want %d", round, x, got, want)
			} else if got != want {
				wrong++
			}
		}
		for range len(weights) / 20 {
			weights[r.IntN(len(weights))] *= 3
		}
		if round == 3 {
			weights[r.IntN(len(weights))] = graph.Inf
		}
	}
	if wrong == 0 {
		t.Error("the frozen hierarchy was never wrong")
	}
}

// What the drawings show as looked at is what the searches count.
func TestLookedAt(t *testing.T) {
	n := grid(t, 60)
	topo, err := graph.Dissect(t.Context(), n.g, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := topo.Customize(n.millis)
	if err != nil {
		t.Fatal(err)
	}
	h, err := graph.Contract(t.Context(), n.g, n.millis, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := searchers(n, n.millis, h, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range randomPairs(n, 20, 2) {
		d, err := list[0].ask(p.s, p.t)
		if err != nil {
			t.Fatal(err)
		}
		drawn := map[string]int{}
		for _, s := range lookedAt(n, n.millis, m, h, p.s, p.t, d) {
			drawn[s.name] = len(s.nodes)
		}
		for _, x := range list {
			if _, err := x.ask(p.s, p.t); err != nil {
				t.Fatal(err)
			}
			// At the edge of a search are nodes that are as far as the target.
			if got, want := drawn[x.name], x.looked(); got < want*95/100-8 || got > want*105/100+8 {
				t.Errorf("%s from %d to %d: %d nodes drawn, %d looked at", x.name, p.s, p.t, got, want)
			}
		}
	}
}

// Roads that few cars used, and those that are as fast as ever, stay as they are.
func TestChanges(t *testing.T) {
	n := grid(t, 8)
	topo, err := graph.Dissect(t.Context(), n.g, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := topo.Customize(n.millis)
	if err != nil {
		t.Fatal(err)
	}
	read := func(arc graph.ArcID, cars int64, times float64) reading {
		return reading{Arc: arc, Pace: pace{Cars: cars, Millis: float64(cars) * times * float64(n.millis[arc])}}
	}
	list := changes(n, m, []reading{read(0, enough-1, 9), read(1, enough, 1.2), read(2, enough, 4), read(3, 50, 0.5)})
	if len(list) != 1 || list[0].Arc != 2 || list[0].Weight < 3*n.millis[2] {
		t.Fatalf("changes are %v, want arc 2 four times as slow", list)
	}
	if m, err = m.Update(list); err != nil {
		t.Fatal(err)
	}
	if again := changes(n, m, []reading{read(2, enough, 4.4)}); len(again) != 0 {
		t.Errorf("changes are %v, want none for a little more", again)
	}
	if back := changes(n, m, []reading{read(2, enough, 1.1)}); len(back) != 1 || back[0].Weight != n.millis[2] {
		t.Errorf("changes are %v, want arc 2 as at first", back)
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		millis uint32
		want   string
	}{{0, "0:00"}, {59_499, "0:59"}, {59_500, "1:00"}, {3_600_000, "60:00"}, {graph.Inf, "no way"}} {
		if got := eta(c.millis); got != c.want {
			t.Errorf("eta(%d) = %q, want %q", c.millis, got, c.want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := num(n); got != want {
			t.Errorf("num(%d) = %q, want %q", n, got, want)
		}
	}
}
