package tsdb

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
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
	job   applyJob
	// coders are for the cores that apply a batch; the first is for all that
	// is done under app.
	coders []headCoder

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
	byKey  *keyTable
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
		cache: chunkCache{budget: o.IndexBytes}, wake: make(chan struct{}, 1), coders: newCoders(),
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
		s = &source{name: name, number: uint32(len(db.sources)), byKey: &keyTable{}}
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
	hash := maphash.Bytes(keySeed, key)
	db.mu.RLock()
	if s := db.byName[source]; s != nil {
		if ord, ok := findKey(s.byKey, s.keys, hash, key); ok {
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
		n = s.byKey.n
	}
	if s != nil {
		if ord, ok := findKey(s.byKey, s.keys, hash, key); ok {
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
	return makeRef(s, db.addSeriesLocked(s, string(key), hash)), nil
}

func makeRef(s *source, ord uint32) Ref { return Ref(s.number)<<32 | Ref(ord) }

func (db *DB) addSeriesLocked(s *source, key string, hash uint64) uint32 {
	ord := uint32(len(s.keys))
	s.keys = append(s.keys, key)
	s.defs = append(s.defs, 0)
	s.byKey.add(hash, ord)
	db.nSeries++
	return ord
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
