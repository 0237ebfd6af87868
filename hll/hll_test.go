package hll

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// newRand returns a source of numbers that are the same in each run.
func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// hash returns random bits, of which some have long runs of zeros at an end.
func hash(rng *rand.Rand) uint64 {
	h := rng.Uint64()
	switch rng.IntN(8) {
	case 0:
		h >>= rng.IntN(64)
	case 1:
		h <<= rng.IntN(64)
	case 2: // zeros in the middle, at the ends of what chooses a register
		a, b := rng.IntN(64), rng.IntN(64)
		h &^= (1<<a - 1) ^ (1<<b - 1)
	}
	return h
}

// updates is the slow, obvious sketch: all updates of all registers.
type updates map[[2]uint64]bool // register, value

func (all updates) exa(h uint64, p int) {
	s := fmt.Sprintf("%064b", h) // the hash as text, from the highest bit
	t, rest := h%4, s[:64-2-p]
	zeros := 0
	for zeros < len(rest) && rest[zeros] == '0' {
		zeros++
	}
	all[[2]uint64{h / 4 % (1 << p), uint64(4*zeros) + t + 1}] = true
}

func (all updates) sketch(h uint64, p int) {
	s := fmt.Sprintf("%064b", h)
	rest, zeros := s[:64-p], 0
	for zeros < len(rest) && rest[len(rest)-1-zeros] == '0' {
		zeros++
	}
	all[[2]uint64{h % (1 << p), uint64(zeros) + 1}] = true
}

func (all updates) greatest(i uint64) (u uint64) {
	for k := range all {
		if k[0] == i {
			u = max(u, k[1])
		}
	}
	return u
}

// exaRegister spells out the definition of register i.
func (all updates) exaRegister(i uint64, d int) uint64 {
	u := all.greatest(i)
	r := u << d
	for j := 1; j <= d && u > 0; j++ {
		if v := int(u) - j; v == 0 || v > 0 && all[[2]uint64{i, uint64(v)}] {
			r |= 1 << (d - j)
		}
	}
	return r
}

func exaOf(p, d uint8, hashes []uint64) *Exa {
	s := &Exa{p: p, d: d}
	for _, h := range hashes {
		s.AddHash(h)
	}
	return s
}

func sketchOf(p uint8, hashes []uint64) *Sketch {
	s := &Sketch{p: p}
	for _, h := range hashes {
		s.AddHash(h)
	}
	return s
}

func hashesOf(rng *rand.Rand, n int) []uint64 {
	hs := make([]uint64, n)
	for i := range hs {
		hs[i] = hash(rng)
	}
	return hs
}

