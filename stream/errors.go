package stream

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound is returned for a topic, a partition or an offset that does
	// not exist. For an offset the error is an [OffsetError].
	ErrNotFound = errors.New("stream: not found")
	// ErrExists is returned by CreateTopic for a topic that exists with other
	// options.
	ErrExists = errors.New("stream: topic exists with other options")
	// ErrStale is returned for a commit or a transaction whose epoch was
	// overtaken: the partition has another owner. Nothing was changed.
	ErrStale = errors.New("stream: overtaken by a later epoch")
	// ErrTooLarge is returned for a batch, a name or a transaction above its
	// limit.
	ErrTooLarge = errors.New("stream: too large")
	// ErrInvalid is returned for an argument that can never be right.
	ErrInvalid = errors.New("stream: invalid argument")
	// ErrCorrupt is returned when stored bytes fail their checksum. It is
	// wrapped by [DamageError], which says where.
	ErrCorrupt = errors.New("stream: corrupt")
	// ErrVersion is returned by [OpenLocal] for a directory of a later format.
	// It is left untouched.
	ErrVersion = errors.New("stream: unknown format version")
	// ErrLocked is returned by [OpenLocal] while the directory is open, here or
	// in another process.
	ErrLocked = errors.New("stream: directory is in use")
	// ErrClosed is returned by every method of a closed log, group or member.
	ErrClosed = errors.New("stream: closed")
	// ErrFailed is returned, with the cause, by all writing once a write or a
	// sync has failed: nobody knows what is on the disk until the directory is
	// opened again. Reading goes on.
	ErrFailed = errors.New("stream: failed, open it again")
)

// An OffsetError says that a partition does not hold an offset. It wraps
// [ErrNotFound].
type OffsetError struct {
	Partition   Partition
	Offset      int64
	First, Next int64 // the partition holds [First, Next)
}

// Error names the offset and the range that exists.
func (e *OffsetError) Error() string {
	return fmt.Sprintf("%v: %v has no offset %d, it holds [%d, %d)", ErrNotFound, e.Partition, e.Offset, e.First, e.Next)
}

// Unwrap returns ErrNotFound.
func (e *OffsetError) Unwrap() error { return ErrNotFound }

// A Damage is a place in a file of a [Local] log that was durable and cannot be
// read, or, in [Recovery].Torn, one that never was durable and was cut off.
type Damage struct {
	File   string
	Offset int64 // in the file, where it begins
	Bytes  int64 // how far it reaches, 0 if unknown
	Reason string
}

// String names the place.
func (d Damage) String() string {
	return fmt.Sprintf("%s at byte %d: %s", d.File, d.Offset, d.Reason)
}

// A DamageError is returned by Read when records are lost in a damaged file:
// the offsets [From, To). Reading may go on at To. It wraps [ErrCorrupt].
type DamageError struct {
	Damage
	Partition Partition
	From, To  int64
}

// Error names the file, the place and the lost offsets.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%v: %v: offsets [%d, %d) are lost: %v", ErrCorrupt, e.Partition, e.From, e.To, e.Damage)
}

// Unwrap returns ErrCorrupt.
func (e *DamageError) Unwrap() error { return ErrCorrupt }
