package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A Record is one entry of a partition. A log keeps no reference to what it was
// given; records that were read belong to their [Batch].
type Record struct {
	// Offset is the record's place in its partition, set by the log.
	Offset int64
	// Key decides the partition of a keyed stream, and what replaces what in a
	// compacted topic. Nil and empty are the same.
	Key []byte
	// Value is the content. Nil, which differs from empty, is a tombstone: in a
	// compacted topic it deletes the key.
	Value []byte
	// Time is when the event happened, as its source says; the zero Time is
	// kept. A log may round it to milliseconds and forget its location.
	Time time.Time
	// Headers are free for the application; their order is kept.
	Headers []Header
}

// A Header is a named value beside a record.
type Header struct {
	Key   string
	Value []byte
}

// A Partition is one of the rows of records that a topic consists of, numbered
// from 0.
type Partition struct {
	Topic  string
	Number int
}

// String returns "topic/number".
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Number) }

// Compare orders partitions by topic, then by number.
func (p Partition) Compare(q Partition) int {
	if p.Topic != q.Topic {
		if p.Topic < q.Topic {
			return -1
		}
		return 1
	}
	return p.Number - q.Number
}

// PartitionOf returns the partition for a key among n, of which there is at least one:
// a fixed hash, so that all writers agree.
func PartitionOf(key []byte, n int) int { return int(xxhash.Sum64(key) % uint64(max(1, n))) }

// An Offset is where a group goes on in a partition.
type Offset struct {
	// Next is the offset of the first record that is not done. [Keep], when
	// committing, leaves it as it is; when read back it means that none was
	// committed yet.
	Next int64
	// Epoch fences: a commit whose epoch is below the one stored is [ErrStale].
	// It is raised when a partition changes hands; see [Group]. Without groups
	// it is 0.
	Epoch int64
}

// Keep is the Next of an [Offset] that only sets the epoch.
const Keep = -1

// TopicOptions describes a topic. Nil, and a zero field, mean the default. They
// are a request: an engine on a server may keep records by its own rules.
type TopicOptions struct {
	// Partitions is the number of partitions, at most 65,536. Default 1. It
	// never changes.
	Partitions int
	// Retention is how long records are kept after they were appended. Default:
	// for ever.
	Retention time.Duration
	// RetainBytes is about how many bytes each partition keeps, at least.
	// Default: all.
	RetainBytes int64
	// Compact keeps the last record of each key. Records of such a topic need a
	// key.
	Compact bool
	// TombstoneKeep is how long a tombstone is kept after it was appended, so
	// that slow readers see the deletion. Default 24 hours.
	TombstoneKeep time.Duration
}

func (o *TopicOptions) withDefaults() (TopicOptions, error) {
	var t TopicOptions
	if o != nil {
		t = *o
	}
	if t.Partitions == 0 {
		t.Partitions = 1
	}
	if t.TombstoneKeep == 0 {
		t.TombstoneKeep = 24 * time.Hour
	}
	switch {
	case t.Partitions < 1 || t.Partitions > maxPartitions:
		return t, fmt.Errorf("%w: %d partitions, want 1 to %d", ErrInvalid, t.Partitions, maxPartitions)
	case t.Retention < 0, t.RetainBytes < 0, t.TombstoneKeep < 0:
		return t, fmt.Errorf("%w: a limit of the topic is negative", ErrInvalid)
	}
	return t, nil
}

const (
	maxPartitions = 1 << 16
	maxName       = 255 // bytes of a topic's or group's name
)

func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%w: empty name of a %s", ErrInvalid, what)
	}
	if len(name) > maxName {
		return fmt.Errorf("%w: name of a %s has %d bytes, above %d", ErrTooLarge, what, len(name), maxName)
	}
	return nil
}

