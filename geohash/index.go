package geohash

import (
	"hash/maphash"
	"iter"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// IndexOptions configures [NewIndex]. Nil, and a zero field, mean the default.
type IndexOptions struct {
	// TTL is for how long an item is found after it was last put, up to two
	// thousandths more. Zero or less means for ever.
	TTL time.Duration
	// Now is the clock for TTL. Default time.Now.
	Now func() time.Time
}

// An Index holds points that move, each under a key, and finds the nearest to any
// place, all within a radius, and all in a box: exactly, on the sphere, over the
// poles and the antimeridian.
//
// It is a radix tree over the bits of the geohash, four at a time. A leaf that
// grows beyond 128 points splits, and leaves that hold 16 together become one
// again, so that a crowded city has small cells and an ocean one. Each leaf has
// its own lock: moves in different streets do not meet, and a search holds the
// lock of one leaf while it copies what may matter.
//
// An Index is safe for concurrent use by multiple goroutines. A search sees each
// point where it was at some moment of the search, never twice; a point that
// crosses from one leaf to another meanwhile may be missed, which a search right
// after finds. All other points are exact.
//
// A point takes some 80 bytes with a key of 8. A leaf cannot split below a cell of
// 48 bits, 2.4 by 1.2 metres: what stands closer together than that is searched
// one by one.
type Index[K comparable] struct {
	root   *node[K]
	seed   maphash.Seed
	shards []shard[K]
	shift  int // of a hash, to a shard

	ttl   uint32 // in ticks; 0 for ever
	tick  time.Duration
	now   func() time.Time
	since time.Time

	scratch sync.Pool // of *search[K]

	_       [64]byte
	crossed atomic.Uint64 // how often a point has left a leaf
	_       [56]byte
}

// A shard maps a part of the keys to where they are. Lock order: a shard, then
// nodes from the root down, siblings by number.
type shard[K comparable] struct {
	mu    sync.Mutex
	where map[K]place
	swept uint32   // tick
	_     [40]byte // a cache line of its own
}

// A place is the first 48 bits of the curve, and in the low 16 the likely number
// in the leaf, or many.
type place uint64

const (
	treeBits = 48
	many     = 1<<16 - 1
)

func placeOf(h uint64, slot int) place {
	return place(h&^many | uint64(min(slot, many)))
}

func (p place) hash() uint64 { return uint64(p) &^ many }

// A spot is a point as a leaf keeps it.
type spot struct {
	lat, lon float64
	x, y, z  float32 // on the unit sphere
	seen     uint32  // tick
}

const (
	splitAbove = 128
	mergeAt    = 16
	fanBits    = 4
	fan        = 1 << fanBits
)

// A node is a leaf, or has children. Which of the two never changes: the node is
// replaced, and dead afterwards.
type node[K comparable] struct {
	hash  uint64 // the first depth bits
	depth int

	mu    sync.RWMutex
	dead  bool
	keys  []K
	spots []spot
	kids  *kids[K] // nil in a leaf
}

type kids[K comparable] struct {
	child [fan]atomic.Pointer[node[K]]
	edges quarters
}

// NewIndex returns an empty index.
func NewIndex[K comparable](opts *IndexOptions) *Index[K] {
	o := IndexOptions{}
	if opts != nil {
		o = *opts
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := 1 << bits.Len(uint(8*runtime.GOMAXPROCS(0)-1))
	ix := &Index[K]{
		root: newBranch[K](0, 0), seed: maphash.MakeSeed(), shards: make([]shard[K], n), shift: 64 - bits.Len(uint(n-1)),
		now: o.Now,
	}
	for i := range ix.shards {
		ix.shards[i].where = map[K]place{}
	}
	if o.TTL > 0 {
		// A thousandth of the TTL, but so that it is never reached early.
		ix.tick = max(o.TTL/1000, 1)
		ix.ttl = uint32(min((o.TTL+ix.tick-1)/ix.tick, math.MaxInt32))
		ix.since = o.Now()
	}
	return ix
}

// ticks returns the time now; 0 without TTL.
func (ix *Index[K]) ticks() uint32 {
	if ix.ttl == 0 {
		return 0
	}
	return uint32(ix.now().Sub(ix.since) / ix.tick)
}

// alive reports whether something seen then is found now. Ticks may wrap round.
func (ix *Index[K]) alive(seen, now uint32) bool {
	return ix.ttl == 0 || int32(now-seen) <= int32(ix.ttl)
}

func (ix *Index[K]) shard(key K) *shard[K] {
	return &ix.shards[maphash.Comparable(ix.seed, key)>>ix.shift]
}

func newBranch[K comparable](hash uint64, depth int) *node[K] {
	n := &node[K]{hash: hash, depth: depth, kids: &kids[K]{}}
	n.kids.edges.set(cut(hash, depth).Bounds())
	return n
}

// covers reports whether the position is in the node's cell.
func (n *node[K]) covers(h uint64) bool { return (h^n.hash)>>(63-n.depth)>>1 == 0 }

// number returns which child of n has the position.
func (n *node[K]) number(h uint64) int { return int(h << n.depth >> (64 - fanBits)) }

// find returns the leaf for a position, locked for writing, or nil and the locked
// branch that has none there. The path to it goes to the path.
func (ix *Index[K]) find(h uint64, path *path[K]) *node[K] {
again:
	path.n = 0
	n := ix.root
	for n.kids != nil {
		path.nodes[path.n] = n
		path.n++
		slot := &n.kids.child[n.number(h)]
		next := slot.Load()
		if next == nil {
			n.mu.Lock()
			if n.dead {
				n.mu.Unlock()
				goto again
			}
			if next = slot.Load(); next == nil {
				return n
			}
			n.mu.Unlock()
		}
		n = next
	}
	n.mu.Lock()
	if n.dead {
		n.mu.Unlock()
		goto again
	}
	return n
}

// A path is the branches above a leaf.
type path[K comparable] struct {
	nodes [treeBits/fanBits + 1]*node[K]
	n     int
}

// Put sets the point of a key in degrees, new or known, and begins its time to
// live anew. The errors are those of [CellAt], and for a key that is not equal to
// itself (NaN); then nothing has changed. It costs a look-up in a map and one in
// the tree.
func (ix *Index[K]) Put(key K, lat, lon float64) error {
	if err := check(lat, lon); err != nil {
		return err
	}
	if key != key { //nolint:staticcheck // NaN
		return invalid("a key that is not equal to itself: %v", key)
	}
	h := curve(lat, lon)
	s := spot{lat: lat, lon: lon, seen: ix.ticks()}
	s.x, s.y, s.z = vector(lat, lon)
	sh := ix.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if ix.ttl > 0 && s.seen-sh.swept > ix.ttl/2 {
		ix.sweep(sh, s.seen)
	}
	old, known := sh.where[key]
	var p path[K]
	if known {
		leaf := ix.find(old.hash(), &p)
		if leaf.covers(h) {
			i := leaf.index(key, old)
			leaf.spots[i] = s
			leaf.mu.Unlock()
			if now := placeOf(h, i); now != old {
				sh.where[key] = now
			}
			return nil
		}
		leaf.mu.Unlock()
		ix.crossed.Add(1)
	}
	// First there, then here: at no moment it is nowhere.
	i := ix.insert(key, s, h, &p)
	if known {
		ix.remove(key, old, &s, &p)
	}
	sh.where[key] = placeOf(h, i)
	return nil
}

func vector(lat, lon float64) (x, y, z float32) {
	sinLat, cosLat := sincos(lat)
	sinLon, cosLon := sincos(lon)
	return float32(cosLat * cosLon), float32(cosLat * sinLon), float32(sinLat)
}

// index returns the number of a key in the leaf. It must be there.
func (n *node[K]) index(key K, at place) int {
	if i := int(at & many); i < len(n.keys) && n.keys[i] == key {
		return i
	}
	return slices.Index(n.keys, key)
}

// insert adds a point to its leaf, and returns its number there.
func (ix *Index[K]) insert(key K, s spot, h uint64, p *path[K]) int {
	leaf := ix.find(h, p)
	if leaf.kids != nil {
		branch := leaf
		depth := branch.depth + fanBits
		leaf = &node[K]{hash: h &^ (1<<(64-depth) - 1), depth: depth, keys: []K{key}, spots: []spot{s}}
		branch.kids.child[branch.number(h)].Store(leaf)
		branch.mu.Unlock()
		return 0
	}
	leaf.keys = grow(leaf.keys)
	leaf.spots = grow(leaf.spots)
	leaf.keys = append(leaf.keys, key)
	leaf.spots = append(leaf.spots, s)
	i := len(leaf.keys) - 1
	if i >= splitAbove && leaf.depth < treeBits {
		ix.split(leaf, p)
	}
	leaf.mu.Unlock()
	return i
}

// grow makes room for one more, a quarter at a time.
func grow[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	t := make([]T, len(s), max(4, len(s)+len(s)/4+1))
	copy(t, s)
	return t
}

// split replaces a full leaf, which the caller has locked, by a branch.
func (ix *Index[K]) split(leaf *node[K], p *path[K]) {
	branch := newBranch[K](leaf.hash, leaf.depth)
	depth := leaf.depth + fanBits
	var counts [fan]int
	for i := range leaf.spots {
		counts[branch.number(leaf.spots[i].hash())]++
	}
	var leaves [fan]*node[K]
	for i := range leaf.spots {
		h := leaf.spots[i].hash()
		k := branch.number(h)
		if leaves[k] == nil {
			room := counts[k] + counts[k]/8
			leaves[k] = &node[K]{
				hash: h &^ (1<<(64-depth) - 1), depth: depth, keys: make([]K, 0, room), spots: make([]spot, 0, room),
			}
			branch.kids.child[k].Store(leaves[k])
		}
		leaves[k].keys = append(leaves[k].keys, leaf.keys[i])
		leaves[k].spots = append(leaves[k].spots, leaf.spots[i])
	}
	parent := p.nodes[p.n-1]
	parent.kids.child[parent.number(leaf.hash)].Store(branch)
	leaf.dead, leaf.keys, leaf.spots = true, nil, nil
}

func (s *spot) at(t *spot) bool { return s.lat == t.lat && s.lon == t.lon }

func (s *spot) hash() uint64 { return curve(s.lat, s.lon) }

// remove takes a point from its leaf: that of the key which is not kept.
func (ix *Index[K]) remove(key K, at place, kept *spot, p *path[K]) {
	leaf := ix.find(at.hash(), p)
	i := leaf.index(key, at)
	if kept != nil && leaf.spots[i].at(kept) {
		// Both have met in one leaf, by a merge.
		for i = 0; leaf.keys[i] != key || leaf.spots[i].at(kept); i++ {
		}
	}
	last := len(leaf.keys) - 1
	if i != last {
		leaf.keys[i], leaf.spots[i] = leaf.keys[last], leaf.spots[last]
	}
	var none K
	leaf.keys[last] = none
	leaf.keys, leaf.spots = leaf.keys[:last], leaf.spots[:last]
	leaf.mu.Unlock()
	if last == 0 && p.n > 1 {
		ix.merge(p)
	}
}

// merge makes one leaf of the last branch of the path if its leaves hold little
// together, and so on upwards.
func (ix *Index[K]) merge(p *path[K]) {
	for ; p.n > 1; p.n-- {
		if !p.nodes[p.n-1].few() || !ix.mergeOne(p.nodes[p.n-2], p.nodes[p.n-1]) {
			return
		}
	}
}

// few guesses whether a branch is worth a merge.
func (n *node[K]) few() bool {
	sum := 0
	for i := range n.kids.child {
		c := n.kids.child[i].Load()
		if c == nil {
			continue
		}
		if c.kids != nil {
			return false
		}
		c.mu.RLock()
		sum += len(c.keys)
		c.mu.RUnlock()
		if sum > mergeAt {
			return false
		}
	}
	return true
}

func (ix *Index[K]) mergeOne(parent, n *node[K]) bool {
	parent.mu.Lock()
	defer parent.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if parent.dead || n.dead {
		return false
	}
	var leaves []*node[K]
	defer func() {
		for _, c := range leaves {
			c.mu.Unlock()
		}
	}()
	sum := 0
	for i := range n.kids.child {
		c := n.kids.child[i].Load()
		if c == nil {
			continue
		}
		if c.kids != nil {
			return false
		}
		c.mu.Lock()
		leaves = append(leaves, c)
		if c.dead {
			return false
		}
		sum += len(c.keys)
	}
	if sum > mergeAt {
		return false
	}
	slot := &parent.kids.child[parent.number(n.hash)]
	if sum == 0 {
		slot.Store(nil)
	} else {
		m := &node[K]{hash: n.hash, depth: n.depth}
		for _, c := range leaves {
			m.keys = append(m.keys, c.keys...)
			m.spots = append(m.spots, c.spots...)
		}
		slot.Store(m)
	}
	n.dead = true
	for _, c := range leaves {
		c.dead, c.keys, c.spots = true, nil, nil
	}
	return true
}

// Delete removes a key and reports whether it was there, even if its time had
// passed.
func (ix *Index[K]) Delete(key K) bool {
	sh := ix.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, ok := sh.where[key]
	if !ok {
		return false
	}
	var p path[K]
	ix.crossed.Add(1) // it may come back elsewhere
	ix.remove(key, at, nil, &p)
	delete(sh.where, key)
	return true
}

// Get returns the point of a key.
func (ix *Index[K]) Get(key K) (p Point, ok bool) {
	now := ix.ticks()
	sh := ix.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, ok := sh.where[key]
	if !ok {
		return Point{}, false
	}
	var path path[K]
	leaf := ix.find(at.hash(), &path)
	s := leaf.spots[leaf.index(key, at)]
	leaf.mu.Unlock()
	if !ix.alive(s.seen, now) {
		return Point{}, false
	}
	return Point{s.lat, s.lon}, true
}

// Len returns the number of keys. Some whose time has passed may be among them:
// see [Index.Expire].
func (ix *Index[K]) Len() int {
	n := 0
	for i := range ix.shards {
		sh := &ix.shards[i]
		sh.mu.Lock()
		n += len(sh.where)
		sh.mu.Unlock()
	}
	return n
}

// Expire removes all whose time has passed, and returns how many. They are never
// found, and puts remove them by and by: who calls Expire has Len right and the
// memory back at once.
func (ix *Index[K]) Expire() int {
	if ix.ttl == 0 {
		return 0
	}
	n := 0
	now := ix.ticks()
	for i := range ix.shards {
		sh := &ix.shards[i]
		sh.mu.Lock()
		n += ix.sweep(sh, now)
		sh.mu.Unlock()
	}
	return n
}

// sweep removes what has expired of a locked shard.
func (ix *Index[K]) sweep(sh *shard[K], now uint32) int {
	n := 0
	sh.swept = now
	for key, at := range sh.where {
		var p path[K]
		leaf := ix.find(at.hash(), &p)
		gone := !ix.alive(leaf.spots[leaf.index(key, at)].seen, now)
		leaf.mu.Unlock()
		if gone {
			ix.crossed.Add(1)
			ix.remove(key, at, nil, &p)
			delete(sh.where, key)
			n++
		}
	}
	return n
}

// All returns an iterator over all keys and their points, in no particular order.
// It copies a part at a time: the index may be changed meanwhile, also by the
// loop; what is put during it may or may not come.
func (ix *Index[K]) All() iter.Seq2[K, Point] {
	return func(yield func(K, Point) bool) {
		var keys []K
		for i := range ix.shards {
			sh := &ix.shards[i]
			keys = keys[:0]
			sh.mu.Lock()
			for key := range sh.where {
				keys = append(keys, key)
			}
			sh.mu.Unlock()
			for _, key := range keys {
				if p, ok := ix.Get(key); ok && !yield(key, p) {
					return
				}
			}
		}
	}
}

// Cells returns an iterator over the cells of the leaves, in order of the curve,
// with how many points each has: small cells where it is crowded.
func (ix *Index[K]) Cells() iter.Seq2[Cell, int] {
	return func(yield func(Cell, int) bool) { ix.root.walk(yield) }
}

func (n *node[K]) walk(yield func(Cell, int) bool) bool {
	if n.kids == nil {
		n.mu.RLock()
		count := len(n.keys)
		n.mu.RUnlock()
		return count == 0 || yield(cut(n.hash, n.depth), count)
	}
	for i := range n.kids.child {
		if c := n.kids.child[i].Load(); c != nil && !c.walk(yield) {
			return false
		}
	}
	return true
}
