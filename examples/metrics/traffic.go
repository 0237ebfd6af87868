package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The traffic of a morning, made up from a seed: the same lines on every machine,
// for which it is reckoned in whole numbers. People visit a shop, read some pages and go; servers write a line for
// each request; the lines reach the collector seconds later, some of them minutes.
const (
	servers  = 12
	duration = 2 * time.Hour
	seed     = 20260302
)

var (
	begin = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)
	// clock is what the collector's clock shows: events far after it come from a
	// machine whose own clock is wrong.
	clock = begin.Add(duration + time.Hour)
	// The shop's payment provider is down for 60 seconds across the change of a
	// minute.
	outage = begin.Add(71*time.Minute + 30*time.Second)
)

const (
	outageLasts = time.Minute
	bound       = 10 * time.Second // how much later than others an event may come and be on time
	lateness    = time.Minute      // how long after that it is still counted
	maxAhead    = 2 * time.Hour
	pause       = 5 * time.Minute // a visit is over after so long without a request
)

// A sent is a line on its way: from which server, and when it arrives.
type sent struct {
	host    string
	text    string
	arrives time.Time
}

var countries = []string{"de", "fr", "in", "jp", "mx", "ng", "pl", "us"}

var pages = []struct {
	path  string
	share int
	bytes int64
}{
	{"/", 15, 14_200},
	{"/search", 20, 31_000},
	{"/p", 38, 22_800},
	{"/cart", 9, 8_400},
	{"/checkout", 6, 6_100},
	{"/api/stock", 12, 420},
}

var words = strings.Fields("lamp desk chair oak shelf wool rug small large blue green night table outdoor cheap repair spare part round sofa")

var agents = []string{
	"Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%[1]d.0",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 19_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.3 Mobile/%dE148 Safari/604.1",
	"ShopApp/7.%d (Android 16; \"nightly\")",
}

// A profile is what the user service knows.
type profile struct {
	Country string `json:"country"`
	Plan    string `json:"plan"`
}

// A change of the user table: from a time on, a user has this profile.
type change struct {
	user string
	from time.Time
	profile
}

// A scene is everything that the example is given.
type scene struct {
	lines   []sent
	changes []change // by time
	users   int
}

// generate makes n lines, in the order in which they arrive.
func generate(n int) scene {
	s, rng := populate(n)
	for len(s.lines) < n {
		s.visit(rng)
	}
	s.lines = s.lines[:n]
	slices.SortStableFunc(s.lines, func(a, b sent) int {
		return cmp.Or(a.arrives.Compare(b.arrives), strings.Compare(a.host, b.host))
	})
	return s
}

// populate makes the users for n lines.
func populate(n int) (scene, *rand.Rand) {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	s := scene{users: max(20, n/40)}
	for i := range s.users {
		p := profile{Country: countries[rng.IntN(len(countries))], Plan: "free"}
		if rng.IntN(4) == 0 {
			p.Plan = "pro"
		}
		s.changes = append(s.changes, change{userName(i), begin.Add(-24 * time.Hour), p})
		if p.Plan == "free" && rng.IntN(8) == 0 { // pays during the morning
			p.Plan = "pro"
			s.changes = append(s.changes, change{userName(i), begin.Add(jump(rng, duration)), p})
		}
	}
	slices.SortStableFunc(s.changes, func(a, b change) int { return a.from.Compare(b.from) })
	return s, rng
}

func userName(i int) string { return fmt.Sprintf("u%04d", i) }

// jump is some time below d.
func jump(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }

// visit adds the requests of one visit.
func (s *scene) visit(rng *rand.Rand) {
	// Some users come often, most seldom.
	who := min(rng.IntN(s.users), rng.IntN(s.users))
	e := entry{
		IP:    fmt.Sprintf("2001:db8:%x:%x::%x", rng.IntN(1<<12), rng.IntN(1<<16), rng.IntN(1<<16)),
		Agent: fmt.Sprintf(agents[rng.IntN(len(agents))], 130+rng.IntN(20)), Referer: "https://shop.example/", Method: "GET",
	}
	if rng.IntN(3) == 0 {
		e.IP = fmt.Sprintf("%s.%d", []string{"192.0.2", "198.51.100", "203.0.113"}[rng.IntN(3)], rng.IntN(254)+1)
	}
	if rng.IntN(4) == 0 {
		e.Referer = "https://search.example/?q=" + words[rng.IntN(len(words))]
	}
	if rng.IntN(7) > 0 {
		e.User = userName(who)
	}
	at := begin.Add(jump(rng, duration-10*time.Minute))
	for range 1 + rng.IntN(15) {
		e.Time = at
		path := s.request(rng, e)
		e.Referer = "https://shop.example" + path
		at = at.Add(jump(rng, 50*time.Second))
	}
}

// request adds one request, and now and then something that is no request. It
// returns what was asked for.
func (s *scene) request(rng *rand.Rand, e entry) (path string) {
	server := rng.IntN(servers)
	dice := rng.IntN(100)
	for _, p := range pages {
		if dice -= p.share; dice < 0 {
			e.Path, e.Bytes = p.path, p.bytes*(850+rng.Int64N(300))/1000
			break
		}
	}
	switch e.Path {
	case "/search":
		e.Path += "?q=" + words[rng.IntN(len(words))] + "+" + words[rng.IntN(len(words))]
	case "/p":
		e.Path = fmt.Sprintf("/p/%d", 1000+min(rng.IntN(4000), rng.IntN(4000), rng.IntN(4000)))
	}
	e.Status, e.Micros = 200, 300+rng.Int64N(1000)
	for rng.IntN(5) == 0 { // few are slow, very few very slow
		e.Micros *= 2
	}
	switch down := e.Time.Sub(outage); {
	case down >= 0 && down < outageLasts && rng.IntN(10) < 9:
		// People try to pay, and try again.
		e.Method, e.Path, e.Status, e.Bytes, e.Micros = "POST", "/checkout", 503, 310, 2_000_000+rng.Int64N(900_000)
	case rng.IntN(80) == 0:
		e.Status, e.Bytes = 500, 620
	case rng.IntN(25) == 0:
		e.Status, e.Bytes = 404, 1_180
	case rng.IntN(12) == 0:
		e.Status, e.Bytes = 304, 0
	}
	if server%2 == 0 {
		e.Micros = -1 // half of the servers still have the old configuration
	}
	line := sent{host: fmt.Sprintf("web-%02d", server+1), arrives: e.Time.Add(jump(rng, 4*time.Second))}
	switch d := rng.IntN(1000); {
	case d < 6: // a server was cut off: its lines come after their window has fired
		line.arrives = e.Time.Add(50*time.Second + jump(rng, 40*time.Second))
	case d < 10: // and some come when nobody waits for them any more
		line.arrives = e.Time.Add(8*time.Minute + jump(rng, 20*time.Minute))
	case d < 11: // its clock is a day fast
		e.Time = e.Time.Add(24 * time.Hour)
	}
	line.text = e.line()
	switch rng.IntN(500) {
	case 0: // the server crashed while it wrote
		line.text = line.text[:rng.IntN(len(line.text)-40)+8]
	case 1: // somebody speaks TLS to port 80
		line.text = fmt.Sprintf(`%s - - [%s] "\x16\x03\x01\x02" 400 484 "-" "-"`, e.IP, e.Time.Format(logTime))
	case 2: // another configuration
		line.text = fmt.Sprintf("%s [shop] GET %s in %dus", e.Time.Format(time.RFC3339), e.Path, 400)
	}
	s.lines = append(s.lines, line)
	return e.Path
}
