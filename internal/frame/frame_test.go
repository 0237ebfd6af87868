package frame_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/ashlar-go/ashlar/internal/frame"
)

const salt = frame.Salt(0x1234)

// build returns frames with the payloads, from position base on.
func build(t testing.TB, base uint64, payloads ...[]byte) []byte {
	t.Helper()
	var b []byte
	for i, p := range payloads {
		var err error
		if b, err = frame.Append(b, salt, base+uint64(len(b)), uint32(i), p); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// walk returns the tags that a scanner finds, and the scanner where it stopped.
func walk(b []byte, base uint64, to int64) ([]uint32, *frame.Scanner) {
	s := frame.NewScanner(bytes.NewReader(b), salt, base, 0, to)
	var tags []uint32
	for s.Next() {
		_, h, _ := s.Frame()
		tags = append(tags, h.Tag)
	}
	return tags, s
}

func TestGolden(t *testing.T) {
	got, err := frame.Append(nil, frame.NewSalt(7, 9), 4096, 3, []byte("ashlar"))
	if err != nil {
		t.Fatal(err)
	}
	// Part of the format: never change.
	const want = "07000000030000003804f6d1bf83a47f6173686c61720000"
	if hex.EncodeToString(got) != want {
		t.Errorf("Append = %x, want %s", got, want)
	}
	if s := frame.NewSalt(7, 9); uint64(s) != 0xe376a9b1a2036b72 {
		t.Errorf("NewSalt(7, 9) = %#x", uint64(s))
	}
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var payloads [][]byte
	for n := range 70 {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		payloads = append(payloads, p)
	}
	payloads = append(payloads, make([]byte, 600<<10)) // above the scanner's window
	const base = 1 << 40
	b := build(t, base, payloads...)
	if len(b)%frame.Align != 0 {
		t.Errorf("frames take %d bytes", len(b))
	}
	s := frame.NewScanner(bytes.NewReader(b), salt, base, 0, int64(len(b)))
	at := 0
	for i, p := range payloads {
		if !s.Next() {
			t.Fatalf("frame %d: %v", i, s.Stop())
		}
		off, h, got := s.Frame()
		if off != int64(at) || h.Tag != uint32(i) || h.Len != len(p) || !bytes.Equal(got, p) {
			t.Fatalf("frame %d = %d %+v", i, off, h)
		}
		h2, got, size, err := frame.Decode(b[at:], salt, base+uint64(at))
		if err != nil || h2 != h || !bytes.Equal(got, p) || size != frame.Size(len(p)) {
			t.Fatalf("Decode of frame %d = %+v, %d, %v", i, h2, size, err)
		}
		at += size
	}
	if s.Next() || s.Stop() != frame.Full || s.Offset() != int64(len(b)) {
		t.Errorf("stopped %v at %d", s.Stop(), s.Offset())
	}
}

// TestStops makes a scanner stop for each of its reasons.
func TestStops(t *testing.T) {
	three := func() []byte {
		return build(t, 0, []byte("first"), bytes.Repeat([]byte("second"), 50), []byte("third"))
	}
	one := frame.Size(5)
	two := one + frame.Size(300)
	for _, c := range []struct {
		name string
		edit func([]byte) []byte
		n    int
		stop frame.Stop
	}{
		{"whole", func(b []byte) []byte { return b }, 3, frame.Full},
		{"zeros behind", func(b []byte) []byte { return append(b, make([]byte, 300<<10)...) }, 3, frame.Clean},
		{"end mark, then stale bytes", func(b []byte) []byte {
			return append(append(b, make([]byte, 8)...), bytes.Repeat([]byte{7}, 100)...)
		}, 3, frame.Clean},
		{"stale bytes behind", func(b []byte) []byte { return append(b, bytes.Repeat([]byte{7}, 100)...) }, 3, frame.Torn},
		{"payload cut short", func(b []byte) []byte { return b[:len(b)-6] }, 2, frame.Torn},
		{"header cut short", func(b []byte) []byte { return b[:two+9] }, 2, frame.Torn},
		{"first frame lost", func(b []byte) []byte { clear(b[:one]); return b }, 0, frame.Damaged},
		{"header of the second", func(b []byte) []byte { b[one+2] ^= 1; return b }, 1, frame.Damaged},
		{"payload of the second", func(b []byte) []byte { b[one+200] ^= 1; return b }, 1, frame.Damaged},
		{"payload of the last", func(b []byte) []byte { b[two+17] ^= 1; return b }, 2, frame.Torn},
		{"nothing", func(b []byte) []byte { return nil }, 0, frame.Full},
	} {
		b := c.edit(three())
		tags, s := walk(b, 0, int64(len(b)))
		if len(tags) != c.n || s.Stop() != c.stop {
			t.Errorf("%s: %d frames, then %v; want %d, then %v", c.name, len(tags), s.Stop(), c.n, c.stop)
		}
		if s.Next() {
			t.Errorf("%s: Next goes on after a stop", c.name)
		}
		if c.stop == frame.Damaged {
			from, to := s.Resume()
			if !s.Next() || from != []int64{0, int64(one)}[c.n] {
				t.Errorf("%s: Resume = %d, %d and no frame behind", c.name, from, to)
			}
		}
	}
	eio := errors.New("input/output error")
	s := frame.NewScanner(failing{eio}, salt, 0, 0, 1<<20)
	if s.Next() || s.Stop() != frame.Failed || !errors.Is(s.Err(), eio) {
		t.Errorf("stopped %v, %v", s.Stop(), s.Err())
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// TestOnlyHere: frames of another segment, of another place, or inside a payload are
// none.
func TestOnlyHere(t *testing.T) {
	b := build(t, 0, []byte("x"), []byte("y"))
	if tags, s := walk(b, 8, int64(len(b))); len(tags) != 0 || s.Stop() != frame.Torn {
		t.Errorf("at another position: %v, %v", tags, s.Stop())
	}
	s := frame.NewScanner(bytes.NewReader(b), salt+1, 0, 0, int64(len(b)))
	if s.Next() || s.Stop() != frame.Torn {
		t.Errorf("with another salt: %v", s.Stop())
	}
	outer := build(t, 0, slices.Concat(b, b))
	outer[0] ^= 1
	if tags, s := walk(outer, 0, int64(len(outer))); len(tags) != 0 || s.Stop() != frame.Torn {
		t.Errorf("frames inside a payload: %v, %v", tags, s.Stop())
	}
	seen := map[frame.Salt]bool{}
	for id := range uint64(100) {
		for n := range uint64(100) {
			seen[frame.NewSalt(id, n)] = true
		}
	}
	if len(seen) != 10000 {
		t.Errorf("%d salts of 10,000 segments", len(seen))
	}
}

func TestLimits(t *testing.T) {
	if _, err := frame.Append(nil, salt, 0, 0, make([]byte, frame.MaxPayload+1)); !errors.Is(err, frame.ErrTooLarge) {
		t.Errorf("Append = %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Put took a negative length")
		}
	}()
	frame.Header{Len: -1}.Put(make([]byte, 16), salt, 0)
}

func TestDecodeErrors(t *testing.T) {
	b := build(t, 0, []byte("payload"))
	for n := range len(b) - 1 { // the padding may be missing
		if _, _, _, err := frame.Decode(b[:n], salt, 0); (err == nil) != (n >= 23) || err != nil && !errors.Is(err, frame.ErrCorrupt) {
			t.Errorf("Decode of %d bytes: %v", n, err)
		}
	}
	for i := range 23 {
		for bit := range 8 {
			c := slices.Clone(b)
			c[i] ^= 1 << bit
			if _, _, _, err := frame.Decode(c, salt, 0); !errors.Is(err, frame.ErrCorrupt) {
				t.Errorf("Decode with byte %d bit %d flipped: %v", i, bit, err)
			}
		}
	}
}

// FuzzScanner walks any bytes. A scanner ends, yields only what Append would have
// written there, and takes memory for what is in the file, not for what a length
// claims.
func FuzzScanner(f *testing.F) {
	f.Add(build(f, 0, []byte("a"), nil, bytes.Repeat([]byte("b"), 100)), int64(1000))
	f.Add([]byte{0xff, 0xff, 0xff, 0x3f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, int64(1<<40))
	f.Add(make([]byte, 64), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, to int64) {
		// The range may go beyond the file, but not without end.
		to = min(to, int64(len(b))+1<<20)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := frame.NewScanner(bytes.NewReader(b), salt, 0, 0, to)
		last := int64(-1)
		for {
			for s.Next() {
				off, h, p := s.Frame()
				if off <= last || off%frame.Align != 0 {
					t.Fatalf("frame at %d after %d", off, last)
				}
				last = off
				want, err := frame.Append(nil, salt, uint64(off), h.Tag, p)
				if err != nil || !bytes.Equal(want[:frame.HeaderSize+h.Len], b[off:off+int64(frame.HeaderSize+h.Len)]) {
					t.Fatalf("frame at %d is not what Append writes", off)
				}
			}
			if s.Stop() != frame.Damaged {
				break
			}
			s.Resume()
		}
		if s.Stop() == frame.Failed {
			t.Fatal(s.Err())
		}
		runtime.ReadMemStats(&after)
		if d := after.TotalAlloc - before.TotalAlloc; d > 4<<20+4*uint64(len(b)) {
			t.Fatalf("%d bytes allocated for %d bytes", d, len(b))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{64, 1024, 16 << 10} {
		b.Run(fmt.Sprintf("size=%d", n), func(b *testing.B) {
			p, buf := make([]byte, n), []byte(nil)
			b.SetBytes(int64(n))
			for b.Loop() {
				buf, _ = frame.Append(buf[:0], salt, 64, 1, p)
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	for _, n := range []int{64, 1024, 16 << 10} {
		b.Run(fmt.Sprintf("size=%d", n), func(b *testing.B) {
			var data []byte
			for len(data) < 1<<20 {
				data, _ = frame.Append(data, salt, uint64(len(data)), 1, make([]byte, n))
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if tags, s := walk(data, 0, int64(len(data))); len(tags) == 0 || s.Stop() != frame.Full {
					b.Fatal(s.Stop())
				}
			}
		})
	}
}

var _ io.ReaderAt = failing{}
