package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/internal/frame"
)

const (
	magic      = "ASHLWAL\x00"
	version    = 1
	headerSize = 512 // one sector: torn as a whole or not at all

	// firstPosition is that of the first frame of a new log.
	firstPosition = headerSize

	// endMark zero bytes follow the last frame of a write, so that in a recycled
	// segment too the end is zeros.
	endMark = 8
)

// The kinds of frames. Part of the format: never renumber.
const (
	kindRecord = 1
	kindCut    = 2
	kindHead   = 3
	kindMark   = 4
)

const (
	kindBits   = 4
	lagUnknown = 1<<(32-kindBits) - 1
)

// makeTag returns the tag of a frame at pos, written while all before durable
// was durable.
func makeTag(kind uint32, pos, durable uint64) uint32 {
	return kind | uint32(min((pos-durable)/frame.Align, lagUnknown))<<kindBits
}

// splitTag undoes makeTag. Durable is 0 where the tag does not say.
func splitTag(tag uint32, pos uint64) (kind uint32, durable uint64) {
	lag := uint64(tag >> kindBits)
	if lag == lagUnknown || lag*frame.Align > pos {
		return tag & (1<<kindBits - 1), 0
	}
	return tag & (1<<kindBits - 1), pos - lag*frame.Align
}

type header struct {
	id, num, base uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h header) append(b []byte) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, h.id)
	b = binary.LittleEndian.AppendUint64(b, h.num)
	b = binary.LittleEndian.AppendUint64(b, h.base)
	b = append(b, make([]byte, 20)...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, make([]byte, headerSize-64)...)
}

// parseHeader decodes the header of segment num. Ok is false where there is no
// valid one; err is set only for a valid one of another version.
func parseHeader(b []byte, num uint64) (h header, ok bool, err error) {
	if len(b) < headerSize || string(b[:8]) != magic ||
		crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return header{}, false, nil
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return header{}, false, fmt.Errorf("%w: segment %d has version %d, this program knows %d", ErrVersion, num, v, version)
	}
	h = header{
		id:   binary.LittleEndian.Uint64(b[16:]),
		num:  binary.LittleEndian.Uint64(b[24:]),
		base: binary.LittleEndian.Uint64(b[32:]),
	}
	if h.num != num || h.base < firstPosition || h.base%frame.Align != 0 {
		return header{}, false, nil
	}
	return h, true, nil
}

func segmentName(num uint64) string { return fmt.Sprintf("%016x.wal", num) }

func parseName(name string) (num uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, ".wal")
	if !ok || len(hex) != 16 {
		return 0, false
	}
	num, err := strconv.ParseUint(hex, 16, 64)
	return num, err == nil && segmentName(num) == name && num > 0
}
