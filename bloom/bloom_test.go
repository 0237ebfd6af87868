package bloom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

func fill(t testing.TB, n uint64, p float64, seed uint64) (*Filter, *rand.Rand) {
	t.Helper()
	f, err := New(n, p)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for range n {
		f.AddHash(rng.Uint64())
	}
	return f, rng
}

// The promise: what was added is contained, and of what was not added the chosen
// rate is, from one block to thousands. The number of false answers is binomial
// for one filter and varies with the filter besides; over the seeds its mean is
// within four standard errors, which are measured.
func TestRate(t *testing.T) {
	for _, c := range []struct {
		n     uint64
		p     float64
		seeds int
	}{
		{1, 0.01, 500},
		{10, 0.01, 300},
		{50, 0.01, 150},
		{300, 0.02, 80},
		{1000, 0.01, 40},
		{1000, 0.1, 30},
		{1000, 0.5, 20},
		{10_000, 0.01, 15},
		{10_000, 0.001, 20},
		{100_000, 0.01, 4},
		{100_000, 0.0001, 8},
	} {
		var rates []float64
		probes := 100_000
		for seed := range c.seeds {
			f, rng := fill(t, c.n, c.p, uint64(seed))
			wrong := 0
			for range probes {
				if f.ContainsHash(rng.Uint64()) {
					wrong++
				}
			}
			rates = append(rates, float64(wrong)/float64(probes))
		}
		mean, square := 0.0, 0.0
		for _, r := range rates {
			mean += r / float64(len(rates))
		}
		for _, r := range rates {
			square += (r - mean) * (r - mean)
		}
		sd := math.Sqrt(square/float64(len(rates)-1)/float64(len(rates))) + 1e-7
		if mean > c.p+4*sd {
			t.Errorf("n=%d p=%v: %v ± %v are wrong", c.n, c.p, mean, sd)
		}
		// Nor is it much better than asked for, which would be a waste of bits;
		// small filters are rounded up to whole blocks.
		if c.n >= 10_000 && mean < 0.96*c.p-4*sd {
			t.Errorf("n=%d p=%v: only %v ± %v are wrong", c.n, c.p, mean, sd)
		}
	}
}

// What the package comment says of bits per item.
func TestSize(t *testing.T) {
	for _, c := range []struct{ p, bits float64 }{{0.01, 9.9}, {0.001, 15.6}} {
		f, err := New(1_000_000, c.p)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(f.Bits()) / 1e6; math.Abs(got-c.bits) > 0.05 {
			t.Errorf("p=%v: %.3f bits per item, want %v", c.p, got, c.bits)
		}
	}
}

// set is the same filter as its definition says: the k bits of an item, one by
// one, in a map.
type set map[[2]uint64]bool

func (s set) bits(h uint64, blocks, k int) (all [][2]uint64) {
	source := h * 0x9e3779b97f4a7c15
	for i := range k {
		if i > 0 && i%7 == 0 {
			source = (source ^ source>>32) * 0x9e3779b97f4a7c15
		}
		all = append(all, [2]uint64{where(h, blocks), source << (9 * (i % 7)) >> 55})
	}
	return all
}

// TestModel compares Filter and Concurrent with the definition.
func TestModel(t *testing.T) {
	for k := 1; k <= maxHashes; k++ {
		rng := rand.New(rand.NewPCG(uint64(k), 2))
		f, err := NewBits(uint64(1+rng.IntN(5000)), k)
		if err != nil {
			t.Fatal(err)
		}
		c := f.Concurrent()
		s := set{}
		for i := range 400 {
			h := rng.Uint64()
			all := s.bits(h, len(f.blocks), k)
			had := true
			for _, b := range all {
				had = had && s[b]
			}
			if f.ContainsHash(h) != had || c.ContainsHash(h) != had {
				t.Fatalf("k=%d, item %d: contained %v, %v; model %v", k, i, f.ContainsHash(h), c.ContainsHash(h), had)
			}
			if rng.IntN(3) == 0 {
				continue
			}
			if f.AddHash(h) == had || c.AddHash(h) == had {
				t.Fatalf("k=%d, item %d: the answer of Add; it was contained: %v", k, i, had)
			}
			for _, b := range all {
				s[b] = true
			}
			if !f.ContainsHash(h) || !c.ContainsHash(h) {
				t.Fatalf("k=%d, item %d is lost", k, i)
			}
		}
		n := 0
		for i := range f.blocks {
			n += f.blocks[i].count()
		}
		if n != len(s) || !bytes.Equal(encode(t, f), encode(t, c.Snapshot())) {
			t.Fatalf("k=%d: %d bits set, model %d", k, n, len(s))
		}
	}
}

