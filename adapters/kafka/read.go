package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/stream"
)

const (
	earliest = -2 // as times, in a ListOffsets request
	latest   = -1

	readCommitted = 1
)

// Bounds implements [stream.Log]. Next is the last stable offset: records of
// transactions that are open, and all behind them, are not there yet.
func (l *Log) Bounds(ctx context.Context, p stream.Partition) (first, next int64, err error) {
	c, leave, err := l.enter(ctx, true)
	if err != nil {
		return 0, 0, err
	}
	first, next, err = l.bounds(c, p)
	return first, next, leave(err)
}

func (l *Log) bounds(ctx context.Context, p stream.Partition) (first, next int64, err error) {
	if first, err = l.listOffset(ctx, p, earliest); err != nil {
		return 0, 0, err
	}
	next, err = l.listOffset(ctx, p, latest)
	return first, max(first, next), err
}

func (l *Log) listOffset(ctx context.Context, p stream.Partition, which int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, readCommitted
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = l.full(p.Topic)
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = int32(p.Number), which, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	var offset int64
	err := l.atLeader(ctx, p, func(b *kgo.Broker) error {
		r, err := b.Request(ctx, req)
		if err != nil {
			return err
		}
		resp := r.(*kmsg.ListOffsetsResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return kerr.UnknownServerError
		}
		offset = resp.Topics[0].Partitions[0].Offset
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	})
	return offset, err
}

// atLeader calls ask for the leader of p, and again for as long as it fails in a
// way that may pass.
func (l *Log) atLeader(ctx context.Context, p stream.Partition, ask func(*kgo.Broker) error) error {
	var again backoff
	for fresh := false; ; fresh = true {
		_, leader, err := l.find(ctx, p, fresh)
		if err == nil && leader < 0 {
			err = kerr.LeaderNotAvailable
		}
		if err == nil {
			err = ask(l.cl.Broker(int(leader)))
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kerr.UnknownTopicOrPartition): // or it moved: find asks
		case !retriable(err):
			if errors.Is(err, stream.ErrNotFound) {
				return err
			}
			return fmt.Errorf("kafka: %v: %w", p, err)
		}
		if e := again.wait(ctx); e != nil {
			return fmt.Errorf("kafka: %v: %w: %v", p, e, err)
		}
	}
}

// ahead is what a fetch returned beyond what a Read wanted: the next Read often
// wants it.
type ahead struct {
	p       stream.Partition
	records []*kgo.Record
	next    int64 // behind them
}

// keepAhead is how many of them are kept.
const keepAhead = 64

// takeAhead returns what is there from offset from on, if anything.
func (l *Log) takeAhead(p stream.Partition, from int64) (a ahead, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.ahead {
		if a = l.ahead[i]; a.p == p && a.records[0].Offset == from {
			l.ahead = slices.Delete(l.ahead, i, i+1)
			return a, true
		}
	}
	return ahead{}, false
}

func (l *Log) putAhead(a ahead) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ahead) == keepAhead {
		l.ahead = slices.Delete(l.ahead, 0, 1)
	}
	l.ahead = append(l.ahead, a)
}

// limit is [stream.Batch]'s, with its default.
func limit(b *stream.Batch) int {
	if b.MaxBytes <= 0 {
		return 512 << 10
	}
	return b.MaxBytes
}

// Read implements [stream.Log]. Records of transactions are seen when these are
// committed, and never when they are aborted. Waiting costs one request in some
// seconds for all partitions together that one broker leads.
func (l *Log) Read(ctx context.Context, p stream.Partition, from int64, b *stream.Batch) error {
	c, leave, err := l.enter(ctx, false)
	if err != nil {
		return err
	}
	b.Reset()
	return leave(l.read(c, p, from, b))
}

