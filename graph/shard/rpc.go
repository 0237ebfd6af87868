package shard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/graph"
)

// Serve answers the requests of clients on a listener until ctx ends, which it closes then
// with all connections. The protocol is that of net/rpc, for networks that are trusted.
func Serve(ctx context.Context, l net.Listener, p *Part) error {
	server := rpc.NewServer()
	if err := server.RegisterName("Part", &service{p}); err != nil {
		return err
	}
	var mu sync.Mutex
	conns, ended := map[net.Conn]struct{}{}, false
	end := func() {
		_ = l.Close()
		mu.Lock()
		defer mu.Unlock()
		ended = true
		for c := range conns {
			_ = c.Close()
		}
	}
	stop := context.AfterFunc(ctx, end)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		mu.Lock()
		if ended {
			_ = c.Close()
		}
		conns[c] = struct{}{}
		mu.Unlock()
		wg.Go(func() {
			server.ServeConn(c)
			mu.Lock()
			defer mu.Unlock()
			delete(conns, c)
		})
	}
}

// A service is a part's methods in the form that net/rpc wants.
type service struct{ p *Part }

// Overlay is [Part.Overlay].
func (s *service) Overlay(_ struct{}, reply *Overlay) error {
	o, err := s.p.Overlay(context.Background())
	if err == nil {
		*reply = *o
	}
	return err
}

// Ask is [Part.Ask].
func (s *service) Ask(q Question, reply *Answer) error {
	a, err := s.p.Ask(context.Background(), q)
	if err == nil {
		*reply = *a
	}
	return err
}

// Unpack is [Part.Unpack].
func (s *service) Unpack(legs []Leg, reply *Legs) error {
	l, err := s.p.Unpack(context.Background(), legs)
	if err == nil {
		*reply = *l
	}
	return err
}

// Update is [Part.Update].
func (s *service) Update(changes []graph.Change, reply *uint64) error {
	v, err := s.p.Update(context.Background(), changes)
	*reply = v
	return err
}

// A Client is a part in another process. It keeps one connection, and makes another when
// that is lost: the request that found it lost fails. A connection on which nothing can be
// sent for ten seconds is lost; a request ends with its context. It is safe for concurrent use by
// multiple goroutines.
type Client struct {
	address string
	mu      sync.Mutex
	c       *rpc.Client
}

// NewClient returns a client for the part at an address; it connects at the first request.
func NewClient(address string) *Client { return &Client{address: address} }

// Close closes the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c == nil {
		return nil
	}
	err := c.c.Close()
	c.c = nil
	return err
}

func (c *Client) conn(ctx context.Context) (*rpc.Client, error) {
	c.mu.Lock()
	have := c.c
	c.mu.Unlock()
	if have != nil {
		return have, nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c != nil { // another request was quicker
		_ = conn.Close()
		return c.c, nil
	}
	c.c = rpc.NewClient(patient{conn})
	return c.c, nil
}

// stuck is how long the network may take nothing of what is written before a connection
// counts as lost.
const stuck = 10 * time.Second

// A patient is a connection whose writes end.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(stuck)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// call sends a request and waits for its reply or the end of ctx.
func call[R any](ctx context.Context, c *Client, method string, args any) (*R, error) {
	conn, err := c.conn(ctx)
	if err != nil {
		return nil, err
	}
	reply := new(R)
	done := make(chan *rpc.Call, 1)
	// To send may take as long as the network does, whatever ctx says.
	go conn.Go("Part."+method, args, reply, done)
	var pending *rpc.Call
	select {
	case <-ctx.Done():
		return nil, ctx.Err() // what comes later goes to a reply that nobody has
	case pending = <-done:
	}
	var remote rpc.ServerError
	switch err := pending.Error; {
	case err == nil:
		return reply, nil
	case errors.As(err, &remote):
		return nil, known(string(remote))
	default:
		c.mu.Lock()
		if c.c == conn {
			_ = conn.Close()
			c.c = nil
		}
		c.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", c.address, err)
	}
}

// known returns the error that a text was made of, as far as errors.Is can tell.
func known(text string) error {
	for _, e := range []error{ErrForeign, graph.ErrInvalid, graph.ErrTooLarge} {
		if rest, ok := strings.CutPrefix(text, e.Error()); ok {
			return fmt.Errorf("%w%s", e, rest)
		}
	}
	return errors.New(text)
}

// Overlay implements [Peer].
func (c *Client) Overlay(ctx context.Context) (*Overlay, error) {
	return call[Overlay](ctx, c, "Overlay", struct{}{})
}

// Ask implements [Peer].
func (c *Client) Ask(ctx context.Context, q Question) (*Answer, error) {
	return call[Answer](ctx, c, "Ask", q)
}

// Unpack implements [Peer].
func (c *Client) Unpack(ctx context.Context, legs []Leg) (*Legs, error) {
	return call[Legs](ctx, c, "Unpack", legs)
}

// Update is [Part.Update].
func (c *Client) Update(ctx context.Context, changes []graph.Change) (uint64, error) {
	v, err := call[uint64](ctx, c, "Update", changes)
	if err != nil {
		return 0, err
	}
	return *v, nil
}
