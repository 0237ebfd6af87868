package replica

import (
	"errors"
	"fmt"
)

var (
	// ErrNotLeader is returned when this node does not lead, or cannot show that
	// it does; the command was not logged. The error is a [*NotLeaderError],
	// which names the leader where it is known.
	ErrNotLeader = errors.New("replica: not the leader")

	// ErrUnknown is returned by [Node.Apply] when the outcome is not known: the
	// command may have been applied, may be applied later, or never.
	ErrUnknown = errors.New("replica: outcome unknown")

	// ErrClosed is returned by every method after [Node.Close].
	ErrClosed = errors.New("replica: node closed")

	// ErrTooLarge is returned for a command above [Options.MaxCommand].
	ErrTooLarge = errors.New("replica: command too large")

	// ErrDiverged stops a node whose machine had another digest than the
	// leader's at the same log index.
	ErrDiverged = errors.New("replica: state differs from the leader's")

	// ErrStalled stops a node whose disk did not finish a write to the log
	// within [Options.StallTimeout].
	ErrStalled = errors.New("replica: log write stalled")

	// ErrDisk stops a node whose log could not be written or flushed. A flush
	// is never tried again: the system may have dropped the pages already.
	ErrDisk = errors.New("replica: log write failed")

	// ErrCorrupt is returned when a log, a snapshot, or a stored identity does
	// not decode.
	ErrCorrupt = errors.New("replica: corrupt data")

	// ErrVersion is returned when what is stored was written by a version of
	// this package that the program does not know. It is left untouched.
	ErrVersion = errors.New("replica: unknown version")

	// ErrIncompatible is returned when a directory or a peer belongs to another
	// node or cluster, or a directory is open in another process or was used
	// with another [Store].
	ErrIncompatible = errors.New("replica: other cluster or node")
)

// A NotLeaderError tells where the leader is. It unwraps to [ErrNotLeader].
type NotLeaderError struct {
	ID      string // the leader's id, or "" when there is none known
	Address string // the leader's address, or ""
}

// Error names the leader, if it is known.
func (e *NotLeaderError) Error() string {
	if e.ID == "" {
		return ErrNotLeader.Error() + ": no leader known"
	}
	return fmt.Sprintf("%v: %s at %s leads", ErrNotLeader, e.ID, e.Address)
}

// Unwrap returns ErrNotLeader.
func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }
