package osm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

var (
	// ErrCorrupt is wrapped by the errors for input that is damaged, or of another format.
	ErrCorrupt = errors.New("osm: corrupt input")
	// ErrUnsupported is wrapped by the errors for input that needs what this package does
	// not know, such as a compression other than zlib.
	ErrUnsupported = errors.New("osm: unsupported")
	// ErrEmpty is wrapped by the error for input without a road.
	ErrEmpty = errors.New("osm: no roads")
)

// Options configures [ReadXML] and [ReadPBF]. Nil, and a zero field, mean the default.
type Options struct {
	// Profile says for which vehicle the network is. Default: [Car].
	Profile *Profile
	// Box keeps only the nodes within it. Default: all.
	Box *geohash.Box
	// Connected keeps only the largest part in which there is a way from each node to
	// each other: no car park without an exit.
	Connected bool
}

// A Network is roads as a graph, with two weights for each arc. Lists of nodes and arcs
// are in the order of the graph's numbers.
type Network struct {
	Graph      *graph.Graph
	Millis     []uint32 // time in milliseconds, at least 1
	Decimetres []uint32 // length, at least 1
	Nodes      []int64  // the number of each node in OpenStreetMap
	Ways       []int64  // the number of each arc's way
	Names      []string // of each arc: that of its way, or its reference such as "A 8", or ""
	Skipped    Skipped
}

// Skipped counts what was left out.
type Skipped struct {
	MissingNodes int // pieces of ways with a node that the input does not have, or out of Box
	ViaWay       int // restrictions over a way
	Conditional  int // restrictions at some hours, or for some vehicles
	Unmatched    int // restrictions that fit no roads of the network, or are of no known kind
	Unconnected  int // nodes left out by Options.Connected
}

// ReadXML reads OpenStreetMap XML, twice. The error wraps [ErrCorrupt] for what is not that,
// with a line number where an object is malformed, [ErrEmpty] for input without roads, what r returned, or ctx.Err()
// when ctx ended.
func ReadXML(ctx context.Context, r io.ReadSeeker, opts *Options) (*Network, error) {
	return read(ctx, r, opts, scanXML)
}

// ReadPBF reads OpenStreetMap's binary format, twice. The errors are those of [ReadXML],
// and [ErrUnsupported] for a compression that is not zlib, or history files. Beside the
// roads it takes memory for one block, which the format limits to 32 MB packed and as much
// unpacked, and for a table of its strings.
func ReadPBF(ctx context.Context, r io.ReadSeeker, opts *Options) (*Network, error) {
	return read(ctx, r, opts, scanPBF)
}

type way struct {
	id   int64
	refs []int64
	road Road
	name string
}

type reader struct {
	profile *Profile
	box     *geohash.Box
	ways    []way
	rules   []object
	needed  map[int64]uint32 // a node's number; none if it has not come yet
	ids     []int64
	points  []geohash.Point
	blocked []bool
	net     Network
}

const none = math.MaxUint32

func read(ctx context.Context, r io.ReadSeeker, opts *Options, scan func(context.Context, io.Reader, bool, func(*object) error) error) (*Network, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Profile == nil {
		o.Profile = Car()
	}
	rd := &reader{profile: o.Profile, box: o.Box, needed: map[int64]uint32{}}
	start, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("osm: %w", err)
	}
	if err := scan(ctx, r, false, rd.first); err != nil {
		return nil, err
	}
	if _, err := r.Seek(start, io.SeekStart); err != nil {
		return nil, fmt.Errorf("osm: %w", err)
	}
	if err := scan(ctx, r, true, rd.second); err != nil {
		return nil, err
	}
	return rd.build(ctx, o.Connected)
}

// first notes ways and restrictions.
func (rd *reader) first(o *object) error {
	switch o.kind {
	case aWay:
		road := rd.profile.Way(o.tags)
		if road.Forward <= 0 && road.Backward <= 0 || len(o.refs) < 2 {
			return nil
		}
		name := o.tags["name"]
		if name == "" {
			name = o.tags["ref"]
		}
		rd.ways = append(rd.ways, way{o.id, o.refs, road, name})
		for _, n := range o.refs {
			rd.needed[n] = none
		}
	case aRelation:
		if strings.HasPrefix(o.tags["type"], "restriction") {
			rd.rules = append(rd.rules, *o)
		}
	}
	return nil
}