func encode(t testing.TB, f interface{ MarshalBinary() ([]byte, error) }) []byte {
	t.Helper()
	b, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBytesAndStrings(t *testing.T) {
	f, _ := fill(t, 10, 0.01, 1)
	for _, s := range []string{"", "a", "order-7", "ключ"} {
		f.AddString(s)
		if !f.Contains([]byte(s)) || !f.ContainsString(s) || f.Add([]byte(s)) {
			t.Errorf("%q", s)
		}
	}
	if !f.Add(nil) == f.ContainsString("") && !f.ContainsString("") {
		t.Error("nil is not the empty item")
	}
	var zero Filter
	if zero.AddString("x") || zero.ContainsString("x") || zero.FPR() != 0 || zero.Cardinality() != 0 {
		t.Error("the zero Filter contains something")
	}
}

// Union is the filter of both sets; it commutes, associates and may be repeated.
func TestUnion(t *testing.T) {
	a, _ := fill(t, 1000, 0.01, 1)
	b, c := &Filter{make([]block, len(a.blocks)), a.k}, &Filter{make([]block, len(a.blocks)), a.k}
	both := a.Clone()
	rng := rand.New(rand.NewPCG(9, 9))
	for range 500 {
		h := rng.Uint64()
		b.AddHash(h)
		both.AddHash(h)
		c.AddHash(rng.Uint64())
	}
	union := func(fs ...*Filter) []byte {
		u := fs[0].Clone()
		for _, f := range fs[1:] {
			if err := u.Union(f); err != nil {
				t.Fatal(err)
			}
		}
		return encode(t, u)
	}
	for name, got := range map[string][]byte{"a b": union(a, b), "b a": union(b, a), "a b b a": union(a, b, b, a)} {
		if !bytes.Equal(got, encode(t, both)) {
			t.Errorf("union %s differs from the filter of both", name)
		}
	}
	if !bytes.Equal(union(a, b, c), union(c, a, b)) {
		t.Error("union is not associative")
	}
	con := a.Concurrent()
	if err := con.Union(b); err != nil || !bytes.Equal(encode(t, con.Snapshot()), encode(t, both)) {
		t.Errorf("Concurrent.Union: %v", err)
	}
	i := both.Clone()
	if err := i.Intersect(b); err != nil || !bytes.Equal(encode(t, i), encode(t, b)) {
		t.Errorf("Intersect: %v", err)
	}
	other, _ := NewBits(512, 3)
	before := encode(t, a)
	for _, err := range []error{a.Union(other), a.Intersect(other), con.Union(other), a.Merge(other)} {
		if !errors.Is(err, ErrIncompatible) {
			t.Errorf("other parameters: %v", err)
		}
	}
	if !bytes.Equal(encode(t, a), before) {
		t.Error("a refused union changed the filter")
	}
	a.Reset()
	if a.Cardinality() != 0 {
		t.Error("Reset left something")
	}
}

// FPR tells the rate of the moment, Cardinality the number of items, from empty to
// twice as full as planned.
func TestFPRAndCardinality(t *testing.T) {
	f, err := New(20_000, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	for n := 0; n <= 40_000; n += 4000 {
		if got := f.Cardinality(); math.Abs(got-float64(n)) > 0.01*float64(n) {
			t.Errorf("%d items: Cardinality = %.0f", n, got)
		}
		wrong := 0
		const probes = 300_000
		for range probes {
			if f.ContainsHash(rng.Uint64()) {
				wrong++
			}
		}
		want := f.FPR()
		if got, sd := float64(wrong)/probes, math.Sqrt(want/probes); math.Abs(got-want) > 5*sd+1e-6 {
			t.Errorf("%d items: FPR = %v, measured %v ± %v", n, want, got, sd)
		}
		for range 4000 {
			f.AddHash(rng.Uint64())
		}
	}
}

// A Scalable keeps its rate at a hundred times the items it began with, on not much
// more space than one filter of the right size, and does not grow for duplicates.
func TestScalable(t *testing.T) {
	s, err := NewScalable(1000, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	var items []uint64
	for range 100_000 {
		h := rng.Uint64()
		items = append(items, h)
		s.AddHash(h)
	}
	parts := len(s.parts)
	for _, h := range items {
		if !s.ContainsHash(h) {
			t.Fatal("an item is lost")
		}
		if s.AddHash(h) {
			t.Fatal("an item that is contained changed the filter")
		}
	}
	if len(s.parts) != parts {
		t.Error("duplicates made it grow")
	}
	wrong := 0
	for range 200_000 {
		if s.ContainsHash(rng.Uint64()) {
			wrong++
		}
	}
	if got := float64(wrong) / 200_000; got > 0.01 || math.Abs(got-s.FPR()) > 0.002 {
		t.Errorf("%v are wrong, FPR = %v, want at most 0.01", got, s.FPR())
	}
	right, _ := New(100_000, 0.01)
	if got := float64(s.Bits()) / float64(right.Bits()); got > 2.3 {
		t.Errorf("%.2f times the bits of a filter of the right size", got)
	} else {
		t.Logf("%.2f times the bits of a filter of the right size", got)
	}
	if got := s.Cardinality(); math.Abs(got-100_000) > 1500 {
		t.Errorf("Cardinality = %.0f", got)
	}
	var u Scalable
	if err := u.UnmarshalBinary(encode(t, s)); err != nil || !bytes.Equal(encode(t, &u), encode(t, s)) {
		t.Errorf("decoding: %v", err)
	}
	h := rng.Uint64()
	if u.AddHash(h) != s.AddHash(h) || !bytes.Equal(encode(t, &u), encode(t, s)) {
		t.Error("the decoded filter goes on differently")
	}
	s.Reset()
	if s.ContainsHash(items[0]) || s.Bits() != s.parts[0].Bits() {
		t.Error("Reset")
	}
}

// Items are remembered for at least g−1 and at most g generations.
func TestGenerations(t *testing.T) {
	const g, n = 4, 500
	s, err := NewGenerations(n, 0.01, g)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	var periods [][]uint64
	for period := range 12 {
		var items []uint64
		for range n {
			h := rng.Uint64()
			items = append(items, h)
			s.AddHash(h)
		}
		periods = append(periods, items)
		for age := range min(g, len(periods)) {
			for _, h := range periods[period-age] {
				if !s.ContainsHash(h) {
					t.Fatalf("period %d: an item of %d periods ago is forgotten", period, age)
				}
				if age > 0 && s.AddHash(h) {
					t.Fatal("a remembered item is new")
				}
			}
			if age > 0 {
				break // those were added again, to the newest
			}
		}
		s.Rotate()
	}
	fresh, _ := NewGenerations(n, 0.01, g)
	fresh.AddHash(42)
	for i := range g {
		if !fresh.ContainsHash(42) {
			t.Errorf("forgotten after %d rotations", i)
		}
		fresh.Rotate()
	}
	if fresh.ContainsHash(42) || fresh.Len() != g {
		t.Error("remembered for too long")
	}
	wrong := 0
	full, _ := NewGenerations(n, 0.01, g)
	for range g {
		full.Rotate()
		for range n {
			full.AddHash(rng.Uint64())
		}
	}
	for range 100_000 {
		if full.ContainsHash(rng.Uint64()) {
			wrong++
		}
	}
	if got := float64(wrong) / 100_000; got > 0.0115 || math.Abs(got-full.FPR()) > 0.0015 {
		t.Errorf("%v are wrong over all generations, FPR = %v", got, full.FPR())
	}
	var u Generations
	if err := u.UnmarshalBinary(encode(t, full)); err != nil || !bytes.Equal(encode(t, &u), encode(t, full)) {
		t.Errorf("decoding: %v", err)
	}
}

// Many goroutines add and ask; whose Add has returned is contained.
func TestConcurrent(t *testing.T) {
	c, err := NewConcurrent(20_000, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g%2), 7)) // two and two add the same
			for range 10_000 {
				h := rng.Uint64()
				c.AddHash(h)
				if !c.ContainsHash(h) {
					t.Error("an item is lost")
				}
			}
		})
	}
	wg.Wait()
	if got := c.Snapshot().Cardinality(); math.Abs(got-20_000) > 400 {
		t.Errorf("Cardinality = %.0f", got)
	}
	if c.Add([]byte("x")); !c.ContainsString("x") || c.AddString("x") || !c.Contains([]byte("x")) {
		t.Error("x")
	}
}

