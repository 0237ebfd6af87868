package digraph

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/graph"
)

// A plain is the slow and obvious graph.
type plain struct {
	nodes   []int
	deleted map[int]bool
	links   [][2]int
}

func (p *plain) add(k int) {
	if !slices.Contains(p.nodes, k) {
		p.nodes = append(p.nodes, k)
	}
}

func (p *plain) reaches(from, to int) bool {
	seen, open := map[int]bool{}, []int{from}
	for len(open) > 0 {
		u := open[0]
		open = open[1:]
		for _, l := range p.links {
			if l[0] == u && !seen[l[1]] {
				if l[1] == to {
					return true
				}
				seen[l[1]] = true
				open = append(open, l[1])
			}
		}
	}
	return false
}

func (p *plain) around(k, from, to int) map[int]int {
	hops, ring := map[int]int{}, []int{k}
	for d := 1; len(ring) > 0; d++ {
		var next []int
		for _, u := range ring {
			for _, l := range p.links {
				if _, seen := hops[l[to]]; l[from] == u && !seen {
					hops[l[to]] = d
					next = append(next, l[to])
				}
			}
		}
		ring = next
	}
	return hops
}

func TestAgainstPlain(t *testing.T) {
	refused := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		acyclic := seed%3 != 0
		g, p := New[int](&Options{Acyclic: acyclic}), &plain{deleted: map[int]bool{}}
		keys := 3 + r.IntN(20)
		for step := range 150 {
			u, v := r.IntN(keys), r.IntN(keys)
			switch r.IntN(8) {
			case 0:
				want := !slices.Contains(p.nodes, u) || p.deleted[u]
				if got, err := g.Add(u); got != want || err != nil {
					t.Fatalf("seed %d: Add: %v, %v", seed, got, err)
				}
				p.add(u)
				delete(p.deleted, u)
			case 1:
				want := slices.Contains(p.nodes, u) && !p.deleted[u]
				if got := g.Delete(u); got != want {
					t.Fatalf("seed %d: Delete: %v", seed, got)
				}
				if want {
					p.deleted[u] = true
				}
			case 2:
				i := slices.Index(p.links, [2]int{u, v})
				if got := g.Unlink(u, v); got != (i >= 0) {
					t.Fatalf("seed %d: Unlink: %v", seed, got)
				}
				if i >= 0 {
					p.links = slices.Delete(p.links, i, i+1)
				}
			default:
				there := slices.Contains(p.links, [2]int{u, v})
				cycle := !there && acyclic && (u == v || p.reaches(v, u))
				got, err := g.Link(u, v)
				if (err != nil) != cycle || got == (there || cycle) {
					t.Fatalf("seed %d: Link(%d, %d): %v, %v; want cycle %v", seed, u, v, got, err, cycle)
				}
				if cycle {
					refused++
					var c *CycleError[int]
					if !errors.As(err, &c) || !errors.Is(err, ErrCycle) {
						t.Fatal(err)
					}
					if c.Path[0] != u || c.Path[1] != v || c.Path[len(c.Path)-1] != u {
						t.Fatalf("seed %d: Link(%d, %d): %v", seed, u, v, err)
					}
					for i := 1; i+1 < len(c.Path); i++ {
						if !slices.Contains(p.links, [2]int{c.Path[i], c.Path[i+1]}) {
							t.Fatalf("seed %d: Link(%d, %d): %v, but no link from %d", seed, u, v, err, c.Path[i])
						}
					}
				} else if !there {
					p.add(u)
					p.add(v)
					p.links = append(p.links, [2]int{u, v})
				}
			}
			if step%5 == 4 {
				compareWith(t, seed, g, p, keys, acyclic)
			}
		}
	}
	if refused < 100 {
		t.Errorf("only %d cycles", refused)
	}
}

