package ratelimit

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Never is a RetryAfter: the request asks for more than ever passes at once.
const Never = time.Duration(math.MaxInt64)

// A Decision says whether a request may pass, and what to tell who sent it.
type Decision struct {
	OK bool
	// Limit is the most that passes at once: the burst, or the window's count.
	Limit int
	// Remaining is how many would pass now, after this one.
	Remaining int
	// RetryAfter is how long to wait before the same request passes, if nobody else
	// comes: 0 if it passed, [Never] if it asks for more than Limit.
	RetryAfter time.Duration
	// ResetAfter is how long until all of Limit passes again, if nobody comes. Of a
	// FixedWindow it is when the window ends, also where nothing has passed in it.
	ResetAfter time.Duration
	// Full says that the decision was made without a memory for the key, because
	// [Options.MaxKeys] are in use.
	Full bool
}

// A Checker decides on requests, here or on a server. Limiter is one.
type Checker interface {
	// Check decides whether n requests with this key may pass now.
	Check(ctx context.Context, key string, n int) (Decision, error)
}

// Full is what becomes of a new key when there are as many as there may be, and
// none of them is forgotten yet.
type Full uint8

const (
	// Evict makes room by forgetting an eighth of the keys, those that would be
	// forgotten first. They are as new when they come again: who can make up keys by
	// the million gets at most that.
	Evict Full = iota
	// Deny refuses new keys: from when all of a shard's places are in use until an
	// eighth of them is forgotten, but for those that find a forgotten one on their way.
	Deny
	// Admit lets new keys through unlimited, for as long.
	Admit
)

// Options are what is not required. The zero value of each field means its default.
type Options struct {
	// MaxKeys bounds the keys that are remembered at a time, and so the memory.
	// Default 1,000,000. It is divided among 64 shards, which do not fill evenly: set
	// it a quarter above the keys that are active at a time, else some shards are full
	// and evict.
	MaxKeys int
	// Full is what happens above that. Default Evict.
	Full Full
	// Now is the clock. Default time.Now, whose monotonic part counts.
	Now func() time.Time
}

// A Limiter applies one policy to each of many keys: users, addresses, whatever. Keys
// are not stored, only a 64-bit hash of each under a secret of the limiter; of a
// million keys, two share a limit with a probability of one in 37 million. It is safe
// for concurrent use by multiple goroutines, without locks for GCRA, TokenBucket and
// FixedWindow. Use [New].
type Limiter struct {
	rule   rule
	policy Policy
	store  store
	secret [2]uint64
	clock  func() time.Time // nil: time.Now
	epoch  atomic.Pointer[epoch]
}

// An epoch is the first time that a limiter sees, and what that is in ticks.
type epoch struct {
	base  time.Time
	ticks int64
}

type store interface {
	take(h uint64, now, n int64) Decision
	give(h uint64, at, now, n int64)
	each(now int64, f func(h uint64, word int64, mem []uint32))
	put(h uint64, now, word int64, mem []uint32) bool
	size() (keys, bytes int)
}

