package wal

import (
	"fmt"

	"github.com/ashlar-go/ashlar/internal/frame"
)

// MaxRecord is the largest record in bytes.
const MaxRecord = 256 << 20

// A Batch collects records for one write. The zero value is an empty batch. It
// is not safe for concurrent use.
type Batch struct {
	buf  []byte // frames without valid headers, and endMark zeros after them
	recs []batched
}

type batched struct {
	off  int    // of its frame in buf
	size int    // of its payload
	sum  uint32 // of its payload
	kind uint32
	pos  uint64 // once appended
}

// Add adds a record, the concatenation of parts, which are copied. A record
// above [MaxRecord] is an error wrapping [ErrTooLarge] and is not added.
func (b *Batch) Add(parts ...[]byte) error { return b.add(kindRecord, parts...) }

func (b *Batch) add(kind uint32, parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		if size += len(p); size > MaxRecord || size < 0 {
			return fmt.Errorf("%w: above %d bytes", ErrTooLarge, MaxRecord)
		}
	}
	off := max(len(b.buf)-endMark, 0)
	b.buf = append(b.buf[:off], zeros[:frame.HeaderSize]...)
	var sum uint32
	for _, p := range parts {
		b.buf = append(b.buf, p...)
		sum = frame.Extend(sum, p)
	}
	pad := frame.Size(size) - frame.HeaderSize - size
	b.buf = append(b.buf, zeros[:pad+endMark]...)
	b.recs = append(b.recs, batched{off: off, size: size, sum: sum, kind: kind})
	return nil
}

var zeros [headerSize + endMark]byte

// Len returns the number of records.
func (b *Batch) Len() int { return len(b.recs) }

// Size returns the bytes that the records will take in the log.
func (b *Batch) Size() int { return max(len(b.buf)-endMark, 0) }

// Pos returns the position of the i-th record, 0 ≤ i < Len, once AppendBatch has
// returned without error.
func (b *Batch) Pos(i int) uint64 { return b.recs[i].pos }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.buf, b.recs = b.buf[:0], b.recs[:0] }
