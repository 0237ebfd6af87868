package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	maxBatch      = 1024      // commands in one log entry
	maxBatchBytes = 256 << 10 // their bytes, unless a single one is larger

	// light is how many commands may be under way without those that come
	// next having to wait for them.
	light = 4

	// gather is how long a new entry waits for company when the ones before it
	// were large: the answers to a large entry wake many callers, whose next
	// commands come within this time.
	gather = 100 * time.Microsecond
)

// A coalescer packs commands that wait together into one log entry, so that
// they share one flush per member and one round over the network.
//
// Two needs pull in different directions. A lone command should leave at once,
// also while another's commit is under way: that halves the latency of a chain
// of hand-overs. Many commands should leave together: every entry costs each
// member a flush, and flushes queue up at the disk. So while no more than light
// commands are under way the next leaves at once, up to InFlight entries; beyond
// that, what comes gathers until the load is light again. In this way a few
// busy callers see the disk's latency and many share its flushes.
type coalescer struct {
	apply    func([]byte) raft.ApplyFuture
	inflight int      // most entries under way
	pending  *pending // the same, to be waited for
	closed   <-chan struct{}

	mu    sync.Mutex
	queue []*request
	wake  chan struct{} // capacity 1

	flying, aboard int // entries under way, and commands in them
	usual          int // commands in an entry, as it went lately

	batches, commands uint64
}

type request struct {
	data []byte
	done chan struct{} // capacity 1: sent to once, when ans and err are set
	ans  any
	err  error
}

func newCoalescer(inflight int, apply func([]byte) raft.ApplyFuture, p *pending, closed <-chan struct{}) *coalescer {
	return &coalescer{
		apply: apply, inflight: inflight, pending: p, closed: closed,
		wake: make(chan struct{}, 1),
	}
}

// do sends one command and waits for its answer.
func (c *coalescer) do(ctx context.Context, data []byte) (any, error) {
	r := &request{data: data, done: make(chan struct{}, 1)}
	c.mu.Lock()
	c.queue = append(c.queue, r)
	c.mu.Unlock()
	signal(c.wake)
	select {
	case <-r.done:
		return r.ans, r.err
	case <-ctx.Done():
		// The request stays with whoever holds it. If it has not been taken
		// yet, it never will be.
		if c.withdraw(r) {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	case <-c.closed:
		if c.withdraw(r) {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("%w: %w", ErrUnknown, ErrClosed)
	}
}

// signal wakes whoever receives from c, now or when it next does.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// withdraw takes r out of the queue and tells whether it was still there.
func (c *coalescer) withdraw(r *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, q := range c.queue {
		if q == r {
			c.queue = append(c.queue[:i], c.queue[i+1:]...)
			return true
		}
	}
	return false
}

// counts returns how many entries were proposed and commands in them.
func (c *coalescer) counts() (batches, commands uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.batches, c.commands
}

// run takes batches until the node closes.
func (c *coalescer) run() {
	for {
		select {
		case <-c.closed:
			return
		case <-c.wake:
		}
		for c.ready() {
			c.company()
			batch := c.take()
			if len(batch) == 0 {
				break
			}
			c.pending.add()
			f := c.apply(encodeBatch(batch))
			go c.finish(f, batch)
		}
	}
}

// ready tells whether the next entry should leave now. If not, a command that
// comes or an entry that is finished wakes run.
func (c *coalescer) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) > 0 && c.flying < c.inflight && (c.flying == 0 || c.aboard+len(c.queue) <= light)
}

// company waits a moment for more commands if there usually are more.
func (c *coalescer) company() {
	c.mu.Lock()
	want := c.usual * 3 / 4
	enough := len(c.queue) >= want
	c.mu.Unlock()
	if enough || want <= light {
		return
	}
	t := time.NewTimer(gather)
	defer t.Stop()
	for !enough {
		select {
		case <-t.C:
			return
		case <-c.closed:
			return
		case <-c.wake:
		}
		c.mu.Lock()
		enough = len(c.queue) >= want
		c.mu.Unlock()
	}
}

func (c *coalescer) take() []*request {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, 0
	for n < len(c.queue) && n < maxBatch {
		bytes += len(c.queue[n].data)
		if n > 0 && bytes > maxBatchBytes {
			break
		}
		n++
	}
	if n == 0 {
		return nil
	}
	batch := make([]*request, n)
	copy(batch, c.queue)
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.batches++
	c.commands += uint64(n)
	c.flying++
	c.aboard += n
	c.usual = (c.usual + n + 1) / 2
	return batch
}

func encodeBatch(batch []*request) []byte {
	size := 1 + binary.MaxVarintLen64
	for _, r := range batch {
		size += binary.MaxVarintLen32 + len(r.data)
	}
	b := append(make([]byte, 0, size), entryBatch)
	b = binary.AppendUvarint(b, uint64(len(batch)))
	for _, r := range batch {
		b = binary.AppendUvarint(b, uint64(len(r.data)))
		b = append(b, r.data...)
	}
	return b
}

func (c *coalescer) finish(f raft.ApplyFuture, batch []*request) {
	err := f.Error()
	c.mu.Lock()
	c.flying--
	c.aboard -= len(batch)
	c.mu.Unlock()
	signal(c.wake)
	defer c.pending.done()
	var answers []any
	if err == nil {
		switch x := f.Response().(type) {
		case []any:
			answers = x
		case error:
			err = x
		}
		if err == nil && len(answers) != len(batch) {
			err = fmt.Errorf("%d answers for %d commands", len(answers), len(batch))
		}
	}
	err = applyError(err)
	for i, r := range batch {
		if err != nil {
			r.err = err
		} else {
			r.ans = answers[i]
		}
		r.done <- struct{}{}
	}
}

// applyError sorts the engine's errors into those after which the command was
// certainly not logged, and the ambiguous rest.
func applyError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	default:
		// ErrLeadershipLost, ErrAbortedByRestore, ErrRaftShutdown, disk errors
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

// enqueueTimeout bounds how long an entry waits for the engine's main loop,
// which is busy for as long as one log write takes.
const enqueueTimeout = 10 * time.Second
