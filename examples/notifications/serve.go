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
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/idem"
)

//go:embed serve.html
var serveBody string

//go:embed inbox.js
var inboxScript string

//go:embed inbox.css
var inboxStyle string

// servePage runs devices, routers and push servers for ever, and a page that is a
// device itself.
func servePage(ctx context.Context, addr, logURL string, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := startLive(ctx, 200, 400*time.Millisecond, logURL)
	if err != nil {
		return err
	}
	defer v.stop()
	at := l.Addr().(*net.TCPAddr)
	host := at.String()
	if at.IP.IsUnspecified() {
		host = net.JoinHostPort("localhost", strconv.Itoa(at.Port))
	}
	fmt.Fprintf(w, "open http://%s/ in two tabs · Ctrl-C ends it\n", host)
	return v.serve(ctx, l)
}

// A live is the story without an end.
type live struct {
	*story
	router  *router
	keys    *idem.Store
	devices []*client
	cancel  context.CancelCauseFunc
	ctx     context.Context
	wg      sync.WaitGroup

	mu       sync.Mutex
	visitors int
	moved    int
	sent     []said // the newest last, for a while
	messages map[topicID]int
	lost     int
	events   []page.Event // the newest last
	happened int
}

// said is a message that devices should show before long.
type said struct {
	message
	at time.Time
}

const grace = 20 * time.Second // after which a message that a device has not shown is lost

func startLive(ctx context.Context, n int, every time.Duration, logURL string) (v *live, err error) {
	s, err := newStory(ctx, io.Discard, n, logURL)
	if err != nil {
		return nil, err
	}
	v = &live{story: s, messages: map[topicID]int{}, events: []page.Event{}}
	v.ctx, v.cancel = context.WithCancelCause(ctx)
	defer func() {
		if err != nil {
			v.stop()
		}
	}()
	if err := createTopics(ctx, s.log); err != nil {
		return v, err
	}
	if err := s.table.subscribe(s.people.rows...); err != nil {
		return v, err
	}
	if err := s.catchUp(ctx); err != nil {
		return v, err
	}
	if v.keys, err = idem.Open(filepath.Join(s.dir, "keys"), &idem.Options{Lease: 10 * time.Second, Keep: time.Hour}); err != nil {
		return v, err
	}
	v.router = &router{
		log: s.log, group: "router", directory: s.directory, store: s.store, routing: s.routing,
		polledAt: popularFrom, keepAll: true, keys: v.keys, patience: 5 * time.Second,
	}
	v.keep(func() error { return v.router.run(v.ctx) })
	v.keep(func() error { return s.directory.follow(v.ctx, s.log) })
	since := s.producer.now()
	for u := range n {
		c := newClient(userID(u), s.service.url, true, 2*time.Second, since)
		v.devices = append(v.devices, c)
		v.wg.Go(func() { c.run(v.ctx) })
	}
	v.keep(func() error { return v.chatter(every) })
	return v, nil
}

// keep runs a part until the end; if it fails, everything ends.
func (v *live) keep(f func() error) {
	v.wg.Go(func() {
		if err := f(); err != nil && v.ctx.Err() == nil {
			v.cancel(err)
		}
	})
}

// chatter sends messages as a drill does, again and again.
func (v *live) chatter(every time.Duration) error {
	topics := v.schedule(1000)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-v.ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := v.publish(topics[i%len(topics)], fmt.Sprintf("message %d", i+1)); err != nil {
			return err
		}
		v.judge()
	}
}

func (v *live) publish(topic topicID, text string) error {
	m, err := v.producer.send(v.ctx, topic, text)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sent = append(v.sent, said{m, time.Now()})
	v.messages[topic]++
	return nil
}

// judge counts who has not got the messages of a while ago, and forgets these.
func (v *live) judge() {
	audience := v.people.reachable()
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.sent) > 0 && time.Since(v.sent[0].at) > grace {
		m := v.sent[0].message
		v.sent = v.sent[1:]
		v.lost += len(audience[m.topic]) - seen(v.devices, audience[m.topic], m)
		for _, u := range audience[m.topic] {
			c := v.devices[u]
			c.mu.Lock()
			delete(c.shown, m)
			c.mu.Unlock()
		}
	}
}

func (v *live) stop() {
	v.cancel(nil)
	for _, s := range v.fleet.servers {
		_ = v.fleet.kill(s)
	}
	v.wg.Wait()
	if v.keys != nil {
		v.keys.Close()
	}
	v.close()
}

// names are the topics that have one. Those of the visitors are among them.
func (v *live) names() map[topicID]string {
	small := topicID(v.people.popular() + 1)
	return map[topicID]string{
		1: "World cup", 2: "Breaking news", small: "Chess club", small + 1: "Night buses", small + 2: "Allotments",
	}
}

