package blob

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Options configures [OpenDir]. Nil, and a zero field, mean the default.
type Options struct {
	// MaxSize is the size of the largest object in bytes, at most [MaxSize],
	// which is the default. A larger one is [ErrTooLarge].
	MaxSize int64

	// NoSync leaves flushing to the system. A crash of the machine may then lose
	// any object, or leave one that is [ErrCorrupt]; a crash of the program
	// loses nothing. Default false.
	NoSync bool
}

// A Dir is a [Store] in a directory; see the package comment for what it
// promises. It is safe for concurrent use by multiple goroutines. It starts none.
//
// If the sync of a directory fails, nobody knows which names are on the disk:
// every later call then returns that error, until the directory is opened again.
type Dir struct {
	fs      vfs.FS
	dir     string
	maxSize int64
	sync    bool
	lock    io.Closer
	temps   atomic.Uint64 // names for files in tmp
	buffers sync.Pool     // of blocks with their sum

	// keys serialises the puts and deletes of a key. A writer holds its stripe
	// over the check of the version, the rename and the sync of the directory;
	// readers take it while they open a file, so that they see nothing that a
	// power cut could take back.
	keys [64]sync.RWMutex

	// tree keeps folders in place while a put renames into them.
	tree sync.RWMutex

	mu      sync.Mutex
	closed  bool
	failed  error           // the first failed sync of a directory
	running sync.WaitGroup  // calls, added to only while !closed
	durable map[string]bool // folders whose names are on the disk
}

// The names in the directory, part of the format.
const (
	lockName   = "LOCK"
	formatName = "FORMAT"
	formatText = "ashlar blob 1\n"
	cleanName  = "CLEAN" // there while the store is closed and all names are durable
	tmpName    = "tmp"
	objectName = "objects"
)

// OpenDir opens the store in a directory, and makes it if need be. It returns
// [ErrLocked] while the directory is open, here or in another process. The
// store must be closed.
func OpenDir(dir string, o *Options) (*Dir, error) { return openDir(vfs.OS, dir, o) }

func openDir(fsys vfs.FS, dir string, o *Options) (*Dir, error) {
	if o == nil {
		o = &Options{}
	}
	if o.MaxSize < 0 || o.MaxSize > MaxSize {
		return nil, fmt.Errorf("%w: Options.MaxSize is %d, at most %d", ErrInvalid, o.MaxSize, int64(MaxSize))
	}
	d := &Dir{fs: fsys, dir: dir, maxSize: o.MaxSize, sync: !o.NoSync, durable: map[string]bool{}}
	if d.maxSize == 0 {
		d.maxSize = MaxSize
	}
	d.buffers.New = func() any { return new([blockLen + sumLen]byte) }
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, err
	}
	var err error
	if d.lock, err = fsys.Lock(filepath.Join(dir, lockName)); err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			err = fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, err
	}
	if err := d.prepare(); err != nil {
		_ = d.lock.Close() // the first error is the one to tell
		return nil, err
	}
	return d, nil
}

