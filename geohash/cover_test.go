package geohash

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// checkCover fails unless cells are sorted, apart, and not too many.
func checkCover(t *testing.T, cells []Cell, maxCells int) {
	t.Helper()
	if len(cells) == 0 || len(cells) > maxCells {
		t.Fatalf("%d cells, want 1 to %d", len(cells), maxCells)
	}
	for i, c := range cells {
		if !c.Valid() {
			t.Fatalf("cell %d is not valid", i)
		}
		if i > 0 {
			_, last := cells[i-1].Range()
			if first, _ := c.Range(); last >= first {
				t.Fatalf("%v and %v are not apart, or out of order", cells[i-1], c)
			}
		}
	}
}

func covered(cells []Cell, lat, lon float64) bool {
	p, err := CellAt(lat, lon, MaxBits)
	return err == nil && slices.ContainsFunc(cells, func(c Cell) bool { return c.Contains(p) })
}

// destination returns the point at a distance and bearing.
func destination(lat, lon, metres, bearing float64) (float64, float64) {
	d := metres / EarthRadius
	sinLat, cosLat := sincos(lat)
	lat2 := math.Asin(max(-1, min(1, sinLat*math.Cos(d)+cosLat*math.Sin(d)*math.Cos(bearing))))
	lon2 := lon*radians + math.Atan2(math.Sin(bearing)*math.Sin(d)*cosLat, math.Cos(d)-sinLat*math.Sin(lat2))
	return lat2 / radians, Wrap(lon2 / radians)
}

func TestCoverCircle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		lat, lon := randomPoint(r)
		metres := math.Exp(r.Float64()*20) - 1 // to beyond the Earth
		if r.IntN(20) == 0 {
			metres = []float64{0, math.Pi / 2 * EarthRadius, math.Pi * EarthRadius, math.Inf(1)}[r.IntN(4)]
		}
		maxCells := 1 + r.IntN(40)
		cells, err := CoverCircle(nil, lat, lon, metres, maxCells)
		if err != nil {
			t.Fatal(err)
		}
		checkCover(t, cells, maxCells)
		if !covered(cells, lat, lon) {
			t.Fatalf("the middle %v, %v of %v m is not covered", lat, lon, metres)
		}
		for range 30 {
			d := metres * math.Sqrt(r.Float64())
			if r.IntN(3) == 0 {
				d = metres
			}
			y, x := destination(lat, lon, min(d, math.Pi*EarthRadius), r.Float64()*2*math.Pi)
			if Distance(lat, lon, y, x) <= metres && !covered(cells, y, x) {
				t.Fatalf("%v, %v is %v m from %v, %v and not covered within %v m by %v", y, x, Distance(lat, lon, y, x), lat, lon, metres, cells)
			}
		}
	}
}

func TestCoverIsClose(t *testing.T) {
	// More cells fit closer; each cell touches the circle.
	const lat, lon, metres = 55.75, 37.62, 5000
	area := func(c Cell) float64 {
		b := c.Bounds()
		return (b.East - b.West) * radians * (math.Sin(b.North*radians) - math.Sin(b.South*radians)) * EarthRadius * EarthRadius
	}
	last := math.Inf(1)
	for _, n := range []int{4, 8, 16, 32, 64, 256, 2048} {
		cells, err := CoverCircle(nil, lat, lon, metres, n)
		if err != nil {
			t.Fatal(err)
		}
		var sum float64
		for _, c := range cells {
			sum += area(c)
			e := newEdges(c.Bounds())
			o := newOrigin(lat, lon)
			if o.nearest(&e) > haversineOf(metres+1) {
				t.Errorf("%v does not touch the circle", c)
			}
		}
		ratio := sum / (math.Pi * metres * metres)
		t.Logf("%4d cells: %.3f of the circle", len(cells), ratio)
		if ratio > last || ratio < 1-1e-6 {
			t.Errorf("%d cells cover %.3f of the circle, fewer cells %.3f", n, ratio, last)
		}
		last = ratio
	}
	if last > 1.05 {
		t.Errorf("2048 cells cover %.3f of the circle", last)
	}
}

