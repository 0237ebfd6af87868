package node

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/core"
)

// leases is the leader's table of when each session ends. It lives in memory
// alone: renewals write nothing to the log, and a new leader grants every
// session a whole TTL from its election on, which can only lengthen a lease.
type leases struct {
	clock func() time.Duration

	mu       sync.Mutex
	active   bool
	sessions map[core.SessionID]*lease
	order    leaseHeap // by deadline
	wake     chan struct{}
	renewals uint64
	expired  uint64
}

type lease struct {
	id       core.SessionID
	ttl      time.Duration
	deadline time.Duration
	ending   bool // its end is being replicated: it cannot be renewed
	proposed bool // due has returned it, and settle has not been called yet
	pos      int  // in the heap
}

func newLeases(clock func() time.Duration) *leases {
	return &leases{clock: clock, wake: make(chan struct{}, 1)}
}

// start begins a leadership: every session gets a whole TTL from now.
func (l *leases) start(each func(yield func(id core.SessionID, ttl time.Duration))) {
	l.mu.Lock()
	l.active = true
	l.sessions, l.order = map[core.SessionID]*lease{}, nil
	l.mu.Unlock()
	// From here on the state machine reports new sessions and ended ones by
	// itself; those that exist already are added beside it.
	each(func(id core.SessionID, ttl time.Duration) { l.touch(id, ttl) })
}

// stop ends a leadership.
func (l *leases) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active, l.sessions, l.order = false, nil, nil
}

// touch gives a session a whole TTL from now, adding it if it is new.
func (l *leases) touch(id core.SessionID, ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.active {
		return
	}
	s := l.sessions[id]
	deadline := l.clock() + ttl
	if s == nil {
		s = &lease{id: id, ttl: ttl, deadline: deadline}
		l.sessions[id] = s
		heap.Push(&l.order, s)
	} else {
		s.ttl, s.ending = ttl, false
		l.move(s, deadline)
	}
	if l.order[0] == s {
		l.notify()
	}
}

// revive is touch for a session that is there already, before its sign of life is
// applied: see Node.expire.
func (l *leases) revive(id core.SessionID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[id]; s != nil {
		s.ending = false
		l.move(s, l.clock()+s.ttl)
	}
}

// ending tells whether a lease is over.
func (l *leases) ending(id core.SessionID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[id]
	return s != nil && s.ending
}

// settle is called when the end of a lease has been replicated, or could not be.
func (l *leases) settle(id core.SessionID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[id]; s != nil {
		s.proposed = false
	}
}

// renew extends a lease and tells whether there was one to extend.
func (l *leases) renew(id core.SessionID) (ttl time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[id]
	if !l.active || s == nil || s.ending {
		return 0, false
	}
	l.renewals++
	l.move(s, l.clock()+s.ttl)
	return s.ttl, true
}

func (l *leases) move(s *lease, deadline time.Duration) {
	s.deadline = deadline
	heap.Fix(&l.order, s.pos)
}

// remove forgets a session that the state machine has ended.
func (l *leases) remove(id core.SessionID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[id]; s != nil {
		heap.Remove(&l.order, s.pos)
		delete(l.sessions, id)
	}
}

// due marks the sessions whose lease is over as ending and returns them, and
// how long it is until the next one. A session whose end is on its way is not
// returned again: if a sign of life comes before the first proposal, it must not
// fall to a second.
func (l *leases) due() (ids []core.SessionID, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	for len(l.order) > 0 && len(ids) < 1024 {
		s := l.order[0]
		if s.deadline > now {
			return ids, s.deadline - now
		}
		// If its end cannot be replicated it is tried again then.
		l.move(s, now+s.ttl)
		if s.proposed {
			continue
		}
		ids = append(ids, s.id)
		s.ending, s.proposed = true, true
		l.expired++
	}
	return ids, time.Second
}

func (l *leases) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run calls expire for every session whose lease ends, while ctx lasts.
func (l *leases) run(ctx context.Context, expire func(core.SessionID)) {
	for {
		ids, next := l.due()
		for _, id := range ids {
			expire(id)
		}
		if len(ids) > 0 {
			continue
		}
		// The clock may run on while timers stand still: look once a second.
		t := time.NewTimer(min(next, time.Second))
		select {
		case <-t.C:
		case <-l.wake:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }
func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *leaseHeap) Push(x any) {
	s := x.(*lease)
	s.pos = len(*h)
	*h = append(*h, s)
}

func (h *leaseHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}
