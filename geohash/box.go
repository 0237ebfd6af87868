package geohash

import "math"

// EarthRadius is the mean radius in metres (IUGG) of the sphere on which all
// distances are measured. The real Earth differs by up to 0.56 %.
const EarthRadius = 6371008.8

// A Box is a rectangle in degrees, with its edges. If West is above East it
// crosses the antimeridian.
type Box struct{ South, West, North, East float64 }

// Contains reports whether a point is in the box.
func (b Box) Contains(lat, lon float64) bool {
	if !(lat >= b.South && lat <= b.North) {
		return false
	}
	return b.hasLon(lon) || lon == 180 && b.hasLon(-180) || lon == -180 && b.hasLon(180)
}

func (b Box) hasLon(lon float64) bool {
	if b.West <= b.East {
		return b.West <= lon && lon <= b.East
	}
	return lon >= b.West || lon <= b.East
}

func (b Box) check() error {
	if err := check(b.South, b.West); err != nil {
		return err
	}
	if err := check(b.North, b.East); err != nil {
		return err
	}
	if b.South > b.North {
		return invalid("a box from latitude %v up to %v", b.South, b.North)
	}
	return nil
}

// Wrap returns the longitude in [-180, 180) of any finite one.
func Wrap(lon float64) float64 {
	if lon >= -180 && lon < 180 {
		return lon
	}
	lon = math.Mod(lon, 360) // exact
	switch {
	case lon < -180:
		lon += 360
	case lon >= 180:
		lon -= 360
	}
	return lon
}

const radians = math.Pi / 180

// Distance returns the metres between two points along a great circle, by the
// haversine formula: exact to some nanometres for near points, and to some
// centimetres for opposite ones.
func Distance(lat1, lon1, lat2, lon2 float64) float64 {
	o := newOrigin(lat1, lon1)
	return metres(o.haversine(lat2, lon2))
}

// metres returns the length of the arc whose haversine is h.
func metres(h float64) float64 { return 2 * EarthRadius * math.Asin(math.Sqrt(min(h, 1))) }

// haversineOf undoes metres, up to rounding.
func haversineOf(m float64) float64 {
	if m >= math.Pi*EarthRadius {
		return 1
	}
	s := math.Sin(m / (2 * EarthRadius))
	return s * s
}

// An origin is a point from which distances are measured.
type origin struct {
	lat, lon       float64 // degrees
	sinLat, cosLat float64
	sinLon, cosLon float64
}

func newOrigin(lat, lon float64) origin {
	o := origin{lat: lat, lon: lon}
	o.sinLat, o.cosLat = sincos(lat)
	o.sinLon, o.cosLon = sincos(lon)
	return o
}

// sincos takes degrees. At a pole the cosine is 0, so that all its longitudes are
// one point.
func sincos(deg float64) (sin, cos float64) {
	sin, cos = math.Sincos(deg * radians)
	if deg == 90 || deg == -90 {
		cos = 0
	}
	return sin, cos
}

// haversine returns sin²(d/2) for the angle d to a point. It grows with the
// distance.
func (o *origin) haversine(lat, lon float64) float64 {
	a := math.Sin((lat - o.lat) * (radians / 2))
	b := math.Sin((lon - o.lon) * (radians / 2))
	cos := math.Cos(lat * radians)
	if lat == 90 || lat == -90 {
		cos = 0
	}
	return a*a + o.cosLat*cos*b*b
}

// An edges is what is needed of a rectangle that does not cross the antimeridian
// to bound its distance: its limits, and their sines and cosines.
type edges struct {
	box        Box
	sinS, cosS float64
	sinN, cosN float64
	sinW, cosW float64
	sinE, cosE float64
}

func newEdges(b Box) edges {
	e := edges{box: b}
	e.sinS, e.cosS = sincos(b.South)
	e.sinN, e.cosN = sincos(b.North)
	e.sinW, e.cosW = sincos(b.West)
	e.sinE, e.cosE = sincos(b.East)
	return e
}

// slack covers what rounding does to a haversine found by way of a cosine: a
// quarter of a metre for near points.
const slack = 4e-16

// nearest returns a lower bound of the haversine of all points in the rectangle,
// as close as slack.
//
// At a given latitude the nearest point has the nearest longitude. Along that
// meridian the cosine of the distance is a sine curve of the latitude, with a
// period of which at most half is on the Earth: its largest value is at its top
// if that is in the rectangle, and else at an end.
func (o *origin) nearest(e *edges) float64 {
	cos := 1.0
	if o.lon < e.box.West || o.lon > e.box.East {
		cos = max(o.cosLon*e.cosW+o.sinLon*e.sinW, o.cosLon*e.cosE+o.sinLon*e.sinE)
	}
	return (1-largest(o.sinLat, o.cosLat*cos, e.sinS, e.cosS, e.sinN, e.cosN))/2 - slack
}

// farthest returns an upper bound: a point is as far as its opposite is near.
func (o *origin) farthest(e *edges) float64 {
	lon := o.lon - 180
	if lon < -180 {
		lon += 360
	}
	cos := 1.0
	if lon < e.box.West || lon > e.box.East {
		cos = -min(o.cosLon*e.cosW+o.sinLon*e.sinW, o.cosLon*e.cosE+o.sinLon*e.sinE)
	}
	return (1+largest(-o.sinLat, o.cosLat*cos, e.sinS, e.cosS, e.sinN, e.cosN))/2 + slack
}

// largest returns the largest a*sin(x) + b*cos(x) for x from south to north.
func largest(a, b, sinS, cosS, sinN, cosN float64) float64 {
	if a*cosS >= b*sinS && a*cosN <= b*sinN {
		return math.Sqrt(a*a + b*b)
	}
	return max(a*sinS+b*cosS, a*sinN+b*cosN)
}
