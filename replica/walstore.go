package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/wal"
)

// A walStore keeps the engine's log, and its term and vote, in one write-ahead
// log. Its entries have no gaps. It is safe for concurrent use by multiple
// goroutines.
//
// The log below keeps a prefix of what was written: if a record survives, so do
// all before it. Everything here rests on that order:
//
//   - Removing entries at the end appends a note that makes them void. An entry
//     that takes the place of another comes after the note, so it is on disk only
//     if the note is.
//   - Removing entries at the beginning first appends term and vote again, and
//     then moves the log's head: who finds the head moved finds them too.
//
// The engine stores a gap in one case only: a snapshot from the leader went beyond
// the log's end, and the entry after the snapshot follows. Then all older entries
// become void in the same write. Any other gap is refused. (The engine would clear
// the log by itself if IsMonotonic said so. But it does that for every snapshot,
// also for a late second copy of one, after which the node has acknowledged
// further entries; clearing those would break the promise.)
//
// An Append is durable after the next Flush; all other changes are durable when
// they return. Memory: 8 bytes for each entry, and the newest entries up to 32
// MiB.
type walStore struct {
	log *wal.Log
	// covered returns up to which index a snapshot on disk holds everything. Nil:
	// there are no snapshots.
	covered func() uint64

	// change is held while appending to the log, and guards batch and buf.
	change sync.Mutex
	batch  wal.Batch
	buf    []byte

	mu     sync.RWMutex // guards the rest; taken after change
	index  positions
	recent recent
	stable map[string]stableValue
}

type stableValue struct {
	val []byte // not changed once stored
	end uint64 // durable up to here means the value is
}

// openWAL opens the log in a directory, which it makes if need be. Damage is an
// error wrapping [ErrCorrupt] that names file and offset; only the remains of
// writes that nobody was promised are cut off, and returned.
func openWAL(fsys vfs.FS, dir string, segment int64) (*walStore, *wal.Damage, error) {
	l, err := wal.Open(dir, &wal.Options{FS: fsys, SegmentSize: segment})
	if err != nil {
		return nil, nil, walError(err)
	}
	s := &walStore{log: l, stable: map[string]stableValue{}}
	if err := s.load(); err != nil {
		l.Close()
		return nil, nil, err
	}
	return s, l.Recovery().Torn, nil
}

// walError gives an error of the log this package's meaning.
func walError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wal.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, wal.ErrVersion):
		return fmt.Errorf("%w: %w", ErrVersion, err)
	case errors.Is(err, wal.ErrLocked):
		return fmt.Errorf("%w: %w", ErrIncompatible, err)
	case errors.Is(err, wal.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, wal.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return fmt.Errorf("replica: %w", err)
}

// load reads all records.
func (s *walStore) load() error {
	end := s.log.End()
	for r, err := range s.log.Replay(0) {
		if err == nil {
			err = s.loadRecord(r, end)
		}
		if err != nil {
			return walError(err)
		}
	}
	return nil
}

func (s *walStore) loadRecord(r wal.Record, end uint64) error {
	bad := func(why any) error {
		return fmt.Errorf("%w: log record at position %d: %v", ErrCorrupt, r.Pos, why)
	}
	if len(r.Data) == 0 {
		return bad("empty")
	}
	switch r.Data[0] {
	case recEntry:
		var l raft.Log
		if err := parseEntry(r.Data, &l); err != nil {
			return bad(err)
		}
		if l.Index == 0 || s.index.n > 0 && l.Index != s.index.last()+1 {
			return bad(fmt.Sprintf("entry %d after entry %d", l.Index, s.index.last()))
		}
		s.index.push(l.Index, r.Pos)
	case recStable:
		key, val, err := parseStable(r.Data)
		if err != nil {
			return bad(err)
		}
		s.stable[key] = stableValue{bytes.Clone(val), end}
	case recCut:
		index, err := parseCut(r.Data)
		if err != nil {
			return bad(err)
		}
		s.index.dropFrom(index)
	default:
		return fmt.Errorf("%w: log record of kind %d at position %d", ErrVersion, r.Data[0], r.Pos)
	}
	return nil
}

