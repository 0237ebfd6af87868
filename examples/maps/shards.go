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

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/graph"
	"github.com/ashlar-go/ashlar/graph/shard"
	"github.com/ashlar-go/ashlar/stream"
)

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
