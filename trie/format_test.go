package trie

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var updateGolden = flag.Bool("update", false, "write testdata anew")

func small(t testing.TB) (*Image, model) {
	m := model{"": 1, "a long term of more than fifteen bytes": 3, "a long term of more than fifteen bytes and more": 2}
	for i := range 60 {
		m[fmt.Sprintf("%x", i*i)] = uint64(i % 9)
	}
	return build(t, m, 3), m
}

// An image of version 1 is read for ever: testdata has one.
func TestGolden(t *testing.T) {
	img, m := small(t)
	file := filepath.Join("testdata", "v1.hex")
	if *updateGolden {
		if err := os.WriteFile(file, append([]byte(hex.EncodeToString(img.Bytes())), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, img.Bytes()) {
		t.Error("is written differently")
	}
	old, err := Load(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"", "1", "a long"} {
		if got, want := old.Complete(nil, prefix, 9), m.complete(prefix, 9); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", prefix, got, want)
		}
	}
}

func TestDamage(t *testing.T) {
	img, _ := small(t)
	b := img.Bytes()
	for n := range b {
		if _, err := Load(b[:n:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("a prefix of %d of %d: %v", n, len(b), err)
		}
	}
	if _, err := Load(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte behind the end: %v", err)
	}
	for i := range 8 * len(b) {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		if _, err := Load(c); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("flipped bit %d: %v", i, err)
		}
	}
}

// mend gives bytes the sums that they should have.
func mend(b []byte) []byte {
	le := binary.LittleEndian
	if len(b) < headSize {
		return b
	}
	for i := range sections {
		h := b[20+20*i:]
		at, size := le.Uint64(h), le.Uint64(h[8:])
		if at <= uint64(len(b)) && size <= uint64(len(b))-at {
			le.PutUint32(h[16:], crc32.Checksum(b[at:at+size], castagnoli))
		}
	}
	le.PutUint32(b[headSize-4:], crc32.Checksum(b[:headSize-4], castagnoli))
	return b
}

// use asks an image everything; it must not panic nor go on for ever.
func use(m *Image) {
	for _, prefix := range []string{"", "1", "a", "a long term", "\xff", "24"} {
		c := m.Cursor()
		c.StepString(prefix)
		for _, h := range c.Top(nil) {
			m.Term(h)
			m.Weight(h)
		}
		c.Back()
		c.Top(nil)
		m.Complete(nil, prefix, 2*m.k)
		m.Lookup(prefix)
		_, _ = m.Fuzzy(nil, prefix[:min(len(prefix), 3)], 1, 5)
	}
}

func TestHostileImages(t *testing.T) {
	img, _ := small(t)
	rng := newRand(5)
	loaded := 0
	for range 6000 {
		b := bytes.Clone(img.Bytes())
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] = []byte{0, 1, 0x7f, 0x80, 0xff, byte(rng.Uint64())}[rng.IntN(6)]
		}
		m, err := Load(mend(b))
		if err != nil {
			continue
		}
		loaded++
		use(m)
	}
	if loaded < 1500 {
		t.Errorf("only %d of 6,000 got as far as that", loaded)
	}
}

// FuzzLoad: bytes are refused, or can be asked.
func FuzzLoad(f *testing.F) {
	img, _ := small(f)
	f.Add(img.Bytes())
	none := build(f, model{}, 3)
	f.Add(none.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<14 {
			return
		}
		m, err := Load(mend(bytes.Clone(b)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if m.nodes < 1000 && m.k < 100 {
			use(m)
		}
	})
}

// FuzzTerms: any terms are found again.
func FuzzTerms(f *testing.F) {
	f.Add([]byte("a\nab\nabc\nb\n\nb"), "a")
	f.Fuzz(func(t *testing.T, b []byte, prefix string) {
		m := model{}
		for i, term := range bytes.Split(b, []byte("\n")) {
			if len(term) > MaxTerm {
				return
			}
			m[string(term)] = uint64(i % 5)
		}
		img := build(t, m, 2)
		for term, w := range m {
			if got, ok := img.Lookup(term); !ok || got != w {
				t.Fatalf("%q weighs %d, %t", term, got, ok)
			}
		}
		for _, k := range []int{1, 2, 5} {
			if got, want := img.Complete(nil, prefix, k), m.complete(prefix, k); !slices.Equal(got, want) {
				t.Fatalf("%q: %v, want %v", prefix, got, want)
			}
		}
	})
}
