package idem

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/bloom"
)

// Options are what is not required. The zero value of each field means its default.
type Options struct {
	// Lease is how long an attempt keeps others off before it has to extend or
	// finish: longer than the work usually takes. Default 30 s.
	Lease time.Duration
	// Keep is how long a key is remembered after its attempt has finished, or its
	// lease has ended. Default 24 h.
	Keep time.Duration
	// Expect is how many keys come in the time of Keep, for the Bloom filter, which
	// takes about two bytes for each. With more, it lets more reads through. Default
	// 1,000,000; negative for no filter.
	Expect int
	// Sole says that all keys of the backend come through this Store, so that the
	// filter's "no" is certain. [Open] sets it. With it, New reads the keys that are
	// there already, if the backend is a *Bolt or *Mem; others must be empty.
	Sole bool
	// Now is the clock of the filter's periods, and of the storage that [Open]
	// makes. Default time.Now.
	Now func() time.Time
}

// Stats counts what came. A begun attempt that found a result counts as a replay.
type Stats struct {
	Begun      uint64 // attempts that were to do the work
	Taken      uint64 // of these, ones that took a key over from one whose lease was over
	Replays    uint64 // answered with a stored result
	Running    uint64 // refused with ErrRunning, or made to wait
	Mismatches uint64 // refused with ErrMismatch
	Stale      uint64 // finished or extended too late
	Reads      uint64 // questions to the backend whether it knows a key
	Saved      uint64 // such questions that the filter answered
}

// A Store begins attempts. It is safe for concurrent use by multiple goroutines.
// Use [Open] or [New].
type Store struct {
	backend     Backend
	lease, keep time.Duration
	now         func() time.Time

	mu      sync.Mutex
	filter  *bloom.Generations // nil: none
	rotate  time.Duration
	rotated time.Time
	waiting map[string]*waiters
	stats   Stats
	closed  bool
}

// waiters of a key in this process: done is closed when its attempt is finished.
type waiters struct {
	n    int
	done chan struct{}
}

// generations of the filter: keys are forgotten by it at the earliest after
// generations-1 of the periods into which it divides Keep.
const generations = 5

// Open opens the store in a directory, which it makes if it does not exist, in one
// file, idem.db. It reads all keys once, for the filter: about a second for a
// million.
func Open(dir string, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Sole = true
	b, err := openDir(dir, o.Now)
	if err != nil {
		return nil, err
	}
	s, err := New(b, &o)
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return s, nil
}

// New returns a store on a backend, which it closes when it is closed.
func New(b Backend, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Lease < 0 || o.Keep < 0 {
		return nil, fmt.Errorf("%w: lease %v, keep %v", ErrInvalid, o.Lease, o.Keep)
	}
	s := &Store{backend: b, lease: o.Lease, keep: o.Keep, now: o.Now, waiting: map[string]*waiters{}}
	if s.lease == 0 {
		s.lease = 30 * time.Second
	}
	if s.keep == 0 {
		s.keep = 24 * time.Hour
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.Sole && o.Expect >= 0 {
		if o.Expect == 0 {
			o.Expect = 1_000_000
		}
		f, err := bloom.NewGenerations(uint64(max(1, o.Expect/(generations-1))), 0.01, generations)
		if err != nil {
			return nil, fmt.Errorf("%w: %d keys: %w", ErrInvalid, o.Expect, err)
		}
		s.filter, s.rotated = f, s.now()
		// A key is remembered for its lease and then Keep, and those that are there
		// already as long as the options said that were in force.
		longest := s.keep + s.lease
		old := func(key []byte, expires time.Time) {
			f.Add(key)
			longest = max(longest, expires.Sub(s.rotated))
		}
		switch b := b.(type) {
		case *Bolt:
			err = b.each(old)
		case *Mem:
			b.mu.Lock()
			for key, rec := range b.records {
				old([]byte(key), rec.Expires)
			}
			b.mu.Unlock()
		}
		if err != nil {
			return nil, err
		}
		s.rotate = longest/(generations-1) + 1
	}
	return s, nil
}

// Close closes the store and its backend. Attempts get [ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	for key, w := range s.waiting {
		close(w.done)
		delete(s.waiting, key)
	}
	s.mu.Unlock()
	return s.backend.Close()
}

// open returns ErrClosed if the store is not.
func (s *Store) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

// Stats returns the counts so far.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// note puts the key into the filter: before it is in the storage, and whenever the
// time for which it is remembered begins again.
func (s *Store) note(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(key)
}

func (s *Store) noteLocked(key string) {
	if s.filter != nil {
		s.turn()
		s.filter.AddString(key)
	}
}

// turn drops the periods of the filter that are over.
func (s *Store) turn() {
	for now := s.now(); now.Sub(s.rotated) >= s.rotate; {
		s.rotated = s.rotated.Add(s.rotate)
		if now.Sub(s.rotated) >= generations*s.rotate {
			s.rotated = now.Add(-generations * s.rotate) // all are dropped anyway
		}
		s.filter.Rotate()
	}
}

