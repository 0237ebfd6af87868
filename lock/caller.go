package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

var (
	// errNoSession is the servers' word that they do not know the session.
	errNoSession = errors.New("lock: no such session")
	// errGone is the servers' word that a request is over.
	errGone = errors.New("lock: request is over")
	// errLeaving means that an earlier request for the same key was in the way.
	errLeaving = errors.New("lock: an earlier request was being given up")
)

// A refusal is a definite answer that repeating will not change.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refused(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// A caller sends requests to whichever server leads, over one connection at a
// time.
type caller struct {
	o *Options

	mu      sync.Mutex
	nodes   []string // host:port; those given, and leaders that were named
	at      int      // index of the one to ask
	cur     *conn    // nil: none
	dialing chan struct{}
	closed  bool
}

func newCaller(nodes []string, o *Options) (*caller, error) {
	c := &caller{o: o}
	for _, n := range nodes {
		n = strings.TrimPrefix(strings.TrimPrefix(n, "http://"), "https://")
		if n == "" || strings.ContainsAny(n, "/ ") {
			return nil, fmt.Errorf("%w: node %q: want host:port", ErrInvalid, n)
		}
		c.nodes = append(c.nodes, n)
	}
	c.at = rand.IntN(len(c.nodes))
	return c, nil
}

func (c *caller) close() {
	c.mu.Lock()
	c.closed = true
	cur := c.cur
	c.mu.Unlock()
	if cur != nil {
		cur.fail(ErrClosed)
	}
}

// conn returns the connection, making one if need be. Of several callers one
// dials.
func (c *caller) conn(ctx context.Context) (*conn, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		if c.cur != nil {
			cur := c.cur
			c.mu.Unlock()
			err := cur.broken()
			if err == nil {
				return cur, nil
			}
			c.leave(cur, err)
			continue
		}
		if wait := c.dialing; wait != nil {
			c.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		done := make(chan struct{})
		c.dialing = done
		node := c.nodes[c.at]
		c.mu.Unlock()

		nc, err := connect(ctx, node, c.o)
		c.mu.Lock()
		c.dialing = nil
		if err != nil {
			c.moveOn(node, err)
		} else if c.closed {
			err = ErrClosed
		} else {
			c.cur = nc
		}
		c.mu.Unlock()
		close(done)
		if err != nil {
			if nc != nil {
				nc.fail(err)
			}
			return nil, err
		}
		return nc, nil
	}
}

// leave gives up a connection because of err, unless somebody else has.
func (c *caller) leave(old *conn, err error) {
	old.fail(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == old {
		c.cur = nil
		c.moveOn(old.node, err)
	}
}

// moveOn chooses the server to ask after node did not help. The caller holds mu.
func (c *caller) moveOn(node string, err error) {
	if c.nodes[c.at] != node {
		return // it has been chosen already
	}
	var r *redirect
	if errors.As(err, &r) && r.leader != "" && r.leader != node {
		if i := slices.Index(c.nodes, r.leader); i >= 0 {
			c.at = i
			return
		}
		if len(c.nodes) < 64 {
			c.nodes = append(c.nodes, r.leader)
			c.at = len(c.nodes) - 1
			return
		}
	}
	c.at = (c.at + 1) % len(c.nodes)
}

// retry repeats f, which makes one call, until it gets a definite answer or ctx
// ends. Every call is idempotent on the servers.
func (c *caller) retry(ctx context.Context, f func(ctx context.Context) error) error {
	pause := 5 * time.Millisecond
	var last error
	for tries := 0; ; tries++ {
		if err := contextErr(ctx); err != nil {
			return afterTries(err, last)
		}
		tctx, cancel := context.WithTimeout(ctx, c.o.RequestTimeout)
		err := f(tctx)
		cancel()
		if err == nil || refused(err) || errors.Is(err, errNoSession) || errors.Is(err, ErrClosed) {
			return err
		}
		last = err
		var r *redirect
		if errors.As(err, &r) && r.leader != "" && tries < 3 {
			continue // told where to go: no reason to wait
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, 250*time.Millisecond)
	}
}

func afterTries(err, last error) error {
	if last == nil {
		return err
	}
	return fmt.Errorf("%w; last try: %w", err, last)
}

// call makes one request and returns the frame that answers it.
func (c *caller) call(ctx context.Context, k wire.Kind, payload []byte) (frame, error) {
	nc, err := c.conn(ctx)
	if err != nil {
		return frame{}, err
	}
	a := nc.ask(ctx, k, payload, c.o.RequestTimeout*9/10)
	switch {
	case a.err != nil:
		if err := nc.broken(); err != nil {
			c.leave(nc, err)
		}
		return a, a.err
	case a.kind == wire.NotLeader:
		err := &redirect{nc.node, string(a.payload)}
		c.leave(nc, err)
		return a, err
	case a.kind == wire.Failed:
		return a, fmt.Errorf("lock: %s: %s", nc.node, a.payload)
	case a.kind == wire.Invalid:
		return a, &refusal{fmt.Errorf("%w: %s", ErrInvalid, a.payload)}
	}
	return a, nil
}

// command has the servers execute one command. errNoSession: they do not know
// the session.
func (c *caller) command(ctx context.Context, cmd *core.Command) (res core.Result, label string, err error) {
	a, err := c.call(ctx, wire.AskCommand, cmd.Append(make([]byte, 0, 128)))
	if err != nil {
		return res, "", err
	}
	if a.kind != wire.Done {
		return res, "", &refusal{fmt.Errorf("lock: unexpected answer of kind %d", a.kind)}
	}
	if res, label, err = wire.ParseResult(a.payload); err != nil {
		return res, "", &refusal{err}
	}
	if res.Status == core.StatusNoSession {
		err = errNoSession
	}
	return res, label, err
}

// statusError translates the status of a request that got no lock.
func statusError(s core.Status, key string) error {
	var err error
	switch s {
	case core.StatusHeldBySelf:
		err = ErrHeldBySelf
	case core.StatusConflict:
		err = ErrIncompatible
	case core.StatusTooMany:
		err = ErrTooMany
	case core.StatusNotHeld:
		err = ErrNotHeld
	default:
		return fmt.Errorf("lock: %.80q: unexpected status %v", key, s)
	}
	return fmt.Errorf("%w: %.80q", err, key)
}
