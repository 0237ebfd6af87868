package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
)

// The archive: all events as they came, in an object store, a file for each hour and
// partition, under names by which a job can leave out hours:
//
//	events/hour=09/2.bin
const (
	archiveMagic = "AUE1"
	objectLimit  = 1 << 30
)

func archiveKey(hour, part int) string { return fmt.Sprintf("events/hour=%02d/%d.bin", hour, part) }

var errArchive = errors.New("not a file of archived events")

// archive writes what is in the log: for each event the seconds since the one
// before, its length, and its bytes.
func archive(ctx context.Context, l stream.Log, store blob.Store) (size int64, err error) {
	var total atomic.Int64
	err = parallel(func(p int) error {
		file, hour, last := []byte(nil), -1, int64(0)
		flush := func() error {
			if hour < 0 {
				return nil
			}
			total.Add(int64(len(file)))
			_, err := blob.PutBytes(ctx, store, archiveKey(hour, p), file)
			return err
		}
		part := stream.Partition{Topic: topic, Number: p}
		_, end, err := l.Bounds(ctx, part)
		if err != nil {
			return err
		}
		for r, err := range stream.Scan(ctx, l, part, 0, end) {
			if err != nil {
				return err
			}
			at := r.Time.Unix()
			if h := minuteOf(r.Time) / 60; h != hour {
				if err := flush(); err != nil {
					return err
				}
				hour, last, file = h, begin.Unix()+int64(h)*3600, append(file[:0], archiveMagic...)
			}
			file = binary.AppendUvarint(file, uint64(at-last))
			file = binary.AppendUvarint(file, uint64(len(r.Value)))
			file = append(file, r.Value...)
			last = at
		}
		return flush()
	})
	return total.Load(), err
}

// readArchive calls f for all archived events of an hour.
func readArchive(ctx context.Context, store blob.Store, hour int, f func(minute int, e event) error) error {
	for p := range partitions {
		file, _, err := blob.GetBytes(ctx, store, archiveKey(hour, p), objectLimit)
		if errors.Is(err, blob.ErrNotFound) {
			continue // nobody was there
		}
		if err != nil {
			return err
		}
		if err := readArchived(file, hour, f); err != nil {
			return fmt.Errorf("%s: %w", archiveKey(hour, p), err)
		}
	}
	return nil
}

func readArchived(file []byte, hour int, f func(minute int, e event) error) error {
	file, ok := bytes.CutPrefix(file, []byte(archiveMagic))
	if !ok {
		return errArchive
	}
	for second := 0; len(file) > 0; {
		gap, n := binary.Uvarint(file)
		if n <= 0 || gap > 3600 {
			return errArchive
		}
		length, k := binary.Uvarint(file[n:])
		if k <= 0 || length > uint64(len(file)-n-k) {
			return errArchive
		}
		if second += int(gap); second >= 3600 {
			return errArchive
		}
		e, err := parseEvent(file[n+k:][:length])
		if err != nil {
			return err
		}
		if err := f(hour*60+second/60, e); err != nil {
			return err
		}
		file = file[n+k+int(length):]
	}
	return nil
}

// A report is what the batch job found: exact counts of everything up to some hour.
// Beside them it leaves two things in the store for each hour, since counts cannot be
// combined with anything later:
//
//	batch/hour=09/users      the users, sorted: unions of hours stay exact
//	batch/hour=09/sketches   a sketch for each minute: to be merged with later ones
type report struct {
	hours     int // 0 to this one, not included
	events    int
	minute    [minutes]int
	hour      [24]int
	termsHour [24]int
	users     []uint32            // of all hours, sorted
	terms     map[string]struct{} // of all hours
}

func listKey(hour int) string   { return fmt.Sprintf("batch/hour=%02d/users", hour) }
func sketchKey(hour int) string { return fmt.Sprintf("batch/hour=%02d/sketches", hour) }

