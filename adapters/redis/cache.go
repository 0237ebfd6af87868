package redis

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNotFound is what a load function returns, alone or wrapped, when there is nothing under
// the key: that is remembered too. It is returned by [Cache.Get] then.
var ErrNotFound = errors.New("redis: not found")

// CacheOptions are what is not required. The zero value of each field means its default.
type CacheOptions struct {
	// Prefix goes before each key. Default "cache:".
	Prefix string
	// TTL is how long a value is fresh. Default 1 min.
	TTL time.Duration
	// Stale is how much longer a value is kept, to be served while another one is loaded or
	// when that fails. Default 10 min; negative for not at all.
	Stale time.Duration
	// Negative is how long it is remembered that there is nothing under a key. Default 10 s;
	// negative for not at all.
	Negative time.Duration
	// Beta says how eagerly a value is loaded again before it is stale: see [Cache]. Default
	// 1; negative for never before.
	Beta float64
	// LoadTimeout is how long a load may take. After that its context is over, and it counts
	// as failed, also where it goes on: its goroutine then ends when it does, and another one
	// may begin meanwhile. If its process dies, others wait for so long before they load
	// themselves. Default 10 s.
	LoadTimeout time.Duration
	// ErrorPause is how long after a failed load nobody tries again, where a stale value is
	// there. Default 1 s.
	ErrorPause time.Duration
	// Local is how long this process serves a value from its own memory: as long may pass
	// until it notices Delete and values of others. Default 0, not at all.
	Local time.Duration
	// LocalBytes bounds that memory; those that were used last stay. Default 64 MiB.
	LocalBytes int
	// MaxValue is how large a value may be to be kept; a larger one is returned only.
	// Default 1 MiB.
	MaxValue int
	// Timeout bounds the wait for Redis; after that values are loaded without it. Default
	// 250 ms.
	Timeout time.Duration
	// Pause is how long Redis is left alone after it failed, from half to one and a half
	// times of it. Default 1 s.
	Pause time.Duration
}

// CacheStats counts what a Cache did.
type CacheStats struct {
	Local    uint64 // answers from this process' memory
	Shared   uint64 // answers to those who waited with another for the same key
	Hits     uint64 // answers from Redis, fresh ones
	Stale    uint64 // answers from Redis that were past their time
	Loads    uint64 // calls of load functions
	Early    uint64 // of these, before the value was stale
	Failures uint64 // of load functions, ErrNotFound apart
	Without  uint64 // loads without Redis, because that failed
	Bytes    int    // in this process' memory
}

// A Cache keeps what is slow to load and often asked for. However many ask for a key, in
// however many processes, one loads it:
//
//   - In a process, calls with the same key share one (single flight).
//   - Among processes, who finds a key missing gets a token, and others wait, or have the
//     value before meanwhile (leases: Nishtala et al., Scaling Memcache at Facebook, NSDI
//     2013). A token that Delete or a timeout has taken away stores nothing, so that a value
//     that was read before a change is not kept after it.
//   - Before a value is stale it is loaded again, by one of those who ask: at a moment that
//     each of them draws at random, by Δ·β·ln(1/u) early, where Δ is how long loading took and
//     u is uniform in (0, 1] (XFetch: Vattani, Chierichetti, Lowenstein, Optimal
//     Probabilistic Cache Stampede Prevention, VLDB 2015). Who does so has the present value
//     at once; the load goes on behind.
//
// When a load fails, the stale value is served for as long as there is one. When Redis fails,
// values are loaded without it, still one at a time for each key.
//
// It is safe for concurrent use by multiple goroutines. Use [NewCache], and Close it to wait
// for what goes on behind.
type Cache struct {
	client Client
	o      CacheOptions
	script *script
	seed   maphash.Seed
	shards [16]cacheShard
	rest   breaker
	wg     sync.WaitGroup
	mu     sync.RWMutex // held to start what wg waits for
	closed bool
	stats  struct{ local, shared, hits, stale, loads, early, failures, without atomic.Uint64 }
}

type cacheShard struct {
	mu      sync.Mutex
	flights map[string]*cacheFlight
	early   map[string]*cacheFlight  // loads behind, the last one of each key
	entries map[string]*list.Element // of *cacheEntry
	used    list.List                // from the last used on
	bytes   int
}

type cacheEntry struct {
	key   string
	value []byte
	none  bool
	till  time.Time
}

// A cacheFlight is a question that is on its way, for all in this process who have it.
type cacheFlight struct {
	done    chan struct{}
	value   []byte
	err     error
	deleted bool // meanwhile: what comes is not kept
}

