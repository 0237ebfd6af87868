package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// A store is where a consumer keeps its results: a database of its own, one row for
// each partition. It survives the consumer and knows nothing of the log.
type store struct {
	db     *bbolt.DB
	writes int // transactions that waited for the disk
}

var (
	bucketBoards   = []byte("boards")
	bucketPrepared = []byte("prepared") // by transaction: partition and shard
)

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "boards.db"), 0o644, &bbolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketBoards, bucketPrepared} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	return &store{db: db}, err
}

func (s *store) close() error { return s.db.Close() }

// update is one write that is on the disk when it returns.
func (s *store) update(f func(*bbolt.Tx) error) error {
	s.writes++
	return s.db.Update(f)
}

func row(p int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(p)) }

// put stores a partition's shard.
func (s *store) put(p int, state []byte) error {
	return s.update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketBoards).Put(row(p), state) })
}

// shard returns a partition's shard, an empty one if there is none.
func (s *store) shard(p int) (x *shard, err error) {
	err = s.db.View(func(tx *bbolt.Tx) (err error) {
		x, err = decodeShard(tx.Bucket(bucketBoards).Get(row(p)))
		return err
	})
	return x, err
}

// prepare is the first phase of a two-phase commit: the shard is on the disk and not
// yet the result.
func (s *store) prepare(id string, p int, state []byte) error {
	return s.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPrepared).Put([]byte(id), append(row(p), state...))
	})
}

// finish is the second: the shard becomes the result, or is forgotten. What is not
// prepared was finished before.
func (s *store) finish(id string, keep bool) error {
	return s.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketPrepared)
		value := b.Get([]byte(id))
		if value == nil {
			return nil
		}
		if keep {
			if err := tx.Bucket(bucketBoards).Put(value[:4], append([]byte(nil), value[4:]...)); err != nil {
				return err
			}
		}
		return b.Delete([]byte(id))
	})
}

// prepared lists the transactions that are between the phases.
func (s *store) prepared() (ids []string, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPrepared).ForEach(func(id, _ []byte) error {
			ids = append(ids, string(id))
			return nil
		})
	})
	return ids, err
}
