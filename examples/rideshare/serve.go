package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

//go:embed serve.html
var serveBody string

//go:embed city.js
var cityScript string

// servePage lets cars drive and answers who comes.
func servePage(ctx context.Context, addr string, n int, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := startLive(ctx, n)
	if err != nil {
		return err
	}
	defer v.stop()
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

const (
	showEvery = 250 * time.Millisecond
	pace      = 10  // the cars' clock runs so much faster
	shown     = 600 // cars on the map, of those that the server knows
	fewPhones = 400 // have a real connection: the page is about one machine
)

// A live is the story without an end. The cars' phones have real connections to a server in
// this process, which can be killed: its listener and all its memory go.
type live struct {
	roads *roads
	n     int
	hub   *page.Server

	mu      sync.Mutex
	fleet   []*driver
	rng     *rand.Rand
	policy  int
	rides   []*ride
	number  int
	served  int
	waited  float64 // seconds, of all riders
	events  []page.Event
	told    int
	crowd   *crowd
	address string
	server  *server // nil: dead
	web     *http.Server
	died    time.Time
	clock   time.Time // when the cars were moved last
}

// A ride is a request with its car.
type ride struct {
	number   int
	from, to graph.NodeID
	d        *driver
	eta      float64 // seconds, as told
	toRider  bool
}

func startLive(ctx context.Context, n int) (*live, error) {
	r, err := openRoads(ctx)
	if err != nil {
		return nil, err
	}
	v := &live{roads: r, n: min(n, fewPhones), rng: rand.New(rand.NewPCG(1, 99)), policy: 1, clock: time.Now()}
	v.fleet = r.fleet(v.n, 2)
	if err := v.startServer("127.0.0.1:0"); err != nil {
		return nil, err
	}
	v.crowd = startCrowd(ctx, v.n, v.address, jittered, v.where)
	return v, nil
}

func (v *live) startServer(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	v.server, v.address = newServer(), l.Addr().String()
	v.web = &http.Server{Handler: v.server.handler(), ReadHeaderTimeout: 10 * time.Second}
	web := v.web
	ctx, cancel := context.WithCancel(context.Background())
	web.BaseContext = func(net.Listener) context.Context { return ctx }
	web.RegisterOnShutdown(cancel)
	go func() { _ = web.Serve(l) }() // ends when it is killed
	return nil
}

func (v *live) stop() {
	v.crowd.stop()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stopServer()
}

// stopServer ends the connections and forgets everything.
func (v *live) stopServer() {
	if v.server == nil {
		return
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = v.web.Shutdown(ended) // calls what ends the WebSockets
	_ = v.web.Close()
	v.server = nil
}

func (v *live) where(i int) (float64, float64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.roads.at(v.fleet[i])
}

func (v *live) serve(ctx context.Context, l net.Listener) error {
	script, err := v.script()
	if err != nil {
		return err
	}
	v.hub = page.New(page.Page{
		Title:  "A ride in New York",
		Lead:   "Cars tell where they are over WebSockets, to a server that only remembers. Click on the map to ask for a ride from there.",
		Body:   template.HTML(serveBody),
		Script: script,
		Text:   v.text,
		Do:     map[string]page.Command{"ride": v.ask, "policy": v.choose, "kill": v.kill},
	})
	v.hub.Publish(v.state())
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- v.live(ctx)
	}()
	return errors.Join(v.hub.Serve(ctx, l), <-ended)
}

// script returns the page's module with the main roads, which it draws once.
func (v *live) script() (string, error) {
	g := v.roads.Graph
	var lines [][4]int32
	for a := range graph.ArcID(g.Arcs()) {
		if g.Tail(a) > g.Head(a) || v.roads.Class[a] == 3 && a%3 != 0 {
			continue // the other direction; two in three streets
		}
		x, y := v.xy(g.Tail(a))
		x2, y2 := v.xy(g.Head(a))
		if max(x, x2) < 0 || min(x, x2) > width || max(y, y2) < 0 || min(y, y2) > height {
			continue
		}
		lines = append(lines, [4]int32{x, y, x2, y2})
	}
	text, err := json.Marshal(lines)
	return fmt.Sprintf("const roads = %s;\nconst width = %d, height = %d;\n%s", text, width, height, cityScript), err
}

// The map is Manhattan and what is beside it, in whole numbers.
const (
	west, south, east, north = -74.03, 40.69, -73.90, 40.82
	height                   = 2000
)

var width = int32(math.Round(height * (east - west) * math.Cos((south+north)/2*math.Pi/180) / (north - south)))

func onMap(lat, lon float64) (x, y int32) {
	return int32(float64(width) * (lon - west) / (east - west)), int32(height * (north - lat) / (north - south))
}

func (v *live) xy(u graph.NodeID) (x, y int32) {
	lat, lon, _ := v.roads.Graph.Coord(u)
	return onMap(lat, lon)
}

// live moves the cars.
func (v *live) live(ctx context.Context) error {
	t := time.NewTicker(showEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		v.mu.Lock()
		passed := time.Since(v.clock)
		v.clock = v.clock.Add(passed)
		for _, d := range v.fleet {
			v.roads.move(d, uint32(pace*passed.Milliseconds()), v.rng)
		}
		err := v.goOn()
		if v.server == nil && time.Since(v.died) > time.Second {
			if err2 := v.startServer(v.address); err2 == nil {
				v.say(page.OK, "another server has begun at the same address, and knows nobody")
			}
		}
		v.mu.Unlock()
		if err != nil {
			return err
		}
		v.hub.Publish(v.state())
	}
}

// goOn lets rides go on whose car has arrived.
func (v *live) goOn() error {
	for _, r := range v.rides {
		if len(r.d.route) > 0 || r.d.on < v.roads.Millis[r.d.arc] {
			continue
		}
		if r.toRider {
			r.toRider = false
			v.say(page.OK, fmt.Sprintf("rider %d is in car %d", r.number, r.d.id))
			if err := v.send(r.d, r.to); err != nil {
				return err
			}
			continue
		}
		r.d.busy = false
		v.served++
		v.say("", fmt.Sprintf("rider %d is there", r.number))
	}
	v.rides = slices.DeleteFunc(v.rides, func(r *ride) bool { return !r.d.busy })
	return nil
}

// send gives a car the way to a node, from where it comes next.
func (v *live) send(d *driver, to graph.NodeID) error {
	u, _ := v.roads.next(d)
	q := v.roads.metric.NewQuery()
	if _, err := q.Distance(u, to); err != nil {
		return err
	}
	d.busy, d.route = true, q.AppendPath(nil)
	return nil
}

// ask finds a car for somebody who stands where the map was clicked.
func (v *live) ask(_ context.Context, form url.Values) (string, error) {
	x, err1 := strconv.ParseFloat(form.Get("x"), 64)
	y, err2 := strconv.ParseFloat(form.Get("y"), 64)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	lat, lon := north-y/height*(north-south), west+x/float64(width)*(east-west)
	u, metres, err := v.roads.locator.Node(lat, lon, nil)
	if err != nil {
		return "", err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if metres > 1500 {
		return "", errors.New("there is no road: click nearer to one")
	}
	if v.server == nil {
		return "", errors.New("the server is dead: nobody knows where the cars are")
	}
	p := policies[v.policy]
	var offers []offer
	found, err := v.server.index.Nearest(nil, lat, lon, p.reach, &geohash.Query[uint32]{Filter: func(i uint32) bool { return int(i) < len(v.fleet) && !v.fleet[i].busy }})
	if err != nil {
		return "", err
	}
	var nodes []graph.NodeID
	for _, f := range found {
		d := v.fleet[f.Key]
		next, rest := v.roads.next(d)
		nodes = append(nodes, next)
		offers = append(offers, offer{d, f.Distance, float64(rest)})
	}
	if len(offers) == 0 {
		return "", errors.New("no car is known: its phone has to report first")
	}
	etas, err := v.roads.etas(nodes, u)
	if err != nil {
		return "", err
	}
	for i := range offers {
		offers[i].eta += float64(etas[i])
	}
	best, wait, asked := p.choose(offers, v.rng)
	if best == nil {
		return "", errors.New("nobody accepts")
	}
	v.number++
	r := &ride{number: v.number, from: u, to: v.roads.place(v.rng), d: best.d, eta: (wait + best.eta) / 1000, toRider: true}
	if err := v.send(r.d, u); err != nil {
		return "", err
	}
	v.rides = append(v.rides, r)
	v.waited += r.eta
	v.say(page.Hot, fmt.Sprintf("rider %d: car %d, %.0f m away, there in %.0f s; %d were asked", r.number, r.d.id, best.metres, r.eta, asked))
	return fmt.Sprintf("Car %d comes in %.0f seconds of its time.", r.d.id, r.eta), nil
}

func (v *live) choose(_ context.Context, form url.Values) (string, error) {
	i, err := strconv.Atoi(form.Get("policy"))
	if err != nil || i < 0 || i >= len(policies) {
		return "", errors.New("no such policy")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.policy = i
	return "From now on: " + policies[i].name + ".", nil
}

func (v *live) kill(context.Context, url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.server == nil {
		return "", errors.New("it is dead already")
	}
	v.stopServer()
	v.died = time.Now()
	v.crowd.mu.Lock()
	v.crowd.tries = nil
	v.crowd.mu.Unlock()
	v.say(page.Bad, "the server is dead, with all positions")
	return "The phones connect again within two seconds, at random.", nil
}

func (v *live) say(kind page.Kind, text string) {
	v.told++
	v.events = append(v.events, page.Event{Key: strconv.Itoa(v.told), At: time.Now().Format("15:04:05"), Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-30):]
}

// A state is what the page shows. Cars and rides are lists of numbers: x, y and what they
// do.
type state struct {
	Known  page.Cell      `json:"known"`
	Open   int64          `json:"open"`
	Served int            `json:"served"`
	Wait   string         `json:"wait"`
	Policy string         `json:"policy"`
	Number int            `json:"number"` // of the last rider
	Tries  int            `json:"tries"`  // to connect within 50 ms, since the last kill
	Cars   [][3]int32     `json:"cars"`
	Rides  []rideState    `json:"rides"`
	Events []page.Event   `json:"events"`
	Doing  map[string]int `json:"doing"`
}

type rideState struct {
	Rider [2]int32   `json:"rider"`
	Line  [][2]int32 `json:"line"`
	In    bool       `json:"in"`
}

func (v *live) state() state {
	most, _ := v.crowd.peak(50 * time.Millisecond)
	v.mu.Lock()
	defer v.mu.Unlock()
	s := state{
		Served: v.served, Policy: policies[v.policy].name, Number: v.number, Tries: most, Wait: "–", Cars: [][3]int32{},
		Rides: []rideState{}, Events: slices.Clone(v.events), Doing: map[string]int{},
	}
	s.Known = page.Cell{Text: 0, Kind: page.Bad}
	if v.server != nil {
		v.server.index.Expire()
		s.Open = v.server.open.Load()
		s.Known = page.Cell{Text: v.server.index.Len()}
		var keys []uint32
		places := map[uint32]geohash.Point{}
		for k, p := range v.server.index.All() {
			keys = append(keys, k)
			places[k] = p
		}
		slices.SortFunc(keys, func(a, b uint32) int { return cmp.Compare(a, b) })
		for _, k := range keys[:min(len(keys), shown)] {
			x, y := onMap(places[k].Lat, places[k].Lon)
			busy := int32(0)
			if int(k) < len(v.fleet) && v.fleet[k].busy {
				busy = 1
			}
			s.Cars = append(s.Cars, [3]int32{x, y, busy})
		}
	}
	if v.number > 0 {
		s.Wait = fmt.Sprintf("%.0f s", v.waited/float64(v.number))
	}
	for _, r := range v.rides {
		rs := rideState{In: !r.toRider}
		rs.Rider[0], rs.Rider[1] = v.xy(r.from)
		if !r.toRider {
			rs.Rider[0], rs.Rider[1] = v.xy(r.to)
		}
		lat, lon := v.roads.at(r.d)
		x, y := onMap(lat, lon)
		rs.Line = append(rs.Line, [2]int32{x, y})
		for _, a := range r.d.route {
			x, y := v.xy(v.roads.Graph.Tail(a))
			rs.Line = append(rs.Line, [2]int32{x, y})
		}
		s.Rides = append(s.Rides, rs)
		s.Doing["to a rider"] += 1 - b2i(rs.In)
		s.Doing["with a rider"] += b2i(rs.In)
	}
	return s
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (v *live) text() string {
	s := v.state()
	return fmt.Sprintf("cars known %v, connections %d, riders %d of whom %d are there, waited %s on average, %s\n", s.Known.Text, s.Open, s.Number, s.Served, s.Wait, s.Policy)
}
