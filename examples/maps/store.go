package main

import (
	"encoding/binary"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/graph"
)

// A walker goes from crossing to crossing for ever, taking one road or another.
type walker struct {
	at    graph.NodeID
	state uint64
}

// choose returns which of some roads is taken.
func (w *walker) choose(roads int) int {
	w.state = w.state*6364136223846793005 + 1442695040888963407
	return int(w.state >> 33 % uint64(roads))
}

// walkMapped makes hops on a graph whose file is mapped: each node says where its arcs are,
// and each arc where its head is.
func walkMapped(path string, from graph.NodeID, hops int) (end graph.NodeID, took time.Duration, err error) {
	t, err := graph.OpenMapped(path)
	if err != nil {
		return 0, 0, err
	}
	defer t.Close()
	g, w := t.Graph(), walker{at: from}
	began := time.Now()
	for range hops {
		if out := g.Out(w.at); len(out) > 0 {
			w.at = g.Head(out[w.choose(len(out))])
		} else {
			w.at = from
		}
	}
	return w.at, time.Since(began), nil
}

// A table has a row for each crossing, with its neighbours: an index, asked for a key, is
// what there is to get from one to the next.
type table struct{ db *bbolt.DB }

var bucketNodes = []byte("nodes")

func newTable(dir string, g *graph.Graph) (*table, error) {
	db, err := bbolt.Open(filepath.Join(dir, "roads.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bucketNodes)
		if err != nil {
			return err
		}
		b.FillPercent = 1 // rows come in order, and no others will
		for u := range graph.NodeID(g.Nodes()) {
			var row []byte
			for _, a := range g.Out(u) {
				row = binary.LittleEndian.AppendUint32(row, g.Head(a))
			}
			if err := b.Put(binary.BigEndian.AppendUint32(nil, u), row); err != nil {
				return err
			}
		}
		return nil
	})
	return &table{db}, err
}

// depth returns how many pages a search goes through.
func (t *table) depth() (n int, err error) {
	err = t.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucketNodes).Stats().Depth
		return nil
	})
	return n, err
}

func (t *table) close() error { return t.db.Close() }

// walk makes the same hops as walkMapped, all in one transaction, or each in its own as a
// question to a database would be.
func (t *table) walk(from graph.NodeID, hops int, each bool) (end graph.NodeID, took time.Duration, err error) {
	w := walker{at: from}
	hop := func(b *bbolt.Bucket) {
		row := b.Get(binary.BigEndian.AppendUint32(make([]byte, 0, 4), w.at))
		if len(row) == 0 {
			w.at = from
			return
		}
		w.at = binary.LittleEndian.Uint32(row[4*w.choose(len(row)/4):])
	}
	began := time.Now()
	if each {
		for range hops {
			if err := t.db.View(func(tx *bbolt.Tx) error { hop(tx.Bucket(bucketNodes)); return nil }); err != nil {
				return 0, 0, err
			}
		}
	} else if err := t.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketNodes)
		for range hops {
			hop(b)
		}
		return nil
	}); err != nil {
		return 0, 0, err
	}
	return w.at, time.Since(began), nil
}
