package versus_test

import (
	"flag"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
)

// run measures a case with exactly pairs pairs of rounds, whatever the flags.
func run(t *testing.T, pairs string, c versus.Case) testing.BenchmarkResult {
	t.Helper()
	bench := flag.Lookup("test.benchtime")
	old := bench.Value.String()
	if err := bench.Value.Set("1x"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bench.Value.Set(old) })
	t.Setenv("ASHLAR_ROUNDS", pairs)
	return testing.Benchmark(func(b *testing.B) { versus.Run(b, c) })
}

// takes returns a side whose i-th round pretends that an operation took each[i];
// the first one is the warm-up.
func takes(each ...time.Duration) func(*versus.Round) {
	i := 0
	return func(r *versus.Round) {
		r.Took(time.Duration(r.N) * each[min(i, len(each)-1)])
		i++
	}
}

func TestRatioIsTakenInsideEachPair(t *testing.T) {
	// The weather slows both sides tenfold in the middle; the ratio stays 2.
	res := run(t, "5", versus.Case{
		N:      10,
		Ours:   takes(99, 100, 100, 1000, 1000, 100),
		Theirs: takes(99, 200, 200, 2000, 2000, 200),
		Goal:   1.5,
	})
	want := map[string]float64{
		"x-faster": 2, "x-faster-q1": 2, "x-faster-q3": 2, "x-goal": 1.5,
		"ns/op": 100, "peer-ns/op": 200, "spread-%": 900, "peer-spread-%": 900, "pairs": 5,
	}
	for unit, v := range want {
		if got, ok := res.Extra[unit]; !ok || math.Abs(got-v) > 1e-9 {
			t.Errorf("%s = %v, want %v", unit, got, v)
		}
	}
}

func TestMedianAndQuartiles(t *testing.T) {
	res := run(t, "5", versus.Case{
		N:      1,
		Ours:   takes(1, 10, 10, 10, 10, 10),
		Theirs: takes(1, 50, 10, 30, 20, 40),
	})
	for unit, v := range map[string]float64{"x-faster": 3, "x-faster-q1": 2, "x-faster-q3": 4, "ns/op": 10, "peer-ns/op": 30} {
		if got := res.Extra[unit]; got != v {
			t.Errorf("%s = %v, want %v", unit, got, v)
		}
	}
	if _, ok := res.Extra["x-goal"]; ok {
		t.Error("a case without a goal reports one")
	}
}

func TestMetricsSizesAndBeside(t *testing.T) {
	side := func(d time.Duration, bytes int64, recall float64) func(*versus.Round) {
		return func(r *versus.Round) {
			r.Took(d * time.Duration(r.N))
			r.Size(bytes)
			r.Metric(recall, "recall")
		}
	}
	res := run(t, "3", versus.Case{
		N:      4,
		Ours:   side(10, 100, 0.9),
		Theirs: side(30, 250, 0.8),
		Beside: map[string]func(*versus.Round){"floor": takes(7)},
	})
	want := map[string]float64{
		"x-smaller": 2.5, "bytes": 100, "peer-bytes": 250,
		"recall": 0.9, "peer-recall": 0.8, "floor-ns/op": 7, "x-faster": 3, "pairs": 3,
	}
	for unit, v := range want {
		if got := res.Extra[unit]; math.Abs(got-v) > 1e-9 {
			t.Errorf("%s = %v, want %v", unit, got, v)
		}
	}
}

func TestRoundsAlternateAndSwap(t *testing.T) {
	var order []byte
	side := func(who byte) func(*versus.Round) {
		return func(r *versus.Round) { order = append(order, who); r.Took(1) }
	}
	run(t, "4", versus.Case{N: 1, Ours: side('o'), Theirs: side('p')})
	// One warm-up each, then pairs with alternating first.
	if got := string(order); got != "op"+"op"+"po"+"op"+"po" {
		t.Errorf("order of rounds %s", got)
	}
}

func TestCalibrationAimsAtTheRoundTime(t *testing.T) {
	t.Setenv("ASHLAR_ROUND_TIME", "10ms")
	var ours, theirs []int
	run(t, "2", versus.Case{
		Ours:   func(r *versus.Round) { ours = append(ours, r.N); r.Took(time.Duration(r.N) * time.Microsecond) },
		Theirs: func(r *versus.Round) { theirs = append(theirs, r.N); r.Took(time.Second) },
	})
	if n := ours[len(ours)-1]; n < 5_000 || n > 20_000 {
		t.Errorf("a round of 1 µs operations has %d of them, want about 10,000", n)
	}
	if n := slices.Max(theirs); n != 1 {
		t.Errorf("an operation longer than the round is repeated %d times", n)
	}
}

func TestStopAndReset(t *testing.T) {
	// The side stops its own clock at once, so what follows is not timed: the
	// allocations, counted by the same clock, show it without a timer.
	var sink [][]byte
	alloc := func() {
		for range 1000 {
			sink = append(sink, make([]byte, 64))
		}
	}
	res := run(t, "3", versus.Case{
		N: 10, Allocs: true,
		Ours:   func(r *versus.Round) { alloc(); r.Reset(); r.Stop(); alloc(); r.Start() },
		Theirs: func(r *versus.Round) { alloc(); r.Stop(); sink = nil },
	})
	if got := res.Extra["ours-allocs/op"]; got > 20 {
		t.Errorf("ours-allocs/op = %v although the clock stood still", got)
	}
	if got := res.Extra["peer-allocs/op"]; got < 100 {
		t.Errorf("peer-allocs/op = %v, want at least 100", got)
	}
}

func TestQuantile(t *testing.T) {
	v := []float64{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.5: 2.5, 1: 4, 0.25: 1.75} {
		if got := versus.Quantile(v, q); got != want {
			t.Errorf("Quantile(%v, %v) = %v, want %v", v, q, got, want)
		}
	}
	if !slices.Equal(v, []float64{4, 1, 3, 2}) {
		t.Error("Quantile changed its input")
	}
	if got := versus.Quantile([]time.Duration{}, 0.5); got != 0 {
		t.Errorf("Quantile of nothing = %v", got)
	}
	if got := versus.Quantile([]time.Duration{time.Second, 3 * time.Second}, 0.5); got != 2*time.Second {
		t.Errorf("median of 1 s and 3 s = %v", got)
	}
}