// second notes the nodes that the ways need.
func (rd *reader) second(o *object) error {
	id, needed := rd.needed[o.id]
	if o.kind != aNode || !needed || id != none {
		return nil
	}
	if !(math.Abs(o.lat) <= 90 && math.Abs(o.lon) <= 180) {
		return fmt.Errorf("%w: node %d at latitude %v, longitude %v", ErrCorrupt, o.id, o.lat, o.lon)
	}
	if rd.box != nil && !rd.box.Contains(o.lat, o.lon) {
		return nil
	}
	rd.needed[o.id] = uint32(len(rd.ids))
	rd.ids = append(rd.ids, o.id)
	rd.points = append(rd.points, geohash.Point{Lat: o.lat, Lon: o.lon})
	rd.blocked = append(rd.blocked, len(o.tags) > 0 && !rd.profile.Open(o.tags))
	return nil
}

// An arc is one of the network, before it is built.
type arc struct {
	tail, head uint32
	way        int32 // in reader.ways
	millis, dm uint32
}

func (rd *reader) build(ctx context.Context, connected bool) (*Network, error) {
	var arcs []arc
	for i := range rd.ways {
		arcs = rd.addWay(arcs, i)
	}
	// Only nodes with an arc become nodes.
	keep := make([]bool, len(rd.ids))
	for _, a := range arcs {
		keep[a.tail], keep[a.head] = true, true
	}
	if connected {
		if err := rd.largest(arcs, keep); err != nil {
			return nil, err
		}
	}
	number, n := make([]uint32, len(rd.ids)), 0
	for u := range keep {
		number[u] = none
		if keep[u] {
			number[u] = uint32(n)
			n++
			rd.net.Nodes = append(rd.net.Nodes, rd.ids[u])
		}
	}
	b := graph.NewBuilder(n)
	for u, p := range rd.points {
		if keep[u] {
			b.SetCoord(number[u], p.Lat, p.Lon)
		}
	}
	for _, a := range arcs {
		if !keep[a.tail] || !keep[a.head] {
			continue
		}
		b.AddArc(number[a.tail], number[a.head])
		rd.net.Millis = append(rd.net.Millis, a.millis)
		rd.net.Decimetres = append(rd.net.Decimetres, a.dm)
		rd.net.Ways = append(rd.net.Ways, rd.ways[a.way].id)
		rd.net.Names = append(rd.net.Names, rd.ways[a.way].name)
	}
	if len(rd.net.Ways) == 0 {
		return nil, fmt.Errorf("%w: of %d ways, none has two nodes that are there", ErrEmpty, len(rd.ways))
	}
	// The restrictions are matched to a first graph, and built into a second.
	g, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("osm: %w", err)
	}
	restricted := false
	for i := range rd.rules {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		restricted = rd.restrict(b, g, number, &rd.rules[i]) || restricted
	}
	if restricted {
		if g, err = b.Build(); err != nil {
			return nil, fmt.Errorf("osm: %w", err)
		}
	}
	rd.net.Graph = g
	return &rd.net, nil
}

// addWay appends the arcs of a way.
func (rd *reader) addWay(arcs []arc, i int) []arc {
	w := &rd.ways[i]
	metres, total := make([]float64, len(w.refs)-1), 0.0
	for j := range metres {
		u, v := rd.needed[w.refs[j]], rd.needed[w.refs[j+1]]
		if u == none || v == none {
			continue
		}
		p, q := rd.points[u], rd.points[v]
		metres[j] = geohash.Distance(p.Lat, p.Lon, q.Lat, q.Lon)
		total += metres[j]
	}
	for j := range metres {
		u, v := rd.needed[w.refs[j]], rd.needed[w.refs[j+1]]
		switch {
		case u == none || v == none:
			rd.net.Skipped.MissingNodes++
			continue
		case u == v || rd.blocked[u] || rd.blocked[v]:
			continue
		}
		millis := func(kmh float64) uint32 {
			ms := metres[j] * 3600 / kmh
			if w.road.Duration > 0 && total > 0 {
				ms = float64(w.road.Duration.Milliseconds()) * metres[j] / total
			}
			return uint32(min(max(1, math.Round(ms)), graph.MaxWeight))
		}
		dm := uint32(min(max(1, math.Round(metres[j]*10)), graph.MaxWeight))
		if w.road.Forward > 0 {
			arcs = append(arcs, arc{u, v, int32(i), millis(w.road.Forward), dm})
		}
		if w.road.Backward > 0 {
			arcs = append(arcs, arc{v, u, int32(i), millis(w.road.Backward), dm})
		}
	}
	return arcs
}

