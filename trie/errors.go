package trie

import "errors"

var (
	// ErrInvalid is returned for an option outside its range.
	ErrInvalid = errors.New("trie: invalid argument")
	// ErrTooLarge is returned for a term above [MaxTerm], and for more terms or text
	// than an image can hold.
	ErrTooLarge = errors.New("trie: too large")
	// ErrCorrupt is returned for bytes that are no image.
	ErrCorrupt = errors.New("trie: corrupt image")
	// ErrVersion is returned for an image of a later version.
	ErrVersion = errors.New("trie: unknown version")
)
