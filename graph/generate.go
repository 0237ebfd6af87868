package graph

import (
	"fmt"
	"math"
)

// Generate makes a network of about w×h nodes that behaves like roads, always the same
// for a seed, with the time for each arc in milliseconds and its length in decimetres.
//
// It is a grid of streets, 120 m apart and somewhat crooked, that is cut in two again and
// again; a cut through A nodes leaves only about 0.6·∛A streets across. Real networks
// have cuts of this order, a plain grid has √A. Streets across large cuts are fast, 90,
// 60 and 40 km/h, the others 25; a tenth of the slower ones are one-way. Only the largest
// connected part is kept. 1 ≤ w, h and w·h ≤ 2^26.
func Generate(w, h int, seed uint64) (g *Graph, millis, decimetres []uint32, err error) {
	if w < 1 || h < 1 || w > 1<<26/h {
		return nil, nil, nil, fmt.Errorf("%w: a network of %d × %d nodes", ErrInvalid, w, h)
	}
	m := streets{w: w, random: splitmix(seed), right: make([]int8, w*h), below: make([]int8, w*h)}
	m.cut(0, 0, w, h)
	x, y := make([]float64, w*h), make([]float64, w*h)
	parts := newUnion(w * h)
	for i := range x {
		x[i] = 120 * (float64(i%w) + 0.7*(m.random.float()-0.5))
		y[i] = 120 * (float64(i/w) + 0.7*(m.random.float()-0.5))
	}
	m.each(func(a, b int, _ int8) { parts.join(uint32(a), uint32(b)) })
	id := parts.largest()
	n := 0
	for i := range id {
		if id[i] != none {
			id[i] = uint32(n)
			n++
		}
	}
	b := NewBuilder(n)
	const lat, lon = 40, 0
	metresPerDegree := earthRadius * math.Pi / 180
	for i := range id {
		if id[i] != none {
			b.SetCoord(id[i], lat+y[i]/metresPerDegree, lon+x[i]/metresPerDegree/math.Cos(lat*math.Pi/180))
		}
	}
	m.each(func(i, j int, class int8) {
		if id[i] == none {
			return
		}
		d := math.Hypot(x[i]-x[j], y[i]-y[j])
		t := uint32(max(1, math.Round(d*3600/kmh[class])))
		l := uint32(max(1, math.Round(d*10)))
		b.AddArc(id[i], id[j])
		millis, decimetres = append(millis, t), append(decimetres, l)
		oneWay := splitmix(uint64(i)<<32 | uint64(j) ^ seed)
		if class >= 3 && oneWay.next()%10 == 0 {
			return
		}
		b.AddArc(id[j], id[i])
		millis, decimetres = append(millis, t), append(decimetres, l)
	})
	g, err = b.Build()
	return g, millis, decimetres, err
}

// kmh holds the speed of each class of street; class 0 is no street.
var kmh = [...]float64{0, 90, 60, 40, 25}

// Streets are classes of the edges of a grid that is w nodes wide: from node i to the
// one to its right and the one below. 0 is none.
type streets struct {
	w            int
	random       splitmix
	right, below []int8
}

// cut makes the streets among the nodes x0 ≤ x < x1, y0 ≤ y < y1.
func (m *streets) cut(x0, y0, x1, y1 int) {
	dx, dy := x1-x0, y1-y0
	if dx*dy <= 12 || dx < 2 && dy < 2 {
		for y := y0; y < y1; y++ {
			for x := x0; x < x1; x++ {
				if x+1 < x1 && m.random.float() < 0.92 {
					m.right[y*m.w+x] = 4
				}
				if y+1 < y1 && m.random.float() < 0.80 {
					m.below[y*m.w+x] = 4
				}
			}
		}
		return
	}
	class := int8(4)
	switch area := dx * dy; {
	case area > 40000:
		class = 1
	case area > 3000:
		class = 2
	case area > 200:
		class = 3
	}
	crossing := int(math.Ceil(0.6 * math.Cbrt(float64(dx*dy))))
	if dx >= dy {
		x := max(x0+1, min(x0+dx/2-dx/8+m.random.n(dx/4+1), x1-1))
		for range crossing {
			if s := &m.right[(y0+m.random.n(dy))*m.w+x-1]; *s == 0 {
				*s = class
			}
		}
		m.cut(x0, y0, x, y1)
		m.cut(x, y0, x1, y1)
		return
	}
	y := max(y0+1, min(y0+dy/2-dy/8+m.random.n(dy/4+1), y1-1))
	for range crossing {
		if s := &m.below[(y-1)*m.w+x0+m.random.n(dx)]; *s == 0 {
			*s = class
		}
	}
	m.cut(x0, y0, x1, y)
	m.cut(x0, y, x1, y1)
}

func (m *streets) each(f func(i, j int, class int8)) {
	for i := range m.right {
		if m.right[i] > 0 {
			f(i, i+1, m.right[i])
		}
		if m.below[i] > 0 {
			f(i, i+m.w, m.below[i])
		}
	}
}

// A splitmix is the generator of Steele, Lea and Flood (2014).
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s *splitmix) n(n int) int    { return int(s.next() % uint64(n)) }
func (s *splitmix) float() float64 { return float64(s.next()>>11) / (1 << 53) }

// A union joins sets of nodes (Galler and Fischer, 1964).
type union []uint32

func newUnion(n int) union {
	u := make(union, n)
	for i := range u {
		u[i] = uint32(i)
	}
	return u
}

func (u union) find(x uint32) uint32 {
	for u[x] != x {
		u[x] = u[u[x]]
		x = u[x]
	}
	return x
}

func (u union) join(a, b uint32) { u[u.find(a)] = u.find(b) }

// largest returns for each node the name of its set if that is the largest, else none.
func (u union) largest() []uint32 {
	size := make([]uint32, len(u))
	best := uint32(0)
	for i := range u {
		r := u.find(uint32(i))
		if size[r]++; size[r] > size[best] {
			best = r
		}
	}
	set := make([]uint32, len(u))
	for i := range u {
		if set[i] = u.find(uint32(i)); set[i] != best {
			set[i] = none
		}
	}
	return set
}
