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
// A point takes some 95 bytes with a key of 8. A leaf cannot split below a cell of
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

	_     [64]byte
	begun atomic.Uint64 // how often a point has begun to leave a leaf
	ended atomic.Uint64 // and has left it
	_     [48]byte

	// With a TTL only:
	expiring sync.Mutex
	latest   atomic.Int64 // about when something was put, in ticks; set under expiring
	swept    atomic.Int64 // when all shards were
}

// A spot is a key's point as a leaf keeps it.
type spot[K comparable] struct {
	lat, lon float64
	x, y, z  float32 // on the unit sphere
	seen     uint32  // tick
	key      K
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
	mu    sync.RWMutex
	dead  bool
	depth int
	spots []spot[K]
	kids  *kids[K] // nil in a leaf
	hash  uint64   // the first depth bits
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
	n := 1 << bits.Len(uint(max(64, 8*runtime.GOMAXPROCS(0))-1))
	ix := &Index[K]{
		root: newBranch[K](0, 0), seed: maphash.MakeSeed(), shards: make([]shard[K], n), shift: 64 - bits.Len(uint(n-1)),
		now: o.Now,
	}
	for i := range ix.shards {
		ix.shards[i].seed = ix.seed
	}
	if o.TTL > 0 {
		// A thousandth of the TTL, but so that it is never reached early.
		ix.tick = max(o.TTL/1000, 1)
		ix.ttl = uint32(min((o.TTL+ix.tick-1)/ix.tick, math.MaxInt32))
		ix.since = o.Now()
	}
	return ix
}

// A moment is now, in ticks, for those who ask what is alive.
type moment struct {
	tick uint32
	gone bool // nothing was put for so long that nothing is alive
}

func (ix *Index[K]) ticks64() int64 { return int64(ix.now().Sub(ix.since) / ix.tick) }

// moment returns that of now; the zero one without TTL.
func (ix *Index[K]) moment() moment {
	if ix.ttl == 0 {
		return moment{}
	}
	now := ix.ticks64()
	return moment{uint32(now), now-ix.latest.Load() > 2*int64(ix.ttl)}
}

// tickOf returns the tick of a put. Ticks are kept in 32 bits, so that one that is old
// looks new again after 2^32 of them: now and then all that has expired is removed, long
// before.
func (ix *Index[K]) tickOf() uint32 {
	if ix.ttl == 0 {
		return 0
	}
	now := ix.ticks64()
	if now-ix.latest.Load() > int64(ix.ttl)/4 || now-ix.swept.Load() > 1<<29 {
		ix.expiring.Lock()
		defer ix.expiring.Unlock()
		if now-ix.latest.Load() > 2*int64(ix.ttl) || now-ix.swept.Load() > 1<<29 {
			ix.expire() // while it is known what is to go
		}
		ix.latest.Store(max(now, ix.latest.Load()))
	}
	return uint32(now)
}

// alive reports whether something seen then is found now.
func (ix *Index[K]) alive(seen uint32, now moment) bool {
	return ix.ttl == 0 || !now.gone && int32(now.tick-seen) <= int32(ix.ttl)
}

func (ix *Index[K]) shard(key K) (sh *shard[K], hash uint64) {
	hash = maphash.Comparable(ix.seed, key)
	return &ix.shards[hash>>ix.shift], hash
}

func newBranch[K comparable](hash uint64, depth int) *node[K] {
	n := &node[K]{hash: hash, depth: depth, kids: &kids[K]{}}
	n.kids.edges.set(cut(hash, depth).Bounds())
	return n
}

// covers reports whether the position is in the node's cell, of which another one
// is known to be.
func (n *node[K]) covers(h, known uint64) bool { return (h^known)>>(63-n.depth)>>1 == 0 }

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
// itself (NaN); then nothing has changed. It costs a look-up in a table of keys and
// one in a leaf, and a second leaf if the point leaves the first. Where more than
// 65,535 points stand within 2.4 metres, it goes through them.
func (ix *Index[K]) Put(key K, lat, lon float64) error {
	if err := check(lat, lon); err != nil {
		return err
	}
	if key != key { //nolint:staticcheck // NaN
		return invalid("a key that is not equal to itself: %v", key)
	}
	h := curve(lat, lon)
	s := spot[K]{lat: lat, lon: lon, seen: ix.tickOf(), key: key}
	s.x, s.y, s.z = vector(lat, lon)
	sh, hash := ix.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if ix.ttl > 0 && s.seen-sh.swept > ix.ttl/2 {
		ix.sweep(sh, ix.moment())
	}
	var p path[K]
	i := sh.find(key, hash)
	if i < 0 || sh.slots[i].leaf == nil {
		leaf, k := ix.insert(s, h, &p)
		sh.add(slot[K]{key, leaf, placeOf(h, k)}, hash)
		return nil
	}
	at := &sh.slots[i]
	leaf := ix.holder(at, &p)
	if leaf.covers(h, at.at.hash()) {
		k := leaf.index(key, at.at)
		leaf.spots[k] = s
		leaf.mu.Unlock()
		at.leaf, at.at = leaf, placeOf(h, k)
		return nil
	}
	leaf.mu.Unlock()
	// First there, then here: at no moment it is nowhere.
	ix.begun.Add(1)
	leaf, k := ix.insert(s, h, &p)
	ix.remove(at, &s, &p)
	ix.ended.Add(1)
	at.leaf, at.at = leaf, placeOf(h, k)
	return nil
}

// holder returns the leaf in which a key is, locked for writing.
func (ix *Index[K]) holder(at *slot[K], p *path[K]) *node[K] {
	leaf := at.leaf
	leaf.mu.Lock()
	if !leaf.dead {
		return leaf
	}
	leaf.mu.Unlock()
	return ix.find(at.at.hash(), p)
}

