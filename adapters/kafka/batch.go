package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ashlar-go/ashlar/stream"
)

// batchHeader is the size of what stands before the records of a batch.
const batchHeader = 61

// A producer is who wrote a batch: by its number, epoch and sequence a broker
// recognises a batch that it has already.
type producer struct {
	id    int64
	epoch int16
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordSize returns how many bytes a record takes at most.
func recordSize(r *stream.Record) int {
	n := 8 + 3*binary.MaxVarintLen64 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 2*binary.MaxVarintLen32 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

func recordsSize(rs []stream.Record) int {
	n := 0
	for i := range rs {
		n += recordSize(&rs[i])
	}
	return n
}

// encodeBatch returns a record batch of Kafka's format 2, which a broker stores
// whole or not at all. Sequence is the number of its first record among the
// producer's in the partition.
func encodeBatch(lists [][]stream.Record, by producer, sequence int32, transactional bool, c kgo.Compressor) []byte {
	size := batchHeader
	var base, last int64
	count := 0
	for _, list := range lists {
		size += recordsSize(list)
		for i := range list {
			t := toMillis(list[i].Time)
			if count == 0 {
				base, last = t, t
			}
			base, last = min(base, t), max(last, t)
			count++
		}
	}
	b := make([]byte, batchHeader, size)
	delta := int64(0)
	for _, list := range lists {
		for i := range list {
			b = appendRecord(b, &list[i], delta, base)
			delta++
		}
	}
	attributes := uint16(0)
	if transactional {
		attributes |= 1 << 4
	}
	if c != nil {
		var buf bytes.Buffer
		packed, codec := c.Compress(&buf, b[batchHeader:])
		if len(packed) < len(b)-batchHeader && codec != 0 {
			attributes |= uint16(codec)
			b = append(b[:batchHeader], packed...)
		}
	}
	be := binary.BigEndian
	be.PutUint64(b, 0)                                       // first offset: the broker sets it
	be.PutUint32(b[8:], uint32(len(b)-12))                   // length of what follows
	be.PutUint32(b[12:], 0xffffffff)                         // epoch of the leader: it sets that too
	b[16] = 2                                                // format
	be.PutUint16(b[21:], attributes)                         // after the checksum
	be.PutUint32(b[23:], uint32(count-1))                    // last offset, from the first
	be.PutUint64(b[27:], uint64(base))                       // times
	be.PutUint64(b[35:], uint64(last))                       //
	be.PutUint64(b[43:], uint64(by.id))                      //
	be.PutUint16(b[51:], uint16(by.epoch))                   //
	be.PutUint32(b[53:], uint32(sequence))                   //
	be.PutUint32(b[57:], uint32(count))                      //
	be.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli)) // of all that follows
	return b
}

func appendRecord(b []byte, r *stream.Record, delta, base int64) []byte {
	at := toMillis(r.Time) - base
	body := 1 + varintLen(at) + varintLen(delta) + bytesLen(r.Key, len(r.Key) == 0) + bytesLen(r.Value, r.Value == nil) +
		varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		body += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value, h.Value == nil)
	}
	b = binary.AppendVarint(b, int64(body))
	b = append(b, 0)
	b = binary.AppendVarint(b, at)
	b = binary.AppendVarint(b, delta)
	b = appendBytes(b, r.Key, len(r.Key) == 0)
	b = appendBytes(b, r.Value, r.Value == nil)
	b = binary.AppendVarint(b, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendBytes(b, h.Value, h.Value == nil)
	}
	return b
}

func varintLen(v int64) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutVarint(b[:], v)
}

func bytesLen(v []byte, null bool) int {
	if null {
		return varintLen(-1)
	}
	return varintLen(int64(len(v))) + len(v)
}

func appendBytes(b, v []byte, null bool) []byte {
	if null {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(v)))
	return append(b, v...)
}

// noTime is how Kafka says that a record has no time. The millisecond that it
// takes away, the last of 1969, becomes the one before.
const noTime = -1

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	ms := t.UnixMilli()
	if ms == noTime {
		ms--
	}
	return ms
}

func fromMillis(ms int64) time.Time {
	if ms == noTime {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