// maybe asks the filter whether the key may be known.
func (s *Store) maybe(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.filter != nil {
		if s.turn(); !s.filter.ContainsString(key) {
			s.stats.Saved++
			return false
		}
	}
	s.stats.Reads++
	return true
}

// Known tells whether the key was begun and is remembered, and returns its record
// if so. If the filter does not know it, nothing is read.
func (s *Store) Known(ctx context.Context, key string) (rec Record, known bool, err error) {
	if err := check(key, nil); err != nil {
		return Record{}, false, err
	}
	if !s.maybe(key) {
		return Record{}, false, s.open()
	}
	rec, err = s.backend.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return Record{}, false, nil
	}
	return rec, err == nil, err
}

// Unfinished returns up to n records of attempts that began, and whose lease ended
// before they finished: most likely they died. Begin takes such a key over.
func (s *Store) Unfinished(ctx context.Context, n int) ([]Record, error) {
	return s.backend.Unfinished(ctx, n)
}

func check(key string, hash []byte) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty key", ErrInvalid)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: a key of %d bytes, limit %d", ErrTooLarge, len(key), MaxKey)
	case len(hash) > MaxHash:
		return fmt.Errorf("%w: a hash of %d bytes, limit %d", ErrTooLarge, len(hash), MaxHash)
	}
	return nil
}

// Begin begins an attempt with a key of 1 to [MaxKey] bytes. The hash, of up to
// [MaxHash] bytes, stands for the request; nil where keys are never used for
// different ones. When Begin returns an attempt that is to do the work, the key is
// stored.
//
// It returns an error that wraps [ErrRunning] if another attempt is at work, see
// [Store.Wait], and [ErrMismatch] if the key was begun with another hash.
func (s *Store) Begin(ctx context.Context, key string, requestHash []byte) (*Attempt, error) {
	if err := check(key, requestHash); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.note(key)
	rec, before, won, err := s.backend.Begin(ctx, Start{key, requestHash, s.lease, s.keep})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, ErrMismatch):
		s.stats.Mismatches++
		return nil, err
	case err != nil:
		return nil, err
	case won:
		s.noteLocked(key) // from now on, and not from before the backend was asked
		s.stats.Begun++
		a := &Attempt{store: s, rec: rec}
		if before.State == Begun {
			s.stats.Taken++
			a.taken = before.Began
		}
		return a, nil
	case rec.State == Begun:
		s.stats.Running++
		return nil, &RunningError{key, rec.Lease}
	}
	s.stats.Replays++
	return &Attempt{store: s, rec: rec}, nil
}

// Wait is Begin that waits for a running attempt to finish or to lose its lease,
// as long as the context lets it. Attempts of this process are noticed at once,
// those of others within half a second.
func (s *Store) Wait(ctx context.Context, key string, requestHash []byte) (*Attempt, error) {
	pause := 5 * time.Millisecond
	for {
		w := s.await(key)
		a, err := s.Begin(ctx, key, requestHash)
		if !errors.Is(err, ErrRunning) {
			s.leave(key, w)
			return a, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-w.done:
		case <-timer.C:
			pause = min(2*pause, 500*time.Millisecond)
		case <-ctx.Done():
			timer.Stop()
			s.leave(key, w)
			return nil, errors.Join(ctx.Err(), err)
		}
		timer.Stop()
		s.leave(key, w)
	}
}

func (s *Store) await(key string) *waiters {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[key]
	if w == nil {
		w = &waiters{done: make(chan struct{})}
		s.waiting[key] = w
	}
	w.n++
	return w
}

func (s *Store) leave(key string, w *waiters) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.n--; w.n == 0 && s.waiting[key] == w {
		delete(s.waiting, key)
	}
}

