package hll

import "errors"

var (
	// ErrInvalid is returned for a precision or a width outside its range.
	ErrInvalid = errors.New("hll: invalid argument")
	// ErrIncompatible is returned when a sketch cannot be had in the form that is
	// asked for: Redis' from one of too low a precision.
	ErrIncompatible = errors.New("hll: incompatible precision")
	// ErrCorrupt is returned for bytes that are no encoding of a sketch.
	ErrCorrupt = errors.New("hll: corrupt encoding")
	// ErrVersion is returned for an encoding of a later version.
	ErrVersion = errors.New("hll: unknown version")
)
