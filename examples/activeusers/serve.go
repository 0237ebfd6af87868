package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/hll"
	"github.com/ashlar-go/ashlar/stream"
)

//go:embed serve.html
var serveBody string

//go:embed plot.js
var plotScript string

const (
	leastPrecision = 4                      // that the page offers; the most is that of the sketches
	morning        = 8 * 60                 // when the page begins: what came before is counted at once
	tickEvery      = 500 * time.Millisecond // and each tick is
	tickMinutes    = 4                      // so many minutes of the day
)

// servePage lets the day pass, two hours of it in a quarter of a minute, and shows
// what is counted.
func servePage(ctx context.Context, addr string, n int, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintf(w, "counting what happened before %s …\n", clock(morning))
	v, err := startLive(ctx, n, morning)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "open http://%s/ · Ctrl-C ends it\n", reachable(l.Addr().(*net.TCPAddr)))
	return errors.Join(v.serve(ctx, l, tickEvery, tickMinutes), v.stop())
}

// reachable returns an address for a browser on this machine: a listener on all
// interfaces is reached as localhost.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(a.Port))
	}
	return a.String()
}

// A livePage is the system of the story while the day goes on.
type livePage struct {
	dir    string
	events []moment
	people int
	truth  *truth
	log    *stream.Local
	sender *sender

	mu       sync.Mutex
	now      int // minutes of the day that are over
	fed      int // events that have happened
	counters []*counter
	tables   *tables
	view     dayView
	seen     bits
	users    int // exact, so far
	added    int // the minutes' exact counts, added up
	day      *hll.Sketch
	hour     *hll.Sketch // so far
	byMinute []figure
	byHour   []figure
	total    figure // the day so far
	failure  error
}

// A figure is a count, exact and as estimated at each precision.
type figure struct {
	exact    int
	estimate [precision - leastPrecision + 1]float64
}

// figureOf lowers a sketch step by step: each gives the sketch that it would have been
// at that precision from the start.
func figureOf(exact int, s *hll.Sketch) (f figure, err error) {
	f.exact = exact
	s = s.Clone()
	for p := precision; p >= leastPrecision; p-- {
		if err := s.Reduce(p); err != nil {
			return f, err
		}
		f.estimate[p-leastPrecision] = s.Estimate()
	}
	return f, nil
}

// startLive counts the day up to a minute.
func startLive(ctx context.Context, n, until int) (v *livePage, err error) {
	v = &livePage{people: usersOf(n), events: generate(n), tables: newTables(usersOf(n)), counters: make([]*counter, partitions)}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.stop())
		}
	}()
	v.truth, v.seen = truthOf(v.events, v.people), newBits(v.people)
	if v.dir, err = os.MkdirTemp("", "activeusers"); err != nil {
		return v, err
	}
	if v.log, err = stream.OpenLocal(filepath.Join(v.dir, "log"), nil); err != nil {
		return v, err
	}
	if v.sender, err = newSender(ctx, v.log); err != nil {
		return v, err
	}
	for _, s := range []**hll.Sketch{&v.day, &v.hour} {
		if *s, err = hll.New(precision); err != nil {
			return v, err
		}
	}
	if err := v.reopen(ctx); err != nil {
		return v, err
	}
	return v, v.advance(ctx, until)
}

func (v *livePage) stop() (err error) {
	if v.log != nil {
		err = v.log.Close()
	}
	return errors.Join(err, os.RemoveAll(v.dir))
}

// reopen opens the counters from their checkpoints.
func (v *livePage) reopen(ctx context.Context) error {
	return parallel(func(p int) (err error) {
		v.counters[p], err = openCounter(ctx, v.log, liveGroup, p, nil)
		return err
	})
}

// advance lets the day go on to a minute: its events go into the log, and out of it
// into the counters and the status table.
func (v *livePage) advance(ctx context.Context, until int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	until = min(until, minutes)
	if until <= v.now {
		return nil
	}
	end := atMinute(v.events, until)
	if err := v.sender.send(ctx, v.events[v.fed:end]); err != nil {
		return err
	}
	for _, e := range v.events[v.fed:end] {
		if v.seen.add(e.user()) {
			v.users++
		}
	}
	v.fed = end
	if err := parallel(func(p int) error { return v.counters[p].run(ctx) }); err != nil {
		return err
	}
	if err := v.tables.follow(ctx, v.log, until); err != nil {
		return err
	}
	for ; v.now < until; v.now++ {
		if err := v.close(v.now); err != nil {
			return err
		}
	}
	var err error
	v.total, err = figureOf(v.users, v.day)
	return err
}

// close takes a minute that is over into the curves.
func (v *livePage) close(m int) error {
	if err := v.view.take(v.counters, m); err != nil {
		return err
	}
	s, err := newSlot()
	if err != nil {
		return err
	}
	if v.view.slots[m].users != nil {
		s = v.view.slots[m]
	}
	v.day.Merge(s.users)
	v.hour.Merge(s.users)
	f, err := figureOf(v.truth.minute[m], s.users)
	if err != nil {
		return err
	}
	v.byMinute = append(v.byMinute, f)
	v.added += f.exact
	if m%60 == 59 {
		if f, err = figureOf(v.truth.hour[m/60], v.hour); err != nil {
			return err
		}
		v.byHour = append(v.byHour, f)
		v.hour.Reset()
	}
	return nil
}

