package stream

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// stretch is how far apart, in bytes of the file, the entries of a partition's
// sparse index are. A reader walks the frames in between, of which it checks the
// headers only, at a few GB/s.
const stretch = 64 << 10

// A segment is one file of the log, with frames of all partitions. The last one
// is written to, the others never change; cleaning replaces a segment by its
// next generation.
type segment struct {
	header
	path    string
	file    vfs.File
	salt    frame.Salt
	visible atomic.Int64 // what readers may read: all before it is published

	// Guarded by Local.mu.
	parts map[uint32]*segPart
	gone  bool // replaced or removed

	torn bool // its header is not valid; only while opening

	sealed atomic.Bool  // has its index file: durable and whole
	refs   atomic.Int32 // the log's own, and one for each reader
	drop   func()       // called at the last release
}

// A segPart is what a segment holds of one partition.
type segPart struct {
	first   int64 // offset of its first record here
	next    int64 // offset after its last
	records int64
	bytes   int64 // of its frames
	newest  int64 // latest time of appending, ns
	entries []entry
}

// An entry of the sparse index: the frame at pos begins with offset first.
type entry struct {
	first int64
	pos   uint32
}

func segmentName(num uint64, gen uint32) string { return fmt.Sprintf("%016x-%04x.seg", num, gen) }
func indexName(num uint64, gen uint32) string   { return fmt.Sprintf("%016x-%04x.idx", num, gen) }

// parseName splits the name of a segment or index file.
func parseName(name string) (num uint64, gen uint32, ext string, ok bool) {
	base, ext, ok := strings.Cut(name, ".")
	a, b, ok2 := strings.Cut(base, "-")
	if !ok || !ok2 || len(a) != 16 || len(b) < 4 || ext != "seg" && ext != "idx" {
		return 0, 0, "", false
	}
	num, err := strconv.ParseUint(a, 16, 64)
	g, err2 := strconv.ParseUint(b, 16, 20)
	return num, uint32(g), ext, err == nil && err2 == nil
}

func newSegment(dir string, h header, f vfs.File) *segment {
	s := &segment{
		header: h, path: filepath.Join(dir, segmentName(h.num, h.gen)), file: f, salt: h.salt(),
		parts: map[uint32]*segPart{},
	}
	s.refs.Store(1)
	return s
}

// position is where off is in all that was ever written. Only segments that were
// never rewritten have one.
func (s *segment) position(off int64) uint64 { return s.base + uint64(off-headerSize) }

func (s *segment) acquire() { s.refs.Add(1) }

func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		_ = s.file.Close() // it was only read, or synced before
		if s.drop != nil {
			s.drop()
		}
	}
}

// add puts a frame into the index and reports whether it is the partition's first
// here.
func (s *segment) add(t *trailer, pos, size int64) bool {
	p := s.parts[t.part]
	fresh := p == nil
	if fresh {
		p = &segPart{first: t.first, newest: math.MinInt64}
		s.parts[t.part] = p
	}
	if n := len(p.entries); n == 0 || pos-int64(p.entries[n-1].pos) >= stretch {
		p.entries = append(p.entries, entry{t.first, uint32(pos)})
	}
	p.next = t.next
	p.records += int64(t.count)
	p.bytes += size
	p.newest = max(p.newest, t.appended)
	return fresh
}

// find returns where to begin looking for an offset of a partition that is in
// [p.first, p.next) or before.
func (p *segPart) find(offset int64) int64 {
	i, ok := slices.BinarySearchFunc(p.entries, offset, func(e entry, o int64) int {
		if e.first < o {
			return -1
		} else if e.first > o {
			return 1
		}
		return 0
	})
	if !ok {
		i = max(i-1, 0)
	}
	return int64(p.entries[i].pos)
}

// skip returns the first entry at or after pos, if there can be no frame of the
// partition between pos and it: every frame is within a stretch of an entry.
func (p *segPart) skip(pos int64) (int64, bool) {
	i, _ := slices.BinarySearchFunc(p.entries, pos, func(e entry, o int64) int {
		if int64(e.pos) < o {
			return -1
		}
		return 1
	})
	if i == len(p.entries) || i > 0 && int64(p.entries[i-1].pos)+stretch > pos {
		return 0, false
	}
	return int64(p.entries[i].pos), true
}

