package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// SectorSize is the unit in bytes that a simulated power cut keeps or loses as
// a whole.
const SectorSize = 512

// ErrPowerCut is returned by every call after the point set with [Sim.CutAt].
var ErrPowerCut = errors.New("vfs: simulated power cut")

// A ShortWrite, returned by a hook for [OpWrite], lets the first N bytes be
// written and then fails with Err.
type ShortWrite struct {
	N   int
	Err error
}

// Error tells how much was written, and why no more.
func (s *ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", s.N, s.Err) }

// Unwrap returns the reason.
func (s *ShortWrite) Unwrap() error { return s.Err }

// An OpKind names a call for hooks.
type OpKind uint8

// The calls that hooks see. All but OpOpen, OpRead and OpList count for
// [Sim.CutAt] and [Sim.Ops].
const (
	OpCreate OpKind = iota
	OpOpen
	OpRead
	OpWrite
	OpTruncate
	OpDatasync
	OpSync
	OpRename
	OpLink
	OpRemove
	OpList
	OpMkdir
	OpSyncDir
	OpLock
)

var opNames = [...]string{
	"create", "open", "read", "write", "truncate", "datasync", "sync", "rename", "link",
	"remove", "list", "mkdir", "syncdir", "lock",
}

// String returns the name of the call.
func (k OpKind) String() string {
	if int(k) < len(opNames) {
		return opNames[k]
	}
	return fmt.Sprintf("op(%d)", uint8(k))
}

// An Op is one call, as hooks see it.
type Op struct {
	Kind OpKind
	Name string // the file or directory; for a rename and a link the old name
	Off  int64  // where a read or write begins
	Len  int    // the bytes of a read or write
	N    int    // the number of the counted call, from 1; 0 if it does not count
}

// A Sim is a file system in memory that records what is not yet durable. See
// the package comment for its model. A Sim is safe for concurrent use by
// multiple goroutines.
type Sim struct {
	mu    sync.Mutex
	names map[string]*inode // what calls see
	disk  map[string]*inode // names that are durable
	pend  []nameOp          // changes of names since, in order
	dirs  map[string]bool
	locks map[string]bool
	hook  func(Op) error
	n     int
	cut   int
	gone  bool
}

// A nameOp makes some names point to inodes (nil: no longer exist).
type nameOp struct {
	names  []string
	inodes []*inode
}

// NewSim returns an empty file system whose power never fails.
func NewSim() *Sim {
	return &Sim{
		names: map[string]*inode{}, disk: map[string]*inode{},
		dirs: map[string]bool{}, locks: map[string]bool{},
	}
}

// CutAt makes the n-th counted call from now the last one: it fails with
// [ErrPowerCut], and so does everything after it. A write, truncation or change
// of names that is cut may or may not have happened. Zero or less: never.
func (s *Sim) CutAt(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = 0
	if n > 0 {
		s.cut = s.n + n
	}
}

// Ops returns how many calls have been counted.
func (s *Sim) Ops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// SetHook has f called before each call; an error from f is what the call
// returns. F may block, which stalls that call only, and must not call s. Nil
// removes the hook.
func (s *Sim) SetHook(f func(Op) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// Flip inverts one bit of a file, durably: bit 0 to 7 of the byte at off.
func (s *Sim) Flip(name string, off int64, bit int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ino := s.names[filepath.Clean(name)]
	if ino == nil {
		return &fs.PathError{Op: "flip", Path: name, Err: fs.ErrNotExist}
	}
	if off < 0 || off >= int64(len(ino.data)) {
		return fmt.Errorf("vfs: flip %s: offset %d outside [0, %d)", name, off, len(ino.data))
	}
	ino.data[off] ^= 1 << (bit & 7)
	if off < int64(len(ino.disk)) {
		ino.disk[off] ^= 1 << (bit & 7)
	}
	for _, old := range ino.past[off/SectorSize] {
		old[off%SectorSize] ^= 1 << (bit & 7)
	}
	return nil
}

// before counts the call and asks the hook. It returns locked, unless it
// returns an error. cut says that this very call is the one that is cut.
func (s *Sim) before(kind OpKind, name string, off int64, n int) (cut bool, err error) {
	s.mu.Lock()
	op := Op{Kind: kind, Name: name, Off: off, Len: n}
	if s.gone {
		s.mu.Unlock()
		return false, ErrPowerCut
	}
	if kind != OpOpen && kind != OpRead && kind != OpList {
		s.n++
		op.N = s.n
		if s.n == s.cut {
			s.gone = true
			return true, nil
		}
	}
	if hook := s.hook; hook != nil {
		s.mu.Unlock()
		if err := hook(op); err != nil {
			return false, err
		}
		s.mu.Lock()
		if s.gone {
			s.mu.Unlock()
			return false, ErrPowerCut
		}
	}
	return false, nil
}

// done ends a call that [Sim.before] let pass.
func (s *Sim) done(cut bool, err error) error {
	s.mu.Unlock()
	if cut {
		return ErrPowerCut
	}
	return err
}

// change applies a change of names and remembers that it is not durable.
func (s *Sim) change(names []string, inodes []*inode) {
	for i, name := range names {
		if inodes[i] == nil {
			delete(s.names, name)
		} else {
			s.names[name] = inodes[i]
		}
	}
	s.pend = append(s.pend, nameOp{names, inodes})
}

// Create implements [FS].
func (s *Sim) Create(name string) (File, error) {
	name = filepath.Clean(name)
	cut, err := s.before(OpCreate, name, 0, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	if err = s.parent("create", name); err == nil && s.names[name] != nil {
		err = &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	var ino *inode
	if err == nil {
		ino = newInode()
		s.change([]string{name}, []*inode{ino})
	}
	if err = s.done(cut, err); err != nil {
		return nil, err
	}
	return &simFile{s: s, name: name, ino: ino}, nil
}

// parent reports an error unless name's directory exists and name is none.
func (s *Sim) parent(op, name string) error {
	if dir := filepath.Dir(name); !s.isDir(dir) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	if s.dirs[name] {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrExist}
	}
	return nil
}

func (s *Sim) isDir(dir string) bool {
	return dir == "." || dir == filepath.Dir(dir) || s.dirs[dir]
}

// Open implements [FS].
func (s *Sim) Open(name string) (File, error) {
	name = filepath.Clean(name)
	cut, err := s.before(OpOpen, name, 0, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	ino := s.names[name]
	if ino == nil {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err = s.done(cut, err); err != nil {
		return nil, err
	}
	return &simFile{s: s, name: name, ino: ino}, nil
}

// Rename implements [FS].
func (s *Sim) Rename(oldname, newname string) error {
	oldname, newname = filepath.Clean(oldname), filepath.Clean(newname)
	cut, err := s.before(OpRename, oldname, 0, 0)
	if err != nil {
		return &fs.PathError{Op: "rename", Path: oldname, Err: err}
	}
	ino := s.names[oldname]
	switch {
	case ino == nil:
		err = &fs.PathError{Op: "rename", Path: oldname, Err: fs.ErrNotExist}
	case ino == s.names[newname]: // two names of one file: POSIX leaves both
	default:
		if err = s.parent("rename", newname); err == nil {
			s.change([]string{oldname, newname}, []*inode{nil, ino})
		}
	}
	return s.done(cut, err)
}

// Link implements [FS].
func (s *Sim) Link(oldname, newname string) error {
	oldname, newname = filepath.Clean(oldname), filepath.Clean(newname)
	cut, err := s.before(OpLink, oldname, 0, 0)
	if err != nil {
		return &fs.PathError{Op: "link", Path: oldname, Err: err}
	}
	ino := s.names[oldname]
	switch {
	case ino == nil:
		err = &fs.PathError{Op: "link", Path: oldname, Err: fs.ErrNotExist}
	case s.names[newname] != nil:
		err = &fs.PathError{Op: "link", Path: newname, Err: fs.ErrExist}
	default:
		if err = s.parent("link", newname); err == nil {
			s.change([]string{newname}, []*inode{ino})
		}
	}
	return s.done(cut, err)
}

// Remove implements [FS].
func (s *Sim) Remove(name string) error {
	name = filepath.Clean(name)
	cut, err := s.before(OpRemove, name, 0, 0)
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	if s.names[name] == nil {
		err = &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	} else {
		s.change([]string{name}, []*inode{nil})
	}
	return s.done(cut, err)
}

// List implements [FS].
func (s *Sim) List(dir string) ([]string, error) {
	dir = filepath.Clean(dir)
	cut, err := s.before(OpList, dir, 0, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: err}
	}
	var names []string
	if !s.isDir(dir) {
		err = &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	for name := range s.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	for name := range s.dirs {
		if filepath.Dir(name) == dir && name != dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, s.done(cut, err)
}

// MkdirAll implements [FS].
func (s *Sim) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	cut, err := s.before(OpMkdir, dir, 0, 0)
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	for d := dir; !cut && !s.isDir(d); d = filepath.Dir(d) {
		if s.names[d] != nil {
			err = &fs.PathError{Op: "mkdir", Path: d, Err: fs.ErrExist}
			break
		}
		s.dirs[d] = true
	}
	return s.done(cut, err)
}

// SyncDir implements [FS].
func (s *Sim) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	cut, err := s.before(OpSyncDir, dir, 0, 0)
	if err != nil {
		return &fs.PathError{Op: "syncdir", Path: dir, Err: err}
	}
	if !s.isDir(dir) {
		err = &fs.PathError{Op: "syncdir", Path: dir, Err: fs.ErrNotExist}
	}
	if err == nil && !cut {
		// Backwards, so that what an operation depends on is found before it.
		keep := map[string]bool{}
		taken := make([]bool, len(s.pend))
		for i, op := range slices.Backward(s.pend) {
			taken[i] = slices.ContainsFunc(op.names, func(n string) bool { return filepath.Dir(n) == dir || keep[n] })
			if taken[i] {
				for _, n := range op.names {
					keep[n] = true
				}
			}
		}
		var rest []nameOp
		for i, op := range s.pend {
			if taken[i] {
				op.apply(s.disk)
			} else {
				rest = append(rest, op)
			}
		}
		s.pend = rest
	}
	return s.done(cut, err)
}

func (op nameOp) apply(names map[string]*inode) {
	for i, name := range op.names {
		if op.inodes[i] == nil {
			delete(names, name)
		} else {
			names[name] = op.inodes[i]
		}
	}
}

// Lock implements [FS].
func (s *Sim) Lock(name string) (io.Closer, error) {
	name = filepath.Clean(name)
	cut, err := s.before(OpLock, name, 0, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	if err = s.parent("lock", name); err == nil && s.locks[name] {
		err = fmt.Errorf("%s: %w", name, ErrLocked)
	}
	if err == nil {
		s.locks[name] = true
		if s.names[name] == nil {
			s.change([]string{name}, []*inode{newInode()})
		}
	}
	if err = s.done(cut, err); err != nil {
		return nil, err
	}
	return &simLock{s, name}, nil
}

type simLock struct {
	s    *Sim
	name string
}

func (l *simLock) Close() error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	delete(l.s.locks, l.name)
	return nil
}

// Stat implements [FS].
func (s *Sim) Stat(name string) (int64, error) {
	name = filepath.Clean(name)
	cut, err := s.before(OpOpen, name, 0, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	var size int64
	if ino := s.names[name]; ino != nil {
		size = int64(len(ino.data))
	} else {
		err = &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return size, s.done(cut, err)
}

// String lists the files and their sizes, for messages of failed tests.
func (s *Sim) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, name := range sortedNames(s.names) {
		fmt.Fprintf(&b, "%s %d\n", name, len(s.names[name].data))
	}
	return b.String()
}
