package page_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
	"github.com/ashlar-go/ashlar/examples/internal/page"
)

// demo uses every binding once.
const demo template.HTML = `
<dl class="figures">
<div><dt>lines appended</dt><dd data-text="appended"></dd></div>
<div><dt>lost updates</dt><dd data-text="lost"></dd></div>
<div><dt>stale writes refused</dt><dd data-text="refused"></dd></div>
<div><dt>wake-ups per release</dt><dd data-text="wakeups"></dd></div>
</dl>
<section class="panel two-thirds"><h2>Servers</h2><p>Each is a process of its own. Kill the leader and watch the others elect.</p>
<div data-table="nodes" data-columns="name:Server, role:Role, term:Term:num, log:Log index:num" aria-label="Servers"></div></section>
<section class="panel third"><h2>Commands</h2><p>They act on the running cluster.</p>
<form class="controls" action="do/add" method="post"><label>Lines <input name="n" value="5" inputmode="numeric" size="6"></label><button class="main">Append</button></form>
<p class="said" role="status" data-said></p></section>
<section class="panel"><h2>Who waits for ledger.txt</h2><p>The holder is first. A release wakes exactly the next one.</p><div data-queue="queue"></div></section>
<section class="panel half"><h2>Wake-ups</h2><p>Per release, by kind of lock.</p><div data-bars="bars"></div></section>
<section class="panel half"><h2>Time to the lock</h2><p>Milliseconds from asking to holding.</p><div data-line="chart"></div></section>
<section class="panel half"><h2>What happened</h2><p>Newest last.</p><div data-trace="trace"></div></section>
<section class="panel half"><h2>Where</h2><p>A route over a few roads.</p><div data-map="map"></div></section>
<section class="panel"><h2>Not yet</h2><div data-table="missing.path" data-columns="a:A"></div></section>`

type state map[string]any

func demoState(step int) state {
	points := func(f func(float64) float64) (out [][2]float64) {
		for i := range 40 {
			out = append(out, [2]float64{float64(i), f(float64(i + step))})
		}
		return out
	}
	queue := []page.Chip{{Text: "client 7 · token 310", Kind: page.Hot}}
	for i := range 18 {
		queue = append(queue, page.Chip{Text: fmt.Sprintf("client %d", i+step+8)})
	}
	queue[3].Kind = page.Muted
	queue[5].Kind = page.Bad
	var trace []page.Event
	for i := range 30 {
		trace = append(trace, page.Event{Key: fmt.Sprint(step + i), At: fmt.Sprintf("%.3f s", 0.8*float64(step+i)), Who: "client 7", Text: "takes the lock, token 310"})
	}
	trace[27] = page.Event{Key: fmt.Sprint(step + 27), At: "21.900 s", Who: "client 2", Text: "write with token 55 refused: token 310 was seen", Kind: page.Bad}
	trace[28] = page.Event{Key: fmt.Sprint(step + 28), At: "22.010 s", Who: "server 1", Text: "killed with SIGKILL", Kind: page.Muted}
	return state{
		"appended": 12480 + step, "lost": 0, "refused": page.Cell{Text: 3, Kind: page.Hot}, "wakeups": "1.000",
		"nodes": []page.Row{
			{"key": "1", "name": "server 1", "role": page.Cell{Text: "stopped", Kind: page.Bad}, "term": 3, "log": 10231, "kind": page.Muted, "do": []page.Button{{Name: "kill", Label: "Kill", Args: map[string]string{"node": "1"}, Off: true}}},
			{"key": "2", "name": "server 2", "role": page.Cell{Text: "leader", Kind: page.Hot}, "term": 4, "log": 10980 + step, "kind": page.Hot, "do": []page.Button{{Name: "kill", Label: "Kill", Args: map[string]string{"node": "2"}}}},
			{"key": "3", "name": "server 3", "role": page.Cell{Text: "follower", Kind: page.OK}, "term": 4, "log": 10979 + step, "do": []page.Button{{Name: "kill", Label: "Kill", Args: map[string]string{"node": "3"}}}},
		},
		"queue": queue,
		"bars":  []page.Bar{{Label: "polling", Value: 49.2, Kind: page.Hot}, {Label: "queue", Value: 1, Note: "1.000"}, {Label: "majority vote", Value: 17.5 + float64(step)}},
		"chart": page.Chart{Unit: "ms", From: "40 s ago", To: "now", Series: []page.Series{
			{Name: "queue", Points: points(func(x float64) float64 { return 4 + math.Sin(x/4) })},
			{Name: "polling", Points: points(func(x float64) float64 { return 16 + 5*math.Sin(x/3) })},
			{Name: "vote", Points: points(func(x float64) float64 { return 9 + 2*math.Cos(x/5) })},
		}},
		"trace": trace,
		"map": page.Map{
			Label: "a route from A to B", Box: [4]float64{0, 0, 16, 10},
			Lines: []page.Line{
				{Points: [][2]float64{{1, 1}, {5, 2}, {9, 1.5}, {15, 3}}},
				{Points: [][2]float64{{5, 2}, {5.5, 5}, {4, 8}}},
				{Points: [][2]float64{{9, 1.5}, {10, 6}, {14, 8.5}}},
				{Points: [][2]float64{{5.5, 5}, {10, 6}}},
				{Points: [][2]float64{{1, 1}, {5, 2}, {5.5, 5}, {10, 6}, {14, 8.5}}, Kind: page.Hot},
			},
			Points: []page.Point{{X: 1, Y: 1, Label: "A", Kind: page.Hot}, {X: 14, Y: 8.5, Label: "B", Kind: page.Hot}, {X: 5.5, Y: 5}, {X: 9, Y: 1.5, Label: "closed road", Kind: page.Muted}},
		},
	}
}

