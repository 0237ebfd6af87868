package idem

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Layout of the database: three buckets inside one,
//
//	"idem"  "keys"  key → record
//	        "dues"  time (8 bytes, big-endian nanoseconds since 1970) and key → nothing:
//	                when a record may be forgotten; it may say too early
//	        "meta"  "version" → 1
//
// where a record is, integers little-endian,
//
//	offset  size  field
//	0       1     state
//	1       8     token
//	9       8     began, nanoseconds since 1970
//	17      8     end of the lease
//	25      8     when it is forgotten
//	33      1     length of the hash, then the hash, then the result, then the CRC-32C of
//	              the key and all of that, 4 bytes
const (
	recordHead = 34
	version    = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	rootBucket = []byte("idem")
	keysBucket = []byte("keys")
	duesBucket = []byte("dues")
	metaBucket = []byte("meta")
)

func appendRecord(b []byte, rec Record) []byte {
	le := binary.LittleEndian
	b = append(b, byte(rec.State))
	b = le.AppendUint64(b, rec.Token)
	b = le.AppendUint64(b, uint64(nanos(rec.Began)))
	b = le.AppendUint64(b, uint64(nanos(rec.Lease)))
	b = le.AppendUint64(b, uint64(nanos(rec.Expires)))
	b = append(b, byte(len(rec.Hash)))
	b = append(b, rec.Hash...)
	b = append(b, rec.Result...)
	return le.AppendUint32(b, checksum(rec.Key, b))
}

func checksum(key string, b []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, b)
}

// nanos is 0 for no time and for one that nanoseconds do not reach the nearest.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	}
	return t.UnixNano()
}

func at(ns uint64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(ns)).UTC()
}

// parseRecord returns a record with memory of its own.
func parseRecord(key string, b []byte) (Record, error) {
	le := binary.LittleEndian
	if len(b) < recordHead+4 {
		return Record{}, fmt.Errorf("%w: %q, %d bytes", ErrCorrupt, key, len(b))
	}
	b, sum := b[:len(b)-4], le.Uint32(b[len(b)-4:])
	if got := checksum(key, b); got != sum {
		return Record{}, fmt.Errorf("%w: %q, checksum %08x, want %08x", ErrCorrupt, key, got, sum)
	}
	if int(b[33]) > min(MaxHash, len(b)-recordHead) || b[0] < byte(Begun) || b[0] > byte(Released) {
		return Record{}, fmt.Errorf("%w: %q, state %d, a hash of %d bytes", ErrCorrupt, key, b[0], b[33])
	}
	end := recordHead + int(b[33])
	rec := Record{
		Key: key, State: State(b[0]), Token: le.Uint64(b[1:]),
		Began: at(le.Uint64(b[9:])), Lease: at(le.Uint64(b[17:])), Expires: at(le.Uint64(b[25:])),
	}
	if end > recordHead {
		rec.Hash = clone(b[recordHead:end])
	}
	if end < len(b) {
		rec.Result = clone(b[end:])
	}
	return rec, nil
}

func dueKey(t time.Time, key string) []byte {
	b := make([]byte, 0, 8+len(key))
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(t))^1<<63) // signed order
	return append(b, key...)
}

// A Bolt is a [Backend] in a bbolt database. Calls that come while a transaction is
// being synced share the next one. It is safe for concurrent use by multiple
// goroutines. Use [Open] or [OpenBolt].
type Bolt struct {
	db   *bbolt.DB
	own  bool // to be closed
	now  func() time.Time
	mu   sync.Mutex
	jobs []*job // that wait for the next transaction
	busy bool   // a transaction runs
	done bool   // closed
}

// A job is one call's part of a transaction.
type job struct {
	do   func(tx *bbolt.Tx) error // an error of the database's
	err  error
	done chan struct{}
}

