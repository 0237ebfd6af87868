package nats

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ashlar-go/ashlar/stream"
)

// Options configures [Dial]. Nil, and a zero field, mean the default.
type Options struct {
	// Prefix names the log: its stream has this name, and the stream's subjects
	// begin with it. Letters, digits, '_' and '-'. Default "ashlar".
	Prefix string
	// Replicas is on how many servers the stream is kept, if Dial makes it: 1, 3
	// or 5. Default 1.
	Replicas int
	// Memory keeps the stream in the servers' memory, if Dial makes it.
	Memory bool
	// MaxBatch is the largest batch in bytes as stored, at most the servers'
	// max_payload less 1 KiB, which is the default. A larger Append is
	// [stream.ErrTooLarge].
	MaxBatch int
	// Timeout ends a request that the servers have not answered for so long, and
	// however often it was repeated, with an error that wraps
	// [context.DeadlineExceeded]. Default 1 minute, at least 1 second.
	Timeout time.Duration
	// Client adds options to the connection: TLS, credentials, handlers.
	Client []natsgo.Option
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Prefix == "" {
		c.Prefix = "ashlar"
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	switch {
	case !plain(c.Prefix) || len(c.Prefix) > maxName:
		return c, fmt.Errorf("%w: Options.Prefix %q", stream.ErrInvalid, c.Prefix)
	case c.Replicas < 1 || c.Replicas > 5:
		return c, fmt.Errorf("%w: %d replicas", stream.ErrInvalid, c.Replicas)
	case c.MaxBatch < 0:
		return c, fmt.Errorf("%w: Options.MaxBatch is %d", stream.ErrInvalid, c.MaxBatch)
	case c.Timeout < time.Second:
		return c, fmt.Errorf("%w: Options.Timeout is %v", stream.ErrInvalid, c.Timeout)
	}
	return c, nil
}

// A Log is a [stream.Transactor] in a JetStream stream. It is safe for concurrent
// use by multiple goroutines. It has goroutines while appends are under way, and
// those of its connection; Close ends them all.
type Log struct {
	opts   Options
	id     string // random, of this Log
	nc     *natsgo.Conn
	js     jetstream.JetStream
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.Mutex
	link     context.Context // ends when the connection breaks
	closed   bool
	wg       sync.WaitGroup // calls and goroutines
	topics   map[string]*topic
	lanes    map[stream.Partition]*lane
	groups   map[string]*group
	watchers map[stream.Partition]*watcher
	calls    uint64 // numbers the ids of messages
}

var _ stream.Transactor = (*Log)(nil)

// Dial connects to a server by its address, or to a cluster by some of its
// servers' addresses, separated by commas:
//
//	nats://10.0.0.1:4222,nats://10.0.0.2:4222
//
// It makes the log's stream if it is not there.
func Dial(ctx context.Context, url string, o *Options) (*Log, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &Log{
		opts: opts, id: randomID(),
		topics: map[string]*topic{}, lanes: map[stream.Partition]*lane{}, groups: map[string]*group{},
		watchers: map[stream.Partition]*watcher{},
	}
	l.nc, err = natsgo.Connect(url, append([]natsgo.Option{
		natsgo.Name("ashlar"), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(100 * time.Millisecond),
		natsgo.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond), natsgo.PingInterval(5 * time.Second), natsgo.MaxPingsOutstanding(2),
		natsgo.ErrorHandler(func(*natsgo.Conn, *natsgo.Subscription, error) {}), // else they are printed
	}, opts.Client...)...)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	most := int(l.nc.MaxPayload()) - overhead
	if l.opts.MaxBatch == 0 {
		l.opts.MaxBatch = most
	}
	if l.opts.MaxBatch > most || most < minBatch {
		l.nc.Close()
		return nil, fmt.Errorf("%w: Options.MaxBatch is %d, the servers take %d", stream.ErrInvalid, l.opts.MaxBatch, most)
	}
	if l.js, err = jetstream.New(l.nc); err != nil {
		l.nc.Close()
		return nil, fmt.Errorf("nats: %w", err)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Add(1)
	go l.followLink(l.nc.StatusChanged(natsgo.RECONNECTING, natsgo.DISCONNECTED), l.newLink())
	if err := l.ensureStream(ctx); err != nil {
		_ = l.Close() // the other error is the one to tell
		return nil, err
	}
	return l, nil
}

const (
	overhead = 1 << 10 // bytes for subject and headers of a message
	minBatch = 1 << 10
)

// ensureStream makes the stream, or checks that the one that is there will do.
func (l *Log) ensureStream(ctx context.Context) error {
	storage := jetstream.FileStorage
	if l.opts.Memory {
		storage = jetstream.MemoryStorage
	}
	want := jetstream.StreamConfig{
		Name: l.opts.Prefix, Description: "log of github.com/ashlar-go/ashlar/adapters/nats",
		Subjects: []string{l.opts.Prefix + ".>"}, Storage: storage, Replicas: l.opts.Replicas,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		Duplicates:  max(2*time.Minute, 2*l.opts.Timeout), // repeated messages are recognised for longer than they are repeated
		AllowDirect: true, AllowRollup: true, AllowMsgTTL: true, AllowAtomicPublish: true,
	}
	return l.repeat(ctx, func(ctx context.Context) error {
		s, err := l.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = l.js.CreateStream(ctx, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by another Dial, a moment ago
				s, err = l.js.Stream(ctx, want.Name)
			}
		}
		if err != nil {
			return fmt.Errorf("nats: stream %q: %w", want.Name, err)
		}
		c := s.CachedInfo().Config
		if !c.AllowDirect || !c.AllowRollup || !c.AllowMsgTTL || !c.AllowAtomicPublish || c.MaxMsgsPerSubject > 0 ||
			c.Duplicates < l.opts.Timeout {
			return fmt.Errorf("%w: stream %q is there and lacks settings of a log", stream.ErrInvalid, want.Name)
		}
		return nil
	})
}

