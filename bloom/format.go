package bloom

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Encoding, version 1. Integers are little-endian.
//
//	offset  size   field
//	0       4      magic "BLM\x00"
//	4       1      version, 1
//	5       1      kind: 1 Filter, 2 Scalable, 3 Generations
//
// then, for a Filter,
//
//	6       1      hashes k, 1 ≤ k ≤ 21
//	7       1      zero
//	8       8      blocks b, 0 < b
//	16      64·b   the blocks, eight words each
//
// for a Scalable,
//
//	6       1      filters s, 0 < s
//	7       1      zero
//	8       8      items of the first filter
//	16      8      false-positive rate, IEEE 754
//	24      8      changes that the last filter can still take
//	32      …      for each filter its blocks; how many and with how many
//	               hashes follows from items and rate
//
// for Generations,
//
//	6       1      generations g, 1 ≤ g ≤ 64
//	7       1      the newest, from 0
//	8       1      hashes k
//	9       7      zero
//	16      8      blocks b of each
//	24      64·b·g the blocks of generation 0, 1, …
//
// and at the end the CRC-32C of everything before, 4 bytes. Part of the format:
// never renumber.
const (
	magic   = "BLM\x00"
	version = 1

	kindFilter      = 1
	kindScalable    = 2
	kindGenerations = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendBlocks(b []byte, blocks []block) []byte {
	for i := range blocks {
		for _, w := range blocks[i] {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	return b
}

// seal appends the checksum of what was appended behind the first n bytes.
func seal(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// A body is what is left of an encoding after its head and before its checksum.
type body struct {
	b   []byte
	err error
}

// open checks magic, version, kind and checksum.
func open(b []byte, kind byte, head int) (*body, error) {
	switch {
	case len(b) < head+4:
		return nil, fmt.Errorf("%w: %d bytes, below %d", ErrCorrupt, len(b), head+4)
	case string(b[:4]) != magic:
		return nil, fmt.Errorf("%w: magic %q", ErrCorrupt, b[:4])
	case b[4] != version:
		return nil, fmt.Errorf("%w: %d", ErrVersion, b[4])
	case b[5] != kind:
		return nil, fmt.Errorf("%w: kind %d, want %d", ErrCorrupt, b[5], kind)
	}
	n := len(b) - 4
	if got, want := crc32.Checksum(b[:n], castagnoli), binary.LittleEndian.Uint32(b[n:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	return &body{b: b[head:n]}, nil
}

// blocks takes n blocks off the body. The bytes are there before anything is
// allocated.
func (d *body) blocks(n uint64) []block {
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.b))/64 {
		d.err = fmt.Errorf("%w: %d blocks in %d bytes", ErrCorrupt, n, len(d.b))
		return nil
	}
	bs := make([]block, n)
	for i := range bs {
		for j := range bs[i] {
			bs[i][j] = binary.LittleEndian.Uint64(d.b[64*i+8*j:])
		}
	}
	d.b = d.b[64*n:]
	return bs
}

func (d *body) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%w: %d bytes behind the last block", ErrCorrupt, len(d.b))
	}
	return d.err
}

// AppendBinary appends the filter's encoding. Equal filters have equal ones.
func (f *Filter) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	b = append(b, magic...)
	b = append(b, version, kindFilter, byte(f.k), 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.blocks)))
	return seal(appendBlocks(b, f.blocks), n), nil
}

// MarshalBinary returns the filter's encoding.
func (f *Filter) MarshalBinary() ([]byte, error) {
	return f.AppendBinary(make([]byte, 0, 20+64*len(f.blocks)))
}

// UnmarshalBinary replaces the filter by the encoded one. On an error, wrapping
// [ErrCorrupt] or [ErrVersion], it stays as it was. The bytes are not kept.
func (f *Filter) UnmarshalBinary(b []byte) error {
	d, err := open(b, kindFilter, 16)
	if err != nil {
		return err
	}
	k, n := int(b[6]), binary.LittleEndian.Uint64(b[8:])
	if k < 1 || k > maxHashes || b[7] != 0 || n == 0 {
		return fmt.Errorf("%w: %d hashes, %d blocks", ErrCorrupt, k, n)
	}
	blocks := d.blocks(n)
	if err := d.end(); err != nil {
		return err
	}
	*f = Filter{blocks, k}
	return nil
}

