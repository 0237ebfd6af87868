package versus

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MinPairs is the number of pairs of rounds below which a result is a trial.
const MinPairs = 7

// A Case is one comparison. Ours and Theirs are required.
type Case struct {
	// Ours and Theirs each do r.N operations on the same input. They are
	// called many times, never at the same time, and must leave no work
	// running that would burden the other side's next round.
	Ours, Theirs func(r *Round)

	// N fixes the number of operations of a round for every side. Zero: each
	// side gets the number with which its round lasts about 100 ms.
	N int

	// Goal is the x-faster that we set out to reach, for the report. Zero: none.
	Goal float64

	// Beside holds further sides that are measured in the same rotation: the
	// floor that the hardware sets, or a variant of ours.
	Beside map[string]func(r *Round)

	// Allocs also reports allocated objects per operation of both sides, as
	// ours-allocs/op and peer-allocs/op.
	Allocs bool
}

// A Round is one timed stretch of one side. The clock runs from the start of
// the function to its end, but for the parts between Stop and Start.
// A Round is not safe for concurrent use.
type Round struct {
	// N is the number of operations to do.
	N int

	took    time.Duration
	allocs  uint64
	since   time.Time
	objects uint64 // objects allocated when the clock started
	running bool
	count   bool
	metrics map[string]float64
}

// Start lets the clock run again after Stop.
func (r *Round) Start() {
	if r.running {
		return
	}
	r.running = true
	if r.count {
		r.objects = allocated()
	}
	r.since = time.Now()
}

// Stop halts the clock, for what prepares or checks.
func (r *Round) Stop() {
	if !r.running {
		return
	}
	r.took += time.Since(r.since)
	if r.count {
		r.allocs += allocated() - r.objects
	}
	r.running = false
}

// Reset forgets the time measured so far in this round.
func (r *Round) Reset() {
	running := r.running
	r.Stop()
	r.took, r.allocs = 0, 0
	if running {
		r.Start()
	}
}

// Took replaces the measured time of this round, for a side that has measured
// it itself.
func (r *Round) Took(d time.Duration) {
	r.Stop()
	r.took = d
}

// Metric records a figure beside the time: a quality, a quantile. The median
// over the rounds is reported as unit for our side and as peer-unit for theirs.
// Unit must hold no space.
func (r *Round) Metric(v float64, unit string) {
	if r.metrics == nil {
		r.metrics = map[string]float64{}
	}
	r.metrics[unit] = v
}

// Size records how many bytes the side needs for the input. If both sides
// record it, x-smaller is reported.
func (r *Round) Size(bytes int64) { r.Metric(float64(bytes), "bytes") }

// Run measures the case and reports it on b. It must be called at most once
// for a b, as the last thing the benchmark does.
func Run(b *testing.B, c Case) {
	b.Helper()
	if c.Ours == nil || c.Theirs == nil {
		b.Fatal("versus: a case needs both sides")
	}
	pairs := envInt(b, "ASHLAR_ROUNDS", MinPairs)
	target := envDuration(b, "ASHLAR_ROUND_TIME", 100*time.Millisecond)

	sides := []*side{{name: "", run: c.Ours}, {name: "peer-", run: c.Theirs}}
	for _, name := range slices.Sorted(maps.Keys(c.Beside)) {
		sides = append(sides, &side{name: name + "-", run: c.Beside[name]})
	}
	for _, s := range sides {
		s.calibrate(c.N, target, c.Allocs)
	}
	done := 0
	for b.Loop() {
		rotate(sides, done, c.Allocs)
		done++
	}
	for ; done < pairs; done++ {
		rotate(sides, done, c.Allocs)
	}
	for unit, v := range summary(sides, c) {
		b.ReportMetric(v, unit)
	}
	b.ReportMetric(float64(done), "pairs")
}

// A side is one of those that take turns.
type side struct {
	name   string // prefix of its metrics
	run    func(*Round)
	n      int
	rounds []*Round
}

