package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

const (
	directWrite = 64 << 10  // a frame of so many bytes is not copied before it is written
	groupBytes  = 4 << 20   // a group that is so large waits for no more requests
	fillAhead   = 256 << 10 // zeros written ahead of small durable writes
	fillBelow   = 32 << 10  // ... which are those below this size
)

// A request is one write: some batches, then the ops, all in one step.
type request struct {
	bodies []*body
	group  string
	marks  []mark
	ops    []op

	taken atomic.Bool // by the committer, or by its caller who gave up
	done  chan error
}

// A body is an encoded batch, with room before it for the frame's header and
// after it for trailer and padding.
type body struct {
	part *partition
	buf  []byte
	end  int    // of the records in buf
	sum  uint32 // CRC-32C of the records
	t    trailer
}

var bodies = sync.Pool{New: func() any { return new(body) }}

func (b *body) free() {
	if cap(b.buf) <= 1<<20 {
		b.part = nil
		bodies.Put(b)
	}
}

// encode fills b with records; this is done by the writer, outside of any lock.
func (b *body) encode(p *partition, records []Record, base int64) {
	b.part = p
	b.t = trailer{part: p.id, count: uint32(len(records)), base: base}
	b.buf = append(b.buf[:0], make([]byte, frame.HeaderSize)...)
	for i := range records {
		b.buf = appendRecord(b.buf, &records[i], base, 0, false)
	}
	b.end = len(b.buf)
	b.sum = frame.Checksum(b.buf[frame.HeaderSize:])
	b.buf = append(b.buf, make([]byte, frame.Size(b.payload())-frame.HeaderSize-(b.end-frame.HeaderSize))...)
}

func (b *body) payload() int { return b.end - frame.HeaderSize + trailerSize }

// The committer is the goroutine that writes. It takes all requests that wait,
// writes them one behind the other, syncs once if that is the level, shows them
// to readers and answers. Its fields but queue belong to it, and to whoever
// opens and closes the log.
type committer struct {
	l *Local

	mu    sync.Mutex
	queue []*request
	kick  chan struct{} // holds one
	done  bool          // no more requests are taken

	seg    *segment
	off    int64 // end of seg, with what is being written
	filled int64 // size of seg's file
	fresh  bool  // seg holds nothing but its state
	marked bool  // seg ends with a mark

	pend    []byte // small frames, to be written at pendAt
	pendAt  int64
	err     error // of writing this group
	begin   int64 // where this group began
	frames  []written
	touched []*partition
	offsets map[groupPart]Offset // staged by this group
}

type groupPart struct {
	group string
	part  uint32
}

// written is a frame of a batch that is not published yet.
type written struct {
	part *partition
	t    trailer
	pos  int64
	size int64
}

func (c *committer) init(l *Local) {
	c.l, c.kick, c.offsets = l, make(chan struct{}, 1), map[groupPart]Offset{}
}

