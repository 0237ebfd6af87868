package main

import (
	"container/list"
	"sync"
	"time"
)

// A linkedLog is the sliding log as it stands in textbooks: for each user a linked list
// of the moments at which requests were let through, under a lock. Each request first
// culls those that are out of the window, at the front, and appends itself at the back if
// fewer than the limit are left.
//
// It decides as ratelimit.SlidingLog does, which keeps four bytes for each moment, in a
// ring, instead of a node, and never holds more than a shard's lock.
type linkedLog struct {
	count  int
	window time.Duration

	mu    sync.Mutex // the lists change while they are read, so that one at a time may
	users map[string]*list.List
}

func newLinkedLog(count int, window time.Duration) *linkedLog {
	return &linkedLog{count: count, window: window, users: map[string]*list.List{}}
}

func (l *linkedLog) allowAt(t time.Time, user string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.users[user]
	if log == nil {
		log = list.New()
		l.users[user] = log // for ever: nothing here forgets users
	}
	for e := log.Front(); e != nil && t.Sub(e.Value.(time.Time)) >= l.window; e = log.Front() {
		log.Remove(e)
	}
	if log.Len() >= l.count {
		return false
	}
	log.PushBack(t)
	return true
}

// A register is a counter in another place, which can be read and written. Each of both
// is atomic; to do one after the other is not.
type register struct {
	mu sync.Mutex
	n  int
}

func (r *register) get() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func (r *register) set(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n = n
}

// add is both in one step: it counts if the limit is not reached.
func (r *register) add(limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n >= limit {
		return false
	}
	r.n++
	return true
}

// together runs a function in several goroutines, which may wait for each other: next
// returns once all of them have called it as often.
func together(n int, f func(next func())) {
	var mu sync.Mutex
	arrived, gate := 0, make(chan struct{})
	next := func() {
		mu.Lock()
		g := gate
		if arrived++; arrived == n {
			arrived, gate = 0, make(chan struct{})
			close(g)
		}
		mu.Unlock()
		<-g
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { f(next) })
	}
	wg.Wait()
}
