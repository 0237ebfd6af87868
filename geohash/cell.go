package geohash

import (
	"math"
	"math/bits"
	"strconv"
)

// MaxBits is the largest precision of a [Cell]: 12 characters, about 37 by 19
// millimetres at the equator.
const MaxBits = 60

// World is the cell of 0 bits, which contains all others. Its text is "".
const World Cell = 1 << 63

const (
	lonBits = 0xaaaaaaaaaaaaaaaa // bit 63 is the first of longitude
	latBits = 0x5555555555555555
)

// A Cell is a rectangle of latitude and longitude: the one that the first bits of
// a point's geohash name. It has 1 to 60 bits (or 0, see [World]), which halve
// longitude and latitude in turn. A cell includes its south and west edges and
// not its north and east ones; only at the north pole it includes both.
//
// The bits stand at the top of the number, followed by a one and zeros. So
// cells of any precision are ordered along the curve by <, and all that a cell
// contains lies between the two ends of its [Cell.Range]: a column of cells in
// a sorted store can be scanned as it is.
//
// The zero Cell is not valid: its methods return zeros, and it contains nothing.
type Cell uint64

// CellAt returns the cell of a point in degrees, with 1 to 60 bits. Longitude
// 180 is the same as -180. It costs a few nanoseconds.
func CellAt(lat, lon float64, bits int) (Cell, error) {
	if uint(bits-1) >= MaxBits {
		return 0, invalid("%d bits, want 1 to %d", bits, MaxBits)
	}
	y, x := fraction(lat, 180), fraction(lon, 360)
	if uncertain(y, x) {
		if err := check(lat, lon); err != nil {
			return 0, err
		}
		return cut(slowCurve(lat, lon), bits), nil
	}
	return cut(interleave(uint32(x>>20), uint32(y>>20)), bits), nil
}

// CellOf returns the cell whose first bits are the last ones of hash: what
// other libraries return as integer geohash. Hash must be below 1<<bits.
func CellOf(hash uint64, bits int) (Cell, error) {
	if uint(bits-1) >= MaxBits {
		return 0, invalid("%d bits, want 1 to %d", bits, MaxBits)
	}
	if hash>>bits != 0 {
		return 0, invalid("hash %#x has more than %d bits", hash, bits)
	}
	return Cell(hash<<(64-bits) | 1<<(63-bits)), nil
}

// cut returns the cell of the first n bits of a position on the curve.
func cut(h uint64, n int) Cell {
	one := uint64(1) << (uint(63-n) & 63)
	return Cell(h&-(one<<1) | one)
}

// curve returns the 64 bits of a valid point: 32 of longitude and 32 of latitude
// interleaved.
func curve(lat, lon float64) uint64 {
	y, x := fraction(lat, 180), fraction(lon, 360)
	if uncertain(y, x) {
		return slowCurve(lat, lon)
	}
	return interleave(uint32(x>>20), uint32(y>>20))
}

// fraction returns where v is on an axis of that length around 0. Between 1 and 2 the
// last 52 bits of a float64 are a binary fraction, of which the first 32 will count:
// rounding cannot have changed them unless the other 20 are all close to a carry.
func fraction(v, length float64) uint64 { return math.Float64bits(v*(1/length) + 1.5) }

// uncertain reports whether rounding may have changed a bit that counts, or a value
// is outside its axis.
func uncertain(y, x uint64) bool {
	const one, doubt, rest = 0x3ff, 8, 1<<20 - 1
	return (y>>52^one)|(x>>52^one) != 0 || (y+doubt)&rest < 2*doubt || (x+doubt)&rest < 2*doubt
}

// slowCurve returns the curve of any valid point.
func slowCurve(lat, lon float64) uint64 { return interleave(steps(lon, 360), steps(lat, 180)) }

