// Package trie_test compares package trie with other indexes for Go that complete a
// prefix, each giving the ten best of its terms:
//
//	cd bench && GOWORK=off go test -bench Vs ./trie
//
// ASHLAR_PHRASES names a gzipped file of lines "weight<TAB>term"; without it the terms
// are made up.
package trie_test

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/blevesearch/vellum"
	"github.com/tidwall/btree"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/trie"
)

const k = 10

type entry struct {
	term   string
	weight uint64
}

var terms = func() (es []entry) {
	if name := os.Getenv("ASHLAR_PHRASES"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			panic(err)
		}
		for lines := bufio.NewScanner(z); lines.Scan(); {
			w, term, _ := strings.Cut(lines.Text(), "\t")
			n, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				panic(err)
			}
			es = append(es, entry{term, n})
		}
		return es
	}
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for len(es) < 600_000 {
		var b strings.Builder
		for w := range 1 + rng.IntN(2) {
			if w > 0 {
				b.WriteByte(' ')
			}
			for range 2 + rng.IntN(3) {
				b.WriteString([]string{"ka", "ne", "tor", "mi", "sul", "e", "ran", "do", "shi", "ber", "lo", "an", "ti", "gra"}[min(rng.IntN(14), rng.IntN(14))])
			}
		}
		if t := b.String(); !seen[t] {
			seen[t] = true
			es = append(es, entry{t, uint64(1e12 / float64(len(es)+1))})
		}
	}
	return es
}()

// prefixes that people type: of the terms by weight, so many bytes.
func prefixes(length int) []string {
	rng := rand.New(rand.NewPCG(3, uint64(length)))
	ps := make([]string, 0, 4096)
	for len(ps) < cap(ps) {
		if t := terms[int(float64(len(terms))*rng.Float64()*rng.Float64())].term; len(t) >= length {
			ps = append(ps, strings.Clone(t[:length])) // near each other, as what was just typed is
		}
	}
	return ps
}

// A heap of the ten best so far, as the peers without weights need.
type best []entry

func (b *best) offer(e entry) {
	if len(*b) == k && e.weight <= (*b)[0].weight {
		return
	}
	if len(*b) == k {
		(*b)[0] = e
	} else {
		*b = append(*b, e)
	}
	slices.SortFunc(*b, func(x, y entry) int { return cmp.Compare(x.weight, y.weight) })
}

func image(b *testing.B) *trie.Image {
	bd := trie.NewBuilder(&trie.Options{K: k})
	for _, e := range terms {
		bd.Add(e.term, e.weight)
	}
	img, err := bd.Build()
	if err != nil {
		b.Fatal(err)
	}
	return img
}

func sorted() []entry {
	es := slices.Clone(terms)
	slices.SortFunc(es, func(a, b entry) int { return cmp.Compare(a.term, b.term) })
	return es
}

