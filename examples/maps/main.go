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
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/examples/internal/newyork"
	"github.com/ashlar-go/ashlar/graph"
	"github.com/ashlar-go/ashlar/graph/shard"
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

// ---- 1 --------------------------------------------------------------------------

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

// ---- 2 --------------------------------------------------------------------------

// A searcher answers one question and says how many nodes it looked at.
type searcher struct {
	name   string
	ask    func(s, t graph.NodeID) (uint32, error)
	looked func() int

	total int
	took  time.Duration
	wrong int
}

func searchers(n *network, weights []uint32, h *graph.Hierarchy, m *graph.Metric) ([]*searcher, error) {
	q, err := graph.NewSearch(n.g, weights)
	if err != nil {
		return nil, err
	}
	ch, cch := h.NewQuery(), m.NewQuery()
	return []*searcher{
		{name: nameDijkstra, ask: q.Distance, looked: q.Settled},
		{name: nameBoth, ask: q.Bidirectional, looked: q.Settled},
		{name: nameAStar, ask: q.AStar, looked: q.Settled},
		{name: nameClassic, ask: ch.Distance, looked: ch.Settled},
		{name: nameCustomizable, ask: cch.Distance, looked: cch.Settled},
	}, nil
}

func (s *story) searches(context.Context) error {
	list, err := searchers(s.n, s.n.millis, s.h, s.free)
	if err != nil {
		return err
	}
	truth := make([]uint32, len(s.pairs))
	for i, x := range list {
		if _, err := x.ask(s.pairs[0].s, s.pairs[0].t); err != nil { // what is found out at the first question
			return err
		}
		for j, p := range s.pairs {
			began := time.Now()
			d, err := x.ask(p.s, p.t)
			x.took += time.Since(began)
			if err != nil {
				return err
			}
			x.total += x.looked()
			if i == 0 {
				truth[j] = d
			} else if d != truth[j] {
				x.wrong++
			}
		}
	}
	// Dijkstra's algorithm in a dozen lines, for some of them.
	for j, p := range s.pairs[:min(25, len(s.pairs))] {
		d, _, err := graph.Dijkstra(s.n.g, s.n.millis, p.s, p.t)
		if err := errors.Join(err, check(d == truth[j], "the plain algorithm says the same")); err != nil {
			return err
		}
	}
	s.say("%s questions between any two crossings; then nodes looked at for a trip that is", num(len(s.pairs)))
	s.say("                      nodes looked at   wrong       µs     short   medium     long")
	for _, x := range list {
		var looked [3]string
		for i, t := range s.trips {
			if _, err := x.ask(t.from, t.to); err != nil {
				return err
			}
			looked[i] = num(x.looked())
		}
		count := float64(len(s.pairs))
		s.say("  %-18s  %15s   %5d  %7.1f   %7s  %7s  %7s", x.name, num(int(float64(x.total)/count)), x.wrong, x.took.Seconds()*1e6/count, looked[0], looked[1], looked[2])
	}
	for _, x := range list {
		if err := check(x.wrong == 0, "%s is exact", x.name); err != nil {
			return err
		}
	}
	if err := s.drawSearches(); err != nil {
		return err
	}
	return s.claim(list[0].total > list[1].total && list[1].total > 20*list[4].total && list[4].total > list[3].total,
		"from both ends a search looks less far, and hierarchies look at next to nothing")
}

// drawSearches finds out which nodes were looked at, as far as searches do not tell.
func (s *story) drawSearches() error {
	return s.draw("search.svg", func() string {
		t, n := s.trips[2], s.n
		q := s.free.NewQuery()
		d, _ := q.Distance(t.from, t.to)
		path := q.AppendPath(nil)
		list := lookedAt(n, s.n.millis, s.free, s.h, t.from, t.to, d)
		return drawSearches(n, t, path, list)
	})
}

// ---- 3 --------------------------------------------------------------------------

