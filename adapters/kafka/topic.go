package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/stream"
)

// A topic is what is known of one. It is replaced, never changed.
type topic struct {
	leaders []int32 // of each partition; -1: none now
	compact bool
}

const (
	maxPartitions = 1 << 16
	maxTopic      = 249 // bytes of a name, with the prefix
	maxGroup      = 255
)

func notName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}

// escape stands before names that Kafka does not allow, which follow in base 64,
// and before those that begin with it.
const escape = "ashlar-name."

// full returns the name of a topic in the cluster.
func (l *Log) full(name string) string {
	if strings.HasPrefix(name, escape) || strings.ContainsFunc(name, notName) || l.opts.Prefix == "" && (name == "." || name == "..") {
		name = escape + base64.RawURLEncoding.EncodeToString([]byte(name))
	}
	return l.opts.Prefix + name
}

// short undoes full, for names that are of this log.
func (l *Log) short(full string) (name string, ok bool) {
	if name, ok = strings.CutPrefix(full, l.opts.Prefix); !ok {
		return "", false
	}
	if code, ok := strings.CutPrefix(name, escape); ok {
		b, err := base64.RawURLEncoding.DecodeString(code)
		return string(b), err == nil
	}
	return name, true
}

func (l *Log) checkTopic(name string) error {
	switch full := l.full(name); {
	case name == "":
		return fmt.Errorf("%w: empty name of a topic", stream.ErrInvalid)
	case len(full) > maxTopic:
		return fmt.Errorf("%w: name of a topic has %d bytes, above %d", stream.ErrTooLarge, len(full), maxTopic)
	}
	return nil
}

// CreateTopic implements [stream.Log]. The topic's settings are described in the
// package comment.
func (l *Log) CreateTopic(ctx context.Context, name string, o *stream.TopicOptions) error {
	c, leave, err := l.enter(ctx, true)
	if err != nil {
		return err
	}
	return leave(l.createTopic(c, name, o))
}

