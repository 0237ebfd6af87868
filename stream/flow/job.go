package flow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// A Job reads a topic, aggregates its events in windows, and writes the panes to
// another, each counted exactly once. Fill in the fields, then call [Job.Run]. Each
// partition of the source is a task of its own with its own state and watermark,
// and its panes go to the partition of the same number: events that belong
// together must be in one partition, which [stream.PartitionOf] sees to.
//
// A commit is one transaction, and holds the panes and the changed states of all keys
// of its partition whose windows one step of time ends, whatever Batch is: at most all
// keys at once. It must be within what the log takes in a transaction (16 MiB in a
// [stream.Local] by default, less in others), or the job stops with
// [stream.ErrTooLarge]: more partitions make it smaller.
type Job[V, A any] struct {
	// Log has all the topics. Required.
	Log stream.Transactor
	// Name is the group whose offsets say how far the job is. Required.
	Name string
	// Source is the topic to read. Required.
	Source string
	// Decode makes an event of a record, which is valid during the call. A record
	// for which it fails goes to the side. Required.
	Decode func(r *stream.Record) (Event[V], error)
	// Enrich may complete or change an event, with the row of a [Table], say. An
	// error sends the event to the side, unless the context has ended. Default:
	// nothing.
	Enrich func(ctx context.Context, e *Event[V]) error

	// Window and Aggregate say what is computed. Required.
	Window    Spec
	Aggregate Aggregate[V, A]
	// WindowOptions and Watermarks say how it deals with time. Nil means the
	// defaults.
	WindowOptions *WindowOptions
	Watermarks    *WatermarkOptions

	// Sink is the topic for panes, Encode makes a record of one. Required. The
	// record of a pane should have a key made of the pane's key and start, so
	// that in a compacted topic the last pane of each window is left.
	Sink   string
	Encode func(p *Pane[A]) stream.Record
	// Side is the topic for records that were not counted, with a header
	// [ReasonHeader] that says why and [OffsetHeader]. Default: Name plus ".side".
	Side string
	// State is the compacted topic of checkpoints. Default: Name plus ".state".
	State string

	// Batch is the most records between two commits: 1 is event by event, more
	// is mini-batches, for which nobody waits: a commit covers what there was to
	// read. Results do not depend on it. Default 1000.
	Batch int
	// Now is the clock for Idle and MaxAhead. Default time.Now.
	Now func() time.Time
}

// The headers that records get on their way to the side.
const (
	ReasonHeader = "flow-reason" // one of the reasons below, or the text of an error
	OffsetHeader = "flow-offset" // in the source, in decimal

	ReasonLate   = "late"   // after all its windows were over
	ReasonFuture = "future" // more than MaxAhead ahead, or at an end of time
)

