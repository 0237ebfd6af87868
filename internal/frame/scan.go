package frame

import (
	"errors"
	"fmt"
	"io"
)

// A Stop says why a [Scanner] found no further frame.
type Stop int

// The reasons to stop.
const (
	Full    Stop = iota + 1 // the range ends where the last frame ends
	Clean                   // Align zeros where a header would begin, and no frame after them
	Torn                    // bytes that are no valid frame, and none after them
	Damaged                 // bytes that are no valid frame, and a valid one after them
	Failed                  // reading failed: see Err
)

// String returns the reason as a word.
func (s Stop) String() string {
	switch s {
	case Full:
		return "full"
	case Clean:
		return "clean"
	case Torn:
		return "torn"
	case Damaged:
		return "damaged"
	case Failed:
		return "failed"
	}
	return fmt.Sprintf("Stop(%d)", int(s))
}

// window is how many bytes a Scanner reads at once. A larger frame makes it
// read that frame at once, after its header was checked.
const window = 256 << 10

// A Scanner walks the frames in the range [from, to) of a file. Set it up with
// [NewScanner]. It is not safe for concurrent use.
type Scanner struct {
	r        io.ReaderAt
	salt     Salt
	base     uint64
	next, to int64 // where the next frame should begin; the end of the range

	buf    []byte // bytes of the file from bufOff on
	bufOff int64

	off     int64
	head    Header
	payload []byte

	stop   Stop
	resume int64 // the valid frame after damage
	err    error
}

// NewScanner returns a scanner for the frames of segment salt in the bytes
// [from, to) of r, where the frame at offset off has the position base+off.
// Frames begin at from and at multiples of [Align] after it.
func NewScanner(r io.ReaderAt, salt Salt, base uint64, from, to int64) *Scanner {
	return &Scanner{r: r, salt: salt, base: base, next: from, to: to}
}

// Next reads the next frame. False means there is none: Stop says why.
func (s *Scanner) Next() bool {
	if s.stop != 0 {
		return false
	}
	if s.next >= s.to {
		s.stop = Full
		return false
	}
	ok, zero := s.at(s.next)
	if ok {
		s.next += int64(Size(s.head.Len))
		return true
	}
	if s.err == nil {
		s.resume = s.find(s.next + Align)
	}
	switch {
	case s.err != nil:
		s.stop = Failed
	case s.resume < s.to:
		s.stop = Damaged
	case zero:
		s.stop = Clean
	default:
		s.stop = Torn
	}
	return false
}

// Resume makes a scanner that stopped with [Damaged] go on at the next valid
// frame. It returns the damaged range.
func (s *Scanner) Resume() (from, to int64) {
	if s.stop != Damaged {
		panic("frame: Resume without damage")
	}
	from, s.next, s.stop = s.next, s.resume, 0
	return from, s.next
}

// Frame returns the frame that Next found: its offset in the file, its header
// and its payload, which is valid until the next call of Next.
func (s *Scanner) Frame() (off int64, h Header, payload []byte) { return s.off, s.head, s.payload }

// Offset returns where the next frame begins or should begin: after Next
// returned false, the end of the last frame.
func (s *Scanner) Offset() int64 { return s.next }

// Stop returns why Next returned false, and 0 before.
func (s *Scanner) Stop() Stop { return s.stop }

// Err returns the error of reading, if Stop is [Failed].
func (s *Scanner) Err() error { return s.err }

// at tries the frame at off. Zero reports that the first Align bytes are zero, as
// far as the range goes: a writer into recycled space ends with so many.
func (s *Scanner) at(off int64) (ok, zero bool) {
	b := s.bytes(off, HeaderSize)
	zero = true
	for _, c := range b[:min(len(b), Align)] {
		zero = zero && c == 0
	}
	h, ok := ParseHeader(b, s.salt, s.base+uint64(off))
	if !ok || int64(h.Len) > s.to-off-HeaderSize {
		return false, zero && s.err == nil
	}
	b = s.bytes(off, HeaderSize+h.Len)
	if len(b) < HeaderSize+h.Len {
		return false, false
	}
	payload := b[HeaderSize : HeaderSize+h.Len : HeaderSize+h.Len]
	if Checksum(payload) != h.Sum {
		return false, false
	}
	s.off, s.head, s.payload = off, h, payload
	return true, false
}

// find returns the offset of the first valid frame at or after off in steps of
// Align, or s.to. Each step costs a comparison where the bytes are zero, and
// else a checksum of 28 bytes.
func (s *Scanner) find(off int64) int64 {
	for ; off+HeaderSize <= s.to; off += Align {
		b := s.bytes(off, HeaderSize)
		if s.err != nil || len(b) < HeaderSize {
			break
		}
		if b[0]|b[1]|b[2]|b[3] == 0 {
			continue
		}
		if ok, _ := s.at(off); ok {
			return off
		}
	}
	return s.to
}

// bytes returns the n bytes at off, fewer at the end of the range or file. They
// are valid until the next call.
func (s *Scanner) bytes(off int64, n int) []byte {
	if left := s.to - off; int64(n) > left {
		n = int(max(left, 0))
	}
	if i := off - s.bufOff; i >= 0 && i+int64(n) <= int64(len(s.buf)) {
		return s.buf[i : i+int64(n)]
	}
	want := int(min(int64(max(n, window)), s.to-off))
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	got, err := s.r.ReadAt(s.buf[:want], off)
	s.buf, s.bufOff = s.buf[:got], off
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return s.buf[:min(n, got)]
}
