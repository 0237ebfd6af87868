package flow

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"sort"
	"time"
)

// A Spec says which windows an event belongs to. Make one with [Tumbling],
// [Hopping], [Sliding] or [Session].
type Spec struct {
	kind   specKind
	size   time.Duration // of a window; for sessions the gap
	slide  time.Duration // between the starts of windows
	offset time.Duration
}

type specKind uint8

// Part of the format of checkpoints: never renumber.
const (
	aligned specKind = 1
	sliding specKind = 2
	session specKind = 3
)

// Tumbling has windows of one size that follow each other.
func Tumbling(size time.Duration) Spec { return Spec{kind: aligned, size: size, slide: size} }

// Hopping has windows of one size that begin every slide, which is at most the
// size: each event is in size/slide of them, or one more.
func Hopping(size, slide time.Duration) Spec { return Spec{kind: aligned, size: size, slide: slide} }

// Sliding has a window for each instant t at which the key has an event: the
// key's events in (t−size, t].
func Sliding(size time.Duration) Spec { return Spec{kind: sliding, size: size} }

// Session has windows that begin with an event and end when the key has none for
// gap: [first, last+gap).
func Session(gap time.Duration) Spec { return Spec{kind: session, size: gap} }

// Offset shifts the windows of Tumbling and Hopping, which else are counted from
// 1970-01-01 00:00 UTC: for days of another time zone, say.
func (s Spec) Offset(d time.Duration) Spec {
	s.offset = d
	return s
}

// String describes the windows.
func (s Spec) String() string {
	switch {
	case s.kind == aligned && s.size == s.slide:
		return fmt.Sprintf("tumbling %v", s.size)
	case s.kind == aligned:
		return fmt.Sprintf("hopping %v every %v", s.size, s.slide)
	case s.kind == sliding:
		return fmt.Sprintf("sliding %v", s.size)
	case s.kind == session:
		return fmt.Sprintf("sessions with gap %v", s.size)
	}
	return "no windows"
}

func (s Spec) check() error {
	if s.kind == 0 || s.size <= 0 || s.kind == aligned && (s.slide <= 0 || s.slide > s.size) {
		return fmt.Errorf("%w: windows %+v", ErrInvalid, s)
	}
	return nil
}

// WindowOptions configures [NewWindow]. Nil, and a zero field, mean the default.
type WindowOptions struct {
	// Lateness is how far behind a window's end the watermark may be for an
	// event to be counted in it. State is kept for so long. Default 0.
	Lateness time.Duration
}

// A Window aggregates events by key and window. It is not safe for concurrent
// use.
type Window[V, A any] struct {
	spec  Spec
	agg   Aggregate[V, A]
	late  time.Duration
	slice time.Duration // gcd(size, slide)

	mark   Instant // the watermark
	keys   map[string]*state[A]
	timers timers[A]
	dirty  []*state[A]
	buf    []byte
}

// A state is what is kept of a key. What an event touches stands together: with
// many keys, cache misses are what an event costs.
type state[A any] struct {
	slots []slot[A] // by rising at; in place, while they fit
	due   Instant   // when there is something to do; Forever if never
	dirty bool      // since the last checkpoint
	place [1]slot[A]

	key   string
	fired []fired // of aligned windows, with Lateness only; by rising end
	stack *stacks[A]
}

// A slot is a slice of aligned windows, the events of one instant of a key, or a
// session.
type slot[A any] struct {
	at   Instant // its start, or first event
	last Instant // of a session: its last event
	acc  A
	n    int // how often its own window fired: of Sliding and Session

	shown bool // a session fired since it has its present bounds
}

type fired struct {
	end Instant
	n   int
}

// NewWindow returns an operator without events, at the beginning of time.
func NewWindow[V, A any](s Spec, g Aggregate[V, A], o *WindowOptions) (*Window[V, A], error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	w := &Window[V, A]{spec: s, agg: g, mark: Beginning, keys: map[string]*state[A]{}}
	if o != nil {
		w.late = o.Lateness
	}
	if w.late < 0 {
		return nil, fmt.Errorf("%w: Lateness %v", ErrInvalid, w.late)
	}
	w.slice = gcd(s.size, max(s.slide, 1))
	w.timers.at = map[Instant][]*state[A]{}
	return w, nil
}

