package cms

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

var updateGolden = flag.Bool("update", false, "write testdata anew")

func encoding(t testing.TB, s interface{ MarshalBinary() ([]byte, error) }) []byte {
	t.Helper()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func someSketch(n int) *Sketch {
	rng := newRand(11)
	s, _ := NewSize(7, 3)
	for range n {
		s.AddHash(rng.Uint64(), rng.Uint32N(100))
	}
	return s
}

func someTop[K Key](k, n int) *TopK[K] {
	rng := newRand(12)
	top, _ := NewTopK[K](k, k*tableBytes[K]()+minCells*cellBytes)
	for range n {
		top.Add(key[K](uint64(rng.ExpFloat64()*20)), 1+rng.Uint32N(3))
	}
	return top
}

func someHeavy[K Key](counters, n int) *Heavy[K] {
	rng := newRand(13)
	v, _ := NewHeavy[K](counters)
	for range n {
		v.Add(key[K](uint64(rng.ExpFloat64()*20)), 1+rng.Uint32N(3))
	}
	return v
}

// all encodings that the tests begin with, by name.
func encodings(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"sketch-empty":   encoding(t, someSketch(0)),
		"sketch":         encoding(t, someSketch(50)),
		"topk-empty":     encoding(t, someTop[string](3, 0)),
		"topk-strings":   encoding(t, someTop[string](4, 300)),
		"topk-integers":  encoding(t, someTop[uint64](4, 300)),
		"heavy-empty":    encoding(t, someHeavy[uint64](9, 0)),
		"heavy-strings":  encoding(t, someHeavy[string](9, 300)),
		"heavy-integers": encoding(t, someHeavy[uint64](9, 300)),
	}
}

// Encodings of version 1 are read for ever: testdata holds some.
func TestGolden(t *testing.T) {
	for name, b := range encodings(t) {
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
		if err := decode(t, want); err != nil {
			t.Errorf("%s: not read any more: %v", name, err)
		}
	}
}

type coder interface {
	MarshalBinary() ([]byte, error)
	UnmarshalBinary(b []byte) error
}

var calls int // of decoders, of which not all are measured

// decode gives the bytes to all decoders and fails the test on what must never
// happen. It returns nil if one took them.
func decode(t testing.TB, b []byte) (err error) {
	t.Helper()
	keep := bytes.Clone(b)
	err = errors.New("none tried")
	for _, c := range []coder{someSketch(5), someTop[string](2, 50), someTop[uint64](2, 50), someHeavy[string](8, 50), someHeavy[uint64](8, 50)} {
		before := encoding(t, c)
		var m1, m2 runtime.MemStats
		if calls++; calls%8 == 0 || len(b) > 1<<16 { // it stops the world
			runtime.ReadMemStats(&m1)
		}
		e := c.UnmarshalBinary(b)
		if m1.TotalAlloc > 0 {
			runtime.ReadMemStats(&m2)
		}
		if got, limit := int64(m2.TotalAlloc-m1.TotalAlloc), int64(2*len(b)+8192+4096); got > limit { // 4 KiB for errors and the runtime
			t.Fatalf("%T: %d bytes allocated for %d", c, got, len(b))
		}
		if !bytes.Equal(b, keep) {
			t.Fatalf("%T: the input is changed", c)
		}
		if e != nil {
			if !errors.Is(e, ErrCorrupt) && !errors.Is(e, ErrVersion) {
				t.Fatalf("%T: error %v", c, e)
			}
			if !bytes.Equal(encoding(t, c), before) {
				t.Fatalf("%T: changed by an error", c)
			}
			if err != nil {
				err = e
			}
			continue
		}
		err = nil
		if !bytes.Equal(encoding(t, c), b) {
			t.Fatalf("%T: not the only encoding of what it encodes", c)
		}
		switch c := c.(type) {
		case *Sketch:
			c.AddHash(77, 3)
		case *TopK[string]:
			checkTop(t, c)
			use(t, c)
		case *TopK[uint64]:
			checkTop(t, c)
			use(t, c)
		case *Heavy[string]:
			c.Add("x", 3)
			c.Merge(c)
		case *Heavy[uint64]:
			c.Add(77, 3)
			c.Merge(c)
		}
	}
	return err
}

func use[K Key](t testing.TB, c *TopK[K]) {
	for i := range uint64(30) {
		c.Add(key[K](i), 1<<20)
	}
	if err := c.Decay(0.5); err != nil {
		t.Fatal(err)
	}
	if err := c.Merge(c.Clone()); err != nil {
		t.Fatal(err)
	}
	c.List()
}

