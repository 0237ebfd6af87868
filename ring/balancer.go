package ring

import (
	"fmt"
	"math"
	"sync"
)

// A Balancer hands out nodes for keys so that no node has more than 1+ε times
// its share of what is under way. A key gets its owner, unless that is full:
// then the next node on the circle that is not. It is safe for concurrent use by
// multiple goroutines. Use [NewBalancer].
type Balancer struct {
	ring    *Ring
	epsilon float64

	mu    sync.Mutex
	load  map[string]int
	total int
}

// NewBalancer returns a balancer over a ring, which may change meanwhile. Epsilon
// is greater than 0 and finite. The smaller, the more even the loads and the more
// keys leave their owners: at 0.25 few do, unless single keys are very popular.
func NewBalancer(r *Ring, epsilon float64) (*Balancer, error) {
	if !(epsilon > 0) || math.IsInf(epsilon, 1) {
		return nil, fmt.Errorf("%w: epsilon %v: want a positive number", ErrInvalid, epsilon)
	}
	return &Balancer{ring: r, epsilon: epsilon, load: map[string]int{}}, nil
}

// capacity returns how much a node may have when there are total in all: its
// share by weight, times 1+ε, rounded up, so that there is always room.
func (b *Balancer) capacity(s *state, n *node, total int) int {
	return int(math.Ceil((1 + b.epsilon) * float64(total) * float64(n.weight) / float64(s.total)))
}

// Assign chooses a node for something that begins now, and counts it until
// [Balancer.Done]; false if the ring has no nodes. It costs a step for every node
// that is passed over as full.
func (b *Balancer) Assign(key string) (name string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.ring.state.Load()
	for i := range s.walk(HashKey(key)) {
		n := &s.nodes[i]
		if b.load[n.name] < b.capacity(s, n, b.total+1) {
			b.load[n.name]++
			b.total++
			return n.name, true
		}
	}
	if len(s.nodes) == 0 {
		return "", false
	}
	// What is under way on nodes that have left counts in the average and takes
	// nobody's room, so there is always some; rounding cannot take it away.
	panic("ring: all nodes are full")
}

// Done says that something which Assign gave to a node has ended. It tells
// whether the node had anything.
func (b *Balancer) Done(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.load[name] == 0 {
		return false
	}
	b.total--
	if b.load[name]--; b.load[name] == 0 {
		delete(b.load, name)
	}
	return true
}

// Load returns how much a node has under way.
func (b *Balancer) Load(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.load[name]
}
