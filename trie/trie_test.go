package trie

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// runs is how many seeds a test on random input tries: ten times as many with ASHLAR_FULL.
func runs(n uint64) uint64 {
	if os.Getenv("ASHLAR_FULL") != "" {
		return 10 * n
	}
	return n
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// A model is the slow, obvious index.
type model map[string]uint64

func (m model) complete(prefix string, k int) (out []Suggestion) {
	for t, w := range m {
		if strings.HasPrefix(t, prefix) {
			out = append(out, Suggestion{t, w, 0})
		}
	}
	slices.SortFunc(out, bySuggestion)
	return out[:min(k, len(out))]
}

func bySuggestion(a, b Suggestion) int {
	switch {
	case a.Edits != b.Edits:
		return a.Edits - b.Edits
	case a.Weight > b.Weight:
		return -1
	case a.Weight < b.Weight:
		return 1
	}
	return strings.Compare(a.Term, b.Term)
}

func build(t testing.TB, m model, k int) *Image {
	t.Helper()
	b := NewBuilder(&Options{K: k})
	for term, w := range m {
		b.Add(term, w)
	}
	img, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// vocabularies that differ in everything.
func vocabulary(rng *rand.Rand, n int) model {
	m := model{}
	letters := []string{"a", "b", "c", "é", "ß", "世", "\xff", "\x00", " "}[:1+rng.IntN(9)]
	longest := 1 + rng.IntN(12)
	start := ""
	if rng.IntN(3) == 0 {
		start = strings.Repeat("x", rng.IntN(400))
	}
	weights := 1 + rng.Uint64N(1+rng.Uint64N(1000))
	for range n {
		var b strings.Builder
		if rng.IntN(10) > 0 {
			b.WriteString(start)
		}
		for range rng.IntN(longest + 1) {
			b.WriteString(letters[min(rng.IntN(len(letters)), rng.IntN(len(letters)))])
		}
		w := rng.Uint64N(weights)
		if rng.IntN(50) == 0 {
			w = rng.Uint64()
		}
		m[b.String()] = w
	}
	return m
}

func TestAgainstModel(t *testing.T) {
	for run := range runs(60) {
		rng := newRand(run)
		m := vocabulary(rng, []int{0, 1, 5, 100, 1500}[rng.IntN(5)])
		k := []int{1, 3, 10, 300, 1000}[rng.IntN(5)]
		img := build(t, m, k)
		if img.Len() != len(m) || img.K() != k {
			t.Fatalf("%d terms, K %d", img.Len(), img.K())
		}
		var terms []string
		for term, w := range m {
			terms = append(terms, term)
			if got, ok := img.Lookup(term); !ok || got != w {
				t.Fatalf("%q weighs %d, %t, want %d", term, got, ok, w)
			}
			if _, ok := img.Lookup(term + "nothing"); ok {
				t.Fatalf("%q is there", term+"nothing")
			}
		}
		slices.Sort(terms)
		for range 60 {
			prefix := ""
			if len(terms) > 0 {
				term := terms[rng.IntN(len(terms))]
				prefix = term[:rng.IntN(len(term)+1)]
			}
			if rng.IntN(4) == 0 {
				prefix += string(rune('a' + rng.IntN(3)))
			}
			for _, n := range []int{0, 1, k - 1, k, k + 1, 3 * k, len(m) + 5} {
				if got, want := img.Complete(nil, prefix, n), m.complete(prefix, max(0, n)); !slices.Equal(got, want) {
					t.Fatalf("run %d: %q, %d of K %d:\n%v\nwant\n%v", run, prefix, n, k, got, want)
				}
			}
		}
	}
}

// A cursor that goes forth and back is where a new one would be.
func TestCursor(t *testing.T) {
	for run := range runs(30) {
		rng := newRand(run)
		m := vocabulary(rng, 800)
		img := build(t, m, 1+rng.IntN(12))
		var terms []string
		for term := range m {
			terms = append(terms, term)
		}
		slices.Sort(terms)
		c := img.Cursor()
		typed := ""
		for range 1500 {
			switch rng.IntN(12) {
			case 0:
				c.Reset()
				typed = ""
			case 1, 2, 3, 4:
				c.Back()
				typed = typed[:max(0, len(typed)-1)]
			case 5:
				for range rng.IntN(60) {
					c.Back()
					typed = typed[:max(0, len(typed)-1)]
				}
			case 6: // a whole term
				term := terms[rng.IntN(len(terms))]
				if strings.HasPrefix(term, typed) {
					c.StepString(term[len(typed):])
					typed = term
				}
			default:
				b := byte("abc\xc3\xffx "[rng.IntN(7)])
				if i := rng.IntN(len(terms)); rng.IntN(2) == 0 && len(terms[i]) > len(typed) && strings.HasPrefix(terms[i], typed) {
					b = terms[i][len(typed)]
				}
				typed += string([]byte{b})
				if got, want := c.Step(b), len(m.complete(typed, 1)) > 0; got != want {
					t.Fatalf("%q: Step says %t", typed, got)
				}
			}
			want := m.complete(typed, img.K())
			var got []Suggestion
			for _, h := range c.Top(nil) {
				got = append(got, Suggestion{img.Term(h), img.Weight(h), 0})
			}
			if !slices.Equal(got, want) || c.Depth() != len(typed) || c.Len() != len(m.complete(typed, len(m))) {
				t.Fatalf("run %d: %q, depth %d, %d terms:\n%v\nwant\n%v", run, typed, c.Depth(), c.Len(), got, want)
			}
		}
	}
}

func TestBuilder(t *testing.T) {
	b := NewBuilder(nil)
	b.Add("new york", 3)
	b.Add("", 7)
	b.Add("new york", 4)
	b.Add("heavy", 1<<64-1)
	b.Add("heavy", 5)
	img, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	want := []Suggestion{{"heavy", 1<<64 - 1, 0}, {"", 7, 0}, {"new york", 7, 0}}
	if got := img.Complete(nil, "", 10); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.Add("more", 100) // a builder goes on
	again, err := b.Build()
	if err != nil || again.Len() != 4 || img.Len() != 3 {
		t.Errorf("%d and %d terms, %v", again.Len(), img.Len(), err)
	}
	if b.Len() != 6 {
		t.Errorf("%d were added", b.Len())
	}
	for _, k := range []int{-1, MaxK + 1} {
		if _, err := NewBuilder(&Options{K: k}).Build(); err == nil {
			t.Errorf("K %d passes", k)
		}
	}
	b.Add(strings.Repeat("x", MaxTerm+1), 1)
	if _, err := b.Build(); err == nil {
		t.Error("too long a term passes")
	}
}

// A long common prefix, and terms that are prefixes of each other to great depth.
func TestDeep(t *testing.T) {
	m := model{}
	for i := range 2000 {
		m[strings.Repeat("a", i)] = uint64(i % 7)
		m[strings.Repeat("b", 1000)+fmt.Sprint(i)] = uint64(i)
	}
	m[strings.Repeat("z", MaxTerm)] = 1
	img := build(t, m, 10)
	for _, prefix := range []string{"", "a", strings.Repeat("a", 500), strings.Repeat("a", 1999), strings.Repeat("b", 999), strings.Repeat("b", 1000) + "1", strings.Repeat("z", MaxTerm), strings.Repeat("z", MaxTerm) + "z"} {
		if got, want := img.Complete(nil, prefix, 12), m.complete(prefix, 12); !slices.Equal(got, want) {
			t.Fatalf("%.10q of %d bytes: %d, want %d", prefix, len(prefix), len(got), len(want))
		}
	}
}
