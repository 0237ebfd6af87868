package replica

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Records of a walStore, version 1. The log below checks every record's
// checksum. Integers are little-endian. The first byte is the kind; part of the
// format: never renumber.
const (
	recEntry  = 1 // a log entry, see below
	recStable = 2 // byte 1: length k of the key; the key; the value
	recCut    = 3 // bytes 1-7 zero, 8-15 index: entries from that index on are void; 0: all
)

// A log entry:
//
//	offset  size  field
//	0       1     kind, 1
//	1       1     the engine's type of entry
//	2       1     1 if there is a time, else 0
//	3       1     zero
//	4       4     nanoseconds of the time, below 10⁹
//	8       8     index
//	16      8     term
//	24      8     seconds of the time since 1970, signed
//	32      4     length e of the extensions
//	36      e     extensions
//	36+e          data, to the end
const entryHead = 36

// putEntryHead writes the fixed part of l's record. The same entry always gives
// the same bytes.
func putEntryHead(b *[entryHead]byte, l *raft.Log) {
	*b = [entryHead]byte{0: recEntry, 1: byte(l.Type)}
	if !l.AppendedAt.IsZero() {
		b[2] = 1
		binary.LittleEndian.PutUint32(b[4:], uint32(l.AppendedAt.Nanosecond()))
		binary.LittleEndian.PutUint64(b[24:], uint64(l.AppendedAt.Unix()))
	}
	binary.LittleEndian.PutUint64(b[8:], l.Index)
	binary.LittleEndian.PutUint64(b[16:], l.Term)
	binary.LittleEndian.PutUint32(b[32:], uint32(len(l.Extensions)))
}

// parseEntry decodes a record of kind recEntry into l, whose slices become parts
// of b. Empty ones become nil.
func parseEntry(b []byte, l *raft.Log) error {
	if len(b) < entryHead {
		return fmt.Errorf("entry of %d bytes", len(b))
	}
	ext, nano := binary.LittleEndian.Uint32(b[32:]), binary.LittleEndian.Uint32(b[4:])
	sec := int64(binary.LittleEndian.Uint64(b[24:]))
	switch {
	case b[0] != recEntry || b[2] > 1 || b[3] != 0 || nano >= 1e9 || b[2] == 0 && (nano != 0 || sec != 0):
		return fmt.Errorf("entry with header %x", b[:entryHead])
	case uint64(ext) > uint64(len(b)-entryHead):
		return fmt.Errorf("entry with extensions of %d bytes in %d", ext, len(b)-entryHead)
	}
	*l = raft.Log{Index: binary.LittleEndian.Uint64(b[8:]), Term: binary.LittleEndian.Uint64(b[16:]), Type: raft.LogType(b[1])}
	if b[2] == 1 {
		l.AppendedAt = time.Unix(sec, int64(nano))
	}
	if e := b[entryHead:]; len(e) > 0 {
		if ext > 0 {
			l.Extensions = e[:ext:ext]
		}
		if data := e[ext:]; len(data) > 0 {
			l.Data = data[:len(data):len(data)]
		}
	}
	return nil
}

// appendStable appends the record of a durable value.
func appendStable(b []byte, key string, val []byte) []byte {
	b = append(b, recStable, byte(len(key)))
	b = append(b, key...)
	return append(b, val...)
}

func parseStable(b []byte) (key string, val []byte, err error) {
	if len(b) < 2 || b[0] != recStable || int(b[1]) > len(b)-2 {
		return "", nil, fmt.Errorf("value with header %x", b[:min(len(b), 8)])
	}
	k := 2 + int(b[1])
	return string(b[2:k]), b[k:], nil
}

func appendCut(b []byte, index uint64) []byte {
	b = append(b, recCut, 0, 0, 0, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint64(b, index)
}

func parseCut(b []byte) (index uint64, err error) {
	if len(b) != 16 || binary.LittleEndian.Uint64(b) != recCut {
		return 0, fmt.Errorf("cut %x", b[:min(len(b), 16)])
	}
	return binary.LittleEndian.Uint64(b[8:]), nil
}
