package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// A phone is what a driver's app does: it keeps a connection, tells where it is at every
// interval, and connects again when the connection breaks.
type phone struct {
	id      uint32
	where   func(id int) (lat, lon float64)
	address string
	backoff func(rng *rand.Rand, failures int) time.Duration
	// tried is told of each attempt to connect after the first success, and how long the
	// phone had waited for it.
	tried func(at time.Time, pause time.Duration, failures int)
	rng   *rand.Rand
}

// At once is what an app does that was never tried with many others; jittered takes a
// random time up to a limit that doubles (full jitter).
func atOnce(*rand.Rand, int) time.Duration { return 200 * time.Millisecond }

func jittered(rng *rand.Rand, failures int) time.Duration {
	return time.Duration(rng.Int64N(int64(2*time.Second) << min(failures, 3)))
}

// run drives until ctx ends.
func (p *phone) run(ctx context.Context) {
	number, failures, connected := uint32(0), 0, false
	for ctx.Err() == nil {
		if connected || failures > 0 {
			pause := p.backoff(p.rng, failures)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if p.tried != nil {
				p.tried(time.Now(), pause, failures)
			}
		}
		c, _, err := websocket.Dial(ctx, "ws://"+p.address+"/drive", nil)
		if err != nil {
			failures++
			continue
		}
		connected, failures = true, 0
		p.drive(ctx, c, &number)
	}
}

// drive reports on a connection until it breaks. The first report comes within an interval,
// at the time that is this phone's.
func (p *phone) drive(ctx context.Context, c *websocket.Conn, number *uint32) {
	defer c.CloseNow()
	ctx = c.CloseRead(ctx) // ends when the connection does
	wait := time.Duration(p.rng.Int64N(int64(interval)))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = interval
		lat, lon := p.where(int(p.id))
		*number++
		r := report{p.id, int32(lat * 1e7), int32(lon * 1e7), *number}
		if err := c.Write(ctx, websocket.MessageBinary, r.append(nil)); err != nil {
			return
		}
	}
}

// A crowd is many phones.
type crowd struct {
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	tries []time.Time
	first []time.Duration // how long each phone waited before its first try
}

// startCrowd starts n phones. They connect one after the other, so that the first time is
// no rush.
func startCrowd(ctx context.Context, n int, address string, backoff func(*rand.Rand, int) time.Duration, where func(int) (float64, float64)) *crowd {
	c := &crowd{}
	ctx, c.cancel = context.WithCancel(ctx)
	gate := make(chan struct{}, 64)
	for i := range n {
		p := &phone{
			id: uint32(i), where: where, address: address, backoff: backoff, rng: rand.New(rand.NewPCG(uint64(i), 3)),
			tried: func(at time.Time, pause time.Duration, failures int) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.tries = append(c.tries, at)
				if failures == 0 {
					c.first = append(c.first, pause)
				}
			},
		}
		c.work.Go(func() {
			select {
			case gate <- struct{}{}:
			case <-ctx.Done():
				return
			}
			time.AfterFunc(5*time.Millisecond, func() { <-gate })
			p.run(ctx)
		})
	}
	return c
}

func (c *crowd) stop() {
	c.cancel()
	c.work.Wait()
}

// peak returns the most attempts to connect within a span of time, and how many there were.
func (c *crowd) peak(span time.Duration) (most, all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.tries, time.Time.Compare)
	first := 0
	for i, at := range c.tries {
		for at.Sub(c.tries[first]) > span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most, len(c.tries)
}

// planned returns the most phones whose first try falls into the same span of time, if all
// lose their connections at the same moment and the machine is quick.
func (c *crowd) planned(span time.Duration) (most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.first)
	first := 0
	for i, pause := range c.first {
		for pause-c.first[first] > span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// A meter is a connection that counts.
type meter struct {
	net.Conn
	sent, received *atomic.Int64
}

func (m meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.sent.Add(int64(n))
	return n, err
}

func (m meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.received.Add(int64(n))
	return n, err
}

// measure sends n reports over a WebSocket, and n as requests on one connection that is
// kept open, and returns the bytes on the socket for each, in both directions.
func measure(ctx context.Context, address string, n int) (ws, http1 float64, err error) {
	var sent, received atomic.Int64
	metered := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, addr)
			return meter{c, &sent, &received}, err
		},
		MaxIdleConnsPerHost: 1,
	}}
	defer metered.CloseIdleConnections()
	r := report{driver: 1 << 30, lat: 407550000, lon: -739850000}
	c, _, err := websocket.Dial(ctx, "ws://"+address+"/drive", &websocket.DialOptions{HTTPClient: metered})
	if err != nil {
		return 0, 0, err
	}
	defer c.CloseNow()
	sent.Store(0)
	received.Store(0)
	for range n {
		if err := c.Write(ctx, websocket.MessageBinary, r.append(nil)); err != nil {
			return 0, 0, err
		}
	}
	ws = float64(sent.Load()+received.Load()) / float64(n)
	post := func() error {
		resp, err := metered.Post("http://"+address+"/position", "application/octet-stream", bytes.NewReader(r.append(nil)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			return fmt.Errorf("POST /position: %s", resp.Status)
		}
		return nil
	}
	if err := post(); err != nil { // opens the connection
		return 0, 0, err
	}
	sent.Store(0)
	received.Store(0)
	for range n {
		if err := post(); err != nil {
			return 0, 0, err
		}
	}
	return ws, float64(sent.Load()+received.Load()) / float64(n), nil
}
