package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// A trip is a row of claimed_trips.
type trip struct {
	rider  int
	driver int
	token  uint64 // of the claim; 0 without
}

// A dispatcher matches riders with drivers. There are two, each behind its own part of the
// balancer, and each has a list of who is free that it renews after some requests: nobody
// can know better for certain.
type dispatcher struct {
	r     *roads
	index *geohash.Index[int]
	fleet []*driver
	taken map[int]bool // as far as this one knows
	claim func(ctx context.Context, driver int) (token uint64, ok bool, err error)
}

// match gives a rider the driver who is there first, of those that this dispatcher takes
// for free.
func (d *dispatcher) match(ctx context.Context, rider int, at graph.NodeID) (t trip, refused int, err error) {
	for {
		lat, lon, _ := d.r.Graph.Coord(at)
		found, err := d.index.Nearest(nil, lat, lon, 10, &geohash.Query[int]{Filter: func(i int) bool { return !d.taken[i] }})
		if err != nil {
			return trip{}, refused, err
		}
		if len(found) == 0 {
			return trip{rider, -1, 0}, refused, nil
		}
		nodes := make([]graph.NodeID, len(found))
		for i, f := range found {
			nodes[i], _ = d.r.next(d.fleet[f.Key])
		}
		etas, err := d.r.etas(nodes, at)
		if err != nil {
			return trip{}, refused, err
		}
		best := 0
		for i, e := range etas {
			if e < etas[best] {
				best = i
			}
		}
		driver := found[best].Key
		d.taken[driver] = true
		token, ok, err := d.claim(ctx, driver)
		if err != nil {
			return trip{}, refused, err
		}
		if ok {
			return trip{rider, driver, token}, refused, nil
		}
		refused++ // somebody else has that one: the next
	}
}

// twice counts the drivers who have more than one rider.
func twice(trips []trip) int {
	riders, n := map[int]int{}, 0
	for _, t := range trips {
		if t.driver >= 0 {
			if riders[t.driver]++; riders[t.driver] == 2 {
				n++
			}
		}
	}
	return n
}

// unclaimed matches riders by turns, without a claim: each dispatcher hears of what the
// other did after every tenth.
func (r *roads) unclaimed(ctx context.Context, fleet []*driver, index *geohash.Index[int], riders []graph.NodeID) ([]trip, error) {
	const renewed = 10
	always := func(context.Context, int) (uint64, bool, error) { return 0, true, nil }
	pair := [2]*dispatcher{}
	for i := range pair {
		pair[i] = &dispatcher{r, index, fleet, map[int]bool{}, always}
	}
	var trips []trip
	for i, at := range riders {
		t, _, err := pair[i%2].match(ctx, i, at)
		if err != nil {
			return nil, err
		}
		trips = append(trips, t)
		if i%(2*renewed) == 2*renewed-1 {
			for _, t := range trips {
				pair[0].taken[t.driver], pair[1].taken[t.driver] = true, true
			}
		}
	}
	return trips, nil
}

// A claimed is how the same went with claims.
type claimed struct {
	trips   []trip
	refused int
	took    time.Duration
	tokens  bool // they rise from claim to claim of one driver, and none is 0
}

// withClaims matches them at the same time, and claims each driver by a lock: its holder is
// the dispatcher's session, so that the drivers of one that dies are free when its lease
// ends. The claims of a dispatcher carry a token, by which the table of trips refuses those
// of one that was thought dead.
func (r *roads) withClaims(ctx context.Context, dir string, fleet []*driver, index *geohash.Index[int], riders []graph.NodeID) (c *claimed, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	// One server; in production there are three, each a lockd.
	n, err := node.Open(dir, &node.Options{ID: "a", Listener: listener, Bootstrap: []replica.Member{{ID: "a", Address: addr}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	c = &claimed{tokens: true}
	// A session that ends gives its drivers back: both last until the evening is over.
	clients := make([]*lock.Client, 2)
	for i := range clients {
		if clients[i], err = lock.Dial(ctx, []string{addr}, nil); err != nil {
			return nil, err
		}
		defer clients[i].Close()
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(clients))
	began := time.Now()
	for i, client := range clients {
		wg.Go(func() {
			d := &dispatcher{r, index, fleet, map[int]bool{}, func(ctx context.Context, driver int) (uint64, bool, error) {
				l, err := client.TryLock(ctx, fmt.Sprint("driver/", driver))
				if errors.Is(err, lock.ErrHeld) {
					return 0, false, nil
				}
				if err != nil {
					return 0, false, err
				}
				return l.Token(), true, nil
			}}
			for j := i; j < len(riders); j += len(errs) {
				t, refused, err := d.match(ctx, j, riders[j])
				if err != nil {
					errs[i] = err
					return
				}
				mu.Lock()
				c.trips = append(c.trips, t)
				c.refused += refused
				c.tokens = c.tokens && (t.driver < 0 || t.token > 0)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	c.took = time.Since(began)
	return c, errors.Join(errs...)
}
