package nats

import (
	"context"
	"errors"

	"github.com/ashlar-go/ashlar/stream"
)

// Options configures [Dial]. Nil, and a zero field, mean the default.
type Options struct {
	// Prefix stands before the names of all topics and groups.
	Prefix string
}

// A Log is a [stream.Transactor] on servers.
type Log struct{}

var _ stream.Transactor = (*Log)(nil)

var errTodo = errors.New("nats: not written yet")

// CreateTopic implements [stream.Log].
func (l *Log) CreateTopic(ctx context.Context, name string, o *stream.TopicOptions) error {
	return errTodo
}

// Topic implements [stream.Log].
func (l *Log) Topic(ctx context.Context, name string) (stream.TopicOptions, error) {
	return stream.TopicOptions{}, errTodo
}

// Append implements [stream.Log].
func (l *Log) Append(ctx context.Context, p stream.Partition, records []stream.Record) (int64, error) {
	return 0, errTodo
}

// Bounds implements [stream.Log].
func (l *Log) Bounds(ctx context.Context, p stream.Partition) (first, next int64, err error) {
	return 0, 0, errTodo
}

// Read implements [stream.Log].
func (l *Log) Read(ctx context.Context, p stream.Partition, from int64, b *stream.Batch) error {
	return errTodo
}

// Commit implements [stream.Log].
func (l *Log) Commit(ctx context.Context, group string, offsets map[stream.Partition]stream.Offset) error {
	return errTodo
}

// Committed implements [stream.Log].
func (l *Log) Committed(ctx context.Context, group string) (map[stream.Partition]stream.Offset, error) {
	return nil, errTodo
}

// Transact implements [stream.Transactor].
func (l *Log) Transact(ctx context.Context, tx *stream.Tx) ([]int64, error) { return nil, errTodo }

// Close implements [stream.Log].
func (l *Log) Close() error { return nil }

// Dial connects to a server or, by the comma-separated addresses in url, to one of several.
func Dial(ctx context.Context, url string, o *Options) (*Log, error) { return nil, errTodo }