// FirstIndex implements raft.LogStore: 0 for an empty log.
func (s *walStore) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.first, nil
}

// LastIndex implements raft.LogStore: 0 for an empty log.
func (s *walStore) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.index.n == 0 {
		return 0, nil
	}
	return s.index.last(), nil
}

// GetLog implements raft.LogStore.
func (s *walStore) GetLog(index uint64, l *raft.Log) error {
	s.mu.RLock()
	if !s.index.has(index) {
		s.mu.RUnlock()
		return raft.ErrLogNotFound
	}
	if r := s.recent.get(index); r != nil {
		*l = *r
		s.mu.RUnlock()
		return nil
	}
	pos := s.index.at(index)
	s.mu.RUnlock()
	data, err := s.log.Read(pos, nil)
	if errors.Is(err, wal.ErrNotFound) {
		s.mu.RLock()
		gone := !s.index.has(index) || s.index.at(index) != pos
		s.mu.RUnlock()
		if gone {
			return raft.ErrLogNotFound
		}
		err = fmt.Errorf("%w: entry %d: %w", ErrCorrupt, index, err)
	}
	if err != nil {
		return walError(err)
	}
	if err := parseEntry(data, l); err != nil {
		return fmt.Errorf("%w: entry %d at position %d: %w", ErrCorrupt, index, pos, err)
	}
	if l.Index != index {
		return fmt.Errorf("%w: entry %d at position %d says it is entry %d", ErrCorrupt, index, pos, l.Index)
	}
	return nil
}

// StoreLog implements raft.LogStore.
func (s *walStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *walStore) StoreLogs(logs []*raft.Log) error {
	if err := s.Append(logs); err != nil {
		return err
	}
	return s.Flush()
}

// Append writes entries that follow the last one, or a snapshot that goes beyond
// the last one, in one write. On an error none is in the log. The entries' bytes
// must not be changed afterwards.
func (s *walStore) Append(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.change.Lock()
	defer s.change.Unlock()
	next, skip := logs[0].Index, 0
	s.batch.Reset()
	if s.index.n > 0 && next != s.index.last()+1 || next == 0 { // change keeps other writers out
		last := s.index.last()
		if s.covered == nil || next <= last || next-1 > s.covered() {
			return fmt.Errorf("replica: entry %d does not follow the log's last, %d", next, last)
		}
		if err := s.batch.Add(appendCut(s.buf[:0], 0)); err != nil {
			return walError(err)
		}
		skip = 1
	}
	for i, l := range logs {
		if l.Index != next+uint64(i) {
			return fmt.Errorf("replica: entry %d follows entry %d", l.Index, next+uint64(i)-1)
		}
		var head [entryHead]byte
		putEntryHead(&head, l)
		if err := s.batch.Add(head[:], l.Extensions, l.Data); err != nil {
			return walError(err)
		}
	}
	if _, err := s.log.AppendBatch(&s.batch); err != nil {
		return walError(err)
	}
	s.mu.Lock()
	if skip > 0 {
		s.index.dropFrom(0)
		s.recent.dropFrom(0)
	}
	for i, l := range logs {
		s.index.push(l.Index, s.batch.Pos(skip+i))
		s.recent.push(l)
	}
	s.mu.Unlock()
	if s.batch.Size() > 1<<20 {
		s.batch = wal.Batch{} // give back unusual memory
	}
	return nil
}

// Flush returns when everything that was written before is on disk.
func (s *walStore) Flush() error { return s.sync(s.log.End()) }

func (s *walStore) sync(end uint64) error {
	return walError(s.log.Sync(context.Background(), end))
}

// DeleteRange implements raft.LogStore. The range must reach the beginning or
// the end of the log: a hole in the middle is refused.
func (s *walStore) DeleteRange(from, to uint64) error {
	end, err := s.deleteRange(from, to)
	if err != nil {
		return walError(err)
	}
	return s.sync(end)
}

