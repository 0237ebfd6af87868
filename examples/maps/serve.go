package main

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/graph"
)

//go:embed serve.html
var serveBody string

//go:embed map.js
var mapScript string

// servePage serves a map on which visitors choose ways and make jams.
func servePage(ctx context.Context, addr string, f files, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	n, err := openNetwork(ctx, f)
	if err != nil {
		return err
	}
	v, err := newLive(ctx, n)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "open http://%s/ · Ctrl-C ends it\n", reachable(l.Addr().(*net.TCPAddr)))
	return v.serve(ctx, l)
}

// reachable returns an address for a browser on this machine: a listener on all
// addresses has none of its own.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(a.Port))
	}
	return a.String()
}

// A road is a line on the map: the arcs between two crossings.
type road struct {
	u, v  graph.NodeID
	class uint8
	arcs  []graph.ArcID
}

// roadsOf joins the arcs between the same two crossings.
func roadsOf(n *network) (roads []road) {
	at := map[[2]graph.NodeID]int{}
	for a := range graph.ArcID(n.g.Arcs()) {
		u, v := n.g.Tail(a), n.g.Head(a)
		ends := [2]graph.NodeID{min(u, v), max(u, v)}
		i, ok := at[ends]
		if !ok {
			i = len(roads)
			at[ends] = i
			roads = append(roads, road{u: ends[0], v: ends[1], class: n.class[a]})
		}
		roads[i].class = min(roads[i].class, n.class[a])
		roads[i].arcs = append(roads[i].arcs, a)
	}
	return roads
}

// How visitors may paint roads.
const (
	paintSlow   = "slow"
	paintClosed = "closed"
	paintFree   = "free"
	slowFactor  = 8
)

// A live is the map and its traffic. All who have the page open share them.
type live struct {
	n       *network
	locator *graph.Locator
	topo    *graph.Topology
	live    *graph.Live
	roads   []road
	roadOf  []int // of each arc
	names   map[graph.NodeID]string
	file    []byte // the roads for the page, compressed

	mu       sync.Mutex
	page     *page.Server
	base     *graph.Metric // without what was painted
	search   *graph.Search // with the weights of the moment, or nil
	snowy    bool
	painted  map[int]string // roads
	from, to graph.NodeID
	looks    string // whose search is shown
	seen     []byte // the nodes that it looked at, 4 bytes each
	seenAs   int    // counts changes of seen
	updated  time.Duration
	events   []page.Event
	number   int
}

func newLive(ctx context.Context, n *network) (*live, error) {
	v := &live{n: n, roads: roadsOf(n), roadOf: make([]int, n.g.Arcs()), painted: map[int]string{}, looks: "none"}
	var err error
	if v.locator, err = graph.NewLocator(n.g); err != nil {
		return nil, err
	}
	trips, err := chooseTrips(n, v.locator)
	if err != nil {
		return nil, err
	}
	v.from, v.to = trips[2].from, trips[2].to
	v.names = map[graph.NodeID]string{}
	for _, p := range places {
		if u, metres, err := v.locator.Node(p.lat, p.lon, nil); err == nil && metres < 700 {
			v.names[u] = p.name
		}
	}
	if v.topo, err = graph.Dissect(ctx, n.g, nil); err != nil {
		return nil, err
	}
	if v.base, err = v.topo.Customize(n.millis); err != nil {
		return nil, err
	}
	v.live = graph.NewLive(v.base)
	for i, r := range v.roads {
		for _, a := range r.arcs {
			v.roadOf[a] = i
		}
	}
	v.file, err = v.encode()
	return v, err
}

// encode writes what the page draws, in little-endian: how many crossings and roads (4
// bytes each), latitudes and longitudes of crossings in 1e-6 degree (4 each), the ends of
// roads (4 each), and their classes (1 each).
func (v *live) encode() ([]byte, error) {
	var raw []byte
	number := func(x uint32) { raw = binary.LittleEndian.AppendUint32(raw, x) }
	number(uint32(v.n.g.Nodes()))
	number(uint32(len(v.roads)))
	for axis := range 2 {
		for u := range graph.NodeID(v.n.g.Nodes()) {
			lat, lon, _ := v.n.g.Coord(u)
			number(uint32(int32(math.Round([2]float64{lat, lon}[axis] * 1e6))))
		}
	}
	for _, r := range v.roads {
		number(r.u)
	}
	for _, r := range v.roads {
		number(r.v)
	}
	for _, r := range v.roads {
		raw = append(raw, r.class)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(raw); err != nil {
		return nil, err
	}
	err := z.Close()
	return out.Bytes(), err
}

// serve serves the page until ctx ends.
func (v *live) serve(ctx context.Context, l net.Listener) error {
	p := page.New(page.Page{
		Title:  "The quickest way, in traffic",
		Lead:   "Real roads of " + v.n.name + ". Choose where from and where to, then paint a jam onto the way: the way around it is there before you have lifted the brush.",
		Body:   template.HTML(serveBody),
		Script: mapScript,
		Text:   v.text,
		Do: map[string]page.Command{
			"route": v.doRoute, "places": v.doPlaces, "paint": v.doPaint, "jam": v.doJam, "clear": v.doClear, "snow": v.doSnow, "look": v.doLook,
		},
	})
	v.mu.Lock()
	v.page = p
	v.publishLocked()
	v.mu.Unlock()
	mux := http.NewServeMux()
	mux.Handle("/", p)
	mux.HandleFunc("GET /roads", v.serveRoads)
	mux.HandleFunc("GET /seen", v.serveSeen)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		p.Close()
		_ = server.Close()
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (v *live) serveRoads(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "no-cache")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		z, err := gzip.NewReader(bytes.NewReader(v.file))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.Copy(w, z) // the reader may be gone
		return
	}
	h.Set("Content-Encoding", "gzip")
	_, _ = w.Write(v.file)
}

