package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// A policySpec is a policy as it is written down for another process.
type policySpec struct {
	Name   string
	Count  int
	Period time.Duration
	Burst  int // of a token bucket and of GCRA; 0: Count
}

// The names of the policies.
const (
	fixedWindow    = "fixed window"
	slidingLog     = "sliding log"
	slidingCounter = "sliding counter"
	interpolated   = "… interpolated"
	tokenBucket    = "token bucket"
	gcra           = "GCRA, burst 10"
)

// policyNames are the five policies, one of them in two forms.
var policyNames = []string{fixedWindow, slidingLog, slidingCounter, interpolated, tokenBucket, gcra}

// named is a policy by its name, with what a burst is where it has one of its own.
func named(name string, count int, period time.Duration) policySpec {
	s := policySpec{Name: name, Count: count, Period: period}
	if name == gcra {
		s.Burst = min(10, count)
	}
	return s
}

// policy returns the policy, for a part of the limit: of 100 requests, with parts 3, a
// third goes to each.
func (s policySpec) policy(parts int) (ratelimit.Policy, error) {
	rate := ratelimit.Per(max(1, s.Count/parts), s.Period)
	burst := s.Burst
	if burst > 0 {
		burst = max(1, burst/parts)
	}
	switch s.Name {
	case fixedWindow:
		return ratelimit.FixedWindow{Rate: rate}, nil
	case slidingLog:
		return ratelimit.SlidingLog{Rate: rate}, nil
	case slidingCounter:
		return ratelimit.SlidingCounter{Rate: rate}, nil
	case interpolated:
		return ratelimit.SlidingCounter{Rate: rate, Interpolate: true}, nil
	case tokenBucket:
		return ratelimit.TokenBucket{Rate: rate, Burst: burst}, nil
	case gcra:
		return ratelimit.GCRA{Rate: rate, Burst: burst}, nil
	}
	return nil, fmt.Errorf("no policy is named %q", s.Name)
}

func (s policySpec) limiter(parts int, now func() time.Time) (*ratelimit.Limiter, error) {
	p, err := s.policy(parts)
	if err != nil {
		return nil, err
	}
	return ratelimit.New(p, &ratelimit.Options{Now: now})
}

// bound is the most that passes in a window of the policy's period, whatever comes.
func (s policySpec) bound() int {
	switch s.Name {
	case fixedWindow, interpolated:
		return 2 * s.Count
	case tokenBucket, gcra:
		if s.Burst > 0 {
			return s.Burst + s.Count
		}
		return 2 * s.Count
	}
	return s.Count
}

// epoch is when virtual time begins: a boundary of every window that is used here.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// A trace is when requests come, since the epoch.
type trace []time.Duration

// spread adds n requests, evenly over [from, to).
func (t trace) spread(n int, from, to time.Duration) trace {
	for i := range n {
		t = append(t, from+(to-from)*time.Duration(i)/time.Duration(n))
	}
	return t
}

// The clients, for a limit of 100 in a second. Each comes after a pause, which is as good
// as never before.
var clients = []struct {
	name  string
	trace trace
}{
	// As many as it can around the moment when the second changes.
	{"boundary", trace{}.spread(150, 950*time.Millisecond, 1000*time.Millisecond).spread(150, 1000*time.Millisecond, 1050*time.Millisecond)},
	// At the end of a second, and just before that is out of sight.
	{"late", trace{}.spread(150, 990*time.Millisecond, 1000*time.Millisecond).spread(150, 1970*time.Millisecond, 1980*time.Millisecond)},
	// Every millisecond.
	{"always", trace{}.spread(3000, 500*time.Millisecond, 3500*time.Millisecond)},
}

// replay gives a trace to a limiter and returns when requests were let through.
func replay(t trace, allow func(time.Time) bool) (admitted trace) {
	for _, at := range t {
		if allow(epoch.Add(at)) {
			admitted = append(admitted, at)
		}
	}
	return admitted
}

// mostIn returns how many of these moments fall into the fullest window of a length.
func mostIn(admitted trace, window time.Duration) (most int) {
	first := 0
	for i, at := range admitted {
		for at-admitted[first] >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// word lets a policy's name stand in a list of choices.
func word(name string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !(r >= 'a' && r <= 'z') && !(r >= '0' && r <= '9') }), "-")
}
