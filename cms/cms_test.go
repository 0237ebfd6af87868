package cms

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"testing"
	"time"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// textbook is the slow, obvious sketch, with its rows as maps.
type textbook struct {
	width, depth int
	rows         []map[uint64]uint64
}

func newTextbook(width, depth int) *textbook {
	b := &textbook{width: width, depth: depth}
	for range depth {
		b.rows = append(b.rows, map[uint64]uint64{})
	}
	return b
}

func (b *textbook) column(h uint64, row int) uint64 {
	hi := h * factors[row] / (1 << 32)
	return hi * uint64(b.width) / (1 << 32)
}

func (b *textbook) count(h uint64) uint64 {
	n := uint64(math.MaxUint32)
	for i := range b.rows {
		n = min(n, b.rows[i][b.column(h, i)])
	}
	return n
}

func (b *textbook) add(h uint64, n uint64) {
	to := min(b.count(h)+n, math.MaxUint32)
	for i := range b.rows {
		c := b.column(h, i)
		b.rows[i][c] = max(b.rows[i][c], to)
	}
}

func TestAgainstTextbook(t *testing.T) {
	rng := newRand(1)
	for range 200 {
		width, depth := 1+rng.IntN(50), 1+rng.IntN(MaxDepth)
		s, err := NewSize(width, depth)
		if err != nil {
			t.Fatal(err)
		}
		if s.Width() != width || s.Depth() != depth {
			t.Fatalf("%d×%d, want %d×%d", s.Depth(), s.Width(), depth, width)
		}
		b, total := newTextbook(width, depth), uint64(0)
		for range 1000 {
			h, n := rng.Uint64(), rng.Uint32N(10)
			if rng.IntN(50) == 0 {
				n = math.MaxUint32 - rng.Uint32N(3) // counters reach their end
			}
			b.add(h, uint64(n))
			total += uint64(n)
			if got := s.AddHash(h, n); got != b.count(h) || s.CountHash(h) != got {
				t.Fatalf("%d×%d: %d and %d, want %d", depth, width, got, s.CountHash(h), b.count(h))
			}
		}
		for range 100 {
			h := rng.Uint64()
			if got, want := s.CountHash(h), b.count(h); got != want {
				t.Fatalf("%d×%d: %d, want %d", depth, width, got, want)
			}
		}
		if s.Total() != total {
			t.Fatalf("total %d, want %d", s.Total(), total)
		}
	}
}

// Counts are never too low, and too high by more than ε·Total no more often than δ.
func TestPromise(t *testing.T) {
	const epsilon, delta = 0.001, 0.02
	s, err := New(epsilon, delta)
	if err != nil {
		t.Fatal(err)
	}
	if s.Epsilon() > epsilon || s.Delta() > delta {
		t.Fatalf("promises ε %v and δ %v", s.Epsilon(), s.Delta())
	}
	rng := newRand(2)
	zipf := rand.NewZipf(rng, 1.1, 1, 1<<20)
	exact := map[uint64]uint64{}
	for range 300_000 {
		k := zipf.Uint64()
		exact[k]++
		s.AddHash(mix(k), 1)
	}
	high := 0
	for k, n := range exact {
		lo, hi := s.Bounds(mix(k))
		if hi < n {
			t.Fatalf("%d of %d", hi, n)
		}
		if hi != s.CountHash(mix(k)) {
			t.Fatal("Bounds and Count differ")
		}
		if lo > n {
			high++
		}
	}
	if share := float64(high) / float64(len(exact)); share > delta {
		t.Errorf("%.3f of the counts are off by more than ε, promised %v", share, delta)
	}
}

