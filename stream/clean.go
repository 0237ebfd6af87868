package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// maxGen is the last generation: a segment that reached it stays as it is.
const maxGen = 1<<20 - 1

func (l *Local) cleanLoop() {
	t := time.NewTicker(l.opts.CleanEvery)
	defer t.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with the loop
		select {
		case <-l.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		select {
		case <-l.stop:
			return
		case <-t.C:
			if err := l.Clean(ctx); err != nil && !l.isClosed() {
				l.opts.Logger.Warn("stream: cleaning", "dir", l.dir, "err", err)
			}
		}
	}
}

// Clean applies retention and compaction now. It goes on as far as it can, and
// returns the errors it met. The segment in use is not rewritten.
func (l *Local) Clean(ctx context.Context) error {
	if err := l.before(ctx); err != nil {
		return err
	}
	l.clean.Lock()
	defer l.clean.Unlock()
	if err := l.retain(ctx); err != nil {
		return err
	}
	k := l.keepers() // before the sync: what it saw trimmed is durably so
	// What is rewritten loses its copy of the log's state, so the state in the
	// segment in use must be durable.
	if err := l.Sync(ctx); err != nil {
		return err
	}
	if err := l.sync.seal(); err != nil {
		return err
	}
	if err := k.learn(ctx); err != nil {
		return err
	}
	if err := l.Sync(ctx); err != nil { // what replaces a record is durable before that goes
		return err
	}
	var errs []error
	for _, s := range l.sealedSegments() {
		if err := l.before(ctx); err != nil {
			return err
		}
		if err := k.clean(s); err != nil {
			errs = append(errs, err)
		}
	}
	k.done()
	return errors.Join(errs...)
}

// Trim gives up the records of a partition before an offset, at most its end.
func (l *Local) Trim(ctx context.Context, p Partition, before int64) error {
	if err := l.before(ctx); err != nil {
		return err
	}
	l.mu.RLock()
	part, err := l.lookupLocked(p)
	if err == nil && (before < 0 || before > part.next) {
		err = &OffsetError{Partition: p, Offset: before, First: part.first, Next: part.next}
	}
	l.mu.RUnlock()
	if err != nil {
		return err
	}
	return l.commit.do(ctx, &request{ops: []op{{kind: opBounds, part: part.id, first: before, next: before}}})
}

// retain moves the first offsets of partitions to what their topics keep.
func (l *Local) retain(ctx context.Context) error {
	now := l.opts.Now().UnixNano()
	r := &request{}
	l.mu.RLock()
	for _, p := range l.parts {
		o, first := &p.topic.opts, p.first
		total := int64(0)
		for _, s := range p.segs {
			total += s.parts[p.id].bytes
		}
		for _, s := range p.segs {
			sp := s.parts[p.id]
			old := o.Retention > 0 && sp.newest < now-int64(o.Retention)
			much := o.RetainBytes > 0 && total-sp.bytes >= o.RetainBytes
			if !old && !much {
				break
			}
			total -= sp.bytes
			first = max(first, sp.next)
		}
		if first > p.first {
			r.ops = append(r.ops, op{kind: opBounds, part: p.id, first: first, next: first})
		}
	}
	l.mu.RUnlock()
	if len(r.ops) == 0 {
		return nil
	}
	return l.commit.do(ctx, r)
}

func (l *Local) sealedSegments() []*segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []*segment
	for _, s := range l.segs[:max(len(l.segs)-1, 0)] {
		if s.sealed.Load() {
			out = append(out, s)
		}
	}
	return out
}

// keepers decides which records of compacted topics are kept. Segments are
// cleaned from the oldest on, and each is durable before the next: a tombstone
// may go only when no older segment still has a record of its key.
type keepers struct {
	l      *Local
	now    int64
	first  map[uint32]int64               // the first offset of each partition, durably
	latest map[uint32]map[string]int64    // for partitions that are due: the last offset of each key
	marked bool                           // vouch was done
	held   map[uint32]map[string]struct{} // keys with a dead record in an older segment, which stays
}

