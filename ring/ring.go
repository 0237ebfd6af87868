package ring

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

var (
	// ErrInvalid is returned for an empty name, a weight outside its range, and
	// options outside theirs.
	ErrInvalid = errors.New("ring: invalid argument")
	// ErrTooLarge is returned when the points of all nodes would exceed
	// [MaxPoints].
	ErrTooLarge = errors.New("ring: too many points")
)

// MaxPoints is how many points a ring may have: 16,384 nodes of weight 1 with the
// default options, in 48 MiB.
const MaxPoints = 1 << 22

// Options configures [New]. Nil, and a zero field, mean the default.
type Options struct {
	// Points is the number of points of a node per unit of its weight, from 1
	// to 65,536. All processes that share a ring must use the same. Default 256.
	Points int
}

// A Ring is a set of nodes with weights. Use [New]. It is safe for concurrent
// use by multiple goroutines: readers never wait, and see the ring before or
// after a change, never in between.
type Ring struct {
	points int
	mu     sync.Mutex // held by Add and Remove
	state  atomic.Pointer[state]
}

// state is one version of a ring. It never changes.
type state struct {
	nodes []node // by name
	total uint64 // of all weights

	// The points in the order of the circle: at[i] belongs to nodes[owner[i]].
	// Where two nodes have a point at the same place, the first by name has it.
	at    []uint64
	owner []uint32

	// first[b] is the first point at or after position b<<shift, so that a
	// look-up begins within a point or two of its goal.
	first []uint32
	shift uint
}

type node struct {
	name   string
	hash   uint64
	weight int
}

// New returns a ring without nodes.
func New(opts *Options) (*Ring, error) {
	r := &Ring{points: 256}
	if opts != nil && opts.Points != 0 {
		r.points = opts.Points
	}
	if r.points < 1 || r.points > 1<<16 {
		return nil, fmt.Errorf("%w: %d points per unit of weight: want 1 to 65536", ErrInvalid, r.points)
	}
	r.state.Store(build(nil, r.points))
	return r, nil
}

