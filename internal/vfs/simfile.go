package vfs

import (
	"io"
	"io/fs"
	"maps"
	"slices"
)

// An inode is the content of a simulated file.
type inode struct {
	data []byte // what reads see
	disk []byte // what the last successful sync left
	// past holds, for each sector changed since the last sync that covered it,
	// the states it has been in, oldest first; the present one is in data.
	past map[int64][][]byte
	// clean marks sectors that a failed sync took for written: the next sync
	// does not write them.
	clean map[int64]bool
	sizes []int64 // sizes since the last sync, oldest first, without the present one
}

func newInode() *inode {
	return &inode{past: map[int64][][]byte{}, clean: map[int64]bool{}}
}

// sector returns a copy of sector i of data, padded with zeros.
func sector(data []byte, i int64) []byte {
	b := make([]byte, SectorSize)
	if off := i * SectorSize; off < int64(len(data)) {
		copy(b, data[off:])
	}
	return b
}

// touch remembers the present state of the sectors of [from, to).
func (ino *inode) touch(from, to int64) {
	for i := from / SectorSize; i*SectorSize < to; i++ {
		ino.past[i] = append(ino.past[i], sector(ino.data, i))
		delete(ino.clean, i)
	}
}

func (ino *inode) resize(size int64) {
	old := int64(len(ino.data))
	if size == old {
		return
	}
	ino.sizes = append(ino.sizes, old)
	if size < old {
		ino.touch(size, old)
		clear(ino.data[size:])
		ino.data = ino.data[:size]
		return
	}
	if size <= int64(cap(ino.data)) {
		ino.data = ino.data[:size]
		return
	}
	ino.data = append(ino.data, make([]byte, size-old)...)
}

func (ino *inode) write(p []byte, off int64) {
	end := off + int64(len(p))
	ino.touch(off, end)
	if end > int64(len(ino.data)) {
		ino.resize(end)
	}
	copy(ino.data[off:], p)
}

// sync makes the dirty sectors and the size durable.
func (ino *inode) sync() {
	ino.disk = resized(ino.disk, int64(len(ino.data)))
	for i := range ino.past {
		if ino.clean[i] {
			continue
		}
		if off := i * SectorSize; off < int64(len(ino.data)) {
			copy(ino.disk[off:], ino.data[off:min(off+SectorSize, int64(len(ino.data)))])
		}
		delete(ino.past, i)
	}
	ino.sizes = ino.sizes[:0]
}

// failSync marks all dirty sectors as clean without saving them.
func (ino *inode) failSync() {
	for i := range ino.past {
		ino.clean[i] = true
	}
}

func resized(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		clear(b[size:])
		return b[:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// clone returns a deep copy.
func (ino *inode) clone() *inode {
	c := &inode{
		data: slices.Clone(ino.data), disk: slices.Clone(ino.disk), past: map[int64][][]byte{},
		clean: maps.Clone(ino.clean), sizes: slices.Clone(ino.sizes),
	}
	for i, states := range ino.past {
		for _, st := range states {
			c.past[i] = append(c.past[i], slices.Clone(st))
		}
	}
	return c
}

type simFile struct {
	s    *Sim
	name string
	ino  *inode
}

func (f *simFile) ReadAt(p []byte, off int64) (int, error) {
	cut, err := f.s.before(OpRead, f.name, off, len(p))
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: err}
	}
	n := 0
	if off < 0 {
		err = &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	} else {
		if off < int64(len(f.ino.data)) {
			n = copy(p, f.ino.data[off:])
		}
		if n < len(p) {
			err = io.EOF
		}
	}
	return n, f.s.done(cut, err)
}

func (f *simFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrInvalid}
	}
	cut, err := f.s.before(OpWrite, f.name, off, len(p))
	if err != nil {
		n := 0
		if short, ok := err.(*ShortWrite); ok {
			n = min(short.N, len(p))
			f.s.mu.Lock()
			f.ino.write(p[:n], off)
			f.s.mu.Unlock()
		}
		return n, &fs.PathError{Op: "write", Path: f.name, Err: err}
	}
	if len(p) > 0 {
		f.ino.write(p, off)
	}
	if err := f.s.done(cut, nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *simFile) Datasync() error { return f.syncAs(OpDatasync) }
func (f *simFile) Sync() error     { return f.syncAs(OpSync) }

func (f *simFile) syncAs(kind OpKind) error {
	cut, err := f.s.before(kind, f.name, 0, 0)
	if err != nil {
		f.s.mu.Lock()
		f.ino.failSync()
		f.s.mu.Unlock()
		return &fs.PathError{Op: kind.String(), Path: f.name, Err: err}
	}
	if !cut {
		f.ino.sync()
	}
	return f.s.done(cut, nil)
}

func (f *simFile) Truncate(size int64) error {
	cut, err := f.s.before(OpTruncate, f.name, size, 0)
	if err != nil {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: err}
	}
	if size < 0 {
		err = &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	} else {
		f.ino.resize(size)
	}
	return f.s.done(cut, err)
}

func (f *simFile) Size() (int64, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return int64(len(f.ino.data)), nil
}

func (f *simFile) Close() error { return nil }
