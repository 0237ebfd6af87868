package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ashlar-go/ashlar/lock/internal/core"
)

// A Lock is one hold of one key: exclusive, shared, or some permits. It is safe
// for concurrent use by multiple goroutines.
type Lock struct {
	s     *session
	req   uint64
	key   string
	token uint64

	lost   chan struct{}
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	state error // nil while held
}

func newLock(s *session, req uint64, key string, token uint64) *Lock {
	l := &Lock{s: s, req: req, key: key, token: token, lost: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// Key returns the key.
func (l *Lock) Key() string { return l.key }

// Token returns the fencing token: an exclusive hold's is higher than that of
// every grant made before it, of any key. Send it with everything that is
// written under the lock, and let the receiver refuse what is lower than the
// highest it has seen; see [Guard]. Readers that hold a key together share one
// token. The permits of a semaphore have different ones and are valid side by
// side, so a guard that asks for rising tokens does not fit them: a semaphore
// bounds load, it does not protect data.
func (l *Lock) Token() uint64 { return l.token }

// Lost is closed when the lock is lost: its lease ran out on this client's
// clock, or the servers ended the session. It is not closed by Unlock. A
// program that was stopped learns of the loss only when it runs again: what
// must not happen after a loss needs a guard.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Context returns a context that ends when the lock is lost, with a cause
// wrapping [ErrLost], or unlocked.
func (l *Lock) Context() context.Context { return l.ctx }

// Err tells whether the lock is held at this moment, by looking at the clock:
// nil while it is; an error wrapping [ErrLost] after a loss; [ErrNotHeld] after
// Unlock.
func (l *Lock) Err() error {
	l.mu.Lock()
	state := l.state
	l.mu.Unlock()
	if state == nil && !l.s.alive() {
		cause := fmt.Errorf("%w: the lease ran out", ErrLost)
		l.s.end(cause)
		// Another goroutine may be ending the session and not have come to
		// this lock yet.
		l.lose(cause)
		l.mu.Lock()
		state = l.state
		l.mu.Unlock()
	}
	return state
}

// lose is called once the session is over.
func (l *Lock) lose(cause error) {
	if !errors.Is(cause, ErrLost) {
		cause = fmt.Errorf("%w: %w", ErrLost, cause)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil {
		l.state = cause
		close(l.lost)
		l.cancel(cause)
	}
}

// let marks the lock as given back and tells whether it was held.
func (l *Lock) let() error {
	if err := l.Err(); err != nil {
		if errors.Is(err, ErrLost) {
			return fmt.Errorf("%w: %w", ErrNotHeld, err)
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != nil {
		return ErrNotHeld
	}
	l.state = ErrNotHeld
	l.cancel(context.Canceled)
	return nil
}

// Unlock gives the lock back and returns when a majority of the servers has
// that on disk; the next waiter has it by then. From the call on this client
// does not hold it. If ctx ends before the answer, the client goes on telling
// the servers, and the lease ends the hold at the latest.
//
// It returns [ErrNotHeld] if the lock was lost before or is unlocked already;
// that never affects a later holder.
func (l *Lock) Unlock(ctx context.Context) error {
	if err := l.let(); err != nil {
		return err
	}
	var res core.Result
	tries := 0
	err := l.s.c.servers.retry(ctx, func(ctx context.Context) (err error) {
		tries++
		res, _, err = l.s.c.servers.command(ctx, l.release())
		return err
	})
	switch {
	case err == nil && (res.Status == core.StatusReleased || tries > 1):
		// Or the session lives, and holds it no longer: an earlier try has
		// released it, so long ago that the servers have forgotten.
		l.s.forget(l.req)
		return nil
	case errors.Is(err, errNoSession):
		cause := fmt.Errorf("%w: the servers ended the session", ErrLost)
		l.s.end(cause)
		return fmt.Errorf("%w: %w", ErrNotHeld, cause)
	case err == nil:
		l.s.forget(l.req)
		return fmt.Errorf("%w: the servers have released it before", ErrNotHeld)
	}
	l.releaseLater()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// UnlockAsync gives the lock back without waiting for the servers' answer.
// From the call on this client does not hold the lock; the next waiter has it a
// moment later.
func (l *Lock) UnlockAsync() {
	if l.let() == nil {
		l.releaseLater()
	}
}

func (l *Lock) releaseLater() {
	l.s.giveUp(l.req, l.release())
}

func (l *Lock) release() *core.Command {
	return &core.Command{Op: core.OpRelease, Session: l.s.id, Req: l.req, Key: l.key, Token: l.token}
}
