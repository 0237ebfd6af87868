package geohash

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// brute is the obvious index.
type brute map[int]Point

func (b brute) nearest(lat, lon float64, k int, within float64, filter func(int) bool) (d []float64) {
	for key, p := range b {
		m := Distance(lat, lon, p.Lat, p.Lon)
		if (within == 0 || m <= within) && (filter == nil || filter(key)) {
			d = append(d, m)
		}
	}
	slices.Sort(d)
	return d[:min(k, len(d))]
}

// place returns a point in one of the places that matter, by kind.
func somewhere(r *rand.Rand, kind int) (lat, lon float64) {
	switch kind {
	case 0:
		return randomPoint(r)
	case 1: // a city
		return 55.75 + r.NormFloat64()*0.1, 37.6 + r.NormFloat64()*0.1
	case 2: // both sides of the antimeridian
		return -17 + r.NormFloat64(), Wrap(180 + r.NormFloat64())
	case 3: // the pole
		return 90 - math.Abs(r.NormFloat64()), r.Float64()*360 - 180
	case 4: // the other one, very close
		return math.Nextafter(-90, 0) + math.Abs(r.NormFloat64())*1e-6, r.Float64()*360 - 180
	case 5: // a few places, over and over
		return float64(r.IntN(3)), float64(r.IntN(3)) * 1e-7
	default: // within centimetres
		return 10 + r.Float64()*1e-6, 20 + r.Float64()*1e-6
	}
}

const kinds = 7

// TestIndexAgainstBrute puts, moves and deletes at random, and compares all searches
// with going through all points.
func TestIndexAgainstBrute(t *testing.T) {
	steps := 2000
	if os.Getenv("ASHLAR_FULL") != "" {
		steps = 200000
	}
	for kind := range kinds + 1 {
		r := rand.New(rand.NewPCG(uint64(kind), 2))
		at := func() (float64, float64) {
			if kind == kinds { // all of them
				return somewhere(r, r.IntN(kinds))
			}
			return somewhere(r, kind)
		}
		ix := NewIndex[int](nil)
		b := brute{}
		keys := 1500
		for step := range steps {
			key := r.IntN(keys)
			if step > steps*2/3 { // mostly deletes: leaves merge
				if r.IntN(3) > 0 {
					_, has := b[key]
					if got := ix.Delete(key); got != has {
						t.Fatalf("Delete(%d) = %v, want %v", key, got, has)
					}
					delete(b, key)
				}
			} else {
				lat, lon := at()
				if err := ix.Put(key, lat, lon); err != nil {
					t.Fatal(err)
				}
				b[key] = Point{lat, lon}
			}
			if step%8 == 0 {
				lat, lon := at()
				checkSearches(t, r, ix, b, lat, lon)
			}
			if step%500 == 0 {
				checkWhole(t, ix, b)
			}
		}
		for key := range keys {
			ix.Delete(key)
		}
		checkWhole(t, ix, brute{})
	}
}

func checkSearches(t *testing.T, r *rand.Rand, ix *Index[int], b brute, lat, lon float64) {
	t.Helper()
	k := []int{1, 1 + r.IntN(20), len(b) + 3}[r.IntN(3)]
	q := &Query[int]{}
	if r.IntN(2) == 0 {
		q.Within = math.Exp(r.Float64() * 17)
	}
	if r.IntN(2) == 0 {
		n := 1 + r.IntN(10)
		q.Filter = func(key int) bool { return key%n == 0 }
	}
	got, err := ix.Nearest(nil, lat, lon, k, q)
	if err != nil {
		t.Fatal(err)
	}
	want := b.nearest(lat, lon, k, q.Within, q.Filter)
	if len(got) != len(want) {
		t.Fatalf("Nearest(%v, %v, %d, %v): %d points, want %d", lat, lon, k, q.Within, len(got), len(want))
	}
	seen := map[int]bool{}
	for i, f := range got {
		if f.Distance != want[i] || seen[f.Key] || b[f.Key] != f.Point || q.Filter != nil && !q.Filter(f.Key) {
			t.Fatalf("Nearest(%v, %v, %d): number %d is %v, want at %v m", lat, lon, k, i, f, want[i])
		}
		seen[f.Key] = true
	}
	radius := math.Exp(r.Float64() * 17)
	in, err := ix.Radius(nil, lat, lon, radius, q.Filter)
	if err != nil {
		t.Fatal(err)
	}
	var d []float64
	for _, f := range in {
		if b[f.Key] != f.Point {
			t.Fatalf("Radius found %v, which is at %v", f, b[f.Key])
		}
		d = append(d, f.Distance)
	}
	slices.Sort(d)
	if want := b.nearest(lat, lon, len(b), radius, q.Filter); !slices.Equal(d, want) {
		t.Fatalf("Radius(%v, %v, %v): %d points, want %d", lat, lon, radius, len(d), len(want))
	}
	lat2, lon2 := randomPoint(r)
	if r.IntN(2) == 0 {
		lat2, lon2 = max(-90, min(90, lat+r.NormFloat64()*0.1)), Wrap(lon+r.NormFloat64()*0.1)
	}
	box := Box{min(lat, lat2), lon, max(lat, lat2), lon2}
	found, err := ix.Box(nil, box, q.Filter)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for key, p := range b {
		if box.Contains(p.Lat, p.Lon) && (q.Filter == nil || q.Filter(key)) {
			n++
		}
	}
	for _, f := range found {
		if b[f.Key] != f.Point || !box.Contains(f.Lat, f.Lon) {
			t.Fatalf("Box(%+v) found %v", box, f)
		}
	}
	if len(found) != n {
		t.Fatalf("Box(%+v): %d points, want %d", box, len(found), n)
	}
}