// finished wakes those who wait for the key.
func (s *Store) finished(key string) {
	s.note(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waiting[key]; w != nil {
		close(w.done)
		delete(s.waiting, key)
	}
}

// A Failure is an error that is the request's answer: Do stores it, and duplicates
// get it too. Other errors of the work are taken for passing ones.
type Failure struct {
	// Result is what is stored and returned to duplicates.
	Result []byte
}

// Error returns the result as text.
func (f *Failure) Error() string { return fmt.Sprintf("idem: failed: %s", f.Result) }

// Do returns the result under the key, and does the work for it if it is the first
// to ask: it waits for one that runs, begins, extends the lease at each third of it
// while work runs, and stores what work returns. An error of work's releases the
// key, so that the next one does it again, unless it is a [Failure], which is
// stored. The work's context ends when the attempt is overtaken, and before it may be:
// when the storage cannot be reached to extend the lease. A result above [MaxResult]
// fails the key for good with [ErrTooLarge], since the work is done.
func (s *Store) Do(ctx context.Context, key string, requestHash []byte, work func(ctx context.Context, a *Attempt) ([]byte, error)) ([]byte, error) {
	a, err := s.Wait(ctx, key, requestHash)
	if err != nil {
		return nil, err
	}
	if result, done := a.Result(); done {
		if a.State() == Failed {
			return nil, &Failure{result}
		}
		return result, nil
	}
	began := time.Now()
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // if work panics, its key stays begun, as in a crash
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		part := max(s.lease/3, time.Millisecond)
		tick := time.NewTicker(part)
		defer tick.Stop()
		held := began // the lease is this attempt's until held plus the lease
		for {
			select {
			case <-wctx.Done():
				return
			case <-tick.C:
			}
			asked := time.Now()
			ectx, done := context.WithTimeout(wctx, part)
			err := a.Extend(ectx)
			done()
			switch {
			case err == nil:
				held = asked
			case errors.Is(err, ErrStale) || errors.Is(err, ErrClosed):
				cancel(err)
				return
			case time.Since(held)+part >= s.lease: // the storage is out of reach
				cancel(fmt.Errorf("%w: the lease of %q cannot be extended: %w", ErrStale, key, err))
				return
			}
		}
	}()
	result, err := work(wctx, a)
	cancel(nil)
	<-kept
	var failure *Failure
	// What became of the work is written down even if the client has gone.
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), s.lease)
	defer stop()
	switch {
	case err == nil && len(result) > MaxResult:
		// The work is done: that is kept, or the next one would do it again.
		err = fmt.Errorf("%w: a result of %d bytes, limit %d", ErrTooLarge, len(result), MaxResult)
		return nil, errors.Join(err, a.Fail(end, []byte(err.Error())))
	case err == nil:
		if err := a.Complete(end, result); err != nil {
			return nil, err
		}
		return result, nil
	case errors.As(err, &failure):
		return nil, errors.Join(err, a.Fail(end, failure.Result))
	}
	return nil, errors.Join(err, a.Release(end))
}

// An Attempt is one try at the work for a key. It is safe for concurrent use by
// multiple goroutines.
type Attempt struct {
	store *Store
	rec   Record
	taken time.Time
}

// Key returns the key.
func (a *Attempt) Key() string { return a.rec.Key }

// Token returns the number of the attempt among those with the key, from 1 on. It
// grows while the key is remembered, and begins at 1 again when it was forgotten: an
// attempt must not go on for longer than its lease and Keep, after which nothing tells
// it from a new one.
func (a *Attempt) Token() uint64 { return a.rec.Token }

// State returns Begun for an attempt that is to do the work, and Completed or
// Failed for one that found a result.
func (a *Attempt) State() State { return a.rec.State }

// Result returns the stored result, and whether there is one: then there is nothing
// to do any more. That of a Failed attempt is what Fail was given.
func (a *Attempt) Result() (result []byte, done bool) {
	return a.rec.Result, a.rec.State != Begun
}

// Taken returns when the attempt before this one began, if it neither finished nor
// gave up: its work may have been done, in part or not at all.
func (a *Attempt) Taken() (since time.Time, ok bool) { return a.taken, !a.taken.IsZero() }

// Complete stores the result, of up to [MaxResult] bytes, which is the answer to
// this key from now on. It returns [ErrStale] if the attempt was overtaken. To call
// it again with the same result is no error.
func (a *Attempt) Complete(ctx context.Context, result []byte) error {
	return a.finish(ctx, Completed, result)
}

// Fail stores that the work failed for good, with a result that says how: it is not
// tried again. Errors are those of Complete.
func (a *Attempt) Fail(ctx context.Context, result []byte) error {
	return a.finish(ctx, Failed, result)
}

// Release gives up: the next attempt with the key starts at once. It returns
// [ErrStale] if the attempt was overtaken.
func (a *Attempt) Release(ctx context.Context) error { return a.finish(ctx, Released, nil) }

func (a *Attempt) finish(ctx context.Context, state State, result []byte) error {
	if len(result) > MaxResult {
		return fmt.Errorf("%w: a result of %d bytes, limit %d", ErrTooLarge, len(result), MaxResult)
	}
	err := a.store.backend.Finish(ctx, a.rec.Key, a.rec.Token, state, result, a.store.keep)
	a.store.noteStale(err)
	if err == nil {
		a.store.finished(a.rec.Key)
	}
	return err
}

// Extend makes the lease as long again, from now on. It returns [ErrStale] if the
// attempt was overtaken, and is too late to be of use when the lease is over but
// nobody came.
func (a *Attempt) Extend(ctx context.Context) error {
	err := a.store.backend.Extend(ctx, a.rec.Key, a.rec.Token, a.store.lease, a.store.keep)
	a.store.noteStale(err)
	if err == nil {
		a.store.note(a.rec.Key)
	}
	return err
}

func (s *Store) noteStale(err error) {
	if errors.Is(err, ErrStale) {
		s.mu.Lock()
		s.stats.Stale++
		s.mu.Unlock()
	}
}
