package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/trie/norm"
)

//go:embed serve.html
var serveBody string

//go:embed place.js
var placeScript string

// servePage lets weeks go by, an hour a second, and answers what is near.
func servePage(ctx context.Context, addr string, n int, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := startLive(ctx, n)
	if err != nil {
		return err
	}
	defer v.stop()
	fmt.Fprintf(w, "open http://%s/ · Ctrl-C ends it\n", reachable(l.Addr().(*net.TCPAddr)))
	return v.serve(ctx, l, time.Second)
}

// reachable returns an address for a browser on this machine: a listener on all
// addresses has none of its own.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(a.Port))
	}
	return a.String()
}

const (
	listed  = 12 // places in the list
	charted = 72 // hours
	dots    = 500
)

// A live is the story without an end.
type live struct {
	dir   string
	n     int
	city  []business
	words *words
	log   *stream.Local
	page  *page.Server

	mu     sync.Mutex
	run    *weekRun
	ask    question
	dies   bool // in the next hour
	events []page.Event
	number int // of the last event
}

// A question is what the visitor looks for.
type question struct {
	words string
	spot
}

func startLive(ctx context.Context, n int) (*live, error) {
	v := &live{n: n, city: generateCity(n / 5), ask: question{"", spot{centreLat, centreLon, 1000}}}
	var err error
	if v.words, err = newWords(v.city, newTable(v.city, byCell)); err != nil {
		return nil, err
	}
	if v.dir, err = os.MkdirTemp("", "reviews"); err != nil {
		return nil, err
	}
	if v.log, err = stream.OpenLocal(filepath.Join(v.dir, "log"), &stream.Options{Sync: stream.SyncNone}); err != nil {
		v.stop()
		return nil, err
	}
	store, err := blob.OpenDir(filepath.Join(v.dir, "archive"), &blob.Options{NoSync: true})
	if err == nil {
		v.run, err = newWeekRun(ctx, v.log, store)
	}
	if err != nil {
		v.stop()
		return nil, err
	}
	return v, nil
}

func (v *live) stop() {
	if v.log != nil {
		_ = v.log.Close()
	}
	_ = os.RemoveAll(v.dir)
}

// serve shows the page, and lets an hour go by at every tick.
func (v *live) serve(ctx context.Context, l net.Listener, tick time.Duration) error {
	p := page.New(page.Page{
		Title:  "Places near you",
		Lead:   "A city reviews itself, an hour each second. Each place shows the stars that a stream keeps and those of last night's batch.",
		Body:   template.HTML(serveBody),
		Script: placeScript,
		Text:   v.text,
		Do:     map[string]page.Command{"search": v.search, "lose": v.lose},
	})
	v.page = p
	p.Publish(v.state())
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- v.live(ctx, p, tick)
	}()
	return errors.Join(p.Serve(ctx, l), <-ended)
}

// live lets the weeks go by.
func (v *live) live(ctx context.Context, p *page.Server, tick time.Duration) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for number := uint64(0); ; number++ {
		for hour, reviews := range hourly(generateReviews(v.city, v.n, number)) {
			select {
			case <-ctx.Done():
				return nil
			case <-t.C:
			}
			v.mu.Lock()
			dies := v.dies || hour%killed == killed-1
			v.dies = false
			lost := v.run.exact.lost
			err := v.run.step(ctx, reviews, dies)
			if err == nil {
				now := v.run.hours[len(v.run.hours)-1]
				if n := v.run.exact.lost - lost; n > 0 {
					v.sayLocked(now, page.Bad, fmt.Sprintf("%d aggregators were lost before they wrote; others began with what the log has, and nothing is missing", n))
				}
				if now.number%24 == nightly {
					v.sayLocked(now, page.OK, fmt.Sprintf("the batch has read all %s reviews", num(len(v.run.truth.last))))
				}
			}
			v.mu.Unlock()
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			p.Publish(v.state())
		}
	}
}

func (v *live) sayLocked(at hour, kind page.Kind, text string) {
	v.number++
	v.events = append(v.events, page.Event{Key: strconv.Itoa(v.number), At: at.String(), Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-30):]
}

