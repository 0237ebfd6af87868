package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/idem"
)

// IdemOptions are what is not required. The zero value of each field means its default.
type IdemOptions struct {
	// Prefix goes before each key. Default "idem:".
	Prefix string
	// Partitions is into how many parts, each of one hash tag, keys are divided, so that
	// a cluster can spread them. All that use the same prefix have to say the same, for
	// ever. From 1 to 16384, default 64.
	Partitions int
	// Timeout bounds the wait for Redis; a context may bound it more. Default 2 s.
	Timeout time.Duration
}

// An Idem is an [idem.Backend] in Redis: all processes share its keys, and time is the
// server's. It is safe for concurrent use by multiple goroutines. Use [NewIdem], and
// [idem.New] on it.
//
// A step is as durable as the server makes it: with "appendfsync always" it is on the disk
// when the call returns, with the default, everysec, a power cut loses a second, and a
// failover loses what the replica had not yet. A key that is lost so is as new, and its work
// is done again: where that must never be, package idem's Bolt or a database that holds the
// work too is the place. The server must not evict keys: "maxmemory-policy noeviction".
//
// Each call is one script, of one key; Unfinished is one for each partition, and one for each
// key that it finds.
type Idem struct {
	client Client
	o      IdemOptions
	script *script
	closed atomic.Bool
}

var _ idem.Backend = (*Idem)(nil)

// NewIdem returns a backend. Closing it does not close the client.
func NewIdem(c Client, opts *IdemOptions) (*Idem, error) { return newIdem(c, opts, luaClock) }

func newIdem(c Client, opts *IdemOptions, clock string) (*Idem, error) {
	var o IdemOptions
	if opts != nil {
		o = *opts
	}
	if c == nil {
		return nil, fmt.Errorf("%w: no client", ErrInvalid)
	}
	if o.Prefix == "" {
		o.Prefix = "idem:"
	}
	set(&o.Partitions, 64)
	set(&o.Timeout, 2*time.Second)
	if o.Partitions < 1 || o.Partitions > slots || o.Timeout < 0 || strings.ContainsAny(o.Prefix, "{}") {
		return nil, fmt.Errorf("%w: %+v", ErrInvalid, o)
	}
	return &Idem{client: c, o: o, script: newScript(clock + luaIdem)}, nil
}

// part returns what the names of a key's partition begin with.
func (b *Idem) part(i int) string { return b.o.Prefix + "{" + strconv.Itoa(i) + "}" }

// names returns what is kept about a key: its record and the lists of its partition, which
// is the CRC-16 of the key, modulo their number.
func (b *Idem) names(key string) []string {
	p := b.part(int(crc16(key)) % b.o.Partitions)
	return []string{p + "k:" + key, p + "leases", p + "ends"}
}

// do runs the script about a key, and returns what came of it.
func (b *Idem) do(ctx context.Context, key string, args ...string) (string, []idem.Record, error) {
	v, err := b.run(ctx, run{b.names(key), append([]string{args[0], key}, args[1:]...)})
	if err != nil {
		return "", nil, err
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return "", nil, fmt.Errorf("%w: %T", ErrReply, v)
	}
	what, _ := list[0].(string)
	if what == "broken" {
		return "", nil, fmt.Errorf("%w: %q is no record", idem.ErrCorrupt, key)
	}
	recs := make([]idem.Record, len(list)-1)
	for i, v := range list[1:] {
		if recs[i], err = readRecord(key, v); err != nil {
			return "", nil, err
		}
	}
	return what, recs, nil
}

func (b *Idem) run(ctx context.Context, r run) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if b.closed.Load() {
		return nil, idem.ErrClosed
	}
	return answerWithin(ctx, b.o.Timeout, b.client.Heeds(), func(ctx context.Context) (any, error) {
		return b.script.one(ctx, b.client, r)
	})
}

// readRecord reads the fields of lua/idem.lua; none are the zero record.
func readRecord(key string, v any) (rec idem.Record, err error) {
	list, ok := v.([]any)
	if ok && len(list) == 0 {
		return rec, nil
	}
	var f [8]string
	if !ok || len(list) != len(f) {
		return rec, fmt.Errorf("%w: %T of %d, want a record", ErrReply, v, len(list))
	}
	for i, v := range list {
		if f[i], ok = v.(string); !ok {
			return rec, fmt.Errorf("%w: %T in a record", ErrReply, v)
		}
	}
	bad := func(what, text string) (idem.Record, error) {
		return idem.Record{}, fmt.Errorf("%w: %q: %s is %.20q", idem.ErrCorrupt, key, what, text)
	}
	state, err := strconv.ParseUint(f[0], 10, 8)
	if err != nil || state < uint64(idem.Begun) || state > uint64(idem.Released) {
		return bad("state", f[0])
	}
	rec = idem.Record{Key: key, State: idem.State(state)}
	if rec.Token, err = strconv.ParseUint(f[1], 10, 64); err != nil {
		return bad("token", f[1])
	}
	if f[2] != "" {
		rec.Hash = []byte(f[2])
	}
	if f[3] != "" {
		rec.Result = []byte(f[3])
	}
	for i, t := range []*time.Time{&rec.Began, &rec.Lease, &rec.Expires} {
		if text := f[4+i]; text != "" {
			us, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return bad("time", text)
			}
			*t = time.UnixMicro(us).UTC()
		}
	}
	return rec, nil
}