// encodeIndex encodes the index file of a sealed segment: its presence says that
// the segment is whole and durable.
//
//	offset  size  field
//	0       8     magic "ASHSIDX\x00"
//	8       4     version, 1
//	12      4     generation
//	16      8     id of the log
//	24      8     number of the segment
//	32      8     size of the segment's file
//	40      8     number of partitions
//	48            for each, by rising id: id, first, next, records, bytes (uvarint),
//	              newest (varint), entries (uvarint), and for each entry the
//	              distances of offset and position to the one before (uvarint)
//	end-4   4     CRC-32C of everything before
func (s *segment) encodeIndex(size int64) []byte {
	le := binary.LittleEndian
	b := append([]byte(nil), indexMagic...)
	b = le.AppendUint32(b, version)
	b = le.AppendUint32(b, s.gen)
	b = le.AppendUint64(b, s.id)
	b = le.AppendUint64(b, s.num)
	b = le.AppendUint64(b, uint64(size))
	b = le.AppendUint64(b, uint64(len(s.parts)))
	for _, id := range slices.Sorted(maps.Keys(s.parts)) {
		p := s.parts[id]
		for _, v := range []uint64{uint64(id), uint64(p.first), uint64(p.next), uint64(p.records), uint64(p.bytes)} {
			b = binary.AppendUvarint(b, v)
		}
		b = binary.AppendVarint(b, p.newest)
		b = binary.AppendUvarint(b, uint64(len(p.entries)))
		last := entry{first: p.first}
		for _, e := range p.entries {
			b = binary.AppendUvarint(b, uint64(e.first-last.first))
			b = binary.AppendUvarint(b, uint64(e.pos-last.pos))
			last = e
		}
	}
	return le.AppendUint32(b, frame.Checksum(b))
}

// decodeIndex returns the size and the partitions of the segment with header h.
func decodeIndex(b []byte, h header) (size int64, parts map[uint32]*segPart, err error) {
	le := binary.LittleEndian
	bad := func(why string) (int64, map[uint32]*segPart, error) {
		return 0, nil, fmt.Errorf("%w: index: %s", ErrCorrupt, why)
	}
	if len(b) < 52 || string(b[:8]) != indexMagic || le.Uint32(b[len(b)-4:]) != frame.Checksum(b[:len(b)-4]) {
		return bad("checksum")
	}
	if v := le.Uint32(b[8:]); v != version {
		return 0, nil, fmt.Errorf("%w: index of version %d", ErrVersion, v)
	}
	if le.Uint32(b[12:]) != h.gen || le.Uint64(b[16:]) != h.id || le.Uint64(b[24:]) != h.num {
		return bad("of another segment")
	}
	size = int64(le.Uint64(b[32:]))
	n := le.Uint64(b[40:])
	d := decoder{b: b[48 : len(b)-4]}
	if n > uint64(len(d.b)) || size < headerSize {
		return bad("sizes")
	}
	parts = make(map[uint32]*segPart, n)
	for range n {
		id := d.uvarint()
		p := &segPart{
			first: int64(d.uvarint()), next: int64(d.uvarint()), records: int64(d.uvarint()),
			bytes: int64(d.uvarint()), newest: d.varint(),
		}
		count := d.uvarint()
		if d.bad || count < 1 || count > uint64(len(d.b)) || id > math.MaxUint32 || parts[uint32(id)] != nil ||
			p.first < 0 || p.next < p.first {
			return bad("partition")
		}
		p.entries = make([]entry, 0, count)
		last := entry{first: p.first}
		for range count {
			first, pos := int64(d.uvarint()), d.uvarint()
			last.first += first
			if pos += uint64(last.pos); first < 0 || last.first < p.first || last.first > p.next || pos < headerSize || pos >= uint64(size) || pos > math.MaxUint32 {
				return bad("entry")
			}
			last.pos = uint32(pos)
			p.entries = append(p.entries, last)
		}
		parts[uint32(id)] = p
	}
	if d.bad || len(d.b) > 0 {
		return bad("length")
	}
	return size, parts, nil
}
