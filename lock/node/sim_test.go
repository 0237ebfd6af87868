package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// rounds returns how many rounds a test of trust takes: few by default, so
// that the tests are quick, and as many as the environment says for the record.
func rounds(t testing.TB, variable string, few int) int {
	if s := os.Getenv(variable); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err, variable)
		return n
	}
	return few
}

// A world is a cluster in virtual time: servers and clients of one bubble,
// joined by pipes that can be cut.
type world struct {
	t       *testing.T
	ids     []string
	nodes   map[string]*node.Node
	servers []*http.Server
	ports   map[string]chan net.Conn
	trans   map[string]*raft.InmemTransport

	mu    sync.Mutex
	deaf  map[string]bool // clients cannot reach it
	conns map[string][]net.Conn
}

type pipePort struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipePort) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipePort) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipePort) Addr() net.Addr { return &net.TCPAddr{} }

func newWorld(t *testing.T, heartbeat time.Duration) *world {
	w := &world{
		t: t, ids: []string{"a", "b", "c"}, nodes: map[string]*node.Node{}, ports: map[string]chan net.Conn{},
		trans: map[string]*raft.InmemTransport{}, deaf: map[string]bool{}, conns: map[string][]net.Conn{},
	}
	var members []replica.Member
	for _, id := range w.ids {
		_, w.trans[id] = raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), heartbeat)
		members = append(members, replica.Member{ID: id, Address: id})
	}
	for _, x := range w.ids {
		w.join(x)
	}
	for _, id := range w.ids {
		n, err := node.Open("", &node.Options{ID: id, Bootstrap: members, InMemory: true, Transport: w.trans[id], HeartbeatTimeout: heartbeat})
		require.NoError(t, err)
		w.nodes[id] = n
		port := &pipePort{conns: make(chan net.Conn), done: make(chan struct{})}
		w.ports[id] = port.conns
		s := &http.Server{Handler: n.Handler()}
		go s.Serve(port) //nolint:errcheck // ends with Close
		w.servers = append(w.servers, s)
	}
	return w
}

// join connects a server with all others, cut separates it; only one direction
// if out or in is false.
func (w *world) join(x string) {
	for _, y := range w.ids {
		if y != x {
			w.trans[x].Connect(raft.ServerAddress(y), w.trans[y])
			w.trans[y].Connect(raft.ServerAddress(x), w.trans[x])
		}
	}
}

func (w *world) cut(x string, out, in bool) {
	for _, y := range w.ids {
		if y == x {
			continue
		}
		if out {
			w.trans[x].Disconnect(raft.ServerAddress(y))
		}
		if in {
			w.trans[y].Disconnect(raft.ServerAddress(x))
		}
	}
}

// silence cuts a server's clients off, or lets them come again.
func (w *world) silence(x string, deaf bool) {
	w.mu.Lock()
	w.deaf[x] = deaf
	conns := w.conns[x]
	if deaf {
		w.conns[x] = nil
	}
	w.mu.Unlock()
	if deaf {
		for _, c := range conns {
			c.Close()
		}
	}
}

func (w *world) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	deaf := w.deaf[address]
	w.mu.Unlock()
	if deaf || w.ports[address] == nil {
		return nil, errors.New("no route")
	}
	ours, theirs := net.Pipe()
	select {
	case w.ports[address] <- theirs:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	w.conns[address] = append(w.conns[address], ours)
	w.mu.Unlock()
	return ours, nil
}

func (w *world) client(label string) *lock.Client {
	start := time.Now()
	c, err := lock.Dial(context.Background(), w.ids, &lock.Options{
		TTL: 2 * time.Second, Label: label, Dial: w.dial,
		Clock: func() time.Duration { return time.Since(start) },
	})
	require.NoError(w.t, err)
	return c
}

func (w *world) leader() string {
	for {
		for _, id := range w.ids {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := w.nodes[id].Replica().Confirm(ctx)
			cancel()
			if err == nil {
				return id
			}
		}
		time.Sleep(10 * time.Millisecond) // virtual
	}
}

