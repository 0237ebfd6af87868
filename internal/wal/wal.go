package wal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Policy says what Open does about damage.
type Policy int

const (
	// Refuse makes Open fail with a [DamageError] and change nothing.
	Refuse Policy = iota
	// Skip makes Open report damage in its [Recovery] and leave it out. The
	// damaged bytes stay in their file until truncation reaches them. Where
	// the frame of a TruncateFrom is damaged, the records it cut return: a log
	// that uses TruncateFrom should refuse.
	Skip
)

// Options configures [Open]. Nil, and a zero field, mean the default.
type Options struct {
	// SegmentSize is the size in bytes at which a new segment begins, between
	// 4 KiB and 1 GiB. A record that does not fit makes its segment larger.
	// Default 64 MiB.
	SegmentSize int64
	// OnDamage is the policy for damage. Default Refuse.
	OnDamage Policy
	// FS is the file system. Default [vfs.OS].
	FS vfs.FS
}

// A Log is an open log. One goroutine at a time appends and truncates (others
// wait their turn); any number may sync and read meanwhile: it is safe for
// concurrent use by multiple goroutines.
type Log struct {
	fs       vfs.FS
	dir      string
	max      int64 // Options.SegmentSize
	policy   Policy
	lock     io.Closer
	id       uint64
	recovery Recovery

	head    atomic.Uint64 // all before it is void
	end     atomic.Uint64 // all before it is written
	durable atomic.Uint64 // all before it is durable
	segs    atomic.Pointer[[]*segment]
	spans   atomic.Pointer[[]span]
	failed  atomic.Pointer[error]

	// app is held while appending: it guards the last segment's size, own and
	// marked, and changes of end, head and spans.
	app    sync.Mutex
	own    Batch
	marked uint64 // a mark vouches for all before it

	// mu guards the state of syncing and changes of segs. Lock order: app, mu.
	mu      sync.Mutex
	closed  atomic.Bool // set under mu, never unset
	syncing bool
	round   chan struct{} // closed when the running sync ends; nil when nobody waits
	dirty   []*segment    // full segments to sync, before the last one
	headEnd uint64        // durable up to here means the head is

	bg    background
	stats counters
}

type counters struct {
	appends, records, bytes, syncs, waits, syncTime, reads, rolls, overruns, recycled, filled, removed atomic.Uint64
}

// Stats is a snapshot of what the log has done since Open.
type Stats struct {
	Appends  uint64        // writes of records
	Records  uint64        // records appended
	Bytes    uint64        // bytes appended, frames included
	Syncs    uint64        // rounds of fdatasync
	Waits    uint64        // calls of Sync that had to wait for the disk
	SyncTime time.Duration // spent in Syncs, all together
	Reads    uint64        // calls of Read that found a record

	Segments int    // files in use now
	Rolls    uint64 // changes to a new segment
	Overruns uint64 // writes beyond prepared space, since the next segment was not ready
	Recycled uint64 // segments prepared from old ones
	Filled   uint64 // segments prepared by filling with zeros
	Removed  uint64 // segments deleted

	Head, End, Durable uint64 // as the methods return them
	PrepareError       error  // why there is no next segment, or nil
}

// Stats returns what the log has done since Open. It takes no lock that is held
// during input or output.
func (l *Log) Stats() Stats {
	c := &l.stats
	return Stats{
		Appends: c.appends.Load(), Records: c.records.Load(), Bytes: c.bytes.Load(),
		Syncs: c.syncs.Load(), Waits: c.waits.Load(), SyncTime: time.Duration(c.syncTime.Load()), Reads: c.reads.Load(),
		Segments: len(*l.segs.Load()), Rolls: c.rolls.Load(), Overruns: c.overruns.Load(),
		Recycled: c.recycled.Load(), Filled: c.filled.Load(), Removed: c.removed.Load(),
		Head: l.Head(), End: l.End(), Durable: l.Durable(), PrepareError: l.bg.lastError(),
	}
}

// Recovery returns what Open found.
func (l *Log) Recovery() Recovery { return l.recovery }