// cacheOverhead is what an entry takes beside its key and value.
const cacheOverhead = 200

// NewCache returns a cache.
func NewCache(c Client, opts *CacheOptions) (*Cache, error) { return newCache(c, opts, luaClock) }

func newCache(c Client, opts *CacheOptions, clock string) (*Cache, error) {
	var o CacheOptions
	if opts != nil {
		o = *opts
	}
	if c == nil {
		return nil, fmt.Errorf("%w: no client", ErrInvalid)
	}
	if o.Prefix == "" {
		o.Prefix = "cache:"
	}
	set(&o.TTL, time.Minute)
	set(&o.Stale, 10*time.Minute)
	set(&o.Negative, 10*time.Second)
	set(&o.LoadTimeout, 10*time.Second)
	set(&o.ErrorPause, time.Second)
	set(&o.LocalBytes, 64<<20)
	set(&o.MaxValue, 1<<20)
	set(&o.Timeout, 250*time.Millisecond)
	set(&o.Pause, time.Second)
	if o.Beta == 0 {
		o.Beta = 1
	}
	const year = 366 * 24 * time.Hour // sums are exact in the script
	if o.TTL < time.Millisecond || o.TTL > 100*year || o.Stale > 100*year || o.Negative > 100*year || o.LoadTimeout < time.Millisecond ||
		o.LoadTimeout > year || o.ErrorPause < 0 || o.ErrorPause > year || o.Local < 0 || o.LocalBytes < 0 || o.MaxValue < 0 ||
		o.Timeout < 0 || o.Pause < 0 || math.IsNaN(o.Beta) || o.Beta > 1e6 || strings.ContainsAny(o.Prefix, "{}") {
		return nil, fmt.Errorf("%w: %+v", ErrInvalid, o)
	}
	o.Stale, o.Beta = max(0, o.Stale), max(0, o.Beta)
	cache := &Cache{client: c, o: o, script: newScript(clock + luaCache), seed: maphash.MakeSeed(), rest: breaker{pause: o.Pause}}
	for i := range cache.shards {
		s := &cache.shards[i]
		s.flights, s.early, s.entries = map[string]*cacheFlight{}, map[string]*cacheFlight{}, map[string]*list.Element{}
	}
	return cache, nil
}

