package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/ratelimit"
)

//go:embed serve.html
var serveBody string

//go:embed timeline.js
var timelineScript string

// servePage runs the fleet, and a page that sends bursts.
func servePage(ctx context.Context, addr string, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := startLive(ctx, pagePeriod)
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

// On the page the limit is 60 in two seconds, and a burst is 240 requests around the
// moment when two seconds end. Of a longer period nobody waits for the end.
const (
	pageLimit  = 60
	pagePeriod = 2 * time.Second
	pageBurst  = 240
	pageSpan   = 300 * time.Millisecond // before that moment, and after it
	pageUser   = "ann"
)

// A live is the fleet without an end.
type live struct {
	period  time.Duration
	page    *page.Server
	sending sync.Mutex // one burst at a time

	mu      sync.Mutex
	fleet   *fleet
	shadows []*ratelimit.Limiter // one for each policy: what it would have done
	last    *burst
	busy    bool
	events  []page.Event
	number  int // of the last event
}

// A burst is what was sent, and what became of it.
type burst struct {
	lanes   []drawnLane
	passed  int
	most    int // in a window
	calls   int
	without int
	median  time.Duration // of decisions
	what    string        // by which setting
}

// A drawnLane is a line of the drawing: times are in milliseconds around the boundary.
type drawnLane struct {
	Key    string    `json:"key"`
	Name   string    `json:"name"`
	Group  string    `json:"group"`
	Passed int       `json:"passed"`
	Asked  int       `json:"asked"`
	Most   int       `json:"most"`
	Yes    []float64 `json:"yes"`
	No     []float64 `json:"no"`
}

func startLive(ctx context.Context, period time.Duration) (*live, error) {
	v := &live{period: period}
	var err error
	if v.fleet, err = startFleet(); err != nil {
		return nil, err
	}
	if err := v.beginLocked(ctx, v.setting(fixedWindow, modeLocal, failOpen)); err != nil {
		v.stop()
		return nil, err
	}
	return v, nil
}

func (v *live) setting(policy, mode, fail string) setting {
	s := setting{
		Mode: mode, Policy: named(policy, pageLimit, v.period), Fail: fail, Timeout: 2 * time.Second,
		Share: 6, Keep: 2 * time.Second, Pending: 2, Flush: 50 * time.Millisecond,
	}
	if v.period > time.Minute { // nothing is in a hurry
		s.Timeout, s.Keep = patience, time.Minute
	}
	return s
}

// beginLocked lets all begin anew by a setting, what the other policies would have done
// as well.
func (v *live) beginLocked(ctx context.Context, s setting) error {
	v.last, v.shadows = nil, nil
	for _, name := range policyNames {
		l, err := named(name, pageLimit, v.period).limiter(1, nil)
		if err != nil {
			return err
		}
		v.shadows = append(v.shadows, l)
	}
	return v.fleet.set(ctx, s)
}

func (v *live) stop() { v.fleet.stop() }

func (v *live) serve(ctx context.Context, l net.Listener) error {
	v.page = page.New(page.Page{
		Title:  "Rate limiter",
		Lead:   "Three balancers, three limiters beside them, and a burst around the moment when a window ends. Each mark is a request: the tall ones were let through.",
		Body:   template.HTML(serveBody),
		Script: timelineScript,
		Text:   v.text,
		Do:     map[string]page.Command{"burst": v.burst, "set": v.set, "kill": v.kill, "start": v.start},
	})
	v.publish()
	return v.page.Serve(ctx, l)
}

func (v *live) publish() { v.page.Publish(v.state()) }

func (v *live) sayLocked(kind page.Kind, who, text string) {
	v.number++
	v.events = append(v.events, page.Event{Key: strconv.Itoa(v.number), At: time.Now().Format("15:04:05"), Who: who, Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-30):]
}

// pick returns the one of these that a form has chosen.
func pick(form url.Values, name string, list []string) (string, error) {
	for _, x := range list {
		if word(x) == form.Get(name) {
			return x, nil
		}
	}
	return "", fmt.Errorf("no %s is called %q", name, form.Get(name))
}

var pageModes = []string{modeLocal, modeShared, modeRemote, modeDeny, modeLease, modeBack}

// set lets all begin anew by another setting.
func (v *live) set(ctx context.Context, form url.Values) (string, error) {
	policy, err1 := pick(form, "policy", policyNames)
	mode, err2 := pick(form, "mode", pageModes)
	fail, err3 := pick(form, "fail", failModes)
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", err
	}
	if (mode == modeLease || mode == modeBack) && policy != tokenBucket && policy != gcra {
		return "", fmt.Errorf("tokens are taken in advance from a bucket only: choose %q or %q", tokenBucket, gcra)
	}
	if !v.sending.TryLock() {
		return "", errSending
	}
	defer v.sending.Unlock()
	v.mu.Lock()
	err := v.beginLocked(ctx, v.setting(policy, mode, fail))
	if err == nil {
		v.sayLocked("", "all", fmt.Sprintf("begin anew: %s, %s, %s", policy, mode, fail))
	}
	v.mu.Unlock()
	v.publish()
	return fmt.Sprintf("Now: %s, %s, %s.", policy, mode, fail), err
}

