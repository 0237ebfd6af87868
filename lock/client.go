package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// A Client takes locks from a cluster of lock servers. It keeps one session
// with them, whose lease covers all its locks, and one stream on which grants
// arrive. If the lease runs out all its locks are lost at once, and the next
// request starts a new session. It is safe for concurrent use by multiple
// goroutines. Use [Dial].
type Client struct {
	opts    Options
	log     *slog.Logger
	servers *caller

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	session *session // the last one; nil before the first
	opening chan struct{}
	closed  bool
	ending  bool // Close waits for wg: nothing is added to it any more
}

// A session is one lease and everything that hangs on it.
type session struct {
	c      *Client
	id     core.SessionID
	cancel context.CancelFunc // ends its goroutines
	over   chan struct{}      // closed when the session is lost or closed
	fresh  chan struct{}      // capacity 1: the lease was extended

	mu       sync.Mutex
	expires  time.Duration // on the client's clock
	ended    bool
	nextReq  uint64
	requests map[uint64]*pending      // waiting or held
	leaving  map[string]chan struct{} // keys that are being given up; closed when the servers know
}

// A pending request waits for its grant and then stands for the lock.
type pending struct {
	key   string
	grant chan uint64 // capacity 1: the token
	lock  *Lock       // once granted
}

// Dial opens a session with the cluster whose servers' addresses (host:port)
// are given; one that answers is enough, the others are found through it. It
// returns when a majority of the cluster has the session on disk, or with an
// error when ctx ends. The context matters for Dial alone.
func Dial(ctx context.Context, nodes []string, opts *Options) (*Client, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: no nodes", ErrInvalid)
	}
	h, err := newCaller(nodes, &o)
	if err != nil {
		return nil, err
	}
	c := &Client{opts: o, log: o.Logger, servers: h}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if _, err := c.current(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// current returns a live session, opening one if need be.
func (c *Client) current(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		if s := c.session; s != nil && s.alive() {
			c.mu.Unlock()
			return s, nil
		}
		if wait := c.opening; wait != nil {
			c.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		opening := make(chan struct{})
		c.opening = opening
		c.mu.Unlock()

		s, err := c.openSession(ctx)
		c.mu.Lock()
		if err == nil {
			c.session = s
		}
		c.opening = nil
		closed := c.closed
		c.mu.Unlock()
		close(opening)
		if err != nil {
			return nil, err
		}
		if closed {
			s.end(ErrClosed)
			return nil, ErrClosed
		}
		return s, nil
	}
}

func (c *Client) openSession(ctx context.Context) (*session, error) {
	s := &session{
		c: c, over: make(chan struct{}), fresh: make(chan struct{}, 1),
		requests: map[uint64]*pending{}, leaving: map[string]chan struct{}{},
	}
	rand.Read(s.id[:])
	sent := c.opts.Clock() // of the last try: the lease counts from there
	err := c.servers.retry(ctx, func(ctx context.Context) error {
		sent = c.opts.Clock()
		res, _, err := c.servers.command(ctx, &core.Command{Op: core.OpOpen, Session: s.id, TTL: c.opts.TTL, Value: []byte(c.opts.Label)})
		if err == nil && res.Status != core.StatusOK {
			err = &refusal{fmt.Errorf("%w: too many sessions", ErrTooMany)}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lock: open session: %w", err)
	}
	s.expires = sent + s.lease()
	sctx, cancel := context.WithCancel(c.ctx)
	s.cancel = cancel
	if !c.spawn(func() { s.keepAlive(sctx) }) || !c.spawn(func() { s.listen(sctx) }) {
		cancel()
		return nil, ErrClosed // the servers will end it with its lease
	}
	return s, nil
}

// lease is how long the client trusts one renewal, from when it was sent.
func (s *session) lease() time.Duration {
	return time.Duration(float64(s.c.opts.TTL) * (1 - s.c.opts.Drift))
}

// left returns how much of the lease is left.
func (s *session) left() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expires - s.c.opts.Clock()
}

// alive tells whether the lease holds at this moment.
func (s *session) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aliveLocked()
}

func (s *session) aliveLocked() bool { return !s.ended && s.c.opts.Clock() < s.expires }

// keepAlive renews the lease and ends the session when it has run out.
func (s *session) keepAlive(ctx context.Context) {
	ttl := s.c.opts.TTL
	// Often enough to notice a suspension of the machine, during which timers
	// stand still, soon after it; and at the moment when the lease runs out.
	tick := max(ttl/20, 20*time.Millisecond)
	look := time.NewTimer(tick)
	defer look.Stop()
	type renewal struct {
		sent time.Duration // when the try that succeeded began
		err  error
	}
	renewed := s.c.opts.Clock()
	var busy chan renewal // nil: none is under way
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-busy:
			busy = nil
			switch {
			case r.err == nil:
				renewed = r.sent
				s.mu.Lock()
				s.expires = max(s.expires, r.sent+s.lease())
				s.mu.Unlock()
			case errors.Is(r.err, errNoSession):
				s.end(fmt.Errorf("%w: the servers ended the session", ErrLost))
				return
			}
		case <-look.C:
		}
		left := s.left()
		if left <= 0 {
			s.end(fmt.Errorf("%w: the lease ran out", ErrLost))
			return
		}
		look.Reset(min(left, tick))
		if busy == nil && s.c.opts.Clock()-renewed >= ttl/3 {
			done := make(chan renewal, 1)
			busy = done
			s.c.wg.Add(1)
			go func() {
				defer s.c.wg.Done()
				var r renewal
				tctx, cancel := context.WithTimeout(ctx, ttl)
				defer cancel()
				r.err = s.c.servers.retry(tctx, func(ctx context.Context) error {
					r.sent = s.c.opts.Clock()
					a, err := s.c.servers.call(ctx, wire.AskRenew, s.id[:])
					if err == nil && a.kind != wire.Renewed {
						err = errNoSession
					}
					return err
				})
				done <- r
			}()
		}
	}
}

