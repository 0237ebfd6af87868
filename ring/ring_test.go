package ring

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"
)

func newRing(t testing.TB, points int, nodes ...string) *Ring {
	t.Helper()
	r, err := New(&Options{Points: points})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if err := r.Add(n, 1); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// slow is the circle as its definition says: all points, one after the other.
type slow map[string]int // weights

func (s slow) owners(perUnit int, h uint64) (order []string) {
	type placed struct {
		ahead uint64 // from h to the point, clockwise
		name  string
	}
	var ps []placed
	for name, w := range s {
		for i := range w * perUnit {
			ps = append(ps, placed{point(xxhash.Sum64String(name), i) - h, name})
		}
	}
	slices.SortFunc(ps, func(a, b placed) int {
		if a.ahead != b.ahead {
			if a.ahead < b.ahead {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	for _, p := range ps {
		if !slices.Contains(order, p.name) {
			order = append(order, p.name)
		}
	}
	return order
}

// TestModel adds and removes nodes at random and compares every answer with the
// definition.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		points := 1 + rng.IntN(8)
		r, model := newRing(t, points), slow{}
		if _, ok := r.Owner("k"); ok || r.Owners("k", 3) != nil {
			t.Fatal("an empty ring has an owner")
		}
		for step := range 60 {
			name := fmt.Sprint("node", rng.IntN(25))
			if rng.IntN(3) == 0 {
				_, want := model[name]
				if got := r.Remove(name); got != want {
					t.Fatalf("seed %d, step %d: Remove = %v, want %v", seed, step, got, want)
				}
				delete(model, name)
			} else {
				w := 1 + rng.IntN(4)
				if err := r.Add(name, w); err != nil {
					t.Fatal(err)
				}
				model[name] = w
			}
			if got := maps.Collect(r.All()); !maps.Equal(got, model) || r.Len() != len(model) {
				t.Fatalf("seed %d, step %d: nodes %v, want %v", seed, step, got, model)
			}
			for range 10 {
				key := fmt.Sprint(rng.Uint64())
				want := model.owners(points, HashKey(key))
				n := rng.IntN(len(model) + 2)
				if got := r.Owners(key, n); !slices.Equal(got, want[:min(n, len(want))]) {
					t.Fatalf("seed %d, step %d: Owners(%q, %d) = %v, want %v", seed, step, key, n, got, want)
				}
				if got, ok := r.Owner(key); ok != (len(want) > 0) || ok && got != want[0] {
					t.Fatalf("seed %d, step %d: Owner(%q) = %q, %v, want %v", seed, step, key, got, ok, want)
				}
			}
		}
	}
}

// FuzzOwner asks for positions, those of points and their neighbours included.
func FuzzOwner(f *testing.F) {
	r := newRing(f, 3, "a", "b", "c", "d")
	model := slow{"a": 1, "b": 1, "c": 1, "d": 1}
	for _, at := range r.state.Load().at {
		f.Add(at)
		f.Add(at + 1)
		f.Add(at - 1)
	}
	f.Add(uint64(0))
	f.Add(uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, h uint64) {
		if got, _ := r.OwnerHash(h); got != model.owners(3, h)[0] {
			t.Fatalf("OwnerHash(%d) = %q, want %q", h, got, model.owners(3, h)[0])
		}
	})
}

// What a node joins or leaves moves is its own share and nothing else (Karger et
// al., section 4.2), and the order in which nodes came does not matter.
func TestMovesTheLeast(t *testing.T) {
	keys := make([]string, 20_000)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	for _, n := range []int{1, 2, 10, 100} {
		r := newRing(t, 64)
		for i := range n {
			if err := r.Add(fmt.Sprint("node", i), 1+i%3); err != nil {
				t.Fatal(err)
			}
		}
		before := r.Clone()
		if err := r.Add("new", 2); err != nil {
			t.Fatal(err)
		}
		moved := 0
		for _, k := range keys {
			was, _ := before.Owner(k)
			is, _ := r.Owner(k)
			if was != is {
				moved++
				if is != "new" {
					t.Fatalf("%d nodes: %q moved from %q to %q, and neither is new", n, k, was, is)
				}
			}
		}
		share := r.Shares()["new"]
		if got := r.Moved(before); math.Abs(got-share) > 1e-12 {
			t.Errorf("%d nodes: Moved = %v, the new node's share is %v", n, got, share)
		}
		if got, sd := float64(moved)/float64(len(keys)), math.Sqrt(share*(1-share)/float64(len(keys))); math.Abs(got-share) > 5*sd {
			t.Errorf("%d nodes: %v of the keys moved, the share is %v ± %v", n, got, share, sd)
		}
		for m := range r.Moves(before) {
			if m.New != "new" || m.Old == "" {
				t.Fatalf("%d nodes: move %+v", n, m)
			}
		}
		r.Remove("new")
		if got := r.Moved(before); got != 0 {
			t.Errorf("%d nodes: a node that came and went moved %v", n, got)
		}
		// A larger weight only takes, and from others.
		if err := r.Add("node0", 5); err != nil {
			t.Fatal(err)
		}
		for m := range r.Moves(before) {
			if m.New != "node0" {
				t.Fatalf("%d nodes: more weight for node0, and %+v", n, m)
			}
		}
	}
	a, b := newRing(t, 16, "x", "y", "z"), newRing(t, 16, "z", "x", "q", "y")
	b.Remove("q")
	if a.Moved(b) != 0 {
		t.Error("the order of Add matters")
	}
}

// Moves agrees with Owner at every position that it names, and around.
func TestMoves(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		old, now := newRing(t, 1+rng.IntN(5)), newRing(t, 1+rng.IntN(5))
		for range rng.IntN(6) {
			_ = old.Add(fmt.Sprint("n", rng.IntN(8)), 1+rng.IntN(3))
		}
		for range rng.IntN(6) {
			_ = now.Add(fmt.Sprint("n", rng.IntN(8)), 1+rng.IntN(3))
		}
		moves := slices.Collect(now.Moves(old))
		at := []uint64{0, math.MaxUint64}
		for i, m := range moves {
			at = append(at, m.From, m.To, m.From-1, m.To+1)
			if i > 0 && moves[i-1].To >= m.From {
				t.Fatalf("seed %d: arcs overlap: %+v, %+v", seed, moves[i-1], m)
			}
		}
		for range 200 {
			at = append(at, rng.Uint64())
		}
		for _, h := range at {
			was, _ := old.OwnerHash(h)
			is, _ := now.OwnerHash(h)
			i := slices.IndexFunc(moves, func(m Move) bool { return m.Contains(h) })
			switch {
			case was == is && i >= 0:
				t.Fatalf("seed %d: %d stays with %q, and is in %+v", seed, h, was, moves[i])
			case was != is && (i < 0 || moves[i].Old != was || moves[i].New != is):
				t.Fatalf("seed %d: %d moves from %q to %q, and Moves has %d", seed, h, was, is, i)
			}
		}
		sum := 0.0
		for _, s := range now.Shares() {
			sum += s
		}
		if now.Len() > 0 && math.Abs(sum-1) > 1e-9 {
			t.Errorf("seed %d: the shares add up to %v", seed, sum)
		}
	}
}

// Shares follow the weights, within what Options.Points promises: a relative
// standard deviation of 1/√(w·V).
func TestBalance(t *testing.T) {
	r := newRing(t, 256)
	total := 0
	for i := range 50 {
		if err := r.Add(fmt.Sprint("node", i), 1+i%4); err != nil {
			t.Fatal(err)
		}
		total += 1 + i%4
	}
	chi := 0.0
	shares := r.Shares()
	for name, w := range r.All() {
		want := float64(w) / float64(total)
		sd := want / math.Sqrt(float64(w*256))
		z := (shares[name] - want) / sd
		chi += z * z
		if math.Abs(z) > 4 {
			t.Errorf("%s of weight %d has %.4f, want %.4f ± %.4f", name, w, shares[name], want, sd)
		}
	}
	if chi /= 50; chi < 0.5 || chi > 1.6 {
		t.Errorf("the mean squared deviation is %.2f of what the package comment says", chi)
	}
}

// These owners are what released versions answer: other processes rely on them.
func TestGolden(t *testing.T) {
	r := newRing(t, 0, "cache-1", "cache-2", "cache-3")
	if err := r.Add("cache-2", 3); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, key := range []string{"", "a", "user/42", "ключ", "0", "1", "2", "3", "4", "5"} {
		o, _ := r.Owner(key)
		got = append(got, strings.TrimPrefix(o, "cache-"))
	}
	if want := goldenOwners; strings.Join(got, " ") != want {
		t.Errorf("owners %q, want %q", strings.Join(got, " "), want)
	}
	if got := HashKey("user/42"); got != goldenHash {
		t.Errorf("HashKey = %#x, want %#x", got, uint64(goldenHash))
	}
}

func TestBadArguments(t *testing.T) {
	for _, p := range []int{-1, 1<<16 + 1} {
		if _, err := New(&Options{Points: p}); !errors.Is(err, ErrInvalid) {
			t.Errorf("New with %d points: %v", p, err)
		}
	}
	r := newRing(t, 1<<16)
	for _, c := range []struct {
		name   string
		weight int
		want   error
	}{{"", 1, ErrInvalid}, {"a", 0, ErrInvalid}, {"a", -1, ErrInvalid}, {"a", 1<<16 + 1, ErrInvalid}, {"a", 65, ErrTooLarge}, {"a", 1 << 16, ErrTooLarge}} {
		if err := r.Add(c.name, c.weight); !errors.Is(err, c.want) {
			t.Errorf("Add(%q, %d): %v, want %v", c.name, c.weight, err, c.want)
		}
	}
	if r.Len() != 0 {
		t.Error("a refused node is there")
	}
	for _, e := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := NewBalancer(r, e); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewBalancer(%v): %v", e, err)
		}
	}
}