// search reads the form.
func (v *live) search(_ context.Context, form url.Values) (string, error) {
	q := question{words: strings.TrimSpace(form.Get("words"))}
	var errs [3]error
	q.lat, errs[0] = strconv.ParseFloat(form.Get("lat"), 64)
	q.lon, errs[1] = strconv.ParseFloat(form.Get("lon"), 64)
	q.metres, errs[2] = strconv.ParseFloat(form.Get("metres"), 64)
	if err := errors.Join(errs[:]...); err != nil {
		return "", err
	}
	if _, err := geohash.CellAt(q.lat, q.lon, 30); err != nil {
		return "", err
	}
	if !(q.metres > 0 && q.metres <= 20_000) {
		return "", fmt.Errorf("%v metres: from 1 to 20,000", q.metres)
	}
	v.mu.Lock()
	v.ask = q
	v.mu.Unlock()
	s := v.state()
	v.page.Publish(s)
	return fmt.Sprintf("%s places, %s.", num(s.Found), s.How), nil
}

// lose loses each consumer in the next hour.
func (v *live) lose(context.Context, url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dies = true
	return "In the next hour each consumer is lost before it writes what it reckoned.", nil
}

// answer returns the businesses for a question, and how they were found. The last word
// may be a beginning. The table counts what is read: v.mu is held.
func (v *live) answer(q question) (found []businessID, how string) {
	list := wordsOf(q.words)
	if len(list) == 0 {
		v.words.table.read = 0
		found = covered(v.words.table, q.spot)
		return found, fmt.Sprintf("by place alone: %s rows read", num(v.words.table.read))
	}
	read := 0
	for i, word := range list {
		forms := []string{word}
		if strings.HasSuffix(norm.Term(q.words), word) {
			forms = forms[:0]
			for _, h := range v.words.image.Complete(nil, word, 10) {
				forms = append(forms, h.Term)
			}
		}
		var any []businessID
		for _, form := range forms {
			p := v.words.plans(form, q.spot)[0]
			ids, n := v.words.find(p, form, q.spot)
			any, read, how = append(any, ids...), read+n, p.name
		}
		slices.Sort(any)
		any = slices.Compact(any)
		if i == 0 {
			found = any
		} else {
			found = slices.DeleteFunc(found, func(id businessID) bool { _, ok := slices.BinarySearch(any, id); return !ok })
		}
	}
	return found, fmt.Sprintf("%s: %s rows read", how, num(read))
}

// A state is what the page shows.
type state struct {
	Hour    string        `json:"hour"`
	Reviews int           `json:"reviews"`
	Lost    int           `json:"lost"`
	Batches int           `json:"batches"`
	Found   int           `json:"found"`
	How     string        `json:"how"`
	Exact   page.Cell     `json:"exact"`
	Night   page.Cell     `json:"night"`
	Naive   page.Cell     `json:"naive"`
	City    page.Map      `json:"city"`
	Places  []page.Row    `json:"places"`
	Drift   page.Chart    `json:"drift"`
	Events  []page.Event  `json:"events"`
	Ask     searchedState `json:"ask"`
}

type searchedState struct {
	Lat    float64 `json:"lat"`
	Lon    float64 `json:"lon"`
	Metres float64 `json:"metres"`
}