func (l *Log) createTopic(ctx context.Context, name string, o *stream.TopicOptions) error {
	if err := l.checkTopic(name); err != nil {
		return err
	}
	full := l.full(name)
	var want stream.TopicOptions
	if o != nil {
		want = *o
	}
	if want.Partitions == 0 {
		want.Partitions = 1
	}
	if want.TombstoneKeep == 0 {
		want.TombstoneKeep = 24 * time.Hour
	}
	switch {
	case want.Partitions < 1 || want.Partitions > maxPartitions:
		return fmt.Errorf("%w: %d partitions, want 1 to %d", stream.ErrInvalid, want.Partitions, maxPartitions)
	case want.Retention < 0, want.RetainBytes < 0, want.TombstoneKeep < 0:
		return fmt.Errorf("%w: a limit of the topic is negative", stream.ErrInvalid)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = full, int32(want.Partitions), -1
	if l.opts.Replicas > 0 {
		t.ReplicationFactor = int16(l.opts.Replicas)
	}
	for _, kv := range l.topicConfigs(want) {
		cfg := kmsg.NewCreateTopicsRequestTopicConfig()
		cfg.Name, cfg.Value = kv[0], kmsg.StringPtr(kv[1])
		t.Configs = append(t.Configs, cfg)
	}
	req.Topics = append(req.Topics, t)
	var again backoff
	for {
		resp, err := req.RequestWith(ctx, l.cl)
		if err != nil {
			if !retriable(err) {
				return fmt.Errorf("kafka: creating topic %q: %w", name, err)
			}
			if e := again.wait(ctx); e != nil {
				return fmt.Errorf("kafka: creating topic %q: %w: %v", name, e, err)
			}
			continue
		}
		if len(resp.Topics) != 1 {
			return fmt.Errorf("kafka: creating topic %q: no answer", name)
		}
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		switch {
		case err == nil:
		case errors.Is(err, kerr.TopicAlreadyExists):
			have, err := l.topicOptions(ctx, name)
			if errors.Is(err, stream.ErrNotFound) { // it was made a moment ago, or just deleted
				if err := again.wait(ctx); err != nil {
					return err
				}
				continue
			}
			if err == nil && have != roundUp(want) {
				err = fmt.Errorf("%w: %s", stream.ErrExists, name)
			}
			return err
		case kerr.IsRetriable(err):
			if err := again.wait(ctx); err != nil {
				return err
			}
			continue
		case errors.Is(err, kerr.InvalidTopicException), errors.Is(err, kerr.InvalidConfig),
			errors.Is(err, kerr.InvalidPartitions), errors.Is(err, kerr.InvalidReplicationFactor):
			return fmt.Errorf("%w: topic %q: %v", stream.ErrInvalid, name, err)
		default:
			return fmt.Errorf("kafka: creating topic %q: %w", name, err)
		}
		break
	}
	// Wait until it is there and every partition has a leader.
	for {
		t, err := l.loadTopic(ctx, name)
		if err == nil && len(t.leaders) == want.Partitions && !slices.Contains(t.leaders, -1) {
			return nil
		}
		if err != nil && !errors.Is(err, stream.ErrNotFound) && !retriable(err) {
			return err
		}
		if err := again.wait(ctx); err != nil {
			return err
		}
	}
}

const forEver = "-1"

func millis(d time.Duration) int64 {
	return int64(min(d, math.MaxInt64-time.Millisecond)+time.Millisecond-1) / int64(time.Millisecond)
}

// roundUp returns o as Kafka keeps it: whole milliseconds.
func roundUp(o stream.TopicOptions) stream.TopicOptions {
	o.Retention = time.Duration(millis(o.Retention)) * time.Millisecond
	o.TombstoneKeep = time.Duration(millis(o.TombstoneKeep)) * time.Millisecond
	return o
}

func (l *Log) topicConfigs(o stream.TopicOptions) [][2]string {
	policy, retention, bytes := "delete", forEver, forEver
	if o.Retention > 0 {
		retention = strconv.FormatInt(millis(o.Retention), 10)
	}
	if o.RetainBytes > 0 {
		bytes = strconv.FormatInt(o.RetainBytes, 10)
	}
	if o.Compact {
		policy = "compact"
		if o.Retention > 0 || o.RetainBytes > 0 {
			policy = "compact,delete"
		}
	}
	configs := [][2]string{
		{"cleanup.policy", policy},
		{"retention.ms", retention},
		{"retention.bytes", bytes},
		{"delete.retention.ms", strconv.FormatInt(millis(o.TombstoneKeep), 10)},
		{"message.timestamp.type", "CreateTime"},
	}
	if l.opts.MinInSync > 0 {
		configs = append(configs, [2]string{"min.insync.replicas", strconv.Itoa(l.opts.MinInSync)})
	}
	return configs
}

// Topic implements [stream.Log]: what the cluster has, whoever made the topic.
func (l *Log) Topic(ctx context.Context, name string) (stream.TopicOptions, error) {
	c, leave, err := l.enter(ctx, true)
	if err != nil {
		return stream.TopicOptions{}, err
	}
	o, err := l.topicOptions(c, name)
	return o, leave(err)
}

func (l *Log) topicOptions(ctx context.Context, name string) (o stream.TopicOptions, err error) {
	var again backoff
	for {
		t, err := l.loadTopic(ctx, name)
		if err == nil {
			o, err = l.describe(ctx, l.full(name))
			o.Partitions = len(t.leaders)
		}
		if err == nil || !retriable(err) {
			return o, err
		}
		if err := again.wait(ctx); err != nil {
			return o, err
		}
	}
}

// describe returns the options that a topic's settings stand for.
func (l *Log) describe(ctx context.Context, full string) (o stream.TopicOptions, err error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, full
	r.ConfigNames = []string{"cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms"}
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, l.cl)
	if err != nil {
		return o, fmt.Errorf("kafka: settings of topic %q: %w", full, err)
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); errors.Is(err, kerr.UnknownTopicOrPartition) {
			return o, fmt.Errorf("%w: topic %q", stream.ErrNotFound, full)
		} else if err != nil {
			return o, fmt.Errorf("kafka: settings of topic %q: %w", full, err)
		}
		deletes := false
		for _, c := range r.Configs {
			if c.Value == nil {
				continue
			}
			if c.Name == "cleanup.policy" {
				for p := range strings.SplitSeq(*c.Value, ",") {
					o.Compact = o.Compact || p == "compact"
					deletes = deletes || p == "delete"
				}
				continue
			}
			n, err := strconv.ParseInt(*c.Value, 10, 64)
			if err != nil {
				return o, fmt.Errorf("kafka: topic %q: %s is %q", full, c.Name, *c.Value)
			}
			n = max(n, 0) // below 0: for ever
			d := time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
			switch c.Name {
			case "retention.ms":
				o.Retention = d
			case "retention.bytes":
				o.RetainBytes = n
			case "delete.retention.ms":
				o.TombstoneKeep = d
			}
		}
		if !deletes {
			o.Retention, o.RetainBytes = 0, 0
		}
	}
	return o, nil
}

