// Package httplimit puts a rate limit in front of an http.Handler.
//
//	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(100, time.Minute), Burst: 10}, nil)
//	key := httplimit.ClientIP(netip.MustParsePrefix("10.0.0.0/8")) // the balancers
//	handler = httplimit.Middleware(l, &httplimit.Options{Key: key, Window: time.Minute})(handler)
//
// Each answer says how things are, in the fields of the IETF's draft
// (draft-ietf-httpapi-ratelimit-headers-09):
//
//	RateLimit-Policy: "default";q=100;w=60
//	RateLimit: "default";r=99;t=1
//
// and one that is refused has the status 429 (RFC 6585) and Retry-After too, in whole
// seconds, rounded up.
//
// # Whose request
//
// By address is the only way for those who have not logged in, and it fails in two
// ways: many share one address, behind a company's or a phone network's gateway, and
// one may have many. For IPv6, where a customer gets at least a /64, [ClientIP] takes
// that as one. By user or API key is better once there is one; and both together,
// with ratelimit.AllowAll, is best.
//
// X-Forwarded-For is written by everybody on the way, the client included: only what
// trusted proxies have appended counts. [ClientIP] goes from the right and takes the
// first address that is not a trusted proxy's.
package httplimit

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// Options are what is not required. The zero value of each field means its default.
type Options struct {
	// Key returns whose request it is. An error refuses it with 400. Default:
	// ClientIP() without proxies.
	Key func(r *http.Request) (string, error)
	// Cost returns for how many requests it counts; a negative number is 1. Default: 1
	// for each.
	Cost func(r *http.Request) int
	// Name is the policy's in the headers: letters, digits, "-", "_". Default
	// "default".
	Name string
	// Window is the policy's period for the headers; 0 leaves it out.
	Window time.Duration
	// Refuse answers a request that may not pass; the headers are set already.
	// Default: 429 with a line of text.
	Refuse http.Handler
	// Failed is asked what to do when the Checker returns an error, which a Limiter
	// of this process never does: true lets the request pass. Default: false, which
	// answers 503.
	Failed func(r *http.Request, err error) bool
}

// Middleware returns what wraps a handler in the limit. It panics on a Name that
// cannot be in a header.
func Middleware(c ratelimit.Checker, opts *Options) func(next http.Handler) http.Handler {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Key == nil {
		o.Key = ClientIP()
	}
	if o.Name == "" {
		o.Name = "default"
	}
	for _, c := range o.Name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			panic(fmt.Sprintf("httplimit: name %q: letters, digits, \"-\" and \"_\" are allowed", o.Name))
		}
	}
	if o.Refuse == nil {
		o.Refuse = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "too many requests", http.StatusTooManyRequests)
		})
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key, err := o.Key(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			n := 1
			if o.Cost != nil {
				if n = o.Cost(r); n < 0 {
					n = 1
				}
			}
			d, err := c.Check(r.Context(), key, n)
			if err != nil {
				if o.Failed != nil && o.Failed(r, err) {
					next.ServeHTTP(w, r)
					return
				}
				http.Error(w, "the rate limit cannot be checked", http.StatusServiceUnavailable)
				return
			}
			SetHeaders(w.Header(), d, o.Name, o.Window)
			if !d.OK {
				o.Refuse.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// SetHeaders sets RateLimit, RateLimit-Policy and, for a refusal, Retry-After.
func SetHeaders(h http.Header, d ratelimit.Decision, name string, window time.Duration) {
	policy := fmt.Sprintf("%q;q=%d", name, d.Limit)
	if window > 0 {
		policy += ";w=" + strconv.FormatInt(seconds(window), 10)
	}
	h.Set("RateLimit-Policy", policy)
	h.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", name, d.Remaining, seconds(d.ResetAfter)))
	if !d.OK && d.RetryAfter != ratelimit.Never {
		h.Set("Retry-After", strconv.FormatInt(max(1, seconds(d.RetryAfter)), 10))
	}
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// ErrAddress is returned by [ClientIP] for a request whose address cannot be read.
var ErrAddress = errors.New("httplimit: no client address")

// ClientIP returns a Key that is the client's address: the rightmost one in
// X-Forwarded-For, or the connection's own, that is not in the trusted prefixes. Of
// IPv6 it is the /64. Without trusted prefixes it is the connection's, whatever the
// headers say. Every X-Forwarded-For of the request counts, in order; an entry that
// is no address ends the search at the hop before it, which is the last that can be
// believed.
func ClientIP(trusted ...netip.Prefix) func(r *http.Request) (string, error) {
	trusted = slices.Clone(trusted)
	for i, p := range trusted { // addresses are compared without the form of IPv4 in IPv6
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			trusted[i] = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
	}
	isTrusted := func(a netip.Addr) bool {
		for _, p := range trusted {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	return func(r *http.Request) (string, error) {
		client, ok := parseAddr(r.RemoteAddr)
		if !ok {
			return "", fmt.Errorf("%w: %q", ErrAddress, r.RemoteAddr)
		}
		hops := r.Header.Values("X-Forwarded-For")
		for i := len(hops) - 1; i >= 0 && isTrusted(client); i-- {
			list := strings.Split(hops[i], ",")
			for j := len(list) - 1; j >= 0 && isTrusted(client); j-- {
				hop, ok := parseAddr(strings.TrimSpace(list[j]))
				if !ok {
					return network(client), nil
				}
				client = hop
			}
		}
		return network(client), nil
	}
}

// parseAddr reads an address with or without port and brackets, without its zone, and
// an IPv4 address in IPv6's form as what it is.
func parseAddr(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

// network is what counts as one client.
func network(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.String()
}
