package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/tsdb"
)

// The questions that the page asks: a metric over time, and lines of text.

// A metric is what the chart can show.
type metric struct {
	name, title, unit string
	of                tsdb.Matcher
	base              time.Duration // of its samples
	scale             float64
	how               combine
}

// combine says how samples of one step become one value.
type combine int

const (
	perMinute combine = iota // add up, by minute: counts
	highest                  // the largest
	average
)

var charted = []metric{
	{"requests", "requests", "per minute", tsdb.Eq("name", "requests"), time.Minute, 1, perMinute},
	{"errors", "errors (status 500 and above)", "per minute", tsdb.Eq("name", "errors"), time.Minute, 1, perMinute},
	{"bytes", "bytes sent", "MB per minute", tsdb.Eq("name", "bytes"), time.Minute, 1e-6, perMinute},
	{"slowest", "slowest request", "ms", tsdb.Eq("name", "slowest_us"), time.Minute, 1e-3, highest},
	{"heap", "this program: live heap", "MB", tsdb.Eq("name", "go_memory_classes_heap_objects"), time.Second, 1e-6, average},
	{"goroutines", "this program: goroutines", "", tsdb.Eq("name", "go_sched_goroutines"), time.Second, 1, average},
	{"cpu", "device: CPU of a machine, 2014", "%", tsdb.Eq("device", "ec2_cpu_utilization_5f5533"), 5 * time.Minute, 1, average},
	{"speed", "device: speed of traffic, 2015", "mph", tsdb.Eq("device", "speed_7578"), 5 * time.Minute, 1, average},
	{"price", "device: price of a click, 2011", "$", tsdb.Eq("device", "exchange-2_cpc_results"), time.Hour, 1, average},
	{"temperature", "device: temperature of a machine, 2014", "°F", tsdb.Eq("device", "machine_temperature_part"), 5 * time.Minute, 1, average},
}

// A plot is a metric over time. Times are in milliseconds since 1970.
type plot struct {
	Title  string   `json:"title"`
	Unit   string   `json:"unit"`
	First  int64    `json:"first"` // all there is
	Last   int64    `json:"last"`
	From   int64    `json:"from"` // what is shown
	To     int64    `json:"to"`
	Step   int64    `json:"step"`
	Series []line   `json:"series"`
	Took   float64  `json:"took"`  // ms
	Found  int      `json:"found"` // series in the database
	Labels []string `json:"labels"`
}

type line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
	weight float64
}

const (
	mostLines  = 4   // more cannot be told apart
	mostPoints = 240 // on the chart
)

var errNoMetric = errors.New("there is no such metric")

// query answers GET /query?metric=…&filter=…&by=…&from=…&to=….
func (v *dashboard) query(r *http.Request) (p plot, err error) {
	start := time.Now()
	ask := r.URL.Query()
	i := slices.IndexFunc(charted, func(m metric) bool { return m.name == ask.Get("metric") })
	if i < 0 {
		return p, errNoMetric
	}
	m := charted[i]
	filter, err := parseFilter(ask.Get("filter"))
	if err != nil {
		return p, err
	}
	matchers := append(filter, m.of)
	p.Title, p.Unit, p.Series, p.Labels = m.title, m.unit, []line{}, []string{}
	first, last, err := v.extent(r.Context(), m)
	if err != nil || first > last { // nothing yet
		return p, err
	}
	p.First, p.Last = first, last
	base := m.base.Milliseconds()
	p.From, p.To = p.First, p.Last+base
	if m.how != average && p.Last > p.First {
		p.To -= base // some partitions may not have fired the newest minute yet
	}
	if p.From, p.To, err = parseRange(ask.Get("from"), ask.Get("to"), p.From, p.To); err != nil {
		return p, err
	}
	// Steps are multiples of the samples' own, and few enough to be seen.
	p.Step = base * max(1, (p.To-p.From+base*mostPoints-1)/(base*mostPoints))
	groups := map[string]map[int64]*tsdb.Bucket{}
	labels := map[string]bool{}
	aligned := tsdb.Range{From: p.From / p.Step * p.Step, To: p.To}
	for s, err := range v.db.Aggregate(r.Context(), aligned, time.Duration(p.Step)*time.Millisecond, matchers...) {
		if err != nil {
			return p, err
		}
		if s.Err != nil {
			return p, s.Err
		}
		p.Found++
		for _, l := range s.Labels() {
			labels[l.Name] = true
		}
		name := m.title
		if by := ask.Get("by"); by != "" {
			name = cmp.Or(s.Label(by), "none")
		}
		if groups[name] == nil {
			groups[name] = map[int64]*tsdb.Bucket{}
		}
		for _, b := range s.Buckets {
			sum := groups[name][b.T]
			if sum == nil {
				groups[name][b.T] = &b
				continue
			}
			sum.Count, sum.Sum, sum.Max = sum.Count+b.Count, sum.Sum+b.Sum, max(sum.Max, b.Max)
		}
	}
	for l := range labels {
		if l != "name" && l != "partition" {
			p.Labels = append(p.Labels, l)
		}
	}
	slices.Sort(p.Labels)
	for name, buckets := range groups {
		p.Series = append(p.Series, m.line(name, buckets, aligned, p.Step))
	}
	slices.SortFunc(p.Series, func(a, b line) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), strings.Compare(a.Name, b.Name))
	})
	p.Series = p.Series[:min(len(p.Series), mostLines)]
	p.Took = float64(time.Since(start).Microseconds()) / 1000
	return p, nil
}

