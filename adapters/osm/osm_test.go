package osm

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
	"google.golang.org/protobuf/encoding/protowire"
)

func node(id int64, lat, lon float64, tags ...string) object {
	return object{kind: aNode, id: id, lat: lat, lon: lon, tags: pairs(tags)}
}

func aRoad(id int64, refs []int64, tags ...string) object {
	return object{kind: aWay, id: id, refs: refs, tags: pairs(tags)}
}

func relation(id int64, members []member, tags ...string) object {
	return object{kind: aRelation, id: id, members: members, tags: pairs(append(tags, "type", "restriction"))}
}

func over(from, via, to int64) []member {
	return []member{{aWay, from, "from"}, {aNode, via, "via"}, {aWay, to, "to"}}
}

func pairs(s []string) Tags {
	if len(s) == 0 {
		return nil
	}
	t := Tags{}
	for i := 0; i < len(s); i += 2 {
		t[s[i]] = s[i+1]
	}
	return t
}

// toXML writes objects as an extract in XML.
func toXML(objects []object) []byte {
	var b bytes.Buffer
	text := func(s string) string {
		var e bytes.Buffer
		_ = xml.EscapeText(&e, []byte(s))
		return e.String()
	}
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<osm version=\"0.6\">\n <bounds minlat=\"0\" minlon=\"0\" maxlat=\"1\" maxlon=\"1\"/>\n")
	names := []string{"node", "way", "relation"}
	for _, o := range objects {
		fmt.Fprintf(&b, "<%s id=\"%d\"", names[o.kind], o.id)
		if o.kind == aNode {
			fmt.Fprintf(&b, " lat=\"%.7f\" lon=\"%.7f\"", o.lat, o.lon)
		}
		b.WriteString(">\n")
		for _, r := range o.refs {
			fmt.Fprintf(&b, "  <nd ref=\"%d\"/>\n", r)
		}
		for _, m := range o.members {
			fmt.Fprintf(&b, "  <member type=\"%s\" ref=\"%d\" role=\"%s\"/>\n", names[m.kind], m.ref, text(m.role))
		}
		for _, k := range slices.Sorted(maps.Keys(o.tags)) {
			fmt.Fprintf(&b, "  <tag k=\"%s\" v=\"%s\"/>\n", text(k), text(o.tags[k]))
		}
		fmt.Fprintf(&b, "</%s>\n", names[o.kind])
	}
	b.WriteString("</osm>\n")
	return b.Bytes()
}

// A pbf writes objects as an extract in the binary format, a block for each few.
type pbf struct {
	dense, raw bool
	out        []byte
}

func (p *pbf) blob(kind string, block []byte) {
	var blob []byte
	if p.raw {
		blob = bytesField(blob, 1, block)
	} else {
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		_, _ = w.Write(block)
		_ = w.Close()
		blob = intField(blob, 2, uint64(len(block)))
		blob = bytesField(blob, 3, z.Bytes())
	}
	head := bytesField(nil, 1, []byte(kind))
	head = bytesField(head, 2, []byte("index")) // which nobody reads
	head = intField(head, 3, uint64(len(blob)))
	p.out = binary.BigEndian.AppendUint32(p.out, uint32(len(head)))
	p.out = append(append(p.out, head...), blob...)
}

