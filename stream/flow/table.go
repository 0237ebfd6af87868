package flow

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// A Table is a topic of changes seen as a table: the last record of a key is its
// row, a tombstone deletes it. Events are joined with it by [Table.Get], which
// answers with what the table has heard so far, or, with a history, by [Table.At],
// which answers with the row that was valid at the event's time, so that a replay
// joins the same rows. A Table is safe for concurrent use by multiple goroutines.
type Table struct {
	history time.Duration

	mu    sync.RWMutex
	rows  map[string][]row // by rising time; the last is the latest applied of equal ones
	n     int              // keys that are not deleted
	at    []cursor         // by partition
	wake  chan struct{}    // closed at the next change; nil if nobody waits
	log   stream.Log
	topic string
}

// A row is valid from its time to that of the next one.
type row struct {
	from  Instant
	value []byte // nil: deleted
}

type cursor struct {
	next   int64
	latest Instant
}

// TableOptions configures [LoadTable]. Nil, and a zero field, mean the default.
type TableOptions struct {
	// History is how far back, from the latest change of a key, [Table.At] can
	// answer; the row before that is taken to have been valid always. Negative:
	// for ever. Default 0: only the latest row is kept.
	History time.Duration
}

// LoadTable returns the table of a topic with all that is in the topic now: an
// event that is joined after that meets no half-read table.
func LoadTable(ctx context.Context, l stream.Log, topic string, o *TableOptions) (*Table, error) {
	opts, err := l.Topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	t := &Table{log: l, topic: topic, rows: map[string][]row{}, at: make([]cursor, opts.Partitions)}
	for n := range t.at {
		t.at[n].latest = Beginning
	}
	if o != nil {
		t.history = o.History
	}
	for n := range t.at {
		p := stream.Partition{Topic: topic, Number: n}
		first, next, err := l.Bounds(ctx, p)
		if err != nil {
			return nil, err
		}
		for r, err := range stream.Scan(ctx, l, p, first, next) {
			if err != nil {
				return nil, err
			}
			t.Apply(n, &r)
		}
		t.at[n].next = next
	}
	return t, nil
}

// Apply makes one change that was read from a partition of the topic.
func (t *Table) Apply(partition int, r *stream.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, from := string(r.Key), Beginning
	if !r.Time.IsZero() {
		from = At(r.Time)
	}
	rows := t.rows[key]
	was := len(rows) > 0 && rows[len(rows)-1].value != nil
	c := &t.at[partition]
	c.next, c.latest = max(c.next, r.Offset+1), max(c.latest, from)
	if t.history == 0 {
		rows = rows[:0]
	}
	i := sort.Search(len(rows), func(i int) bool { return rows[i].from > from }) // behind equal ones
	value := r.Value
	if value != nil {
		value = append([]byte{}, value...)
	}
	rows = slices.Insert(rows, i, row{from, value})
	if t.history > 0 {
		// The row that was valid at the edge of history stays.
		edge := rows[len(rows)-1].from.minus(t.history)
		n := sort.Search(len(rows), func(i int) bool { return rows[i].from > edge })
		rows = slices.Delete(rows, 0, max(n-1, 0))
	}
	t.rows[key] = rows
	is := rows[len(rows)-1].value != nil
	switch {
	case is && !was:
		t.n++
	case was && !is:
		t.n--
	}
	if !is && t.history == 0 { // with history it keeps older changes, should they come late, in their place
		delete(t.rows, key)
	}
	if t.wake != nil {
		close(t.wake)
		t.wake = nil
	}
}

// Len returns how many keys have a row.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.n
}

// Get returns the latest row of a key, which must not be changed. The answer
// depends on how much of the topic has been read: for a result that a replay
// repeats, use At.
func (t *Table) Get(key string) (value []byte, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	rows := t.rows[key]
	if len(rows) == 0 {
		return nil, false
	}
	v := rows[len(rows)-1].value
	return v, v != nil
}

// At returns the row of a key that was valid at an instant, which must not be
// changed. Without history that is the latest, if it was valid already.
func (t *Table) At(key string, at Instant) (value []byte, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	rows := t.rows[key]
	i := sort.Search(len(rows), func(i int) bool { return rows[i].from > at })
	if i == 0 {
		return nil, false
	}
	v := rows[i-1].value
	return v, v != nil
}

// Run keeps the table up to date until ctx ends or the log fails.
func (t *Table) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var readers sync.WaitGroup
	for n := range t.at {
		readers.Go(func() {
			t.mu.RLock()
			next := t.at[n].next
			t.mu.RUnlock()
			for r, err := range stream.Tail(ctx, t.log, stream.Partition{Topic: t.topic, Number: n}, next) {
				if err != nil {
					cancel(err)
					return
				}
				t.Apply(n, &r)
			}
		})
	}
	readers.Wait()
	return context.Cause(ctx)
}

// CatchUp waits until all that is in the topic now has been applied. Run must be
// running.
func (t *Table) CatchUp(ctx context.Context) error {
	ends := make([]int64, len(t.at))
	for n := range ends {
		_, next, err := t.log.Bounds(ctx, stream.Partition{Topic: t.topic, Number: n})
		if err != nil {
			return err
		}
		ends[n] = next
	}
	return t.wait(ctx, func() bool {
		for n, end := range ends {
			if t.at[n].next < end {
				return false
			}
		}
		return true
	})
}

// Hold waits until the table's time has reached an instant: until each of its
// partitions has a change of that time or later. It makes a join with At repeatable
// where table and events are written at the same time; a topic that seldom changes
// needs a change of some key now and then for it.
func (t *Table) Hold(ctx context.Context, at Instant) error {
	return t.wait(ctx, func() bool {
		return !slices.ContainsFunc(t.at, func(c cursor) bool { return c.latest < at })
	})
}

func (t *Table) wait(ctx context.Context, done func() bool) error {
	for {
		t.mu.Lock()
		if done() {
			t.mu.Unlock()
			return nil
		}
		if t.wake == nil {
			t.wake = make(chan struct{})
		}
		wake := t.wake
		t.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
