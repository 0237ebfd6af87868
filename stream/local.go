package stream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Sync says when what was appended is made durable, and so what is lost when
// the machine loses power. Killing the process alone loses nothing that was
// acknowledged, at any level. What is lost is always the end of the whole log, in
// the order of writing: never a record before one that is kept, and never the
// records of an offset that is still committed.
type Sync int

const (
	// SyncGroup returns from a write when it is on the disk, and shows it to
	// readers only then. Writers that wait at the same time share one sync.
	// Nothing that was acknowledged is lost.
	SyncGroup Sync = iota
	// SyncInterval returns when the system has the write and syncs in the
	// background, every Options.Interval. Lost is what was written in the last
	// Interval and the time that one sync takes.
	SyncInterval
	// SyncNone returns when the system has the write. Segments are synced when
	// they are full and when the log is closed. Lost is what is in the segment
	// in use and in those still being synced.
	SyncNone
)

// Options configures [OpenLocal]. Nil, and a zero field, mean the default.
type Options struct {
	// Sync is the level of durability. Default SyncGroup.
	Sync Sync
	// Interval is the time between syncs for SyncInterval. Default 100 ms.
	Interval time.Duration
	// SegmentSize is the size in bytes at which a new file begins, between 4 KiB
	// and 1 GiB. Default 64 MiB.
	SegmentSize int64
	// MaxBatch is the largest batch, or sum of the batches of a transaction, in
	// bytes as stored; at most 256 MiB. A larger one is ErrTooLarge. Default 16
	// MiB.
	MaxBatch int
	// CleanEvery is the time between applying retention and compaction in the
	// background; negative: only when Clean is called. Default one minute.
	CleanEvery time.Duration
	// CleanRatio is how much of a segment must be unneeded before it is
	// rewritten, above 0 and at most 1. Default 0.5, which at worst doubles the
	// space and rewrites each byte once.
	CleanRatio float64
	// Now is the clock for retention. Default time.Now.
	Now func() time.Time
	// Logger is told about damage and about what fails in the background.
	// Default: silent.
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def((*int64)(&c.Interval), int64(100*time.Millisecond))
	def(&c.SegmentSize, 64<<20)
	def((*int64)(&c.CleanEvery), int64(time.Minute))
	if c.MaxBatch == 0 {
		c.MaxBatch = 16 << 20
	}
	if c.CleanRatio == 0 {
		c.CleanRatio = 0.5
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Sync < SyncGroup || c.Sync > SyncNone:
		return c, fmt.Errorf("%w: Options.Sync is %d", ErrInvalid, c.Sync)
	case c.Interval < 0:
		return c, fmt.Errorf("%w: Options.Interval is %v", ErrInvalid, c.Interval)
	case c.SegmentSize < 4<<10 || c.SegmentSize > 1<<30:
		return c, fmt.Errorf("%w: Options.SegmentSize is %d, want 4 KiB to 1 GiB", ErrInvalid, c.SegmentSize)
	case c.MaxBatch < 0 || c.MaxBatch > 256<<20:
		return c, fmt.Errorf("%w: Options.MaxBatch is %d, at most 256 MiB", ErrInvalid, c.MaxBatch)
	case !(c.CleanRatio > 0 && c.CleanRatio <= 1):
		return c, fmt.Errorf("%w: Options.CleanRatio is %v, want above 0 and at most 1", ErrInvalid, c.CleanRatio)
	}
	return c, nil
}

// A Local is a [Transactor] in a directory of one process. See the package
// comment for what it promises. It is safe for concurrent use by multiple
// goroutines. It has up to three of its own, which Close ends.
type Local struct {
	fs       vfs.FS
	dir      string
	opts     Options
	lock     io.Closer
	id       uint64
	recovery Recovery

	// mu guards what readers see: everything published. Lock order: admin,
	// clean, mu; queue and syncing are leaves.
	mu     sync.RWMutex
	topics map[string]*topic
	parts  map[uint32]*partition
	nextID uint32
	groups map[string]map[uint32]Offset
	segs   []*segment // by number; the last is written to

	failed  atomic.Pointer[error]
	closed  chan struct{} // closed by Close
	closeIt func() error  // close, once

	// The committer's own: see commit.go.
	commit committer

	// Syncing: see sync.go.
	sync syncer

	admin sync.Mutex // held while a topic is made
	clean sync.Mutex // held while cleaning
	stop  chan struct{}
	tasks sync.WaitGroup // the background goroutines

	stats counters
}

