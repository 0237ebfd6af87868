package kafka

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ashlar-go/ashlar/stream"
)

// Options configures [Dial]. Nil, and a zero field, mean the default.
type Options struct {
	// Prefix stands before the names of all topics, groups and transactional
	// ids, so that several logs can share a cluster. Letters, digits, '.', '_'
	// and '-'. Default: none.
	Prefix string
	// Replicas is the replication factor of topics that CreateTopic makes.
	// Default: the cluster's default.replication.factor.
	Replicas int
	// MinInSync is min.insync.replicas of topics that CreateTopic makes: how many
	// replicas have a record when it is acknowledged, at least. Default: the
	// cluster's, but 2 if Replicas is 3 or more.
	MinInSync int
	// MaxBatch is the largest batch in bytes, before compression; it must not be
	// above the cluster's message.max.bytes. A larger Append is
	// [stream.ErrTooLarge]. Default 1,000,000.
	MaxBatch int
	// Compression names codecs for batches, the best first. Default: none.
	Compression []kgo.CompressionCodec
	// Timeout ends a call for which the cluster has not answered for so long,
	// however often it was asked, with an error that wraps
	// [context.DeadlineExceeded]. A transaction that was left open blocks readers
	// for half of it, and for the 10 s in which brokers look for such; so a call
	// outlasts that. Default 1 minute, at least 1 second.
	Timeout time.Duration
	// Client adds options to the clients that are made: TLS, SASL, logging,
	// dialing.
	Client []kgo.Opt
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.MinInSync == 0 && c.Replicas >= 3 {
		c.MinInSync = 2
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 1_000_000
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	switch {
	case strings.ContainsFunc(c.Prefix, notName):
		return c, fmt.Errorf("%w: Options.Prefix %q", stream.ErrInvalid, c.Prefix)
	case c.Replicas < 0 || c.Replicas > math.MaxInt16 || c.MinInSync < 0 || c.Replicas > 0 && c.MinInSync > c.Replicas:
		return c, fmt.Errorf("%w: %d replicas, %d of them in sync", stream.ErrInvalid, c.Replicas, c.MinInSync)
	case c.MaxBatch < batchHeader || c.MaxBatch > 1<<30:
		return c, fmt.Errorf("%w: Options.MaxBatch is %d", stream.ErrInvalid, c.MaxBatch)
	case c.Timeout < time.Second:
		return c, fmt.Errorf("%w: Options.Timeout is %v", stream.ErrInvalid, c.Timeout)
	}
	return c, nil
}

// A Log is a [stream.Transactor] on a Kafka cluster. It is safe for concurrent
// use by multiple goroutines. It has goroutines while appends, commits or waiting
// reads are under way, and those of its clients; Close ends them all.
type Log struct {
	opts         Options
	id           string // random, of this Log
	cl           *kgo.Client
	compressor   kgo.Compressor
	decompressor kgo.Decompressor
	ctx          context.Context // ends with Close
	cancel       context.CancelFunc
	wait         *waiting

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup // calls and goroutines
	topics map[string]*topic
	lanes  map[stream.Partition]*lane
	groups map[string]*group
	ahead  []ahead
}

var _ stream.Transactor = (*Log)(nil)

// Dial connects to a cluster by the addresses, host:port, of some of its brokers.
// It returns when one has answered.
func Dial(ctx context.Context, brokers []string, o *Options) (*Log, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(brokers) == 0 {
		return nil, fmt.Errorf("%w: no brokers", stream.ErrInvalid)
	}
	l := &Log{
		opts: opts, id: randomID(), decompressor: kgo.DefaultDecompressor(),
		topics: map[string]*topic{}, lanes: map[stream.Partition]*lane{}, groups: map[string]*group{},
	}
	if l.compressor, err = kgo.DefaultCompressor(slices.Clone(opts.Compression)...); err != nil {
		return nil, fmt.Errorf("%w: %v", stream.ErrInvalid, err)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	newClient := func() (*kgo.Client, error) {
		// Requests name topics, not ids, and end transactions as brokers before
		// 4.0 do: one way of talking that old and new brokers understand.
		versions := kversion.Stable()
		versions.SetMaxKeyVersion(kmsg.Produce.Int16(), 11)
		versions.SetMaxKeyVersion(kmsg.Fetch.Int16(), 12)
		versions.SetMaxKeyVersion(kmsg.OffsetFetch.Int16(), 9)
		versions.SetMaxKeyVersion(kmsg.AddPartitionsToTxn.Int16(), 3)
		versions.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
		versions.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
		return kgo.NewClient(append([]kgo.Opt{
			kgo.SeedBrokers(brokers...), kgo.ClientID("ashlar"), kgo.MaxVersions(versions),
			kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableClientMetrics(), kgo.RetryTimeout(max(time.Second, opts.Timeout/4)),
		}, opts.Client...)...)
	}
	l.wait = &waiting{l: l, newClient: newClient, brokers: map[int32]*brokerWaits{}}
	if l.cl, err = newClient(); err != nil {
		l.cancel()
		return nil, fmt.Errorf("%w: %v", stream.ErrInvalid, err)
	}
	if err := l.cl.Ping(ctx); err != nil {
		_ = l.Close() // the error of Ping is the one to tell
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("kafka: no broker of %v answers: %w", brokers, err)
	}
	return l, nil
}

// Close implements [stream.Log]. What was not acknowledged may or may not be
// stored; an open transaction is left to the cluster, which aborts it after
// half of [Options.Timeout] or when the group's next committer comes.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	if first {
		l.wait.close()
		if l.cl != nil {
			l.cl.Close()
		}
	}
	return nil
}

// enter begins a call: the context it returns ends with ctx and with the log.
// leave must be called with the call's error, and returns what to tell. A call that
// is brief also ends after [Options.Timeout].
func (l *Log) enter(ctx context.Context, brief bool) (c context.Context, leave func(error) error, err error) {
	if err := l.hold(); err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		l.wg.Done()
		return nil, nil, err
	}
	timeout := time.Duration(math.MaxInt64)
	if brief {
		timeout = l.opts.Timeout
	}
	c, cancel := context.WithTimeout(ctx, timeout)
	stop := context.AfterFunc(l.ctx, cancel)
	return c, func(err error) error {
		stop()
		cancel()
		l.wg.Done()
		switch {
		case err == nil:
			return nil
		case l.ctx.Err() != nil:
			return stream.ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return err
	}, nil
}

// hold keeps Close waiting until wg.Done.
func (l *Log) hold() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return stream.ErrClosed
	}
	l.wg.Add(1)
	return nil
}

func randomID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// A backoff waits longer from time to time, up to half a second.
type backoff struct{ n int }

func (b *backoff) wait(ctx context.Context) error {
	d := min(5*time.Millisecond<<min(b.n, 10), 500*time.Millisecond)
	b.n++
	t := time.NewTimer(d/2 + mathrand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// codeErr returns the error for a response's code, as the house calls it.
func codeErr(code int16, what fmt.Stringer) error {
	err := kerr.ErrorForCode(code)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("%w: partition %v", stream.ErrNotFound, what)
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.OffsetMetadataTooLarge):
		return fmt.Errorf("%w: %v: %v", stream.ErrTooLarge, what, err)
	case errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.InvalidTimestamp):
		return fmt.Errorf("%w: %v: %v", stream.ErrInvalid, what, err)
	}
	return fmt.Errorf("kafka: %v: %w", what, err)
}
