package geohash

import (
	"math"

	"github.com/ashlar-go/ashlar/internal/minheap"
)

// A Found is a point of an [Index].
type Found[K comparable] struct {
	Key K
	Point
	Distance float64 // metres, by [Distance]; 0 from a search in a box
}

// A Query narrows a search. Nil means no limits.
type Query[K comparable] struct {
	// Within is the largest distance in metres. Zero means no limit.
	Within float64
	// Filter says which keys count. It is called within the search, for about
	// as many keys as are found, without any lock held.
	Filter func(K) bool
}

// A search is the memory of one search, kept for later ones.
type search[K comparable] struct {
	open  minheap.Heap[float64, *node[K]] // by the least haversine
	stack []*node[K]
	near  []spot[K]
	best  minheap.Heap[float64, hit[K]] // by the haversine, negative: the farthest first
	keys  map[K]struct{}
}

type hit[K comparable] struct {
	key K
	Point
}

func (ix *Index[K]) begin() *search[K] {
	if s, ok := ix.scratch.Get().(*search[K]); ok {
		return s
	}
	return new(search[K])
}

func (ix *Index[K]) finish(s *search[K]) {
	const much = 1 << 12
	if cap(s.near) > much || cap(s.best) > much {
		return
	}
	s.keys = nil
	ix.scratch.Put(s)
}

// Nearest appends the k points nearest to a place to dst, the nearest first; those
// of equal distance in any order. There are fewer if the index has no more, or if
// q says so. It visits the leaves in the order of their distance until none can
// hold a nearer point, and allocates nothing beyond dst.
func (ix *Index[K]) Nearest(dst []Found[K], lat, lon float64, k int, q *Query[K]) ([]Found[K], error) {
	if err := check(lat, lon); err != nil {
		return dst, err
	}
	if k < 0 {
		return dst, invalid("%d points", k)
	}
	var none Query[K]
	if q == nil {
		q = &none
	}
	if !(q.Within >= 0) {
		return dst, invalid("a distance of %v metres", q.Within)
	}
	if k == 0 {
		return dst, nil
	}
	o := newOrigin(lat, lon)
	s := ix.begin()
	defer ix.finish(s)
	ix.nearest(s, &o, k, q)
	// Take the farthest first, from the end.
	n := len(dst)
	dst = append(dst, make([]Found[K], len(s.best))...)
	for i := len(dst) - 1; i >= n; i-- {
		top := s.best.Pop()
		dst[i] = Found[K]{top.Value.key, top.Value.Point, metres(-top.Key)}
	}
	return dst, nil
}

// A traffic tells whether points may be in two leaves of a search: they have crossed
// meanwhile, or a leaf was replaced.
type traffic struct {
	begun uint64
	moved bool
}

func (ix *Index[K]) watch() traffic {
	ended := ix.ended.Load() // first, so that what is on its way now counts
	begun := ix.begun.Load()
	return traffic{begun, begun != ended}
}

func (ix *Index[K]) moved(t *traffic) bool {
	t.moved = t.moved || ix.begun.Load() != t.begun
	return t.moved
}

// instead returns what is now where a leaf was that is dead: a leaf that has all of its
// cell, a branch, or nil.
func (ix *Index[K]) instead(dead *node[K]) *node[K] {
	n := ix.root
	for n != nil && n.kids != nil && n.depth < dead.depth {
		n = n.kids.child[n.number(dead.hash)].Load()
	}
	return n
}