func (s *story) levels(context.Context) error {
	levels := s.h.Levels()
	total := s.n.g.Nodes()
	// Local, city and country: sparse graphs with all nodes, a tenth and a hundredth.
	layers := []layer{{name: "local", level: 0}, {name: "city"}, {name: "country"}}
	for i, share := range []int{10, 100} {
		above := total
		for l := range levels {
			if above <= total/share {
				layers[i+1].level = l
				break
			}
			above -= levels[l]
		}
	}
	s.say("%d levels; a graph of the nodes from a level on, with shortcuts for what was left out, has the same distances:", len(levels))
	s.say("             nodes     arcs   of them shortcuts   Dijkstra on it looks at")
	r := rand.New(rand.NewPCG(9, 9))
	full, err := graph.NewSearch(s.n.g, s.n.millis)
	if err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		b := graph.NewBuilder(total)
		var weights []uint32
		shortcuts := 0
		for o := range s.h.Overlay(l.level) {
			l.arcs = append(l.arcs, o)
			b.AddArc(o.Tail, o.Head)
			weights = append(weights, o.Weight)
			if o.Shortcut {
				shortcuts++
			}
		}
		var nodes []graph.NodeID
		for u := range graph.NodeID(total) {
			if s.h.Level(u) >= l.level {
				nodes = append(nodes, u)
			}
		}
		l.nodes = len(nodes)
		g, err := b.Build()
		if err != nil {
			return err
		}
		q, err := graph.NewSearch(g, weights)
		if err != nil {
			return err
		}
		looked, fullLooked := 0, 0
		const asked = 40
		for range asked {
			u, v := nodes[r.IntN(len(nodes))], nodes[r.IntN(len(nodes))]
			d, err := q.Distance(u, v)
			looked += q.Settled()
			want, err2 := full.Distance(u, v)
			fullLooked += full.Settled()
			if err := errors.Join(err, err2, check(d == want, "the sparse graph has the distance from %d to %d", u, v)); err != nil {
				return err
			}
		}
		s.say("  %-8s %7s  %7s   %17s   %s nodes, and %s on all roads", l.name, num(l.nodes), num(len(l.arcs)), num(shortcuts), num(looked/asked), num(fullLooked/asked))
	}
	q := s.h.NewQuery()
	var highest [3]int
	for i, t := range s.trips {
		if _, err := q.Distance(t.from, t.to); err != nil {
			return err
		}
		path := q.AppendPath(nil)
		var on [3]int
		for j := range len(path) + 1 {
			u := t.from
			if j > 0 {
				u = s.n.g.Head(path[j-1])
			}
			level := s.h.Level(u)
			highest[i] = max(highest[i], level)
			for k := len(layers) - 1; k >= 0; k-- {
				if level >= layers[k].level {
					on[k]++
					break
				}
			}
		}
		s.say("the %-6s trip climbs to level %2d of %d: %3d of its crossings are local, %3d of the city, %3d of the country", t.size, highest[i], len(levels)-1, on[0], on[1], on[2])
	}
	// One trip says little: the average over all questions.
	limits := [3]uint32{4 * 60_000, 12 * 60_000, graph.Inf}
	var climbed [3]float64
	var asked [3]int
	for i := range 3 * len(s.pairs) {
		p := s.pairs[i%len(s.pairs)]
		if i >= len(s.pairs) { // and near ones, of which there are few by chance
			p.t = graph.NodeID(min(uint64(s.n.g.Nodes()-1), uint64(p.s)+uint64(p.t)%2000))
		}
		d, err := q.Distance(p.s, p.t)
		if err != nil {
			return err
		}
		class, top := 0, s.h.Level(p.s)
		for d > limits[class] {
			class++
		}
		for _, a := range q.AppendPath(nil) {
			top = max(top, s.h.Level(s.n.g.Head(a)))
		}
		climbed[class] += float64(top)
		asked[class]++
	}
	for i := range climbed {
		climbed[i] /= float64(max(asked[i], 1))
	}
	s.say("on average a trip of at most 4 minutes climbs to level %.0f, one of at most 12 minutes to %.0f, and longer ones to %.0f", climbed[0], climbed[1], climbed[2])
	if err := s.draw("levels.svg", func() string { return drawLevels(s.n, levels, s.trips, highest, layers) }); err != nil {
		return err
	}
	return s.claim(highest[0] < highest[1] && highest[0] < highest[2] && climbed[0]+3 < climbed[1] && climbed[1]+3 < climbed[2], "the longer the trip, the higher it climbs: %v, %v", highest, climbed)
}

// ---- 4 --------------------------------------------------------------------------

