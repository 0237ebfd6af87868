package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// A call is one request that waits for its decision.
type call struct {
	key  string // in Redis
	n    int64
	x    *exchange // instead of n, of a Near
	d    ratelimit.Decision
	err  error
	done chan struct{}
	// Under the batcher's mu:
	queued bool // in its queue
	gone   bool // and the caller waits no more
}

// A batcher lets requests that come while others are on their way travel together. It
// never waits for more to come: who finds a flight free takes it.
type batcher struct {
	send    func(ctx context.Context, calls []*call) // sets d or err of each
	flights int                                      // at most so many at a time
	size    int                                      // of a batch, at most
	timeout time.Duration
	heeds   bool // send returns when its context's deadline is over

	mu    sync.Mutex
	queue []*call
	gone  int // of these
	busy  int
	idle  chan struct{} // closed when busy becomes 0, where somebody waits for that
}

func newBatcher(send func(context.Context, []*call), flights, size int, timeout time.Duration, heeds bool) *batcher {
	return &batcher{send: send, flights: flights, size: size, timeout: timeout, heeds: heeds}
}

// do decides on one request. Where the context ends, or the timeout, before the request
// has left, it will not; after that it may have been counted.
func (b *batcher) do(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	if b.heeds && b.busy == 0 {
		b.busy++
		b.mu.Unlock()
		return b.alone(ctx, c)
	}
	c.done = make(chan struct{})
	if b.busy < b.flights {
		b.busy++
		b.mu.Unlock()
		go b.fly([]*call{c})
	} else {
		c.queued = true
		b.queue = append(b.queue, c)
		b.mu.Unlock()
	}
	timer := time.NewTimer(b.timeout)
	defer timer.Stop()
	var err error
	select {
	case <-c.done:
		return b.named(c.err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = fmt.Errorf("%w: %v", ErrTimeout, b.timeout)
	}
	b.mu.Lock()
	if c.queued {
		c.gone = true
		if b.gone++; 2*b.gone > len(b.queue) { // what is kept is never much more than waits
			b.queue, b.gone = slices.DeleteFunc(b.queue, func(c *call) bool { return c.gone }), 0
		}
	}
	b.mu.Unlock()
	return err
}

// alone sends one request, and leaves those that have come meanwhile to somebody else.
func (b *batcher) alone(ctx context.Context, c *call) error {
	within, cancel := context.WithTimeout(ctx, b.timeout)
	b.send(within, []*call{c})
	cancel()
	if batch := b.next(); len(batch) > 0 {
		go b.fly(batch)
	}
	if c.err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(c.err, context.DeadlineExceeded) && over(ctx) {
		return c.err
	}
	return b.named(c.err)
}

// named makes ErrTimeout of the timeout's error.
func (b *batcher) named(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %v", ErrTimeout, b.timeout)
	}
	return err
}

// fly sends a batch, and then what has come meanwhile, until nothing has. It ends
// when the client answers or gives up.
func (b *batcher) fly(batch []*call) {
	for len(batch) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
		b.send(ctx, batch)
		cancel()
		for _, c := range batch {
			close(c.done)
		}
		batch = b.next()
	}
}

// next takes what waits.
func (b *batcher) next() []*call {
	b.mu.Lock()
	defer b.mu.Unlock()
	var batch []*call
	rest := 0
	for i, c := range b.queue {
		if len(batch) == b.size {
			rest = copy(b.queue, b.queue[i:])
			break
		}
		c.queued = false
		if c.gone {
			b.gone--
		} else {
			batch = append(batch, c)
		}
	}
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	if len(batch) == 0 {
		if b.busy--; b.busy == 0 && b.idle != nil {
			close(b.idle)
			b.idle = nil
		}
	}
	return batch
}

// wait waits until nothing is on its way, and no longer than that.
func (b *batcher) wait(timeout time.Duration) {
	b.mu.Lock()
	if b.busy == 0 {
		b.mu.Unlock()
		return
	}
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}
