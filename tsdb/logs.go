package tsdb

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// A LogLine is a line of text that a series has at a time. A series may have
// several lines at one time; they keep the order in which they came.
type LogLine struct {
	Ref  Ref
	T    int64 // milliseconds since 1970
	Text string
}

// MaxLogText is the length of the longest line in bytes.
const MaxLogText = 1 << 20

// A logEntry is a line in a head.
type logEntry struct {
	t    int64
	ord  uint32
	text string
}

// AppendLogs adds lines of text. Series, durability and refusals are as with
// [DB.Append]; a series may have samples and lines.
func (db *DB) AppendLogs(ctx context.Context, lines []LogLine) (Result, error) {
	if len(lines) > MaxBatch {
		return Result{}, fmt.Errorf("%w: batch of %d lines", ErrTooLarge, len(lines))
	}
	total := 0
	for _, l := range lines {
		if len(l.Text) > MaxLogText {
			return Result{}, fmt.Errorf("%w: line of %d bytes", ErrTooLarge, len(l.Text))
		}
		if total += len(l.Text); total > 64<<20 {
			return Result{}, fmt.Errorf("%w: batch of more than 64 MiB", ErrTooLarge)
		}
	}
	if err := db.admit(ctx, len(lines)+total/64); err != nil {
		return Result{}, err
	}
	db.app.Lock()
	res, end, err := db.appendLogsLocked(lines)
	db.app.Unlock()
	if err != nil {
		return Result{}, err
	}
	if res.Accepted > 0 {
		if err := db.sync(ctx, end); err != nil {
			return res, err
		}
	}
	return res, res.err()
}

func (db *DB) appendLogsLocked(lines []LogLine) (res Result, end uint64, err error) {
	b := Batch{Refs: make([]Ref, len(lines)), T: make([]int64, len(lines)), V: make([]float64, len(lines))}
	for i, l := range lines {
		b.Refs[i], b.T[i], b.V[i] = l.Ref, l.T, float64(i) // V tells which are left
	}
	oldest, newest := db.oldest(db.opts.Retention), db.newest()
	db.mu.RLock()
	b, res = db.filterLocked(b, oldest, newest)
	defined := db.defineLocked(b.Refs)
	db.mu.RUnlock()
	db.stats.tooOld.Add(uint64(res.TooOld))
	db.stats.future.Add(uint64(res.Future))
	db.stats.unknown.Add(uint64(res.Unknown))
	if len(b.V) == 0 {
		return res, 0, nil
	}
	kept := lines
	if len(b.V) < len(lines) {
		kept = make([]LogLine, len(b.V))
		for i, v := range b.V {
			kept[i] = lines[int(v)]
		}
	}
	db.rec = logRecord(db.rec[:0], kept)
	if end, err = db.logLocked(defined); err != nil {
		return Result{}, 0, err
	}
	db.mu.Lock()
	db.applyLogsLocked(kept)
	db.mu.Unlock()
	res.Accepted = len(kept)
	db.stats.logLines.Add(uint64(len(kept)))
	return res, end, nil
}

func (db *DB) applyLogsLocked(lines []LogLine) {
	for _, l := range lines {
		s := db.sources[l.Ref>>32]
		h := db.headLocked(s, &s.logs, l.T)
		h.logs = append(h.logs, logEntry{l.T, uint32(l.Ref), strings.Clone(l.Text)})
		h.bytes.Add(int64(len(l.Text)) + 40)
		db.see(l.T)
	}
}

// A block of log lines: their number (uvarint, at most 1024), their times
// (integers), the lengths of their texts (integers), the length of all texts
// together (uvarint), then the texts, compressed with DEFLATE (RFC 1951).
const logBlockBytes = 256 << 10