// calibrate runs the side at least once, to warm it up and to find its n.
func (s *side) calibrate(n int, target time.Duration, allocs bool) {
	if n > 0 {
		s.n = n
		s.round(allocs)
		return
	}
	for s.n = 1; ; {
		took := s.round(allocs).took
		if took >= target/2 || s.n >= 1<<30 {
			return
		}
		// Aim at the target, but trust a short round only so far.
		next := float64(s.n) * float64(target) / float64(max(took, 1))
		s.n = int(min(max(next, float64(s.n)+1), float64(s.n)*20, 1<<30))
	}
}

// round runs the side once. The collector runs before, so that a side does not
// pay for the garbage of the one before it.
func (s *side) round(allocs bool) *Round {
	runtime.GC()
	r := &Round{N: s.n, count: allocs}
	r.Start()
	s.run(r)
	r.Stop()
	return r
}

// rotate gives each side one round. Who is first changes from turn to turn, so
// that no side always follows the same other one.
func rotate(sides []*side, turn int, allocs bool) {
	order := slices.Clone(sides)
	if turn%2 == 1 {
		slices.Reverse(order)
	}
	for _, s := range order {
		s.rounds = append(s.rounds, s.round(allocs))
	}
}

// summary turns the rounds into metrics, by unit.
func summary(sides []*side, c Case) map[string]float64 {
	out := map[string]float64{}
	for _, s := range sides {
		ns := s.each(func(r *Round) float64 { return float64(r.took) / float64(r.N) })
		med := Quantile(ns, 0.5)
		out[s.name+"ns/op"] = med
		if med > 0 {
			out[s.name+"spread-%"] = 100 * (Quantile(ns, 0.75) - Quantile(ns, 0.25)) / med
		}
		for unit := range s.rounds[0].metrics {
			out[s.name+unit] = Quantile(s.each(func(r *Round) float64 { return r.metrics[unit] }), 0.5)
		}
	}
	ours, peer := sides[0], sides[1]
	ratios := make([]float64, len(ours.rounds))
	for i, r := range ours.rounds {
		p := peer.rounds[i]
		ratios[i] = float64(p.took) / float64(p.N) / (float64(max(r.took, 1)) / float64(r.N))
	}
	out["x-faster"] = Quantile(ratios, 0.5)
	out["x-faster-q1"] = Quantile(ratios, 0.25)
	out["x-faster-q3"] = Quantile(ratios, 0.75)
	if a, b := out["bytes"], out["peer-bytes"]; a > 0 && b > 0 {
		out["x-smaller"] = b / a
	}
	if c.Goal > 0 {
		out["x-goal"] = c.Goal
	}
	if c.Allocs {
		perOp := func(r *Round) float64 { return float64(r.allocs) / float64(r.N) }
		out["ours-allocs/op"] = Quantile(ours.each(perOp), 0.5)
		out["peer-allocs/op"] = Quantile(peer.each(perOp), 0.5)
	}
	return out
}

// each returns f of each round.
func (s *side) each(f func(*Round) float64) []float64 {
	out := make([]float64, len(s.rounds))
	for i, r := range s.rounds {
		out[i] = f(r)
	}
	return out
}

// Quantile returns the q-quantile of values, 0 ≤ q ≤ 1, linearly interpolated
// between neighbours; 0 if there are none. It does not change values.
func Quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := min(int(at), len(v)-1)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + T((at-float64(i))*float64(v[i+1]-v[i]))
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func envInt(b *testing.B, name string, otherwise int) int {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 1 {
		b.Fatal(fmt.Errorf("versus: %s=%q is not a positive number", name, s))
	}
	return n
}

func envDuration(b *testing.B, name string, otherwise time.Duration) time.Duration {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil || d <= 0 {
		b.Fatal(fmt.Errorf("versus: %s=%q is not a positive duration", name, s))
	}
	return d
}
