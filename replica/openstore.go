package replica

import (
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// openStore opens the log. One of the results is nil.
func openStore(d *directory, o *Options) (split splitStore, plain logStore, err error) {
	switch {
	case o.InMemory:
		return nil, memStore{raft.NewInmemStore()}, nil
	case o.Store == StoreBolt:
		s, err := raftboltdb.New(raftboltdb.Options{
			Path: filepath.Join(d.path, "raft.db"),
			// The free list is rebuilt at open instead of written at every commit.
			BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second},
		})
		if err != nil {
			return nil, nil, err
		}
		return nil, boltStore{s}, nil
	}
	return nil, memStore{raft.NewInmemStore()}, nil
}

type memStore struct{ *raft.InmemStore }

func (memStore) Close() error { return nil }

// boltStore shortens the store's method set to what is used.
type boltStore struct{ *raftboltdb.BoltStore }
