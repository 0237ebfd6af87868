package main

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/examples/internal/golden"
	"github.com/ashlar-go/ashlar/graph"
)

// TestMain lets the test's binary be the process that the example kills.
func TestMain(m *testing.M) {
	child.Main(roles)
	os.Exit(m.Run())
}

// TestRun runs the whole example, whose claims are its own assertions, and checks that
// README.md shows this output, but for what varies.
func TestRun(t *testing.T) {
	n := usual
	if slow {
		n = 200
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, n); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !slow { // README.md has the output for more drivers
		golden.Check(t, out.String(), mask)
	}
}

// varying are times, what depends on them, and what memory is measured.
var varying = []*regexp.Regexp{
	regexp.MustCompile(`(ready after) [\d.]+ `),
	regexp.MustCompile(`(Times Square are) \d+ to \d+ `),
	regexp.MustCompile(`(?m)^(  again .*?) +[\d,]+ phones want to try within the same 50 ms; here [\d,]+ did, with [\d,]+ `),
	regexp.MustCompile(`(a rider;) \d+ claims (?:.*); [\d.]+ ms`),
	regexp.MustCompile(`(measured here:).*`),
	regexp.MustCompile(`(over HTTP\),).* for the index,`),
	regexp.MustCompile(`(Not for the positions: they are) \d+ `),
}

var spaces = regexp.MustCompile(` +`)

func mask(out string) string {
	for _, r := range varying {
		out = r.ReplaceAllString(out, "$1 # ")
	}
	return spaces.ReplaceAllString(out, " ")
}

func TestMask(t *testing.T) {
	a := "  again after 0.2 s            2,000 phones want to try within the same 50 ms; here 1,065 did, with 2,000 tries until\nNot for the positions: they are 27 MB\na rider; 200 claims were refused and the next car taken; 0.49 ms a match\n"
	b := "  again after 0.2 s              1,990 phones want to try within the same 50 ms; here 912 did, with 2,011 tries until\nNot for the positions: they are 31 MB\na rider; 7 claims were refused and the next car taken; 10.20 ms a match\n"
	if mask(a) != mask(b) || mask(a) == mask(strings.Replace(a, "0.2 s", "0.3 s", 1)) {
		t.Errorf("%q and %q", mask(a), mask(b))
	}
}

func TestReport(t *testing.T) {
	r := report{7, -740_000_000, 1 << 30, 9}
	if got, err := parseReport(r.append(nil)); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
	for _, b := range [][]byte{nil, make([]byte, 15), make([]byte, 17)} {
		if _, err := parseReport(b); err == nil {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
	s := newServer()
	if err := s.take(report{1, math.MaxInt32, 0, 0}.append(nil)); err == nil || s.index.Len() != 0 {
		t.Errorf("latitude 214: %v", err)
	}
}

// Cars stay on roads, and who has a route drives it in the time that it takes.
func TestMove(t *testing.T) {
	r, err := openRoads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, d := range r.fleet(50, 1) {
		for range 100 {
			r.move(d, uint32(rng.IntN(20_000)), rng)
			if d.on > r.Millis[d.arc] {
				t.Fatalf("%d ms on an arc of %d", d.on, r.Millis[d.arc])
			}
		}
		u, rest := r.next(d)
		to := r.place(rng)
		q := r.metric.NewQuery()
		ms, err := q.Distance(u, to)
		if err != nil {
			t.Fatal(err)
		}
		d.busy, d.route = true, q.AppendPath(nil)
		if ms+rest > 0 {
			r.move(d, ms+rest-1, rng)
			if v := r.Graph.Head(d.arc); len(d.route) == 0 && d.on == r.Millis[d.arc] && v == to && r.Millis[d.arc] > 1 {
				t.Errorf("it is there too early")
			}
			r.move(d, 1, rng)
		}
		if v := r.Graph.Head(d.arc); v != to && ms > 0 {
			t.Errorf("it is at %d after the whole time, want %d", v, to)
		}
	}
	// ETAs of many to one are those of single questions.
	nodes := make([]graph.NodeID, 20)
	for i := range nodes {
		nodes[i] = r.place(rng)
	}
	to := r.place(rng)
	etas, err := r.etas(nodes, to)
	if err != nil {
		t.Fatal(err)
	}
	for i, u := range nodes {
		want, _, err := graph.Dijkstra(r.Graph, r.Millis, u, to)
		if err != nil || etas[i] != want {
			t.Errorf("from %d: %d, %v; want %d", u, etas[i], err, want)
		}
	}
}

func TestRequests(t *testing.T) {
	r, err := openRoads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, b := r.requests(100, time.Minute, 1), r.requests(100, time.Minute, 1)
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, r.requests(100, time.Minute, 2)) {
		t.Error("the same seed must give the same requests, and another others")
	}
}

func TestTwice(t *testing.T) {
	trips := []trip{{0, 1, 0}, {1, 2, 0}, {2, 1, 0}, {3, 1, 0}, {4, -1, 0}, {5, -1, 0}}
	if n := twice(trips); n != 1 {
		t.Errorf("%d, want 1", n)
	}
}

func TestPeak(t *testing.T) {
	c := &crowd{}
	at := time.Now()
	for _, ms := range []int{100, 0, 10, 40, 90, 300} {
		c.tries = append(c.tries, at.Add(time.Duration(ms)*time.Millisecond))
	}
	if most, all := c.peak(50 * time.Millisecond); most != 3 || all != 6 {
		t.Errorf("%d of %d", most, all)
	}
}

func TestPlan(t *testing.T) {
	m := measured{put: time.Microsecond, bytes: 100, ws: 20, http: 200}
	p := m.plan(10e6)
	if p.drivers != 300_000 || p.reports != 75_000 || p.bytes != 1.5e6 || math.Abs(p.cores-0.075) > 1e-9 || p.memory != 30e6 || p.servers != 9 {
		t.Errorf("%+v", p)
	}
	if num(-1234567) != "-1,234,567" || num(12) != "12" {
		t.Error("num")
	}
}
