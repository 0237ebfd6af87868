package redis

import "github.com/ashlar-go/ashlar/ratelimit"

// NewWithClock returns a limiter whose scripts begin with another clock.
func NewWithClock(c Client, p ratelimit.Policy, o *Options, clock string) (*Limiter, error) {
	return newLimiter(c, p, o, clock)
}

// Slot is where a cluster keeps a key.
func Slot(key string) int { return slot(key) }

// Name is what a key is called in Redis.
func (l *Limiter) Name(key string) string { return l.name(key) }

// Settle waits until nothing is on its way.
func (l *Limiter) Settle() { l.batch.wait() }
