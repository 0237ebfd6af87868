// Package digraph keeps a directed graph that changes: replies under comments, tasks that
// wait for others, modules that need modules.
//
//	tasks := digraph.New[string](&digraph.Options{Acyclic: true})
//	tasks.Link("compile", "test")     // compile before test
//	tasks.Link("test", "release")
//	_, err := tasks.Link("release", "compile")
//	// err: digraph: cycle: release, compile, test, release
//
// Nodes are named by keys of any comparable type. Links of a node have an order, that in
// which they were made, and a number that stays: so a page of replies begins after the
// last one of the page before, however many came or went meanwhile ([Graph.Page]). A node
// that is deleted keeps its place, as a comment does whose author removed it while the
// replies stay.
//
// Where [Options.Acyclic] is set, a link that would close a cycle is refused, with the
// cycle. To know that at once, all nodes are kept in an order in which links lead forward;
// a link that leads backward moves only the nodes between its ends in that order (Pearce
// and Kelly: A Dynamic Topological Sort Algorithm for Directed Acyclic Graphs, JEA 2006).
// A link to a new node, as a reply is, costs nothing but itself.
//
// For whole-graph questions take a [Graph.Snapshot]: arrays, immutable, with the methods
// of package graph.
package digraph

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/ashlar-go/ashlar/graph"
)

var (
	// ErrCycle is wrapped by a [CycleError].
	ErrCycle = errors.New("digraph: cycle")
	// ErrInvalid is returned for a key that is not equal to itself (NaN): it could never be
	// found again.
	ErrInvalid = errors.New("digraph: invalid key")
	// ErrTooLarge is returned for more than [MaxNodes] nodes.
	ErrTooLarge = errors.New("digraph: too many nodes")
)

// MaxNodes is the largest number of nodes, deleted ones included.
const MaxNodes = 1 << 30

// A CycleError tells why a link was refused.
type CycleError[K comparable] struct {
	// Path begins and ends with the node that the link was to lead from, and then follows
	// the link and others that are there.
	Path []K
}

// Error names the nodes, at most a dozen.
func (e *CycleError[K]) Error() string {
	var b strings.Builder
	b.WriteString("digraph: cycle: ")
	const shown = 12
	for i, k := range e.Path {
		if i == shown-1 && len(e.Path) > shown {
			fmt.Fprintf(&b, "(%d more), %v", len(e.Path)-shown, e.Path[len(e.Path)-1])
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, k)
		if i == shown-2 && len(e.Path) > shown {
			b.WriteString(", ")
		}
	}
	return b.String()
}

// Unwrap returns [ErrCycle].
func (e *CycleError[K]) Unwrap() error { return ErrCycle }

// Options configures [New]. Nil means no options.
type Options struct {
	// Acyclic refuses links that would close a cycle.
	Acyclic bool
}

// A Graph is a directed graph in memory. It is safe for concurrent use by multiple
// goroutines. Use [New]: the zero Graph is not ready.
//
// A node with one link to it takes some 160 bytes with a key of 8.
type Graph[K comparable] struct {
	acyclic bool

	mu    sync.RWMutex
	ids   map[K]uint32
	nodes []node[K]
	links map[[2]uint32]uint64 // their numbers
	last  uint64               // the number of the last link
	live  int
	marks []uint32 // of searches
	epoch uint32
}

type node[K comparable] struct {
	key     K
	deleted bool
	place   uint32 // in the order, if that is kept
	out     []link
	in      []uint32
}

type link struct {
	number uint64
	to     uint32
}

// New returns an empty graph.
func New[K comparable](opts *Options) *Graph[K] {
	g := &Graph[K]{ids: map[K]uint32{}, links: map[[2]uint32]uint64{}}
	if opts != nil {
		g.acyclic = opts.Acyclic
	}
	return g
}

