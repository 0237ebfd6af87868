package tsdb

import (
	"context"
	"fmt"
	"slices"
)

// Delete removes the samples and log lines in the range of all series that the
// matchers accept. At least one matcher is required: to delete everything, say
// Re(SourceLabel, ".*"). Nil means that the delete is durable, at every level of
// [Options.Sync]. Samples appended afterwards are not affected.
//
// Sealed chunks keep the bytes until they are merged or expire. Of rollups whose
// samples have expired, records that begin in the range go.
func (db *DB) Delete(ctx context.Context, r Range, ms ...Matcher) error {
	if len(ms) == 0 {
		return fmt.Errorf("%w: delete without a matcher", ErrInvalid)
	}
	for i := range ms {
		if err := ms[i].check(); err != nil {
			return err
		}
	}
	if r.From >= r.To {
		return fmt.Errorf("%w: range [%d, %d)", ErrInvalid, r.From, r.To)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	db.maint.Lock()
	defer db.maint.Unlock()
	db.app.Lock()
	defer db.app.Unlock()
	if db.closed.Load() {
		return ErrClosed
	}
	t := tombstone{id: db.man.nextTomb, maxChunk: db.man.nextChunk - 1, rng: r, ms: slices.Clone(ms)}
	db.rec = t.append(append(db.rec[:0], recDelete))
	end, err := db.logLocked(nil)
	if err != nil {
		return err
	}
	db.mu.Lock()
	db.deleteFromHeadsLocked(&t)
	db.mu.Unlock()
	if err := walError(db.log.Sync(ctx, end)); err != nil {
		return err
	}
	man := *db.man
	man.tombs = append(slices.Clone(man.tombs), t)
	man.nextTomb++
	return db.commit(&man)
}

// deleteFromHeadsLocked removes from memory what a tombstone deletes.
func (db *DB) deleteFromHeadsLocked(t *tombstone) {
	c := &db.coders[0]
	var w headView
	for _, s := range db.sources {
		heads := slices.Clone(s.heads)
		logs := slices.Clone(s.logs)
		for _, h := range s.frozen {
			if h.kind == chunkLogs {
				logs = append(logs, h.head)
			} else {
				heads = append(heads, h.head)
			}
		}
		for _, h := range heads {
			if !t.rng.overlaps(h.start, h.end-1) {
				continue
			}
			for ord := range h.series {
				if !h.view(uint32(ord), &w) || !matchKey(s.name, s.keys[ord], t.ms) {
					continue
				}
				at, v := w.samples(c)
				n := len(at)
				if at, v = cut(at, v, t.rng); len(at) < n {
					h.set(uint32(ord), c, at, v)
				}
			}
		}
		for _, h := range logs {
			if t.rng.overlaps(h.start, h.end-1) {
				kept := make([]logEntry, 0, len(h.logs)) // readers may have the old slice
				for _, l := range h.logs {
					if l.t < t.rng.From || l.t >= t.rng.To || !matchKey(s.name, s.keys[l.ord], t.ms) {
						kept = append(kept, l)
					}
				}
				h.logs = kept
			}
		}
	}
	db.stats.duplicates.Add(c.duplicates)
	c.duplicates = 0
}
