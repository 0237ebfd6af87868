package lock

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrHeld is returned by the Try methods when somebody else holds the lock,
	// or waits for it. The error is a [*HeldError].
	ErrHeld = errors.New("lock: held")

	// ErrHeldBySelf is returned when this client already holds, or waits for,
	// the same key: locks are not re-entrant.
	ErrHeldBySelf = errors.New("lock: held or awaited by this client")

	// ErrNotHeld is returned by Unlock for a lock that was lost, and for one
	// that was unlocked already. A later holder is never disturbed.
	ErrNotHeld = errors.New("lock: not held")

	// ErrLost is the cause of a lock's context, and its Err, when the lease ran
	// out or the session ended.
	ErrLost = errors.New("lock: lost")

	// ErrIncompatible is returned when a key is in use as another kind of lock:
	// a semaphore as a mutex, or with another limit.
	ErrIncompatible = errors.New("lock: key is in use as another kind of lock")

	// ErrTooMany is returned when a key's queue is full.
	ErrTooMany = errors.New("lock: too many waiters")

	// ErrInvalid is returned for a key, lifetime or weight outside its range.
	ErrInvalid = errors.New("lock: invalid argument")

	// ErrClosed is returned after [Client.Close] and [FenceLog.Close].
	ErrClosed = errors.New("lock: closed")
)

// A HeldError tells who holds a lock. It unwraps to [ErrHeld].
type HeldError struct {
	Key    string
	Holder string    // the holder's label
	Token  uint64    // its fencing token
	Since  time.Time // when it was granted, by the server's clock; zero if unknown
}

func (e *HeldError) Error() string {
	if e.Since.IsZero() {
		return fmt.Sprintf("%v: %q by %q, token %d", ErrHeld, e.Key, e.Holder, e.Token)
	}
	return fmt.Sprintf("%v: %q by %q, token %d, since %s", ErrHeld, e.Key, e.Holder, e.Token, e.Since.Format(time.RFC3339))
}

// Unwrap returns [ErrHeld].
func (e *HeldError) Unwrap() error { return ErrHeld }
