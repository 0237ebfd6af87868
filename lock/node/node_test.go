package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// A cluster is some lock servers of this process on loopback TCP.
type cluster struct {
	t       testing.TB
	opts    node.Options
	dirs    []string
	members []replica.Member
	nodes   []*node.Node // nil: stopped
}

func newCluster(t testing.TB, size int, opts node.Options) *cluster {
	c := &cluster{t: t, opts: opts, nodes: make([]*node.Node, size)}
	if c.opts.HeartbeatTimeout == 0 {
		c.opts.HeartbeatTimeout = 300 * time.Millisecond
	}
	var lns []net.Listener
	for i := range size {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		lns = append(lns, ln)
		c.members = append(c.members, replica.Member{ID: fmt.Sprint("n", i), Address: ln.Addr().String()})
		c.dirs = append(c.dirs, filepath.Join(t.TempDir(), "n"))
	}
	for i := range size {
		c.start(i, lns[i])
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	return c
}

func (c *cluster) start(i int, ln net.Listener) {
	c.t.Helper()
	o := c.opts
	o.ID, o.Listener, o.Listen, o.Bootstrap = c.members[i].ID, ln, c.members[i].Address, c.members
	if o.InMemory {
		c.dirs[i] = ""
	}
	n, err := node.Open(c.dirs[i], &o)
	require.NoError(c.t, err)
	c.nodes[i] = n
}

func (c *cluster) stop(i int) {
	if c.nodes[i] != nil {
		c.nodes[i].Close()
		c.nodes[i] = nil
	}
}

func (c *cluster) addresses() (a []string) {
	for _, m := range c.members {
		a = append(a, m.Address)
	}
	return a
}

// leader returns the index of a node that can prove that it leads.
func (c *cluster) leader() int {
	c.t.Helper()
	ctx := deadline(c.t)
	for {
		for i, n := range c.nodes {
			if n == nil {
				continue
			}
			if _, err := n.Replica().Confirm(ctx); err == nil {
				return i
			}
		}
		if ctx.Err() != nil {
			c.t.Fatal("no leader")
		}
		time.Sleep(5 * time.Millisecond) // polls a condition
	}
}

func (c *cluster) dial(opts *lock.Options) *lock.Client {
	c.t.Helper()
	cl, err := lock.Dial(deadline(c.t), c.addresses(), opts)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls a condition that other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Many clients on one key: one holder at a time, rising tokens, first come
// first served, and exactly one wake-up per hand-over.
func TestQueue(t *testing.T) {
	c := newCluster(t, 3, node.Options{})
	ctx := deadline(t)
	const clients, rounds = 12, 8
	first := c.dial(nil)
	l, err := first.Lock(ctx, "k")
	require.NoError(t, err)

	var inside atomic.Int32
	var mu sync.Mutex
	var order []int
	last := l.Token()
	var wg sync.WaitGroup
	var cls []*lock.Client
	for i := range clients {
		cls = append(cls, c.dial(&lock.Options{Label: fmt.Sprint("client ", i)}))
	}
	for i, cl := range cls {
		wg.Go(func() {
			for range rounds {
				l, err := cl.Lock(ctx, "k")
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d holders", n)
				}
				mu.Lock()
				if l.Token() <= last {
					t.Errorf("token %d after %d", l.Token(), last)
				}
				last = l.Token()
				order = append(order, i)
				mu.Unlock()
				inside.Add(-1)
				if err := l.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		})
		// One after the other, so that the order of the queue is known.
		eventually(t, "the client waits", func() bool {
			info, err := first.Inspect(ctx, "k")
			return err == nil && info.Waiting == i+1
		})
	}
	info, err := first.Inspect(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, l.Token(), info.Holders[0].Token)
	require.Equal(t, "client 0", info.Queue[0].Label)
	leader := c.nodes[c.leader()]
	before := leader.Stats()
	require.NoError(t, l.Unlock(ctx))
	wg.Wait()
	require.True(t, slices.IsSorted(order[:clients]), "first round %v", order[:clients])
	after := leader.Stats()
	require.Equal(t, after.Grants-before.Grants, after.Notified-before.Notified, "one wake-up per hand-over")
	require.NotZero(t, after.Grants-before.Grants)
}

func TestTryLock(t *testing.T) {
	c := newCluster(t, 1, node.Options{InMemory: true})
	ctx := deadline(t)
	a, b := c.dial(&lock.Options{Label: "a"}), c.dial(&lock.Options{Label: "b"})
	l, err := a.TryLock(ctx, "k")
	require.NoError(t, err)
	_, err = b.TryLock(ctx, "k")
	var held *lock.HeldError
	require.ErrorAs(t, err, &held)
	require.ErrorIs(t, err, lock.ErrHeld)
	require.Equal(t, "a", held.Holder)
	require.Equal(t, l.Token(), held.Token)
	require.WithinDuration(t, time.Now(), held.Since, time.Minute)
	_, err = a.Lock(ctx, "k")
	require.ErrorIs(t, err, lock.ErrHeldBySelf)
	_, err = b.TryAcquire(ctx, "k", 1, 2)
	require.ErrorIs(t, err, lock.ErrIncompatible)
	require.NoError(t, l.Err())
	require.NoError(t, l.Unlock(ctx))
	require.ErrorIs(t, l.Unlock(ctx), lock.ErrNotHeld)
	require.ErrorIs(t, l.Err(), lock.ErrNotHeld)
	require.Error(t, l.Context().Err())
	select {
	case <-l.Lost():
		t.Error("Unlock counts as a loss")
	default:
	}
	l2, err := b.TryLock(ctx, "k")
	require.NoError(t, err)
	require.Greater(t, l2.Token(), l.Token())
	l2.UnlockAsync()
	eventually(t, "the lock is free", func() bool {
		info, err := a.Inspect(ctx, "k")
		return err == nil && len(info.Holders) == 0
	})
	require.NoError(t, a.Close())
	_, err = a.Lock(ctx, "k")
	require.ErrorIs(t, err, lock.ErrClosed)
}

func TestBadArguments(t *testing.T) {
	c := newCluster(t, 1, node.Options{InMemory: true})
	ctx := deadline(t)
	cl := c.dial(nil)
	for _, key := range []string{"", "\xff", string(make([]byte, 1025))} {
		_, err := cl.Lock(ctx, key)
		require.ErrorIs(t, err, lock.ErrInvalid, "%q", key)
	}
	_, err := cl.Acquire(ctx, "k", 3, 2)
	require.ErrorIs(t, err, lock.ErrInvalid)
	_, err = cl.Campaign(ctx, "k", make([]byte, 1025))
	require.ErrorIs(t, err, lock.ErrInvalid)
	for _, o := range []lock.Options{
		{TTL: time.Millisecond},
		{TTL: 25 * time.Hour},
		{Drift: 0.5},
		{Drift: -1},
		{Label: string(make([]byte, 257))},
		{Label: "\xff"},
		{RequestTimeout: -1},
	} {
		_, err := lock.Dial(ctx, c.addresses(), &o)
		require.ErrorIs(t, err, lock.ErrInvalid, "%+v", o)
	}
	_, err = lock.Dial(ctx, nil, nil)
	require.ErrorIs(t, err, lock.ErrInvalid)
	// Every key that is allowed works, whatever it does in a path.
	for _, key := range []string{".", "..", "a/b", "a%2fb", "?#&", " ", "ключ", "a//b/../c", string(make([]byte, 1024))} {
		l, err := cl.Lock(ctx, key)
		require.NoError(t, err, "%q", key)
		info, err := cl.Inspect(ctx, key)
		require.NoError(t, err, "%q", key)
		require.Len(t, info.Holders, 1, "%q", key)
		require.NoError(t, l.Unlock(ctx), "%q", key)
	}
}

// A waiter whose context ends leaves the queue, and is never granted the lock.
func TestCancel(t *testing.T) {
	c := newCluster(t, 1, node.Options{InMemory: true})
	ctx := deadline(t)
	a, b, d := c.dial(nil), c.dial(nil), c.dial(nil)
	l, err := a.Lock(ctx, "k")
	require.NoError(t, err)
	short, cancel := context.WithCancel(ctx)
	got := make(chan error, 1)
	go func() { _, err := b.Lock(short, "k"); got <- err }()
	eventually(t, "b waits", func() bool { i, _ := a.Inspect(ctx, "k"); return i.Waiting == 1 })
	cancel()
	require.ErrorIs(t, <-got, context.Canceled)
	eventually(t, "b is out", func() bool { i, err := a.Inspect(ctx, "k"); return err == nil && i.Waiting == 0 })
	require.NoError(t, l.Unlock(ctx))
	l, err = d.Lock(ctx, "k")
	require.NoError(t, err)
	require.NoError(t, l.Unlock(ctx))
	// Over and over, at the very moment of the grant.
	for i := range 100 {
		l, err := a.Lock(ctx, "k")
		require.NoError(t, err)
		short, cancel := context.WithCancel(ctx)
		go func() {
			l, err := b.Lock(short, "k")
			if err == nil {
				err = l.Unlock(ctx)
			}
			got <- err
		}()
		eventually(t, "b waits", func() bool { i, _ := a.Inspect(ctx, "k"); return i.Waiting == 1 })
		go cancel()
		require.NoError(t, l.Unlock(ctx))
		if err := <-got; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: %v", i, err)
		}
		l, err = d.Lock(ctx, "k")
		require.NoError(t, err)
		require.NoError(t, l.Unlock(ctx))
	}
}

func TestReadersAndWriters(t *testing.T) {
	c := newCluster(t, 1, node.Options{InMemory: true})
	ctx := deadline(t)
	a, b, w := c.dial(nil), c.dial(nil), c.dial(nil)
	ra, err := a.RLock(ctx, "k")
	require.NoError(t, err)
	rb, err := b.RLock(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, ra.Token(), rb.Token())
	wrote := make(chan *lock.Lock, 1)
	go func() {
		l, err := w.Lock(ctx, "k")
		if err != nil {
			t.Error(err)
		}
		wrote <- l
	}()
	eventually(t, "the writer waits", func() bool { i, _ := a.Inspect(ctx, "k"); return i.Waiting == 1 })
	late := c.dial(nil)
	_, err = late.TryRLock(ctx, "k")
	require.ErrorIs(t, err, lock.ErrHeld, "a reader overtook a waiting writer")
	require.NoError(t, ra.Unlock(ctx))
	require.NoError(t, rb.Unlock(ctx))
	l := <-wrote
	require.Greater(t, l.Token(), ra.Token())
	require.NoError(t, l.Unlock(ctx))
}

func TestSemaphore(t *testing.T) {
	c := newCluster(t, 3, node.Options{})
	ctx := deadline(t)
	const limit = 5
	var used, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		cl := c.dial(nil)
		wg.Go(func() {
			for j := range 10 {
				weight := uint32(1 + (i+j)%3)
				l, err := cl.Acquire(ctx, "pool", weight, limit)
				if err != nil {
					t.Error(err)
					return
				}
				n := used.Add(int64(weight))
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if n > limit {
					t.Errorf("%d permits of %d", n, limit)
				}
				used.Add(-int64(weight))
				if err := l.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Greater(t, most.Load(), int64(1), "never two at a time")
}

func TestElection(t *testing.T) {
	c := newCluster(t, 1, node.Options{InMemory: true})
	ctx := deadline(t)
	a, b := c.dial(&lock.Options{Label: "a"}), c.dial(&lock.Options{Label: "b"})
	office, err := a.Campaign(ctx, "boss", []byte("a:80"))
	require.NoError(t, err)
	next := make(chan *lock.Lock, 1)
	go func() {
		l, err := b.Campaign(ctx, "boss", []byte("b:80"))
		if err != nil {
			t.Error(err)
		}
		next <- l
	}()
	eventually(t, "b stands", func() bool { i, _ := a.Inspect(ctx, "boss"); return i.Waiting == 1 })
	i, err := b.Inspect(ctx, "boss")
	require.NoError(t, err)
	require.Equal(t, []byte("a:80"), i.Holders[0].Value)
	require.NoError(t, office.Unlock(ctx)) // resigns
	l := <-next
	i, err = a.Inspect(ctx, "boss")
	require.NoError(t, err)
	require.Equal(t, "b", i.Holders[0].Label)
	require.Equal(t, []byte("b:80"), i.Holders[0].Value)
	require.Greater(t, l.Token(), office.Token())
}

// The leader stops. Waiters keep their places, the holder keeps its lock.
func TestFailover(t *testing.T) {
	c := newCluster(t, 3, node.Options{})
	ctx := deadline(t)
	holder := c.dial(&lock.Options{TTL: 5 * time.Second})
	l, err := holder.Lock(ctx, "k")
	require.NoError(t, err)
	const waiters = 6
	order := make(chan int, waiters)
	var wg sync.WaitGroup
	for i := range waiters {
		cl := c.dial(&lock.Options{TTL: 5 * time.Second})
		wg.Go(func() {
			l, err := cl.Lock(ctx, "k")
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			if err := l.Unlock(ctx); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "the client waits", func() bool { in, _ := holder.Inspect(ctx, "k"); return in.Waiting == i+1 })
	}
	for range 2 {
		dead := c.leader()
		c.stop(dead)
		c.leader()
		require.NoError(t, l.Err(), "the holder lost its lock")
		c.start(dead, nil)
	}
	in, err := holder.Inspect(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, waiters, in.Waiting)
	require.NoError(t, l.Unlock(ctx))
	for i := range waiters {
		select {
		case got := <-order:
			require.Equal(t, i, got, "place in the queue")
		case <-ctx.Done():
			t.Fatal("a waiter was forgotten")
		}
	}
	wg.Wait()
}

func getJSON(ctx context.Context, url string, out any) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func shortly(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	t.Cleanup(cancel)
	return ctx
}
