package nats

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ashlar-go/ashlar/stream"
)

const (
	maxPartitions = 1 << 16
	maxName       = 255 // bytes of a topic's or group's name
)

// A topic's options stand in the last message of the subject PREFIX.t.TOPIC. They
// are set once and never change.
type topic struct {
	Version       int           `json:"v"`
	Partitions    int           `json:"partitions"`
	Retention     time.Duration `json:"retention,omitempty"`
	RetainBytes   int64         `json:"retain_bytes,omitempty"`
	Compact       bool          `json:"compact,omitempty"`
	TombstoneKeep time.Duration `json:"tombstone_keep"`
}

func (t *topic) options() stream.TopicOptions {
	return stream.TopicOptions{
		Partitions: t.Partitions, Retention: t.Retention, RetainBytes: t.RetainBytes, Compact: t.Compact,
		TombstoneKeep: t.TombstoneKeep,
	}
}

func readTopic(b []byte) (*topic, error) {
	t := &topic{}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("%w: options of a topic: %v", stream.ErrCorrupt, err)
	}
	switch {
	case t.Version != 1:
		return nil, fmt.Errorf("%w: options of a topic of version %d", stream.ErrVersion, t.Version)
	case t.Partitions < 1 || t.Partitions > maxPartitions || t.Retention < 0 || t.RetainBytes < 0 || t.TombstoneKeep < 0:
		return nil, fmt.Errorf("%w: options of a topic: %s", stream.ErrCorrupt, b)
	}
	return t, nil
}

func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%w: empty name of a %s", stream.ErrInvalid, what)
	}
	if len(name) > maxName {
		return fmt.Errorf("%w: name of a %s has %d bytes, above %d", stream.ErrTooLarge, what, len(name), maxName)
	}
	return nil
}

func (l *Log) topicSubject(name string) string { return l.opts.Prefix + ".t." + token(name) }

// subject is where the records of a partition are published; in a compacted topic
// the key's token follows.
func (l *Log) subject(p stream.Partition) string {
	return l.opts.Prefix + ".r." + token(p.Topic) + "." + strconv.Itoa(p.Number)
}

// keyToken returns what stands for a key in a subject: equal keys have equal
// tokens, and others have others.
func keyToken(key []byte) string {
	if len(key) <= 64 {
		return base64.RawURLEncoding.EncodeToString(key)
	}
	sum := sha256.Sum256(key)
	return "=" + hex.EncodeToString(sum[:])
}

// filter is what selects the records of a partition.
func (l *Log) filter(t *topic, p stream.Partition) string {
	if t.Compact {
		return l.subject(p) + ".*"
	}
	return l.subject(p)
}

// CreateTopic implements [stream.Log].
func (l *Log) CreateTopic(ctx context.Context, name string, o *stream.TopicOptions) error {
	c, leave, err := l.enter(ctx)
	if err != nil {
		return err
	}
	return leave(l.createTopic(c, name, o))
}

func (l *Log) createTopic(ctx context.Context, name string, o *stream.TopicOptions) error {
	if err := checkName("topic", name); err != nil {
		return err
	}
	t := &topic{Version: 1, Partitions: 1}
	if o != nil {
		t = &topic{1, o.Partitions, o.Retention, o.RetainBytes, o.Compact, o.TombstoneKeep}
	}
	if t.Partitions == 0 {
		t.Partitions = 1
	}
	if t.TombstoneKeep == 0 {
		t.TombstoneKeep = 24 * time.Hour
	}
	switch {
	case t.Partitions < 1 || t.Partitions > maxPartitions:
		return fmt.Errorf("%w: %d partitions, want 1 to %d", stream.ErrInvalid, t.Partitions, maxPartitions)
	case t.Retention < 0, t.RetainBytes < 0, t.TombstoneKeep < 0:
		return fmt.Errorf("%w: a limit of the topic is negative", stream.ErrInvalid)
	}
	body, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return l.repeat(ctx, func(ctx context.Context) error {
		have, err := l.loadTopic(ctx, name)
		if err == nil {
			if *have != *t {
				return fmt.Errorf("%w: %s", stream.ErrExists, name)
			}
			return nil
		}
		if !errors.Is(err, stream.ErrNotFound) {
			return err
		}
		m := natsgo.NewMsg(l.topicSubject(name))
		m.Data = body
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
		_, err = l.publish(ctx, m)
		if wrongLast(err) {
			return errLater // somebody else has made it meanwhile, or this did and the answer was lost
		}
		return err
	})
}

// Topic implements [stream.Log].
func (l *Log) Topic(ctx context.Context, name string) (stream.TopicOptions, error) {
	c, leave, err := l.enter(ctx)
	if err != nil {
		return stream.TopicOptions{}, err
	}
	t, err := l.topic(c, name)
	if err = leave(err); err != nil {
		return stream.TopicOptions{}, err
	}
	return t.options(), nil
}

func (l *Log) topic(ctx context.Context, name string) (*topic, error) {
	l.mu.Lock()
	t := l.topics[name]
	l.mu.Unlock()
	if t != nil {
		return t, nil
	}
	err := l.repeat(ctx, func(ctx context.Context) (err error) {
		t, err = l.loadTopic(ctx, name)
		return err
	})
	return t, err
}

func (l *Log) loadTopic(ctx context.Context, name string) (*topic, error) {
	m, err := l.stored(ctx, msgRequest{LastFor: l.topicSubject(name)})
	if errors.Is(err, errNone) {
		return nil, fmt.Errorf("%w: topic %q", stream.ErrNotFound, name)
	}
	if err != nil {
		return nil, err
	}
	t, err := readTopic(m.Data)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.topics[name] = t
	l.mu.Unlock()
	return t, nil
}

// find returns the topic of a partition that exists.
func (l *Log) find(ctx context.Context, p stream.Partition) (*topic, error) {
	t, err := l.topic(ctx, p.Topic)
	if err != nil {
		return nil, err
	}
	if p.Number < 0 || p.Number >= t.Partitions {
		return nil, fmt.Errorf("%w: partition %v", stream.ErrNotFound, p)
	}
	return t, nil
}
