package redis

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// Mode is how a [Near] saves calls.
type Mode uint8

const (
	// Lease takes tokens from Redis in advance, spends them here, and returns the rest.
	// What passes is never more than the policy lets through, whatever happens to nodes
	// and to the network. Up to Share tokens of each node may lie idle meanwhile.
	Lease Mode = iota
	// WriteBack decides here, by what Redis said last, and tells it afterwards. Of n
	// nodes, up to n·MaxPending requests more than the policy's bound pass in any time,
	// and a node that dies counts as one more; this holds while n·MaxPending is at most
	// the policy's Limit. As long as Redis answers, it is also no more than what comes
	// in the time of Flush and a round trip.
	WriteBack
	// Deny only remembers refusals, each for its RetryAfter: what passes costs a call, what
	// is refused again does not. It never lets more through, and fits every policy.
	Deny
)

// NearOptions are what is not required. The zero value of each field means its default.
type NearOptions struct {
	// Mode is how calls are saved. Default Lease.
	Mode Mode
	// Lease is how long a node keeps tokens, from 10 ms to 60 s. A node that dies takes
	// its tokens with it. Default 1 s.
	Lease time.Duration
	// Share is how many tokens of a key a node takes at most at once, beyond what it needs
	// at that moment. Near the limit it is less, and a node asks only when what comes in
	// in a twentieth of Lease is there, a quarter of the burst or a share at most: it
	// refuses until then. Default a tenth of the policy's Limit, or
	// 1.
	Share int
	// MaxPending is, for WriteBack, how many requests of a key a node lets through at most
	// before Redis has counted them, up to the policy's Limit. Default a 32nd of that, or 1.
	MaxPending int
	// Flush is, for WriteBack, how long Redis may be told nothing. Default 50 ms.
	Flush time.Duration
	// MaxKeys bounds the keys that are remembered here, at about 300 bytes and the key
	// each. It is rounded down to a multiple of 64, but is at least 64. A further key takes the place of one that came once, or else is decided on in
	// Redis. Default 100,000.
	MaxKeys int
}

// NearStats counts what a Near did.
type NearStats struct {
	Near    uint64 // decisions made here
	Refused uint64 // of these, refusals
	Far     uint64 // questions about a key, of which several travel in one script
	Calls   uint64 // scripts sent, those of the Limiter included
	Keys    int    // remembered
}

const nearShards = 64

var (
	_ ratelimit.Checker = (*Limiter)(nil)
	_ ratelimit.Checker = (*Near)(nil)
)

// A Near stands in front of a [Limiter] and spares it most calls about keys that come
// often. It decides as the Limiter does, with the same keys in Redis, so that nodes with
// and without it may share a limit. When Redis fails and what is here does not suffice,
// the Limiter's [Options.Failure] says what happens.
//
// It is safe for concurrent use by multiple goroutines. Use [NewNear], and Close it: that
// ends its goroutine.
type Near struct {
	l      *Limiter
	o      NearOptions
	node   string // told apart from all others, in Redis
	chunk  int64  // Lease: near the limit it asks for no less
	script *script
	batch  *batcher
	now    func() int64
	seed   maphash.Seed
	shards [nearShards]nearShard
	seq    atomic.Uint64
	calls  atomic.Uint64
	bypass atomic.Uint64
	ctx    context.Context // until Close
	stop   context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	busy   atomic.Bool // what tell has sent is on its way
}

type nearShard struct {
	mu     sync.Mutex
	m      map[string]*near
	dirty  []*near // WriteBack: with something that Redis does not know
	closed bool
	stats  NearStats
	_      [64]byte
}

// A near is what is known here about a key. Times are nanoseconds since the Near's begin.
type near struct {
	name   string // in Redis
	shard  *nearShard
	hits   uint32 // lately
	used   bool   // since the last sweep
	users  int    // calls that look at it; it stays for them
	waits  int64  // requests that wait for a flight
	flight *flight

	// So many requests or more are refused until free.
	refused, free int64

	// How far the flow was ahead, in µs and parts, at a time.
	ahead, parts, at int64
	seen             bool

	// Lease. Invariant: held is at most what Redis has as this node's, until then.
	held, until int64
	share       int64  // to ask for next time
	plenty      bool   // there was enough of it last time
	asked       int64  // when last
	late        int64  // until when it is done without, since answers come after a lease's end
	lost        uint64 // the first question since the last answer; 0: none

	// WriteBack. Posted of pending are on their way, with this number, until it is known
	// that they have come.
	pending, posted int64
	post            uint64
	waiting         bool // in dirty
}

