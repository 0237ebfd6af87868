package graph

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

func small(t testing.TB) (*Topology, *Metric, []byte, []byte) {
	g, weights := random(7, 30)
	b := NewBuilder(g.Nodes())
	for a := range uint32(g.Arcs()) {
		b.AddArc(g.Tail(a), g.Head(a))
	}
	for u := range uint32(g.Nodes()) {
		if lat, lon, ok := g.Coord(u); ok {
			b.SetCoord(u, lat, lon)
		}
		if in, out := g.In(u), g.Out(u); len(in) > 0 && len(out) > 0 {
			b.SetTurn(in[0], out[0], 5)
		}
	}
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	topo, err := Dissect(context.Background(), g, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := topo.Customize(weights)
	if err != nil {
		t.Fatal(err)
	}
	var ft, fm bytes.Buffer
	if n, err := topo.WriteTo(&ft); err != nil || n != int64(ft.Len()) {
		t.Fatal(n, err)
	}
	if n, err := m.WriteTo(&fm); err != nil || n != int64(fm.Len()) {
		t.Fatal(n, err)
	}
	return topo, m, ft.Bytes(), fm.Bytes()
}

// What is read is what was written, down to the bytes of a second copy.
func TestFiles(t *testing.T) {
	for seed := range uint64(100) {
		g, weights := random(seed, 50)
		if seed == 0 {
			g, weights = new(Graph), nil
			g, _ = NewBuilder(0).Build()
		}
		topo, err := Dissect(context.Background(), g, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := topo.Customize(weights)
		if err != nil {
			t.Fatal(err)
		}
		var file, metric, again bytes.Buffer
		if _, err := topo.WriteTo(&file); err != nil {
			t.Fatal(err)
		}
		if _, err := m.WriteTo(&metric); err != nil {
			t.Fatal(err)
		}
		read, err := Read(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if read.Stats() != topo.Stats() || read.Fingerprint() != topo.Fingerprint() {
			t.Fatalf("seed %d: %+v, want %+v", seed, read.Stats(), topo.Stats())
		}
		if _, err := read.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), file.Bytes()) {
			t.Fatalf("seed %d: the copy of the copy is another: %v", seed, err)
		}
		got, err := read.ReadMetric(&metric)
		if err != nil {
			t.Fatal(err)
		}
		sameMetric(t, got, m)
		// Bytes that do not begin at a multiple of four are copied.
		odd := append(make([]byte, 1, file.Len()+1), file.Bytes()...)[1:]
		if read, err = Load(odd); err != nil || read.Stats() != topo.Stats() {
			t.Fatal(err)
		}
	}
}

func TestMapped(t *testing.T) {
	topo, m, want, _ := small(t)
	path := filepath.Join(t.TempDir(), "roads")
	for range 2 { // the second replaces the first
		if err := WriteFile(path, topo); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(path+".metric", m); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
		t.Fatal("another file", err)
	}
	mapped, err := OpenMapped(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path + ".metric")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := mapped.ReadMetric(f)
	if err != nil {
		t.Fatal(err)
	}
	sameMetric(t, got, m)
	for range 2 {
		if err := mapped.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(path, int64(len(want)-1)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMapped(path); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a file cut by a byte: %v", err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMapped(path); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("an empty file: %v", err)
	}
}

// A file that is cut anywhere, or has any bit flipped, is refused; so is one with a later
// version or a metric of another hierarchy.
func TestDamage(t *testing.T) {
	topo, _, file, metric := small(t)
	refused := func(what string, i int, err error) {
		t.Helper()
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrIncompatible) {
			t.Fatalf("%s at %d: %v", what, i, err)
		}
	}
	for i := range len(file) {
		_, err := Load(file[:i])
		refused("a hierarchy cut", i, err)
	}
	for i := range 8 * len(file) {
		b := bytes.Clone(file)
		b[i/8] ^= 1 << (i % 8)
		_, err := Load(b)
		refused("a hierarchy with a bit flipped", i, err)
	}
	for i := range len(metric) {
		_, err := topo.ReadMetric(bytes.NewReader(metric[:i]))
		refused("a metric cut", i, err)
	}
	for i := range 8 * len(metric) {
		b := bytes.Clone(metric)
		b[i/8] ^= 1 << (i % 8)
		_, err := topo.ReadMetric(bytes.NewReader(b))
		refused("a metric with a bit flipped", i, err)
	}
	_, err := topo.ReadMetric(bytes.NewReader(append(bytes.Clone(metric), 0)))
	refused("a metric with a byte more", len(metric), err)
	b := bytes.Clone(file)
	b[4]++
	if _, err := Load(b); !errors.Is(err, ErrVersion) {
		t.Fatalf("a later version: %v", err)
	}
	g, weights := random(8, 30)
	other, _ := Dissect(context.Background(), g, nil)
	m, _ := other.Customize(weights)
	var buf bytes.Buffer
	if _, err := m.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	if _, err := topo.ReadMetric(&buf); !errors.Is(err, ErrIncompatible) {
		t.Fatalf("a metric of another hierarchy: %v", err)
	}
}

// reseal makes all sums right.
func reseal(b []byte) {
	if len(b) < headSize {
		return
	}
	le := binary.LittleEndian
	for s := range sectionCount {
		h := b[tableAt+s*tableEntry:]
		at, n := le.Uint64(h), le.Uint64(h[8:])
		if at <= uint64(len(b)) && n <= uint64(len(b))-at {
			le.PutUint32(h[16:], crc32.Checksum(b[at:at+n], castagnoli))
		}
	}
	le.PutUint32(b[headSum:], crc32.Checksum(b[:headSum], castagnoli))
}

// use does with a hierarchy what there is to do.
func use(t testing.TB, topo *Topology) {
	g := topo.Graph()
	weights := make([]uint32, g.Arcs())
	for a := range weights {
		weights[a] = uint32(a*7) % 100
	}
	m, err := topo.Customize(weights)
	if err != nil {
		t.Fatal(err)
	}
	for a := range weights {
		if m, err = m.Update([]Change{{ArcID(a), uint32(a*13) % 50}}); err != nil {
			t.Fatal(err)
		}
	}
	q := m.NewQuery()
	var path []ArcID
	for s := range uint32(g.Nodes()) {
		for u := range uint32(g.Nodes()) {
			if _, err := q.Distance(s, u); err != nil {
				t.Fatal(err)
			}
			path = q.AppendPath(path[:0])
		}
		if _, err := m.All(nil, s); err != nil {
			t.Fatal(err)
		}
	}
	x, err := g.Expand(0)
	if err != nil {
		t.Fatal(err)
	}
	_ = x
	search, err := NewSearch(g, weights)
	if err != nil {
		t.Fatal(err)
	}
	if g.Nodes() > 0 {
		search.Bidirectional(0, uint32(g.Nodes()-1))
	}
}

// A hierarchy with any bit flipped and all sums right is refused or works, perhaps with
// wrong answers.
func TestForged(t *testing.T) {
	_, _, file, _ := small(t)
	taken := 0
	for i := range 8 * len(file) {
		if i/8 >= headSum && i/8 < headSize {
			continue
		}
		b := bytes.Clone(file)
		b[i/8] ^= 1 << (i % 8)
		reseal(b)
		topo, err := Load(b)
		if err == nil {
			taken++
			if taken%8 == 0 {
				use(t, topo)
			}
		}
	}
	if taken == 0 {
		t.Fatal("coordinates and costs of turns may be anything")
	}
}

func FuzzLoad(f *testing.F) {
	_, _, file, _ := small(f)
	f.Add(file)
	g, _ := NewBuilder(0).Build()
	empty, _ := Dissect(context.Background(), g, nil)
	var buf bytes.Buffer
	if _, err := empty.WriteTo(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		reseal(b)
		topo, err := Load(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if topo.Graph().Nodes() > 100 || topo.Graph().Arcs() > 300 {
			return
		}
		use(t, topo)
	})
}

// Files of version 1 are read by every later release.
func TestGolden(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("testdata", "hierarchy-v1.bin"))
	if err != nil {
		t.Fatal(err)
	}
	topo, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if _, err := topo.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), file) {
		t.Fatal("written again it is another file", err)
	}
	metric, err := os.ReadFile(filepath.Join("testdata", "metric-v1.bin"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := topo.ReadMetric(bytes.NewReader(metric))
	if err != nil {
		t.Fatal(err)
	}
	g := topo.Graph()
	weights := make([]uint32, g.Arcs())
	for a := range weights {
		weights[a] = m.Weight(ArcID(a))
	}
	if g.Nodes() < 10 || g.Arcs() < 20 || len(g.turns) == 0 {
		t.Fatal(g.Nodes(), g.Arcs(), g.turns)
	}
	q := m.NewQuery()
	for s := range uint32(g.Nodes()) {
		for u := range uint32(g.Nodes()) {
			want, _, err := Dijkstra(g, weights, s, u)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := q.Distance(s, u); err != nil || got != want {
				t.Fatal(s, u, got, want, err)
			}
		}
	}
}

// A power cut at any call of the writing of a second file leaves the first or the second,
// whole, and once the second was promised, that one.
func TestWriteFilePowerCut(t *testing.T) {
	const path = "/maps/town"
	var files [2]*Topology
	var sums [2]uint64
	for i := range files {
		g, weights, _, err := Generate(4, 4, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = hierarchy(t, g, weights).Topology()
		sums[i] = files[i].Fingerprint()
	}
	if sums[0] == sums[1] {
		t.Fatal("two towns with one fingerprint")
	}
	for cut := 1; ; cut++ {
		sim := vfs.NewSim()
		if err := errors.Join(sim.MkdirAll("/maps"), writeFile(sim, path, files[0])); err != nil {
			t.Fatal(err)
		}
		sim.CutAt(cut)
		done := writeFile(sim, path, files[1]) == nil
		for seed := range uint64(30) {
			b, err := vfs.ReadFile(sim.Crash(seed), path, 1<<20)
			if err != nil {
				t.Fatalf("cut at call %d, seed %d: %v", cut, seed, err)
			}
			got, err := Load(b)
			if err != nil {
				t.Fatalf("cut at call %d, seed %d: %v", cut, seed, err)
			}
			if f := got.Fingerprint(); f != sums[1] && (done || f != sums[0]) {
				t.Fatalf("cut at call %d, seed %d: fingerprint %x of %x, promised %v", cut, seed, f, sums, done)
			}
		}
		if done {
			if cut < 5 {
				t.Fatalf("only %d calls: has it lost its syncs?", cut-1)
			}
			return
		}
	}
}

// Several writers of one path never make a file that is none.
func TestWriteFileTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "town")
	g, weights, _, err := Generate(6, 6, 1)
	if err != nil {
		t.Fatal(err)
	}
	topo := hierarchy(t, g, weights).Topology()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if err := WriteFile(path, topo); err != nil {
					t.Error(err)
					return
				}
				b, err := os.ReadFile(path)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := Load(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
