package main

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/examples/internal/golden"
	"github.com/ashlar-go/ashlar/stream"
)

// TestRun runs the whole example, whose claims are its own assertions, and checks that
// README.md shows this output, but for times.
func TestRun(t *testing.T) {
	n := usual
	if slow {
		n = 20_000
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, n, ""); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if slow {
		return // README.md has the output for more reviews
	}
	golden.Check(t, out.String(), mask)
}

// varying are times.
var varying = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^(  (?:read all|index on|one cell|nine cells|cover of|geohash.Index).*\S) +[\d.]+$`),
	regexp.MustCompile(`(rows,) +[\d.]+ (µs)`),
	regexp.MustCompile(`(after) [\d.]+ (ms \(median\)),() [\d.]+ (ms)`),
}

var spaces = regexp.MustCompile(` +`)

func mask(out string) string {
	for _, r := range varying {
		out = r.ReplaceAllString(out, "$1 # $2 # $4")
	}
	return spaces.ReplaceAllString(out, " ")
}

func TestMask(t *testing.T) {
	a := "  nine cells                    572           18 %               0      97.7\n  x 19.4 rows,   52.0 µs, and\nrating after 0.04 ms (median), 2.72 ms (99 of 100)\n"
	b := "  nine cells                    572           18 %               0     101.9\n  x 19.4 rows,    9.1 µs, and\nrating after 1.00 ms (median), 12.00 ms (99 of 100)\n"
	if mask(a) != mask(b) {
		t.Errorf("%q and %q", mask(a), mask(b))
	}
	if c := strings.Replace(a, "572", "573", 1); mask(a) == mask(c) {
		t.Error("rows are masked")
	}
}

func TestGenerate(t *testing.T) {
	city := generateCity(3000)
	if !reflect.DeepEqual(city, generateCity(3000)) {
		t.Fatal("two cities differ")
	}
	a, b := generateReviews(city, 20_000, 0), generateReviews(city, 20_000, 1)
	if len(a) != 20_000 || reflect.DeepEqual(a, b) {
		t.Fatalf("%d reviews, the second week is the same: %v", len(a), reflect.DeepEqual(a, b))
	}
	if !slices.IsSortedFunc(a, func(x, y review) int { return int(x.At - y.At) }) || a[len(a)-1].At >= week {
		t.Error("not in the order of their time")
	}
	for _, v := range a {
		if v.Stars < 0 || v.Stars > 5 || int(v.Business) >= len(city) {
			t.Fatalf("%+v", v)
		}
	}
}

// The ways but that of one cell find the same, wherever somebody stands.
func TestNear(t *testing.T) {
	city := generateCity(2000)
	cells, lats := newTable(city, byCell), newTable(city, byLat)
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		s := spot{centreLat + r.NormFloat64()*0.05, centreLon + r.NormFloat64()*0.05, r.Float64() * 550}
		want := everything(cells, s)
		for name, got := range map[string][]businessID{"latitude": latitude(lats, s), "nine": ninePrefixes(cells, s), "cover": covered(cells, s)} {
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %v, want %v", name, got, want)
			}
		}
	}
}

// A ledger is what reading all reviews again gives.
func TestLedger(t *testing.T) {
	city := generateCity(200)
	l, last := newLedger(), map[[2]int32]int{}
	for _, v := range generateReviews(city, 5000, 3) {
		last[[2]int32{v.User, int32(v.Business)}] = v.Stars
		got, want := l.add(v), rating{}
		for key, stars := range last {
			if key[1] == int32(v.Business) && stars > 0 {
				want.Sum += stars
				want.Count++
			}
		}
		if got != want {
			t.Fatalf("%+v: %+v, want %+v", v, got, want)
		}
	}
}

// Whenever aggregators are lost, and the log is closed and opened again, each review
// counts once.
func TestAggregatorsLost(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	city := generateCity(300)
	truth := newLedger()
	r := rand.New(rand.NewPCG(7, 7))
	reviews := generateReviews(city, 3000, 0)
	for len(reviews) > 0 {
		log, err := stream.OpenLocal(dir, &stream.Options{Sync: stream.SyncNone})
		if err != nil {
			t.Fatal(err)
		}
		if err := createTopics(ctx, log); err != nil {
			t.Fatal(err)
		}
		e, err := openExact(ctx, log)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			n := min(len(reviews), 1+r.IntN(200))
			if n == 0 {
				break
			}
			if err := write(ctx, log, reviews[:n]); err != nil {
				t.Fatal(err)
			}
			for _, v := range reviews[:n] {
				truth.add(v)
			}
			reviews = reviews[n:]
			if err := e.catchUp(ctx, r.IntN(2) == 0); err != nil {
				t.Fatal(err)
			}
			for id, want := range truth.ratings {
				if got := e.rating(id); got != want {
					t.Fatalf("business %d: %+v, want %+v", id, got, want)
				}
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBatchRefuses(t *testing.T) {
	store := blob.NewMem()
	if _, err := blob.PutBytes(t.Context(), store, "reviews/day=0/hour=00.jsonl", []byte("{\"user\":")); err != nil {
		t.Fatal(err)
	}
	a := archive{store}
	if _, _, err := a.batch(t.Context()); err == nil || !strings.Contains(err.Error(), "hour=00") {
		t.Errorf("a broken file: %v", err)
	}
	if num(-1234567) != "-1,234,567" || num(999) != "999" {
		t.Error("num")
	}
}

func TestDrawDrift(t *testing.T) {
	hours := make([]hour, 48)
	for i := range hours {
		hours[i].number = i
		hours[i].drift[wayNaive].mean = float64(i) / 100
	}
	svg := drawDrift(hours)
	if !strings.HasPrefix(svg, "<svg") || strings.Contains(svg, "NaN") || strings.Count(svg, "<path class=\"line w") != 2*int(ways) {
		t.Error(svg)
	}
}
