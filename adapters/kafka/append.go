package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/stream"
)

// A lane appends to one partition: one batch is under way, and what comes
// meanwhile shares the next one. A batch is what a broker stores whole.
type lane struct {
	l *Log
	p stream.Partition

	mu      sync.Mutex
	queue   []*pending
	running bool

	// Of the goroutine that runs.
	by   producer
	has  bool // by is valid
	next int32
}

// A pending is an Append that waits. Its records are read only while it is in
// the queue, under the lane's lock.
type pending struct {
	records []stream.Record
	size    int
	gone    bool // its caller gave up
	done    chan appended
}

type appended struct {
	first int64
	err   error
}

// Append implements [stream.Log]. Records go in one batch, which the brokers
// store whole or not at all; [Options.MaxBatch] limits it. Appends to one
// partition that wait at the same time share a request. If ctx ends while the
// records still wait, nothing is written.
func (l *Log) Append(ctx context.Context, p stream.Partition, records []stream.Record) (first int64, err error) {
	c, leave, err := l.enter(ctx, false)
	if err != nil {
		return 0, err
	}
	first, err = l.append(c, p, records)
	return first, leave(err)
}

func (l *Log) append(ctx context.Context, p stream.Partition, records []stream.Record) (int64, error) {
	size, err := l.check(ctx, p, records)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	n := l.lanes[p]
	if n == nil {
		n = &lane{l: l, p: p}
		l.lanes[p] = n
	}
	l.mu.Unlock()
	w := &pending{records: records, size: size, done: make(chan appended, 1)}
	n.mu.Lock()
	n.queue = append(n.queue, w)
	if !n.running {
		n.running = true
		l.wg.Add(1) // this call holds one, so Close has not stopped waiting
		go n.run()
	}
	n.mu.Unlock()
	select {
	case a := <-w.done:
		return a.first, a.err
	case <-ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		w.gone = true
		for i, q := range n.queue {
			if q == w {
				n.queue = append(n.queue[:i:i], n.queue[i+1:]...)
				break
			}
		}
		return 0, ctx.Err()
	}
}

// check returns how large the records are, or why they cannot be appended.
func (l *Log) check(ctx context.Context, p stream.Partition, records []stream.Record) (int, error) {
	t, _, err := l.find(ctx, p, false)
	if err != nil {
		return 0, err
	}
	if len(records) == 0 {
		return 0, fmt.Errorf("%w: no records to append to %v", stream.ErrInvalid, p)
	}
	size := recordsSize(records)
	if size > l.opts.MaxBatch-batchHeader {
		return 0, fmt.Errorf("%w: batch above %d bytes", stream.ErrTooLarge, l.opts.MaxBatch)
	}
	if t.compact {
		for i := range records {
			if len(records[i].Key) == 0 {
				return 0, fmt.Errorf("%w: record %d has no key, and topic %q is compacted", stream.ErrInvalid, i, p.Topic)
			}
		}
	}
	return size, nil
}

// run appends what waits, until nothing does.
func (n *lane) run() {
	defer n.l.wg.Done()
	alone := 0   // so many of the queue go in a batch of their own
	renewed := 0 // times in a row that the brokers had forgotten the producer
	for {
		ctx, cancel := context.WithTimeout(n.l.ctx, n.l.opts.Timeout)
		err := n.becomeProducer(ctx)
		taken, counts, batch := n.take(alone > 0)
		if len(taken) == 0 {
			cancel()
			return // and running is false
		}
		var first int64
		if err == nil {
			first, err = n.l.produce(ctx, n.p, batch, nil)
		}
		cancel()
		var refused *refusedError
		switch total := sum(counts); {
		case err == nil:
			n.next = addSequence(n.next, total)
		case !errors.As(err, &refused):
			n.has = false // which sequence the broker expects is not known
		case refused.forgotten:
			n.has = false
			if renewed++; renewed < 4 {
				n.putBack(taken)
				continue
			}
		case len(taken) > 1: // one of them is to blame
			alone = len(taken)
			n.putBack(taken)
			continue
		}
		renewed, alone = 0, max(0, alone-1)
		for i, w := range taken {
			w.done <- appended{first, err}
			first += int64(counts[i])
		}
	}
}

