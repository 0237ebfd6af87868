//go:build !linux

package vfs

// On darwin os.File.Sync asks for F_FULLFSYNC, on Windows for FlushFileBuffers.
func (f *osFile) datasync() error { return f.File.Sync() }
