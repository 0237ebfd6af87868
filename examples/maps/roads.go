package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

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
const classes = 4

var (
	classSpeeds = [classes]float64{100, 80, 60, 40} // km/h
	classNames  = [classes]string{"motorways", "highways", "main roads", "streets"}
)

func classOf(decimetres, millis uint32) uint8 {
	kmh := float64(decimetres) * 360 / float64(max(millis, 1))
	for c, v := range classSpeeds[:classes-1] {
		if kmh > v*0.9 {
			return uint8(c)
		}
	}
	return classes - 1
}

// Newyork is what lies between 40.63 and 40.90 degrees north, and 74.03 and 73.77 west, of
// the network "New York City" of the 9th DIMACS Implementation Challenge, which was made
// of the TIGER/Line files of the US Census Bureau: both are in the public domain. It can be
// made again: see [cut].
//
//go:embed newyork.bin.gz
var newyork []byte

// unit is the time in which the DIMACS files count, in fifths of a millisecond: a road of
// class 1 takes as many of them as it is decimetres long, and is driven at 100 km/h here.
const unit = 18

func unitsToMillis(t uint32) uint32 { return uint32(min((uint64(t)*unit+2)/5, graph.MaxWeight)) }

// dimacsSpeeds are the decimetres in a unit of time of each class.
var dimacsSpeeds = [classes]float64{1, 0.8, 0.6, 0.4}

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
	in, err := gzip.NewReader(bytes.NewReader(newyork))
	if err != nil {
		return nil, err
	}
	n, err := decodeNetwork(in)
	if err != nil {
		return nil, err
	}
	n.name, n.bytes = "New York", len(newyork)
	return n, nil
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
		n.millis[a] = unitsToMillis(t)
	}
	n.classify()
	return n, nil
}

