package tsdb

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// lateGrace is how long after the end of its range a head stays open, or after
// it was made for a range long over.
const lateGrace = 10 * time.Minute

func (db *DB) maintainLoop(ctx context.Context) {
	defer db.stopped.Done()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-db.wake:
		}
		if err := db.Maintain(ctx); err != nil && ctx.Err() == nil {
			db.warn("maintenance failed, it will be tried again", err)
			select { // a full disk is not asked again at once
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// Maintain does what is due: it seals heads whose range has passed, and the
// largest ones while they take more memory than their budget; merges the chunks
// of finished ranges, makes rollups, archives, and unlinks what has expired.
// Unless [Options.Manual] is set it runs by itself. What fails is tried again by
// the next call; nothing is lost by it.
func (db *DB) Maintain(ctx context.Context) error {
	return db.maintain(ctx, false)
}

// Seal makes chunks of all that is in memory, then does what [DB.Maintain] does.
// Use it before a backup, or in tests.
func (db *DB) Seal(ctx context.Context) error {
	return db.maintain(ctx, true)
}

func (db *DB) maintain(ctx context.Context, all bool) error {
	db.maint.Lock()
	defer db.maint.Unlock()
	if db.closed.Load() && ctx.Err() == nil {
		return ErrClosed
	}
	db.makeReserve()
	var errs []error
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return db.sealDue(ctx, all) },
		db.mergeRanges, db.rollUp, db.expire, db.archive,
	} {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		if err := step(ctx); err != nil {
			errs = append(errs, noSpace(err))
		}
	}
	db.forget()
	db.truncateLog()
	err := errors.Join(errs...)
	db.stats.maintErr.Store(&err)
	return err
}

// sealOnly seals what is due, and nothing else.
func (db *DB) sealOnly(ctx context.Context) error {
	db.maint.Lock()
	defer db.maint.Unlock()
	if db.closed.Load() && ctx.Err() == nil {
		return ErrClosed
	}
	err := noSpace(db.sealDue(ctx, false))
	db.truncateLog()
	return err
}

