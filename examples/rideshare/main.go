// Rideshare shows how a rider gets the nearest driver, and how only one rider does.
//
// Two thousand cars drive on the streets of New York. Each tells where it is, over a
// WebSocket that stays open, to a server that keeps nothing but the last position, in
// memory:
//
//	phone ─ 16 bytes a second ─► position server: geohash.Index ◄─ who is near? ─ dispatcher
//	phone ─►                       no disk: what is lost, phones tell again         │
//	phone ─►                                                                        ▼
//	                         metric: ETA of ten candidates in one question ─► claim: lock/driver
//
// It asks what a position costs on the wire, what happens where everybody is at one place,
// what comes back after a server dies and in what rush, who should drive, how two
// dispatchers do not send one driver to two riders, and what ten million users need.
//
// Run it with "go run ./examples/rideshare". Read run from top to bottom; the parts are in
// the files named after them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

// usual is how many drivers there are.
const usual = 2000

func main() {
	child.Main(roles) // the position server that this program kills
	n := flag.Int("n", usual, "how many `drivers` there are, 200 to 8,000")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *n < 200 || *n > 8000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, *n, os.Stdout)
	default:
		err = run(ctx, os.Stdout, *n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rideshare:", err)
		os.Exit(1)
	}
}

// A story is what the parts of the run share.
type story struct {
	w     io.Writer
	dir   string
	n     int
	roads *roads
	bytes measured // by the parts so far
}

