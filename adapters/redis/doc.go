// Package redis keeps limits, idempotency keys and a cache of popular items in Redis, or
// anything that speaks its protocol and runs its scripts, where all processes share them.
//
//	client := goredis.New(redisClient) // or rueidisclient.New
//	limiter, err := redis.New(client, ratelimit.GCRA{Rate: ratelimit.Per(100, time.Second)}, nil)
//	d, err := limiter.Check(ctx, user, 1)
//
// Tests run on Redis 7.0, alone and as a cluster, with go-redis and rueidis.
//
// # Limits
//
// A [Limiter] decides as package ratelimit's does, by the same policies and with the same
// [ratelimit.Decision]; both are a [ratelimit.Checker], so that one takes the other's place
// in a program. Each decision is a step of a Lua script: time is the server's, in whole
// microseconds; numbers are integers below 2^53; what a key holds lives as long as it
// matters. Requests that come while others are on their way travel together, in one script
// for each slot of a cluster. [Limiter.CheckMany] decides on many keys, [CheckAll] on several
// limits of one request: it counts with all of them or with none.
//
// The value of a key is a short text, of 16 to 30 bytes for GCRA, TokenBucket and FixedWindow,
// and with the digits of each bucket's count for SlidingCounter; SlidingLog has a list, with a
// number for each request that counts.
//
// A policy that does not fit a clock of microseconds or a double is [ErrUnsupported]. When
// the server's clock goes back, counts stand for at most two bursts or one window more.
//
// # When Redis fails
//
// [Options.Failure] says what is decided: the error is returned ([Fail]), requests pass
// ([Open]) or are refused ([Closed]), or this process decides with its share of the limit
// ([Local]). Nobody waits longer than [Options.Timeout]. After a failure Redis is left alone
// for [Options.Pause], but for one request that tries; with Fail, each one tries.
//
// A request whose answer is lost may have been counted: failures make a limit smaller, not
// larger. But a failover forgets what the replica had not heard of, and a restart what was
// not on the disk: then as much as that passes once more.
//
// # Near Redis
//
// A [Near] in front of a Limiter spares it most calls about keys that come often. What it
// promises, for n nodes with a policy that lets through B in a window:
//
//	mode        passes in a window   refuses too much by                calls
//	none        B                    nothing                            one for each request
//	Lease       B                    what other nodes hold, n·Share     one for a share
//	WriteBack   B + n·MaxPending     nothing                            one in Flush
//	Deny        B                    nothing                            one for what passes
//
// In mode [Lease] a node buys tokens, spends them, and gives back what it does not need. The
// key in Redis knows what each node has: level and leases together are never more than the
// burst, so that tokens that lie about do not come in again meanwhile, and B holds exactly.
// Near the limit leases get small, and a node asks for no less than what comes in in a
// twentieth of a lease, which delays requests there rather than lose them.
// A node stops to spend before Redis lets its lease end, by a sixteenth, which is for clocks
// that run at different speeds (a machine that is suspended and wakes up must not go on with
// a clock that stood still). A node that dies takes what it held with it. An answer that is
// lost is taken back with the next question; one that comes twice or late changes nothing.
//
// In mode [WriteBack] a node decides by the flow as Redis told it last, less what it has let
// through since, and stops at MaxPending that Redis has not acknowledged. What it tells has a
// number, so that nothing counts twice. When the level falls below nothing, by a message of
// at most MaxPending, each other node passes at most MaxPending before it hears of it: hence
// the bound, as long as n·MaxPending is no more than the burst. A node that dies counts as one
// more.
//
// # Idempotency keys
//
// [NewIdem] makes an [idem.Backend], which passes the suite of idem/idemtest:
//
//	backend, err := redis.NewIdem(client, nil)
//	store, err := idem.New(backend, nil)
//
// It is as durable as the server: see [Idem].
//
// # A cache
//
// [Cache.Get] returns what is known under a key, or loads it: once, however many ask in
// however many processes, and again a little before it is stale, by one of them. That there
// is nothing under a key is remembered, and a stale value is served where loading fails. See
// [Cache] for how.
//
// # Clusters
//
// Keys are named Prefix and key, so that a hash tag in the key is Redis': {user 7}:/search
// and {user 7} are in one slot, as CheckAll needs it. A key above [MaxKey] bytes is replaced
// by its SHA-256, behind its tag. Idem divides its keys into partitions with tags of their
// own. No script touches keys of two slots.
//
// # References
//
//   - ATM Forum: Traffic Management Specification 4.0, 1996: GCRA.
//   - C. Gray, D. Cheriton: Leases: an efficient fault-tolerant mechanism for distributed
//     file cache consistency, SOSP 1989.
//   - R. Nishtala et al.: Scaling Memcache at Facebook, NSDI 2013: tokens for who loads.
//   - A. Vattani, F. Chierichetti, K. Lowenstein: Optimal probabilistic cache stampede
//     prevention, VLDB 2015: XFetch.
package redis
