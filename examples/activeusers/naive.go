package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/ashlar-go/ashlar/hll"
	"github.com/ashlar-go/ashlar/stream"
)

// The ways that suggest themselves.

// A scanned is what a query found that looks at every event of the table and
// remembers the users.
type scanned struct {
	users, rows int
	took        time.Duration
	bytes       uint64 // allocated for it
}

// scan counts the users of the minutes [from, to), all partitions at the same time.
func scan(ctx context.Context, l stream.Log, from, to int) (s scanned, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	var users, rows [partitions]int
	err = parallel(func(p int) error {
		seen := map[uint32]struct{}{}
		err := each(ctx, l, p, 0, func(_ int64, at time.Time, e event) error {
			rows[p]++
			if m := minuteOf(at); from <= m && m < to {
				seen[e.user] = struct{}{}
			}
			return nil
		})
		users[p] = len(seen)
		return err
	})
	s.took = time.Since(start)
	runtime.ReadMemStats(&after)
	s.bytes = after.TotalAlloc - before.TotalAlloc
	for p := range partitions {
		s.users, s.rows = s.users+users[p], s.rows+rows[p]
	}
	return s, err
}

// A lottery sends each event to any server, as a load balancer does. Each server
// counts the users that it sees: exactly, and with a sketch.
type lottery struct {
	exact, sketched float64 // the servers' counts, added up
	merged          float64 // the servers' sketches, merged
	bytes           int     // of all sketches
}

func spread(events []moment, users, servers, p int) (l lottery, err error) {
	rng := rand.New(rand.NewPCG(seed, 8))
	sets, sketches := make([]bits, servers), make([]*hll.Sketch, servers)
	for i := range sets {
		sets[i] = newBits(users)
		if sketches[i], err = hll.New(p); err != nil {
			return l, err
		}
	}
	for _, e := range events {
		i := rng.IntN(servers)
		if sets[i].add(e.user()) {
			l.exact++
		}
		sketches[i].AddHash(userHash(e.user()))
	}
	for _, s := range sketches {
		l.sketched += s.Estimate()
		l.bytes += s.SizeBytes()
	}
	for _, s := range sketches[1:] {
		sketches[0].Merge(s)
	}
	l.merged = sketches[0].Estimate()
	return l, nil
}
