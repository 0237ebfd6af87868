package stream

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/ashlar-go/ashlar/internal/frame"
)

// The layout of a directory is in the package comment of doc.go's "Format"; the
// numbers below are part of it: never renumber.
const (
	magic      = "ASHSTRM\x00"
	indexMagic = "ASHSIDX\x00"
	version    = 1
	headerSize = 512 // a sector, so that a torn frame cannot harm it

	kindBatch = 1 // records of one partition
	kindOps   = 2 // changes of topics, bounds and offsets
	kindState = 3 // ops that rebuild all of that; first in every segment
	kindMark  = 4 // the state again, by Close: all before it is durable

	tagKind  = 7      // bits 0-2 of a frame's tag
	tagMore  = 1 << 3 // the transaction goes on in the next frame
	tagShift = 4      // bits 4-31: distance to the durable end, in units of 8 bytes
	tagNever = 1<<28 - 1

	trailerSize = 48
	flagSparse  = 1 // each record carries the distance to the offset before it

	attrKey     = 1 << 0
	attrNull    = 1 << 1 // a tombstone: no value follows
	attrHeaders = 1 << 2
	attrNoTime  = 1 << 3

	opTopic  = 1
	opBounds = 2
	opGroup  = 3
	opNextID = 4
)

// A trailer ends the payload of a batch.
//
//	offset  size  field
//	0       4     id of the partition
//	4       4     number of records
//	8       8     offset of the first record
//	16      8     offset after the last record
//	24      8     base of the records' times, ns since 1970
//	32      8     when it was appended, ns since 1970
//	40      4     flags
//	44      4     zero
type trailer struct {
	part     uint32
	count    uint32
	first    int64
	next     int64
	base     int64
	appended int64
	flags    uint32
}

func (t *trailer) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, t.part)
	le.PutUint32(b[4:], t.count)
	le.PutUint64(b[8:], uint64(t.first))
	le.PutUint64(b[16:], uint64(t.next))
	le.PutUint64(b[24:], uint64(t.base))
	le.PutUint64(b[32:], uint64(t.appended))
	le.PutUint32(b[40:], t.flags)
	le.PutUint32(b[44:], 0)
}

// parseTrailer reads the end of a batch's payload, which the caller may not have
// checked yet.
func parseTrailer(payload []byte) (t trailer, ok bool) {
	if len(payload) < trailerSize {
		return t, false
	}
	le, b := binary.LittleEndian, payload[len(payload)-trailerSize:]
	t = trailer{
		part: le.Uint32(b), count: le.Uint32(b[4:]), first: int64(le.Uint64(b[8:])), next: int64(le.Uint64(b[16:])),
		base: int64(le.Uint64(b[24:])), appended: int64(le.Uint64(b[32:])), flags: le.Uint32(b[40:]),
	}
	return t, t.first >= 0 && t.next >= t.first && t.next-t.first >= int64(t.count) &&
		int64(t.count) <= int64(len(payload)) && t.flags&^flagSparse == 0 && le.Uint32(b[44:]) == 0
}

// appendRecord appends a record to the body of a batch. A body is, for each
// record: attributes (1 byte); the distance to the offset before it minus one, in
// a sparse batch (uvarint); its time minus the base (varint); the key's length and
// bytes; the value's; the headers' number and, for each, the lengths and bytes of
// key and value. Attributes say what of it is there.
func appendRecord(dst []byte, r *Record, base int64, skip int64, sparse bool) []byte {
	var attr byte
	if len(r.Key) > 0 {
		attr |= attrKey
	}
	if r.Value == nil {
		attr |= attrNull
	}
	if len(r.Headers) > 0 {
		attr |= attrHeaders
	}
	if r.Time.IsZero() {
		attr |= attrNoTime
	}
	dst = append(dst, attr)
	if sparse {
		dst = binary.AppendUvarint(dst, uint64(skip))
	}
	if attr&attrNoTime == 0 {
		dst = binary.AppendVarint(dst, toNanos(r.Time)-base)
	}
	if attr&attrKey != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(r.Key)))
		dst = append(dst, r.Key...)
	}
	if attr&attrNull == 0 {
		dst = binary.AppendUvarint(dst, uint64(len(r.Value)))
		dst = append(dst, r.Value...)
	}
	if attr&attrHeaders != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
		for _, h := range r.Headers {
			dst = binary.AppendUvarint(dst, uint64(len(h.Key)))
			dst = append(dst, h.Key...)
			dst = binary.AppendUvarint(dst, uint64(len(h.Value)))
			dst = append(dst, h.Value...)
		}
	}
	return dst
}