func compareWith(t *testing.T, seed uint64, g *Graph[int], p *plain, keys int, acyclic bool) {
	t.Helper()
	if nodes, links := g.Len(); nodes != len(p.nodes)-len(p.deleted) || links != len(p.links) {
		t.Fatalf("seed %d: %d nodes and %d links, want %d and %d", seed, nodes, links, len(p.nodes)-len(p.deleted), len(p.links))
	}
	order := g.Order()
	if acyclic {
		for _, l := range p.links {
			if slices.Index(order, l[0]) >= slices.Index(order, l[1]) {
				t.Fatalf("seed %d: %v in order %v", seed, l, order)
			}
		}
	} else if !slices.Equal(order, p.nodes) {
		t.Fatalf("seed %d: %v, want %v", seed, order, p.nodes)
	}
	for k := range keys {
		if g.Has(k) != (slices.Contains(p.nodes, k) && !p.deleted[k]) {
			t.Fatalf("seed %d: Has(%d) is %v", seed, k, g.Has(k))
		}
		var want, got, wantParents []int
		for _, l := range p.links {
			if l[0] == k {
				want = append(want, l[1])
			}
			if l[1] == k {
				wantParents = append(wantParents, l[0])
			}
		}
		var page []Linked[int]
		for after := uint64(0); ; after = page[len(page)-1].Cursor {
			page = g.Page(page[:0], k, after, 3)
			for _, x := range page {
				if x.Deleted != p.deleted[x.Key] {
					t.Fatalf("seed %d: %+v", seed, x)
				}
				got = append(got, x.Key)
			}
			if len(page) == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: links of %d: %v, want %v", seed, k, got, want)
		}
		if got := g.Parents(nil, k); !slices.Equal(got, wantParents) {
			t.Fatalf("seed %d: parents of %d: %v, want %v", seed, k, got, wantParents)
		}
		for i, seq := range []func(func(int, int) bool){g.Descendants(k), g.Ancestors(k)} {
			want := p.around(k, i, 1-i)
			n := 0
			for u, d := range seq {
				n++
				if want[u] != d {
					t.Fatalf("seed %d: %d is %d from %d, want %d", seed, u, d, k, want[u])
				}
			}
			if n != len(want) {
				t.Fatalf("seed %d: %d around %d, want %d", seed, n, k, len(want))
			}
		}
	}
	s, err := g.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if s.Graph.Nodes() != len(p.nodes) || s.Graph.Arcs() != len(p.links) {
		t.Fatalf("seed %d: snapshot of %d nodes, %d arcs", seed, s.Graph.Nodes(), s.Graph.Arcs())
	}
	for _, l := range p.links {
		u, _ := s.Node(l[0])
		v, _ := s.Node(l[1])
		if s.Keys[u] != l[0] || s.Deleted[u] != p.deleted[l[0]] || !slices.ContainsFunc(s.Graph.Out(u), func(a graph.ArcID) bool { return s.Graph.Head(a) == v }) {
			t.Fatalf("seed %d: snapshot without %v", seed, l)
		}
	}
	if _, err := s.Graph.TopologicalOrder(); acyclic && err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
}

func TestPagesStay(t *testing.T) {
	g := New[int](nil)
	for i := range 10 {
		if _, err := g.Link(-1, i); err != nil {
			t.Fatal(err)
		}
	}
	page := g.Page(nil, -1, 0, 4)
	g.Unlink(-1, 3) // the last one of the page
	g.Unlink(-1, 5)
	if _, err := g.Link(-1, 10); err != nil {
		t.Fatal(err)
	}
	var keys []int
	for _, x := range g.Page(nil, -1, page[3].Cursor, 100) {
		keys = append(keys, x.Key)
	}
	if !slices.Equal(keys, []int{4, 6, 7, 8, 9, 10}) {
		t.Errorf("second page: %v", keys)
	}
}

func TestCycleErrorText(t *testing.T) {
	g := New[int](&Options{Acyclic: true})
	for i := range 100 {
		if _, err := g.Link(i, i+1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Link(3, 1); err == nil || err.Error() != "digraph: cycle: 3, 1, 2, 3" {
		t.Error(err)
	}
	want := "digraph: cycle: 100, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, (90 more), 100"
	if _, err := g.Link(100, 0); err == nil || err.Error() != want {
		t.Error(err)
	}
}

func TestKeyThatIsNotItself(t *testing.T) {
	g := New[float64](&Options{Acyclic: true})
	nan := math.NaN()
	if _, err := g.Add(nan); !errors.Is(err, ErrInvalid) {
		t.Errorf("Add: %v", err)
	}
	if _, err := g.Link(1, nan); !errors.Is(err, ErrInvalid) {
		t.Errorf("Link: %v", err)
	}
	if nodes, links := g.Len(); nodes+links != 0 {
		t.Errorf("%d nodes, %d links", nodes, links)
	}
}

func TestConcurrent(t *testing.T) {
	g := New[int](&Options{Acyclic: true})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for range 2000 {
				u, v := r.IntN(200), r.IntN(200)
				switch r.IntN(4) {
				case 0:
					g.Unlink(u, v)
				case 1:
					for k := range g.Descendants(u) {
						g.Has(k)
					}
				default:
					_, _ = g.Link(u, v)
				}
			}
		})
	}
	wg.Wait()
	s, err := g.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Graph.TopologicalOrder(); err != nil {
		t.Error(err)
	}
}

func Example() {
	tasks := New[string](&Options{Acyclic: true})
	for _, l := range [][2]string{{"test", "release"}, {"compile", "test"}, {"generate", "compile"}} {
		if _, err := tasks.Link(l[0], l[1]); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(tasks.Order())
	_, err := tasks.Link("release", "compile")
	fmt.Println(err)
	// Output:
	// [generate compile test release]
	// digraph: cycle: release, compile, test, release
}

// BenchmarkLink makes random links that may be refused, in graphs of several sizes.
func BenchmarkLink(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			var g *Graph[int]
			var r *rand.Rand
			for i := range b.N {
				if i%n == 0 {
					b.StopTimer()
					g, r = New[int](&Options{Acyclic: true}), rand.New(rand.NewPCG(1, 1))
					for k := range n {
						_, _ = g.Add(k)
					}
					b.StartTimer()
				}
				_, _ = g.Link(r.IntN(n), r.IntN(n))
			}
		})
	}
}

// BenchmarkMemory makes threads of replies, and tells what a reply takes: a node and a
// link.
func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			var g *Graph[int]
			before := heapBytes()
			for b.Loop() {
				g = New[int](&Options{Acyclic: true})
				for k := 1; k < n; k++ {
					_, _ = g.Link(k/3, k)
				}
			}
			b.ReportMetric(float64(heapBytes()-before)/float64(n), "B/reply")
			runtime.KeepAlive(g)
		})
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
