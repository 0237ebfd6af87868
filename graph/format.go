package graph

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A file of a hierarchy, version 1. Integers are little-endian; arrays hold integers of
// 4 bytes and begin at multiples of 64, with zeros between them.
//
//	offset  size  field
//	0       4     magic "GRT\x00"
//	4       2     version, 1
//	6       2     sections, 20
//	8       4     nodes n
//	12      4     arcs of the graph m
//	16      4     arcs of the hierarchy, with the unused ends of pages
//	20      4     bits of a page
//	24      8     zero
//	32      …     sections: offset (8), length in bytes (8), CRC-32C (4), zero (4)
//	512     4     CRC-32C of all before
//	516     60    zero
//
// Sections, in this order (r is a rank, a an arc of the graph, e one of the hierarchy):
//
//	0 tail of a         7 longitude, or nothing   14 depth of head of e
//	1 head of a         8 turns: from, to, cost   15 first of low of r
//	2 first of out      9 node of each r          16 low: arc, end
//	3 out              10 rank of each node       17 slot of a
//	4 first of in      11 place of each r         18 first of inputs of r
//	5 in               12 lowest below each r     19 inputs: slot, arc
//	6 latitude         13 head of e
//
// A file of a metric, version 1, holds the weights of the graph's arcs only: reading it
// is a customization.
//
//	offset  size  field
//	0       4     magic "GRM\x00"
//	4       2     version, 1
//	6       2     zero
//	8       8     fingerprint of the hierarchy
//	16      4     arcs m
//	20      4     CRC-32C of all before
//	24      4·m   weights
//	…       4     CRC-32C of the weights
//
// The fingerprint is FNV-1a of the header of the hierarchy's file. Part of the format:
// never renumber.
const (
	topologyMagic = "GRT\x00"
	metricMagic   = "GRM\x00"
	fileVersion   = 1
	sectionCount  = 20
	tableAt       = 32
	tableEntry    = 24
	headSum       = tableAt + sectionCount*tableEntry
	headSize      = 576
	alignment     = 64
	metricHead    = 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sections returns the arrays in the order of the file.
func (t *Topology) sections() [sectionCount][]byte {
	g := t.g
	return [sectionCount][]byte{
		asBytes(g.tail), asBytes(g.head), asBytes(g.first), asBytes(g.out), asBytes(g.rfirst), asBytes(g.in),
		asBytes(g.lat), asBytes(g.lon), asBytes(g.turns),
		asBytes(t.order), asBytes(t.rank), asBytes(t.nodes), asBytes(t.lo), asBytes(t.head), asBytes(t.depth),
		asBytes(t.lowFirst), asBytes(t.low), asBytes(t.slot), asBytes(t.inFirst), asBytes(t.in),
	}
}

// header returns the first bytes of the file.
func (t *Topology) header(sections *[sectionCount][]byte) []byte {
	le := binary.LittleEndian
	h := make([]byte, headSize)
	copy(h, topologyMagic)
	le.PutUint16(h[4:], fileVersion)
	le.PutUint16(h[6:], sectionCount)
	le.PutUint32(h[8:], uint32(len(t.nodes)))
	le.PutUint32(h[12:], uint32(t.g.Arcs()))
	le.PutUint32(h[16:], uint32(len(t.head)))
	le.PutUint32(h[20:], uint32(t.pageBits))
	at := uint64(headSize)
	for i, s := range sections {
		e := h[tableAt+i*tableEntry:]
		le.PutUint64(e, at)
		le.PutUint64(e[8:], uint64(len(s)))
		le.PutUint32(e[16:], crc32.Checksum(s, castagnoli))
		at = roundUp(at + uint64(len(s)))
	}
	le.PutUint32(h[headSum:], crc32.Checksum(h[:headSum], castagnoli))
	return h
}

func roundUp(at uint64) uint64 { return (at + alignment - 1) &^ (alignment - 1) }

// Fingerprint tells hierarchies apart: it is the same for the same graph and order, and
// hardly ever for others. The first call reads the whole hierarchy.
func (t *Topology) Fingerprint() uint64 {
	t.once.Do(func() {
		if t.fingerprint == 0 {
			s := t.sections()
			t.fingerprint = fingerprint(t.header(&s))
		}
	})
	return t.fingerprint
}

func fingerprint(header []byte) uint64 {
	f := uint64(0xcbf29ce484222325)
	for _, b := range header[:headSum] {
		f = (f ^ uint64(b)) * 0x100000001b3
	}
	return f
}

// WriteTo writes the hierarchy and its graph, for [Read], [Load] and [OpenMapped]. The
// bytes are always the same. [WriteFile] writes a file that a crash cannot tear.
func (t *Topology) WriteTo(w io.Writer) (int64, error) {
	sections := t.sections()
	n, err := w.Write(t.header(&sections))
	total := int64(n)
	var zeros [alignment]byte
	for _, s := range sections {
		if err != nil {
			return total, err
		}
		if n, err = w.Write(s); err == nil {
			total += int64(n)
			n, err = w.Write(zeros[:roundUp(uint64(len(s)))-uint64(len(s))])
		}
		total += int64(n)
	}
	return total, err
}

// Read reads what [Topology.WriteTo] has written, to the end of r.
func Read(r io.Reader) (*Topology, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return Load(b)
}

// Load returns the hierarchy in b, which is used, not copied, and must not change. It
// checks all sums and all that the queries rely on, and wraps [ErrCorrupt] or
// [ErrVersion] in its error; a million nodes take about a sixth of a second.
func Load(b []byte) (*Topology, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < headSize || string(b[:4]) != topologyMagic:
		return nil, fmt.Errorf("%w: no hierarchy", ErrCorrupt)
	case le.Uint16(b[4:]) != fileVersion:
		return nil, fmt.Errorf("%w: %d", ErrVersion, le.Uint16(b[4:]))
	case le.Uint32(b[headSum:]) != crc32.Checksum(b[:headSum], castagnoli):
		return nil, fmt.Errorf("%w: checksum of the head", ErrCorrupt)
	case le.Uint16(b[6:]) != sectionCount:
		return nil, fmt.Errorf("%w: %d sections", ErrCorrupt, le.Uint16(b[6:]))
	}
	n, m, size, bits := le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:])
	if n > maxNodes || m > maxArcs || size > viaShortcut-1 || bits > 31 {
		return nil, fmt.Errorf("%w: %d nodes, %d and %d arcs, pages of %d bits", ErrCorrupt, n, m, size, bits)
	}
	var sections [sectionCount][]byte
	end := uint64(headSize)
	if !zero(b[headSum+4 : headSize]) {
		return nil, fmt.Errorf("%w: the end of the head", ErrCorrupt)
	}
	for i := range sections {
		h := b[tableAt+i*tableEntry:]
		at, length := le.Uint64(h), le.Uint64(h[8:])
		if at != end || at > uint64(len(b)) || length > uint64(len(b))-at {
			return nil, fmt.Errorf("%w: section %d from %d, %d bytes", ErrCorrupt, i, at, length)
		}
		sections[i] = b[at : at+length : at+length]
		end = roundUp(at + length)
		if end > uint64(len(b)) || !zero(b[at+length:end]) {
			return nil, fmt.Errorf("%w: the space behind section %d", ErrCorrupt, i)
		}
		if crc32.Checksum(sections[i], castagnoli) != le.Uint32(h[16:]) {
			return nil, fmt.Errorf("%w: checksum of section %d", ErrCorrupt, i)
		}
	}
	if end != uint64(len(b)) {
		return nil, fmt.Errorf("%w: %d bytes, not %d", ErrCorrupt, len(b), end)
	}
	// How long the sections are is known but for some.
	lat, turns, low, in := uint64(len(sections[6])), uint64(len(sections[8])), uint64(len(sections[16])), uint64(len(sections[19]))
	want := [sectionCount]uint64{
		4 * uint64(m), 4 * uint64(m), 4*uint64(n) + 4, 4 * uint64(m), 4*uint64(n) + 4, 4 * uint64(m), lat, lat, turns,
		4 * uint64(n), 4 * uint64(n), 16 * uint64(n), 4 * uint64(n), 4 * uint64(size), 4 * uint64(size), 4*uint64(n) + 4, low, 4 * uint64(m), 4*uint64(n) + 4, in,
	}
	for i, s := range sections {
		if uint64(len(s)) != want[i] {
			return nil, fmt.Errorf("%w: section %d has %d bytes, not %d", ErrCorrupt, i, len(s), want[i])
		}
	}
	if lat != 0 && lat != 4*uint64(n) || turns%12 != 0 || low%8 != 0 || in%8 != 0 {
		return nil, fmt.Errorf("%w: sections of %d, %d, %d and %d bytes", ErrCorrupt, lat, turns, low, in)
	}
	g := &Graph{
		tail: fromBytes[uint32](sections[0]), head: fromBytes[uint32](sections[1]),
		first: fromBytes[uint32](sections[2]), out: fromBytes[uint32](sections[3]),
		rfirst: fromBytes[uint32](sections[4]), in: fromBytes[uint32](sections[5]),
		lat: fromBytes[int32](sections[6]), lon: fromBytes[int32](sections[7]), turns: fromBytes[Turn](sections[8]),
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	t := &Topology{
		g: g, workers: runtime.GOMAXPROCS(0),
		order: fromBytes[uint32](sections[9]), rank: fromBytes[uint32](sections[10]), nodes: fromBytes[place](sections[11]), lo: fromBytes[uint32](sections[12]),
		head: fromBytes[uint32](sections[13]), depth: fromBytes[uint32](sections[14]),
		lowFirst: fromBytes[uint32](sections[15]), low: fromBytes[lower](sections[16]),
		slot: fromBytes[uint32](sections[17]), inFirst: fromBytes[uint32](sections[18]), in: fromBytes[input](sections[19]),
		pageBits: uint(bits), fingerprint: fingerprint(b),
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func corrupt(what string, i int) error { return fmt.Errorf("%w: %s %d", ErrCorrupt, what, i) }

// buckets tells whether arcs are sorted by their ends, as bucket does it.
func buckets(n int, end, first, arcs []uint32) bool {
	if first[0] != 0 || int64(first[n]) != int64(len(arcs)) {
		return false
	}
	for u := range n {
		if first[u] > first[u+1] || int64(first[u+1]) > int64(len(arcs)) {
			return false
		}
		for i := first[u]; i < first[u+1]; i++ {
			a := arcs[i]
			if int64(a) >= int64(len(end)) || end[a] != uint32(u) || i > first[u] && arcs[i-1] >= a {
				return false
			}
		}
	}
	return true
}

// check tells what is wrong with a graph from a file.
func (g *Graph) check() error {
	n := g.Nodes()
	for a := range g.tail {
		if int64(g.tail[a]) >= int64(n) || int64(g.head[a]) >= int64(n) {
			return corrupt("ends of arc", a)
		}
	}
	if !buckets(n, g.tail, g.first, g.out) || !buckets(n, g.head, g.rfirst, g.in) {
		return fmt.Errorf("%w: arcs by node", ErrCorrupt)
	}
	for u, lat := range g.lat {
		if lat != noCoord && (lat < -90*perDeg || lat > 90*perDeg) || g.lon[u] < -180*perDeg || g.lon[u] > 180*perDeg {
			return corrupt("coordinates of node", u)
		}
	}
	for i, t := range g.turns {
		if int64(t.From) >= int64(g.Arcs()) || int64(t.To) >= int64(g.Arcs()) || g.head[t.From] != g.tail[t.To] || t.Cost > Inf ||
			i > 0 && (g.turns[i-1].From > t.From || g.turns[i-1].From == t.From && g.turns[i-1].To >= t.To) {
			return corrupt("turn", i)
		}
	}
	return nil
}

// check tells what is wrong with a hierarchy from a file, and finds what is not in it.
// Whatever it lets pass, a customization, an update and a query neither panic nor go on
// for ever.
func (t *Topology) check() error {
	n := len(t.nodes)
	for r, u := range t.order {
		if int64(u) >= int64(n) || int64(t.rank[u]) != int64(r) {
			return corrupt("node of rank", r)
		}
	}
	end := uint32(0)
	for r := range n {
		p := &t.nodes[r]
		d := p.end - p.first
		if p.first < end || p.end < p.first || int64(p.end) > int64(len(t.head)) || p.first != align(end, d, t.pageBits) {
			return corrupt("arcs of rank", r)
		}
		for ; end < p.first; end++ {
			if t.head[end] != 0 || t.depth[end] != 0 {
				return corrupt("unused arc", int(end))
			}
		}
		end = p.end
		t.arcs += int(d)
		t.triangles += triangles(d)
		t.maxDegree = max(t.maxDegree, int(d))
		if (d == 0) != (p.parent == none) {
			return corrupt("parent of rank", r)
		}
	}
	if int64(end) != int64(len(t.head)) || t.pageBits != pageBits(t.arcs, t.maxDegree) {
		return fmt.Errorf("%w: %d arcs on pages of %d bits", ErrCorrupt, t.arcs, t.pageBits)
	}
	// From the top: parents, depths, and the closure under elimination.
	for r := n - 1; r >= 0; r-- {
		p := &t.nodes[r]
		if p.parent == none {
			if p.depth != 0 {
				return corrupt("depth of rank", r)
			}
			t.height = max(t.height, 1)
			continue
		}
		row := t.head[p.first:p.end]
		if int64(p.parent) <= int64(r) || int64(p.parent) >= int64(n) || row[0] != p.parent || p.depth != t.nodes[p.parent].depth+1 {
			return corrupt("parent of rank", r)
		}
		t.height = max(t.height, int(p.depth)+1)
		q := &t.nodes[p.parent]
		above := t.head[q.first:q.end]
		for i, h := range row {
			if i > 0 {
				for len(above) > 0 && above[0] < h {
					above = above[1:]
				}
				if len(above) == 0 || above[0] != h {
					return corrupt("head of arc", int(p.first)+i)
				}
				above = above[1:]
			}
			if t.depth[int(p.first)+i] != t.nodes[h].depth {
				return corrupt("depth of arc", int(p.first)+i)
			}
		}
	}
	// Subtrees are ranges.
	size, lowest := make([]uint32, n), make([]uint32, n)
	for r := range n {
		lowest[r] = uint32(r)
	}
	for r := range n {
		size[r]++
		if lowest[r] != t.lo[r] || uint32(r)-t.lo[r]+1 != size[r] {
			return corrupt("subtree of rank", r)
		}
		if q := t.nodes[r].parent; q != none {
			size[q] += size[r]
			lowest[q] = min(lowest[q], lowest[r])
		}
	}
	// Arcs by their heads.
	if len(t.low) != t.arcs || t.lowFirst[0] != 0 || int64(t.lowFirst[n]) != int64(t.arcs) {
		return fmt.Errorf("%w: %d arcs by their heads, not %d", ErrCorrupt, len(t.low), t.arcs)
	}
	to := size
	copy(to, t.lowFirst)
	for r := range n {
		p := &t.nodes[r]
		for e := p.first; e < p.end; e++ {
			i := &to[t.head[e]]
			if int64(*i) >= int64(t.arcs) || t.low[*i] != (lower{e, p.end}) {
				return corrupt("head of arc", int(e))
			}
			*i++
		}
	}
	for r := range n {
		if to[r] != t.lowFirst[r+1] {
			return corrupt("arcs to rank", r)
		}
	}
	return t.checkSlots()
}

func (t *Topology) checkSlots() error {
	n := len(t.nodes)
	used := 0
	for a, s := range t.slot {
		u, v := t.rank[t.g.tail[a]], t.rank[t.g.head[a]]
		if u == v {
			if s != none {
				return corrupt("slot of arc", a)
			}
			continue
		}
		used++
		down := uint32(0)
		if u > v {
			u, v, down = v, u, 1
		}
		if e := s >> 1; s&1 != down || e < t.nodes[u].first || e >= t.nodes[u].end || t.head[e] != v {
			return corrupt("slot of arc", a)
		}
	}
	if len(t.in) != used || t.inFirst[0] != 0 || int64(t.inFirst[n]) != int64(used) {
		return fmt.Errorf("%w: %d inputs, not %d", ErrCorrupt, len(t.in), used)
	}
	for r := range n {
		if t.inFirst[r] > t.inFirst[r+1] || int64(t.inFirst[r+1]) > int64(used) {
			return corrupt("inputs of rank", r)
		}
		for i := t.inFirst[r]; i < t.inFirst[r+1]; i++ {
			in := t.in[i]
			if int64(in.arc) >= int64(len(t.slot)) || t.slot[in.arc] != in.slot || in.slot == none ||
				in.slot>>1 < t.nodes[r].first || in.slot>>1 >= t.nodes[r].end ||
				i > t.inFirst[r] && (t.in[i-1].slot > in.slot || t.in[i-1].slot == in.slot && t.in[i-1].arc >= in.arc) {
				return corrupt("input", int(i))
			}
		}
	}
	return nil
}

// OpenMapped opens a file that [Topology.WriteTo] has written without reading it into
// memory of its own: processes that open the same file share it. It checks the file as
// [Load] does. [Topology.Close] ends it. A file that is made shorter while it is open
// kills the process, as with any mapped file: replace files by renaming, which
// [WriteFile] does. Where files cannot be mapped it is read.
func OpenMapped(path string) (*Topology, error) {
	b, unmap, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	t, err := Load(b)
	if err != nil {
		return nil, errors.Join(err, unmap())
	}
	t.unmap = unmap
	return t, nil
}

// Close ends the use of a file of [OpenMapped]. Nothing that was made of the hierarchy,
// such as its graph, its metrics and their queries, may be used any more. For another
// hierarchy it does nothing.
func (t *Topology) Close() error {
	unmap := t.unmap
	t.unmap = nil
	if unmap == nil {
		return nil
	}
	return unmap()
}

// WriteTo writes the weights of the metric, for [Topology.ReadMetric].
func (m *Metric) WriteTo(w io.Writer) (int64, error) {
	le := binary.LittleEndian
	b := make([]byte, metricHead, metricHead+4*m.weights.n+4)
	copy(b, metricMagic)
	le.PutUint16(b[4:], fileVersion)
	le.PutUint64(b[8:], m.t.Fingerprint())
	le.PutUint32(b[16:], uint32(m.weights.n))
	le.PutUint32(b[20:], crc32.Checksum(b[:20], castagnoli))
	for a := range uint32(m.weights.n) {
		b = le.AppendUint32(b, *m.weights.at(a))
	}
	b = le.AppendUint32(b, crc32.Checksum(b[metricHead:], castagnoli))
	n, err := w.Write(b)
	return int64(n), err
}

// ReadMetric reads what [Metric.WriteTo] has written, to the end of r, and customizes
// the hierarchy with it. A metric of another hierarchy gives an error wrapping
// [ErrIncompatible], a damaged one [ErrCorrupt], one of a later version [ErrVersion].
func (t *Topology) ReadMetric(r io.Reader) (*Metric, error) {
	limit := metricHead + 4*int64(t.g.Arcs()) + 4
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	switch {
	case len(b) < metricHead || string(b[:4]) != metricMagic:
		return nil, fmt.Errorf("%w: no metric", ErrCorrupt)
	case le.Uint16(b[4:]) != fileVersion:
		return nil, fmt.Errorf("%w: %d", ErrVersion, le.Uint16(b[4:]))
	case le.Uint32(b[20:]) != crc32.Checksum(b[:20], castagnoli):
		return nil, fmt.Errorf("%w: checksum of the head", ErrCorrupt)
	case le.Uint64(b[8:]) != t.Fingerprint():
		return nil, fmt.Errorf("%w: %016x, not %016x", ErrIncompatible, le.Uint64(b[8:]), t.Fingerprint())
	case int64(len(b)) != limit || int64(le.Uint32(b[16:])) != int64(t.g.Arcs()):
		return nil, fmt.Errorf("%w: %d bytes, not %d", ErrCorrupt, len(b), limit)
	case le.Uint32(b[limit-4:]) != crc32.Checksum(b[metricHead:limit-4], castagnoli):
		return nil, fmt.Errorf("%w: checksum of the weights", ErrCorrupt)
	}
	weights := fromBytes[uint32](b[metricHead : limit-4])
	if err := t.g.checkWeights(weights); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return t.Customize(weights)
}

// WriteFile writes a [Topology] or a [Metric] to a file, in one step that a crash cannot
// tear: under another name first, synced, then renamed. Of several writers of a path at
// the same time one is the last, and the file is whole always. A writer that is killed
// leaves a file "PATH.x.tmp", with some digits for x.
func WriteFile(path string, x io.WriterTo) error { return writeFile(vfs.OS, path, x) }

func writeFile(fsys vfs.FS, path string, x io.WriterTo) error {
	tmp := fmt.Sprintf("%s.%016x.tmp", path, rand.Uint64())
	return vfs.Replace(fsys, path, tmp, func(f vfs.File) error {
		_, err := x.WriteTo(io.NewOffsetWriter(f, 0))
		return err
	})
}