// Merged counts are upper bounds of both together, whatever the order.
func TestSketchMerge(t *testing.T) {
	rng := newRand(3)
	exact := map[uint64]uint64{}
	parts := make([]*Sketch, 3)
	for i := range parts {
		parts[i], _ = NewSize(200, 4)
		for range 3000 {
			k := uint64(rng.ExpFloat64() * 100)
			parts[i].AddHash(mix(k), 2)
			exact[k] += 2
		}
	}
	merge := func(order ...int) *Sketch {
		s := parts[order[0]].Clone()
		for _, i := range order[1:] {
			if err := s.Merge(parts[i]); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	a, b := merge(0, 1, 2), merge(2, 0, 1)
	for k, n := range exact {
		if a.CountHash(mix(k)) < n || a.CountHash(mix(k)) != b.CountHash(mix(k)) {
			t.Fatalf("%d and %d, at least %d", a.CountHash(mix(k)), b.CountHash(mix(k)), n)
		}
	}
	if a.Total() != 18_000 {
		t.Errorf("total %d", a.Total())
	}
	other, _ := NewSize(100, 8)
	if err := a.Merge(other); !errors.Is(err, ErrIncompatible) {
		t.Errorf("another size: %v", err)
	}
	a.Reset()
	if a.Total() != 0 || a.CountHash(mix(1)) != 0 {
		t.Error("not empty after Reset")
	}
}

// Decayed counts are upper bounds of the sums of weights.
func TestSketchDecay(t *testing.T) {
	rng := newRand(4)
	s, _ := NewSize(300, 4)
	exact := map[uint64]float64{}
	low, asked := 0, 0
	for range 30 {
		for range 500 {
			k := rng.Uint64N(200)
			s.AddHash(mix(k), 3)
			exact[k] += 3
		}
		keep := rng.Float64()
		if err := s.Decay(keep); err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for k := range exact {
			exact[k] *= keep
			total += exact[k]
			if got := s.CountHash(mix(k)); float64(got) < exact[k]-1e-6 {
				t.Fatalf("%d for a weight of %v", got, exact[k])
			}
			if lo, _ := s.Bounds(mix(k)); float64(lo) > exact[k]+1e-6 {
				low++
			}
			asked++
		}
		if float64(s.Total()) < total-1e-6 {
			t.Fatalf("total %d for %v", s.Total(), total)
		}
	}
	if float64(low) > s.Delta()*float64(asked) {
		t.Errorf("%d of %d lower bounds are above the truth", low, asked)
	}
}

func TestScale(t *testing.T) {
	rng := newRand(5)
	for range 20_000 {
		n, keep := rng.Uint64()>>rng.IntN(64), rng.Float64()
		switch rng.IntN(8) {
		case 0:
			n = math.MaxUint64 - rng.Uint64N(3)
		case 1:
			keep = float64(rng.IntN(2))
		}
		up, down := scaleUp(n, keep), scaleDown(n, keep)
		if down > up || up > n {
			t.Fatalf("%d·%v from %d to %d", n, keep, down, up)
		}
		if n < 1<<52 {
			if x := float64(n) * keep; float64(up) < x || float64(down) > x || float64(up-down) > 1 {
				t.Fatalf("%d·%v from %d to %d", n, keep, down, up)
			}
		}
	}
}

func TestArguments(t *testing.T) {
	for _, c := range [][2]float64{{0, 0.1}, {1, 0.1}, {0.1, 0}, {0.1, 1}, {-1, 0.1}, {math.NaN(), 0.1}, {0.1, math.NaN()}, {1e-12, 0.1}, {math.Inf(1), 0.1}, {0.1, 1e-9}} {
		if _, err := New(c[0], c[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("New%v: %v", c, err)
		}
	}
	for _, c := range [][2]int{{0, 1}, {1, 0}, {-1, 4}, {4, -1}, {1, MaxDepth + 1}, {1 << 30, 3}, {math.MaxInt, 16}} {
		if _, err := NewSize(c[0], c[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewSize%v: %v", c, err)
		}
	}
	for _, c := range [][2]int{{0, 8192}, {-1, 8192}, {MaxK + 1, 1 << 30}, {100, 0}, {100, 3200}, {100, -1}, {1, math.MaxInt}, {1, math.MinInt}} {
		if _, err := NewTopK[uint64](c[0], c[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewTopK%v: %v", c, err)
		}
	}
	for _, c := range []int{0, 7, -1, MaxCounters + 1} {
		if _, err := NewHeavy[string](c); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewHeavy(%d): %v", c, err)
		}
	}
	for _, c := range []struct {
		span  time.Duration
		slots int
	}{{0, 1}, {time.Second, 0}, {time.Second, 1001}, {10, 3}, {-10, 2}} {
		if _, err := NewWindow(c.span, c.slots, 8, 2); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewWindow%v: %v", c, err)
		}
	}
	if _, err := NewWindow(time.Minute, 6, 0, 2); !errors.Is(err, ErrInvalid) {
		t.Errorf("NewWindow without counters: %v", err)
	}
	s, _ := NewSize(8, 2)
	top, _ := NewTopK[string](2, 1000)
	heavy, _ := NewHeavy[string](8)
	for _, keep := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		for _, err := range []error{s.Decay(keep), top.Decay(keep), heavy.Decay(keep)} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("Decay(%v): %v", keep, err)
			}
		}
	}
}