type topic struct {
	topicOp
	parts []*partition
}

type partition struct {
	id    uint32
	name  Partition
	topic *topic

	// Guarded by Local.mu.
	first int64
	next  int64
	segs  []*segment    // those that hold records of it, by number
	wake  chan struct{} // closed at the next append; nil if nobody waits

	compacted int64 // bytes in sealed segments after the last compaction; Local.clean guards it

	staged int64 // the committer's: next, plus what is being written
}

type counters struct {
	appends, records, bytes, groups, syncs, reads, rolls, cleaned, reclaimed atomic.Uint64
}

// Stats is a snapshot of what a log has done since it was opened.
type Stats struct {
	Appends   uint64 // batches appended
	Records   uint64 // records appended
	Bytes     uint64 // bytes written for them and for offsets
	Groups    uint64 // writes: each serves all that waited
	Syncs     uint64 // rounds of syncing
	Reads     uint64 // calls of Read that returned records
	Rolls     uint64 // new segments begun
	Cleaned   uint64 // segments rewritten or removed
	Reclaimed uint64 // bytes that cleaning gave back

	Topics, Partitions, Groupings, Segments int
	Disk                                    int64 // bytes of the segments that readers see
}

// Stats returns what the log has done since it was opened.
func (l *Local) Stats() Stats {
	c := &l.stats
	s := Stats{
		Appends: c.appends.Load(), Records: c.records.Load(), Bytes: c.bytes.Load(), Groups: c.groups.Load(),
		Syncs: c.syncs.Load(), Reads: c.reads.Load(), Rolls: c.rolls.Load(), Cleaned: c.cleaned.Load(),
		Reclaimed: c.reclaimed.Load(),
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	s.Topics, s.Partitions, s.Groupings, s.Segments = len(l.topics), len(l.parts), len(l.groups), len(l.segs)
	for _, seg := range l.segs {
		s.Disk += seg.visible.Load()
	}
	return s
}

// The names in the directory, part of the format.
const (
	lockName   = "LOCK"
	formatName = "FORMAT"
	formatText = "ashlar stream 1\n" // then the log's id, 16 hexadecimal digits
)

// OpenLocal opens the log in a directory, and makes it if need be. It returns
// [ErrLocked] while the directory is open, here or in another process. What a
// crash left unfinished is cut off; damage to what was durable is reported by
// [Local.Recovery], and by Read where records are lost. The log must be closed.
func OpenLocal(dir string, o *Options) (*Local, error) { return openLocal(vfs.OS, dir, o) }

func openLocal(fsys vfs.FS, dir string, o *Options) (_ *Local, err error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Local{
		fs: fsys, dir: dir, opts: opts,
		topics: map[string]*topic{}, parts: map[uint32]*partition{}, groups: map[string]map[uint32]Offset{},
		closed: make(chan struct{}), stop: make(chan struct{}),
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, err
	}
	if l.lock, err = fsys.Lock(filepath.Join(dir, lockName)); err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			err = fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, err
	}
	l.commit.init(l)
	l.sync.init(l)
	if err = l.loadFormat(); err == nil {
		err = l.recover()
	}
	if err != nil {
		for _, s := range l.segs {
			s.release()
		}
		_ = l.lock.Close() // the first error is the one to tell
		return nil, err
	}
	l.closeIt = sync.OnceValue(l.close)
	l.tasks.Go(l.commit.run)
	l.tasks.Go(l.sync.run)
	if opts.CleanEvery > 0 {
		l.tasks.Go(l.cleanLoop)
	}
	return l, nil
}

