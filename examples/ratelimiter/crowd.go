package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// A crowd is fifty users who ask ten times a second, and one who asks five thousand
// times, of a server that can do a thousand.
const (
	modest    = 50
	greedy    = "greedy"
	crowdTime = 5 * time.Second
	queueRoom = 200
)

// A service is how users were served.
type service struct {
	asked, served int
	waits         []time.Duration
}

func (s *service) share() float64 { return 100 * float64(s.served) / float64(s.asked) }

// wait returns how long those who were served have waited, at a quantile.
func (s *service) wait(q float64) time.Duration {
	slices.Sort(s.waits)
	return quantile(s.waits, q)
}

// serveCrowd lets five seconds go by in virtual time, a millisecond at a time: some
// requests come, and the server answers the one that has waited longest. What finds the
// queue full gets nothing. A limiter, if there is one, refuses before the queue.
func serveCrowd(limiter *ratelimit.Limiter) (all, one service) {
	type request struct {
		user string
		at   time.Duration
	}
	r := rand.New(rand.NewPCG(11, 11))
	var queue []request
	of := func(user string) *service {
		if user == greedy {
			return &one
		}
		return &all
	}
	for now := time.Duration(0); now < crowdTime; now += time.Millisecond {
		var come []string
		for i := range modest { // each at its own moment in a tenth of a second
			if now%(100*time.Millisecond) == time.Duration(2*i)*time.Millisecond {
				come = append(come, fmt.Sprint("user ", i))
			}
		}
		for range 5 {
			come = append(come, greedy)
		}
		r.Shuffle(len(come), func(i, j int) { come[i], come[j] = come[j], come[i] })
		for _, user := range come {
			of(user).asked++
			if limiter != nil && !limiter.AllowAt(epoch.Add(now), user, 1).OK {
				continue
			}
			if len(queue) < queueRoom {
				queue = append(queue, request{user, now})
			}
		}
		if len(queue) > 0 {
			s := of(queue[0].user)
			s.served++
			s.waits = append(s.waits, now-queue[0].at)
			queue = queue[1:]
		}
	}
	return all, one
}

// quantile returns a value of sorted ones, 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
