package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/tsdb"
)

// NAB's devices: real series with what is wrong in real ones.
//
//go:embed testdata/nab/*.csv
var nab embed.FS

// openSeries opens the database for time series. Its clock is the example's, for
// the samples of 2026, whatever this machine believes.
func openSeries(dir string, o tsdb.Options) (*tsdb.DB, error) {
	if o.Now == nil {
		o.Now = func() time.Time {
			if now := time.Now(); now.After(clock) {
				return now
			}
			return clock
		}
	}
	o.Manual = true
	return tsdb.Open(dir, &o)
}

// An appender collects samples and hands them over in batches.
type appender struct {
	db   *tsdb.DB
	refs map[string]tsdb.Ref
	b    tsdb.Batch
	sum  tsdb.Result
}

func newAppender(db *tsdb.DB) *appender { return &appender{db: db, refs: map[string]tsdb.Ref{}} }

func (a *appender) ref(source string, labels ...string) (tsdb.Ref, error) {
	key := source + "\x00" + strings.Join(labels, "\x00")
	if ref, ok := a.refs[key]; ok {
		return ref, nil
	}
	ref, err := a.db.Series(source, tsdb.Pairs(labels...))
	if err == nil {
		a.refs[key] = ref
	}
	return ref, err
}

func (a *appender) add(ctx context.Context, t time.Time, v float64, source string, labels ...string) error {
	ref, err := a.ref(source, labels...)
	if err != nil {
		return err
	}
	a.b.Refs, a.b.T, a.b.V = append(a.b.Refs, ref), append(a.b.T, t.UnixMilli()), append(a.b.V, v)
	if len(a.b.T) < 10_000 {
		return nil
	}
	return a.flush(ctx)
}

func (a *appender) flush(ctx context.Context) error {
	if len(a.b.T) == 0 {
		return nil
	}
	r, err := a.db.Append(ctx, a.b)
	a.sum.Accepted += r.Accepted
	a.sum.Duplicates += r.Duplicates
	a.b.Refs, a.b.T, a.b.V = a.b.Refs[:0], a.b.T[:0], a.b.V[:0]
	return err
}

// A sample is one value of one window, with the labels it is found by.
type sample struct {
	t      time.Time
	v      float64
	labels []string
}

// samplesOf makes the samples of a window by minute.
func samplesOf(partition int, w *window, f func(sample) error) error {
	country, plan, _ := strings.Cut(w.Key, "/")
	for name, v := range map[string]float64{
		"requests": float64(w.Requests), "errors": float64(w.Errors), "bytes": float64(w.Bytes), "slowest_us": float64(w.Slowest),
	} {
		// Each partition writes its part: nobody waits for another, and who asks
		// adds them up.
		labels := []string{"name", name, "country", country, "plan", plan, "partition", strconv.Itoa(partition)}
		if err := f(sample{w.Start, v, labels}); err != nil {
			return err
		}
	}
	return nil
}

const sourceShop = "shop"

// store writes the windows by minute into the database. A window that has fired
// again takes the place of what it said before, since the last sample of a time
// counts: so it does no harm to write everything twice.
func storeWindows(ctx context.Context, l stream.Log, db *tsdb.DB) (tsdb.Result, error) {
	a := newAppender(db)
	err := everywhere(ctx, l, jobTumbling, func(partition int, r *stream.Record) error {
		var w window
		if err := json.Unmarshal(r.Value, &w); err != nil {
			return err
		}
		return samplesOf(partition, &w, func(s sample) error { return a.add(ctx, s.t, s.v, sourceShop, s.labels...) })
	})
	if err == nil {
		err = a.flush(ctx)
	}
	return a.sum, err
}

// storeLogs writes the lines themselves, the malformed ones too: a source for each
// server, a label for the class of the status.
func storeLogs(ctx context.Context, lines []sent, db *tsdb.DB) (written, bytes int, err error) {
	a := newAppender(db)
	var batch []tsdb.LogLine
	flush := func() error {
		_, err := db.AppendLogs(ctx, batch)
		batch = batch[:0]
		return err
	}
	for _, s := range lines {
		class, t := "malformed", s.arrives
		if e, err := parse(s.text); err == nil {
			class = fmt.Sprintf("%dxx", e.Status/100)
			if e.Time.Sub(t) <= maxAhead { // else its clock is wrong: it stands where it arrived
				t = e.Time
			}
		}
		ref, err := a.ref(s.host, "name", "access", "class", class)
		if err != nil {
			return written, bytes, err
		}
		batch = append(batch, tsdb.LogLine{Ref: ref, T: t.UnixMilli(), Text: s.text})
		written, bytes = written+1, bytes+len(s.text)+1
		if len(batch) == 5000 {
			if err := flush(); err != nil {
				return written, bytes, err
			}
		}
	}
	return written, bytes, flush()
}

