package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Recovery says what Open found.
type Recovery struct {
	// Clean is true when Close ended the log, or it was new.
	Clean bool
	// Torn is the remains of writes that nobody was promised, which Open has
	// cut off at position Torn.From; To is the end of the last record behind
	// it. Nil if there were none.
	Torn *Damage
	// Damage is what [Skip] left out, in order.
	Damage []Damage
	// Head and End are the positions that Open found.
	Head, End uint64
}

// A found is a file of the directory that has the name of a segment.
type found struct {
	num  uint64
	name string
	file vfs.File
	size int64
	base uint64
	ok   bool // has, or can only have had, a header with base
	kept bool // by the open log

	seg *segment
	end uint64 // after its last valid frame
}

// A gap is a range of positions [from, to) in which no valid frame is found.
// Equal: only a header is lost.
type gap struct {
	file   *found // to name in reports
	off    int64
	from   uint64
	to     uint64
	reason string
	tail   *found // where the log ends if it is cut at from
}

// A noted is a frame of the log's own.
type noted struct {
	kind    uint32
	at, arg uint64
}

// recovery is what Open learns. In this order: list, scan, judge, repair; only
// repair changes anything.
type recovery struct {
	l     *Log
	files []*found // by number
	live  []*found // those with frames, in order

	gaps  []gap
	notes []noted
	proof uint64 // some frame vouches that all before this was durable
	pos   uint64 // after the last valid frame
	last  uint64 // where the last valid frame begins
	kind  uint32 // of the last valid frame
	torn  bool   // bytes that are no frame stand at pos

	head   uint64
	cut    *gap // the gap at which a torn end begins
	damage []Damage
	spare  *spare // not yet the log's
}

func (r *recovery) close() {
	for _, f := range r.files {
		if f.file != nil && !f.kept {
			f.file.Close()
			f.file = nil
		}
	}
	if r.spare != nil {
		r.spare.file.Close()
		r.spare = nil
	}
}

// list opens the files and reads their headers.
func (r *recovery) list() error {
	l := r.l
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	headers := 0
	for _, name := range names {
		num, ok := parseName(name)
		if !ok {
			continue
		}
		f := &found{num: num, name: filepath.Join(l.dir, name)}
		r.files = append(r.files, f)
		if f.file, err = l.fs.Open(f.name); err != nil {
			return err
		}
		if f.size, err = f.file.Size(); err != nil {
			return err
		}
		var b [headerSize]byte
		n, err := f.file.ReadAt(b[:], 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return &DamageError{Damage: []Damage{{File: f.name, Reason: "the header cannot be read"}}, Err: err}
		}
		h, ok, err := parseHeader(b[:n], num)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if !ok {
			continue
		}
		if headers > 0 && h.id != l.id {
			return &DamageError{Damage: []Damage{{File: f.name, Reason: "the segment belongs to another log"}}}
		}
		l.id = h.id
		f.base, f.ok = h.base, true
		headers++
	}
	if len(r.files) > 0 && headers == 0 {
		return &DamageError{Damage: []Damage{{File: r.files[0].name, Reason: "no segment has a valid header"}}}
	}
	return nil
}

// scan reads all frames.
func (r *recovery) scan() error {
	for i, f := range r.files {
		started := len(r.live) > 0
		switch {
		case !f.ok && !started:
			continue
		case !f.ok:
			found, err := r.adopt(f)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			r.gaps = append(r.gaps, gap{f, 0, r.pos, r.pos, "the header is not valid", r.live[len(r.live)-1]})
		case !started:
			r.pos = f.base
		case f.base > r.pos:
			prev := r.live[len(r.live)-1]
			r.gaps = append(r.gaps, gap{prev, prev.seg.offset(r.pos), r.pos, f.base, "records are missing", prev})
			r.pos = f.base
		case f.base < r.pos:
			return &DamageError{Damage: []Damage{{File: f.name, From: f.base, To: r.pos, Reason: "the segment begins before the end of the one before"}}}
		}
		f.seg = r.l.newSegment(f.num, r.pos, f.file, f.size)
		r.live = append(r.live, f)
		to := f.size
		for _, next := range r.files[i+1:] {
			if next.ok && next.base >= f.seg.base {
				to = min(to, f.seg.offset(next.base))
				break
			}
		}
		if err := r.scanSegment(f, to); err != nil {
			return err
		}
	}
	return nil
}

// adopt finds out whether a file without valid header has frames which belong
// after those read so far. If the file was a segment they begin at once.
func (r *recovery) adopt(f *found) (bool, error) {
	const enough = 64 << 10
	sc := frame.NewScanner(f.file, frame.NewSalt(r.l.id, f.num), r.pos-headerSize, headerSize, min(f.size, headerSize+enough))
	found := sc.Next() || sc.Stop() == frame.Damaged
	if sc.Err() != nil {
		return false, &DamageError{Damage: []Damage{{File: f.name, Offset: headerSize, Reason: "cannot be read"}}, Err: sc.Err()}
	}
	return found, nil
}