func checkWhole(t *testing.T, ix *Index[int], b brute) {
	t.Helper()
	n := 0
	for key, p := range ix.All() {
		if b[key] != p {
			t.Fatalf("%d is at %v, want %v", key, p, b[key])
		}
		if got, ok := ix.Get(key); !ok || got != p {
			t.Fatalf("Get(%d) = %v, %v", key, got, ok)
		}
		n++
	}
	sum, last := 0, Cell(0)
	for c, n := range ix.Cells() {
		if last != 0 && last >= c || n == 0 {
			t.Fatalf("cell %v of %d after %v", c, n, last)
		}
		last = c
		sum += n
	}
	if n != len(b) || sum != len(b) || ix.Len() != len(b) {
		t.Fatalf("All has %d, Cells %d, Len %d: want %d", n, sum, ix.Len(), len(b))
	}
}

func TestCellsAdapt(t *testing.T) {
	ix := NewIndex[int](nil)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 20000 {
		if err := ix.Put(i, 40.7+r.NormFloat64()*0.01, -74+r.NormFloat64()*0.01); err != nil {
			t.Fatal(err)
		}
	}
	if err := ix.Put(-1, -40, 100); err != nil {
		t.Fatal(err)
	}
	fine, coarse, most := 0, 64, 0
	for c, n := range ix.Cells() {
		fine, coarse, most = max(fine, c.Bits()), min(coarse, c.Bits()), max(most, n)
	}
	if fine < 28 || coarse > 4 || most > splitAbove {
		t.Errorf("cells of %d to %d bits, with up to %d points", coarse, fine, most)
	}
	for i := range 20000 {
		ix.Delete(i)
	}
	n := 0
	for range ix.Cells() {
		n++
	}
	if n != 1 {
		t.Errorf("%d cells hold one point", n)
	}
}

