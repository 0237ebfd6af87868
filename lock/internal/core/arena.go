package core

import "slices"

// pageSize is how many items are copied when one of them is first written after
// a snapshot.
const pageSize = 128

type page[T any] struct {
	gen   uint64 // the arena's when the page was made: it may be written while they are equal
	items [pageSize]T
}

// An arena holds items under small numbers, from 1; 0 stands for none. Its
// pages can be frozen in the time that copying their table takes.
type arena[T any] struct {
	gen   uint64
	pages []*page[T]
	free  []uint32
	next  uint32
	n     int
}

func newArena[T any]() arena[T] { return arena[T]{next: 1} }

// at returns an item to be read.
func (a *arena[T]) at(i uint32) *T { return &a.pages[i/pageSize].items[i%pageSize] }

// edit returns an item to be written.
func (a *arena[T]) edit(i uint32) *T {
	p := a.pages[i/pageSize]
	if p.gen != a.gen {
		p = &page[T]{gen: a.gen, items: p.items}
		a.pages[i/pageSize] = p
	}
	return &p.items[i%pageSize]
}

// put adds an item and returns its number.
func (a *arena[T]) put(x T) uint32 {
	a.n++
	if n := len(a.free); n > 0 {
		i := a.free[n-1]
		a.free = a.free[:n-1]
		*a.edit(i) = x
		return i
	}
	i := a.next
	a.next++
	if int(i/pageSize) == len(a.pages) {
		a.pages = append(a.pages, &page[T]{gen: a.gen})
	}
	*a.edit(i) = x
	return i
}

// drop removes an item.
func (a *arena[T]) drop(i uint32) {
	var zero T
	*a.edit(i) = zero
	a.free = append(a.free, i)
	a.n--
}

// freeze returns the pages as they are: whatever is written later is written to
// copies.
func (a *arena[T]) freeze() []*page[T] {
	a.gen++
	return slices.Clone(a.pages)
}
