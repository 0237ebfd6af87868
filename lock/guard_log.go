package lock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/ashlar-go/ashlar/internal/wal"
)

var (
	// ErrCorrupt is returned by [OpenFenceLog] for a log that holds what a
	// FenceLog never wrote, or lacks what it did.
	ErrCorrupt = errors.New("lock: corrupt")
	// ErrVersion is returned by [OpenFenceLog] for a log of an unknown version.
	ErrVersion = errors.New("lock: unknown version")
)

// A FenceLog is a [FenceStore] in a directory. What it has saved survives kill
// and power loss: a token costs one flush of the disk, which all tokens that
// arrive meanwhile share, and a token that was saved before costs nothing. After
// a failed write or flush it refuses everything, and must be opened anew. It is
// safe for concurrent use by multiple goroutines. Use [OpenFenceLog].
//
// The log must live and die with the data that it guards: who restores the data
// from a backup, or moves it, sets [GuardOptions.Floor] to a new token.
type FenceLog struct {
	log *wal.Log

	mu      sync.Mutex
	floor   uint64
	highest map[string]uint64
	live    int64  // bytes that a log of only what counts would take
	begin   uint64 // position of the first record since it was last rewritten
	above   int64  // bytes that the log holds at least before it is rewritten
}

// Records of the log, version 1; part of the format, never renumber. Integers
// are little-endian.
//
//	offset  size  field
//	0       1     kind: 1 raise, 2 floor, 3 version
//	1       8     token; of a version record 1
//	9       …     of a raise: the resource
//
// The first record is a version; one may come again later. A raise counts if
// its token is above the resource's. A floor counts if it is above the one
// before, and makes the resources that are not above it forgotten.
const (
	recordRaise   = 1
	recordFloor   = 2
	recordVersion = 3

	fenceVersion = 1
	recordHead   = 9
)

// OpenFenceLog opens the fences in a directory, which it owns until Close, or
// makes new ones. Errors wrap [ErrCorrupt], [ErrVersion], or the file system's.
func OpenFenceLog(dir string) (*FenceLog, error) {
	return openFenceLog(dir, &wal.Options{SegmentSize: 4 << 20})
}

func openFenceLog(dir string, o *wal.Options) (*FenceLog, error) {
	log, err := wal.Open(dir, o)
	if err != nil {
		return nil, fenceError(err)
	}
	l := &FenceLog{log: log, highest: map[string]uint64{}, begin: log.Head(), above: 1 << 20}
	if err := l.load(); err != nil {
		log.Close()
		return nil, err
	}
	return l, nil
}

// fenceError gives an error of the log this package's meaning.
func fenceError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wal.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, wal.ErrVersion):
		return fmt.Errorf("%w: %w", ErrVersion, err)
	case errors.Is(err, wal.ErrClosed):
		return fmt.Errorf("%w: fences", ErrClosed)
	}
	return fmt.Errorf("lock: fences: %w", err)
}

func (l *FenceLog) load() error {
	first := true
	for r, err := range l.log.Replay(0) {
		if err != nil {
			return fenceError(err)
		}
		if err := l.replay(r.Data, first); err != nil {
			return fmt.Errorf("%w at position %d", err, r.Pos)
		}
		first = false
	}
	if !first {
		return nil
	}
	// A new log, or one that a crash left without its first record: then
	// nothing was ever answered from it.
	_, end, err := l.log.Append(record(recordVersion, fenceVersion, ""))
	if err == nil {
		err = l.log.Sync(context.Background(), end)
	}
	return fenceError(err)
}

func record(kind byte, token uint64, resource string) []byte {
	b := make([]byte, recordHead, recordHead+len(resource))
	b[0] = kind
	binary.LittleEndian.PutUint64(b[1:], token)
	return append(b, resource...)
}

