package redis

import (
	"context"
	"fmt"
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
	gone bool // the caller waits no more; under the batcher's mu until the call is taken
}

// A batcher lets requests that come while others are on their way travel together. It
// never waits for more to come: who finds a flight free takes it.
type batcher struct {
	send    func(ctx context.Context, calls []*call) // sets d or err of each
	flights int                                      // at most so many at a time
	size    int                                      // of a batch, at most
	timeout time.Duration

	mu    sync.Mutex
	queue []*call
	busy  int
	idle  *sync.Cond // busy has become 0
}

func newBatcher(send func(context.Context, []*call), flights, size int, timeout time.Duration) *batcher {
	b := &batcher{send: send, flights: flights, size: size, timeout: timeout}
	b.idle = sync.NewCond(&b.mu)
	return b
}

// do decides on one request. Where the context ends, or the timeout, before the request
// has left, it will not; after that it may have been counted.
func (b *batcher) do(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.done = make(chan struct{})
	b.mu.Lock()
	if b.busy < b.flights {
		b.busy++
		b.mu.Unlock()
		go b.fly([]*call{c})
	} else {
		b.queue = append(b.queue, c)
		b.mu.Unlock()
	}
	timer := time.NewTimer(b.timeout)
	defer timer.Stop()
	var err error
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = fmt.Errorf("%w: %v", ErrTimeout, b.timeout)
	}
	b.mu.Lock()
	c.gone = true
	b.mu.Unlock()
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
		if !c.gone {
			batch = append(batch, c)
		}
	}
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	if len(batch) == 0 {
		if b.busy--; b.busy == 0 {
			b.idle.Broadcast()
		}
	}
	return batch
}

// wait waits until nothing is on its way.
func (b *batcher) wait() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.busy > 0 {
		b.idle.Wait()
	}
}
