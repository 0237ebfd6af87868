package shard

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/graph"
)

// TestMain lets the test's binary be one of the processes: its part number, the size of
// the network and how many parts there are come in the environment; its address goes to
// the standard output, and it ends with its input.
func TestMain(m *testing.M) {
	spec := os.Getenv("SHARD_TEST_PART")
	if spec == "" {
		os.Exit(m.Run())
	}
	if err := beProcess(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func beProcess(spec string) error {
	f := strings.Fields(spec)
	number, _ := strconv.Atoi(f[0])
	parts, _ := strconv.Atoi(f[1])
	g, weights, err := network(f[2])
	if err != nil {
		return err
	}
	pl, err := Place(g, parts, cellBits(f[2]))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := NewPart(ctx, g, weights, pl, number, nil)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", f[3])
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return Serve(ctx, l, p)
}

// network returns the generated roads of that many nodes a side, or those of New York.
func network(name string) (*graph.Graph, []uint32, error) {
	if name != "ny" {
		side, err := strconv.Atoi(name)
		if err != nil {
			return nil, nil, err
		}
		g, millis, _, err := graph.Generate(side, side, 5)
		return g, millis, err
	}
	open := func(file string) (io.Reader, error) {
		f, err := os.Open(filepath.Join(os.Getenv("ASHLAR_ROADS"), file))
		if err != nil {
			return nil, err
		}
		return gzip.NewReader(f)
	}
	gr, err := open("USA-road-t.NY.gr.gz")
	if err != nil {
		return nil, nil, err
	}
	co, err := open("USA-road-d.NY.co.gz")
	if err != nil {
		return nil, nil, err
	}
	return graph.ReadDIMACS(gr, co)
}

func cellBits(name string) int {
	if name == "ny" {
		return 20 // four letters
	}
	return 30
}

// A process is a part in a process of its own.
type process struct {
	cmd     *exec.Cmd
	address string
	stdin   io.Closer
}

func startProcess(t testing.TB, number, parts int, name, address string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("SHARD_TEST_PART=%d %d %s %s", number, parts, name, address))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: in}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("part %d: %v", number, err)
	}
	p.address = strings.TrimSpace(line)
	return p
}

func (p *process) kill() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// checkPath tells whether arcs lead from s to t and are as long as said.
func checkPath(g *graph.Graph, weights []uint32, s, t graph.NodeID, d uint32, arcs []graph.ArcID) error {
	if d == graph.Inf {
		if arcs != nil {
			return fmt.Errorf("a path where there is none: %v", arcs)
		}
		return nil
	}
	sum := uint64(0)
	for _, a := range arcs {
		if g.Tail(a) != s {
			return fmt.Errorf("arc %d does not go on from %d", a, s)
		}
		s = g.Head(a)
		sum += uint64(weights[a])
	}
	if s != t || sum != uint64(d) {
		return fmt.Errorf("the path ends at %d with length %d, want %d with %d", s, sum, t, d)
	}
	return nil
}