func (n *network) classify() {
	n.class = make([]uint8, n.g.Arcs())
	for a := range n.class {
		n.class[a] = classOf(n.decimetres[a], n.millis[a])
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

// The extract, version 1, compressed by gzip. Numbers are varints: unsigned, or signed
// where the table says so.
//
//	magic "RD1"
//	nodes, edges
//	each node, along the curve of geohashes:
//	    latitude and longitude in 1e-6 degree, less those of the node before, signed
//	each edge, by its lower node, then the higher one:
//	    lower node, less that of the edge before
//	    higher node, less the lower
//	    decimetres·4 + class
//	    units of time, less ⌊decimetres/speed of the class + ½⌋, signed
//
// Every road of the DIMACS files has both directions, and both are alike.
const magic = "RD1"

var errExtract = errors.New("damaged extract")

// An edge is a road between two crossings.
type edge struct {
	u, v              graph.NodeID // u ≤ v
	decimetres, units uint32
	class             uint8
}

// expected is the time that an edge takes by its class.
func (e *edge) expected() int64 {
	return int64(float64(e.decimetres)/dimacsSpeeds[e.class] + 0.5)
}

// A point is a place in 1e-6 degree.
type point struct{ lat, lon int64 }

func encodeNetwork(points []point, edges []edge) []byte {
	out := []byte(magic)
	out = binary.AppendUvarint(out, uint64(len(points)))
	out = binary.AppendUvarint(out, uint64(len(edges)))
	var last point
	for _, p := range points {
		out = binary.AppendVarint(out, p.lat-last.lat)
		out = binary.AppendVarint(out, p.lon-last.lon)
		last = p
	}
	before := graph.NodeID(0)
	for _, e := range edges {
		out = binary.AppendUvarint(out, uint64(e.u-before))
		out = binary.AppendUvarint(out, uint64(e.v-e.u))
		out = binary.AppendUvarint(out, uint64(e.decimetres)<<2|uint64(e.class))
		out = binary.AppendVarint(out, int64(e.units)-e.expected())
		before = e.u
	}
	return out
}

// decodeNetwork reads an extract. Arcs 2i and 2i+1 are the directions of edge i.
func decodeNetwork(r io.Reader) (*network, error) {
	in := bufio.NewReader(r)
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != magic {
		return nil, fmt.Errorf("%w: it does not begin with %s", errExtract, magic)
	}
	var failed error
	next := func(most uint64) uint64 {
		v, err := binary.ReadUvarint(in)
		if err == nil && v > most {
			err = fmt.Errorf("%d, at most %d", v, most)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("%w: %w", errExtract, err)
		}
		return v
	}
	signed := func() int64 {
		v, err := binary.ReadVarint(in)
		if err != nil && failed == nil {
			failed = fmt.Errorf("%w: %w", errExtract, err)
		}
		return v
	}
	const most = 1 << 24
	nodes, edges := next(most), next(most)
	if failed != nil {
		return nil, failed
	}
	var points []point // grows as the input does, whatever the counts say
	var at point
	for range nodes {
		if at.lat, at.lon = at.lat+signed(), at.lon+signed(); failed != nil {
			return nil, failed
		}
		points = append(points, at)
	}
	b := graph.NewBuilder(len(points))
	for u, p := range points {
		b.SetCoord(graph.NodeID(u), float64(p.lat)/1e6, float64(p.lon)/1e6)
	}
	n := &network{}
	var e edge
	for range edges {
		e.u += graph.NodeID(next(nodes - min(nodes, uint64(e.u))))
		e.v = e.u + graph.NodeID(next(nodes))
		length := next(math.MaxUint32)
		e.decimetres, e.class = uint32(length>>2), uint8(length&3)
		time := e.expected() + signed()
		if failed == nil && (time < 1 || time > graph.MaxWeight/unit) {
			failed = fmt.Errorf("%w: an edge of time %d", errExtract, time)
		}
		if failed != nil {
			return nil, failed
		}
		b.AddEdge(e.u, e.v)
		millis := unitsToMillis(uint32(time))
		n.millis = append(n.millis, millis, millis)
		n.decimetres = append(n.decimetres, e.decimetres, e.decimetres)
		n.class = append(n.class, e.class, e.class)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows its end", errExtract)
	}
	var err error
	if n.g, err = b.Build(); err != nil {
		return nil, fmt.Errorf("%w: %w", errExtract, err)
	}
	return n, nil
}

// cut makes the embedded file of the files of the DIMACS challenge: the largest part of
// the network within a box in which there is a way from each crossing to each other.
//
//	go run ./examples/maps -cut newyork.bin.gz -gr USA-road-t.NY.gr.gz -lengths USA-road-d.NY.gr.gz -co USA-road-d.NY.co.gz
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
	if _, err := z.Write(encodeNetwork(points, edges)); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

// extractBox is what [cut] keeps.
var extractBox = geohash.Box{South: 40.63, North: 40.90, West: -74.03, East: -73.77}

func extract(g *graph.Graph, times, lengths []uint32, box geohash.Box) ([]point, []edge, error) {
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
	points := make([]point, len(order))
	for i, p := range order {
		number[p.u] = graph.NodeID(i)
		lat, lon, _ := g.Coord(p.u)
		points[i] = point{int64(math.Round(lat * 1e6)), int64(math.Round(lon * 1e6))}
	}
	var edges []edge
	twins := map[edge]int{}
	for a := range graph.ArcID(g.Arcs()) {
		u, ok := number[g.Tail(a)]
		v, ok2 := number[g.Head(a)]
		if !ok || !ok2 || u == v {
			continue
		}
		e := edge{u: min(u, v), v: max(u, v), decimetres: lengths[a], units: times[a]}
		e.class = classOf(e.decimetres, unitsToMillis(e.units))
		if u < v {
			twins[e]++
			edges = append(edges, e)
		} else {
			twins[e]--
		}
	}
	for e, n := range twins {
		if n != 0 {
			return nil, nil, fmt.Errorf("the road from %d to %d is another one in the other direction: the file has no place for that", e.u, e.v)
		}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.u, b.u), cmp.Compare(a.v, b.v), cmp.Compare(a.units, b.units), cmp.Compare(a.decimetres, b.decimetres))
	})
	// Some roads are there twice.
	return points, slices.Compact(edges), nil
}
