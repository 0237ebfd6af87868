package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Recovery tells what opening a log found.
type Recovery struct {
	// Torn is what a crash left unfinished and was cut off. Nothing of it was
	// ever reported as durable.
	Torn []Damage
	// Damage is what was durable and cannot be read, as far as opening looked:
	// full segments are checked when they are read.
	Damage []Damage
	// Scanned is how many bytes were read to rebuild the state.
	Scanned int64
}

// recover finds the segments, rebuilds the state from the last ones, and makes
// the log ready to write.
func (l *Local) recover() error {
	if err := l.openSegments(); err != nil {
		return err
	}
	if err := l.dropOrphans(); err != nil {
		return err
	}
	from, err := l.scanFrom()
	if err != nil {
		return err
	}
	if from < 0 {
		return l.begin()
	}
	vouched, err := l.survey(l.segs[from:])
	if err != nil {
		return err
	}
	end, err := l.replay(from, vouched)
	if err != nil {
		return err
	}
	if err := l.settle(from, vouched, end); err != nil {
		return err
	}
	l.link()
	if len(l.recovery.Damage) > 0 {
		// The state in the last segments may be what is damaged.
		if err := l.commit.roll(); err != nil {
			return err
		}
		return l.sync.all()
	}
	return nil
}

// openSegments opens the newest generation of each segment, and removes what
// cleaning left.
func (l *Local) openSegments() error {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	newest := map[uint64]uint32{}
	for _, n := range names {
		if num, gen, ext, ok := parseName(n); ok && ext == "seg" {
			newest[num] = max(newest[num], gen)
		}
	}
	for _, n := range names {
		num, gen, _, ok := parseName(n)
		newestGen, known := newest[num]
		if ok && (!known || gen != newestGen) || strings.HasSuffix(n, ".tmp") {
			if err := l.fs.Remove(joinName(l.dir, n)); err != nil {
				return err
			}
		}
	}
	for _, n := range names {
		num, gen, ext, ok := parseName(n)
		if !ok || ext != "seg" || gen != newest[num] {
			continue
		}
		s, err := l.openSegment(num, gen)
		if err != nil {
			return err
		}
		l.segs = append(l.segs, s)
	}
	// Indexes are written in order: one that is missing before others was lost,
	// and its segment was durable.
	later := false
	for _, s := range slices.Backward(l.segs) {
		if later && !s.sealed.Load() {
			size := s.visible.Load()
			l.reindex(s, size)
			s.sealed.Store(true)
			l.sync.full = append(l.sync.full, s)
		}
		later = later || s.sealed.Load()
	}
	return nil
}

// openSegment opens one, and its index if that is good: then it is sealed.
func (l *Local) openSegment(num uint64, gen uint32) (*segment, error) {
	path := joinName(l.dir, segmentName(num, gen))
	f, err := l.fs.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, err
	}
	b := make([]byte, headerSize)
	n, rerr := f.ReadAt(b, 0)
	h, err := parseHeader(b[:n])
	switch {
	case errors.Is(err, ErrVersion):
		f.Close()
		return nil, fmt.Errorf("%w: %s", err, path)
	case err != nil || h.num != num || h.gen != gen || h.id != l.id:
		// Its frames can be read all the same: their salt is known.
		h = header{gen: gen, id: l.id, num: num, base: noBase}
		if rerr != nil && n == len(b) {
			f.Close()
			return nil, rerr
		}
	}
	s := newSegment(l.dir, h, f)
	s.torn = h.base == noBase
	s.visible.Store(size)
	index, err := vfs.ReadFile(l.fs, joinName(l.dir, indexName(num, gen)), 1<<30)
	if err == nil {
		var want int64
		if want, s.parts, err = decodeIndex(index, h); err == nil {
			s.sealed.Store(true)
			s.visible.Store(want)
			if size < want {
				l.damage(Damage{File: path, Offset: size, Bytes: want - size, Reason: "the file is too short"})
				s.visible.Store(size)
			}
			return s, nil
		}
	}
	if errors.Is(err, ErrVersion) {
		f.Close()
		return nil, err
	}
	s.parts = map[uint32]*segPart{}
	if gen > 0 {
		// Written whole before it got its name: only the index is missing.
		l.reindex(s, size)
		s.sealed.Store(true)
		l.sync.full = append(l.sync.full, s)
	}
	return s, nil
}