// appendLines appends a block.
func (c *headCoder) appendLines(dst []byte, lines []logEntry) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(lines)))
	x := c.ints[:len(lines)]
	for i, l := range lines {
		x[i] = l.t
	}
	dst = c.intCoder.append(dst, x)
	total := 0
	for i, l := range lines {
		x[i] = int64(len(l.text))
		total += len(l.text)
	}
	dst = c.intCoder.append(dst, x)
	dst = binary.AppendUvarint(dst, uint64(total))
	var buf bytes.Buffer
	w, _ := flate.NewWriter(&buf, flate.DefaultCompression) // the level is valid
	for _, l := range lines {
		io.WriteString(w, l.text)
	}
	w.Close() // a bytes.Buffer does not fail
	return append(dst, buf.Bytes()...)
}

// decodeLines appends the lines of a block.
func decodeLines(dst []LogLine, src []byte) ([]LogLine, error) {
	bad := func(what string) ([]LogLine, error) { return dst, fmt.Errorf("%w: log block: %s", ErrCorrupt, what) }
	r := reader{b: src}
	n := r.uvarint()
	if r.err || n == 0 || n > maxBlock {
		return bad("count")
	}
	var t, lens [maxBlock]int64
	rest, err := decodeInts(t[:n], r.b)
	if err == nil {
		rest, err = decodeInts(lens[:n], rest)
	}
	if err != nil {
		return dst, err
	}
	r.b = rest
	want := r.uvarint()
	total := uint64(0)
	for i, l := range lens[:n] {
		if l < 0 || l > MaxLogText || i > 0 && t[i] < t[i-1] {
			return bad("lengths or times")
		}
		total += uint64(l)
	}
	// DEFLATE expands at most 1032 times, so the size is bounded by the input.
	if r.err || total != want || total > 1100*uint64(len(r.b)) {
		return bad("length")
	}
	text := make([]byte, total)
	z := flate.NewReader(bytes.NewReader(r.b))
	if _, err := io.ReadFull(z, text); err != nil {
		return bad("text")
	}
	if k, _ := z.Read(make([]byte, 1)); k > 0 {
		return bad("text is longer")
	}
	all := string(text)
	for i, l := range lens[:n] {
		dst = append(dst, LogLine{T: t[i], Text: all[:l]})
		all = all[l:]
	}
	return dst, nil
}