// New returns a limiter.
func New(p Policy, opts *Options) (*Limiter, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if p == nil {
		return nil, fmt.Errorf("%w: no policy", ErrInvalid)
	}
	r, err := p.compile()
	if err != nil {
		return nil, err
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = 1_000_000
	}
	if o.MaxKeys < 1 || o.MaxKeys > math.MaxInt32 || o.Full > Admit {
		return nil, fmt.Errorf("%w: %d keys, full %d", ErrInvalid, o.MaxKeys, o.Full)
	}
	l := &Limiter{rule: r, policy: p, clock: o.Now}
	if r.words() == 0 {
		l.store = newTable(r, o.MaxKeys, o.Full)
	} else {
		l.store = newBlockTable(r, o.MaxKeys, o.Full)
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("ratelimit: %w", err)
	}
	l.secret = [2]uint64{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
	return l, nil
}

// begin makes a time the limiter's first, unless there is one. In ticks it is such
// that fixed windows begin at multiples of their period since 1970.
func (l *Limiter) begin(t time.Time) *epoch {
	p := int64(l.policy.rate().Period)
	e := &epoch{t, (middle/ticksPerNano/p*p + (t.UnixNano()%p+p)%p) * ticksPerNano}
	l.epoch.CompareAndSwap(nil, e)
	return l.epoch.Load()
}

// ticks returns a time as the limiter counts it.
func (l *Limiter) ticks(t time.Time) int64 {
	e := l.epoch.Load()
	if e == nil {
		e = l.begin(t)
	}
	return min(max(1, e.ticks+ticks(t.Sub(e.base))), lastTick)
}

func (l *Limiter) now() int64 {
	if l.clock != nil {
		return l.ticks(l.clock())
	}
	e := l.epoch.Load()
	if e == nil {
		e = l.begin(time.Now())
	}
	return min(e.ticks+ticks(time.Since(e.base)), lastTick)
}

func (l *Limiter) hash(key string) uint64 {
	return max(1, sipHash(l.secret[0], l.secret[1], key))
}

// Allow tells whether one request with this key may pass now, and counts it if so.
func (l *Limiter) Allow(key string) bool {
	h, now := l.hash(key), l.now()
	g, ok := l.rule.(*gcra)
	if !ok {
		return l.store.take(h, now, 1).OK
	}
	// As store.take, without the numbers of a Decision, which take longer than all the
	// rest.
	t := l.store.(*table)
	word, s := t.get(h)
	if s == nil {
		return t.take(h, now, 1).OK
	}
	for {
		next := max(word, now) + g.gap
		if next-now > g.depth {
			return false
		}
		if s.word.CompareAndSwap(word, next) {
			return true
		}
		if word, s = t.get(h); s == nil {
			return t.take(h, now, 1).OK
		}
	}
}

// AllowN decides on n requests at once: all pass, or none. With n = 0 it only tells
// how things are. A negative n is 0.
func (l *Limiter) AllowN(key string, n int) Decision {
	return l.store.take(l.hash(key), l.now(), int64(max(0, n)))
}

// AllowAt is AllowN at a time that the caller gives, instead of the clock's: any time,
// as long as all that a limiter ever sees are within 9 years of the first. Times should
// not go back: an earlier time than before counts as one at which less has become
// free.
func (l *Limiter) AllowAt(t time.Time, key string, n int) Decision {
	return l.store.take(l.hash(key), l.ticks(t), int64(max(0, n)))
}

// Check implements [Checker]. It returns the context's error if that is over, and no
// other.
func (l *Limiter) Check(ctx context.Context, key string, n int) (Decision, error) {
	if err := ctx.Err(); err != nil {
		return Decision{}, err
	}
	return l.AllowN(key, n), nil
}

// Wait lets n requests pass as soon as they may, and returns nil then. With GCRA and
// TokenBucket those that wait pass in the order in which they came, each at its time;
// with the others each tries again when the policy says so.
//
// It returns [ErrTooMany] at once if n never passes, or not before the context's
// deadline, and the context's error if that ends while waiting; then nothing is
// counted.
func (l *Limiter) Wait(ctx context.Context, key string, n int) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := l.Reserve(key, n)
		wait := r.Delay
		unsupported := errors.Is(err, ErrUnsupported)
		if unsupported {
			d := l.AllowN(key, n)
			if d.OK {
				return nil
			}
			if wait = d.RetryAfter; wait == Never {
				err = fmt.Errorf("%w: %d at once, limit %d", ErrTooMany, n, d.Limit)
			} else {
				wait, err = max(wait, time.Microsecond), nil
			}
		}
		if err != nil {
			return err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			r.Cancel()
			return fmt.Errorf("%w: %d pass in %v, the context's deadline is before", ErrTooMany, n, wait)
		}
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				r.Cancel()
				return ctx.Err()
			}
		}
		if !unsupported {
			return nil
		}
	}
}