// No node has more than (1+ε) times its share, rounded up, at any time
// (Mirrokni et al.), though all ask for the same key; and while there is room at
// the owner, the owner it is.
func TestBalancer(t *testing.T) {
	for _, epsilon := range []float64{0.01, 0.25, 1} {
		r := newRing(t, 32)
		b, err := NewBalancer(r, epsilon)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := b.Assign("k"); ok {
			t.Fatal("assigned to nobody")
		}
		weights := 0
		for i := range 20 {
			if err := r.Add(fmt.Sprint("node", i), 1+i%3); err != nil {
				t.Fatal(err)
			}
			weights += 1 + i%3
		}
		rng := rand.New(rand.NewPCG(1, 1))
		var under []string
		load := map[string]int{}
		for range 5000 {
			if len(under) > 0 && rng.IntN(5) < 2 {
				i := rng.IntN(len(under))
				if !b.Done(under[i]) {
					t.Fatal("Done of something under way")
				}
				load[under[i]]--
				under = slices.Delete(under, i, i+1)
				continue
			}
			key := fmt.Sprint(rng.IntN(3)) // three hot keys
			total := len(under) + 1
			room := func(name string) bool {
				w := 0
				for n, x := range r.All() {
					if n == name {
						w = x
					}
				}
				return load[name] < int(math.Ceil((1+epsilon)*float64(total)*float64(w)/float64(weights)))
			}
			order := r.Owners(key, r.Len())
			want := order[slices.IndexFunc(order, room)]
			got, ok := b.Assign(key)
			if !ok || got != want {
				t.Fatalf("Assign(%q) = %q, %v, want %q", key, got, ok, want)
			}
			load[got]++
			under = append(under, got)
			if b.Load(got) != load[got] {
				t.Fatalf("Load(%q) = %d, want %d", got, b.Load(got), load[got])
			}
		}
		// Nodes leave while they have work: the others take over.
		for i := range 19 {
			r.Remove(fmt.Sprint("node", i))
			if _, ok := b.Assign("k"); !ok {
				t.Fatal("no room")
			}
		}
		if b.Done("nobody") {
			t.Error("Done of a node without work")
		}
	}
}

// Readers run while nodes come and go.
func TestConcurrent(t *testing.T) {
	r := newRing(t, 16, "always")
	b, err := NewBalancer(r, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				key := fmt.Sprint(g, i)
				if _, ok := r.Owner(key); !ok {
					t.Error("no owner")
				}
				if n := r.Owners(key, 3); len(n) == 0 {
					t.Error("no owners")
				}
				if n, ok := b.Assign(key); ok {
					b.Done(n)
				}
				name := fmt.Sprint("n", i%7)
				if g%2 == 0 {
					if err := r.Add(name, 1+i%3); err != nil {
						t.Error(err)
					}
				} else {
					r.Remove(name)
				}
			}
		})
	}
	wg.Wait()
}

const (
	goldenOwners = "2 2 2 1 2 1 2 2 2 2"
	goldenHash   = 0xe89f2a24fc2bb767
)
