package redis

import "github.com/ashlar-go/ashlar/ratelimit"

// decideBack decides by what Redis said last, less what has passed here since. Redis
// refills as the view here does, and others only take: the view may be too full, and never
// by more than what others have taken since.
//
// Why no more than n·MaxPending too many pass: take the flow's level in Redis less what it
// has not been told of; that falls only by what passes, and a node that knows the level is
// below 0 lets nothing pass. When the level falls below 0, by a message of at most
// MaxPending, each other node passes at most MaxPending before it has to hear of it.
func (n *Near) decideBack(e *near, need, now int64) (ratelimit.Decision, bool) {
	if !e.seen {
		return ratelimit.Decision{}, false
	}
	r := n.l.rule
	ahead := e.ahead - (now-e.at)/1000
	if r.level(ahead, e.parts)-e.pending < need {
		// As if all that is pending were counted.
		q, rest := r.times(min(e.pending, r.limit))
		ahead, rest = max(0, ahead)+q, rest+e.parts
		if rest >= r.den {
			ahead, rest = ahead+1, rest-r.den
		}
		d, err := r.decide([]int64{0, ahead, rest}, need)
		return d, err == nil
	}
	if e.pending+need > int64(n.o.MaxPending) {
		return ratelimit.Decision{}, false
	}
	e.pending += need
	if !e.waiting {
		e.waiting = true
		e.shard.dirty = append(e.shard.dirty, e)
	}
	// The next ones need not wait.
	if e.flight == nil && e.pending > int64(n.o.MaxPending)/2 && !e.shard.closed && n.l.rest.until.Load() == 0 {
		n.depart(e, 0, now)
	}
	return n.passed(e, now), true
}