// Head returns the position before which all was truncated.
func (l *Log) Head() uint64 { return l.head.Load() }

// End returns the position after the last record written.
func (l *Log) End() uint64 { return l.end.Load() }

// Durable returns the position before which all is durable.
func (l *Log) Durable() uint64 { return l.durable.Load() }

// Err returns why the log failed: an error wrapping [ErrFailed], or nil.
func (l *Log) Err() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// fail ends the log's life, and returns the error it ended with.
func (l *Log) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	l.failed.CompareAndSwap(nil, &err)
	return l.Err()
}

// usable returns why nothing can be written.
func (l *Log) usable() error {
	if err := l.Err(); err != nil {
		return err
	}
	if l.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Append writes one record and returns its position and the end to sync. It
// costs one write; a batch of records costs one too, see [Log.AppendBatch]. On
// error the record is not in the log.
func (l *Log) Append(data []byte) (pos, end uint64, err error) {
	l.app.Lock()
	defer l.app.Unlock()
	l.own.Reset()
	if err := l.own.Add(data); err != nil {
		return 0, l.End(), err
	}
	end, err = l.append(&l.own)
	if err != nil {
		return 0, end, err
	}
	pos = l.own.Pos(0)
	l.own.trim()
	return pos, end, nil
}

// trim gives back the memory of an unusually large record.
func (b *Batch) trim() {
	if cap(b.buf) > 1<<20 {
		b.buf = nil
	}
}

// AppendBatch writes the records of b in one write (two where a segment ends
// between them), tells b their positions, and returns the end to sync. An empty
// batch is written at once. A crash before the sync may keep the first records
// of a batch and lose the others. On error none is in the log, unless Err is
// set: then it is unknown.
func (l *Log) AppendBatch(b *Batch) (end uint64, err error) {
	l.app.Lock()
	defer l.app.Unlock()
	return l.append(b)
}

// append writes b. The caller holds app.
func (l *Log) append(b *Batch) (end uint64, err error) {
	if err := l.usable(); err != nil {
		return l.End(), err
	}
	if len(b.recs) == 0 {
		return l.End(), nil
	}
	begin := l.End()
	durable := l.Durable()
	pos := begin
	seg := l.last()
	off := seg.offset(pos) // where the next write goes
	from := 0              // in b.buf, the first byte to write
	for i := range b.recs {
		r := &b.recs[i]
		size := frame.Size(r.size)
		if need := off + int64(r.off-from+size); need > seg.size {
			next, err := l.nextSegment(seg, need, off == headerSize && r.off == from)
			if err != nil {
				if seg.base > begin {
					err = l.fail(err) // half of b stands in the segment before
				}
				return begin, err
			}
			if next != nil {
				if err := l.write(seg, b.buf[from:r.off], off, begin); err != nil {
					return begin, err
				}
				if err := l.roll(next, pos); err != nil {
					return begin, err
				}
				seg, off, from = next, headerSize, r.off
			}
		}
		r.pos = pos
		frame.Header{Len: r.size, Tag: makeTag(r.kind, pos, durable), Sum: r.sum}.Put(b.buf[r.off:], seg.salt, pos)
		pos += uint64(size)
	}
	tail := b.buf[from:]
	if off+int64(len(tail)) > max(seg.size, headerSize) {
		tail = tail[:len(tail)-endMark] // no room, or a file that grows: its end is the end
	}
	if err := l.write(seg, tail, off, begin); err != nil {
		return begin, err
	}
	l.end.Store(pos)
	l.stats.appends.Add(1)
	l.stats.records.Add(uint64(len(b.recs)))
	l.stats.bytes.Add(pos - begin)
	return pos, nil
}

// last returns the segment that is appended to.
func (l *Log) last() *segment {
	segs := *l.segs.Load()
	return segs[len(segs)-1]
}

// nextSegment returns the segment to change to when the file of seg would have
// to grow to need bytes, or nil to let it grow. Empty says that seg has no
// frame yet.
func (l *Log) nextSegment(seg *segment, need int64, empty bool) (*segment, error) {
	if empty {
		return nil, nil // no segment would fit better
	}
	if sp := l.bg.take(); sp != nil {
		return l.newSegment(sp.num, 0, sp.file, sp.size), nil
	}
	if need <= l.max {
		l.stats.overruns.Add(1)
		l.bg.want()
		return nil, nil
	}
	sp, err := l.bg.wait()
	if err != nil {
		return nil, fmt.Errorf("wal: no next segment: %w", err)
	}
	return l.newSegment(sp.num, 0, sp.file, sp.size), nil
}

// roll makes next the last segment, beginning at pos.
func (l *Log) roll(next *segment, pos uint64) error {
	next.base = pos
	h := header{l.id, next.num, pos}.append(make([]byte, 0, headerSize+endMark))
	h = append(h, zeros[:endMark]...)
	if _, err := next.file.WriteAt(h, 0); err != nil {
		next.file.Close()
		return l.fail(err)
	}
	l.mu.Lock()
	old := *l.segs.Load()
	l.dirty = append(l.dirty, old[len(old)-1])
	segs := append(old[:len(old):len(old)], next)
	l.segs.Store(&segs)
	l.mu.Unlock()
	l.stats.rolls.Add(1)
	return nil
}

// write writes p, which belongs to a batch that begins at position begin, into
// seg. When the disk is full and the batch began in seg, what was written of it
// is covered with zeros, so that no piece can ever pass for a record, and the
// log lives on. All other errors end it.
func (l *Log) write(seg *segment, p []byte, off int64, begin uint64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := seg.file.WriteAt(p, off)
	seg.size = max(seg.size, off+int64(n))
	if err == nil {
		if !seg.asked && off+int64(n) > seg.size/2 {
			seg.asked = true
			l.bg.want()
		}
		return nil
	}
	if !errors.Is(err, vfs.ErrNoSpace) || seg.base > begin || vfs.ZeroFill(seg.file, off, int64(n)) != nil {
		return l.fail(err)
	}
	return err
}

// TruncateFrom removes the record at pos and all after it, and returns the end
// to sync. It appends a note to the log and waits for nothing: once that or
// anything after it is synced, the records never return. Pos must be that of a
// record, or the end, which changes nothing; otherwise the error wraps
// [ErrNotFound] or, for a damaged record, is a [DamageError]. The positions of
// the removed records are not used again.
func (l *Log) TruncateFrom(pos uint64) (end uint64, err error) {
	l.app.Lock()
	defer l.app.Unlock()
	if err := l.usable(); err != nil {
		return l.End(), err
	}
	if pos == l.End() {
		return pos, nil
	}
	if err := l.check(pos); err != nil {
		return l.End(), err
	}
	end, at, err := l.note(kindCut, pos)
	if err != nil {
		return end, err
	}
	spans := addSpan(*l.spans.Load(), span{from: pos, to: at})
	l.spans.Store(&spans)
	return end, nil
}

// TruncateBefore removes all records before pos, and returns the end to sync.
// It appends a note to the log; in the background that is synced, and files
// that hold nothing else are used again or removed. Pos must be that of a
// record, or the end; one at or before the head changes nothing.
func (l *Log) TruncateBefore(pos uint64) (end uint64, err error) {
	l.app.Lock()
	defer l.app.Unlock()
	if err := l.usable(); err != nil {
		return l.End(), err
	}
	if pos <= l.Head() {
		return l.End(), nil
	}
	if pos != l.End() {
		if err := l.check(pos); err != nil {
			return l.End(), err
		}
	}
	end, _, err = l.note(kindHead, pos)
	if err != nil {
		return end, err
	}
	l.mu.Lock()
	l.headEnd = end
	l.mu.Unlock()
	l.head.Store(pos)
	spans := *l.spans.Load()
	for len(spans) > 0 && spans[0].to <= pos {
		spans = spans[1:]
	}
	l.spans.Store(&spans)
	l.bg.kick()
	return end, nil
}

// note appends a frame of the log's own.
func (l *Log) note(kind uint32, pos uint64) (end, at uint64, err error) {
	l.own.Reset()
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], pos)
	if err := l.own.add(kind, p[:]); err != nil {
		return l.End(), 0, err
	}
	end, err = l.append(&l.own)
	if err != nil {
		return end, 0, err
	}
	return end, l.own.Pos(0), nil
}

