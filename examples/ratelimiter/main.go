// Ratelimiter shows who may pass: by which policy, counted for whom, on how many
// machines, and what happens when one of these dies.
//
// Three balancers stand in front of an application, and three limiter nodes beside them,
// each a process of its own:
//
//	            ┌─► balancer 1 ─┐
//	clients ────┼─► balancer 2 ─┼──► application, which counts what reaches it
//	            └─► balancer 3 ─┘
//	                  │  ▲ check, or take tokens, or tell what has passed
//	                  ▼  │
//	        limiter 1, limiter 2, limiter 3: each key has one of them, by a consistent hash
//
// The policies are told in virtual time, where every number is exact; what a question to
// another machine costs, in real time, over real sockets. A limiter and a balancer are
// killed with SIGKILL.
//
// Run it with "go run ./examples/ratelimiter". Read run from top to bottom; the parts are
// in the files named after them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/ratelimit"
	"github.com/ashlar-go/ashlar/ratelimit/httplimit"
	"github.com/ashlar-go/ashlar/ring"
)

// usual is how many requests each way to decide is measured with.
const usual = 3000

// A config is what the flags say.
type config struct {
	n     int
	svg   string
	redis string
}

func main() {
	child.Main(roles)
	var c config
	flag.IntVar(&c.n, "n", usual, "with how many `requests` each way to decide is measured, 1,000 to 1,000,000")
	flag.StringVar(&c.svg, "svg", "", "draw the burst under all policies to this `file`")
	flag.StringVar(&c.redis, "redis", "", "let Redis at this `URL` decide too, redis://HOST:PORT")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case c.n < 1000 || c.n > 1_000_000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, os.Stdout)
	default:
		err = run(ctx, os.Stdout, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ratelimiter:", err)
		os.Exit(1)
	}
}

// A story is what the parts of the run share.
type story struct {
	config
	w     io.Writer
	fleet *fleet
}

