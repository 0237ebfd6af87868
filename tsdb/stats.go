package tsdb

import (
	"cmp"
	"slices"
)

// Stats is a snapshot of what a DB has done since [Open], and of what it holds.
type Stats struct {
	Appended   uint64 // samples accepted
	Duplicates uint64 // samples that replaced one of the same time, or were replaced; found at the latest by merging
	TooOld     uint64 // samples refused
	Future     uint64 // samples refused
	Unknown    uint64 // samples refused
	LogLines   uint64 // accepted

	Seals, Merges, Expired, Archived uint64 // chunks
	Corrupt                          uint64 // reads that met damage
	MaintainErr                      error  // of the last maintenance, or nil

	Sources   int
	Series    int   // that count for the limit
	HeadBytes int64 // estimate of the memory of heads
	Heads     int
	Chunks    int
	ChunkSize int64 // bytes of local chunk files
	LogSize   int64 // bytes of the write-ahead log
	LogSyncs  uint64
}

// Stats returns a snapshot. It does not wait for the disk.
func (db *DB) Stats() Stats {
	c := &db.stats
	st := Stats{
		Appended: c.appended.Load(), Duplicates: c.duplicates.Load(), TooOld: c.tooOld.Load(), Future: c.future.Load(),
		Unknown: c.unknown.Load(), LogLines: c.logLines.Load(), Seals: c.seals.Load(), Merges: c.merges.Load(),
		Expired: c.expired.Load(), Archived: c.archived.Load(), Corrupt: c.corrupt.Load(),
	}
	if err := c.maintErr.Load(); err != nil {
		st.MaintainErr = *err
	}
	log := db.log.Stats()
	st.LogSize, st.LogSyncs = int64(log.End-log.Head), log.Syncs
	db.mu.RLock()
	defer db.mu.RUnlock()
	st.Sources, st.Series, st.HeadBytes = len(db.sources), db.nSeries, db.headBytesLocked()
	for _, s := range db.sources {
		st.Heads += len(s.heads) + len(s.logs) + len(s.frozen)
		st.Chunks += len(s.chunks)
		for _, c := range s.chunks {
			if !c.info.archived {
				st.ChunkSize += c.info.size
			}
		}
	}
	return st
}

// A TopLabel says how much a label contributes to the number of series.
type TopLabel struct {
	Name   string
	Values int    // different values
	Series int    // that have it
	Common string // the most frequent value
	Times  int    // in how many series
}

// TopLabels returns the n labels with the most different values among the series
// that count for the limit, the source among them: who is to blame when they are
// too many. It looks at every series.
func (db *DB) TopLabels(n int) []TopLabel {
	db.mu.RLock()
	sources := slices.Clone(db.sources)
	keys := make([][]string, len(sources))
	for i, s := range sources {
		keys[i] = s.keys
	}
	db.mu.RUnlock()
	counts := map[string]map[string]int{}
	note := func(name, value string) {
		if counts[name] == nil {
			counts[name] = map[string]int{}
		}
		counts[name][value]++
	}
	for i, s := range sources {
		for _, key := range keys[i] {
			if key == gone {
				continue
			}
			note(SourceLabel, s.name)
			for key != "" {
				name, value, rest, ok := nextLabel(key)
				if !ok {
					break
				}
				note(name, value)
				key = rest
			}
		}
	}
	var out []TopLabel
	for name, values := range counts {
		t := TopLabel{Name: name, Values: len(values)}
		for v, times := range values {
			t.Series += times
			if times > t.Times || times == t.Times && v < t.Common {
				t.Common, t.Times = v, times
			}
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b TopLabel) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(b.Series, a.Series), cmp.Compare(a.Name, b.Name))
	})
	return out[:min(n, len(out))]
}
