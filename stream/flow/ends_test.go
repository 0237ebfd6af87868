package flow

import (
	"testing"
	"time"
)

// Events at the ends of time, and what is near them, never make a window that has no
// end: all of them come to rest.
func TestEndsOfTime(t *testing.T) {
	for _, s := range []Spec{Tumbling(time.Minute), Hopping(time.Minute, 7*time.Second), Sliding(time.Minute), Session(time.Minute)} {
		for _, late := range []time.Duration{0, time.Hour} {
			w, err := NewWindow(s, Count[int](), &WindowOptions{Lateness: late})
			if err != nil {
				t.Fatal(err)
			}
			counted, fired := 0, int64(0)
			emit := func(p Pane[int64]) {
				if p.Kind == OnTime && (p.Start < 0) == (p.End < 0) {
					fired++
				}
			}
			for _, at := range []Instant{
				Beginning, Beginning + 1, Beginning.plus(2 * time.Minute), Beginning.plus(3 * time.Minute), 0,
				Forever.minus(3*time.Hour + 1), Forever.minus(time.Hour), Forever.minus(time.Minute), Forever - 1, Forever,
			} {
				e := Event[int]{Key: "k", Time: at}
				if w.Add(&e, emit) {
					counted++
					w.Advance(at.minus(time.Second), emit)
				}
			}
			w.Advance(Forever-1, emit)
			w.Advance(Forever, emit)
			if counted < 3 || fired < 2 || w.Len() != 0 {
				t.Errorf("%v, lateness %v: %d counted, %d panes, %d keys left", s, late, counted, fired, w.Len())
			}
		}
	}
}
