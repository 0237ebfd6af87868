package wal

import (
	"path/filepath"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A segment is an open file of the log. It counts its users, so that a reader
// never meets a file that was closed, renamed and written anew.
type segment struct {
	num   uint64
	base  uint64 // position of its first frame
	salt  frame.Salt
	name  string
	file  vfs.File
	size  int64 // of the file; the appender's, as is asked
	asked bool  // for a next segment

	refs atomic.Int64 // 1 for the log itself; at 0 the file is closed
	gone func()       // called once, after the file was closed
}

func (l *Log) newSegment(num, base uint64, f vfs.File, size int64) *segment {
	s := &segment{
		num: num, base: base, salt: frame.NewSalt(l.id, num), name: filepath.Join(l.dir, segmentName(num)),
		file: f, size: size,
	}
	s.refs.Store(1)
	return s
}

// offset returns where position pos is in the file.
func (s *segment) offset(pos uint64) int64 { return headerSize + int64(pos-s.base) }

// position undoes offset.
func (s *segment) position(off int64) uint64 { return s.base + uint64(off-headerSize) }

// acquire takes part in the segment's use, unless that has ended.
func (s *segment) acquire() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *segment) release() error {
	if s.refs.Add(-1) > 0 {
		return nil
	}
	err := s.file.Close()
	if s.gone != nil {
		s.gone()
	}
	return err
}

// A span is a range of positions [from, to) whose frames do not count.
type span struct {
	from, to uint64
	damaged  bool
}

// addSpan returns spans with [from, to) added, where to is at or above all
// others: the new span swallows those it covers.
func addSpan(spans []span, s span) []span {
	n := len(spans)
	for n > 0 && spans[n-1].from >= s.from {
		n--
	}
	if n > 0 && spans[n-1].to > s.from {
		s.from = spans[n-1].from
		n--
	}
	return append(spans[:n:n], s)
}

// insertSpan returns spans with s added wherever it belongs.
func insertSpan(spans []span, s span) []span {
	var rest []span
	for n := len(spans); n > 0 && spans[n-1].from >= s.to; n-- {
		rest = append(rest, spans[n-1])
		spans = spans[:n-1]
	}
	spans = addSpan(spans, s)
	for n := len(rest); n > 0; n-- {
		spans = append(spans, rest[n-1])
	}
	return spans
}

// findSpan returns the first span that ends after pos.
func findSpan(spans []span, pos uint64) (span, bool) {
	lo, hi := 0, len(spans)
	for lo < hi {
		if mid := (lo + hi) / 2; spans[mid].to > pos {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == len(spans) {
		return span{}, false
	}
	return spans[lo], true
}