// worstStretch returns the arcs in the middle of a path, about so many decimetres of them,
// whose jam costs the most.
func worstStretch(n *network, m *graph.Metric, from, to graph.NodeID, path []graph.ArcID, most uint32) ([]graph.ArcID, error) {
	var worst []graph.ArcID
	highest := uint32(0)
	q := m.NewQuery()
	for i := len(path) / 5; i < len(path)*4/5+1; i += 5 {
		end, length := i, uint32(0)
		for end < len(path) && length < most {
			length += n.decimetres[path[end]]
			end++
		}
		jammed, err := m.Update(slowed(m, path[i:end]))
		if err != nil {
			return nil, err
		}
		q.Reset(jammed)
		d, err := q.Distance(from, to)
		if err != nil {
			return nil, err
		}
		if d > highest && end > i {
			highest, worst = d, path[i:end]
		}
	}
	return worst, nil
}

// slowed returns what a jam on some arcs changes.
func slowed(m *graph.Metric, arcs []graph.ArcID) (list []graph.Change) {
	for _, a := range arcs {
		list = append(list, graph.Change{Arc: a, Weight: uint32(min(uint64(m.Weight(a))*jamFactor, graph.MaxWeight))})
	}
	return list
}

func (s *story) wrong(ctx context.Context) error {
	t := s.trips[2]
	q := s.free.NewQuery()
	if _, err := q.Distance(t.from, t.to); err != nil {
		return err
	}
	var err error
	if s.jam, err = worstStretch(s.n, s.free, t.from, t.to, q.AppendPath(nil), 40_000); err != nil {
		return err
	}
	slower := slices.Clone(s.n.millis)
	for _, c := range slowed(s.free, s.jam) {
		slower[c.Arc] = c.Weight
	}
	// One road in a hundred, besides.
	everywhere := slices.Clone(slower)
	r := rand.New(rand.NewPCG(4, 4))
	for range len(everywhere) / 100 {
		everywhere[r.IntN(len(everywhere))] *= 3
	}
	f, err := freeze(s.h, s.n.millis)
	if err != nil {
		return err
	}
	pairs := append(slices.Clone(s.pairs[:len(s.pairs)/4]), pair{t.from, t.to})
	s.say("the stretch of the long trip that can least be spared, %.1f km, takes %d times as long", float64(sum(s.length, s.jam))/1e4, jamFactor)
	s.say("shortcuts stay as they were made and get the new sums of their two halves:")
	s.say("                                 shortcuts that are   wrong answers   the worst   the long trip")
	s.say("                                 heavier    missing   of %5s", num(len(pairs)))
	// The order stays the same, so that what is missing can be counted.
	order := make([]graph.NodeID, s.n.g.Nodes())
	for u := range order {
		order[s.h.Rank(graph.NodeID(u))] = graph.NodeID(u)
	}
	inOrder := &graph.Options{Order: order}
	var wrongs [3]int
	for i, c := range []struct {
		name    string
		weights []uint32
	}{{"empty roads", s.n.millis}, {"the jam", slower}, {"the jam, 1 % of roads × 3", everywhere}} {
		weights := func(a graph.ArcID) uint32 { return c.weights[a] }
		heavier := f.patch(weights)
		missing := 0
		if i > 0 {
			now, err := graph.Contract(ctx, s.n.g, c.weights, inOrder)
			if err != nil {
				return err
			}
			missing = lacking(s.h, now)
		}
		m, err := s.topo.Customize(c.weights)
		if err != nil {
			return err
		}
		q, err := graph.NewSearch(s.n.g, c.weights)
		if err != nil {
			return err
		}
		ours := m.NewQuery()
		wrong, worst := 0, 1.0
		for _, p := range pairs {
			want, err := q.Bidirectional(p.s, p.t)
			got, err2 := ours.Distance(p.s, p.t)
			if err := errors.Join(err, err2, check(got == want, "the customizable hierarchy is exact: %d to %d", p.s, p.t)); err != nil {
				return err
			}
			if d := f.distance(p.s, p.t); d != want {
				wrong++
				worst = max(worst, float64(d)/float64(want))
				if err := check(d > want, "no way is shorter than the shortest"); err != nil {
					return err
				}
			}
		}
		wrongs[i] = wrong
		best, err := ours.Distance(t.from, t.to)
		if err != nil {
			return err
		}
		s.say("  %-28s  %8s   %8s   %13d   %8.2f×   %s min, best %s", c.name, num(heavier), num(missing), wrong, worst, eta(f.distance(t.from, t.to)), eta(best))
	}
	s.say("the hierarchy of part 2 with the same weights: 0 wrong; it has every shortcut that any weights may need")
	return s.claim(wrongs[0] == 0 && wrongs[1] > 0 && wrongs[2] > wrongs[1], "patched shortcuts are right at first, and then wrong")
}

