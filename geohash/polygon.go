package geohash

import (
	"math"
	"math/bits"
)

// A Point is a point in degrees.
type Point struct{ Lat, Lon float64 }

// CoverPolygon appends to dst cells that contain every point of a polygon, as
// [CoverCircle] does. Each ring is a list of at least three corners; the last
// may repeat the first. What lies within an odd number of rings, or of turns of
// one ring, is inside, so that a hole is a ring within another, in either
// direction.
//
// Edges are straight in latitude and longitude, as in GeoJSON (RFC 7946, section
// 3.1.1), not great circles, and go the shorter way round the Earth: a polygon
// may lie across the antimeridian. A ring that goes once around the Earth has
// the pole inside that is nearer to the mean of its corners.
func CoverPolygon(dst []Cell, rings [][]Point, maxCells int) ([]Cell, error) {
	if maxCells < 1 {
		return dst, invalid("a cover of %d cells", maxCells)
	}
	if len(rings) == 0 {
		return dst, invalid("a polygon without rings")
	}
	p := new(polygon)
	for i, ring := range rings {
		if err := p.addRing(ring); err != nil {
			return dst, invalid("ring %d: %w", i, err)
		}
	}
	return p.cover(dst, maxCells), nil
}

// A line is an edge, from west to east.
type line struct{ west, south, east, north float64 } // south and north: latitudes at west and east

// A polygon is its edges, moved by full turns so that all that is over longitudes
// of -180 to 180 is there.
type polygon struct {
	lines       []line
	meet, below []int32 // of parts
}

func (p *polygon) addRing(ring []Point) error {
	if n := len(ring); n > 1 && ring[0] == ring[n-1] {
		ring = ring[:n-1]
	}
	if len(ring) < 3 {
		return invalid("%d corners, want 3", len(ring))
	}
	var mean float64
	for _, c := range ring {
		if err := check(c.Lat, c.Lon); err != nil {
			return err
		}
		mean += c.Lat
	}
	// One after the other, by the shorter way.
	path := make([]Point, 0, len(ring)+4)
	lon := ring[0].Lon
	for i, c := range ring {
		if i > 0 {
			lon += Wrap(c.Lon - ring[i-1].Lon)
		}
		path = append(path, Point{c.Lat, lon})
	}
	end := lon + Wrap(ring[0].Lon-ring[len(ring)-1].Lon)
	switch turns := math.Round((end - ring[0].Lon) / 360); {
	case math.Abs(turns) > 1:
		return invalid("goes %v times around the Earth", math.Abs(turns))
	case turns != 0:
		pole := math.Copysign(90, mean)
		end = ring[0].Lon + 360*turns
		path = append(path, Point{ring[0].Lat, end}, Point{pole, end}, Point{pole, ring[0].Lon})
	}
	for i, a := range path {
		b := path[(i+1)%len(path)]
		if a.Lon > b.Lon {
			a, b = b, a
		}
		// A ring may go on and on eastwards before it comes back: each line counts with the
		// turns that bring it onto the map.
		for turn := 360 * math.Ceil((-180-b.Lon)/360); a.Lon+turn <= 180; turn += 360 {
			p.lines = append(p.lines, line{a.Lon + turn, a.Lat, b.Lon + turn, b.Lat})
		}
	}
	return nil
}

// room is added to a cell's rectangle on all sides, against rounding: 0.1 micrometres.
const room = 1e-12

// meets reports whether the line has a point in a rectangle.
func (l *line) meets(b *Box) bool {
	if l.east < b.West || l.west > b.East {
		return false
	}
	if min(l.south, l.north) > b.North || max(l.south, l.north) < b.South {
		return false
	}
	// The part above the rectangle's longitudes.
	from, to := l.south, l.north
	if l.east > l.west {
		slope := (l.north - l.south) / (l.east - l.west)
		if l.west < b.West {
			from = l.south + slope*(b.West-l.west)
		}
		if l.east > b.East {
			to = l.north - slope*(l.east-b.East)
		}
	}
	return max(from, to) >= b.South && min(from, to) <= b.North
}

// below reports whether the line passes below a point; each longitude belongs to
// the edges that begin there or lie across it.
func (l *line) below(lat, lon float64) bool {
	if lon < l.west || lon >= l.east {
		return false
	}
	return l.south+(l.north-l.south)*((lon-l.west)/(l.east-l.west)) < lat
}

// A part is what of a polygon concerns a cell: the lines that meet it, those below it
// that share a part of its longitudes, and whether an odd number is below all of it.
type part struct {
	meet, below []int32 // numbers of lines
	odd         bool
}

func (p *polygon) cover(dst []Cell, maxCells int) []Cell {
	return new(cover[part]).append(dst, []Cell{p.whole()}, maxCells, p)
}

// whole returns a small cell that contains the polygon.
func (p *polygon) whole() Cell {
	low, high := ^uint64(0), uint64(0)
	for _, l := range p.lines {
		if l.west < -180 || l.east >= 180 {
			return World
		}
		for _, q := range [2]Point{{l.south, l.west}, {l.north, l.east}} {
			south, west := max(q.Lat-2*room, -90), max(q.Lon-2*room, -180)
			north, east := min(q.Lat+2*room, 90), min(q.Lon+2*room, 180-2*room)
			low = min(low, curve(south, west))
			high = max(high, curve(north, east))
		}
	}
	return cut(low, min(bits.LeadingZeros64(low^high), MaxBits))
}

func (p *polygon) relate(c Cell) (relation, part) {
	all := part{meet: make([]int32, len(p.lines))}
	for i := range all.meet {
		all.meet[i] = int32(i)
	}
	return p.narrow(&all, c.Bounds())
}

func (p *polygon) relateHalves(of *part, low, high Cell) (rel [2]relation, s [2]part) {
	rel[0], s[0] = p.narrow(of, low.Bounds())
	rel[1], s[1] = p.narrow(of, high.Bounds())
	return rel, s
}

// keepBelow notes a line of which what is over the rectangle's longitudes is below it.
func (s *part) keepBelow(p *polygon, i int32, b *Box) {
	switch l := &p.lines[i]; {
	case l.west >= b.East || l.east <= b.West:
	case l.west <= b.West && l.east >= b.East:
		s.odd = !s.odd
	default:
		p.below = append(p.below, i)
	}
}

// narrow returns what concerns a rectangle within that of a part.
func (p *polygon) narrow(of *part, b Box) (relation, part) {
	wide := Box{b.South - room, b.West - room, b.North + room, b.East + room}
	lat, lon := (b.South+b.North)/2, (b.West+b.East)/2
	s := part{odd: of.odd}
	n, m := len(p.meet), len(p.below)
	for _, i := range of.below {
		s.keepBelow(p, i, &b)
	}
	for _, i := range of.meet {
		switch l := &p.lines[i]; {
		case l.meets(&wide):
			p.meet = append(p.meet, i)
		case l.below(lat, min(max(lon, l.west), math.Nextafter(l.east, l.west))):
			s.keepBelow(p, i, &b)
		}
	}
	s.meet, s.below = p.meet[n:len(p.meet):len(p.meet)], p.below[m:len(p.below):len(p.below)]
	if len(s.meet) > 0 {
		return partly, s
	}
	// The middle is as good as any other point.
	odd := s.odd
	for _, i := range s.below {
		if l := &p.lines[i]; lon >= l.west && lon < l.east {
			odd = !odd
		}
	}
	if odd {
		return inside, s
	}
	return outside, s
}
