package redis

import "errors"

var (
	// ErrInvalid is returned for an argument that can never be right.
	ErrInvalid = errors.New("redis: invalid argument")
	// ErrUnsupported is returned for a policy that cannot be kept in Redis, or not in
	// this way.
	ErrUnsupported = errors.New("redis: the policy does not fit")
	// ErrReply is returned for an answer that no version of the scripts gives.
	ErrReply = errors.New("redis: unexpected reply")
	// ErrWrongType is returned for a key that holds something else.
	ErrWrongType = errors.New("redis: the key holds something else")
	// ErrSlots is returned by CheckAll for keys that a cluster may keep on different
	// servers: give them a common hash tag.
	ErrSlots = errors.New("redis: keys of different slots")
	// ErrTimeout is returned when Redis does not answer in time. The request may have
	// been counted.
	ErrTimeout = errors.New("redis: no answer in time")
	// ErrDown is returned without asking, shortly after Redis failed.
	ErrDown = errors.New("redis: failed a moment ago")
	// ErrClosed is returned by what is closed.
	ErrClosed = errors.New("redis: closed")
	// ErrTooLarge is returned for a value above its limit.
	ErrTooLarge = errors.New("redis: too large")
)
