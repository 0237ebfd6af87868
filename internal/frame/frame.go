package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// HeaderSize is the size in bytes of a frame's header.
	HeaderSize = 16
	// Align is what frames are padded to, in bytes.
	Align = 8
	// MaxPayload is the largest payload in bytes.
	MaxPayload = 1 << 30
)

var (
	// ErrCorrupt is returned when bytes should be a frame and are not.
	ErrCorrupt = errors.New("frame: corrupt")
	// ErrTooLarge is returned for a payload above [MaxPayload].
	ErrTooLarge = errors.New("frame: payload too large")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of p.
func Checksum(p []byte) uint32 { return crc32.Update(0, castagnoli, p) }

// Extend returns the checksum of what sum covers followed by p.
func Extend(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }

// A Salt tells the frames of one segment from those of all others.
type Salt uint64

// NewSalt mixes a store's random id with the number of a segment.
func NewSalt(id, segment uint64) Salt {
	x := id ^ (segment+1)*0x9e3779b97f4a7c15 // splitmix64's finaliser over both
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return Salt(x ^ x>>31)
}

// Size returns the bytes that a frame with a payload of n bytes takes.
func Size(n int) int { return HeaderSize + (n+Align-1)&^(Align-1) }

// A Header is what a frame says about its payload.
type Header struct {
	Len int    // of the payload, in bytes
	Tag uint32 // the caller's
	Sum uint32 // CRC-32C of the payload
}

// Put writes the header into b, which has at least [HeaderSize] bytes, for a
// frame at position pos. 0 ≤ h.Len ≤ MaxPayload, or Put panics.
func (h Header) Put(b []byte, salt Salt, pos uint64) {
	if h.Len < 0 || h.Len > MaxPayload {
		panic(fmt.Sprintf("frame: payload of %d bytes", h.Len))
	}
	binary.LittleEndian.PutUint32(b, uint32(h.Len)+1)
	binary.LittleEndian.PutUint32(b[4:], h.Tag)
	binary.LittleEndian.PutUint32(b[8:], h.Sum)
	binary.LittleEndian.PutUint32(b[12:], headerSum(b, salt, pos))
}

// headerSum covers salt, position and the first 12 bytes of b.
func headerSum(b []byte, salt Salt, pos uint64) uint32 {
	var key [28]byte
	binary.LittleEndian.PutUint64(key[:], uint64(salt))
	binary.LittleEndian.PutUint64(key[8:], pos)
	copy(key[16:], b[:12])
	return crc32.Update(0, castagnoli, key[:])
}

// ParseHeader checks and decodes the header at the start of b for position pos.
// False means that no frame begins there.
func ParseHeader(b []byte, salt Salt, pos uint64) (Header, bool) {
	if len(b) < HeaderSize {
		return Header{}, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n-1 > MaxPayload || binary.LittleEndian.Uint32(b[12:]) != headerSum(b, salt, pos) {
		return Header{}, false
	}
	return Header{Len: int(n - 1), Tag: binary.LittleEndian.Uint32(b[4:]), Sum: binary.LittleEndian.Uint32(b[8:])}, true
}

// Append appends the frame of payload, padding included, to dst.
func Append(dst []byte, salt Salt, pos uint64, tag uint32, payload []byte) ([]byte, error) {
	if len(payload) > MaxPayload {
		return dst, fmt.Errorf("%w: %d bytes, above %d", ErrTooLarge, len(payload), MaxPayload)
	}
	var head [HeaderSize]byte
	Header{Len: len(payload), Tag: tag, Sum: Checksum(payload)}.Put(head[:], salt, pos)
	dst = append(dst, head[:]...)
	dst = append(dst, payload...)
	return append(dst, padding[:Size(len(payload))-HeaderSize-len(payload)]...), nil
}

var padding [Align]byte

// Decode checks the frame at the start of b for position pos. Payload is a part
// of b; size is what the frame takes with its padding, which b may lack. An error
// wraps [ErrCorrupt].
func Decode(b []byte, salt Salt, pos uint64) (h Header, payload []byte, size int, err error) {
	h, ok := ParseHeader(b, salt, pos)
	if !ok {
		return Header{}, nil, 0, fmt.Errorf("%w: no valid header at position %d", ErrCorrupt, pos)
	}
	if h.Len > len(b)-HeaderSize {
		return Header{}, nil, 0, fmt.Errorf("%w: frame at position %d has %d bytes, %d are left", ErrCorrupt, pos, h.Len,
			len(b)-HeaderSize)
	}
	payload = b[HeaderSize : HeaderSize+h.Len : HeaderSize+h.Len]
	if sum := Checksum(payload); sum != h.Sum {
		return Header{}, nil, 0, fmt.Errorf("%w: payload at position %d has checksum %08x, want %08x", ErrCorrupt, pos, sum,
			h.Sum)
	}
	return h, payload, Size(h.Len), nil
}