func (v *live) serveSeen(w http.ResponseWriter, _ *http.Request) {
	v.mu.Lock()
	seen := v.seen
	v.mu.Unlock()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(seen)
}

func (v *live) tellLocked(kind page.Kind, text string) {
	v.number++
	v.events = append(v.events, page.Event{Key: strconv.Itoa(v.number), At: time.Now().Format("15:04:05"), Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-40):]
}

// ---- what visitors do -----------------------------------------------------------

// doRoute moves the start or the target to the crossing that is nearest to a place.
func (v *live) doRoute(_ context.Context, form url.Values) (string, error) {
	lat, err := strconv.ParseFloat(form.Get("lat"), 64)
	lon, err2 := strconv.ParseFloat(form.Get("lon"), 64)
	if err := errors.Join(err, err2); err != nil {
		return "", err
	}
	u, metres, err := v.locator.Node(lat, lon, nil)
	if err != nil {
		return "", err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch form.Get("end") {
	case "from":
		v.from = u
	case "to":
		v.to = u
	default:
		return "", fmt.Errorf("no end of a way: %q", form.Get("end"))
	}
	s := v.publishLocked()
	return fmt.Sprintf("The nearest crossing is %.0f m away. %s", metres, s.Said), nil
}

// doPlaces sets both ends by name; one without a name stays where it is.
func (v *live) doPlaces(_ context.Context, form url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ends := [2]graph.NodeID{v.from, v.to}
	for i, name := range []string{form.Get("from"), form.Get("to")} {
		if name == "" {
			continue // where it is
		}
		at := slices.IndexFunc(places, func(p place) bool { return p.name == name })
		if at < 0 {
			return "", fmt.Errorf("no such place: %q", name)
		}
		u, metres, err := v.locator.Node(places[at].lat, places[at].lon, nil)
		if err != nil {
			return "", err
		}
		if metres > 5_000 {
			return "", fmt.Errorf("%s is not on this map", name)
		}
		ends[i] = u
	}
	v.from, v.to = ends[0], ends[1]
	return v.publishLocked().Said, nil
}

// mostPainted is how many roads a request may paint.
const mostPainted = 20_000

// doPaint makes roads slow, closes them, or frees them.
func (v *live) doPaint(_ context.Context, form url.Values) (string, error) {
	how := form.Get("how")
	if how != paintSlow && how != paintClosed && how != paintFree {
		return "", fmt.Errorf("roads cannot be %q", how)
	}
	fields := strings.FieldsFunc(form.Get("roads"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(fields) > mostPainted {
		return "", fmt.Errorf("%d roads at once, at most %d", len(fields), mostPainted)
	}
	var roads []int
	for _, text := range fields {
		i, err := strconv.Atoi(text)
		if err != nil {
			return "", err
		}
		if i < 0 || i >= len(v.roads) {
			return "", fmt.Errorf("road %d of %d", i, len(v.roads))
		}
		roads = append(roads, i)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.paintLocked(roads, how)
}

// paintLocked changes the weights of roads. Readers go on with the metric they have.
func (v *live) paintLocked(roads []int, how string) (string, error) {
	var list []graph.Change
	for _, i := range roads {
		if how == paintFree {
			delete(v.painted, i)
		} else {
			v.painted[i] = how
		}
		for _, a := range v.roads[i].arcs {
			list = append(list, graph.Change{Arc: a, Weight: v.weightLocked(a)})
		}
	}
	began := time.Now()
	if err := v.live.Apply(list); err != nil {
		return "", err
	}
	v.updated, v.search = time.Since(began), nil
	v.tellLocked(page.OK, fmt.Sprintf("%s %s: %d arcs updated in %.2f ms", count(len(roads)), how, len(list), v.updated.Seconds()*1e3))
	return v.publishLocked().Said, nil
}

func count(roads int) string {
	if roads == 1 {
		return "one road is"
	}
	return num(roads) + " roads are"
}

// weightLocked is what an arc costs with what was painted on its road.
func (v *live) weightLocked(a graph.ArcID) uint32 {
	w := v.base.Weight(a)
	switch v.painted[v.roadOf[a]] {
	case paintSlow:
		return uint32(min(uint64(w)*slowFactor, graph.MaxWeight))
	case paintClosed:
		return graph.Inf
	}
	return w
}

// doJam makes the stretch of the best way slow that can least be spared.
func (v *live) doJam(context.Context, url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.live.Metric()
	q := m.NewQuery()
	d, err := q.Distance(v.from, v.to)
	if err != nil {
		return "", err
	}
	path := q.AppendPath(nil)
	if len(path) == 0 || d == graph.Inf {
		return "", errors.New("there is no way to jam")
	}
	jam, err := worstStretch(v.n, m, v.from, v.to, path, 20_000)
	if err != nil {
		return "", err
	}
	var roads []int
	for _, a := range jam {
		roads = append(roads, v.roadOf[a])
	}
	return v.paintLocked(roads, paintSlow)
}

func (v *live) doClear(context.Context, url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var roads []int
	for i := range v.painted {
		roads = append(roads, i)
	}
	return v.paintLocked(roads, paintFree)
}

// doSnow changes the weights of all arcs, and paints the jams onto them again.
func (v *live) doSnow(context.Context, url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	weights := slices.Clone(v.n.millis)
	if !v.snowy {
		for a := range weights {
			weights[a] = uint32(min(float64(weights[a])*snow[v.n.class[a]], graph.MaxWeight))
		}
	}
	base, err := v.topo.Customize(weights)
	if err != nil {
		return "", err
	}
	v.base = base
	for a := range weights {
		weights[a] = v.weightLocked(graph.ArcID(a))
	}
	began := time.Now()
	m, err := v.topo.Customize(weights)
	if err != nil {
		return "", err
	}
	v.updated, v.search = time.Since(began), nil
	v.live.Replace(m)
	v.snowy = !v.snowy
	v.tellLocked(page.Hot, fmt.Sprintf("%s: all %s arcs customized in %.1f ms", map[bool]string{true: "snow falls", false: "the snow is gone"}[v.snowy], num(len(weights)), v.updated.Seconds()*1e3))
	return v.publishLocked().Said, nil
}

func (v *live) doLook(_ context.Context, form url.Values) (string, error) {
	name := form.Get("name")
	if !slices.Contains([]string{"none", nameDijkstra, nameBoth, nameAStar, nameCustomizable}, name) {
		return "", fmt.Errorf("no such search: %q", name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looks = name
	return v.publishLocked().Said, nil
}

// ---- what the page shows --------------------------------------------------------

type state struct {
	From    [2]float64   `json:"from"`
	To      [2]float64   `json:"to"`
	Before  way          `json:"before"`
	Now     way          `json:"now"`
	Stay    page.Cell    `json:"stay"` // the way of before, now
	Same    bool         `json:"same"`
	Said    string       `json:"said"`
	Snow    bool         `json:"snow"`
	Slow    []int        `json:"slow"`
	Closed  []int        `json:"closed"`
	Painted int          `json:"painted"`
	Update  string       `json:"update"`
	Looks   string       `json:"looks"`
	Seen    int          `json:"seen"`
	SeenAs  int          `json:"seenAs"`
	Search  []page.Row   `json:"search"`
	Events  []page.Event `json:"events"`
	Places  []string     `json:"places"`
	Names   [2]string    `json:"names"` // of from and to, if they have one
}

// A way is a path and what it takes.
type way struct {
	ETA    string         `json:"eta"`
	Millis uint32         `json:"millis"`
	Km     float64        `json:"km"`
	Path   []graph.NodeID `json:"path"`
}

func (v *live) wayOf(q *graph.Query, s, t graph.NodeID) (w way, path []graph.ArcID) {
	d, err := q.Distance(s, t)
	if err != nil {
		panic(err) // the nodes are those of the graph
	}
	path = q.AppendPath(nil)
	w = way{ETA: eta(d), Millis: d, Path: []graph.NodeID{}}
	if d == graph.Inf {
		return w, nil
	}
	w.Path = append(w.Path, s)
	for _, a := range path {
		w.Path = append(w.Path, v.n.g.Head(a))
	}
	w.Km = math.Round(float64(sum(func(a graph.ArcID) uint32 { return v.n.decimetres[a] }, path))/1e3) / 10
	return w, path
}

// publishLocked works everything out anew, and shows it.
func (v *live) publishLocked() state {
	m := v.live.Metric()
	s := state{
		Snow: v.snowy, Looks: v.looks, Events: slices.Clone(v.events), Slow: []int{}, Closed: []int{}, Painted: len(v.painted),
		Update: fmt.Sprintf("%.2f ms", v.updated.Seconds()*1e3),
	}
	var path, now []graph.ArcID
	s.Before, path = v.wayOf(v.base.NewQuery(), v.from, v.to)
	q := m.NewQuery()
	s.Now, now = v.wayOf(q, v.from, v.to)
	stay := sum(m.Weight, path)
	s.Stay = page.Cell{Text: eta(stay)}
	if stay == graph.Inf {
		s.Stay.Text = "closed"
	}
	if s.Same = slices.Equal(path, now); !s.Same {
		s.Stay.Kind = page.Bad
	}
	s.From[0], s.From[1], _ = v.n.g.Coord(v.from)
	s.To[0], s.To[1], _ = v.n.g.Coord(v.to)
	for i, how := range v.painted {
		if how == paintSlow {
			s.Slow = append(s.Slow, i)
		} else {
			s.Closed = append(s.Closed, i)
		}
	}
	slices.Sort(s.Slow)
	slices.Sort(s.Closed)
	s.Places = []string{}
	for _, p := range places {
		for _, name := range v.names {
			if name == p.name {
				s.Places = append(s.Places, name)
			}
		}
	}
	s.Names = [2]string{v.names[v.from], v.names[v.to]}
	switch {
	case s.Now.Millis == graph.Inf:
		s.Said = "There is no way."
	case s.Same:
		s.Said = fmt.Sprintf("%s min, %.1f km.", s.Now.ETA, s.Now.Km)
	default:
		s.Said = fmt.Sprintf("Another way: %s min, %.1f km. The one without jams takes %v min now.", s.Now.ETA, s.Now.Km, s.Stay.Text)
		if stay == graph.Inf {
			s.Said = fmt.Sprintf("Another way: %s min, %.1f km. The one without jams is closed.", s.Now.ETA, s.Now.Km)
		}
	}
	v.searchesLocked(&s, m)
	if v.page != nil {
		v.page.Publish(s)
	}
	return s
}

// searchesLocked asks each search for the way of the moment.
func (v *live) searchesLocked(s *state, m *graph.Metric) {
	if v.search == nil {
		weights := make([]uint32, v.n.g.Arcs())
		for a := range weights {
			weights[a] = m.Weight(graph.ArcID(a))
		}
		search, err := graph.NewSearch(v.n.g, weights)
		if err != nil {
			panic(err) // these are the weights of a metric
		}
		if _, err := search.AStar(v.from, v.to); err != nil { // what is found out at the first question
			panic(err) // all nodes have coordinates
		}
		v.search = search
	}
	q := m.NewQuery()
	for _, x := range []searcher{
		{name: nameDijkstra, ask: v.search.Distance, looked: v.search.Settled},
		{name: nameBoth, ask: v.search.Bidirectional, looked: v.search.Settled},
		{name: nameAStar, ask: v.search.AStar, looked: v.search.Settled},
		{name: nameCustomizable, ask: q.Distance, looked: q.Settled},
	} {
		began := time.Now()
		d, err := x.ask(v.from, v.to)
		took := time.Since(began)
		row := page.Row{"key": x.name, "name": x.name, "nodes": x.looked(), "time": fmt.Sprintf("%.0f", took.Seconds()*1e6)}
		if err != nil || d != s.Now.Millis {
			row["name"] = page.Cell{Text: x.name + " disagrees", Kind: page.Bad}
		}
		if x.name == v.looks {
			row["kind"] = page.Hot
		}
		s.Search = append(s.Search, row)
	}
	v.seen = nil
	if v.looks != "none" {
		weights := make([]uint32, v.n.g.Arcs())
		for a := range weights {
			weights[a] = m.Weight(graph.ArcID(a))
		}
		for _, x := range lookedAt(v.n, weights, m, nil, v.from, v.to, s.Now.Millis) {
			if x.name == v.looks {
				for _, u := range x.nodes {
					v.seen = binary.LittleEndian.AppendUint32(v.seen, u)
				}
			}
		}
	}
	v.seenAs++
	s.Seen, s.SeenAs = len(v.seen)/4, v.seenAs
}

func (v *live) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.live.Metric()
	before, path := v.wayOf(v.base.NewQuery(), v.from, v.to)
	now, _ := v.wayOf(m.NewQuery(), v.from, v.to)
	return fmt.Sprintf("%s: %s crossings, %s roads, %d of them painted\nwithout traffic %s min, %.1f km; the same way now %s min\nthe best way now %s min, %.1f km\n",
		v.n.name, num(v.n.g.Nodes()), num(len(v.roads)), len(v.painted), before.ETA, before.Km, eta(sum(m.Weight, path)), now.ETA, now.Km)
}