// ---- 5 --------------------------------------------------------------------------

func (s *story) traffic(ctx context.Context) error {
	t := s.trips[2]
	probes, err := drive(s.n, s.free, t, s.jam, s.cars)
	if err != nil {
		return err
	}
	readings, late, err := average(ctx, s.n, s.dir, probes)
	if err != nil {
		return err
	}
	s.say("%s cars send %s probes from 08:00 to 08:30; the jam lasts from 08:08 to 08:20", num(s.cars), num(len(probes)))
	s.say("%d partitions by cell average them by road and minute: %s readings; %d probes came too late for theirs, out of tunnels", partitions, num(len(readings)), late)
	if err := s.sayMean(readings); err != nil {
		return err
	}
	ways := newPlain(s.topo)
	ways.customize(s.free.Weight)
	s.live = graph.NewLive(s.free)
	q := s.free.NewQuery()
	before, err := q.Distance(t.from, t.to)
	if err != nil {
		return err
	}
	path := q.AppendPath(nil)
	s.say("%s shortcuts hang over the roads; the long trip takes %s min", num(ways.shortcuts()), eta(before))
	s.say("        roads that   shortcuts    Update      the old way   the best way")
	s.say("          changed     changed        ms       takes         takes     of which in the jam, km")
	inJam := map[graph.ArcID]bool{}
	for _, a := range s.jam {
		inJam[a] = true
	}
	// A reader asks all the time, and is never made to wait.
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan map[uint32]int, 1)
	go func() { answers <- keepAsking(ctx, s.live, t) }()
	defer cancel()
	possible := map[uint32]bool{before: true}
	var around []graph.ArcID
	outside, stay, best := 0, uint32(0), uint32(0)
	for minute := dawn; minute.Before(dusk); minute = minute.Add(time.Minute) {
		var now []reading
		for len(readings) > 0 && readings[0].Start.Equal(minute) {
			now, readings = append(now, readings[0]), readings[1:]
		}
		list := changes(s.n, s.live.Metric(), now)
		for _, c := range list {
			if !inJam[c.Arc] {
				outside++
			}
		}
		began := time.Now()
		if err := s.live.Apply(list); err != nil {
			return err
		}
		took := time.Since(began)
		m := s.live.Metric()
		shortcuts := 0
		if len(list) > 0 {
			shortcuts = ways.customize(m.Weight)
		}
		q.Reset(m)
		if best, err = q.Distance(t.from, t.to); err != nil {
			return err
		}
		possible[best] = true
		way := q.AppendPath(nil)
		stay = sum(m.Weight, path)
		within := 0.0
		for _, a := range way {
			if inJam[a] {
				within += float64(s.n.decimetres[a]) / 1e4
			}
		}
		if len(list) > 0 || minute.Equal(dawn) {
			s.say("  %s    %6d   %9s   %7.2f   %11s   %12s     %.1f", minute.Add(time.Minute).Format("15:04"), len(list), num(shortcuts), took.Seconds()*1e3, eta(stay), eta(best), within)
		}
		if minute.Equal(jamFrom.Add(6 * time.Minute)) {
			s.jammed, around = m, way
			wrong, err := s.mistakes(m, s.pairs[:len(s.pairs)/2])
			if err := errors.Join(err, check(wrong == 0, "the updated metric is exact: %d wrong", wrong)); err != nil {
				return err
			}
			s.say("           %s questions asked of this metric and of Dijkstra: %d differ; new ETA %s instead of %s", num(len(s.pairs)/2), wrong, eta(best), eta(stay))
			if err := s.claim(best < stay && best > before && within < float64(sum(s.length, s.jam))/2e4, "the way around is better than the jam"); err != nil {
				return err
			}
		}
	}
	cancel()
	asked, strange := 0, 0
	for d, n := range <-answers {
		asked += n
		if !possible[d] {
			strange += n
		}
	}
	s.say("meanwhile a reader asked %s times; answers that belong to no minute: %d", num(asked), strange)
	// A metric is a snapshot: who holds the one of the morning still has it.
	q.Reset(s.free)
	again, err := q.Distance(t.from, t.to)
	if err := errors.Join(err, check(again == before, "the metric of the morning has not changed")); err != nil {
		return err
	}
	captions := [2]string{
		fmt.Sprintf("%s on empty roads: %s min, in the jam %s", t.name, eta(before), eta(sum(s.jammed.Weight, path))),
		fmt.Sprintf("around the jam: %s min", eta(sum(s.jammed.Weight, around))),
	}
	if err := s.draw("jam.svg", func() string { return drawJam(s.n, t, path, around, s.jam, captions) }); err != nil {
		return err
	}
	s.say("roads outside the jam that were taken to be slow: %d", outside)
	if err := check(asked > 0 && strange == 0, "readers see all of an update or nothing"); err != nil {
		return err
	}
	return s.claim(outside == 0 && best == before && late > 0, "only the jam is seen, and its end: %s, before %s", eta(best), eta(before))
}

