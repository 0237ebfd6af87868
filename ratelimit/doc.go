// Package ratelimit decides who may pass: so many requests in so much time, for each
// of very many keys.
//
//	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(100, time.Second), Burst: 20}, nil)
//	if !l.Allow(user) {
//		http.Error(w, "slow down", http.StatusTooManyRequests)
//	}
//
// # Policies
//
// What "100 in a second" means is for the policy to say. L is the rate's count, T its
// period, and the bound is what somebody gets through in the worst window of length
// T, choosing every moment:
//
//	                 bound      memory        refuses too early by
//	GCRA             burst + L  one word      nothing
//	TokenBucket      burst + L  one word      nothing (it is the same)
//	FixedWindow      2·L        one word      nothing
//	SlidingCounter   L          4·(B+1) bytes T/B
//	  interpolated   2·L        8 bytes       T
//	SlidingLog       L          4·L bytes     nothing
//
// [GCRA] is the one to take unless the bound has to be L exactly: it smooths, tells
// to the nanosecond when to come back, and has the smallest state. With a burst of 1
// it is L+1, and with the default one, which is L, it is 2·L. [FixedWindow] is here since many APIs promise just that, and to be
// compared with.
//
// Numbers are integers throughout. A gap that is no whole number of nanoseconds is
// kept in sixteenths and rounded up: never more than the rate.
//
// # Memory
//
// A key's state fades: after a pause it is as good as none. So nothing has to be
// deleted; the next key takes the place. There is no goroutine that cleans up, no
// object for each key, and no more memory than for [Options.MaxKeys], 20 to 25 bytes
// each for policies of one word, whoever makes up however many keys. When all are in
// use and fresh, [Options.Full] says what becomes of new ones.
//
// # Several limits
//
// [AllowAll] decides on a user's, an address' and a route's limit together: a request
// counts with all of them or with none.
//
// # Over machines
//
// A [Limiter] is of one process. Behind n balanced instances, each with the limit L,
// somebody gets up to n·L; each with L/n, less than L where the balance is uneven. A
// [Checker] may as well ask a server that all share: package adapters/redis has
// one. The middleware in ratelimit/httplimit takes any Checker.
//
// # References
//
//   - ATM Forum: Traffic Management Specification 4.0, 1996: GCRA.
//   - J. Turner: New directions in communications, 1986: token and leaky buckets.
//   - J.-P. Aumasson, D. Bernstein: SipHash: a fast short-input PRF, 2012.
//   - IETF draft-ietf-httpapi-ratelimit-headers: the headers of httplimit.
package ratelimit