// encoding fails the test when there is none.
func encoding(t testing.TB, s interface{ MarshalBinary() ([]byte, error) }) []byte {
	t.Helper()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The registers are those of the definition.
func TestRegisters(t *testing.T) {
	rng := newRand(1)
	for range 300 {
		p, d := 3+rng.IntN(5), rng.IntN(MaxWidth+1)
		hs := hashesOf(rng, rng.IntN(400))
		exas, sketches := updates{}, updates{}
		e, s := &Exa{p: uint8(p), d: uint8(d)}, &Sketch{p: uint8(p)}
		e.toRegisters()
		s.toRegisters()
		for _, h := range hs {
			exas.exa(h, p)
			sketches.sketch(h, p)
			before := e.Clone()
			if changed := e.AddHash(h); changed == bytes.Equal(before.regs, e.regs) {
				t.Fatalf("AddHash says changed=%t", changed)
			}
			e.AddHash(h)
			if s.AddHash(h); s.AddHash(h) {
				t.Fatal("the same again changes a sketch")
			}
		}
		for i := range 1 << p {
			if got, want := e.register(i), exas.exaRegister(uint64(i), d); got != want {
				t.Fatalf("p=%d d=%d register %d: %x, want %x", p, d, i, got, want)
			} else if !possible(got, uint8(p), uint8(d)) {
				t.Fatalf("p=%d d=%d register %x passes for impossible", p, d, got)
			}
			if got, want := s.register(i), sketches.greatest(uint64(i)); got != want {
				t.Fatalf("p=%d register %d of a sketch: %d, want %d", p, i, got, want)
			}
		}
	}
}

// A sketch that turned from tokens to registers has those of one that never had
// tokens.
func TestTurn(t *testing.T) {
	rng := newRand(2)
	for range 40 {
		p := uint8(3 + rng.IntN(12))
		hs := hashesOf(rng, 8000)
		e, s := &Exa{p: p, d: uint8(rng.IntN(MaxWidth + 1))}, &Sketch{p: p}
		ee, ss := &Exa{p: p, d: e.d}, &Sketch{p: p}
		ee.toRegisters()
		ss.toRegisters()
		distinctE, distinctS := map[uint32]bool{}, map[uint32]bool{}
		for _, h := range hs {
			tokE := uint32(h&tokenMask)<<6 | uint32(bits.LeadingZeros64(h|tokenMask)+1)
			tokS := uint32(h&tokenMask)<<6 | uint32(bits.TrailingZeros64(h>>tokenBits|1<<maxZeros)+1)
			if e.regs == nil && e.AddHash(h) == distinctE[tokE] || s.regs == nil && s.AddHash(h) == distinctS[tokS] {
				t.Fatal("AddHash says the wrong thing about a token")
			}
			distinctE[tokE], distinctS[tokS] = true, true
			e.AddHash(h)
			s.AddHash(h)
			ee.AddHash(h)
			ss.AddHash(h)
			if (e.regs == nil) != (len(distinctE) <= tokenLimit(exaBytes(p, e.d))) {
				t.Fatalf("%d tokens, limit %d, registers %t", len(distinctE), tokenLimit(exaBytes(p, e.d)), e.regs != nil)
			}
			if (s.regs == nil) != (len(distinctS) <= tokenLimit(sketchBytes(p))) {
				t.Fatalf("%d tokens, limit %d, registers %t", len(distinctS), tokenLimit(sketchBytes(p)), s.regs != nil)
			}
		}
		if e.regs == nil {
			e.toRegisters()
		}
		if s.regs == nil {
			s.toRegisters()
		}
		if !bytes.Equal(e.regs, ee.regs) || !bytes.Equal(s.regs, ss.regs) {
			t.Fatal("registers differ by the way they came about")
		}
	}
}

// A sketch is a function of its set: order, grouping, repetition, and where on the
// way it was lowered leave no trace, and lowering is as good as having been low.
func TestMergeLaws(t *testing.T) {
	rng := newRand(3)
	for range 400 {
		n := []int{0, 3, 50, 700, 5000}[rng.IntN(5)]
		a, b, c := hashesOf(rng, rng.IntN(n+1)), hashesOf(rng, rng.IntN(n+1)), hashesOf(rng, rng.IntN(n+1))
		all := append(append(append([]uint64{}, c...), a...), b...)
		pa, pb, pc := uint8(3+rng.IntN(10)), uint8(3+rng.IntN(10)), uint8(3+rng.IntN(10))
		da, db, dc := uint8(rng.IntN(25)), uint8(rng.IntN(25)), uint8(rng.IntN(25))
		if rng.IntN(2) == 0 {
			da, db, dc = Width, Width, Width
		}
		p, d := min(pa, pb, pc), min(da, db, dc)

		want := encoding(t, exaOf(p, d, all))
		left := exaOf(pa, da, a) // (a ∪ b) ∪ c
		left.Merge(exaOf(pb, db, b))
		left.Merge(exaOf(pc, dc, c))
		right := exaOf(pc, dc, c) // c ∪ (b ∪ a), twice
		inner := exaOf(pb, db, b)
		inner.Merge(exaOf(pa, da, a))
		right.Merge(inner)
		right.Merge(inner)
		right.Merge(right)
		low := exaOf(24/2, MaxWidth, all)
		if err := low.Reduce(int(max(p, low.p-3)), int(d)); err != nil {
			t.Fatal(err)
		}
		if err := low.Reduce(int(p), int(d)); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*Exa{"(ab)c": left, "c(ba)": right, "lowered": low} {
			if got := encoding(t, s); !bytes.Equal(got, want) {
				t.Fatalf("%s of %d, %d and %d hashes at p=%d d=%d differs", name, len(a), len(b), len(c), p, d)
			}
		}

		want = encoding(t, sketchOf(p, all))
		s := sketchOf(pb, b)
		s.Merge(sketchOf(pc, c))
		s.Merge(sketchOf(pa, a))
		s.Merge(s)
		low2 := sketchOf(12, all)
		if err := low2.Reduce(int(p)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoding(t, s), want) || !bytes.Equal(encoding(t, low2), want) {
			t.Fatalf("sketches of %d, %d and %d hashes at p=%d differ", len(a), len(b), len(c), p)
		}
	}
}

// A copy is none of the other's business, and an empty sketch is neutral.
func TestCloneReset(t *testing.T) {
	rng := newRand(4)
	for _, n := range []int{0, 10, 5000} {
		hs := hashesOf(rng, n)
		e, s := exaOf(8, Width, hs), sketchOf(8, hs)
		be, bs := encoding(t, e), encoding(t, s)
		ce, cs := e.Clone(), s.Clone()
		for range 5000 {
			h := hash(rng)
			ce.AddHash(h)
			cs.AddHash(h)
		}
		e.Merge(&Exa{p: 8, d: Width})
		s.Merge(&Sketch{p: 8})
		if !bytes.Equal(encoding(t, e), be) || !bytes.Equal(encoding(t, s), bs) {
			t.Fatal("changed by a copy or by nothing")
		}
		ce.Reset()
		cs.Reset()
		if ce.Estimate() != 0 || cs.Estimate() != 0 || !bytes.Equal(encoding(t, ce), encoding(t, exaOf(8, Width, nil))) {
			t.Fatal("not empty after Reset")
		}
	}
}

// The same items under all the ways to add them.
func TestAdd(t *testing.T) {
	e, _ := NewExa(11)
	s, _ := New(14)
	c, _ := NewConcurrent(11)
	var r Rightmost
	for i := range 100 {
		item := fmt.Sprint("item-", i)
		for j, add := range []func() bool{
			func() bool { return e.AddString(item) }, func() bool { return e.Add([]byte(item)) },
			func() bool { return s.AddString(item) }, func() bool { return s.Add([]byte(item)) },
		} {
			if add() != (j%2 == 0) {
				t.Fatalf("way %d to add says the wrong thing", j)
			}
		}
		if r.AddString(item); r.Add([]byte(item)) {
			t.Fatal("the same again changes a Rightmost")
		}
		if c.AddString(item); c.Add([]byte(item)) {
			t.Fatal("the same again changes a Concurrent")
		}
	}
	if got := math.Round(e.Estimate()); got != 100 {
		t.Errorf("Exa: %v of 100", got)
	}
	if got := math.Round(s.Estimate()); got != 100 {
		t.Errorf("Sketch: %v of 100", got)
	}
	if got := c.Estimate(); math.Abs(got-100) > 5 {
		t.Errorf("Concurrent: %v of 100", got)
	}
}

func TestArguments(t *testing.T) {
	for _, p := range []int{math.MinInt, -1, 0, 2, 25, 256, math.MaxInt} {
		if _, err := New(p); err == nil {
			t.Errorf("New(%d) passes", p)
		}
		if _, err := NewExa(p); err == nil {
			t.Errorf("NewExa(%d) passes", p)
		}
		if _, err := NewConcurrent(p); err == nil {
			t.Errorf("NewConcurrent(%d) passes", p)
		}
	}
	e, _ := NewExa(11)
	s, _ := New(11)
	for _, c := range [][2]int{{12, 20}, {2, 20}, {11, 21}, {11, -1}, {-1, -1}} {
		if err := e.Reduce(c[0], c[1]); err == nil {
			t.Errorf("Reduce%v passes", c)
		}
	}
	if s.Reduce(12) == nil || s.Reduce(2) == nil {
		t.Error("Reduce passes")
	}
	if e.Precision() != 11 || e.Width() != Width || s.Precision() != 11 {
		t.Error("changed by an error")
	}
}

// Rightmost is what it says.
func TestRightmost(t *testing.T) {
	var r, q Rightmost
	if r.Estimate() != 0 {
		t.Error("something in nothing")
	}
	for _, c := range []struct {
		h    uint64
		want float64
	}{{1, 1}, {0b1000, 8}, {0b10, 8}, {1 << 63, 1 << 63}, {0, 1 << 64}} {
		if r.AddHash(c.h); r.Estimate() != c.want {
			t.Errorf("after %b: %v, want %v", c.h, r.Estimate(), c.want)
		}
	}
	q.AddHash(4)
	q.Merge(r)
	if q != r {
		t.Error("a merge loses")
	}
}
