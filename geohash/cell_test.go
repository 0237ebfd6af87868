package geohash

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomPoint returns points all over the Earth, and often on the edges of cells, at
// the poles, at the antimeridian, and next to those.
func randomPoint(r *rand.Rand) (lat, lon float64) {
	lat, lon = math.Asin(2*r.Float64()-1)/radians, r.Float64()*360-180
	if r.IntN(3) == 0 {
		lat = edge(r.Int64N(1<<32+1)>>r.IntN(33)<<r.IntN(33)&(1<<33-1)%(1<<32+1), 180)
	}
	if r.IntN(3) == 0 {
		lon = edge(r.Int64N(1<<32+1)&^(1<<r.IntN(33)-1), 360)
	}
	switch r.IntN(12) {
	case 0:
		lat = []float64{-90, 90, 0, math.Copysign(0, -1), math.SmallestNonzeroFloat64}[r.IntN(5)]
	case 1:
		lon = []float64{-180, 180, 0, math.Copysign(0, -1), -math.SmallestNonzeroFloat64}[r.IntN(5)]
	case 2:
		lat, lon = math.Nextafter(lat, 0), math.Nextafter(lon, 0)
	case 3:
		lat, lon = math.Nextafter(lat, 90), math.Nextafter(lon, 180)
	}
	return max(-90, min(lat, 90)), max(-180, min(lon, 180))
}

// naive finds the bits by halving, with exact arithmetic.
func naive(lat, lon float64, bits int) uint64 {
	if lon == 180 {
		lon = -180
	}
	axis := func(v, half float64) func() uint64 {
		x := new(big.Rat).SetFloat64(v)
		low, high := new(big.Rat).SetFloat64(-half), new(big.Rat).SetFloat64(half)
		return func() uint64 {
			mid := new(big.Rat).Add(low, high)
			mid.Quo(mid, big.NewRat(2, 1))
			if x.Cmp(mid) < 0 {
				high = mid
				return 0
			}
			low = mid
			return 1
		}
	}
	x, y := axis(lon, 180), axis(lat, 90)
	var h uint64
	for i := range bits {
		if i%2 == 0 {
			h = h<<1 | x()
		} else {
			h = h<<1 | y()
		}
	}
	return h
}

func TestCellAgainstHalving(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		lat, lon := randomPoint(r)
		n := 1 + r.IntN(MaxBits)
		c, err := CellAt(lat, lon, n)
		if err != nil {
			t.Fatal(err)
		}
		if want := naive(lat, lon, n); c.Int() != want || c.Bits() != n || !c.Valid() {
			t.Fatalf("CellAt(%v, %v, %d) = %#x of %d bits, want %#x", lat, lon, n, c.Int(), c.Bits(), want)
		}
		if d, err := CellOf(c.Int(), n); err != nil || d != c {
			t.Fatalf("CellOf(%#x, %d) = %v, %v", c.Int(), n, d, err)
		}
		b := c.Bounds()
		if !b.Contains(lat, lon) || lat == b.North && lat != 90 || lon == b.East && lon != 180 {
			t.Fatalf("%v, %v is not in %+v", lat, lon, b)
		}
		if mid, err := CellAt(c2(c.Center())); err != nil || mid.Parent(n) != c {
			t.Fatalf("the centre of %v is in %v", c, mid.Parent(n))
		}
	}
}

func c2(lat, lon float64) (float64, float64, int) { return lat, lon, MaxBits }

func TestKnownGeohashes(t *testing.T) {
	for _, k := range []struct {
		lat, lon float64
		text     string
	}{
		{57.64911, 10.40744, "u4pruydqqvj8"}, // the example of geohash.org
		{42.6, -5.6, "ezs42e44yx96"},
		{-90, -180, "000000000000"},
		{90, 179.9999999999, "zzzzzzzzzzzz"},
		{90, 180, "bpbpbpbpbpbp"}, // 180 is -180
		{0, 0, "s00000000000"},
	} {
		for n := 1; n <= MaxChars; n++ {
			got, err := Encode(k.lat, k.lon, n)
			if err != nil || got != k.text[:n] {
				t.Errorf("Encode(%v, %v, %d) = %q, %v, want %q", k.lat, k.lon, n, got, err, k.text[:n])
			}
			c, err := Parse(got)
			if err != nil || c.String() != got || c.Bits() != 5*n {
				t.Errorf("Parse(%q) = %v of %d bits, %v", got, c, c.Bits(), err)
			}
		}
	}
}

