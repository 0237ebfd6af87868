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
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
	"github.com/ashlar-go/ashlar/tsdb"
)

//go:embed serve.html
var serveBody string

//go:embed plot.js
var plotScript string

// servePage runs the whole system for ever, with traffic that arrives in real time,
// and a page on which it can be looked at.
func servePage(ctx context.Context, addr, logURL string, n int, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := startDashboard(ctx, logURL, n)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "open http://%s/ · Ctrl-C ends it\n", reachable(l.Addr().(*net.TCPAddr)))
	return errors.Join(v.serve(ctx, l), v.stop())
}

// reachable returns an address for a browser on this machine: a listener on all
// addresses has none of its own.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(a.Port))
	}
	return a.String()
}

// past is how much of the morning lies before the moment at which the page is
// opened; the rest arrives in real time, and then the next morning begins.
const past = 90 * time.Minute

// A dashboard is the system of the story, without an end.
type dashboard struct {
	dir    string
	log    stream.Transactor
	broker *broker
	db     *tsdb.DB
	lines  []sent // what is still to come
	n      int
	shift  time.Duration // from the story's time to the present
	sent   int           // batches

	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	failure error
	stored  int              // windows by minute
	fresh   int              // windows of all jobs, to tell them apart
	fired   []page.Row       // the last windows, newest first
	recent  map[string]tally // by country, of the newest complete five minutes
	upTo    int64            // the end of these
	peak    int64            // the most errors within a minute, of any route
}

func startDashboard(ctx context.Context, logURL string, n int) (v *dashboard, err error) {
	v = &dashboard{n: n, shift: time.Since(begin.Add(past)).Truncate(time.Second), recent: map[string]tally{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.stop())
		}
	}()
	if v.dir, err = os.MkdirTemp("", "metrics"); err != nil {
		return v, err
	}
	if v.log, err = openLog(ctx, logURL, filepath.Join(v.dir, "log")); err != nil {
		return v, err
	}
	if v.db, err = openSeries(filepath.Join(v.dir, "series"), tsdb.Options{MaxFuture: 48 * time.Hour}); err != nil {
		return v, err
	}
	devices, err := loadDevices()
	if err != nil {
		return v, err
	}
	if _, err := storeDevices(ctx, devices, v.db); err != nil {
		return v, err
	}
	s := generate(n)
	v.lines = s.lines
	for i := range s.changes {
		s.changes[i].from = s.changes[i].from.Add(v.shift)
	}
	ctx, v.cancel = context.WithCancel(ctx)
	v.broker = &broker{log: v.log, now: time.Now}
	if err := v.broker.start(ctx, s.changes); err != nil {
		return v, err
	}
	if err := v.feed(ctx); err != nil { // the past, at once
		return v, err
	}
	v.run(ctx, v.trickle)
	v.run(ctx, v.watch)
	for _, job := range live {
		for p := range partitions {
			v.run(ctx, func(ctx context.Context) error { return v.follow(ctx, job, p) })
		}
	}
	return v, nil
}

// run runs something until the dashboard stops. What fails is shown on the page.
func (v *dashboard) run(ctx context.Context, f func(context.Context) error) {
	v.work.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.failure = errors.Join(v.failure, err)
		}
	})
}

func (v *dashboard) stop() error {
	var err error
	if v.cancel != nil {
		v.cancel()
	}
	if v.broker != nil && v.broker.cancel != nil {
		err = v.broker.stop()
	}
	v.work.Wait()
	if v.log != nil {
		v.log.Close()
	}
	if v.db != nil {
		err = errors.Join(err, v.db.Close())
	}
	return errors.Join(err, os.RemoveAll(v.dir))
}

// feed takes in all lines that have arrived by now, as the present's.
func (v *dashboard) feed(ctx context.Context) error {
	due := 0
	for due < len(v.lines) && !v.lines[due].arrives.Add(v.shift).After(time.Now()) {
		due++
	}
	var now []sent
	for _, s := range v.lines[:due] {
		s.arrives = s.arrives.Add(v.shift)
		if e, err := parse(s.text); err == nil {
			e.Time = e.Time.Add(v.shift)
			s.text = e.line()
		}
		now = append(now, s)
	}
	if v.lines = v.lines[due:]; len(v.lines) == 0 { // the next morning
		v.lines, v.shift = generate(v.n).lines, v.shift+duration
	}
	for _, lines := range batches(now, 1000) {
		if err := v.broker.take(ctx, v.sent, lines); err != nil {
			return err
		}
		v.sent++
	}
	_, _, err := storeLogs(ctx, now, v.db)
	return err
}

func (v *dashboard) trickle(ctx context.Context) error {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		if err := v.feed(ctx); err != nil {
			return err
		}
	}
}