// lines writes blocks of lines in order of time.
func (w *chunkWriter) lines(c *headCoder, lines []logEntry) error {
	for len(lines) > 0 {
		n, size := 0, 0
		for n < len(lines) && n < maxBlock && (n == 0 || size+len(lines[n].text) <= logBlockBytes) {
			size += len(lines[n].text)
			n++
		}
		m := blockMeta{minT: lines[0].t, maxT: lines[n-1].t, n: uint32(n)}
		if err := w.block(m, func(dst []byte) []byte { return c.appendLines(dst, lines[:n]) }); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

func byTime(a, b logEntry) int {
	switch {
	case a.t < b.t:
		return -1
	case a.t > b.t:
		return 1
	}
	return 0
}

func (db *DB) writeLogs(w *chunkWriter, s *source, h *head) error {
	keys := db.sourceKeys(s)
	per := map[uint32][]logEntry{}
	for _, l := range h.logs {
		per[l.ord] = append(per[l.ord], l)
	}
	for _, ord := range sortedOrds(keys, func(ord uint32) bool { return per[ord] != nil }) {
		slices.SortStableFunc(per[ord], byTime)
		w.begin(keys[ord])
		if err := w.lines(&db.scratch, per[ord]); err != nil {
			return err
		}
		w.end()
	}
	return nil
}

// mergeLogs writes the lines that a series has in several chunks.
func (q *query) mergeLogs(w *chunkWriter, e *entry) error {
	var lines []logEntry
	for r := range e.refs {
		got, err := q.lines(r, e.key, nil)
		if err != nil {
			return err
		}
		lines = append(lines, got...)
	}
	slices.SortStableFunc(lines, byTime)
	return w.lines(&q.db.scratch, lines)
}

// lines returns the lines of a series in one part that are in the range, not
// deleted, and accepted.
func (q *query) lines(r partRef, key string, accept func(string) bool) (out []logEntry, err error) {
	p := &q.parts[r.part]
	if p.head != nil {
		if p.lines == nil {
			p.lines = map[uint32][]logEntry{}
			q.db.mu.RLock()
			all := p.head.logs
			q.db.mu.RUnlock()
			for _, l := range all {
				p.lines[l.ord] = append(p.lines[l.ord], l)
			}
		}
		for _, l := range p.lines[r.ord] {
			if l.t >= q.rng.From && l.t < q.rng.To && (accept == nil || accept(l.text)) {
				out = append(out, l)
			}
		}
		return out, nil
	}
	var buf []LogLine
	for i := range p.x.series(r.ord) {
		m := &p.x.series(r.ord)[i]
		if !q.rng.overlaps(m.minT, m.maxT) {
			continue
		}
		payload, berr := p.read.read(m)
		if berr == nil {
			buf, berr = decodeLines(buf[:0], payload)
		}
		if berr != nil {
			q.db.stats.corrupt.Add(1)
			if err == nil {
				err = p.chunk.fail(key, Range{m.minT, m.maxT + 1}, berr)
			}
			continue
		}
		for _, l := range buf {
			if l.T >= q.rng.From && l.T < q.rng.To && (accept == nil || accept(l.Text)) && !p.deleted(r.ord, l.T) {
				out = append(out, logEntry{t: l.T, ord: r.ord, text: l.Text})
			}
		}
	}
	return out, err
}

func (p *part) deleted(ord uint32, t int64) bool {
	for i := range p.dead {
		if d := &p.dead[i]; t >= d.rng.From && t < d.rng.To {
			if _, ok := slices.BinarySearch(d.ord, ord); ok {
				return true
			}
		}
	}
	return false
}

// A LogEntry is a line found by [DB.Logs].
type LogEntry struct {
	Source string
	T      int64
	Text   string

	key string
}

// Labels returns the labels of the line's series, sorted by name.
func (e *LogEntry) Labels() Labels { return keyLabels(e.key) }

// A TextFilter accepts or refuses lines of text; nil accepts all.
type TextFilter interface{ MatchString(text string) bool }

// Contains accepts lines that contain a text. A *regexp.Regexp is a TextFilter
// too.
type Contains string

// MatchString reports whether the text is in the line.
func (c Contains) MatchString(line string) bool { return strings.Contains(line, string(c)) }

// Logs yields the lines in the range that the filter and all matchers accept, by
// source, and there by time. It holds the lines it found of one source in
// memory. With an error the entry is empty, as with [DB.Query].
func (db *DB) Logs(ctx context.Context, r Range, filter TextFilter, ms ...Matcher) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		q, err := db.newQuery(ctx, r, chunkLogs, ms)
		if err != nil {
			yield(LogEntry{}, err)
			return
		}
		var accept func(string) bool
		if filter != nil {
			accept = filter.MatchString
		}
		var found []LogEntry
		last, ok := "", true
		flush := func() bool {
			slices.SortStableFunc(found, func(a, b LogEntry) int { return byTime(logEntry{t: a.T}, logEntry{t: b.T}) })
			for _, e := range found {
				if ok = ok && yield(e, nil); !ok {
					break
				}
			}
			found = found[:0]
			return ok
		}
		q.run(func(s *Series, err error) bool {
			if err != nil {
				ok = yield(LogEntry{}, err)
				return ok
			}
			if s.Source != last && !flush() {
				return false
			}
			last = s.Source
			for ref := range s.e.refs {
				lines, err := q.lines(ref, s.key, accept)
				for _, l := range lines {
					found = append(found, LogEntry{s.Source, l.t, l.text, s.key})
				}
				if err != nil {
					if ok = yield(LogEntry{}, err); !ok {
						return false
					}
				}
			}
			return true
		})
		if ok {
			flush()
		}
	}
}