func TestCoverBox(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for range 3000 {
		b := Box{}
		b.South, b.West = randomPoint(r)
		b.North, b.East = randomPoint(r)
		if r.IntN(2) == 0 {
			b.North, b.East = min(90, b.South+r.ExpFloat64()), Wrap(b.West+r.ExpFloat64())
		}
		if b.South > b.North {
			b.South, b.North = b.North, b.South
		}
		maxCells := 1 + r.IntN(40)
		cells, err := CoverBox(nil, b, maxCells)
		if err != nil {
			t.Fatal(err)
		}
		checkCover(t, cells, maxCells)
		width := b.East - b.West
		if width < 0 {
			width += 360
		}
		for range 30 {
			y, x := b.South+(b.North-b.South)*r.Float64(), Wrap(b.West+width*r.Float64())
			switch r.IntN(4) {
			case 0:
				y = b.North
			case 1:
				x = b.East
			}
			if b.Contains(y, x) && !covered(cells, y, x) {
				t.Fatalf("%v, %v in %+v is not covered by %v", y, x, b, cells)
			}
		}
	}
	cells, err := CoverBox(nil, Box{-90, -180, 90, 180}, 10)
	if err != nil || !slices.Equal(cells, []Cell{World}) {
		t.Errorf("the world is covered by %v, %v", cells, err)
	}
	c := first60(t).Parent(25)
	b := c.Bounds()
	b.North, b.East = math.Nextafter(b.North, 0), math.Nextafter(b.East, 0)
	if cells, _ = CoverBox(nil, b, 1); !slices.Equal(cells, []Cell{c}) {
		t.Errorf("%v is covered by %v", c, cells)
	}
}

func TestCoverPolygon(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for range 150 {
		// A star, anywhere but close to a pole.
		lat, lon := r.Float64()*140-70, r.Float64()*360-180
		size := math.Exp(-r.Float64()*10) * 15
		n := 3 + r.IntN(40)
		outer := make([]Point, n)
		for i := range outer {
			a := 2 * math.Pi * float64(i) / float64(n)
			d := size * (0.3 + 0.7*r.Float64())
			outer[i] = Point{lat + d*math.Sin(a), Wrap(lon + d*math.Cos(a))}
		}
		hole := []Point{}
		for i := range 4 {
			a := math.Pi/4 + math.Pi/2*float64(i)
			hole = append(hole, Point{lat + 0.1*size*math.Sin(a), Wrap(lon + 0.1*size*math.Cos(a))})
		}
		if r.IntN(2) == 0 {
			slices.Reverse(outer)
		}
		maxCells := 1 + r.IntN(64)
		cells, err := CoverPolygon(nil, [][]Point{outer, hole}, maxCells)
		if err != nil {
			t.Fatal(err)
		}
		checkCover(t, cells, maxCells)
		for range 100 {
			y, x := lat+(2*r.Float64()-1)*size, lon+(2*r.Float64()-1)*size
			if in := evenOdd(outer, lon, y, x) != evenOdd(hole, lon, y, x); in && !covered(cells, y, Wrap(x)) {
				t.Fatalf("%v, %v is not covered by %v", y, x, cells)
			}
		}
		// The corners too, and with enough cells not the middle of the hole.
		for _, c := range slices.Concat(outer, hole) {
			if !covered(cells, c.Lat, c.Lon) {
				t.Fatalf("corner %v is not covered", c)
			}
		}
		if cells, _ = CoverPolygon(cells[:0], [][]Point{outer, hole}, 1000); covered(cells, lat, lon) {
			t.Fatalf("the middle of the hole at %v, %v is covered", lat, lon)
		}
	}
}

// evenOdd counts the edges north of a point, with longitudes near mid.
func evenOdd(ring []Point, mid, lat, lon float64) bool {
	odd := false
	x := func(p Point) float64 { return mid + Wrap(p.Lon-mid) }
	for i, a := range ring {
		b := ring[(i+1)%len(ring)]
		if (x(a) > lon) != (x(b) > lon) && lat < a.Lat+(b.Lat-a.Lat)*(lon-x(a))/(x(b)-x(a)) {
			odd = !odd
		}
	}
	return odd
}

func TestCoverPolygonAtPole(t *testing.T) {
	for _, sign := range []float64{1, -1} {
		ring := []Point{}
		for i := range 12 {
			ring = append(ring, Point{sign * 70, Wrap(float64(i) * 30)})
		}
		cells, err := CoverPolygon(nil, [][]Point{ring}, 500)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(4, 1))
		for range 2000 {
			lat, lon := sign*(r.Float64()*20+70), r.Float64()*360-180
			if !covered(cells, lat, lon) {
				t.Fatalf("%v, %v is not covered", lat, lon)
			}
			if lat = sign * (r.Float64()*150 - 85); covered(cells, lat, lon) {
				t.Fatalf("%v, %v is covered", lat, lon)
			}
		}
	}
}

