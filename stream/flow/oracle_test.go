package flow

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The aggregate of the tests keeps all values, so that nothing can be counted
// twice, lost, or put in another order of time than it says.
func collect() Aggregate[int, []int] {
	return Aggregate[int, []int]{
		Add: func(acc []int, e *Event[int]) []int { return append(slices.Clone(acc), e.Value) },
		Merge: func(a, b []int) []int {
			return append(slices.Clone(a), b...)
		},
		Append: func(dst []byte, acc []int) []byte {
			for _, v := range acc {
				dst = binary.AppendVarint(dst, int64(v))
			}
			return dst
		},
		Decode: func(b []byte) (acc []int, err error) {
			for len(b) > 0 {
				v, n := binary.Varint(b)
				if n <= 0 {
					return nil, ErrCorrupt
				}
				acc, b = append(acc, int(v)), b[n:]
			}
			return acc, nil
		},
	}
}

// An oracle keeps every event that was accepted, and every firing, and works out
// windows from nothing but that.
type oracle struct {
	spec  Spec
	late  time.Duration
	mark  Instant
	kept  []Event[int]
	count map[string]int // panes by key and window
	shown map[string]oraclePane
}

type oraclePane struct {
	start, end Instant
	values     []int
}

type span struct{ start, end Instant }

// windows returns the windows of a key that hold its events, by brute force.
func (o *oracle) windows(key string, events []Event[int]) map[span][]int {
	out := map[span][]int{}
	var mine []Event[int]
	for _, e := range events {
		if e.Key == key {
			mine = append(mine, e)
		}
	}
	switch o.spec.kind {
	case aligned:
		for _, e := range mine {
			// every start that could be: n·slide+offset with start ≤ t < start+size
			for n := (int64(e.Time)-int64(o.spec.offset)-int64(o.spec.size))/int64(o.spec.slide) - 2; ; n++ {
				start := n*int64(o.spec.slide) + int64(o.spec.offset)
				if start > int64(e.Time) {
					break
				}
				if int64(e.Time) < start+int64(o.spec.size) {
					s := span{Instant(start), Instant(start + int64(o.spec.size))}
					out[s] = append(out[s], e.Value)
				}
			}
		}
	case sliding:
		for _, e := range mine {
			s := span{e.Time - Instant(o.spec.size) + 1, e.Time + 1}
			if out[s] != nil {
				continue
			}
			for _, f := range mine {
				if f.Time >= s.start && f.Time < s.end {
					out[s] = append(out[s], f.Value)
				}
			}
		}
	case session:
		slices.SortStableFunc(mine, func(a, b Event[int]) int { return cmp.Compare(a.Time, b.Time) })
		for i := 0; i < len(mine); {
			j := i + 1
			vs := []int{mine[i].Value}
			for ; j < len(mine) && mine[j].Time-mine[j-1].Time < Instant(o.spec.size); j++ {
				vs = append(vs, mine[j].Value)
			}
			out[span{mine[i].Time, mine[j-1].Time + Instant(o.spec.size)}] = vs
			i = j
		}
	}
	for _, vs := range out {
		slices.Sort(vs)
	}
	return out
}

// accepts tells whether the event counts in any window.
func (o *oracle) accepts(e Event[int]) bool {
	open := func(end Instant) bool { return end-1+Instant(o.late) > o.mark }
	switch o.spec.kind {
	case aligned:
		for s := range o.windows(e.Key, []Event[int]{e}) {
			if open(s.end) {
				return true
			}
		}
		return false
	case sliding:
		return open(e.Time + 1)
	}
	for s := range o.windows(e.Key, append(slices.Clone(o.kept), e)) {
		if e.Time >= s.start && e.Time < s.end {
			return open(s.end)
		}
	}
	panic("an event without session")
}

// forget drops the events of sessions that are over: a later event that comes
// near begins a session of its own.
func (o *oracle) forget() {
	if o.spec.kind != session {
		return
	}
	dead := map[int]bool{}
	for _, key := range []string{"k0", "k1", "k2"} {
		for s, vs := range o.windows(key, o.kept) {
			if s.end-1+Instant(o.late) <= o.mark {
				for _, v := range vs {
					dead[v] = true
				}
			}
		}
	}
	o.kept = slices.DeleteFunc(o.kept, func(e Event[int]) bool { return dead[e.Value] })
}

func name(key string, s span) string { return fmt.Sprintf("%s %d %d", key, s.start, s.end) }

var specs = []Spec{
	Tumbling(10), Tumbling(7).Offset(3), Hopping(12, 4), Hopping(10, 3), Hopping(60, 1), Hopping(9, 9).Offset(-4), Sliding(8), Sliding(1),
	Session(5), Session(1),
}

// TestAgainstBruteForce runs random events and watermarks, some of them late and
// before 1970, with a checkpoint and a restart now and then, and compares every
// pane with what brute force over all events says.
func TestAgainstBruteForce(t *testing.T) {
	for _, spec := range specs {
		for seed := range uint64(40) {
			bruteForce(t, spec, seed)
		}
	}
}

