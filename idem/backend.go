package idem

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// State is what has become of a key.
type State uint8

// The states of a key.
const (
	Begun     State = 1 // an attempt is at work, or died at it
	Completed State = 2 // the result is stored
	Failed    State = 3 // that it failed for good is stored, as the result
	Released  State = 4 // given up: the next attempt starts at once
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Begun:
		return "begun"
	case Completed:
		return "completed"
	case Failed:
		return "failed"
	case Released:
		return "released"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Limits of what a backend has to take.
const (
	MaxKey    = 1 << 10 // bytes of a key
	MaxHash   = 64      // bytes of a request's hash
	MaxResult = 1 << 20 // bytes of a result
)

// A Record is what a backend stores under a key.
type Record struct {
	Key   string
	State State
	// Token counts the attempts, from 1 on.
	Token uint64
	// Hash is the request's, as the first attempt gave it.
	Hash []byte
	// Result is that of Completed and Failed.
	Result []byte
	// Began is when the last attempt began, by the backend's clock.
	Began time.Time
	// Lease is when the attempt's lease ends, if the state is Begun.
	Lease time.Time
	// Expires is when the key is forgotten. A begun key is not forgotten before its
	// lease is over.
	Expires time.Time
}

// A Start is what an attempt asks of a backend.
type Start struct {
	Key   string
	Hash  []byte
	Lease time.Duration // how long others keep off
	Keep  time.Duration // how long the key is remembered after that
}

// A Backend stores records. Each call is one atomic, durable step. Time is the
// backend's own: a server's clock where there is a server, so that the clocks of
// its clients do not matter. Package idemtest checks a Backend; those here are safe
// for concurrent use by multiple goroutines, and others have to be.
type Backend interface {
	// Begin begins an attempt, and tells with won whether the key is this attempt's.
	// It is if there is no record, or a forgotten one, or one that is Released, or a
	// Begun one whose lease is over; the new record is Begun, with the next token
	// (a forgotten key may begin at 1 again). Otherwise nothing changes.
	// The record is the one that is there now. When won is set and the token is not
	// 1, before is the one that was taken over.
	//
	// Where the record's hash is not the Start's, Begin changes nothing, and returns
	// the record and ErrMismatch.
	Begin(ctx context.Context, s Start) (rec, before Record, won bool, err error)
	// Finish gives a Begun key with this token another state and a result, to be
	// remembered so long. Without such a record it is ErrStale and changes nothing;
	// but if the record has this token, state and result already, it is no error.
	Finish(ctx context.Context, key string, token uint64, state State, result []byte, keep time.Duration) error
	// Extend makes the lease of a Begun key with this token end so long from now, or
	// returns ErrStale.
	Extend(ctx context.Context, key string, token uint64, lease, keep time.Duration) error
	// Get returns a key's record, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// Unfinished returns up to n records that are Begun and whose lease is over.
	Unfinished(ctx context.Context, n int) ([]Record, error)
	// Close releases what the backend holds. It may be called twice.
	Close() error
}

// A step is what one call changes, given the record that is there (or none) and the
// time. It is shared by the backends of this package.

func begin(old Record, found bool, s Start, now time.Time) (rec Record, won bool, err error) {
	rec = Record{
		Key: s.Key, State: Begun, Token: 1, Hash: s.Hash, Began: now,
		Lease: now.Add(s.Lease), Expires: now.Add(s.Lease + s.Keep),
	}
	if !found || !old.Expires.After(now) {
		return rec, true, nil
	}
	if string(old.Hash) != string(s.Hash) {
		return old, false, fmt.Errorf("%w: %q", ErrMismatch, s.Key)
	}
	if old.State == Released || old.State == Begun && !old.Lease.After(now) {
		rec.Token = old.Token + 1
		return rec, true, nil
	}
	return old, false, nil
}

func finish(old Record, found bool, token uint64, state State, result []byte, keep time.Duration, now time.Time) (rec Record, changed bool, err error) {
	if found && old.Token == token {
		if old.State == Begun {
			old.State, old.Result, old.Lease, old.Expires = state, result, time.Time{}, now.Add(keep)
			return old, true, nil
		}
		if old.State == state && string(old.Result) == string(result) {
			return old, false, nil
		}
	}
	return old, false, stale(old, found, token)
}

func extend(old Record, found bool, token uint64, lease, keep time.Duration, now time.Time) (Record, error) {
	if !found || old.Token != token || old.State != Begun {
		return old, stale(old, found, token)
	}
	old.Lease, old.Expires = now.Add(lease), now.Add(lease+keep)
	return old, nil
}

func stale(old Record, found bool, token uint64) error {
	if !found {
		return fmt.Errorf("%w: attempt %d, the key is forgotten", ErrStale, token)
	}
	return fmt.Errorf("%w: %q, attempt %d, there is attempt %d, %v", ErrStale, old.Key, token, old.Token, old.State)
}

// A Mem is a [Backend] in memory: for tests, and for keys that may be forgotten in
// a crash. It is safe for concurrent use by multiple goroutines. Use [NewMem].
type Mem struct {
	mu      sync.Mutex
	now     func() time.Time
	records map[string]Record
	dues    dues
	closed  bool
}

// NewMem returns an empty backend. Now is its clock; nil is time.Now.
func NewMem(now func() time.Time) *Mem {
	if now == nil {
		now = time.Now
	}
	return &Mem{now: now, records: map[string]Record{}}
}

func (m *Mem) lock(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return time.Time{}, ErrClosed
	}
	now := m.now()
	// Forgotten keys go two for each call, so that a call takes bounded time.
	for range 2 {
		key, ok := m.dues.pop(now)
		if !ok {
			break
		}
		if rec, ok := m.records[key]; ok && rec.Expires.After(now) {
			m.dues.push(rec.Expires, key)
		} else {
			delete(m.records, key)
		}
	}
	return now, nil
}

