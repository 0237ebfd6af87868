package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A fate is what becomes of a request.
type fate int

const (
	pass       fate = iota
	loseIt          // the connection breaks before the broker has it
	loseAnswer      // the connection breaks when the broker answers
)

// A wire decides over the requests of a Log.
type wire struct {
	mu     sync.Mutex
	decide func(key int16) fate
	lost   int
}

func (w *wire) set(decide func(key int16) fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.decide = decide
}

func (w *wire) fate(key int16) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.decide == nil {
		return pass
	}
	f := w.decide(key)
	if f != pass {
		w.lost++
	}
	return f
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// opt makes clients use the wire.
func (w *wire) opt() kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &wireConn{Conn: c, w: w}, nil
	})
}

type wireConn struct {
	net.Conn
	w *wire

	mu   sync.Mutex
	dead bool // at the next answer
}

var errCut = errors.New("the test cut the connection")

func (c *wireConn) Write(b []byte) (int, error) {
	if len(b) >= 6 && int(binary.BigEndian.Uint32(b)) == len(b)-4 { // a request
		switch c.w.fate(int16(binary.BigEndian.Uint16(b[4:]))) {
		case loseIt:
			c.Close()
			return 0, errCut
		case loseAnswer:
			c.mu.Lock()
			c.dead = true
			c.mu.Unlock()
		}
	}
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		c.Close()
		return 0, errCut
	}
	return n, err
}
