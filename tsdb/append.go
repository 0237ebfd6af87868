package tsdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/wal"
)

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
		// Only what makes room: an archive that cannot be reached is no reason to refuse
		// samples.
		if err := db.sealOnly(ctx); err != nil {
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

func (h *head) size() int64 { return h.bytes.Load() + int64(len(h.series))*headSeriesBytes }

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
	db.rec = db.coders[0].sampleRecord(db.rec[:0], b.Refs, b.T, b.V)
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
// caller holds app and mu. A large batch is shared out among cores by ordinal,
// so that the samples of a series keep their order.
func (db *DB) applyLocked(refs []Ref, t []int64, v []float64) (duplicates int) {
	job := &db.job
	job.refs, job.t, job.v, job.runs = refs, t, v, job.runs[:0]
	var s *source
	var run *applyRun
	seen := int64(minTime)
	for i, ref := range refs {
		if n := uint32(ref >> 32); s == nil || s.number != n {
			s, run = db.sources[n], nil
		}
		at := t[i]
		if run == nil || at < run.h.start || at >= run.h.end {
			h := db.headLocked(s, &s.heads, at)
			h.grow(len(s.keys))
			job.runs = append(job.runs, applyRun{h: h, series: h.series})
			run = &job.runs[len(job.runs)-1]
		}
		run.end = i + 1
		seen = max(seen, at)
	}
	db.see(seen)
	n := 1
	if len(refs) >= shareSamples {
		n = len(db.coders)
	}
	var wg sync.WaitGroup
	var found [lateShards]int
	for k := 1; k < n; k++ {
		wg.Go(func() { found[k] = job.apply(uint32(k), uint32(n), &db.coders[k]) })
	}
	duplicates = job.apply(0, uint32(n), &db.coders[0])
	wg.Wait()
	for k := range n {
		duplicates += found[k]
		db.stats.duplicates.Add(db.coders[k].duplicates)
		db.coders[k].duplicates = 0
	}
	db.stats.duplicates.Add(uint64(duplicates))
	clear(job.runs) // heads that are gone must not stay
	job.refs, job.t, job.v, job.runs = nil, nil, nil, job.runs[:0]
	return duplicates
}

// shareSamples is how many samples are worth another goroutine.
const shareSamples = 2048

// An applyJob is samples with the heads they belong to.
type applyJob struct {
	refs []Ref
	t    []int64
	v    []float64
	runs []applyRun
	left atomic.Int32 // appliers of replay that are not done
}

// An applyRun is samples before end, from the end of the run before, of a head.
type applyRun struct {
	end    int
	h      *head
	series []headSeries
}

// apply puts the samples with ordinals that leave mine modulo n into their
// heads, and counts those that replaced another at once. N divides lateShards.
func (job *applyJob) apply(mine, n uint32, c *headCoder) (duplicates int) {
	i := 0
	for _, run := range job.runs {
		refs, t, v := job.refs[i:run.end], job.t[i:run.end], job.v[i:run.end]
		for j, ref := range refs {
			if ord := uint32(ref); ord&(n-1) == mine && run.h.add(&run.series[ord], ord, c, t[j], v[j]) {
				duplicates++
			}
		}
		i = run.end
	}
	return duplicates
}

// newCoders returns one for each core that applies samples: a divisor of
// lateShards.
func newCoders() []headCoder {
	n := 1
	for n*2 <= min(runtime.GOMAXPROCS(0), lateShards) {
		n *= 2
	}
	return make([]headCoder, n)
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