// Get returns the value under a key, or what load returns where it is not known. Load's
// context does not end with ctx, since others may wait for it too, but with
// [CacheOptions.LoadTimeout]: a load that has not returned then is an error that wraps
// [context.DeadlineExceeded]. The context carries ctx's values. Load has a goroutine of its
// own; if it panics, or ends that by runtime.Goexit, that is an error. The value must not be
// changed: others have it too.
func (c *Cache) Get(ctx context.Context, key string, load func(ctx context.Context) ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &c.shards[maphash.String(c.seed, key)%uint64(len(c.shards))]
	s.mu.Lock()
	if e := s.entries[key]; e != nil {
		entry := e.Value.(*cacheEntry)
		if time.Now().Before(entry.till) {
			s.used.MoveToFront(e)
			s.mu.Unlock()
			c.stats.local.Add(1)
			return entry.result(key)
		}
		s.remove(e)
	}
	f := s.flights[key]
	if f == nil {
		f = &cacheFlight{done: make(chan struct{})}
		started := c.start(func() { c.fly(context.WithoutCancel(ctx), s, f, key, load) })
		if !started {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		s.flights[key] = f
	} else {
		c.stats.shared.Add(1)
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (e *cacheEntry) result(key string) ([]byte, error) {
	if e.none {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, key)
	}
	return e.value, nil
}

// start runs f, which Close waits for.
func (c *Cache) start(f func()) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// fly finds a value, and gives it to all who wait.
func (c *Cache) fly(ctx context.Context, s *cacheShard, f *cacheFlight, key string, load func(context.Context) ([]byte, error)) {
	var keep time.Duration
	f.value, keep, f.err = c.find(ctx, s, key, load)
	s.mu.Lock()
	if s.flights[key] == f {
		delete(s.flights, key)
	}
	none := errors.Is(f.err, ErrNotFound)
	if keep = min(keep, c.o.Local); keep > 0 && !f.deleted && (f.err == nil || none) {
		s.put(&cacheEntry{key: key, value: f.value, none: none, till: time.Now().Add(keep)}, c.o.LocalBytes/len(c.shards))
	}
	s.mu.Unlock()
	close(f.done)
}

// find asks Redis, and loads if nobody else does. Keep is how long the answer is fresh.
func (c *Cache) find(ctx context.Context, s *cacheShard, key string, load func(context.Context) ([]byte, error)) (value []byte, keep time.Duration, err error) {
	token := strconv.FormatUint(rand.Uint64(), 36)
	early := strconv.FormatFloat(-c.o.Beta*math.Log(1-rand.Float64()), 'f', 6, 64)
	wait := time.Millisecond
	for end := time.Now().Add(2 * c.o.LoadTimeout); ; {
		reply, err := c.ask(ctx, key, "get", token, early, span(c.o.LoadTimeout))
		var got cacheReply
		if err == nil {
			got, err = readCacheReply(reply)
		}
		if err != nil {
			c.stats.without.Add(1)
			return c.load(ctx, key, load, nil)
		}
		old := &cacheEntry{key: key, value: got.value, none: got.there && got.none}
		switch got.state {
		case "fresh":
			c.stats.hits.Add(1)
			value, err := old.result(key)
			return value, got.left, err
		case "stale":
			c.stats.stale.Add(1)
			value, err := old.result(key)
			return value, 0, err
		case "load":
			if !got.there {
				old = nil
			}
			if got.left <= 0 {
				return c.load(ctx, key, load, &loader{token, old})
			}
			// Not stale yet: that can go on behind.
			c.stats.early.Add(1)
			if !c.start(func() { c.loadEarly(ctx, s, key, load, token) }) {
				return c.load(ctx, key, load, &loader{token, old})
			}
			c.stats.hits.Add(1)
			value, err := old.result(key)
			return value, got.left, err
		}
		// Somebody else loads.
		if time.Now().After(end) {
			return c.load(ctx, key, load, nil)
		}
		timer := time.NewTimer(wait/2 + rand.N(wait))
		<-timer.C
		wait = min(2*wait, 50*time.Millisecond)
	}
}

// loadEarly loads a value that is not stale yet, and puts it in the place of what this
// process has, unless Delete has come meanwhile, or another such load.
func (c *Cache) loadEarly(ctx context.Context, s *cacheShard, key string, load func(context.Context) ([]byte, error), token string) {
	f := &cacheFlight{}
	s.mu.Lock()
	s.early[key] = f
	s.mu.Unlock()
	value, keep, err := c.load(ctx, key, load, &loader{token, nil})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.early[key] != f {
		return
	}
	delete(s.early, key)
	none := errors.Is(err, ErrNotFound)
	if keep = min(keep, c.o.Local); keep > 0 && s.entries[key] != nil && (err == nil || none) {
		s.put(&cacheEntry{key: key, value: value, none: none, till: time.Now().Add(keep)}, c.o.LocalBytes/len(c.shards))
	}
}

// A loader is who has the token to load a key, and what is there of it.
type loader struct {
	token string
	old   *cacheEntry
}

// load calls load, and stores what it returns.
func (c *Cache) load(ctx context.Context, key string, load func(context.Context) ([]byte, error), l *loader) (value []byte, keep time.Duration, err error) {
	c.stats.loads.Add(1)
	within, cancel := context.WithTimeout(ctx, c.o.LoadTimeout)
	began := time.Now()
	value, err = c.run(within, load)
	took := time.Since(began)
	cancel()
	none := errors.Is(err, ErrNotFound)
	if none {
		value = nil
	}
	keep, kind := c.o.TTL, "v"
	if none {
		keep, kind = max(0, c.o.Negative), "n"
	}
	if err != nil && !none {
		c.stats.failures.Add(1)
		keep = 0
	}
	if l == nil {
		return value, keep, err
	}
	if keep == 0 || len(value) > c.o.MaxValue {
		pause := c.o.ErrorPause
		if err == nil || none {
			pause = 0 // nothing to keep: the next one loads again
		}
		_, _ = c.ask(ctx, key, "fail", l.token, span(max(1, pause)))
		if err != nil && !none && l.old != nil {
			c.stats.stale.Add(1)
			value, err = l.old.result(key)
		}
		return value, 0, err
	}
	stale := c.o.Stale
	if none {
		stale = 0
	}
	stored, askErr := c.ask(ctx, key, "fill", l.token, string(value), kind, span(keep), spanOr0(stale), span(took))
	if n, _ := stored.(int64); askErr != nil || n != 1 {
		keep = 0 // overtaken, or deleted meanwhile
	}
	return value, keep, err
}

func spanOr0(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	return span(d)
}

// run calls load in a goroutine of its own, so that neither a panic nor runtime.Goexit nor a
// load that does not heed its context is more than an error. Close waits for the goroutine.
func (c *Cache) run(ctx context.Context, load func(context.Context) ([]byte, error)) ([]byte, error) {
	type result struct {
		value []byte
		err   error
	}
	done := make(chan result, 1)
	c.wg.Go(func() { // while its caller, whom Close waits for too, runs
		r := result{err: errors.New("redis: load ended its goroutine")}
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("redis: load panicked: %v\n%s", p, debug.Stack())
			}
			done <- r
		}()
		value, err := load(ctx)
		r = result{value, err}
	})
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // at the same time
		return r.value, r.err
	default:
		return nil, fmt.Errorf("redis: load has not returned within %v: %w", c.o.LoadTimeout, ctx.Err())
	}
}

