package redis

import (
	"time"

	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/ratelimit"
)

// NewWithClock returns a limiter whose scripts begin with another clock.
func NewWithClock(c Client, p ratelimit.Policy, o *Options, clock string) (*Limiter, error) {
	return newLimiter(c, p, o, clock)
}

// Slot is where a cluster keeps a key.
func Slot(key string) int { return slot(key) }

// Name is what a key is called in Redis.
func (l *Limiter) Name(key string) string { return l.name(key) }

// Settle waits until nothing is on its way.
func (l *Limiter) Settle() { l.batch.wait(time.Minute) }

// Queued is how many requests are kept that have not left.
func (l *Limiter) Queued() int {
	l.batch.mu.Lock()
	defer l.batch.mu.Unlock()
	return len(l.batch.queue)
}

// NewNearWithClock returns a Near whose scripts begin with another clock, and which has
// another one itself.
func NewNearWithClock(l *Limiter, o *NearOptions, clock string, now func() int64) (*Near, error) {
	return newNear(l, o, clock, now)
}

// Sweep does what the goroutine does from time to time.
func (n *Near) Sweep() { _ = n.tell(true) }

// Settle waits until nothing is on its way.
func (n *Near) Settle() { n.batch.wait(time.Minute) }

// Abandon leaves everything as it is, like a node that dies.
func (n *Near) Abandon() {
	n.stop()
	for i := range n.shards {
		n.shards[i].mu.Lock()
		n.shards[i].closed = true
		n.shards[i].mu.Unlock()
	}
	n.wg.Wait()
}

// NewIdemWithClock returns a backend whose script begins with another clock.
func NewIdemWithClock(c Client, o *IdemOptions, clock string) (*Idem, error) {
	return newIdem(c, o, clock)
}

// ReadRecord reads a record of the script's.
func ReadRecord(key string, v any) (idem.Record, error) { return readRecord(key, v) }

// NewCacheWithClock returns a cache whose script begins with another clock.
func NewCacheWithClock(c Client, o *CacheOptions, clock string) (*Cache, error) {
	return newCache(c, o, clock)
}

// ReadCacheReply reads an answer of the script's.
func ReadCacheReply(v any) (value []byte, left time.Duration, there bool, err error) {
	r, err := readCacheReply(v)
	return r.value, r.left, r.there, err
}
