package wal

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrClosed is returned by calls after Close.
	ErrClosed = errors.New("wal: closed")
	// ErrFailed is returned, with the cause, once a write or sync has failed.
	ErrFailed = errors.New("wal: failed, open it again")
	// ErrCorrupt is returned when the log's files hold what it never wrote, or
	// lack what it did: see [DamageError].
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrVersion is returned by Open for files of an unknown version. They are
	// left untouched.
	ErrVersion = errors.New("wal: unknown version")
	// ErrNotFound is returned for a position at which the log holds no record.
	ErrNotFound = errors.New("wal: no record at this position")
	// ErrTooLarge is returned for a record above [MaxRecord].
	ErrTooLarge = errors.New("wal: record too large")
	// ErrLocked is returned by Open when the directory is open elsewhere.
	ErrLocked = errors.New("wal: directory is in use")
)

// A Damage is a part of the log that was durable and cannot be read.
type Damage struct {
	File     string // path of the segment
	Offset   int64  // in the file, where it begins
	From, To uint64 // positions [From, To); equal where only a header is lost
	Reason   string
}

// String tells where the damage is, and why it is damage.
func (d Damage) String() string {
	return fmt.Sprintf("%s at offset %d: %s (positions %d to %d)", d.File, d.Offset, d.Reason, d.From, d.To)
}

// A DamageError tells where the log is damaged. It wraps [ErrCorrupt], and the
// error of reading, if there was one.
type DamageError struct {
	Damage []Damage // at least one
	Err    error    // of reading, or nil
}

// Error lists the damage.
func (e *DamageError) Error() string {
	parts := make([]string, len(e.Damage))
	for i, d := range e.Damage {
		parts[i] = d.String()
	}
	s := ErrCorrupt.Error() + ": " + strings.Join(parts, "; ")
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns ErrCorrupt and the error of reading.
func (e *DamageError) Unwrap() []error {
	if e.Err != nil {
		return []error{ErrCorrupt, e.Err}
	}
	return []error{ErrCorrupt}
}
