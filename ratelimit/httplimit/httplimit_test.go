package httplimit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
	"github.com/ashlar-go/ashlar/ratelimit/httplimit"
)

func request(remote string, forwarded ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = remote
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	return r
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })

func TestMiddleware(t *testing.T) {
	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(2, time.Hour)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := httplimit.Middleware(l, &httplimit.Options{Window: time.Hour})(ok)
	for i, want := range []struct {
		status           int
		limit, retry, by string
	}{
		{200, `"default";r=1;t=1800`, "", "hello"},
		{200, `"default";r=0;t=3600`, "", "hello"},
		{429, `"default";r=0;t=3600`, "1800", "too many requests\n"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("192.0.2.1:99"))
		if w.Code != want.status || w.Header().Get("RateLimit") != want.limit || w.Header().Get("Retry-After") != want.retry ||
			w.Header().Get("RateLimit-Policy") != `"default";q=2;w=3600` || w.Body.String() != want.by {
			t.Errorf("request %d: %d %v %q", i, w.Code, w.Header(), w.Body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("192.0.2.2:99"))
	if w.Code != 200 {
		t.Errorf("another address: %d", w.Code)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, request("nowhere"))
	if w.Code != 400 {
		t.Errorf("no address: %d", w.Code)
	}
}

type broken struct{}

func (broken) Check(context.Context, string, int) (ratelimit.Decision, error) {
	return ratelimit.Decision{}, errors.New("no connection")
}

func TestBroken(t *testing.T) {
	for _, pass := range []bool{false, true} {
		h := httplimit.Middleware(broken{}, &httplimit.Options{Failed: func(*http.Request, error) bool { return pass }})(ok)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("192.0.2.1:99"))
		if (w.Code == 200) != pass || !pass && w.Code != 503 {
			t.Errorf("pass %t: %d", pass, w.Code)
		}
	}
	w := httptest.NewRecorder()
	httplimit.Middleware(broken{}, nil)(ok).ServeHTTP(w, request("192.0.2.1:99"))
	if w.Code != 503 {
		t.Errorf("by default: %d", w.Code)
	}
}

func TestOptions(t *testing.T) {
	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(10, time.Hour)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := httplimit.Middleware(l, &httplimit.Options{
		Key:    func(r *http.Request) (string, error) { return r.Header.Get("User"), nil },
		Cost:   func(r *http.Request) int { return len(r.URL.Path) },
		Name:   "per_user-1",
		Refuse: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	})(ok)
	ask := func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("User", "ann")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := ask("/123456"); w.Code != 200 || w.Header().Get("RateLimit-Policy") != `"per_user-1";q=10` {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := ask("/1234567890"); w.Code != http.StatusTeapot || w.Header().Get("Retry-After") != "" {
		t.Errorf("more than ever passes: %d %v", w.Code, w.Header())
	}
	defer func() {
		if recover() == nil {
			t.Error("a name with a quote passes")
		}
	}()
	httplimit.Middleware(l, &httplimit.Options{Name: `a"b`})
}

func TestClientIP(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("::ffff:172.16.0.0/108")}
	for _, c := range []struct {
		what      string
		remote    string
		forwarded []string
		want      string
	}{
		{"directly", "192.0.2.1:5", nil, "192.0.2.1"},
		{"directly, with a made-up header", "192.0.2.1:5", []string{"1.1.1.1"}, "192.0.2.1"},
		{"by a proxy", "10.1.1.1:5", []string{"192.0.2.1"}, "192.0.2.1"},
		{"by a proxy in mapped form", "172.16.1.1:5", []string{"192.0.2.1"}, "192.0.2.1"},
		{"by two", "10.1.1.1:5", []string{"192.0.2.1, 10.2.2.2"}, "192.0.2.1"},
		{"by two, each with a header of its own", "10.1.1.1:5", []string{"192.0.2.1", "10.2.2.2"}, "192.0.2.1"},
		{"the client made up the left ones", "10.1.1.1:5", []string{"8.8.8.8, 10.9.9.9, 192.0.2.1, 10.2.2.2"}, "192.0.2.1"},
		{"garbage before the proxy", "10.1.1.1:5", []string{"garbage, 10.2.2.2"}, "10.2.2.2"},
		{"nothing but proxies", "10.1.1.1:5", []string{"10.3.3.3, 10.2.2.2"}, "10.3.3.3"},
		{"an empty header", "10.1.1.1:5", []string{""}, "10.1.1.1"},
		{"with a port", "10.1.1.1:5", []string{"192.0.2.1:4711"}, "192.0.2.1"},
		{"IPv6: the /64", "[2001:db8:1:2:3:4:5:6]:5", nil, "2001:db8:1:2::/64"},
		{"IPv6 in brackets", "[fd00::1]:5", []string{"[2001:db8:1:2::9]:80"}, "2001:db8:1:2::/64"},
		{"IPv6 with a zone", "[fe80::1%eth0]:5", nil, "fe80::/64"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:5", nil, "192.0.2.1"},
		{"a proxy's IPv4 in IPv6", "[::ffff:10.1.1.1]:5", []string{"192.0.2.1"}, "192.0.2.1"},
	} {
		got, err := httplimit.ClientIP(trusted...)(request(c.remote, c.forwarded...))
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.what, got, err, c.want)
		}
	}
	for _, remote := range []string{"", "nowhere", "1.2.3:4", "@"} {
		if got, err := httplimit.ClientIP()(request(remote)); !errors.Is(err, httplimit.ErrAddress) {
			t.Errorf("%q: %q, %v", remote, got, err)
		}
	}
}

// FuzzClientIP: nobody's header ever changes the answer for a connection that is not a
// proxy's, and nothing panics.
func FuzzClientIP(f *testing.F) {
	f.Add("10.1.1.1:5", "192.0.2.1, 10.2.2.2")
	f.Add("[fd00::1%x]:5", "[::1]:4, ::ffff:1.2.3.4")
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		key := httplimit.ClientIP(netip.MustParsePrefix("10.0.0.0/8"))
		with, err := key(request(remote, forwarded))
		without, err2 := key(request(remote))
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, %v", err, err2)
		}
		if a, err := netip.ParseAddr(without); err == nil && a.Is4() && !netip.MustParsePrefix("10.0.0.0/8").Contains(a) && with != without {
			t.Fatalf("%q with a header, %q without", with, without)
		}
	})
}

// A limit of two requests a minute for each address.
func Example() {
	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(2, time.Minute)}, nil)
	if err != nil {
		panic(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	s := httptest.NewServer(httplimit.Middleware(l, &httplimit.Options{Window: time.Minute})(hello))
	defer s.Close()
	for range 3 {
		r, err := http.Get(s.URL)
		if err != nil {
			panic(err)
		}
		_ = r.Body.Close()
		fmt.Printf("%d %s %q\n", r.StatusCode, r.Header.Get("RateLimit-Policy"), r.Header.Get("Retry-After"))
	}
	// Output:
	// 200 "default";q=2;w=60 ""
	// 200 "default";q=2;w=60 ""
	// 429 "default";q=2;w=60 "30"
}

func BenchmarkMiddleware(b *testing.B) {
	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(1_000_000_000, time.Second)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	h := httplimit.Middleware(l, &httplimit.Options{Window: time.Second})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, hops := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("hops=%d", hops), func(b *testing.B) {
			r := request("192.0.2.1:99")
			for range hops {
				r.Header.Add("X-Forwarded-For", "192.0.2.1")
			}
			w := httptest.NewRecorder()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
