package lock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// errNoSession is the servers' word that they do not know the session.
var errNoSession = errors.New("lock: no such session")

// errGone is the servers' word that a request is over.
var errGone = errors.New("lock: request is over")

// A refusal is a definite answer that repeating will not change.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refused(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// A caller sends requests to whichever server leads.
type caller struct {
	rt      http.RoundTripper
	scheme  string
	timeout time.Duration

	mu    sync.Mutex
	nodes []string // host:port; those given, and leaders that were named
	at    int      // index of the one to ask
}

func newCaller(nodes []string, o *Options) (*caller, error) {
	c := &caller{rt: o.Transport, scheme: "http", timeout: o.RequestTimeout}
	if o.TLS != nil {
		c.scheme = "https"
	}
	for _, n := range nodes {
		n = strings.TrimPrefix(n, c.scheme+"://")
		if n == "" || strings.ContainsAny(n, "/ ") {
			return nil, fmt.Errorf("%w: node %q: want host:port", ErrInvalid, n)
		}
		c.nodes = append(c.nodes, n)
	}
	c.at = rand.IntN(len(c.nodes))
	return c, nil
}

func (c *caller) close() {
	if t, ok := c.rt.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

func (c *caller) node() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[c.at]
}

// leadBy makes addr the server to ask.
func (c *caller) leadBy(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.nodes, addr); i >= 0 {
		c.at = i
	} else if len(c.nodes) < 64 {
		c.nodes = append(c.nodes, addr)
		c.at = len(c.nodes) - 1
	}
}

// leave moves on from a server that did not help, unless somebody else has.
func (c *caller) leave(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[c.at] == node {
		c.at = (c.at + 1) % len(c.nodes)
	}
}

// retry repeats f, which makes one call, until it gets a definite answer or ctx
// ends. Every call is idempotent on the servers.
func (c *caller) retry(ctx context.Context, f func(ctx context.Context) error) error {
	pause := 5 * time.Millisecond
	var last error
	for {
		if err := contextErr(ctx); err != nil {
			return afterTries(err, last)
		}
		tctx, cancel := context.WithTimeout(ctx, c.timeout)
		err := f(tctx)
		cancel()
		if err == nil || refused(err) || errors.Is(err, errNoSession) {
			return err
		}
		last = err
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

// call makes one request. in, if not nil, is sent as JSON; out receives the
// answer if it is an outcome or a session.
func (c *caller) call(ctx context.Context, method, path string, in, out any) error {
	resp, node, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		c.leave(node)
		return err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusConflict, http.StatusGone, http.StatusTooManyRequests:
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(body, out); err != nil {
			return fmt.Errorf("lock: %s answered %.100q", node, body)
		}
		return nil
	case http.StatusNotFound:
		var o wire.Outcome
		if json.Unmarshal(body, &o) == nil && o.State == wire.NoSession {
			return errNoSession
		}
	case http.StatusMisdirectedRequest:
		if l := resp.Header.Get(wire.LeaderHeader); l != "" {
			c.leadBy(l)
		} else {
			c.leave(node)
		}
		return fmt.Errorf("lock: %s does not lead", node)
	}
	var f wire.Failure
	if json.Unmarshal(body, &f) != nil || f.Error == "" {
		f.Error = fmt.Sprintf("%.100q", body)
	}
	err = fmt.Errorf("lock: %s: %s: %s", node, resp.Status, f.Error)
	if resp.StatusCode >= 500 {
		c.leave(node)
		return err
	}
	return &refusal{fmt.Errorf("%w: %w", ErrInvalid, err)}
}

// do sends one request to the server that is thought to lead.
func (c *caller) do(ctx context.Context, method, path string, in any) (*http.Response, string, error) {
	node := c.node()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, node, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.scheme+"://"+node+path, body)
	if err != nil {
		return nil, node, &refusal{err}
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.rt.RoundTrip(req)
	if err != nil {
		c.leave(node)
		return nil, node, err
	}
	return resp, node, nil
}

// outcomeError translates a request's final state.
func outcomeError(o wire.Outcome, key string) error {
	var err error
	switch o.State {
	case wire.HeldBySelf:
		err = ErrHeldBySelf
	case wire.Conflict:
		err = ErrIncompatible
	case wire.TooMany:
		err = ErrTooMany
	case wire.NoSession:
		return errNoSession
	case wire.NotHeld, wire.Released, wire.Gone:
		err = ErrNotHeld
	default:
		return fmt.Errorf("lock: %q: unexpected state %q", key, o.State)
	}
	if o.Error != "" {
		return fmt.Errorf("%w: %q: %s", err, key, o.Error)
	}
	return fmt.Errorf("%w: %q", err, key)
}