func run(ctx context.Context, w io.Writer, c config) error {
	if c.redis != "" && !canRedis {
		_, err := openRedis(setting{})
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, err := startFleet()
	if err != nil {
		return err
	}
	defer f.stop()
	s := &story{config: c, w: w, fleet: f}
	for i, part := range []struct { // first what fails, then what holds
		title string
		tell  func(context.Context) error
	}{
		{"What a limit is for", s.purpose},
		{"rate_limit(user, address, service, time)", s.ask},
		{"A burst at the boundary, under all policies", s.policies},
		{"To read and then to write", s.steps},
		{"Whose request is it?", s.whose},
		{"Three balancers, each for itself", s.alone},
		{"One limit for all: a question more, or fewer", s.shared},
		{"A limiter dies", s.nodeDies},
		{"A balancer dies, with tokens", s.balancerDies},
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

// ---- 1 --------------------------------------------------------------------------

// purpose lets one user ask for more than there is.
func (s *story) purpose(context.Context) error {
	limiter, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(20, time.Second)}, nil)
	if err != nil {
		return err
	}
	s.say("a server can do 1,000 requests a second; %d users ask 10 times a second each, and one 5,000 times", modest)
	s.say("                           of the %d: served   they wait, median   99 of 100     of the one: served", modest)
	var share [2]float64
	for i, l := range []*ratelimit.Limiter{nil, limiter} {
		name := "without a limit"
		if l != nil {
			name = "20 a second for each"
		}
		all, one := serveCrowd(l)
		share[i] = all.share()
		s.say("  %-24s %15.1f %% %16.0f ms %8.0f ms %15.1f %% = %s a second", name, all.share(), millis(all.wait(0.5)), millis(all.wait(0.99)),
			one.share(), num(one.served/int(crowdTime/time.Second)))
	}
	return check(share[0] < 30 && share[1] == 100, "with a limit all modest users are served, without few")
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// ---- 2 --------------------------------------------------------------------------

// ask shows the interface, over HTTP, and a decision on several limits.
func (s *story) ask(ctx context.Context) error {
	g, err := newGuard()
	if err != nil {
		return err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, err := httplimit.ClientIP()(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		refuse, d, by := g.rateLimit(r.Header.Get("X-User"), address, strings.TrimPrefix(r.URL.Path, "/"), epoch)
		httplimit.SetHeaders(w.Header(), d, by, time.Minute)
		if refuse {
			http.Error(w, "too many requests", http.StatusTooManyRequests)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) }) // until it is closed
	defer wg.Wait()
	defer server.Close()
	get := func(service string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+"/"+service, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("X-User", "ann")
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			err = answer.Body.Close()
		}
		return answer, err
	}
	s.say("ann may ask %d times a minute, %d times of these for the search; her address %d times; the shop serves %s", perUser, perSearch, perAddress, num(perService))
	count := 0
	for i := range perSearch + 1 {
		answer, err := get("search")
		if err != nil {
			return err
		}
		if answer.StatusCode == http.StatusOK {
			count++
		}
		if i == 0 || i == perSearch {
			s.say("  GET /search, her %d.: %s", i+1, answer.Status)
			for _, name := range []string{"RateLimit-Policy", "RateLimit", "Retry-After"} {
				if v := answer.Header.Get(name); v != "" {
					s.say("    %s: %s", name, v)
				}
			}
		}
	}
	if err := check(count == perSearch, "%d searches pass, not %d", perSearch, count); err != nil {
		return err
	}
	var left [2]int
	for i, name := range []string{"limit after limit", "all or none"} {
		g, err := newGuard()
		if err != nil {
			return err
		}
		found := 0
		for range 12 {
			refuse := false
			if i == 0 {
				refuse = g.oneByOne("ann", "203.0.113.9", "search", epoch)
			} else {
				refuse, _, _ = g.rateLimit("ann", "203.0.113.9", "search", epoch)
			}
			if !refuse {
				found++
			}
		}
		left[i] = g.user.AllowN("ann", 0).Remaining
		s.say("  %-18s 12 searches: %d pass, and for the shop she has %d requests left", name, found, left[i])
	}
	return check(left == [2]int{0, perUser - perSearch}, "what is refused is not counted")
}

// ---- 3 --------------------------------------------------------------------------

// policies replays three clients under all policies, in virtual time.
func (s *story) policies(context.Context) error {
	const limit, period = 100, time.Second
	s.say("100 requests a second. Three clients: one sends 150 just before the second changes and 150 just after; one 150 late in a second and")
	s.say("150 late in the next; one every millisecond. How many pass in the worst second, whichever it is:")
	s.say("                        boundary     late   always    never more than    bytes a user   ns a decision")
	most := map[string][]int{}
	var drawn []lane
	if _, _, err := cost(named(fixedWindow, limit, period)); err != nil { // a cold start is nobody's cost
		return err
	}
	for _, name := range policyNames {
		spec := named(name, limit, period)
		var row []int
		for i, c := range clients {
			l, err := spec.limiter(1, nil)
			if err != nil {
				return err
			}
			admitted := replay(c.trace, func(t time.Time) bool { return l.AllowAt(t, "u", 1).OK })
			row = append(row, mostIn(admitted, period))
			if i == 0 {
				drawn = append(drawn, lane{name: name, asked: c.trace, admitted: admitted, most: row[0]})
			}
		}
		bytes, each, err := cost(spec)
		if err != nil {
			return err
		}
		most[name] = row
		s.say("  %-20s %10d %8d %8d %18d %15.0f %15.0f", name, row[0], row[1], row[2], spec.bound(), bytes, each)
		if err := check(slices.Max(row) <= spec.bound(), "%s keeps its bound", name); err != nil {
			return err
		}
	}
	var row []int
	for _, c := range clients {
		list := newLinkedLog(limit, period)
		row = append(row, mostIn(replay(c.trace, func(t time.Time) bool { return list.allowAt(t, "u") }), period))
	}
	bytes, each := linkedCost()
	s.say("  %-20s %10d %8d %8d %18d %15.0f %15.0f", "log as a linked list", row[0], row[1], row[2], limit, bytes, each)
	if s.svg != "" {
		if err := os.WriteFile(s.svg, []byte(drawLanes(drawn)), 0o644); err != nil {
			return err
		}
	}
	return check(most[fixedWindow][0] == 2*limit && slices.Equal(most[slidingLog], []int{limit, limit, limit}) && slices.Equal(row, most[slidingLog]) &&
		most[slidingCounter][0] == limit && most[interpolated][1] > 190 && most[tokenBucket][2] >= 199 && most[gcra][2] <= 110,
		"fixed windows let through twice the limit, sliding ones once: %v", most)
}

// cost returns the bytes of a user who has used up the limit, and the nanoseconds of a
// decision, for ten thousand users.
func cost(spec policySpec) (bytes, each float64, err error) {
	const users, decisions = 10_000, 100_000
	p, err := spec.policy(1)
	if err != nil {
		return 0, 0, err
	}
	l, err := ratelimit.New(p, nil)
	if err != nil {
		return 0, 0, err
	}
	names := userNames(users)
	for _, name := range names {
		for range 10 {
			l.AllowAt(epoch, name, 10)
		}
	}
	st := l.Stats()
	began := time.Now()
	for i := range decisions {
		l.AllowAt(epoch.Add(time.Second+time.Duration(i)*10*time.Microsecond), names[i%users], 1)
	}
	return float64(st.Bytes) / float64(st.Keys), float64(time.Since(began)) / decisions, nil
}

// linkedCost is cost for the textbook's list.
func linkedCost() (bytes, each float64) {
	const users, decisions = 1_000, 20_000
	names := userNames(users)
	l := newLinkedLog(100, time.Second)
	before := heap()
	for i := range 100 {
		for _, name := range names {
			l.allowAt(epoch.Add(time.Duration(i)), name)
		}
	}
	bytes = float64(heap()-before) / users
	began := time.Now()
	for i := range decisions {
		l.allowAt(epoch.Add(time.Second+time.Duration(i)*50*time.Microsecond), names[i%users])
	}
	return bytes, float64(time.Since(began)) / decisions
}

func userNames(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint("user ", i)
	}
	return list
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// ---- 4 --------------------------------------------------------------------------

// steps lets eight callers count at the same time.
func (s *story) steps(context.Context) error {
	const callers, limit, tries = 8, 100, 200
	var mu sync.Mutex
	count := func(do func(allow func(func() bool))) (admitted int) {
		do(func(decide func() bool) {
			if decide() {
				mu.Lock()
				admitted++
				mu.Unlock()
			}
		})
		return admitted
	}
	var naive, exact register
	two := count(func(allow func(func() bool)) {
		together(callers, func(next func()) { // they keep step: the worst case, every time
			for range tries {
				n := naive.get()
				next()
				allow(func() bool {
					if n < limit {
						naive.set(n + 1)
					}
					return n < limit
				})
				next()
			}
		})
	})
	all := func(decide func() bool) int {
		return count(func(allow func(func() bool)) {
			together(callers, func(func()) {
				for range tries {
					allow(decide)
				}
			})
		})
	}
	one := all(func() bool { return exact.add(limit) })
	list := newLinkedLog(limit, time.Second)
	listed := all(func() bool { return list.allowAt(epoch, "u") })
	l, err := named(tokenBucket, limit, 24*time.Hour).limiter(1, func() time.Time { return epoch })
	if err != nil {
		return err
	}
	ours := all(func() bool { return l.Allow("u") })
	s.say("%d callers, %d requests each, at the same time; the limit is %d. How many pass:", callers, tries, limit)
	s.say("  the count is read, compared, and written           %5d: all have read the same number", two)
	s.say("  all in one atomic step                             %5d", one)
	s.say("  a linked list under a lock                         %5d", listed)
	s.say("  ratelimit.Limiter: compare and swap, no lock       %5d", ours)
	return check(two == callers*limit && one == limit && listed == limit && ours == limit, "only one step is exact")
}

// ---- 5 --------------------------------------------------------------------------

// whose counts by user, by address in three ways, and by both.
func (s *story) whose(context.Context) error {
	s.say("in one minute; %d for a user, %d for an address. Together: %d for a user, %d for an address of users, %d for one of visitors, %s for the service",
		perUser, perAnonymous, perUser, perAddress, perAnonymous, num(perService))
	s.say("                                                               by user   leftmost   rightmost    ClientIP:")
	s.say("  honest: how many of their requests pass           sent                   address     address         /64    together")
	got := map[string][]int{}
	first := true
	for _, c := range identityCases() {
		if !c.honest && first {
			first = false
			s.say("  not honest")
		}
		line := fmt.Sprintf("    %-49s %5s", c.what, num(len(c.visits)))
		var row []int
		for _, id := range identities {
			n, err := visitsPass(c.visits, id.key, id.n)
			if err != nil {
				return err
			}
			row = append(row, n)
		}
		n, err := visitsPassAll(c.visits)
		if err != nil {
			return err
		}
		row = append(row, n)
		for _, n := range row {
			line += fmt.Sprintf(" %11s", num(n))
		}
		s.say("%s", line)
		got[c.what] = row
		if c.honest && row[4] < len(c.visits) && c.what != "100 visitors, not signed in, one address, 3 each" {
			return check(false, "honest requests pass: %s", c.what)
		}
		if !c.honest && row[4] > perService {
			return check(false, "a service has its limit: %s", c.what)
		}
	}
	s.say("what no limit can tell apart: visitors behind one address from somebody who asks as often; a thousand accounts with an address each from a crowd")
	nat := got["100 users behind one address (NAT), 3 each"]
	six, forged := got["no account, 5,000 addresses of one IPv6 /64"], got["no account, X-Forwarded-For made up each time"]
	return check(nat[0] == 300 && nat[3] == perAnonymous && got["1,000 accounts, one address"][0] == 5000 && got["1,000 accounts, one address"][4] == perAddress &&
		six[2] == 5000 && six[3] == perAnonymous && forged[1] == 5000 && forged[3] == perAnonymous, "each way fails as it is said to")
}

// ---- 6 --------------------------------------------------------------------------

// quota is the limit of the parts with processes: it comes in so slowly that what passes
// depends on no clock.
var quota = policySpec{Name: tokenBucket, Count: 100, Period: 24 * time.Hour}

// patience is how long a question may take where time is no part of the story.
const patience = 20 * time.Second

func (s *story) setting(mode string) setting {
	return setting{
		Mode: mode, Policy: quota, Fail: failClosed, Timeout: patience,
		Share: 10, Keep: 10 * time.Minute, Pending: 5, Flush: 50 * time.Millisecond,
	}
}

// alone sends bursts to balancers that know nothing of each other.
func (s *story) alone(ctx context.Context) error {
	s.say("three balancers, each a process; ann may have 100 requests a day and sends 600")
	ways := []struct {
		what, mode string
		to         []int
		want       int
	}{
		{"no limit, spread evenly", modeNone, []int{0, 1, 2}, 600},
		{"100 at each, spread evenly", modeLocal, []int{0, 1, 2}, 300},
		{"100 at each, all through one", modeLocal, []int{0}, 100},
		{"33 at each, spread evenly", modeShared, []int{0, 1, 2}, 99},
		{"33 at each, all through one", modeShared, []int{0}, 33},
		{"one limit for all, spread evenly", modeRemote, []int{0, 1, 2}, 100},
		{"one limit for all, all through one", modeRemote, []int{1}, 100},
	}
	for _, way := range ways {
		if err := s.fleet.set(ctx, s.setting(way.mode)); err != nil {
			return err
		}
		list, err := s.fleet.send(ctx, 8, round(600, "ann", way.to...))
		if err != nil {
			return err
		}
		n := passed(list)
		s.say("  %-36s %4d pass", way.what, n)
		if err := check(n == way.want && s.fleet.app.of("ann") == n, "%s: %d pass, not %d", way.what, n, way.want); err != nil {
			return err
		}
	}
	// The same limit within the application.
	l, err := quota.limiter(1, time.Now)
	if err != nil {
		return err
	}
	reached, answered := 0, 0
	inside := httplimit.Middleware(l, &httplimit.Options{Key: byUser})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { answered++ }))
	for range 600 {
		reached++
		inside.ServeHTTP(nowhere{http.Header{}}, &http.Request{Header: http.Header{"X-User": {"ann"}}})
	}
	s.say("and within the application itself, %d of %d requests still reach it to be refused; in front of it, none does", reached-answered, reached)
	return check(answered == 100, "the same limit inside")
}

