package lock

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// A conn is a connection to a server that led when it was made: see package
// wire. Any number of requests are under way on it.
type conn struct {
	nc   net.Conn
	node string // host:port
	out  *wire.Writer
	dead chan struct{} // closed when it is broken

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan frame // each of capacity 1
	events  map[uint64]func(frame)
	err     error
	heard   time.Time // when the last frame came
}

// A frame is a message from the server.
type frame struct {
	kind    wire.Kind
	payload []byte
	err     error // the connection broke
}

// A redirect says that another server leads: the one at leader, if that is
// known.
type redirect struct{ node, leader string }

func (r *redirect) Error() string { return fmt.Sprintf("lock: %s does not lead", r.node) }

// connect reaches the server at node and agrees with it on the protocol.
func connect(ctx context.Context, node string, o *Options) (*conn, error) {
	nc, err := o.Dial(ctx, node)
	if err != nil {
		return nil, err
	}
	ok := false
	defer func() {
		if !ok {
			nc.Close()
		}
	}()
	if o.TLS != nil {
		conf := o.TLS.Clone()
		conf.NextProtos = []string{"http/1.1"}
		if conf.ServerName == "" {
			conf.ServerName, _, _ = net.SplitHostPort(node)
		}
		t := tls.Client(nc, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		nc = t
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		wire.StreamPath, node, wire.Protocol); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(nc, 16<<10)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols:
	case http.StatusMisdirectedRequest:
		return nil, &redirect{node, resp.Header.Get(wire.LeaderHeader)}
	case http.StatusServiceUnavailable:
		return nil, &redirect{node, ""}
	default:
		return nil, fmt.Errorf("lock: %s: %s", node, resp.Status)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	ok = true
	c := &conn{
		nc: nc, node: node, out: wire.NewWriter(nc, o.RequestTimeout), dead: make(chan struct{}),
		waiting: map[uint64]chan frame{}, events: map[uint64]func(frame){}, heard: time.Now(),
	}
	go c.read(r)
	return c, nil
}

// silence is how long a connection may be silent: a server pings more often.
const silence = 7 * time.Second

// read hands out what comes in, until the connection breaks.
func (c *conn) read(r *bufio.Reader) {
	var buf []byte
	for {
		c.nc.SetReadDeadline(time.Now().Add(silence)) //nolint:errcheck // the read will fail
		id, kind, payload, next, err := wire.ReadFrame(r, buf)
		if err != nil {
			c.fail(err)
			return
		}
		buf = next
		if id == 0 {
			if kind == wire.NotLeader {
				c.fail(&redirect{c.node, string(payload)})
				return
			}
			c.mu.Lock()
			c.heard = time.Now()
			c.mu.Unlock()
			continue
		}
		a := frame{kind: kind, payload: append([]byte(nil), payload...)}
		c.mu.Lock()
		c.heard = time.Now()
		ch := c.waiting[id]
		delete(c.waiting, id)
		on := c.events[id]
		c.mu.Unlock()
		switch {
		case ch != nil:
			ch <- a
		case on != nil:
			on(a)
		}
	}
}

// fail ends the connection; all that is under way on it ends with err.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	waiting := c.waiting
	c.waiting, c.events = nil, nil
	c.mu.Unlock()
	close(c.dead)
	c.nc.Close()
	for _, ch := range waiting {
		ch <- frame{err: err}
	}
}

// broken returns why the connection is over, or nil.
func (c *conn) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ask sends one request and waits for its answer. When ctx ends first and the
// server has been silent for as long as quiet, the connection is given up.
func (c *conn) ask(ctx context.Context, k wire.Kind, payload []byte, quiet time.Duration) frame {
	ch := make(chan frame, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return frame{err: c.err}
	}
	c.next++
	id := c.next
	c.waiting[id] = ch
	c.mu.Unlock()
	if err := c.out.Send(id, k, payload); err != nil {
		c.fail(err)
	}
	select {
	case a := <-ch:
		return a
	case <-ctx.Done():
	}
	c.mu.Lock()
	delete(c.waiting, id)
	since := time.Since(c.heard)
	c.mu.Unlock()
	if since >= quiet && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.fail(fmt.Errorf("lock: %s has been silent for %v", c.node, since.Round(time.Millisecond)))
	}
	return frame{err: context.Cause(ctx)}
}

// subscribe sends a request that is answered by many frames, each handed to on,
// one after the other, by the goroutine that reads.
func (c *conn) subscribe(k wire.Kind, payload []byte, on func(frame)) (cancel func(), err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, c.err
	}
	c.next++
	id := c.next
	c.events[id] = on
	c.mu.Unlock()
	if err := c.out.Send(id, k, payload); err != nil {
		c.fail(err)
		return nil, err
	}
	return func() {
		c.mu.Lock()
		delete(c.events, id)
		c.mu.Unlock()
	}, nil
}
