package cms

import "errors"

var (
	// ErrInvalid is returned for a size, a rate or a factor outside its range.
	ErrInvalid = errors.New("cms: invalid argument")
	// ErrIncompatible is returned when two sketches differ in size.
	ErrIncompatible = errors.New("cms: sketches of different sizes")
	// ErrCorrupt is returned for bytes that are no encoding of a sketch.
	ErrCorrupt = errors.New("cms: corrupt encoding")
	// ErrVersion is returned for an encoding of a later version.
	ErrVersion = errors.New("cms: unknown version")
)