// A flight is a question about a key that is on its way.
type flight struct {
	need int64 // that whoever asked waits for
	done chan struct{}
	// Set before done is closed.
	err     error
	decided bool // with d
	d       ratelimit.Decision
}

// An exchange is what a flight asks, and the answer.
type exchange struct {
	seq, lost                    uint64
	held, give, need, more, want int64
	reply                        [5]int64
}

// NewNear returns a Near in front of l. Lease and WriteBack need a GCRA or a TokenBucket that
// the scripts count exactly, or it is [ErrUnsupported]: with the rate Count in Period as the
// fraction Period/(1000 ns·Count) in its lowest terms, the burst times the numerator is less
// than 2^53. Rates of round numbers are far from that; 999,983 in a day, a prime, is beyond.
// Mode Deny fits every policy.
func NewNear(l *Limiter, opts *NearOptions) (*Near, error) { return newNear(l, opts, luaClock, nil) }

// newNear takes the clocks, of Redis and of this node, for tests.
func newNear(l *Limiter, opts *NearOptions, clock string, now func() int64) (*Near, error) {
	var o NearOptions
	if opts != nil {
		o = *opts
	}
	if l == nil {
		return nil, fmt.Errorf("%w: no limiter", ErrInvalid)
	}
	set(&o.Lease, time.Second)
	set(&o.Share, int(max(1, l.rule.limit/10)))
	set(&o.MaxPending, int(max(1, l.rule.limit/32)))
	set(&o.Flush, 50*time.Millisecond)
	set(&o.MaxKeys, 100_000)
	if o.Mode > Deny || o.Lease < 10*time.Millisecond || o.Lease > time.Minute || o.Share < 0 || o.Flush < 0 ||
		o.MaxPending < 0 || int64(o.MaxPending) > l.rule.limit || o.MaxKeys < 0 {
		return nil, fmt.Errorf("%w: %+v", ErrInvalid, o)
	}
	if o.Mode != Deny && !l.rule.leasable() {
		return nil, fmt.Errorf("%w: %T has nothing to take in advance; mode Deny fits", ErrUnsupported, l.policy)
	}
	n := &Near{
		l: l, o: o, node: fmt.Sprintf("%016x", rand.Uint64()), seed: maphash.MakeSeed(),
	}
	if l.rule.kind == 'g' {
		n.chunk = min(micros(o.Lease)/20*l.rule.den/l.rule.num, l.rule.limit/4, int64(o.Share))
	}
	begin := time.Now()
	n.now = func() int64 { return int64(time.Since(begin)) + 1 }
	if now != nil {
		n.now = now
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	source := luaLease
	if o.Mode == WriteBack {
		source = luaPost
	}
	n.script = newScript(clock + luaFlow + source)
	n.batch = newBatcher(n.send, l.opts.Flights, l.opts.Batch, l.opts.Timeout, l.client.Heeds())
	for i := range n.shards {
		n.shards[i].m = map[string]*near{}
	}
	n.wg.Go(n.sweeps)
	return n, nil
}

// Wait is [Limiter.Wait], by this node's decisions.
func (n *Near) Wait(ctx context.Context, key string, k int) error { return wait(ctx, n, key, k) }

// Policy returns the policy.
func (n *Near) Policy() ratelimit.Policy { return n.l.policy }

// Limiter returns the limiter behind.
func (n *Near) Limiter() *Limiter { return n.l }

// Stats returns the counts so far.
func (n *Near) Stats() NearStats {
	var st NearStats
	for i := range n.shards {
		s := &n.shards[i]
		s.mu.Lock()
		st.Near += s.stats.Near
		st.Refused += s.stats.Refused
		st.Far += s.stats.Far
		st.Keys += len(s.m)
		s.mu.Unlock()
	}
	st.Far += n.bypass.Load()
	st.Calls = n.calls.Load() + n.l.stats.calls.Load()
	return st
}

// Check decides on k requests at once, as [Limiter.Check] does: all pass, or none. Where it
// is decided here, Remaining and ResetAfter are as of the last answer from Redis, and
// RetryAfter may be too short, since others come too. With k = 0 it asks Redis how things
// are; what this node holds is in Remaining.
func (n *Near) Check(ctx context.Context, key string, k int) (ratelimit.Decision, error) {
	if err := ctx.Err(); err != nil {
		return ratelimit.Decision{}, err
	}
	need := int64(max(0, k))
	if need > n.l.rule.limit {
		return ratelimit.Decision{Limit: int(n.l.rule.limit), RetryAfter: ratelimit.Never}, nil
	}
	s := &n.shards[maphash.String(n.seed, key)%nearShards]
	if need == 0 || n.o.Mode == Deny || n.o.Mode == WriteBack && need > int64(n.o.MaxPending) {
		return n.far(ctx, s, key, need)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ratelimit.Decision{}, ErrClosed
	}
	e := s.m[key]
	if e == nil {
		if e = n.insert(s, key); e == nil {
			s.mu.Unlock()
			n.bypass.Add(1)
			return n.l.Check(ctx, key, k)
		}
	}
	e.hits++
	e.used = true
	e.users++
	d, err := n.check(ctx, e, key, need)
	e.users--
	s.mu.Unlock()
	return d, err
}

// check decides on need. It has the shard's lock, but for when it waits.
func (n *Near) check(ctx context.Context, e *near, key string, need int64) (ratelimit.Decision, error) {
	s, k := e.shard, int(need)
	var timeout *time.Timer // of all waiting together
	for tries := 0; ; {
		if s.closed {
			return ratelimit.Decision{}, ErrClosed
		}
		now := n.now()
		d, decided := n.decide(e, need, now)
		if decided {
			s.stats.Near++
			if !d.OK {
				s.stats.Refused++
			}
			return d, nil
		}
		f := e.flight
		mine := f == nil
		if mine {
			if tries++; tries > 3 || now < e.late {
				s.mu.Unlock()
				defer s.mu.Lock()
				n.bypass.Add(1)
				return n.l.Check(ctx, key, k)
			}
			if n.l.resting() {
				s.mu.Unlock()
				defer s.mu.Lock()
				return n.l.without(key, k, ErrDown)
			}
			f = n.depart(e, need, now)
		} else {
			e.waits += need
		}
		s.mu.Unlock()
		if timeout == nil {
			timeout = time.NewTimer(n.l.opts.Timeout)
			defer timeout.Stop()
		}
		var err error
		select {
		case <-f.done:
			err = f.err
		case <-ctx.Done():
			err = ctx.Err()
		case <-timeout.C:
			err = fmt.Errorf("%w: %v", ErrTimeout, n.l.opts.Timeout)
		}
		failed := err != nil
		if failed {
			d, err = n.l.fail(ctx, key, k, err)
		}
		s.mu.Lock()
		if !mine {
			e.waits -= need
		}
		if failed {
			return d, err
		}
		if mine && f.decided {
			return f.d, nil
		}
	}
}

// far asks the Limiter, unless it is known what it says.
func (n *Near) far(ctx context.Context, s *nearShard, key string, need int64) (ratelimit.Decision, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ratelimit.Decision{}, ErrClosed
	}
	held := int64(0)
	if e := s.m[key]; e != nil {
		now := n.now()
		if d, ok := n.refusal(e, need, now); ok {
			e.used = true
			s.stats.Near++
			s.stats.Refused++
			s.mu.Unlock()
			return d, nil
		}
		if now < e.until {
			held = e.held
		}
		held -= e.pending
	}
	s.stats.Far++
	s.mu.Unlock()
	d, err := n.l.Check(ctx, key, int(need))
	if err != nil {
		return d, err
	}
	if !d.OK && d.RetryAfter != ratelimit.Never && need > 0 && n.o.Mode == Deny {
		s.mu.Lock()
		e := s.m[key]
		if e == nil && !s.closed {
			e = n.insert(s, key)
		}
		if e != nil {
			e.used = true
			n.refuse(e, need, d, n.now())
		}
		s.mu.Unlock()
	}
	d.Remaining = int(min(max(0, int64(d.Remaining)+held), n.l.rule.limit))
	return d, nil
}

