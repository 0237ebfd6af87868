package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/graph"
)

// hops is part 7: from crossing to crossing on the mapped file, and by look-ups in an
// index.
func (s *story) hops(context.Context) error {
	path := filepath.Join(s.dir, "roads.graph")
	if err := graph.WriteFile(path, s.topo); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	began := time.Now()
	mapped, err := graph.OpenMapped(path)
	if err != nil {
		return err
	}
	opened := time.Since(began)
	same := mapped.Fingerprint() == s.topo.Fingerprint()
	if err := errors.Join(mapped.Close(), check(same, "the file holds the hierarchy")); err != nil {
		return err
	}
	t, err := newTable(s.dir, s.n.g)
	if err != nil {
		return err
	}
	defer t.close()
	from := s.trips[0].from
	const hops = 300_000
	s.say("the hierarchy and its graph in a file of %s bytes, mapped and checked in %s ms: pages that nobody asks for stay on disk", num(int(info.Size())), millis(opened))
	end, direct, err := walkMapped(path, from, hops)
	if err != nil {
		return err
	}
	end2, indexed, err := t.walk(from, hops, false)
	if err != nil {
		return err
	}
	end3, each, err := t.walk(from, hops/10, true)
	if err != nil {
		return err
	}
	middle, _, err := walkMapped(path, from, hops/10)
	if err != nil {
		return err
	}
	depth, err := t.depth()
	if err != nil {
		return err
	}
	q, err := graph.NewSearch(s.n.g, s.n.millis)
	if err != nil {
		return err
	}
	if _, err := q.Distance(s.trips[2].from, s.trips[2].to); err != nil {
		return err
	}
	looked := float64(q.Settled())
	s.say("%s hops from crossing to crossing:            ns a hop   for all that Dijkstra looks at on the long trip, ms", num(hops))
	for _, x := range []struct {
		name string
		d    float64
	}{
		{"the graph: a node says where its arcs are", float64(direct.Nanoseconds()) / hops},
		{"an index (B+tree), all in one transaction", float64(indexed.Nanoseconds()) / hops},
		{"an index, a question for each hop", float64(each.Nanoseconds()) / (hops / 10)},
	} {
		s.say("  %-44s   %8.1f   %8.2f", x.name, x.d, x.d*looked/1e6)
	}
	s.say("a hop by the index searches %d pages, from the root to a leaf, and the more the larger the map; one by the graph reads two places", depth)
	return check(end == end2 && middle == end3 && depth > 1, "both come to the same crossing, the index by way of its root")
}

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