// A sliding minute against an exact count at every step: never below the truth of
// the span, and above that of a slot more by no more than the sketch's error.
func TestWindow(t *testing.T) {
	const span, slots, width, depth = time.Minute, 12, 2000, 4
	w, err := NewWindow(span, slots, width, depth)
	if err != nil {
		t.Fatal(err)
	}
	type event struct {
		k uint64
		n uint32
		t time.Time
	}
	var events []event
	rng := newRand(6)
	zipf := rand.NewZipf(rng, 1.2, 1, 5000)
	now := time.Unix(-100, 0) // across 1970
	worst, asked, over := 0.0, 0, 0
	for range 300 {
		now = now.Add(time.Duration(rng.Int64N(int64(3 * time.Second))))
		if rng.IntN(60) == 0 {
			now = now.Add(time.Duration(rng.Int64N(int64(3 * span)))) // silence
		}
		for range 40 {
			at := now
			if rng.IntN(4) == 0 { // late
				at = now.Add(-time.Duration(rng.Int64N(int64(2 * span))))
			}
			e := event{zipf.Uint64(), 1 + rng.Uint32N(3), at}
			taken := w.AddHash(mix(e.k), e.n, e.t)
			if !taken && e.t.After(now.Add(-span)) {
				t.Fatalf("an item of %v is too late at %v", e.t, now)
			}
			if taken {
				events = append(events, e)
			}
		}
		exact, longer, all := map[uint64]uint64{}, map[uint64]uint64{}, uint64(0)
		for _, e := range events {
			if e.t.After(now.Add(-span - span/slots)) {
				longer[e.k] += uint64(e.n)
				all += uint64(e.n)
				if e.t.After(now.Add(-span)) {
					exact[e.k] += uint64(e.n)
				}
			}
		}
		for k := range longer {
			got := w.CountHash(mix(k), now)
			if got < exact[k] {
				t.Fatalf("%d of %d", got, exact[k])
			}
			asked++
			if got > longer[k] {
				if excess := float64(got - longer[k]); excess > math.E/width*float64(all) {
					over++
				} else {
					worst = max(worst, excess)
				}
			}
		}
		if w.Total(now) < all && w.Total(now) != 0 {
			var in uint64
			for _, e := range events {
				if e.t.After(now.Add(-span)) {
					in += uint64(e.n)
				}
			}
			if w.Total(now) < in {
				t.Fatalf("total %d of %d", w.Total(now), in)
			}
		}
	}
	if float64(over) > math.Exp(-depth)*float64(asked) {
		t.Errorf("%d of %d counts are off by more than promised", over, asked)
	}
	if w.AddString("x", 1, now.Add(-3*span)) {
		t.Error("an item of long ago is taken")
	}
	if w.CountString("x", now.Add(time.Hour)) != 0 {
		t.Error("something in a window of the future")
	}
}