func vector(lat, lon float64) (x, y, z float32) {
	sinLat, cosLat := sincos(lat)
	sinLon, cosLon := sincos(lon)
	return float32(cosLat * cosLon), float32(cosLat * sinLon), float32(sinLat)
}

// index returns the number of a key in the leaf. It must be there.
func (n *node[K]) index(key K, at place) int {
	if i := int(at & many); i < len(n.spots) && n.spots[i].key == key {
		return i
	}
	return slices.IndexFunc(n.spots, func(s spot[K]) bool { return s.key == key })
}

// insert adds a point to its leaf, and returns that, and its number there. The leaf
// may be dead on return.
func (ix *Index[K]) insert(s spot[K], h uint64, p *path[K]) (leaf *node[K], number int) {
	leaf = ix.find(h, p)
	if leaf.kids != nil {
		branch := leaf
		depth := branch.depth + fanBits
		leaf = &node[K]{hash: h &^ (1<<(64-depth) - 1), depth: depth, spots: []spot[K]{s}}
		branch.kids.child[branch.number(h)].Store(leaf)
		branch.mu.Unlock()
		return leaf, 0
	}
	leaf.spots = append(grow(leaf.spots), s)
	i := len(leaf.spots) - 1
	if i >= splitAbove && leaf.depth < treeBits {
		ix.split(leaf, p)
	}
	leaf.mu.Unlock()
	return leaf, i
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
				hash: h &^ (1<<(64-depth) - 1), depth: depth, spots: make([]spot[K], 0, room),
			}
			branch.kids.child[k].Store(leaves[k])
		}
		leaves[k].spots = append(leaves[k].spots, leaf.spots[i])
	}
	parent := p.nodes[p.n-1]
	parent.kids.child[parent.number(leaf.hash)].Store(branch)
	leaf.dead, leaf.spots = true, nil
}

func (s *spot[K]) at(t *spot[K]) bool { return s.lat == t.lat && s.lon == t.lon }

func (s *spot[K]) hash() uint64 { return curve(s.lat, s.lon) }

// remove takes a key from the leaf it is in: of two of its points, the one that is
// not kept.
func (ix *Index[K]) remove(at *slot[K], kept *spot[K], p *path[K]) {
	leaf := ix.holder(at, p)
	i := leaf.index(at.key, at.at)
	if kept != nil && leaf.spots[i].at(kept) {
		// Both have met in one leaf, by a merge.
		for i = 0; leaf.spots[i].key != at.key || leaf.spots[i].at(kept); i++ {
		}
	}
	last := len(leaf.spots) - 1
	if i != last {
		leaf.spots[i] = leaf.spots[last]
	}
	leaf.spots[last] = spot[K]{}
	leaf.spots = leaf.spots[:last]
	leaf.mu.Unlock()
	if last == 0 {
		ix.find(at.at.hash(), p).mu.Unlock()
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
		sum += len(c.spots)
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
		sum += len(c.spots)
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
			m.spots = append(m.spots, c.spots...)
		}
		slot.Store(m)
	}
	n.dead = true
	for _, c := range leaves {
		c.dead, c.spots = true, nil
	}
	return true
}

// Delete removes a key and reports whether it was there, even if its time had
// passed.
func (ix *Index[K]) Delete(key K) bool {
	sh, hash := ix.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i := sh.find(key, hash)
	if i < 0 || sh.slots[i].leaf == nil {
		return false
	}
	var p path[K]
	ix.begun.Add(1) // it may come back elsewhere
	ix.remove(&sh.slots[i], nil, &p)
	ix.ended.Add(1)
	sh.drop(i)
	sh.trim()
	return true
}

// Get returns the point of a key.
func (ix *Index[K]) Get(key K) (p Point, ok bool) {
	now := ix.moment()
	sh, hash := ix.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i := sh.find(key, hash)
	if i < 0 || sh.slots[i].leaf == nil {
		return Point{}, false
	}
	at := &sh.slots[i]
	var path path[K]
	leaf := ix.holder(at, &path)
	s := leaf.spots[leaf.index(key, at.at)]
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
		n += sh.len
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
	ix.expiring.Lock()
	defer ix.expiring.Unlock()
	return ix.expire()
}

// expire removes what has expired, under expiring: nothing is put meanwhile after a long
// silence, which would be taken for old.
func (ix *Index[K]) expire() int {
	n, now := 0, ix.moment()
	ix.swept.Store(ix.ticks64())
	for i := range ix.shards {
		sh := &ix.shards[i]
		sh.mu.Lock()
		n += ix.sweep(sh, now)
		sh.mu.Unlock()
	}
	return n
}

// sweep removes what has expired of a locked shard.
func (ix *Index[K]) sweep(sh *shard[K], now moment) int {
	n := 0
	sh.swept = now.tick
	for i := 0; i < len(sh.slots); {
		at := &sh.slots[i]
		if at.leaf == nil {
			i++
			continue
		}
		var p path[K]
		leaf := ix.holder(at, &p)
		gone := !ix.alive(leaf.spots[leaf.index(at.key, at.at)].seen, now)
		leaf.mu.Unlock()
		if !gone {
			i++
			continue
		}
		ix.begun.Add(1)
		ix.remove(at, nil, &p)
		ix.ended.Add(1)
		sh.drop(i) // another key may be in slot i now
		n++
	}
	sh.trim()
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
			for j := range sh.slots {
				if sh.slots[j].leaf != nil {
					keys = append(keys, sh.slots[j].key)
				}
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
		count := len(n.spots)
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
