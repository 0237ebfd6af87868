package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/lock"
)

//go:embed serve.html
var serveBody string

//go:embed timeline.js
var timelineScript string

// servePage runs six clients, three servers and a store for ever, and a page on
// which they can be watched, frozen and killed.
func servePage(ctx context.Context, addr string, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	live, err := startLive(ctx, 6, 700*time.Millisecond)
	if err != nil {
		return err
	}
	defer live.stop()
	fmt.Fprintf(w, "open http://%s/ · Ctrl-C ends it\n", reachable(l.Addr().(*net.TCPAddr)))
	return live.serve(ctx, l)
}

// reachable returns an address for a browser on this machine: a listener on all
// addresses has none of its own.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(a.Port))
	}
	return a.String()
}

// liveKeys are the objects of the live page.
var liveKeys = []string{"ledger", "orders"}

// A live is the story without an end.
type live struct {
	cluster *cluster
	store   *store
	admin   *lock.Client
	start   time.Time

	mu       sync.Mutex
	clients  []*resident
	holds    []*hold      // the newest last
	events   []page.Event // the newest last
	happened int          // events in all, for their keys
	appended int
	refused  int
	stopped  bool
}

// A resident is a client process as the page knows it.
type resident struct {
	*process
	frozen bool
	doing  string
}

// A hold is a bar of the timeline. Times are seconds since the start.
type hold struct {
	Client  string   `json:"client"`
	Object  int      `json:"object"`
	Token   uint64   `json:"token"`
	Start   float64  `json:"start"`
	Passed  *float64 `json:"passed,omitempty"`  // when the lock was granted to the next
	End     *float64 `json:"end,omitempty"`     // when the store answered the write
	Verdict string   `json:"verdict,omitempty"` // "wrote", "refused" or "failed"
}

func startLive(ctx context.Context, n int, pace time.Duration) (v *live, err error) {
	v = &live{start: time.Now(), holds: []*hold{}, events: []page.Event{}} // JSON lists, empty at first
	defer func() {
		if err != nil {
			v.stop()
		}
	}()
	if v.cluster, err = startCluster(servers); err != nil {
		return v, err
	}
	if v.store, err = startStore(true); err != nil {
		return v, err
	}
	if v.admin, err = lock.Dial(ctx, v.cluster.addresses(), &lock.Options{Label: "page"}); err != nil {
		return v, err
	}
	for i := range n {
		p, err := startProcess(fmt.Sprint("C", i+1), "resident", "NODES="+strings.Join(v.cluster.addresses(), ","), "STORE="+v.store.url,
			fmt.Sprint("NAME=C", i+1), "KEYS="+strings.Join(liveKeys, ","), "PACE="+pace.String())
		if err != nil {
			return v, err
		}
		r := &resident{process: p}
		v.clients = append(v.clients, r)
		go v.listen(r)
	}
	return v, nil
}

// listen takes what one client tells until its process ends.
func (v *live) listen(r *resident) {
	dec := json.NewDecoder(r.Out)
	for {
		var h happening
		if err := dec.Decode(&h); err != nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			if !v.stopped {
				v.sayLocked(r.Name, page.Bad, "the process has ended")
			}
			return
		}
		v.mu.Lock()
		v.takeLocked(r, h)
		v.mu.Unlock()
	}
}

func (v *live) takeLocked(r *resident, h happening) {
	now := time.Since(v.start).Seconds()
	object := slices.Index(liveKeys, h.Key)
	if h.Kind == "granted" {
		r.doing = fmt.Sprintf("holds %s, token %d", h.Key, h.Token)
		for _, old := range v.holds {
			if old.Object == object && old.Token < h.Token && old.End == nil && old.Passed == nil {
				old.Passed = &now
			}
		}
		v.holds = append(v.holds, &hold{Client: h.Client, Object: object, Token: h.Token, Start: now})
		v.holds = v.holds[max(0, len(v.holds)-200):]
		v.sayLocked(h.Client, "", fmt.Sprintf("%s: granted, token %d", h.Key, h.Token))
		return
	}
	for _, old := range v.holds {
		if old.Client == h.Client && old.Token == h.Token && old.End == nil {
			old.End, old.Verdict = &now, h.Kind
		}
	}
	switch h.Kind {
	case "wrote":
		v.appended++
		r.doing = fmt.Sprintf("wrote to %s", h.Key)
		v.sayLocked(h.Client, "", fmt.Sprintf("%s: wrote with token %d", h.Key, h.Token))
	case "refused":
		v.refused++
		r.doing = fmt.Sprintf("was refused by the store, token %d", h.Token)
		v.sayLocked(h.Client, page.Bad, fmt.Sprintf("%s: write %s", h.Key, h.Text))
	default:
		r.doing = h.Text
		v.sayLocked(h.Client, page.Bad, h.Text)
	}
}

