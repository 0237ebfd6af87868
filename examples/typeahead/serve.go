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
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/trie"
)

//go:embed serve.html
var serveBody string

//go:embed search.js
var searchScript string

//go:embed search.css
var searchStyle string

// servePage runs nodes and a crowd that types for ever, and a page with a search box.
func servePage(ctx context.Context, addr string, c config, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := startLive(ctx, c)
	if err != nil {
		return err
	}
	defer v.stop()
	at := l.Addr().(*net.TCPAddr)
	host := at.String()
	if at.IP.IsUnspecified() {
		host = net.JoinHostPort("localhost", strconv.Itoa(at.Port))
	}
	fmt.Fprintf(w, "open http://%s/ and type · Ctrl-C ends it\n", host)
	return v.serve(ctx, l)
}

// A live is the story without an end.
type live struct {
	*story
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	admin sync.Mutex // of who changes partitions, nodes and the archive

	mu       sync.Mutex
	visitors map[string]*visitor
	order    []string // of visitors, the oldest first
	pending  []click
	clicks   int // in the log
	built    int // that the image counts
	keys     int
	failed   int
	skewed   bool
	hot      []phrase
	byNode   []uint64 // asked since the last balance
	events   []page.Event
	happened int
}

// A visitor is a browser: it has a connection to a node, and terms of its own.
type visitor struct {
	mu     sync.Mutex
	client *client
	terms  map[string]uint64
	own    *trie.Image
}

const mostVisitors = 200

func startLive(ctx context.Context, c config) (v *live, err error) {
	s, err := newStory(ctx, io.Discard, c)
	if err != nil {
		return nil, err
	}
	v = &live{story: s, visitors: map[string]*visitor{}, events: []page.Event{}, hot: neighbours(s.parts), byNode: make([]uint64, nodes)}
	v.ctx, v.cancel = context.WithCancelCause(ctx)
	defer func() {
		if err != nil {
			v.stop()
		}
	}()
	if err := v.publish(v.image); err != nil {
		return v, err
	}
	for i := range 4 {
		v.keep(func() error { return v.typeOn(i) })
	}
	v.keep(v.balanceOn)
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

func (v *live) stop() {
	v.cancel(nil)
	v.wg.Wait()
	v.mu.Lock()
	for _, x := range v.visitors {
		x.close()
	}
	v.mu.Unlock()
	v.close()
}

func (x *visitor) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.client.close()
}

// typeOn is one of the crowd.
func (v *live) typeOn(i int) error {
	c := newClient(v.fleet.addresses(), true)
	c.asked = i
	defer c.close()
	people := newCrowd(v.list, uint64(i))
	tick := time.NewTicker(60 * time.Millisecond)
	defer tick.Stop()
	for v.ctx.Err() == nil {
		want := people.wants()
		v.mu.Lock()
		if v.skewed && people.rng.IntN(100) < hotShare {
			want = v.hot[people.rng.IntN(len(v.hot))].term
		}
		v.mu.Unlock()
		keys, err := c.search(want, func(prefix string, a answer, _ time.Duration) {
			v.tellKey(v.right(prefix, a))
			select {
			case <-tick.C:
			case <-v.ctx.Done():
			}
		})
		if err != nil {
			v.tellKey(false)
			continue
		}
		v.click(click{time.Now(), i, want[:keys], want})
	}
	return nil
}

func (v *live) tellKey(right bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys++
	if !right && v.ctx.Err() == nil {
		v.failed++
	}
}

func (v *live) click(c click) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pending = append(v.pending, c)
	v.clicks++
}

// balanceOn sends clicks to the log, collects loads, and answers to them.
func (v *live) balanceOn() error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-v.ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := v.balanceOnce(); err != nil {
			return err
		}
	}
}

func (v *live) balanceOnce() error {
	v.admin.Lock()
	defer v.admin.Unlock()
	if err := v.flush(); err != nil {
		return err
	}
	byNode, _, err := v.fleet.collect(v.parts)
	if err != nil {
		return err
	}
	v.mu.Lock()
	for i := range byNode { // fades, so that it can be read
		v.byNode[i] = v.byNode[i]*8/10 + byNode[i]*2
	}
	v.mu.Unlock()
	// Time goes faster here: loads fade in ten seconds.
	v.clock = v.clock.Add(6 * time.Second)
	change, err := v.parts.Balance(v.clock)
	if err != nil || len(change.Rebuilt)+change.Copied == 0 {
		return err
	}
	if err := v.publish(v.images[v.fleet.generation]); err != nil {
		return err
	}
	v.forget()
	v.tell("balance", "", fmt.Sprintf("%d split, %d joined, %d with other copies: table %d", change.Split, change.Merged, change.Copied, v.fleet.generation))
	return nil
}