// sealDue seals what is due, or everything.
func (db *DB) sealDue(ctx context.Context, all bool) error {
	db.freeze(all)
	for _, s := range db.allSources() {
		for len(s.frozen) > 0 { // changed under maint only
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := db.seal(s, s.frozen[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (db *DB) allSources() []*source {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return slices.Clone(db.sources)
}

// freeze closes the heads that are due to new samples.
func (db *DB) freeze(all bool) {
	db.app.Lock()
	defer db.app.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	type candidate struct {
		s    *source
		kind chunkKind
		h    *head
	}
	var open []candidate
	for _, s := range db.sources {
		for _, h := range s.heads {
			open = append(open, candidate{s, chunkSamples, h})
		}
		for _, h := range s.logs {
			open = append(open, candidate{s, chunkLogs, h})
		}
	}
	slices.SortFunc(open, func(a, b candidate) int { return int(b.h.size() - a.h.size()) })
	total := db.headBytesLocked()
	goal := total
	if total > db.opts.HeadBytes {
		goal = db.opts.HeadBytes / 2
	}
	oldEpoch := uint64(0)
	if db.log.End()-db.log.Head() > uint64(db.opts.LogBytes) {
		oldEpoch = db.epoch
		for _, c := range open {
			oldEpoch = min(oldEpoch, c.h.epoch)
		}
	}
	now, born := db.seen.Load()-lateGrace.Milliseconds(), db.opts.Now().Add(-lateGrace)
	any := false
	for _, c := range open {
		due := all || total > goal || c.h.epoch <= oldEpoch || c.h.end <= now && !c.h.born.After(born)
		if !due {
			continue
		}
		total -= c.h.size()
		c.h.pos = db.log.End()
		list := &c.s.heads
		if c.kind == chunkLogs {
			list = &c.s.logs
		}
		i := slices.Index(*list, c.h)
		*list = slices.Delete(slices.Clone(*list), i, i+1)
		c.s.frozen = append(slices.Clone(c.s.frozen), frozenHead{c.kind, c.h})
		any = true
	}
	if any {
		db.epoch++
		db.epochs = append(db.epochs, epochStart{epoch: db.epoch})
		db.ages = append(db.ages, epochAge{db.epoch, db.opts.Now()})
	}
}

// seal makes a chunk of a frozen head.
func (db *DB) seal(s *source, h frozenHead) error {
	info := chunkInfo{kind: h.kind, source: s.name, rng: Range{h.start, h.end}}
	info, err := db.writeChunk(info, func(w *chunkWriter) error {
		if h.kind == chunkLogs {
			return db.writeLogs(w, s, h.head)
		}
		return db.writeSamples(w, s, h.head)
	})
	if err != nil {
		return err
	}
	man := *db.man
	// A mark must not speak of positions that a power cut may give to other
	// records. Without one replay brings back what the chunk has, which is
	// harmless.
	if err := db.log.Sync(context.Background(), h.pos); err == nil {
		man.marks = append(slices.Clone(man.marks), mark{headKey{h.kind, s.name, h.start}, h.pos})
	}
	if err := db.replaceChunks(&man, nil, info); err != nil {
		return err
	}
	db.mu.Lock()
	s.frozen = slices.DeleteFunc(slices.Clone(s.frozen), func(f frozenHead) bool { return f.head == h.head })
	db.mu.Unlock()
	db.stats.seals.Add(1)
	return nil
}

// writeChunk writes and publishes a chunk file under a new number. If nothing
// was written into it, info.samples is zero and there is no file.
func (db *DB) writeChunk(info chunkInfo, fill func(*chunkWriter) error) (chunkInfo, error) {
	info.id = db.man.nextChunk
	dir := filepath.Join(db.dir, "chunks")
	name := filepath.Join(dir, chunkName(info.id))
	for _, old := range []string{name, name + ".tmp"} { // of a try that failed
		_ = db.fs.Remove(old)
	}
	f, err := db.fs.Create(name + ".tmp")
	if err != nil {
		return info, err
	}
	w := newChunkWriter(f, info)
	if err = fill(w); err == nil && w.info.series > 0 {
		info, err = w.finish()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil || w.info.series == 0 {
		_ = db.fs.Remove(name + ".tmp")
		return info, err
	}
	if err := db.fs.Rename(name+".tmp", name); err != nil {
		_ = db.fs.Remove(name + ".tmp")
		return info, err
	}
	return info, db.fs.SyncDir(dir)
}

// replaceChunks commits man with chunks removed and others added, which take
// effect for readers at the same time. Chunks without samples are not added.
func (db *DB) replaceChunks(man *manifest, remove []*chunk, add ...chunkInfo) error {
	gone := map[uint64]bool{}
	for _, c := range remove {
		gone[c.info.id] = true
	}
	man.chunks = slices.DeleteFunc(slices.Clone(man.chunks), func(c chunkInfo) bool { return gone[c.id] })
	for _, info := range add {
		if info.samples > 0 {
			man.chunks = append(man.chunks, info)
			man.nextChunk = max(man.nextChunk, info.id+1)
		}
	}
	if err := db.commit(man); err != nil {
		return err
	}
	db.mu.Lock()
	for _, c := range remove {
		s := db.byName[c.info.source]
		s.chunks = slices.DeleteFunc(slices.Clone(s.chunks), func(o *chunk) bool { return o == c })
	}
	for _, info := range add {
		if info.samples > 0 {
			s := db.byName[info.source]
			s.chunks = append(slices.Clip(s.chunks), &chunk{info: info, db: db})
		}
	}
	db.mu.Unlock()
	for _, c := range remove {
		db.cache.forget(c)
		c.remove()
	}
	return nil
}

// commit writes the manifest. Tombstones that no chunk needs and marks of what
// the log no longer holds are left out. The caller holds maint.
func (db *DB) commit(man *manifest) error {
	man.tombs = slices.DeleteFunc(slices.Clone(man.tombs), func(t tombstone) bool {
		return !slices.ContainsFunc(man.chunks, func(c chunkInfo) bool {
			return c.id <= t.maxChunk && t.rng.overlaps(c.minT, c.maxT)
		})
	})
	head := db.logHead()
	man.marks = slices.DeleteFunc(slices.Clone(man.marks), func(m mark) bool { return m.pos <= head })
	man.seq++
	err := man.save(db.fs, db.dir)
	if errors.Is(err, vfs.ErrNoSpace) && db.reserve {
		// Room for what makes room: retention.
		if db.fs.Remove(filepath.Join(db.dir, "RESERVE")) == nil {
			db.reserve = false
			err = man.save(db.fs, db.dir)
		}
	}
	if err != nil {
		db.man.seq = man.seq // it may be on the disk
		return noSpace(err)
	}
	db.man = man
	db.mu.Lock()
	db.tombs = man.tombs
	db.mu.Unlock()
	return nil
}

func (db *DB) logHead() uint64 {
	if db.log == nil {
		return 0
	}
	return db.log.Head()
}

// makeReserve makes the file that is given up when the disk is full.
func (db *DB) makeReserve() {
	const size = 256 << 10
	name := filepath.Join(db.dir, "RESERVE")
	if n, err := db.fs.Stat(name); err == nil && n == size {
		db.reserve = true
		return
	}
	_ = db.fs.Remove(name)
	db.reserve = false
	f, err := db.fs.Create(name)
	if err != nil {
		return
	}
	err = vfs.ZeroFill(f, 0, size)
	f.Close()
	if err != nil {
		_ = db.fs.Remove(name)
		return
	}
	db.reserve = true
}

// sortedOrds returns the ordinals of keys in the order of the keys.
func sortedOrds(keys []string, has func(ord uint32) bool) []uint32 {
	var ords []uint32
	for i := range keys {
		if has(uint32(i)) {
			ords = append(ords, uint32(i))
		}
	}
	slices.SortFunc(ords, func(a, b uint32) int { return strings.Compare(keys[a], keys[b]) })
	return ords
}

// sourceKeys returns the keys of a source as they are now.
func (db *DB) sourceKeys(s *source) []string {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return s.keys
}

func (db *DB) writeSamples(w *chunkWriter, s *source, h *head) error {
	keys := db.sourceKeys(s)
	c := &db.scratch
	var view headView
	for _, ord := range sortedOrds(keys, func(ord uint32) bool { return int(ord) < len(h.series) && !h.series[ord].empty() }) {
		h.view(ord, &view) // a frozen head does not change
		t, v := view.samples(c)
		w.begin(keys[ord])
		if err := w.samples(c, t, v); err != nil {
			return err
		}
		w.end()
	}
	db.stats.duplicates.Add(c.duplicates)
	c.duplicates = 0
	return nil
}

// samples writes blocks of nearly equal size.
func (w *chunkWriter) samples(c *headCoder, t []int64, v []float64) error {
	hint := [1]int{}
	for n := (len(t) + maxBlock - 1) / maxBlock; n > 0; n-- {
		size := (len(t) + n - 1) / n
		m := blockMeta{minT: t[0], maxT: t[size-1], n: uint32(size), sum: summarize(v[:size])}
		err := w.block(m, func(dst []byte) []byte { return c.appendBlock(dst, t[:size], hint[:], v[:size]) })
		if err != nil {
			return err
		}
		t, v = t[size:], v[size:]
	}
	return nil
}

// rangeKey names the chunks that are merged with each other.
type rangeKey struct {
	kind chunkKind
	step int64
	rng  Range
}

// ranges groups the chunks of a source. The caller holds maint, so that nobody
// else changes the list.
func ranges(s *source) map[rangeKey][]*chunk {
	out := map[rangeKey][]*chunk{}
	for _, c := range s.chunks {
		k := rangeKey{c.info.kind, c.info.step, c.info.rng}
		out[k] = append(out[k], c)
	}
	return out
}

func (db *DB) finished(r Range) bool {
	return r.To <= db.seen.Load()-lateGrace.Milliseconds() || r.To <= db.oldest(db.opts.Retention)
}

// mergeRanges merges the chunks of ranges that are finished, and rewrites those
// that tombstones delete from.
func (db *DB) mergeRanges(ctx context.Context) error {
	for _, s := range db.allSources() {
		for k, chunks := range ranges(s) {
			if k.kind == chunkRollup || !db.finished(k.rng) || k.rng.To <= db.oldest(db.opts.Retention) && len(db.opts.Rollups) == 0 {
				continue
			}
			local := slices.DeleteFunc(slices.Clone(chunks), func(c *chunk) bool { return c.info.archived })
			if len(local) == 0 || len(local) < 2 && !db.buried(s, local) || len(local) < len(chunks) && chunks[len(chunks)-1].info.archived {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := db.merge(ctx, s, k, local); err != nil {
				if errors.Is(err, ErrCorrupt) {
					db.warn("chunks are not merged", err) // a merge would hide the damage
					continue
				}
				return err
			}
		}
	}
	return nil
}

// buried reports whether a tombstone deletes from one of the chunks.
func (db *DB) buried(s *source, chunks []*chunk) bool {
	for _, c := range chunks {
		for i := range db.man.tombs {
			if t := &db.man.tombs[i]; t.maxChunk >= c.info.id && t.rng.overlaps(c.info.minT, c.info.maxT) {
				c.hold()
				x, err := c.index()
				found := false
				if err == nil {
					_, found = deadIn(x, s.name, t)
				}
				c.release()
				if found {
					return true
				}
			}
		}
	}
	return false
}

// queryChunks prepares a query over certain chunks of a source.
func (db *DB) queryChunks(ctx context.Context, kind chunkKind, chunks []*chunk) *query {
	q := &query{db: db, ctx: ctx, rng: All, kind: kind, buf: queryBufs.Get().(*queryBuf)}
	for _, c := range chunks {
		c.hold()
		q.parts = append(q.parts, part{chunk: c})
	}
	return q
}

func (q *query) close() {
	q.leave()
	queryBufs.Put(q.buf)
}

// findSorted finds all series, by key. Damage is an error.
func (q *query) findSorted(s *source) ([]entry, error) {
	entries, errs := q.find(s, nil, q.db.man.tombs)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

func (db *DB) merge(ctx context.Context, s *source, k rangeKey, chunks []*chunk) error {
	q := db.queryChunks(ctx, k.kind, chunks)
	defer q.close()
	entries, err := q.findSorted(s)
	if err != nil {
		return err
	}
	info, err := db.writeChunk(chunkInfo{kind: k.kind, source: s.name, rng: k.rng}, func(w *chunkWriter) error {
		var t []int64
		var v []float64
		for i := range entries {
			w.begin(entries[i].key)
			if k.kind == chunkLogs {
				if err := q.mergeLogs(w, &entries[i]); err != nil {
					return err
				}
				w.end()
				continue
			}
			t, v = t[:0], v[:0]
			var bad error
			q.walk(&entries[i], entries[i].key, nil, func(bt []int64, bv []float64, err error) bool {
				t, v = append(t, bt...), append(v, bv...)
				bad = err
				return err == nil
			})
			if bad != nil {
				return bad
			}
			if err := w.samples(&db.scratch, t, v); err != nil {
				return err
			}
			w.end()
		}
		return nil
	})
	if err != nil {
		return err
	}
	man := *db.man
	if err := db.replaceChunks(&man, chunks, info); err != nil {
		return err
	}
	db.stats.merges.Add(1)
	db.stats.duplicates.Add(q.duplicates)
	return nil
}

// rollUp makes the rollups of finished ranges that lack one, or whose chunk has
// changed since.
func (db *DB) rollUp(ctx context.Context) error {
	for _, s := range db.allSources() {
		all := ranges(s)
		for k, chunks := range all {
			if k.kind != chunkSamples || !db.finished(k.rng) {
				continue
			}
			var ids []uint64
			for _, c := range chunks {
				ids = append(ids, c.info.id)
			}
			for _, r := range db.opts.Rollups {
				step := r.Step.Milliseconds()
				old := all[rangeKey{chunkRollup, step, k.rng}]
				if len(old) == 1 && slices.Equal(old[0].info.from, ids) || k.rng.To <= db.oldest(r.Keep) || (k.rng.To-k.rng.From)%step != 0 {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := db.rollUpRange(ctx, s, k, step, chunks, ids, old); err != nil {
					if errors.Is(err, ErrCorrupt) {
						db.warn("no rollup is made", err)
						continue
					}
					return err
				}
			}
		}
	}
	return nil
}

func (db *DB) rollUpRange(ctx context.Context, s *source, k rangeKey, step int64, chunks []*chunk, ids []uint64, old []*chunk) error {
	q := db.queryChunks(ctx, chunkSamples, chunks)
	defer q.close()
	entries, err := q.findSorted(s)
	if err != nil {
		return err
	}
	info := chunkInfo{kind: chunkRollup, source: s.name, rng: k.rng, step: step, from: ids}
	a := aggregator{step: step}
	info, err = db.writeChunk(info, func(w *chunkWriter) error {
		for i := range entries {
			a.reset()
			q.walk(&entries[i], entries[i].key, a.short, a.add)
			if a.err != nil {
				return a.err
			}
			w.begin(entries[i].key)
			if err := w.buckets(&db.scratch, a.out); err != nil {
				return err
			}
			w.end()
		}
		return nil
	})
	if err != nil {
		return err
	}
	man := *db.man
	return db.replaceChunks(&man, old, info)
}

// buckets writes blocks of a rollup.
func (w *chunkWriter) buckets(c *headCoder, out []Bucket) error {
	var hints [rollupColumns]int
	for len(out) > 0 {
		n := min(len(out), maxBlock)
		t := c.t[:n]
		var cols [rollupColumns][]float64
		for i, b := range out[:n] {
			t[i] = b.T
			for j, v := range [...]float64{float64(b.Count), b.Sum, b.Min, b.Max, b.First, b.Last} {
				cols[j] = append(cols[j], v)
			}
		}
		m := blockMeta{minT: t[0], maxT: t[n-1], n: uint32(n)}
		if err := w.block(m, func(dst []byte) []byte { return c.appendBlock(dst, t, hints[:], cols[:]...) }); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// expire unlinks chunks that hold nothing that is kept.
func (db *DB) expire(ctx context.Context) error {
	var remove []*chunk
	for _, s := range db.allSources() {
		for _, c := range s.chunks {
			keep := db.opts.Retention
			if c.info.kind == chunkRollup {
				keep = 0
				for _, r := range db.opts.Rollups {
					if r.Step.Milliseconds() == c.info.step {
						keep = r.Keep
					}
				}
			}
			if c.info.rng.To <= db.oldest(keep) && (!c.info.archived || db.opts.Archive != nil) {
				remove = append(remove, c)
			}
		}
	}
	// Objects first: what the manifest has forgotten, nobody would delete any more. One
	// that cannot be deleted now is tried again with its chunk.
	var errs []error
	remove = slices.DeleteFunc(remove, func(c *chunk) bool {
		if !c.info.archived {
			return false
		}
		err := db.opts.Archive.Delete(ctx, db.archiveKey(&c.info))
		if errors.Is(err, blob.ErrNotFound) {
			err = nil
		}
		errs = append(errs, err)
		return err != nil
	})
	if len(remove) > 0 {
		man := *db.man
		if err := db.replaceChunks(&man, remove); err != nil {
			return errors.Join(append(errs, err)...)
		}
		db.stats.expired.Add(uint64(len(remove)))
	}
	return errors.Join(errs...)
}

// forget drops series that no head has and that were last appended to in epochs
// of the log that ended longer ago than a chunk spans.
func (db *DB) forget() {
	db.app.Lock()
	defer db.app.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	limit := db.opts.Now().Add(-db.opts.ChunkRange)
	for len(db.ages) > 1 && !db.ages[1].at.After(limit) {
		db.ages = db.ages[1:]
	}
	first := db.ages[0]
	if first.at.After(limit) {
		return
	}
	for _, s := range db.sources {
		idle := func(ord int) bool {
			return s.keys[ord] != gone && s.defs[ord] != 0 && s.defs[ord] < first.epoch
		}
		n := 0
		for ord := range s.keys {
			if idle(ord) {
				n++
			}
		}
		if n == 0 {
			continue
		}
		used := make([]bool, len(s.keys))
		note := func(h *head) {
			for ord := range h.series {
				used[ord] = used[ord] || !h.series[ord].empty()
			}
			for _, l := range h.logs {
				used[l.ord] = true
			}
		}
		for _, h := range s.heads {
			note(h)
		}
		for _, h := range s.logs {
			note(h)
		}
		for _, h := range s.frozen {
			note(h.head)
		}
		var keys []string
		for ord := range s.keys {
			if idle(ord) && !used[ord] {
				if keys == nil {
					keys = slices.Clone(s.keys)
				}
				keys[ord] = gone
				db.nSeries--
			}
		}
		if keys != nil {
			s.keys, s.byKey, s.index = keys, newKeyTable(keys), nil
		}
	}
}

// truncateLog cuts off what of the log is in chunks.
func (db *DB) truncateLog() {
	db.app.Lock()
	defer db.app.Unlock()
	db.mu.RLock()
	need := db.epoch
	for _, s := range db.sources {
		for _, h := range s.heads {
			need = min(need, h.epoch)
		}
		for _, h := range s.logs {
			need = min(need, h.epoch)
		}
		for _, h := range s.frozen {
			need = min(need, h.epoch)
		}
	}
	db.mu.RUnlock()
	for len(db.epochs) > 1 && db.epochs[0].epoch < need {
		db.epochs = db.epochs[1:]
	}
	pos := db.epochs[0].pos
	for _, e := range db.epochs { // one without records begins with the next
		if pos = e.pos; pos != 0 {
			break
		}
	}
	if pos == 0 {
		pos = db.log.End()
	}
	if pos <= db.log.Head() {
		return
	}
	if _, err := db.log.TruncateBefore(pos); err != nil {
		db.warn("the log was not cut", err)
	}
}