// compare asks for all pairs of some nodes, from several goroutines, and compares with
// Dijkstra. It returns what the questions cost together.
func compare(t *testing.T, g *graph.Graph, weights []uint32, r *Router, starts, targets []graph.NodeID, path bool) Trace {
	t.Helper()
	const workers = 4
	var mu sync.Mutex
	var sum Trace
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			search, err := graph.NewSearch(g, weights)
			if err != nil {
				t.Error(err)
				return
			}
			var want []uint32
			for i := w; i < len(starts); i += workers {
				s := starts[i]
				if want, err = search.All(want[:0], s); err != nil {
					t.Error(err)
					return
				}
				for _, v := range targets {
					var d uint32
					var arcs []graph.ArcID
					var trace Trace
					if path {
						d, arcs, trace, err = r.Path(t.Context(), s, v)
					} else {
						d, trace, err = r.Distance(t.Context(), s, v)
					}
					if err != nil || d != want[v] {
						t.Errorf("from %d to %d: %d, %v; want %d", s, v, d, err, want[v])
						return
					}
					if path {
						if err := checkPath(g, weights, s, v, d, arcs); err != nil {
							t.Errorf("from %d to %d: %v", s, v, err)
							return
						}
					}
					mu.Lock()
					sum.Requests += trace.Requests
					sum.Parts += trace.Parts
					sum.Settled += trace.Settled
					sum.Retries += trace.Retries
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return sum
}

func pick(r *rand.Rand, n, of int) []graph.NodeID {
	l := make([]graph.NodeID, n)
	for i := range l {
		l[i] = graph.NodeID(r.IntN(of))
	}
	return l
}

// odd returns a small graph with all that is odd, over some cells: one-ways, parallel
// arcs, closed arcs, arcs that cost nothing, parts that are not connected.
func odd(t testing.TB, seed uint64) (*graph.Graph, []uint32) {
	r := rand.New(rand.NewPCG(seed, 1))
	n := 8 + r.IntN(40)
	b := graph.NewBuilder(n)
	for u := range n {
		b.SetCoord(graph.NodeID(u), float64(r.IntN(4)), float64(r.IntN(4)))
	}
	var weights []uint32
	for range r.IntN(4 * n) {
		b.AddArc(graph.NodeID(r.IntN(n)), graph.NodeID(r.IntN(n)))
		weights = append(weights, oddWeight(r))
	}
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return g, weights
}

func oddWeight(r *rand.Rand) uint32 {
	switch r.IntN(8) {
	case 0:
		return 0
	case 1:
		return graph.Inf
	case 2:
		return graph.MaxWeight - uint32(r.IntN(10))
	}
	return uint32(r.IntN(20))
}

// parts builds all parts in this process.
func parts(t testing.TB, g *graph.Graph, weights []uint32, pl *Placement) ([]*Part, []Peer) {
	var l []*Part
	var peers []Peer
	for i := range pl.Parts() {
		p, err := NewPart(t.Context(), g, weights, pl, i, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, peers = append(l, p), append(peers, p)
	}
	return l, peers
}

func all(n int) []graph.NodeID {
	l := make([]graph.NodeID, n)
	for i := range l {
		l[i] = graph.NodeID(i)
	}
	return l
}

func TestOddGraphs(t *testing.T) {
	for seed := range uint64(60) {
		g, weights := odd(t, seed)
		r := rand.New(rand.NewPCG(seed, 2))
		pl, err := Place(g, 1+r.IntN(4), 20)
		if err != nil {
			t.Fatal(err)
		}
		l, peers := parts(t, g, weights, pl)
		router, err := NewRouter(t.Context(), pl, peers)
		if err != nil {
			t.Fatal(err)
		}
		nodes := all(g.Nodes())
		compare(t, g, weights, router, nodes, nodes, true)
		// Twice, other weights.
		for range 2 {
			changes := make([][]graph.Change, pl.Parts())
			for range r.IntN(10) {
				if g.Arcs() == 0 {
					break
				}
				a := graph.ArcID(r.IntN(g.Arcs()))
				weights[a] = oddWeight(r)
				p := pl.Part(g.Tail(a))
				changes[p] = append(changes[p], graph.Change{Arc: a, Weight: weights[a]})
			}
			for i, c := range changes {
				if len(c) > 0 {
					if _, err := l[i].Update(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				}
			}
			// Only who is asked tells that it has changed, so a router begins anew where a
			// part in between did.
			if router, err = NewRouter(t.Context(), pl, peers); err != nil {
				t.Fatal(err)
			}
			compare(t, g, weights, router, nodes, nodes, true)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestPlace(t *testing.T) {
	g, _, err := network("60")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 9; n++ {
		pl, err := Place(g, n, 30)
		if err != nil {
			t.Fatal(err)
		}
		counts := make([]int, n)
		for u := range g.Nodes() {
			counts[pl.Part(graph.NodeID(u))]++
		}
		for i, run := range pl.Runs() {
			if run.Part != i || run.Nodes != counts[i] || run.First > run.Last || i > 0 && run.First <= pl.Runs()[i-1].Last {
				t.Errorf("%d parts: run %d is %+v with %d nodes", n, i, run, counts[i])
			}
			if share := g.Nodes() / n; counts[i] < share/3 || counts[i] > 3*share {
				t.Errorf("%d parts: part %d has %d nodes of %d", n, i, counts[i], g.Nodes())
			}
		}
	}
	small, _ := odd(t, 1)
	bare, err := graph.NewBuilder(5).Build()
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"no parts": second(Place(g, 0, 30)), "too many parts": second(Place(g, maxParts+1, 30)), "more parts than nodes": second(Place(small, 100, 20)),
		"more parts than cells": second(Place(small, 5, 1)), "no bits": second(Place(g, 2, 0)), "no coordinates": second(Place(bare, 2, 20)),
	} {
		if !errors.Is(err, graph.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestRefuses(t *testing.T) {
	ctx := t.Context()
	g, weights := odd(t, 3)
	pl, err := Place(g, 3, 20)
	if err != nil {
		t.Fatal(err)
	}
	l, peers := parts(t, g, weights, pl)
	router, err := NewRouter(ctx, pl, peers)
	if err != nil {
		t.Fatal(err)
	}
	foreign := graph.NodeID(0)
	for pl.Part(foreign) == 0 {
		foreign++
	}
	arc := graph.ArcID(0)
	for pl.Part(g.Tail(arc)) == 0 {
		arc++
	}
	before, err := l[0].Overlay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ err, want error }{
		"a part that is none":         {second(NewPart(ctx, g, weights, pl, 3, nil)), graph.ErrInvalid},
		"a weight too few":            {second(NewPart(ctx, g, weights[1:], pl, 0, nil)), graph.ErrInvalid},
		"a peer too few":              {second(NewRouter(ctx, pl, peers[1:])), graph.ErrInvalid},
		"peers in another order":      {second(NewRouter(ctx, pl, []Peer{peers[1], peers[0], peers[2]})), graph.ErrInvalid},
		"a start of another part":     {second(l[0].Ask(ctx, Question{Start: foreign, HasStart: true})), ErrForeign},
		"a target of another part":    {second(l[0].Ask(ctx, Question{Target: foreign, HasTarget: true})), ErrForeign},
		"a leg of another part":       {second(l[0].Unpack(ctx, []Leg{{foreign, foreign}})), ErrForeign},
		"an arc of another part":      {second(l[0].Update(ctx, []graph.Change{{Arc: arc, Weight: 1}})), ErrForeign},
		"a weight that is none":       {second(l[1].Update(ctx, []graph.Change{{Arc: arc, Weight: graph.Inf + 1}})), graph.ErrInvalid},
		"a node that is none, routed": {third(router.Distance(ctx, 0, graph.NodeID(g.Nodes()))), graph.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if after, _ := l[0].Overlay(ctx); after != before {
		t.Error("a refused update changed something")
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

// While parts change and are asked, each answer is that of some moment: with two weights
// that are both changed by turns, never that of a mixture.
func TestUpdatesDuringQuestions(t *testing.T) {
	// Two parts: a road of two arcs in part 0, whose weights are (1, 9) or (9, 1) by turns.
	b := graph.NewBuilder(4)
	for u, lon := range []float64{0, 1, 2, 60} {
		b.SetCoord(graph.NodeID(u), 0, lon)
	}
	b.AddArc(0, 1)
	b.AddArc(1, 2)
	b.AddArc(2, 3)
	g, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	pl, err := Place(g, 2, 10)
	if err != nil {
		t.Fatal(err)
	}
	l, peers := parts(t, g, []uint32{1, 9, 5}, pl)
	router, err := NewRouter(t.Context(), pl, peers)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint32(300) {
			w := 1 + 8*(i%2)
			if _, err := l[0].Update(t.Context(), []graph.Change{{Arc: 0, Weight: w}, {Arc: 1, Weight: 10 - w}, {Arc: 2, Weight: 5}}); err != nil {
				t.Error(err)
			}
		}
	}()
	asked := 0
	for open := true; open || asked < 100; asked++ {
		select {
		case <-done:
			open = false
		default:
		}
		d, _, _, err := router.Path(t.Context(), 0, 3)
		if err != nil && !errors.Is(err, ErrUnsteady) || err == nil && d != 15 {
			t.Fatalf("%d, %v; want 15", d, err)
		}
	}
}

// Four processes answer 10,000 questions across their borders as Dijkstra does on the
// whole, before and after traffic; one that is killed is named, and when another has taken
// its place, all goes on.
func TestProcesses(t *testing.T) {
	const n = 4
	name, side := "60", 100
	if os.Getenv("ASHLAR_FULL") != "" && os.Getenv("ASHLAR_ROADS") != "" {
		name = "ny"
	}
	g, weights, err := network(name)
	if err != nil {
		t.Fatal(err)
	}
	pl, err := Place(g, n, cellBits(name))
	if err != nil {
		t.Fatal(err)
	}
	var procs []*process
	var peers []Peer
	var clients []*Client
	for i := range n {
		p := startProcess(t, i, n, name, "127.0.0.1:0")
		c := NewClient(p.address)
		t.Cleanup(func() { _ = c.Close() })
		procs, peers, clients = append(procs, p), append(peers, c), append(clients, c)
	}
	router, err := NewRouter(t.Context(), pl, peers)
	if err != nil {
		t.Fatal(err)
	}
	nodes, arcs := router.Size()
	t.Logf("%s: %d nodes, %d arcs; overlay of %d parts: %d nodes, %d arcs", name, g.Nodes(), g.Arcs(), n, nodes, arcs)
	r := rand.New(rand.NewPCG(1, 4))
	// Starts in one half of the parts, targets in the other.
	var starts, targets []graph.NodeID
	for len(starts) < side || len(targets) < side {
		if u := graph.NodeID(r.IntN(g.Nodes())); pl.Part(u) < n/2 {
			starts = append(starts, u)
		} else {
			targets = append(targets, u)
		}
	}
	starts, targets = starts[:side], targets[:side]
	began := time.Now()
	sum := compare(t, g, weights, router, starts, targets, false)
	q := float64(len(starts) * len(targets))
	t.Logf("%.0f questions across borders: %.2f requests each, %.0f borders settled, %v each on %d goroutines", q, float64(sum.Requests)/q, float64(sum.Settled)/q, time.Since(began)/time.Duration(q), 4)
	sum = compare(t, g, weights, router, starts[:10], targets[:10], true)
	t.Logf("100 paths: %.2f requests each, through %.2f parts", float64(sum.Requests)/100, float64(sum.Parts)/100)

	// Traffic in all parts. The router hears of it from the parts at the ends, and reads the
	// others' news by itself when they are asked.
	changes := make([][]graph.Change, n)
	for range g.Arcs() / 100 {
		a := graph.ArcID(r.IntN(g.Arcs()))
		weights[a] *= 3
		p := pl.Part(g.Tail(a))
		changes[p] = append(changes[p], graph.Change{Arc: a, Weight: weights[a]})
	}
	for i, c := range changes {
		v, err := clients[i].Update(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := router.Refresh(t.Context(), i, v); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, g, weights, router, starts[:20], targets[:20], true)
	compare(t, g, weights, router, pick(r, 10, g.Nodes()), pick(r, 10, g.Nodes()), true)

	procs[1].kill()
	s := starts[slices.IndexFunc(starts, func(u graph.NodeID) bool { return pl.Part(u) == 1 })]
	if _, _, err := router.Distance(t.Context(), s, targets[0]); err == nil || !strings.Contains(err.Error(), "part 1") {
		t.Errorf("a part is dead: %v", err)
	}
	procs[1] = startProcess(t, 1, n, name, procs[1].address)
	v, err := clients[1].Update(t.Context(), changes[1])
	for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); {
		v, err = clients[1].Update(t.Context(), changes[1])
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := router.Refresh(t.Context(), 1, v); err != nil {
		t.Fatal(err)
	}
	compare(t, g, weights, router, []graph.NodeID{s}, targets[:20], true)

	// What a client is refused is the same as of a part in this process.
	if _, err := clients[0].Ask(t.Context(), Question{Start: targets[0], HasStart: true}); !errors.Is(err, ErrForeign) {
		t.Errorf("a node of another part: %v", err)
	}
	if err := router.Refresh(t.Context(), n, 0); !errors.Is(err, graph.ErrInvalid) {
		t.Errorf("a part that is none: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := clients[0].Overlay(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A part that was started again with other weights is not taken for the one before.
func TestStartedAgain(t *testing.T) {
	g, weights, err := network("20")
	if err != nil {
		t.Fatal(err)
	}
	pl, err := Place(g, 2, 35)
	if err != nil {
		t.Fatal(err)
	}
	_, peers := parts(t, g, weights, pl)
	router, err := NewRouter(t.Context(), pl, peers)
	if err != nil {
		t.Fatal(err)
	}
	for a := range weights {
		if pl.Part(g.Tail(graph.ArcID(a))) == 1 {
			weights[a] = 1 + weights[a]*7%1000
		}
	}
	if peers[1], err = NewPart(t.Context(), g, weights, pl, 1, nil); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	compare(t, g, weights, router, pick(r, 20, g.Nodes()), pick(r, 20, g.Nodes()), true)
}

// A peer that takes connections and never reads cannot keep a request beyond its context.
func TestPeerThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	c := NewClient(l.Addr().String())
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Update(ctx, make([]graph.Change, 2_000_000)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("more than fits into buffers: %v", err)
	}
	again, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Overlay(again); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request behind it: %v", err)
	}
}

// A server whose listener fails closes its connections, and returns.
func TestListenerFails(t *testing.T) {
	g, weights := odd(t, 5)
	pl, err := Place(g, 1, 20)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := parts(t, g, weights, pl)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), listener, l[0]) }()
	c := NewClient(listener.Addr().String())
	defer c.Close()
	if _, err := c.Overlay(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("it returns %v", err)
	}
}

// Example divides a small town in two. The parts are in this process; in others they would
// be behind Serve and NewClient.
func Example() {
	ctx := context.Background()
	g, millis, _, err := graph.Generate(20, 20, 1)
	if err != nil {
		panic(err)
	}
	place, err := Place(g, 2, 35)
	if err != nil {
		panic(err)
	}
	var peers []Peer
	for i := range place.Parts() {
		p, err := NewPart(ctx, g, millis, place, i, nil)
		if err != nil {
			panic(err)
		}
		peers = append(peers, p)
	}
	router, err := NewRouter(ctx, place, peers)
	if err != nil {
		panic(err)
	}
	s, t := graph.NodeID(0), graph.NodeID(g.Nodes()-1)
	d, path, trace, err := router.Path(ctx, s, t)
	if err != nil {
		panic(err)
	}
	want, _, err := graph.Dijkstra(g, millis, s, t)
	if err != nil {
		panic(err)
	}
	fmt.Println(d == want, len(path) > 0, trace.Requests)
	// Output: true true 4
}

// BenchmarkDistance asks across four parts in this process, in networks of several sizes.
func BenchmarkDistance(b *testing.B) {
	for _, side := range []string{"50", "100", "200"} {
		b.Run("side="+side, func(b *testing.B) {
			g, weights, err := network(side)
			if err != nil {
				b.Fatal(err)
			}
			pl, err := Place(g, 4, 30)
			if err != nil {
				b.Fatal(err)
			}
			_, peers := parts(b, g, weights, pl)
			r, err := NewRouter(b.Context(), pl, peers)
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 1))
			ends := pick(rng, 1024, g.Nodes())
			settled := 0
			for i := 0; b.Loop(); i++ {
				_, trace, err := r.Distance(b.Context(), ends[i&1023], ends[(i+7)&1023])
				if err != nil {
					b.Fatal(err)
				}
				settled += trace.Settled
			}
			b.ReportMetric(float64(settled)/float64(b.N), "settled/op")
		})
	}
}