func (l *Local) keepers() *keepers {
	k := &keepers{
		l: l, now: l.opts.Now().UnixNano(), first: map[uint32]int64{}, latest: map[uint32]map[string]int64{},
		held: map[uint32]map[string]struct{}{},
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for id, p := range l.parts {
		k.first[id] = p.first
	}
	return k
}

// learn finds the partitions that are due, because enough of them is new since
// they were compacted last, and reads all their keys.
func (k *keepers) learn(ctx context.Context) error {
	l := k.l
	var due []*partition
	l.mu.RLock()
	for _, p := range l.parts {
		if !p.topic.opts.Compact {
			continue
		}
		total := int64(0)
		for _, s := range p.segs {
			if s.sealed.Load() {
				total += s.parts[p.id].bytes
			}
		}
		if dirty := total - p.compacted; total > 0 && float64(dirty) >= l.opts.CleanRatio*float64(total) {
			due = append(due, p)
		}
	}
	l.mu.RUnlock()
	for _, p := range due {
		first, next, err := l.Bounds(ctx, p.name)
		if err != nil {
			return err
		}
		keys := map[string]int64{}
		for r, err := range Scan(ctx, l, p.name, first, next) {
			if err != nil {
				return fmt.Errorf("stream: %v is not compacted: %w", p.name, err)
			}
			keys[string(r.Key)] = r.Offset
		}
		k.latest[p.id], k.held[p.id] = keys, map[string]struct{}{}
	}
	return nil
}

// done remembers how much the partitions that were compacted have now.
func (k *keepers) done() {
	l := k.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range k.latest {
		p := l.parts[id]
		p.compacted = 0
		for _, s := range p.segs {
			if s.sealed.Load() {
				p.compacted += s.parts[id].bytes
			}
		}
	}
}

// keep tells whether a record stays.
func (k *keepers) keep(p *partition, r *Record, appended int64) bool {
	latest := k.latest[p.id]
	if latest == nil {
		return true
	}
	if last, ok := latest[string(r.Key)]; ok && last != r.Offset {
		return false
	}
	if r.Value != nil || appended > k.now-int64(p.topic.opts.TombstoneKeep) {
		return true
	}
	_, held := k.held[p.id][string(r.Key)]
	return held
}

// each calls f for the batches of a segment, decoded into b where the partition
// is one to be compacted. An error wraps ErrCorrupt if the segment is damaged.
func (k *keepers) each(s *segment, f func(p *partition, first int64, t trailer, h frame.Header, payload []byte, b *Batch) error) error {
	var b Batch
	size := s.visible.Load()
	sc := frame.NewScanner(s.file, s.salt, 0, headerSize, size)
	for sc.Next() {
		_, h, payload := sc.Frame()
		if h.Tag&tagKind != kindBatch {
			continue
		}
		t, ok := parseTrailer(payload)
		k.l.mu.RLock()
		p, first := k.l.parts[t.part], k.first[t.part]
		k.l.mu.RUnlock()
		if !ok || p == nil {
			return fmt.Errorf("%w: a batch in %s", ErrCorrupt, s.path)
		}
		b.Reset()
		if k.latest[t.part] != nil {
			if err := decodeBatch(&b, payload, 0); err != nil {
				return err
			}
		}
		if err := f(p, first, t, h, payload, &b); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	if sc.Offset() != size {
		return fmt.Errorf("%w: %s at byte %d, so it is not rewritten", ErrCorrupt, s.path, sc.Offset())
	}
	return nil
}

// clean rewrites or removes a segment if enough of it is unneeded.
func (k *keepers) clean(s *segment) error {
	l := k.l
	live, compacted := int64(0), false
	l.mu.RLock()
	for id, sp := range s.parts {
		if p := l.parts[id]; p != nil && sp.next > k.first[id] {
			live += sp.bytes
			compacted = compacted || k.latest[id] != nil
		}
	}
	l.mu.RUnlock()
	size := s.visible.Load()
	var dead []deadRecord
	if compacted {
		err := k.each(s, func(p *partition, first int64, t trailer, h frame.Header, _ []byte, b *Batch) error {
			for i := range b.Records {
				r := &b.Records[i]
				if r.Offset < first || !k.keep(p, r, t.appended) {
					live -= int64(frame.Size(h.Len)) / int64(max(t.count, 1))
					dead = append(dead, deadRecord{p.id, string(r.Key)})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if live <= 0 && !compacted {
		return k.remove(s)
	}
	if s.gen == maxGen || float64(size-max(live, 0)) < l.opts.CleanRatio*float64(size) {
		for _, d := range dead {
			k.held[d.part][d.key] = struct{}{}
		}
		return nil
	}
	return k.rewrite(s)
}

type deadRecord struct {
	part uint32
	key  string
}

// rewrite writes the next generation of s, with what is needed only, and puts it
// in the place of s.
func (k *keepers) rewrite(s *segment) (err error) {
	l := k.l
	h := header{gen: s.gen + 1, id: s.id, num: s.num, base: s.base}
	path := joinName(l.dir, segmentName(h.num, h.gen))
	tmp := path + ".tmp"
	if err := l.fs.Remove(tmp); err != nil && !isNotExist(err) {
		return err
	}
	f, err := l.fs.Create(tmp)
	if err != nil {
		return err
	}
	next := newSegment(l.dir, h, f)
	buf, off, begin := h.encode(), int64(0), int64(headerSize)
	flush := func() error {
		_, err := f.WriteAt(buf, off)
		off += int64(len(buf))
		buf = buf[:0]
		return err
	}
	var body []byte
	err = k.each(s, func(p *partition, first int64, t trailer, fh frame.Header, payload []byte, b *Batch) error {
		if t.next <= first {
			return nil
		}
		if k.latest[p.id] != nil {
			n := int(t.count)
			payload = k.filter(p, first, &t, b, &body)
			if t.count == 0 && n > 0 {
				return nil
			}
		}
		var ferr error
		buf, ferr = frame.Append(buf, next.salt, uint64(begin), kindBatch|p.id&tagNever<<tagShift, payload)
		if ferr != nil {
			return ferr
		}
		next.add(&t, begin, int64(frame.Size(len(payload))))
		begin += int64(frame.Size(len(payload)))
		if len(buf) > 1<<20 {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && len(next.parts) == 0 {
		_ = l.fs.Remove(tmp) // else the next opening does
		return k.remove(s)
	}
	if err == nil {
		err = l.fs.Rename(tmp, path)
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err == nil {
		next.file, err = l.fs.Open(path)
	}
	if err != nil {
		_ = l.fs.Remove(tmp)
		return err
	}
	next.visible.Store(off)
	next.sealed.Store(true)
	if err := vfs.WriteFile(l.fs, joinName(l.dir, indexName(next.num, next.gen)), next.encodeIndex(off)); err != nil {
		l.opts.Logger.Warn("stream: no index", "file", path, "err", err) // opening makes it
	}
	return k.replace(s, next)
}

// filter encodes the records of b that stay, into body. Their batch keeps the
// range of its offsets.
func (k *keepers) filter(p *partition, first int64, t *trailer, b *Batch, body *[]byte) []byte {
	count := uint32(0)
	out := (*body)[:0]
	at := t.first
	for i := range b.Records {
		r := &b.Records[i]
		if r.Offset < first || !k.keep(p, r, t.appended) {
			continue
		}
		out = appendRecord(out, r, t.base, r.Offset-at, true)
		at = r.Offset + 1
		count++
	}
	t.count, t.flags = count, flagSparse
	out = append(out, make([]byte, trailerSize)...)
	t.put(out[len(out)-trailerSize:])
	*body = out
	return out
}

// remove removes a segment of which nothing is needed.
func (k *keepers) remove(s *segment) error {
	if err := k.vouch(); err != nil {
		return err
	}
	return k.replace(s, nil)
}

// vouch writes a frame that says, durably, how far the log is durable: opening it
// tells by that a segment that was removed from one that was lost.
func (k *keepers) vouch() error {
	if k.marked {
		return nil
	}
	l, ctx := k.l, context.Background()
	l.mu.RLock()
	id := l.nextID
	l.mu.RUnlock()
	if err := l.commit.do(ctx, &request{ops: []op{{kind: opNextID, id: id}}}); err != nil {
		return err
	}
	if err := l.sync.all(); err != nil {
		return err
	}
	k.marked = true
	return nil
}

// replace puts next, which may be nil, in the place of s, and removes s when its
// last reader is done.
func (k *keepers) replace(s, next *segment) error {
	l := k.l
	l.mu.Lock()
	i := slices.Index(l.segs, s)
	if i < 0 { // closed meanwhile
		l.mu.Unlock()
		if next != nil {
			next.release()
		}
		return ErrClosed
	}
	if next != nil {
		l.segs[i] = next
	} else {
		l.segs = slices.Delete(l.segs, i, i+1)
	}
	for id := range s.parts {
		p := l.parts[id]
		j := slices.Index(p.segs, s)
		switch {
		case j < 0:
		case next != nil && next.parts[id] != nil:
			p.segs[j] = next
		default:
			p.segs = slices.Delete(p.segs, j, j+1)
		}
	}
	s.gone = true
	l.mu.Unlock()
	size := s.visible.Load()
	l.stats.cleaned.Add(1)
	l.stats.reclaimed.Add(uint64(size))
	if next != nil {
		l.stats.reclaimed.Add(-uint64(next.visible.Load()))
	}
	_ = l.fs.Remove(joinName(l.dir, indexName(s.num, s.gen)))
	removed := make(chan error, 1)
	s.drop = func() { removed <- l.fs.Remove(s.path) } // on error the next opening does it
	s.release()
	select {
	case err := <-removed:
		if err == nil {
			err = l.fs.SyncDir(l.dir)
		}
		return err
	default: // a reader has it; it is older than next, or before the first offsets
		return nil
	}
}
