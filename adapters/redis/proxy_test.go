package redis_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy stands between clients and a server. It delays, loses answers, and stalls.
type proxy struct {
	addr  string
	to    string
	l     net.Listener
	delay atomic.Int64 // of each answer, in nanoseconds
	lose  atomic.Int64 // each so-manieth answer is lost, and its connection broken; 0: none
	stall atomic.Bool  // nothing comes back

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	wg     sync.WaitGroup
	lost   atomic.Int64
	n      atomic.Int64
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), to: to, l: l, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		if p.closed {
			_, _ = in.Close(), out.Close()
		}
		p.mu.Unlock()
		end := func() {
			_, _ = in.Close(), out.Close()
			p.mu.Lock()
			delete(p.conns, in)
			delete(p.conns, out)
			p.mu.Unlock()
		}
		p.wg.Go(func() { defer end(); _, _ = io.Copy(out, in) })
		p.wg.Go(func() { defer end(); p.back(in, out) })
	}
}

// back brings the answers, each after its delay, while others follow.
func (p *proxy) back(in, out net.Conn) {
	type piece struct {
		b  []byte
		at time.Time
	}
	pieces := make(chan piece, 1024)
	done := make(chan struct{})
	defer close(done)
	p.wg.Go(func() {
		defer close(pieces)
		for {
			b := make([]byte, 16<<10)
			n, err := out.Read(b)
			if err != nil {
				return
			}
			select {
			case pieces <- piece{b[:n], time.Now().Add(time.Duration(p.delay.Load()))}:
			case <-done:
				return
			}
		}
	})
	for piece := range pieces {
		if wait := time.Until(piece.at); wait > 0 {
			<-time.After(wait)
		}
		if p.stall.Load() {
			continue
		}
		if lose := p.lose.Load(); lose > 0 && p.n.Add(1)%lose == 0 {
			p.lost.Add(1)
			return
		}
		if _, err := in.Write(piece.b); err != nil {
			return
		}
	}
}
