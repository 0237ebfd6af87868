package cms

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"unsafe"
)

// Encoding, version 1. Integers are little-endian.
//
//	offset  size  field
//	0       4     magic "CMS\x00"
//	4       1     version, 1
//	5       1     kind: 1 Sketch, 2 TopK, 3 Heavy
//	6       1     keys: 0 none, 1 strings, 2 integers
//	7       1     zero
//	8       8     total
//
// then, for a Sketch,
//
//	16      8     width
//	24      4     depth
//	28      8     what rounding in Decay may have added to a count
//	36      4·width·depth  counters, row by row
//
// for a TopK,
//
//	16      4     k
//	20      4     bytes as given to NewTopK
//	24      8     state of the random numbers
//	32      4     items, as in a list: by falling count
//	36      …     the filter: for each cell, fingerprint (2) and count (4)
//	              the items: count, lower, upper less lower (8 each), key
//
// for a Heavy,
//
//	16      4     counters
//	20      8     missed
//	28      4     items, as in a list
//	32      …     the items: count (8), key
//
// where a key is 8 bytes of an integer, or 8 bytes of length and so many of a
// string; and at the end the CRC-32C of everything before, 4 bytes. Part of the
// format: never renumber.
const (
	magic   = "CMS\x00"
	version = 1

	kindSketch = 1
	kindTopK   = 2
	kindHeavy  = 3

	keysNone     = 0
	keysStrings  = 1
	keysIntegers = 2

	headSize = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHead(b []byte, kind, keys byte, total uint64) []byte {
	b = append(b, magic...)
	b = append(b, version, kind, keys, 0)
	return binary.LittleEndian.AppendUint64(b, total)
}

// seal appends the checksum of what was appended behind the first n bytes.
func seal(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// A decoder is what is left of an encoding. After a mistake short is set and what
// is read is zero.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.b, d.short = nil, true
		return make([]byte, min(n, 8))
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) uint16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

// open checks head and checksum and returns what is between them.
func open(b []byte, kind, keys byte) (total uint64, d *decoder, err error) {
	switch {
	case len(b) < headSize+4:
		return 0, nil, fmt.Errorf("%w: %d bytes, below %d", ErrCorrupt, len(b), headSize+4)
	case string(b[:4]) != magic:
		return 0, nil, fmt.Errorf("%w: magic %q", ErrCorrupt, b[:4])
	case b[4] != version:
		return 0, nil, fmt.Errorf("%w: %d", ErrVersion, b[4])
	case b[5] != kind || b[6] != keys || b[7] != 0:
		return 0, nil, fmt.Errorf("%w: kind %d with keys %d, want %d with %d", ErrCorrupt, b[5], b[6], kind, keys)
	}
	end := len(b) - 4
	if got, want := crc32.Checksum(b[:end], castagnoli), binary.LittleEndian.Uint32(b[end:]); got != want {
		return 0, nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	return binary.LittleEndian.Uint64(b[8:]), &decoder{b: b[headSize:end]}, nil
}

// AppendBinary appends the sketch's encoding. Equal sketches have equal ones.
func (s *Sketch) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	b = appendHead(b, kindSketch, keysNone, s.total)
	b = binary.LittleEndian.AppendUint64(b, s.width)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Depth()))
	b = binary.LittleEndian.AppendUint64(b, s.rounded)
	for _, c := range s.cells {
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	return seal(b, n), nil
}

// MarshalBinary returns the sketch's encoding.
func (s *Sketch) MarshalBinary() ([]byte, error) {
	return s.AppendBinary(make([]byte, 0, headSize+24+4*len(s.cells)))
}

// UnmarshalBinary replaces the sketch by the encoded one. On an error, wrapping
// [ErrCorrupt] or [ErrVersion], it stays as it was. The bytes are not kept.
func (s *Sketch) UnmarshalBinary(b []byte) error {
	total, d, err := open(b, kindSketch, keysNone)
	if err != nil {
		return err
	}
	width, depth, rounded := d.uint64(), d.uint32(), d.uint64()
	if d.short || depth < 1 || depth > MaxDepth || width < 1 || width > MaxCells/uint64(depth) || uint64(len(d.b)) != 4*width*uint64(depth) {
		return fmt.Errorf("%w: %d rows of %d counters in %d bytes", ErrCorrupt, depth, width, len(d.b))
	}
	t := Sketch{width: width, cells: make([]uint32, len(d.b)/4), total: total, rounded: rounded}
	for i := range t.cells {
		t.cells[i] = d.uint32()
	}
	*s = t
	return nil
}

func keysOf[K Key]() byte {
	if newHasher[K]().isString {
		return keysStrings
	}
	return keysIntegers
}

func appendKey[K Key](b []byte, key K, keys byte) []byte {
	if keys == keysStrings {
		s := *(*string)(unsafe.Pointer(&key))
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		return append(b, s...)
	}
	return binary.LittleEndian.AppendUint64(b, *(*uint64)(unsafe.Pointer(&key)))
}

func (d *decoder) key(to unsafe.Pointer, keys byte) {
	if keys == keysStrings {
		n := d.uint64()
		if n > uint64(len(d.b)) {
			d.b, d.short = nil, true
			return
		}
		*(*string)(to) = string(d.take(int(n)))
		return
	}
	*(*uint64)(to) = d.uint64()
}

