package geohash

import (
	"math"
	"slices"
)

// A Range is all cells c, of any precision, with First <= c <= Last, which both
// have 60 bits.
type Range struct{ First, Last Cell }

// AppendRanges appends the ranges of cells, which must be sorted as a cover is,
// to dst; those that follow each other without a gap become one.
func AppendRanges(dst []Range, cells []Cell) []Range {
	const step = 2 << (63 - MaxBits) // between cells of 60 bits
	begin := len(dst)
	for _, c := range cells {
		first, last := c.Range()
		if n := len(dst); n > begin && dst[n-1].Last+step == first {
			dst[n-1].Last = last
			continue
		}
		dst = append(dst, Range{first, last})
	}
	return dst
}

// CoverCircle appends to dst cells that contain every point within metres of a
// point, also over a pole and over the antimeridian: at most maxCells of them,
// sorted, none in another. More cells fit closer; 8 to 32 are usual.
func CoverCircle(dst []Cell, lat, lon, metres float64, maxCells int) ([]Cell, error) {
	if err := check(lat, lon); err != nil {
		return dst, err
	}
	if !(metres >= 0) {
		return dst, invalid("a radius of %v metres", metres)
	}
	if maxCells < 1 {
		return dst, invalid("a cover of %d cells", maxCells)
	}
	c := circle{o: newOrigin(lat, lon), h: haversineOf(metres)*(1+1e-14) + slack}
	var starts [4]Cell
	return appendCover(dst, c.starts(starts[:0], metres), maxCells, &c), nil
}

// CoverBox appends to dst cells that contain every point of a box, as
// [CoverCircle] does.
func CoverBox(dst []Cell, b Box, maxCells int) ([]Cell, error) {
	if err := b.check(); err != nil {
		return dst, err
	}
	if maxCells < 1 {
		return dst, invalid("a cover of %d cells", maxCells)
	}
	return appendCover(dst, []Cell{World}, maxCells, boxRegion(b)), nil
}

// How a cell lies to a region.
type relation int8

const (
	outside relation = iota // has no point of it
	partly
	inside // has no other point
)

// A region is something to cover.
type region interface{ relate(c Cell) relation }

// appendCover halves the largest cells as long as the number allows it. The starts
// are of one size, and together contain the region.
func appendCover(dst, starts []Cell, maxCells int, r region) []Cell {
	if len(starts) > maxCells {
		starts = []Cell{World}
	}
	var spaceOpen, spaceDone [64]Cell
	open, done := spaceOpen[:0], spaceDone[:0] // open ones from next on, the largest first
	for _, c := range starts {
		switch r.relate(c) {
		case inside:
			done = append(done, c)
		case partly:
			open = append(open, c)
		}
	}
	begin, next := len(dst), 0
	best := begin
	// Halves that are both kept become one again at the end. So there may be more
	// on the way, up to four times as many.
	for limit := maxCells; ; {
		next, open, done = halve(next, open, done, limit, r)
		dst = append(append(dst[:best], done...), open[next:]...)
		n := unite(dst[best:])
		if n > maxCells {
			return dst[:best]
		}
		copy(dst[begin:], dst[best:best+n])
		best = begin + n
		limit += maxCells - n
		if n == maxCells || limit > 4*maxCells || next == len(open) || open[next].Bits() == MaxBits {
			return dst[:best]
		}
	}
}

// halve replaces open cells by those of their halves that have points of the
// region, as long as there are no more than limit.
func halve(next int, open, done []Cell, limit int, r region) (int, []Cell, []Cell) {
	for ; next < len(open) && open[next].Bits() < MaxBits; next++ {
		low, high := open[next].Children()
		a, b := r.relate(low), r.relate(high)
		if a == outside && b == outside {
			// All that rounding leaves of it is the edge between them.
			a, b = partly, partly
		}
		if a != outside && b != outside && len(done)+len(open)-next >= limit {
			break // one more does not fit
		}
		for i, c := range [2]Cell{low, high} {
			switch [2]relation{a, b}[i] {
			case inside:
				done = append(done, c)
			case partly:
				open = append(open, c)
			}
		}
	}
	return next, open, done
}

// unite sorts cells, makes one of both halves of a cell, and returns how many are
// left.
func unite(cells []Cell) int {
	slices.Sort(cells)
	n := 0
	for _, c := range cells {
		cells[n] = c
		n++
		for n > 1 {
			whole := cells[n-1].Parent(cells[n-1].Bits() - 1)
			if low, high := whole.Children(); low != cells[n-2] || high != cells[n-1] {
				break
			}
			cells[n-2] = whole
			n--
		}
	}
	return n
}

type circle struct {
	o origin
	h float64 // haversine of the radius
}

func (r *circle) relate(c Cell) relation {
	e := newEdges(c.Bounds())
	switch {
	case r.o.nearest(&e) > r.h:
		return outside
	case r.o.farthest(&e) <= r.h:
		return inside
	}
	return partly
}

// starts appends the cells to begin with: up to four, each as wide and high as the
// circle at least, or the whole world.
func (r *circle) starts(dst []Cell, radius float64) []Cell {
	dLat := radius/EarthRadius/radians*(1+1e-9) + 1e-9
	if !(math.Abs(r.o.lat)+dLat < 89) {
		return append(dst, World)
	}
	dLon := math.Asin(min(1, math.Sin(dLat*radians)/r.o.cosLat))/radians*(1+1e-9) + 1e-9
	// As many halvings of each axis as leave cells of that size.
	n := min(math.Ilogb(180/(2*dLat)), math.Ilogb(360/(2*dLon)), MaxBits/2)
	if n < 2 {
		return append(dst, World)
	}
	for _, lat := range [2]float64{r.o.lat - dLat, r.o.lat + dLat} {
		for _, lon := range [2]float64{r.o.lon - dLon, r.o.lon + dLon} {
			c := cut(curve(lat, Wrap(lon)), 2*n)
			if !slices.Contains(dst, c) {
				dst = append(dst, c)
			}
		}
	}
	return dst
}

// A boxRegion with West above East is what is not between them.
type boxRegion Box

func (r boxRegion) relate(c Cell) relation {
	b := c.Bounds()
	if b.South > r.North || b.North <= r.South && b.North != 90 {
		return outside
	}
	lat := r.South <= b.South && b.North <= r.North
	if r.West <= r.East {
		switch {
		case b.West == -180 && r.East == 180: // 180 is -180
		case b.West > r.East || b.East <= r.West:
			return outside
		}
		if lat && r.West <= b.West && b.East <= r.East {
			return inside
		}
		return partly
	}
	switch {
	case b.West > r.East && b.East <= r.West:
		return outside
	case lat && (b.West >= r.West || b.East <= r.East):
		return inside
	}
	return partly
}