// serve starts a server for the page and returns its address.
func serve(t *testing.T, p page.Page) (*page.Server, string) {
	t.Helper()
	s := page.New(p)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, "http://" + l.Addr().String() + "/"
}

func demoPage(do map[string]page.Command) page.Page {
	return page.Page{Title: "Distributed lock", Lead: "Fifty clients append to one object through three servers. " +
		"A frozen holder wakes up too late, and its write is refused.", Body: demo, Do: do}
}

func TestInBrowser(t *testing.T) {
	b := browser.Start(t)
	var mu sync.Mutex
	var asked []string
	s, addr := serve(t, demoPage(map[string]page.Command{
		"add": func(_ context.Context, form url.Values) (string, error) {
			if form.Get("n") == "" || len(form.Get("n")) > 3 {
				return "", errors.New("How many lines? Give 1 to 999.")
			}
			return "Appended " + form.Get("n") + " lines.", nil
		},
		"kill": func(_ context.Context, form url.Values) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, form.Get("node"))
			return "Killed server " + form.Get("node") + ".", nil
		},
	}))
	s.Publish(demoState(0))
	b.Open(addr)
	b.WaitState("html", "data-live", "open")
	b.WaitState("html", "data-version", "1") // who comes late gets the present state

	for selector, want := range map[string]string{
		"[data-text=appended]":                              "12,480",
		"[data-text=refused]":                               "3",
		"[data-table] tr[data-key='2'] .sign":               "leader",
		"[data-queue] li[data-place='0']":                   "client 7 · token 310",
		"[data-queue] li:last-child":                        "5 more",
		"[data-bars] [data-bar=polling]":                    "49.2",
		"[data-trace] li[data-kind=bad] .what":              "write with token 55 refused: token 310 was seen",
		"[data-table='missing.path'] .none":                 "Nothing yet.",
		"[data-map] text":                                   "A",
		"[data-line] .end":                                  "queue",
		"[data-table] tbody tr:first-child [data-col=role]": "stopped",
	} {
		if got := b.Text(selector); got != want {
			t.Errorf("text of %s = %q, want %q", selector, got, want)
		}
	}
	if n := b.Count("[data-trace] li"); n != 30 {
		t.Errorf("%d lines in the trace, want 30", n)
	}

	// The keyboard focus survives a new state, and Enter sends the command.
	b.Wait("(document.querySelector(\"tr[data-key='3'] button\").focus(), true)")
	s.Publish(demoState(1))
	b.WaitState("html", "data-version", "2")
	b.WaitText("[data-text=appended]", "12,481")
	if !browser.Eval[bool](b, "document.activeElement === document.querySelector(\"tr[data-key='3'] button\")") {
		t.Error("a new state took the keyboard focus away")
	}
	b.Press("\r")
	b.WaitText("[data-said]", "Killed server 3.")
	b.Click("tr[data-key='2'] button")
	b.WaitText("[data-said]", "Killed server 2.")
	mu.Lock()
	if got := strings.Join(asked, " "); got != "3 2" {
		t.Errorf("commands for servers %q, want 3 2", got)
	}
	mu.Unlock()
	b.Type("input[name=n]", "000")
	b.Click("button.main")
	b.WaitState("[data-said]", "data-kind", "bad")
	if got := b.Text("[data-said]"); !strings.HasPrefix(got, "How many") {
		t.Errorf("an error is shown as %q", got)
	}
	if n := browser.Eval[int](b, "performance.getEntriesByType('resource').filter(r => !r.name.startsWith(location.origin)).length"); n != 0 {
		t.Errorf("%d things were loaded from elsewhere", n)
	}
	// Nothing is wider than a phone.
	for _, width := range []int64{1280, 390, 320} {
		b.Viewport(width, 844)
		if n := browser.Eval[int](b, "document.documentElement.scrollWidth"); n > int(width) {
			t.Errorf("at %d pixels the page is %d wide", width, n)
		}
	}
	for _, dark := range []bool{false, true} {
		b.Dark(dark)
		for _, width := range []int64{1280, 390} {
			b.Viewport(width, 844)
			b.Screenshot(fmt.Sprintf("page-%d-dark=%v", width, dark))
		}
	}
}

