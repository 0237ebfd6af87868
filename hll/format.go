package hll

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"
)

// Encoding, version 1. Integers are little-endian.
//
//	offset  size  field
//	0       4     magic "HLL\x00"
//	4       1     version, 1
//	5       1     kind: 1 Sketch, 2 Exa
//	6       1     precision p
//	7       1     width d; 0 for a Sketch
//	8       4     number of tokens plus one; 0 for registers
//
// then the registers, as they are in memory: a Sketch's of 6 bits, an Exa's of
// 8+d, packed from the lowest bit up. Or the tokens in order, each as the distance
// of its low bits to those of the token before, Rice-coded (quotient by 2^r in
// unary, then r bits), and its zeros in unary: as many ones, then a zero. r
// follows from the number of tokens. Bits fill bytes from the lowest up; what is
// left of the last byte is zero. At the end the CRC-32C of everything before, 4
// bytes. Part of the format: never renumber.
const (
	magic   = "HLL\x00"
	version = 1

	kindSketch = 1
	kindExa    = 2

	headSize = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHead(b []byte, kind, p, d byte, tokens int) []byte {
	b = append(b, magic...)
	b = append(b, version, kind, p, d)
	return binary.LittleEndian.AppendUint32(b, uint32(tokens))
}

// seal appends the checksum of what was appended behind the first n bytes.
func seal(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// riceBits returns r for n tokens: the distances' mean is 2^tokenBits/n.
func riceBits(n int) int { return max(0, tokenBits-bits.Len(uint(n))) }

type bitWriter struct {
	b    []byte
	acc  uint64
	used int
}

func (w *bitWriter) put(v uint64, n int) {
	w.acc |= v << w.used
	for w.used += n; w.used >= 8; w.used -= 8 {
		w.b = append(w.b, byte(w.acc))
		w.acc >>= 8
	}
}

func (w *bitWriter) unary(n int) {
	for ; n >= 32; n -= 32 {
		w.put(1<<32-1, 32)
	}
	w.put(1<<n-1, n+1)
}

func (w *bitWriter) end() []byte {
	if w.used > 0 {
		w.put(0, 8-w.used)
	}
	return w.b
}

func (t *tokens) appendTo(b []byte) []byte {
	all := make([]uint32, 0, t.n)
	for _, tok := range t.slots {
		if tok != 0 {
			all = append(all, tok)
		}
	}
	slices.Sort(all)
	w, r, before := bitWriter{b: b}, riceBits(t.n), uint32(0)
	for _, tok := range all {
		distance := tok>>6 - before
		before = tok >> 6
		w.unary(int(distance >> r))
		w.put(uint64(distance&(1<<r-1)), r)
		w.unary(int(tok&63) - 1)
	}
	return w.end()
}

type bitReader struct {
	b  []byte
	at int // bits
}

// bit returns the next bit, and 0 behind the end.
func (r *bitReader) bit() int {
	if r.at >= 8*len(r.b) {
		r.at++
		return 0
	}
	v := r.b[r.at/8] >> (r.at % 8) & 1
	r.at++
	return int(v)
}

func (r *bitReader) bits(n int) (v uint32) {
	for i := range n {
		v |= uint32(r.bit()) << i
	}
	return v
}

func (r *bitReader) unary() (n uint32) {
	for r.bit() == 1 {
		n++
	}
	return n
}

// parseTokens reads n tokens and nothing else.
func parseTokens(b []byte, n, limit int) (tokens, error) {
	r := riceBits(n)
	if n > limit || n > 8*len(b)/(r+2) {
		return tokens{}, fmt.Errorf("%w: %d tokens in %d bytes, limit %d", ErrCorrupt, n, len(b), limit)
	}
	t, in, before := tokens{}, bitReader{b: b}, uint32(0)
	if n > 0 {
		t.slots = make([]uint32, slotsFor(n))
	}
	var last uint32
	for i := range n {
		q := in.unary()
		if q > 1<<tokenBits>>r {
			return tokens{}, fmt.Errorf("%w: token %d", ErrCorrupt, i)
		}
		low := before + q<<r + in.bits(r)
		zeros := in.unary()
		tok := low<<6 | (zeros + 1)
		if low > tokenMask || zeros > maxZeros || i > 0 && tok <= last || in.at > 8*len(b) {
			return tokens{}, fmt.Errorf("%w: token %d", ErrCorrupt, i)
		}
		before, last = low, tok
		t.slots[t.find(tok)] = tok
		t.n++
	}
	for in.at%8 != 0 {
		if in.bit() != 0 {
			return tokens{}, fmt.Errorf("%w: bits behind the last token", ErrCorrupt)
		}
	}
	if in.at != 8*len(b) {
		return tokens{}, fmt.Errorf("%w: %d bytes behind the last token", ErrCorrupt, len(b)-in.at/8)
	}
	return t, nil
}

// open checks all but what is between head and checksum, which it returns, with
// the number of tokens, or -1 for registers.
func open(b []byte, kind byte) (p, d byte, n int, body []byte, err error) {
	switch {
	case len(b) < headSize+4:
		return 0, 0, 0, nil, fmt.Errorf("%w: %d bytes, below %d", ErrCorrupt, len(b), headSize+4)
	case string(b[:4]) != magic:
		return 0, 0, 0, nil, fmt.Errorf("%w: magic %q", ErrCorrupt, b[:4])
	case b[4] != version:
		return 0, 0, 0, nil, fmt.Errorf("%w: %d", ErrVersion, b[4])
	case b[5] != kind:
		return 0, 0, 0, nil, fmt.Errorf("%w: kind %d, want %d", ErrCorrupt, b[5], kind)
	}
	end := len(b) - 4
	if got, want := crc32.Checksum(b[:end], castagnoli), binary.LittleEndian.Uint32(b[end:]); got != want {
		return 0, 0, 0, nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	p, d = b[6], b[7]
	if p < MinPrecision || p > MaxPrecision || d > MaxWidth || kind == kindSketch && d != 0 {
		return 0, 0, 0, nil, fmt.Errorf("%w: precision %d, width %d", ErrCorrupt, p, d)
	}
	return p, d, int(int64(binary.LittleEndian.Uint32(b[8:])) - 1), b[headSize:end], nil
}

// AppendBinary appends the sketch's encoding. Sketches of one set have equal ones.
// Small sets take about 20 bits for each item.
func (s *Sketch) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	if s.regs == nil {
		return seal(s.tokens.appendTo(appendHead(b, kindSketch, s.p, 0, s.tokens.n+1)), n), nil
	}
	return seal(append(appendHead(b, kindSketch, s.p, 0, 0), s.regs[:sketchBytes(s.p)]...), n), nil
}

// MarshalBinary returns the sketch's encoding.
func (s *Sketch) MarshalBinary() ([]byte, error) {
	return s.AppendBinary(make([]byte, 0, headSize+4+max(3*s.tokens.n, len(s.regs))))
}

// UnmarshalBinary replaces the sketch by the encoded one, whatever its precision.
// On an error, wrapping [ErrCorrupt] or [ErrVersion], it stays as it was. The
// bytes are not kept.
func (s *Sketch) UnmarshalBinary(b []byte) error {
	p, _, n, body, err := open(b, kindSketch)
	if err != nil {
		return err
	}
	size := sketchBytes(p)
	if n >= 0 {
		t, err := parseTokens(body, n, tokenLimit(size))
		if err != nil {
			return err
		}
		*s = Sketch{p: p, tokens: t}
		return nil
	}
	if len(body) != size {
		return fmt.Errorf("%w: %d bytes of registers, want %d", ErrCorrupt, len(body), size)
	}
	t := Sketch{p: p, regs: append(make([]byte, 0, size+pad), body...)[:size+pad]}
	if r := t.greatest(); r > 65-int(p) {
		return fmt.Errorf("%w: a register of %d", ErrCorrupt, r)
	}
	*s = t
	return nil
}

func (s *Sketch) greatest() (r int) {
	for i := range 1 << s.p {
		r = max(r, int(s.register(i)))
	}
	return r
}

// AppendBinary appends the sketch's encoding. Sketches of one set have equal ones.
// Small sets take about 20 bits for each item.
func (s *Exa) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	if s.regs == nil {
		return seal(s.tokens.appendTo(appendHead(b, kindExa, s.p, s.d, s.tokens.n+1)), n), nil
	}
	return seal(append(appendHead(b, kindExa, s.p, s.d, 0), s.regs[:exaBytes(s.p, s.d)]...), n), nil
}

// MarshalBinary returns the sketch's encoding.
func (s *Exa) MarshalBinary() ([]byte, error) {
	return s.AppendBinary(make([]byte, 0, headSize+4+max(3*s.tokens.n, len(s.regs))))
}

// UnmarshalBinary replaces the sketch by the encoded one, whatever its precision
// and width. On an error, wrapping [ErrCorrupt] or [ErrVersion], it stays as it
// was. The bytes are not kept.
func (s *Exa) UnmarshalBinary(b []byte) error {
	p, d, n, body, err := open(b, kindExa)
	if err != nil {
		return err
	}
	size := exaBytes(p, d)
	if n >= 0 {
		t, err := parseTokens(body, n, tokenLimit(size))
		if err != nil {
			return err
		}
		*s = Exa{p: p, d: d, tokens: t}
		return nil
	}
	if len(body) != size {
		return fmt.Errorf("%w: %d bytes of registers, want %d", ErrCorrupt, len(body), size)
	}
	t := Exa{p: p, d: d, regs: append(make([]byte, 0, size+pad), body...)[:size+pad]}
	for i := range 1 << p {
		if r := t.register(i); !possible(r, p, d) {
			return fmt.Errorf("%w: register %d is %x", ErrCorrupt, i, r)
		}
	}
	*s = t
	return nil
}

// possible tells whether a register can come about: u is an update that there is,
// update 0 is remembered as there, and nothing below it.
func possible(r uint64, p, d byte) bool {
	u, seen := r>>d, r&(1<<d-1)
	switch {
	case u == 0:
		return seen == 0
	case u > (65-uint64(p)-tBits)<<tBits:
		return false
	case u > uint64(d):
		return true
	}
	return seen<<u&(1<<d-1) == 0 && seen>>(uint64(d)-u)&1 == 1
}