// AppendBinary appends the encoding.
func (t *TopK[K]) AppendBinary(b []byte) ([]byte, error) {
	n, keys := len(b), keysOf[K]()
	b = appendHead(b, kindTopK, keys, t.total)
	b = binary.LittleEndian.AppendUint32(b, uint32(t.k))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.budget))
	b = binary.LittleEndian.AppendUint64(b, t.random)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.keys)))
	for i, c := range t.worn {
		print := t.prints[i]
		if c == 0 {
			print = 0
		}
		b = binary.LittleEndian.AppendUint16(b, print)
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	for _, it := range t.List() {
		b = binary.LittleEndian.AppendUint64(b, it.Count)
		b = binary.LittleEndian.AppendUint64(b, it.Lower)
		b = binary.LittleEndian.AppendUint64(b, it.Upper-it.Lower)
		b = appendKey(b, it.Key, keys)
	}
	return seal(b, n), nil
}

// MarshalBinary returns the encoding.
func (t *TopK[K]) MarshalBinary() ([]byte, error) { return t.AppendBinary(nil) }

// UnmarshalBinary replaces the list by the encoded one, of keys of the same kind.
// On an error, wrapping [ErrCorrupt] or [ErrVersion], it stays as it was. The bytes
// are not kept.
func (t *TopK[K]) UnmarshalBinary(b []byte) error {
	keys := keysOf[K]()
	total, d, err := open(b, kindTopK, keys)
	if err != nil {
		return err
	}
	k, budget, random, n := int(d.uint32()), int(d.uint32()), d.uint64(), int(d.uint32())
	if d.short || k < 1 || k > MaxK || n < 0 || n > k || random == 0 {
		return fmt.Errorf("%w: %d of the %d most frequent", ErrCorrupt, n, k)
	}
	cells := (budget - k*tableBytes[K]()) / cellBytes
	if budget < 0 || cells < minCells || cells > len(d.b)/cellBytes || n > (len(d.b)-cells*cellBytes)/32 {
		return fmt.Errorf("%w: %d bytes for a list of %d in %d", ErrCorrupt, len(b), k, budget)
	}
	s := &TopK[K]{
		hasher: newHasher[K](), k: k, budget: budget, filter: newFilter(cells), total: total,
	}
	s.random = random
	for i := range cells {
		s.prints[i], s.worn[i] = d.uint16(), d.uint32()
		if s.worn[i] > 0 && s.prints[i]&1 == 0 || s.worn[i] == 0 && s.prints[i] != 0 {
			return fmt.Errorf("%w: cell %d", ErrCorrupt, i)
		}
	}
	s.makeTable(n)
	s.index = make([]uint16, s.indexSlots(n))
	err = items(d, n, func(i int, it *Item[K]) bool {
		it.Count, it.Lower = d.uint64(), d.uint64()
		span := d.uint64()
		it.Upper = it.Lower + span
		d.key(unsafe.Pointer(&it.Key), keys)
		h := s.hash(it.Key)
		if it.Upper < it.Lower || it.Count < it.Lower || it.Count > it.Upper || it.Count-it.Lower > math.MaxUint32 || s.find(it.Key, h) >= 0 {
			return false
		}
		s.set(i, *it)
		s.enter(i, h)
		return s.item(i) == *it
	})
	if err != nil {
		return err
	}
	*t = *s
	return nil
}

// items reads n rows in the order of a list and nothing else.
func items[K Key](d *decoder, n int, read func(i int, it *Item[K]) bool) error {
	var before, it Item[K]
	for i := range n {
		it = Item[K]{}
		if !read(i, &it) || d.short || i > 0 && compareItems(before, it) >= 0 {
			return fmt.Errorf("%w: item %d", ErrCorrupt, i)
		}
		before = it
	}
	if len(d.b) > 0 {
		return fmt.Errorf("%w: %d bytes behind the last item", ErrCorrupt, len(d.b))
	}
	return nil
}

// AppendBinary appends the encoding. Sketches with the same counts have equal ones.
func (v *Heavy[K]) AppendBinary(b []byte) ([]byte, error) {
	n, keys := len(b), keysOf[K]()
	b = appendHead(b, kindHeavy, keys, v.total)
	b = binary.LittleEndian.AppendUint32(b, uint32(v.counters))
	b = binary.LittleEndian.AppendUint64(b, v.missed)
	b = binary.LittleEndian.AppendUint32(b, uint32(v.n))
	for _, it := range v.List() {
		b = binary.LittleEndian.AppendUint64(b, it.Lower)
		b = appendKey(b, it.Key, keys)
	}
	return seal(b, n), nil
}

// MarshalBinary returns the encoding.
func (v *Heavy[K]) MarshalBinary() ([]byte, error) { return v.AppendBinary(nil) }

// UnmarshalBinary replaces the sketch by the encoded one, of keys of the same kind.
// On an error, wrapping [ErrCorrupt] or [ErrVersion], it stays as it was. The bytes
// are not kept.
func (v *Heavy[K]) UnmarshalBinary(b []byte) error {
	keys := keysOf[K]()
	total, d, err := open(b, kindHeavy, keys)
	if err != nil {
		return err
	}
	counters, missed, n := int(d.uint32()), d.uint64(), int(d.uint32())
	if d.short || counters < 8 || counters > MaxCounters || n < 0 || n > counters || n > len(d.b)/16 {
		return fmt.Errorf("%w: %d items in %d counters and %d bytes", ErrCorrupt, n, counters, len(d.b))
	}
	w := Heavy[K]{hasher: newHasher[K](), counters: counters, missed: missed}
	w.resize(slotsFor(n))
	err = items(d, n, func(_ int, it *Item[K]) bool {
		it.Lower = d.uint64()
		it.Upper = saturate(it.Lower, missed)
		it.Count = it.Upper
		d.key(unsafe.Pointer(&it.Key), keys)
		if i := w.find(it.Key); it.Lower == 0 || w.counts[i] != 0 {
			return false
		}
		i := w.find(it.Key)
		w.keys[i], w.counts[i] = it.Key, it.Lower
		w.n++
		return true
	})
	if err != nil {
		return err
	}
	w.total = total
	*v = w
	return nil
}