// ---- 7 --------------------------------------------------------------------------

// shared measures what a common limit costs, and what it takes to cost less.
func (s *story) shared(ctx context.Context) error {
	r, err := ring.New(nil)
	if err != nil {
		return err
	}
	for _, n := range s.fleet.nodes {
		if err := r.Add(n.name, 1); err != nil {
			return err
		}
	}
	more := r.Clone()
	if err := more.Add("limiter-4", 1); err != nil {
		return err
	}
	var parts []string
	shares := r.Shares()
	for _, n := range s.fleet.nodes {
		parts = append(parts, fmt.Sprintf("%s %.0f %%", n.name, 100*shares[n.name]))
	}
	s.say("each user's count is at one of three limiter nodes, by a consistent hash: %s; a fourth takes over %.0f %%, and the rest stays", strings.Join(parts, ", "), 100*more.Moved(r))
	list := s.crowd()
	asked := map[string]int{}
	for _, q := range list {
		asked[q.user]++
	}
	may, often := 0, 0
	for _, n := range asked {
		may += min(n, quota.Count)
		if n > quota.Count/2 {
			often++
		}
	}
	s.say("%s requests of %s users, some of whom ask very often; 100 a day each, so %s may pass", num(len(list)), num(len(asked)), num(may))
	s.say("                                 pass   too many   too few     calls   a decision: median     99 of 100   a request: median")
	type way struct {
		mode, redis string
	}
	ways := []way{{modeLocal, ""}, {modeRemote, ""}, {modeDeny, ""}, {modeLease, ""}, {modeBack, ""}}
	if s.redis != "" {
		for _, w := range ways[1:] {
			ways = append(ways, way{w.mode, s.redis})
		}
	}
	calls := map[way]int{}
	for _, w := range ways {
		set := s.setting(w.mode)
		set.Redis = w.redis
		if err := s.fleet.set(ctx, set); err != nil {
			return err
		}
		outcomes, err := s.fleet.send(ctx, 1, list) // one after the other: no decision waits in a queue
		if err != nil {
			return err
		}
		st, err := s.fleet.stats(ctx)
		if err != nil {
			return err
		}
		var took []time.Duration
		for _, o := range outcomes {
			took = append(took, o.took)
		}
		slices.Sort(took)
		pass, over, worst := s.fleet.app.over(quota.Count)
		under := may - (pass - over)
		calls[w] = st.Calls
		name := w.mode
		if w.redis != "" {
			name = strings.Replace(name, "remote", "Redis", 1)
		}
		s.say("  %-28s %7s %10s %9s %9s %15.1f µs %12.1f µs %16.1f µs", name, num(pass), num(over), num(under), num(st.Calls),
			micros(quantile(st.Took, 0.5)), micros(quantile(st.Took, 0.99)), micros(quantile(took, 0.5)))
		switch w.mode {
		case modeLocal:
			err = check(over > 0 && st.Calls == 0, "each for itself lets too many through, without a call")
		case modeRemote:
			err = check(over == 0 && under == 0, "a call for each is exact")
		case modeDeny:
			err = check(over == 0 && under == 0, "remembered refusals change nothing")
		case modeLease:
			err = check(over == 0 && under <= (balancers-1)*set.Share*often, "leases let none too many through, and hold few back")
		case modeBack:
			err = check(worst <= balancers*set.Pending && under == 0, "write-back lets few too many through, %d at most of one user", worst)
		}
		if err != nil {
			return err
		}
	}
	return check(calls[ways[1]] == len(list) && calls[ways[2]] < calls[ways[1]] && 2*calls[ways[3]] < calls[ways[1]] && calls[ways[4]] < calls[ways[1]],
		"what balancers know spares calls: %v", calls)
}

