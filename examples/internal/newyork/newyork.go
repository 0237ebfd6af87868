// Package newyork has the roads on which the examples drive: Manhattan and what lies
// around it.
//
// They are what lies between 40.63 and 40.90 degrees north, and 74.03 and 73.77 west, of the
// network "New York City" of the 9th DIMACS Implementation Challenge, which was made of the
// TIGER/Line files of the US Census Bureau: both are in the public domain. The program in
// examples/maps cuts the file again from those of the challenge.
package newyork

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/ashlar-go/ashlar/graph"
)

// A Network is roads as a graph, with what is known of each arc.
type Network struct {
	Graph      *graph.Graph
	Millis     []uint32 // to drive it when it is empty
	Decimetres []uint32
	Class      []uint8 // 0 motorways, 1 highways, 2 main roads, 3 streets
}

//go:embed newyork.bin.gz
var file []byte

// Size is how many bytes the embedded file has.
func Size() int { return len(file) }

// Load returns the embedded network.
func Load() (*Network, error) {
	in, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	return Decode(in)
}

// Classes is how many classes of roads there are, by how fast they are when empty.
const Classes = 4

// Speeds are what each class is driven at, in km/h.
var Speeds = [Classes]float64{100, 80, 60, 40}

// ClassOf returns the class of a road.
func ClassOf(decimetres, millis uint32) uint8 {
	kmh := float64(decimetres) * 360 / float64(max(millis, 1))
	for c, v := range Speeds[:Classes-1] {
		if kmh > v*0.9 {
			return uint8(c)
		}
	}
	return Classes - 1
}

// Unit is the time in which the DIMACS files count, in fifths of a millisecond: a road of
// class 1 takes as many of them as it is decimetres long, and is driven at 100 km/h here.
const Unit = 18

// UnitsToMillis returns a time of the DIMACS files in milliseconds.
func UnitsToMillis(t uint32) uint32 { return uint32(min((uint64(t)*Unit+2)/5, graph.MaxWeight)) }

// dimacsSpeeds are the decimetres in a unit of time of each class.
var dimacsSpeeds = [Classes]float64{1, 0.8, 0.6, 0.4}

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

// An Edge is a road between two crossings.
type Edge struct {
	U, V              graph.NodeID // U ≤ V
	Decimetres, Units uint32
	Class             uint8
}

// expected is the time that an edge takes by its class.
func (e *Edge) expected() int64 {
	return int64(float64(e.Decimetres)/dimacsSpeeds[e.Class] + 0.5)
}

// A Point is a place in 1e-6 degree.
type Point struct{ Lat, Lon int64 }

// Encode writes an extract, which gzip makes small.
func Encode(points []Point, edges []Edge) []byte {
	out := []byte(magic)
	out = binary.AppendUvarint(out, uint64(len(points)))
	out = binary.AppendUvarint(out, uint64(len(edges)))
	var last Point
	for _, p := range points {
		out = binary.AppendVarint(out, p.Lat-last.Lat)
		out = binary.AppendVarint(out, p.Lon-last.Lon)
		last = p
	}
	before := graph.NodeID(0)
	for _, e := range edges {
		out = binary.AppendUvarint(out, uint64(e.U-before))
		out = binary.AppendUvarint(out, uint64(e.V-e.U))
		out = binary.AppendUvarint(out, uint64(e.Decimetres)<<2|uint64(e.Class))
		out = binary.AppendVarint(out, int64(e.Units)-e.expected())
		before = e.U
	}
	return out
}

// Decode reads an extract. Arcs 2i and 2i+1 are the directions of edge i.
func Decode(r io.Reader) (*Network, error) {
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
	var points []Point // grows as the input does, whatever the counts say
	var at Point
	for range nodes {
		if at.Lat, at.Lon = at.Lat+signed(), at.Lon+signed(); failed != nil {
			return nil, failed
		}
		points = append(points, at)
	}
	b := graph.NewBuilder(len(points))
	for u, p := range points {
		b.SetCoord(graph.NodeID(u), float64(p.Lat)/1e6, float64(p.Lon)/1e6)
	}
	n := &Network{}
	var e Edge
	for range edges {
		e.U += graph.NodeID(next(nodes - min(nodes, uint64(e.U))))
		e.V = e.U + graph.NodeID(next(nodes))
		length := next(math.MaxUint32)
		e.Decimetres, e.Class = uint32(length>>2), uint8(length&3)
		time := e.expected() + signed()
		if failed == nil && (time < 1 || time > graph.MaxWeight/Unit) {
			failed = fmt.Errorf("%w: an edge of time %d", errExtract, time)
		}
		if failed != nil {
			return nil, failed
		}
		b.AddEdge(e.U, e.V)
		millis := UnitsToMillis(uint32(time))
		n.Millis = append(n.Millis, millis, millis)
		n.Decimetres = append(n.Decimetres, e.Decimetres, e.Decimetres)
		n.Class = append(n.Class, e.Class, e.Class)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows its end", errExtract)
	}
	var err error
	if n.Graph, err = b.Build(); err != nil {
		return nil, fmt.Errorf("%w: %w", errExtract, err)
	}
	return n, nil
}