var errSending = errors.New("a burst is under way")

func (v *live) nodeOf(form url.Values) (int, error) {
	i, err := strconv.Atoi(form.Get("node"))
	if err != nil || i < 0 || i >= nodes {
		return 0, errors.New("there is no such limiter")
	}
	return i, nil
}

// kill ends a limiter with a signal that it cannot heed.
func (v *live) kill(_ context.Context, form url.Values) (string, error) {
	i, err := v.nodeOf(form)
	if err != nil {
		return "", err
	}
	defer v.publish()
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.fleet.nodes[i]
	if n.dead {
		return "", errors.New("it is dead already")
	}
	if err := v.fleet.killNode(i); err != nil {
		return "", err
	}
	v.sayLocked(page.Bad, n.name, "SIGKILL")
	return "Killed " + n.name + ".", nil
}

// start brings a limiter back, with nothing in its memory.
func (v *live) start(ctx context.Context, form url.Values) (string, error) {
	i, err := v.nodeOf(form)
	if err != nil {
		return "", err
	}
	if !v.sending.TryLock() {
		return "", errSending
	}
	defer v.sending.Unlock()
	defer v.publish()
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.fleet.nodes[i]
	if !n.dead {
		return "", errors.New("it lives")
	}
	if err := v.fleet.startNode(i); err != nil {
		return "", err
	}
	if err := v.beginLocked(ctx, v.fleet.now); err != nil {
		return "", err
	}
	v.sayLocked(page.OK, n.name, "is back; all begin anew")
	return "Started " + n.name + ".", nil
}

