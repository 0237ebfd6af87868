package main

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// The three ways in which a balancer spares itself questions. What they promise, for n
// balancers and a policy that lets through B in a window, is said at each.

// A near remembers something for each key that came lately.
type near[T any] struct {
	mu   sync.Mutex
	keys map[string]*T
}

// Room is how many keys are remembered. When there are as many, a new one takes the place
// of one that is old, if a few looks find one: somebody with many keys must not cost more
// memory than that, nor time.
const (
	room  = 10_000
	looks = 8
)

// of returns what there is for a key, or a new one, or nil if there is no room.
func (m *near[T]) of(key string, old func(*T) bool) *T {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.keys[key]
	if v != nil {
		return v
	}
	if len(m.keys) >= room {
		n := 0
		for k, v := range m.keys { // they begin anywhere
			if old(v) {
				delete(m.keys, k)
			}
			if n++; n == looks {
				break
			}
		}
		if len(m.keys) >= room {
			return nil
		}
	}
	if m.keys == nil {
		m.keys = map[string]*T{}
	}
	v = new(T)
	m.keys[key] = v
	return v
}

func (m *near[T]) each(f func(key string, v *T)) {
	m.mu.Lock()
	list := make(map[string]*T, len(m.keys))
	for k, v := range m.keys {
		list[k] = v
	}
	m.mu.Unlock()
	for k, v := range list {
		f(k, v)
	}
}

// ---- refusals -----------------------------------------------------------------------

// A denyCache remembers refusals until they end. What passes costs a question, what is
// refused again does not; B holds, and nothing is refused that would have passed.
type denyCache struct {
	*remote
	refused near[refusal]
}

type refusal struct {
	mu    sync.Mutex
	until time.Time
	d     ratelimit.Decision
}

func (c *denyCache) Check(ctx context.Context, key string, n int) (ratelimit.Decision, error) {
	now := c.now()
	f := c.refused.of(key, func(f *refusal) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !now.Before(f.until)
	})
	if f == nil {
		return c.remote.Check(ctx, key, n)
	}
	f.mu.Lock()
	left, d := f.until.Sub(now), f.d
	f.mu.Unlock()
	if left > 0 && n == 1 {
		d.RetryAfter = left
		return d, nil
	}
	d, err := c.remote.Check(ctx, key, n)
	if err == nil && !d.OK && n == 1 && !d.Full {
		f.mu.Lock()
		f.until, f.d = now.Add(d.RetryAfter), d
		f.mu.Unlock()
	}
	return d, err
}

// ---- leases -------------------------------------------------------------------------

// Leases are tokens that a balancer has taken out of the nodes' buckets in advance. It
// decides by them without a question. B holds exactly, whatever happens to nodes and
// balancers; tokens that a balancer holds while others are asked are refused too early.
type leases struct {
	*remote
	holder string // who this is: another one after each start
	share  int    // how many to take at most
	keep   time.Duration
	keys   near[held]
	stop   context.CancelFunc
	done   chan struct{}
}

type held struct {
	mu      sync.Mutex // held while a question is asked: others have the same
	tokens  int
	level   int       // at the node, when it was asked last
	until   time.Time // of the tokens
	number  uint64
	refused time.Time // until then
}

func newLeases(r *remote, holder string, share int, keep time.Duration) *leases {
	ctx, stop := context.WithCancel(context.Background())
	l := &leases{remote: r, holder: holder, share: share, keep: keep, stop: stop, done: make(chan struct{})}
	go l.giveBack(ctx)
	return l
}

func (l *leases) Check(ctx context.Context, key string, n int) (ratelimit.Decision, error) {
	h := l.keys.of(key, func(h *held) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return l.now().After(h.until.Add(l.keep))
	})
	if h == nil {
		return l.checkBucket(ctx, key, l.holder, n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := l.now()
	if !now.Before(h.until) {
		h.tokens = 0 // the node has forgotten them
	}
	d := ratelimit.Decision{Limit: l.spec.Count}
	if h.tokens < n {
		if left := h.refused.Sub(now); left > 0 && n == 1 {
			d.RetryAfter, d.ResetAfter = left, l.spec.Period
			return d, nil
		}
		g, err := l.takeLocked(ctx, key, h, 0, n-h.tokens)
		if err != nil {
			return l.instead(key, n), nil
		}
		if n == 1 {
			h.refused = l.now().Add(g.retry)
		}
		if h.tokens < n {
			d.RetryAfter, d.ResetAfter = g.retry, l.spec.Period
			return d, nil
		}
	}
	h.tokens -= n
	d.OK, d.Remaining = true, h.tokens+h.level
	d.ResetAfter = l.spec.Period * time.Duration(max(0, d.Limit-d.Remaining)) / time.Duration(d.Limit)
	return d, nil
}

// takeLocked asks for tokens, or gives some back. The lease ends here before it does at
// the node, which counts from when it gets the question; a sixteenth is for clocks that
// go at different speeds.
func (l *leases) takeLocked(ctx context.Context, key string, h *held, back, need int) (g grant, err error) {
	h.number++
	began := l.now()
	answer, err := l.ask(ctx, key, fmt.Sprintf("take\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d",
		url.QueryEscape(key), url.QueryEscape(l.holder), h.number, h.tokens, back, need, l.share, l.keep))
	if err != nil {
		return g, err
	}
	f := fields{list: answer}
	g = grant{tokens: int(f.number()), level: int(f.number()), retry: parseDuration(f.next())}
	if f.err != nil {
		return g, f.err
	}
	h.tokens += g.tokens
	h.level = g.level
	h.until = began.Add(l.keep - l.keep/16)
	return g, nil
}

// giveBack returns tokens that nobody has needed for half of their time.
func (l *leases) giveBack(ctx context.Context) {
	defer close(l.done)
	t := time.NewTicker(max(l.keep/4, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		l.keys.each(func(key string, h *held) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if left := h.until.Sub(l.now()); h.tokens > 0 && left > 0 && left < l.keep/2 {
				l.returnLocked(ctx, key, h)
			}
		})
	}
}

func (l *leases) returnLocked(ctx context.Context, key string, h *held) {
	back := h.tokens
	h.tokens = 0
	h.number++
	// An answer is not needed: if this is lost, the tokens are.
	_, _ = l.ask(ctx, key, fmt.Sprintf("take\t%s\t%s\t%d\t0\t%d\t0\t0\t%d", url.QueryEscape(key), url.QueryEscape(l.holder), h.number, back, l.keep))
}

// holds returns how many tokens this balancer has.
func (l *leases) holds() (n int) {
	l.keys.each(func(_ string, h *held) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if l.now().Before(h.until) {
			n += h.tokens
		}
	})
	return n
}

