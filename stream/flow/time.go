package flow

import (
	"errors"
	"fmt"
	"math"
	"time"
)

var (
	// ErrInvalid is returned for an argument that can never be right.
	ErrInvalid = errors.New("flow: invalid argument")
	// ErrCorrupt is returned for a checkpoint that cannot be decoded.
	ErrCorrupt = errors.New("flow: corrupt state")
	// ErrIncompatible is returned for a checkpoint of another kind of window.
	ErrIncompatible = errors.New("flow: state of another window")
	// ErrVersion is returned for a checkpoint of a later format.
	ErrVersion = errors.New("flow: unknown version of a state")
)

// An Instant is a point in time: nanoseconds since 1970, from the year 1678 to
// 2262.
type Instant int64

// The ends of time. A watermark at Forever says that nothing more will come, and
// fires everything.
const (
	Beginning Instant = math.MinInt64
	Forever   Instant = math.MaxInt64
)

// At returns the instant of a time; one that is out of range becomes the nearest
// that is in it.
func At(t time.Time) Instant {
	switch s := t.Unix(); {
	case s <= math.MinInt64/int64(time.Second):
		return Beginning
	case s >= math.MaxInt64/int64(time.Second):
		return Forever
	}
	return Instant(t.UnixNano())
}

// Time returns t in UTC.
func (t Instant) Time() time.Time { return time.Unix(0, int64(t)).UTC() }

// String returns t as RFC 3339 does.
func (t Instant) String() string {
	switch t {
	case Beginning:
		return "beginning"
	case Forever:
		return "forever"
	}
	return t.Time().Format(time.RFC3339Nano)
}

// plus adds a duration that is not negative, and stops at the end of time.
func (t Instant) plus(d time.Duration) Instant {
	if s := t + Instant(d); s >= t {
		return s
	}
	return Forever
}

// minus subtracts a duration that is not negative, and stops at the beginning.
func (t Instant) minus(d time.Duration) Instant {
	if s := t - Instant(d); s <= t {
		return s
	}
	return Beginning
}

// floor returns the last of the instants offset + n·step at or before t.
func (t Instant) floor(step, offset time.Duration) Instant {
	r := (int64(t) - int64(offset)) % int64(step)
	if r < 0 {
		r += int64(step)
	}
	return t.minus(time.Duration(r))
}

// An Event is what happened, to which key and when.
type Event[V any] struct {
	Key   string
	Time  Instant
	Value V
}

// A Kind says why a pane was fired.
type Kind uint8

const (
	// OnTime is the pane of a window that the watermark has passed.
	OnTime Kind = iota + 1
	// Late is a pane fired again, or for the first time, by a late event.
	Late
	// Retracted takes back the panes of a session that a late event joined to
	// another: a pane of the joined one follows. Its value is the last fired.
	Retracted
)

// String returns the kind as a word.
func (k Kind) String() string {
	switch k {
	case OnTime:
		return "on time"
	case Late:
		return "late"
	case Retracted:
		return "retracted"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// A Pane is a result: the aggregate of a key's events in [Start, End). For a
// window of [Sliding] that is the event's own instant and what lies less than the
// size before it.
type Pane[A any] struct {
	Key        string
	Start, End Instant
	Value      A
	// Index counts the panes of this key and window, from 0. A later one holds
	// all that an earlier one does.
	Index int
	Kind  Kind
}