func (l *FenceLog) replay(b []byte, first bool) error {
	if len(b) < recordHead {
		return fmt.Errorf("%w: record of %d bytes", ErrCorrupt, len(b))
	}
	kind, token, resource := b[0], binary.LittleEndian.Uint64(b[1:]), string(b[recordHead:])
	switch {
	case first && kind != recordVersion:
		return fmt.Errorf("%w: first record of kind %d", ErrCorrupt, kind)
	case kind == recordVersion && token != fenceVersion:
		return fmt.Errorf("%w: %d", ErrVersion, token)
	case kind == recordVersion && resource == "":
	case kind == recordFloor && resource == "":
		l.forgetLocked(token)
	case kind == recordRaise && checkKey(resource) == nil:
		l.raiseLocked(resource, token)
	default:
		return fmt.Errorf("%w: record of kind %d, %d bytes", ErrCorrupt, kind, len(b))
	}
	return nil
}

func (l *FenceLog) raiseLocked(resource string, token uint64) {
	old, ok := l.highest[resource]
	if !ok {
		l.live += recordSize(resource)
	}
	l.highest[resource] = max(old, token)
}

func (l *FenceLog) forgetLocked(floor uint64) {
	l.floor = max(l.floor, floor)
	for resource, token := range l.highest {
		if token <= floor {
			delete(l.highest, resource)
			l.live -= recordSize(resource)
		}
	}
}

// recordSize is about what a record takes in the log.
func recordSize(resource string) int64 { return int64(16 + recordHead + 7 + len(resource)) }

// Load implements [FenceStore].
func (l *FenceLog) Load() (floor uint64, highest map[string]uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.floor, maps.Clone(l.highest), fenceError(l.log.Err())
}

// Save implements [FenceStore]. When ctx ends first, the token may have been
// saved or not.
func (l *FenceLog) Save(ctx context.Context, resource string, token uint64) error {
	if err := checkKey(resource); err != nil {
		return err
	}
	l.mu.Lock()
	end, err := l.log.End(), error(nil)
	if l.highest[resource] < token {
		if _, end, err = l.log.Append(record(recordRaise, token, resource)); err == nil {
			l.raiseLocked(resource, token)
			err = l.rewriteLocked()
		}
	}
	l.mu.Unlock()
	if err == nil {
		// Also if it was there already: who wrote it may not have synced it yet.
		err = l.log.Sync(ctx, end)
	}
	return fenceError(err)
}

// Trim implements [FenceStore].
func (l *FenceLog) Trim(ctx context.Context, floor uint64) error {
	l.mu.Lock()
	_, end, err := l.log.Append(record(recordFloor, floor, ""))
	if err == nil {
		l.forgetLocked(floor)
		err = l.rewriteLocked()
	}
	l.mu.Unlock()
	if err == nil {
		err = l.log.Sync(ctx, end)
	}
	return fenceError(err)
}

// rewriteLocked appends all that counts and drops what is before it, once that
// is most of the log. Every record only raises something, so a crash between
// the two leaves what counts twice, which does no harm.
func (l *FenceLog) rewriteLocked() error {
	if int64(l.log.End()-l.begin) < l.above+4*l.live {
		return nil
	}
	begin := l.log.End() // nothing but this appends: it is the position of what comes next
	var b wal.Batch
	add := func(kind byte, token uint64, resource string) error {
		if err := b.Add(record(kind, token, resource)); err != nil || b.Size() < 1<<20 {
			return err
		}
		return l.flush(&b)
	}
	err := add(recordVersion, fenceVersion, "")
	if err == nil {
		err = add(recordFloor, l.floor, "")
	}
	for resource, token := range l.highest {
		if err == nil {
			err = add(recordRaise, token, resource)
		}
	}
	if err == nil {
		err = l.flush(&b)
	}
	if err == nil {
		l.begin = begin
		_, err = l.log.TruncateBefore(begin)
	}
	return err
}

// flush writes and syncs a batch and empties it.
func (l *FenceLog) flush(b *wal.Batch) error {
	end, err := l.log.AppendBatch(b)
	if err == nil {
		err = l.log.Sync(context.Background(), end)
	}
	b.Reset()
	return err
}

// Close closes the log. It may be called again.
func (l *FenceLog) Close() error { return fenceError(l.log.Close()) }