func (m *Mem) get(key string, now time.Time) (Record, bool) {
	rec, ok := m.records[key]
	return rec, ok && rec.Expires.After(now)
}

func (m *Mem) put(rec Record) {
	rec.Hash, rec.Result = clone(rec.Hash), clone(rec.Result)
	if _, ok := m.records[rec.Key]; !ok {
		m.dues.push(rec.Expires, rec.Key)
	}
	m.records[rec.Key] = rec
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func copied(rec Record) Record {
	rec.Hash, rec.Result = clone(rec.Hash), clone(rec.Result)
	return rec
}

// Begin implements [Backend].
func (m *Mem) Begin(ctx context.Context, s Start) (rec, before Record, won bool, err error) {
	now, err := m.lock(ctx)
	if err != nil {
		return Record{}, Record{}, false, err
	}
	defer m.mu.Unlock()
	old, found := m.get(s.Key, now)
	if rec, won, err = begin(old, found, s, now); won {
		m.put(rec)
		if rec.Token > 1 {
			before = copied(old)
		}
	}
	return copied(rec), before, won, err
}

// Finish implements [Backend].
func (m *Mem) Finish(ctx context.Context, key string, token uint64, state State, result []byte, keep time.Duration) error {
	now, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	old, found := m.get(key, now)
	rec, changed, err := finish(old, found, token, state, result, keep, now)
	if changed {
		m.put(rec)
	}
	return err
}

// Extend implements [Backend].
func (m *Mem) Extend(ctx context.Context, key string, token uint64, lease, keep time.Duration) error {
	now, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	old, found := m.get(key, now)
	rec, err := extend(old, found, token, lease, keep, now)
	if err == nil {
		m.put(rec)
	}
	return err
}

// Get implements [Backend].
func (m *Mem) Get(ctx context.Context, key string) (Record, error) {
	now, err := m.lock(ctx)
	if err != nil {
		return Record{}, err
	}
	defer m.mu.Unlock()
	rec, ok := m.get(key, now)
	if !ok {
		return Record{}, fmt.Errorf("%w: %q", ErrNotFound, key)
	}
	return copied(rec), nil
}

// Unfinished implements [Backend]. It looks at all keys.
func (m *Mem) Unfinished(ctx context.Context, n int) ([]Record, error) {
	now, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var list []Record
	for _, rec := range m.records {
		if len(list) < n && rec.State == Begun && !rec.Lease.After(now) && rec.Expires.After(now) {
			list = append(list, copied(rec))
		}
	}
	return list, nil
}

// Close implements [Backend]. All keys are gone.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.records, m.dues = true, nil, nil
	return nil
}

// dues is a heap of keys by when they may be forgotten.
type dues []due

type due struct {
	at  time.Time
	key string
}

func (d *dues) push(at time.Time, key string) {
	s := append(*d, due{at, key})
	i := len(s) - 1
	for i > 0 && s[i].at.Before(s[(i-1)/2].at) {
		s[i], s[(i-1)/2] = s[(i-1)/2], s[i]
		i = (i - 1) / 2
	}
	*d = s
}

// pop takes off the first key that is due.
func (d *dues) pop(now time.Time) (key string, ok bool) {
	s := *d
	if len(s) == 0 || s[0].at.After(now) {
		return "", false
	}
	key = s[0].key
	last := len(s) - 1
	s[0], s[last] = s[last], due{}
	s = s[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			break
		}
		if c+1 < last && s[c+1].at.Before(s[c].at) {
			c++
		}
		if !s[c].at.Before(s[i].at) {
			break
		}
		s[i], s[c] = s[c], s[i]
		i = c
	}
	*d = s
	return key, true
}