// watch samples this very program, and lets the database tidy up.
func (v *dashboard) watch(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	a := newAppender(v.db)
	for i := 0; ; i++ {
		for _, s := range readOwn(time.Now()) {
			if err := a.add(ctx, s.t, s.v, "self", s.labels...); err != nil {
				return err
			}
		}
		if err := a.flush(ctx); err != nil {
			return err
		}
		if i%60 == 59 {
			if err := v.db.Maintain(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// follow takes over the windows of a job as they fire.
func (v *dashboard) follow(ctx context.Context, job string, partition int) error {
	p := stream.Partition{Topic: job, Number: partition}
	if err := v.log.CreateTopic(ctx, job, &stream.TopicOptions{Partitions: partitions}); err != nil {
		return err
	}
	a := newAppender(v.db)
	var b stream.Batch
	for next := int64(0); ; next = b.Next {
		if err := v.log.Read(ctx, p, next, &b); err != nil {
			return err
		}
		for i := range b.Records {
			var w window
			if err := json.Unmarshal(b.Records[i].Value, &w); err != nil {
				return err
			}
			if job == jobTumbling {
				err := samplesOf(partition, &w, func(s sample) error { return a.add(ctx, s.t, s.v, sourceShop, s.labels...) })
				if err != nil {
					return err
				}
			}
			v.note(job, &w)
		}
		if err := a.flush(ctx); err != nil {
			return err
		}
		if job == jobTumbling {
			v.mu.Lock()
			v.stored += len(b.Records)
			v.mu.Unlock()
		}
	}
}

// note keeps what the page shows of a window.
func (v *dashboard) note(job string, w *window) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch job {
	case jobSliding:
		v.peak = max(v.peak, w.Errors)
	case jobHopping:
		if end := w.End.Unix(); end > v.upTo {
			v.recent, v.upTo = map[string]tally{}, end
		}
		if w.End.Unix() == v.upTo && w.Index == 0 {
			country, _, _ := strings.Cut(w.Key, "/")
			v.recent[country] = v.recent[country].merge(w.tally)
		}
	}
	v.fresh++
	kind := page.Cell{Text: w.Kind.String()}
	if w.Kind == flow.Late {
		kind.Kind = page.Hot
	}
	group, layout := w.Key, "15:04"
	if group == nobody {
		group = "not signed in"
	}
	if job == jobSliding {
		layout = time.TimeOnly
	}
	row := page.Row{
		"key": fmt.Sprintf("%s %s %d %d", job, w.Key, w.End.UnixNano(), v.fresh), "job": job, "group": group, "requests": w.Requests, "errors": w.Errors, "kind": kind,
		"window": w.Start.Format(layout) + "\u00a0–\u00a0" + w.End.Format(layout),
	}
	v.fired = append([]page.Row{row}, v.fired[:min(len(v.fired), 11)]...)
}

// state is what the page shows at all times.
func (v *dashboard) state() map[string]any {
	counts := v.broker.taken()
	stats := v.db.Stats()
	v.mu.Lock()
	defer v.mu.Unlock()
	bars := []page.Bar{}
	for country, t := range v.recent {
		note := fmt.Sprintf("%d, %d errors", t.Requests, t.Errors)
		if t.Errors == 1 {
			note = strings.TrimSuffix(note, "s")
		}
		if country == "-" {
			country = "not signed in"
		}
		bars = append(bars, page.Bar{Label: country, Value: float64(t.Requests), Note: note})
	}
	slices.SortFunc(bars, func(a, b page.Bar) int { return strings.Compare(a.Label, b.Label) })
	health := page.Cell{Text: "all parts run", Kind: page.OK}
	if err := errors.Join(v.failure, v.broker.failed()); err != nil {
		health = page.Cell{Text: err.Error(), Kind: page.Bad}
	}
	until := "no window has fired yet"
	if v.upTo > 0 {
		until = "The five minutes until " + clockTime(v.upTo) + " UTC."
	}
	return map[string]any{
		"lines": counts.Lines, "malformed": counts.Malformed, "windows": v.stored, "peak": v.peak, "series": stats.Series, "searchable": stats.LogLines,
		"fired": slices.Clone(v.fired), "countries": bars, "until": until, "health": health,
	}
}

// serve serves the page until ctx ends.
func (v *dashboard) serve(ctx context.Context, l net.Listener) error {
	site := page.New(page.Page{
		Title:  "Access logs, as numbers and as text",
		Lead:   "Twelve servers write lines; jobs count them in windows by minute; a database for time series keeps both. Drag over the chart to look closer: the search follows.",
		Body:   template.HTML(serveBody),
		Script: plotScript,
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /query", answerJSON(v.query))
	mux.HandleFunc("GET /lines", answerJSON(v.find))
	mux.Handle("/", site)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			site.Publish(v.state())
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
		site.Close() // event streams never end by themselves
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			_ = server.Close()
		}
	})
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answerJSON makes a handler of a question. What cannot be answered is said in one
// sentence.
func answerJSON[T any](ask func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		answer, err := ask(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the client may be gone
	}
}
