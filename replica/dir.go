package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A directory is the node's place on disk, held by one process at a time:
//
//	LOCK       taken while the node is open
//	node.json  the identity
//	log/       the log of StoreWAL
//	raft.db    the log of StoreBolt
//	snapshots/ the engine's snapshots
type directory struct {
	fs   vfs.FS
	path string
	lock io.Closer
}

// maxIdentity bounds the identity's file.
const maxIdentity = 4 << 10

// openDirectory makes the directory if it does not exist, and locks it.
func openDirectory(fsys vfs.FS, path string) (*directory, error) {
	if err := fsys.MkdirAll(path); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	lock, err := fsys.Lock(filepath.Join(path, "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %s is open elsewhere: %w", ErrIncompatible, path, err)
	} else if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	return &directory{fs: fsys, path: path, lock: lock}, nil
}

func (d *directory) Close() error { return d.lock.Close() }

func (d *directory) file() string { return filepath.Join(d.path, "node.json") }

// exists tells whether the directory has a file or directory of this name.
func (d *directory) exists(name string) (bool, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return false, fmt.Errorf("replica: %w", err)
	}
	for _, n := range names {
		if n == name {
			return true, nil
		}
	}
	return false, nil
}

// identity is what makes a directory this node's. It is stored as JSON.
type identity struct {
	Version int       `json:"version"` // 1
	ID      string    `json:"id"`
	Cluster clusterID `json:"-"`
	Hex     string    `json:"cluster"` // in hexadecimal; "" before founding or joining
	// Used is set once the log holds something. A log that is empty after
	// that has been lost, and with it the node's votes.
	Used bool `json:"used,omitempty"`
}

// identify reads the identity, or makes one on a new directory.
func (d *directory) identify(id string) (identity, error) {
	b, err := vfs.ReadFile(d.fs, d.file(), maxIdentity)
	if errors.Is(err, fs.ErrNotExist) {
		if id == "" {
			id = randomID()
		}
		return identity{Version: 1, ID: id}, nil
	}
	var i identity
	if errors.Is(err, vfs.ErrTooLarge) {
		return i, fmt.Errorf("%w: %w", ErrCorrupt, err)
	} else if err != nil {
		return i, fmt.Errorf("replica: %w", err)
	}
	if err := json.Unmarshal(b, &i); err != nil || i.ID == "" {
		return i, fmt.Errorf("%w: %s: %.100q", ErrCorrupt, d.file(), b)
	}
	if i.Version != 1 {
		return i, fmt.Errorf("%w: %s has version %d", ErrVersion, d.file(), i.Version)
	}
	if err := i.Cluster.parse(i.Hex); err != nil {
		return i, fmt.Errorf("%w: %s: cluster %q", ErrCorrupt, d.file(), i.Hex)
	}
	if id != "" && id != i.ID {
		return i, fmt.Errorf("%w: %s belongs to node %q, not %q", ErrIncompatible, d.path, i.ID, id)
	}
	return i, nil
}

// save writes the identity, durably, so that a crash leaves the old or the new
// one.
func (d *directory) save(i identity) error {
	i.Hex = fmt.Sprintf("%x", i.Cluster[:])
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(d.fs, d.file(), append(b, '\n')); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	return nil
}