// A Reservation is a place in the flow. The zero Reservation is none.
type Reservation struct {
	// Delay is how long to wait from now on.
	Delay time.Duration

	l    *Limiter
	h    uint64
	next int64 // where the schedule was behind it
	size int64 // by how much it moved the schedule
}

// Reserve counts n requests that pass after the reservation's Delay, which it bounds
// by nothing: Cancel gives back a place that is too late. It is for GCRA and
// TokenBucket; other policies have no order of those that wait, and return
// [ErrUnsupported]. [ErrTooMany] is returned for more than the burst, and when there
// is no room for the key.
func (l *Limiter) Reserve(key string, n int) (Reservation, error) {
	g, ok := l.rule.(*gcra)
	if !ok {
		return Reservation{}, fmt.Errorf("%w: %T", ErrUnsupported, l.policy)
	}
	m := int64(max(0, n))
	if m > g.size {
		return Reservation{}, fmt.Errorf("%w: %d at once, limit %d", ErrTooMany, n, g.size)
	}
	t := l.store.(*table)
	h := l.hash(key)
	for {
		now := l.now()
		word, s := t.get(h)
		next := max(word, now) + m*g.gap
		if m == 0 {
			return Reservation{}, nil
		}
		if next > lastTick {
			return Reservation{}, fmt.Errorf("%w: the queue is longer than the clock", ErrTooMany)
		}
		if s == nil {
			switch t.insert(h, now, next) {
			case noRoom:
				return Reservation{}, fmt.Errorf("%w: no room for another key", ErrTooMany)
			case exists:
				continue
			}
		}
		if s == nil || s.word.CompareAndSwap(word, next) {
			return Reservation{nanos(next - g.depth - now), l, h, next, m * g.gap}, nil
		}
	}
}

// Cancel gives the place back as far as that lets nobody pass who would be too many:
// not when its time has come, and not where others have reserved behind it, who keep
// their places. It may be called once, and does nothing for the zero Reservation.
func (r Reservation) Cancel() {
	if r.l == nil {
		return
	}
	g, t := r.l.rule.(*gcra), r.l.store.(*table)
	for {
		now := r.l.now()
		if r.next-g.depth <= now {
			return
		}
		word, s := t.get(r.h)
		if s == nil {
			return
		}
		back := r.size - (word - r.next)
		if back <= 0 || s.word.CompareAndSwap(word, word-back) {
			return
		}
	}
}

// A Rule is one of several limits that a request has to meet: of its user, its
// address, its route.
type Rule struct {
	Limiter *Limiter
	Key     string
}

// AllowAll lets n requests pass if all rules do, and counts them with all or with
// none. It returns the decision that matters: the first refusal, whose rule it names;
// or else the one with the least remaining. While it decides, a rule may for a moment
// count a request that another one then refuses, so that others are refused rather
// than let through.
func AllowAll(n int, rules ...Rule) (d Decision, rule int) {
	n = max(0, n)
	rule = -1
	at := make([]int64, len(rules))
	for i, r := range rules {
		l := r.Limiter
		at[i] = l.now()
		got := l.store.take(l.hash(r.Key), at[i], int64(n))
		if !got.OK {
			for j, r := range rules[:i] {
				r.Limiter.store.give(r.Limiter.hash(r.Key), at[j], r.Limiter.now(), int64(n))
			}
			return got, i
		}
		if rule < 0 || got.Remaining < d.Remaining {
			d, rule = got, i
		}
	}
	if rule < 0 {
		d.OK = true
	}
	return d, rule
}

// Stats is what a limiter holds.
type Stats struct {
	Keys  int // that have a memory; some of them may be as good as forgotten
	Bytes int // of all memory for keys
}

// Stats returns how much the limiter holds. It takes the lock of each shard in turn.
func (l *Limiter) Stats() Stats {
	keys, bytes := l.store.size()
	return Stats{keys, bytes}
}

// Policy returns the policy.
func (l *Limiter) Policy() Policy { return l.policy }