func TestBadArguments(t *testing.T) {
	for _, c := range []struct {
		n    uint64
		p    float64
		want error
	}{
		{0, 0.01, ErrInvalid},
		{10, 0, ErrInvalid},
		{10, 1, ErrInvalid},
		{10, -1, ErrInvalid},
		{10, 2, ErrInvalid},
		{10, math.NaN(), ErrInvalid},
		{10, math.Inf(1), ErrInvalid},
		{10, 1e-10, ErrInvalid},
		{math.MaxUint64, 0.01, ErrTooLarge},
		{1 << 40, 0.01, ErrTooLarge},
	} {
		if _, err := New(c.n, c.p); !errors.Is(err, c.want) {
			t.Errorf("New(%d, %v): %v, want %v", c.n, c.p, err, c.want)
		}
		if _, err := NewConcurrent(c.n, c.p); !errors.Is(err, c.want) {
			t.Errorf("NewConcurrent(%d, %v): %v, want %v", c.n, c.p, err, c.want)
		}
		if _, err := NewScalable(c.n, c.p); !errors.Is(err, c.want) {
			t.Errorf("NewScalable(%d, %v): %v, want %v", c.n, c.p, err, c.want)
		}
		if _, err := NewGenerations(c.n, c.p, 3); !errors.Is(err, c.want) {
			t.Errorf("NewGenerations(%d, %v): %v, want %v", c.n, c.p, err, c.want)
		}
	}
	for _, g := range []int{0, -1, 65} {
		if _, err := NewGenerations(10, 0.01, g); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d generations: %v", g, err)
		}
	}
	for _, c := range []struct {
		bits uint64
		k    int
		want error
	}{{0, 3, ErrInvalid}, {512, 0, ErrInvalid}, {512, 22, ErrInvalid}, {MaxBits + 1, 3, ErrTooLarge}} {
		if _, err := NewBits(c.bits, c.k); !errors.Is(err, c.want) {
			t.Errorf("NewBits(%d, %d): %v", c.bits, c.k, err)
		}
	}
	for _, c := range []struct {
		n uint64
		p float64
	}{{1, 0.999}, {1, 1e-9}, {1000, 0.999}, {100, 1e-9}} {
		if f, err := New(c.n, c.p); err != nil || f.Bits() == 0 {
			t.Errorf("New(%d, %v): %v", c.n, c.p, err)
		}
	}
}