// crowd returns requests of users of whom a few ask very often, to one balancer after
// the other.
func (s *story) crowd() (list []request) {
	r := rand.New(rand.NewPCG(12, 12))
	zipf := rand.NewZipf(r, 1.7, 1, 199)
	for i := range s.n {
		list = append(list, request{i % balancers, fmt.Sprint("user ", zipf.Uint64())})
	}
	return list
}

// ---- 8 --------------------------------------------------------------------------

// nodeDies kills the limiter that has ann's count, after 60 of her 100 requests.
func (s *story) nodeDies(ctx context.Context) error {
	victim, err := s.fleet.owner("ann")
	if err != nil {
		return err
	}
	bob := ""
	for i := 0; bob == ""; i++ { // somebody whose count is elsewhere
		name := fmt.Sprint("bob ", i)
		if n, err := s.fleet.owner(name); err != nil {
			return err
		} else if n != victim {
			bob = name
		}
	}
	s.say("ann sends 60 requests of her 100, then SIGKILL to the limiter that counts them, then she sends 300 more, and bob, who is counted elsewhere, too")
	s.say("then the limiter comes back, with what it has written down, or empty, and she sends 300 more")
	s.say("                    ann: before   while it is dead    bob   ann: it is back, in all   it is back, empty")
	for _, fail := range failModes {
		var total [2]int
		row := ""
		for i, remembers := range []bool{true, false} {
			set := s.setting(modeRemote)
			set.Fail = fail
			if err := s.fleet.set(ctx, set); err != nil {
				return err
			}
			before, err := s.fleet.send(ctx, 8, round(60, "ann", 0, 1, 2))
			if err != nil {
				return err
			}
			saved, err := s.fleet.nodes[victim].tell("save") // in earnest, every second or so
			if err != nil {
				return err
			}
			if err := s.fleet.killNode(victim); err != nil {
				return err
			}
			dead, err := s.fleet.send(ctx, 8, round(300, "ann", 0, 1, 2))
			if err != nil {
				return err
			}
			others, err := s.fleet.send(ctx, 8, round(300, bob, 0, 1, 2))
			if err != nil {
				return err
			}
			if err := s.fleet.startNode(victim); err != nil {
				return err
			}
			node := s.fleet.nodes[victim]
			if remembers {
				if _, err := node.tell("load\t" + saved); err != nil {
					return err
				}
			}
			set.Nodes = nil
			if err := s.fleet.adjust(ctx, set); err != nil {
				return err
			}
			back, err := s.fleet.send(ctx, 8, round(300, "ann", 0, 1, 2))
			if err != nil {
				return err
			}
			want := map[string]int{failOpen: 300, failClosed: 0, failShare: 99, failNext: 100}[fail]
			total[i] = s.fleet.app.of("ann")
			wantBack := 100
			if remembers {
				wantBack = 40
				row = fmt.Sprintf("  %-17s %12d %18d %6d", fail, passed(before), passed(dead), passed(others))
			}
			if err := check(passed(before) == 60 && passed(dead) == want && passed(others) == 100 && passed(back) == wantBack,
				"%s: 60, %d, 100, %d, not %d, %d, %d, %d", fail, want, wantBack, passed(before), passed(dead), passed(others), passed(back)); err != nil {
				return err
			}
		}
		s.say("%s %25d %19d", row, total[0], total[1])
	}
	return nil
}