func fst(b *testing.B, es []entry) []byte {
	var buf bytes.Buffer
	w, err := vellum.New(&buf, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range es {
		if err := w.Insert([]byte(e.term), e.weight); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

var (
	sink  int
	lists [k]trie.Hit
)

// BenchmarkVs: keystroke is one more byte and the numbers of the ten best, read, at each
// length of the prefix, and a step back to where it was. The peers look the whole prefix
// up, since they have no cursor.
func BenchmarkVs(b *testing.B) {
	img := image(b)
	es := sorted()
	naive := map[string][]uint32{} // every prefix's ten best
	byWeight := slices.Clone(terms)
	slices.SortStableFunc(byWeight, func(a, b entry) int { return cmp.Compare(b.weight, a.weight) })
	for i, e := range byWeight {
		for n := range len(e.term) + 1 {
			if l := naive[e.term[:n]]; len(l) < k {
				naive[e.term[:n]] = append(l, uint32(i))
			}
		}
	}
	naiveBytes := int64(0)
	for p, l := range naive {
		naiveBytes += int64(len(p)) + 16 + 24 + 4*int64(cap(l)) + 8
	}
	var tree btree.Map[string, uint64]
	for _, e := range es {
		tree.Load(e.term, e.weight)
	}
	automaton, err := vellum.Load(fst(b, es))
	if err != nil {
		b.Fatal(err)
	}

	peers := []struct {
		name string
		ask  func(prefix string) int
		size int64
	}{
		{"prefix-map", func(prefix string) (n int) {
			for _, i := range naive[prefix] { // what is never read need not be looked up
				n += int(i)
			}
			return n
		}, naiveBytes},
		{"sorted-slice", func(prefix string) int {
			i, _ := slices.BinarySearchFunc(es, prefix, func(e entry, p string) int { return cmp.Compare(e.term, p) })
			var top best
			for ; i < len(es) && strings.HasPrefix(es[i].term, prefix); i++ {
				top.offer(es[i])
			}
			return len(top)
		}, int64(len(es)) * int64(unsafe.Sizeof(entry{}))},
		{"tidwall-btree", func(prefix string) int {
			var top best
			tree.Ascend(prefix, func(term string, w uint64) bool {
				if !strings.HasPrefix(term, prefix) {
					return false
				}
				top.offer(entry{term, w})
				return true
			})
			return len(top)
		}, 0},
		{"vellum", func(prefix string) int {
			var top best
			end := []byte(prefix)
			end[len(end)-1]++
			it, err := automaton.Iterator([]byte(prefix), end)
			for ; err == nil; err = it.Next() {
				term, w := it.Current()
				top.offer(entry{string(term), w})
			}
			return len(top)
		}, int64(len(fst(b, es)))},
	}
	for _, length := range []int{1, 2, 3, 5, 8, 12} {
		ps := prefixes(length)
		cursors := make([]trie.Cursor, len(ps)) // where the key before has left them
		for i, p := range ps {
			cursors[i] = img.Cursor()
			cursors[i].StepString(p[:length-1])
		}
		for _, peer := range peers {
			if length > 3 && peer.name == "tidwall-btree" {
				continue
			}
			b.Run(fmt.Sprintf("keystroke-%d/%s", length, peer.name), func(b *testing.B) {
				i, j := 0, 0
				versus.Run(b, versus.Case{
					Ours: func(r *versus.Round) {
						for range r.N {
							c := &cursors[i&4095]
							c.Step(ps[i&4095][length-1])
							for _, h := range c.Top(lists[:0]) {
								sink += int(h)
							}
							c.Back()
							i++
						}
						r.Size(int64(len(img.Bytes())))
						r.Metric(float64(len(img.Bytes()))/float64(img.Len()), "B/term")
					},
					Theirs: func(r *versus.Round) {
						for range r.N {
							sink = peer.ask(ps[j&4095])
							j++
						}
						if peer.size > 0 {
							r.Size(peer.size)
						}
					},
				})
			})
		}
	}
	b.Run("build/vellum", func(b *testing.B) {
		bd := trie.NewBuilder(nil)
		for _, e := range terms {
			bd.Add(e.term, e.weight)
		}
		versus.Run(b, versus.Case{
			N: 1, Goal: 1.67,
			Ours: func(*versus.Round) {
				if _, err := bd.Build(); err != nil {
					b.Fatal(err)
				}
			},
			Theirs: func(*versus.Round) { fst(b, sorted()) },
		})
	})
	b.Run("build/prefix-map", func(b *testing.B) {
		bd := trie.NewBuilder(nil)
		for _, e := range terms {
			bd.Add(e.term, e.weight)
		}
		versus.Run(b, versus.Case{
			N: 1,
			Ours: func(*versus.Round) {
				if _, err := bd.Build(); err != nil {
					b.Fatal(err)
				}
			},
			Theirs: func(*versus.Round) {
				m := map[string][]uint32{}
				for i, e := range byWeight {
					for n := range len(e.term) + 1 {
						if l := m[e.term[:n]]; len(l) < k {
							m[e.term[:n]] = append(l, uint32(i))
						}
					}
				}
			},
		})
	})
	b.Run("open/vellum", func(b *testing.B) {
		image := fst(b, es)
		versus.Run(b, versus.Case{
			Ours: func(r *versus.Round) {
				for range r.N {
					if _, err := trie.Load(img.Bytes()); err != nil {
						b.Fatal(err)
					}
				}
			},
			Theirs: func(r *versus.Round) { // which checks no sum
				for range r.N {
					if _, err := vellum.Load(image); err != nil {
						b.Fatal(err)
					}
				}
			},
		})
	})
	// One wrong character, against the look-up of every prefix with one edit, which
	// merges nothing.
	for _, length := range []int{3, 4, 6, 9, 12} {
		rng := rand.New(rand.NewPCG(5, 6))
		queries := prefixes(length)
		for i, q := range queries {
			c := []byte(q)
			c[rng.IntN(len(c))] = byte('a' + rng.IntN(26))
			queries[i] = string(c)
		}
		b.Run(fmt.Sprintf("fuzzy-1-%d/all-edits", length), func(b *testing.B) {
			i, j := 0, 0
			var took []time.Duration
			versus.Run(b, versus.Case{
				Ours: func(r *versus.Round) {
					for range r.N {
						began := time.Now()
						got, err := img.Fuzzy(nil, queries[i&4095], 1, k)
						if took = append(took, time.Since(began)); err != nil {
							b.Fatal(err)
						}
						sink = len(got)
						i++
					}
					r.Stop()
					slices.Sort(took)
					r.Metric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
					took = took[:0]
				},
				Theirs: func(r *versus.Round) {
					for range r.N {
						q, n := queries[j&4095], 0
						j++
						for p := range len(q) + 1 {
							for c := range 27 {
								ch := string(rune('a' + c))
								if c == 26 {
									ch = " "
								}
								n += len(naive[q[:p]+ch+q[p:]])
								if p < len(q) {
									n += len(naive[q[:p]+ch+q[p+1:]])
								}
							}
							if p < len(q) {
								n += len(naive[q[:p]+q[p+1:]])
							}
						}
						sink = n
					}
				},
			})
		})
	}
}