func run(ctx context.Context, w io.Writer, n int) error {
	dir, err := os.MkdirTemp("", "rideshare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{w: w, dir: dir, n: n}
	for i, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Streets and cars", s.begin},
		{"Where is everybody?", s.positions},
		{"Everybody at one place", s.concert},
		{"The server dies", s.killed},
		{"Who drives?", s.whoDrives},
		{"One driver, one rider", s.claims},
		{"Ten million users", s.capacity},
	} {
		if i > 0 {
			s.say("")
		}
		s.say("== %d. %s", i+1, part.title)
		if err := part.tell(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

// check returns an error unless a claim holds.
func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("this should hold: "+format, args...)
}

// ---- 1 --------------------------------------------------------------------------

func (s *story) begin(ctx context.Context) (err error) {
	began := time.Now()
	if s.roads, err = openRoads(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	g := s.roads.Graph
	s.say("%s crossings and %s roads of New York; a hierarchy for ETAs is ready after %.1f s", num(g.Nodes()), num(g.Arcs()), took.Seconds())
	// The straight line and the roads.
	rng := rand.New(rand.NewPCG(1, 1))
	q := s.roads.metric.NewQuery()
	longest, sum, wrong := 0.0, 0.0, 0
	const trips = 300
	for range trips {
		u, v := s.roads.place(rng), s.roads.place(rng)
		d, err := q.Distance(u, v)
		if err != nil {
			return err
		}
		want, _, err := graph.Dijkstra(g, s.roads.Millis, u, v)
		if err != nil {
			return err
		}
		if d != want {
			wrong++
		}
		lat, lon, _ := g.Coord(u)
		lat2, lon2, _ := g.Coord(v)
		metres := 0.0
		for _, a := range q.AppendPath(nil) {
			metres += float64(s.roads.Decimetres[a]) / 10
		}
		straight := geohash.Distance(lat, lon, lat2, lon2)
		if straight > 500 {
			longest = max(longest, metres/straight)
		}
		sum += float64(d)
	}
	s.say("%d rides: %.1f minutes on average; by the roads up to %.1f times as far as by the straight line; %d wrong against Dijkstra", trips, sum/trips/60_000, longest, wrong)
	return check(wrong == 0 && longest > 1.3, "ETAs are exact, and straight lines are not roads")
}

// ---- 2 --------------------------------------------------------------------------

func (s *story) positions(ctx context.Context) (err error) {
	server, err := startServer("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = server.Kill() }() // it has done its work
	if s.bytes.ws, s.bytes.http, err = measure(ctx, server.address, 200); err != nil {
		return err
	}
	s.say("a report is 16 bytes; on the socket it is %.0f bytes in a WebSocket that is open, %.0f as a request of HTTP on a connection that is kept open: %.0f times as many", s.bytes.ws, s.bytes.http, s.bytes.http/s.bytes.ws)
	fleet := s.roads.fleet(s.n, 2)
	where := s.moving(ctx, fleet)
	c := startCrowd(ctx, s.n, server.address, jittered, where)
	defer c.stop()
	if err := s.known(ctx, server, s.n); err != nil {
		return err
	}
	var near []geohash.Found[uint32]
	if err := server.ask(ctx, "/near?lat=40.758&lon=-73.9855&k=5", &near); err != nil {
		return err
	}
	s.say("%s phones are connected, and the server knows all of them; the five nearest to Times Square are %.0f to %.0f m away", num(s.n), near[0].Distance, near[len(near)-1].Distance)
	return check(s.bytes.ws < 30 && s.bytes.http > 5*s.bytes.ws && len(near) == 5, "a WebSocket carries a report in little more than its size")
}

// moving lets a fleet drive until ctx ends, and returns where each car is.
func (s *story) moving(ctx context.Context, fleet []*driver) func(int) (float64, float64) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(5, 5))
	last := time.Now()
	return func(i int) (lat, lon float64) {
		mu.Lock()
		defer mu.Unlock()
		if passed := time.Since(last); passed > 100*time.Millisecond {
			last = last.Add(passed)
			for _, d := range fleet {
				s.roads.move(d, uint32(passed.Milliseconds()), rng)
			}
		}
		return s.roads.at(fleet[i])
	}
}

// patience is how long the story waits for what must come: a loaded machine is slow.
const patience = 60 * time.Second

// known waits until the server knows n drivers or more.
func (s *story) known(ctx context.Context, server *remote, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var t tally
		err := server.ask(ctx, "/stats", &t)
		if err == nil && t.Drivers >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server knows %d of %d drivers: %w", t.Drivers, n, errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ---- 3 --------------------------------------------------------------------------

func (s *story) concert(context.Context) error {
	index := geohash.NewIndex[int](nil)
	fleet := s.roads.fleet(s.n, 3)
	for i, d := range fleet {
		lat, lon := s.roads.at(d)
		if err := index.Put(i, lat, lon); err != nil {
			return err
		}
	}
	shape := func() (cells, fullest, small, large int) {
		small, large = 0, 64
		for c, n := range index.Cells() {
			cells++
			fullest = max(fullest, n)
			small, large = max(small, c.Bits()), min(large, c.Bits())
		}
		return
	}
	tell := func(when string) (smallest, fullest int) {
		cells, fullest, small, large := shape()
		s.say("  %-28s %4d cells, the fullest has %3d cars; cells of %d to %d bits", when, cells, fullest, large, small)
		return small, fullest
	}
	s.say("cells that hold more than 128 cars are cut in sixteen, and joined again when they are empty:")
	before, full := tell("on an ordinary evening")
	// Half of all drive to the Garden.
	const lat, lon = 40.7505, -73.9934
	rng := rand.New(rand.NewPCG(3, 3))
	for i := 0; i < s.n; i += 2 {
		if err := index.Put(i, lat+rng.NormFloat64()*0.0008, lon+rng.NormFloat64()*0.001); err != nil {
			return err
		}
	}
	during, fullDuring := tell("when the concert ends")
	var found []geohash.Found[int]
	found, err := index.Nearest(nil, lat, lon, 10, nil)
	if err != nil {
		return err
	}
	wrong := 0
	worst := found[len(found)-1].Distance
	nearer := 0
	for p := range allPlaces(index) {
		if geohash.Distance(lat, lon, p.Lat, p.Lon) < worst {
			nearer++
		}
	}
	if nearer >= len(found) {
		wrong++
	}
	for i, d := range fleet {
		lat, lon := s.roads.at(d)
		if err := index.Put(i, lat, lon); err != nil {
			return err
		}
	}
	after, fullAfter := tell("when all have gone home")
	s.say("large cities need small cells, and the sea none: the tree finds that out by itself")
	return check(during > before && full <= 128 && fullDuring <= 128 && fullAfter <= 128 && after <= during && wrong == 0, "cells are small where it is crowded and no cell is above its limit, and the nearest are the nearest")
}

func allPlaces(index *geohash.Index[int]) func(func(geohash.Point) bool) {
	return func(yield func(geohash.Point) bool) {
		for _, p := range index.All() {
			if !yield(p) {
				return
			}
		}
	}
}

// ---- 4 --------------------------------------------------------------------------

func (s *story) killed(ctx context.Context) error {
	const span = 50 * time.Millisecond
	peaks := map[string]int{}
	for _, way := range []struct {
		name    string
		backoff func(*rand.Rand, int) time.Duration
	}{{"again after 0.2 s", atOnce}, {"again within 2 s, at random", jittered}} {
		most, tries, planned, err := s.kill(ctx, way.backoff, span)
		if err != nil {
			return err
		}
		peaks[way.name] = planned
		s.say("  %-28s %5s phones want to try within the same 50 ms; here %s did, with %s tries until all were connected", way.name, num(planned), num(most), num(tries))
	}
	s.say("positions are in no database: the new server knew nobody, and knew all %s as soon as each had reported once, which is one interval after it was connected", num(s.n))
	return check(peaks["again within 2 s, at random"]*10 < peaks["again after 0.2 s"], "jitter spreads the rush: %v", peaks)
}

// kill kills a server with phones, starts another in its place, and waits until that one
// knows all.
func (s *story) kill(ctx context.Context, backoff func(*rand.Rand, int) time.Duration, span time.Duration) (most, tries, planned int, err error) {
	server, err := startServer("127.0.0.1:0")
	if err != nil {
		return 0, 0, 0, err
	}
	fleet := s.roads.fleet(s.n, 2)
	c := startCrowd(ctx, s.n, server.address, backoff, func(i int) (float64, float64) { return s.roads.at(fleet[i]) })
	defer c.stop()
	if err := s.known(ctx, server, s.n); err != nil {
		return 0, 0, 0, errors.Join(err, server.Kill())
	}
	if err := server.Kill(); err != nil {
		return 0, 0, 0, err
	}
	next, err := startServer(server.address)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = next.Kill() }()
	if err := s.known(ctx, next, s.n); err != nil {
		return 0, 0, 0, err
	}
	most, tries = c.peak(span)
	return most, tries, c.planned(span), nil
}

// ---- 5 --------------------------------------------------------------------------

func (s *story) whoDrives(ctx context.Context) error {
	list := s.roads.requests(s.n*2/5, 20*time.Minute, 9)
	s.say("%s requests within 20 minutes, in simulated time; the same requests and cars for each policy", num(len(list)))
	s.say("                               car is there after   95 of 100   driver's stars   asked each   nobody")
	by := map[string]*outcome{}
	for _, p := range policies {
		o, err := s.roads.simulate(ctx, p, s.n, list)
		if err != nil {
			return err
		}
		by[p.name] = o
		s.say("  %-26s   %14.0f s   %7.0f s   %14.2f   %10.1f   %6d", p.name, o.mean()/1000, o.quantile(0.95)/1000,
			o.ratings/float64(len(o.pickups)), float64(o.asked)/float64(len(list)), o.nobody)
	}
	line, near, accept, best := by[policies[0].name], by[policies[1].name], by[policies[2].name], by[policies[3].name]
	return check(near.mean() < line.mean() && accept.mean() > near.mean() && best.mean() > near.mean() &&
		best.ratings/float64(len(best.pickups)) > near.ratings/float64(len(near.pickups)) && accept.asked > 10*near.asked,
		"the roads beat the straight line, and every other wish costs time")
}

// ---- 6 --------------------------------------------------------------------------

func (s *story) claims(ctx context.Context) error {
	// A busy evening: fewer cars than riders.
	cars := s.n / 10
	fleet := s.roads.fleet(cars, 6)
	index := geohash.NewIndex[int](nil)
	for i, d := range fleet {
		lat, lon := s.roads.at(d)
		if err := index.Put(i, lat, lon); err != nil {
			return err
		}
	}
	rng := rand.New(rand.NewPCG(6, 6))
	riders := make([]graph.NodeID, cars*6/5)
	for i := range riders {
		riders[i] = s.roads.place(rng)
	}
	free, err := s.roads.unclaimed(ctx, fleet, index, riders)
	if err != nil {
		return err
	}
	s.say("%s riders, %s cars, two dispatchers that hear of each other after every tenth rider", num(len(riders)), num(cars))
	s.say("  without a claim: %s drivers have two riders or more", num(twice(free)))
	c, err := s.roads.withClaims(ctx, filepath.Join(s.dir, "lock"), fleet, index, riders)
	if err != nil {
		return err
	}
	served := 0
	for _, t := range c.trips {
		if t.driver >= 0 {
			served++
		}
	}
	s.say("  with a lock on each driver: double-assigned = %d; %s of %s cars have a rider; %d claims were refused and the next car taken; %.2f ms a match, with its sync to disk",
		twice(c.trips), num(served), num(cars), c.refused, float64(c.took.Microseconds())/1000/float64(len(riders)))
	s.say("  each claim has a token, which goes into claimed_trips: a dispatcher that was thought dead and wakes up is refused by the table")
	return check(twice(free) > 0 && twice(c.trips) == 0 && served == cars && c.tokens, "claims make it one driver, one rider, and no car is left over")
}

// ---- 7 --------------------------------------------------------------------------

func (s *story) capacity(context.Context) error {
	m, err := s.roads.measureIndex(50_000)
	if err != nil {
		return err
	}
	m.ws, m.http = s.bytes.ws, s.bytes.http
	s.say("measured here: a move in the index %.2f µs, the ten nearest %.1f µs, %.0f bytes a driver", float64(m.put.Nanoseconds())/1000, float64(m.nearest.Nanoseconds())/1000, m.bytes)
	s.say("assumed: %.0f %% of all users drive at the busiest hour and report every %.0f s, %.0f %% have the app open; a connection takes %d kB, and a server may hold %s, so that few phones come back at once", 100*driving, 1/everySecond, 100*waiting, connBytes/1000, num(connServer))
	ten := m.plan(10e6)
	for _, users := range []float64{1e6, 10e6, 100e6} {
		s.say("  %v", m.plan(users))
	}
	s.say("does partitioning pay at 10 M users? Not for the positions: they are %.0f MB, and moving them takes less than one core. It is the connections that need %.0f machines, and they can be cut by city, since no ride leaves one: then each city's positions live where its phones are connected, and a dead machine is one city's rush", ten.memory/1e6, ten.servers)
	return check(ten.cores < 1 && ten.memory < 1e9 && ten.servers > 5 && m.nearestOnes == 20_000, "positions fit on one machine, connections do not")
}