func (s *walStore) deleteRange(from, to uint64) (end uint64, err error) {
	s.change.Lock()
	defer s.change.Unlock()
	end = s.log.End()
	if s.index.n == 0 || from > to || to < s.index.first || from > s.index.last() {
		return end, nil
	}
	first, last := s.index.first, s.index.last()
	switch {
	case from <= first && to >= last: // all of it
		end, err = s.behead(0)
	case from <= first:
		end, err = s.behead(to + 1)
	case to >= last:
		_, end, err = s.log.Append(appendCut(s.buf[:0], from))
	default:
		return end, fmt.Errorf("entries %d to %d are in the middle of the log, %d to %d", from, to, first, last)
	}
	if err != nil {
		return end, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from <= first && to < last {
		s.index.dropBefore(to + 1)
		s.recent.dropBefore(to + 1)
	} else {
		from = max(from, first)
		s.index.dropFrom(from)
		s.recent.dropFrom(from)
	}
	return end, nil
}

// behead writes what is to be kept of the old records, term and vote, at the end
// of the log, and then removes all before the entry at index from the files, or
// every entry if index is 0.
func (s *walStore) behead(index uint64) (end uint64, err error) {
	s.batch.Reset()
	if index == 0 {
		if err := s.batch.Add(appendCut(s.buf[:0], 0)); err != nil {
			return 0, err
		}
	}
	s.mu.RLock()
	keys := slices.Sorted(maps.Keys(s.stable))
	for _, key := range keys {
		if err := s.batch.Add(appendStable(s.buf[:0], key, s.stable[key].val)); err != nil {
			s.mu.RUnlock()
			return 0, err
		}
	}
	s.mu.RUnlock()
	pos := s.log.End()
	if s.batch.Len() > 0 {
		if end, err = s.log.AppendBatch(&s.batch); err != nil {
			return end, err
		}
		pos = s.batch.Pos(0)
	}
	if index > 0 {
		pos = s.index.at(index)
	}
	return s.log.TruncateBefore(pos)
}

// Set implements raft.StableStore. It is durable when it returns.
func (s *walStore) Set(key, val []byte) error {
	if len(key) > 255 {
		return fmt.Errorf("%w: key of %d bytes, above 255", ErrTooLarge, len(key))
	}
	end, err := s.set(string(key), val)
	if err != nil {
		return walError(err)
	}
	return s.sync(end)
}

func (s *walStore) set(key string, val []byte) (end uint64, err error) {
	s.change.Lock()
	defer s.change.Unlock()
	if old, ok := s.stable[key]; ok && bytes.Equal(old.val, val) {
		return old.end, nil // the engine sets its term again when it starts
	}
	s.buf = appendStable(s.buf[:0], key, val)
	if _, end, err = s.log.Append(s.buf); err != nil {
		return end, err
	}
	s.mu.Lock()
	s.stable[key] = stableValue{bytes.Clone(val), end}
	s.mu.Unlock()
	return end, nil
}

// errKeyNotFound has the text by which the engine knows it.
var errKeyNotFound = errors.New("not found")

// Get implements raft.StableStore.
func (s *walStore) Get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.stable[string(key)]
	if !ok {
		return nil, errKeyNotFound
	}
	return bytes.Clone(v.val), nil
}

// SetUint64 implements raft.StableStore.
func (s *walStore) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.LittleEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore: 0 for a key that was never set.
func (s *walStore) GetUint64(key []byte) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.stable[string(key)]
	if !ok {
		return 0, nil
	}
	if len(v.val) != 8 {
		return 0, fmt.Errorf("%w: value of %q has %d bytes, not 8", ErrCorrupt, key, len(v.val))
	}
	return binary.LittleEndian.Uint64(v.val), nil
}

// Close flushes and frees the directory.
func (s *walStore) Close() error { return walError(s.log.Close()) }
