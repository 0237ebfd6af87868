package flow

import (
	"slices"
	"sort"
)

// Windows of Sliding: a slot for each instant at which the key has events, in its
// own window and in those of the instants less than the size after it.

// stacks are the two stacks of a key: of the slots [low, mid) front holds, for
// each, the aggregate from it up to mid; back that of [mid, high).
type stacks[A any] struct {
	front          []A
	back           A
	low, mid, high int
}

func (w *Window[V, A]) addSliding(e *Event[V], emit func(Pane[A])) bool {
	if w.over(e.Time) {
		return false
	}
	k := w.at(e.Key)
	i, ok := k.find(e.Time)
	if !ok {
		k.slots = slices.Insert(k.slots, i, slot[A]{at: e.Time})
	}
	if k.stack != nil && i < k.stack.high {
		k.stack.reset() // they hold what was there before
	}
	k.slots[i].acc = w.agg.Add(k.slots[i].acc, e)
	w.touch(k)
	// The windows that have fired and hold this event: its own, if the watermark
	// has passed, and those after it.
	for j := i; j < len(k.slots) && k.slots[j].at <= w.mark && k.slots[j].at < e.Time.plus(w.spec.size); j++ {
		w.emitSliding(k, j, Late, emit)
	}
	if !ok {
		w.schedule(k)
	}
	return true
}

func (w *Window[V, A]) dueSliding(k *state[A]) Instant {
	if len(k.slots) == 0 {
		return Forever
	}
	// Events are forgotten once more than half of them may be: one by one, each
	// would move all others.
	due := (k.slots[len(k.slots)/2].at.plus(w.spec.size) - 1).plus(w.late)
	i, _ := k.find(w.mark.plus(1))
	if i < len(k.slots) {
		due = min(due, k.slots[i].at)
	}
	return due
}

// fireSliding fires the window of the instant at the watermark, if there is one,
// and forgets events that are in no window to come.
func (w *Window[V, A]) fireSliding(k *state[A], emit func(Pane[A])) {
	if i, ok := k.find(w.mark); ok && k.slots[i].n == 0 {
		w.emitSliding(k, i, OnTime, emit)
	}
	// More than half are forgotten if the one in the middle is.
	if len(k.slots) == 0 || !w.over(k.slots[len(k.slots)/2].at.plus(w.spec.size)-1) {
		return
	}
	n := sort.Search(len(k.slots), func(i int) bool { return !w.over(k.slots[i].at.plus(w.spec.size) - 1) })
	k.slots = slices.Delete(k.slots, 0, n)
	if s := k.stack; s != nil {
		if s.low < n {
			s.reset()
		} else {
			s.low, s.mid, s.high = s.low-n, s.mid-n, s.high-n
		}
	}
}

func (w *Window[V, A]) emitSliding(k *state[A], i int, kind Kind, emit func(Pane[A])) {
	s := &k.slots[i]
	start := s.at.minus(w.spec.size).plus(1)
	from, _ := k.find(start)
	p := Pane[A]{Key: k.key, Start: start, End: s.at.plus(1), Index: s.n, Kind: kind, Value: w.slide(k, from, i+1)}
	s.n++
	emit(p)
}

func (s *stacks[A]) reset() {
	clear(s.front)
	*s = stacks[A]{front: s.front[:0]}
}

// stack builds the stacks of a key anew, with the same bounds and so with the same
// order of merging.
func (w *Window[V, A]) stack(k *state[A], low, mid, high int) {
	s := &stacks[A]{low: low, mid: mid, high: high}
	k.stack = s
	s.front = make([]A, mid-low)
	for i := len(s.front) - 1; i >= 0; i-- {
		s.front[i] = k.slots[low+i].acc
		if i < len(s.front)-1 {
			s.front[i] = w.agg.Merge(s.front[i], s.front[i+1])
		}
	}
	for i := mid; i < high; i++ {
		if i == mid {
			s.back = k.slots[i].acc
		} else {
			s.back = w.agg.Merge(s.back, k.slots[i].acc)
		}
	}
}

// slide returns the aggregate of the slots [from, to). While both rise from call
// to call, each slot is merged about three times in all, however large the
// window: front has the aggregates of everything from a slot up to mid, back that
// of what came after; when front is used up, back's slots become the new front.
func (w *Window[V, A]) slide(k *state[A], from, to int) A {
	if k.stack == nil {
		k.stack = &stacks[A]{}
	}
	s := k.stack
	if from < s.low || to < s.high || from > s.high {
		s.reset()
		s.low, s.mid, s.high = from, from, from
	}
	for ; s.high < to; s.high++ {
		if s.high == s.mid {
			s.back = k.slots[s.high].acc
		} else {
			s.back = w.agg.Merge(s.back, k.slots[s.high].acc)
		}
	}
	if from >= s.mid { // turn the back over
		n := to - from
		s.front = slices.Grow(s.front[:0], n)[:n]
		for i := n - 1; i >= 0; i-- {
			s.front[i] = k.slots[from+i].acc
			if i < n-1 {
				s.front[i] = w.agg.Merge(s.front[i], s.front[i+1])
			}
		}
		s.low, s.mid = from, to
		return s.front[0]
	}
	s.low = from
	acc := s.front[len(s.front)-(s.mid-from)] // front's last is that of slot mid-1
	if s.high > s.mid {
		acc = w.agg.Merge(acc, s.back)
	}
	return acc
}