// refuse remembers a refusal. The clock has moved on since Redis decided, so that it holds a
// little too long rather than too short.
func (n *Near) refuse(e *near, need int64, d ratelimit.Decision, now int64) {
	e.refused, e.free = need, now+int64(d.RetryAfter)
	e.seen, e.ahead, e.at = true, int64(d.ResetAfter/time.Microsecond), now
}

// refusal tells what is known to be refused.
func (n *Near) refusal(e *near, need, now int64) (ratelimit.Decision, bool) {
	if e.refused == 0 || need < e.refused || now >= e.free {
		return ratelimit.Decision{}, false
	}
	wait := e.free - now
	if more := need - e.refused; more > 0 && n.l.rule.kind == 'g' {
		q, _ := n.l.rule.times(more)
		wait += int64(duration(q))
	}
	return ratelimit.Decision{
		Limit: int(n.l.rule.limit), RetryAfter: time.Duration(wait),
		ResetAfter: max(time.Duration(wait), duration(e.ahead)-time.Duration(now-e.at)),
	}, true
}

// decide decides on need without asking, where that can be done.
func (n *Near) decide(e *near, need, now int64) (ratelimit.Decision, bool) {
	if n.o.Mode == WriteBack {
		return n.decideBack(e, need, now)
	}
	if now >= e.until {
		e.held = 0
	}
	if e.held >= need {
		e.held -= need
		// The next lease comes before this one is at its end.
		if e.flight == nil && e.share > 1 && (e.held <= e.share/4 || e.until-now < int64(n.o.Lease)/4) &&
			e.plenty && !e.shard.closed && n.l.rest.until.Load() == 0 {
			n.depart(e, 0, now)
		}
		return n.passed(e, now), true
	}
	// Near the limit others only take, so that no more is there than there was and what has
	// come in since; but leases may have come back after their time.
	since := now - e.at
	if !e.seen || e.plenty || since > int64(n.o.Lease) {
		return ratelimit.Decision{}, false
	}
	r := n.l.rule
	ahead := e.ahead - since/1000
	short := max(need, n.chunk) - e.held
	if r.level(ahead, e.parts) >= short {
		return ratelimit.Decision{}, false
	}
	d, err := r.decide([]int64{0, max(0, ahead), e.parts}, min(short, r.limit))
	d.Remaining = int(min(r.limit, int64(d.Remaining)+e.held))
	return d, err == nil
}

