package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ashlar-go/ashlar/stream"
)

// Bounds implements [stream.Log].
func (l *Log) Bounds(ctx context.Context, p stream.Partition) (first, next int64, err error) {
	c, leave, err := l.enter(ctx)
	if err != nil {
		return 0, 0, err
	}
	first, next, err = l.bounds(c, p)
	return first, next, leave(err)
}

func (l *Log) bounds(ctx context.Context, p stream.Partition) (first, next int64, err error) {
	t, err := l.find(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	if first, err = l.first(ctx, t, p); err != nil {
		return 0, 0, err
	}
	next, err = l.next(ctx, l.filter(t, p))
	return first, max(first, next), err
}

// first returns the first offset of a partition: 0 unless records expire.
func (l *Log) first(ctx context.Context, t *topic, p stream.Partition) (first int64, err error) {
	if t.Retention == 0 {
		return 0, nil
	}
	err = l.repeat(ctx, func(ctx context.Context) error {
		m, err := l.stored(ctx, msgRequest{Seq: 1, NextFor: l.filter(t, p)})
		switch {
		case errors.Is(err, errNone):
			return nil
		case err == nil:
			first = offsetOf(m.Seq, 0)
		}
		return err
	})
	return first, err
}

// next returns the offset behind the last message of some subjects, or 0.
func (l *Log) next(ctx context.Context, filter string) (next int64, err error) {
	err = l.repeat(ctx, func(ctx context.Context) error {
		m, err := l.stored(ctx, msgRequest{LastFor: filter})
		switch {
		case errors.Is(err, errNone):
			return nil
		case err == nil:
			next = offsetOf(m.Seq+1, 0)
		}
		return err
	})
	return next, err
}

// streamEnd returns the offset behind the last message that the stream has ever
// had.
func (l *Log) streamEnd(ctx context.Context) (end int64, err error) {
	err = l.repeat(ctx, func(ctx context.Context) error {
		s, err := l.js.Stream(ctx, l.opts.Prefix) // asks its leader
		if err != nil {
			return fmt.Errorf("nats: %w", err)
		}
		end = offsetOf(s.CachedInfo().State.LastSeq+1, 0)
		return nil
	})
	return end, err
}

// limit is [stream.Batch]'s, with its default.
func limit(b *stream.Batch) int {
	if b.MaxBytes <= 0 {
		return 512 << 10
	}
	return b.MaxBytes
}

// Read implements [stream.Log]. Any server that has the stream answers. It
// returns whole messages, each with the records of one append, or with some small
// ones. A Read that has to wait makes a consumer, which says when there is
// something; it is kept for the next ones of the partition. Where records may
// vanish by age it also returns, with none, when they have.
func (l *Log) Read(ctx context.Context, p stream.Partition, from int64, b *stream.Batch) error {
	c, leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	b.Reset()
	return leave(l.read(c, p, from, b))
}

func (l *Log) read(ctx context.Context, p stream.Partition, from int64, b *stream.Batch) error {
	t, err := l.find(ctx, p)
	if err != nil {
		return err
	}
	if from < 0 {
		return l.offsetError(ctx, p, from)
	}
	filter := l.filter(t, p)
	seq := uint64(from>>shift) + 1
	var back backoff
	for {
		var ms []storedMsg
		err := l.repeat(ctx, func(ctx context.Context) (err error) {
			ms, err = l.direct(ctx, filter, seq, limit(b))
			return err
		})
		if err != nil {
			return err
		}
		if len(ms) > 0 {
			if t.Retention > 0 && ms[0].Seq > seq {
				first, err := l.first(ctx, t, p)
				if err == nil && from < first {
					err = l.offsetError(ctx, p, from)
				}
				if err != nil {
					return err
				}
			}
			return l.deliver(p, from, ms, b)
		}
		next, err := l.end(ctx, t, filter, from)
		switch {
		case err != nil:
			return err
		case from > next:
			return l.offsetError(ctx, p, from)
		case from < next: // the server that answered is behind
			if err := back.wait(ctx); err != nil {
				return err
			}
			continue
		}
		err = l.await(ctx, p, filter, seq, t.vanishing())
		if errors.Is(err, errPatience) {
			var end int64
			if end, err = l.vanished(ctx, filter, seq); err == nil && end > from {
				b.Next = end
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// vanishing reports whether records may vanish that nothing follows.
func (t *topic) vanishing() bool { return t.Compact || t.Retention > 0 }

// vanished returns up to which offset there is nothing in some subjects from a
// sequence number on: what was there has vanished since.
func (l *Log) vanished(ctx context.Context, filter string, seq uint64) (end int64, err error) {
	if end, err = l.streamEnd(ctx); err != nil {
		return 0, err
	}
	err = l.repeat(ctx, func(ctx context.Context) error {
		_, err := l.stored(ctx, msgRequest{Seq: seq, NextFor: filter})
		if err == nil {
			end = 0
		}
		if errors.Is(err, errNone) {
			return nil
		}
		return err
	})
	return end, err
}

// end returns the offset at which a reader waits. Where messages vanish by age
// the last of a partition may be gone: then it is any that the stream has had.
func (l *Log) end(ctx context.Context, t *topic, filter string, from int64) (int64, error) {
	next, err := l.next(ctx, filter)
	if err == nil && from > next && t.vanishing() {
		var all int64
		if all, err = l.streamEnd(ctx); err == nil && from <= all {
			next = from
		}
	}
	return next, err
}

func (l *Log) offsetError(ctx context.Context, p stream.Partition, from int64) error {
	first, next, err := l.bounds(ctx, p)
	if err != nil {
		return err
	}
	return &stream.OffsetError{Partition: p, Offset: from, First: first, Next: next}
}

// deliver puts messages into b. One that is damaged is reported when it is the
// first.
func (l *Log) deliver(p stream.Partition, from int64, ms []storedMsg, b *stream.Batch) error {
	for i, m := range ms {
		base := offsetOf(m.Seq, 0)
		records, err := decodeEnvelope(b.Records, m.Data, base, int(max(0, from-base)))
		switch {
		case err != nil && i > 0:
			return nil
		case errors.Is(err, stream.ErrCorrupt):
			return &stream.DamageError{
				Damage:    stream.Damage{File: fmt.Sprintf("stream %s, message %d", l.opts.Prefix, m.Seq), Bytes: int64(len(m.Data)), Reason: err.Error()},
				Partition: p, From: base, To: offsetOf(m.Seq+1, 0),
			}
		case err != nil:
			return fmt.Errorf("nats: message %d: %w", m.Seq, err)
		}
		b.Records, b.Next = records, offsetOf(m.Seq+1, 0)
	}
	return nil
}

// A watcher knows when a partition gets messages, from a consumer that delivers
// their headers. It is kept while Reads wait, and some time after.
type watcher struct {
	mu      sync.Mutex
	consume jetstream.ConsumeContext
	last    uint64
	news    chan struct{} // closed when last rises
	readers int
	idle    *time.Timer
}

// keepWatcher is how long a watcher is kept that nobody needs.
const keepWatcher = time.Minute

// errPatience says that there was nothing for some time.
var errPatience = errors.New("nats: nothing came")

// patience is how long a Read waits for records that may have vanished.
const patience = time.Second

// await returns when the partition has a message from sequence number seq on. If
// impatient it gives up after some time.
func (l *Log) await(ctx context.Context, p stream.Partition, filter string, seq uint64, impatient bool) error {
	w, err := l.watch(ctx, p, filter, seq)
	if err != nil {
		return err
	}
	defer l.unwatch(p, w)
	var over <-chan time.Time
	if impatient {
		t := time.NewTimer(patience)
		defer t.Stop()
		over = t.C
	}
	for {
		w.mu.Lock()
		last, news := w.last, w.news
		w.mu.Unlock()
		if last >= seq {
			return nil
		}
		select {
		case <-news:
		case <-w.consume.Closed(): // for good; the next await makes another
			l.dropWatcher(p, w)
			return nil
		case <-over:
			return errPatience
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch returns the partition's watcher, which it makes if need be.
func (l *Log) watch(ctx context.Context, p stream.Partition, filter string, seq uint64) (*watcher, error) {
	l.mu.Lock()
	w := l.watchers[p]
	if w != nil {
		w.readers++
		w.idle.Stop()
		l.mu.Unlock()
		return w, nil
	}
	l.mu.Unlock()
	w = &watcher{news: make(chan struct{}), readers: 1}
	w.idle = time.AfterFunc(keepWatcher, func() { l.dropIdle(p, w) })
	w.idle.Stop()
	err := l.repeat(ctx, func(ctx context.Context) error {
		c, err := l.js.OrderedConsumer(ctx, l.opts.Prefix, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: seq,
			HeadersOnly: true, InactiveThreshold: time.Minute,
		})
		if err != nil {
			return fmt.Errorf("nats: consumer: %w", err)
		}
		w.consume, err = c.Consume(w.handle, jetstream.PullExpiry(20*time.Second), jetstream.PullHeartbeat(time.Second))
		if err != nil {
			return fmt.Errorf("nats: consumer: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.watchers[p]; other != nil { // made meanwhile; this one may know of less, so keep both
		return w, nil
	}
	l.watchers[p] = w
	return w, nil
}

func (w *watcher) handle(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not one of the stream's
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if meta.Sequence.Stream > w.last {
		w.last = meta.Sequence.Stream
		close(w.news)
		w.news = make(chan struct{})
	}
}

// unwatch gives back what watch returned.
func (l *Log) unwatch(p stream.Partition, w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.readers--; w.readers > 0 {
		return
	}
	if l.watchers[p] != w {
		w.stop()
		return
	}
	w.idle.Reset(keepWatcher)
}

func (l *Log) dropIdle(p stream.Partition, w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.readers == 0 && l.watchers[p] == w {
		delete(l.watchers, p)
		w.stop()
	}
}

// dropWatcher makes the next await make another.
func (l *Log) dropWatcher(p stream.Partition, w *watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watchers[p] == w {
		delete(l.watchers, p)
	}
}

// stop ends the consumer. The connection has to be open for the servers to hear
// of it; else they forget the consumer after a minute.
func (w *watcher) stop() {
	w.idle.Stop()
	w.consume.Stop()
}