// ---- 9 --------------------------------------------------------------------------

// balancerDies kills a balancer that holds tokens, or has not told what it let through.
func (s *story) balancerDies(ctx context.Context) error {
	s.say("ann sends 40 requests, then SIGKILL to a balancer, then she sends 300 through the other two")
	s.say("                              it had   passed, of 100")
	for _, mode := range []string{modeRemote, modeLease, modeBack} {
		set := s.setting(mode)
		set.Flush = time.Hour // in a slow moment: nothing is told but what has to be
		if err := s.fleet.set(ctx, set); err != nil {
			return err
		}
		if _, err := s.fleet.send(ctx, 1, round(40, "ann", 0, 1, 2)); err != nil {
			return err
		}
		st, err := s.fleet.statsOf(ctx, 2)
		if err != nil {
			return err
		}
		if err := s.fleet.killBalancer(2); err != nil {
			return err
		}
		if _, err := s.fleet.send(ctx, 1, round(300, "ann", 0, 1)); err != nil {
			return err
		}
		n := s.fleet.app.of("ann")
		had := map[string]string{modeRemote: "nothing", modeLease: fmt.Sprintf("%d tokens", st.Holds), modeBack: fmt.Sprintf("%d untold", st.Holds)}[mode]
		s.say("  %-23s %11s %16d", mode, had, n)
		switch mode {
		case modeRemote:
			err = check(n == 100, "nothing is lost")
		case modeLease:
			err = check(n <= 100 && n >= 100-set.Share, "what it held is lost, and none is too many")
		case modeBack:
			err = check(n >= 100 && n <= 100+balancers*set.Pending, "what it had not told passes once more")
		}
		if err != nil {
			return err
		}
		if err := s.fleet.startBalancer(2); err != nil {
			return err
		}
	}
	return nil
}

// num writes a number with commas.
func num(n int) string {
	if n < 0 {
		return "-" + num(-n)
	}
	t := fmt.Sprint(n)
	for i := len(t) - 3; i > 0; i -= 3 {
		t = t[:i] + "," + t[i:]
	}
	return t
}
