package replica

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	walName  = "log"
	boltName = "raft.db"
)

// openStore opens the log. One of the results is nil.
func openStore(d *directory, o *Options) (split splitStore, plain logStore, err error) {
	if o.InMemory {
		return nil, memStore{raft.NewInmemStore()}, nil
	}
	// A log that is there must not be overlooked: the node would vote again.
	other := walName
	if o.Store == StoreWAL {
		other = boltName
	}
	if there, err := d.exists(other); err != nil {
		return nil, nil, err
	} else if there {
		return nil, nil, fmt.Errorf("%w: %s has a log that is not of %v: %s", ErrIncompatible, d.path, o.Store, other)
	}
	if o.Store == StoreBolt {
		plain, err = openBolt(filepath.Join(d.path, boltName))
		return nil, plain, err
	}
	s, torn, err := openWAL(d.fs, filepath.Join(d.path, walName), 0)
	if err != nil {
		return nil, nil, err
	}
	if torn != nil {
		o.Logger.Info("an unfinished write was cut off the log", "where", torn.String())
	}
	return s, nil, nil
}

// openBolt opens a log in a bbolt file.
func openBolt(path string) (logStore, error) {
	s, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		// The free list is rebuilt at open instead of written at every commit.
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second},
	})
	switch {
	case err == nil:
		return boltStore{s}, nil
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	case errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %w", ErrVersion, path, err)
	}
	return nil, fmt.Errorf("replica: %s: %w", path, err)
}

type memStore struct{ *raft.InmemStore }

func (memStore) Close() error { return nil }

// boltStore shortens the store's method set to what is used.
type boltStore struct{ *raftboltdb.BoltStore }