func (ix *Index[K]) nearest(s *search[K], o *origin, k int, q *Query[K]) {
	now := ix.moment()
	t := ix.watch()
	worst := 2.0 // all that counts is nearer
	if q.Within > 0 {
		worst = haversineOf(q.Within)*(1+1e-14) + slack
	}
	f := newSieve(o, worst)
	s.best, s.open, s.keys = s.best[:0], s.open[:0], nil
	s.open.Push(0, ix.root)
	for len(s.open) > 0 {
		b := s.open.Pop()
		if b.Key >= worst {
			break
		}
		n := b.Value
		if n.kids != nil {
			var bounds [fan]float64
			n.kids.edges.bound(o, &bounds)
			for i := range bounds {
				if bounds[i] < worst {
					if c := n.kids.child[i].Load(); c != nil {
						s.open.Push(bounds[i], c)
					}
				}
			}
			continue
		}
		if !s.sift(n, &f) {
			// The leaf was replaced, perhaps by one that holds what was seen in another.
			t.moved = true
			if m := ix.instead(n); m != nil {
				s.open.Push(b.Key, m)
			}
			continue
		}
		var last *spot[K]
		var h float64
		for i := range s.near {
			c := &s.near[i]
			if !ix.alive(c.seen, now) {
				continue
			}
			if last == nil || !last.at(c) {
				h = o.haversine(c.lat, c.lon)
				last = c
			}
			if h >= worst || q.Within > 0 && metres(h) > q.Within || q.Filter != nil && !q.Filter(c.key) {
				continue
			}
			if ix.moved(&t) && s.has(c.key) {
				continue // it moved from where it was found to here
			}
			if len(s.best) == k {
				gone := s.best.Pop()
				if s.keys != nil {
					delete(s.keys, gone.Value.key)
				}
			}
			s.best.Push(-h, hit[K]{c.key, Point{c.lat, c.lon}})
			if s.keys != nil {
				s.keys[c.key] = struct{}{}
			}
			if len(s.best) == k {
				worst = -s.best[0].Key
				f.narrow(worst)
			}
		}
	}
}

// has reports whether a key was found already.
func (s *search[K]) has(key K) bool {
	if s.keys == nil {
		if len(s.best) <= 64 {
			for i := range s.best {
				if s.best[i].Value.key == key {
					return true
				}
			}
			return false
		}
		s.keys = make(map[K]struct{}, len(s.best))
		for i := range s.best {
			s.keys[s.best[i].Value.key] = struct{}{}
		}
	}
	_, ok := s.keys[key]
	return ok
}

// A sieve lets through the points whose haversine may be below a limit, by their
// short vectors.
type sieve struct {
	x, y, z float32
	limit   float32 // of the squared chord
}

func newSieve(o *origin, h float64) sieve {
	f := sieve{
		x: float32(o.cosLat * o.cosLon), y: float32(o.cosLat * o.sinLon), z: float32(o.sinLat),
	}
	f.narrow(h)
	return f
}

// narrow sets the limit. Each coordinate is off by up to 2^-25 on either side.
func (f *sieve) narrow(h float64) {
	chord := 2*math.Sqrt(h)*(1+1e-6) + 1.2e-7
	f.limit = float32(chord * chord * (1 + 1e-6))
}

// sift copies what the sieve lets through of a leaf. It returns false if the leaf
// was replaced.
func (s *search[K]) sift(n *node[K], f *sieve) bool {
	s.near = s.near[:0]
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.dead {
		return false
	}
	for i := range n.spots {
		p := &n.spots[i]
		dx, dy, dz := p.x-f.x, p.y-f.y, p.z-f.z
		if dx*dx+dy*dy+dz*dz <= f.limit {
			s.near = append(s.near, *p)
		}
	}
	return true
}

// Radius appends all points within metres of a place to dst, in no particular
// order. Filter may be nil; it is called without any lock held.
func (ix *Index[K]) Radius(dst []Found[K], lat, lon, metres float64, filter func(K) bool) ([]Found[K], error) {
	if err := check(lat, lon); err != nil {
		return dst, err
	}
	if !(metres >= 0) {
		return dst, invalid("a radius of %v metres", metres)
	}
	r := disc{newOrigin(lat, lon), metres, haversineOf(metres)*(1+1e-14) + slack}
	return collect(ix, dst, &r, filter), nil
}

// Box appends all points in a box to dst, in no particular order. Filter may be
// nil; it is called without any lock held.
func (ix *Index[K]) Box(dst []Found[K], b Box, filter func(K) bool) ([]Found[K], error) {
	if err := b.check(); err != nil {
		return dst, err
	}
	return collect(ix, dst, &frame{b}, filter), nil
}

// A zone is what Radius and Box search.
type zone interface {
	// children says which children of a branch may hold points of it.
	children(q *quarters, may *[fan]bool)
	// sieve returns one for its points, if there is any.
	sieve() sieve
	// has reports whether a point is in it, and how far from its middle.
	has(lat, lon float64) (distance float64, ok bool)
}

type disc struct {
	o origin
	m float64
	h float64
}

func (d *disc) children(q *quarters, may *[fan]bool) {
	var bounds [fan]float64
	q.bound(&d.o, &bounds)
	for i := range bounds {
		may[i] = bounds[i] <= d.h
	}
}

