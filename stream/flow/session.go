package flow

import "slices"

// Windows of Session: a slot for each session, none of which overlap.

func (w *Window[V, A]) sessionEnd(s *slot[A]) Instant { return s.last.plus(w.spec.size) }

func (w *Window[V, A]) addSession(e *Event[V], emit func(Pane[A])) bool {
	// The event alone would be a session; it joins those less than a gap away.
	s := slot[A]{at: e.Time, last: e.Time}
	k := w.keys[e.Key]
	lo, hi := 0, 0
	if k != nil {
		for lo = len(k.slots); lo > 0 && w.sessionEnd(&k.slots[lo-1]) > e.Time; lo-- {
		}
		for hi = lo; hi < len(k.slots) && k.slots[hi].at < e.Time.plus(w.spec.size); hi++ {
			s.at, s.last = min(s.at, k.slots[hi].at), max(s.last, k.slots[hi].last)
		}
	}
	end := w.sessionEnd(&s)
	if w.over(end - 1) {
		return false
	}
	if k == nil {
		k = w.at(e.Key)
	}
	// Aggregates are merged in the order of time; the event's own place in it is
	// that of its session.
	var zero A
	own := w.agg.Add(zero, e)
	switch {
	case hi == lo:
		s.acc = own
	case hi == lo+1:
		s.acc = w.agg.Add(k.slots[lo].acc, e)
	default:
		s.acc = w.agg.Merge(k.slots[lo].acc, own)
		for i := lo + 1; i < hi; i++ {
			s.acc = w.agg.Merge(s.acc, k.slots[i].acc)
		}
	}
	for i := lo; i < hi; i++ {
		old := &k.slots[i]
		if old.shown && (old.at != s.at || old.last != s.last) {
			emit(Pane[A]{Key: k.key, Start: old.at, End: w.sessionEnd(old), Value: old.acc, Index: old.n, Kind: Retracted})
		}
		s.n = max(s.n, old.n)
	}
	k.slots = slices.Replace(k.slots, lo, hi, s)
	w.touch(k)
	if end-1 <= w.mark {
		w.emitSession(k, lo, Late, emit)
	}
	w.schedule(k)
	return true
}

func (w *Window[V, A]) dueSessions(k *state[A]) Instant {
	due := Forever
	for i := range k.slots {
		last := w.sessionEnd(&k.slots[i]) - 1
		if last > w.mark {
			due = min(due, last)
		} else {
			due = min(due, last.plus(w.late))
		}
	}
	return due
}

// fireSessions fires the session that ends at the watermark, and forgets those
// that are over for good.
func (w *Window[V, A]) fireSessions(k *state[A], emit func(Pane[A])) {
	for i := range k.slots {
		if w.sessionEnd(&k.slots[i])-1 == w.mark {
			w.emitSession(k, i, OnTime, emit)
		}
	}
	k.slots = slices.DeleteFunc(k.slots, func(s slot[A]) bool { return w.over(w.sessionEnd(&s) - 1) })
}

func (w *Window[V, A]) emitSession(k *state[A], i int, kind Kind, emit func(Pane[A])) {
	s := &k.slots[i]
	emit(Pane[A]{Key: k.key, Start: s.at, End: w.sessionEnd(s), Value: s.acc, Index: s.n, Kind: kind})
	s.n, s.shown = s.n+1, true
}