// Close implements [stream.Log]. What was not acknowledged may or may not be
// stored.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	if first {
		for _, w := range l.watchers { // nobody waits any more
			w.stop()
		}
		l.nc.Close()
	}
	return nil
}

// enter begins a call: the context it returns ends with ctx and with the log.
// leave must be called with the call's error, and returns what to tell.
func (l *Log) enter(ctx context.Context) (c context.Context, leave func(error) error, err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, nil, stream.ErrClosed
	}
	l.wg.Add(1)
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		l.wg.Done()
		return nil, nil, err
	}
	c, cancel := context.WithCancel(ctx)
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

// newLink returns what ends the link, which is a new one.
func (l *Log) newLink() context.CancelFunc {
	l.mu.Lock()
	defer l.mu.Unlock()
	var end context.CancelFunc
	l.link, end = context.WithCancel(l.ctx)
	return end
}

// followLink ends the link whenever the connection breaks, so that requests whose
// answers are lost with it are repeated at once. It runs until the log is closed.
func (l *Log) followLink(broken chan natsgo.Status, end context.CancelFunc) {
	defer l.wg.Done()
	defer func() { end() }()
	defer l.nc.RemoveStatusListener(broken)
	for {
		select {
		case <-broken:
			end()
			end = l.newLink()
		case <-l.ctx.Done():
			return
		}
	}
}

// tryTime is how long one request may take; then it is repeated, maybe with
// another leader.
const tryTime = 2 * time.Second

// repeat calls ask until it succeeds, fails for good, or [Options.Timeout] is
// over.
func (l *Log) repeat(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	var back backoff
	for {
		l.mu.Lock()
		link := l.link
		l.mu.Unlock()
		one, stop := context.WithTimeout(ctx, tryTime)
		unlink := context.AfterFunc(link, stop)
		err := ask(one)
		unlink()
		stop()
		if err == nil || !retriable(err) && !errors.Is(err, context.Canceled) {
			return err
		}
		if e := back.wait(ctx); e != nil {
			return fmt.Errorf("nats: no answer: %w: %v", e, err)
		}
	}
}

// retriable reports whether asking again may help: leaders change, servers stop
// and start. Whether the caller's context has ended is for the wait before that
// to find out.
func retriable(err error) bool {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, errLater):
		return true
	case errors.As(err, &api):
		return api.Code >= 500 || api.Code == 429 || api.ErrorCode == errDuplicateInProcess || api.ErrorCode == errIncompleteBatch
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, natsgo.ErrTimeout), errors.Is(err, natsgo.ErrNoResponders),
		errors.Is(err, natsgo.ErrDisconnected), errors.Is(err, natsgo.ErrConnectionReconnecting),
		errors.Is(err, natsgo.ErrReconnectBufExceeded), errors.Is(err, jetstream.ErrNoStreamResponse):
		return true
	}
	return false
}

// errLater is the cause of a request that is to be repeated.
var errLater = errors.New("nats: not yet")

// Codes of the servers' errors.
const (
	errNoMessage          = 10037
	errTooLarge           = 10054
	errWrongLast          = 10071
	errDuplicateInProcess = 10158
	errWrongLastConstant  = 10164
	errIncompleteBatch    = 10176
)

// plain reports whether s can stand in a subject and in a stream's name.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// token returns a name as it stands in a subject: itself if it can, else in
// base 64 behind '='.
func token(name string) string {
	if plain(name) {
		return name
	}
	return "=" + base64.RawURLEncoding.EncodeToString([]byte(name))
}