func bytesField(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func intField(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func toPBF(objects []object, dense, raw bool) []byte {
	p := pbf{dense: dense, raw: raw}
	p.blob("OSMHeader", bytesField(bytesField(nil, 4, []byte("OsmSchema-V0.6")), 4, []byte("DenseNodes")))
	p.blob("Other", []byte("to be passed over"))
	for len(objects) > 0 {
		n := 1
		for n < len(objects) && n < 7 && objects[n].kind == objects[0].kind {
			n++
		}
		p.blob("OSMData", p.block(objects[:n]))
		objects = objects[n:]
	}
	return p.out
}

func (p *pbf) block(objects []object) []byte {
	const granularity, latOff, lonOff = 50, 500, -1_000
	table := []string{""}
	number := func(s string) uint64 {
		i := slices.Index(table, s)
		if i < 0 {
			i = len(table)
			table = append(table, s)
		}
		return uint64(i)
	}
	units := func(deg float64, off int64) int64 { return (int64(math.Round(deg*1e9)) - off) / granularity }
	var group []byte
	var ids, lats, lons, keysVals []byte
	var lastID, lastLat, lastLon int64
	zig := func(b []byte, v int64) []byte { return protowire.AppendVarint(b, protowire.EncodeZigZag(v)) }
	for _, o := range objects {
		var keys, vals []byte
		for _, k := range slices.Sorted(maps.Keys(o.tags)) {
			keys, vals = protowire.AppendVarint(keys, number(k)), protowire.AppendVarint(vals, number(o.tags[k]))
			keysVals = protowire.AppendVarint(protowire.AppendVarint(keysVals, number(k)), number(o.tags[k]))
		}
		keysVals = append(keysVals, 0)
		switch {
		case o.kind == aNode && p.dense:
			lat, lon := units(o.lat, latOff), units(o.lon, lonOff)
			ids, lats, lons = zig(ids, o.id-lastID), zig(lats, lat-lastLat), zig(lons, lon-lastLon)
			lastID, lastLat, lastLon = o.id, lat, lon
		case o.kind == aNode:
			n := intField(nil, 1, protowire.EncodeZigZag(o.id))
			n = bytesField(bytesField(n, 2, keys), 3, vals)
			n = intField(n, 8, protowire.EncodeZigZag(units(o.lat, latOff)))
			group = bytesField(group, 1, intField(n, 9, protowire.EncodeZigZag(units(o.lon, lonOff))))
		case o.kind == aWay:
			w := bytesField(bytesField(intField(nil, 1, uint64(o.id)), 2, keys), 3, vals)
			var refs []byte
			last := int64(0)
			for _, r := range o.refs {
				refs = zig(refs, r-last)
				last = r
			}
			group = bytesField(group, 3, bytesField(w, 8, refs))
		default:
			r := bytesField(bytesField(intField(nil, 1, uint64(o.id)), 2, keys), 3, vals)
			var roles, refs, kinds []byte
			last := int64(0)
			for _, m := range o.members {
				roles = protowire.AppendVarint(roles, number(m.role))
				refs = zig(refs, m.ref-last)
				last = m.ref
				kinds = protowire.AppendVarint(kinds, uint64(m.kind))
			}
			group = bytesField(group, 4, bytesField(bytesField(bytesField(r, 8, roles), 9, refs), 10, kinds))
		}
	}
	if len(ids) > 0 {
		group = bytesField(group, 2, bytesField(bytesField(bytesField(bytesField(nil, 1, ids), 8, lats), 9, lons), 10, keysVals))
	}
	// The table of strings comes after what needs it, as it may.
	b := bytesField(nil, 2, group)
	b = intField(b, 17, granularity)
	off := int64(latOff)
	b = intField(b, 19, uint64(off))
	off = lonOff
	b = intField(b, 20, uint64(off))
	var strings []byte
	for _, s := range table {
		strings = bytesField(strings, 1, []byte(s))
	}
	return bytesField(b, 1, strings)
}

// town is a crossing with all that can be odd around it.
func town() []object {
	return []object{
		node(1, 0, 0), node(2, 0, 0.001), node(3, 0, 0.002), node(4, 0.001, 0.001), node(5, -0.001, 0.001),
		node(6, 0.002, 0.001, "barrier", "bollard"), node(7, 0.003, 0.001), node(8, 0.5, 0.5), node(9, 0.5, 0.6),
		node(10, 0.001, 0.002, "barrier", "gate"), node(11, 0, 0.003),
		// West and east of node 2, 50 km/h one way and 30 mph the other.
		aRoad(100, []int64{1, 2}, "highway", "primary", "name", "Weststraße & Söhne", "maxspeed", "50", "maxspeed:backward", "30 mph"),
		aRoad(101, []int64{2, 3, 11}, "highway", "residential", "ref", "R1"),
		// North, one-way towards the crossing, and south, one-way by its number.
		aRoad(102, []int64{4, 2}, "highway", "tertiary", "oneway", "yes"),
		aRoad(103, []int64{5, 2}, "highway", "unclassified", "oneway", "-1"),
		// Behind a bollard, and by a gate, which is open.
		aRoad(104, []int64{4, 6, 7}, "highway", "residential"),
		aRoad(105, []int64{4, 10, 3}, "highway", "service"),
		// Not for cars, or not for all.
		aRoad(106, []int64{1, 4}, "highway", "footway"),
		aRoad(107, []int64{1, 5}, "highway", "residential", "access", "private"),
		aRoad(108, []int64{5, 3}, "highway", "residential", "access", "no", "motor_vehicle", "yes"),
		// A ferry, alone, and pieces whose nodes are missing.
		aRoad(109, []int64{8, 9}, "route", "ferry", "motor_vehicle", "yes", "duration", "01:30"),
		aRoad(110, []int64{3, 999, 1}, "highway", "residential"),
		relation(200, over(100, 2, 101), "restriction", "no_straight_on"),
		relation(201, over(100, 2, 103), "restriction", "no_right_turn", "except", "bus;motorcar"),
		relation(202, over(102, 2, 103), "restriction", "only_straight_on"),
		relation(203, over(101, 2, 101), "restriction", "no_u_turn"),
		relation(204, []member{{aWay, 100, "from"}, {aWay, 101, "via"}, {aWay, 108, "to"}}, "restriction", "no_left_turn"),
		relation(205, over(100, 2, 103), "restriction:conditional", "no_right_turn @ (Mo-Fr)"),
		relation(206, over(100, 999, 103), "restriction", "no_right_turn"),
		relation(207, over(100, 2, 103), "restriction", "no_right_turn", "hour_on", "8"),
		relation(208, over(108, 3, 101), "restriction:hgv", "no_right_turn"),
	}
}

func (n *Network) arcs() map[string]graph.ArcID {
	m := map[string]graph.ArcID{}
	for a := range graph.ArcID(n.Graph.Arcs()) {
		m[fmt.Sprintf("%d>%d", n.Nodes[n.Graph.Tail(a)], n.Nodes[n.Graph.Head(a)])] = a
	}
	return m
}

func TestTown(t *testing.T) {
	ctx := context.Background()
	n, err := ReadXML(ctx, bytes.NewReader(toXML(town())), nil)
	if err != nil {
		t.Fatal(err)
	}
	arcs := n.arcs()
	const long = 111.19492664 // metres in a thousandth of a degree
	for name, kmh := range map[string]float64{
		"1>2": 50, "2>1": 30 * 1.609344, "2>3": 30, "3>2": 30, "3>11": 30, "11>3": 30, "4>2": 45, "2>5": 40,
		"4>10": 15, "10>4": 15, "10>3": 15, "3>10": 15,
		"5>3": 30, "3>5": 30, "8>9": 0, "9>8": 0,
	} {
		a, ok := arcs[name]
		if !ok {
			t.Errorf("no arc %s", name)
			continue
		}
		metres := long
		switch name {
		case "5>3", "3>5":
			metres *= math.Sqrt2
		case "8>9", "9>8":
			continue
		}
		if d := float64(n.Decimetres[a]); math.Abs(d-10*metres) > 1 {
			t.Errorf("%s is %v dm long, want %.0f", name, d, 10*metres)
		}
		if ms, want := float64(n.Millis[a]), metres*3600/kmh; math.Abs(ms-want) > 2 {
			t.Errorf("%s takes %v ms, want %.0f", name, ms, want)
		}
		delete(arcs, name)
	}
	if ms := n.Millis[arcs["8>9"]]; ms != 90*60_000 {
		t.Errorf("the ferry takes %d ms", ms)
	}
	delete(arcs, "8>9")
	delete(arcs, "9>8")
	if len(arcs) != 0 {
		t.Errorf("arcs that should not be: %v", slices.Collect(maps.Keys(arcs)))
	}
	if a := n.arcs()["1>2"]; n.Ways[a] != 100 || n.Names[a] != "Weststraße & Söhne" {
		t.Errorf("1>2 is way %d, %q", n.Ways[a], n.Names[a])
	}
	if a := n.arcs()["2>3"]; n.Names[a] != "R1" {
		t.Errorf("2>3 is %q", n.Names[a])
	}
	if want := (Skipped{MissingNodes: 2, ViaWay: 1, Conditional: 2, Unmatched: 1}); n.Skipped != want {
		t.Errorf("skipped %+v, want %+v", n.Skipped, want)
	}
	if lat, lon, ok := n.Graph.Coord(n.Graph.Head(n.arcs()["3>11"])); !ok || lat != 0 || lon != 0.003 {
		t.Errorf("node 11 is at %v, %v", lat, lon)
	}
}

// turns returns which turns of the town are forbidden, by searches on the expanded graph.
func TestTurns(t *testing.T) {
	n, err := ReadXML(context.Background(), bytes.NewReader(toXML(town())), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, turn := range n.Graph.Turns() {
		if turn.Cost != graph.Inf {
			t.Errorf("a turn that costs %d", turn.Cost)
		}
		got = append(got, fmt.Sprintf("%d>%d>%d", n.Nodes[n.Graph.Tail(turn.From)], n.Nodes[n.Graph.Head(turn.From)], n.Nodes[n.Graph.Head(turn.To)]))
	}
	slices.Sort(got)
	// 200; 202, all but 5; 203.
	want := []string{"1>2>3", "3>2>3", "4>2>1", "4>2>3"}
	if !slices.Equal(got, want) {
		t.Errorf("forbidden are %v, want %v", got, want)
	}
}

func TestFormatsAgree(t *testing.T) {
	ctx := context.Background()
	want, err := ReadXML(ctx, bytes.NewReader(toXML(town())), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, dense := range []bool{false, true} {
		for _, raw := range []bool{false, true} {
			got, err := ReadPBF(ctx, bytes.NewReader(toPBF(town(), dense, raw)), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("dense %v, raw %v: %+v, want %+v", dense, raw, got, want)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	ctx := context.Background()
	r := bytes.NewReader(append([]byte("..."), toXML(town())...))
	_, _ = r.Seek(3, 0) // it is read from where it stands
	n, err := ReadXML(ctx, r, &Options{Connected: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, count := n.Graph.Components(); count != 1 || n.Skipped.Unconnected != 2 || slices.Contains(n.Nodes, 8) {
		t.Errorf("%d components, %+v, nodes %v", count, n.Skipped, n.Nodes)
	}
	n, err = ReadXML(ctx, bytes.NewReader(toXML(town())), &Options{Box: &geohash.Box{South: 0.4, West: 0.4, North: 1, East: 1}})
	if err != nil || len(n.Nodes) != 2 {
		t.Errorf("only the ferry: %v, %v", n, err)
	}
	bike := Car()
	bike.Way = func(t Tags) Road {
		if t["highway"] == "footway" {
			return Road{Forward: 15, Backward: 15}
		}
		return Road{}
	}
	if n, err = ReadXML(ctx, bytes.NewReader(toXML(town())), &Options{Profile: bike}); err != nil || len(n.Ways) != 2 {
		t.Errorf("only the path: %v, %v", n, err)
	}
}

func TestMaxspeed(t *testing.T) {
	for s, want := range map[string]float64{
		"50": 50, "30 mph": 48.28032, "30mph": 48.28032, "10 knots": 18.52, "none": 130, "walk": 6, "RU:urban": 50,
		"DE:rural": 100, "FR:rural": 90, "50;70": 50, " 80 km/h ": 80,
		"": 0, "signals": 0, "0": 0, "-5": 0, "1e9": 0, "NaN": 0, "Inf": 0,
	} {
		if got, ok := maxspeed(s); math.Abs(got-want) > 1e-9 || ok != (want > 0) {
			t.Errorf("maxspeed(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
	for s, want := range map[string]string{"1:30": "1h30m0s", "90": "1h30m0s", "0:05:30": "5m30s", "": "0s", "x": "0s", "1:2:3:4": "0s", "-1": "0s"} {
		if got := duration(s).String(); got != want {
			t.Errorf("duration(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	ctx := context.Background()
	x, p := toXML(town()), toPBF(town(), true, false)
	xml := func(b []byte) error { _, err := ReadXML(ctx, bytes.NewReader(b), nil); return err }
	pbf := func(b []byte) error { _, err := ReadPBF(ctx, bytes.NewReader(b), nil); return err }
	only := func(objects ...object) error { return xml(toXML(objects)) }
	for name, c := range map[string]struct{ err, want error }{
		"nothing":             {xml(nil), ErrCorrupt},
		"text":                {xml([]byte("hello")), ErrCorrupt},
		"html":                {xml([]byte("<html><body/></html>")), ErrCorrupt},
		"PBF as XML":          {xml(p), ErrCorrupt},
		"XML as PBF":          {pbf(x), ErrCorrupt},
		"no roads":            {only(node(1, 0, 0)), ErrEmpty},
		"a road of one node":  {only(node(1, 0, 0), aRoad(1, []int64{1, 1}, "highway", "primary")), ErrEmpty},
		"a node out of range": {only(node(1, 91, 0), node(2, 0, 0), aRoad(1, []int64{1, 2}, "highway", "primary")), ErrCorrupt},
		"a number":            {xml([]byte(`<osm><way id="1"><nd ref="x"/></way></osm>`)), ErrCorrupt},
		"an id":               {xml([]byte(`<osm><node id="" lat="1" lon="1"/></osm>`)), ErrCorrupt},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := ReadXML(ended, bytes.NewReader(x), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled XML: %v", err)
	}
	if _, err := ReadPBF(ended, bytes.NewReader(p), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled PBF: %v", err)
	}
	var history pbfWriter
	history.blob("OSMHeader", bytesField(nil, 4, []byte("HistoricalInformation")))
	if err := pbf(history.out); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "HistoricalInformation") {
		t.Errorf("history: %v", err)
	}
	// Cut off anywhere but between blobs, it is an error, or what came before.
	for i := range len(p) {
		if err := pbf(p[:i]); err == nil {
			continue
		} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrEmpty) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

type pbfWriter = pbf

// A length that a file only claims must not be allocated.
func TestClaims(t *testing.T) {
	head := intField(bytesField(nil, 1, []byte("OSMHeader")), 3, maxBlob)
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...)
	if n := allocated(func() {
		if _, err := ReadPBF(context.Background(), bytes.NewReader(b), nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a blob that is not there: %v", err)
		}
	}); n > 1<<20 {
		t.Errorf("%d bytes for a blob that is not there", n)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Short files whose objects share long strings, or have very many, are refused or take
// memory by their size.
func TestBombs(t *testing.T) {
	read := func(objects ...object) (n uint64, err error) {
		b := toPBF(objects, true, false)
		n = allocated(func() { _, err = ReadPBF(context.Background(), bytes.NewReader(b), nil) })
		return n, err
	}
	long := strings.Repeat("x", 1<<20)
	if n, err := read(aRoad(1, []int64{1, 2}, "highway", "primary", "name", long)); !errors.Is(err, ErrCorrupt) || n > 64<<20 {
		t.Errorf("a name of a megabyte: %d bytes, %v", n, err)
	}
	name := strings.Repeat("x", maxText)
	var ways []object
	for i := range int64(7) {
		ways = append(ways, aRoad(i, []int64{1, 2}, "highway", "primary", "name", name))
	}
	if n, err := read(append([]object{node(1, 0, 0), node(2, 0, 1)}, ways...)...); err != nil || n > 64<<20 {
		t.Errorf("names that are shared: %d bytes, %v", n, err)
	}
	var members []member
	for range 10_000 {
		members = append(members, member{aWay, 1, name})
	}
	if n, err := read(node(1, 0, 0), node(2, 0, 1), aRoad(1, []int64{1, 2}, "highway", "primary"), relation(1, members)); err != nil || n > 64<<20 {
		t.Errorf("roles that are shared: %d bytes, %v", n, err)
	}
	many := object{kind: aNode, id: 1, tags: Tags{}}
	for i := range maxTags + 1 {
		many.tags[fmt.Sprint(i)] = ""
	}
	if _, err := read(many); !errors.Is(err, ErrCorrupt) {
		t.Errorf("too many tags: %v", err)
	}
	// A hub at which a relation would make millions of turns.
	objects := []object{node(1, 0, 0)}
	var from []member
	for i := int64(2); i < 3000; i++ {
		objects = append(objects, node(i, 0, float64(i)*1e-4))
	}
	for i := int64(2); i < 3000; i++ {
		objects = append(objects, aRoad(i, []int64{1, i}, "highway", "primary"))
		from = append(from, member{aWay, i, "from"})
	}
	objects = append(objects, relation(1, append(from, member{aNode, 1, "via"}, member{aWay, 2, "to"}), "restriction", "only_straight_on"))
	hub, err := ReadXML(context.Background(), bytes.NewReader(toXML(objects)), nil)
	if err != nil || len(hub.Graph.Turns()) > 0 || hub.Skipped.Unmatched != 1 {
		t.Errorf("a hub: %v, %+v", err, hub.Skipped)
	}
}

func FuzzPBF(f *testing.F) {
	for _, dense := range []bool{false, true} {
		f.Add(toPBF(town(), dense, true))
	}
	f.Add(toPBF(town()[:3], true, false))
	f.Fuzz(func(t *testing.T, b []byte) { check(t, ReadPBF, b) })
}

func FuzzXML(f *testing.F) {
	f.Add(toXML(town()))
	f.Add(toXML(town()[:3]))
	f.Fuzz(func(t *testing.T, b []byte) { check(t, ReadXML, b) })
}

func check(t *testing.T, read func(context.Context, io.ReadSeeker, *Options) (*Network, error), b []byte) {
	n, err := read(context.Background(), bytes.NewReader(b), nil)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrUnsupported) {
			t.Fatal(err)
		}
		return
	}
	arcs := n.Graph.Arcs()
	if len(n.Millis) != arcs || len(n.Decimetres) != arcs || len(n.Ways) != arcs || len(n.Names) != arcs || len(n.Nodes) != n.Graph.Nodes() {
		t.Fatal("lists of different lengths")
	}
	if slices.Contains(n.Millis, 0) || slices.Contains(n.Decimetres, 0) || slices.Max(n.Millis) > graph.MaxWeight {
		t.Fatal("weights out of range")
	}
}

func ExampleReadXML() {
	extract := `<osm version="0.6">
	 <node id="1" lat="43.7384" lon="7.4246"/>
	 <node id="2" lat="43.7390" lon="7.4270"/>
	 <way id="9"><nd ref="1"/><nd ref="2"/><tag k="highway" v="primary"/><tag k="name" v="Boulevard"/></way>
	</osm>`
	n, err := ReadXML(context.Background(), strings.NewReader(extract), nil)
	if err != nil {
		panic(err)
	}
	for a := range graph.ArcID(n.Graph.Arcs()) {
		fmt.Printf("%s: %.0f m in %.1f s\n", n.Names[a], float64(n.Decimetres[a])/10, float64(n.Millis[a])/1000)
	}
	// Output:
	// Boulevard: 204 m in 11.3 s
	// Boulevard: 204 m in 11.3 s
}

// BenchmarkReadPBF reads the file that ASHLAR_PBF names, or else a small one.
func BenchmarkReadPBF(b *testing.B) {
	file := toPBF(town(), true, false)
	if name := os.Getenv("ASHLAR_PBF"); name != "" {
		var err error
		if file, err = os.ReadFile(name); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(file)))
	var n *Network
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for range b.N {
		var err error
		n, err = ReadPBF(context.Background(), bytes.NewReader(file), nil)
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(n.Nodes)), "nodes")
	b.ReportMetric(float64(len(n.Ways)), "arcs")
	b.ReportMetric(float64(heap()-before)/float64(len(n.Nodes)), "B/node")
}