func (j *Job[V, A]) prepare(ctx context.Context) (*job[V, A], error) {
	c := *j
	if c.Log == nil || c.Name == "" || c.Source == "" || c.Sink == "" || c.Decode == nil || c.Encode == nil || c.Batch < 0 {
		return nil, fmt.Errorf("%w: Job needs Log, Name, Source, Decode, Window, Aggregate, Sink and Encode", ErrInvalid)
	}
	if c.Side == "" {
		c.Side = c.Name + ".side"
	}
	if c.State == "" {
		c.State = c.Name + ".state"
	}
	if c.Batch == 0 {
		c.Batch = 1000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if _, err := NewWindow(c.Window, c.Aggregate, c.WindowOptions); err != nil {
		return nil, err
	}
	source, err := c.Log.Topic(ctx, c.Source)
	if err != nil {
		return nil, err
	}
	n := source.Partitions
	for _, t := range []struct {
		name string
		opts stream.TopicOptions
	}{
		{c.Sink, stream.TopicOptions{Partitions: n}},
		{c.Side, stream.TopicOptions{Partitions: n}},
		{c.State, stream.TopicOptions{Partitions: n, Compact: true}},
	} {
		have, err := c.Log.Topic(ctx, t.name)
		if errors.Is(err, stream.ErrNotFound) {
			err = c.Log.CreateTopic(ctx, t.name, &t.opts)
			have = t.opts
		}
		if err != nil {
			return nil, err
		}
		if have.Partitions != n {
			return nil, fmt.Errorf("%w: topic %q has %d partitions, the source has %d", ErrInvalid, t.name, have.Partitions, n)
		}
	}
	shared, err := NewWatermarks(n, At(c.Now()), c.Watermarks)
	if err != nil {
		return nil, err
	}
	return &job[V, A]{Job: c, shared: shared, parts: n}, nil
}

// A job is a Job that is prepared.
type job[V, A any] struct {
	Job[V, A]
	parts int
	toEnd bool

	mu     sync.Mutex
	shared *Watermarks   // of all partitions here; tasks tell it after each batch
	over   int           // tasks that are done, with toEnd
	done   chan struct{} // closed when all are
	ends   map[int]int64 // where tasks end, with toEnd
}

// Run works until ctx ends or something fails, alone: it joins a group of its own.
// Topics but the source are made if need be. It may be stopped and killed at any
// time and goes on where it was.
func (j *Job[V, A]) Run(ctx context.Context) error {
	return j.run(ctx, false)
}

// RunToEnd works on what is in the source when it is called, then fires all
// windows and returns: after that the job is over, and what is appended later is
// late. It recomputes history, under a name of its own.
func (j *Job[V, A]) RunToEnd(ctx context.Context) error {
	return j.run(ctx, true)
}

func (j *Job[V, A]) run(ctx context.Context, toEnd bool) error {
	p, err := j.prepare(ctx)
	if err != nil {
		return err
	}
	// Nobody waits for the partitions of a group of one: it may take its time over what
	// it has read, and tasks that are done may wait for the others.
	opts := &stream.GroupOptions{SessionTimeout: -1}
	if toEnd {
		p.toEnd, p.done, p.ends = true, make(chan struct{}), map[int]int64{}
		for n := range p.parts {
			_, next, err := j.Log.Bounds(ctx, stream.Partition{Topic: j.Source, Number: n})
			if err != nil {
				return err
			}
			p.ends[n] = next
		}
	}
	g, err := stream.NewGroup(ctx, j.Log, j.Name, []string{j.Source}, opts)
	if err != nil {
		return err
	}
	defer g.Close()
	m, err := g.Join(ctx, "job")
	if err != nil {
		return err
	}
	if toEnd {
		returned := make(chan struct{})
		defer close(returned)
		go func() { // ends with the tasks, or with this call
			select {
			case <-p.done:
				m.Leave()
			case <-returned:
			}
		}()
	}
	err = m.Run(ctx, p.task)
	if toEnd && errors.Is(err, stream.ErrClosed) {
		select {
		case <-p.done:
			return nil
		default:
			err = errors.Join(ctx.Err(), err)
		}
	}
	return err
}

// Handler returns the work on one partition, for [stream.Member.Run]: so the
// members of a group share a job. The group's SessionTimeout must be longer than Batch
// records take, or the time that Enrich waits: a member that works on them longer is
// taken for dead.
func (j *Job[V, A]) Handler(ctx context.Context) (func(context.Context, *stream.Claim) error, error) {
	p, err := j.prepare(ctx)
	if err != nil {
		return nil, err
	}
	return p.task, nil
}

// A task is the work on one partition.
type task[V, A any] struct {
	*job[V, A]
	claim *stream.Claim
	n     int // the partition
	w     *Window[V, A]
	marks *Watermarks // of this partition alone
	panes []stream.Record
	side  []stream.Record
	emit  func(Pane[A])
}

func (j *job[V, A]) task(ctx context.Context, c *stream.Claim) error {
	t := &task[V, A]{job: j, claim: c, n: c.Partition.Number}
	var err error
	if t.w, err = NewWindow(j.Window, j.Aggregate, j.WindowOptions); err != nil {
		return err
	}
	if t.marks, err = NewWatermarks(1, At(j.Now()), j.Watermarks); err != nil {
		return err
	}
	t.emit = func(p Pane[A]) { t.panes = append(t.panes, j.Encode(&p)) }
	if err := t.load(ctx); err != nil {
		return err
	}
	var b stream.Batch
	for {
		if j.toEnd && c.Next() >= j.ends[t.n] {
			return t.finish(ctx)
		}
		if err := t.read(ctx, &b); err != nil {
			return err
		}
		if err := t.batch(ctx, &b); err != nil {
			return err
		}
	}
}

// read reads a batch. A partition that is silent for too long follows the others
// meanwhile.
func (t *task[V, A]) read(ctx context.Context, b *stream.Batch) error {
	idle := t.marks.opts.Idle
	for {
		if idle <= 0 || t.toEnd {
			return t.claim.Read(ctx, b)
		}
		rctx, cancel := context.WithTimeout(ctx, idle)
		err := t.claim.Read(rctx, b)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		t.mu.Lock()
		mark := t.shared.Current(At(t.Now()))
		t.mu.Unlock()
		if mark > t.w.Watermark() {
			t.w.Advance(mark, t.emit)
			if err := t.commit(ctx); err != nil {
				return err
			}
		}
	}
}

// batch works through what was read, and commits after each t.Batch records.
func (t *task[V, A]) batch(ctx context.Context, b *stream.Batch) error {
	for i := range b.Records {
		r := &b.Records[i]
		if t.toEnd && r.Offset >= t.ends[t.n] {
			t.claim.SetNext(t.ends[t.n])
			return t.commit(ctx)
		}
		if err := t.record(ctx, r); err != nil {
			return err
		}
		if (i+1)%t.Batch == 0 && i+1 < len(b.Records) {
			t.claim.SetNext(r.Offset + 1)
			if err := t.commit(ctx); err != nil {
				return err
			}
		}
	}
	t.claim.SetNext(b.Next)
	return t.commit(ctx)
}

// record counts one record, or puts it to the side. Time moves on after each, not
// after each batch: so batches do not show.
func (t *task[V, A]) record(ctx context.Context, r *stream.Record) error {
	e, err := t.Decode(r)
	if err != nil {
		t.aside(r, err.Error())
		return nil
	}
	if !t.w.reaches(e.Time) || !t.marks.Observe(0, e.Time, At(t.Now())) {
		t.aside(r, ReasonFuture)
		return nil
	}
	if t.Enrich != nil {
		if err := t.Enrich(ctx, &e); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.aside(r, err.Error())
			return nil
		}
	}
	if !t.w.Add(&e, t.emit) {
		t.aside(r, ReasonLate)
	}
	t.w.Advance(t.marks.Input(0), t.emit)
	return nil
}

