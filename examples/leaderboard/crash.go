package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// A cost is what a way to commit costs when nothing goes wrong, for each batch.
type cost struct {
	batches    int
	trips      float64 // requests to the log, besides the one that reads plays
	logWaits   float64 // waits for the log's disk; -1 where it is elsewhere
	storeWaits float64 // waits for the consumer's disk
	took       time.Duration
}

// An outcome is what was counted in the end.
type outcome struct {
	shards  []*shard
	digest  string // of all bytes of all shards
	total   uint64
	kills   int
	skipped int // batches that came again and were not counted
	refused int // commits of another consumer that were refused after a kill
}

// calm runs a consumer to its end in this process.
func (s *story) calm(ctx context.Context, way string) (outcome, cost, error) {
	if err := s.rewind(ctx); err != nil {
		return outcome{}, cost{}, err
	}
	dir, err := os.MkdirTemp(s.dir, "calm")
	if err != nil {
		return outcome{}, cost{}, err
	}
	c, err := newConsumer(client{s.url}, way, dir, s.batch)
	if err != nil {
		return outcome{}, cost{}, err
	}
	setup, syncs := s.broker.tripsSoFar(), s.syncs()
	began := time.Now()
	if err := c.run(ctx); err != nil {
		return outcome{}, cost{}, errors.Join(err, c.close())
	}
	k := cost{batches: c.batches, took: time.Since(began), logWaits: -1}
	n := float64(c.batches)
	k.trips = float64(s.broker.tripsSoFar()-setup-startTrips(way)) / n
	if syncs >= 0 {
		k.logWaits = float64(s.syncs()-syncs) / n
	}
	k.storeWaits = float64(c.store.writes) / n
	if c.ledger != nil {
		k.storeWaits += float64(c.ledger.writes) / n
	}
	if err := c.close(); err != nil {
		return outcome{}, k, err
	}
	o, err := s.outcome(ctx, way, dir)
	return o, k, err
}

// startTrips is how many requests a consumer makes before its first batch.
func startTrips(way string) int {
	n := 2 * len(regions) // the end and the offset of each partition
	switch way {
	case wayBeside:
		n -= len(regions)
	case wayTwoPhase:
		n++
	case wayInLog:
		n += len(regions)
	}
	return n
}

// killed runs a consumer process, kills it at each stop of its way, starts it again,
// and lets the last one come to its end.
func (s *story) killed(ctx context.Context, way string, stops []string) (o outcome, err error) {
	if err := s.rewind(ctx); err != nil {
		return o, err
	}
	dir, err := os.MkdirTemp(s.dir, "killed")
	if err != nil {
		return o, err
	}
	env := []string{"API=" + s.url, "DIR=" + dir, "WAY=" + way, fmt.Sprint("SIZE=", s.batch)}
	for _, stop := range append(append([]string(nil), stops...), "") {
		p, err := startProcess(roleConsumer, append(env, "STOP="+stop)...)
		if err != nil {
			return o, err
		}
		r, err := p.heard()
		if err != nil {
			return o, err
		}
		o.skipped += r.Skipped
		if r.Done != (stop == "") {
			p.kill()
			return o, fmt.Errorf("the consumer was to stop at %q and came to its end", stop)
		}
		if r.Done {
			if err := p.close(); err != nil {
				return o, err
			}
			break
		}
		p.kill()
		o.kills++
		if s.intruder(ctx) {
			o.refused++
		}
	}
	end, err := s.outcome(ctx, way, dir)
	end.kills, end.skipped, end.refused = o.kills, o.skipped, o.refused
	return end, err
}

// intruder is another consumer, which wants to commit what is committed, and tells
// whether it was refused for any partition.
func (s *story) intruder(ctx context.Context) bool {
	refused := false
	for p := range regions {
		next, err := client{s.url}.committed(ctx, p)
		if err == nil {
			err = client{s.url}.commit(ctx, p, next)
		}
		refused = refused || errors.Is(err, errInDoubt)
	}
	return refused
}

// outcome reads what a way has left behind.
func (s *story) outcome(ctx context.Context, way, dir string) (o outcome, err error) {
	db, err := openStore(dir)
	if err != nil {
		return o, err
	}
	defer db.close()
	sum := sha256.New()
	for p := range regions {
		var x *shard
		if way == wayInLog {
			state, err := lastOf(ctx, s.log, partition(topicBoards, p))
			if err != nil {
				return o, err
			}
			x, err = decodeShard(state)
			if err != nil {
				return o, err
			}
		} else if x, err = db.shard(p); err != nil {
			return o, err
		}
		state, err := x.encode()
		if err != nil {
			return o, err
		}
		sum.Write(state)
		o.shards = append(o.shards, x)
		o.total += x.total()
	}
	o.digest = fmt.Sprintf("%x", sum.Sum(nil)[:6])
	return o, nil
}

// rewind lets the next consumer begin at the beginning: a log keeps what was read.
func (s *story) rewind(ctx context.Context) error {
	offsets := map[stream.Partition]stream.Offset{}
	for p := range regions {
		offsets[partition(topicPlays, p)] = stream.Offset{}
		if _, err := s.log.Append(ctx, partition(topicBoards, p), []stream.Record{{Key: []byte("shard")}}); err != nil {
			return err
		}
	}
	return s.log.Commit(ctx, groupBoard, offsets)
}

// syncs is how often the log has waited for its disk, -1 where that is not known.
func (s *story) syncs() int {
	if l, ok := s.log.(*stream.Local); ok {
		return int(l.Stats().Syncs)
	}
	return -1
}

func (b *broker) tripsSoFar() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trips
}
