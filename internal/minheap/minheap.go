// Package minheap is a priority queue whose entries are compared by their keys, without
// the calls through an interface of container/heap.
package minheap

import "cmp"

// An Item is an entry of a heap.
type Item[K cmp.Ordered, V any] struct {
	Key   K
	Value V
}

// A Heap gives the item with the least key first, in any order those of equal keys. The
// zero Heap is empty, and h[0] is the next item of one that is not. Each node has four
// below it, which share a cache line or two (Johnson: Priority Queues with Update and
// Finding Minimum Spanning Trees, 1975). Keys must not be NaN. It is not safe for
// concurrent use.
type Heap[K cmp.Ordered, V any] []Item[K, V]

const fan = 4

// Push adds an item.
func (h *Heap[K, V]) Push(key K, value V) {
	q := append(*h, Item[K, V]{})
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / fan
		if q[up].Key <= key {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = Item[K, V]{key, value}
	*h = q
}

// Pop removes the item with the least key and returns it. It panics if there is none.
func (h *Heap[K, V]) Pop() Item[K, V] {
	q := *h
	top, last := q[0], q[len(q)-1]
	q[len(q)-1] = Item[K, V]{}
	q = q[:len(q)-1]
	*h = q
	if len(q) == 0 {
		return top
	}
	i := 0
	for {
		first := fan*i + 1
		if first >= len(q) {
			break
		}
		least := first
		for c := first + 1; c < min(first+fan, len(q)); c++ {
			if q[c].Key < q[least].Key {
				least = c
			}
		}
		if q[least].Key >= last.Key {
			break
		}
		q[i] = q[least]
		i = least
	}
	q[i] = last
	return top
}
