package wal

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"github.com/ashlar-go/ashlar/internal/frame"
)

// A Record is what [Log.Replay] yields.
type Record struct {
	Pos  uint64
	Data []byte // valid until the next step
}

// Read returns the record at pos, in buf if its capacity suffices (16 bytes more
// than the record make it one system call). It also finds records that are not
// yet durable. A position without a record is an error wrapping [ErrNotFound];
// bytes that are no valid record are a [DamageError].
func (l *Log) Read(pos uint64, buf []byte) ([]byte, error) {
	s, err := l.locate(pos)
	if err != nil {
		return nil, err
	}
	defer s.release()
	off := s.offset(pos)
	if cap(buf) < 512 {
		buf = make([]byte, 512)
	}
	buf = buf[:cap(buf)]
	n, err := s.file.ReadAt(buf, off)
	h, err := l.header(s, pos, buf[:n], err)
	if err != nil {
		return nil, err
	}
	if kind, _ := splitTag(h.Tag, pos); kind != kindRecord {
		return nil, fmt.Errorf("%w: %d", ErrNotFound, pos)
	}
	if want := frame.HeaderSize + h.Len; want > n {
		// Checked: the length is what was written, not garbage.
		if want > len(buf) {
			buf = append(make([]byte, 0, want), buf[:n]...)[:want]
		}
		if m, err := s.file.ReadAt(buf[n:want], off+int64(n)); m < want-n {
			return nil, l.damaged(s, pos, "the record is cut short", err)
		}
	}
	data := buf[frame.HeaderSize : frame.HeaderSize+h.Len]
	if frame.Checksum(data) != h.Sum {
		return nil, l.damaged(s, pos, "the record's checksum is wrong", nil)
	}
	l.stats.reads.Add(1)
	return data, nil
}

// check returns nil if a valid frame begins at pos, of which only the header is
// read.
func (l *Log) check(pos uint64) error {
	s, err := l.locate(pos)
	if err != nil {
		return err
	}
	defer s.release()
	var b [frame.HeaderSize]byte
	n, err := s.file.ReadAt(b[:], s.offset(pos))
	_, err = l.header(s, pos, b[:n], err)
	return err
}

// header checks the header in b, which was read at pos with error rerr.
func (l *Log) header(s *segment, pos uint64, b []byte, rerr error) (frame.Header, error) {
	h, ok := frame.ParseHeader(b, s.salt, pos)
	if !ok {
		return h, l.damaged(s, pos, "no record begins here", rerr)
	}
	if uint64(frame.Size(h.Len)) > l.End()-pos {
		return h, l.damaged(s, pos, "the record's length goes beyond the end", rerr)
	}
	return h, nil
}

func (l *Log) damaged(s *segment, pos uint64, reason string, err error) error {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return &DamageError{Damage: []Damage{{File: s.name, Offset: s.offset(pos), From: pos, To: pos, Reason: reason}}, Err: err}
}

// locate returns the segment that holds pos, acquired.
func (l *Log) locate(pos uint64) (*segment, error) {
	for {
		// The end is read before the segments: what is before it is in them.
		if pos < l.Head() || pos >= l.End() || pos%frame.Align != 0 {
			return nil, fmt.Errorf("%w: %d, the log holds [%d, %d)", ErrNotFound, pos, l.Head(), l.End())
		}
		if sp, ok := findSpan(*l.spans.Load(), pos); ok && sp.from <= pos {
			if sp.damaged {
				return nil, &DamageError{Damage: []Damage{{From: sp.from, To: sp.to, Reason: "lost"}}}
			}
			return nil, fmt.Errorf("%w: %d was truncated", ErrNotFound, pos)
		}
		if l.closed.Load() {
			return nil, ErrClosed
		}
		segs := *l.segs.Load()
		i := sort.Search(len(segs), func(i int) bool { return segs[i].base > pos }) - 1
		if i >= 0 && segs[i].acquire() {
			return segs[i], nil
		}
		// Truncated or closed since: look again.
	}
}

// Replay yields the records from position from on, in order, up to the end as
// it is now. From is the position of a record, or anything up to the head for
// all records. Damage that Open did not know is yielded as a [DamageError]; under
// [Skip] the records after it follow, under [Refuse] it is the last.
//
// Truncation during Replay is allowed: records it removes may or may not be
// yielded. The files in use are kept until the loop ends.
func (l *Log) Replay(from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		end := l.End()
		pos := max(from, l.Head())
		if from > end {
			yield(Record{}, fmt.Errorf("%w: replay from %d, the log ends at %d", ErrNotFound, from, end))
			return
		}
		for pos < end {
			var ok bool
			if pos, ok = l.replaySegment(pos, end, yield); !ok {
				return
			}
		}
	}
}

// replaySegment yields the records from pos to the end of its segment.
func (l *Log) replaySegment(pos, end uint64, yield func(Record, error) bool) (next uint64, ok bool) {
	pos = max(pos, l.Head())
	spans := *l.spans.Load()
	if sp, ok := findSpan(spans, pos); ok && sp.from <= pos {
		return sp.to, true
	}
	s, err := l.locate(pos)
	if err != nil {
		if pos < l.Head() || pos >= l.End() {
			return max(l.Head(), pos), pos < l.Head()
		}
		yield(Record{}, err)
		return 0, false
	}
	defer s.release()
	to := end // of what this call yields
	segs := *l.segs.Load()
	if i := sort.Search(len(segs), func(i int) bool { return segs[i].base > s.base }); i < len(segs) {
		to = min(to, segs[i].base)
	}
	if sp, ok := findSpan(spans, pos); ok {
		to = min(to, sp.from)
	}
	sc := frame.NewScanner(s.file, s.salt, s.base-headerSize, s.offset(pos), s.offset(to))
	for {
		for sc.Next() {
			off, h, data := sc.Frame()
			at := s.position(off)
			if kind, _ := splitTag(h.Tag, at); kind == kindRecord && !yield(Record{Pos: at, Data: data}, nil) {
				return 0, false
			}
		}
		if sc.Stop() == frame.Full {
			return to, true
		}
		at := s.position(sc.Offset())
		if at < l.Head() { // recycled, or about to be
			return l.Head(), true
		}
		if !yield(Record{}, l.damaged(s, at, "no record begins here", sc.Err())) || l.policy == Refuse {
			return 0, false
		}
		if sc.Stop() != frame.Damaged {
			return to, true
		}
		sc.Resume()
	}
}
