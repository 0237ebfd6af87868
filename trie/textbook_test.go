package trie

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

// A textbook is the trie as it is usually drawn, changed in place: a node for each byte
// of each term, with a lock and the best terms below it. Counts only grow, so a term that
// has fallen out of a list comes back when it is counted again, and not before.
type textbook struct {
	k    int
	root textbookNode
}

type textbookNode struct {
	mu       sync.RWMutex
	children map[byte]*textbookNode
	weight   uint64 // of the term that ends here
	best     []Suggestion
}

// add counts a term: it goes down to the term's node, and then has to change the list of
// every node on the way.
func (x *textbook) add(term string, n uint64) {
	path := []*textbookNode{&x.root}
	for i := range len(term) {
		at := path[i]
		at.mu.Lock()
		next := at.children[term[i]]
		if next == nil {
			if at.children == nil {
				at.children = map[byte]*textbookNode{}
			}
			next = &textbookNode{}
			at.children[term[i]] = next
		}
		at.mu.Unlock()
		path = append(path, next)
	}
	last := path[len(term)]
	last.mu.Lock()
	last.weight += n
	s := Suggestion{term, last.weight, 0}
	last.mu.Unlock()
	for _, at := range path {
		at.mu.Lock()
		at.offer(s, x.k)
		at.mu.Unlock()
	}
}

// offer puts a term into the list if it is good enough. One who was overtaken between the
// term's node and this one comes with a lower count, and changes nothing.
func (at *textbookNode) offer(s Suggestion, k int) {
	if i := slices.IndexFunc(at.best, func(x Suggestion) bool { return x.Term == s.Term }); i >= 0 {
		if at.best[i].Weight >= s.Weight {
			return
		}
		at.best = slices.Delete(at.best, i, i+1)
	}
	if i, _ := slices.BinarySearchFunc(at.best, s, bySuggestion); i < k {
		at.best = slices.Insert(at.best, i, s)
		at.best = at.best[:min(k, len(at.best))]
	}
}

func (x *textbook) complete(prefix string) []Suggestion {
	at := &x.root
	for i := range len(prefix) {
		at.mu.RLock()
		next := at.children[prefix[i]]
		at.mu.RUnlock()
		if next == nil {
			return nil
		}
		at = next
	}
	at.mu.RLock()
	defer at.mu.RUnlock()
	return slices.Clone(at.best)
}

// An image of all that was counted answers as the trie that was changed at each count.
func TestAgainstTextbook(t *testing.T) {
	for run := range runs(12) {
		rng := newRand(run)
		k := 1 + rng.IntN(12)
		x := &textbook{k: k}
		b := NewBuilder(&Options{K: k})
		var terms []string
		for term := range vocabulary(rng, 120) {
			terms = append(terms, term)
		}
		slices.Sort(terms)
		var log []Suggestion
		for range 2000 {
			s := Suggestion{terms[min(rng.IntN(len(terms)), rng.IntN(len(terms)))], 1 + rng.Uint64N(9), 0}
			log = append(log, s)
			b.Add(s.Term, s.Weight)
		}
		// Several at a time: the order does not matter.
		var wg sync.WaitGroup
		for part := range slices.Chunk(log, 700) {
			wg.Go(func() {
				for _, s := range part {
					x.add(s.Term, s.Weight)
				}
			})
		}
		wg.Wait()
		img, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		for _, term := range terms {
			prefix := term[:rng.IntN(len(term)+1)]
			if got, want := img.Complete(nil, prefix, k), x.complete(prefix); !slices.Equal(got, want) {
				t.Fatalf("run %d: %q: %v, the textbook has %v", run, prefix, got, want)
			}
		}
		if got := x.complete(strings.Repeat("?", 5)); got != nil {
			t.Errorf("%v for nothing", got)
		}
	}
}

// BenchmarkClick is what it costs to count: in place, with all ancestors, or in a log of
// which an image is built.
func BenchmarkClick(b *testing.B) {
	img := phrases(60_000)
	rng := newRand(4)
	log := make([]string, 600_000)
	for i := range log {
		log[i] = img.Term(Hit(min(rng.IntN(img.Len()), rng.IntN(img.Len()))))
	}
	b.Run("impl=textbook", func(b *testing.B) {
		x := &textbook{k: 10}
		for term, w := range img.All() {
			x.add(term, w)
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i = (i + 1) % len(log) {
				x.add(log[i], 1)
			}
		})
	})
	b.Run("impl=batch", func(b *testing.B) {
		b.ReportAllocs()
		bd := NewBuilder(nil)
		i := 0
		for b.Loop() {
			bd.Add(log[i], 1)
			if i++; i == len(log) {
				if _, err := bd.Build(); err != nil {
					b.Fatal(err)
				}
				bd, i = NewBuilder(nil), 0
			}
		}
	})
}