// span is a duration in microseconds, rounded up, and at most what a double holds exactly
// after a sum.
func span(d time.Duration) string {
	return strconv.FormatInt(min(int64(max(0, d-1)/time.Microsecond)+1, int64(math.MaxInt64/time.Microsecond)/4), 10)
}

// Begin implements [idem.Backend]. Durations are rounded up to microseconds. A repetition of
// the client's after a lost answer finds its own attempt, and what that took over.
func (b *Idem) Begin(ctx context.Context, s idem.Start) (rec, before idem.Record, won bool, err error) {
	own := strconv.FormatUint(rand.Uint64(), 36)
	what, recs, err := b.do(ctx, s.Key, "begin", string(s.Hash), span(s.Lease), span(s.Keep), own)
	if err != nil {
		return rec, before, false, err
	}
	if len(recs) == 0 {
		return rec, before, false, fmt.Errorf("%w: %q without a record", ErrReply, what)
	}
	if rec = recs[0]; len(recs) > 1 {
		before = recs[1]
	}
	if what == "mismatch" {
		err = fmt.Errorf("%w: %q", idem.ErrMismatch, s.Key)
	}
	return rec, before, what == "won", err
}

// Finish implements [idem.Backend].
func (b *Idem) Finish(ctx context.Context, key string, token uint64, state idem.State, result []byte, keep time.Duration) error {
	what, recs, err := b.do(ctx, key, "finish", strconv.FormatUint(token, 10), strconv.Itoa(int(state)), string(result), span(keep))
	return stale(what, key, token, recs, err)
}

// Extend implements [idem.Backend].
func (b *Idem) Extend(ctx context.Context, key string, token uint64, lease, keep time.Duration) error {
	what, recs, err := b.do(ctx, key, "extend", strconv.FormatUint(token, 10), span(lease), span(keep))
	return stale(what, key, token, recs, err)
}

func stale(what, key string, token uint64, recs []idem.Record, err error) error {
	if err != nil || what == "ok" {
		return err
	}
	if len(recs) == 0 || recs[0].Key == "" {
		return fmt.Errorf("%w: %q, attempt %d, the key is forgotten", idem.ErrStale, key, token)
	}
	return fmt.Errorf("%w: %q, attempt %d, there is attempt %d, %v", idem.ErrStale, key, token, recs[0].Token, recs[0].State)
}

// Get implements [idem.Backend].
func (b *Idem) Get(ctx context.Context, key string) (idem.Record, error) {
	_, recs, err := b.do(ctx, key, "get")
	if err == nil && (len(recs) == 0 || recs[0].Key == "") {
		err = fmt.Errorf("%w: %q", idem.ErrNotFound, key)
	}
	if err != nil {
		return idem.Record{}, err
	}
	return recs[0], nil
}

// Unfinished implements [idem.Backend]. Partitions are asked in an order that begins
// anywhere.
func (b *Idem) Unfinished(ctx context.Context, n int) (out []idem.Record, err error) {
	const page = 100
	from := int(maphash.Comparable(maphash.MakeSeed(), 0) % uint64(b.o.Partitions))
	for i := range b.o.Partitions {
		p := b.part((from + i) % b.o.Partitions)
		for at := 0; len(out) < n; {
			v, err := b.run(ctx, run{[]string{p + "leases"}, []string{"unfinished", "", strconv.Itoa(at), strconv.Itoa(page)}})
			if err != nil {
				return nil, err
			}
			list, ok := v.([]any)
			if !ok {
				return nil, fmt.Errorf("%w: %T, want keys", ErrReply, v)
			}
			for _, v := range list {
				key, _ := v.(string)
				rec, err := b.Get(ctx, key)
				if errors.Is(err, idem.ErrNotFound) {
					continue // forgotten, or finished just now
				}
				if err != nil {
					return nil, err
				}
				if rec.State == idem.Begun && len(out) < n {
					out = append(out, rec)
				}
			}
			if at += len(list); len(list) < page {
				break
			}
		}
	}
	return slices.Clip(out), ctx.Err()
}

// Close implements [idem.Backend]. The client stays open.
func (b *Idem) Close() error {
	b.closed.Store(true)
	return nil
}