// baseTime returns the base of a batch's times: that of the first record that has
// one.
func baseTime(records []Record) int64 {
	for i := range records {
		if !records[i].Time.IsZero() {
			return toNanos(records[i].Time)
		}
	}
	return 0
}

// A reader of encoded bytes. After a mistake bad is set and what is read is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 { // most are short
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// bytes returns the next length-prefixed bytes, as a part of the input and never
// nil.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return []byte{}
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

// decodeBatch appends the records of a checked payload from offset from on to b;
// they point into payload.
func decodeBatch(b *Batch, payload []byte, from int64) error {
	t, ok := parseTrailer(payload)
	if !ok {
		return fmt.Errorf("%w: trailer of a batch", ErrCorrupt)
	}
	d := decoder{b: payload[:len(payload)-trailerSize]}
	offset := t.first
	for i := range t.count {
		attr := d.byte()
		if t.flags&flagSparse != 0 {
			skip := d.uvarint()
			if skip > uint64(t.next-offset) {
				d.bad = true
			}
			offset += int64(skip)
		}
		var r Record
		r.Offset = offset
		if attr&attrNoTime == 0 {
			ns := t.base + d.varint()
			if offset >= from {
				r.Time = fromNanos(ns)
			}
		}
		if attr&attrKey != 0 {
			r.Key = d.bytes()
		}
		if attr&attrNull == 0 {
			r.Value = d.bytes()
		}
		if attr&attrHeaders != 0 {
			n := d.uvarint()
			if n > uint64(len(d.b)) {
				d.bad, n = true, 0
			}
			start := len(b.headers)
			for range n {
				key := d.bytes()
				b.headers = append(b.headers, Header{string(key), d.bytes()})
			}
			r.Headers = b.headers[start:len(b.headers):len(b.headers)]
		}
		if d.bad || attr&^(attrKey|attrNull|attrHeaders|attrNoTime) != 0 || offset >= t.next {
			return fmt.Errorf("%w: record %d of %d in a batch", ErrCorrupt, i, t.count)
		}
		if offset >= from {
			b.Records = append(b.Records, r)
		}
		offset++
	}
	if len(d.b) != 0 {
		return fmt.Errorf("%w: %d bytes after the last record of a batch", ErrCorrupt, len(d.b))
	}
	return nil
}

// makeTag builds a frame's tag: its kind and how far before it the log was
// durable.
func makeTag(kind uint32, more bool, pos, durable uint64) uint32 {
	tag := kind
	if more {
		tag |= tagMore
	}
	if d := (pos - durable) / frame.Align; pos >= durable && d < tagNever {
		return tag | uint32(d)<<tagShift
	}
	return tag | tagNever<<tagShift
}

// vouches returns the position before which a frame at pos says that all was
// durable; 0 if it does not say.
func vouches(tag uint32, pos uint64) uint64 {
	d := uint64(tag >> tagShift)
	if d == tagNever || d*frame.Align > pos {
		return 0
	}
	return pos - d*frame.Align
}

// A header begins a segment's file.
//
//	offset  size  field
//	0       8     magic "ASHSTRM\x00"
//	8       4     version, 1
//	12      4     generation: how often the segment was rewritten
//	16      8     id of the log, random
//	24      8     number of the segment
//	32      8     position of its first frame in all that was ever written
//	40      20    zero
//	60      4     CRC-32C of the 60 bytes before
//	64      448   zero
type header struct {
	gen  uint32
	id   uint64
	num  uint64
	base uint64
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], h.gen)
	le.PutUint64(b[16:], h.id)
	le.PutUint64(b[24:], h.num)
	le.PutUint64(b[32:], h.base)
	le.PutUint32(b[60:], frame.Checksum(b[:60]))
	return b
}