// flush sends the clicks to the log and on to the archive.
func (v *live) flush() error {
	v.mu.Lock()
	list := v.pending
	v.pending = nil
	v.mu.Unlock()
	if err := send(v.ctx, v.log, list); err != nil {
		return err
	}
	_, err := archive(v.ctx, v.log, v.store)
	return err
}

// forget drops images of generations that nobody can answer from any more.
func (v *live) forget() {
	v.story.mu.Lock()
	defer v.story.mu.Unlock()
	for g := range v.images {
		if g < v.fleet.generation-20 {
			delete(v.images, g)
		}
	}
}

func (v *live) tell(who string, kind page.Kind, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.happened++
	v.events = append(v.events, page.Event{Key: fmt.Sprint(v.happened), At: time.Now().Format("15:04:05.0"), Who: who, Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-60):]
}

// serve serves the page until ctx ends.
func (v *live) serve(ctx context.Context, l net.Listener) error {
	p := page.New(page.Page{
		Title:  "Suggestions at every key",
		Lead:   "Type a word or two. Each key is a question to the node that has what you type, over a connection that stays open; a build of all counts replaces the lists while you go on.",
		Body:   template.HTML(serveBody),
		Script: searchScript,
		Do:     map[string]page.Command{"rebuild": v.doRebuild, "skew": v.doSkew},
	})
	mux := http.NewServeMux()
	mux.Handle("/", p)
	mux.HandleFunc("GET /suggest", v.suggest)
	mux.HandleFunc("POST /pick", v.pick)
	mux.HandleFunc("GET /search.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		io.WriteString(w, searchStyle)
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
			p.Publish(v.state())
			select {
			case <-time.After(400 * time.Millisecond):
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

// visitor returns the one of a name, a new one if need be.
func (v *live) visitor(name string) *visitor {
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.visitors[name]
	if x == nil {
		x = &visitor{client: newClient(v.fleet.addresses(), true), terms: map[string]uint64{}}
		x.client.asked = len(v.order)
		v.visitors[name] = x
		if v.order = append(v.order, name); len(v.order) > mostVisitors {
			old := v.visitors[v.order[0]]
			delete(v.visitors, v.order[0])
			v.order = v.order[1:]
			go old.close() // when its last question is answered
		}
	}
	return x
}

const mostTyped = 60 // characters

// A reply is what the search box is told.
type reply struct {
	Query      string      `json:"query"`
	List       []suggested `json:"list"`
	Micros     float64     `json:"micros"` // until the node's answer was here
	Node       string      `json:"node"`
	Part       string      `json:"part"`
	Generation int         `json:"generation"`
	Dialed     int         `json:"dialed"` // connections so far, for so many keys
	Keys       int         `json:"keys"`
}

type suggested struct {
	Term  string `json:"term"`
	Edits int    `json:"edits"`
	Own   bool   `json:"own"`
}

// suggest answers a key.
func (v *live) suggest(w http.ResponseWriter, r *http.Request) {
	query := clean(r.FormValue("q"))
	if utf8.RuneCountInString(query) > mostTyped || !utf8.ValidString(query) {
		http.Error(w, "that is no search", http.StatusBadRequest)
		return
	}
	x := v.visitor(r.FormValue("me"))
	x.mu.Lock()
	defer x.mu.Unlock()
	start := time.Now()
	a, err := x.client.ask(query)
	took := time.Since(start)
	if err != nil {
		v.tellKey(false)
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	v.tellKey(v.right(query, a))
	list := a.list
	if r.FormValue("fuzzy") == "1" {
		v.story.mu.Lock()
		image := v.images[a.generation]
		v.story.mu.Unlock()
		if list, err = image.Fuzzy(nil, query, 1, k); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	out := reply{
		Query: query, List: []suggested{}, Micros: float64(took.Nanoseconds()) / 1000, Node: v.fleet.name(x.client.at),
		Part: "the router, as on every node", Generation: a.generation, Dialed: x.client.dialed, Keys: x.client.asked,
	}
	if p, ok := v.parts.Route(query); ok {
		out.Part = describe(p)
	}
	if x.own != nil {
		list = trie.Merge(nil, x.own.Complete(nil, query, 3), list, k)
	}
	for _, s := range list {
		out.List = append(out.List, suggested{s.Term, s.Edits, x.terms[s.Term] > 0})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(out)
}

func describe(p trie.Partition) string {
	from, to := p.From, p.To
	return fmt.Sprintf("the partition from “%s” to “%s”, %s terms", cmp.Or(from, "…"), cmp.Or(to, "…"), num(p.Image.Len()))
}

// pick counts a search: in the log, and among the visitor's own terms at once.
func (v *live) pick(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	term, prefix := clean(r.FormValue("term")), clean(r.FormValue("prefix"))
	if n := len(term); n > 0 && term[n-1] == ' ' {
		term = term[:n-1]
	}
	if term == "" || utf8.RuneCountInString(term) > mostTyped || utf8.RuneCountInString(prefix) > mostTyped || !utf8.ValidString(term+prefix) {
		http.Error(w, "that is no search", http.StatusBadRequest)
		return
	}
	x := v.visitor(r.FormValue("me"))
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.terms) < 1000 || x.terms[term] > 0 {
		x.terms[term]++
	}
	b := trie.NewBuilder(nil)
	for t, n := range x.terms {
		b.Add(t, n<<40) // above what everybody searches for
	}
	own, err := b.Build()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	x.own = own
	v.click(click{time.Now(), 0, prefix, term})
	v.tell("search", "", "“"+term+"” was searched for: a click in the log, and a term of that browser's own")
}

// doRebuild is the batch.
func (v *live) doRebuild(ctx context.Context, _ url.Values) (string, error) {
	v.admin.Lock()
	defer v.admin.Unlock()
	if err := v.flush(); err != nil {
		return "", err
	}
	start := time.Now()
	image, clicks, err := rebuild(ctx, v.store, v.list, time.Now().Add(time.Hour))
	if err != nil {
		return "", err
	}
	change, err := v.parts.Replace(image)
	if err != nil {
		return "", err
	}
	sent, err := v.swap(image)
	if err != nil {
		return "", err
	}
	v.forget()
	v.mu.Lock()
	v.built = clicks
	v.mu.Unlock()
	said := fmt.Sprintf("Built from %s clicks in the archive in %d ms: %d partitions rebuilt, %d kept, %d KB sent; table %d.", num(clicks), time.Since(start).Milliseconds(), len(change.Rebuilt), change.Kept, sent/1024, v.fleet.generation)
	v.tell("batch", page.Hot, said)
	return said, nil
}

func (v *live) doSkew(context.Context, url.Values) (string, error) {
	v.mu.Lock()
	v.skewed = !v.skewed
	skewed, first := v.skewed, v.hot[0].term
	v.mu.Unlock()
	if !skewed {
		v.tell("crowd", "", "searches for everything again")
		return "The crowd searches for everything again.", nil
	}
	v.tell("crowd", page.Hot, fmt.Sprintf("%d %% of it search for what begins like “%s”", hotShare, first))
	return fmt.Sprintf("%d %% of the crowd now search for what begins like “%s”. Watch the partitions.", hotShare, first), nil
}

// state is what the page shows.
func (v *live) state() map[string]any {
	parts := v.parts.Partitions()
	slices.SortStableFunc(parts, func(a, b trie.Partition) int { return cmp.Compare(b.Load, a.Load) })
	bars, copied := []page.Bar{}, 0
	for i, p := range parts {
		if p.Copies > 1 {
			copied++
		}
		if i < 8 {
			b := page.Bar{Label: cmp.Or(p.From, "…"), Value: p.Load}
			if p.Copies > 1 {
				b.Note, b.Kind = fmt.Sprintf("%.0f on %d nodes", p.Load, p.Copies), page.Hot
			} else {
				b.Note = fmt.Sprintf("%.0f", p.Load)
			}
			bars = append(bars, b)
		}
	}
	router, _ := v.parts.Router()
	bytes := len(router.Bytes())
	for _, p := range parts {
		bytes += len(p.Image.Bytes())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	nodes := []page.Bar{}
	for i, n := range v.byNode {
		nodes = append(nodes, page.Bar{Label: fmt.Sprint("node-", i+1), Value: float64(n)})
	}
	failed := page.Cell{Text: v.failed}
	if v.failed > 0 {
		failed.Kind = page.Bad
	}
	return map[string]any{
		"terms": v.parts.Len(), "bytes": fmt.Sprintf("%.1f", float64(bytes)/float64(v.parts.Len())), "keys": v.keys, "failed": failed,
		"waiting": v.clicks - v.built, "partitions": len(parts), "copied": copied,
		"loads": bars, "nodes": nodes, "events": slices.Clone(v.events),
	}
}