func (l *Log) read(ctx context.Context, p stream.Partition, from int64, b *stream.Batch) error {
	if a, ok := l.takeAhead(p, from); ok {
		l.deliver(a, b)
		return nil
	}
	if _, _, err := l.find(ctx, p, false); err != nil {
		return err
	}
	var again backoff
	var since time.Time // of the first failure in a row
	w := want{p: p, from: from, size: min(limit(b), 64<<20)}
	for fresh, wait := false, false; ; {
		var got fetched
		_, leader, err := l.find(ctx, p, fresh)
		switch {
		case err != nil:
		case leader < 0:
			err = kerr.LeaderNotAvailable
		case from < 0:
			err = kerr.OffsetOutOfRange
		case wait:
			got, err = l.wait.fetch(ctx, leader, w)
		default:
			var all []fetched
			if all, err = l.fetch(ctx, l.cl, leader, []want{w}, 0); err == nil {
				got, err = all[0], all[0].err
			}
		}
		switch {
		case err == nil && got.next > from:
			l.deliver(ahead{p, got.records, got.next}, b)
			return nil
		case err == nil:
			again, since, fresh, wait = backoff{}, time.Time{}, false, true
			continue
		case errors.Is(err, kerr.OffsetOutOfRange):
			first, next, err := l.bounds(ctx, p)
			if err != nil {
				return err
			}
			if from < first || from > next {
				return &stream.OffsetError{Partition: p, Offset: from, First: first, Next: next}
			}
			// Bounds moved meanwhile.
		case errors.Is(err, kerr.UnknownTopicOrPartition), retriable(err):
		default:
			return err
		}
		fresh = true
		if since.IsZero() {
			since = time.Now()
		}
		e := again.wait(ctx)
		if e == nil && time.Since(since) > l.opts.Timeout {
			e = context.DeadlineExceeded
		}
		if e != nil {
			return fmt.Errorf("kafka: %v: %w: %v", p, e, err)
		}
	}
}

// deliver puts what was fetched into b, up to its limit, and keeps the rest.
func (l *Log) deliver(a ahead, b *stream.Batch) {
	size, n := 0, 0
	for n < len(a.records) {
		r := a.records[n]
		if size += len(r.Key) + len(r.Value) + 32; n > 0 && size > limit(b) {
			break
		}
		out := stream.Record{Offset: r.Offset, Key: r.Key, Value: r.Value, Time: fromMillis(r.Timestamp.UnixMilli())}
		if len(r.Headers) > 0 {
			out.Headers = make([]stream.Header, len(r.Headers))
			for i, h := range r.Headers {
				out.Headers[i] = stream.Header{Key: h.Key, Value: h.Value}
			}
		}
		b.Records = append(b.Records, out)
		n++
	}
	b.Next = a.next
	if n < len(a.records) {
		b.Next = a.records[n].Offset
		a.records = a.records[n:]
		l.putAhead(a)
	}
}

// A want is a partition and the offset from which on records are wanted.
type want struct {
	p    stream.Partition
	from int64
	size int
}

// fetched is the answer. Next is where to go on; if it is no more than what was
// asked for there is nothing yet.
type fetched struct {
	records []*kgo.Record
	next    int64
	err     error
}

// fetch asks a broker for several partitions; it answers when there is something
// in any of them, or after wait milliseconds.
func (l *Log) fetch(ctx context.Context, cl *kgo.Client, broker int32, wants []want, wait int32) ([]fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.IsolationLevel = -1, wait, 1, readCommitted
	req.SessionID, req.SessionEpoch = 0, -1
	out := make([]fetched, len(wants))
	where := map[stream.Partition]int{}
	total := 0
	for i, w := range wants {
		where[w.p] = i
		total += w.size
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.CurrentLeaderEpoch = int32(w.p.Number), w.from, -1
		rp.PartitionMaxBytes, rp.LogStartOffset = int32(w.size), -1
		full := l.full(w.p.Topic)
		t := slices.IndexFunc(req.Topics, func(t kmsg.FetchRequestTopic) bool { return t.Topic == full })
		if t < 0 {
			rt := kmsg.NewFetchRequestTopic()
			rt.Topic = full
			t, req.Topics = len(req.Topics), append(req.Topics, rt)
		}
		req.Topics[t].Partitions = append(req.Topics[t].Partitions, rp)
	}
	req.MaxBytes = int32(min(total, 64<<20))
	r, err := cl.Broker(int(broker)).Request(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := r.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	for ti := range resp.Topics {
		t := &resp.Topics[ti]
		for pi := range t.Partitions {
			rp := &t.Partitions[pi]
			name, _ := l.short(t.Topic)
			i, ok := where[stream.Partition{Topic: name, Number: int(rp.Partition)}]
			if !ok {
				continue
			}
			fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
				Offset: wants[i].from, IsolationLevel: kgo.ReadCommitted(), Topic: t.Topic, Partition: rp.Partition,
			}, rp, l.decompressor, nil)
			out[i] = fetched{fp.Records, next, fp.Err}
			var ke *kerr.Error
			switch {
			case fp.Err == nil || errors.As(fp.Err, &ke):
			case len(fp.Records) > 0: // first what is before it
				out[i].err = nil
			default:
				out[i].err = fmt.Errorf("%w: %v at offset %d: %v", stream.ErrCorrupt, wants[i].p, next, fp.Err)
			}
		}
	}
	return out, nil
}

