// Maps shows how the quickest way through a city is found in microseconds while the
// traffic on it changes, on the real roads of New York.
//
//	roads ─► order of the nodes ─► hierarchy ──────────────► metric ─► route, ETA
//	          (once for a map)      (roads and shortcuts)      ▲ ▲
//	cars ─► probes ─► log, by cell ─► a minute's average ──────┘ │ some roads: Update
//	weather ─────────────────────────────────────────────────────┘ all roads: Customize
//
// It asks how far different searches look, what the levels of a hierarchy are, what a jam
// does to one whose shortcuts stay as they were, how speeds become new weights, what a
// graph on disk is better at than an index, and how a map is cut for several machines.
//
// Run it with "go run ./examples/maps". Read run from top to bottom; the parts are in the
// files named after them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/examples/internal/newyork"
	"github.com/ashlar-go/ashlar/graph"
)

// usual is how many cars send probes.
const usual = 3_000

func main() {
	child.Main(roles)
	n := flag.Int("n", usual, "how many `cars` send probes, 1,000 to 200,000")
	serve := flag.String("serve", "", "serve a live map on this `address`, e.g. :8080")
	svg := flag.String("svg", "", "draw into this `folder`")
	var f files
	flag.StringVar(&f.gr, "gr", "", "take the arcs, with times, from this DIMACS `file` instead of the embedded ones; .gz is fine")
	flag.StringVar(&f.lengths, "lengths", "", "their lengths, another .gr `file`; without it they are straight")
	flag.StringVar(&f.co, "co", "", "their coordinates, a .co `file`")
	flag.StringVar(&f.osm, "osm", "", "take the roads from this OpenStreetMap `file` (needs -tags engines)")
	to := flag.String("cut", "", "make the embedded `file` anew from -gr, -lengths and -co, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *n < 1_000 || *n > 200_000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *to != "":
		err = cut(f, extractBox, *to)
	case *serve != "":
		err = servePage(ctx, *serve, f, os.Stdout)
	default:
		err = run(ctx, os.Stdout, f, *n, 1000, *svg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "maps:", err)
		os.Exit(1)
	}
}

// A story is what the parts of the run share.
type story struct {
	w      io.Writer
	dir    string
	svg    string
	files  files
	cars   int
	n      *network
	known  bool // the network is the embedded one
	trips  [3]trip
	pairs  []pair
	topo   *graph.Topology
	free   *graph.Metric // when the roads are empty
	h      *graph.Hierarchy
	live   *graph.Live
	jam    []graph.ArcID
	jammed *graph.Metric // at its height
}

func run(ctx context.Context, w io.Writer, f files, cars, questions int, svg string) (err error) {
	s := &story{w: w, svg: svg, files: f, cars: cars}
	if s.dir, err = os.MkdirTemp("", "maps"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	if s.n, err = openNetwork(ctx, f); err != nil {
		return err
	}
	s.known = s.n.bytes > 0
	s.pairs = randomPairs(s.n, questions, 6)
	for i, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"The roads of a city", s.begin},
		{"How far must a search look?", s.searches},
		{"Maps of less and less detail", s.levels},
		{"A jam, and shortcuts that know nothing of it", s.wrong},
		{"Speeds from the cars", s.traffic},
		{"Weather", s.weather},
		{"A hop by a pointer, a hop by an index", s.hops},
		{"Cut by geohash", s.cut},
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

// claim is a check of what holds for the embedded roads, and perhaps not for others.
func (s *story) claim(ok bool, format string, args ...any) error {
	return check(ok || !s.known, format, args...)
}

func (s *story) begin(ctx context.Context) error {
	n := s.n
	var km, arcs [classes]float64
	for a, d := range n.decimetres {
		km[n.class[a]] += float64(d) / 1e4
		arcs[n.class[a]]++
	}
	from := ""
	if s.known {
		from = fmt.Sprintf(", from %s bytes in this program (TIGER/Line, public domain)", num(n.bytes))
	}
	s.say("%s: %s crossings, %s arcs%s", n.name, num(n.g.Nodes()), num(n.g.Arcs()), from)
	for c := range classes {
		s.say("  %-10s  up to %3.0f km/h  %7s arcs  %6s km", classNames[c], newyork.Speeds[c], num(int(arcs[c])), num(int(km[c])))
	}
	l, err := graph.NewLocator(n.g)
	if err != nil {
		return err
	}
	if s.trips, err = chooseTrips(n, l); err != nil {
		return err
	}
	began := time.Now()
	if s.topo, err = graph.Dissect(ctx, n.g, nil); err != nil {
		return err
	}
	dissected := time.Since(began)
	began = time.Now()
	if s.free, err = s.topo.Customize(n.millis); err != nil {
		return err
	}
	customized := time.Since(began)
	began = time.Now()
	if s.h, err = graph.Contract(ctx, n.g, n.millis, nil); err != nil {
		return err
	}
	contracted := time.Since(began)
	st := s.topo.Stats()
	s.say("a customizable hierarchy: %s arcs for any weights, made in %s s; with the weights of empty roads %s ms later", num(st.Arcs), seconds(dissected), millis(customized))
	s.say("a classic hierarchy: %s shortcuts, for these weights only, made in %s s", num(s.h.Shortcuts()), seconds(contracted))
	s.say("the trips of the story, on empty roads:")
	q := s.free.NewQuery()
	for _, t := range s.trips {
		d, err := q.Distance(t.from, t.to)
		if err != nil {
			return err
		}
		path := q.AppendPath(nil)
		s.say("  %-6s  %-36s  %5s min  %5.1f km  %3d arcs", t.size, t.name, eta(d), float64(sum(s.length, path))/1e4, len(path))
		if err := check(d < graph.Inf && leads(n.g, path, t.from, t.to), "there is a way: %s", t.name); err != nil {
			return err
		}
	}
	return s.claim(n.g.Nodes() > 30_000 && n.bytes < 700_000, "the extract is a large city in a small file")
}

func (s *story) length(a graph.ArcID) uint32 { return s.n.decimetres[a] }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
func millis(d time.Duration) string  { return fmt.Sprintf("%.1f", d.Seconds()*1e3) }
