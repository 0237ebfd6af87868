package nats

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// An envelope is the payload of a message: the records of one Append, or of some
// that waited together. Format, version 1; integers are varints, CRC-32C is
// little-endian:
//
//	1 byte   version, 1
//	uvarint  number of records, at least 1
//	records  each:
//	  1 byte   flags: bit 0 value is nil, bit 1 has a time, others 0
//	  varint, uvarint   seconds since 1970 and nanoseconds, if it has a time
//	  uvarint, bytes    key
//	  uvarint, bytes    value, unless it is nil
//	  uvarint           number of headers, each a uvarint and bytes for key, then
//	                    for value
//	4 bytes  CRC-32C of all before
const (
	envelopeVersion = 1

	flagNil  = 1
	flagTime = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxRecords is how many records an envelope holds at most: see offsetOf.
const maxRecords = 1 << shift

func beginEnvelope(count int) []byte {
	return binary.AppendUvarint([]byte{envelopeVersion}, uint64(count))
}

func endEnvelope(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// envelopeFrame is how many bytes stand around the records at most.
const envelopeFrame = 1 + binary.MaxVarintLen32 + 4

func appendRecord(b []byte, r *stream.Record) []byte {
	flags := byte(0)
	if r.Value == nil {
		flags |= flagNil
	}
	if !r.Time.IsZero() {
		flags |= flagTime
	}
	b = append(b, flags)
	if !r.Time.IsZero() {
		b = binary.AppendVarint(b, r.Time.Unix())
		b = binary.AppendUvarint(b, uint64(r.Time.Nanosecond()))
	}
	b = appendBytes(b, r.Key)
	if r.Value != nil {
		b = appendBytes(b, r.Value)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Headers)))
	for i := range r.Headers {
		b = binary.AppendUvarint(b, uint64(len(r.Headers[i].Key)))
		b = append(b, r.Headers[i].Key...)
		b = appendBytes(b, r.Headers[i].Value)
	}
	return b
}

func appendBytes(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// decodeEnvelope appends to dst the records of an envelope from number skip on,
// with offsets that count from base. They point into b.
func decodeEnvelope(dst []stream.Record, b []byte, base int64, skip int) ([]stream.Record, error) {
	if len(b) < envelopeMin {
		return dst, fmt.Errorf("%w: envelope of %d bytes", stream.ErrCorrupt, len(b))
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return dst, fmt.Errorf("%w: envelope fails its checksum", stream.ErrCorrupt)
	}
	if body[0] != envelopeVersion {
		return dst, fmt.Errorf("%w: envelope of version %d", stream.ErrVersion, body[0])
	}
	d := decoder{b: body[1:]}
	count := d.uvarint()
	if count < 1 || count > maxRecords || count > uint64(len(d.b)/recordMin) {
		return dst, fmt.Errorf("%w: envelope of %d bytes with %d records", stream.ErrCorrupt, len(b), count)
	}
	out := dst
	for i := range int(count) {
		r := d.record()
		if d.failed {
			return dst, fmt.Errorf("%w: record %d of an envelope", stream.ErrCorrupt, i)
		}
		if r.Offset = base + int64(i); i >= skip {
			out = append(out, r)
		}
	}
	if len(d.b) > 0 {
		return dst, fmt.Errorf("%w: envelope with %d bytes too many", stream.ErrCorrupt, len(d.b))
	}
	return out, nil
}

const (
	recordMin   = 3                 // flags, empty key, no headers
	envelopeMin = 2 + recordMin + 4 // version, count, a record, checksum
)

// A decoder takes values off the front of b. Once failed it returns zeros.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) fail() { d.b, d.failed = nil, true }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 { // or longer than need be
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) record() (r stream.Record) {
	if len(d.b) == 0 {
		d.fail()
		return r
	}
	flags := d.b[0]
	d.b = d.b[1:]
	if flags&^(flagNil|flagTime) != 0 {
		d.fail()
		return r
	}
	if flags&flagTime != 0 {
		sec, ns := d.varint(), d.uvarint()
		r.Time = time.Unix(sec, int64(ns)).UTC()
		if ns >= 1e9 || r.Time.IsZero() || r.Time.Unix() != sec {
			d.fail()
			return r
		}
	}
	if r.Key = d.bytes(); len(r.Key) == 0 {
		r.Key = nil
	}
	if flags&flagNil == 0 {
		r.Value = d.bytes()
	}
	n := d.uvarint()
	if n > uint64(len(d.b)/2) { // each has two lengths
		d.fail()
		return r
	}
	if n > 0 {
		r.Headers = make([]stream.Header, n)
		for i := range r.Headers {
			r.Headers[i].Key, r.Headers[i].Value = string(d.bytes()), d.bytes()
		}
	}
	return r
}
