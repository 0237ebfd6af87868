package stream

import (
	"context"
	"fmt"
	"slices"

	"github.com/ashlar-go/ashlar/internal/frame"
)

// A hint says where a batch's reader stopped, so that the next Read need not look
// for the place again.
type hint struct {
	l    *Local
	part *partition
	seg  *segment
	pos  int64
	next int64
}

// A place is where to look for an offset.
type place struct {
	part  *partition
	seg   *segment
	index *segPart
	pos   int64
	end   int64 // of what is published in seg
	next  int64 // offset after the last one of the partition in seg
}

// Read implements [Log]. It reads through one buffer, b.Buffer, into which the
// records point; every byte is checked. Damage is a [DamageError].
func (l *Local) Read(ctx context.Context, p Partition, from int64, b *Batch) error {
	b.Reset()
	for {
		if err := l.before(ctx); err != nil {
			return err
		}
		at, wake, err := l.locate(p, from, &b.hint)
		if err != nil {
			return err
		}
		if wake != nil {
			select {
			case <-wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if at.seg == nil { // nothing left from here to the end
			b.Next = at.next
			return nil
		}
		err = l.readAt(at, from, b)
		at.seg.release()
		if err == nil {
			l.stats.reads.Add(1)
		}
		return err
	}
}

// locate finds the place of an offset, whose segment it acquires, or returns what
// to wait for. A place without segment means that there are no records up to
// next.
func (l *Local) locate(p Partition, from int64, h *hint) (at place, wake <-chan struct{}, err error) {
	l.mu.RLock()
	part, err := l.lookupLocked(p)
	if err == nil && l.isClosed() {
		err = ErrClosed
	}
	if err != nil {
		l.mu.RUnlock()
		return at, nil, err
	}
	if from < part.first || from > part.next {
		err := &OffsetError{Partition: p, Offset: from, First: part.first, Next: part.next}
		l.mu.RUnlock()
		return at, nil, err
	}
	if from < part.next {
		defer l.mu.RUnlock()
		at = place{part: part, next: part.next}
		if h.l == l && h.part == part && h.next == from && !h.seg.gone && h.seg.parts[part.id].next > from {
			at.seg, at.pos = h.seg, h.pos
		} else {
			i, _ := slices.BinarySearchFunc(part.segs, from, func(s *segment, o int64) int {
				if s.parts[part.id].next <= o {
					return -1
				}
				return 1
			})
			if i == len(part.segs) {
				if !part.topic.opts.Compact {
					err = &DamageError{
						Damage: Damage{File: l.dir, Reason: "segments are missing"}, Partition: p, From: from,
						To: part.next,
					}
				}
				return at, nil, err
			}
			at.seg = part.segs[i]
			at.pos = at.seg.parts[part.id].find(from)
		}
		at.index = at.seg.parts[part.id]
		at.next, at.end = at.index.next, at.seg.visible.Load()
		at.seg.acquire()
		return at, nil, nil
	}
	l.mu.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed() {
		return at, nil, ErrClosed
	}
	if part.wake == nil || from < part.next {
		c := make(chan struct{})
		if from < part.next {
			close(c)
			return at, c, nil
		}
		part.wake = c
	}
	return at, part.wake, nil
}

// A window is the part of a segment that is in memory.
type window struct {
	at  *place
	buf []byte
	pos int64 // of buf in the file
}

// bytes returns what is in memory from pos on, at least n bytes of it unless the
// segment ends before. It reads size bytes at a time.
func (w *window) bytes(pos int64, n, size int) ([]byte, error) {
	n = int(min(int64(n), w.at.end-pos))
	if i := pos - w.pos; i >= 0 && i+int64(n) <= int64(len(w.buf)) {
		return w.buf[i:], nil
	}
	n = int(min(int64(max(n, size)), w.at.end-pos))
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.buf, w.pos = w.buf[:n], pos
	if _, err := w.at.seg.file.ReadAt(w.buf, pos); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf, nil
}

// holds tells whether the n bytes at pos are in memory.
func (w *window) holds(pos int64, n int) bool {
	i := pos - w.pos
	return i >= 0 && i+int64(n) <= int64(len(w.buf))
}

// readAt walks the frames from at.pos on, takes those of the partition, and stops
// at the end of the window. Frames of other partitions are passed over: their
// headers are checked, their contents not.
//
// A batch whose own trailer is damaged might pass for another partition's. In a
// segment as it was written that leaves a gap in the offsets, which is reported;
// in a rewritten one, where gaps may be, the header names the partition.
func (l *Local) readAt(at place, from int64, b *Batch) error {
	w := window{at: &at, buf: b.Buffer[:0]}
	defer func() { b.Buffer = w.buf[:0] }()
	if from < at.index.first {
		if !at.part.topic.opts.Compact {
			e := &DamageError{
				Damage:    Damage{File: at.seg.path, Offset: at.pos, Reason: "records before this place are missing"},
				Partition: at.part.name, From: from, To: at.index.first,
			}
			return e
		}
		from = at.index.first
	}
	limit := max(b.limit(), frame.HeaderSize)
	pos, next := at.pos, from // next: the offset expected
	bad := ""
	for pos < at.end && next < at.next {
		if len(b.Records) > 0 && !w.holds(pos, frame.HeaderSize) {
			break
		}
		p, err := w.bytes(pos, frame.HeaderSize, limit)
		if err != nil {
			return l.readError(at, pos, from, err)
		}
		h, ok := frame.ParseHeader(p, at.seg.salt, uint64(pos))
		size := frame.Size(h.Len)
		if !ok || int64(size) > at.end-pos {
			bad = "no valid frame"
			break
		}
		if h.Tag&tagKind != kindBatch || at.seg.gen > 0 && h.Tag>>tagShift != at.part.id&tagNever {
			pos = l.skip(&at, &w, pos+int64(size))
			continue
		}
		if len(b.Records) > 0 && !w.holds(pos, size) {
			break
		}
		if p, err = w.bytes(pos, size, limit); err != nil {
			return l.readError(at, pos, from, err)
		}
		payload := p[frame.HeaderSize : frame.HeaderSize+h.Len : frame.HeaderSize+h.Len]
		t, ok := parseTrailer(payload)
		original := at.seg.gen == 0
		switch {
		case original && ok && t.part != at.part.id:
			pos = l.skip(&at, &w, pos+int64(size))
			continue
		case original && ok && t.next <= next:
			pos += int64(size)
			continue
		case !ok || frame.Checksum(payload) != h.Sum:
			bad = "checksum of a batch"
		case t.next <= next:
			pos += int64(size)
			continue
		case t.first > next && (original || !at.part.topic.opts.Compact):
			bad = "records before this place are missing"
		}
		if bad != "" {
			break
		}
		if err := decodeBatch(b, payload, next); err != nil {
			b.Reset()
			bad = err.Error()
			break
		}
		next = t.next
		pos += int64(size)
	}
	switch {
	case next > from: // what is wrong behind is told by the next Read
	case bad == "":
		bad = "records are missing"
		fallthrough
	default:
		return l.damaged(at, pos, from, b, bad)
	}
	b.Next = next
	b.hint = hint{l: l, part: at.part, seg: at.seg, pos: pos, next: next}
	return nil
}

// skip returns where to look next after frames of other partitions: pos, or the
// next entry of the index if that is far away and not in memory.
func (l *Local) skip(at *place, w *window, pos int64) int64 {
	if w.holds(pos, frame.HeaderSize) {
		return pos
	}
	l.mu.RLock() // the segment in use grows
	next, ok := at.index.skip(pos)
	l.mu.RUnlock()
	if ok {
		return next
	}
	return pos
}

func (l *Local) readError(at place, pos, from int64, err error) error {
	return fmt.Errorf("stream: reading %v from offset %d in %s at byte %d: %w", at.part.name, from, at.seg.path, pos, err)
}

// damaged looks for what the partition has after a damaged place, and reports
// what is lost: or, if nothing of this partition is, reads on there.
func (l *Local) damaged(at place, pos, from int64, b *Batch, reason string) error {
	e := &DamageError{Damage: Damage{File: at.seg.path, Offset: pos, Reason: reason}, Partition: at.part.name, From: from}
	e.To = at.next
	s := frame.NewScanner(at.seg.file, at.seg.salt, 0, pos, at.end)
	found := int64(-1)
scan:
	for {
		for s.Next() {
			off, h, payload := s.Frame()
			if t, ok := parseTrailer(payload); ok && h.Tag&tagKind == kindBatch && t.part == at.part.id && t.next > from {
				e.To, found = max(t.first, from), off
				break scan
			}
		}
		if s.Stop() != frame.Damaged {
			break
		}
		lo, hi := s.Resume()
		if e.Bytes == 0 && lo == pos {
			e.Bytes = hi - lo
		}
	}
	if found < 0 {
		l.mu.RLock()
		i := slices.Index(at.part.segs, at.seg)
		if i >= 0 && i+1 < len(at.part.segs) {
			e.To = at.part.segs[i+1].parts[at.part.id].first
		} else if i >= 0 {
			e.To = at.part.next
		}
		l.mu.RUnlock()
	}
	if found >= 0 && e.To == from && found > pos {
		at.pos = found
		return l.readAt(at, from, b) // what is damaged is not of this partition
	}
	l.opts.Logger.Error("stream: damage", "err", e)
	return e
}