// loadTopic asks the cluster for a topic's leaders.
func (l *Log) loadTopic(ctx context.Context, name string) (*topic, error) {
	if err := l.checkTopic(name); err != nil {
		return nil, fmt.Errorf("%w: %v", stream.ErrNotFound, err) // it cannot be there
	}
	full := l.full(name)
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(full)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, l.cl)
	if err != nil {
		return nil, fmt.Errorf("kafka: metadata of topic %q: %w", name, err)
	}
	if len(resp.Topics) != 1 {
		return nil, fmt.Errorf("kafka: metadata of topic %q: no answer", name)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); errors.Is(err, kerr.UnknownTopicOrPartition) {
		l.mu.Lock()
		delete(l.topics, name)
		l.mu.Unlock()
		return nil, fmt.Errorf("%w: topic %q", stream.ErrNotFound, name)
	} else if err != nil {
		return nil, fmt.Errorf("kafka: metadata of topic %q: %w", name, err)
	}
	t := &topic{leaders: make([]int32, len(resp.Topics[0].Partitions))}
	for i := range t.leaders {
		t.leaders[i] = -1
	}
	for _, p := range resp.Topics[0].Partitions {
		if int(p.Partition) < len(t.leaders) && p.ErrorCode != kerr.LeaderNotAvailable.Code {
			t.leaders[p.Partition] = p.Leader
		}
	}
	l.mu.Lock()
	old := l.topics[name]
	l.mu.Unlock()
	if old != nil {
		t.compact = old.compact
	} else if o, err := l.describe(ctx, full); err != nil {
		return nil, err
	} else {
		t.compact = o.Compact
	}
	l.mu.Lock()
	l.topics[name] = t
	l.mu.Unlock()
	return t, nil
}

// find returns the topic of a partition that exists, and its leader, asking the
// cluster if nothing is known or if fresh is set.
func (l *Log) find(ctx context.Context, p stream.Partition, fresh bool) (*topic, int32, error) {
	l.mu.Lock()
	t := l.topics[p.Topic]
	l.mu.Unlock()
	if t == nil || fresh || p.Number >= len(t.leaders) || p.Number >= 0 && t.leaders[p.Number] < 0 {
		known := t != nil
		var err error
		// A broker that has just started may not know a topic yet.
		for again := (backoff{}); ; {
			t, err = l.loadTopic(ctx, p.Topic)
			if !known || !errors.Is(err, stream.ErrNotFound) || again.n > 6 {
				break
			}
			if err := again.wait(ctx); err != nil {
				return nil, -1, err
			}
		}
		if err != nil {
			return nil, -1, err
		}
	}
	if p.Number < 0 || p.Number >= len(t.leaders) {
		return nil, -1, fmt.Errorf("%w: partition %v", stream.ErrNotFound, p)
	}
	return t, t.leaders[p.Number], nil
}

// retriable reports whether asking again may help: brokers move, start and stop.
// Whether the caller's context has ended is for the wait before that to find out;
// the error cannot tell, since net's timeouts look the same.
func retriable(err error) bool {
	var ke *kerr.Error
	switch {
	case errors.Is(err, stream.ErrNotFound), errors.Is(err, stream.ErrInvalid), errors.Is(err, stream.ErrTooLarge),
		errors.Is(err, stream.ErrCorrupt), errors.Is(err, kgo.ErrClientClosed):
		return false
	case errors.Is(err, kerr.ConcurrentTransactions): // the one before is being completed
		return true
	case errors.As(err, &ke):
		return ke.Retriable
	}
	return true // of the connection
}