func (v *live) sayLocked(who string, kind page.Kind, text string) {
	v.happened++
	v.events = append(v.events, page.Event{Key: fmt.Sprint(v.happened), At: time.Now().Format("15:04:05.0"), Who: who, Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-200):]
}

func (v *live) say(who string, kind page.Kind, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sayLocked(who, kind, text)
}

// serve serves the page until ctx ends.
func (v *live) serve(ctx context.Context, l net.Listener) error {
	server := page.New(page.Page{
		Title:  "A queue lock, and a store that checks tokens",
		Lead:   "Six clients append to two objects. Three lock servers keep the queues. Freeze a client, kill a server, and see that no line is lost; then switch the check off.",
		Body:   template.HTML(serveBody),
		Script: timelineScript,
		Do: map[string]page.Command{
			"freeze": v.freeze, "thaw": v.thaw, "kill": v.kill, "start": v.restart, "guard": v.guard,
		},
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer cancel()
		for ctx.Err() == nil {
			server.Publish(v.state(ctx))
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	err := server.Serve(ctx, l)
	cancel()
	return err
}

// state is what the page shows.
func (v *live) state(ctx context.Context) map[string]any {
	leader, servers := v.servers(ctx)
	locks := make([]map[string]any, len(liveKeys))
	var wg sync.WaitGroup
	for i, key := range liveKeys {
		wg.Go(func() { locks[i] = v.queue(ctx, key) })
	}
	wg.Wait()

	v.mu.Lock()
	defer v.mu.Unlock()
	clients, lanes := []page.Row{}, []string{}
	for _, r := range v.clients {
		row := page.Row{"key": r.Name, "name": r.Name, "doing": r.doing}
		args := map[string]string{"client": r.Name}
		if r.frozen {
			row["state"], row["kind"] = page.Cell{Text: "frozen", Kind: page.Hot}, page.Hot
			row["do"] = []page.Button{{Name: "thaw", Label: "Let go on", Args: args}}
		} else {
			row["state"] = page.Cell{Text: "runs", Kind: page.OK}
			row["do"] = []page.Button{{Name: "freeze", Label: "Freeze", Args: args}}
		}
		clients, lanes = append(clients, row), append(lanes, r.Name)
	}
	guard, button := page.Cell{Text: "yes"}, "Stop checking tokens"
	if !v.store.checks() {
		guard, button = page.Cell{Text: "no", Kind: page.Bad}, "Check tokens again"
	}
	lost := page.Cell{Text: v.store.overwritten()}
	if lost.Text != 0 {
		lost.Kind = page.Bad
	}
	// Copies: what is returned is encoded while these go on changing.
	holds := make([]hold, len(v.holds))
	for i, h := range v.holds {
		holds[i] = *h
	}
	return map[string]any{
		"appended": v.appended, "lost": lost, "refused": v.refused, "leader": leader, "guard": guard, "guardButton": button,
		"locks": locks, "servers": servers, "clients": clients, "lanes": lanes,
		"holds": holds, "events": slices.Clone(v.events), "now": time.Since(v.start).Seconds(),
	}
}

// servers asks every server how it stands.
func (v *live) servers(ctx context.Context) (leader page.Cell, rows []page.Row) {
	leader = page.Cell{Text: "none", Kind: page.Bad}
	for _, s := range v.cluster.nodes {
		row := page.Row{"key": s.name, "name": s.name, "address": s.address}
		args := map[string]string{"server": s.name}
		row["do"] = []page.Button{{Name: "kill", Label: "Kill", Args: args}}
		switch up, leads := s.standing(ctx); {
		case !up:
			row["role"], row["kind"] = page.Cell{Text: "dead", Kind: page.Bad}, page.Muted
			row["do"] = []page.Button{{Name: "start", Label: "Start", Args: args}}
		case leads:
			row["role"], row["kind"] = page.Cell{Text: "leads", Kind: page.Hot}, page.Hot
			leader = page.Cell{Text: s.name}
		default:
			row["role"] = "follows"
		}
		rows = append(rows, row)
	}
	return leader, rows
}

// queue is one lock's holder and waiters, as the servers know them.
func (v *live) queue(ctx context.Context, key string) map[string]any {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	info, err := v.admin.Inspect(ctx, key)
	if err != nil {
		return map[string]any{"seen": "No server can answer.", "queue": nil}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	chips := []page.Chip{}
	for _, p := range info.Holders {
		chip := page.Chip{Key: p.Label, Text: fmt.Sprintf("%s · %d", p.Label, p.Token), Kind: page.Hot}
		if r := v.find(p.Label); r != nil && r.frozen {
			chip.Text, chip.Kind = fmt.Sprintf("%s · %d, frozen", p.Label, p.Token), page.Bad
		}
		chips = append(chips, chip)
	}
	for _, p := range info.Queue {
		chip := page.Chip{Key: p.Label, Text: p.Label}
		if r := v.find(p.Label); r != nil && r.frozen {
			chip.Kind = page.Muted
		}
		chips = append(chips, chip)
	}
	return map[string]any{
		"seen":  fmt.Sprintf("The first holds the lock. The store has seen token %d.", v.store.guard.Highest("/"+key)),
		"queue": chips,
	}
}

func (v *live) find(name string) *resident {
	i := slices.IndexFunc(v.clients, func(r *resident) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return v.clients[i]
}

var errNoSuch = errors.New("there is none of that name")

// freeze and thaw stop a client and let it go on.
func (v *live) freeze(_ context.Context, form url.Values) (string, error) {
	return v.stopAndGo(form.Get("client"), true)
}

func (v *live) thaw(_ context.Context, form url.Values) (string, error) {
	return v.stopAndGo(form.Get("client"), false)
}

func (v *live) stopAndGo(name string, stop bool) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.find(name)
	switch {
	case r == nil:
		return "", errNoSuch
	case r.frozen == stop:
		return name + " is so already.", nil
	case stop:
		if err := r.freeze(); err != nil {
			return "", err
		}
		r.frozen = true
		v.sayLocked(name, page.Hot, "SIGSTOP: frozen")
		return name + " is frozen. If it holds a lock, its lease will run out.", nil
	}
	if err := r.thaw(); err != nil {
		return "", err
	}
	r.frozen = false
	v.sayLocked(name, page.Hot, "SIGCONT: goes on")
	return name + " goes on, and does not know how long it was away.", nil
}

func (v *live) server(name string) *server {
	i := slices.IndexFunc(v.cluster.nodes, func(s *server) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return v.cluster.nodes[i]
}

func (v *live) kill(_ context.Context, form url.Values) (string, error) {
	s := v.server(form.Get("server"))
	if s == nil {
		return "", errNoSuch
	}
	if err := s.kill(); err != nil {
		return "", err
	}
	v.say("server "+s.name, page.Hot, "SIGKILL")
	return "Server " + s.name + " is dead.", nil
}

func (v *live) restart(_ context.Context, form url.Values) (string, error) {
	s := v.server(form.Get("server"))
	if s == nil {
		return "", errNoSuch
	}
	if err := v.cluster.start(s); err != nil {
		return "", err
	}
	v.say("server "+s.name, page.Hot, "started again on its directory")
	return "Server " + s.name + " is back, with what it had on disk.", nil
}

// guard switches the store's check off and on.
func (v *live) guard(context.Context, url.Values) (string, error) {
	if v.store.check(!v.store.checks()); v.store.checks() {
		v.say("store", page.Hot, "checks tokens again")
		return "The store checks tokens again.", nil
	}
	v.say("store", page.Hot, "takes every write")
	return "The store takes every write now. Freeze a client that holds a lock, wait, and let it go on.", nil
}

func (v *live) stop() {
	v.mu.Lock()
	v.stopped = true
	v.mu.Unlock()
	for _, r := range v.clients {
		r.Kill()
	}
	if v.admin != nil {
		v.admin.Close()
	}
	if v.store != nil {
		v.store.close()
	}
	if v.cluster != nil {
		v.cluster.stop()
	}
}