// take removes from the queue what goes in one batch, and encodes it.
func (n *lane) take(alone bool) (taken []*pending, counts []int, batch []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	size := batchHeader
	var lists [][]stream.Record
	for _, w := range n.queue {
		if len(taken) > 0 && (alone || size+w.size > n.l.opts.MaxBatch) {
			break
		}
		size += w.size
		taken = append(taken, w)
		lists = append(lists, w.records)
		counts = append(counts, len(w.records))
	}
	if len(taken) == 0 {
		n.running = false
		return nil, nil, nil
	}
	n.queue = n.queue[len(taken):]
	return taken, counts, encodeBatch(lists, n.by, n.next, false, n.l.compressor)
}

// putBack undoes take, for those that still wait.
func (n *lane) putBack(taken []*pending) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var back []*pending
	for _, w := range taken {
		if !w.gone {
			back = append(back, w)
		}
	}
	n.queue = append(back, n.queue...)
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// addSequence counts a producer's records; the numbers begin again at 0.
func addSequence(s int32, n int) int32 { return int32((int64(s) + int64(n)) & (1<<31 - 1)) }

// becomeProducer gets a number from the cluster, at the first append and when
// the former one is of no use any more.
func (n *lane) becomeProducer(ctx context.Context) error {
	if n.has {
		return nil
	}
	var again backoff
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionTimeoutMillis = -1
		resp, err := req.RequestWith(ctx, n.l.cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			n.by, n.has, n.next = producer{resp.ProducerID, resp.ProducerEpoch}, true, 0
			return nil
		}
		if !retriable(err) {
			return fmt.Errorf("kafka: no producer id: %w", err)
		}
		if e := again.wait(ctx); e != nil {
			return fmt.Errorf("kafka: no producer id: %w: %v", e, err)
		}
	}
}

// A refusedError is one with which a batch was certainly not stored.
type refusedError struct {
	err       error
	forgotten bool // because the producer is not known, or not with this sequence
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// produce has a batch stored by the leader of p, wherever that moves, and
// returns the offset of its first record. Asking again is harmless: the leader
// knows the batch by its producer and sequence, and answers with the offset
// that it has. An error is a refusedError, or the outcome is not known.
func (l *Log) produce(ctx context.Context, p stream.Partition, batch []byte, transaction *string) (first int64, err error) {
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks = transaction, -1
	req.TimeoutMillis = int32(min(l.opts.Timeout.Milliseconds(), 30_000))
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = l.full(p.Topic)
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = int32(p.Number), batch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	var again backoff
	unknown := false // an earlier try may have been stored
	for fresh := false; ; fresh = true {
		first, err, maybe := l.produceOnce(ctx, p, req, fresh)
		unknown = unknown || maybe
		switch {
		case err == nil:
			return first, nil
		case retriable(err) || maybe && ctx.Err() == nil:
			if e := again.wait(ctx); e != nil {
				return 0, fmt.Errorf("kafka: append to %v: %w: %v", p, e, err)
			}
			continue
		case unknown:
			return 0, fmt.Errorf("kafka: append to %v, outcome unknown: %w", p, err)
		}
		return 0, &refusedError{err, errors.Is(err, kerr.OutOfOrderSequenceNumber) || errors.Is(err, kerr.UnknownProducerID) ||
			transaction == nil && (errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.InvalidProducerIDMapping))}
	}
}

// produceOnce reports beside the error whether the batch may be stored all the
// same.
func (l *Log) produceOnce(ctx context.Context, p stream.Partition, req *kmsg.ProduceRequest, fresh bool) (first int64, err error, maybe bool) {
	_, leader, err := l.find(ctx, p, fresh)
	if err != nil {
		return 0, err, false
	}
	if leader < 0 {
		return 0, kerr.LeaderNotAvailable, false
	}
	r, err := l.cl.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return 0, err, true
	}
	resp := r.(*kmsg.ProduceResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, kerr.UnknownServerError, true
	}
	rp := &resp.Topics[0].Partitions[0]
	switch err := kerr.ErrorForCode(rp.ErrorCode); {
	case err == nil:
		return rp.BaseOffset, nil, false
	case errors.Is(err, kerr.RequestTimedOut), errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
		return 0, err, true
	case errors.Is(err, kerr.UnknownTopicOrPartition): // or the leader has not heard of it: find asks
		return 0, kerr.NotLeaderForPartition, false
	default:
		return 0, codeErr(rp.ErrorCode, p), false
	}
}