// passed is the decision about what passed.
func (n *Near) passed(e *near, now int64) ratelimit.Decision {
	r := n.l.rule
	ahead := e.ahead - (now-e.at)/1000
	left := e.held - e.pending + r.level(ahead, e.parts)
	return ratelimit.Decision{
		OK: true, Limit: int(r.limit), Remaining: int(min(max(0, left), r.limit)),
		ResetAfter: duration(max(0, ahead+sign(e.parts))),
	}
}

// depart sends a question about the key, which must have none on its way.
func (n *Near) depart(e *near, need, now int64) *flight {
	f, x := n.prepare(e, need, now)
	n.wg.Go(func() {
		c := &call{key: e.name, x: x}
		err := n.batch.do(context.Background(), c)
		n.land(e, f, x, now, err)
		if err != nil && need == 0 { // nobody else hears of it
			_ = n.l.note(n.ctx, err)
		}
	})
	return f
}

// prepare makes a flight and what it asks.
func (n *Near) prepare(e *near, need, now int64) (*flight, *exchange) {
	f := &flight{need: need, done: make(chan struct{})}
	e.flight = f
	e.shard.stats.Far++
	x := &exchange{seq: n.seq.Add(1), need: need}
	if n.o.Mode == WriteBack {
		if e.posted == 0 { // or else the same again
			e.posted, e.post = e.pending, x.seq
		}
		x.seq, x.need = e.post, e.posted
		return f, x
	}
	// What comes once gets what it needs, and what soon comes again its share.
	switch since := now - e.asked; {
	case e.asked == 0 || since > 2*int64(n.o.Lease):
		e.share = 0
	case since < int64(n.o.Lease)/2:
		e.share = int64(n.o.Share)
	}
	e.asked = now
	x.lost, x.held, x.more, x.want = e.lost, e.held, min(e.waits, n.l.rule.limit), max(0, e.share-e.held)
	if e.lost == 0 {
		e.lost = x.seq
	}
	return f, x
}