// close returns all tokens.
func (l *leases) close() error {
	l.stop()
	<-l.done
	l.keys.each(func(key string, h *held) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.tokens > 0 && l.now().Before(h.until) {
			l.returnLocked(context.Background(), key, h)
		}
	})
	return l.remote.close()
}

// ---- write-back ---------------------------------------------------------------------

// A writeBack decides by what the node said last, and by what it has let through since;
// it tells that when it is as many as pending, or some time has gone by. Up to n·pending
// more than B pass, and nothing is refused that would have passed.
type writeBack struct {
	*remote
	holder  string
	pending int
	flush   time.Duration
	keys    near[counted]
	stop    context.CancelFunc
	done    chan struct{}
}

type counted struct {
	mu     sync.Mutex
	known  bool
	level  time.Duration // at the node, as it was told last
	at     time.Time
	sent   int // told under number, and not acknowledged
	since  int // let through and not told
	number uint64
}

func newWriteBack(r *remote, holder string, pending int, flush time.Duration) *writeBack {
	ctx, stop := context.WithCancel(context.Background())
	w := &writeBack{remote: r, holder: holder, pending: pending, flush: flush, stop: stop, done: make(chan struct{})}
	go w.flushing(ctx)
	return w
}

func (w *writeBack) Check(ctx context.Context, key string, n int) (ratelimit.Decision, error) {
	c := w.keys.of(key, func(c *counted) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.sent+c.since == 0 && w.now().Sub(c.at) > w.spec.Period
	})
	if c == nil {
		return w.checkBucket(ctx, key, w.holder, n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || c.sent+c.since+n > w.pending {
		if err := w.tellLocked(ctx, key, c); err != nil {
			return w.instead(key, n), nil
		}
	}
	every := w.spec.Period / time.Duration(w.spec.Count)
	burst := w.spec.Burst
	if burst == 0 {
		burst = w.spec.Count
	}
	level := min(c.level+w.now().Sub(c.at), time.Duration(burst)*every) - time.Duration(c.sent+c.since)*every
	d := ratelimit.Decision{Limit: burst}
	if need := time.Duration(n) * every; level >= need && n <= w.pending {
		c.since += n
		level -= need
		d.OK = true
	} else {
		d.RetryAfter = need - level
	}
	d.Remaining = max(0, int(level/every))
	d.ResetAfter = time.Duration(burst)*every - level
	return d, nil
}

// tellLocked tells the node what has passed. What is not acknowledged is told again
// under the same number before anything else.
func (w *writeBack) tellLocked(ctx context.Context, key string, c *counted) error {
	for {
		if c.sent == 0 {
			c.sent, c.since = c.since, 0
			c.number++
		}
		answer, err := w.ask(ctx, key, fmt.Sprintf("spend\t%s\t%s\t%d\t%d", url.QueryEscape(key), url.QueryEscape(w.holder), c.number, c.sent))
		if err != nil {
			return err
		}
		c.level, c.at, c.known = parseDuration(answer[0]), w.now(), true
		c.sent = 0
		if c.since == 0 {
			return nil
		}
	}
}

// untold returns how much has passed that no node has counted.
func (w *writeBack) untold() (n int) {
	w.keys.each(func(_ string, c *counted) {
		c.mu.Lock()
		defer c.mu.Unlock()
		n += c.sent + c.since
	})
	return n
}

func (w *writeBack) tellAll(ctx context.Context) {
	w.keys.each(func(key string, c *counted) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.sent+c.since > 0 {
			_ = w.tellLocked(ctx, key, c) // if it fails, it is told the next time
		}
	})
}

func (w *writeBack) flushing(ctx context.Context) {
	defer close(w.done)
	t := time.NewTicker(w.flush)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.tellAll(ctx)
		}
	}
}

func (w *writeBack) close() error {
	w.stop()
	<-w.done
	w.tellAll(context.Background())
	return w.remote.close()
}