func TestCoverInvalid(t *testing.T) {
	square := []Point{{0, 0}, {0, 1}, {1, 1}, {1, 0}}
	spiral := []Point{}
	for i := range 24 {
		spiral = append(spiral, Point{float64(i), Wrap(float64(i) * 60)})
	}
	spiral = append(spiral, Point{30, 300})
	have := []Cell{World}
	for name, cover := range map[string]func() ([]Cell, error){
		"NaN":             func() ([]Cell, error) { return CoverCircle(have, math.NaN(), 0, 1, 8) },
		"negative radius": func() ([]Cell, error) { return CoverCircle(have, 0, 0, -1, 8) },
		"NaN radius":      func() ([]Cell, error) { return CoverCircle(have, 0, 0, math.NaN(), 8) },
		"no cells":        func() ([]Cell, error) { return CoverCircle(have, 0, 0, 1, 0) },
		"box, no cells":   func() ([]Cell, error) { return CoverBox(have, Box{0, 0, 1, 1}, -1) },
		"upside down":     func() ([]Cell, error) { return CoverBox(have, Box{1, 0, 0, 1}, 8) },
		"outside":         func() ([]Cell, error) { return CoverBox(have, Box{0, 0, 91, 1}, 8) },
		"no ring":         func() ([]Cell, error) { return CoverPolygon(have, nil, 8) },
		"two corners":     func() ([]Cell, error) { return CoverPolygon(have, [][]Point{square[:2]}, 8) },
		"closed twice":    func() ([]Cell, error) { return CoverPolygon(have, [][]Point{{square[0], square[1], square[0]}}, 8) },
		"corner outside":  func() ([]Cell, error) { return CoverPolygon(have, [][]Point{{{0, 0}, {0, 1}, {0, 200}}}, 8) },
		"no cells left":   func() ([]Cell, error) { return CoverPolygon(have, [][]Point{square}, 0) },
		"spiral":          func() ([]Cell, error) { return CoverPolygon(have, [][]Point{spiral}, 8) },
	} {
		cells, err := cover()
		if !errors.Is(err, ErrInvalid) || !slices.Equal(cells, have) {
			t.Errorf("%s: %v, %v", name, cells, err)
		}
	}
}

func TestAppendRanges(t *testing.T) {
	cells, err := CoverCircle(nil, 40.7, -74, 3000, 100)
	if err != nil {
		t.Fatal(err)
	}
	ranges := AppendRanges(nil, cells)
	if len(ranges) == 0 || len(ranges) >= len(cells) {
		t.Fatalf("%d ranges of %d cells", len(ranges), len(cells))
	}
	r := rand.New(rand.NewPCG(9, 9))
	for range 20000 {
		lat, lon := 40.7+r.NormFloat64()*0.03, -74+r.NormFloat64()*0.03
		c, _ := CellAt(lat, lon, 60)
		in := slices.ContainsFunc(ranges, func(x Range) bool { return x.First <= c && c <= x.Last })
		if in != covered(cells, lat, lon) {
			t.Fatalf("%v: in a range %v", c, in)
		}
	}
	if got := AppendRanges(ranges[:1:1], cells[:1]); len(got) != 2 || got[0] != ranges[0] {
		t.Errorf("what was in dst has changed: %v", got)
	}
}

// FuzzCoverPolygon: the corners are covered, or there is an error.
func FuzzCoverPolygon(f *testing.F) {
	f.Add(1.0, 2.0, 3.0, 4.0, -5.0, 170.0, 80.0, -170.0, uint8(8))
	f.Add(90.0, 0.0, 90.0, 90.0, 90.0, 180.0, -90.0, -90.0, uint8(3))
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i float64, maxCells uint8) {
		ring := []Point{{a, b}, {c, d}, {e, g}, {h, i}}
		cells, err := CoverPolygon(nil, [][]Point{ring}, int(maxCells))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		checkCover(t, cells, int(maxCells))
		for _, p := range ring {
			if !covered(cells, p.Lat, p.Lon) {
				t.Fatalf("corner %v is not covered by %v", p, cells)
			}
		}
	})
}

// A ring that goes east and comes back, again and again, takes memory by its corners
// and not by their square.
func TestCoverPolygonZigzag(t *testing.T) {
	const corners = 4000
	var ring []Point
	for i := range corners / 2 {
		ring = append(ring, Point{float64(i%80) - 40, Wrap(170 * float64(i))})
	}
	for i := corners / 2; i > 0; i-- {
		ring = append(ring, Point{float64(i%80) - 39.5, Wrap(170 * float64(i))})
	}
	p := new(polygon)
	if err := p.addRing(ring); err != nil {
		t.Fatal(err)
	}
	if len(p.lines) > 3*corners {
		t.Errorf("%d lines for %d corners", len(p.lines), corners)
	}
}
