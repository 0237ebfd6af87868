package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"
)

// A rowTable is what a time series is in a general database: a table with a row
// for each sample and a B-tree over series and time, as PRIMARY KEY (labels, time)
// makes. Each row repeats its labels; a batch touches a page for every series.
type rowTable struct {
	db   *bbolt.DB
	path string
}

var rowBucket = []byte("samples")

func openRows(dir string) (*rowTable, error) {
	path := filepath.Join(dir, "rows.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return nil, err
	}
	return &rowTable{db, path}, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(rowBucket)
		return err
	})
}

func rowKey(labels []string, t int64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(strings.Join(labels, ",")), 0), uint64(t))
}

// insert adds rows in one transaction.
func (r *rowTable) insert(samples []sample) error {
	return r.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(rowBucket)
		for _, s := range samples {
			v := binary.BigEndian.AppendUint64(nil, math.Float64bits(s.v))
			if err := b.Put(rowKey(s.labels, s.t.UnixMilli()), v); err != nil {
				return err
			}
		}
		return nil
	})
}

// sum adds up all values of the rows whose labels begin like this.
func (r *rowTable) sum(prefix string) (total float64, rows int, err error) {
	err = r.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(rowBucket).Cursor()
		for k, v := c.Seek([]byte(prefix)); bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if len(v) != 8 {
				return fmt.Errorf("row %q", k)
			}
			total += math.Float64frombits(binary.BigEndian.Uint64(v))
			rows++
		}
		return nil
	})
	return total, rows, err
}

// size is the file's, and what of it the rows take.
func (r *rowTable) size() (file, used int64, err error) {
	info, err := os.Stat(r.path)
	if err != nil {
		return 0, 0, err
	}
	err = r.db.View(func(tx *bbolt.Tx) error {
		s := tx.Bucket(rowBucket).Stats()
		used = int64(s.LeafInuse + s.BranchInuse)
		return nil
	})
	return info.Size(), used, err
}