func (d *disc) sieve() sieve { return newSieve(&d.o, d.h) }

func (d *disc) has(lat, lon float64) (float64, bool) {
	m := metres(d.o.haversine(lat, lon))
	return m, m <= d.m
}

type frame struct{ Box }

func (f *frame) children(q *quarters, may *[fan]bool) {
	for i := range may {
		x, y := column(i), row(i)
		may[i] = f.South <= q.lat[y+1] && q.lat[y] <= f.North && f.meetsLon(q.lon[x], q.lon[x+1])
	}
}

func (f *frame) meetsLon(west, east float64) bool {
	if f.West > f.East {
		return east >= f.West || west <= f.East
	}
	return west <= f.East && east >= f.West || west == -180 && f.East == 180 || east == 180 && f.West == -180
}

func (f *frame) sieve() sieve { return sieve{limit: 4} } // all: the vectors are of length 1

func (f *frame) has(lat, lon float64) (float64, bool) { return 0, f.Contains(lat, lon) }

func collect[K comparable](ix *Index[K], dst []Found[K], z zone, filter func(K) bool) []Found[K] {
	s := ix.begin()
	defer ix.finish(s)
	begin := len(dst)
	f := z.sieve()
	now := ix.moment()
	t := ix.watch()
	s.stack = append(s.stack[:0], ix.root)
	for len(s.stack) > 0 {
		n := s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		if n.kids != nil {
			var may [fan]bool
			z.children(&n.kids.edges, &may)
			for i := range may {
				if may[i] {
					if c := n.kids.child[i].Load(); c != nil {
						s.stack = append(s.stack, c)
					}
				}
			}
			continue
		}
		if !s.sift(n, &f) {
			t.moved = true
			if m := ix.instead(n); m != nil {
				s.stack = append(s.stack, m)
			}
			continue
		}
		for i := range s.near {
			c := &s.near[i]
			m, ok := z.has(c.lat, c.lon)
			if ok && ix.alive(c.seen, now) && (filter == nil || filter(c.key)) {
				dst = append(dst, Found[K]{c.key, Point{c.lat, c.lon}, m})
			}
		}
	}
	if !ix.moved(&t) {
		return dst
	}
	// What moved meanwhile may be there twice.
	keys := make(map[K]struct{}, len(dst)-begin)
	found := dst[begin:begin]
	for _, x := range dst[begin:] {
		if _, ok := keys[x.Key]; !ok {
			keys[x.Key] = struct{}{}
			found = append(found, x)
		}
	}
	return dst[:begin+len(found)]
}

// quarters are the edges of the sixteen children of a branch, four by four, with
// their sines and cosines.
type quarters struct {
	lat, sinLat, cosLat [5]float64
	lon, sinLon, cosLon [5]float64
}

func (q *quarters) set(b Box) {
	for i := range q.lat {
		q.lat[i] = b.South + (b.North-b.South)*float64(i)/4 // exact
		q.lon[i] = b.West + (b.East-b.West)*float64(i)/4
		q.sinLat[i], q.cosLat[i] = sincos(q.lat[i])
		q.sinLon[i], q.cosLon[i] = sincos(q.lon[i])
	}
}

// column and row of a child: its bits are of longitude and latitude in turn.
func column(i int) int { return i>>2&2 | i>>1&1 }
func row(i int) int    { return i>>1&2 | i&1 }

// bound sets lower bounds of the haversines of the points in each child, as
// [origin.nearest] does.
func (q *quarters) bound(o *origin, h *[fan]float64) {
	var cos [5]float64
	for i := range cos {
		cos[i] = o.cosLon*q.cosLon[i] + o.sinLon*q.sinLon[i]
	}
	for x := range 4 {
		near := 1.0
		if o.lon < q.lon[x] || o.lon > q.lon[x+1] {
			near = max(cos[x], cos[x+1])
		}
		a, b := o.sinLat, o.cosLat*near
		var at [5]float64
		for i := range at {
			at[i] = a*q.sinLat[i] + b*q.cosLat[i]
		}
		for y := range 4 {
			dot := max(at[y], at[y+1])
			if a*q.cosLat[y] >= b*q.sinLat[y] && a*q.cosLat[y+1] <= b*q.sinLat[y+1] {
				dot = math.Sqrt(a*a + b*b)
			}
			h[x>>1<<3|y>>1<<2|x&1<<1|y&1] = (1-dot)/2 - slack
		}
	}
}