// parseHeader fails with ErrCorrupt, or with ErrVersion for a whole header of
// another version.
func parseHeader(b []byte) (h header, err error) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != magic || le.Uint32(b[60:]) != frame.Checksum(b[:60]) {
		return h, fmt.Errorf("%w: no header of a segment", ErrCorrupt)
	}
	if v := le.Uint32(b[8:]); v != version {
		return h, fmt.Errorf("%w: %d", ErrVersion, v)
	}
	return header{gen: le.Uint32(b[12:]), id: le.Uint64(b[16:]), num: le.Uint64(b[24:]), base: le.Uint64(b[32:])}, nil
}

// salt of a segment's frames: those of one generation never pass for another's.
func (h header) salt() frame.Salt { return frame.NewSalt(h.id, h.num<<20^uint64(h.gen)) }

// An op is a change of the log's state.
type op struct {
	kind  byte
	topic topicOp
	part  uint32 // opBounds
	first int64
	next  int64
	group string // opGroup
	marks []mark
	id    uint32 // opNextID
}

// A topicOp makes the partitions [id, id+Partitions).
type topicOp struct {
	id   uint32
	name string
	opts TopicOptions
}

// A mark is one offset of a group.
type mark struct {
	part  uint32
	next  int64
	epoch int64
}

func (o *op) append(dst []byte) []byte {
	str := func(s string) {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	dst = append(dst, o.kind)
	switch o.kind {
	case opTopic:
		t := &o.topic
		dst = binary.AppendUvarint(dst, uint64(t.id))
		str(t.name)
		dst = binary.AppendUvarint(dst, uint64(t.opts.Partitions))
		dst = binary.AppendUvarint(dst, uint64(t.opts.Retention))
		dst = binary.AppendUvarint(dst, uint64(t.opts.RetainBytes))
		dst = binary.AppendUvarint(dst, uint64(t.opts.TombstoneKeep))
		var compact byte
		if t.opts.Compact {
			compact = 1
		}
		dst = append(dst, compact)
	case opBounds:
		dst = binary.AppendUvarint(dst, uint64(o.part))
		dst = binary.AppendUvarint(dst, uint64(o.first))
		dst = binary.AppendUvarint(dst, uint64(o.next))
	case opGroup:
		str(o.group)
		dst = binary.AppendUvarint(dst, uint64(len(o.marks)))
		for _, m := range o.marks {
			dst = binary.AppendUvarint(dst, uint64(m.part))
			dst = binary.AppendVarint(dst, m.next)
			dst = binary.AppendVarint(dst, m.epoch)
		}
	case opNextID:
		dst = binary.AppendUvarint(dst, uint64(o.id))
	}
	return dst
}

// decodeOps decodes the checked payload of an ops or a state frame.
func decodeOps(payload []byte) ([]op, error) {
	d := decoder{b: payload}
	var ops []op
	id := func() uint32 {
		v := d.uvarint()
		d.bad = d.bad || v > math.MaxUint32
		return uint32(v)
	}
	positive := func() int64 {
		v := d.uvarint()
		d.bad = d.bad || v > math.MaxInt64
		return int64(v)
	}
	for len(d.b) > 0 && !d.bad {
		o := op{kind: d.byte()}
		switch o.kind {
		case opTopic:
			t := &o.topic
			t.id, t.name = id(), string(d.bytes())
			parts := d.uvarint()
			t.opts.Retention = time.Duration(positive())
			t.opts.RetainBytes = positive()
			t.opts.TombstoneKeep = time.Duration(positive())
			compact := d.byte()
			t.opts.Compact = compact == 1
			d.bad = d.bad || parts < 1 || parts > maxPartitions || compact > 1 || t.name == "" || len(t.name) > maxName ||
				uint64(t.id)+parts > math.MaxUint32
			t.opts.Partitions = int(parts)
		case opBounds:
			o.part, o.first, o.next = id(), positive(), positive()
			d.bad = d.bad || o.first > o.next
		case opGroup:
			o.group = string(d.bytes())
			n := d.uvarint()
			if n > uint64(len(d.b)) || o.group == "" || len(o.group) > maxName {
				d.bad, n = true, 0
			}
			for range n {
				m := mark{part: id(), next: d.varint(), epoch: d.varint()}
				d.bad = d.bad || m.next < Keep || m.epoch < 0
				o.marks = append(o.marks, m)
			}
		case opNextID:
			o.id = id()
		default:
			d.bad = true
		}
		ops = append(ops, o)
	}
	if d.bad {
		return nil, fmt.Errorf("%w: change %d of the log's state", ErrCorrupt, len(ops))
	}
	return ops, nil
}