// Add adds a node, or brings a deleted one back, and reports whether it was not there.
// The error wraps [ErrTooLarge] for one too many, and [ErrInvalid].
func (g *Graph[K]) Add(key K) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	id, there := g.ids[key]
	if !there {
		if err := g.room(1); err != nil {
			return false, err
		}
		g.add(key)
		return true, nil
	}
	if g.nodes[id].deleted {
		g.nodes[id].deleted = false
		g.live++
		return true, nil
	}
	return false, nil
}

func checkKey[K comparable](key K) error {
	if key != key { //nolint:staticcheck // NaN
		return fmt.Errorf("%w: %v", ErrInvalid, key)
	}
	return nil
}

func (g *Graph[K]) room(n int) error {
	if len(g.nodes)+n > MaxNodes {
		return fmt.Errorf("%w: above %d", ErrTooLarge, MaxNodes)
	}
	return nil
}

func (g *Graph[K]) add(key K) uint32 {
	id := uint32(len(g.nodes))
	g.ids[key] = id
	g.nodes = append(g.nodes, node[K]{key: key, place: id})
	g.marks = append(g.marks, 0)
	g.live++
	return id
}

// Link makes a link, and the nodes that are not there yet; deleted ones stay deleted. It
// reports whether there was none between these two in this direction. In an acyclic graph
// the error is a [CycleError] if the link would close a cycle: then nothing has changed.
//
// In an acyclic graph it costs a search of the nodes between its ends in the order, if
// that is against the link, and nothing else otherwise.
func (g *Graph[K]) Link(from, to K) (bool, error) {
	if err := errors.Join(checkKey(from), checkKey(to)); err != nil {
		return false, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	u, haveU := g.ids[from]
	v, haveV := g.ids[to]
	if haveU && haveV {
		if _, there := g.links[[2]uint32{u, v}]; there {
			return false, nil
		}
	}
	if g.acyclic && from == to {
		return false, &CycleError[K]{[]K{from, to}}
	}
	if err := g.room(2); err != nil {
		return false, err
	}
	if haveU && haveV && g.acyclic && g.nodes[u].place > g.nodes[v].place {
		if path := g.reorder(u, v); path != nil {
			return false, &CycleError[K]{path}
		}
	}
	if !haveU {
		u = g.add(from)
		if haveV && g.acyclic {
			// The new node is last, and so is behind v: v's part moves behind it.
			g.reorder(u, v)
		}
	}
	if !haveV {
		if v = u; from != to {
			v = g.add(to)
		}
	}
	g.last++
	g.links[[2]uint32{u, v}] = g.last
	g.nodes[u].out = append(g.nodes[u].out, link{g.last, v})
	g.nodes[v].in = append(g.nodes[v].in, u)
	return true, nil
}

// reorder moves nodes so that u comes before v, which it follows now. If there is a way
// from v to u it returns the cycle that a link from u to v would close, and changes
// nothing.
func (g *Graph[K]) reorder(u, v uint32) []K {
	low, high := g.nodes[v].place, g.nodes[u].place
	g.mark()
	// What can be reached from v, up to the place of u.
	type step struct {
		id uint32
		by int // step
	}
	ahead := []step{{v, -1}}
	g.marks[v] = g.epoch
	for i := 0; i < len(ahead); i++ {
		for _, l := range g.nodes[ahead[i].id].out {
			if l.to == u {
				path := []K{g.nodes[u].key}
				for j := i; j >= 0; j = ahead[j].by {
					path = append(path, g.nodes[ahead[j].id].key)
				}
				path = append(path, g.nodes[u].key)
				slices.Reverse(path)
				return path
			}
			if g.marks[l.to] != g.epoch && g.nodes[l.to].place < high {
				g.marks[l.to] = g.epoch
				ahead = append(ahead, step{l.to, i})
			}
		}
	}
	// What u can be reached from, down to the place of v.
	behind := []uint32{u}
	g.marks[u] = g.epoch
	for i := 0; i < len(behind); i++ {
		for _, w := range g.nodes[behind[i]].in {
			if g.marks[w] != g.epoch && g.nodes[w].place > low {
				g.marks[w] = g.epoch
				behind = append(behind, w)
			}
		}
	}
	// They share out their places: first what comes before u, then what follows v.
	byPlace := func(a, b uint32) int { return int(g.nodes[a].place) - int(g.nodes[b].place) }
	moved := make([]uint32, 0, len(behind)+len(ahead))
	slices.SortFunc(behind, byPlace)
	moved = append(moved, behind...)
	for _, s := range ahead {
		moved = append(moved, s.id)
	}
	slices.SortFunc(moved[len(behind):], byPlace)
	places := make([]uint32, len(moved))
	for i, w := range moved {
		places[i] = g.nodes[w].place
	}
	slices.Sort(places)
	for i, w := range moved {
		g.nodes[w].place = places[i]
	}
	return nil
}

func (g *Graph[K]) mark() {
	if g.epoch++; g.epoch == 0 {
		clear(g.marks)
		g.epoch = 1
	}
}

// Unlink removes a link and reports whether it was there. It costs a walk along the links
// of both nodes.
func (g *Graph[K]) Unlink(from, to K) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, haveU := g.ids[from]
	v, haveV := g.ids[to]
	number, there := g.links[[2]uint32{u, v}]
	if !haveU || !haveV || !there {
		return false
	}
	delete(g.links, [2]uint32{u, v})
	out, in := &g.nodes[u].out, &g.nodes[v].in
	i, _ := slices.BinarySearchFunc(*out, number, func(l link, n uint64) int { return compare(l.number, n) })
	*out = slices.Delete(*out, i, i+1)
	j := slices.Index(*in, u)
	*in = slices.Delete(*in, j, j+1)
	return true
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Delete marks a node as deleted and reports whether it was there. Its links stay, so that
// what it led to can still be reached; [Graph.Unlink] removes them. [Graph.Add] brings it
// back.
func (g *Graph[K]) Delete(key K) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, there := g.ids[key]
	if !there || g.nodes[id].deleted {
		return false
	}
	g.nodes[id].deleted = true
	g.live--
	return true
}