// do hands a request to the committer and waits for its end. If ctx ends before
// the committer has taken it, nothing is written.
func (c *committer) do(ctx context.Context, r *request) error {
	r.done = make(chan error, 1)
	c.mu.Lock()
	if c.done {
		c.mu.Unlock()
		return ErrClosed
	}
	c.queue = append(c.queue, r)
	first := len(c.queue) == 1
	c.mu.Unlock()
	if first {
		signal(c.kick)
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		r.taken.CompareAndSwap(false, true)
		return ctx.Err()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c *committer) run() {
	for {
		stopping := false
		select {
		case <-c.kick:
		case <-c.l.stop:
			stopping = true
		}
		c.mu.Lock()
		queue := c.queue
		c.queue = nil
		c.done = c.done || stopping
		c.mu.Unlock()
		if stopping {
			for _, r := range queue {
				r.done <- ErrClosed
			}
			return
		}
		c.write(queue)
	}
}

// write does all requests, in one group or a few.
func (c *committer) write(queue []*request) {
	c.start()
	var group []*request
	for _, r := range queue {
		if !r.taken.CompareAndSwap(false, true) {
			continue
		}
		if err := c.l.Err(); err != nil {
			r.done <- err
			continue
		}
		if size := r.size(); !c.fresh && c.off+size > c.l.opts.SegmentSize {
			c.finish(group)
			group = group[:0]
			if err := c.roll(); err != nil {
				r.done <- err
				continue
			}
		}
		if err := c.stage(r); err != nil {
			r.done <- err
			continue
		}
		c.put(r)
		group = append(group, r)
		if c.off-c.begin > groupBytes {
			c.finish(group)
			group = group[:0]
		}
	}
	c.finish(group)
}

func (c *committer) start() {
	c.begin, c.pendAt, c.pend, c.err = c.off, c.off, c.pend[:0], nil
	clear(c.frames)
	c.frames, c.touched = c.frames[:0], c.touched[:0]
	clear(c.offsets)
}

// size is an upper bound of the bytes that r takes.
func (r *request) size() int64 {
	n := int64(0)
	for _, b := range r.bodies {
		n += int64(frame.Size(b.payload()))
	}
	if len(r.ops) > 0 || len(r.marks) > 0 {
		n += int64(2048 + 32*len(r.marks))
	}
	return n
}

// stage checks r against the state after the requests before it, and gives its
// records their offsets.
func (c *committer) stage(r *request) error {
	l := c.l
	for i := range r.marks {
		m := &r.marks[i]
		p := l.parts[m.part] // only this goroutine adds to parts
		key := groupPart{r.group, m.part}
		old, ok := c.offsets[key]
		if !ok {
			if old, ok = l.groups[r.group][m.part]; !ok { // only this goroutine writes groups
				old = Offset{Next: Keep}
			}
		}
		if m.epoch < old.Epoch {
			return fmt.Errorf("%w: group %q, partition %v: epoch %d, the owner's is %d", ErrStale, r.group, p.name, m.epoch,
				old.Epoch)
		}
		if m.next == Keep {
			m.next = old.Next
		} else if m.next > p.staged {
			return &OffsetError{Partition: p.name, Offset: m.next, First: p.first, Next: p.staged}
		}
	}
	for _, m := range r.marks {
		c.offsets[groupPart{r.group, m.part}] = Offset{m.next, m.epoch}
	}
	for _, b := range r.bodies {
		b.t.first = b.part.staged
		b.part.staged += int64(b.t.count)
		b.t.next = b.part.staged
		c.touched = append(c.touched, b.part)
	}
	return nil
}

// put appends the frames of r.
func (c *committer) put(r *request) {
	now := c.l.opts.Now().UnixNano()
	ops := r.ops
	if len(r.marks) > 0 {
		ops = append(ops, op{kind: opGroup, group: r.group, marks: r.marks})
	}
	for i, b := range r.bodies {
		b.t.appended = now
		b.t.put(b.buf[b.end:])
		sum := frame.Extend(b.sum, b.buf[b.end:b.end+trailerSize])
		more := i < len(r.bodies)-1 || len(ops) > 0
		c.frames = append(c.frames, written{b.part, b.t, c.off, int64(len(b.buf))})
		c.putFrame(kindBatch, more, sum, b.payload(), b.buf)
	}
	if len(ops) == 0 {
		return
	}
	buf := make([]byte, frame.HeaderSize, 256)
	for i := range ops {
		buf = ops[i].append(buf)
	}
	c.putPayload(kindOps, buf)
}

// putPayload appends a frame whose payload begins after room for the header.
func (c *committer) putPayload(kind uint32, buf []byte) {
	n := len(buf) - frame.HeaderSize
	sum := frame.Checksum(buf[frame.HeaderSize:])
	buf = append(buf, make([]byte, frame.Size(n)-len(buf))...)
	c.putFrame(kind, false, sum, n, buf)
}

func (c *committer) putFrame(kind uint32, more bool, sum uint32, n int, buf []byte) {
	tag := makeTag(kind, more, c.seg.position(c.off), c.l.sync.durable.Load())
	frame.Header{Len: n, Tag: tag, Sum: sum}.Put(buf, c.seg.salt, uint64(c.off))
	at := c.off
	c.off += int64(len(buf))
	if len(buf) < directWrite {
		c.pend = append(c.pend, buf...)
		if len(c.pend) < 1<<20 {
			return
		}
		buf = nil
	}
	c.flush()
	if buf != nil {
		c.writeAt(buf, at)
	}
	c.pendAt = c.off
}

func (c *committer) flush() {
	if len(c.pend) > 0 {
		c.writeAt(c.pend, c.pendAt)
		c.pend = c.pend[:0]
	}
}

func (c *committer) writeAt(p []byte, at int64) {
	if c.err != nil {
		return
	}
	end := at + int64(len(p))
	if c.l.opts.Sync == SyncGroup && len(p) <= fillBelow && end > c.filled && end < c.l.opts.SegmentSize {
		// Into space that was written before, a sync has no metadata to journal.
		n := min(fillAhead, c.l.opts.SegmentSize-end)
		if vfs.ZeroFill(c.seg.file, end, n) == nil {
			c.filled = end + n
		}
	}
	_, c.err = c.seg.file.WriteAt(p, at)
	c.filled = max(c.filled, end)
}

// finish ends a group: the disk, the readers, the answers.
func (c *committer) finish(group []*request) {
	if len(group) == 0 {
		return
	}
	c.flush()
	err := c.err
	if err != nil {
		err = c.undo(err)
	} else {
		c.fresh, c.marked = false, false
		c.l.sync.wrote(c.seg, c.seg.position(c.off))
		if c.l.opts.Sync == SyncGroup {
			err = c.l.sync.all()
		}
	}
	if err == nil {
		c.publish(group)
	}
	for _, r := range group {
		r.done <- err
	}
	c.start()
}

// undo takes back a group that could not be written. A full disk is no reason to
// give up; after any other error nobody knows what is in the file.
func (c *committer) undo(err error) error {
	for _, p := range c.touched {
		p.staged = p.next
	}
	if !errors.Is(err, vfs.ErrNoSpace) {
		return c.l.fail(err)
	}
	c.off, c.filled = c.begin, c.begin
	if terr := c.seg.file.Truncate(c.begin); terr != nil {
		return c.l.fail(errors.Join(err, terr))
	}
	if serr := c.seg.file.Datasync(); serr != nil {
		return c.l.fail(errors.Join(err, serr))
	}
	return fmt.Errorf("stream: %w", err)
}

// publish shows a group to readers.
func (c *committer) publish(group []*request) {
	l := c.l
	var records uint64
	l.mu.Lock()
	for i := range c.frames {
		f := &c.frames[i]
		if c.seg.add(&f.t, f.pos, f.size) {
			f.part.segs = append(f.part.segs, c.seg)
		}
		f.part.next = f.t.next
		records += uint64(f.t.count)
		if f.part.wake != nil {
			close(f.part.wake)
			f.part.wake = nil
		}
	}
	c.seg.visible.Store(c.off)
	for _, r := range group {
		ops := r.ops
		if len(r.marks) > 0 {
			ops = append(ops, op{kind: opGroup, group: r.group, marks: r.marks})
		}
		for i := range ops {
			if err := l.applyLocked(&ops[i]); err != nil {
				panic(err) // it was checked before it was written
			}
		}
	}
	l.mu.Unlock()
	l.stats.groups.Add(1)
	l.stats.appends.Add(uint64(len(c.frames)))
	l.stats.records.Add(records)
	l.stats.bytes.Add(uint64(c.off - c.begin))
}

// roll begins a new segment, where the last group ended.
func (c *committer) roll() error {
	old, off, filled := c.seg, c.off, c.filled
	next, err := c.create(old.num+1, old.position(off))
	if err != nil {
		return err
	}
	if filled > off {
		if err := old.file.Truncate(off); err != nil {
			return c.l.fail(err)
		}
	}
	c.l.sync.rolled(old, next, next.position(c.off))
	c.l.stats.rolls.Add(1)
	c.start()
	return nil
}

// create makes a segment with the log's present state in it and writes to it from
// now on. On error nothing has changed.
func (c *committer) create(num, base uint64) (*segment, error) {
	l := c.l
	h := header{id: l.id, num: num, base: base}
	f, err := l.fs.Create(joinName(l.dir, segmentName(num, 0)))
	if err != nil {
		return nil, err
	}
	s := newSegment(l.dir, h, f)
	buf := append(make([]byte, frame.HeaderSize), l.state()...)
	old, off, filled := c.seg, c.off, c.filled
	c.seg, c.off, c.filled = s, headerSize, 0
	c.start()
	c.pend, c.pendAt = append(c.pend, h.encode()...), 0
	c.putPayload(kindState, buf)
	c.flush()
	if err := c.err; err != nil {
		c.seg, c.off, c.filled = old, off, filled
		c.start()
		f.Close()
		_ = l.fs.Remove(s.path) // else the next opening removes it
		return nil, err
	}
	c.fresh, c.marked = true, false
	s.visible.Store(c.off)
	l.mu.Lock()
	l.segs = append(l.segs, s)
	l.mu.Unlock()
	return s, nil
}

// mark vouches, in the file, for all that is in it, and repeats the state, which
// tells what is lost should the end be damaged. Everything is durable when it is
// called.
func (c *committer) mark() error {
	if c.marked {
		return nil
	}
	c.start()
	c.putPayload(kindMark, append(make([]byte, frame.HeaderSize), c.l.state()...))
	c.flush()
	if c.err != nil {
		if errors.Is(c.err, vfs.ErrNoSpace) {
			return nil // only the mark is missing
		}
		return c.err
	}
	if c.filled > c.off {
		if err := c.seg.file.Truncate(c.off); err != nil {
			return err
		}
	}
	return c.seg.file.Datasync()
}

// Append implements [Log]. When ctx ends before the batch was taken up, it is not
// appended.
func (l *Local) Append(ctx context.Context, p Partition, records []Record) (first int64, err error) {
	if err := l.before(ctx); err != nil {
		return 0, err
	}
	if len(records) == 0 {
		return 0, fmt.Errorf("%w: no records to append", ErrInvalid)
	}
	b, err := l.body(p, records)
	if err != nil {
		return 0, err
	}
	r := &request{bodies: []*body{b}}
	if err := l.commit.do(ctx, r); err != nil {
		return 0, err // b may still be in the committer's hands
	}
	first = b.t.first
	b.free()
	return first, nil
}

// body encodes a batch, checked.
func (l *Local) body(p Partition, records []Record) (*body, error) {
	part, err := l.lookup(p)
	if err != nil {
		return nil, err
	}
	size := 0
	for i := range records {
		r := &records[i]
		if part.topic.opts.Compact && len(r.Key) == 0 {
			return nil, fmt.Errorf("%w: record %d has no key, and topic %q is compacted", ErrInvalid, i, p.Topic)
		}
		size += 24 + len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			size += 8 + len(h.Key) + len(h.Value)
		}
		if size > l.opts.MaxBatch {
			return nil, fmt.Errorf("%w: batch above %d bytes", ErrTooLarge, l.opts.MaxBatch)
		}
	}
	b := bodies.Get().(*body)
	b.encode(part, records, baseTime(records))
	return b, nil
}

