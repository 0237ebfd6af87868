package tsdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/wal"
)

// A Ref stands for a series in calls of [DB.Append]. It is valid until the DB is
// closed, or until the series has had no samples for longer than a chunk spans;
// then appends say [ErrNotFound], and [DB.Series] gives another.
type Ref uint64

// A Range is the times From ≤ t < To. Times are in milliseconds since 1970.
type Range struct{ From, To int64 }

// All is the range of all times that can be stored.
var All = Range{minTime, maxTime}

// Times that can be stored, far from where differences overflow.
const (
	minTime = -1 << 60
	maxTime = 1 << 60
)

func (r Range) overlaps(minT, maxT int64) bool { return minT < r.To && maxT >= r.From }

// A Batch holds samples in columns of equal length: sample i is V[i] at time T[i]
// of the series Refs[i]. It may hold several samples of one series.
type Batch struct {
	Refs []Ref
	T    []int64 // milliseconds since 1970
	V    []float64
}

// MaxBatch is the number of samples or log lines in the largest batch.
const MaxBatch = 1 << 20

// A Result counts what became of a batch.
type Result struct {
	Accepted   int
	Duplicates int // accepted, and known at once to replace a sample; see Stats.Duplicates
	TooOld     int // refused: before the retention
	Future     int // refused: too far ahead of the clock
	Unknown    int // refused: of no known series
}

func (r *Result) err() error {
	var errs []error
	if r.TooOld > 0 {
		errs = append(errs, fmt.Errorf("%w: %d samples", ErrTooOld, r.TooOld))
	}
	if r.Future > 0 {
		errs = append(errs, fmt.Errorf("%w: %d samples", ErrFuture, r.Future))
	}
	if r.Unknown > 0 {
		errs = append(errs, fmt.Errorf("%w: %d samples", ErrNotFound, r.Unknown))
	}
	return errors.Join(errs...)
}

// A DB is an open database. It is safe for concurrent use by multiple
// goroutines.
type DB struct {
	dir  string
	fs   vfs.FS
	opts Options
	span int64 // ChunkRange in milliseconds
	lock io.Closer
	log  *wal.Log

	// app is held while the log is appended to and the heads change, so that
	// both have one order. Lock order: maint, app, mu, chunk.mu, cache.mu.
	app   sync.Mutex
	batch wal.Batch
	rec   []byte
	defs  []byte
	coder headCoder

	// mu guards the sources, their heads and their lists of chunks.
	mu      sync.RWMutex
	sources []*source
	byName  map[string]*source
	nSeries int
	epoch   uint64       // of the log
	epochs  []epochStart // that heads may still need, the oldest first; under app
	ages    []epochAge   // the oldest first; the first began a chunk's span ago, if any did
	tombs   []tombstone

	// maint is held by what changes the manifest.
	maint   sync.Mutex
	man     *manifest
	scratch headCoder // of maintenance
	reserve bool      // the reserve file exists

	cache chunkCache
	clock atomic.Uint64
	seen  atomic.Int64 // the newest sample
	// unadmitted counts samples, and bytes of log lines, since admit added up.
	unadmitted atomic.Int64
	closed     atomic.Bool
	report     OpenReport
	stats      counters
	wake       chan struct{}
	stop       context.CancelFunc
	stopped    sync.WaitGroup
}

type counters struct {
	appended, duplicates, tooOld, future, unknown, logLines atomic.Uint64
	seals, merges, expired, archived, corrupt               atomic.Uint64
	maintErr                                                atomic.Pointer[error]
}

// An epochStart is the first record of an epoch in the log; 0 while there is
// none.
type epochStart struct{ epoch, pos uint64 }

// An epochAge is when an epoch began.
type epochAge struct {
	epoch uint64
	at    time.Time
}

// A source is a partition: its series, its heads, its chunks.
type source struct {
	name   string
	number uint32
	byKey  map[string]uint32
	keys   []string // by ordinal; replaced, not changed, when series are forgotten
	defs   []uint64 // the epoch of the log in which the series was last defined
	heads  []*head  // open, by start
	logs   []*head
	frozen []frozenHead
	chunks []*chunk // by number

	index *labelIndex // of the first keys; the rest is looked through
}