// end finishes the session on this side: all locks are lost because of cause.
func (s *session) end(cause error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	requests := s.requests
	s.requests = nil
	s.mu.Unlock()
	close(s.over)
	if s.cancel != nil {
		s.cancel()
	}
	for _, p := range requests {
		if p.lock != nil {
			p.lock.lose(cause)
		}
	}
	if cause != ErrClosed {
		s.c.log.Warn("session ended", "session", s.id, "cause", cause)
	}
	// Tell the servers, so that others need not wait for the lease. If they do
	// not hear of it, the lease will end there too.
	s.c.detach(func(ctx context.Context) error {
		return s.command(ctx, &core.Command{Op: core.OpClose})
	}, func() {})
}

// command executes something that may find the session gone.
func (s *session) command(ctx context.Context, cmd *core.Command) error {
	cmd.Session = s.id
	_, _, err := s.c.servers.command(ctx, cmd)
	if errors.Is(err, errNoSession) {
		err = nil
	}
	return err
}

// detach runs something that must reach the servers even though its caller no
// longer waits, for up to a TTL: by then the lease has ended too. Then it calls
// done.
func (c *Client) detach(f func(ctx context.Context) error, done func()) {
	told := c.spawn(func() {
		defer done()
		// Not c.ctx: Close waits for it.
		ctx, cancel := context.WithTimeout(context.Background(), min(c.opts.TTL, 5*time.Second))
		defer cancel()
		if err := c.servers.retry(ctx, f); err != nil {
			c.log.Info("not told to the servers", "err", err)
		}
	})
	if !told { // the end of the session has said it
		go done()
	}
}

// spawn runs f on a goroutine that Close waits for, unless Close is doing that
// already.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return false
	}
	c.wg.Go(f)
	return true
}