// steps returns how many of the 2^32 parts of an axis of the given length, around
// 0, lie wholly below v; the last one for its end, but the first on the axis of
// longitude, which is a circle. It is exact.
func steps(v, length float64) uint32 {
	n := int64(math.Floor((v/length + 0.5) * (1 << 32)))
	for n > 0 && edge(n, length) > v {
		n--
	}
	for n < 1<<32 && edge(n+1, length) <= v {
		n++
	}
	if n >= 1<<32 {
		if length == 360 {
			return 0
		}
		return 1<<32 - 1
	}
	return uint32(max(n, 0))
}

// edge returns where part n of 2^32 begins. It is exact: 360 is 45 times a power
// of two, and 45n has less than 53 bits.
func edge(n int64, length float64) float64 {
	return float64(n)*(length/(1<<32)) - length/2
}

// interleave returns the bits of x and y in turn, x first.
func interleave(x, y uint32) uint64 { return spread(x)<<1 | spread(y) }

func spread(v uint32) uint64 {
	return uint64(spaced[v&2047]) | uint64(spaced[v>>11&2047])<<22 | uint64(spaced[v>>22])<<44
}

// spaced has zeros between the bits of its index.
var spaced = func() (t [2048]uint32) {
	for i := range t {
		for b := range 11 {
			t[i] |= uint32(i>>b&1) << (2 * b)
		}
	}
	return t
}()