func bruteForce(t *testing.T, spec Spec, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 9))
	late := time.Duration([]int{0, 0, 5, 40}[rng.IntN(4)])
	where := fmt.Sprintf("%v lateness %d seed %d", spec, late, seed)
	o := &oracle{spec: spec, late: late, mark: Beginning, count: map[string]int{}, shown: map[string]oraclePane{}}
	w, err := NewWindow(spec, collect(), &WindowOptions{Lateness: late})
	if err != nil {
		t.Fatal(err)
	}
	saved := map[string][]byte{}
	var panes []Pane[[]int]
	emit := func(p Pane[[]int]) { p.Value = slices.Sorted(slices.Values(p.Value)); panes = append(panes, p) }
	now := Instant(rng.IntN(400) - 200)
	for i := range 150 {
		panes = panes[:0]
		switch rng.IntN(10) {
		default:
			e := Event[int]{Key: fmt.Sprint("k", rng.IntN(3)), Time: now + Instant(rng.IntN(60)-40), Value: i}
			want := o.accepts(e)
			if got := w.Add(&e, emit); got != want {
				t.Fatalf("%s step %d: Add(%+v) at %d = %v, want %v", where, i, e, o.mark, got, want)
			}
			if want {
				o.kept = append(o.kept, e)
			}
			o.compare(t, fmt.Sprintf("%s step %d: Add %+v at %d", where, i, e, o.mark), panes, &e, want)
		case 0, 1:
			now += Instant(rng.IntN(25))
			if i > 140 {
				now = Forever
			}
			mark := now.minus(time.Duration(rng.IntN(15)))
			if now == Forever {
				mark = Forever
			}
			w.Advance(mark, emit)
			before := o.mark
			o.mark = max(o.mark, mark)
			o.compareAdvance(t, fmt.Sprintf("%s step %d: Advance(%d)", where, i, mark), panes, before)
			if now == Forever {
				if w.Len() > 0 {
					t.Fatalf("%s: %d keys have state at the end", where, w.Len())
				}
				return
			}
			o.forget()
		case 2:
			w.Checkpoint(func(key string, state []byte) {
				if delete(saved, key); state != nil {
					saved[key] = slices.Clone(state)
				}
			})
			mark := w.Watermark()
			w, err = NewWindow(spec, collect(), &WindowOptions{Lateness: late})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Restore(mark, saved); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
		}
	}
}

// compareAdvance: panes are exactly the windows whose last instant the watermark
// has passed now, by end and key.
func (o *oracle) compareAdvance(t *testing.T, where string, panes []Pane[[]int], before Instant) {
	t.Helper()
	type due struct {
		key string
		s   span
		vs  []int
	}
	var want []due
	for _, key := range []string{"k0", "k1", "k2"} {
		for s, vs := range o.windows(key, o.kept) {
			if s.end-1 > before && s.end-1 <= o.mark {
				want = append(want, due{key, s, vs})
			}
		}
	}
	slices.SortFunc(want, func(a, b due) int { return cmp.Or(cmp.Compare(a.s.end, b.s.end), cmp.Compare(a.key, b.key)) })
	if len(panes) != len(want) {
		t.Fatalf("%s: panes %+v, want %+v", where, panes, want)
	}
	for i, d := range want {
		p := panes[i]
		n := o.count[name(d.key, d.s)]
		if o.spec.kind == session {
			n = p.Index // sessions that were joined go on counting
		}
		if p.Key != d.key || p.Start != d.s.start || p.End != d.s.end || !slices.Equal(p.Value, d.vs) || p.Kind != OnTime || p.Index != n {
			t.Fatalf("%s: pane %d is %+v, want %+v index %d", where, i, p, d, n)
		}
		o.count[name(d.key, d.s)]++
		o.shown[name(d.key, d.s)] = oraclePane{d.s.start, d.s.end, d.vs}
	}
}

// compare: an event fires again exactly the windows that it is in, that the
// watermark has passed and that are not over, each with all that is in it.
func (o *oracle) compare(t *testing.T, where string, panes []Pane[[]int], e *Event[int], accepted bool) {
	t.Helper()
	want := map[span][]int{}
	if accepted {
		for s, vs := range o.windows(e.Key, o.kept) {
			if e.Time >= s.start && e.Time < s.end && s.end-1 <= o.mark && s.end-1+Instant(o.late) > o.mark {
				want[s] = vs
			}
		}
	}
	got := 0
	for _, p := range panes {
		s := span{p.Start, p.End}
		if p.Kind == Retracted {
			if _, ok := o.shown[name(p.Key, s)]; !ok || o.spec.kind != session {
				t.Fatalf("%s: %+v takes back what was never fired", where, p)
			}
			delete(o.shown, name(p.Key, s))
			continue
		}
		got++
		n := o.count[name(p.Key, s)]
		if o.spec.kind == session {
			n = p.Index
		}
		if vs, ok := want[s]; !ok || !slices.Equal(p.Value, vs) || p.Kind != Late || p.Key != e.Key || p.Index != n {
			t.Fatalf("%s: pane %+v, want %v index %d", where, p, vs, n)
		}
		o.count[name(p.Key, s)]++
		o.shown[name(p.Key, s)] = oraclePane{s.start, s.end, p.Value}
	}
	if got != len(want) {
		t.Fatalf("%s: panes %+v, want %v", where, panes, want)
	}
	// What has been shown and not taken back is no session that exists no more.
	if o.spec.kind == session && accepted {
		all := o.windows(e.Key, o.kept)
		for n, p := range o.shown {
			if n[:2] == e.Key && p.end-1+Instant(o.late) > o.mark {
				if _, ok := all[span{p.start, p.end}]; !ok {
					t.Fatalf("%s: session %s was shown, is joined to another, and was not taken back", where, n)
				}
			}
		}
	}
}