// loadFormat reads or makes the file that names the format and the log's id.
func (l *Local) loadFormat() error {
	name := filepath.Join(l.dir, formatName)
	text, err := vfs.ReadFile(l.fs, name, 1024)
	if isNotExist(err) {
		names, err := l.fs.List(l.dir)
		if err != nil {
			return err
		}
		for _, n := range names {
			if _, _, _, ok := parseName(n); ok {
				return fmt.Errorf("%w: %s is missing, but there is %s", ErrCorrupt, name, n)
			}
		}
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails
		l.id = binary.LittleEndian.Uint64(id[:])
		return vfs.WriteFile(l.fs, name, fmt.Appendf(nil, "%s%016x\n", formatText, l.id))
	}
	if err != nil {
		return err
	}
	if len(text) != len(formatText)+17 || string(text[:len(formatText)]) != formatText {
		return fmt.Errorf("%w: %s says %q", ErrVersion, name, text)
	}
	if _, err := fmt.Sscanf(string(text[len(formatText):]), "%016x\n", &l.id); err != nil {
		return fmt.Errorf("%w: %s says %q", ErrVersion, name, text)
	}
	// The process that made it may have been killed before its name was durable.
	return l.fs.SyncDir(l.dir)
}

// Recovery returns what opening the log found.
func (l *Local) Recovery() Recovery { return l.recovery }

// Err returns why the log takes no more writes: an error wrapping [ErrFailed], or
// nil.
func (l *Local) Err() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *Local) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	if l.failed.CompareAndSwap(nil, &err) {
		l.opts.Logger.Error("stream: the log takes no more writes", "dir", l.dir, "err", cause)
	}
	return l.Err()
}

func (l *Local) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Close makes everything durable and frees the directory. A log that failed is
// closed all the same, and the failure returned.
func (l *Local) Close() error { return l.closeIt() }

func (l *Local) close() error {
	close(l.closed)
	close(l.stop)
	l.tasks.Wait()
	err := l.Err()
	if err == nil {
		err = l.sync.all()
	}
	if err == nil {
		err = l.commit.mark()
	}
	if err == nil {
		err = l.sync.seal()
	}
	l.mu.Lock()
	segs := l.segs
	l.segs = nil
	for _, s := range segs {
		s.gone = true
	}
	for _, p := range l.parts {
		if p.wake != nil {
			close(p.wake)
			p.wake = nil
		}
		p.segs = nil
	}
	l.mu.Unlock()
	for _, s := range segs {
		s.release()
	}
	if cerr := l.lock.Close(); err == nil {
		err = cerr
	}
	return err
}

// lookup finds a partition.
func (l *Local) lookup(p Partition) (*partition, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.lookupLocked(p)
}

func (l *Local) lookupLocked(p Partition) (*partition, error) {
	t := l.topics[p.Topic]
	if t == nil || p.Number < 0 || p.Number >= len(t.parts) {
		return nil, fmt.Errorf("%w: partition %v", ErrNotFound, p)
	}
	return t.parts[p.Number], nil
}

// before is asked first by every call.
func (l *Local) before(ctx context.Context) error {
	if l.isClosed() {
		return ErrClosed
	}
	return ctx.Err()
}

// CreateTopic implements [Log].
func (l *Local) CreateTopic(ctx context.Context, name string, o *TopicOptions) error {
	if err := l.before(ctx); err != nil {
		return err
	}
	opts, err := o.withDefaults()
	if err != nil {
		return err
	}
	if err := checkName("topic", name); err != nil {
		return err
	}
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.RLock()
	t, id := l.topics[name], l.nextID
	l.mu.RUnlock()
	if t != nil {
		if t.opts != opts {
			return fmt.Errorf("%w: %s", ErrExists, name)
		}
		return nil
	}
	made := op{kind: opTopic, topic: topicOp{id: id, name: name, opts: opts}}
	// The id must not be given to another topic while this write is under way,
	// so the call waits for its end and does not obey ctx meanwhile.
	return l.commit.do(context.WithoutCancel(ctx), &request{ops: []op{made}})
}