// gather undoes spread for the even bits of x.
func gather(x uint64) uint32 {
	x &= 0x5555555555555555
	x = (x | x>>1) & 0x3333333333333333
	x = (x | x>>2) & 0x0f0f0f0f0f0f0f0f
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

// Valid reports whether c has 0 to 60 bits.
func (c Cell) Valid() bool { return c != 0 && bits.TrailingZeros64(uint64(c)) >= 63-MaxBits }

// Bits returns the precision, 0 to 60.
func (c Cell) Bits() int {
	if !c.Valid() {
		return 0
	}
	return 63 - bits.TrailingZeros64(uint64(c))
}

// Int returns the bits as an integer below 1<<Bits: the integer geohash of other
// libraries.
func (c Cell) Int() uint64 {
	if !c.Valid() {
		return 0
	}
	return uint64(c) >> 1 >> bits.TrailingZeros64(uint64(c))
}

// hash returns the bits at the top.
func (c Cell) hash() uint64 { return uint64(c) & (uint64(c) - 1) }

// Bounds returns the cell's rectangle. Its numbers are exact: a point is in the
// cell if and only if it is in the rectangle, by the rule for edges in [Cell].
func (c Cell) Bounds() Box {
	if !c.Valid() {
		return Box{}
	}
	n := c.Bits()
	x, y := int64(gather(c.hash()>>1)), int64(gather(c.hash()))
	w, h := int64(1)<<(32-(n+1)/2), int64(1)<<(32-n/2)
	return Box{South: edge(y, 180), West: edge(x, 360), North: edge(y+h, 180), East: edge(x+w, 360)}
}

// Center returns the middle of the cell's rectangle.
func (c Cell) Center() (lat, lon float64) {
	b := c.Bounds()
	return (b.South + b.North) / 2, (b.West + b.East) / 2
}

// Range returns the first and the last cell of 60 bits in c. Whatever c contains,
// of any precision, lies between them by <=, and nothing else does.
func (c Cell) Range() (first, last Cell) {
	if !c.Valid() {
		return 0, 0
	}
	low := uint64(c) & -uint64(c)
	const one = 1 << (63 - MaxBits)
	return Cell(uint64(c) - low + one), Cell(uint64(c) + low - one)
}

// Contains reports whether d is c or lies in it.
func (c Cell) Contains(d Cell) bool {
	first, last := c.Range()
	return c.Valid() && d.Valid() && first <= d && d <= last
}

// Parent returns the cell of fewer bits that contains c, or 0 if c has not as
// many.
func (c Cell) Parent(bits int) Cell {
	if bits < 0 || !c.Valid() || bits > c.Bits() {
		return 0
	}
	return cut(c.hash(), bits)
}

// Children returns the two halves of c, or zeros if c has 60 bits.
func (c Cell) Children() (low, high Cell) {
	n := c.Bits()
	if !c.Valid() || n == MaxBits {
		return 0, 0
	}
	return cut(c.hash(), n+1), cut(c.hash()|1<<(63-n), n+1)
}

// A Direction is one of eight, clockwise.
type Direction int

// The eight directions.
const (
	North Direction = iota
	NorthEast
	East
	SouthEast
	South
	SouthWest
	West
	NorthWest
)

var directions = [...]string{"north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"}

// String returns the direction's name, such as "north-east".
func (d Direction) String() string {
	if uint(d) >= uint(len(directions)) {
		return "direction " + strconv.Itoa(int(d))
	}
	return directions[d]
}

// Neighbor returns the cell of the same precision next to c. East and west go
// round the Earth; there is none beyond a pole, nor of a cell that spans the
// whole axis: then ok is false.
func (c Cell) Neighbor(d Direction) (n Cell, ok bool) {
	if uint(d) >= uint(len(directions)) || !c.Valid() || c == World {
		return 0, false
	}
	g := c.grid()
	lon, lat := c.hash()&lonBits, c.hash()&latBits
	switch d {
	case NorthEast, East, SouthEast:
		lon = g.east(lon)
	case NorthWest, West, SouthWest:
		lon = g.west(lon)
	}
	ok = true
	switch d {
	case NorthWest, North, NorthEast:
		lat, ok = g.north(lat)
	case SouthWest, South, SouthEast:
		lat, ok = g.south(lat)
	}
	if !ok {
		return 0, false
	}
	return Cell(lon | lat | g.low), true
}

// AppendNeighbors appends the cells around c, without repetition: 8, or 5 at a
// pole, clockwise from the north; fewer where the precision is of one or two
// bits.
func (c Cell) AppendNeighbors(dst []Cell) []Cell {
	if !c.Valid() || c == World {
		return dst
	}
	g := c.grid()
	lon, lat := c.hash()&lonBits, c.hash()&latBits
	e, w := g.east(lon)|g.low, g.west(lon)|g.low
	lon |= g.low
	if g.low >= 1<<61 { // one or two bits: east is west
		return c.fewNeighbors(dst)
	}
	n, up := g.north(lat)
	s, down := g.south(lat)
	switch {
	case up && down:
		return append(dst, Cell(lon|n), Cell(e|n), Cell(e|lat), Cell(e|s), Cell(lon|s), Cell(w|s), Cell(w|lat), Cell(w|n))
	case up:
		return append(dst, Cell(lon|n), Cell(e|n), Cell(e|lat), Cell(w|lat), Cell(w|n))
	default:
		return append(dst, Cell(e|lat), Cell(e|s), Cell(lon|s), Cell(w|s), Cell(w|lat))
	}
}

func (c Cell) fewNeighbors(dst []Cell) []Cell {
	begin := len(dst)
next:
	for d := North; d <= NorthWest; d++ {
		n, ok := c.Neighbor(d)
		if !ok || n == c {
			continue
		}
		for _, have := range dst[begin:] {
			if have == n {
				continue next
			}
		}
		dst = append(dst, n)
	}
	return dst
}

// A grid steps along the axes of interleaved bits. The bits of the other axis and
// those below are set first, so that a carry runs through them.
type grid struct {
	low      uint64 // the cell's last one
	lon, lat uint64 // bits of the axes
}

func (c Cell) grid() grid {
	low := uint64(c) & -uint64(c)
	return grid{low, lonBits & -(low << 1), latBits & -(low << 1)}
}

func (g grid) east(lon uint64) uint64 { return ((lon | ^g.lon) + 1) & g.lon }
func (g grid) west(lon uint64) uint64 { return (lon - 1) & g.lon }

func (g grid) north(lat uint64) (uint64, bool) {
	return ((lat | ^g.lat) + 1) & g.lat, lat != g.lat
}
func (g grid) south(lat uint64) (uint64, bool) { return (lat - 1) & g.lat, lat != 0 }
