package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A breaker leaves Redis alone for a while after it failed. One request after the pause
// tries it again.
type breaker struct {
	pause time.Duration
	until atomic.Int64 // nanoseconds since 1970; 0: it works, as far as is known
}

func (b *breaker) resting() bool {
	until := b.until.Load()
	if until == 0 {
		return false
	}
	now := time.Now().UnixNano()
	if now < until {
		return true
	}
	return !b.until.CompareAndSwap(until, now+b.some())
}

func (b *breaker) some() int64 {
	p := int64(b.pause)
	return p/2 + rand.Int64N(p+1)
}

// works says that Redis has answered.
func (b *breaker) works() {
	if b.until.Load() != 0 {
		b.until.Store(0)
	}
}

func (b *breaker) fail() { b.until.Store(time.Now().UnixNano() + b.some()) }

// over tells whether ctx has ended. A client may notice its deadline before it does itself.
func over(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(end) <= 0
}

// answerWithin returns what ask does, or ErrTimeout, also where the client does not heed
// its context; then a goroutine waits for it.
func answerWithin(ctx context.Context, timeout time.Duration, heeds bool, ask func(context.Context) (any, error)) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	named := func(v any, err error) (any, error) {
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			if over(ctx) {
				return nil, context.DeadlineExceeded
			}
			return nil, fmt.Errorf("%w: %v", ErrTimeout, timeout)
		}
		return v, err
	}
	if heeds {
		return named(ask(within))
	}
	type answer struct {
		v   any
		err error
	}
	done := make(chan answer, 1)
	go func() { // ends when the client gives up
		v, err := ask(within)
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return named(a.v, a.err)
	case <-within.Done():
		return nil, cmp.Or(ctx.Err(), fmt.Errorf("%w: %v", ErrTimeout, timeout))
	}
}