// TestEqualPoints: what cannot be told apart is searched one by one, and all is found.
func TestEqualPoints(t *testing.T) {
	ix := NewIndex[int](nil)
	n := 200000
	for i := range n {
		if err := ix.Put(i, 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ix.Nearest(nil, 1, 2.001, n+1, nil)
	if err != nil || len(got) != n {
		t.Fatalf("%d points, %v", len(got), err)
	}
	for i := range 1000 {
		ix.Delete(i * 200)
		if err := ix.Put(i*200+1, 1, 2.5); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ = ix.Radius(nil, 1, 2, 1, nil); len(got) != n-2000 {
		t.Fatalf("%d points left, want %d", len(got), n-2000)
	}
}

func TestIndexInvalid(t *testing.T) {
	ix := NewIndex[float64](nil)
	if err := ix.Put(1, 10, 20); err != nil {
		t.Fatal(err)
	}
	have := []Found[float64]{{Key: 5}}
	nan := math.NaN()
	for name, err := range map[string]error{
		"Put":      ix.Put(1, 91, 0),
		"Put NaN":  ix.Put(1, 0, nan),
		"NaN key":  ix.Put(nan, 1, 1),
		"nearest":  second(ix.Nearest(have, 0, 181, 1, nil)),
		"k":        second(ix.Nearest(have, 0, 0, -1, nil)),
		"within":   second(ix.Nearest(have, 0, 0, 1, &Query[float64]{Within: -1})),
		"within 2": second(ix.Nearest(have, 0, 0, 1, &Query[float64]{Within: nan})),
		"radius":   second(ix.Radius(have, 0, 0, -1, nil)),
		"radius 2": second(ix.Radius(have, nan, 0, 1, nil)),
		"box":      second(ix.Box(have, Box{2, 0, 1, 0}, nil)),
		"box 2":    second(ix.Box(have, Box{0, 0, 1, 200}, nil)),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, ok := ix.Get(1); !ok || p != (Point{10, 20}) || ix.Len() != 1 {
		t.Errorf("a refused Put has changed the point to %v", p)
	}
	if got, err := ix.Nearest(have, 0, 0, 0, nil); err != nil || len(got) != 1 {
		t.Errorf("none of the nearest: %v, %v", got, err)
	}
	if got, err := ix.Nearest(have, 0, 0, 10, &Query[float64]{Filter: func(float64) bool { return false }}); err != nil || len(got) != 1 {
		t.Errorf("a filter that refuses all: %v, %v", got, err)
	}
	if got, err := ix.Nearest(have, 10, 20, 10, nil); err != nil || len(got) != 2 || got[0] != have[0] || got[1].Key != 1 || got[1].Distance != 0 {
		t.Errorf("appended to what there was: %v, %v", got, err)
	}
	if _, ok := ix.Get(2); ok || ix.Delete(2) || ix.Delete(nan) {
		t.Error("an unknown key is there")
	}
	if got, err := NewIndex[string](nil).Nearest(nil, 1, 2, 3, nil); err != nil || len(got) != 0 {
		t.Errorf("in an empty index: %v, %v", got, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestTTL(t *testing.T) {
	now := time.Unix(1000, 0)
	ix := NewIndex[int](&IndexOptions{TTL: 10 * time.Second, Now: func() time.Time { return now }})
	put := func(key int) {
		if err := ix.Put(key, 1, float64(key)/100); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		t.Helper()
		near, err := ix.Nearest(nil, 0, 0, 100, nil)
		if err != nil {
			t.Fatal(err)
		}
		in, _ := ix.Radius(nil, 0, 0, math.Inf(1), nil)
		box, _ := ix.Box(nil, Box{-90, -180, 90, 180}, nil)
		for range ix.All() {
			n++
		}
		if len(near) != n || len(in) != n || len(box) != n {
			t.Fatalf("Nearest %d, Radius %d, Box %d, All %d", len(near), len(in), len(box), n)
		}
		return n
	}
	for key := range 5 {
		put(key)
	}
	now = now.Add(6 * time.Second)
	put(2)
	now = now.Add(4 * time.Second)
	if n := count(); n != 5 {
		t.Errorf("%d points after 10 s", n)
	}
	now = now.Add(25 * time.Millisecond)
	if n := count(); n != 1 || ix.Len() > 5 {
		t.Errorf("%d points after 10.025 s", n)
	}
	if _, ok := ix.Get(1); ok {
		t.Error("Get finds an expired point")
	}
	put(0) // alive again
	if n := ix.Expire(); n > 3 || ix.Len() != 2 || count() != 2 {
		t.Errorf("Expire removed %d, Len %d", n, ix.Len())
	}
	now = now.Add(-time.Hour) // the clock goes back: nothing is lost
	if n := count(); n != 2 {
		t.Errorf("%d points an hour before", n)
	}
	now = now.Add(24 * time.Hour)
	for key := range 1000 { // puts clear away by and by
		put(100 + key)
	}
	if ix.Len() != 1000 {
		t.Errorf("Len %d after a day", ix.Len())
	}
	if NewIndex[int](nil).Expire() != 0 {
		t.Error("without TTL something expires")
	}
}

// TestConcurrent: while many points move, split and merge leaves, those that stand
// still are found exactly, and no search finds a key twice or one that never was
// there.
func TestConcurrent(t *testing.T) {
	ix := NewIndex[int](nil)
	still := brute{}
	r := rand.New(rand.NewPCG(1, 9))
	near := func(r *rand.Rand) (float64, float64) { return 10 + r.NormFloat64()*0.01, 20 + r.NormFloat64()*0.01 }
	for i := range 200 {
		lat, lon := near(r)
		still[-1-i] = Point{lat, lon}
		if err := ix.Put(-1-i, lat, lon); err != nil {
			t.Fatal(err)
		}
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for !stop.Load() {
				for i := range 500 { // all of them come, move about, and go
					lat, lon := near(r)
					if err := ix.Put(g*1000+i, lat, lon); err != nil {
						t.Error(err)
					}
				}
				for i := range 500 {
					ix.Delete(g*1000 + i)
				}
			}
		})
	}
	searches := 1500
	for range searches {
		lat, lon := near(r)
		isStill := func(key int) bool { return key < 0 }
		got, err := ix.Nearest(nil, lat, lon, 10, &Query[int]{Filter: isStill})
		if err != nil {
			t.Fatal(err)
		}
		want := still.nearest(lat, lon, 10, 0, nil)
		for i := range want {
			if got[i].Distance != want[i] {
				t.Fatalf("number %d of those that stand still: %v, want %v m", i, got[i], want[i])
			}
		}
		all, _ := ix.Nearest(got[:0], lat, lon, 300, nil)
		unique(t, all)
		in, _ := ix.Radius(nil, lat, lon, 3000, nil)
		unique(t, in)
		n := 0
		for _, f := range in {
			if f.Key < 0 {
				n++
			}
		}
		if want := len(still.nearest(lat, lon, 1000, 3000, nil)); n != want {
			t.Fatalf("%d stand still within 3 km, want %d", n, want)
		}
	}
	stop.Store(true)
	wg.Wait()
	checkWhole(t, ix, still)
}

func unique(t *testing.T, found []Found[int]) {
	t.Helper()
	seen := map[int]bool{}
	for _, f := range found {
		if seen[f.Key] {
			t.Fatalf("key %d twice", f.Key)
		}
		seen[f.Key] = true
	}
}

// Points that hop between places far apart are found once, while many hop at the same
// time; a search of all ends, although the leaves that it has yet to see are replaced.
func TestNeverTwice(t *testing.T) {
	const keys, movers = 200, 8
	rounds, still := 300, 20_000
	if slow { // the race detector
		rounds, still = 60, 5000
	}
	ix := NewIndex[int](nil)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range still {
		if err := ix.Put(keys+i, r.Float64()*100-50, r.Float64()*300-150); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range movers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for i := w; ; i += movers {
				select {
				case <-stop:
					return
				default:
				}
				// All stand in one place, and then each in its own: leaves split and merge.
				lat, lon := 10.0, 20.0
				if i/keys%2 == 0 {
					lat, lon = r.Float64()*100-50, r.Float64()*300-150
				}
				if err := ix.Put(i%keys, lat, lon); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var found []Found[int]
	for round := range rounds {
		var err error
		if round%2 == 0 {
			found, err = ix.Radius(found[:0], 10, 20, 21e6, nil)
		} else {
			found, err = ix.Nearest(found[:0], 10, 20, still+keys, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[int]bool, len(found))
		for _, f := range found {
			if seen[f.Key] {
				t.Fatalf("round %d: %d twice", round, f.Key)
			}
			seen[f.Key] = true
		}
		for k := keys; k < keys+still; k++ {
			if !seen[k] {
				t.Fatalf("round %d: %d, which never moved, is not there", round, k)
			}
		}
	}
	close(stop)
	wg.Wait()
}

// What has expired does not come back when the count of ticks comes round again.
func TestTTLComesRound(t *testing.T) {
	now := time.Unix(1, 0)
	ix := NewIndex[int](&IndexOptions{TTL: time.Second, Now: func() time.Time { return now }})
	put := func(key int) {
		if err := ix.Put(key, 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	round := time.Duration(1<<32) * (time.Second / 1000)
	for key := range 100 { // in all shards
		put(key)
	}
	for _, after := range []time.Duration{2 * time.Second, round / 2, round - time.Second/2, round} {
		now = time.Unix(1, 0).Add(after)
		if _, ok := ix.Get(5); ok {
			t.Errorf("found after %v", after)
		}
		if found, err := ix.Radius(nil, 1, 2, 10, nil); err != nil || len(found) != 0 {
			t.Errorf("%d found after %v, %v", len(found), after, err)
		}
	}
	put(5) // the others must not be found with it
	if found, err := ix.Radius(nil, 1, 2, 10, nil); err != nil || len(found) != 1 || ix.Len() != 1 {
		t.Errorf("%v, %v, %d keys", found, err, ix.Len())
	}
	// One key alone is put for ages: what others left goes meanwhile.
	put(6)
	for at := now; now.Before(at.Add(round)); now = now.Add(round / 1000) {
		put(5)
	}
	if _, ok := ix.Get(6); ok || ix.Len() != 1 {
		t.Errorf("6 is found: %v, %d keys", ok, ix.Len())
	}
}