// Close ends the session: all locks of the client are released. It waits until
// the servers know or, if they do not answer, at most 5 s; they then release
// the locks when the lease ends. It may be called again.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	s := c.session
	c.mu.Unlock()
	if s != nil {
		s.end(ErrClosed)
	}
	c.cancel()
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	c.wg.Wait()
	c.servers.close()
	return nil
}

// Session returns the id of the current session, 32 hexadecimal digits, or ""
// if there is none at this moment.
func (c *Client) Session() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil || !c.session.alive() {
		return ""
	}
	return c.session.id.String()
}

// Lock waits for its turn and takes the lock of key, which nobody else holds
// until it is unlocked or lost. Waiters are served in the order in which their
// requests were logged; a reconnection keeps the place, a lost lease does not.
// If ctx ends first, the request leaves the queue and nothing is held.
//
// Errors: ctx's; [ErrHeldBySelf], [ErrIncompatible], [ErrTooMany],
// [ErrInvalid], [ErrClosed].
func (c *Client) Lock(ctx context.Context, key string) (*Lock, error) {
	return c.acquire(ctx, key, request{})
}

// TryLock takes the lock if nobody holds it or waits for it, and otherwise
// returns a [*HeldError]. It never queues.
func (c *Client) TryLock(ctx context.Context, key string) (*Lock, error) {
	return c.acquire(ctx, key, request{try: true})
}

// RLock waits for its turn and takes a shared hold of key: readers hold it
// together, never with a holder of Lock. The queue is first come, first
// served: a reader behind a waiting writer waits too, so neither side starves.
func (c *Client) RLock(ctx context.Context, key string) (*Lock, error) {
	return c.acquire(ctx, key, request{kind: core.Shared})
}

// TryRLock is RLock without waiting.
func (c *Client) TryRLock(ctx context.Context, key string) (*Lock, error) {
	return c.acquire(ctx, key, request{kind: core.Shared, try: true})
}

// Acquire waits for its turn and takes weight of the limit permits of the
// semaphore key, 1 ≤ weight ≤ limit. All who use a semaphore at one time must
// name the same limit; others get [ErrIncompatible].
func (c *Client) Acquire(ctx context.Context, key string, weight, limit uint32) (*Lock, error) {
	return c.acquire(ctx, key, request{kind: core.Permit, weight: weight, limit: limit})
}

// TryAcquire is Acquire without waiting.
func (c *Client) TryAcquire(ctx context.Context, key string, weight, limit uint32) (*Lock, error) {
	return c.acquire(ctx, key, request{kind: core.Permit, weight: weight, limit: limit, try: true})
}

// Campaign waits until this client is elected under name, by taking its lock,
// and publishes value (up to 1 KiB) as the leader's, for [Client.Inspect]. The
// token tells terms of office apart, and fences what the leader writes.
// Unlock resigns.
func (c *Client) Campaign(ctx context.Context, name string, value []byte) (*Lock, error) {
	return c.acquire(ctx, name, request{value: value})
}

// A request is what is asked for.
type request struct {
	kind          core.Kind
	weight, limit uint32
	try           bool
	value         []byte
}

func (c *Client) acquire(ctx context.Context, key string, req request) (*Lock, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if req.kind == core.Permit && (req.weight < 1 || req.weight > req.limit) {
		return nil, fmt.Errorf("%w: weight %d of limit %d", ErrInvalid, req.weight, req.limit)
	}
	if len(req.value) > maxValue {
		return nil, fmt.Errorf("%w: value of %d bytes, above %d", ErrInvalid, len(req.value), maxValue)
	}
	for {
		if err := contextErr(ctx); err != nil {
			return nil, err
		}
		s, err := c.current(ctx)
		if err != nil {
			return nil, err
		}
		l, err := s.acquire(ctx, key, req)
		if errors.Is(err, errNoSession) || errors.Is(err, errGone) || errors.Is(err, errLeaving) {
			continue // over before it was granted: queue again, if need be in a new session
		}
		return l, err
	}
}