// land takes an answer. Sent is when the question left.
func (n *Near) land(e *near, f *flight, x *exchange, sent int64, err error) {
	s := e.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	e.flight = nil
	if err == nil && x.reply[0] < 0 {
		err = fmt.Errorf("%w: %q", ErrWrongType, e.name)
	}
	if f.err = err; err != nil {
		return
	}
	n.l.rest.works()
	now, r := n.now(), n.l.rule
	e.seen, e.at, e.refused = true, now, 0
	if n.o.Mode == WriteBack {
		e.ahead, e.parts = x.reply[1], x.reply[2]
		e.pending -= e.posted
		e.posted = 0
		return
	}
	e.lost = 0
	e.ahead, e.parts = x.reply[3], x.reply[4]
	e.held = max(0, e.held-x.reply[2]) + x.reply[1]
	e.plenty = x.reply[0] == 1 && x.reply[1] > x.want/2
	// Redis counts from later on; a sixteenth is for clocks that run at different speeds.
	e.until = sent + int64(n.o.Lease)/16*15
	if now >= e.until {
		e.held, e.late = 0, now+16*int64(n.o.Lease)
	}
	if x.need == 0 {
		return
	}
	if x.reply[0] == 1 {
		if f.decided = e.held >= x.need; f.decided {
			e.held -= x.need
			f.d = n.passed(e, now)
			s.stats.Near++
		}
		return
	}
	d, _ := r.decide([]int64{0, e.ahead, e.parts}, max(1, x.need-x.held))
	d.Remaining = int(min(r.limit, int64(d.Remaining)+e.held))
	f.d, f.decided = d, true
	s.stats.Near++
	s.stats.Refused++
}

// insert makes room for a key, or returns nil.
func (n *Near) insert(s *nearShard, key string) *near {
	if len(s.m) >= max(1, n.o.MaxKeys/nearShards) {
		looked := 0
		for k, e := range s.m { // in random order
			if e.hits < 2 && e.users == 0 && e.flight == nil && e.pending == 0 && e.held == 0 {
				delete(s.m, k)
				break
			}
			if looked++; looked == 8 {
				return nil
			}
		}
		if len(s.m) >= max(1, n.o.MaxKeys/nearShards) {
			return nil
		}
	}
	e := &near{name: n.l.name(key), shard: s}
	s.m[key] = e
	return e
}

// sweeps gives back what is not needed, tells Redis what it does not know, and forgets
// keys that come no more, until the Near is closed.
func (n *Near) sweeps() {
	every := n.o.Lease / 4
	if n.o.Mode == WriteBack {
		every = n.o.Flush
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	swept := n.now()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		whole := n.now()-swept >= int64(n.o.Lease)/4
		if whole {
			swept = n.now()
		}
		if n.l.rest.until.Load() == 0 || !n.l.resting() {
			_ = n.tell(whole) // who asks next hears of it
		}
	}
}

// tell sends what has to be sent of all keys, and sweeps them if asked to. It returns the
// first error, and waits no longer than the timeout; where the client goes on after that,
// nothing more is sent this way until it has ended.
func (n *Near) tell(sweep bool) (err error) {
	if !n.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: the client is still at work on the call before", ErrTimeout)
	}
	var calls []*call
	var entries []*near
	var flights []*flight
	sent := n.now()
	add := func(e *near) {
		f, x := n.prepare(e, 0, sent)
		calls = append(calls, &call{key: e.name, x: x})
		entries, flights = append(entries, e), append(flights, f)
	}
	for i := range n.shards {
		s := &n.shards[i]
		s.mu.Lock()
		rest := s.dirty[:0]
		for _, e := range s.dirty {
			if e.waiting = e.pending > 0; !e.waiting {
				continue
			}
			if rest = append(rest, e); e.flight == nil {
				add(e)
			}
		}
		clear(s.dirty[len(rest):])
		s.dirty = rest
		if sweep {
			for key, e := range s.m {
				n.sweep(s, key, e, sent, add, &calls)
			}
		}
		s.mu.Unlock()
	}
	if len(calls) == 0 {
		n.busy.Store(false)
		return nil
	}
	_, late := n.l.within(context.Background(), func(ctx context.Context) (any, error) {
		defer n.busy.Store(false)
		n.send(ctx, calls)
		return nil, nil
	})
	for i, c := range calls {
		failed := late // and the client may still be at work on c
		if late == nil {
			failed = n.batch.named(c.err)
		}
		n.land(entries[i], flights[i], c.x, sent, failed)
		if failed != nil {
			err = cmp.Or(err, failed)
			_ = n.l.note(n.ctx, failed)
		}
	}
	return err
}