func gcd(a, b time.Duration) time.Duration {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Len returns how many keys have state.
func (w *Window[V, A]) Len() int { return len(w.keys) }

// Watermark returns the latest one.
func (w *Window[V, A]) Watermark() Instant { return w.mark }

// Add takes an event. False means that it is too late for all its windows, or so near
// to an end of time that these have no end in it, and counts nowhere. Panes that it
// fires again go to emit.
func (w *Window[V, A]) Add(e *Event[V], emit func(Pane[A])) bool {
	if !w.reaches(e.Time) {
		return false
	}
	switch w.spec.kind {
	case aligned:
		return w.addAligned(e, emit)
	case sliding:
		return w.addSliding(e, emit)
	}
	return w.addSession(e, emit)
}

// reaches tells whether all windows of an event at t, and the time for which they are
// kept, are within time: beyond its end nothing would ever be due.
func (w *Window[V, A]) reaches(t Instant) bool {
	span := w.spec.size + max(w.spec.slide, w.spec.size)
	return t > Beginning.plus(span) && t < Forever.minus(span).minus(w.late)
}

// Advance moves the watermark, and fires the windows that are complete, by rising
// end and then by key. A watermark that is not above the last one does nothing.
func (w *Window[V, A]) Advance(mark Instant, emit func(Pane[A])) {
	if mark <= w.mark {
		return
	}
	for len(w.timers.heap) > 0 && w.timers.heap[0] <= mark {
		t, keys := w.timers.pop()
		if t > w.mark { // never back: a timer of a late event
			w.mark = t
		}
		slices.SortFunc(keys, func(a, b *state[A]) int { return cmp.Compare(a.key, b.key) })
		for _, k := range keys {
			if k.due != t {
				continue // it has moved
			}
			switch w.spec.kind {
			case aligned:
				w.fireAligned(k, t, emit)
			case sliding:
				w.fireSliding(k, emit)
			case session:
				w.fireSessions(k, emit)
			}
			w.touch(k)
			k.due = Forever
			if len(k.slots) == 0 {
				delete(w.keys, k.key)
				continue
			}
			w.schedule(k)
		}
		w.timers.recycle(keys)
	}
	w.mark = mark
}

// at returns the state of a key.
func (w *Window[V, A]) at(key string) *state[A] {
	k := w.keys[key]
	if k == nil {
		k = newState[A](key)
		w.keys[key] = k
	}
	return k
}

func newState[A any](key string) *state[A] {
	k := &state[A]{key: key, due: Forever}
	k.slots = k.place[:0]
	return k
}

// touch remembers that a key has changed since the last checkpoint.
func (w *Window[V, A]) touch(k *state[A]) {
	if !k.dirty {
		k.dirty = true
		w.dirty = append(w.dirty, k)
	}
}

// schedule sets the timer of a key to the first instant at which it has something
// to fire or to forget. One that is too early stays, since a session that grows
// with each event would need a new one each time: it finds nothing to do.
func (w *Window[V, A]) schedule(k *state[A]) {
	due := Forever
	switch w.spec.kind {
	case aligned:
		due = w.dueAligned(k)
	case sliding:
		due = w.dueSliding(k)
	case session:
		due = w.dueSessions(k)
	}
	if due < k.due {
		k.due = due
		w.timers.push(due, k)
	}
}

// find returns the index of the slot at an instant, and whether there is one.
func (k *state[A]) find(at Instant) (int, bool) {
	if n := len(k.slots); n == 0 || k.slots[n-1].at < at {
		return n, false
	} else if k.slots[n-1].at == at {
		return n - 1, true
	}
	i := sort.Search(len(k.slots), func(i int) bool { return k.slots[i].at >= at })
	return i, k.slots[i].at == at
}

// firstEnd and lastEnd are the ends of the first and the last window that contains
// a slice.
func (w *Window[V, A]) firstEnd(slice Instant) Instant {
	first := slice.plus(w.slice).minus(w.spec.size) // the earliest possible start
	start := first.floor(w.spec.slide, w.spec.offset)
	if start < first {
		start = start.plus(w.spec.slide)
	}
	return start.plus(w.spec.size)
}

func (w *Window[V, A]) lastEnd(slice Instant) Instant {
	return slice.floor(w.spec.slide, w.spec.offset).plus(w.spec.size)
}

// over tells whether the window with the last instant t is over for good.
func (w *Window[V, A]) over(t Instant) bool { return t.plus(w.late) <= w.mark }

func (w *Window[V, A]) addAligned(e *Event[V], emit func(Pane[A])) bool {
	slice := e.Time.floor(w.slice, w.spec.offset)
	last := w.lastEnd(slice)
	if w.over(last - 1) {
		return false
	}
	k := w.at(e.Key)
	i, ok := k.find(slice)
	if !ok {
		k.slots = slices.Insert(k.slots, i, slot[A]{at: slice})
	}
	k.slots[i].acc = w.agg.Add(k.slots[i].acc, e)
	w.touch(k)
	if first := w.firstEnd(slice); first-1 <= w.mark {
		for end := first; end <= last && end-1 <= w.mark; end = end.plus(w.spec.slide) {
			if !w.over(end - 1) {
				w.emitAligned(k, end, Late, emit)
			}
		}
	}
	if !ok {
		w.schedule(k)
	}
	return true
}

// dueAligned is the end of the next window that has a slot and has not fired, or
// the time of forgetting the first slot.
func (w *Window[V, A]) dueAligned(k *state[A]) Instant {
	if len(k.slots) == 0 {
		return Forever
	}
	due := (w.lastEnd(k.slots[0].at) - 1).plus(w.late)
	next := Beginning // the first end above the watermark's instant
	if w.mark > Beginning {
		next = (w.mark + 1).minus(w.spec.size).floor(w.spec.slide, w.spec.offset).plus(w.spec.slide).plus(w.spec.size)
	}
	for i := range k.slots {
		at := k.slots[i].at
		if end := max(w.firstEnd(at), next); end <= w.lastEnd(at) {
			return min(due, end-1)
		}
	}
	return due
}

// fireAligned fires the window whose last instant is t, if it is one, and forgets
// slots whose windows are all over.
func (w *Window[V, A]) fireAligned(k *state[A], t Instant, emit func(Pane[A])) {
	end := t + 1
	start := end.minus(w.spec.size)
	if start.floor(w.spec.slide, w.spec.offset) == start {
		w.emitAligned(k, end, OnTime, emit)
	}
	n := 0
	for n < len(k.slots) && w.over(w.lastEnd(k.slots[n].at)-1) {
		n++
	}
	k.slots = slices.Delete(k.slots, 0, n)
	n = 0
	for n < len(k.fired) && w.over(k.fired[n].end-1) {
		n++
	}
	k.fired = slices.Delete(k.fired, 0, n)
}

// emitAligned emits the window that ends at end, if it has events.
func (w *Window[V, A]) emitAligned(k *state[A], end Instant, kind Kind, emit func(Pane[A])) {
	start := end.minus(w.spec.size)
	i, _ := k.find(start)
	var acc A
	some := false
	for ; i < len(k.slots) && k.slots[i].at < end; i++ {
		if !some {
			acc, some = k.slots[i].acc, true
			continue
		}
		acc = w.agg.Merge(acc, k.slots[i].acc)
	}
	if !some {
		return
	}
	p := Pane[A]{Key: k.key, Start: start, End: end, Value: acc, Kind: kind}
	if w.late > 0 {
		i := sort.Search(len(k.fired), func(i int) bool { return k.fired[i].end >= end })
		if i == len(k.fired) || k.fired[i].end != end {
			k.fired = slices.Insert(k.fired, i, fired{end: end})
		}
		p.Index = k.fired[i].n
		k.fired[i].n++
	}
	emit(p)
}

// timers are the keys that have something to do, by time. A key may be in more
// than one list; its due says which one counts.
type timers[A any] struct {
	heap instants
	at   map[Instant][]*state[A]
	free [][]*state[A]
}

func (t *timers[A]) push(at Instant, k *state[A]) {
	if at == Forever {
		return
	}
	list, ok := t.at[at]
	if !ok {
		heap.Push(&t.heap, at)
		if n := len(t.free); n > 0 {
			list, t.free = t.free[n-1], t.free[:n-1]
		}
	}
	t.at[at] = append(list, k)
}

func (t *timers[A]) pop() (Instant, []*state[A]) {
	at := heap.Pop(&t.heap).(Instant)
	list := t.at[at]
	delete(t.at, at)
	return at, list
}

func (t *timers[A]) recycle(list []*state[A]) {
	clear(list)
	if len(t.free) < 4 {
		t.free = append(t.free, list[:0])
	}
}

type instants []Instant

func (h instants) Len() int           { return len(h) }
func (h instants) Less(i, j int) bool { return h[i] < h[j] }
func (h instants) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *instants) Push(x any)        { *h = append(*h, x.(Instant)) }
func (h *instants) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
