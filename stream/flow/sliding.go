package flow

import "slices"

// Windows of Sliding: a slot for each instant at which the key has events, in its
// own window and in those of the instants less than the size after it.

func (w *Window[V, A]) addSliding(e *Event[V], emit func(Pane[A])) bool {
	if w.over(e.Time) {
		return false
	}
	k := w.at(e.Key)
	i, ok := k.find(e.Time)
	if !ok {
		k.slots = slices.Insert(k.slots, i, slot[A]{at: e.Time})
	}
	if i < k.high {
		k.resetStacks() // they hold what was there before
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
	due := (k.slots[0].at.plus(w.spec.size) - 1).plus(w.late)
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
	n := 0
	for n < len(k.slots) && w.over(k.slots[n].at.plus(w.spec.size)-1) {
		n++
	}
	if n > 0 {
		k.slots = slices.Delete(k.slots, 0, n)
		if k.low -= n; k.low < 0 || k.mid-n < 0 {
			k.resetStacks()
		} else {
			k.mid, k.high = k.mid-n, k.high-n
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

func (k *state[A]) resetStacks() {
	clear(k.front)
	var zero A
	k.front, k.back, k.low, k.mid, k.high = k.front[:0], zero, 0, 0, 0
}

// slide returns the aggregate of the slots [from, to). While both rise from call
// to call, each slot is merged about three times in all, however large the
// window: front has the aggregates of everything from a slot up to mid, back that
// of what came after; when front is used up, back's slots become the new front.
func (w *Window[V, A]) slide(k *state[A], from, to int) A {
	if from < k.low || to < k.high || from > k.high {
		k.resetStacks()
		k.low, k.mid, k.high = from, from, from
	}
	for ; k.high < to; k.high++ {
		if k.high == k.mid {
			k.back = k.slots[k.high].acc
		} else {
			k.back = w.agg.Merge(k.back, k.slots[k.high].acc)
		}
	}
	if from >= k.mid { // turn the back over
		n := to - from
		k.front = slices.Grow(k.front[:0], n)[:n]
		for i := n - 1; i >= 0; i-- {
			k.front[i] = k.slots[from+i].acc
			if i < n-1 {
				k.front[i] = w.agg.Merge(k.front[i], k.front[i+1])
			}
		}
		k.low, k.mid = from, to
		return k.front[0]
	}
	// front[i] belongs to slot mid-len(front)+i.
	k.low = from
	acc := k.front[len(k.front)-(k.mid-from)]
	if k.high > k.mid {
		acc = w.agg.Merge(acc, k.back)
	}
	return acc
}