// checkTop fails the test when the table is out of joint.
func checkTop[K Key](t testing.TB, top *TopK[K]) {
	t.Helper()
	var known uint64
	for e, key := range top.keys {
		if top.find(key, top.hash(key)) != e {
			t.Fatalf("entry %d is not found", e)
		}
		if int(top.heap[top.pos[e]]) != e {
			t.Fatalf("entry %d is not where its position says", e)
		}
		if p := int(top.pos[e]); p > 0 && top.less(uint16(e), top.heap[(p-1)/2]) {
			t.Fatalf("no heap at %d", p)
		}
		known += top.counts[e] - uint64(top.guess[e])
	}
	if known != top.known {
		t.Fatalf("known %d, want %d", top.known, known)
	}
	if len(top.keys) > top.k || len(top.index) > 0 && len(top.index) < len(top.keys) {
		t.Fatalf("%d entries, %d slots", len(top.keys), len(top.index))
	}
	used := 0
	for _, e := range top.index {
		if e != 0 {
			used++
		}
	}
	if used != len(top.keys) {
		t.Fatalf("%d slots used for %d entries", used, len(top.keys))
	}
	if limit := top.budget; len(top.keys) == top.k && top.SizeBytes() > limit {
		t.Fatalf("%d bytes, limit %d", top.SizeBytes(), limit)
	}
}

func key[K Key](n uint64) (k K) {
	switch p := any(&k).(type) {
	case *string:
		*p = fmt.Sprint("key-", n)
	case *uint64:
		*p = n
	}
	return k
}

// Bounds hold for each row at each moment, through weights, merges and decay.
func testTopBounds[K Key](t *testing.T) {
	rng := newRand(7)
	for run := range 40 {
		k := 1 + rng.IntN(30)
		fresh := func() *TopK[K] {
			top, err := NewTopK[K](k, k*tableBytes[K]()+minCells*cellBytes+rng.IntN(2)*100*(run%2))
			if err != nil {
				t.Fatal(err)
			}
			return top
		}
		tops := [2]*TopK[K]{fresh(), nil}
		tops[1] = tops[0].Clone()
		exact := [2]map[K]float64{{}, {}}
		for step := range 1500 {
			w := rng.IntN(2)
			top := tops[w]
			switch {
			case step%400 == 399:
				if err := top.Merge(tops[1-w]); err != nil {
					t.Fatal(err)
				}
				for key, n := range exact[1-w] {
					exact[w][key] += n
				}
			case step%97 == 96:
				keep := rng.Float64()
				if err := top.Decay(keep); err != nil {
					t.Fatal(err)
				}
				for key := range exact[w] {
					exact[w][key] *= keep
				}
			default:
				key, n := key[K](uint64(rng.ExpFloat64()*float64(10+run*10))), rng.Uint32N(2)
				if rng.IntN(5) == 0 {
					n = rng.Uint32N(1000)
				}
				before := map[K]bool{}
				for _, it := range top.List() {
					before[it.Key] = true
				}
				evicted, ok := top.Add(key, n)
				exact[w][key] += float64(n)
				after := map[K]bool{}
				for _, it := range top.List() {
					after[it.Key] = true
				}
				if ok && (!before[evicted] || after[evicted] || !after[key]) || !ok && len(after) < len(before) {
					t.Fatalf("Add says evicted=%t", ok)
				}
			}
			checkTop(t, top)
			total := 0.0
			for _, n := range exact[w] {
				total += n
			}
			for _, it := range top.List() {
				truth := exact[w][it.Key]
				if float64(it.Lower) > truth+1e-6 || float64(it.Upper) < truth-1e-6 || it.Count < it.Lower || it.Count > it.Upper {
					t.Fatalf("step %d: %+v, truth %v", step, it, truth)
				}
				if top.Count(it.Key) != it.Count {
					t.Fatal("Count and List differ")
				}
			}
		}
		c := tops[0].Clone()
		c.Add(key[K](1), 100)
		c.Reset()
		checkTop(t, c)
		if len(c.List()) != 0 || c.Total() != 0 {
			t.Fatal("not empty after Reset")
		}
		checkTop(t, tops[0])
	}
}

func TestTopBounds(t *testing.T) {
	t.Run("strings", testTopBounds[string])
	t.Run("integers", testTopBounds[uint64])
}

