package hll

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

var updateGolden = flag.Bool("update", false, "write testdata anew")

// Encodings of version 1 are read for ever: testdata holds some.
func TestGolden(t *testing.T) {
	rng := newRand(8)
	hs := hashesOf(rng, 400)
	for name, b := range map[string][]byte{
		"sketch-empty":     encoding(t, sketchOf(14, nil)),
		"sketch-tokens":    encoding(t, sketchOf(14, hs[:30])),
		"sketch-registers": encoding(t, sketchOf(6, hs)),
		"exa-empty":        encoding(t, exaOf(11, Width, nil)),
		"exa-tokens":       encoding(t, exaOf(11, Width, hs[:30])),
		"exa-registers":    encoding(t, exaOf(4, Width, hs)),
		"exa-narrow":       encoding(t, exaOf(5, 7, hs)),
	} {
		file := filepath.Join("testdata", name+".hex")
		if *updateGolden {
			if err := os.WriteFile(file, append([]byte(hex.EncodeToString(b)), '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(string(bytes.TrimSpace(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: is written as %x, was %x", name, b, want)
		}
		var s Sketch
		var e Exa
		if s.UnmarshalBinary(want) != nil && e.UnmarshalBinary(want) != nil {
			t.Errorf("%s: not read any more", name)
		}
	}
}

// Decode undoes encode; what is decoded goes on like the original.
func TestRoundTrip(t *testing.T) {
	rng := newRand(9)
	for range 300 {
		hs, more := hashesOf(rng, []int{0, 1, 30, 500, 6000}[rng.IntN(5)]), hashesOf(rng, 500)
		p, d := uint8(3+rng.IntN(12)), uint8(rng.IntN(MaxWidth+1))
		e, s := exaOf(p, d, hs), sketchOf(p, hs)
		var e2 Exa
		var s2 Sketch
		if err := e2.UnmarshalBinary(encoding(t, e)); err != nil {
			t.Fatal(err)
		}
		if err := s2.UnmarshalBinary(encoding(t, s)); err != nil {
			t.Fatal(err)
		}
		for _, h := range more {
			if e.AddHash(h) != e2.AddHash(h) || s.AddHash(h) != s2.AddHash(h) {
				t.Fatal("goes on differently")
			}
		}
		if !bytes.Equal(encoding(t, e), encoding(t, &e2)) || !bytes.Equal(encoding(t, s), encoding(t, &s2)) {
			t.Fatal("goes on differently")
		}
		with, err := e.AppendBinary([]byte("before"))
		if err != nil || !bytes.Equal(with, append([]byte("before"), encoding(t, e)...)) {
			t.Fatal("AppendBinary does not append")
		}
	}
}

func TestSizes(t *testing.T) {
	rng := newRand(10)
	e, _ := NewExa(11)
	for range 1000 {
		e.AddHash(rng.Uint64())
	}
	if n := len(encoding(t, e)); n > 2550 {
		t.Errorf("1,000 items: %d bytes", n)
	}
	for range 10_000 {
		e.AddHash(rng.Uint64())
	}
	if n := len(encoding(t, e)); n > 7200 || e.SizeBytes() > 7300 {
		t.Errorf("11,000 items: %d bytes, %d in memory", n, e.SizeBytes())
	}
}

var calls int // of decode, of which not all are measured

// A decoder that takes the bytes; it fails the test on what must never happen.
func decode(t testing.TB, b []byte) (err error) {
	t.Helper()
	keep := bytes.Clone(b)
	s, e := sketchOf(9, []uint64{1, 2}), exaOf(9, Width, []uint64{1, 2})
	beforeS, beforeE := encoding(t, s), encoding(t, e)
	var m1, m2 runtime.MemStats
	calls++
	measured := calls%8 == 0 // it stops the world
	if measured {
		runtime.ReadMemStats(&m1)
	}
	errS, errE := s.UnmarshalBinary(b), e.UnmarshalBinary(b)
	if measured {
		runtime.ReadMemStats(&m2)
	}
	if got, limit := m2.TotalAlloc-m1.TotalAlloc, uint64(2*len(b)+8192+4096); got > limit { // 4 KiB for errors and the runtime
		t.Fatalf("%d bytes allocated for %d", got, len(b))
	}
	if !bytes.Equal(b, keep) {
		t.Fatal("the input is changed")
	}
	for _, err := range []error{errS, errE} {
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("error %v", err)
		}
	}
	if errS != nil && !bytes.Equal(encoding(t, s), beforeS) || errE != nil && !bytes.Equal(encoding(t, e), beforeE) {
		t.Fatal("changed by an error")
	}
	if errS == nil && !bytes.Equal(encoding(t, s), b) || errE == nil && !bytes.Equal(encoding(t, e), b) {
		t.Fatal("not the only encoding of what it encodes")
	}
	if errS == nil {
		s.Estimate()
		s.AddHash(99)
		return nil
	}
	if errE == nil {
		e.Estimate()
		e.AddHash(99)
		return nil
	}
	return errE
}

func TestHostileBytes(t *testing.T) {
	rng := newRand(11)
	hs := hashesOf(rng, 6000)
	for _, b := range [][]byte{
		encoding(t, exaOf(5, Width, nil)), encoding(t, exaOf(11, Width, hs[:40])), encoding(t, exaOf(5, Width, hs)),
		encoding(t, exaOf(4, 24, hs)), encoding(t, sketchOf(14, hs[:40])), encoding(t, sketchOf(6, hs)),
	} {
		if err := decode(t, b); err != nil {
			t.Fatal(err)
		}
		for n := range b {
			if decode(t, b[:n]) == nil {
				t.Fatalf("a prefix of %d of %d bytes passes", n, len(b))
			}
		}
		if decode(t, append(bytes.Clone(b), 0)) == nil {
			t.Fatal("a byte behind the end passes")
		}
		for i := range 8 * len(b) {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			if decode(t, c) == nil {
				t.Fatalf("flipped bit %d passes", i)
			}
		}
		// Headers that lie under a right checksum.
		for at := 4; at < headSize; at++ {
			for v := range 256 {
				c := bytes.Clone(b[:len(b)-4])
				c[at] = byte(v)
				decode(t, seal(c, 0))
			}
		}
		for range 2000 { // and bodies
			c := bytes.Clone(b[:len(b)-4])
			for range 1 + rng.IntN(3) {
				c[rng.IntN(len(c))] = byte(rng.Uint64())
			}
			decode(t, seal(c, 0))
		}
	}
	if decode(t, nil) == nil {
		t.Fatal("nothing passes")
	}
	later := encoding(t, exaOf(5, Width, nil))
	later[4] = 2
	if err := decode(t, seal(later[:len(later)-4], 0)); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
	// The largest number of tokens.
	e, _ := NewExa(24)
	for e.regs == nil && e.tokens.n < 4096 {
		e.AddHash(rng.Uint64())
	}
	if err := decode(t, encoding(t, e)); err != nil {
		t.Error(err)
	}
}

// FuzzUnmarshal: bytes are refused, or are the only encoding of a sketch.
func FuzzUnmarshal(f *testing.F) {
	rng := newRand(12)
	hs := hashesOf(rng, 500)
	f.Add(encoding(f, exaOf(4, 7, hs))[:headSize+24], false)
	for _, b := range [][]byte{encoding(f, exaOf(11, Width, hs[:20])), encoding(f, exaOf(3, Width, hs)), encoding(f, sketchOf(4, hs))} {
		f.Add(b[:len(b)-4], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed {
			b = seal(bytes.Clone(b), 0)
		}
		if len(b) > 1<<16 {
			return
		}
		decode(t, b)
	})
}

// FuzzSet: a program of additions, merges and lowerings on two sketches of each
// kind, against sets of hashes.
func FuzzSet(f *testing.F) {
	f.Add([]byte{11, 14, 0, 1, 2, 3, 200, 210, 220, 230, 240, 250})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) < 2 || len(program) > 400 {
			return
		}
		p := [2]uint8{3 + program[0]%9, 3 + program[1]%9}
		var exas [2]*Exa
		var sketches [2]*Sketch
		var sets [2][]uint64
		low := p
		for i := range 2 {
			exas[i], sketches[i] = exaOf(p[i], Width, nil), sketchOf(p[i], nil)
		}
		for i, op := range program[2:] {
			w := int(op & 1)
			switch {
			case op < 200:
				rng := newRand(uint64(op) | uint64(i)<<8)
				for range 1 << (op / 20) {
					h := hash(rng)
					exas[w].AddHash(h)
					sketches[w].AddHash(h)
					sets[w] = append(sets[w], h)
				}
			case op < 230:
				exas[w].Merge(exas[1-w])
				sketches[w].Merge(sketches[1-w])
				sets[w] = append(sets[w], sets[1-w]...)
				low[w] = min(low[w], low[1-w])
				if len(sets[w]) > 1<<14 {
					return
				}
			default:
				low[w] = max(MinPrecision, low[w]-1)
				if exas[w].Reduce(int(low[w]), Width) != nil || sketches[w].Reduce(int(low[w])) != nil {
					t.Fatal("not lowered")
				}
			}
		}
		for i := range 2 {
			if !bytes.Equal(encoding(t, exas[i]), encoding(t, exaOf(low[i], Width, sets[i]))) ||
				!bytes.Equal(encoding(t, sketches[i]), encoding(t, sketchOf(low[i], sets[i]))) {
				t.Fatal("not the sketch of its set")
			}
		}
	})
}