// What is decoded goes on like the original.
func TestRoundTrip(t *testing.T) {
	s, s2 := someSketch(500), &Sketch{}
	top, top2 := someTop[string](20, 5000), &TopK[string]{}
	heavy, heavy2 := someHeavy[string](20, 5000), &Heavy[string]{}
	for _, c := range [][2]coder{{s, s2}, {top, top2}, {heavy, heavy2}} {
		if err := c[1].UnmarshalBinary(encoding(t, c[0])); err != nil {
			t.Fatal(err)
		}
	}
	rng := newRand(14)
	for range 20_000 { // with many equal counts
		k := fmt.Sprint("key-", uint64(rng.ExpFloat64()*1000))
		if s.AddString(k, 1) != s2.AddString(k, 1) {
			t.Fatal("the sketch goes on differently")
		}
		e, ok := top.Add(k, 1)
		if e2, ok2 := top2.Add(k, 1); e != e2 || ok != ok2 {
			t.Fatal("the list goes on differently")
		}
		heavy.Add(k, 1)
		heavy2.Add(k, 1)
	}
	for _, c := range [][2]coder{{s, s2}, {top, top2}, {heavy, heavy2}} {
		if !bytes.Equal(encoding(t, c[0]), encoding(t, c[1])) {
			t.Fatalf("%T goes on differently", c[0])
		}
	}
	type named string
	n, _ := NewTopK[named](3, 400)
	n.Add("a", 2)
	var m TopK[string]
	if err := m.UnmarshalBinary(encoding(t, n)); err != nil || m.Count("a") != 2 {
		t.Errorf("keys of a named type: %v", err)
	}
}

func TestHostileBytes(t *testing.T) {
	rng := newRand(15)
	for name, b := range encodings(t) {
		if err := decode(t, b); err != nil {
			t.Fatal(name, err)
		}
		for n := range b {
			if decode(t, b[:n]) == nil {
				t.Fatalf("%s: a prefix of %d of %d bytes passes", name, n, len(b))
			}
		}
		if decode(t, append(bytes.Clone(b), 0)) == nil {
			t.Fatalf("%s: a byte behind the end passes", name)
		}
		for i := range 8 * len(b) {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			if decode(t, c) == nil {
				t.Fatalf("%s: flipped bit %d passes", name, i)
			}
		}
		for range 1000 { // lies under a right checksum
			c := bytes.Clone(b[:len(b)-4])
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(c))
				if rng.IntN(2) == 0 {
					at = 4 + rng.IntN(36)
				}
				if at < len(c) {
					c[at] = []byte{0, 1, 2, 0x7f, 0x80, 0xff, byte(rng.Uint64())}[rng.IntN(7)]
				}
			}
			decode(t, seal(c, 0))
		}
	}
	later := encoding(t, someSketch(1))
	later[4] = 2
	if err := decode(t, seal(later[:len(later)-4], 0)); !errors.Is(err, ErrVersion) && !errors.Is(err, ErrCorrupt) {
		t.Errorf("version 2: %v", err)
	}
	// Many items with short names, where memory per byte is greatest.
	top, heavy := someTop[string](20_000, 0), someHeavy[string](20_000, 0)
	for i := range 20_000 {
		top.Add(fmt.Sprintf("%x", i), 1)
		heavy.Add(fmt.Sprintf("%x", i), 1)
	}
	if err := decode(t, encoding(t, top)); err != nil {
		t.Error(err)
	}
	if err := decode(t, encoding(t, heavy)); err != nil {
		t.Error(err)
	}
	roomy := someHeavy[uint64](1<<20, 0)
	for i := range uint64(50_000) {
		roomy.Add(i, 1)
	}
	if err := decode(t, encoding(t, roomy)); err != nil {
		t.Error(err)
	}
}

// FuzzUnmarshal: bytes are refused, or are the only encoding of what they encode.
func FuzzUnmarshal(f *testing.F) {
	for _, b := range encodings(f) {
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 1<<14 {
			decode(t, seal(bytes.Clone(b), 0))
		}
	})
}

// FuzzTopK: a program of additions, merges and decays leaves the table whole and
// its bounds true.
func FuzzTopK(f *testing.F) {
	f.Add([]byte{3, 1, 2, 3, 4, 5, 6, 7, 250, 1, 2, 251, 3, 3, 3})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) == 0 || len(program) > 500 {
			return
		}
		k := 1 + int(program[0]%8)
		top, err := NewTopK[uint64](k, k*tableBytes[uint64]()+minCells*cellBytes)
		if err != nil {
			t.Fatal(err)
		}
		other := top.Clone()
		exact, exactOther := map[uint64]float64{}, map[uint64]float64{}
		for i, op := range program[1:] {
			switch {
			case op < 230:
				n := uint32(op%3) * uint32(1+i%5)
				top.Add(uint64(op/3), n)
				exact[uint64(op/3)] += float64(n)
			case op < 240:
				if err := top.Merge(other); err != nil {
					t.Fatal(err)
				}
				for key, n := range exactOther {
					exact[key] += n
				}
			case op < 250:
				if err := top.Decay(float64(op-240) / 9); err != nil {
					t.Fatal(err)
				}
				for key := range exact {
					exact[key] *= float64(op-240) / 9
				}
			default:
				top, other, exact, exactOther = other, top, exactOther, exact
			}
			checkTop(t, top)
			for _, it := range top.List() {
				if float64(it.Lower) > exact[it.Key]*(1+1e-9)+1e-6 || float64(it.Upper) < exact[it.Key]*(1-1e-9)-1e-6 {
					t.Fatalf("%+v, truth %v", it, exact[it.Key])
				}
			}
			if top.Total() > 1<<50 {
				return
			}
		}
	})
}
