package tsdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// The manifest says which chunks and tombstones there are. It is written whole,
// twice, each time to a new file renamed into place: MANIFEST.0, then
// MANIFEST.1. The valid one with the higher number counts.
const (
	manifestMagic   = "ASHLTSM\x00"
	manifestVersion = 1
	manifestLimit   = 1 << 30
)

type manifest struct {
	seq       uint64
	nextChunk uint64
	nextTomb  uint64
	chunks    []chunkInfo
	tombs     []tombstone
	marks     []mark
}

// A mark says that what the log holds before pos for a head is in a chunk.
type mark struct {
	headKey
	pos uint64
}

// A tombstone deletes from all chunks up to a number.
type tombstone struct {
	id       uint64
	maxChunk uint64
	rng      Range
	ms       []Matcher
}

func (t *tombstone) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.id)
	dst = binary.AppendUvarint(dst, t.maxChunk)
	dst = binary.AppendVarint(dst, t.rng.From)
	dst = binary.AppendVarint(dst, t.rng.To)
	dst = binary.AppendUvarint(dst, uint64(len(t.ms)))
	for _, m := range t.ms {
		dst = append(dst, byte(m.op))
		dst = appendText(dst, m.name)
		dst = appendText(dst, m.value)
	}
	return dst
}

func (t *tombstone) read(r *reader) {
	t.id, t.maxChunk = r.uvarint(), r.uvarint()
	t.rng = Range{r.varint(), r.varint()}
	for range r.count(3) {
		m := Matcher{op: matchOp(r.byte()), name: r.text(), value: r.text()}
		switch m.op {
		case opEq, opNe:
		case opRe, opNotRe:
			m = newRe(m.name, m.value, m.op)
		default:
			r.fail()
		}
		if m.check() != nil {
			r.fail()
		}
		t.ms = append(t.ms, m)
	}
}

func (m *manifest) encode() []byte {
	b := append([]byte(manifestMagic), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[8:], manifestVersion)
	for _, v := range [...]uint64{m.seq, m.nextChunk, m.nextTomb, uint64(len(m.chunks))} {
		b = binary.AppendUvarint(b, v)
	}
	for i := range m.chunks {
		b = m.chunks[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(m.tombs)))
	for i := range m.tombs {
		b = m.tombs[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(m.marks)))
	for _, k := range m.marks {
		b = append(b, byte(k.kind))
		b = appendText(b, k.source)
		b = binary.AppendVarint(b, k.start)
		b = binary.AppendUvarint(b, k.pos)
	}
	return binary.LittleEndian.AppendUint32(b, frame.Checksum(b))
}

func decodeManifest(b []byte) (*manifest, error) {
	if len(b) < 16 || string(b[:8]) != manifestMagic || frame.Checksum(b[:len(b)-4]) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("%w: manifest", ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != manifestVersion {
		return nil, fmt.Errorf("%w: manifest of version %d", ErrVersion, v)
	}
	r := reader{b: b[12 : len(b)-4]}
	m := &manifest{seq: r.uvarint(), nextChunk: r.uvarint(), nextTomb: r.uvarint()}
	for range r.count(12) {
		var c chunkInfo
		c.read(&r)
		m.chunks = append(m.chunks, c)
	}
	for range r.count(5) {
		var t tombstone
		t.read(&r)
		m.tombs = append(m.tombs, t)
	}
	for range r.count(4) {
		var k mark
		k.kind, k.source, k.start, k.pos = chunkKind(r.byte()), r.text(), r.varint(), r.uvarint()
		m.marks = append(m.marks, k)
	}
	if r.err || len(r.b) > 0 {
		return nil, fmt.Errorf("%w: manifest", ErrCorrupt)
	}
	return m, nil
}

func manifestName(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("MANIFEST.%d", i))
}

// loadManifest returns the newest valid manifest, or nil if there is none.
func loadManifest(fsys vfs.FS, dir string) (m *manifest, damage []error, err error) {
	for i := range 2 {
		name := manifestName(dir, i)
		b, err := vfs.ReadFile(fsys, name, manifestLimit)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		x, err := decodeManifest(b)
		if errors.Is(err, ErrVersion) {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		if err != nil {
			damage = append(damage, fmt.Errorf("%s: %w", name, err))
			continue
		}
		if m == nil || x.seq > m.seq {
			m = x
		}
	}
	return m, damage, nil
}

// save writes both copies. The manifest counts as soon as one is in place; then
// sure is true.
func (m *manifest) save(fsys vfs.FS, dir string) error {
	b := m.encode()
	for i := range 2 {
		if err := vfs.WriteFile(fsys, manifestName(dir, i), b); err != nil {
			return err
		}
	}
	return nil
}