// noBase is the base of a segment whose header is damaged.
const noBase = ^uint64(0)

func (l *Local) damage(d Damage) {
	l.recovery.Damage = append(l.recovery.Damage, d)
	l.opts.Logger.Error("stream: damage", "file", d.File, "offset", d.Offset, "reason", d.Reason)
}

// dropOrphans removes segments behind one whose name was lost: names become
// durable one by one, so a power cut may keep a later file and lose an earlier
// one. Where a number is missing because cleaning removed it, some frame vouches
// for what was there (see keepers.vouch).
func (l *Local) dropOrphans() error {
	for i, s := range l.segs {
		if s.sealed.Load() || i > 0 && l.segs[i-1].num == s.num-1 || s.num == 1 {
			continue
		}
		durable := false
		for _, later := range l.segs[i:] {
			sc := frame.NewScanner(later.file, later.salt, 0, headerSize, later.visible.Load())
			for {
				for sc.Next() && !durable {
					off, h, _ := sc.Frame()
					d := uint64(h.Tag >> tagShift)
					within := d != tagNever && d*frame.Align <= uint64(off-headerSize) // its own segment was durable in part
					durable = within || !s.torn && !later.torn && vouches(h.Tag, later.position(off)) >= s.base
				}
				if durable || sc.Stop() != frame.Damaged {
					break
				}
				sc.Resume()
			}
			if sc.Stop() == frame.Failed {
				return sc.Err()
			}
		}
		if durable {
			continue
		}
		return l.remove(i)
	}
	return nil
}

// remove removes the segments from number i on, the last first.
func (l *Local) remove(i int) error {
	for j := len(l.segs) - 1; j >= i; j-- {
		x := l.segs[j]
		l.recovery.Torn = append(l.recovery.Torn, Damage{File: x.path, Bytes: x.visible.Load(), Reason: "behind an unfinished write"})
		x.release()
		l.segs = l.segs[:j]
		if err := l.fs.Remove(x.path); err != nil {
			return err
		}
	}
	return nil
}

// reindex rebuilds the index of a rewritten segment.
func (l *Local) reindex(s *segment, size int64) {
	sc := frame.NewScanner(s.file, s.salt, 0, headerSize, size)
	for {
		for sc.Next() {
			off, h, payload := sc.Frame()
			if t, ok := parseTrailer(payload); ok && h.Tag&tagKind == kindBatch {
				s.add(&t, off, int64(frame.Size(h.Len)))
			}
		}
		if sc.Stop() != frame.Damaged {
			break
		}
		lo, hi := sc.Resume()
		l.damage(Damage{File: s.path, Offset: lo, Bytes: hi - lo, Reason: "no valid frame"})
	}
	if at := sc.Offset(); at < size {
		l.damage(Damage{File: s.path, Offset: at, Bytes: size - at, Reason: "no valid frame"})
	}
	l.recovery.Scanned += size
}

// scanFrom returns the number in segs of the first segment to read: the last one
// before all that lack an index, itself included, that begins with the log's
// state. It is -1 if there is nothing that was ever durable.
func (l *Local) scanFrom() (int, error) {
	from := slices.IndexFunc(l.segs, func(s *segment) bool { return !s.sealed.Load() })
	if from < 0 {
		from = len(l.segs) - 1
	}
	for ; from >= 0; from-- {
		s := l.segs[from]
		if s.gen > 0 || s.base == noBase {
			continue
		}
		sc := frame.NewScanner(s.file, s.salt, 0, headerSize, s.visible.Load())
		if sc.Next() {
			if off, h, _ := sc.Frame(); off == headerSize && h.Tag&tagKind == kindState {
				return from, nil
			}
		}
		if sc.Stop() == frame.Failed {
			return 0, sc.Err()
		}
	}
	for _, s := range l.segs {
		if s.sealed.Load() || s.num > 1 {
			return 0, fmt.Errorf("%w: no segment in %s has the state of the log", ErrCorrupt, l.dir)
		}
	}
	// The first segment was being made: its header and state are synced before
	// anything else is written, so there can be no more than one of them.
	for _, s := range l.segs {
		sc := frame.NewScanner(s.file, s.salt, 0, headerSize, s.visible.Load())
		for sc.Next() {
			if _, h, _ := sc.Frame(); h.Tag&tagKind != kindState {
				return 0, fmt.Errorf("%w: %s does not begin with the state of the log", ErrCorrupt, s.path)
			}
		}
		if sc.Stop() == frame.Damaged {
			return 0, fmt.Errorf("%w: %s does not begin with the state of the log", ErrCorrupt, s.path)
		}
	}
	return -1, nil
}

