package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
)

// herd has the same clients take the same lock the same number of times in three
// ways: in the queue; woken all together by each release; and each asking again
// at short intervals. It counts what one release costs.
func herd(ctx context.Context, w io.Writer, cluster *cluster, load load) error {
	n, turns := load.workers*load.clients, load.lines
	h := &crowd{key: "herd", turns: turns, freed: make(chan struct{})}
	for i := range n + 1 {
		c, err := lock.Dial(ctx, cluster.addresses(), &lock.Options{TTL: 30 * time.Second, Label: fmt.Sprint("h", i)})
		if err != nil {
			return err
		}
		defer c.Close()
		if i == n {
			h.admin = c
		} else {
			h.clients = append(h.clients, c)
		}
	}

	// A round that is not counted, after which every client has been told
	// something, so that its connection to the leader stands. If the leader
	// changes while it is counted, it is done again.
	var queue count
	var before, after node.Stats
	for try := 0; try == 0 || before.Replica.Term != after.Replica.Term; try++ {
		if try == 5 {
			return errors.New("the leader changes all the time: this machine is too busy to count wake-ups")
		}
		h.turns = 1
		if _, err := h.run(ctx, h.queued); err != nil {
			return err
		}
		h.turns = turns
		var err error
		if before, err = cluster.counters(ctx); err != nil {
			return err
		}
		if queue, err = h.run(ctx, h.queued); err != nil {
			return err
		}
		if after, err = cluster.counters(ctx); err != nil {
			return err
		}
	}
	told, err := h.run(ctx, h.toldAll)
	if err != nil {
		return err
	}
	const interval = 20 * time.Millisecond
	polled, err := h.run(ctx, func(ctx context.Context, c *lock.Client) (*lock.Lock, error) { return h.polling(ctx, c, interval) })
	if err != nil {
		return err
	}

	handovers, wakeups := after.Grants-before.Grants, after.Notified-before.Notified
	fmt.Fprintf(w, "%d clients take one lock %d times each\n", n, turns)
	line := func(name string, releases, woken float64, c count) {
		fmt.Fprintf(w, "  %-28s wake-ups per release %7.3f   requests for the lock %6d   took %5.2fs\n", name, woken/releases, c.requests, c.took.Seconds())
	}
	line("queue", float64(handovers), float64(wakeups), queue)
	line("all are told of a release", float64(told.releases), float64(told.wakeups), told)
	line(fmt.Sprintf("each asks every %v", interval), float64(polled.releases), float64(polled.wakeups), polled)
	switch {
	case wakeups != handovers || handovers == 0:
		return fmt.Errorf("the queue woke %d waiters for %d hand-overs, and should wake one each", wakeups, handovers)
	case told.wakeups < 5*told.releases:
		return errors.New("telling all should have woken a herd")
	case polled.requests < 2*queue.requests:
		return errors.New("polling should have cost more requests")
	}
	return nil
}

// A crowd is the clients of one comparison.
type crowd struct {
	key     string
	turns   int
	clients []*lock.Client
	admin   *lock.Client

	requests atomic.Int64 // for the lock
	releases atomic.Int64
	wakeups  atomic.Int64 // of waiters, where the waiters themselves are told

	mu    sync.Mutex
	freed chan struct{} // closed at the next release, where all are told
}

type count struct {
	requests, releases, wakeups int64
	took                        time.Duration
}

// run lets all clients take their turns. None begins before all stand ready.
func (h *crowd) run(ctx context.Context, acquire func(context.Context, *lock.Client) (*lock.Lock, error)) (count, error) {
	first, err := h.admin.Lock(ctx, h.key)
	if err != nil {
		return count{}, err
	}
	h.requests.Store(0)
	h.releases.Store(0)
	h.wakeups.Store(0)
	var done sync.WaitGroup
	errs := make(chan error, len(h.clients))
	for _, c := range h.clients {
		done.Go(func() {
			errs <- func() error {
				for range h.turns {
					l, err := acquire(ctx, c)
					if err != nil {
						return err
					}
					if err := h.release(ctx, l); err != nil {
						return err
					}
				}
				return nil
			}()
		})
	}
	if err := poll(ctx, func() error {
		if got := h.requests.Load(); got < int64(len(h.clients)) {
			return fmt.Errorf("%d of %d clients have asked", got, len(h.clients))
		}
		return nil
	}); err != nil {
		return count{}, err
	}
	start := time.Now()
	if err := h.release(ctx, first); err != nil {
		return count{}, err
	}
	done.Wait()
	took := time.Since(start)
	for range h.clients {
		if err := <-errs; err != nil {
			return count{}, err
		}
	}
	return count{h.requests.Load(), h.releases.Load(), h.wakeups.Load(), took}, nil
}

func (h *crowd) release(ctx context.Context, l *lock.Lock) error {
	if err := l.Unlock(ctx); err != nil {
		return err
	}
	h.releases.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.freed)
	h.freed = make(chan struct{})
	return nil
}

// queued is the way of this library.
func (h *crowd) queued(ctx context.Context, c *lock.Client) (*lock.Lock, error) {
	h.requests.Add(1)
	return c.Lock(ctx, h.key)
}

// toldAll waits until somebody releases the lock, like everybody else, and then
// tries to be the first.
func (h *crowd) toldAll(ctx context.Context, c *lock.Client) (*lock.Lock, error) {
	for {
		h.mu.Lock()
		freed := h.freed // before the try: no release is missed
		h.mu.Unlock()
		h.requests.Add(1)
		l, err := c.TryLock(ctx, h.key)
		if !errors.Is(err, lock.ErrHeld) {
			return l, err
		}
		select {
		case <-freed:
			h.wakeups.Add(1)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// polling asks again and again.
func (h *crowd) polling(ctx context.Context, c *lock.Client, interval time.Duration) (*lock.Lock, error) {
	for {
		h.requests.Add(1)
		l, err := c.TryLock(ctx, h.key)
		if !errors.Is(err, lock.ErrHeld) {
			return l, err
		}
		select {
		case <-time.After(interval):
			h.wakeups.Add(1)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