// While there is room, a TopK is exact.
func TestTopExact(t *testing.T) {
	top, err := NewTopK[string](50, 4096)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		for range i + 1 {
			top.Add(fmt.Sprint(i), 2)
		}
	}
	for i, it := range top.List() {
		if want := uint64(2 * (50 - i)); it.Count != want || it.Lower != want || it.Upper != want {
			t.Fatalf("%+v, want %d", it, want)
		}
	}
	if top.Count("nobody") != 0 {
		t.Error("a count of nobody")
	}
}

// zipfStream is the research's stream: exponent 1.1 over a million items.
func zipfStream(n int, add func(k uint64)) map[uint64]uint64 {
	zipf := rand.NewZipf(newRand(8), 1.1, 1, 1<<20)
	exact := map[uint64]uint64{}
	for range n {
		k := mix(zipf.Uint64())
		exact[k]++
		add(k)
	}
	return exact
}

// recall returns how many of the k most frequent are listed, of those whose count
// is not a tie at the end, and the mean relative error of listed counts.
func recall(list []Item[uint64], exact map[uint64]uint64, k int) (found, relative float64) {
	counts := make([]uint64, 0, len(exact))
	for _, n := range exact {
		counts = append(counts, n)
	}
	sort.Slice(counts, func(i, j int) bool { return counts[i] > counts[j] })
	least := counts[k-1]
	for _, it := range list {
		n := exact[it.Key]
		if n >= least {
			found++
		}
		relative += math.Abs(float64(it.Count)-float64(n)) / float64(max(n, 1)) / float64(len(list))
	}
	return found / float64(k), relative
}