// OpenBolt uses a bucket "idem" of a database of yours, which stays open when the
// Bolt is closed: so that [Bolt.Complete] can be part of a transaction that does
// the work. Now is the clock; nil is time.Now.
func OpenBolt(db *bbolt.DB, now func() time.Time) (*Bolt, error) {
	if now == nil {
		now = time.Now
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		root, err := tx.CreateBucketIfNotExists(rootBucket)
		if err != nil {
			return err
		}
		for _, name := range [][]byte{keysBucket, duesBucket, metaBucket} {
			if _, err := root.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := root.Bucket(metaBucket)
		switch v := meta.Get([]byte("version")); {
		case v == nil:
			return meta.Put([]byte("version"), []byte{version})
		case len(v) != 1 || v[0] != version:
			return fmt.Errorf("%w: %x", ErrVersion, v)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("idem: opening %s: %w", db.Path(), err)
	}
	return &Bolt{db: db, now: now}, nil
}

func openDir(dir string, now func() time.Time) (*Bolt, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "idem.db")
	db, err := bbolt.Open(path, 0o666, &bbolt.Options{Timeout: 100 * time.Millisecond, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, fmt.Errorf("idem: opening %s: %w", path, err)
	}
	b, err := OpenBolt(db, now)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	b.own = true
	return b, nil
}

// update runs do in a transaction, with others that come at the same time, and
// returns when it is synced. An error of do's rolls all of them back: it must be
// one of the database's.
func (b *Bolt) update(ctx context.Context, do func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{do: do, done: make(chan struct{})}
	b.mu.Lock()
	if b.done {
		b.mu.Unlock()
		return ErrClosed
	}
	b.jobs = append(b.jobs, j)
	if b.busy {
		b.mu.Unlock()
		<-j.done // soon: who runs the transaction takes this job into the next
		return j.err
	}
	b.busy = true
	b.mu.Unlock()
	// This caller runs transactions until its own is done and hands on what is left.
	b.run()
	return j.err
}

// run commits the jobs that wait, and lets somebody else go on if there are more.
func (b *Bolt) run() {
	b.mu.Lock()
	jobs := b.jobs
	b.jobs = nil
	b.mu.Unlock()
	err := b.db.Update(func(tx *bbolt.Tx) error {
		if err := forget(tx, b.now()); err != nil {
			return err
		}
		for _, j := range jobs {
			if err := j.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		err = ErrClosed
	} else if err != nil {
		err = fmt.Errorf("idem: writing %s: %w", b.db.Path(), err)
	}
	b.mu.Lock()
	more := len(b.jobs) > 0
	b.busy = more
	b.mu.Unlock()
	if more {
		go b.run()
	}
	for _, j := range jobs {
		j.err = err
		close(j.done)
	}
}

// forget deletes a few records that are due, so that each transaction takes bounded
// time and none has to take much.
func forget(tx *bbolt.Tx, now time.Time) error {
	root := tx.Bucket(rootBucket)
	keys, dues := root.Bucket(keysBucket), root.Bucket(duesBucket)
	limit := dueKey(now, "")
	for range 8 {
		d, _ := dues.Cursor().First()
		if d == nil || bytes.Compare(d[:8], limit[:8]) > 0 {
			return nil
		}
		key := append([]byte(nil), d[8:]...)
		if err := dues.Delete(d); err != nil {
			return err
		}
		v := keys.Get(key)
		if v == nil {
			continue
		}
		if len(v) >= recordHead { // it may have been extended
			if expires := at(binary.LittleEndian.Uint64(v[25:])); expires.After(now) {
				if err := dues.Put(dueKey(expires, string(key)), nil); err != nil {
					return err
				}
				continue
			}
		}
		if err := keys.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// get returns a record, and whether it is not forgotten. Damage is not an error of
// the transaction.
func get(tx *bbolt.Tx, key string, now time.Time) (rec Record, found bool, err error) {
	v := tx.Bucket(rootBucket).Bucket(keysBucket).Get([]byte(key))
	if v == nil {
		return Record{}, false, nil
	}
	rec, err = parseRecord(key, v)
	return rec, err == nil && rec.Expires.After(now), err
}

func put(tx *bbolt.Tx, rec Record, isNew bool) error {
	root := tx.Bucket(rootBucket)
	if isNew {
		if err := root.Bucket(duesBucket).Put(dueKey(rec.Expires, rec.Key), nil); err != nil {
			return err
		}
	}
	return root.Bucket(keysBucket).Put([]byte(rec.Key), appendRecord(nil, rec))
}

// Begin implements [Backend].
func (b *Bolt) Begin(ctx context.Context, s Start) (rec, before Record, won bool, err error) {
	var refused error
	err = b.update(ctx, func(tx *bbolt.Tx) error {
		now := b.now()
		var old Record
		var found bool
		if old, found, refused = get(tx, s.Key, now); refused != nil {
			return nil
		}
		if rec, won, refused = begin(old, found, s, now); !won {
			return nil
		}
		if rec.Token > 1 {
			before = old
		}
		return put(tx, rec, old.Key == "")
	})
	if err == nil {
		err = refused
	}
	if err != nil && !errors.Is(err, ErrMismatch) {
		return Record{}, Record{}, false, err
	}
	return rec, before, won, err
}

// Finish implements [Backend].
func (b *Bolt) Finish(ctx context.Context, key string, token uint64, state State, result []byte, keep time.Duration) error {
	var refused error
	err := b.update(ctx, func(tx *bbolt.Tx) (err error) {
		refused, err = b.finish(tx, key, token, state, result, keep)
		return err
	})
	if err == nil {
		err = refused
	}
	return err
}

func (b *Bolt) finish(tx *bbolt.Tx, key string, token uint64, state State, result []byte, keep time.Duration) (refused, err error) {
	now := b.now()
	old, found, refused := get(tx, key, now)
	if refused != nil {
		return refused, nil
	}
	rec, changed, refused := finish(old, found, token, state, result, keep, now)
	if !changed {
		return refused, nil
	}
	return nil, put(tx, rec, false)
}

// Complete stores an attempt's result in a transaction of yours on the same
// database: if it commits, the work that it holds is done and recorded as done; if
// not, neither is. It returns [ErrStale] for an attempt that was overtaken, upon
// which the transaction must be rolled back.
func (b *Bolt) Complete(tx *bbolt.Tx, a *Attempt, result []byte) error {
	if len(result) > MaxResult {
		return fmt.Errorf("%w: a result of %d bytes, limit %d", ErrTooLarge, len(result), MaxResult)
	}
	refused, err := b.finish(tx, a.rec.Key, a.rec.Token, Completed, result, a.store.keep)
	if err == nil {
		err = refused
	}
	if err == nil {
		key := a.rec.Key
		tx.OnCommit(func() { a.store.finished(key) })
	}
	return err
}

// Extend implements [Backend].
func (b *Bolt) Extend(ctx context.Context, key string, token uint64, lease, keep time.Duration) error {
	var refused error
	err := b.update(ctx, func(tx *bbolt.Tx) error {
		now := b.now()
		var old, rec Record
		var found bool
		if old, found, refused = get(tx, key, now); refused != nil {
			return nil
		}
		if rec, refused = extend(old, found, token, lease, keep, now); refused != nil {
			return nil
		}
		return put(tx, rec, false)
	})
	if err == nil {
		err = refused
	}
	return err
}

func (b *Bolt) view(ctx context.Context, f func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	done := b.done
	b.mu.Unlock()
	if done {
		return ErrClosed
	}
	return b.db.View(f)
}

// Get implements [Backend].
func (b *Bolt) Get(ctx context.Context, key string) (rec Record, err error) {
	err = b.view(ctx, func(tx *bbolt.Tx) error {
		r, found, err := get(tx, key, b.now())
		if err == nil && !found {
			err = fmt.Errorf("%w: %q", ErrNotFound, key)
		}
		rec = r
		return err
	})
	if err != nil {
		return Record{}, err
	}
	return rec, nil
}

// Unfinished implements [Backend]. It looks at all keys. One that cannot be read is
// an error.
func (b *Bolt) Unfinished(ctx context.Context, n int) (list []Record, err error) {
	now := b.now()
	err = b.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(rootBucket).Bucket(keysBucket).Cursor()
		for k, v := c.First(); k != nil && len(list) < n; k, v = c.Next() {
			if len(v) > 0 && v[0] != byte(Begun) {
				continue
			}
			rec, err := parseRecord(string(k), v)
			if err != nil {
				return err
			}
			if !rec.Lease.After(now) && rec.Expires.After(now) {
				list = append(list, rec)
			}
		}
		return nil
	})
	return list, err
}

// each calls f with all keys that are stored, and when they are forgotten.
func (b *Bolt) each(f func(key []byte, expires time.Time)) error {
	return b.view(context.Background(), func(tx *bbolt.Tx) error {
		return tx.Bucket(rootBucket).Bucket(keysBucket).ForEach(func(k, v []byte) error {
			var expires time.Time
			if len(v) >= recordHead {
				expires = at(binary.LittleEndian.Uint64(v[25:]))
			}
			f(k, expires)
			return nil
		})
	})
}

// Close implements [Backend]. It waits for transactions that run, and closes the
// database if Open opened it.
func (b *Bolt) Close() error {
	b.mu.Lock()
	closed := b.done
	b.done = true
	b.mu.Unlock()
	if closed || !b.own {
		return nil
	}
	return b.db.Close()
}