func (w *world) close() {
	for _, s := range w.servers {
		s.Close()
	}
	for _, n := range w.nodes {
		n.Close()
	}
	time.Sleep(time.Minute) // the engine's timers end; virtual
}

// TestPartitions (V2) cuts the leader off again and again, in virtual time:
// wholly or in one direction, with and without its clients, for up to 5 s. No
// clock runs wrong and no process is paused, so there must not be two clients at
// any time that both have reason to believe that they hold the lock; the store
// must see rising tokens; and all that the clients saw must be linearizable.
// ASHLAR_PARTITIONS sets the number of partitions, 60 by default.
func TestPartitions(t *testing.T) {
	total := rounds(t, "ASHLAR_PARTITIONS", 60)
	const each = 20
	for part := 0; part*each < total; part++ {
		t.Run(fmt.Sprint("seed=", part), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { partitions(t, uint64(part), min(each, total-part*each)) })
		})
	}
}

func partitions(t *testing.T, seed uint64, n int) {
	w := newWorld(t, 500*time.Millisecond)
	h := newHistory()
	ctx, stop := context.WithCancel(context.Background())
	keys := []string{"x", "y"}
	var mu sync.Mutex
	holding := map[string]*lock.Lock{} // the last that was taken
	stored := map[string]uint64{}      // highest token that the store has seen
	grants, lost := 0, 0
	var wg sync.WaitGroup
	for i := range 5 {
		cl := w.client(fmt.Sprint("client ", i))
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			defer cl.Close()
			for ctx.Err() == nil {
				key := keys[rng.IntN(len(keys))]
				called := h.now()
				l, err := cl.Lock(ctx, key)
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("Lock: %v", err)
					}
					return
				}
				h.add(i, called, observation{key, "acquire", l.Token()})
				mu.Lock()
				grants++
				if old := holding[key]; old != nil && old.Err() == nil && l.Err() == nil {
					t.Errorf("%q is held twice: tokens %d and %d", key, old.Token(), l.Token())
				}
				if l.Err() == nil {
					if l.Token() <= stored[key] {
						t.Errorf("%q: the store has seen %d, now %d", key, stored[key], l.Token())
					}
					stored[key] = l.Token()
				}
				holding[key] = l
				mu.Unlock()
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond) // virtual
				called = h.now()
				mu.Lock()
				if holding[key] == l {
					delete(holding, key)
				} else if l.Err() == nil {
					t.Errorf("%q: token %d is held still, and another took it", key, l.Token())
				}
				mu.Unlock()
				switch err := l.Unlock(ctx); {
				case err == nil:
					h.add(i, called, observation{key, "release", l.Token()})
				case errors.Is(err, lock.ErrNotHeld):
					mu.Lock()
					lost++
					mu.Unlock()
					h.add(i, called, observation{key, "maybe", l.Token()})
				default:
					h.add(i, called, observation{key, "maybe", l.Token()})
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 1000))
	for range n {
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond) // virtual
		x := w.leader()
		out, in := true, true
		switch rng.IntN(4) {
		case 0:
			out = false
		case 1:
			in = false
		}
		w.cut(x, out, in)
		deaf := rng.IntN(2) == 0
		if deaf {
			w.silence(x, true)
		}
		time.Sleep(100*time.Millisecond + time.Duration(rng.IntN(5000))*time.Millisecond) // virtual
		w.join(x)
		w.silence(x, false)
	}
	w.leader()
	time.Sleep(10 * time.Second) // audits; virtual
	stop()
	wg.Wait()
	for id, n := range w.nodes {
		require.NoError(t, n.Replica().Err(), "server %s", id)
	}
	h.check(t)
	require.Greater(t, grants, 20*n, "little was done: %d grants, %d lost, %d partitions", grants, lost, n)
	w.close()
}
