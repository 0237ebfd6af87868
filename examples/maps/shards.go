package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/graph"
	"github.com/ashlar-go/ashlar/graph/shard"
	"github.com/ashlar-go/ashlar/stream"
)

// cut is part 8: the network on several processes.
func (s *story) cut(ctx context.Context) (err error) {
	pl, err := shard.Place(s.n.g, parts, placeBits)
	if err != nil {
		return err
	}
	arcs := float64(s.n.g.Arcs())
	s.say("%d processes; arcs from one to another: %.2f %% if nodes are placed by geohash, %.0f %% by a hash of their number",
		parts, 100*float64(crossing(s.n.g, pl.Part))/arcs, 100*float64(crossing(s.n.g, byHash))/arcs)
	t, err := startFleet(s.files)
	defer func() { err = errors.Join(err, t.stop()) }()
	if err != nil {
		return err
	}
	var runs [parts][]string
	for _, r := range pl.Runs() {
		runs[r.Part] = append(runs[r.Part], r.First.String()+"…"+r.Last.String())
	}
	for i, z := range t.sizes {
		cells := strings.Join(runs[i], ", ")
		s.say("  part %d has %6s crossings, %3d of them at a border: cells %s", i, num(z.nodes), z.borders, cells)
	}
	router, err := shard.NewRouter(ctx, pl, t.peers())
	if err != nil {
		return err
	}
	q := s.free.NewQuery()
	pairs := s.pairs[:len(s.pairs)/2]
	wrong, requests, across := 0, 0, 0
	for _, p := range pairs {
		d, trace, err := router.Distance(ctx, p.s, p.t)
		if err != nil {
			return err
		}
		want, err := q.Distance(p.s, p.t)
		if err != nil {
			return err
		}
		if d != want {
			wrong++
		}
		if pl.Part(p.s) != pl.Part(p.t) {
			across++
		}
		requests += trace.Requests
	}
	nodes, overlay := router.Size()
	s.say("a router that knows %s crossings at borders and %s arcs between them asked %d questions, %d from part to part: %d wrong, %.1f requests each",
		num(nodes), num(overlay), len(pairs), across, wrong, float64(requests)/float64(len(pairs)))
	// The jam: each part is told of its own roads.
	var list [parts][]graph.Change
	for a := range graph.ArcID(s.n.g.Arcs()) {
		if w := s.jammed.Weight(a); w != s.free.Weight(a) {
			part := pl.Part(s.n.g.Tail(a))
			list[part] = append(list[part], graph.Change{Arc: a, Weight: w})
		}
	}
	told := 0
	for part, changes := range list {
		if len(changes) == 0 {
			continue
		}
		told++
		version, err := t.clients[part].Update(ctx, changes)
		if err == nil {
			err = router.Refresh(ctx, part, version)
		}
		if err != nil {
			return err
		}
	}
	trip := s.trips[2]
	d, path, trace, err := router.Path(ctx, trip.from, trip.to)
	if err != nil {
		return err
	}
	q.Reset(s.jammed)
	want, err := q.Distance(trip.from, trip.to)
	if err != nil {
		return err
	}
	s.say("the jam of 08:15 is told to %d of them; the long trip then takes %s min, leads through %d parts, and is found with %d requests", told, eta(d), trace.Parts, trace.Requests)
	if err := check(d == want && leads(s.n.g, path, trip.from, trip.to) && sum(s.jammed.Weight, path) == d, "the parts together know the way around the jam"); err != nil {
		return err
	}
	return check(wrong == 0 && float64(requests) <= 2*float64(len(pairs)), "answers across parts are exact, for two requests")
}

// The network is divided among so many processes, by geohash cells of so many bits.
const (
	parts     = 4
	placeBits = 30
)

// roles are what a child of this program can be.
var roles = child.Roles{"part": playPart}

func (f files) environment() []string {
	return []string{"GR=" + f.gr, "LENGTHS=" + f.lengths, "CO=" + f.co, "OSM=" + f.osm}
}

// playPart is a process that has one part of the network, and serves it until its standard
// input ends.
func playPart() error {
	number, err := strconv.Atoi(os.Getenv("PART"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n, err := openNetwork(ctx, files{os.Getenv("GR"), os.Getenv("LENGTHS"), os.Getenv("CO"), os.Getenv("OSM")})
	if err != nil {
		return err
	}
	pl, err := shard.Place(n.g, parts, placeBits)
	if err != nil {
		return err
	}
	p, err := shard.NewPart(ctx, n.g, n.millis, pl, number, nil)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	nodes, arcs, borders := p.Nodes()
	fmt.Println(l.Addr(), nodes, arcs, borders)
	go func() {
		io.Copy(io.Discard, os.Stdin) // until the parent is gone
		cancel()
	}()
	return shard.Serve(ctx, l, p)
}

// A fleet is the processes that have the parts, and clients of them.
type fleet struct {
	processes []*child.Process
	clients   []*shard.Client
	sizes     [parts]struct{ nodes, arcs, borders int }
}

func startFleet(f files) (*fleet, error) {
	t := &fleet{}
	for i := range parts {
		p, err := child.Start(fmt.Sprint("part ", i), "part", append(f.environment(), "PART="+strconv.Itoa(i))...)
		if err != nil {
			return t, err
		}
		t.processes = append(t.processes, p)
	}
	for i, p := range t.processes {
		line, err := p.Line()
		if err != nil {
			return t, err
		}
		var address string
		z := &t.sizes[i]
		if _, err := fmt.Sscan(line, &address, &z.nodes, &z.arcs, &z.borders); err != nil {
			return t, fmt.Errorf("%s says %q: %w", p.Name, line, err)
		}
		t.clients = append(t.clients, shard.NewClient(address))
	}
	return t, nil
}

func (t *fleet) peers() (list []shard.Peer) {
	for _, c := range t.clients {
		list = append(list, c)
	}
	return list
}

func (t *fleet) stop() error {
	var errs []error
	for _, c := range t.clients {
		errs = append(errs, c.Close())
	}
	for _, p := range t.processes {
		p.Reap()
	}
	return errors.Join(errs...)
}

// crossing counts the arcs between nodes of different parts.
func crossing(g *graph.Graph, part func(graph.NodeID) int) (n int) {
	for a := range graph.ArcID(g.Arcs()) {
		if part(g.Tail(a)) != part(g.Head(a)) {
			n++
		}
	}
	return n
}

// byHash is how a key-value store would place nodes.
func byHash(u graph.NodeID) int {
	return stream.PartitionOf(binary.BigEndian.AppendUint32(nil, u), parts)
}