// sweep looks after one key.
func (n *Near) sweep(s *nearShard, key string, e *near, now int64, add func(*near), calls *[]*call) {
	if e.users > 0 && !s.closed || e.flight != nil || e.pending > 0 {
		return
	}
	if e.held > 0 && now >= e.until {
		e.held = 0
	}
	switch {
	case e.used && !s.closed:
		e.used = false
		e.hits /= 2
	case e.held > 0:
		give := e.held
		e.held = 0
		add(e)
		x := (*calls)[len(*calls)-1].x
		x.give, x.more, x.want = give, 0, 0
		e.share = 0
	case now >= e.free && now-e.asked > int64(n.o.Lease):
		delete(s.m, key)
	}
}

// send asks about many keys, as Limiter.send does.
func (n *Near) send(ctx context.Context, calls []*call) {
	width := 5
	if n.o.Mode == WriteBack {
		width = 3
	}
	n.l.deliver(ctx, n.script, calls, n.args, func(v any, part []*call) error {
		reply, err := ints(v, width*len(part))
		if err != nil {
			return err
		}
		for i, c := range part {
			copy(c.x.reply[:], reply[i*width:(i+1)*width])
		}
		return nil
	}, &n.calls)
}

func (n *Near) args(calls []*call) run {
	r := run{keys: make([]string, len(calls)), args: append(make([]string, 0, 6+7*len(calls)), n.l.rule.args[1:]...)}
	r.args = append(r.args, n.node)
	if n.o.Mode == Lease {
		r.args = append(r.args, strconv.FormatInt(micros(n.o.Lease), 10))
	}
	for i, c := range calls {
		r.keys[i] = c.key
		x := c.x
		if n.o.Mode == WriteBack {
			r.args = append(r.args, strconv.FormatUint(x.seq, 10), strconv.FormatInt(x.need, 10))
			continue
		}
		r.args = append(r.args, strconv.FormatUint(x.seq, 10), strconv.FormatUint(x.lost, 10))
		for _, v := range [...]int64{x.held, x.give, x.need, x.more, x.want} {
			r.args = append(r.args, strconv.FormatInt(v, 10))
		}
	}
	return r
}

// Close waits for what is on its way, returns the tokens that are left, tells Redis what it
// does not know yet, and ends. It waits for Redis a few times [Options.Timeout] at most. It
// returns an error where requests that have passed could not be counted; leases that could
// not be returned end by themselves. Check returns [ErrClosed] from then on. It may be called
// more than once.
func (n *Near) Close() (err error) {
	n.once.Do(func() {
		for i := range n.shards {
			s := &n.shards[i]
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
		}
		n.stop()
		n.wg.Wait()
		n.batch.wait(n.l.opts.Timeout)
		// All are still now: what is used counts as idle. What was told before, and maybe
		// lost, is told again first, and what has passed since after that.
		failed := n.tell(true)
		for failed == nil && n.pending() {
			failed = n.tell(true)
		}
		for i := range n.shards {
			s := &n.shards[i]
			s.mu.Lock()
			for _, e := range s.m {
				if e.pending > 0 {
					err = fmt.Errorf("%d requests with %q are not counted: %w", e.pending, e.name, failed)
				}
			}
			s.m, s.dirty = nil, nil
			s.mu.Unlock()
		}
	})
	return err
}

// pending tells whether Redis does not know of something that has passed.
func (n *Near) pending() bool {
	for i := range n.shards {
		s := &n.shards[i]
		s.mu.Lock()
		some := slices.ContainsFunc(s.dirty, func(e *near) bool { return e.pending > 0 })
		s.mu.Unlock()
		if some {
			return true
		}
	}
	return false
}
