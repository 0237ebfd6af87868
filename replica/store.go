package replica

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A logStore is what the engine needs of a log on disk, and that it can be
// closed.
type logStore interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// A splitStore separates writing from flushing: Append makes entries readable
// and orders them, Flush returns when everything appended before is on disk.
type splitStore interface {
	logStore
	Append(logs []*raft.Log) error
	Flush() error
}

// guardedStore watches over every write to the log: one that fails or stalls
// stops the node.
type guardedStore struct {
	logStore
	fail    func(error)
	began   atomic.Int64 // when the running write started, 0 if none runs
	clock   func() int64
	written atomic.Uint64 // entries
	syncs   atomic.Uint64 // calls
}

func (s *guardedStore) enter() func(*error) {
	s.began.Store(s.clock())
	return func(err *error) {
		s.began.Store(0)
		if *err != nil {
			s.fail(fmt.Errorf("%w: %w", ErrDisk, *err))
		}
	}
}

func (s *guardedStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *guardedStore) StoreLogs(logs []*raft.Log) (err error) {
	defer s.enter()(&err)
	s.syncs.Add(1)
	s.written.Add(uint64(len(logs)))
	return s.logStore.StoreLogs(logs)
}

func (s *guardedStore) DeleteRange(min, max uint64) (err error) {
	defer s.enter()(&err)
	return s.logStore.DeleteRange(min, max)
}

func (s *guardedStore) Set(key, val []byte) (err error) {
	defer s.enter()(&err)
	return s.logStore.Set(key, val)
}

func (s *guardedStore) SetUint64(key []byte, val uint64) (err error) {
	defer s.enter()(&err)
	return s.logStore.SetUint64(key, val)
}

// IsMonotonic passes on an optional part of the interface.
func (s *guardedStore) IsMonotonic() bool {
	m, ok := s.logStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// watch fails the node when a write takes longer than limit.
func (s *guardedStore) watch(limit time.Duration, closed <-chan struct{}) {
	t := time.NewTicker(limit / 4)
	defer t.Stop()
	for {
		select {
		case <-closed:
			return
		case <-t.C:
			if b := s.began.Load(); b != 0 && s.clock()-b > int64(limit) {
				s.fail(fmt.Errorf("%w: for more than %v", ErrStalled, limit))
				return
			}
		}
	}
}

// parallelStore lets a leader flush its log while its followers flush theirs.
//
// On a leader StoreLogs returns as soon as client entries are written, and a
// flusher makes them durable; on a follower it returns after the flush. The
// engine then counts the leader's own copy towards the majority a moment too
// early. That is made harmless by letting nothing out that rests on it:
//
//  1. The machine applies an entry, and the client gets its answer, only after
//     the leader's flush (fsm.ApplyBatch waits in durable).
//  2. Followers are never told a commit index above the leader's flushed index
//     (safeTransport.clamp), so they apply no such entry either.
//  3. A node whose term rises flushes before the term is stored (SetUint64), so
//     that an old leader, having become a follower, acknowledges only what is
//     on its disk: the engine stores the new term before it answers.
//  4. Entries that the engine itself acts upon (configurations, the first entry
//     of a term, barriers) are flushed before StoreLogs returns.
//
// What a leader has committed in its own eyes but not flushed dies with it,
// known to nobody; whatever was told to anybody is on a majority of disks.
//
// The engine calls StoreLogs and changes its state on one goroutine, since
// safeTransport closes the only way around it; so isLeader is exact here.
type parallelStore struct {
	splitStore
	isLeader func() bool
	fail     func(error)
	closed   <-chan struct{}
	wake     chan struct{} // capacity 1

	appended atomic.Uint64 // index of the last entry written, by any path
	flushed  atomic.Uint64 // highest index known to be on disk

	flushMu sync.Mutex // held while flushing and while cutting, so that a flush cannot vouch for what was cut

	mu    sync.Mutex
	moved chan struct{} // closed and replaced when flushed moves
	err   error
}

func newParallelStore(s splitStore, fail func(error), closed <-chan struct{}) (*parallelStore, error) {
	last, err := s.LastIndex()
	if err != nil {
		return nil, err
	}
	p := &parallelStore{
		splitStore: s, isLeader: func() bool { return false }, fail: fail, closed: closed,
		wake: make(chan struct{}, 1), moved: make(chan struct{}),
	}
	p.appended.Store(last)
	p.flushed.Store(last)
	return p, nil
}

func (p *parallelStore) StoreLog(l *raft.Log) error { return p.StoreLogs([]*raft.Log{l}) }

func (p *parallelStore) StoreLogs(logs []*raft.Log) error {
	last := logs[len(logs)-1].Index
	if err := p.Append(logs); err != nil {
		return err
	}
	// Before the flush: whoever reads flushed first and appended later must
	// not see an entry missing from both.
	p.appended.Store(last)
	if p.isLeader() && onlyCommands(logs) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
		return nil
	}
	return p.flush()
}

func onlyCommands(logs []*raft.Log) bool {
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			return false
		}
	}
	return true
}

// DeleteRange may cut the end of the log: what was flushed there is no longer.
func (p *parallelStore) DeleteRange(min, max uint64) error {
	p.flushMu.Lock()
	defer p.flushMu.Unlock()
	if err := p.splitStore.DeleteRange(min, max); err != nil {
		return err
	}
	if last := p.appended.Load(); max >= last && min <= last {
		if err := p.Flush(); err != nil {
			return err
		}
		p.appended.Store(min - 1)
		p.flushed.Store(min - 1)
	}
	return nil
}

func (p *parallelStore) SetUint64(key []byte, val uint64) error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.splitStore.SetUint64(key, val)
}

func (p *parallelStore) Set(key, val []byte) error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.splitStore.Set(key, val)
}

// flush makes everything appended so far durable.
func (p *parallelStore) flush() error {
	p.flushMu.Lock()
	defer p.flushMu.Unlock()
	last := p.appended.Load()
	if p.flushed.Load() >= last {
		return nil
	}
	err := p.Flush()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.err = err
	} else if last > p.flushed.Load() {
		p.flushed.Store(last)
	}
	close(p.moved)
	p.moved = make(chan struct{})
	return err
}

// run flushes what a leader appends, until the node closes.
func (p *parallelStore) run() {
	for {
		select {
		case <-p.closed:
			return
		case <-p.wake:
			if err := p.flush(); err != nil {
				p.fail(fmt.Errorf("%w: %w", ErrDisk, err))
				return
			}
		}
	}
}

// waitFlushed returns when the log is on disk up to index.
func (p *parallelStore) waitFlushed(index uint64) error {
	for p.flushed.Load() < index {
		p.mu.Lock()
		moved, err := p.moved, p.err
		p.mu.Unlock()
		if err != nil {
			return err
		}
		if p.flushed.Load() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-p.closed:
			return ErrClosed
		}
	}
	return nil
}

// IsMonotonic passes on an optional part of the interface.
func (p *parallelStore) IsMonotonic() bool {
	m, ok := p.splitStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}