// scanSegment reads the frames of f before offset to.
func (r *recovery) scanSegment(f *found, to int64) error {
	sc := frame.NewScanner(f.file, f.seg.salt, f.seg.base-headerSize, headerSize, to)
	for {
		for sc.Next() {
			off, h, data := sc.Frame()
			at := f.seg.position(off)
			kind, durable := splitTag(h.Tag, at)
			r.proof = max(r.proof, durable)
			r.last, r.kind = at, kind
			switch kind {
			case kindRecord, kindMark:
			case kindCut, kindHead:
				var arg uint64
				if len(data) == 8 {
					arg = binary.LittleEndian.Uint64(data)
				}
				if arg < firstPosition || arg > at {
					return &DamageError{Damage: []Damage{{File: f.name, Offset: off, From: at, To: at, Reason: "a note of truncation makes no sense"}}}
				}
				r.notes = append(r.notes, noted{kind, at, arg})
			default:
				return fmt.Errorf("%w: %s has a frame of kind %d at offset %d", ErrVersion, f.name, kind, off)
			}
		}
		r.pos = f.seg.position(sc.Offset())
		f.end = r.pos
		r.torn = sc.Stop() == frame.Torn
		switch sc.Stop() {
		case frame.Failed:
			return &DamageError{Damage: []Damage{{File: f.name, Offset: sc.Offset(), From: r.pos, To: r.pos, Reason: "cannot be read"}}, Err: sc.Err()}
		case frame.Damaged:
			from, next := sc.Resume()
			r.gaps = append(r.gaps, gap{f, from, f.seg.position(from), f.seg.position(next), "no valid record", f})
		default:
			return nil
		}
	}
}

// judge tells a torn end from damage, and damage that matters from what lies
// before the head.
func (r *recovery) judge() error {
	first := r.live[0]
	// What stands behind the cut does not count, a note of the head neither;
	// and without it an earlier gap may matter.
	for end := ^uint64(0); ; end = r.cut.from {
		r.judgeUpTo(end)
		if r.cut == nil || r.cut.from >= end {
			break
		}
	}
	if first.seg.base > r.head {
		d := Damage{File: first.name, From: r.head, To: first.seg.base, Reason: "segments before it are missing"}
		for _, f := range r.files { // one that lost its header?
			if f.num < first.num {
				d.File, d.Reason = f.name, "the header is not valid"
			}
		}
		r.damage = append([]Damage{d}, r.damage...)
	}
	if len(r.damage) > 0 && r.l.policy == Refuse {
		return &DamageError{Damage: r.damage}
	}
	return nil
}

// judgeUpTo finds head, damage and cut from what stands before end.
func (r *recovery) judgeUpTo(end uint64) {
	r.head, r.damage, r.cut = firstPosition, nil, nil
	for _, n := range r.notes {
		if n.kind == kindHead && n.at < end {
			r.head = max(r.head, n.arg)
		}
	}
	for i, g := range r.gaps {
		if g.to <= r.head && g.from < r.head {
			continue
		}
		if g.from >= r.proof {
			r.cut = &r.gaps[i]
			return
		}
		r.damage = append(r.damage, Damage{File: g.file.name, Offset: g.off, From: g.from, To: g.to, Reason: g.reason})
	}
}

// repair cuts off a torn end, makes what is left durable, and hands it to the
// log.
func (r *recovery) repair() error {
	rec := Recovery{Damage: r.damage, Head: r.head}
	end := r.pos
	tail := r.live[len(r.live)-1]
	switch {
	case r.cut != nil:
		end, tail = r.cut.from, r.cut.tail
		rec.Torn = &Damage{File: r.cut.file.name, Offset: r.cut.off, From: end, To: r.pos, Reason: r.cut.reason}
		if err := r.removeAfter(tail); err != nil {
			return err
		}
	case r.torn:
		rec.Torn = &Damage{File: tail.name, Offset: tail.seg.offset(end), From: end, To: end, Reason: "an unfinished write"}
	}
	if rec.Torn != nil {
		// Whole frames behind the break would follow again once the break is
		// written over. They go only now: as long as they stood, a crash
		// during repair led back here.
		off := tail.seg.offset(end)
		n := max(int64(tail.end)-int64(end), frame.HeaderSize)
		if err := vfs.ZeroFill(tail.file, off, min(n, max(tail.size-off, 0))); err != nil {
			return err
		}
	}
	next, err := r.renew(tail)
	if err != nil {
		return err
	}
	if err := r.harden(max(r.proof, r.head), end); err != nil {
		return err
	}
	marked := r.cut == nil && r.kind == kindMark && r.last+frame.HeaderSize == end
	rec.End = end
	rec.Clean = rec.Torn == nil && (marked || end == firstPosition)
	r.handOver(rec, marked, next)
	return nil
}

