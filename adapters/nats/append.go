package nats

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ashlar-go/ashlar/stream"
)

// shift is how many bits of an offset number the records of a message; those
// above number the message. They are part of the format.
const shift = 20

// offsetOf returns the offset of record i of the message with a sequence number.
func offsetOf(seq uint64, i int) int64 { return int64(seq-1)<<shift + int64(i) }

// mergeBytes limits how much of what waits shares a message: reading returns
// messages as a whole.
const mergeBytes = 64 << 10

// A lane appends to one partition: one message is under way, and what comes
// meanwhile shares the next one.
type lane struct {
	l       *Log
	subject string
	ttl     string

	mu      sync.Mutex
	queue   []*pending
	running bool
}

// A pending is an Append that waits, encoded.
type pending struct {
	body  []byte // of the records
	count int
	done  chan appended
}

type appended struct {
	first int64
	err   error
}

// Append implements [stream.Log]. Records go in one message, which the servers
// store whole or not at all; [Options.MaxBatch] limits it. Appends to one
// partition that wait at the same time may share one. If ctx ends while the
// records still wait, nothing is written. In a compacted topic each record is a
// message, and the offsets of several do not follow each other.
func (l *Log) Append(ctx context.Context, p stream.Partition, records []stream.Record) (first int64, err error) {
	c, leave, err := l.enter(ctx)
	if err != nil {
		return 0, err
	}
	first, err = l.append(c, p, records)
	return first, leave(err)
}

func (l *Log) append(ctx context.Context, p stream.Partition, records []stream.Record) (int64, error) {
	t, err := l.find(ctx, p)
	if err != nil {
		return 0, err
	}
	if err := check(t, p, records); err != nil {
		return 0, err
	}
	if t.Compact {
		ms, err := l.messages(nil, t, p, records)
		if err != nil {
			return 0, err
		}
		if len(ms) == 1 {
			seq, err := l.publishOnce(ctx, ms[0])
			return offsetOf(seq, 0), err
		}
		last, err := l.transactAlone(ctx, ms)
		return offsetOf(last-uint64(len(ms)), 0), err
	}
	body := encodeRecords(nil, records)
	if len(body)+envelopeFrame > l.opts.MaxBatch {
		return 0, fmt.Errorf("%w: batch of %d bytes, above %d", stream.ErrTooLarge, len(body)+envelopeFrame, l.opts.MaxBatch)
	}
	l.mu.Lock()
	n := l.lanes[p]
	if n == nil {
		n = &lane{l: l, subject: l.subject(p), ttl: ttl(t.Retention)}
		l.lanes[p] = n
	}
	l.mu.Unlock()
	w := &pending{body: body, count: len(records), done: make(chan appended, 1)}
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
		for i, q := range n.queue {
			if q == w {
				n.queue = append(n.queue[:i:i], n.queue[i+1:]...)
				break
			}
		}
		return 0, ctx.Err()
	}
}

func check(t *topic, p stream.Partition, records []stream.Record) error {
	switch {
	case len(records) == 0:
		return fmt.Errorf("%w: no records to append to %v", stream.ErrInvalid, p)
	case len(records) > maxRecords:
		return fmt.Errorf("%w: batch of %d records, above %d", stream.ErrTooLarge, len(records), maxRecords)
	case !t.Compact:
		return nil
	}
	for i := range records {
		if len(records[i].Key) == 0 {
			return fmt.Errorf("%w: record %d has no key, and topic %q is compacted", stream.ErrInvalid, i, p.Topic)
		}
	}
	return nil
}

func encodeRecords(b []byte, records []stream.Record) []byte {
	for i := range records {
		b = appendRecord(b, &records[i])
	}
	return b
}

// run appends what waits, until nothing does.
func (n *lane) run() {
	defer n.l.wg.Done()
	for {
		n.mu.Lock()
		var taken []*pending
		size, count := 0, 0
		for _, w := range n.queue {
			if len(taken) > 0 && (size+len(w.body) > min(mergeBytes, n.l.opts.MaxBatch-envelopeFrame) || count+w.count > maxRecords) {
				break
			}
			size += len(w.body)
			count += w.count
			taken = append(taken, w)
		}
		if len(taken) == 0 {
			n.running = false
			n.mu.Unlock()
			return
		}
		n.queue = n.queue[len(taken):]
		n.mu.Unlock()
		m := natsgo.NewMsg(n.subject)
		m.Data = make([]byte, 0, size+envelopeFrame)
		m.Data = append(m.Data, beginEnvelope(count)...)
		for _, w := range taken {
			m.Data = append(m.Data, w.body...)
		}
		m.Data = endEnvelope(m.Data)
		setTTL(m, n.ttl)
		seq, err := n.l.publishOnce(n.l.ctx, m)
		i := 0
		for _, w := range taken {
			w.done <- appended{offsetOf(seq, i), err}
			i += w.count
		}
	}
}

// publishOnce publishes a message as often as it takes. The servers recognise it
// by its id and store it once.
func (l *Log) publishOnce(ctx context.Context, m *natsgo.Msg) (seq uint64, err error) {
	l.mu.Lock()
	l.calls++
	m.Header.Set(jetstream.MsgIDHeader, l.id+"-"+strconv.FormatUint(l.calls, 36))
	l.mu.Unlock()
	err = l.repeat(ctx, func(ctx context.Context) (err error) {
		seq, err = l.publish(ctx, m)
		return err
	})
	if err != nil {
		return 1, err // any that has an offset
	}
	return seq, nil
}

// messages appends to ms the messages for records: one, or in a compacted topic
// one for each, which replaces the former one of its key.
func (l *Log) messages(ms []*natsgo.Msg, t *topic, p stream.Partition, records []stream.Record) ([]*natsgo.Msg, error) {
	add := func(subject string, records []stream.Record, ttl string) error {
		m := natsgo.NewMsg(subject)
		m.Data = endEnvelope(encodeRecords(beginEnvelope(len(records)), records))
		if len(m.Data) > l.opts.MaxBatch {
			return fmt.Errorf("%w: batch of %d bytes, above %d", stream.ErrTooLarge, len(m.Data), l.opts.MaxBatch)
		}
		setTTL(m, ttl)
		ms = append(ms, m)
		return nil
	}
	if !t.Compact {
		return ms, add(l.subject(p), records, ttl(t.Retention))
	}
	if len(ms)+len(records) >= maxMessages {
		return nil, fmt.Errorf("%w: %d records for a compacted topic in one step, above %d", stream.ErrTooLarge, len(records), maxMessages-1)
	}
	for i := range records {
		life := t.Retention
		if records[i].Value == nil && (life == 0 || t.TombstoneKeep < life) {
			life = t.TombstoneKeep
		}
		subject := l.subject(p) + "." + keyToken(records[i].Key)
		first := true // of this subject: only that may replace what is there
		for _, m := range ms {
			first = first && m.Subject != subject
		}
		if err := add(subject, records[i:i+1], ttl(life)); err != nil {
			return nil, err
		}
		if first {
			ms[len(ms)-1].Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		}
	}
	return ms, nil
}

// ttl returns a duration as servers read it: whole seconds. None is for ever.
func ttl(d time.Duration) string {
	if d == 0 {
		return ""
	}
	s := d / time.Second
	if d%time.Second > 0 {
		s++
	}
	return strconv.FormatInt(int64(s), 10)
}

func setTTL(m *natsgo.Msg, ttl string) {
	if ttl != "" {
		m.Header.Set(jetstream.MsgTTLHeader, ttl)
	}
}