// ask runs the script, unless Redis failed a moment ago.
func (c *Cache) ask(ctx context.Context, key string, args ...string) (any, error) {
	if c.rest.resting() {
		return nil, ErrDown
	}
	v, err := answerWithin(ctx, c.o.Timeout, c.client.Heeds(), func(ctx context.Context) (any, error) {
		return c.script.one(ctx, c.client, run{[]string{c.o.Prefix + short(key)}, args})
	})
	switch {
	case err == nil:
		c.rest.works()
	case !answered(err):
		c.rest.fail()
	}
	return v, err
}

type cacheReply struct {
	state string
	left  time.Duration
	value []byte
	there bool
	none  bool
}

// readCacheReply reads what lua/cache.lua answers to get.
func readCacheReply(v any) (r cacheReply, err error) {
	list, ok := v.([]any)
	var f [5]string
	if !ok || len(list) != len(f) {
		return r, fmt.Errorf("%w: %T of %d, want an entry", ErrReply, v, len(list))
	}
	for i, v := range list {
		if f[i], ok = v.(string); !ok {
			return r, fmt.Errorf("%w: %T in an entry", ErrReply, v)
		}
	}
	us, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || f[0] == "" || (f[0] == "fresh" || f[0] == "stale") && f[3] == "" {
		return r, fmt.Errorf("%w: entry %q for %.20q", ErrReply, f[0], f[1])
	}
	us = min(max(us, 0), int64(math.MaxInt64/time.Microsecond))
	return cacheReply{f[0], duration(us), []byte(f[2]), f[3] != "", f[3] == "n"}, nil
}

// Delete makes the next Get load anew, also where a load is on its way: its value is not kept.
// Call it after what the value is loaded from has changed. Other processes may serve the old
// value for as long as [CacheOptions.Local]. On an error the value may still be there.
func (c *Cache) Delete(ctx context.Context, key string) error {
	c.drop(key)
	defer c.drop(key) // what came in between may be what was there before
	_, err := answerWithin(ctx, c.o.Timeout, c.client.Heeds(), func(ctx context.Context) (any, error) {
		return nil, remove(ctx, c.client, c.o.Prefix+short(key))
	})
	return err
}

// drop forgets what this process has of a key, and what is on its way.
func (c *Cache) drop(key string) {
	s := &c.shards[maphash.String(c.seed, key)%uint64(len(c.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil {
		s.remove(e)
	}
	if f := s.flights[key]; f != nil {
		f.deleted = true
		delete(s.flights, key) // who comes now does not join it
	}
	delete(s.early, key) // its value is not put
}

// Stats returns the counts so far.
func (c *Cache) Stats() CacheStats {
	st := CacheStats{
		Local: c.stats.local.Load(), Shared: c.stats.shared.Load(), Hits: c.stats.hits.Load(), Stale: c.stats.stale.Load(),
		Loads: c.stats.loads.Load(), Early: c.stats.early.Load(), Failures: c.stats.failures.Load(), Without: c.stats.without.Load(),
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Bytes += s.bytes
		s.mu.Unlock()
	}
	return st
}

// Close waits for loads that go on, those that overstay LoadTimeout too, and makes Get return [ErrClosed] where it would have to
// ask. The client stays open.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wg.Wait()
	return nil
}

// put keeps an entry, and drops those that were used longest ago to stay within bytes.
func (s *cacheShard) put(e *cacheEntry, bytes int) {
	if old := s.entries[e.key]; old != nil {
		s.remove(old)
	}
	size := e.size()
	if size > bytes {
		return
	}
	s.entries[e.key] = s.used.PushFront(e)
	s.bytes += size
	for s.bytes > bytes {
		s.remove(s.used.Back())
	}
}

func (s *cacheShard) remove(e *list.Element) {
	entry := s.used.Remove(e).(*cacheEntry)
	delete(s.entries, entry.key)
	s.bytes -= entry.size()
}

func (e *cacheEntry) size() int { return len(e.key) + cap(e.value) + cacheOverhead }