// keepAsking asks for a trip again and again, each time of the metric of the moment, and
// returns how often each answer came. It leaves the processor to others now and then.
func keepAsking(ctx context.Context, l *graph.Live, t trip) map[uint32]int {
	answers, q := map[uint32]int{}, l.Metric().NewQuery()
	for i := 1; ; i++ {
		q.Reset(l.Metric())
		d, err := q.Distance(t.from, t.to)
		if err != nil {
			panic(err) // the nodes are those of the graph
		}
		answers[d]++
		if ctx.Err() != nil {
			return answers
		}
		if i%100 == 0 {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// sayMean tells the road and minute for which the average of speeds is the most wrong.
func (s *story) sayMean(readings []reading) error {
	worst, ratio := reading{}, 0.0
	for _, x := range readings {
		if speeds := float64(x.Pace.Cars) / x.Pace.Speeds; x.Pace.Cars >= 5 && x.Pace.mean()/speeds > ratio {
			worst, ratio = x, x.Pace.mean()/speeds
		}
	}
	if ratio == 0 {
		return nil
	}
	metres := float64(s.n.decimetres[worst.Arc]) / 10
	s.say("%s, %d cars on %.0f m: on average they took %.1f s; by their average speed of %.0f km/h it would be %.1f s",
		worst.Start.Format("15:04"), worst.Pace.Cars, metres, worst.Pace.mean()/1e3, worst.Pace.Speeds/float64(worst.Pace.Cars)*metres*3600, float64(worst.Pace.Cars)/worst.Pace.Speeds/1e3)
	return s.claim(ratio > 1.5, "the average of speeds hides a jam")
}

// mistakes counts the questions that a metric and Dijkstra answer differently.
func (s *story) mistakes(m *graph.Metric, pairs []pair) (wrong int, err error) {
	weights := make([]uint32, s.n.g.Arcs())
	for a := range weights {
		weights[a] = m.Weight(graph.ArcID(a))
	}
	plain, err := graph.NewSearch(s.n.g, weights)
	if err != nil {
		return 0, err
	}
	q := m.NewQuery()
	for _, p := range pairs {
		want, err := plain.Bidirectional(p.s, p.t)
		got, err2 := q.Distance(p.s, p.t)
		if err := errors.Join(err, err2); err != nil {
			return 0, err
		}
		if got != want || sum(m.Weight, q.AppendPath(nil)) != want && want < graph.Inf {
			wrong++
		}
	}
	return wrong, nil
}

// ---- 6 --------------------------------------------------------------------------

// snow is how much longer a road of each class takes: fast ones lose most.
var snow = [classes]float64{1.9, 1.7, 1.5, 1.3}

func (s *story) weather(context.Context) error {
	under := func(m *graph.Metric) []uint32 {
		weights := make([]uint32, s.n.g.Arcs())
		for a := range weights {
			weights[a] = uint32(min(float64(m.Weight(graph.ArcID(a)))*snow[s.n.class[a]], graph.MaxWeight))
		}
		return weights
	}
	weights := under(s.free)
	began := time.Now()
	white, err := s.topo.Customize(weights)
	if err != nil {
		return err
	}
	took := time.Since(began)
	both, err := s.topo.Customize(under(s.jammed))
	if err != nil {
		return err
	}
	s.say("snow: %s take %.1f times as long, %s %.1f; all %s arcs get new weights in %s ms", classNames[0], snow[0], classNames[classes-1], snow[classes-1], num(s.n.g.Arcs()), millis(took))
	s.say("                empty roads     08:15, jam            snow      jam and snow    km on fast roads, empty and in snow")
	for _, t := range s.trips {
		var etas [4]string
		var fast [4]float64
		for i, m := range []*graph.Metric{s.free, s.jammed, white, both} {
			q := m.NewQuery()
			d, err := q.Distance(t.from, t.to)
			if err != nil {
				return err
			}
			etas[i] = eta(d)
			for _, a := range q.AppendPath(nil) {
				if s.n.class[a] <= 1 {
					fast[i] += float64(s.n.decimetres[a]) / 1e4
				}
			}
		}
		s.say("  %-8s  %15s%15s%16s%18s    %14.1f  %4.1f", t.size, etas[0], etas[1], etas[2], etas[3], fast[0], fast[2])
	}
	for _, m := range []*graph.Metric{white, both} {
		wrong, err := s.mistakes(m, s.pairs[:len(s.pairs)/10])
		if err := errors.Join(err, check(wrong == 0, "weather is exact too: %d wrong", wrong)); err != nil {
			return err
		}
	}
	s.say("%d questions of each asked of Dijkstra too: 0 differ", len(s.pairs)/10)
	return nil
}

// ---- 7 --------------------------------------------------------------------------

func (s *story) hops(context.Context) error {
	path := filepath.Join(s.dir, "roads.graph")
	if err := graph.WriteFile(path, s.topo); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	began := time.Now()
	mapped, err := graph.OpenMapped(path)
	if err != nil {
		return err
	}
	opened := time.Since(began)
	same := mapped.Fingerprint() == s.topo.Fingerprint()
	if err := errors.Join(mapped.Close(), check(same, "the file holds the hierarchy")); err != nil {
		return err
	}
	t, err := newTable(s.dir, s.n.g)
	if err != nil {
		return err
	}
	defer t.close()
	from := s.trips[0].from
	const hops = 300_000
	s.say("the hierarchy and its graph in a file of %s bytes, mapped and checked in %s ms: pages that nobody asks for stay on disk", num(int(info.Size())), millis(opened))
	end, direct, err := walkMapped(path, from, hops)
	if err != nil {
		return err
	}
	end2, indexed, err := t.walk(from, hops, false)
	if err != nil {
		return err
	}
	end3, each, err := t.walk(from, hops/10, true)
	if err != nil {
		return err
	}
	middle, _, err := walkMapped(path, from, hops/10)
	if err != nil {
		return err
	}
	depth, err := t.depth()
	if err != nil {
		return err
	}
	q, err := graph.NewSearch(s.n.g, s.n.millis)
	if err != nil {
		return err
	}
	if _, err := q.Distance(s.trips[2].from, s.trips[2].to); err != nil {
		return err
	}
	looked := float64(q.Settled())
	s.say("%s hops from crossing to crossing:            ns a hop   for all that Dijkstra looks at on the long trip, ms", num(hops))
	for _, x := range []struct {
		name string
		d    float64
	}{
		{"the graph: a node says where its arcs are", float64(direct.Nanoseconds()) / hops},
		{"an index (B+tree), all in one transaction", float64(indexed.Nanoseconds()) / hops},
		{"an index, a question for each hop", float64(each.Nanoseconds()) / (hops / 10)},
	} {
		s.say("  %-44s   %8.1f   %8.2f", x.name, x.d, x.d*looked/1e6)
	}
	s.say("a hop by the index searches %d pages, from the root to a leaf, and the more the larger the map; one by the graph reads two places", depth)
	return check(end == end2 && middle == end3 && depth > 1, "both come to the same crossing, the index by way of its root")
}

// ---- 8 --------------------------------------------------------------------------

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
