package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/idem"
)

// A consumer reads a batch of plays, counts them, and has two things to write down:
// the result, and how far it has read. It may be killed at any instant, also between
// the two. The ways to do it differ in what the next process then finds.
const (
	wayOffsetFirst = "the offset, then the result"
	wayResultFirst = "the result, then the offset"
	wayTwoPhase    = "two-phase commit"
	wayKeyBeside   = "an idempotency key beside the result"
	wayBeside      = "the offset beside the result"
	wayInLog       = "result and offset in the log"
)

// A way of committing has instants at which a kill is most interesting: a batch is
// counted in all of them, and committed more and more.
var ways = []struct {
	name   string
	stops  []string
	exact  bool
	refuse int // at how many of the stops nobody else may commit the offset
}{
	{wayOffsetFirst, []string{"between", "between", "between"}, false, 0},
	{wayResultFirst, []string{"between", "between", "between"}, false, 0},
	{wayTwoPhase, []string{"counted", "offset prepared", "result prepared", "decided", "result committed", "committed"}, true, 4},
	{wayKeyBeside, []string{"counted", "key begun", "committed"}, true, 0},
	{wayBeside, []string{"counted", "committed"}, true, 0},
	{wayInLog, []string{"counted", "committed"}, true, 0},
}

// A consumer counts the plays of all partitions.
type consumer struct {
	api    client
	way    string
	size   int // plays in a batch
	store  *store
	keys   *idem.Store
	bolt   *idem.Bolt
	ledger *ledger // of the two-phase coordinator
	at     func(point string)

	batches int
	skipped int // batches that were delivered again, and not counted again
}

// lease is how long a key stays taken when its process dies. The next process has to
// wait for it.
const lease = 300 * time.Millisecond

func newConsumer(api client, way, dir string, size int) (c *consumer, err error) {
	c = &consumer{api: api, way: way, size: size, at: func(string) {}}
	if c.store, err = openStore(dir); err != nil {
		return nil, err
	}
	switch way {
	case wayKeyBeside:
		if c.bolt, err = idem.OpenBolt(c.store.db, nil); err == nil {
			c.keys, err = idem.New(c.bolt, &idem.Options{Lease: lease, Expect: 10_000, Sole: true})
		}
	case wayTwoPhase:
		c.ledger, err = openLedger(filepath.Join(dir, "decisions"))
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *consumer) close() error {
	if c.ledger != nil {
		c.ledger.close()
	}
	return c.store.close()
}

// run counts what is in the log now, batch by batch, partition by partition in turn.
func (c *consumer) run(ctx context.Context) error {
	if c.way == wayTwoPhase {
		if err := c.settle(ctx); err != nil {
			return err
		}
	}
	type lane struct {
		*shard
		from, end int64
	}
	lanes := make([]lane, len(regions))
	for p := range regions {
		var err error
		if lanes[p].shard, lanes[p].from, err = c.load(ctx, p); err != nil {
			return err
		}
		if lanes[p].end, err = c.api.end(ctx, p); err != nil {
			return err
		}
	}
	for busy := true; busy; {
		busy = false
		for p := range lanes {
			l := &lanes[p]
			if l.from >= l.end {
				continue
			}
			busy = true
			var err error
			if l.from, err = c.batch(ctx, p, l.from, l.shard); err != nil {
				return fmt.Errorf("partition %d: %w", p, err)
			}
		}
	}
	return nil
}

// load returns a partition's shard and the offset to go on from. Which of the two
// places that know an offset is asked is the heart of each way.
func (c *consumer) load(ctx context.Context, p int) (s *shard, from int64, err error) {
	if c.way == wayInLog {
		state, err := c.api.do(ctx, "GET", fmt.Sprint("/boards/", p), nil)
		if err == nil {
			s, err = decodeShard(state)
		}
		if err != nil {
			return nil, 0, err
		}
	} else if s, err = c.store.shard(p); err != nil {
		return nil, 0, err
	}
	if c.way == wayBeside {
		return s, s.next, nil
	}
	from, err = c.api.committed(ctx, p)
	return s, from, err
}

// batch counts one batch, and commits it.
func (c *consumer) batch(ctx context.Context, p int, from int64, s *shard) (next int64, err error) {
	var attempt *idem.Attempt
	if c.way == wayKeyBeside {
		// The key names the work: this partition from this offset on. If it was done,
		// its result says where it ended.
		if attempt, err = c.keys.Wait(ctx, fmt.Sprintf("%d@%d", p, from), nil); err != nil {
			return from, err
		}
		if result, done := attempt.Result(); done {
			c.skipped++
			next = int64(binary.LittleEndian.Uint64(result))
			return next, c.api.commit(ctx, p, next)
		}
		c.store.writes++ // the key is on the disk
		c.at("key begun")
	}
	if next, err = c.api.read(ctx, p, from, c.size, s.add); err != nil {
		return from, err
	}
	if next == from {
		return from, nil
	}
	s.next = next
	state, err := s.encode()
	if err != nil {
		return from, err
	}
	// What is in memory goes on as what was written, also where this process lives on:
	// of two songs with equal counts, one of them to be thrown out, cms.TopK may keep
	// another one after it was written and read.
	written, err := decodeShard(state)
	if err != nil {
		return from, err
	}
	*s = *written
	c.batches++
	c.at("counted")

	switch c.way {
	case wayOffsetFirst:
		if err = c.api.commit(ctx, p, next); err == nil {
			c.at("between") // whoever comes now goes on behind plays that count nowhere
			err = c.store.put(p, state)
		}
	case wayResultFirst:
		if err = c.store.put(p, state); err == nil {
			c.at("between") // whoever comes now counts the same plays again
			err = c.api.commit(ctx, p, next)
		}
	case wayTwoPhase:
		err = c.twoPhase(ctx, p, from, next, state)
	case wayKeyBeside:
		err = c.store.update(func(tx *bbolt.Tx) error {
			if err := tx.Bucket(bucketBoards).Put(row(p), state); err != nil {
				return err
			}
			return c.bolt.Complete(tx, attempt, binary.LittleEndian.AppendUint64(nil, uint64(next)))
		})
		if err == nil {
			c.at("committed") // if the log does not hear of it: the key knows
			err = c.api.commit(ctx, p, next)
		}
	case wayBeside:
		if err = c.store.put(p, state); err == nil { // the offset is in the state
			c.at("committed")
		}
	case wayInLog:
		if _, err = c.api.do(ctx, "POST", fmt.Sprintf("/boards/%d?next=%d", p, next), state); err == nil {
			c.at("committed")
		}
	}
	return next, err
}
