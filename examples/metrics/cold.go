package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/tsdb"
)

// A counting store counts the bytes that are read from the store behind it: what a
// slow and distant tier has to send.
type counting struct {
	blob.Store
	read atomic.Int64
}

// Get implements [blob.Store].
func (c *counting) Get(ctx context.Context, key string) (*blob.Object, error) {
	return c.count(c.Store.Get(ctx, key))
}

// GetRange implements [blob.Store].
func (c *counting) GetRange(ctx context.Context, key string, off, n int64) (*blob.Object, error) {
	return c.count(c.Store.GetRange(ctx, key, off, n))
}

func (c *counting) count(o *blob.Object, err error) (*blob.Object, error) {
	if err != nil {
		return nil, err
	}
	return &blob.Object{Info: o.Info, ReadCloser: &countingReader{o.ReadCloser, &c.read}}, nil
}

type countingReader struct {
	io.ReadCloser
	n *atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// stored adds up the objects of a store.
func stored(ctx context.Context, s blob.Store) (objects int, size int64, err error) {
	for info, err := range s.List(ctx, "", "") {
		if err != nil {
			return 0, 0, err
		}
		objects, size = objects+1, size+info.Size
	}
	return objects, size, nil
}

// A distance is how much must come from the cold tier to answer a question.
type distance struct {
	objects          int
	size             int64 // bytes of all objects
	sumRead, sum     int64 // for one metric of one group, and the answer
	linesRead, lines int64 // for the lines of one server that tell of errors
}

// coldRead moves windows and lines to the cold tier, whole, and asks there.
func coldRead(ctx context.Context, l stream.Log, lines []sent, dir, group, host string) (d distance, err error) {
	cold := &counting{Store: blob.NewMem()}
	later := clock.Add(72 * time.Hour)
	o := tsdb.Options{Archive: cold, ArchiveAfter: time.Hour, Now: func() time.Time { return later }}
	db, err := openSeries(dir, o)
	if err != nil {
		return d, err
	}
	defer func() { db.Close() }()
	if _, err := storeWindows(ctx, l, db); err != nil {
		return d, err
	}
	if _, _, err := storeLogs(ctx, lines, db); err != nil {
		return d, err
	}
	// A range is over when there are samples of a later one.
	a := newAppender(db)
	if err := errors.Join(a.add(ctx, later, 1, sourceShop, "name", "up"), a.flush(ctx), db.Seal(ctx)); err != nil {
		return d, err
	}
	if d.objects, d.size, err = stored(ctx, cold.Store); err != nil {
		return d, err
	}
	// Ask a database that has nothing in memory.
	if err := db.Close(); err != nil {
		return d, err
	}
	if db, err = openSeries(dir, o); err != nil {
		return d, err
	}
	cold.read.Store(0)
	country, plan, _ := strings.Cut(group, "/")
	for s, err := range db.Query(ctx, tsdb.All, tsdb.Eq("name", "requests"), tsdb.Eq("country", country), tsdb.Eq("plan", plan)) {
		if err != nil {
			return d, err
		}
		for b, err := range s.Blocks() {
			if err != nil {
				return d, err
			}
			for _, v := range b.V {
				d.sum += int64(v)
			}
		}
	}
	d.sumRead = cold.read.Swap(0)
	for _, err := range db.Logs(ctx, tsdb.All, nil, tsdb.Eq(tsdb.SourceLabel, host), tsdb.Eq("class", "5xx")) {
		if err != nil {
			return d, err
		}
		d.lines++
	}
	d.linesRead = cold.read.Load()
	return d, nil
}

// tiers is what a device's history costs as it grows older.
type tiers struct {
	samples, kept, hours int
	all, hot, cold       int64 // bytes
	readBack             int   // samples that the cold tier gave back, equal bit by bit
	rollup               int64 // bytes
}

const (
	hotFor  = 3 * 24 * time.Hour
	keptFor = 7 * 24 * time.Hour
)

// age lets two weeks of a device grow old: the last days stay local, the rest goes
// to the object store, what is older than a week is only kept by the hour.
func age(ctx context.Context, d device, dir string) (t tiers, err error) {
	newest := d.t[len(d.t)-1]
	o := tsdb.Options{
		ChunkRange: 24 * time.Hour,
		Rollups:    []tsdb.Rollup{{Step: time.Hour}},
		Now:        func() time.Time { return newest.Add(time.Minute) },
	}
	open := func(name string) (*tsdb.DB, error) {
		db, err := openSeries(filepath.Join(dir, name), o)
		if err != nil {
			return nil, err
		}
		_, err = storeDevices(ctx, []device{d}, db)
		if err == nil {
			err = db.Seal(ctx)
		}
		if err != nil {
			db.Close()
			return nil, err
		}
		return db, nil
	}
	// Everything local.
	db, err := open("hot")
	if err != nil {
		return t, err
	}
	defer db.Close()
	t.samples, t.all = len(d.t), db.Stats().ChunkSize

	// A cold tier behind three days.
	cold := blob.NewMem()
	o.Archive, o.ArchiveAfter = cold, hotFor
	tiered, err := open("tiered")
	if err != nil {
		return t, err
	}
	defer tiered.Close()
	t.hot = tiered.Stats().ChunkSize
	if _, t.cold, err = stored(ctx, cold); err != nil {
		return t, err
	}
	if t.readBack, err = checkDevices(ctx, []device{d}, tiered); err != nil {
		return t, err
	}

	// And after a week one record an hour in place of twelve samples.
	o.Archive = nil
	old, err := open("old")
	if err != nil {
		return t, err
	}
	if err := old.Close(); err != nil {
		return t, err
	}
	o.Retention = keptFor
	if old, err = openSeries(filepath.Join(dir, "old"), o); err != nil {
		return t, err
	}
	defer old.Close()
	if err := old.Seal(ctx); err != nil {
		return t, err
	}
	for s, err := range old.Query(ctx, tsdb.All, tsdb.Eq("device", d.name)) {
		if err != nil {
			return t, err
		}
		for b, err := range s.Blocks() {
			if err != nil {
				return t, err
			}
			t.kept += len(b.T)
		}
	}
	t.rollup = old.Stats().ChunkSize
	t.hours, err = checkHours(ctx, old, d)
	return t, err
}

// checkHours compares each hour that the database tells of with the samples.
func checkHours(ctx context.Context, db *tsdb.DB, d device) (hours int, err error) {
	want := map[int64]*tsdb.Bucket{}
	for i, at := range d.t {
		t, v := at.Truncate(time.Hour).UnixMilli(), d.v[i]
		b := want[t]
		if b == nil {
			b = &tsdb.Bucket{T: t, Min: v, Max: v, First: v}
			want[t] = b
		}
		b.Count++
		b.Sum += v
		b.Min, b.Max, b.Last = min(b.Min, v), max(b.Max, v), v
	}
	r := tsdb.Range{From: d.t[0].Truncate(time.Hour).UnixMilli(), To: d.t[len(d.t)-1].Add(time.Hour).UnixMilli()}
	for s, err := range db.Aggregate(ctx, r, time.Hour, tsdb.Eq("device", d.name)) {
		if err != nil {
			return 0, err
		}
		if s.Err != nil {
			return 0, s.Err
		}
		for _, b := range s.Buckets {
			w := want[b.T]
			if w == nil || math.Abs(b.Sum-w.Sum) > 1e-9*math.Abs(w.Sum) {
				return 0, fmt.Errorf("hour %d is %+v, want %+v", b.T, b, w)
			}
			if w.Sum = b.Sum; b != *w { // sums are right within rounding, all else is exact
				return 0, fmt.Errorf("hour %d is %+v, want %+v", b.T, b, w)
			}
			hours++
		}
	}
	if hours != len(want) {
		return 0, fmt.Errorf("%d hours are left of %d", hours, len(want))
	}
	return hours, nil
}

// subsample keeps every line that tells of a failure or of rubbish, and of the
// others those of one owner in ten: so that what is kept of somebody is whole.
func subsample(lines []sent) (kept []sent, requests int) {
	for _, s := range lines {
		e, err := parse(s.text)
		if err == nil && e.Status < 500 {
			h := fnv.New32a()
			a := accessOf(s.host, &e)
			_, _ = io.WriteString(h, a.owner()) // a hash takes everything
			if h.Sum32()%10 != 0 {
				continue
			}
			requests++
		}
		kept = append(kept, s)
	}
	return kept, requests
}