type frozenHead struct {
	kind chunkKind
	*head
}

// An OpenReport tells what Open found that was not in order. Nothing of it
// needs hand work.
type OpenReport struct {
	// Torn is true if the log ended in an unfinished write, which nobody was
	// promised.
	Torn bool
	// Damage lists what was durable and cannot be read: parts of the log, a copy
	// of the manifest, missing chunks.
	Damage []error
	// LostRecords are records of the log that were whole but could not be used,
	// since what they refer to was damaged.
	LostRecords int
	// Rebuilt is true if neither copy of the manifest could be read. The chunks
	// were then listed from their files; deletes since the last merge of a
	// chunk are undone.
	Rebuilt bool
	// Replayed counts the samples and log lines read from the log.
	Replayed uint64
	// Removed counts files that no manifest named: the remains of a crash.
	Removed int
}

// Open opens the database in a directory, and makes it if need be. Damage does
// not keep it from opening: see [DB.OpenReport]. Errors wrap [ErrLocked],
// [ErrVersion], [ErrInvalid] or those of the file system.
func Open(dir string, opts *Options) (*DB, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir: dir, fs: o.fs, opts: o, span: o.ChunkRange.Milliseconds(), byName: map[string]*source{},
		cache: chunkCache{budget: o.IndexBytes}, wake: make(chan struct{}, 1),
	}
	db.seen.Store(minTime)
	if err := db.fs.MkdirAll(filepath.Join(dir, "chunks")); err != nil {
		return nil, noSpace(err)
	}
	lock, err := db.fs.Lock(filepath.Join(dir, "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	if err != nil {
		return nil, err
	}
	db.lock = lock
	if err := db.open(); err != nil {
		if db.log != nil {
			db.log.Close()
		}
		lock.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	db.stop = stop
	if !o.Manual {
		db.stopped.Add(1)
		go db.maintainLoop(ctx)
	}
	if o.Sync == SyncInterval {
		db.stopped.Add(1)
		go db.syncLoop(ctx)
	}
	return db, nil
}

func (db *DB) open() error {
	if err := db.loadChunks(); err != nil {
		return err
	}
	log, err := wal.Open(filepath.Join(db.dir, "wal"), &wal.Options{OnDamage: wal.Skip, FS: db.fs})
	switch {
	case errors.Is(err, wal.ErrVersion):
		return fmt.Errorf("%w: %w", ErrVersion, err)
	case errors.Is(err, wal.ErrLocked):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case err != nil:
		return noSpace(err)
	}
	db.log = log
	rec := log.Recovery()
	db.report.Torn = rec.Torn != nil
	for _, d := range rec.Damage {
		db.damaged(fmt.Errorf("%w: log: %v", ErrCorrupt, d))
	}
	db.epoch = 1
	db.epochs = []epochStart{{1, log.Head()}}
	if err := db.replay(); err != nil {
		return err
	}
	db.epoch = 2
	db.epochs = append(db.epochs, epochStart{epoch: 2})
	db.ages = []epochAge{{2, db.opts.Now()}}
	db.makeReserve()
	return nil
}

func (db *DB) damaged(err error) {
	db.report.Damage = append(db.report.Damage, err)
	db.warn("damage found", err)
}

func (db *DB) warn(what string, err error) {
	if l := db.opts.Logger; l != nil {
		l.Warn("tsdb: "+what, slog.String("dir", db.dir), slog.Any("error", err))
	}
}

// loadChunks reads the manifest, or makes one, and lists the chunks.
func (db *DB) loadChunks() error {
	man, damage, err := loadManifest(db.fs, db.dir)
	if err != nil {
		return err
	}
	for _, d := range damage {
		db.damaged(d)
	}
	names, err := db.fs.List(filepath.Join(db.dir, "chunks"))
	if err != nil {
		return err
	}
	have := map[uint64]string{}
	for _, name := range names {
		var id uint64
		if _, err := fmt.Sscanf(name, "%016x.chk", &id); err == nil && name == chunkName(id) {
			have[id] = name
		} else if strings.HasSuffix(name, ".tmp") {
			if err := db.fs.Remove(filepath.Join(db.dir, "chunks", name)); err == nil {
				db.report.Removed++
			}
		}
	}
	if man == nil {
		man = &manifest{nextChunk: 1, nextTomb: 1}
		if len(damage) > 0 || len(have) > 0 {
			if err := db.rebuild(man, have); err != nil {
				return err
			}
		} else if err := man.save(db.fs, db.dir); err != nil { // so that a missing one means damage
			return noSpace(err)
		}
	}
	db.man = man
	db.tombs = man.tombs
	for _, info := range man.chunks {
		if _, ok := have[info.id]; !ok && !info.archived {
			db.damaged(&CorruptError{Source: info.source, Range: info.rng, File: chunkName(info.id), Err: fmt.Errorf("%w: %w", ErrCorrupt, fs.ErrNotExist)})
		}
		delete(have, info.id)
		s := db.sourceLocked(info.source)
		s.chunks = append(s.chunks, &chunk{info: info, db: db})
		if info.kind == chunkSamples {
			db.see(info.maxT)
		}
	}
	for _, s := range db.sources {
		slices.SortFunc(s.chunks, func(a, b *chunk) int { return int(a.info.id) - int(b.info.id) })
	}
	for _, name := range have {
		if err := db.fs.Remove(filepath.Join(db.dir, "chunks", name)); err == nil {
			db.report.Removed++
		}
	}
	return nil
}

// rebuild makes a manifest from the chunk files. It changes nothing but man.
func (db *DB) rebuild(man *manifest, have map[uint64]string) error {
	db.report.Rebuilt = true
	for id, name := range have {
		man.nextChunk = max(man.nextChunk, id+1)
		f, err := db.fs.Open(filepath.Join(db.dir, "chunks", name))
		if err != nil {
			return err
		}
		size, err := f.Size()
		if err == nil {
			var info chunkInfo
			if info, _, _, err = readMeta(f, size); err == nil {
				if info.id != id {
					err = fmt.Errorf("%w: the file is another chunk", ErrCorrupt)
				} else {
					man.chunks = append(man.chunks, info)
				}
			}
		}
		f.Close()
		if errors.Is(err, ErrVersion) {
			return err
		}
		if err != nil { // it stays, aside
			db.damaged(&CorruptError{File: name, Range: All, Err: err})
			if err := db.fs.Rename(filepath.Join(db.dir, "chunks", name), filepath.Join(db.dir, "chunks", name+".bad")); err != nil {
				return err
			}
			delete(have, id)
		}
	}
	slices.SortFunc(man.chunks, func(a, b chunkInfo) int { return int(a.id) - int(b.id) })
	// Tombstones and marks are gone; the log brings back both the deletes that it
	// holds and samples that are in chunks already, which is harmless.
	return noSpace(man.save(db.fs, db.dir))
}

// see notes the time of a sample.
func (db *DB) see(t int64) {
	for {
		old := db.seen.Load()
		if t <= old || db.seen.CompareAndSwap(old, t) {
			return
		}
	}
}

// now returns the later of the clock and the newest sample.
func (db *DB) now() int64 { return max(db.opts.Now().UnixMilli(), db.seen.Load()) }

// oldest returns the first time that is kept.
func (db *DB) oldest(keep time.Duration) int64 {
	if keep == 0 {
		return minTime
	}
	return max(db.now()-keep.Milliseconds(), minTime)
}

// newest returns the last time that is accepted.
func (db *DB) newest() int64 {
	now := db.opts.Now()
	if now.Year() > 100_000 || db.opts.MaxFuture > math.MaxInt64/2 {
		return maxTime - 1
	}
	return min(now.UnixMilli()+db.opts.MaxFuture.Milliseconds(), maxTime-1)
}

// OpenReport returns what [Open] found.
func (db *DB) OpenReport() OpenReport { return db.report }

// sourceLocked returns a source, making it if need be.
func (db *DB) sourceLocked(name string) *source {
	s := db.byName[name]
	if s == nil {
		s = &source{name: name, number: uint32(len(db.sources)), byKey: map[string]uint32{}}
		db.sources = append(db.sources, s)
		db.byName[name] = s
	}
	return s
}

// Series returns the ref of a series, making it if it is new. A source is what
// chunks are made of: a host, a tenant, a group of devices. At the limit a new
// series is [ErrTooManySeries]. A series is written down with its first sample.
func (db *DB) Series(source string, labels Labels) (Ref, error) {
	var buf [512]byte
	key, err := labels.appendKey(buf[:0])
	if err == nil {
		err = checkSource(source)
	}
	if err != nil {
		return 0, err
	}
	if db.closed.Load() {
		return 0, ErrClosed
	}
	db.mu.RLock()
	if s := db.byName[source]; s != nil {
		if ord, ok := s.byKey[string(key)]; ok {
			db.mu.RUnlock()
			return makeRef(s, ord), nil
		}
	}
	db.mu.RUnlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	s := db.byName[source]
	n := 0
	if s != nil {
		n = len(s.byKey)
	}
	if s != nil {
		if ord, ok := s.byKey[string(key)]; ok {
			return makeRef(s, ord), nil
		}
	}
	if db.nSeries >= db.opts.MaxSeries {
		return 0, fmt.Errorf("%w: %d", ErrTooManySeries, db.nSeries)
	}
	if limit := db.opts.MaxSeriesPerSource; limit > 0 && n >= limit {
		return 0, fmt.Errorf("%w: %d of source %q", ErrTooManySeries, n, source)
	}
	s = db.sourceLocked(source)
	return makeRef(s, db.addSeriesLocked(s, string(key))), nil
}

func makeRef(s *source, ord uint32) Ref { return Ref(s.number)<<32 | Ref(ord) }

func (db *DB) addSeriesLocked(s *source, key string) uint32 {
	ord := uint32(len(s.keys))
	s.keys = append(s.keys, key)
	s.defs = append(s.defs, 0)
	s.byKey[key] = ord
	db.nSeries++
	return ord
}

// Append adds samples. Nil means that they are durable at the level of
// [Options.Sync]. Samples may come in any order within the retention; of several
// with the same series and time the last one counts.
//
// If some are refused, the error wraps [ErrTooOld], [ErrFuture] or [ErrNotFound]
// and the Result tells how many; the others are in, and durable. With any other
// error nothing was added, or, after a failed or cancelled sync, the samples are
// visible and it is unknown whether they are durable.
func (db *DB) Append(ctx context.Context, b Batch) (Result, error) {
	if len(b.Refs) != len(b.T) || len(b.T) != len(b.V) {
		return Result{}, fmt.Errorf("%w: columns of %d, %d and %d", ErrInvalid, len(b.Refs), len(b.T), len(b.V))
	}
	if len(b.Refs) > MaxBatch {
		return Result{}, fmt.Errorf("%w: batch of %d samples", ErrTooLarge, len(b.Refs))
	}
	if err := db.admit(ctx, len(b.Refs)); err != nil {
		return Result{}, err
	}
	if len(b.Refs) == 0 {
		return Result{}, nil
	}
	db.app.Lock()
	res, end, err := db.appendLocked(b)
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

// admit waits while the heads take too much memory. To add up what they take is
// not done for every small batch.
func (db *DB) admit(ctx context.Context, n int) error {
	for {
		if db.closed.Load() {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if db.unadmitted.Add(int64(n)) < 1024 {
			return nil
		}
		db.unadmitted.Store(0)
		db.mu.RLock()
		bytes := db.headBytesLocked()
		db.mu.RUnlock()
		if bytes > db.opts.HeadBytes {
			db.poke()
		}
		if bytes <= 2*db.opts.HeadBytes {
			return nil
		}
		db.unadmitted.Store(1024) // whoever comes next looks too
		if err := db.Maintain(ctx); err != nil {
			return err
		}
	}
}

func (db *DB) headBytesLocked() int64 {
	n := int64(0)
	for _, s := range db.sources {
		for _, h := range s.heads {
			n += h.size()
		}
		for _, h := range s.logs {
			n += h.size()
		}
		for _, h := range s.frozen {
			n += h.size()
		}
	}
	return n
}

func (h *head) size() int64 { return h.bytes + int64(len(h.series))*headSeriesBytes }

// poke wakes the goroutine that maintains.
func (db *DB) poke() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

func (db *DB) sync(ctx context.Context, end uint64) error {
	if db.opts.Sync != SyncGroup {
		return nil
	}
	return walError(db.log.Sync(ctx, end))
}

// walError translates errors of the log.
func walError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wal.ErrClosed):
		return ErrClosed
	case errors.Is(err, wal.ErrFailed):
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return noSpace(err)
}

func noSpace(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// appendLocked logs and applies a batch. The caller holds app.
func (db *DB) appendLocked(b Batch) (res Result, end uint64, err error) {
	oldest, newest := db.oldest(db.opts.Retention), db.newest()
	db.mu.RLock()
	b, res = db.filterLocked(b, oldest, newest)
	defined := db.defineLocked(b.Refs)
	db.mu.RUnlock()
	db.stats.tooOld.Add(uint64(res.TooOld))
	db.stats.future.Add(uint64(res.Future))
	db.stats.unknown.Add(uint64(res.Unknown))
	if len(b.Refs) == 0 {
		return res, 0, nil
	}
	db.rec = db.coder.sampleRecord(db.rec[:0], b.Refs, b.T, b.V)
	if end, err = db.logLocked(defined); err != nil {
		return Result{}, 0, err
	}
	db.mu.Lock()
	res.Duplicates = db.applyLocked(b.Refs, b.T, b.V)
	db.mu.Unlock()
	res.Accepted = len(b.Refs)
	db.stats.appended.Add(uint64(res.Accepted))
	return res, end, nil
}

// logLocked writes the definitions and the record in rec. The caller holds app.
func (db *DB) logLocked(defined []Ref) (end uint64, err error) {
	db.batch.Reset()
	if len(defined) > 0 {
		err = db.batch.Add(db.defs)
	}
	if err == nil {
		err = db.batch.Add(db.rec)
	}
	if err == nil {
		end, err = db.log.AppendBatch(&db.batch)
	}
	if last := &db.epochs[len(db.epochs)-1]; err == nil && last.pos == 0 {
		last.pos = db.batch.Pos(0)
	}
	if cap(db.defs) > 64<<10 { // rare and large: do not keep it
		db.defs, db.batch = nil, wal.Batch{}
	}
	if err != nil {
		db.mu.RLock()
		for _, ref := range defined { // they are not in the log
			db.sources[ref>>32].defs[uint32(ref)] = 0
		}
		db.mu.RUnlock()
		return 0, walError(err)
	}
	return end, nil
}

// filterLocked leaves out what is refused.
func (db *DB) filterLocked(b Batch, oldest, newest int64) (Batch, Result) {
	var res Result
	good := func(i int) bool {
		if ref, t := b.Refs[i], b.T[i]; t >= oldest && t <= newest && uint64(ref>>32) < uint64(len(db.sources)) {
			s := db.sources[ref>>32]
			return uint64(uint32(ref)) < uint64(len(s.keys)) && s.keys[uint32(ref)] != gone
		}
		return false
	}
	i := 0
	for i < len(b.Refs) && good(i) {
		i++
	}
	if i == len(b.Refs) {
		return b, res
	}
	out := Batch{Refs: slices.Clone(b.Refs[:i]), T: slices.Clone(b.T[:i]), V: slices.Clone(b.V[:i])}
	for ; i < len(b.Refs); i++ {
		switch {
		case good(i):
			out.Refs, out.T, out.V = append(out.Refs, b.Refs[i]), append(out.T, b.T[i]), append(out.V, b.V[i])
		case b.T[i] < oldest:
			res.TooOld++
		case b.T[i] > newest:
			res.Future++
		default:
			res.Unknown++
		}
	}
	return out, res
}

// defineLocked prepares the definitions of refs that this epoch of the log does
// not have yet, in db.defs. The caller holds app and reads under mu.
func (db *DB) defineLocked(refs []Ref) []Ref {
	var defined []Ref
	for _, ref := range refs {
		s := db.sources[ref>>32]
		if s.defs[uint32(ref)] == db.epoch {
			continue
		}
		s.defs[uint32(ref)] = db.epoch
		defined = append(defined, ref)
	}
	if len(defined) > 0 {
		db.defs = binary.AppendUvarint(append(db.defs[:0], recSeries), uint64(len(defined)))
		for _, ref := range defined {
			s := db.sources[ref>>32]
			db.defs = binary.AppendUvarint(db.defs, uint64(ref))
			db.defs = appendText(db.defs, s.name)
			db.defs = appendText(db.defs, s.keys[uint32(ref)])
		}
	}
	return defined
}

// applyLocked puts samples into their heads. Refs and times are valid. The
// caller holds app and mu.
func (db *DB) applyLocked(refs []Ref, t []int64, v []float64) (duplicates int) {
	var s *source
	var h *head
	seen := int64(minTime)
	for i, ref := range refs {
		if n := uint32(ref >> 32); s == nil || s.number != n {
			s, h = db.sources[n], nil
		}
		at := t[i]
		if h == nil || at < h.start || at >= h.end {
			h = db.headLocked(s, &s.heads, at)
		}
		ord := int(uint32(ref))
		if ord >= len(h.series) {
			h.series = append(h.series, make([]headSeries, max(ord+1, len(s.keys))-len(h.series))...)
		}
		if h.add(&h.series[ord], &db.coder, at, v[i]) {
			duplicates++
		}
		seen = max(seen, at)
	}
	db.see(seen)
	db.stats.duplicates.Add(uint64(duplicates) + db.coder.duplicates)
	db.coder.duplicates = 0
	return duplicates
}

// headLocked returns the open head for a time.
func (db *DB) headLocked(s *source, list *[]*head, t int64) *head {
	start := t - mod(t, db.span)
	i, found := slices.BinarySearchFunc(*list, start, func(h *head, start int64) int {
		switch {
		case h.start < start:
			return -1
		case h.start > start:
			return 1
		}
		return 0
	})
	if !found {
		*list = slices.Insert(*list, i, &head{start: start, end: start + db.span, epoch: db.epoch, born: db.opts.Now()})
	}
	return (*list)[i]
}

// mod is the remainder that is not negative.
func mod(t, n int64) int64 {
	if r := t % n; r >= 0 {
		return r
	}
	return t%n + n
}

// replay applies what the log holds.
func (db *DB) replay() error {
	marks := map[headKey]uint64{}
	for _, m := range db.man.marks {
		marks[m.headKey] = max(marks[m.headKey], m.pos)
	}
	refs := refTable{sparse: map[Ref]Ref{}}
	for rec, err := range db.log.Replay(0) {
		if err != nil {
			if errors.Is(err, wal.ErrCorrupt) {
				db.damaged(fmt.Errorf("%w: log: %w", ErrCorrupt, err))
				continue
			}
			return err
		}
		if err := db.replayRecord(rec, &refs, marks); err != nil {
			db.report.LostRecords++
			db.damaged(fmt.Errorf("log at %d: %w", rec.Pos, err))
		}
	}
	return nil
}

// A refTable maps refs of the log to those of this life. The log's are dense, so
// that slices nearly always do.
type refTable struct {
	dense  [][]Ref // by source and ordinal; 1 more than the ref, 0 for none
	sparse map[Ref]Ref
}

func (x *refTable) set(ref, ours Ref) {
	s, ord := int(ref>>32), int(uint32(ref))
	for s >= len(x.dense) && s < len(x.dense)+1024 {
		x.dense = append(x.dense, nil)
	}
	if s < len(x.dense) {
		for ord >= len(x.dense[s]) && ord < len(x.dense[s])+1024 {
			x.dense[s] = append(x.dense[s], 0)
		}
		if ord < len(x.dense[s]) {
			x.dense[s][ord] = ours + 1
			return
		}
	}
	x.sparse[ref] = ours
}

func (x *refTable) get(ref Ref) (Ref, bool) {
	if s, ord := ref>>32, ref&(1<<32-1); s < Ref(len(x.dense)) && ord < Ref(len(x.dense[s])) {
		if r := x.dense[s][ord]; r != 0 {
			return r - 1, true
		}
	}
	if len(x.sparse) == 0 {
		return 0, false
	}
	r, ok := x.sparse[ref]
	return r, ok
}

func (db *DB) replayRecord(rec wal.Record, refs *refTable, marks map[headKey]uint64) error {
	if len(rec.Data) == 0 {
		return fmt.Errorf("%w: empty record", ErrCorrupt)
	}
	body := rec.Data[1:]
	switch rec.Data[0] {
	case recSeries:
		return decodeSeries(body, func(ref Ref, name, key string) {
			s := db.sourceLocked(name)
			ord, ok := s.byKey[key]
			if !ok {
				ord = db.addSeriesLocked(s, key)
			}
			s.defs[ord] = db.epoch
			refs.set(ref, makeRef(s, ord))
		})
	case recSamples:
		rs, t, v, err := decodeSamples(body)
		if err != nil {
			return err
		}
		n, lost := 0, 0
		for i, ref := range rs {
			ours, ok := refs.get(ref)
			if !ok || t[i] < minTime || t[i] >= maxTime {
				lost++
				continue
			}
			if len(marks) > 0 {
				s := db.sources[ours>>32]
				if rec.Pos < marks[headKey{chunkSamples, s.name, t[i] - mod(t[i], db.span)}] {
					continue
				}
			}
			rs[n], t[n], v[n] = ours, t[i], v[i]
			n++
		}
		db.applyLocked(rs[:n], t[:n], v[:n])
		db.report.Replayed += uint64(n)
		if lost > 0 {
			return fmt.Errorf("%w: %d of %d samples belong to series whose definition is lost", ErrCorrupt, lost, len(rs))
		}
	case recDelete:
		r := reader{b: body}
		var t tombstone
		t.read(&r)
		if r.err {
			return fmt.Errorf("%w: record of a delete", ErrCorrupt)
		}
		db.deleteFromHeadsLocked(&t)
		if db.report.Rebuilt { // which chunks are older than the delete is not known
			db.man.nextTomb = max(db.man.nextTomb, t.id+1)
		} else if t.id >= db.man.nextTomb { // the crash came before the manifest was written
			t.maxChunk = db.man.nextChunk - 1
			man := *db.man
			man.tombs = append(slices.Clone(man.tombs), t)
			man.nextTomb = t.id + 1
			return db.commit(&man)
		}
	case recLogs:
		lines, err := decodeLogs(body)
		if err != nil {
			return err
		}
		kept := lines[:0]
		lost := 0
		for _, l := range lines {
			ours, ok := refs.get(l.Ref)
			if !ok || l.T < minTime || l.T >= maxTime {
				lost++
				continue
			}
			if rec.Pos < marks[headKey{chunkLogs, db.sources[ours>>32].name, l.T - mod(l.T, db.span)}] {
				continue
			}
			l.Ref = ours
			kept = append(kept, l)
		}
		db.applyLogsLocked(kept)
		db.report.Replayed += uint64(len(kept))
		if lost > 0 {
			return fmt.Errorf("%w: %d of %d log lines belong to series whose definition is lost", ErrCorrupt, lost, len(lines))
		}
	default:
		return fmt.Errorf("%w: record of kind %d", ErrCorrupt, rec.Data[0])
	}
	return nil
}

// Close syncs the log and frees the directory. Heads stay in the log and are
// read from there by the next Open. It waits for calls that run in the
// background. Later calls return nil.
func (db *DB) Close() error {
	if db.closed.Swap(true) {
		return nil
	}
	db.stop()
	db.stopped.Wait()
	db.maint.Lock()
	defer db.maint.Unlock()
	db.app.Lock()
	defer db.app.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	err := walError(db.log.Close())
	for _, s := range db.sources {
		for _, c := range s.chunks {
			c.mu.Lock()
			if c.refs == 0 {
				c.unloadLocked()
			}
			c.dead = false
			c.mu.Unlock()
		}
	}
	if cerr := db.lock.Close(); err == nil {
		err = cerr
	}
	return err
}

func (db *DB) syncLoop(ctx context.Context) {
	defer db.stopped.Done()
	tick := time.NewTicker(db.opts.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := db.log.Sync(ctx, db.log.End()); err != nil && ctx.Err() == nil {
				db.warn("sync of the log failed", err)
				return
			}
		}
	}
}
