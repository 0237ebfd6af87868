package vfs

import (
	"os"
	"syscall"
	"unsafe"
)

var procLockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

const (
	lockFailImmediately  = 1
	lockExclusive        = 2
	errorLockViolation   = syscall.Errno(33)
	errorSharingConflict = syscall.Errno(32)
)

func lockFile(f *os.File) error {
	var overlapped syscall.Overlapped
	ok, _, err := procLockFileEx.Call(f.Fd(), lockExclusive|lockFailImmediately, 0, 1, 0,
		uintptr(unsafe.Pointer(&overlapped)))
	switch {
	case ok != 0:
		return nil
	case err == errorLockViolation || err == errorSharingConflict || err == syscall.ERROR_IO_PENDING:
		return ErrLocked
	}
	return &os.PathError{Op: "LockFileEx", Path: f.Name(), Err: err}
}
