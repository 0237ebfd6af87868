package geohash

import (
	"math"
	"slices"
	"sync"
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
	r := circle{o: newOrigin(lat, lon), h: haversineOf(metres)*(1+1e-14) + slack}
	var starts [4]Cell
	c := circleCovers.Get().(*circleCover)
	defer circleCovers.Put(c)
	c.circle = r
	return c.cover.append(dst, r.starts(starts[:0], metres), maxCells, &c.circle), nil
}

type circleCover struct {
	cover  cover[edges]
	circle circle
}

var circleCovers = sync.Pool{New: func() any { return new(circleCover) }}

// CoverBox appends to dst cells that contain every point of a box, as
// [CoverCircle] does.
func CoverBox(dst []Cell, b Box, maxCells int) ([]Cell, error) {
	if err := b.check(); err != nil {
		return dst, err
	}
	if maxCells < 1 {
		return dst, invalid("a cover of %d cells", maxCells)
	}
	return new(cover[struct{}]).append(dst, []Cell{World}, maxCells, boxRegion(b)), nil
}

// How a cell lies to a region.
type relation int8

const (
	outside relation = iota // has no point of it
	partly
	inside // has no other point
)

// A region is something to cover. S is what it keeps of a cell to relate the
// halves with less work.
type region[S any] interface {
	relate(c Cell) (relation, S)
	relateHalves(of *S, low, high Cell) (rel [2]relation, s [2]S)
}

// An open is a cell that has points of the region, and others.
type open[S any] struct {
	cell Cell
	s    S
}

// A cover is one that is being made.
type cover[S any] struct {
	region region[S]
	done   []Cell
	open   []open[S]
	next   int // those of open from here on count, the largest first
}

// append halves the largest cells as long as the number allows it. The starts are of
// one size, and together contain the region.
func (c *cover[S]) append(dst, starts []Cell, maxCells int, r region[S]) []Cell {
	if len(starts) > maxCells {
		starts = []Cell{World}
	}
	*c = cover[S]{region: r, done: c.done[:0], open: c.open[:0]}
	defer func() { c.region = nil }()
	for _, cell := range starts {
		switch rel, s := r.relate(cell); rel {
		case inside:
			c.done = append(c.done, cell)
		case partly:
			c.open = append(c.open, open[S]{cell, s})
		}
	}
	begin := len(dst)
	best := begin
	// Halves that are both kept become one again at the end. So there may be more
	// on the way, up to four times as many.
	for limit := maxCells; ; {
		c.halve(limit)
		dst = append(dst[:best], c.done...)
		for i := c.next; i < len(c.open); i++ {
			dst = append(dst, c.open[i].cell)
		}
		n := unite(dst[best:])
		if n > maxCells {
			return dst[:best]
		}
		copy(dst[begin:], dst[best:best+n])
		best = begin + n
		limit += maxCells - n
		if n == maxCells || limit > 4*maxCells || c.next == len(c.open) || c.open[c.next].cell.Bits() == MaxBits {
			return dst[:best]
		}
	}
}

// halve replaces open cells by those of their halves that have points of the
// region, as long as there are no more than limit.
func (c *cover[S]) halve(limit int) {
	for ; c.next < len(c.open) && c.open[c.next].cell.Bits() < MaxBits; c.next++ {
		at := &c.open[c.next]
		low, high := at.cell.Children()
		rel, s := c.region.relateHalves(&at.s, low, high)
		if rel[0] == outside && rel[1] == outside {
			// All that rounding leaves of it is the edge between them.
			rel = [2]relation{partly, partly}
		}
		if rel[0] != outside && rel[1] != outside && len(c.done)+len(c.open)-c.next >= limit {
			break // one more does not fit
		}
		for i, cell := range [2]Cell{low, high} {
			switch rel[i] {
			case inside:
				c.done = append(c.done, cell)
			case partly:
				c.open = append(c.open, open[S]{cell, s[i]})
			}
		}
	}
}

// unite sorts cells, makes one of both halves of a cell, and returns how many are
// left.
func unite(cells []Cell) int {
	slices.Sort(cells)
	n := 0
	for _, c := range cells {
		// Both halves have the final one at the same place, and differ in the bit
		// before it: there the whole has its own.
		for one := c & -c; n > 0 && cells[n-1]^c == one<<1 && cells[n-1]&-cells[n-1] == one; one = c & -c {
			n--
			c = cells[n] + one
		}
		cells[n] = c
		n++
	}
	return n
}

type circle struct {
	o origin
	h float64 // haversine of the radius
}

func (r *circle) relate(c Cell) (relation, edges) {
	e := newEdges(c.Bounds())
	return r.relateEdges(&e), e
}

func (r *circle) relateEdges(e *edges) relation {
	switch {
	case r.o.nearest(e) > r.h:
		return outside
	case r.o.farthest(e) <= r.h:
		return inside
	}
	return partly
}

func (r *circle) relateHalves(of *edges, low, _ Cell) (rel [2]relation, s [2]edges) {
	s[0], s[1] = *of, *of
	if low.Bits()%2 == 1 { // the bit was of longitude
		middle := (of.box.West + of.box.East) / 2 // exact
		sin, cos := sincos(middle)
		s[0].box.East, s[0].sinE, s[0].cosE = middle, sin, cos
		s[1].box.West, s[1].sinW, s[1].cosW = middle, sin, cos
	} else {
		middle := (of.box.South + of.box.North) / 2
		sin, cos := sincos(middle)
		s[0].box.North, s[0].sinN, s[0].cosN = middle, sin, cos
		s[1].box.South, s[1].sinS, s[1].cosS = middle, sin, cos
	}
	return [2]relation{r.relateEdges(&s[0]), r.relateEdges(&s[1])}, s
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

func (r boxRegion) relate(c Cell) (relation, struct{}) { return r.relateBox(c.Bounds()), struct{}{} }

func (r boxRegion) relateHalves(_ *struct{}, low, high Cell) (rel [2]relation, s [2]struct{}) {
	return [2]relation{r.relateBox(low.Bounds()), r.relateBox(high.Bounds())}, s
}

func (r boxRegion) relateBox(b Box) relation {
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