func (v *live) name(t topicID) string {
	if name, ok := v.names()[t]; ok {
		return name
	}
	return fmt.Sprint("topic ", t)
}

// serve serves the page until ctx ends.
func (v *live) serve(ctx context.Context, l net.Listener) error {
	p := page.New(page.Page{
		Title:  "Once to every subscriber",
		Lead:   "This tab is a device: it has a push server and some topics. Open the page in a second tab, publish something, and kill the server that a tab is connected to.",
		Body:   template.HTML(serveBody),
		Script: inboxScript,
		Do:     map[string]page.Command{"publish": v.doPublish, "kill": v.doKill, "start": v.doStart},
	})
	mux := http.NewServeMux()
	mux.Handle("/", p)
	mux.HandleFunc("POST /visit", answer(v.visit))
	mux.HandleFunc("GET /inbox", v.inbox)
	mux.HandleFunc("POST /missed", answer(v.service.missed))
	mux.HandleFunc("GET /poll", answer(v.service.poll))
	mux.HandleFunc("GET /inbox.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		io.WriteString(w, inboxStyle)
	})
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer server.Close()
		defer p.Close()
		for ctx.Err() == nil && v.ctx.Err() == nil {
			p.Publish(v.state(ctx))
			select {
			case <-time.After(250 * time.Millisecond):
			case <-ctx.Done():
			case <-v.ctx.Done():
			}
		}
	})
	err := server.Serve(l)
	cancel()
	if cause := context.Cause(v.ctx); cause != nil && ctx.Err() == nil {
		return cause
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// A visit is what a new tab is told.
type visit struct {
	User   userID          `json:"user"`
	Now    int64           `json:"now"`
	Topics []visitInterest `json:"topics"`
}

type visitInterest struct {
	Topic  topicID `json:"topic"`
	Name   string  `json:"name"`
	Polled bool    `json:"polled"`
}

// visit makes a user of a tab: rows in the table, which reach the routers by the feed.
func (v *live) visit(r *http.Request) (out visit, err error) {
	v.mu.Lock()
	v.visitors++
	n := v.visitors
	v.mu.Unlock()
	out.User = userID(v.people.users + n)
	small := topicID(v.people.popular() + 1)
	list := []topicID{1, small, small + 1}
	var rows []subscription
	for _, t := range list {
		rows = append(rows, subscription{out.User, t})
	}
	out.Now = v.producer.now()
	if err := v.table.subscribe(rows...); err != nil {
		return out, err
	}
	if _, err := v.table.publish(r.Context(), v.log); err != nil {
		return out, err
	}
	for _, t := range list {
		out.Topics = append(out.Topics, visitInterest{t, v.name(t), v.router.isPolled(t)})
	}
	v.tell(fmt.Sprint("tab ", n), "", fmt.Sprintf("is user %s and subscribes to %d topics", num(int(out.User)), len(list)))
	return out, nil
}

// inbox connects a tab to its push server: browsers reach one address, behind which
// this passes the stream on. When the server dies the stream ends, the browser comes
// again, and gets another server.
func (v *live) inbox(w http.ResponseWriter, r *http.Request) {
	user, err := userOf(r)
	if err != nil {
		http.Error(w, "no user", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, "retry: 300\n\n") // a browser gives up on an error status, and comes again after an end
	out := http.NewResponseController(w)
	if out.Flush() != nil {
		return
	}
	server, address, err := v.routing.assign(user)
	if err != nil {
		return
	}
	defer v.routing.leave(user)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(v.ctx, cancel)()
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/events?user=%d", address, user), nil)
	if err != nil {
		return
	}
	resp, err := streams.Do(req)
	if err == nil {
		defer resp.Body.Close()
		buf := make([]byte, 4<<10)
		for {
			n, err := resp.Body.Read(buf)
			if _, failed := w.Write(buf[:n]); err != nil || failed != nil || out.Flush() != nil {
				break
			}
		}
	}
	if ctx.Err() == nil {
		v.routing.suspect(server, address)
	}
}

// state is what the page shows.
func (v *live) state(ctx context.Context) map[string]any {
	var all counts
	connected := 0
	for _, c := range v.devices {
		c.mu.Lock()
		all.add(c.counts)
		if c.up {
			connected++
		}
		c.mu.Unlock()
	}
	servers, bars := v.servers(ctx)
	keys := v.keys.Stats()
	polls, hits := v.cache.polls.Load(), v.cache.hits.Load()

	v.mu.Lock()
	defer v.mu.Unlock()
	v.moved += v.routing.settle()
	names := v.names()
	topics := []page.Row{}
	for t, name := range names {
		row := page.Row{
			"key": fmt.Sprint(t), "name": name, "subscribers": v.directory.count(t), "how": "pushed",
			"do": []page.Button{{Name: "publish", Label: "Publish", Args: map[string]string{"topic": fmt.Sprint(t)}}},
		}
		if v.router.isPolled(t) {
			row["how"] = page.Cell{Text: "polled", Kind: page.Hot}
		}
		topics = append(topics, row)
	}
	slices.SortFunc(topics, func(a, b page.Row) int { return b["subscribers"].(int) - a["subscribers"].(int) })
	cell := func(n int) page.Cell {
		if n > 0 {
			return page.Cell{Text: n, Kind: page.Bad}
		}
		return page.Cell{Text: n}
	}
	return map[string]any{
		"connected": connected, "pushed": all.pushed, "polled": all.polled, "fetched": all.fetched, "dropped": all.dropped,
		"twice": cell(all.twice), "lost": cell(v.lost), "moved": v.moved,
		"saved":   percent(int64(keys.Saved), int64(keys.Saved+keys.Reads)),
		"hits":    percent(hits, polls),
		"servers": servers, "loads": bars, "topics": topics, "events": slices.Clone(v.events),
	}
}

func percent(part, all int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(max(1, all)))
}

// servers tells how the push servers stand.
func (v *live) servers(ctx context.Context) (rows []page.Row, bars []page.Bar) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, s := range v.fleet.servers {
		args := map[string]string{"server": s.name}
		row := page.Row{"key": s.name, "name": s.name, "state": page.Cell{Text: "runs", Kind: page.OK}, "do": []page.Button{{Name: "kill", Label: "Kill", Args: args}}}
		load, err := v.fleet.load(ctx, s)
		if err != nil {
			row["state"], row["kind"] = page.Cell{Text: "dead", Kind: page.Bad}, page.Muted
			row["do"] = []page.Button{{Name: "start", Label: "Start", Args: args}}
		} else {
			row["connections"], row["pushed"] = load.Connections, load.Pushed
		}
		rows = append(rows, row)
		bars = append(bars, page.Bar{Label: s.name, Value: float64(load.Connections)})
	}
	return rows, bars
}