// Has reports whether a node is there and not deleted.
func (g *Graph[K]) Has(key K) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	id, there := g.ids[key]
	return there && !g.nodes[id].deleted
}

// HasLink reports whether there is a link.
func (g *Graph[K]) HasLink(from, to K) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	u, haveU := g.ids[from]
	v, haveV := g.ids[to]
	_, there := g.links[[2]uint32{u, v}]
	return haveU && haveV && there
}

// Len returns how many nodes are there and not deleted, and how many links.
func (g *Graph[K]) Len() (nodes, links int) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.live, len(g.links)
}

// A Linked is a node at the end of a link.
type Linked[K comparable] struct {
	Key     K
	Deleted bool
	Cursor  uint64 // the number of the link: later ones have higher numbers, and none has 0
}

// Page appends up to n of the nodes that links lead to from a key, those made first first,
// beginning after the link with a number; 0 is the beginning. The next page begins after
// the [Linked.Cursor] of the last one. A link that was removed meanwhile is not missed,
// and none comes twice. It costs a binary search.
func (g *Graph[K]) Page(dst []Linked[K], from K, after uint64, n int) []Linked[K] {
	g.mu.RLock()
	defer g.mu.RUnlock()
	id, there := g.ids[from]
	if !there {
		return dst
	}
	out := g.nodes[id].out
	i, found := slices.BinarySearchFunc(out, after, func(l link, n uint64) int { return compare(l.number, n) })
	if found {
		i++
	}
	for ; i < len(out) && n > 0; i, n = i+1, n-1 {
		to := &g.nodes[out[i].to]
		dst = append(dst, Linked[K]{to.key, to.deleted, out[i].number})
	}
	return dst
}

