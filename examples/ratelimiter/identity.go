package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
	"github.com/ashlar-go/ashlar/ratelimit/httplimit"
)

// A clock is virtual time.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

// A guard decides on a request's user, address and service together.
type guard struct {
	clock     clock
	user      *ratelimit.Limiter // for each user
	address   *ratelimit.Limiter // for each address of those who are signed in: many share one
	anonymous *ratelimit.Limiter // for each address of those who are not: it is all that is known
	services  map[string]*ratelimit.Limiter
}

// The limits in a minute.
const (
	perUser      = 10
	perAddress   = 300
	perAnonymous = 30
	perService   = 3000
	perSearch    = 5
)

func newGuard() (*guard, error) {
	g := &guard{services: map[string]*ratelimit.Limiter{}}
	g.clock.set(epoch)
	var err error
	limiter := func(n int) *ratelimit.Limiter {
		l, e := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(n, time.Minute)}, &ratelimit.Options{Now: g.clock.now})
		if e != nil {
			err = e
		}
		return l
	}
	g.user, g.address, g.anonymous = limiter(perUser), limiter(perAddress), limiter(perAnonymous)
	g.services["shop"], g.services["search"] = limiter(perService), limiter(perSearch)
	return g, err
}

// rules returns the limits that a request has to meet, and their names. The limit of a
// service is for all who use it together, that of the search for each of them.
func (g *guard) rules(user, address, service string) (rules []ratelimit.Rule, names []string) {
	all := ratelimit.Rule{Limiter: g.services[service], Key: ""}
	if service == "search" {
		all.Key = user + " " + address
		if user != "" {
			all.Key = user
		}
	}
	if user == "" {
		return []ratelimit.Rule{{Limiter: g.anonymous, Key: address}, all}, []string{"visitors", service}
	}
	return []ratelimit.Rule{{Limiter: g.user, Key: user}, {Limiter: g.address, Key: address}, all}, []string{"user", "address", service}
}

// rateLimit is the interface of a rate limiter: who asks, from where, for what, and when.
// It tells whether the request is to be refused, and more: by which limit, and what to say
// to who sent it. It counts with all limits or with none.
func (g *guard) rateLimit(user, address, service string, t time.Time) (refuse bool, d ratelimit.Decision, by string) {
	g.clock.set(t)
	rules, names := g.rules(user, address, service)
	d, i := ratelimit.AllowAll(1, rules...)
	return !d.OK, d, names[i]
}

// oneByOne is how it is often written: limit after limit, and what the first ones have
// counted stays counted when a later one refuses.
func (g *guard) oneByOne(user, address, service string, t time.Time) (refuse bool) {
	g.clock.set(t)
	rules, _ := g.rules(user, address, service)
	for _, r := range rules {
		if !r.Limiter.Allow(r.Key) {
			return true
		}
	}
	return false
}

// ---- whose request ------------------------------------------------------------------

// A visit is a request as it comes to the application, through a balancer of ours, which
// has appended the address that it sees.
type visit struct {
	user    string
	address netip.Addr
	forged  string // what the client had written into X-Forwarded-For
}

const ourBalancer = "10.0.0.1:40000"

func (v visit) request() *http.Request {
	r := &http.Request{Method: http.MethodGet, RemoteAddr: ourBalancer, Header: http.Header{}}
	if v.user != "" {
		r.Header.Set("X-User", v.user)
	}
	hops := v.address.String()
	if v.forged != "" {
		hops = v.forged + ", " + hops
	}
	r.Header.Set("X-Forwarded-For", hops)
	return r
}

// A case is some people, in one minute.
type identityCase struct {
	what   string
	honest bool
	visits []visit
}

// address returns the i-th one of a network.
func address(prefix string, i int) netip.Addr {
	p := netip.MustParsePrefix(prefix)
	b := p.Addr().AsSlice()
	for at := len(b) - 1; i > 0; at-- {
		b[at] += byte(i)
		i >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// identityCases are four honest crowds and six ways to get around a limit.
func identityCases() []identityCase {
	office, home := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("203.0.113.9")
	var list []identityCase
	add := func(what string, honest bool, n int, v func(i int) visit) {
		c := identityCase{what: what, honest: honest}
		for i := range n {
			c.visits = append(c.visits, v(i))
		}
		list = append(list, c)
	}
	add("100 users at home, 6 requests each", true, 600, func(i int) visit { return visit{user: fmt.Sprint("u", i%100), address: address("192.0.2.0/24", i%100)} })
	add("100 users behind one address (NAT), 3 each", true, 300, func(i int) visit { return visit{user: fmt.Sprint("u", i%100), address: office} })
	add("100 visitors, not signed in, 3 each", true, 300, func(i int) visit { return visit{address: address("192.0.2.0/24", i%100)} })
	add("100 visitors, not signed in, one address, 3 each", true, 300, func(int) visit { return visit{address: office} })
	add("one account, one address", false, 5000, func(int) visit { return visit{user: "m", address: home} })
	add("one account, 1,000 addresses", false, 5000, func(i int) visit { return visit{user: "m", address: address("100.64.0.0/16", i%1000)} })
	add("1,000 accounts, one address", false, 5000, func(i int) visit { return visit{user: fmt.Sprint("m", i%1000), address: home} })
	add("no account, 5,000 addresses of one IPv6 /64", false, 5000, func(i int) visit { return visit{address: address("2001:db8:1:2::/64", i)} })
	add("no account, X-Forwarded-For made up each time", false, 5000, func(i int) visit { return visit{address: home, forged: address("100.64.0.0/16", i).String()} })
	add("1,000 accounts, an address each", false, 5000, func(i int) visit {
		return visit{user: fmt.Sprint("m", i%1000), address: address("100.64.0.0/16", i%1000)}
	})
	return list
}

// The ways to say whose request it is.
var identities = []struct {
	name string
	key  func(*http.Request) (string, error)
	n    int // requests a minute
}{
	{"user", func(r *http.Request) (string, error) { return r.Header.Get("X-User"), nil }, perUser},
	{"leftmost", func(r *http.Request) (string, error) {
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
		return first, nil
	}, perAnonymous},
	{"address", func(r *http.Request) (string, error) {
		hops := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
		return strings.TrimSpace(hops[len(hops)-1]), nil
	}, perAnonymous},
	{"ClientIP", httplimit.ClientIP(netip.MustParsePrefix("10.0.0.0/8")), perAnonymous},
}

// visitsPass sends visits through the middleware with one key, and returns how many pass.
func visitsPass(visits []visit, key func(*http.Request) (string, error), n int) (int, error) {
	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(n, time.Minute)}, &ratelimit.Options{Now: func() time.Time { return epoch }})
	if err != nil {
		return 0, err
	}
	pass := 0
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { pass++ })
	h := httplimit.Middleware(l, &httplimit.Options{Key: key, Window: time.Minute, Refuse: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})(next)
	for _, v := range visits {
		h.ServeHTTP(nowhere{http.Header{}}, v.request())
	}
	return pass, nil
}

// visitsPassAll sends them through a guard.
func visitsPassAll(visits []visit) (int, error) {
	g, err := newGuard()
	if err != nil {
		return 0, err
	}
	key := identities[len(identities)-1].key
	pass := 0
	for _, v := range visits {
		address, err := key(v.request())
		if err != nil {
			return 0, err
		}
		if refuse, _, _ := g.rateLimit(v.user, address, "shop", epoch); !refuse {
			pass++
		}
	}
	return pass, nil
}

// nowhere is an answer that nobody reads.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header       { return n.h }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}