// Add adds a node, or gives one that is there another weight, 1 to 65,536. It
// costs O(p log p) for p points of all nodes, some 30 ms for a million.
func (r *Ring) Add(name string, weight int) error {
	if name == "" {
		return fmt.Errorf("%w: a node without a name", ErrInvalid)
	}
	if weight < 1 || weight > 1<<16 {
		return fmt.Errorf("%w: weight %d of node %.80q: want 1 to 65536", ErrInvalid, weight, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.state.Load()
	nodes := slices.Clone(old.nodes)
	i, found := old.find(name)
	total := old.total + uint64(weight)
	if found {
		total -= uint64(nodes[i].weight)
	}
	if total*uint64(r.points) > MaxPoints {
		return fmt.Errorf("%w: node %.80q would make it %d, above %d", ErrTooLarge, name, total*uint64(r.points), MaxPoints)
	}
	n := node{name, xxhash.Sum64String(name), weight}
	if found {
		if nodes[i] == n {
			return nil
		}
		nodes[i] = n
	} else {
		nodes = slices.Insert(nodes, i, n)
	}
	r.state.Store(build(nodes, r.points))
	return nil
}

// Remove removes a node and tells whether it was there.
func (r *Ring) Remove(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.state.Load()
	i, found := old.find(name)
	if !found {
		return false
	}
	r.state.Store(build(slices.Delete(slices.Clone(old.nodes), i, i+1), r.points))
	return true
}

func (s *state) find(name string) (i int, found bool) {
	return slices.BinarySearchFunc(s.nodes, name, func(n node, name string) int {
		switch {
		case n.name < name:
			return -1
		case n.name > name:
			return 1
		}
		return 0
	})
}

// point returns the i-th point of a node. Part of what processes agree on: never
// change. It is the finaliser of splitmix64 over a sequence that begins at the
// name's hash.
func point(hash uint64, i int) uint64 {
	x := hash + uint64(i+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// build makes the state of some nodes, which are in the order of their names.
func build(nodes []node, perUnit int) *state {
	s := &state{nodes: nodes}
	for _, n := range nodes {
		s.total += uint64(n.weight)
	}
	type placed struct {
		at    uint64
		owner uint32
	}
	ps := make([]placed, 0, s.total*uint64(perUnit))
	for i, n := range nodes {
		for j := range n.weight * perUnit {
			ps = append(ps, placed{point(n.hash, j), uint32(i)})
		}
	}
	slices.SortFunc(ps, func(a, b placed) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return int(a.owner) - int(b.owner)
	})
	s.at, s.owner = make([]uint64, len(ps)), make([]uint32, len(ps))
	for i, p := range ps {
		s.at[i], s.owner[i] = p.at, p.owner
	}
	// About one point per entry of the table.
	s.shift = uint(64 - bits.Len(uint(len(ps))))
	s.first = make([]uint32, 1<<(64-s.shift))
	next := 0
	for b := range s.first {
		for next < len(s.at) && s.at[next] < uint64(b)<<s.shift {
			next++
		}
		s.first[b] = uint32(next)
	}
	return s
}

// seek returns the index of the point that owns position h. There is one.
func (s *state) seek(h uint64) int {
	i := int(s.first[h>>s.shift])
	for i < len(s.at) && s.at[i] < h {
		i++
	}
	if i == len(s.at) {
		return 0
	}
	return i
}

// HashKey returns a key's position on the circle: its xxHash64.
func HashKey(key string) uint64 { return xxhash.Sum64String(key) }

// Owner returns the node that owns a key; false if the ring has no nodes. It
// takes constant time and allocates nothing.
func (r *Ring) Owner(key string) (string, bool) { return r.OwnerHash(HashKey(key)) }

// OwnerHash is Owner for a position, or for whatever else is spread evenly over
// the 64-bit numbers.
func (r *Ring) OwnerHash(h uint64) (string, bool) {
	s := r.state.Load()
	if len(s.at) == 0 {
		return "", false
	}
	return s.nodes[s.owner[s.seek(h)]].name, true
}

// Owners returns the first n different nodes from a key's position on: the owner,
// the one that would own the key without it, and so on. It returns fewer if there
// are fewer.
func (r *Ring) Owners(key string, n int) []string {
	return r.AppendOwners(nil, key, n)
}

// AppendOwners appends what Owners returns to dst.
func (r *Ring) AppendOwners(dst []string, key string, n int) []string {
	s := r.state.Load()
	n = min(n, len(s.nodes))
	if n <= 0 {
		return dst
	}
	dst = slices.Grow(dst, n)
	for i := range s.walk(HashKey(key)) {
		dst = append(dst, s.nodes[i].name)
		if n--; n == 0 {
			break
		}
	}
	return dst
}

// walk yields the nodes from a position on, each once, in the order of the circle.
func (s *state) walk(h uint64) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if len(s.at) == 0 {
			return
		}
		var few [16]uint32 // enough for most; a map costs more than it
		seen := few[:0]
		var many map[uint32]bool
		for i, left := s.seek(h), len(s.at); left > 0; left-- {
			o := s.owner[i]
			if i++; i == len(s.at) {
				i = 0
			}
			if many == nil && slices.Contains(seen, o) || many[o] {
				continue
			}
			if !yield(o) {
				return
			}
			if many == nil && len(seen) == cap(seen) {
				many = make(map[uint32]bool, len(s.nodes))
				for _, x := range seen {
					many[x] = true
				}
			}
			if many != nil {
				many[o] = true
			} else {
				seen = append(seen, o)
			}
			if len(seen) == len(s.nodes) || len(many) == len(s.nodes) {
				return
			}
		}
	}
}

// Len returns the number of nodes.
func (r *Ring) Len() int { return len(r.state.Load().nodes) }

// All yields the nodes and their weights, by name, as they are at the call.
func (r *Ring) All() iter.Seq2[string, int] {
	s := r.state.Load()
	return func(yield func(string, int) bool) {
		for _, n := range s.nodes {
			if !yield(n.name, n.weight) {
				return
			}
		}
	}
}

// Clone returns a ring of its own with the same nodes.
func (r *Ring) Clone() *Ring {
	c := &Ring{points: r.points}
	c.state.Store(r.state.Load())
	return c
}
