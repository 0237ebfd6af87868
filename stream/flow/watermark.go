package flow

import (
	"fmt"
	"time"
)

// WatermarkOptions configures [NewWatermarks]. Nil, and a zero field, mean the
// default.
type WatermarkOptions struct {
	// Bound is how much later than others an event may arrive and still be on
	// time. Default 0: events of an input arrive in order.
	Bound time.Duration
	// Idle is how long an input may be silent before the others do not wait for
	// it any more. Default: for ever.
	Idle time.Duration
	// MaxAhead is how far in the future an event may be. Default: any.
	MaxAhead time.Duration
}

// Watermarks follows event time over some inputs. It reads no clock: the time is
// an argument. It is not safe for concurrent use.
type Watermarks struct {
	opts WatermarkOptions
	in   []input
	mark Instant // what was returned last; it never falls
}

type input struct {
	max   Instant // latest event time
	seen  Instant // processing time of the latest event
	idle  bool
	ended bool
}

// NewWatermarks returns the watermarks of inputs 0 to n-1, of which nothing has
// been seen. Silence is counted from now.
func NewWatermarks(n int, now Instant, o *WatermarkOptions) (*Watermarks, error) {
	w := &Watermarks{in: make([]input, n), mark: Beginning}
	if o != nil {
		w.opts = *o
	}
	if n < 1 || w.opts.Bound < 0 || w.opts.Idle < 0 || w.opts.MaxAhead < 0 {
		return nil, fmt.Errorf("%w: %d inputs, %+v", ErrInvalid, n, w.opts)
	}
	for i := range w.in {
		w.in[i] = input{max: Beginning, seen: now}
	}
	return w, nil
}

// Observe notes an event of an input. False means that it is more than MaxAhead
// after now: it should go to the side, and does not move the watermark.
func (w *Watermarks) Observe(i int, t, now Instant) bool {
	in := &w.in[i]
	in.seen, in.idle = now, false
	if w.opts.MaxAhead > 0 && t > now.plus(w.opts.MaxAhead) {
		return false
	}
	in.max = max(in.max, t)
	return true
}

// Input returns the watermark of one input, as if it were alone.
func (w *Watermarks) Input(i int) Instant {
	in := &w.in[i]
	switch {
	case in.ended:
		return Forever
	case in.max == Beginning:
		return Beginning
	}
	return in.max.minus(w.opts.Bound).minus(1)
}

// End says that an input is over.
func (w *Watermarks) End(i int) { w.in[i].ended = true }

// Restore sets an input to what a checkpoint says.
func (w *Watermarks) Restore(i int, latest Instant) { w.in[i].max = max(w.in[i].max, latest) }

// Latest returns the latest event time of an input.
func (w *Watermarks) Latest(i int) Instant { return w.in[i].max }

// Idle tells whether an input has been silent for too long.
func (w *Watermarks) Idle(i int, now Instant) bool {
	in := &w.in[i]
	if w.opts.Idle > 0 && now >= in.seen.plus(w.opts.Idle) {
		in.idle = true
	}
	return in.idle
}

// Current returns the watermark over all inputs: the least of those that are not
// idle. It never falls; while all are idle it stands still.
func (w *Watermarks) Current(now Instant) Instant {
	least, any := Forever, false
	for i := range w.in {
		if !w.in[i].ended && w.Idle(i, now) {
			continue
		}
		least, any = min(least, w.Input(i)), true
	}
	if any {
		w.mark = max(w.mark, least)
	}
	return w.mark
}
