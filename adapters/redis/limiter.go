package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// Failure is what a Limiter decides when Redis does not answer, or answers that it
// cannot work now.
type Failure uint8

const (
	// Fail returns the error: the caller decides.
	Fail Failure = iota
	// Open lets requests pass.
	Open
	// Closed refuses them.
	Closed
	// Local decides in this process, with its share of the limit: see [Options.Nodes].
	Local
)

// Options are what is not required. The zero value of each field means its default.
type Options struct {
	// Prefix goes before each key. Limiters of different policies need different ones.
	// Default "ratelimit:".
	Prefix string
	// Timeout bounds the wait for Redis; a context may bound it more. Default 500 ms.
	Timeout time.Duration
	// Failure is what is decided when Redis fails. Default Fail.
	Failure Failure
	// Nodes is how many processes share the limit, for Local: each gets the Nodes-th
	// part of it, at least one request at a time. Required for Local.
	Nodes int
	// Pause is how long Redis is left alone after it failed, unless Failure is Fail;
	// from half to one and a half times of it. Default 1 s.
	Pause time.Duration
	// Flights is how many batches are on their way at a time. Default 2. More of them
	// help where the network is slow.
	Flights int
	// Batch is how many requests one script decides on, which nobody else can use
	// Redis meanwhile: about 3 µs each. Default 128.
	Batch int
	// OnError is told each failure of Redis that a decision was made without, from
	// the goroutine that asked. Default nil.
	OnError func(error)
}

// MaxKey is how many bytes long a key may be before it is replaced by its SHA-256 hash. So is
// a shorter one that ends with # and 64 hexadecimal digits, as such a hash is written.
const MaxKey = 256

// A Limiter applies one policy to each of many keys, which are shared by all that use
// the same Redis, prefix and policy. Time is the server's. It is safe for concurrent use
// by multiple goroutines. Use [New].
type Limiter struct {
	client Client
	policy ratelimit.Policy
	rule   *rule
	opts   Options
	batch  *batcher
	script *script
	rules  *script
	share  *ratelimit.Limiter // for Local

	rest  breaker
	stats struct{ calls, failures, without atomic.Uint64 }
}

// Stats counts what a Limiter did.
type Stats struct {
	Calls    uint64 // scripts sent, which is less than the requests decided on
	Failures uint64 // that failed
	Without  uint64 // decisions made without Redis
}

// New returns a limiter.
func New(c Client, p ratelimit.Policy, opts *Options) (*Limiter, error) {
	return newLimiter(c, p, opts, luaClock)
}