// Parents appends the nodes from which links lead to a key, those made first first; deleted
// ones too. A task whose parents are all done is ready.
func (g *Graph[K]) Parents(dst []K, to K) []K {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if id, there := g.ids[to]; there {
		for _, u := range g.nodes[id].in {
			dst = append(dst, g.nodes[u].key)
		}
	}
	return dst
}

// Ancestors returns an iterator over all nodes from which a way leads to a key, each once,
// with the length of the shortest; the near ones first. The key itself is not among them,
// unless it is on a cycle: then it comes with the length of that. The graph may be changed
// meanwhile, also by the loop: of each node that comes up, its links at that moment count.
func (g *Graph[K]) Ancestors(key K) iter.Seq2[K, int] {
	return g.around(key, func(dst []uint32, n *node[K]) []uint32 { return append(dst, n.in...) })
}

// Descendants returns an iterator over all nodes to which a way leads from a key, as
// [Graph.Ancestors].
func (g *Graph[K]) Descendants(key K) iter.Seq2[K, int] {
	return g.around(key, func(dst []uint32, n *node[K]) []uint32 {
		for _, l := range n.out {
			dst = append(dst, l.to)
		}
		return dst
	})
}

func (g *Graph[K]) around(key K, near func([]uint32, *node[K]) []uint32) iter.Seq2[K, int] {
	return func(yield func(K, int) bool) {
		g.mu.RLock()
		id, there := g.ids[key]
		g.mu.RUnlock()
		if !there {
			return
		}
		seen := map[uint32]bool{}
		ring := []uint32{id}
		var ids, next []uint32
		var keys []K
		for hops := 1; len(ring) > 0; hops++ {
			next = next[:0]
			for _, u := range ring {
				ids, keys = ids[:0], keys[:0]
				g.mu.RLock()
				for _, v := range near(nil, &g.nodes[u]) {
					if !seen[v] {
						seen[v] = true
						ids, keys = append(ids, v), append(keys, g.nodes[v].key)
					}
				}
				g.mu.RUnlock()
				for _, k := range keys {
					if !yield(k, hops) {
						return
					}
				}
				next = append(next, ids...)
			}
			ring, next = next, ring
		}
	}
}

// Order returns all nodes of an acyclic graph, deleted ones too ([Graph.Has] tells), so that links lead from
// earlier to later ones; of another graph it returns the order in which they were added.
func (g *Graph[K]) Order() []K {
	g.mu.RLock()
	defer g.mu.RUnlock()
	keys := make([]K, len(g.nodes))
	for i := range g.nodes {
		keys[g.nodes[i].place] = g.nodes[i].key
	}
	return keys
}

// A Snapshot is a graph at a moment, for walks and searches over all of it.
type Snapshot[K comparable] struct {
	Graph   *graph.Graph // arcs of a node are in the order of its links
	Keys    []K          // of each node
	Deleted []bool
	ids     map[K]graph.NodeID
}

// Node returns the number of a key.
func (s *Snapshot[K]) Node(key K) (graph.NodeID, bool) {
	id, ok := s.ids[key]
	return id, ok
}

// Snapshot returns the graph as it is now. Nodes are numbered in the order in which they
// were added. It costs time and memory in proportion to the graph, and stops changes
// meanwhile.
func (g *Graph[K]) Snapshot() (*Snapshot[K], error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	b := graph.NewBuilder(len(g.nodes))
	s := &Snapshot[K]{Keys: make([]K, len(g.nodes)), Deleted: make([]bool, len(g.nodes)), ids: make(map[K]graph.NodeID, len(g.nodes))}
	for u := range g.nodes {
		n := &g.nodes[u]
		s.Keys[u], s.Deleted[u], s.ids[n.key] = n.key, n.deleted, graph.NodeID(u)
		for _, l := range n.out {
			b.AddArc(graph.NodeID(u), l.to)
		}
	}
	var err error
	if s.Graph, err = b.Build(); err != nil {
		return nil, fmt.Errorf("digraph: %w", err)
	}
	return s, nil
}
