//go:build unix

package graph

import (
	"fmt"
	"os"
	"syscall"
)

// mapFile returns the content of a file, mapped, and what ends that.
func mapFile(path string) (b []byte, unmap func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // the mapping stays
	s, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	size := int(s.Size())
	if int64(size) != s.Size() || size < headSize {
		return nil, nil, fmt.Errorf("%w: %s has %d bytes", ErrCorrupt, path, s.Size())
	}
	b, err = syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	return b, func() error { return syscall.Munmap(b) }, nil
}
