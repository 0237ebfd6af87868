package tsdb

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ashlar-go/ashlar/internal/wal"
)

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