// Sync returns nil when all before end is durable. Callers share the disk's
// work: while one sync runs the others wait for the next, which serves them all.
// When ctx ends first Sync returns its error, and the records may or may not
// become durable. An end that was never returned is an error wrapping
// [ErrNotFound].
func (l *Log) Sync(ctx context.Context, end uint64) error {
	if err := l.Err(); err != nil {
		return err
	}
	if l.durable.Load() >= end {
		return nil
	}
	waited := false
	l.mu.Lock()
	for {
		switch {
		case l.Err() != nil:
			l.mu.Unlock()
			return l.Err()
		case l.durable.Load() >= end:
			l.mu.Unlock()
			return nil
		case l.closed.Load():
			l.mu.Unlock()
			return ErrClosed
		case end > l.end.Load():
			l.mu.Unlock()
			return fmt.Errorf("%w: sync up to %d, the log ends at %d", ErrNotFound, end, l.end.Load())
		}
		if err := ctx.Err(); err != nil {
			l.mu.Unlock()
			return err
		}
		if !waited {
			waited = true
			l.stats.waits.Add(1)
		}
		if !l.syncing {
			l.syncing = true
			if ctx.Done() == nil {
				l.syncLocked()
				continue
			}
			// The disk may stall for long: let another goroutine wait for it,
			// which ends with this round; Close waits for it.
			go func() {
				l.mu.Lock()
				l.syncLocked()
				l.mu.Unlock()
			}()
		}
		if l.round == nil {
			l.round = make(chan struct{})
		}
		round := l.round
		l.mu.Unlock()
		select {
		case <-round:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
	}
}

// syncLocked makes all that is written durable. The caller holds mu, which is
// free during the work, and has set syncing.
func (l *Log) syncLocked() {
	full := l.dirty
	seg := l.last()
	// Read under mu: the files above hold all before it.
	end := l.end.Load()
	l.mu.Unlock()
	start := time.Now()
	var err error
	for _, s := range full {
		if err = s.file.Datasync(); err != nil {
			break
		}
	}
	if err == nil && end > seg.base {
		err = seg.file.Datasync()
	}
	l.stats.syncs.Add(1)
	l.stats.syncTime.Add(uint64(time.Since(start)))
	l.mu.Lock()
	if err != nil {
		l.fail(err)
	} else if l.Err() == nil {
		l.durable.Store(end)
		l.dirty = l.dirty[len(full):]
	}
	l.syncing = false
	if l.round != nil {
		close(l.round)
		l.round = nil
	}
}

// Close syncs what is written, leaves a mark that the log ended in order, and
// frees the directory. It waits for a running sync. A log that failed is closed
// all the same, and the failure returned. Later calls return nil.
func (l *Log) Close() error {
	l.app.Lock()
	defer l.app.Unlock()
	if l.closed.Load() {
		return nil
	}
	err := l.Sync(context.Background(), l.End())
	if err == nil && l.marked < l.End() {
		// The mark says that all before it is durable, so it comes after.
		l.own.Reset()
		if err = l.own.add(kindMark); err == nil {
			_, err = l.append(&l.own)
		}
		if err == nil {
			err = l.Sync(context.Background(), l.End())
		} else if errors.Is(err, vfs.ErrNoSpace) {
			err = nil // only the mark is missing
		}
	}
	l.mu.Lock()
	l.closed.Store(true)
	for l.syncing {
		if l.round == nil {
			l.round = make(chan struct{})
		}
		round := l.round
		l.mu.Unlock()
		<-round
		l.mu.Lock()
	}
	l.mu.Unlock()
	l.bg.stop()
	for _, s := range *l.segs.Load() {
		if cerr := s.release(); err == nil {
			err = cerr
		}
	}
	if cerr := l.lock.Close(); err == nil {
		err = cerr
	}
	return err
}