// largest clears keep for what is not in the largest component.
func (rd *reader) largest(arcs []arc, keep []bool) error {
	b := graph.NewBuilder(len(keep))
	for _, a := range arcs {
		b.AddArc(a.tail, a.head)
	}
	g, err := b.Build()
	if err != nil {
		return fmt.Errorf("osm: %w", err)
	}
	comp, count := g.Components()
	sizes := make([]int, count)
	for u, c := range comp {
		if keep[u] {
			sizes[c]++
		}
	}
	if count == 0 {
		return nil
	}
	best := uint32(slices.Index(sizes, slices.Max(sizes)))
	for u := range keep {
		if keep[u] && comp[u] != best {
			keep[u] = false
			rd.net.Skipped.Unconnected++
		}
	}
	return nil
}

// maxTurns is how many pairs of arcs a node may have for a restriction to be looked at: no
// crossing has a hundred.
const maxTurns = 1 << 12

// restrict makes turns of a restriction, and reports whether it made any.
func (rd *reader) restrict(b *graph.Builder, g *graph.Graph, number []uint32, rel *object) bool {
	rule, conditional := rd.rule(rel.tags)
	if conditional {
		rd.net.Skipped.Conditional++
		return false
	}
	if rule == "" { // for others
		return false
	}
	var from, to []int64
	via, overWay := uint32(none), false
	for _, m := range rel.members {
		switch {
		case m.role == "from" && m.kind == aWay:
			from = append(from, m.ref)
		case m.role == "to" && m.kind == aWay:
			to = append(to, m.ref)
		case m.role == "via" && m.kind == aWay:
			overWay = true
		case m.role == "via" && m.kind == aNode:
			if u, ok := rd.needed[m.ref]; ok && u != none {
				via = number[u]
			}
		}
	}
	if overWay {
		rd.net.Skipped.ViaWay++
		return false
	}
	only := strings.HasPrefix(rule, "only_")
	if via == none || !only && !strings.HasPrefix(rule, "no_") {
		rd.net.Skipped.Unmatched++
		return false
	}
	if len(g.In(via))*len(g.Out(via)) > maxTurns {
		rd.net.Skipped.Unmatched++
		return false
	}
	made := false
	for _, in := range g.In(via) {
		if !slices.Contains(from, rd.net.Ways[in]) {
			continue
		}
		meant := func(out graph.ArcID) bool {
			if !slices.Contains(to, rd.net.Ways[out]) {
				return false
			}
			// On the same way, back is meant by no_u_turn and nothing else.
			back := g.Head(out) == g.Tail(in) && rd.net.Ways[out] == rd.net.Ways[in]
			return back == strings.HasSuffix(rule, "_u_turn") || rd.net.Ways[out] != rd.net.Ways[in]
		}
		if only && !slices.ContainsFunc(g.Out(via), meant) {
			continue // else there would be no way on
		}
		for _, out := range g.Out(via) {
			if meant(out) != only {
				b.SetTurn(in, out, graph.Inf)
				made = true
			}
		}
	}
	if !made {
		rd.net.Skipped.Unmatched++
	}
	return made
}

// rule returns the kind of a restriction for the profile's vehicle, "" if it is for others.
func (rd *reader) rule(t Tags) (rule string, conditional bool) {
	for _, v := range rd.profile.Vehicles {
		if r := t["restriction:"+v]; r != "" {
			return r, false
		}
		for _, e := range strings.Split(t["except"], ";") {
			if strings.TrimSpace(e) == v {
				return "", false
			}
		}
	}
	if r := t["restriction"]; r != "" {
		if t["hour_on"] != "" || t["day_on"] != "" {
			return "", true
		}
		return r, false
	}
	return "", t["restriction:conditional"] != ""
}