func TestPageWithoutScript(t *testing.T) {
	s := page.New(demoPage(map[string]page.Command{
		"ok":   func(context.Context, url.Values) (string, error) { return "done", nil },
		"fail": func(context.Context, url.Values) (string, error) { return "", errors.New("no: <b>") },
	}))
	get := func(method, path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(""))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	if got := get("GET", "/state").Body.String(); got != "null" {
		t.Errorf("state before the first = %q", got)
	}
	s.Publish(state{"x": "<script>"})
	for path, want := range map[string]string{
		"/": "<noscript", "/text": `"x": "\u003cscript\u003e"`, "/state": `{"x":"\u003cscript\u003e"}`,
		"/static/page.js": "export function watch", "/static/page.css": "prefers-color-scheme",
	} {
		w := get("GET", path)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("GET %s: %d without %q:\n%.300s", path, w.Code, want, w.Body)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") {
			t.Errorf("GET %s: policy %q", path, csp)
		}
	}
	if w := get("POST", "/do/ok", "Accept", "text/html,*/*"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Errorf("a form without script: %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := get("POST", "/do/ok", "Accept", "text/plain"); w.Code != http.StatusOK || w.Body.String() != "done\n" {
		t.Errorf("a command: %d %q", w.Code, w.Body)
	}
	if w := get("POST", "/do/fail", "Accept", "text/plain"); w.Code != http.StatusConflict || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("a command that fails: %d %q", w.Code, w.Header())
	}
	if w := get("POST", "/do/none"); w.Code != http.StatusNotFound {
		t.Errorf("an unknown command: %d", w.Code)
	}
	if w := get("GET", "/do/ok"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a command by GET: %d", w.Code)
	}
	if w := get("POST", "/do/ok", "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("a command from another site: %d", w.Code)
	}
}

// events reads a stream and returns its events, id and data.
func events(t *testing.T, url string) (next func() (id, data string)) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	if got := r.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type %q", got)
	}
	lines := bufio.NewScanner(r.Body)
	return func() (id, data string) {
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "id: "):
				id = line[len("id: "):]
			case strings.HasPrefix(line, "data: "):
				return id, line[len("data: "):]
			}
		}
		return "", "end"
	}
}

func TestHub(t *testing.T) {
	s, addr := serve(t, page.Page{Title: "t"})
	early := events(t, addr+"events")
	s.Publish(1)
	if id, data := early(); id != "1" || data != "1" {
		t.Fatalf("first event %s %s", id, data)
	}
	s.Publish(2)
	late := events(t, addr+"events")
	for name, next := range map[string]func() (string, string){"early": early, "late": late} {
		if id, data := next(); id != "2" || data != "2" {
			t.Errorf("%s reader got event %s %s, want 2 2", name, id, data)
		}
	}
	// A reader may miss states but never the last one.
	for i := range 1000 {
		s.Publish(i)
	}
	for {
		id, data := late()
		if data == "999" {
			if id != "1002" {
				t.Errorf("the last state has the id %s", id)
			}
			break
		}
		if data == "end" {
			t.Fatal("the stream ended before the last state")
		}
	}
	s.Close()
	for data := ""; data != "end"; {
		_, data = early()
	}
	if r, err := http.Get(addr + "events"); err != nil {
		t.Error(err)
	} else if text, err := io.ReadAll(r.Body); len(text) > 0 || err != nil {
		t.Errorf("a stream of a closed hub: %q, %v", text, err)
	}
}

func TestPublishPanicsOnWhatHasNoJSON(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	new(page.Hub).Publish(func() {})
}
