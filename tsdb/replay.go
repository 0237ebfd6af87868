package tsdb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ashlar-go/ashlar/internal/wal"
)

// replay applies what the log holds.
func (db *DB) replay() error {
	marks := map[headKey]uint64{}
	for _, m := range db.man.marks {
		marks[m.headKey] = max(marks[m.headKey], m.pos)
	}
	r := &replayer{db: db, refs: refTable{sparse: map[Ref]Ref{}}, marks: marks, apply: startAppliers(db)}
	defer r.apply.stop()
	for rec, err := range db.log.Replay(0) {
		if err != nil {
			if errors.Is(err, wal.ErrCorrupt) {
				db.damaged(fmt.Errorf("%w: log: %w", ErrCorrupt, err))
				continue
			}
			return err
		}
		if err := r.record(rec); err != nil {
			db.report.LostRecords++
			db.damaged(fmt.Errorf("log at %d: %w", rec.Pos, err))
		}
	}
	return nil
}

// A replayer reads the log and hands its samples to appliers.
type replayer struct {
	db    *DB
	refs  refTable
	marks map[headKey]uint64
	apply *appliers
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

// record applies a record. What an error says concerns this record alone.
func (r *replayer) record(rec wal.Record) error {
	if len(rec.Data) == 0 {
		return fmt.Errorf("%w: empty record", ErrCorrupt)
	}
	db, body := r.db, rec.Data[1:]
	switch rec.Data[0] {
	case recSeries:
		return decodeSeries(body, func(ref Ref, name, key string) {
			s := db.sourceLocked(name)
			hash := keyHash(key)
			ord, ok := findKey(s.byKey, s.keys, hash, key)
			if !ok {
				ord = db.addSeriesLocked(s, strings.Clone(key), hash)
			}
			s.defs[ord] = db.epoch
			r.refs.set(ref, makeRef(s, ord))
		})
	case recSamples:
		return r.samples(rec.Pos, body)
	case recDelete:
		r.apply.wait()
		rd := reader{b: body}
		var t tombstone
		t.read(&rd)
		if rd.err {
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
		return nil
	case recLogs:
		return r.logs(rec.Pos, body)
	}
	return fmt.Errorf("%w: record of kind %d", ErrCorrupt, rec.Data[0])
}

func (r *replayer) samples(pos uint64, body []byte) error {
	db, job := r.db, r.apply.job()
	begin := len(job.refs)
	refs, t, v, err := decodeSamples(job.refs, job.t, job.v, body)
	if err != nil {
		return err
	}
	n, lost := begin, 0
	for i := begin; i < len(refs); i++ {
		ours, ok := r.refs.get(refs[i])
		if !ok || t[i] < minTime || t[i] >= maxTime {
			lost++
			continue
		}
		if len(r.marks) > 0 {
			s := db.sources[ours>>32]
			if pos < r.marks[headKey{chunkSamples, s.name, t[i] - mod(t[i], db.span)}] {
				continue
			}
		}
		refs[n], t[n], v[n] = ours, t[i], v[i]
		n++
	}
	job.refs, job.t, job.v = refs[:n], t[:n], v[:n]
	r.apply.added(begin)
	db.report.Replayed += uint64(n - begin)
	if lost > 0 {
		return fmt.Errorf("%w: %d of %d samples belong to series whose definition is lost", ErrCorrupt, lost, len(refs)-begin)
	}
	return nil
}

func (r *replayer) logs(pos uint64, body []byte) error {
	db := r.db
	lines, err := decodeLogs(body)
	if err != nil {
		return err
	}
	kept := lines[:0]
	lost := 0
	for _, l := range lines {
		ours, ok := r.refs.get(l.Ref)
		if !ok || l.T < minTime || l.T >= maxTime {
			lost++
			continue
		}
		if pos < r.marks[headKey{chunkLogs, db.sources[ours>>32].name, l.T - mod(l.T, db.span)}] {
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
	return nil
}

// Appliers put samples into heads while the log is read on. Each has its own
// series, by their ordinals, so that the samples of a series keep their order.
// The reader makes all that they share, heads and their lists of series, and
// waits for them before it changes a list that they may be using:
//
//	log ─► decode, find refs and heads ─► job ─┬─► applier: even ordinals
//	                                           └─► applier: odd ordinals
//
// There are as many as divide lateShards, so that each has its own lateLogs.
type appliers struct {
	db      *DB
	queues  []chan *applyJob
	free    chan *applyJob
	open    *applyJob // being filled; nil: none
	pending sync.WaitGroup
	ended   sync.WaitGroup
	coders  []headCoder
	found   [lateShards]int // duplicates
}

const (
	jobSamples = 16 << 10 // after which a job is handed on
	jobsAtOnce = 4
)

func startAppliers(db *DB) *appliers {
	a := &appliers{db: db, free: make(chan *applyJob, jobsAtOnce)}
	for range jobsAtOnce {
		a.free <- new(applyJob)
	}
	a.coders = newCoders()
	a.queues = make([]chan *applyJob, len(a.coders))
	for i := range a.queues {
		a.queues[i] = make(chan *applyJob, jobsAtOnce)
		a.ended.Go(func() { a.run(uint32(i)) })
	}
	return a
}

func (a *appliers) run(mine uint32) {
	n := uint32(len(a.coders))
	for job := range a.queues[mine] {
		a.found[mine] += job.apply(mine, n, &a.coders[mine])
		if job.left.Add(-1) == 0 {
			a.free <- job
		}
		a.pending.Done()
	}
}

// job returns the job to add samples to.
func (a *appliers) job() *applyJob {
	if a.open == nil {
		a.open = <-a.free
		a.open.refs, a.open.t, a.open.v, a.open.runs = a.open.refs[:0], a.open.t[:0], a.open.v[:0], a.open.runs[:0]
	}
	return a.open
}

// added finds the heads of the samples from begin on, and hands the job on once
// it is large.
func (a *appliers) added(begin int) {
	job, db := a.open, a.db
	seen := int64(minTime)
	var run *applyRun
	var s *source
	for i := begin; i < len(job.refs); i++ {
		ref, at := job.refs[i], job.t[i]
		seen = max(seen, at)
		if s == nil || s.number != uint32(ref>>32) {
			s, run = db.sources[ref>>32], nil
		}
		if run == nil || at < run.h.start || at >= run.h.end {
			job.runs = append(job.runs, applyRun{h: db.headLocked(s, &s.heads, at)})
			run = &job.runs[len(job.runs)-1]
			run.series = run.h.series
		}
		if ord := int(uint32(ref)); ord >= len(run.series) {
			run = a.grow(run, len(s.keys))
		}
		run.end = i + 1
	}
	db.see(seen)
	if len(job.refs) >= jobSamples {
		a.flush()
	}
}

// grow makes room for n series in the head of the open job's last run, which is
// returned.
func (a *appliers) grow(run *applyRun, n int) *applyRun {
	h := run.h
	if n > cap(h.series) {
		a.pending.Wait() // the list will be another
	}
	h.grow(n)
	for i := range a.open.runs {
		if r := &a.open.runs[i]; r.h == h {
			r.series = h.series
		}
	}
	return run
}

func (a *appliers) flush() {
	job := a.open
	a.open = nil
	if job == nil {
		return
	}
	job.left.Store(int32(len(a.queues)))
	a.pending.Add(len(a.queues))
	for _, q := range a.queues {
		q <- job
	}
}

// wait returns when all samples are in their heads.
func (a *appliers) wait() {
	a.flush()
	a.pending.Wait()
}

func (a *appliers) stop() {
	a.flush()
	for _, q := range a.queues {
		close(q)
	}
	a.ended.Wait()
	for i := range a.coders {
		a.db.stats.duplicates.Add(a.coders[i].duplicates + uint64(a.found[i]))
	}
}