// removeAfter removes the segments after tail, the last first, durably: should
// one come back, it might fit the end of what was written meanwhile.
func (r *recovery) removeAfter(tail *found) error {
	for n := len(r.live) - 1; r.live[n] != tail; n-- {
		f := r.live[n]
		f.file.Close()
		f.file = nil
		if err := r.l.fs.Remove(f.name); err != nil {
			return err
		}
		r.live = r.live[:n]
	}
	files := r.files[:0]
	for _, f := range r.files {
		if f.file != nil {
			files = append(files, f)
		}
	}
	r.files = files
	return r.l.fs.SyncDir(r.l.dir)
}

// renew makes the next segment of a file behind the tail without frames that
// follow, and removes the others. Such a file may be a segment whose header was
// lost together with the records before it. Frames in it would follow again, were
// the same number to begin at the same position once more: so it gets another
// number, whose salt makes them nothing. harden makes that durable, before
// anything is written behind the tail.
func (r *recovery) renew(tail *found) (*spare, error) {
	var best *found
	num := tail.num
	for _, f := range r.files {
		num = max(num, f.num)
		fits := f.num > tail.num && f.size >= minSegment && f.size <= r.l.max
		if fits && (best == nil || f.size > best.size) {
			best = f
		}
	}
	files := r.files[:0]
	var next *spare
	for _, f := range r.files {
		if f.num <= tail.num {
			files = append(files, f)
			continue
		}
		err := f.file.Close()
		f.file = nil
		if err != nil {
			return nil, err
		}
		if f != best {
			if err := r.l.fs.Remove(f.name); err != nil {
				return nil, err
			}
			continue
		}
		next = &spare{num: num + 1, name: filepath.Join(r.l.dir, segmentName(num+1)), size: f.size}
		if err := r.l.fs.Rename(f.name, next.name); err != nil {
			return nil, err
		}
	}
	r.files = files
	if next != nil {
		var err error
		if next.file, err = r.l.fs.Open(next.name); err != nil {
			return nil, err
		}
		r.spare = next
	}
	return next, nil
}

// harden writes [from, end) again, and syncs. After a kill it may stand in the
// page cache only; and after a failed sync the page cache may hold it as
// written although it is not, so that a sync alone would do nothing.
func (r *recovery) harden(from, end uint64) error {
	buf := make([]byte, 0, 64<<10)
	for i, f := range r.live {
		to := end
		if i+1 < len(r.live) {
			to = min(to, r.live[i+1].seg.base)
		}
		begin := max(from, f.seg.base)
		if !f.ok || f.seg.base >= from {
			h := header{r.l.id, f.num, f.seg.base}.append(nil)
			if _, err := f.file.WriteAt(h, 0); err != nil {
				return err
			}
		} else if begin >= to && i+1 < len(r.live) {
			continue
		}
		for off := f.seg.offset(begin); begin < to; {
			n := min(to-begin, uint64(cap(buf)))
			if _, err := f.file.ReadAt(buf[:n], off); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if _, err := f.file.WriteAt(buf[:n], off); err != nil {
				return err
			}
			begin, off = begin+n, off+int64(n)
		}
		if err := f.file.Datasync(); err != nil {
			return err
		}
	}
	return r.l.fs.SyncDir(r.l.dir)
}

// handOver fills in the log. Files before the head go to the pool.
func (r *recovery) handOver(rec Recovery, marked bool, next *spare) {
	l := r.l
	l.recovery = rec
	l.head.Store(rec.Head)
	l.end.Store(rec.End)
	l.durable.Store(rec.End)
	l.headEnd = rec.End
	if marked {
		l.marked = rec.End
	}
	spans := []span{}
	for _, d := range r.damage {
		if d.To > d.From {
			spans = addSpan(spans, span{d.From, d.To, true})
		}
	}
	for _, n := range r.notes {
		if n.kind == kindCut && n.at < rec.End {
			spans = insertSpan(spans, span{from: n.arg, to: n.at})
		}
	}
	for len(spans) > 0 && spans[0].to <= rec.Head {
		spans = spans[1:]
	}
	l.spans.Store(&spans)

	var pool []retired
	var segs []*segment
	for i, f := range r.live {
		if i+1 < len(r.live) && r.live[i+1].seg.base <= rec.Head {
			pool = append(pool, retired{f.name, f.size})
			continue
		}
		f.kept = true
		segs = append(segs, f.seg)
	}
	l.segs.Store(&segs)

	for _, f := range r.files {
		if f.seg == nil && f.num < segs[0].num {
			pool = append(pool, retired{f.name, f.size})
		}
	}
	tail := r.live[len(r.live)-1]
	num := tail.num
	if next != nil {
		num = next.num
	}
	r.spare = nil
	r.close() // before the files are renamed or removed
	l.bg.start(l, num+1, min(max(tail.size*growth, firstSize), l.max), next, pool)
	l.bg.kick()
}
