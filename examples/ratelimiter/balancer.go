package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
	"github.com/ashlar-go/ashlar/ratelimit/httplimit"
)

// Where a balancer decides.
const (
	modeNone   = "no limit"
	modeLocal  = "local"
	modeShared = "local, a share each"
	modeRemote = "remote"
	modeDeny   = "remote, refusals cached"
	modeLease  = "remote, leases"
	modeBack   = "remote, write-back"
)

// A setting says how all balancers decide.
type setting struct {
	Generation int    // counts settings, so that names of holders are new
	Run        string // a name for this run and setting, for keys in an engine that others use too
	Mode       string
	Policy     policySpec
	Balancers  int               // how many there are
	Nodes      map[string]string // addresses by name
	Fail       string
	Timeout    time.Duration // for a question
	Share      int           // tokens of a lease
	Keep       time.Duration // how long
	Pending    int           // what is not told at once, in write-back
	Flush      time.Duration
	Redis      string // URL
}

// A balancer stands in front of the application. It is a proxy with the middleware of
// package httplimit and something that decides.
type balancer struct {
	name string
	next http.Handler

	mu      sync.Mutex
	handler http.Handler
	decides decider
	took    []time.Duration // by decisions
}

// A decider is a ratelimit.Checker that ends.
type decider interface {
	ratelimit.Checker
	close() error
}

// A local is a decider of this process alone.
type local struct{ *ratelimit.Limiter }

func (local) close() error { return nil }

// A nobody refuses nothing.
type nobody struct{}

func (nobody) close() error { return nil }
func (nobody) Check(context.Context, string, int) (ratelimit.Decision, error) {
	return ratelimit.Decision{OK: true}, nil
}

// newDecider returns what a setting asks for.
func newDecider(name string, s setting) (decider, error) {
	holder := fmt.Sprintf("%s %d %d", name, os.Getpid(), s.Generation)
	parts := 1
	switch s.Mode {
	case modeNone:
		return nobody{}, nil
	case modeShared:
		parts = s.Balancers
		fallthrough
	case modeLocal:
		l, err := s.Policy.limiter(parts, time.Now)
		return local{l}, err
	}
	if s.Redis != "" {
		return openRedis(s)
	}
	r, err := newRemote(s.Policy, s.Nodes, s.Fail, s.Balancers, s.Timeout)
	if err != nil {
		return nil, err
	}
	switch s.Mode {
	case modeRemote:
		return r, nil
	case modeDeny:
		return &denyCache{remote: r}, nil
	case modeLease:
		return newLeases(r, holder, s.Share, s.Keep), nil
	case modeBack:
		return newWriteBack(r, holder, s.Pending, s.Flush), nil
	}
	return nil, fmt.Errorf("no mode is called %q", s.Mode)
}

// byUser is the key of a request: the user, whom an earlier layer has made sure of.
func byUser(r *http.Request) (string, error) {
	if user := r.Header.Get("X-User"); user != "" {
		return user, nil
	}
	return "", errors.New("no user")
}

// playBalancer is a balancer in a process of its own: it starts by printing its address
// and that of its administration.
func playBalancer() error {
	app, err := url.Parse(os.Getenv("APP"))
	if err != nil {
		return err
	}
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	private, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(app)
			r.SetXForwarded()
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}
	b := &balancer{name: os.Getenv("NAME"), next: proxy}
	fmt.Println(public.Addr(), private.Addr())
	endWithParent()
	go http.Serve(private, b.administration())
	return http.Serve(public, b)
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	h := b.handler
	b.mu.Unlock()
	if h == nil {
		http.Error(w, "not set up yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("X-Balancer", b.name)
	h.ServeHTTP(w, r)
}

// set replaces what decides.
func (b *balancer) set(s setting) error {
	d, err := newDecider(b.name, s)
	if err != nil {
		return err
	}
	limit := httplimit.Middleware(&timed{d, b}, &httplimit.Options{Key: byUser, Window: s.Policy.Period})
	b.mu.Lock()
	old := b.decides
	b.handler, b.decides, b.took = limit(b.next), d, nil
	b.mu.Unlock()
	if old != nil {
		return old.close()
	}
	return nil
}

// A timed decider notes how long decisions take: what the limit adds to a request.
type timed struct {
	ratelimit.Checker
	b *balancer
}

func (t *timed) Check(ctx context.Context, key string, n int) (ratelimit.Decision, error) {
	began := time.Now()
	d, err := t.Checker.Check(ctx, key, n)
	took := time.Since(began)
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if len(t.b.took) < 100_000 {
		t.b.took = append(t.b.took, took)
	}
	return d, err
}

// Stats are what a balancer tells of itself, since it was set up.
type stats struct {
	Took    []time.Duration // by decisions, sorted
	Calls   int             // of limiter nodes
	Without int             // decisions that no node made
	Holds   int             // tokens, or what has passed and was not told
}

func (b *balancer) stats() stats {
	b.mu.Lock()
	s := stats{Took: slices.Sorted(slices.Values(b.took))}
	d := b.decides
	b.mu.Unlock()
	of := func(r *remote) { s.Calls, s.Without = int(r.calls.Load()), int(r.without.Load()) }
	switch d := d.(type) {
	case *remote:
		of(d)
	case *denyCache:
		of(d.remote)
	case *leases:
		of(d.remote)
		s.Holds = d.holds()
	case *writeBack:
		of(d.remote)
		s.Holds = d.untold()
	case interface{ counts() (calls, without int) }:
		s.Calls, s.Without = d.counts()
	}
	return s
}

func (b *balancer) administration() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /set", func(w http.ResponseWriter, r *http.Request) {
		var s setting
		err := json.NewDecoder(r.Body).Decode(&s)
		if err == nil {
			err = b.set(s)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(b.stats()) })
	return mux
}