// newLimiter takes the clock's source, for tests.
func newLimiter(c Client, p ratelimit.Policy, opts *Options, clock string) (*Limiter, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if c == nil {
		return nil, fmt.Errorf("%w: no client", ErrInvalid)
	}
	r, err := compile(p)
	if err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = "ratelimit:"
	}
	set(&o.Timeout, 500*time.Millisecond)
	set(&o.Pause, time.Second)
	set(&o.Flights, 2)
	set(&o.Batch, 128)
	if o.Timeout < 0 || o.Pause < 0 || o.Flights < 0 || o.Batch < 0 || o.Batch > 1000 || o.Failure > Local {
		return nil, fmt.Errorf("%w: %+v", ErrInvalid, o)
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		return nil, fmt.Errorf("%w: prefix %q: keys choose their slots", ErrInvalid, o.Prefix)
	}
	l := &Limiter{client: c, policy: p, rule: r, opts: o, rest: breaker{pause: o.Pause}}
	l.rules = newScript(clock + luaFlow + luaRules)
	l.script = l.rules
	if r.kind == 'g' {
		l.script = newScript(clock + luaFlow + luaGCRA)
	}
	l.batch = newBatcher(l.send, o.Flights, o.Batch, o.Timeout, c.Heeds())
	if o.Failure == Local {
		if o.Nodes < 1 {
			return nil, fmt.Errorf("%w: Local needs the number of nodes", ErrInvalid)
		}
		if l.share, err = ratelimit.New(share(p, o.Nodes), nil); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func set[T int | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// share returns the n-th part of a policy.
func share(p ratelimit.Policy, n int) ratelimit.Policy {
	// A part of less than one request is one in a longer time.
	part := func(r ratelimit.Rate) ratelimit.Rate {
		count := max(1, r.Count/n)
		if r.Count < n {
			r.Period *= time.Duration((n-1)/r.Count + 1)
		}
		return ratelimit.Per(count, r.Period)
	}
	flow := func(p ratelimit.GCRA) ratelimit.GCRA {
		if p.Burst == 0 {
			p.Burst = p.Rate.Count
		}
		p.Burst = max(1, p.Burst/n)
		p.Rate = part(p.Rate)
		return p
	}
	switch p := p.(type) {
	case ratelimit.GCRA:
		return flow(p)
	case ratelimit.TokenBucket:
		return flow(ratelimit.GCRA(p))
	case ratelimit.FixedWindow:
		p.Rate = part(p.Rate)
		return p
	case ratelimit.SlidingLog:
		p.Rate = part(p.Rate)
		return p
	case ratelimit.SlidingCounter:
		p.Rate = part(p.Rate)
		return p
	}
	return p
}

// name returns what a key is called in Redis.
func (l *Limiter) name(key string) string { return l.opts.Prefix + short(key) }

// short replaces a long key by its hash, and one that looks like such a hash too, so that
// different keys have different names. A hash tag in it stays.
func short(key string) string {
	if len(key) <= MaxKey && !hashed(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	name := "#" + hex.EncodeToString(sum[:])
	if t := tag(key); len(t) < len(key) && len(t) <= MaxKey {
		return "{" + t + "}" + name
	}
	return name
}

// hashed tells whether a name ends as short makes it: with # and 64 hexadecimal digits.
func hashed(name string) bool {
	at := len(name) - hex.EncodedLen(sha256.Size)
	if at < 1 || name[at-1] != '#' {
		return false
	}
	for _, c := range []byte(name[at:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Check decides on n requests at once, as [ratelimit.Limiter.AllowN] does: all pass, or
// none; with n = 0 it only tells how things are. Requests that come together are
// decided on together, so that many goroutines cost few round trips.
//
// When Redis does not answer within the timeout or the context's deadline, or cannot
// work, [Options.Failure] says what is returned; the request may have been counted. A
// context that is cancelled is its error in any case.
func (l *Limiter) Check(ctx context.Context, key string, n int) (ratelimit.Decision, error) {
	if l.resting() {
		return l.without(key, n, ErrDown)
	}
	c := &call{key: l.name(key), n: int64(max(0, n))}
	if err := l.batch.do(ctx, c); err != nil {
		return l.fail(ctx, key, n, err)
	}
	l.rest.works()
	return c.d, nil
}

// A Request is one of those that CheckMany decides on.
type Request struct {
	Key string
	N   int
}

// CheckMany decides on each of many requests, in order, in as few round trips as there
// are batches. Out gets the decisions; it may be nil, and is returned. An error is of
// all that follow the decisions that are returned.
func (l *Limiter) CheckMany(ctx context.Context, reqs []Request, out []ratelimit.Decision) ([]ratelimit.Decision, error) {
	out = out[:0]
	calls := make([]call, min(len(reqs), l.opts.Batch*8))
	list := make([]*call, len(calls))
	for len(reqs) > 0 {
		part := reqs[:min(len(reqs), len(calls))]
		reqs = reqs[len(part):]
		for i, r := range part {
			calls[i] = call{key: l.name(r.Key), n: int64(max(0, r.N))}
			list[i] = &calls[i]
		}
		rest := l.resting()
		var failed error
		if !rest {
			mine := list[:len(part)]
			_, failed = l.within(ctx, func(ctx context.Context) (any, error) {
				l.send(ctx, mine)
				return nil, nil
			})
		}
		if failed != nil { // and may still be at work on these
			calls = make([]call, len(calls))
			list = make([]*call, len(calls))
		}
		for i, r := range part {
			d, err := calls[i].d, l.batch.named(calls[i].err)
			if failed != nil {
				err = failed
			}
			switch {
			case rest:
				d, err = l.without(r.Key, r.N, ErrDown)
			case err != nil:
				d, err = l.fail(ctx, r.Key, r.N, err)
			default:
				l.rest.works()
			}
			if err != nil {
				return out, err
			}
			out = append(out, d)
		}
	}
	return out, nil
}

// Reset forgets a key: as if nobody had come yet.
func (l *Limiter) Reset(ctx context.Context, key string) error {
	_, err := l.within(ctx, func(ctx context.Context) (any, error) { return nil, remove(ctx, l.client, l.name(key)) })
	return err
}

// within waits no longer than the timeout.
func (l *Limiter) within(ctx context.Context, ask func(context.Context) (any, error)) (any, error) {
	return answerWithin(ctx, l.opts.Timeout, l.client.Heeds(), ask)
}

func remove(ctx context.Context, c Client, name string) error {
	for _, r := range c.Do(ctx, []Command{{Name: []string{"DEL"}, Keys: []string{name}}}) {
		return r.Err
	}
	return ErrReply
}

// Policy returns the policy.
func (l *Limiter) Policy() ratelimit.Policy { return l.policy }

// Stats returns the counts so far.
func (l *Limiter) Stats() Stats {
	return Stats{l.stats.calls.Load(), l.stats.failures.Load(), l.stats.without.Load()}
}

// Wait returns nil as soon as n requests pass, or what [Limiter.Check] returns as
// error, or [ratelimit.ErrTooMany] when they never pass, or not before the context's
// deadline. Those that wait are in no order.
func (l *Limiter) Wait(ctx context.Context, key string, n int) error { return wait(ctx, l, key, n) }

func wait(ctx context.Context, c ratelimit.Checker, key string, n int) error {
	for {
		d, err := c.Check(ctx, key, n)
		if err != nil || d.OK {
			return err
		}
		if d.RetryAfter == ratelimit.Never {
			return fmt.Errorf("%w: %d at once, limit %d", ratelimit.ErrTooMany, n, d.Limit)
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d.RetryAfter {
			return fmt.Errorf("%w: %d pass in %v, the context's deadline is before", ratelimit.ErrTooMany, n, d.RetryAfter)
		}
		timer := time.NewTimer(d.RetryAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// A Rule is one of several limits that a request has to meet.
type Rule struct {
	Limiter *Limiter
	Key     string
}

// CheckAll lets n requests pass if all rules do, and counts them with all or with none,
// in one step of the server. It returns the decision that matters, the first refusal or
// else the one with the least remaining, and which rule it is of.
//
// All limiters must have the same client. On a cluster all keys must have the same hash
// tag, as in "{user 7}" and "{user 7}:/search", or it is [ErrSlots]. When Redis fails,
// the first limiter's Failure says what happens; Local asks all shares.
func CheckAll(ctx context.Context, n int, rules ...Rule) (d ratelimit.Decision, rule int, err error) {
	if len(rules) == 0 {
		return ratelimit.Decision{OK: true}, -1, ctx.Err()
	}
	n = max(0, n)
	first := rules[0].Limiter
	r := run{args: make([]string, 1, 2+9*len(rules))}
	var policies []*Limiter
	var which []int
	for _, rule := range rules {
		l := rule.Limiter
		if l.client != first.client || l.rules.digest != first.rules.digest {
			return d, -1, fmt.Errorf("%w: rules of different clients", ErrInvalid)
		}
		name := l.name(rule.Key)
		if slices.Contains(r.keys, name) {
			return d, -1, fmt.Errorf("%w: two rules with the key %q", ErrInvalid, name)
		}
		if first.client.Cluster() && len(r.keys) > 0 && slot(name) != slot(r.keys[0]) {
			return d, -1, fmt.Errorf("%w: %q and %q", ErrSlots, r.keys[0], name)
		}
		r.keys = append(r.keys, name)
		i := slices.Index(policies, l)
		if i < 0 {
			i = len(policies)
			policies = append(policies, l)
			r.args = append(r.args, l.rule.args[:]...)
		}
		which = append(which, i+1)
	}
	r.args[0] = strconv.Itoa(len(policies))
	r.args = append(r.args, strconv.Itoa(len(rules)))
	for i, rule := range rules {
		q, rest := rule.Limiter.rule.cost(int64(n))
		r.args = append(r.args, strconv.Itoa(which[i]), strconv.Itoa(n), strconv.FormatInt(q, 10), strconv.FormatInt(rest, 10))
	}
	if first.resting() {
		return first.withoutAll(n, rules, ErrDown)
	}
	first.stats.calls.Add(1)
	v, err := first.within(ctx, func(ctx context.Context) (any, error) { return first.rules.one(ctx, first.client, r) })
	list, _ := v.([]any)
	if err == nil && len(list) != len(rules) {
		err = fmt.Errorf("%w: %T of %d, want a list of %d", ErrReply, v, len(list), len(rules))
	}
	if err != nil {
		if err := first.note(ctx, err); err != nil {
			return d, -1, err
		}
		return first.withoutAll(n, rules, err)
	}
	first.rest.works()
	rule = -1
	for i, v := range list {
		got, err := rules[i].Limiter.read(v, int64(n))
		if err != nil {
			return ratelimit.Decision{}, i, fmt.Errorf("%w: %q", err, r.keys[i])
		}
		if !got.OK {
			return got, i, nil
		}
		if rule < 0 || got.Remaining < d.Remaining {
			d, rule = got, i
		}
	}
	return d, rule, nil
}

// read reads a list of rules.lua.
func (l *Limiter) read(v any, n int64) (ratelimit.Decision, error) {
	if list, ok := v.([]any); ok && len(list) == 1 {
		return ratelimit.Decision{}, ErrWrongType
	}
	reply, err := ints(v, l.rule.width())
	if err != nil {
		return ratelimit.Decision{}, err
	}
	return l.rule.decide(reply, n)
}

// send decides on a batch.
func (l *Limiter) send(ctx context.Context, calls []*call) {
	l.deliver(ctx, l.script, calls, l.run, l.readAll, &l.stats.calls)
}

// deliver runs a script about the keys of calls: once, or in a cluster once for each slot,
// and in any case once for each Options.Batch. What comes back goes to read, whose error,
// or else that of the script, is each call's.
func (l *Limiter) deliver(ctx context.Context, s *script, calls []*call, args func([]*call) run, read func(any, []*call) error, count *atomic.Uint64) {
	groups := [][]*call{calls}
	if l.client.Cluster() && len(calls) > 1 {
		groups = groups[:0]
		bySlot := map[int]int{}
		for _, c := range calls {
			s := slot(c.key)
			i, ok := bySlot[s]
			if !ok {
				i = len(groups)
				bySlot[s] = i
				groups = append(groups, nil)
			}
			groups[i] = append(groups[i], c)
		}
	}
	var runs []run
	var parts [][]*call
	for _, g := range groups {
		for part := range slices.Chunk(g, l.opts.Batch) {
			runs, parts = append(runs, args(part)), append(parts, part)
		}
	}
	count.Add(uint64(len(runs)))
	for i, r := range s.run(ctx, l.client, runs) {
		if r.Err == nil {
			r.Err = read(r.Value, parts[i])
		}
		if r.Err != nil {
			for _, c := range parts[i] {
				c.err = r.Err
			}
		}
	}
}

// run makes one use of the script.
func (l *Limiter) run(calls []*call) run {
	r := run{keys: make([]string, len(calls))}
	for i, c := range calls {
		r.keys[i] = c.key
	}
	if l.rule.kind == 'g' {
		r.args = append(make([]string, 0, 4+2*len(calls)), l.rule.args[1:]...)
		for _, c := range calls {
			q, rest := l.rule.cost(c.n)
			r.args = append(r.args, strconv.FormatInt(q, 10), strconv.FormatInt(rest, 10))
		}
		return r
	}
	r.args = append(make([]string, 0, 6+5*len(calls)), "1")
	r.args = append(r.args, l.rule.args[:]...)
	for _, c := range calls {
		r.args = append(r.args, "1", "1", strconv.FormatInt(min(c.n, l.rule.limit+1), 10), "0", "0")
	}
	return r
}

// readAll reads what the script answers.
func (l *Limiter) readAll(v any, calls []*call) error {
	if l.rule.kind == 'g' {
		reply, err := ints(v, 3*len(calls))
		if err != nil {
			return err
		}
		for i, c := range calls {
			c.d, c.err = l.rule.decide(reply[3*i:3*i+3], c.n)
		}
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) != len(calls) {
		return fmt.Errorf("%w: %T of %d, want a list of %d", ErrReply, v, len(list), len(calls))
	}
	for i, c := range calls {
		c.d, c.err = l.read(list[i], c.n)
	}
	return nil
}

// resting tells whether Redis has failed a moment ago.
func (l *Limiter) resting() bool { return l.rest.resting() }

// fail decides what to return for an error.
func (l *Limiter) fail(ctx context.Context, key string, n int, err error) (ratelimit.Decision, error) {
	if err := l.note(ctx, err); err != nil {
		return ratelimit.Decision{}, err
	}
	return l.without(key, n, err)
}

// note counts a failure, and returns it if it is for the caller to see.
func (l *Limiter) note(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if answered(err) {
		return err
	}
	l.stats.failures.Add(1)
	if l.opts.Failure == Fail {
		return err
	}
	// The caller's own deadline says little about Redis.
	if !over(ctx) {
		l.rest.fail()
	}
	return nil
}

// without decides without Redis.
func (l *Limiter) without(key string, n int, err error) (ratelimit.Decision, error) {
	l.stats.without.Add(1)
	if l.opts.OnError != nil {
		l.opts.OnError(err)
	}
	limit := int(l.rule.limit)
	switch l.opts.Failure {
	case Open:
		return ratelimit.Decision{OK: true, Limit: limit, Remaining: limit}, nil
	case Closed:
		return ratelimit.Decision{Limit: limit, RetryAfter: l.opts.Pause}, nil
	}
	return l.share.AllowN(key, n), nil
}

func (l *Limiter) withoutAll(n int, rules []Rule, err error) (ratelimit.Decision, int, error) {
	if l.opts.Failure != Local {
		d, err := l.without("", n, err)
		return d, 0, err
	}
	l.stats.without.Add(1)
	if l.opts.OnError != nil {
		l.opts.OnError(err)
	}
	var shares []ratelimit.Rule
	for _, r := range rules {
		if r.Limiter.share != nil {
			shares = append(shares, ratelimit.Rule{Limiter: r.Limiter.share, Key: r.Key})
		}
	}
	d, i := ratelimit.AllowAll(n, shares...)
	return d, i, nil
}