// begin makes the first segment.
func (l *Local) begin() error {
	for _, s := range l.segs {
		s.release()
		if err := l.fs.Remove(s.path); err != nil {
			return err
		}
	}
	l.segs = nil
	s, err := l.commit.create(1, 0)
	if err != nil {
		return err
	}
	l.sync.active, l.sync.written = s, s.position(l.commit.off)
	l.sync.names = true
	return l.sync.all()
}

// survey returns the last position that a frame vouches for: before it all was
// durable.
func (l *Local) survey(segs []*segment) (vouched uint64, err error) {
	base := segs[0].base
	for _, s := range segs {
		if s.base == noBase {
			s.base = base // wrong by what damage hides; no frame of it is lost by that
		}
		if s.sealed.Load() {
			vouched = max(vouched, s.position(s.visible.Load()))
		}
		if s.gen > 0 {
			continue // its positions are not those of writing
		}
		sc := frame.NewScanner(s.file, s.salt, 0, headerSize, s.visible.Load())
		for {
			for sc.Next() {
				off, h, _ := sc.Frame()
				vouched = max(vouched, vouches(h.Tag, s.position(off)))
			}
			if sc.Stop() != frame.Damaged {
				break
			}
			sc.Resume()
		}
		if sc.Stop() == frame.Failed {
			return 0, sc.Err()
		}
		base = s.position(sc.Offset())
	}
	return vouched, nil
}

// An end is where the log ends: in which segment, and at which place there.
type end struct {
	seg int
	off int64
}

// replay applies the frames of segs[from:] to the state. It stops where they
// break at a place that nobody vouches for.
func (l *Local) replay(from int, vouched uint64) (end, error) {
	type found struct {
		off     int64
		h       frame.Header
		payload []byte
	}
	for i := from; i < len(l.segs); i++ {
		s := l.segs[i]
		if i > from && s.torn && s.base >= vouched {
			// The first sync of a segment covers its header, so this one was being
			// made; its frames may stand behind others that are lost.
			return l.cut(i-1, l.segs[i-1].visible.Load())
		}
		indexed := s.sealed.Load()
		sc := frame.NewScanner(s.file, s.salt, 0, headerSize, s.visible.Load())
		var run []found // frames of a transaction whose last one is still to come
		frames := 0
		last := i == len(l.segs)-1
		for {
			at := sc.Offset()
			if sc.Next() {
				frames++
				off, h, payload := sc.Frame()
				if h.Tag&tagMore != 0 {
					run = append(run, found{off, h, slices.Clone(payload)})
					continue
				}
				for _, f := range append(run, found{off, h, payload}) {
					if err := l.replayFrame(s, f.off, f.h, f.payload, indexed); err != nil {
						return end{}, err
					}
				}
				run = run[:0]
				l.commit.marked = h.Tag&tagKind == kindMark
				continue
			}
			cut := at
			if len(run) > 0 {
				cut = run[0].off
			}
			whole := sc.Stop() == frame.Full || sc.Stop() == frame.Clean
			pos := s.position(cut)
			next := pos
			if !last && !l.segs[i+1].sealed.Load() {
				next = l.segs[i+1].base
			}
			if sc.Stop() == frame.Failed {
				return end{}, sc.Err()
			}
			if frames == 0 && i > from && pos >= vouched {
				return l.cut(i-1, l.segs[i-1].visible.Load()) // it was being made
			}
			if len(run) == 0 && whole && (last || pos == next || indexed) {
				break // the regular end of the segment
			}
			if pos < vouched || indexed {
				d := Damage{File: s.path, Offset: at, Reason: "no valid frame"}
				for _, f := range run { // durable, so the whole transaction was
					if err := l.replayFrame(s, f.off, f.h, f.payload, indexed); err != nil {
						return end{}, err
					}
				}
				run = run[:0]
				if sc.Stop() == frame.Damaged {
					_, to := sc.Resume()
					d.Bytes = to - at
					l.damage(d)
					continue
				}
				d.Bytes = s.visible.Load() - at
				l.damage(d)
				if last {
					return end{i, (s.visible.Load() + frame.Align - 1) &^ (frame.Align - 1)}, nil
				}
				break
			}
			return l.cut(i, cut)
		}
		l.recovery.Scanned += sc.Offset() - headerSize
		if last {
			return end{i, sc.Offset()}, nil
		}
		if !indexed {
			s.visible.Store(sc.Offset())
		}
	}
	panic("unreachable")
}