// run computes from the archive the hours that are not computed yet, before the given
// one. It sorts where the stream hashes, and shares only the sketches with it.
func (r *report) run(ctx context.Context, store blob.Store, hours int) error {
	if r.terms == nil {
		r.terms = map[string]struct{}{}
	}
	lists := make([][]uint32, 24)
	var mu sync.Mutex
	err := shared(hours-r.hours, func(i int) error {
		hour := r.hours + i
		list, terms, events, err := r.one(ctx, store, hour)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		lists[hour] = list
		r.events += events
		for t := range terms {
			r.terms[t] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.hours = hours
	for _, list := range lists {
		r.users = union(r.users, list)
	}
	return nil
}

// one computes an hour and stores what it leaves.
func (r *report) one(ctx context.Context, store blob.Store, hour int) (list []uint32, terms map[string]struct{}, events int, err error) {
	var slots [60]slot
	var seen []uint64 // user and minute of every event
	terms = map[string]struct{}{}
	err = readArchive(ctx, store, hour, func(minute int, e event) (err error) {
		m := minute % 60
		if slots[m].users == nil {
			if slots[m], err = newSlot(); err != nil {
				return err
			}
		}
		slots[m].add(e)
		seen = append(seen, uint64(e.user)<<8|uint64(m))
		if _, known := terms[string(e.term)]; !known && e.kind == search {
			terms[string(e.term)] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return nil, nil, 0, err
	}
	// In order, all that is the same stands together.
	slices.Sort(seen)
	events = len(seen)
	for _, x := range slices.Compact(seen) {
		r.minute[hour*60+int(x&255)]++
		if u := uint32(x >> 8); len(list) == 0 || list[len(list)-1] != u {
			list = append(list, u)
		}
	}
	r.hour[hour], r.termsHour[hour] = len(list), len(terms)
	var sketches []byte
	for m := range slots {
		if slots[m].users == nil {
			sketches = binary.LittleEndian.AppendUint32(sketches, 0)
			continue
		}
		b, err := slots[m].encode(nil)
		if err != nil {
			return nil, nil, 0, err
		}
		sketches = binary.LittleEndian.AppendUint32(sketches, uint32(len(b)))
		sketches = append(sketches, b...)
	}
	if _, err := blob.PutBytes(ctx, store, listKey(hour), appendList(nil, list)); err != nil {
		return nil, nil, 0, err
	}
	_, err = blob.PutBytes(ctx, store, sketchKey(hour), sketches)
	return list, terms, events, err
}

// union merges two sorted lists.
func union(a, b []uint32) []uint32 {
	out := make([]uint32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] > b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// appendList writes a sorted list without repetitions as the gaps in it.
func appendList(b []byte, list []uint32) []byte {
	last := uint32(0)
	for _, x := range list {
		b = binary.AppendUvarint(b, uint64(x-last))
		last = x
	}
	return b
}

func parseList(b []byte) (list []uint32, err error) {
	for last := uint64(0); len(b) > 0; {
		gap, n := binary.Uvarint(b)
		if n <= 0 || gap > 1<<32 || last+gap >= 1<<32 {
			return nil, errArchive
		}
		last += gap
		list = append(list, uint32(last))
		b = b[n:]
	}
	return list, nil
}

// batchHour reads what the batch left of an hour.
func batchHour(ctx context.Context, store blob.Store, hour int) (slots [60]slot, err error) {
	b, _, err := blob.GetBytes(ctx, store, sketchKey(hour), objectLimit)
	if err != nil {
		return slots, err
	}
	for m := range slots {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.LittleEndian.Uint32(b)) {
			return slots, errArchive
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n > 0 {
			if slots[m], err = decodeSlot(b[4 : 4+n]); err != nil {
				return slots, err
			}
		}
		b = b[4+n:]
	}
	if len(b) > 0 {
		return slots, errArchive
	}
	return slots, nil
}

// ---- historical questions -------------------------------------------------------

// A history answers how many users there were between two hours. What the batch has
// covered is exact; what came later is in the sketches of the stream.
type history struct {
	store blob.Store
	batch *report
	live  *dayView
}

type answer struct {
	users    float64
	exact    bool
	lists    int // sorted lists united
	batch    int // sketches of the batch, by minute, merged
	live     int // sketches of the stream, by minute, merged
	relative float64
	took     time.Duration
}

func (h *history) users(ctx context.Context, from, to int) (a answer, err error) {
	start := time.Now()
	defer func() { a.took = time.Since(start) }()
	if to <= h.batch.hours {
		var all []uint32
		for hour := from; hour < to; hour++ {
			b, _, err := blob.GetBytes(ctx, h.store, listKey(hour), objectLimit)
			if err != nil {
				return a, err
			}
			list, err := parseList(b)
			if err != nil {
				return a, err
			}
			all = union(all, list)
			a.lists++
		}
		a.users, a.exact = float64(len(all)), true
		return a, nil
	}
	sum, err := newSlot()
	if err != nil {
		return a, err
	}
	for hour := from; hour < min(to, h.batch.hours); hour++ {
		slots, err := batchHour(ctx, h.store, hour)
		if err != nil {
			return a, err
		}
		for _, s := range slots {
			if s.users != nil {
				sum.merge(s)
				a.batch++
			}
		}
	}
	for m := max(from, h.batch.hours) * 60; m < to*60; m++ {
		if s := h.live.slots[m]; s.users != nil {
			sum.merge(s)
			a.live++
		}
	}
	a.users, a.relative = sum.users.Estimate(), sum.users.RelativeError()
	return a, nil
}