// waiting holds the Reads that wait at the end of their partitions. A broker
// answers the requests of a connection one after the other, so all that wait for
// one broker share a request, and those that come while it is under way share the
// next connection's. The last of these asks often, for those that come then.
type waiting struct {
	l         *Log
	newClient func() (*kgo.Client, error)

	mu      sync.Mutex
	clients [waitSlots]*kgo.Client
	brokers map[int32]*brokerWaits
}

const (
	waitSlots = 4
	waitLong  = 5000 // milliseconds
	waitShort = 100  // of the last slot
)

type brokerWaits struct {
	new  []*waiter // of no request yet
	busy [waitSlots]bool
}

type waiter struct {
	want
	done chan fetched
	gone bool
}

// fetch returns when there is something from w.from on, or an error.
func (ws *waiting) fetch(ctx context.Context, broker int32, w want) (fetched, error) {
	me := &waiter{want: w, done: make(chan fetched, 1)}
	ws.mu.Lock()
	b := ws.brokers[broker]
	if b == nil {
		b = &brokerWaits{}
		ws.brokers[broker] = b
	}
	b.new = append(b.new, me)
	ws.startLocked(broker, b)
	ws.mu.Unlock()
	select {
	case f := <-me.done:
		return f, f.err
	case <-ctx.Done():
		ws.mu.Lock()
		me.gone = true
		ws.mu.Unlock()
		return fetched{}, ctx.Err()
	}
}

// startLocked starts the first free slot of a broker. The caller's hold on the
// log, or the slot that it is called from, keeps Close waiting.
func (ws *waiting) startLocked(broker int32, b *brokerWaits) {
	for slot := range b.busy {
		if !b.busy[slot] {
			b.busy[slot] = true
			ws.l.wg.Add(1)
			go ws.run(broker, b, slot)
			return
		}
	}
}

// run asks for all that wait and are in no other slot's request, until none do.
func (ws *waiting) run(broker int32, b *brokerWaits, slot int) {
	defer ws.l.wg.Done()
	wait := int32(waitLong)
	if slot == waitSlots-1 {
		wait = waitShort
	}
	for {
		ws.mu.Lock()
		mine := slices.DeleteFunc(b.new, func(w *waiter) bool { return w.gone })
		b.new = nil
		// Two of one partition go in two requests.
		seen := map[stream.Partition]int64{}
		var wants []want
		now := mine[:0:0]
		for _, w := range mine {
			if from, ok := seen[w.p]; ok && from != w.from {
				b.new = append(b.new, w)
				continue
			} else if !ok {
				seen[w.p] = w.from
				wants = append(wants, w.want)
			}
			now = append(now, w)
		}
		// What is left over, or all if a slot before this one is free, is that one's.
		if len(b.new) > 0 {
			ws.startLocked(broker, b)
		}
		if i := slices.Index(b.busy[:slot], false); i >= 0 && len(now) > 0 {
			b.new = append(b.new, now...)
			ws.startLocked(broker, b)
			now = nil
		}
		if len(now) == 0 {
			b.busy[slot] = false
			ws.mu.Unlock()
			return
		}
		cl, err := ws.clientLocked(slot)
		ws.mu.Unlock()
		var got []fetched
		if err == nil {
			got, err = ws.l.fetch(ws.l.ctx, cl, broker, wants, wait)
		}
		given := map[int]bool{}
		ws.mu.Lock()
		for _, w := range now {
			f := fetched{err: err}
			if err == nil {
				i := slices.IndexFunc(wants, func(o want) bool { return o.p == w.p })
				if f = got[i]; given[i] {
					f.records = cloneRecords(f.records) // each reader's are its own
				}
				given[i] = true
			}
			if f.err == nil && f.next <= w.from {
				b.new = append(b.new, w)
				continue
			}
			w.done <- f
		}
		ws.mu.Unlock()
	}
}

func cloneRecords(rs []*kgo.Record) []*kgo.Record {
	out := make([]*kgo.Record, len(rs))
	for i, r := range rs {
		c := *r
		c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
		for i := range c.Headers {
			c.Headers[i].Value = bytes.Clone(c.Headers[i].Value)
		}
		out[i] = &c
	}
	return out
}

func (ws *waiting) clientLocked(slot int) (*kgo.Client, error) {
	if ws.clients[slot] == nil {
		cl, err := ws.newClient()
		if err != nil {
			return nil, err
		}
		ws.clients[slot] = cl
	}
	return ws.clients[slot], nil
}

// close is called when nobody waits any more.
func (ws *waiting) close() {
	for _, cl := range ws.clients {
		if cl != nil {
			cl.Close()
		}
	}
}