func (v *live) state() state {
	v.mu.Lock()
	defer v.mu.Unlock()
	q := v.ask
	found, how := v.answer(q)
	s := state{
		Hour: "–", Reviews: len(v.run.truth.last), Lost: v.run.exact.lost, Batches: v.run.batches,
		Found: len(found), How: how, Events: slices.Clone(v.events), Ask: searchedState{q.lat, q.lon, q.metres}, Places: []page.Row{},
	}
	type place struct {
		b      *business
		metres float64
	}
	var near []place
	for _, id := range found {
		b := &v.city[id]
		near = append(near, place{b, geohash.Distance(q.lat, q.lon, b.lat, b.lon)})
	}
	// The best of those that are near, then the nearest. One happy guest does not make a
	// place the best: each is given five more reviews of the usual stars.
	stars := func(p place) float64 {
		const usual, weight = 3.7, 5
		r := v.run.exact.rating(p.b.id)
		return (float64(r.Sum) + usual*weight) / float64(r.Count+weight)
	}
	slices.SortFunc(near, func(a, b place) int {
		switch x, y := stars(a), stars(b); {
		case x > y:
			return -1
		case x < y:
			return 1
		case a.metres < b.metres:
			return -1
		}
		return 1
	})
	s.City = v.drawCity(q)
	for i, p := range near {
		pt := page.Point{Key: fmt.Sprint("r", p.b.id), X: p.b.lon, Y: p.b.lat * stretch, Kind: page.OK, Size: 3.5}
		if i < listed {
			exact, night := v.run.exact.rating(p.b.id), v.run.night[p.b.id]
			row := page.Row{
				"key": fmt.Sprint(p.b.id), "name": p.b.name, "metres": int(p.metres),
				"stars": starText(exact), "night": starText(night), "reviews": exact.Count,
			}
			if halves(exact) != halves(night) {
				row["night"] = page.Cell{Text: starText(night), Kind: page.Bad}
			}
			s.Places = append(s.Places, row)
			pt.Kind, pt.Size = page.Hot, 5
			if i < 3 {
				pt.Label = p.b.name
			}
		}
		if i < 300 {
			s.City.Points = append(s.City.Points, pt)
		}
	}
	if n := len(v.run.hours); n > 0 {
		now := v.run.hours[n-1]
		s.Hour = now.String()
		cell := func(way int) page.Cell {
			c := page.Cell{Text: now.drift[way].wrong}
			if now.drift[way].wrong > 0 {
				c.Kind = page.Bad
			}
			return c
		}
		s.Exact, s.Night, s.Naive = cell(wayExact), cell(wayNight), cell(wayNaive)
		recent := v.run.hours[max(0, n-charted):]
		s.Drift = page.Chart{Unit: "stars", From: recent[0].String(), To: now.String()}
		for _, way := range []int{wayExact, wayNight, wayNaive} {
			line := page.Series{Name: [ways]string{"stream", "night", "adding up", ""}[way]}
			for _, h := range recent {
				line.Points = append(line.Points, [2]float64{float64(h.number), h.drift[way].mean})
			}
			s.Drift.Series = append(s.Drift.Series, line)
		}
	}
	return s
}

func starText(r rating) string {
	if r.Count == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", r.stars())
}

// stretch makes a degree of latitude as long on the map as it is on the ground, beside one
// of longitude.
const stretch = 1.4142135623730951 // 1/cos 45°

// drawCity draws the circle that is searched, among some of all places.
func (v *live) drawCity(q question) page.Map {
	reach := max(q.metres*1.6, 1200) / 111_195
	m := page.Map{
		Label: "places in the city and those found",
		Box:   [4]float64{q.lon - reach*stretch*1.5, (q.lat - reach) * stretch, q.lon + reach*stretch*1.5, (q.lat + reach) * stretch},
	}
	step := 0
	for i := range v.city {
		b := &v.city[i]
		if x, y := b.lon, b.lat*stretch; x < m.Box[0] || x > m.Box[2] || y < m.Box[1] || y > m.Box[3] {
			continue
		}
		step++
	}
	every := max(1, step/dots)
	step = 0
	for i := range v.city {
		b := &v.city[i]
		x, y := b.lon, b.lat*stretch
		if x < m.Box[0] || x > m.Box[2] || y < m.Box[1] || y > m.Box[3] {
			continue
		}
		if step++; step%every == 0 {
			m.Points = append(m.Points, page.Point{Key: fmt.Sprint("c", b.id), X: x, Y: y, Size: 1.6, Kind: page.Muted})
		}
	}
	cells, _ := geohash.CoverCircle(nil, q.lat, q.lon, q.metres, 16)
	for i, c := range cells {
		b := c.Bounds()
		s, n := b.South*stretch, b.North*stretch
		m.Lines = append(m.Lines, page.Line{Key: fmt.Sprint("cell", i), Points: [][2]float64{{b.West, s}, {b.East, s}, {b.East, n}, {b.West, n}, {b.West, s}}})
	}
	m.Points = append(m.Points, page.Point{Key: "here", X: q.lon, Y: q.lat * stretch, Size: 4, Label: "you"})
	return m
}

func (v *live) text() string {
	s := v.state()
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %d reviews, %d aggregators lost, %d batches\n%d places, %s\n", s.Hour, s.Reviews, s.Lost, s.Batches, s.Found, s.How)
	for _, r := range s.Places {
		night := r["night"]
		if c, ok := night.(page.Cell); ok {
			night = c.Text
		}
		fmt.Fprintf(&b, "%-34s %5d m  %s by stream, %s by night, %d reviews\n", r["name"], r["metres"], r["stars"], night, r["reviews"])
	}
	return b.String()
}
