package flow

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// stateVersion begins every encoded state.
const stateVersion = 1

// Checkpoint calls f for each key that has changed since the last Checkpoint, in
// order, with its encoded state, or nil where nothing is left of it. State is
// valid during the call. What f was given over time, the last of each key, and the
// watermark restore the operator: see Restore.
//
// The encoding, version 1: version, kind of window (1 byte each); number of slots
// (uvarint), and for each: the distance of its instant to the one before (the
// first: the instant itself, varint), for sessions twice that of the last event to it
// plus one if it fired with these bounds (uvarint), how often it fired (varint), length of the aggregate (uvarint) and the aggregate; for
// Sliding the bounds of its two stacks (3 uvarints), so that sums are added in the
// same order after a restart; number
// of fired windows, and for each the distance of its end to the one before and
// how often it fired (varints).
func (w *Window[V, A]) Checkpoint(f func(key string, state []byte)) {
	slices.SortFunc(w.dirty, func(a, b *state[A]) int { return cmp.Compare(a.key, b.key) })
	last := ""
	for i, d := range w.dirty {
		d.dirty = false
		if i > 0 && d.key == last {
			continue // it went and came back: one call has both
		}
		last = d.key
		if k := w.keys[d.key]; k != nil {
			k.dirty = false
			w.buf = w.encode(w.buf[:0], k)
			f(d.key, w.buf)
		} else {
			f(d.key, nil)
		}
	}
	clear(w.dirty)
	w.dirty = w.dirty[:0]
}

func (w *Window[V, A]) encode(b []byte, k *state[A]) []byte {
	b = append(b, stateVersion, byte(w.spec.kind))
	b = binary.AppendUvarint(b, uint64(len(k.slots)))
	at := Instant(0)
	var acc []byte
	for i := range k.slots {
		s := &k.slots[i]
		b = binary.AppendVarint(b, int64(s.at-at))
		at = s.at
		if w.spec.kind == session {
			d := int64(s.last-s.at) << 1
			if s.shown {
				d |= 1
			}
			b = binary.AppendUvarint(b, uint64(d))
		}
		b = binary.AppendVarint(b, int64(s.n))
		acc = w.agg.Append(acc[:0], s.acc)
		b = binary.AppendUvarint(b, uint64(len(acc)))
		b = append(b, acc...)
	}
	if w.spec.kind == sliding {
		var s stacks[A]
		if k.stack != nil {
			s = *k.stack
		}
		for _, v := range []int{s.low, s.mid, s.high} {
			b = binary.AppendUvarint(b, uint64(v))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(k.fired)))
	at = 0
	for _, f := range k.fired {
		b = binary.AppendVarint(b, int64(f.end-at))
		at = f.end
		b = binary.AppendVarint(b, int64(f.n))
	}
	return b
}

// Restore sets the watermark of an operator without events, and the states of its
// keys, as Checkpoint gave them.
func (w *Window[V, A]) Restore(mark Instant, states map[string][]byte) error {
	if len(w.keys) > 0 {
		return fmt.Errorf("%w: Restore of an operator with %d keys", ErrInvalid, len(w.keys))
	}
	keys := make(map[string]*state[A], len(states))
	for key, b := range states {
		k, err := w.decode(key, b)
		if err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
		keys[key] = k
	}
	w.mark, w.keys = mark, keys
	for _, k := range keys {
		w.schedule(k)
	}
	return nil
}

func (w *Window[V, A]) decode(key string, b []byte) (*state[A], error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	if b[0] != stateVersion {
		return nil, fmt.Errorf("%w: %d", ErrVersion, b[0])
	}
	if specKind(b[1]) != w.spec.kind {
		return nil, fmt.Errorf("%w: kind %d, want %d", ErrIncompatible, b[1], w.spec.kind)
	}
	b = b[2:]
	bad := false
	varint := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	count := func() int {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)-n) {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return int(v)
	}
	k := newState[A](key)
	at := Instant(0)
	for i := range count() {
		before := at
		s := slot[A]{at: at + Instant(varint())}
		at = s.at
		s.last = s.at
		if w.spec.kind == session {
			d := uvarint()
			s.last, s.shown = s.last+Instant(d>>1), d&1 == 1
		}
		s.n = int(varint())
		n := count()
		if bad || s.n < 0 || s.last < s.at || i > 0 && s.at <= before {
			return nil, fmt.Errorf("%w: slot %d", ErrCorrupt, i)
		}
		if w.spec.kind == aligned && s.at.floor(w.slice, w.spec.offset) != s.at {
			return nil, fmt.Errorf("%w: slices of %v do not begin at %v", ErrIncompatible, w.spec, s.at)
		}
		acc, err := w.agg.Decode(b[:n:n])
		if err != nil {
			return nil, fmt.Errorf("%w: aggregate of slot %d: %w", ErrCorrupt, i, err)
		}
		s.acc, b = acc, b[n:]
		k.slots = append(k.slots, s)
	}
	if w.spec.kind == sliding {
		low, mid, high := uvarint(), uvarint(), uvarint()
		if low > mid || mid > high || high > uint64(len(k.slots)) {
			return nil, fmt.Errorf("%w: stacks %d, %d, %d", ErrCorrupt, low, mid, high)
		}
		w.stack(k, int(low), int(mid), int(high))
	}
	at = 0
	for i := range count() {
		before := at
		f := fired{end: at + Instant(varint()), n: int(varint())}
		if at = f.end; bad || f.n < 1 || i > 0 && f.end <= before {
			return nil, fmt.Errorf("%w: fired window %d", ErrCorrupt, i)
		}
		k.fired = append(k.fired, f)
	}
	if bad || len(b) > 0 || len(k.slots) == 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrCorrupt, len(b))
	}
	return k, nil
}
