package replica

import (
	"errors"
	"fmt"
	"runtime"
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

// A stallWatch knows when each write under way began.
type stallWatch struct {
	clock func() time.Duration
	mu    sync.Mutex
	next  uint64
	began map[uint64]time.Duration
}

func newStallWatch(clock func() time.Duration) *stallWatch {
	return &stallWatch{clock: clock, began: map[uint64]time.Duration{}}
}

// begin notes a write and returns what to give to end.
func (w *stallWatch) begin() uint64 {
	now := w.clock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	w.began[w.next] = now
	return w.next
}

func (w *stallWatch) end(id uint64) {
	w.mu.Lock()
	delete(w.began, id)
	w.mu.Unlock()
}

// longest returns for how long the oldest write has been under way.
func (w *stallWatch) longest() time.Duration {
	now := w.clock()
	w.mu.Lock()
	defer w.mu.Unlock()
	var d time.Duration
	for _, b := range w.began {
		d = max(d, now-b)
	}
	return d
}

// forgive makes all writes that are under way younger.
func (w *stallWatch) forgive(d time.Duration) {
	now := w.clock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, b := range w.began {
		w.began[id] = min(b+d, now)
	}
}

// watch calls fail when a write takes longer than limit. Time in which the whole
// process stood still, this goroutine included, is not the disk's.
func (w *stallWatch) watch(limit time.Duration, fail func(error), closed <-chan struct{}) {
	t := time.NewTicker(limit / 4)
	defer t.Stop()
	looked := w.clock()
	for {
		select {
		case <-closed:
			return
		case <-t.C:
			now := w.clock()
			if gap := now - looked; gap > limit/2 {
				w.forgive(gap - limit/4)
			}
			looked = now
			if w.longest() > limit {
				fail(fmt.Errorf("%w: for more than %v", ErrStalled, limit))
				return
			}
		}
	}
}

// watchedStore has the flushes of a log watched that nobody waits for.
type watchedStore struct {
	splitStore
	stalls *stallWatch
}

func (s watchedStore) Flush() error {
	id := s.stalls.begin()
	defer s.stalls.end(id)
	return s.splitStore.Flush()
}

// guardedStore watches over the engine's use of the log: what fails or stalls
// stops the node.
//
// The engine panics when it cannot store its term or read an entry. Once it runs,
// such an error therefore does not return to it but ends the goroutine that asked,
// whose deferred calls let the engine shut down in order.
type guardedStore struct {
	logStore
	fail    func(error)
	stalls  *stallWatch
	running atomic.Bool   // the engine's own goroutines call now
	written atomic.Uint64 // entries
	syncs   atomic.Uint64 // calls
}

// do runs one write.
func (s *guardedStore) do(f func() error) error {
	id := s.stalls.begin()
	err := f()
	s.stalls.end(id)
	if err != nil && !errors.Is(err, ErrClosed) {
		err = diskError(err)
		s.fail(err)
	}
	return err
}

// diskError says that the node stops because of its disk, unless err says that
// what is on the disk is wrong.
func diskError(err error) error {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrDisk) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDisk, err)
}

// must keeps from the engine an error that it would panic at.
func (s *guardedStore) must(err error) error {
	if err != nil && s.running.Load() {
		runtime.Goexit()
	}
	return err
}

func (s *guardedStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *guardedStore) StoreLogs(logs []*raft.Log) error {
	s.syncs.Add(1)
	s.written.Add(uint64(len(logs)))
	return s.do(func() error { return s.logStore.StoreLogs(logs) })
}

func (s *guardedStore) DeleteRange(min, max uint64) error {
	return s.do(func() error { return s.logStore.DeleteRange(min, max) })
}

func (s *guardedStore) Set(key, val []byte) error {
	return s.must(s.do(func() error { return s.logStore.Set(key, val) }))
}

func (s *guardedStore) SetUint64(key []byte, val uint64) error {
	return s.must(s.do(func() error { return s.logStore.SetUint64(key, val) }))
}

func (s *guardedStore) GetLog(index uint64, l *raft.Log) error {
	err := s.logStore.GetLog(index, l)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	s.fail(diskError(err))
	return s.must(err)
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

	// flushing is held while flushing and while cutting, so that a flush cannot
	// vouch for what was cut. A channel, since a flush may take long.
	flushing chan struct{}

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
		wake: make(chan struct{}, 1), flushing: make(chan struct{}, 1), moved: make(chan struct{}),
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
	p.flushing <- struct{}{}
	defer func() { <-p.flushing }()
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
	p.flushing <- struct{}{}
	defer func() { <-p.flushing }()
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
				p.fail(diskError(err))
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