func (t *task[V, A]) aside(r *stream.Record, reason string) {
	c := stream.Record{Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Time: r.Time}
	for _, h := range r.Headers {
		c.Headers = append(c.Headers, stream.Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	c.Headers = append(c.Headers, stream.Header{Key: ReasonHeader, Value: []byte(reason)},
		stream.Header{Key: OffsetHeader, Value: strconv.AppendInt(nil, r.Offset, 10)})
	t.side = append(t.side, c)
}

// finish fires all windows of a task that is at its end, and waits for the others.
func (t *task[V, A]) finish(ctx context.Context) error {
	t.w.Advance(Forever, t.emit)
	t.marks.End(0)
	if err := t.commit(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	if t.over++; t.over == t.parts {
		close(t.done)
	}
	t.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// A checkpoint's records: keyPrefix and a key, with the key's state; and metaKey,
// with version, watermark and latest event time (varints). Part of the format.
const (
	keyPrefix = "k"
	metaKey   = "m"
)

// commit stores panes, offset and state in one step.
func (t *task[V, A]) commit(ctx context.Context) error {
	part := func(topic string) stream.Partition { return stream.Partition{Topic: topic, Number: t.n} }
	tx := &stream.Tx{}
	put := func(topic string, rs []stream.Record) {
		if len(rs) > 0 {
			tx.Appends = append(tx.Appends, stream.Append{Partition: part(topic), Records: rs})
		}
	}
	put(t.Sink, t.panes)
	put(t.Side, t.side)
	var state []stream.Record
	t.w.Checkpoint(func(key string, s []byte) {
		r := stream.Record{Key: append([]byte(keyPrefix), key...)}
		if s != nil {
			r.Value = slices.Clone(s)
		}
		state = append(state, r)
	})
	meta := binary.AppendVarint([]byte{stateVersion}, int64(t.w.Watermark()))
	meta = binary.AppendVarint(meta, int64(t.marks.Latest(0)))
	put(t.State, append(state, stream.Record{Key: []byte(metaKey), Value: meta}))
	// What is done is done: a partition that is wanted back is no reason to throw
	// it away.
	if err := t.claim.Commit(context.WithoutCancel(ctx), tx); err != nil {
		if errors.Is(err, stream.ErrTooLarge) {
			err = fmt.Errorf("flow: %d panes, %d records aside and %d states in one commit: %w", len(t.panes), len(t.side), len(state), err)
		}
		return err
	}
	clear(t.panes)
	clear(t.side)
	t.panes, t.side = t.panes[:0], t.side[:0]
	if latest := t.marks.Latest(0); latest != Beginning {
		t.mu.Lock()
		t.shared.Observe(t.n, latest, At(t.Now()))
		t.mu.Unlock()
	}
	return nil
}

// load restores the operator from the last checkpoint. The claim's epoch is in the
// log already, so no other commit can come in between.
func (t *task[V, A]) load(ctx context.Context) error {
	p := stream.Partition{Topic: t.State, Number: t.n}
	first, next, err := t.Log.Bounds(ctx, p)
	if err != nil {
		return err
	}
	states := map[string][]byte{}
	mark := Beginning
	for r, err := range stream.Scan(ctx, t.Log, p, first, next) {
		if err != nil {
			return err
		}
		key := string(r.Key)
		switch {
		case key == metaKey:
			latest, m, err := decodeMeta(r.Value)
			if err != nil {
				return fmt.Errorf("%v offset %d: %w", p, r.Offset, err)
			}
			mark = m
			t.marks.Restore(0, latest)
		case len(key) == 0 || key[:1] != keyPrefix:
			return fmt.Errorf("%w: %v has key %q at offset %d", ErrCorrupt, p, key, r.Offset)
		case r.Value == nil:
			delete(states, key[1:])
		default:
			states[key[1:]] = slices.Clone(r.Value)
		}
	}
	return t.w.Restore(mark, states)
}

func decodeMeta(b []byte) (latest, mark Instant, err error) {
	if len(b) < 1 {
		return 0, 0, fmt.Errorf("%w: empty checkpoint", ErrCorrupt)
	}
	if b[0] != stateVersion {
		return 0, 0, fmt.Errorf("%w: %d", ErrVersion, b[0])
	}
	m, n := binary.Varint(b[1:])
	if n <= 0 {
		return 0, 0, fmt.Errorf("%w: watermark", ErrCorrupt)
	}
	l, k := binary.Varint(b[1+n:])
	if k <= 0 || 1+n+k != len(b) {
		return 0, 0, fmt.Errorf("%w: latest event time", ErrCorrupt)
	}
	return Instant(l), Instant(m), nil
}