// The promise of NewTopK's comment.
func TestTopRecall(t *testing.T) {
	for _, c := range []struct {
		bytes            int
		found, relatives float64
	}{{8 << 10, 0.97, 0.01}, {16 << 10, 1, 0.002}} {
		top, err := NewTopK[uint64](100, c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		exact := zipfStream(3_000_000, func(k uint64) { top.Add(k, 1) })
		found, relative := recall(top.List(), exact, 100)
		t.Logf("%d bytes: recall %.2f, relative error %.5f", top.SizeBytes(), found, relative)
		if found < c.found || relative > c.relatives {
			t.Errorf("%d bytes: recall %.2f, relative error %.5f", c.bytes, found, relative)
		}
		if top.SizeBytes() > c.bytes {
			t.Errorf("%d bytes, promised %d", top.SizeBytes(), c.bytes)
		}
	}
}

// However long the list has been at rest, an item that becomes frequent gets into
// it: before it has come ten times as often as the last of the list did in all.
func TestTopNewcomer(t *testing.T) {
	for _, weight := range []uint32{1, 20} {
		late := 0
		for run := range uint64(20) {
			top, err := NewTopK[uint64](50, 4<<10)
			if err != nil {
				t.Fatal(err)
			}
			zipf := rand.NewZipf(newRand(20+run), 1.1, 1, 1<<20)
			for range 300_000 {
				top.Add(mix(zipf.Uint64()), weight)
			}
			list := top.List()
			last, newcomer := list[len(list)-1].Count, mix(1<<40+run)
			var came uint64
			for ; came < 10*last && top.find(newcomer, top.hash(newcomer)) < 0; came += uint64(weight) {
				top.Add(newcomer, weight)
				top.Add(mix(zipf.Uint64()), weight)
			}
			if came >= 10*last {
				late++
			}
		}
		if late > 2 { // it is a matter of chance
			t.Errorf("weight %d: %d of 20 newcomers are not noticed", weight, late)
		}
	}
}

// An item's weight may come at once or in ones: the filter treats both alike.
func TestTopWeights(t *testing.T) {
	lists := [2][]Item[uint64]{}
	var exact map[uint64]uint64
	for i, unit := range []bool{true, false} {
		top, err := NewTopK[uint64](50, 4<<10)
		if err != nil {
			t.Fatal(err)
		}
		exact = zipfStream(300_000, func(k uint64) {
			if !unit {
				top.Add(k, 8)
				return
			}
			for range 8 {
				top.Add(k, 1)
			}
		})
		for k := range exact {
			exact[k] *= 8
		}
		lists[i] = top.List()
		if found, _ := recall(lists[i], exact, 50); found < 0.9 {
			t.Errorf("ones %t: recall %.2f", unit, found)
		}
	}
	if lists[0][0].Key != lists[1][0].Key {
		t.Error("different heads")
	}
}

func TestTopIncompatible(t *testing.T) {
	a, _ := NewTopK[string](10, 2000)
	b, _ := NewTopK[string](11, 2000)
	c, _ := NewTopK[string](10, 4000)
	if !errors.Is(a.Merge(b), ErrIncompatible) || !errors.Is(a.Merge(c), ErrIncompatible) {
		t.Error("merged")
	}
}

// Heavy's bounds hold for every item, and Error keeps to its bound.
func testHeavy[K Key](t *testing.T) {
	rng := newRand(9)
	for range 60 {
		m := 8 + rng.IntN(60)
		vs, exact := [2]*Heavy[K]{}, [2]map[K]float64{{}, {}}
		decays, least := 0, m
		for i := range vs {
			v, err := NewHeavy[K](m + i*rng.IntN(20))
			if err != nil {
				t.Fatal(err)
			}
			vs[i] = v
		}
		spread := 5 + rng.Float64()*200
		for step := range 3000 {
			w := rng.IntN(2)
			v := vs[w]
			switch {
			case step%900 == 899:
				v.Merge(vs[1-w])
				for key, n := range exact[1-w] {
					exact[w][key] += n
				}
			case step%911 == 910:
				keep := rng.Float64()
				if err := v.Decay(keep); err != nil {
					t.Fatal(err)
				}
				decays++
				for key := range exact[w] {
					exact[w][key] *= keep
				}
			default:
				key, n := key[K](uint64(rng.ExpFloat64()*spread)), rng.Uint32N(3)
				if rng.IntN(20) == 0 {
					n = rng.Uint32N(500)
				}
				v.Add(key, n)
				exact[w][key] += float64(n)
			}
			if step%50 != 0 && step%900 != 899 {
				continue
			}
			if float64(v.Error()) > 2*float64(v.Total())/float64(least)+4*float64(decays) {
				t.Fatalf("error %d with %d counters and total %d", v.Error(), v.Counters(), v.Total())
			}
			listed := map[K]bool{}
			n := 0
			for _, it := range v.List() {
				listed[it.Key] = true
				n++
				if lo, hi := v.Count(it.Key); lo != it.Lower || hi != it.Upper || it.Count != hi {
					t.Fatal("Count and List differ")
				}
			}
			if n > v.Counters() {
				t.Fatalf("%d items in %d counters", n, v.Counters())
			}
			for key, truth := range exact[w] {
				lo, hi := v.Count(key)
				if float64(lo) > truth+1e-6 || float64(hi) < truth-1e-6 {
					t.Fatalf("step %d: from %d to %d, truth %v", step, lo, hi, truth)
				}
				if truth > float64(v.Error()) && !listed[key] {
					t.Fatalf("an item of %v is not listed, error %d", truth, v.Error())
				}
			}
		}
		c := vs[0].Clone()
		c.Add(key[K](3), 9)
		c.Merge(c)
		c.Reset()
		if len(c.List()) != 0 || c.Total() != 0 || c.Error() != 0 {
			t.Fatal("not empty after Reset")
		}
	}
}

func TestHeavy(t *testing.T) {
	t.Run("strings", testHeavy[string])
	t.Run("integers", testHeavy[uint64])
}

func TestNth(t *testing.T) {
	rng := newRand(10)
	for range 2000 {
		s := make([]uint64, 1+rng.IntN(200))
		for i := range s {
			s[i] = rng.Uint64N(1 + rng.Uint64N(100))
		}
		sorted := append([]uint64(nil), s...)
		sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
		n := rng.IntN(len(s))
		if got := nth(s, n); got != sorted[n] {
			t.Fatalf("%d, want %d", got, sorted[n])
		}
	}
}
