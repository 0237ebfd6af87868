package main

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

// A request is somebody who wants to go somewhere.
type request struct {
	at       time.Duration
	from, to graph.NodeID
}

// requests makes n of them within some time, in the order of their times.
func (r *roads) requests(n int, within time.Duration, seed uint64) []request {
	rng := rand.New(rand.NewPCG(seed, 13))
	list := make([]request, n)
	for i := range list {
		list[i] = request{time.Duration(rng.Int64N(int64(within))), r.place(rng), r.place(rng)}
	}
	slices.SortFunc(list, func(a, b request) int { return cmp.Compare(a.at, b.at) })
	return list
}

// An offer is a driver who could come.
type offer struct {
	d      *driver
	metres float64 // by the straight line
	eta    float64 // milliseconds on the roads
}

// A policy chooses among offers, nearest by the straight line first. It returns who comes
// and how long it took to find out, in milliseconds, or nil.
type policy struct {
	name   string
	reach  int // how many offers it looks at
	choose func(offers []offer, rng *rand.Rand) (best *offer, wait float64, asked int)
}

var policies = []policy{
	{"nearest by straight line", 1, func(l []offer, _ *rand.Rand) (*offer, float64, int) { return &l[0], 0, 1 }},
	{"nearest by the roads", 10, func(l []offer, _ *rand.Rand) (*offer, float64, int) {
		best := slices.MinFunc(l, func(a, b offer) int { return cmp.Compare(a.eta, b.eta) })
		return &best, 0, 1
	}},
	{"first to accept", 20, func(l []offer, rng *rand.Rand) (*offer, float64, int) {
		// All are asked at the same time. People look at their phones sooner or later, and
		// three in ten do not want this trip.
		best, wait := -1, 0.0
		for i := range l {
			t := 2000 + rng.Float64()*13_000
			if rng.IntN(10) < 7 && (best < 0 || t < wait) {
				best, wait = i, t
			}
		}
		if best < 0 {
			return nil, 0, len(l)
		}
		return &l[best], wait, len(l)
	}},
	{"best rated within 5 min", 20, func(l []offer, _ *rand.Rand) (*offer, float64, int) {
		best := -1
		for i := range l {
			if l[i].eta <= 300_000 && (best < 0 || l[i].d.rating > l[best].d.rating) {
				best = i
			}
		}
		if best < 0 {
			nearest := slices.MinFunc(l, func(a, b offer) int { return cmp.Compare(a.eta, b.eta) })
			return &nearest, 0, 1
		}
		return &l[best], 0, 1
	}},
}

// An outcome is how a policy did.
type outcome struct {
	pickups []float64 // milliseconds from the request to the car, rising
	ratings float64
	asked   int
	nobody  int
}

func (o *outcome) mean() float64 {
	sum := 0.0
	for _, p := range o.pickups {
		sum += p
	}
	return sum / float64(len(o.pickups))
}

func (o *outcome) quantile(q float64) float64 {
	return o.pickups[min(len(o.pickups)-1, int(q*float64(len(o.pickups))))]
}

// simulate lets a fleet serve requests by a policy, in steps of a second of its own time.
// Drivers report at every fourth step; who is free roams, who has a rider drives to the
// rider and then to where that one wants to go.
func (r *roads) simulate(ctx context.Context, p policy, drivers int, list []request) (*outcome, error) {
	const tick = time.Second
	fleet := r.fleet(drivers, 1)
	rng := rand.New(rand.NewPCG(7, 7))
	index := geohash.NewIndex[int](nil)
	o := &outcome{}
	free := make([]time.Duration, len(fleet)) // when a busy driver will be free
	var found []geohash.Found[int]
	for now := time.Duration(0); len(list) > 0; now += tick {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for i, d := range fleet {
			if d.busy && now >= free[i] {
				d.busy, d.route, d.on = false, nil, 0
			}
			if !d.busy {
				r.move(d, uint32(tick.Milliseconds()), rng)
			}
			if (int(now/tick)+i)%4 == 0 {
				lat, lon := r.at(d)
				if err := index.Put(i, lat, lon); err != nil {
					return nil, err
				}
			}
		}
		for len(list) > 0 && list[0].at <= now {
			q := list[0]
			list = list[1:]
			offers, err := r.offers(index, fleet, q.from, p.reach, &found)
			if err != nil {
				return nil, err
			}
			if len(offers) == 0 {
				o.nobody++
				continue
			}
			best, wait, asked := p.choose(offers, rng)
			o.asked += asked
			if best == nil {
				o.nobody++
				continue
			}
			ride, err := r.etas([]graph.NodeID{q.from}, q.to)
			if err != nil {
				return nil, err
			}
			o.pickups = append(o.pickups, wait+best.eta)
			o.ratings += best.d.rating
			d := best.d
			d.busy = true
			free[d.id] = now + time.Duration(wait+best.eta+float64(ride[0]))*time.Millisecond
			// It will be where the ride ends.
			d.arc = r.Graph.In(q.to)[0]
			d.on = r.Millis[d.arc]
		}
	}
	slices.Sort(o.pickups)
	return o, nil
}

// offers returns up to k free drivers by the straight line, with how long each needs on the
// roads: one question from many to one.
func (r *roads) offers(index *geohash.Index[int], fleet []*driver, rider graph.NodeID, k int, buf *[]geohash.Found[int]) ([]offer, error) {
	lat, lon, _ := r.Graph.Coord(rider)
	found, err := index.Nearest((*buf)[:0], lat, lon, k, &geohash.Query[int]{Filter: func(i int) bool { return !fleet[i].busy }})
	if err != nil {
		return nil, err
	}
	*buf = found
	nodes, list := make([]graph.NodeID, len(found)), make([]offer, len(found))
	for i, f := range found {
		d := fleet[f.Key]
		u, rest := r.next(d)
		nodes[i] = u
		list[i] = offer{d, f.Distance, float64(rest)}
	}
	if len(nodes) == 0 {
		return nil, nil
	}
	etas, err := r.etas(nodes, rider)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].eta += float64(etas[i])
	}
	return list, nil
}
