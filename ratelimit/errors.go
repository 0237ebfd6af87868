package ratelimit

import "errors"

var (
	// ErrInvalid is returned for an argument that can never be right.
	ErrInvalid = errors.New("ratelimit: invalid argument")
	// ErrTooMany is returned by Wait and Reserve for more than the policy ever lets
	// through at once, and by Wait when the context's deadline comes first.
	ErrTooMany = errors.New("ratelimit: would exceed the limit")
	// ErrIncompatible is returned by Restore for a snapshot of another policy.
	ErrIncompatible = errors.New("ratelimit: snapshot of another policy")
	// ErrUnsupported is returned by Reserve for a policy without a future.
	ErrUnsupported = errors.New("ratelimit: the policy takes no reservations")
	// ErrCorrupt is returned by Restore for bytes that are no snapshot.
	ErrCorrupt = errors.New("ratelimit: corrupt snapshot")
	// ErrVersion is returned by Restore for a snapshot of a later version.
	ErrVersion = errors.New("ratelimit: unknown version")
)
