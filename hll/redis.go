package hll

import (
	"encoding/binary"
	"fmt"
)

// Redis' encoding, of which the header is
//
//	offset  size  field
//	0       4     magic "HYLL"
//	4       1     0 dense, 1 sparse
//	5       3     zero
//	8       8     number of items at the last count; the highest bit says "count again"
//
// then, dense, the 16,384 registers as a [Sketch] has them; sparse, runs of equal
// registers: 00nnnnnn n+1 zeros, 01nnnnnn nnnnnnnn n+1 zeros (high byte first),
// 1vvvvvnn n+1 registers of v+1.
const (
	redisMagic     = "HYLL"
	redisPrecision = 14
	redisHead      = 16
	redisSparseMax = 3000 // above, Redis itself goes over to the dense form
)

// AppendRedis appends the sketch as Redis stores it: SET a key to these bytes and
// PFCOUNT and PFMERGE work on it. A precision above 14 is lowered on the way; from
// registers of one below it is [ErrIncompatible]. Items of both sides are only
// counted once if they were added here under [RedisHash].
func (s *Sketch) AppendRedis(b []byte) ([]byte, error) {
	switch {
	case s.regs == nil:
		t := &Sketch{p: redisPrecision}
		t.toRegisters()
		t.addAll(&s.tokens)
		s = t
	case s.p < redisPrecision:
		return nil, fmt.Errorf("%w: %d is below Redis' %d", ErrIncompatible, s.p, redisPrecision)
	case s.p > redisPrecision:
		s = s.lowered(redisPrecision)
	}
	n := len(b)
	b = append(b, redisMagic...)
	b = append(b, 1, 0, 0, 0)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0x80)
	for i := 0; i < 1<<redisPrecision; {
		v, run := s.register(i), 1
		for i+run < 1<<redisPrecision && s.register(i+run) == v {
			run++
		}
		i += run
		for run > 0 {
			var k int
			switch {
			case v > 0:
				k = min(run, 4)
				b = append(b, 0x80|byte(v-1)<<2|byte(k-1))
			case run <= 64:
				k = run
				b = append(b, byte(k-1))
			default:
				k = run
				b = append(b, 0x40|byte((k-1)>>8), byte(k-1))
			}
			run -= k
		}
		if v > 32 || len(b)-n > redisSparseMax {
			b = append(b[:n+redisHead], s.regs[:sketchBytes(redisPrecision)]...)
			b[n+4] = 0
			break
		}
	}
	return b, nil
}

// ParseRedis returns the sketch, of precision 14, that Redis stores as these bytes
// (GET of the key), or an error that wraps [ErrCorrupt].
func ParseRedis(b []byte) (*Sketch, error) {
	if len(b) < redisHead || string(b[:4]) != redisMagic {
		return nil, fmt.Errorf("%w: no HyperLogLog of Redis", ErrCorrupt)
	}
	size, body := sketchBytes(redisPrecision), b[redisHead:]
	s := &Sketch{p: redisPrecision}
	switch b[4] {
	case 0:
		if len(body) != size {
			return nil, fmt.Errorf("%w: %d bytes of registers, want %d", ErrCorrupt, len(body), size)
		}
		s.regs = append(make([]byte, 0, size+pad), body...)[:size+pad]
		if r := s.greatest(); r > 65-redisPrecision {
			return nil, fmt.Errorf("%w: a register of %d", ErrCorrupt, r)
		}
		return s, nil
	case 1:
	default:
		return nil, fmt.Errorf("%w: Redis' encoding %d", ErrCorrupt, b[4])
	}
	// Runs are short to say: they are added up before there is a register.
	for range 2 {
		at := 0
		for in := body; len(in) > 0; {
			op, run, v := in[0], 0, uint64(0)
			in = in[1:]
			switch {
			case op&0x80 != 0:
				run, v = int(op&3)+1, uint64(op>>2&31)+1
			case op&0x40 == 0:
				run = int(op) + 1
			case len(in) == 0:
				return nil, fmt.Errorf("%w: half a run", ErrCorrupt)
			default:
				run = int(op&63)<<8 + int(in[0]) + 1
				in = in[1:]
			}
			if at+run > 1<<redisPrecision {
				return nil, fmt.Errorf("%w: runs of more than %d registers", ErrCorrupt, 1<<redisPrecision)
			}
			for ; s.regs != nil && v > 0 && run > 0; run-- {
				s.set(at, v)
				at++
			}
			at += run
		}
		if at != 1<<redisPrecision {
			return nil, fmt.Errorf("%w: runs of %d registers, want %d", ErrCorrupt, at, 1<<redisPrecision)
		}
		if s.regs == nil {
			s.toRegisters()
		}
	}
	return s, nil
}

// register returns register i.
func (s *Sketch) register(i int) uint64 {
	return uint64(binary.LittleEndian.Uint16(s.regs[6*i/8:])) >> (6 * i % 8) & 63
}

func (s *Sketch) set(i int, v uint64) {
	b, shift := s.regs[6*i/8:][:2], 6*i%8
	x := uint64(binary.LittleEndian.Uint16(b))
	binary.LittleEndian.PutUint16(b, uint16(x&^(63<<shift)|v<<shift))
}
