package stream

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
)

// A Mem is a [Transactor] in memory, for tests and examples. It keeps everything
// it is given: topics' retention and compaction are not applied. It is safe for
// concurrent use by multiple goroutines.
type Mem struct {
	mu     sync.Mutex
	topics map[string]*memTopic
	groups map[string]map[Partition]Offset
	closed bool
}

type memTopic struct {
	opts  TopicOptions
	parts []memPart
}

type memPart struct {
	records []Record
	wake    chan struct{} // closed at the next append; nil if nobody waits
}

// NewMem returns an empty log in memory.
func NewMem() *Mem {
	return &Mem{topics: map[string]*memTopic{}, groups: map[string]map[Partition]Offset{}}
}

func (m *Mem) beforeLocked(ctx context.Context) error {
	if m.closed {
		return ErrClosed
	}
	return ctx.Err()
}

func (m *Mem) partLocked(p Partition) (*memPart, *TopicOptions, error) {
	t := m.topics[p.Topic]
	if t == nil || p.Number < 0 || p.Number >= len(t.parts) {
		return nil, nil, fmt.Errorf("%w: partition %v", ErrNotFound, p)
	}
	return &t.parts[p.Number], &t.opts, nil
}

// CreateTopic implements [Log].
func (m *Mem) CreateTopic(ctx context.Context, name string, o *TopicOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.beforeLocked(ctx); err != nil {
		return err
	}
	opts, err := o.withDefaults()
	if err != nil {
		return err
	}
	if err := checkName("topic", name); err != nil {
		return err
	}
	if t := m.topics[name]; t != nil {
		if t.opts != opts {
			return fmt.Errorf("%w: %s", ErrExists, name)
		}
		return nil
	}
	m.topics[name] = &memTopic{opts: opts, parts: make([]memPart, opts.Partitions)}
	return nil
}

// Topic implements [Log].
func (m *Mem) Topic(ctx context.Context, name string) (TopicOptions, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.beforeLocked(ctx); err != nil {
		return TopicOptions{}, err
	}
	t := m.topics[name]
	if t == nil {
		return TopicOptions{}, fmt.Errorf("%w: topic %q", ErrNotFound, name)
	}
	return t.opts, nil
}

// Append implements [Log].
func (m *Mem) Append(ctx context.Context, p Partition, records []Record) (first int64, err error) {
	firsts, err := m.Transact(ctx, &Tx{Appends: []Append{{p, records}}})
	if err != nil {
		return 0, err
	}
	return firsts[0], nil
}

// Bounds implements [Log].
func (m *Mem) Bounds(ctx context.Context, p Partition) (first, next int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.beforeLocked(ctx); err != nil {
		return 0, 0, err
	}
	part, _, err := m.partLocked(p)
	if err != nil {
		return 0, 0, err
	}
	return 0, int64(len(part.records)), nil
}

// Read implements [Log].
func (m *Mem) Read(ctx context.Context, p Partition, from int64, b *Batch) error {
	b.Reset()
	for {
		m.mu.Lock()
		err := m.beforeLocked(ctx)
		var part *memPart
		if err == nil {
			part, _, err = m.partLocked(p)
		}
		if err == nil && (from < 0 || from > int64(len(part.records))) {
			err = &OffsetError{Partition: p, Offset: from, Next: int64(len(part.records))}
		}
		if err != nil {
			m.mu.Unlock()
			return err
		}
		if rest := part.records[from:]; len(rest) > 0 {
			m.mu.Unlock()
			size := 0
			for i := range rest {
				if size += len(rest[i].Key) + len(rest[i].Value) + 32; i > 0 && size > b.limit() {
					rest = rest[:i]
					break
				}
			}
			for i := range rest {
				b.Records = append(b.Records, rest[i].clone()) // the caller may write to it
			}
			b.Next = from + int64(len(rest))
			return nil
		}
		if part.wake == nil {
			part.wake = make(chan struct{})
		}
		wake := part.wake
		m.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *Record) clone() Record {
	c := *r
	c.Key, c.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	c.Headers = slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = bytes.Clone(c.Headers[i].Value)
	}
	return c
}

// Commit implements [Log].
func (m *Mem) Commit(ctx context.Context, group string, offsets map[Partition]Offset) error {
	_, err := m.Transact(ctx, &Tx{Group: group, Offsets: offsets})
	return err
}

// Committed implements [Log].
func (m *Mem) Committed(ctx context.Context, group string) (map[Partition]Offset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.beforeLocked(ctx); err != nil {
		return nil, err
	}
	out := make(map[Partition]Offset, len(m.groups[group]))
	for p, o := range m.groups[group] {
		out[p] = o
	}
	return out, nil
}

// Transact implements [Transactor].
func (m *Mem) Transact(ctx context.Context, tx *Tx) ([]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.beforeLocked(ctx); err != nil {
		return nil, err
	}
	if tx.Group != "" || len(tx.Offsets) > 0 {
		if err := checkName("group", tx.Group); err != nil {
			return nil, err
		}
	}
	// First check all, then do all.
	for p, o := range tx.Offsets {
		part, _, err := m.partLocked(p)
		if err != nil {
			return nil, err
		}
		if o.Next < Keep || o.Epoch < 0 {
			return nil, fmt.Errorf("%w: offset %+v of %v", ErrInvalid, o, p)
		}
		if o.Next > int64(len(part.records)) {
			return nil, &OffsetError{Partition: p, Offset: o.Next, Next: int64(len(part.records))}
		}
		if old := m.groups[tx.Group][p]; o.Epoch < old.Epoch {
			return nil, fmt.Errorf("%w: group %q, partition %v: epoch %d, the owner's is %d", ErrStale, tx.Group, p, o.Epoch,
				old.Epoch)
		}
	}
	for _, a := range tx.Appends {
		_, opts, err := m.partLocked(a.Partition)
		if err != nil {
			return nil, err
		}
		if len(a.Records) == 0 {
			return nil, fmt.Errorf("%w: no records to append to %v", ErrInvalid, a.Partition)
		}
		for i := range a.Records {
			if opts.Compact && len(a.Records[i].Key) == 0 {
				return nil, fmt.Errorf("%w: record %d has no key, and topic %q is compacted", ErrInvalid, i, a.Partition.Topic)
			}
		}
	}
	if len(tx.Offsets) > 0 && m.groups[tx.Group] == nil {
		m.groups[tx.Group] = map[Partition]Offset{}
	}
	for p, o := range tx.Offsets {
		if o.Next == Keep {
			if old, ok := m.groups[tx.Group][p]; ok {
				o.Next = old.Next
			}
		}
		m.groups[tx.Group][p] = o
	}
	var firsts []int64
	for _, a := range tx.Appends {
		part, _, _ := m.partLocked(a.Partition) // it was found before
		firsts = append(firsts, int64(len(part.records)))
		for i := range a.Records {
			r := a.Records[i].clone()
			r.Offset = int64(len(part.records))
			r.Time = fromNanos(toNanos(r.Time))
			part.records = append(part.records, r)
		}
		if part.wake != nil {
			close(part.wake)
			part.wake = nil
		}
	}
	return firsts, nil
}

// Close implements [Log].
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, t := range m.topics {
		for i := range t.parts {
			if w := t.parts[i].wake; w != nil {
				close(w)
				t.parts[i].wake = nil
			}
		}
	}
	return nil
}