// restart throws the counters' memory away, and opens them from their checkpoints.
func (v *livePage) restart(ctx context.Context, _ url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	digests := func() (all string, bytes int, err error) {
		for _, c := range v.counters {
			sum, n, err := c.digest()
			if err != nil {
				return "", 0, err
			}
			all, bytes = all+sum, bytes+n
		}
		return all, bytes, nil
	}
	before, _, err := digests()
	if err != nil {
		return "", err
	}
	if err := v.reopen(ctx); err != nil {
		return "", err
	}
	after, bytes, err := digests()
	if err != nil {
		return "", err
	}
	if before != after {
		return "", errors.New("the sketches differ from those before the restart")
	}
	return fmt.Sprintf("At %s the four counters came back with %s of sketches: the same bytes as before.", clock(v.now), size(bytes)), nil
}

// state is what the page shows at any precision.
func (v *livePage) state() map[string]any {
	v.mu.Lock()
	defer v.mu.Unlock()
	rows := v.tables.rows()
	devicesOnline := 0
	for _, t := range v.tables.table {
		for _, n := range t.online {
			devicesOnline += int(n)
		}
	}
	health := page.Cell{Text: "all parts run", Kind: page.OK}
	if v.failure != nil {
		health = page.Cell{Text: v.failure.Error(), Kind: page.Bad}
	}
	return map[string]any{
		"clock": clock(v.now), "now": v.now, "events": v.fed, "users": v.users, "online": v.tables.users(), "devices": devicesOnline,
		"rows": rows, "added": v.added, "health": health,
		"wrong": []page.Bar{
			{Label: "users, exact", Value: float64(v.users), Kind: page.Hot},
			{Label: "users, estimated", Value: math.Round(v.total.estimate[precision-leastPrecision]), Note: num(round(v.total.estimate[precision-leastPrecision]))},
			{Label: "devices", Value: float64(rows)},
			{Label: "hours added up", Value: float64(v.addedHours())},
			{Label: "minutes added up", Value: float64(v.added)},
		},
	}
}

// addedHours adds the counts of hours up, the present one as far as it is.
func (v *livePage) addedHours() (n int) {
	for _, f := range v.byHour {
		n += f.exact
	}
	if from := len(v.byHour) * 60; from < v.now {
		n += usersIn(v.events, v.people, from, v.now)
	}
	return n
}

// A curveAnswer is the day at one precision, for the chart.
type curveAnswer struct {
	P         int       `json:"p"`
	Step      int       `json:"step"` // minutes
	Now       int       `json:"now"`
	Exact     []int     `json:"exact"`
	Estimate  []float64 `json:"estimate"`
	Users     int       `json:"users"`
	Estimated float64   `json:"estimated"`
	Precision []precise `json:"precisions"`
}

// precise is what a precision costs and is worth.
type precise struct {
	P        int     `json:"p"`
	Bytes    int     `json:"bytes"`    // of a full sketch: six bits a register
	Theory   float64 `json:"theory"`   // standard error, in per cent
	Measured float64 `json:"measured"` // root of the mean square over what is shown
}

var (
	errPrecision = fmt.Errorf("the precision is a number from %d to %d", leastPrecision, precision)
	errBy        = errors.New("the curve is by minute or by hour")
)

func (v *livePage) curve(r *http.Request) (a curveAnswer, err error) {
	if a.P, err = strconv.Atoi(r.FormValue("p")); err != nil || a.P < leastPrecision || a.P > precision {
		return a, errPrecision
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var figures []figure
	switch r.FormValue("by") {
	case "minute":
		figures, a.Step = v.byMinute, 1
	case "hour":
		figures, a.Step = v.byHour, 60
	default:
		return a, errBy
	}
	a.Now, a.Users, a.Estimated = v.now, v.users, math.Round(v.total.estimate[a.P-leastPrecision])
	a.Exact, a.Estimate = make([]int, len(figures)), make([]float64, len(figures))
	for i := range precision - leastPrecision + 1 {
		p := leastPrecision + i
		a.Precision = append(a.Precision, precise{P: p, Bytes: 6 << p / 8, Theory: 104 / math.Sqrt(float64(uint(1)<<p))})
	}
	n := 0.0
	for k, f := range figures {
		a.Exact[k], a.Estimate[k] = f.exact, math.Round(f.estimate[a.P-leastPrecision])
		if f.exact == 0 {
			continue
		}
		n++
		for i, estimate := range f.estimate {
			off := 100 * (estimate/float64(f.exact) - 1)
			a.Precision[i].Measured += off * off
		}
	}
	for i := range a.Precision {
		a.Precision[i].Measured = math.Sqrt(a.Precision[i].Measured / max(n, 1))
	}
	return a, nil
}

// serve serves the page until ctx ends, and lets some minutes pass with every tick.
func (v *livePage) serve(ctx context.Context, l net.Listener, every time.Duration, pace int) error {
	site := page.New(page.Page{
		Title:  "Unique active users",
		Lead:   "A day of events, in which eight minutes pass every second. Four jobs keep a sketch for each minute; hours and the day are merged from them. Choose how exact they should be, and see what it costs.",
		Body:   template.HTML(serveBody),
		Script: plotScript,
		Do:     map[string]page.Command{"restart": v.restart},
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /curve", v.answer)
	mux.Handle("/", site)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	site.Publish(v.state())
	wg.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for ctx.Err() == nil {
			select {
			case <-ticker.C:
				v.tick(ctx, pace)
				site.Publish(v.state())
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

// tick lets the day go on. What fails is shown on the page, and the day stands still.
func (v *livePage) tick(ctx context.Context, pace int) {
	v.mu.Lock()
	until, failed := v.now+pace, v.failure != nil
	v.mu.Unlock()
	if failed {
		return
	}
	if err := v.advance(ctx, until); err != nil && ctx.Err() == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.failure = err
	}
}

func (v *livePage) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	a, err := v.curve(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // the client may be gone
}