// A Log is a set of topics, each a row of records for every partition, and the
// offsets of groups. [Local] is one; adapters make others of Kafka and
// JetStream. A Log is safe for concurrent use by multiple goroutines.
//
// When a call ends with its context's error, a write may or may not have been
// done, unless the engine says more.
type Log interface {
	// CreateTopic makes a topic. One that exists with the same options is fine;
	// with others the error wraps [ErrExists].
	CreateTopic(ctx context.Context, name string, o *TopicOptions) error
	// Topic returns the options of a topic, defaults filled in.
	Topic(ctx context.Context, name string) (TopicOptions, error)
	// Append adds records, in their order and without others between them, to
	// the end of a partition and returns the offset of the first. Offsets rise
	// by one from record to record, except where the engine uses some up for
	// itself. All or none of them become readable.
	Append(ctx context.Context, p Partition, records []Record) (first int64, err error)
	// Bounds returns the range [first, next) of a partition's offsets.
	Bounds(ctx context.Context, p Partition) (first, next int64, err error)
	// Read fills b with records from offset from on, and sets b.Next, above
	// from, to where to go on. At the end of the partition it waits, without
	// polling, for what is appended. Before the first or after the next offset
	// the error is an [OffsetError]. Read may return fewer records than there
	// are. Offsets that were compacted away are left out; b.Records is empty
	// where that is all up to b.Next.
	Read(ctx context.Context, p Partition, from int64, b *Batch) error
	// Commit stores where a group goes on. All or nothing.
	Commit(ctx context.Context, group string, offsets map[Partition]Offset) error
	// Committed returns what was last stored for a group; empty for a group
	// that is not known.
	Committed(ctx context.Context, group string) (map[Partition]Offset, error)
	// Close ends all calls with [ErrClosed]. It may be repeated.
	Close() error
}

// A Transactor is a [Log] that can commit records of several partitions together
// with the offsets they were made from, which is what makes processing exactly
// once. Where an engine lacks it, results have to be idempotent.
type Transactor interface {
	Log
	// Transact does all of tx or nothing, and returns the offset of the first
	// record of each of tx.Appends. An epoch that was overtaken makes it
	// [ErrStale].
	Transact(ctx context.Context, tx *Tx) (firsts []int64, err error)
}

// A Tx is what is committed in one step. Group may be empty if there are no
// Offsets.
type Tx struct {
	Group   string
	Offsets map[Partition]Offset
	Appends []Append
}

// An Append is a batch for one partition of a [Tx].
type Append struct {
	Partition Partition
	Records   []Record
}

// A Batch receives records from Read. The zero Batch is ready; using one again
// saves allocation. Records and all they point to are valid until the next Read
// into the same batch. It is not safe for concurrent use.
type Batch struct {
	// MaxBytes limits about how much one Read returns; at least one record, or
	// what was appended with it, is. Default 512 KiB.
	MaxBytes int
	// Records is what was read, in rising order of offsets.
	Records []Record
	// Next is the offset at which to go on.
	Next int64
	// Buffer is the engine's, to hold what Records point to.
	Buffer []byte

	hint    hint
	headers []Header
}

func (b *Batch) limit() int {
	if b.MaxBytes <= 0 {
		return 512 << 10
	}
	return b.MaxBytes
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.headers)
	b.Records, b.headers, b.Next = b.Records[:0], b.headers[:0], 0
}

// Tail yields the records of a partition from offset from on, and waits for more
// when there are none, until ctx ends, which it reports as the last error. Each
// record is valid until the next one. Damage is reported and, if the loop goes
// on, skipped; other errors end the loop.
func Tail(ctx context.Context, l Log, p Partition, from int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var b Batch
		for {
			err := l.Read(ctx, p, from, &b)
			var damage *DamageError
			if errors.As(err, &damage) && damage.To > from {
				if !yield(Record{}, err) {
					return
				}
				from = damage.To
				continue
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range b.Records {
				if !yield(r, nil) {
					return
				}
			}
			from = b.Next
		}
	}
}

// Scan yields the records of a partition in [from, to), as [Tail] does, and ends.
// It waits for records below to that are not written yet; take to from
// [Log.Bounds] to read what is there.
func Scan(ctx context.Context, l Log, p Partition, from, to int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var b Batch
		for from < to {
			err := l.Read(ctx, p, from, &b)
			var damage *DamageError
			if errors.As(err, &damage) && damage.To > from {
				if !yield(Record{}, err) {
					return
				}
				from = damage.To
				continue
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range b.Records {
				if r.Offset >= to || !yield(r, nil) {
					return
				}
			}
			from = b.Next
		}
	}
}

// sortedPartitions returns the keys of m in order.
func sortedPartitions[V any](m map[Partition]V) []Partition {
	keys := make([]Partition, 0, len(m))
	for p := range m {
		keys = append(keys, p)
	}
	slices.SortFunc(keys, Partition.Compare)
	return keys
}

// noTime stands for the zero Time. UnixNano reaches the years 1678 to 2262;
// times outside are moved to the nearer end.
const noTime = math.MinInt64

func toNanos(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	switch {
	case t.Before(firstTime):
		return noTime + 1
	case t.After(lastTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// The ends of what nanoseconds since 1970 reach.
var (
	firstTime = time.Unix(0, noTime+1)
	lastTime  = time.Unix(0, math.MaxInt64)
)

func fromNanos(ns int64) time.Time {
	if ns == noTime {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