// Every flipped bit is found, every prefix refused, and the filter stays.
func TestDamage(t *testing.T) {
	f, _ := fill(t, 100, 0.01, 1)
	s, _ := NewScalable(10, 0.1)
	for i := range uint64(30) {
		s.AddHash(HashUint64(i))
	}
	g, _ := NewGenerations(10, 0.1, 3)
	for _, x := range []interface {
		MarshalBinary() ([]byte, error)
		UnmarshalBinary([]byte) error
	}{f, s, g} {
		b := encode(t, x)
		for i := range len(b) * 8 {
			b[i/8] ^= 1 << (i % 8)
			if err := x.UnmarshalBinary(b); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%T: bit %d flipped: %v", x, i, err)
			}
			b[i/8] ^= 1 << (i % 8)
		}
		for n := range len(b) {
			if err := x.UnmarshalBinary(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%T: cut to %d bytes: %v", x, n, err)
			}
		}
		if !bytes.Equal(encode(t, x), b) {
			t.Errorf("%T: a refused encoding changed it", x)
		}
		if err := x.UnmarshalBinary(b); err != nil {
			t.Errorf("%T: %v", x, err)
		}
	}
}

// Encodings of version 1 stay readable, and the bits of an item stay where they
// are.
func TestGolden(t *testing.T) {
	f, err := NewBits(1024, 9)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", "a", "order-7", "ключ"} {
		f.AddString(s)
	}
	if got := crc32.Checksum(encode(t, f), castagnoli); got != goldenSum {
		t.Errorf("the encoding has changed: %#x, want %#x", got, uint32(goldenSum))
	}
}

