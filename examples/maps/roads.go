package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/examples/internal/newyork"
	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

// A network is roads as a graph, with what is known of each arc.
type network struct {
	name       string
	g          *graph.Graph
	millis     []uint32 // to drive it when it is empty
	decimetres []uint32
	class      []uint8 // see classes
	bytes      int     // of the embedded file, 0 for others
}

// The classes of roads, by how fast they are when empty.
const classes = newyork.Classes

var classNames = [classes]string{"motorways", "highways", "main roads", "streets"}

// openNetwork returns the network that the flags name, or the embedded one.
func openNetwork(ctx context.Context, f files) (*network, error) {
	switch {
	case f.osm != "":
		return readOSM(ctx, f.osm)
	case f.gr != "":
		return readDIMACS(f)
	}
	return openEmbedded()
}

func openEmbedded() (*network, error) {
	n, err := newyork.Load()
	if err != nil {
		return nil, err
	}
	return &network{name: "New York", g: n.Graph, millis: n.Millis, decimetres: n.Decimetres, class: n.Class, bytes: newyork.Size()}, nil
}

// files are the names of files with a network.
type files struct{ gr, lengths, co, osm string }

// readDIMACS reads a network of the DIMACS challenge, whole.
func readDIMACS(f files) (*network, error) {
	if f.co == "" {
		return nil, errors.New("-gr needs -co: a map has coordinates")
	}
	gr, err := openGzip(f.gr)
	if err != nil {
		return nil, err
	}
	defer gr.Close()
	co, err := openGzip(f.co)
	if err != nil {
		return nil, err
	}
	defer co.Close()
	g, times, err := graph.ReadDIMACS(gr, co)
	if err != nil {
		return nil, err
	}
	n := &network{name: f.gr, g: g, millis: times}
	if f.lengths != "" {
		d, err := openGzip(f.lengths)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		if n.decimetres, err = graph.ReadDIMACSWeights(d, g); err != nil {
			return nil, err
		}
	} else {
		n.decimetres = make([]uint32, g.Arcs())
		for a := range n.decimetres {
			n.decimetres[a] = uint32(math.Round(10 * n.straight(graph.ArcID(a))))
		}
	}
	for a, t := range n.millis {
		n.millis[a] = newyork.UnitsToMillis(t)
	}
	n.classify()
	return n, nil
}

func (n *network) classify() {
	n.class = make([]uint8, n.g.Arcs())
	for a := range n.class {
		n.class[a] = newyork.ClassOf(n.decimetres[a], n.millis[a])
	}
}

// straight returns the metres from the tail of an arc to its head.
func (n *network) straight(a graph.ArcID) float64 {
	return n.between(n.g.Tail(a), n.g.Head(a))
}

func (n *network) between(u, v graph.NodeID) float64 {
	lat, lon, _ := n.g.Coord(u)
	lat2, lon2, _ := n.g.Coord(v)
	return geohash.Distance(lat, lon, lat2, lon2)
}

// openGzip opens a file that may be compressed.
func openGzip(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, err
	}
	in, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{in, f}, nil
}

// ---- the embedded file ----------------------------------------------------------

// cut makes the embedded file of the files of the DIMACS challenge: the largest part of
// the network within a box in which there is a way from each crossing to each other.
//
//	go run ./examples/maps -cut examples/internal/newyork/newyork.bin.gz -gr USA-road-t.NY.gr.gz -lengths USA-road-d.NY.gr.gz -co USA-road-d.NY.co.gz
func cut(f files, box geohash.Box, to string) error {
	if f.lengths == "" {
		return errors.New("-cut needs -gr, -lengths and -co")
	}
	gr, err := openGzip(f.gr)
	if err != nil {
		return err
	}
	defer gr.Close()
	co, err := openGzip(f.co)
	if err != nil {
		return err
	}
	defer co.Close()
	d, err := openGzip(f.lengths)
	if err != nil {
		return err
	}
	defer d.Close()
	g, times, err := graph.ReadDIMACS(gr, co)
	if err != nil {
		return err
	}
	lengths, err := graph.ReadDIMACSWeights(d, g)
	if err != nil {
		return err
	}
	points, edges, err := extract(g, times, lengths, box)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(newyork.Encode(points, edges)); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

// extractBox is what [cut] keeps.
var extractBox = geohash.Box{South: 40.63, North: 40.90, West: -74.03, East: -73.77}

func extract(g *graph.Graph, times, lengths []uint32, box geohash.Box) ([]newyork.Point, []newyork.Edge, error) {
	inside := func(u graph.NodeID) bool {
		lat, lon, ok := g.Coord(u)
		return ok && lat >= box.South && lat <= box.North && lon >= box.West && lon <= box.East
	}
	// The parts that the box leaves, and the largest of them.
	b := graph.NewBuilder(g.Nodes())
	for a := range graph.ArcID(g.Arcs()) {
		if inside(g.Tail(a)) && inside(g.Head(a)) {
			b.AddArc(g.Tail(a), g.Head(a))
		}
	}
	within, err := b.Build()
	if err != nil {
		return nil, nil, err
	}
	component, count := within.Components()
	sizes := make([]int, count)
	for _, c := range component {
		sizes[c]++
	}
	largest := uint32(0)
	for c, n := range sizes {
		if n > sizes[largest] {
			largest = uint32(c)
		}
	}
	// Its nodes along the curve: neighbours on the ground get numbers that are near.
	type place struct {
		cell geohash.Cell
		u    graph.NodeID
	}
	var order []place
	for u := range graph.NodeID(g.Nodes()) {
		if component[u] == largest {
			lat, lon, _ := g.Coord(u)
			cell, err := geohash.CellAt(lat, lon, geohash.MaxBits)
			if err != nil {
				return nil, nil, err
			}
			order = append(order, place{cell, u})
		}
	}
	slices.SortFunc(order, func(a, b place) int { return cmp.Or(cmp.Compare(a.cell, b.cell), cmp.Compare(a.u, b.u)) })
	number := map[graph.NodeID]graph.NodeID{}
	points := make([]newyork.Point, len(order))
	for i, p := range order {
		number[p.u] = graph.NodeID(i)
		lat, lon, _ := g.Coord(p.u)
		points[i] = newyork.Point{Lat: int64(math.Round(lat * 1e6)), Lon: int64(math.Round(lon * 1e6))}
	}
	var edges []newyork.Edge
	twins := map[newyork.Edge]int{}
	for a := range graph.ArcID(g.Arcs()) {
		u, ok := number[g.Tail(a)]
		v, ok2 := number[g.Head(a)]
		if !ok || !ok2 || u == v {
			continue
		}
		e := newyork.Edge{U: min(u, v), V: max(u, v), Decimetres: lengths[a], Units: times[a]}
		e.Class = newyork.ClassOf(e.Decimetres, newyork.UnitsToMillis(e.Units))
		if u < v {
			twins[e]++
			edges = append(edges, e)
		} else {
			twins[e]--
		}
	}
	for e, n := range twins {
		if n != 0 {
			return nil, nil, fmt.Errorf("the road from %d to %d is another one in the other direction: the file has no place for that", e.U, e.V)
		}
	}
	slices.SortFunc(edges, func(a, b newyork.Edge) int {
		return cmp.Or(cmp.Compare(a.U, b.U), cmp.Compare(a.V, b.V), cmp.Compare(a.Units, b.Units), cmp.Compare(a.Decimetres, b.Decimetres))
	})
	// Some roads are there twice.
	return points, slices.Compact(edges), nil
}
