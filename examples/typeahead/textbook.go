package main

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A textbook is the trie as it is drawn on whiteboards: a node for each letter, with the
// best terms below it, changed in place at every click. Each node has a lock.
type textbook struct {
	root  textbookNode
	locks atomic.Int64 // taken by those who write
}

type textbookNode struct {
	mu       sync.RWMutex
	children map[byte]*textbookNode
	term     *counted
	best     []*counted
}

type counted struct {
	text  string
	count atomic.Uint64
}

func newTextbook(list []phrase) *textbook {
	t := &textbook{}
	for _, p := range list {
		t.click(p.term, p.weight)
	}
	return t
}

// click counts a term. That is one number; but the lists of all nodes above it may have
// another order then, and readers of each have to wait.
func (t *textbook) click(term string, n uint64) {
	path := make([]*textbookNode, 1, len(term)+1)
	path[0] = &t.root
	for i := range len(term) {
		at := path[i]
		at.mu.Lock()
		next := at.children[term[i]]
		if next == nil {
			if at.children == nil {
				at.children = map[byte]*textbookNode{}
			}
			next = &textbookNode{}
			at.children[term[i]] = next
		}
		at.mu.Unlock()
		path = append(path, next)
	}
	last := path[len(term)]
	last.mu.Lock()
	if last.term == nil {
		last.term = &counted{text: term}
	}
	c := last.term
	last.mu.Unlock()
	c.count.Add(n)
	for _, at := range path {
		at.mu.Lock()
		at.offer(c)
		at.mu.Unlock()
	}
	t.locks.Add(int64(2 * len(path)))
}

// offer brings the list in order with a term whose count has grown.
func (at *textbookNode) offer(c *counted) {
	if !slices.Contains(at.best, c) {
		at.best = append(at.best, c)
	}
	slices.SortStableFunc(at.best, func(a, b *counted) int {
		x, y := a.count.Load(), b.count.Load()
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		case a.text < b.text:
			return -1
		case a.text > b.text:
			return 1
		}
		return 0
	})
	at.best = at.best[:min(k, len(at.best))]
}

// next goes down by a letter: nil if there is nothing.
func (at *textbookNode) next(letter byte) *textbookNode {
	at.mu.RLock()
	defer at.mu.RUnlock()
	return at.children[letter]
}

// read appends the best terms below.
func (at *textbookNode) read(dst []*counted) []*counted {
	at.mu.RLock()
	defer at.mu.RUnlock()
	return append(dst, at.best...)
}