// Commit implements [Log].
func (l *Local) Commit(ctx context.Context, group string, offsets map[Partition]Offset) error {
	_, err := l.Transact(ctx, &Tx{Group: group, Offsets: offsets})
	return err
}

// Transact implements [Transactor].
func (l *Local) Transact(ctx context.Context, tx *Tx) (firsts []int64, err error) {
	if err := l.before(ctx); err != nil {
		return nil, err
	}
	r := &request{group: tx.Group}
	if tx.Group != "" || len(tx.Offsets) > 0 {
		if err := checkName("group", tx.Group); err != nil {
			return nil, err
		}
	}
	for _, p := range sortedPartitions(tx.Offsets) {
		o := tx.Offsets[p]
		part, err := l.lookup(p)
		if err != nil {
			return nil, err
		}
		if o.Next < Keep || o.Epoch < 0 {
			return nil, fmt.Errorf("%w: offset %+v of %v", ErrInvalid, o, p)
		}
		r.marks = append(r.marks, mark{part.id, o.Next, o.Epoch})
	}
	size := 0
	for _, a := range tx.Appends {
		if len(a.Records) == 0 {
			return nil, fmt.Errorf("%w: no records to append to %v", ErrInvalid, a.Partition)
		}
		b, err := l.body(a.Partition, a.Records)
		if err != nil {
			return nil, err
		}
		if size += len(b.buf); size > l.opts.MaxBatch+l.opts.MaxBatch/2 {
			return nil, fmt.Errorf("%w: transaction above %d bytes", ErrTooLarge, l.opts.MaxBatch)
		}
		r.bodies = append(r.bodies, b)
	}
	if len(r.marks) == 0 && len(r.bodies) == 0 {
		return nil, nil
	}
	if err := l.commit.do(ctx, r); err != nil {
		return nil, err
	}
	for _, b := range r.bodies {
		firsts = append(firsts, b.t.first)
		b.free()
	}
	return firsts, nil
}
