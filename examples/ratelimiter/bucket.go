package main

import (
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// Buckets are what a limiter node keeps for balancers that decide on their own for a
// while: a token bucket for each key, which knows who has taken tokens out in advance.
//
// Tokens that somebody holds would be as good as twice there if the bucket filled up
// meanwhile. So for each key
//
//	level + all that is held ≤ burst
//
// and tokens come from nowhere but the rate: no window of a period sees more than burst
// and what comes in meanwhile, as from a bucket that nobody takes anything from in
// advance. A holder that dies takes its tokens with it.
//
// Questions have numbers, which rise for each holder and key: one that was held up in the
// network and comes after a later one changes nothing. Buckets are safe for concurrent use
// by multiple goroutines.
type buckets struct {
	burst int
	every time.Duration // a token

	mu   sync.Mutex
	keys map[string]*bucket
}

type bucket struct {
	level   time.Duration // how long it took to come in; below 0 after others have told late
	at      time.Time     // of the level
	leases  map[string]lease
	numbers map[string]uint64 // of what was told late, by holder
}

type lease struct {
	tokens int
	until  time.Time
	number uint64
}

func newBuckets(s policySpec) *buckets {
	burst := s.Burst
	if burst == 0 {
		burst = s.Count
	}
	return &buckets{burst: burst, every: s.Period / time.Duration(s.Count), keys: map[string]*bucket{}}
}

// sweeps is how many buckets each new one looks at: those that are full are forgotten,
// since a new one is the same. So there are not more of them than keys of a period, about.
const sweeps = 4

// openLocked returns the bucket of a key as it is now.
func (b *buckets) openLocked(now time.Time, key string) *bucket {
	k := b.keys[key]
	if k == nil {
		n := 0
		for other, o := range b.keys {
			if b.refillLocked(now, o); o.level >= time.Duration(b.burst)*b.every {
				delete(b.keys, other)
			}
			if n++; n == sweeps {
				break
			}
		}
		k = &bucket{level: time.Duration(b.burst) * b.every, at: now, leases: map[string]lease{}, numbers: map[string]uint64{}}
		b.keys[key] = k
	}
	b.refillLocked(now, k)
	return k
}

func (b *buckets) refillLocked(now time.Time, k *bucket) {
	held := 0
	for holder, l := range k.leases {
		if !now.Before(l.until) {
			delete(k.leases, holder) // it has spent them, or they are lost
			continue
		}
		held += l.tokens
	}
	k.level = min(k.level+max(0, now.Sub(k.at)), time.Duration(b.burst-held)*b.every)
	if now.After(k.at) {
		k.at = now
	}
}

// A grant is the answer to who wants tokens.
type grant struct {
	tokens int // to hold from now on, beside those that were there
	level  int // left in the bucket
	retry  time.Duration
}

// take gives a holder tokens, after it has told how many it still has: as many as it
// needs, or none, and beyond that up to want, but of what is there only a part, so that
// something is left for others. What the holder gives back comes first.
func (b *buckets) take(now time.Time, key, holder string, number uint64, held, back, need, want int, keep time.Duration) (g grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.openLocked(now, key)
	l := k.leases[holder]
	if number <= l.number {
		return grant{retry: b.every} // a question of the past; nobody waits for this answer
	}
	l.number = number
	back = max(0, min(back, l.tokens-held)) // no more than it was given
	k.level += time.Duration(back) * b.every
	l.tokens = max(0, min(held, l.tokens-back))
	free := int(max(0, k.level) / b.every)
	switch {
	case need > b.burst:
		g.retry = ratelimit.Never
	case need <= free:
		g.tokens = max(need, min(want, free/(2*max(2, len(k.leases)))))
		k.level -= time.Duration(g.tokens) * b.every
		l.tokens += g.tokens
	default:
		g.retry = time.Duration(need)*b.every - k.level
	}
	l.until = now.Add(keep)
	k.leases[holder] = l
	g.level = free - g.tokens
	return g
}

// spend counts what a balancer has let through already, whether there was something left
// or not, and returns how long what is there now took to come in: a negative time if it
// was too much. What was counted under a number is not counted again.
func (b *buckets) spend(now time.Time, key, holder string, number uint64, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.openLocked(now, key)
	if number > k.numbers[holder] {
		k.numbers[holder] = number
		k.level = max(k.level, -hundredYears) - time.Duration(n)*b.every
	}
	return k.level
}
