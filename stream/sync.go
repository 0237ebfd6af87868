package stream

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// The syncer makes durable what the committer wrote, in order: a later byte is
// counted as durable only when all before it are. Its goroutine syncs at
// intervals, and gives full segments their index file.
type syncer struct {
	l       *Local
	durable atomic.Uint64 // all before this position is on the disk
	kick    chan struct{} // holds one

	round   sync.Mutex // held while syncing
	sealing sync.Mutex // held while writing index files

	mu      sync.Mutex
	active  *segment
	written uint64     // all before this position is written
	dirty   []*segment // full, to be synced before active
	names   bool       // the directory has names to be synced
	full    []*segment // synced, to be given an index
}

func (s *syncer) init(l *Local) { s.l, s.kick = l, make(chan struct{}, 1) }

// wrote tells what the committer has written.
func (s *syncer) wrote(seg *segment, end uint64) {
	s.mu.Lock()
	s.active, s.written = seg, end
	s.mu.Unlock()
}

// rolled tells that the committer goes on in another segment.
func (s *syncer) rolled(old, next *segment, end uint64) {
	s.mu.Lock()
	s.dirty = append(s.dirty, old)
	s.active, s.written, s.names = next, end, true
	s.mu.Unlock()
	signal(s.kick)
}

// all makes durable what is written. An error is the end of the log's life.
func (s *syncer) all() error { return s.sync(true) }

// sync makes the full segments durable, and the one in use if asked to.
func (s *syncer) sync(active bool) error {
	s.round.Lock()
	defer s.round.Unlock()
	if err := s.l.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	dirty, seg, end, names := s.dirty, s.active, s.written, s.names
	s.mu.Unlock()
	if !active {
		if len(dirty) == 0 {
			return nil
		}
		end = seg.base
	}
	if end <= s.durable.Load() && len(dirty) == 0 && !names {
		return nil
	}
	err := s.files(dirty, seg, end, names)
	if err != nil {
		return s.l.fail(err)
	}
	s.l.stats.syncs.Add(1)
	s.mu.Lock()
	if names {
		s.names = s.active != seg // a new one since
	}
	s.dirty = s.dirty[len(dirty):]
	s.full = append(s.full, dirty...)
	s.mu.Unlock()
	s.durable.Store(max(end, s.durable.Load()))
	return nil
}

func (s *syncer) files(dirty []*segment, seg *segment, end uint64, names bool) error {
	if names {
		if err := s.l.fs.SyncDir(s.l.dir); err != nil {
			return err
		}
	}
	for _, d := range dirty {
		if err := d.file.Datasync(); err != nil {
			return err
		}
	}
	if end > seg.base {
		return seg.file.Datasync()
	}
	return nil
}

// seal writes the index files of segments that are durable and full.
func (s *syncer) seal() error {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	s.mu.Lock()
	full := s.full
	s.mu.Unlock()
	for _, seg := range full {
		s.l.mu.RLock()
		index := seg.encodeIndex(seg.visible.Load())
		s.l.mu.RUnlock()
		if err := vfs.WriteFile(s.l.fs, joinName(s.l.dir, indexName(seg.num, seg.gen)), index); err != nil {
			return err
		}
		seg.sealed.Store(true)
		s.mu.Lock()
		s.full = s.full[1:]
		s.mu.Unlock()
	}
	return nil
}

func (s *syncer) run() {
	var tick <-chan time.Time
	if s.l.opts.Sync == SyncInterval {
		t := time.NewTicker(s.l.opts.Interval)
		defer t.Stop()
		tick = t.C
	}
	for {
		var err error
		select {
		case <-s.l.stop:
			return
		case <-tick:
			err = s.all()
		case <-s.kick:
			err = s.sync(s.l.opts.Sync != SyncNone)
		}
		if err == nil {
			err = s.seal()
		}
		if err != nil && s.l.Err() == nil {
			s.l.opts.Logger.Warn("stream: no index for a full segment, which will be read when the log is opened",
				"dir", s.l.dir, "err", err)
		}
	}
}

// Sync makes all that was appended before durable, at any level. When ctx ends
// first it returns its error, and the sync goes on.
func (l *Local) Sync(ctx context.Context) error {
	if err := l.before(ctx); err != nil {
		return err
	}
	if ctx.Done() == nil {
		return l.sync.all()
	}
	done := make(chan error, 1)
	go func() { done <- l.sync.all() }() // ends with this round
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func joinName(dir, name string) string { return filepath.Join(dir, name) }
func isNotExist(err error) bool        { return errors.Is(err, fs.ErrNotExist) }