// line makes a line of buckets. Where nothing was counted a count is 0, and an
// average is unknown.
func (m *metric) line(name string, buckets map[int64]*tsdb.Bucket, r tsdb.Range, step int64) line {
	l := line{Name: name, Points: [][2]float64{}}
	for t := r.From; t < r.To; t += step {
		b := buckets[t]
		if b == nil && m.how != perMinute {
			continue
		}
		value := 0.0
		switch {
		case b == nil:
		case m.how == perMinute:
			value = b.Sum * float64(time.Minute.Milliseconds()) / float64(step)
		case m.how == highest:
			value = b.Max
		default:
			value = b.Mean()
		}
		value *= m.scale
		l.weight += value
		l.Points = append(l.Points, [2]float64{float64(t), value})
	}
	return l
}

// extent is the first and the last time of a metric, whatever its other labels.
func (v *dashboard) extent(ctx context.Context, m metric) (first, last int64, err error) {
	first, last = math.MaxInt64, math.MinInt64
	for s, err := range v.db.Aggregate(ctx, tsdb.All, m.base, m.of) {
		if err != nil {
			return 0, 0, err
		}
		if n := len(s.Buckets); n > 0 {
			first, last = min(first, s.Buckets[0].T), max(last, s.Buckets[n-1].T)
		}
	}
	return first, last, nil
}

func parseRange(from, to string, first, last int64) (int64, int64, error) {
	for _, x := range []struct {
		text string
		at   *int64
	}{{from, &first}, {to, &last}} {
		if x.text == "" {
			continue
		}
		t, err := strconv.ParseInt(x.text, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%q is no time", x.text)
		}
		*x.at = t
	}
	if from == "" && to == "" {
		return first, last, nil
	}
	if last-first < 1000 || last-first > 20*365*24*time.Hour.Milliseconds() || first < 0 {
		return 0, 0, errors.New("the range must be between a second and twenty years long")
	}
	return first, last, nil
}

var (
	filterTerm = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)(=~|!~|!=|=)(?:"([^"]*)"|([^",\s]*))[,\s]*`)
	errFilter  = errors.New(`a filter looks like: country=de plan!=free country=~"de|fr"`)
)

// parseFilter reads conditions on labels.
func parseFilter(text string) (out []tsdb.Matcher, err error) {
	for text = strings.TrimSpace(text); text != ""; {
		t := filterTerm.FindStringSubmatch(text)
		if t == nil {
			return nil, errFilter
		}
		name, value := t[1], t[3]+t[4]
		switch t[2] {
		case "=":
			out = append(out, tsdb.Eq(name, value))
		case "!=":
			out = append(out, tsdb.Ne(name, value))
		case "=~":
			out = append(out, tsdb.Re(name, value))
		case "!~":
			out = append(out, tsdb.NotRe(name, value))
		}
		text = text[len(t[0]):]
	}
	return out, nil
}

// found are lines of text, the newest first.
type found struct {
	Total int       `json:"total"`
	Lines []logLine `json:"lines"`
	Took  float64   `json:"took"` // ms
}

type logLine struct {
	T     int64  `json:"t"`
	Host  string `json:"host"`
	Class string `json:"class"`
	Text  string `json:"text"`
}

const mostFound = 100

// find answers GET /lines?q=…&regexp=on&class=…&from=…&to=….
func (v *dashboard) find(r *http.Request) (f found, err error) {
	start := time.Now()
	ask := r.URL.Query()
	f.Lines = []logLine{}
	from, to, err := parseRange(ask.Get("from"), ask.Get("to"), tsdb.All.From, tsdb.All.To)
	if err != nil {
		return f, err
	}
	var filter tsdb.TextFilter = tsdb.Contains(ask.Get("q"))
	if ask.Get("regexp") != "" {
		if filter, err = regexp.Compile(ask.Get("q")); err != nil {
			return f, err
		}
	}
	matchers := []tsdb.Matcher{tsdb.Eq("name", "access")}
	if class := ask.Get("class"); class != "" {
		matchers = append(matchers, tsdb.Eq("class", class))
	}
	for e, err := range v.db.Logs(r.Context(), tsdb.Range{From: from, To: to}, filter, matchers...) {
		if err != nil {
			return f, err
		}
		f.Total++
		class := ""
		for _, l := range e.Labels() {
			if l.Name == "class" {
				class = l.Value
			}
		}
		f.Lines = append(f.Lines, logLine{e.T, e.Source, class, e.Text})
		if len(f.Lines) >= 20*mostFound { // sources come one after the other: keep the newest
			f.newest()
		}
	}
	f.newest()
	f.Took = float64(time.Since(start).Microseconds()) / 1000
	return f, nil
}

// newest keeps the newest lines.
func (f *found) newest() {
	slices.SortStableFunc(f.Lines, func(a, b logLine) int {
		return cmp.Or(cmp.Compare(b.T, a.T), strings.Compare(a.Host, b.Host))
	})
	f.Lines = f.Lines[:min(len(f.Lines), mostFound)]
}
