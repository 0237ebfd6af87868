package tsdb

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by every method of a closed DB.
	ErrClosed = errors.New("tsdb: closed")

	// ErrLocked is returned by [Open] while the directory is open elsewhere.
	ErrLocked = errors.New("tsdb: directory is in use")

	// ErrCorrupt is returned when stored bytes fail their check. Where it is
	// known what they held, the error is a [CorruptError].
	ErrCorrupt = errors.New("tsdb: corrupt")

	// ErrVersion is returned by [Open] for files of a later format. They are
	// left untouched.
	ErrVersion = errors.New("tsdb: unknown format version")

	// ErrInvalid is returned for arguments that can never be right: an empty or
	// repeated label name, text that is not UTF-8, a range that is empty, slices
	// of different lengths, options out of range.
	ErrInvalid = errors.New("tsdb: invalid argument")

	// ErrTooLarge is returned for a label, source, log line or batch above its
	// limit.
	ErrTooLarge = errors.New("tsdb: too large")

	// ErrTooManySeries is returned by [DB.Series] for a new series at the limit;
	// those that exist are not affected. See [DB.TopLabels].
	ErrTooManySeries = errors.New("tsdb: too many series")

	// ErrNotFound is returned by [DB.Append] for a [Ref] that is not known, or
	// no longer: ask [DB.Series] again.
	ErrNotFound = errors.New("tsdb: no such series")

	// ErrTooOld is returned by [DB.Append] for samples before the retention.
	ErrTooOld = errors.New("tsdb: older than the retention")

	// ErrFuture is returned by [DB.Append] for samples that lie further ahead of
	// the clock than [Options.MaxFuture].
	ErrFuture = errors.New("tsdb: in the future")

	// ErrNoSpace is returned when the disk is full. What was appended before is
	// there, reads go on, and the call may be repeated once there is room.
	ErrNoSpace = errors.New("tsdb: no space left")

	// ErrFailed is returned by writes after the log could not be written or
	// synced: nobody knows what is on the disk. Reads go on; open the DB again
	// to write.
	ErrFailed = errors.New("tsdb: the log failed, open the database again")
)

// A CorruptError tells which part of the data cannot be read. It wraps
// [ErrCorrupt], or the error of reading.
type CorruptError struct {
	Source string
	Labels Labels // nil: of more than one series, or not known
	Range  Range
	File   string
	Err    error
}

// Error tells what is lost.
func (e *CorruptError) Error() string {
	what := "all series"
	if e.Labels != nil {
		what = e.Labels.String()
	}
	return fmt.Sprintf("tsdb: source %q, %s, times [%d, %d), file %s: %v", e.Source, what, e.Range.From, e.Range.To, e.File, e.Err)
}

// Unwrap returns what was wrong.
func (e *CorruptError) Unwrap() error { return e.Err }