// fuzz decodes anything with its checksum mended, and checks what comes of it.
func fuzz(f *testing.F, seed []byte, decode func([]byte) ([]byte, error)) {
	f.Add(seed)
	for _, n := range []uint64{0, 1 << 31, 1 << 32, 1 << 40, 1 << 63, math.MaxUint64} {
		b := bytes.Clone(seed)
		binary.LittleEndian.PutUint64(b[8:], n)
		f.Add(b)
		b = bytes.Clone(seed)
		binary.LittleEndian.PutUint64(b[16:], n)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			n := len(b) - 4
			b = binary.LittleEndian.AppendUint32(bytes.Clone(b[:n]), crc32.Checksum(b[:n], castagnoli))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := decode(b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(8*len(b)+1<<20) {
			t.Fatalf("%d bytes allocated for %d", n, len(b))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !bytes.Equal(got, b) {
			t.Fatalf("%x decodes and encodes to %x", b, got)
		}
	})
}

func FuzzFilter(f *testing.F) {
	x, _ := fill(f, 100, 0.01, 1)
	fuzz(f, encode(f, x), func(b []byte) ([]byte, error) {
		var x Filter
		if err := x.UnmarshalBinary(b); err != nil {
			return nil, err
		}
		x.ContainsHash(1)
		return x.MarshalBinary()
	})
}

func FuzzScalable(f *testing.F) {
	x, _ := NewScalable(10, 0.1)
	for i := range uint64(30) {
		x.AddHash(HashUint64(i))
	}
	fuzz(f, encode(f, x), func(b []byte) ([]byte, error) {
		var x Scalable
		if err := x.UnmarshalBinary(b); err != nil {
			return nil, err
		}
		x.ContainsHash(1)
		return x.MarshalBinary()
	})
}

func FuzzGenerations(f *testing.F) {
	x, _ := NewGenerations(10, 0.1, 3)
	fuzz(f, encode(f, x), func(b []byte) ([]byte, error) {
		var x Generations
		if err := x.UnmarshalBinary(b); err != nil {
			return nil, err
		}
		x.ContainsHash(1)
		return x.MarshalBinary()
	})
}

func BenchmarkAdd(b *testing.B)      { bench(b, func(f *Filter, h uint64) { f.AddHash(h) }) }
func BenchmarkContains(b *testing.B) { bench(b, func(f *Filter, h uint64) { f.ContainsHash(h) }) }

func bench(b *testing.B, op func(f *Filter, h uint64)) {
	for _, n := range []uint64{10_000, 100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			f, _ := fill(b, n, 0.01, 1)
			b.ReportAllocs()
			h := uint64(1)
			for b.Loop() {
				h = h*0xd1342543de82ef95 + 1 // cheap, and spread well enough in its upper bits
				op(f, h)
			}
			b.ReportMetric(float64(f.Bits())/float64(n), "bits/item")
		})
	}
}

func BenchmarkConcurrentAdd(b *testing.B) {
	for _, n := range []uint64{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			c, err := NewConcurrent(n, 0.01)
			if err != nil {
				b.Fatal(err)
			}
			b.RunParallel(func(pb *testing.PB) {
				h := rand.Uint64()
				for pb.Next() {
					h = h*0xd1342543de82ef95 + 1
					c.AddHash(h)
				}
			})
		})
	}
}

const goldenSum = 0x48674bc7
