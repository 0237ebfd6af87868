package idem

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrRunning is returned by Begin while another attempt with the key is at work.
	// It is wrapped by [RunningError], which says how long its lease is.
	ErrRunning = errors.New("idem: an attempt with this key is running")
	// ErrMismatch is returned by Begin for a key that was begun for another request.
	ErrMismatch = errors.New("idem: the key was used for another request")
	// ErrStale is returned to an attempt that does not hold its key any more: another
	// one has taken it over, or it is finished. Nothing was changed.
	ErrStale = errors.New("idem: overtaken by another attempt")
	// ErrNotFound is returned for a key that is unknown or forgotten.
	ErrNotFound = errors.New("idem: no such key")
	// ErrTooLarge is returned for a key, a hash or a result above its limit.
	ErrTooLarge = errors.New("idem: too large")
	// ErrInvalid is returned for an argument that can never be right.
	ErrInvalid = errors.New("idem: invalid argument")
	// ErrCorrupt is returned for a stored key that cannot be read.
	ErrCorrupt = errors.New("idem: corrupt record")
	// ErrVersion is returned for a directory of a later format.
	ErrVersion = errors.New("idem: unknown format version")
	// ErrLocked is returned by [Open] while the directory is open in another process.
	ErrLocked = errors.New("idem: directory is in use")
	// ErrClosed is returned by every method of a closed store.
	ErrClosed = errors.New("idem: closed")
)

// A RunningError says until when a running attempt has its key. It wraps
// [ErrRunning].
type RunningError struct {
	Key   string
	Until time.Time // end of the lease by the storage's clock; it may be extended
}

// Error names the key and the lease.
func (e *RunningError) Error() string {
	return fmt.Sprintf("%v: %q, its lease ends at %v", ErrRunning, e.Key, e.Until.Format(time.RFC3339Nano))
}

// Unwrap returns ErrRunning.
func (e *RunningError) Unwrap() error { return ErrRunning }