// Topic implements [Log].
func (l *Local) Topic(ctx context.Context, name string) (TopicOptions, error) {
	if err := l.before(ctx); err != nil {
		return TopicOptions{}, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	t := l.topics[name]
	if t == nil {
		return TopicOptions{}, fmt.Errorf("%w: topic %q", ErrNotFound, name)
	}
	return t.opts, nil
}

// Topics returns the names of all topics, sorted.
func (l *Local) Topics() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Sorted(maps.Keys(l.topics))
}

// Bounds implements [Log].
func (l *Local) Bounds(ctx context.Context, p Partition) (first, next int64, err error) {
	if err := l.before(ctx); err != nil {
		return 0, 0, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	part, err := l.lookupLocked(p)
	if err != nil {
		return 0, 0, err
	}
	return part.first, part.next, nil
}

// Committed implements [Log].
func (l *Local) Committed(ctx context.Context, group string) (map[Partition]Offset, error) {
	if err := l.before(ctx); err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make(map[Partition]Offset, len(l.groups[group]))
	for id, o := range l.groups[group] {
		out[l.parts[id].name] = o
	}
	return out, nil
}

// apply makes a change of the log's state visible. The caller holds mu.
func (l *Local) applyLocked(o *op) error {
	switch o.kind {
	case opTopic:
		if t := l.topics[o.topic.name]; t != nil {
			if t.topicOp != o.topic {
				return fmt.Errorf("%w: topic %q twice", ErrCorrupt, t.name)
			}
			return nil // a state that repeats what was replayed
		}
		t := &topic{topicOp: o.topic}
		for n := range t.opts.Partitions {
			id := t.id + uint32(n)
			if l.parts[id] != nil {
				return fmt.Errorf("%w: id %d of topic %q is taken", ErrCorrupt, id, t.name)
			}
			p := &partition{id: id, name: Partition{t.name, n}, topic: t}
			l.parts[id] = p
			t.parts = append(t.parts, p)
		}
		l.topics[t.name] = t
		l.nextID = max(l.nextID, t.id+uint32(t.opts.Partitions))
	case opBounds:
		p := l.parts[o.part]
		if p == nil {
			return fmt.Errorf("%w: bounds of unknown partition %d", ErrCorrupt, o.part)
		}
		p.first = max(p.first, o.first)
		p.next = max(p.next, o.next)
		p.staged = max(p.staged, p.next)
	case opGroup:
		g := l.groups[o.group]
		if g == nil {
			g = map[uint32]Offset{}
			l.groups[o.group] = g
		}
		for _, m := range o.marks {
			if l.parts[m.part] == nil {
				return fmt.Errorf("%w: group %q has an offset of unknown partition %d", ErrCorrupt, o.group, m.part)
			}
			g[m.part] = Offset{m.next, m.epoch}
		}
	case opNextID:
		l.nextID = max(l.nextID, o.id)
	}
	return nil
}

// state returns ops that rebuild the log's state.
func (l *Local) state() []byte {
	l.mu.RLock()
	defer l.mu.RUnlock()
	b := (&op{kind: opNextID, id: l.nextID}).append(nil)
	for _, name := range slices.Sorted(maps.Keys(l.topics)) {
		t := l.topics[name]
		b = (&op{kind: opTopic, topic: t.topicOp}).append(b)
		for _, p := range t.parts {
			if p.next > 0 {
				b = (&op{kind: opBounds, part: p.id, first: p.first, next: p.next}).append(b)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.groups)) {
		g := op{kind: opGroup, group: name}
		for _, id := range slices.Sorted(maps.Keys(l.groups[name])) {
			o := l.groups[name][id]
			g.marks = append(g.marks, mark{id, o.Next, o.Epoch})
		}
		b = g.append(b)
	}
	return b
}
