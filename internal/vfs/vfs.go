package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

var (
	// ErrLocked is returned by [FS.Lock] when somebody holds the lock.
	ErrLocked = errors.New("vfs: locked by another process or handle")
	// ErrNoSpace is wrapped, beside the system's own error, by the errors of
	// calls that failed because the disk or the quota is full.
	ErrNoSpace = errors.New("vfs: no space left on device")
	// ErrTooLarge is returned by [ReadFile] when the file exceeds its limit.
	ErrTooLarge = errors.New("vfs: file too large")
)

// An FS is a tree of files. Names are paths of the operating system, joined
// with [filepath.Join]. Errors wrap [fs.ErrNotExist] and [fs.ErrExist] where
// these apply. An FS is safe for concurrent use by multiple goroutines.
type FS interface {
	// Create makes a new, empty file and opens it for reading and writing. A
	// name that exists is an error wrapping [fs.ErrExist]. The name is durable
	// after SyncDir.
	Create(name string) (File, error)
	// Open opens a file that exists for reading and writing.
	Open(name string) (File, error)
	// Rename gives a file another name, replacing what had it. On some systems
	// an open file cannot be renamed or replaced: close both first.
	Rename(oldname, newname string) error
	// Link gives a file a second name, which must not exist.
	Link(oldname, newname string) error
	// Remove removes a name. On some systems it must not be open.
	Remove(name string) error
	// List returns the names in a directory, sorted, without their path.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and its missing parents, durably.
	MkdirAll(dir string) error
	// SyncDir makes the names in a directory durable: what was created,
	// renamed, linked and removed in it before. Where the system cannot sync a
	// directory (Windows), it does nothing.
	SyncDir(dir string) error
	// Lock takes the exclusive lock called name, creating its file, which
	// stays. It fails with [ErrLocked] at once when the lock is held. Closing
	// the result, or the end of the process, frees it.
	Lock(name string) (io.Closer, error)
	// Stat returns the size of a file in bytes.
	Stat(name string) (size int64, err error)
}

// A File is an open file. It is safe for concurrent use by multiple goroutines,
// but for Close, which must come last.
type File interface {
	// ReadAt is as [io.ReaderAt] says.
	io.ReaderAt
	// WriteAt is as [io.WriterAt] says. Beyond the end it makes the file
	// larger; a gap reads as zeros.
	io.WriterAt
	// Datasync returns when the content written before, and the size needed to
	// read it, are on the disk: fdatasync where the system has it. After an
	// error nothing is known about what was written since the last success,
	// and trying again is no cure.
	Datasync() error
	// Sync is Datasync and the rest of the file's metadata. On darwin both ask
	// the drive to empty its cache (F_FULLFSYNC).
	Sync() error
	// Truncate sets the size in bytes. New bytes are zeros, usually without
	// space reserved for them: to preallocate use [ZeroFill].
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
	// Close frees the handle. It does not sync.
	Close() error
}

// zeros is the source of [ZeroFill]; nobody writes to it.
var zeros [256 << 10]byte

// ZeroFill writes n zero bytes at off. Space that was really written, rather
// than reserved with fallocate, costs a later write and Datasync no change of
// metadata: the file system has no unwritten extent to convert and no size to
// record, which halves the price of a commit on ext4.
func ZeroFill(f File, off, n int64) error {
	for n > 0 {
		c := min(n, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:c], off); err != nil {
			return err
		}
		off, n = off+c, n-c
	}
	return nil
}

// WriteFile replaces the content of a file, or makes it, in one step that a
// crash cannot tear: it writes name plus ".tmp", syncs it, renames it and syncs
// the directory. Only one caller at a time may write a name.
func WriteFile(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return Replace(fsys, name, tmp, func(f File) error {
		_, err := f.WriteAt(data, 0)
		return err
	})
}

// Replace does the same with what write writes, under a name tmp in the same
// directory that must be free. Callers with different ones may replace a name at the
// same time: one of them is the last.
func Replace(fsys FS, name, tmp string, write func(File) error) error {
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // the first error is the one to tell
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// ReadFile returns the content of a file of at most limit bytes; a larger one
// is an error wrapping [ErrTooLarge], before anything is allocated.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, above %d", ErrTooLarge, name, size, limit)
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); int64(n) < size {
		return nil, fmt.Errorf("vfs: %s: read %d of %d bytes: %w", name, n, size, err)
	}
	return data, nil
}
