package ratelimit

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// Snapshot, version 1. Integers are little-endian.
//
//	offset  size  field
//	0       4     magic "RLM\x00"
//	4       1     version, 1
//	5       1     policy: 'g' GCRA, 'f' fixed window, 'l' sliding log, 'c' sliding counter
//	6       2     zero
//	8       24    the policy's three numbers
//	32      16    the secret of the keys' hash
//	48      8     when it was taken, nanoseconds since 1970
//	56      8     the same in the limiter's ticks
//	64      4     words of memory for each key
//	68      4     keys
//	72      …     each key: hash (8), word (8), memory (4 for each word)
//
// and at the end the CRC-32C of everything before, 4 bytes. Part of the format: never
// renumber.
const (
	magic   = "RLM\x00"
	version = 1
	headLen = 72
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBinary appends a snapshot of all keys that are not as good as forgotten, for
// Restore in the next process. Requests that come meanwhile are in it or not.
func (l *Limiter) AppendBinary(b []byte) ([]byte, error) {
	le, begin := binary.LittleEndian, len(b)
	now := l.now()
	wall := time.Now()
	if l.clock != nil {
		wall = l.clock()
	}
	kind, numbers := l.rule.name()
	b = append(b, magic...)
	b = append(b, version, kind, 0, 0)
	for _, n := range numbers {
		b = le.AppendUint64(b, uint64(n))
	}
	b = le.AppendUint64(le.AppendUint64(b, l.secret[0]), l.secret[1])
	b = le.AppendUint64(le.AppendUint64(b, uint64(wall.UnixNano())), uint64(now))
	b = le.AppendUint32(b, uint32(l.rule.words()))
	b = le.AppendUint32(b, 0)
	keys := 0
	l.store.each(now, func(h uint64, word int64, mem []uint32) {
		b = le.AppendUint64(le.AppendUint64(b, h), uint64(word))
		for _, m := range mem {
			b = le.AppendUint32(b, m)
		}
		keys++
	})
	le.PutUint32(b[begin+68:], uint32(keys))
	return le.AppendUint32(b, crc32.Checksum(b[begin:], castagnoli)), nil
}

// MarshalBinary returns a snapshot, as AppendBinary does.
func (l *Limiter) MarshalBinary() ([]byte, error) { return l.AppendBinary(nil) }

// Restore returns a limiter with a snapshot's keys, as far as time has not made them
// as good as forgotten: time goes on from when the snapshot was taken, by the wall
// clock. The policy has to be the snapshot's, or the error is [ErrIncompatible]. Of
// more keys than Options.MaxKeys some are left out. Damage is [ErrCorrupt].
func Restore(b []byte, p Policy, opts *Options) (*Limiter, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < headLen+4:
		return nil, fmt.Errorf("%w: %d bytes, below %d", ErrCorrupt, len(b), headLen+4)
	case string(b[:4]) != magic:
		return nil, fmt.Errorf("%w: magic %q", ErrCorrupt, b[:4])
	case b[4] != version:
		return nil, fmt.Errorf("%w: %d", ErrVersion, b[4])
	}
	end := len(b) - 4
	if got, want := crc32.Checksum(b[:end], castagnoli), le.Uint32(b[end:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	l, err := New(p, opts)
	if err != nil {
		return nil, err
	}
	kind, numbers := l.rule.name()
	same := b[5] == kind && int(le.Uint32(b[64:])) == l.rule.words()
	for i, n := range numbers {
		same = same && int64(le.Uint64(b[8+8*i:])) == n
	}
	if !same {
		return nil, fmt.Errorf("%w: it is not of %+v", ErrIncompatible, p)
	}
	size := 16 + 4*l.rule.words()
	body := b[headLen:end]
	if keys := int64(le.Uint32(b[68:])); keys*int64(size) != int64(len(body)) || b[6] != 0 || b[7] != 0 {
		return nil, fmt.Errorf("%w: %d keys in %d bytes", ErrCorrupt, keys, len(body))
	}
	l.secret = [2]uint64{le.Uint64(b[32:]), le.Uint64(b[40:])}
	// The limiter's time goes on from the snapshot's, later by what has passed since.
	at := int64(le.Uint64(b[56:]))
	if at < 1 || at > lastTick {
		return nil, fmt.Errorf("%w: taken at %d", ErrCorrupt, at)
	}
	wall := time.Now()
	if l.clock != nil {
		wall = l.clock()
	}
	passed := max(0, ticks(wall.Sub(time.Unix(0, int64(le.Uint64(b[48:]))))))
	now := at + min(passed, lastTick-at)
	l.epoch.Store(&epoch{wall, now})
	mem := make([]uint32, l.rule.words())
	for ; len(body) > 0; body = body[size:] {
		h, word := le.Uint64(body), int64(le.Uint64(body[8:]))
		for i := range mem {
			mem[i] = le.Uint32(body[16+4*i:])
		}
		// Words may be ahead of the clock, where AllowAt was.
		if h == 0 || !l.rule.possible(word, mem, lastTick) {
			return nil, fmt.Errorf("%w: key %016x", ErrCorrupt, h)
		}
		if l.rule.fades(word) > now {
			l.store.put(h, now, word, mem)
		}
	}
	return l, nil
}