// Concurrent returns a copy that many goroutines can use.
func (f *Filter) Concurrent() *Concurrent {
	c := &Concurrent{k: f.k}
	c.lines = make([]line, len(f.blocks))
	for i := range f.blocks {
		for j, w := range f.blocks[i] {
			c.lines[i][j].Store(w)
		}
	}
	return c
}

// AppendBinary appends the encoding.
func (s *Scalable) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	b = append(b, magic...)
	b = append(b, version, kindScalable, byte(len(s.parts)), 0)
	b = binary.LittleEndian.AppendUint64(b, s.n)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.p))
	b = binary.LittleEndian.AppendUint64(b, s.room)
	for _, f := range s.parts {
		b = appendBlocks(b, f.blocks)
	}
	return seal(b, n), nil
}

// MarshalBinary returns the encoding.
func (s *Scalable) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// UnmarshalBinary replaces the filter by the encoded one. On an error, wrapping
// [ErrCorrupt] or [ErrVersion], it stays as it was. The bytes are not kept.
func (s *Scalable) UnmarshalBinary(b []byte) error {
	d, err := open(b, kindScalable, 32)
	if err != nil {
		return err
	}
	t := Scalable{
		n: binary.LittleEndian.Uint64(b[8:]), p: math.Float64frombits(binary.LittleEndian.Uint64(b[16:])),
		room: binary.LittleEndian.Uint64(b[24:]),
	}
	if b[6] == 0 || b[7] != 0 || t.n == 0 || !(t.p >= 1e-7 && t.p < 1) || t.room == 0 {
		return fmt.Errorf("%w: %d filters for %d items at rate %v, room for %d", ErrCorrupt, b[6], t.n, t.p, t.room)
	}
	for i := range int(b[6]) {
		n, p := t.part(i)
		if n>>i != t.n || n > MaxBits {
			return fmt.Errorf("%w: filter %d for more than %d items", ErrCorrupt, i, uint64(MaxBits))
		}
		blocks, k, err := size(n, p)
		if err != nil {
			return fmt.Errorf("%w: filter %d: %w", ErrCorrupt, i, err)
		}
		f := &Filter{d.blocks(blocks), k}
		if d.err != nil {
			return d.err
		}
		t.parts = append(t.parts, f)
	}
	if err := d.end(); err != nil {
		return err
	}
	if n, _ := t.part(len(t.parts) - 1); t.room > n {
		return fmt.Errorf("%w: room for %d in a filter of %d", ErrCorrupt, t.room, n)
	}
	*s = t
	return nil
}

// AppendBinary appends the encoding.
func (g *Generations) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	b = append(b, magic...)
	b = append(b, version, kindGenerations, byte(len(g.parts)), byte(g.at), byte(g.parts[0].k))
	b = append(b, make([]byte, 7)...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(g.parts[0].blocks)))
	for _, f := range g.parts {
		b = appendBlocks(b, f.blocks)
	}
	return seal(b, n), nil
}

// MarshalBinary returns the encoding.
func (g *Generations) MarshalBinary() ([]byte, error) { return g.AppendBinary(nil) }

// UnmarshalBinary replaces the filter by the encoded one. On an error, wrapping
// [ErrCorrupt] or [ErrVersion], it stays as it was. The bytes are not kept.
func (g *Generations) UnmarshalBinary(b []byte) error {
	d, err := open(b, kindGenerations, 24)
	if err != nil {
		return err
	}
	parts, at, k, n := int(b[6]), int(b[7]), int(b[8]), binary.LittleEndian.Uint64(b[16:])
	zero := true
	for _, c := range b[9:16] {
		zero = zero && c == 0
	}
	if parts < 1 || parts > 64 || at >= parts || k < 1 || k > maxHashes || n == 0 || !zero {
		return fmt.Errorf("%w: %d generations, newest %d, %d hashes, %d blocks", ErrCorrupt, parts, at, k, n)
	}
	t := Generations{at: at}
	for range parts {
		t.parts = append(t.parts, &Filter{d.blocks(n), k})
		if d.err != nil {
			return d.err
		}
	}
	if err := d.end(); err != nil {
		return err
	}
	*g = t
	return nil
}