// prepare checks the format, makes the folders and removes what puts left that
// did not end.
func (d *Dir) prepare() error {
	name := filepath.Join(d.dir, formatName)
	switch text, err := vfs.ReadFile(d.fs, name, 64); {
	case errors.Is(err, fs.ErrNotExist):
		if err := vfs.WriteFile(d.fs, name, []byte(formatText)); err != nil {
			return err
		}
	case err != nil:
		return err
	case string(text) != formatText:
		return fmt.Errorf("%w: %s says %q", ErrVersion, name, text)
	}
	if err := d.fs.MkdirAll(filepath.Join(d.dir, objectName)); err != nil {
		return err
	}
	tmp := filepath.Join(d.dir, tmpName)
	if err := d.fs.MkdirAll(tmp); err != nil {
		return err
	}
	left, err := d.fs.List(tmp)
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := d.fs.Remove(filepath.Join(tmp, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// A process that was killed may have left names that it had not synced. The
	// marker of a clean end must go, durably, before this one does so too.
	switch err := d.fs.Remove(filepath.Join(d.dir, cleanName)); {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.syncTree(filepath.Join(d.dir, objectName)); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	return d.fs.SyncDir(d.dir)
}

// syncTree makes every name below a folder durable.
func (d *Dir) syncTree(dir string) error {
	files, err := d.fs.List(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if e, ok := parseEntry(file); ok && e.folder {
			if err := d.syncTree(filepath.Join(dir, file)); err != nil {
				return err
			}
		}
	}
	return d.syncFolder(dir)
}

// begin starts a call, unless the store is closed or has failed. The call ends
// with d.running.Done.
func (d *Dir) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.failed != nil {
		return d.failed
	}
	d.running.Add(1)
	return nil
}

// Close waits for calls that are running and frees the directory. A store that
// was not closed is made good at the next opening, which then visits its folders. Objects that
// are open stay readable. Closing again does nothing.
func (d *Dir) Close() error {
	d.mu.Lock()
	first := !d.closed
	d.closed = true
	d.mu.Unlock()
	d.running.Wait()
	if !first {
		return nil
	}
	var err error
	if d.sync && d.failure() == nil {
		err = vfs.WriteFile(d.fs, filepath.Join(d.dir, cleanName), nil)
	}
	return errors.Join(err, d.lock.Close())
}

// path returns the path of a key's file.
func (d *Dir) path(key string) string { return filepath.Join(d.dir, objectName, keyPath(key)) }

// stripe returns the lock that a key shares with others.
func (d *Dir) stripe(key string) *sync.RWMutex {
	return &d.keys[crc32.ChecksumIEEE([]byte(key))%uint32(len(d.keys))]
}

// Put implements [Store].
func (d *Dir) Put(ctx context.Context, key string, r io.Reader, size int64) (Info, error) {
	return d.put(ctx, key, r, size, nil)
}

// PutIf implements [Store].
func (d *Dir) PutIf(ctx context.Context, key string, r io.Reader, size int64, version string) (Info, error) {
	return d.put(ctx, key, r, size, &version)
}

func (d *Dir) put(ctx context.Context, key string, r io.Reader, size int64, demanded *string) (Info, error) {
	if err := checkPut(key, size, d.maxSize); err != nil {
		return Info{}, err
	}
	if err := d.begin(ctx); err != nil {
		return Info{}, err
	}
	defer d.running.Done()
	if demanded != nil { // before a long body is read in vain
		stripe := d.stripe(key)
		stripe.RLock()
		err := d.check(key, *demanded)
		stripe.RUnlock()
		if err != nil {
			return Info{}, err
		}
	}
	tmp := filepath.Join(d.dir, tmpName, strconv.FormatUint(d.temps.Add(1), 10))
	h, err := d.write(tmp, key, &body{ctx: ctx, r: r, key: key, size: size, limit: d.maxSize})
	if err == nil {
		err = d.commit(key, tmp, demanded)
	}
	if err != nil {
		_ = d.fs.Remove(tmp) // it is also removed at the next opening
		return Info{}, err
	}
	return h.info(key), nil
}

// write makes the file name with an object.
func (d *Dir) write(name, key string, r io.Reader) (header, error) {
	f, err := d.fs.Create(name)
	if err != nil {
		return header{}, err
	}
	buf := d.buffers.Get().(*[blockLen + sumLen]byte)
	h, err := writeObject(f, key, r, buf[:], d.sync)
	d.buffers.Put(buf)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return h, err
}

// commit gives a written file the name of its key, if the condition holds.
func (d *Dir) commit(key, tmp string, demanded *string) error {
	stripe := d.stripe(key)
	stripe.Lock()
	defer stripe.Unlock()
	if err := d.failure(); err != nil { // perhaps of the put we waited for
		return err
	}
	if demanded != nil {
		if err := d.check(key, *demanded); err != nil {
			return err
		}
	}
	d.tree.RLock()
	defer d.tree.RUnlock()
	path := d.path(key)
	err := d.makeFolder(filepath.Dir(path))
	if err == nil {
		err = d.fs.Rename(tmp, path)
	}
	if errors.Is(err, syscall.ENAMETOOLONG) {
		return fmt.Errorf("%w: the path for a key of %d bytes: %w", ErrTooLarge, len(key), err)
	}
	if err != nil {
		return err
	}
	return d.syncFolder(filepath.Dir(path))
}

// check compares the present object with what PutIf demands. The caller holds
// the stripe of the key.
func (d *Dir) check(key, demanded string) error {
	f, h, err := d.openLocked(key)
	switch {
	case errors.Is(err, ErrNotFound):
		return precondition(key, demanded, "", false)
	case err != nil:
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return precondition(key, demanded, h.version.String(), true)
}

// makeFolder makes a folder of the tree whose name is durable. That a folder is
// there does not mean so: another put, or an earlier process, may not yet have
// synced it. So each is synced once by this process.
func (d *Dir) makeFolder(dir string) error {
	d.mu.Lock()
	known := d.durable[dir]
	d.mu.Unlock()
	if known || dir == filepath.Join(d.dir, objectName) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := d.makeFolder(parent); err != nil {
		return err
	}
	if err := d.fs.MkdirAll(dir); err != nil {
		return err
	}
	if err := d.syncFolder(parent); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable[dir] = true
	return nil
}

// syncFolder makes the names in a folder durable. After a failure the store
// is of no more use.
func (d *Dir) syncFolder(dir string) error {
	if !d.sync {
		return nil
	}
	err := d.fs.SyncDir(dir)
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = fmt.Errorf("blob: store failed, open it again: %w", err)
	}
	return d.failed
}

// failure returns why the store is of no more use, or nil.
func (d *Dir) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// openLocked opens the file of a key and reads its header. The caller holds the
// key's stripe.
func (d *Dir) openLocked(key string) (vfs.File, header, error) {
	f, err := d.fs.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) {
		return nil, header{}, notFound(key)
	}
	if err != nil {
		return nil, header{}, err
	}
	h, err := readHeader(f, key)
	if err != nil {
		_ = f.Close()
		return nil, header{}, err
	}
	return f, h, nil
}

func (d *Dir) open(key string) (vfs.File, header, error) {
	stripe := d.stripe(key)
	stripe.RLock()
	defer stripe.RUnlock()
	f, h, err := d.openLocked(key)
	if err != nil {
		return nil, header{}, err
	}
	// The put that made this name visible may just have failed to sync it.
	if err := d.failure(); err != nil {
		_ = f.Close()
		return nil, header{}, err
	}
	return f, h, nil
}

// Get implements [Store].
func (d *Dir) Get(ctx context.Context, key string) (*Object, error) {
	return d.GetRange(ctx, key, 0, -1)
}

// GetRange implements [Store].
func (d *Dir) GetRange(ctx context.Context, key string, off, n int64) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	defer d.running.Done()
	f, h, err := d.open(key)
	if err != nil {
		return nil, err
	}
	off, n, err = checkRange(key, off, n, h.size)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Object{h.info(key), &objectReader{f: f, key: key, h: h, off: off, end: off + n, blocks: &d.buffers}}, nil
}

// Delete implements [Store].
func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	defer d.running.Done()
	folder := filepath.Dir(d.path(key))
	if err := d.remove(key, folder); err != nil {
		return err
	}
	d.prune(folder)
	return nil
}

func (d *Dir) remove(key, folder string) error {
	stripe := d.stripe(key)
	stripe.Lock()
	defer stripe.Unlock()
	if err := d.failure(); err != nil {
		return err
	}
	err := d.fs.Remove(d.path(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.syncFolder(folder)
}

// prune removes folders that have become empty, if no put is on its way into
// one. An empty folder that stays, or comes back after a power cut, does no harm.
func (d *Dir) prune(folder string) {
	if !d.tree.TryLock() {
		return
	}
	defer d.tree.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	for root := filepath.Join(d.dir, objectName); folder != root; folder = filepath.Dir(folder) {
		if d.fs.Remove(folder) != nil {
			return // not empty, or gone
		}
		delete(d.durable, folder)
	}
}
