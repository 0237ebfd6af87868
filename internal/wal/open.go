package wal

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

const (
	minSegment     = 4 << 10
	maxSegment     = 1 << 30
	defaultSegment = 64 << 20
	lockName       = "LOCK"
	tmpName        = "new.tmp"
)

// Open opens the log in a directory, making both if they do not exist. It reads
// the whole log, to be certain of it, and syncs what it found at the end. Errors
// wrap [ErrLocked], [ErrVersion], [ErrCorrupt] (as a [DamageError]) or the file
// system's own; then nothing was changed but for an unfinished new log.
func Open(dir string, opts *Options) (*Log, error) {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	o.SegmentSize = cmp.Or(o.SegmentSize, defaultSegment)
	if o.SegmentSize < minSegment || o.SegmentSize > maxSegment {
		return nil, fmt.Errorf("wal: segment size %d outside [%d, %d]", o.SegmentSize, minSegment, maxSegment)
	}
	if o.OnDamage != Refuse && o.OnDamage != Skip {
		return nil, fmt.Errorf("wal: unknown damage policy %d", o.OnDamage)
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	l := &Log{fs: o.FS, dir: dir, max: o.SegmentSize / 8 * 8, policy: o.OnDamage}
	if err := l.fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	lock, err := l.fs.Lock(filepath.Join(dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	} else if err != nil {
		return nil, err
	}
	l.lock = lock
	if err := l.open(); err != nil {
		lock.Close()
		return nil, err
	}
	return l, nil
}

func (l *Log) open() error {
	r := recovery{l: l}
	defer r.close() // what the log does not keep
	if err := r.list(); err != nil {
		return err
	}
	if len(r.files) == 0 {
		if err := l.create(); err != nil {
			return err
		}
		if err := r.list(); err != nil {
			return err
		}
	}
	if err := r.scan(); err != nil {
		return err
	}
	if err := r.judge(); err != nil {
		return err
	}
	return r.repair()
}

// create makes the first segment of a new log. It gets its name when it is
// whole and durable, so that a name always means a log.
func (l *Log) create() (err error) {
	tmp := filepath.Join(l.dir, tmpName)
	if err := l.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := l.fs.Create(tmp)
	if err != nil {
		return err
	}
	var id [8]byte
	rand.Read(id[:]) // never fails
	h := header{id: binary.LittleEndian.Uint64(id[:]), num: 1, base: firstPosition}
	_, err = f.WriteAt(h.append(nil), 0)
	if err == nil {
		err = vfs.ZeroFill(f, headerSize, min(firstSize, l.max)-headerSize)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := l.fs.Rename(tmp, filepath.Join(l.dir, segmentName(1))); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}
