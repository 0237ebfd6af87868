package graph

import "math/bits"

// A cutter cuts connected undirected graphs in two. It keeps its memory; it is not safe
// for concurrent use.
type cutter struct {
	key          []float64 // of each node, in the direction that is tried
	order        []uint32
	side         []uint8 // of each node: source, sink or neither
	flow         []int8  // along each edge, negative along its twin
	level, next  []uint32
	queue, stack []uint32
	from         []uint32
	match        []uint32
	left, right  []uint32
	leftOf       []uint32
}

const (
	neither = iota
	source
	sink
)

// A part is a connected undirected graph that is to be cut. Node u of it is node id[u]
// of the whole.
type part struct {
	id    []uint32
	first []uint32 // edges of u: to[first[u]:first[u+1]]
	to    []uint32
	twin  []uint32 // the same edge from the other end
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// cut finds few edges that separate the first share of the nodes, in the order of
// their keys, from the last (Schild and Sommer: On Balanced Separators in Road Networks,
// SEA 2015): a maximum flow between them is a minimum cut. It gives up, and returns
// false, when there are more than limit edges. Else inside tells which nodes are on the
// side of the first; of the two minimum cuts next to the ends the more balanced is taken.
func (c *cutter) cut(p *part, share float64, limit int, inside []bool) (edges int, ok bool) {
	n := len(p.id)
	c.order = resize(c.order, n)
	for i := range c.order {
		c.order[i] = uint32(i)
	}
	k := max(1, int(float64(n)*share))
	if 2*k > n {
		k = n / 2
	}
	c.nth(c.order, k)
	c.nth(c.order[k:], n-2*k)
	c.side = resize(c.side, n)
	clear(c.side)
	for _, u := range c.order[:k] {
		c.side[u] = source
	}
	for _, u := range c.order[n-k:] {
		c.side[u] = sink
	}
	c.flow = resize(c.flow, len(p.to))
	clear(c.flow)
	c.level, c.next = resize(c.level, n), resize(c.next, n)
	c.queue, c.stack = resize(c.queue, n), resize(c.stack, n)
	c.from = resize(c.from, n)
	total := 0
	for {
		if !c.levels(p) {
			break
		}
		total += c.block(p, k)
		if total > limit {
			return total, false
		}
	}
	// The last search from the sources has reached all that the first cut encloses.
	near := 0
	for u := range n {
		inside[u] = c.level[u] != none
		if inside[u] {
			near++
		}
	}
	if 2*near < n {
		far := c.reachesSink(p)
		if abs(2*far-n) < abs(2*near-n) {
			for u := range n {
				inside[u] = c.level[u] == none
			}
		}
	}
	return total, true
}

func abs(x int) int { return max(x, -x) }

// levels finds how many edges with room each node is from the sources, and whether that
// reaches a sink.
func (c *cutter) levels(p *part) bool {
	level, flow, side := c.level, c.flow, c.side
	tail := 0
	for u := range level {
		if side[u] == source {
			level[u] = 0
			c.queue[tail] = uint32(u)
			tail++
		} else {
			level[u] = none
		}
	}
	reached := uint32(none)
	for head := 0; head < tail; head++ {
		u := c.queue[head]
		l := level[u] + 1
		if l > reached {
			break
		}
		for e := p.first[u]; e < p.first[u+1]; e++ {
			v := p.to[e]
			if flow[e] < 1 && level[v] == none {
				level[v] = l
				if side[v] == sink {
					reached = l
				}
				c.queue[tail] = v
				tail++
			}
		}
	}
	return reached != none
}

// block sends flow along shortest paths until none has room (Dinic, 1970).
func (c *cutter) block(p *part, sources int) (sent int) {
	copy(c.next, p.first[:len(p.id)])
	level, next, flow := c.level, c.next, c.flow
	// Only sources with a neighbour that is none begin a path.
	for _, s := range c.order[:sources] {
	path:
		for {
			c.stack = c.stack[:0]
			u := s
			for c.side[u] != sink {
				for {
					e := next[u]
					if e == p.first[u+1] {
						break
					}
					v := p.to[e]
					if flow[e] < 1 && level[v] == level[u]+1 {
						c.stack = append(c.stack, e)
						u = v
						break
					}
					next[u]++
				}
				if next[u] == p.first[u+1] && c.side[u] != sink { // a dead end: one back
					if len(c.stack) == 0 {
						break path
					}
					e := c.stack[len(c.stack)-1]
					c.stack = c.stack[:len(c.stack)-1]
					u = p.to[p.twin[e]]
					next[u]++
				}
			}
			for _, e := range c.stack {
				flow[e]++
				flow[p.twin[e]]--
			}
			sent++
		}
	}
	return sent
}

// reachesSink marks the nodes from which a sink can be reached, and counts them.
func (c *cutter) reachesSink(p *part) int {
	tail := 0
	for u := range c.level {
		c.level[u] = none
		if c.side[u] == sink {
			c.level[u] = 0
			c.queue[tail] = uint32(u)
			tail++
		}
	}
	for head := 0; head < tail; head++ {
		u := c.queue[head]
		for e := p.first[u]; e < p.first[u+1]; e++ {
			v := p.to[e]
			if c.flow[p.twin[e]] < 1 && c.level[v] == none {
				c.level[v] = 0
				c.queue[tail] = v
				tail++
			}
		}
	}
	return tail
}

// nth moves the k nodes with the least keys to the front (Hoare's Find, 1961). Equal
// keys are told apart by the nodes, so that the outcome does not depend on the order.
func (c *cutter) nth(nodes []uint32, k int) {
	less := func(a, b uint32) bool {
		return c.key[a] < c.key[b] || c.key[a] == c.key[b] && a < b
	}
	lo, hi := 0, len(nodes)-1
	for lo < hi {
		pivot := nodes[lo+(hi-lo)/2]
		if hi-lo > 8 { // the median of three
			a, b := nodes[lo], nodes[hi]
			if less(b, a) {
				a, b = b, a
			}
			if less(pivot, a) {
				pivot = a
			} else if less(b, pivot) {
				pivot = b
			}
		}
		i, j := lo, hi
		for i <= j {
			for less(nodes[i], pivot) {
				i++
			}
			for less(pivot, nodes[j]) {
				j--
			}
			if i <= j {
				nodes[i], nodes[j] = nodes[j], nodes[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			hi = j
		case k >= i:
			lo = i
		default:
			return
		}
	}
}

// cover chooses ends of the edges between the sides, one of each edge and as few as
// possible: by König's theorem as many as a largest matching has edges. It marks them in
// chosen.
func (c *cutter) cover(p *part, inside, chosen []bool) int {
	n := len(p.id)
	c.leftOf = resize(c.leftOf, n)
	c.match = resize(c.match, n)
	c.left, c.right = c.left[:0], c.right[:0]
	for u := range n {
		chosen[u] = false
		c.match[u] = none
		c.leftOf[u] = 0
	}
	for u := range n {
		if !inside[u] {
			continue
		}
		for e := p.first[u]; e < p.first[u+1]; e++ {
			if !inside[p.to[e]] {
				c.left = append(c.left, uint32(u))
				break
			}
		}
	}
	for i, u := range c.left {
		c.augment(p, inside, u, uint32(i)+1)
	}
	// Reachable from unmatched left nodes by alternating paths: the cover is the left
	// nodes that are not reachable and the right ones that are.
	mark := uint32(len(c.left)) + 1
	c.queue = c.queue[:0]
	for _, u := range c.left {
		if c.match[u] == none {
			c.queue = append(c.queue, u)
			c.leftOf[u] = mark
		}
	}
	for head := 0; head < len(c.queue); head++ {
		u := c.queue[head]
		for e := p.first[u]; e < p.first[u+1]; e++ {
			v := p.to[e]
			if inside[v] || c.leftOf[v] == mark {
				continue
			}
			c.leftOf[v] = mark
			chosen[v] = true
			if w := c.match[v]; w != none && c.leftOf[w] != mark {
				c.leftOf[w] = mark
				c.queue = append(c.queue, w)
			}
		}
	}
	count := 0
	for _, u := range c.left {
		if c.leftOf[u] != mark {
			chosen[u] = true
		}
	}
	for u := range n {
		if chosen[u] {
			count++
		}
	}
	return count
}

// augment finds an alternating path from u to an unmatched node of the other side, by
// a search in breadth, and turns it over.
func (c *cutter) augment(p *part, inside []bool, u, mark uint32) bool {
	c.from = resize(c.from, len(p.id))
	c.queue = append(c.queue[:0], u)
	for head := 0; head < len(c.queue); head++ {
		x := c.queue[head]
		for e := p.first[x]; e < p.first[x+1]; e++ {
			v := p.to[e]
			if inside[v] || c.leftOf[v] == mark {
				continue
			}
			c.leftOf[v] = mark
			c.from[v] = x
			if w := c.match[v]; w != none {
				c.queue = append(c.queue, w)
				continue
			}
			for {
				x := c.from[v]
				before := c.match[x]
				c.match[v], c.match[x] = x, v
				if x == u {
					return true
				}
				v = before
			}
		}
	}
	return false
}

// A bitset is a set of small numbers.
type bitset []uint64

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]>>(i%64)&1 != 0 }

func (b bitset) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}