// burst sends requests to all balancers in turn, half of them before the next window
// begins and half after.
func (v *live) burst(ctx context.Context, _ url.Values) (string, error) {
	if !v.sending.TryLock() {
		return "", errSending
	}
	defer v.sending.Unlock()
	v.mu.Lock()
	v.busy = true
	set := v.fleet.now
	v.mu.Unlock()
	v.publish()
	defer func() {
		v.mu.Lock()
		v.busy = false
		v.mu.Unlock()
		v.publish()
	}()

	before, err := v.fleet.stats(ctx)
	if err != nil {
		return "", err
	}
	boundary := time.Now().Add(pageSpan + 50*time.Millisecond)
	if v.period <= time.Minute {
		boundary = boundary.Truncate(v.period).Add(v.period)
	}
	sent := make([]time.Time, pageBurst)
	out := make([]outcome, pageBurst)
	errs := make([]error, pageBurst)
	var wg sync.WaitGroup
	for i := range pageBurst {
		at := boundary.Add(-pageSpan + 2*pageSpan*time.Duration(i)/pageBurst)
		select {
		case <-ctx.Done():
			wg.Wait()
			return "", ctx.Err()
		case <-time.After(time.Until(at)):
		}
		wg.Go(func() {
			sent[i] = time.Now()
			out[i], errs[i] = v.fleet.ask(ctx, request{i % balancers, pageUser})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	after, err := v.fleet.stats(ctx)
	if err != nil {
		return "", err
	}
	b := &burst{calls: after.Calls - before.Calls, without: after.Without - before.Without, median: quantile(after.Took, 0.5)}
	b.what = set.Policy.Name + ", " + set.Mode
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drawLocked(b, boundary, sent, out)
	v.last = b
	kind := page.OK
	if b.most > set.Policy.bound() {
		kind = page.Bad
	}
	without := ""
	if b.without > 0 {
		without = fmt.Sprintf("; %d decided without a limiter", b.without)
	}
	said := fmt.Sprintf("%d sent, %d let through.", pageBurst, b.passed)
	v.sayLocked(kind, pageUser, fmt.Sprintf("%d sent, %d let through by %s%s", pageBurst, b.passed, b.what, without))
	return said, nil
}

// drawLocked makes the lanes: what the balancers did, and what each policy would have
// done with the same requests, in one place.
func (v *live) drawLocked(b *burst, boundary time.Time, sent []time.Time, out []outcome) {
	order := make([]int, len(sent))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(sent[i].Compare(sent[j]), cmp.Compare(i, j)) })
	add := func(l *drawnLane, i int, ok bool) {
		ms := float64(sent[i].Sub(boundary).Microseconds()) / 1000
		l.Asked++
		if ok {
			l.Passed++
			l.Yes = append(l.Yes, ms)
		} else {
			l.No = append(l.No, ms)
		}
	}
	most := func(l *drawnLane) {
		var t trace
		for _, ms := range l.Yes {
			t = append(t, time.Duration(ms*float64(time.Millisecond)))
		}
		l.Most = mostIn(t, v.period)
	}
	all := drawnLane{Key: "all", Name: "all three", Group: "what was let through: " + b.what}
	three := make([]drawnLane, balancers)
	for i := range three {
		three[i] = drawnLane{Key: fmt.Sprint("balancer-", i+1), Name: fmt.Sprint("balancer ", i+1), Group: all.Group}
	}
	for _, i := range order {
		ok := out[i].status == http.StatusOK
		add(&three[i%balancers], i, ok)
		add(&all, i, ok)
	}
	for i := range three {
		most(&three[i])
	}
	most(&all)
	b.passed, b.most = all.Passed, all.Most
	b.lanes = append(three, all)
	for p, l := range v.shadows {
		lane := drawnLane{Key: word(policyNames[p]), Name: strings.Replace(policyNames[p], "…", "counter", 1), Group: "the same requests under each policy, in one place"}
		for _, i := range order {
			add(&lane, i, l.AllowAt(sent[i], pageUser, 1).OK)
		}
		most(&lane)
		b.lanes = append(b.lanes, lane)
	}
}

// A state is what the page shows.
type state struct {
	Policy   string       `json:"policy"`
	Mode     string       `json:"mode"`
	Fail     string       `json:"fail"`
	Busy     bool         `json:"busy"`
	Bursts   page.Cell    `json:"passed"`
	Most     page.Cell    `json:"most"`
	Calls    int          `json:"calls"`
	Without  page.Cell    `json:"without"`
	Median   string       `json:"median"`
	Nodes    []page.Row   `json:"nodes"`
	Timeline timeline     `json:"timeline"`
	Events   []page.Event `json:"events"`
}

type timeline struct {
	From  float64     `json:"from"`
	To    float64     `json:"to"`
	Lanes []drawnLane `json:"lanes"`
}

func (v *live) state() state {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.fleet.now
	s := state{
		Policy: now.Policy.Name, Mode: now.Mode, Fail: now.Fail, Busy: v.busy, Events: slices.Clone(v.events), Median: "–",
		Timeline: timeline{From: -millis(pageSpan) * 1.1, To: millis(pageSpan) * 1.1, Lanes: []drawnLane{}},
	}
	if b := v.last; b != nil {
		s.Bursts.Text, s.Most.Text, s.Calls, s.Without.Text = fmt.Sprintf("%d of %d", b.passed, pageBurst), b.most, b.calls, b.without
		s.Median = fmt.Sprintf("%.0f µs", micros(b.median))
		if b.most > pageLimit {
			s.Most.Kind = page.Bad
		}
		if b.without > 0 {
			s.Without.Kind = page.Bad
		}
		s.Timeline.Lanes = b.lanes
	}
	owner, err := v.fleet.owner(pageUser)
	for i, n := range v.fleet.nodes {
		args := map[string]string{"node": strconv.Itoa(i)}
		row := page.Row{"key": n.name, "name": n.name, "state": page.Cell{Text: "lives", Kind: page.OK}, "do": []page.Button{{Name: "kill", Label: "Kill", Args: args}}}
		if err == nil && i == owner {
			row["kind"], row["has"] = page.Hot, pageUser
		}
		if n.dead {
			row["state"] = page.Cell{Text: "dead", Kind: page.Bad}
			row["do"] = []page.Button{{Name: "start", Label: "Start", Args: args}}
		}
		s.Nodes = append(s.Nodes, row)
	}
	return s
}

func (v *live) text() string {
	s := v.state()
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %s; %d in %v\n", s.Policy, s.Mode, s.Fail, pageLimit, v.period)
	for _, r := range s.Nodes {
		fmt.Fprintf(&b, "%s %s\n", r["name"], r["state"].(page.Cell).Text)
	}
	for _, l := range s.Timeline.Lanes {
		fmt.Fprintf(&b, "%-20s %3d of %3d, %3d in the worst window\n", l.Name, l.Passed, l.Asked, l.Most)
	}
	return b.String()
}
