package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/hll"
	"github.com/ashlar-go/ashlar/stream"
)

const (
	precision    = 14 // of the sketches by minute: 0.81 %
	exaPrecision = 11 // of the live counter of the day: 0.80 %
	// How much time of the events lies between two checkpoints.
	checkpointEvery = 30
)

// A slot is what is kept of a minute: who was there, and what was searched for.
type slot struct{ users, terms *hll.Sketch }

func newSlot() (s slot, err error) {
	if s.users, err = hll.New(precision); err != nil {
		return s, err
	}
	s.terms, err = hll.New(precision)
	return s, err
}

func (s slot) add(e event) {
	s.users.AddHash(userHash(e.user))
	if e.kind == search {
		s.terms.Add(e.term)
	}
}

func (s slot) merge(other slot) {
	s.users.Merge(other.users)
	s.terms.Merge(other.terms)
}

// encode appends both sketches, the first with its length before it.
func (s slot) encode(b []byte) ([]byte, error) {
	users, err := s.users.MarshalBinary()
	if err != nil {
		return b, err
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(users)))
	return s.terms.AppendBinary(append(b, users...))
}

var errSlot = errors.New("not a minute's sketches")

func decodeSlot(b []byte) (s slot, err error) {
	if len(b) < 4 || uint64(len(b)) < 4+uint64(binary.LittleEndian.Uint32(b)) {
		return s, errSlot
	}
	n := 4 + int(binary.LittleEndian.Uint32(b))
	s = slot{new(hll.Sketch), new(hll.Sketch)}
	if err := s.users.UnmarshalBinary(b[4:n]); err != nil {
		return slot{}, err
	}
	if err := s.terms.UnmarshalBinary(b[n:]); err != nil {
		return slot{}, err
	}
	return s, nil
}

// A counter is the stream job of one partition: it keeps two sketches for each
// minute. Its checkpoint is nothing but these sketches, in a compacted topic with the
// minute as key, written in one transaction with the offset up to which they have
// counted:
//
//	events/2    … 10:29 10:29 10:30 10:30 10:30 │10:30 10:31 …
//	                                      offset┘
//	minutes/2   … 10:28 ▒▒   10:29 ▒▒   10:30 ▒▒ (goes on)
type counter struct {
	log   stream.Transactor
	group string // whose offset, and the topic of the sketches
	part  int

	next    int64
	slots   [minutes]slot // with nil where nothing happened
	open    int           // the minute that is being counted, -1 before the first
	written int           // minutes before this one are in a checkpoint
	mark    int           // the second at which the next checkpoint is due

	today *hll.Concurrent // of all partitions; may be nil

	processed   int
	checkpoints int
	bytes       int                    // written for checkpoints
	onEvent     func(second int) error // before each event; may be nil
}

func openCounter(ctx context.Context, l stream.Transactor, group string, part int, today *hll.Concurrent) (*counter, error) {
	c := &counter{log: l, group: group, part: part, open: -1, today: today}
	err := l.CreateTopic(ctx, group, &stream.TopicOptions{Partitions: partitions, Compact: true})
	if err != nil {
		return nil, err
	}
	return c, c.restore(ctx)
}

func (c *counter) source() stream.Partition { return stream.Partition{Topic: topic, Number: c.part} }

func (c *counter) target() stream.Partition { return stream.Partition{Topic: c.group, Number: c.part} }

// restore reads the checkpoint. Of the records of a minute the last counts.
func (c *counter) restore(ctx context.Context) error {
	done, err := c.log.Committed(ctx, c.group)
	if err != nil {
		return err
	}
	c.next = done[c.source()].Next
	_, end, err := c.log.Bounds(ctx, c.target())
	if err != nil {
		return err
	}
	for r, err := range stream.Scan(ctx, c.log, c.target(), 0, end) {
		if err != nil {
			return err
		}
		if len(r.Key) != 2 || binary.BigEndian.Uint16(r.Key) >= minutes {
			return errSlot
		}
		m := int(binary.BigEndian.Uint16(r.Key))
		if c.slots[m], err = decodeSlot(r.Value); err != nil {
			return fmt.Errorf("minute %d: %w", m, err)
		}
		c.open = max(c.open, m)
	}
	c.written = max(c.open, 0)
	c.mark = nextMark(c.written*60 + 30)
	return nil
}

// nextMark returns the second of the day after which the next checkpoint is due: in
// the middle of a minute, to show that it may be.
func nextMark(second int) int {
	const every = checkpointEvery * 60
	return (second-30)/every*every + every + 30
}

// run counts what is in the log now.
func (c *counter) run(ctx context.Context) error {
	err := each(ctx, c.log, c.part, c.next, func(offset int64, at time.Time, e event) (err error) {
		second := int(at.Unix() - begin.Unix())
		if second < 0 || second >= daySeconds {
			return fmt.Errorf("%s is not of this day", at)
		}
		if c.onEvent != nil {
			if err := c.onEvent(second); err != nil {
				return err
			}
		}
		// A checkpoint need not be at the end of a minute: the sketches of the
		// open one are part of it.
		if second >= c.mark {
			if err := c.checkpoint(ctx); err != nil {
				return err
			}
			c.mark = nextMark(second)
		}
		m := second / 60
		c.open = max(c.open, m)
		if c.slots[m].users == nil {
			if c.slots[m], err = newSlot(); err != nil {
				return err
			}
		}
		c.slots[m].add(e)
		if c.today != nil {
			c.today.AddHash(userHash(e.user))
		}
		c.next = offset + 1
		c.processed++
		return nil
	})
	if err != nil {
		return err
	}
	return c.checkpoint(ctx)
}

// checkpoint writes the minutes that changed since the last one, and the offset.
func (c *counter) checkpoint(ctx context.Context) error {
	if c.open < 0 {
		return nil
	}
	var records []stream.Record
	for m := c.written; m <= c.open; m++ {
		if c.slots[m].users == nil {
			continue
		}
		b, err := c.slots[m].encode(nil)
		if err != nil {
			return err
		}
		records = append(records, stream.Record{Key: binary.BigEndian.AppendUint16(nil, uint16(m)), Value: b, Time: begin.Add(time.Duration(m) * time.Minute)})
		c.bytes += len(b)
	}
	_, err := c.log.Transact(ctx, &stream.Tx{
		Group:   c.group,
		Offsets: map[stream.Partition]stream.Offset{c.source(): {Next: c.next}},
		Appends: []stream.Append{{Partition: c.target(), Records: records}},
	})
	if err != nil {
		return err
	}
	c.written = c.open
	c.checkpoints++
	return nil
}

// A dayView is the sketches of all partitions, merged minute by minute.
type dayView struct {
	slots [minutes]slot
}

func merged(counters []*counter) (*dayView, error) {
	v := &dayView{}
	for m := range minutes {
		if err := v.take(counters, m); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// take merges the counters' sketches of a minute.
func (v *dayView) take(counters []*counter, m int) (err error) {
	v.slots[m] = slot{}
	for _, c := range counters {
		if c.slots[m].users == nil {
			continue
		}
		if v.slots[m].users == nil {
			if v.slots[m], err = newSlot(); err != nil {
				return err
			}
		}
		v.slots[m].merge(c.slots[m])
	}
	return nil
}

// span merges the minutes [from, to).
func (v *dayView) span(from, to int) (slot, error) {
	sum, err := newSlot()
	if err != nil {
		return sum, err
	}
	for _, s := range v.slots[from:to] {
		if s.users != nil {
			sum.merge(s)
		}
	}
	return sum, nil
}

// errEnough ends a loop over events.
var errEnough = errors.New("enough")

func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