// acquire makes one request in one session. errNoSession: the session ended
// before the grant. errGone, errLeaving: it was not let in.
func (s *session) acquire(ctx context.Context, key string, req request) (*Lock, error) {
	p := &pending{key: key, grant: make(chan uint64, 1)}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil, errNoSession
	}
	s.nextReq++
	n := s.nextReq
	s.requests[n] = p
	leaving := s.leaving[key]
	s.mu.Unlock()

	actx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.c.ctx, cancel)
	defer stop()

	cmd := core.Command{
		Op: core.OpEnqueue, Session: s.id, Req: n, Key: key, Kind: req.kind, Weight: req.weight, Limit: req.limit,
		Try: req.try, Value: req.value,
	}
	var res core.Result
	var label string
	err := s.c.servers.retry(actx, func(ctx context.Context) (err error) {
		res, label, err = s.c.servers.command(ctx, &cmd)
		return err
	})
	if err != nil {
		if !errors.Is(err, errNoSession) && !refused(err) {
			s.abandon(n, key) // it may be queued or granted, for all we know
		} else {
			s.forget(n)
		}
		if errors.Is(err, errNoSession) {
			s.end(fmt.Errorf("%w: the servers ended the session", ErrLost))
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if s.c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		return nil, err
	}
	switch res.Status {
	case core.StatusGranted:
		return s.granted(n, p, res.Token)
	case core.StatusQueued:
	case core.StatusHeld:
		s.forget(n)
		return nil, &HeldError{Key: key, Holder: label, Token: res.Token, Since: moment(res.Since)}
	case core.StatusGone:
		// It was so late that the servers take it for one of long ago: it is
		// not queued and never will be.
		s.forget(n)
		return nil, errGone
	case core.StatusHeldBySelf:
		s.forget(n)
		if leaving == nil {
			return nil, statusError(res.Status, key)
		}
		// It overtook what gives the last request for this key up.
		select {
		case <-leaving:
			return nil, errLeaving
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	default:
		s.forget(n)
		return nil, statusError(res.Status, key)
	}
	select {
	case token := <-p.grant:
		return s.granted(n, p, token)
	case <-s.over:
		if s.c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		return nil, errNoSession
	case <-ctx.Done():
		s.abandon(n, key)
		return nil, context.Cause(ctx)
	}
}

// granted turns a pending request into a held lock.
func (s *session) granted(req uint64, p *pending, token uint64) (*Lock, error) {
	s.mu.Lock()
	if !s.aliveLocked() {
		// The grant came, but the lease it stands on is over.
		s.mu.Unlock()
		s.end(fmt.Errorf("%w: the lease ran out", ErrLost))
		return nil, errNoSession
	}
	l := newLock(s, req, p.key, token)
	p.lock = l
	s.mu.Unlock()
	return l, nil
}

// forget drops a request that the servers do not know or have finished.
func (s *session) forget(req uint64) {
	s.mu.Lock()
	delete(s.requests, req)
	s.mu.Unlock()
}

// abandon gives up a request that may be queued or granted. Cancelling a
// granted request releases it, so there is never a lock that nobody knows of.
func (s *session) abandon(req uint64, key string) {
	s.giveUp(req, &core.Command{Op: core.OpCancel, Req: req, Key: key})
}

// giveUp has the servers execute a command that ends a request, for a caller
// that no longer waits.
func (s *session) giveUp(req uint64, cmd *core.Command) {
	done := make(chan struct{})
	s.mu.Lock()
	delete(s.requests, req)
	before := s.leaving[cmd.Key]
	s.leaving[cmd.Key] = done
	s.mu.Unlock()
	s.c.detach(func(ctx context.Context) error { return s.command(ctx, cmd) }, func() {
		if before != nil {
			<-before
		}
		s.mu.Lock()
		if s.leaving[cmd.Key] == done {
			delete(s.leaving, cmd.Key)
		}
		s.mu.Unlock()
		close(done)
	})
}
