package blob

import "errors"

var (
	// ErrNotFound is returned when there is no object under the key.
	ErrNotFound = errors.New("blob: not found")

	// ErrExists is returned by PutIf with [Absent] when the key is taken.
	ErrExists = errors.New("blob: object exists")

	// ErrConflict is returned by PutIf when the object has another version than
	// the one demanded, or none because it is gone. Nothing was changed.
	ErrConflict = errors.New("blob: object has another version")

	// ErrTooLarge is returned for a key or an object above its limit.
	ErrTooLarge = errors.New("blob: too large")

	// ErrInvalid is returned for a key, size or range that can never be right,
	// and for a body longer than its declared size.
	ErrInvalid = errors.New("blob: invalid argument")

	// ErrCorrupt is returned when what is stored fails its checksum.
	ErrCorrupt = errors.New("blob: corrupt object")

	// ErrVersion is returned for a file of a later format than this package
	// knows. It is left untouched.
	ErrVersion = errors.New("blob: unknown format version")

	// ErrLocked is returned by [OpenDir] while the directory is open, here or in
	// another process.
	ErrLocked = errors.New("blob: directory is in use")

	// ErrClosed is returned by every method of a closed store.
	ErrClosed = errors.New("blob: store closed")
)