// cut ends the log at a place, and removes all segments behind it.
func (l *Local) cut(i int, off int64) (end, error) {
	if off <= headerSize { // without its state it is no segment; the first one read has it
		return l.cut(i-1, l.segs[i-1].visible.Load())
	}
	s := l.segs[i]
	torn := Damage{File: s.path, Offset: off, Bytes: s.visible.Load() - off, Reason: "unfinished write"}
	if torn.Bytes > 0 {
		l.recovery.Torn = append(l.recovery.Torn, torn)
	}
	if err := l.remove(i + 1); err != nil {
		return end{}, err
	}
	return end{i, off}, nil
}

// replayFrame applies one frame.
func (l *Local) replayFrame(s *segment, off int64, h frame.Header, payload []byte, indexed bool) error {
	switch h.Tag & tagKind {
	case kindBatch:
		t, ok := parseTrailer(payload)
		p := l.parts[t.part]
		if !ok || p == nil {
			l.damage(Damage{File: s.path, Offset: off, Bytes: int64(frame.Size(h.Len)), Reason: "records of an unknown partition"})
			return nil
		}
		if !indexed {
			s.add(&t, off, int64(frame.Size(h.Len)))
		}
		p.next = max(p.next, t.next)
		p.staged = p.next
	case kindOps, kindState, kindMark:
		ops, err := decodeOps(payload)
		if err == nil {
			for i := range ops {
				if err = l.applyLocked(&ops[i]); err != nil {
					break
				}
			}
		}
		if err != nil {
			l.damage(Damage{File: s.path, Offset: off, Bytes: int64(frame.Size(h.Len)), Reason: err.Error()})
		}
	default:
		return fmt.Errorf("%w: %s has a frame of kind %d", ErrVersion, s.path, h.Tag&tagKind)
	}
	return nil
}

// settle makes the end of the log what was found, durably: a process that was
// killed, or a sync that failed, may have left pages that look written and are
// not on the disk, so what nobody vouches for is written again.
func (l *Local) settle(from int, vouched uint64, e end) error {
	last := l.segs[e.seg]
	if last.sealed.Load() {
		// It will be written to: its index must be gone before that.
		if err := l.fs.Remove(joinName(l.dir, indexName(last.num, last.gen))); err != nil {
			return err
		}
		last.sealed.Store(false)
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	size, err := last.file.Size()
	if err != nil {
		return err
	}
	if size != e.off {
		if err := last.file.Truncate(e.off); err != nil {
			return err
		}
	}
	last.visible.Store(e.off)
	for _, s := range l.segs[from:] {
		if s.sealed.Load() {
			continue
		}
		if s.torn {
			if _, err := s.file.WriteAt(s.encode(), 0); err != nil {
				return err
			}
		}
		if err := rewriteFrom(s, vouched); err != nil {
			return err
		}
		if s != last {
			l.sync.full = append(l.sync.full, s)
		}
	}
	c := &l.commit
	c.seg, c.off, c.filled = last, e.off, e.off
	c.start()
	l.sync.active, l.sync.written = last, last.position(e.off)
	l.sync.durable.Store(last.position(e.off))
	signal(l.sync.kick) // for the indexes
	return nil
}

// rewriteFrom writes again what is in s from a position on, and syncs it.
func rewriteFrom(s *segment, pos uint64) error {
	at, end := int64(0), s.visible.Load()
	if pos > s.base {
		at = headerSize + int64(pos-s.base)
	}
	buf := make([]byte, min(256<<10, max(end-at, 0)))
	for at < end {
		n := min(int64(len(buf)), end-at)
		if _, err := s.file.ReadAt(buf[:n], at); err != nil {
			return err
		}
		if _, err := s.file.WriteAt(buf[:n], at); err != nil {
			return err
		}
		at += n
	}
	return s.file.Datasync()
}

// link tells the partitions in which segments they are.
func (l *Local) link() {
	for _, s := range l.segs {
		for id := range s.parts {
			if p := l.parts[id]; p != nil {
				p.segs = append(p.segs, s)
			}
		}
	}
}
