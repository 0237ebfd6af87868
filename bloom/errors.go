package bloom

import "errors"

var (
	// ErrInvalid is returned for a number of items, a rate or a count of hashes
	// outside its range.
	ErrInvalid = errors.New("bloom: invalid argument")
	// ErrTooLarge is returned when a filter would exceed [MaxBits].
	ErrTooLarge = errors.New("bloom: filter too large")
	// ErrIncompatible is returned when two filters differ in size or hashes.
	ErrIncompatible = errors.New("bloom: filters of different parameters")
	// ErrCorrupt is returned for bytes that are no encoding of a filter.
	ErrCorrupt = errors.New("bloom: corrupt encoding")
	// ErrVersion is returned for an encoding of a later version.
	ErrVersion = errors.New("bloom: unknown version")
)