func TestText(t *testing.T) {
	c, err := CellAt(57.64911, 10.40744, 8)
	if err != nil || c.String() != "u4/8" {
		t.Errorf("8 bits are %v, %v", c, err)
	}
	if c, _ := CellAt(57.64911, 10.40744, 57); c.String() != "u4pruydqqvj8/57" {
		t.Errorf("57 bits are %v", c)
	}
	if World.String() != "" || Cell(0).String() != "invalid" || Cell(1).String() != "invalid" {
		t.Errorf("%q, %q, %q", World, Cell(0), Cell(1))
	}
}

func TestInvalid(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, p := range [][2]float64{{90.0000001, 0}, {-91, 0}, {0, 180.0000001}, {0, -181}, {nan, 0}, {0, nan}, {inf, 0}, {0, -inf}} {
		if c, err := CellAt(p[0], p[1], 30); !errors.Is(err, ErrInvalid) || c != 0 {
			t.Errorf("CellAt(%v) = %v, %v", p, c, err)
		}
		if s, err := Encode(p[0], p[1], 5); !errors.Is(err, ErrInvalid) || s != "" {
			t.Errorf("Encode(%v) = %q, %v", p, s, err)
		}
	}
	for _, n := range []int{-1, 0, 61, 64, math.MaxInt, math.MinInt} {
		if _, err := CellAt(1, 1, n); !errors.Is(err, ErrInvalid) {
			t.Errorf("CellAt of %d bits: %v", n, err)
		}
		if _, err := CellOf(0, n); !errors.Is(err, ErrInvalid) {
			t.Errorf("CellOf of %d bits: %v", n, err)
		}
	}
	for _, n := range []int{-1, 0, 13, math.MaxInt} {
		if _, err := Encode(1, 1, n); !errors.Is(err, ErrInvalid) {
			t.Errorf("Encode of %d characters: %v", n, err)
		}
	}
	if _, err := CellOf(8, 3); !errors.Is(err, ErrInvalid) {
		t.Errorf("CellOf(8, 3): %v", err)
	}
	for _, s := range []string{"", "a", "ezi42", "u4l", "uo", "EZS42", "ezs 42", "ezs42e44yx967", "é", strings.Repeat("u", 1<<20)} {
		if _, err := Parse(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%.20q): %v", s, err)
		}
	}
	for _, c := range []Cell{0, 1, 2, 4} {
		if c.Valid() || c.Bits() != 0 || c.Int() != 0 || c.Bounds() != (Box{}) || c.Contains(c) || c.Parent(0) != 0 || len(c.AppendNeighbors(nil)) != 0 {
			t.Errorf("%#x passes for a cell", uint64(c))
		}
		if _, ok := c.Neighbor(East); ok {
			t.Errorf("%#x has a neighbour", uint64(c))
		}
	}
	if _, ok := World.Neighbor(East); ok || len(World.AppendNeighbors(nil)) != 0 {
		t.Error("the world has a neighbour")
	}
	if c, _ := CellAt(1, 1, 20); c.Parent(21) != 0 || c.Parent(-1) != 0 || c.Parent(20) != c || c.Parent(0) != World {
		t.Error("Parent")
	}
}

func TestOrderAndRange(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	cell := func() Cell {
		lat, lon := randomPoint(r)
		c, _ := CellAt(lat/10, lon/10, 1+r.IntN(MaxBits))
		return c
	}
	for range 20000 {
		c, d := cell(), cell()
		if c.Bits() > d.Bits() {
			c, d = d, c
		}
		is := d.Int()>>(d.Bits()-c.Bits()) == c.Int()
		first, last := c.Range()
		if got := first <= d && d <= last; got != is || c.Contains(d) != is || (d.Parent(c.Bits()) == c) != is {
			t.Fatalf("%v contains %v: want %v", c, d, is)
		}
		if is != (d.Contains(c) && c != d) && c == d && !d.Contains(c) {
			t.Fatal("a cell contains itself")
		}
		if c.Bits() < MaxBits {
			low, high := c.Children()
			if low.Parent(c.Bits()) != c || high.Parent(c.Bits()) != c || !(low < c && c < high) {
				t.Fatalf("children of %v: %v, %v", c, low, high)
			}
		}
	}
	if low, high := first60(t).Children(); low != 0 || high != 0 {
		t.Error("a cell of 60 bits has children")
	}
}