func (v *live) tell(who string, kind page.Kind, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.happened++
	v.events = append(v.events, page.Event{Key: fmt.Sprint(v.happened), At: time.Now().Format("15:04:05.0"), Who: who, Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-100):]
}

var errNoSuch = errors.New("there is none of that name")

func (v *live) doPublish(_ context.Context, form url.Values) (string, error) {
	id, err := strconv.ParseUint(form.Get("topic"), 10, 32)
	topic := topicID(id)
	name, ok := v.names()[topic]
	if err != nil || !ok {
		return "", errNoSuch
	}
	v.mu.Lock()
	n := v.messages[topic] + 1
	v.mu.Unlock()
	if err := v.publish(topic, fmt.Sprintf("%s: news number %d", name, n)); err != nil {
		return "", err
	}
	subscribers := num(v.directory.count(topic))
	if v.router.isPolled(topic) {
		v.tell(name, "", "published, to be polled by "+subscribers)
		return fmt.Sprintf("Stored once; its %s subscribers will ask for it.", subscribers), nil
	}
	v.tell(name, "", "published, pushed to those of "+subscribers+" who are connected")
	return fmt.Sprintf("Pushed to those of its %s subscribers who are connected.", subscribers), nil
}

func (v *live) doKill(_ context.Context, form url.Values) (string, error) {
	s := v.find(form.Get("server"))
	if s == nil {
		return "", errNoSuch
	}
	if len(v.fleet.living()) == 1 {
		return "", errors.New("that is the last one: start another first")
	}
	n := v.routing.balance.Load(s.name)
	if err := v.fleet.kill(s); err != nil {
		return "", err
	}
	v.tell(s.name, page.Hot, fmt.Sprintf("SIGKILL, with %d connections", n))
	return fmt.Sprintf("%s is dead. Its %d connections come back elsewhere.", s.name, n), nil
}

// doStart starts a server, and calls those home whom the ring gives to it.
func (v *live) doStart(ctx context.Context, form url.Values) (string, error) {
	s := v.find(form.Get("server"))
	if s == nil {
		return "", errNoSuch
	}
	if err := v.fleet.start(s); err != nil {
		return "", err
	}
	strays := v.routing.strays(s.name)
	body, err := json.Marshal(strays)
	if err != nil {
		return "", err
	}
	for _, other := range v.fleet.living() {
		if other != s {
			if err := post(ctx, "http://"+other.address+"/move", strings.NewReader(string(body)), nil); err != nil {
				return "", err
			}
		}
	}
	v.tell(s.name, page.Hot, fmt.Sprintf("started; %d whom the ring gives to it are asked to come", len(strays)))
	return fmt.Sprintf("%s is back, and %d connections move to it.", s.name, len(strays)), nil
}

func (v *live) find(name string) *server {
	i := slices.IndexFunc(v.fleet.servers, func(s *server) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return v.fleet.servers[i]
}
