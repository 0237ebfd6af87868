package vfs

import (
	"sync"
	"syscall"
)

// A datasyncCall carries the result of fdatasync out of RawConn.Control. Its
// closure is made once, so that a commit allocates nothing.
type datasyncCall struct {
	err error
	fn  func(fd uintptr)
}

var datasyncCalls = sync.Pool{New: func() any {
	c := new(datasyncCall)
	c.fn = func(fd uintptr) {
		for {
			if c.err = syscall.Fdatasync(int(fd)); c.err != syscall.EINTR {
				return
			}
		}
	}
	return c
}}

func (f *osFile) datasync() error {
	c := datasyncCalls.Get().(*datasyncCall)
	err := f.raw.Control(c.fn)
	if err == nil {
		err = c.err
	}
	datasyncCalls.Put(c)
	return err
}