func first60(t *testing.T) Cell {
	c, err := CellAt(1, 2, 60)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNeighbors(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	step := [8][2]float64{{1, 0}, {1, 1}, {0, 1}, {-1, 1}, {-1, 0}, {-1, -1}, {0, -1}, {1, -1}}
	for range 20000 {
		lat, lon := randomPoint(r)
		n := 1 + r.IntN(MaxBits)
		c, _ := CellAt(lat, lon, n)
		b := c.Bounds()
		mid, midLon := c.Center()
		all := c.AppendNeighbors(nil)
		seen := map[Cell]bool{c: true}
		want := []Cell{}
		for d := North; d <= NorthWest; d++ {
			y := mid + step[d][0]*(b.North-b.South)
			x := Wrap(midLon + step[d][1]*(b.East-b.West))
			got, ok := c.Neighbor(d)
			if ok != (y > -90 && y < 90) {
				t.Fatalf("%v has a neighbour in the %v: %v", c, d, ok)
			}
			if !ok {
				continue
			}
			if is, _ := CellAt(y, x, n); got != is {
				t.Fatalf("the neighbour of %v in the %v is %v, want %v", c, d, got, is)
			}
			if back, ok := got.Neighbor((d + 4) % 8); !ok || back != c {
				t.Fatalf("%v of %v is %v, and back %v", d, c, got, back)
			}
			if !seen[got] {
				seen[got] = true
				want = append(want, got)
			}
		}
		if !slices.Equal(all, want) {
			t.Fatalf("around %v: %v, want %v", c, all, want)
		}
	}
	if s := North.String() + NorthWest.String() + Direction(8).String(); s != "northnorth-westdirection 8" {
		t.Error(s)
	}
}

func TestWrap(t *testing.T) {
	for _, w := range [][2]float64{{180, -180}, {-180, -180}, {181, -179}, {-181, 179}, {540, -180}, {720.5, 0.5}, {-540, -180}, {0, 0}, {179.5, 179.5}} {
		if got := Wrap(w[0]); got != w[1] {
			t.Errorf("Wrap(%v) = %v, want %v", w[0], got, w[1])
		}
	}
}

func TestDistance(t *testing.T) {
	quarter := math.Pi / 2 * EarthRadius
	for _, d := range []struct{ lat1, lon1, lat2, lon2, want float64 }{
		{0, 0, 0, 0, 0},
		{0, 0, 0, 90, quarter},
		{0, 180, 0, -180, 0},
		{90, 17, 90, -100, 0},
		{90, 0, -90, 0, 2 * quarter},
		{0, 0, 0, 180, 2 * quarter},
		{50, 179.5, 50, -179.5, Distance(50, 0, 50, 1)},
		{52.2296756, 21.0122287, 41.8919300, 12.5113300, 1315512.9}, // Warsaw to Rome
	} {
		got := Distance(d.lat1, d.lon1, d.lat2, d.lon2)
		if math.Abs(got-d.want) > 1e-9*d.want+1e-6 && math.Abs(got-d.want) > 1 {
			t.Errorf("Distance(%v) = %v", d, got)
		}
		if back := Distance(d.lat2, d.lon2, d.lat1, d.lon1); math.Abs(back-got) > 1e-6 {
			t.Errorf("back it is %v", back)
		}
	}
	// Against the chord of the unit vectors, for near points.
	r := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		lat, lon := randomPoint(r)
		lat2, lon2 := max(-90, min(90, lat+r.NormFloat64()*1e-3)), Wrap(lon+r.NormFloat64()*1e-3)
		v := func(lat, lon float64) [3]float64 {
			a, b := sincos(lat)
			c, d := sincos(lon)
			return [3]float64{b * d, b * c, a}
		}
		p, q := v(lat, lon), v(lat2, lon2)
		chord := math.Sqrt((p[0]-q[0])*(p[0]-q[0]) + (p[1]-q[1])*(p[1]-q[1]) + (p[2]-q[2])*(p[2]-q[2]))
		if got, want := Distance(lat, lon, lat2, lon2), 2*EarthRadius*math.Asin(chord/2); math.Abs(got-want) > 1e-6 {
			t.Fatalf("Distance(%v, %v, %v, %v) = %v, want %v", lat, lon, lat2, lon2, got, want)
		}
	}
}

// FuzzParse: what is read is written back.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"ezs42", "", "a", "u4pruydqqvj8", "u4/8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || c != 0 {
				t.Fatalf("Parse(%q) = %v, %v", s, c, err)
			}
			return
		}
		if c.String() != s {
			t.Fatalf("Parse(%q) = %v", s, c)
		}
		lat, lon := c.Center()
		if back, err := Encode(lat, lon, len(s)); err != nil || back != s {
			t.Fatalf("the centre of %q is in %q, %v", s, back, err)
		}
	})
}