// A device is a series of the benchmark: as it was written down, with timestamps
// that repeat and step back.
type device struct {
	name string
	t    []time.Time
	v    []float64
	text int // bytes
}

func loadDevices() ([]device, error) {
	files, err := fs.Glob(nab, "testdata/nab/*.csv")
	if err != nil {
		return nil, err
	}
	var out []device
	for _, file := range files {
		text, err := nab.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := device{name: strings.TrimSuffix(path.Base(file), ".csv"), text: len(text)}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			stamp, value, _ := strings.Cut(lines.Text(), ",")
			if stamp == "timestamp" {
				continue
			}
			t, err := time.Parse(time.DateTime, stamp)
			if err != nil {
				return nil, err
			}
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return nil, err
			}
			d.t, d.v = append(d.t, t), append(d.v, v)
		}
		out = append(out, d)
	}
	return out, nil
}

func storeDevices(ctx context.Context, devices []device, db *tsdb.DB) (tsdb.Result, error) {
	a := newAppender(db)
	for _, d := range devices {
		for i, t := range d.t {
			if err := a.add(ctx, t, d.v[i], "devices", "name", "nab", "device", d.name); err != nil {
				return a.sum, err
			}
		}
	}
	return a.sum, a.flush(ctx)
}

// checkDevices compares every sample with what was written, bit by bit; of a time
// that repeats the last value counts.
func checkDevices(ctx context.Context, devices []device, db *tsdb.DB) (equal int, err error) {
	for _, d := range devices {
		want := map[int64]float64{}
		for i, t := range d.t {
			want[t.UnixMilli()] = d.v[i]
		}
		for s, err := range db.Query(ctx, tsdb.All, tsdb.Eq("device", d.name)) {
			if err != nil {
				return 0, err
			}
			for b, err := range s.Blocks() {
				if err != nil {
					return 0, err
				}
				for i, t := range b.T {
					if v, ok := want[t]; !ok || v != b.V[i] {
						return 0, fmt.Errorf("%s at %d is %v, want %v", d.name, t, b.V[i], v)
					}
					delete(want, t)
					equal++
				}
			}
		}
		if len(want) > 0 {
			return 0, fmt.Errorf("%s: %d samples are missing", d.name, len(want))
		}
	}
	return equal, nil
}

// ownMetrics are what the Go runtime knows about this very program.
var ownMetrics = []string{
	"/memory/classes/heap/objects:bytes", "/memory/classes/total:bytes", "/gc/cycles/total:gc-cycles",
	"/gc/heap/allocs:bytes", "/sched/goroutines:goroutines", "/cpu/classes/total:cpu-seconds",
}

// readOwn returns a sample of each.
func readOwn(t time.Time) (out []sample) {
	samples := make([]metrics.Sample, len(ownMetrics))
	for i, name := range ownMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples)
	for _, s := range samples {
		var v float64
		switch s.Value.Kind() {
		case metrics.KindUint64:
			v = float64(s.Value.Uint64())
		case metrics.KindFloat64:
			v = s.Value.Float64()
		default:
			continue // this version of Go does not have it
		}
		name, unit, _ := strings.Cut(s.Name, ":")
		out = append(out, sample{t, v, []string{"name", "go" + strings.ReplaceAll(name, "/", "_"), "unit", unit}})
	}
	return out
}

// A sampler reads the runtime's numbers over and over.
type sampler struct {
	mu      sync.Mutex
	samples []sample
}

// run samples until ctx ends.
func (s *sampler) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		got := readOwn(time.Now())
		s.mu.Lock()
		s.samples = append(s.samples, got...)
		s.mu.Unlock()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// take returns what there is.
func (s *sampler) take() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.samples
	s.samples = nil
	return got
}

// total adds up all series that the matchers accept, by step.
func total(ctx context.Context, db *tsdb.DB, r tsdb.Range, step time.Duration, ms ...tsdb.Matcher) (map[int64]float64, error) {
	out := map[int64]float64{}
	for s, err := range db.Aggregate(ctx, r, step, ms...) {
		if err != nil {
			return nil, err
		}
		for _, b := range s.Buckets {
			out[b.T] += b.Sum
		}
	}
	return out, nil
}
