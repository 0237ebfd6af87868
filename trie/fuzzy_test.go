package trie

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// distances are those of all prefixes of a from b, by the textbook's table for optimal
// string alignment.
func distances(a, b []rune) (out []int) {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for j := range d[i] {
			switch {
			case i == 0:
				d[i][j] = j
			case j == 0:
				d[i][j] = i
			default:
				cost := 1
				if a[i-1] == b[j-1] {
					cost = 0
				}
				d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					d[i][j] = min(d[i][j], d[i-2][j-2]+1)
				}
			}
		}
	}
	for i := range d {
		out = append(out, d[i][len(b)])
	}
	return out
}

func runesOf(s string) (out []rune) {
	for len(s) > 0 {
		r, size := runeAt(s)
		out, s = append(out, r), s[size:]
	}
	return out
}

func (m model) fuzzy(query string, edits, k int) (out []Suggestion) {
	q := runesOf(query)
	for t, w := range m {
		// Prefixes of whole characters, those of bytes that are none included.
		best := slices.Min(distances(runesOf(t), q))
		if best <= edits {
			out = append(out, Suggestion{t, w, best})
		}
	}
	slices.SortFunc(out, bySuggestion)
	return out[:min(k, len(out))]
}

func TestFuzzy(t *testing.T) {
	for run := range runs(40) {
		rng := newRand(run)
		m := vocabulary(rng, []int{1, 50, 400}[rng.IntN(3)])
		img := build(t, m, []int{1, 3, 10}[rng.IntN(3)])
		var terms []string
		for term := range m {
			terms = append(terms, term)
		}
		slices.Sort(terms)
		for range 12 {
			rs := runesOf(terms[rng.IntN(len(terms))])
			rs = rs[:min(len(rs), rng.IntN(8))]
			for range rng.IntN(3) { // mistakes
				i := rng.IntN(len(rs) + 1)
				switch rng.IntN(3) {
				case 0:
					rs = slices.Insert(rs, i, []rune("abé世")[rng.IntN(4)])
				case 1:
					if i < len(rs) {
						rs = slices.Delete(rs, i, i+1)
					}
				case 2:
					if i+1 < len(rs) {
						rs[i], rs[i+1] = rs[i+1], rs[i]
					}
				}
			}
			query := ""
			for _, r := range rs {
				if r >= 0x110000 {
					query += string([]byte{byte(r - 0x110000)})
				} else {
					query += string(r)
				}
			}
			if utf8.RuneCountInString(query) != len(rs) || !slices.Equal(runesOf(query), rs) {
				continue // bytes that are none together make one
			}
			for edits := range MaxEdits + 1 {
				for _, k := range []int{1, 5, 30} {
					got, err := img.Fuzzy(nil, query, edits, k)
					if err != nil {
						t.Fatal(err)
					}
					if want := m.fuzzy(query, edits, k); !slices.Equal(got, want) {
						t.Fatalf("run %d: %q with %d edits, %d:\n%v\nwant\n%v", run, query, edits, k, got, want)
					}
				}
			}
		}
	}
	img := build(t, model{"a": 1}, 3)
	for _, c := range []struct {
		query string
		edits int
	}{{"a", -1}, {"a", MaxEdits + 1}, {strings.Repeat("ä", MaxQuery+1), 1}} {
		if _, err := img.Fuzzy(nil, c.query, c.edits, 3); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d characters, %d edits: %v", len(c.query), c.edits, err)
		}
	}
}

// Readers go on while images are swapped, and never see half of one.
func TestIndex(t *testing.T) {
	var x Index
	if x.Image().Len() != 0 || len(x.Complete(nil, "", 5)) != 0 {
		t.Fatal("something in nothing")
	}
	images := make([]*Image, 4)
	for i := range images {
		m := model{}
		for j := range 500 {
			m[strings.Repeat("a", j%7)+string(rune('a'+j%20))+strings.Repeat("b", j%11)] = uint64(i + 1)
		}
		images[i] = build(t, m, 5)
	}
	x.Swap(images[0])
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c := x.Cursor()
				c.StepString("aa")
				var weight uint64
				for _, h := range c.Top(nil) {
					if w := c.m.Weight(h); weight == 0 {
						weight = w
					} else if w != weight {
						t.Error("two images at once")
						return
					}
				}
				if got := x.Complete(nil, "a", 5); len(got) != 5 {
					t.Errorf("%d suggestions", len(got))
					return
				}
			}
		})
	}
	for i := range 2000 {
		if before := x.Swap(images[(i+1)%4]); before != images[i%4] {
			t.Fatal("another one was there")
		}
	}
	close(done)
	wg.Wait()
}

func TestMerge(t *testing.T) {
	own := []Suggestion{{"paris hotel", 5, 0}, {"paxos", 2, 0}}
	all := []Suggestion{{"paypal", 9, 0}, {"paris hotel", 6, 0}, {"pasta", 4, 0}}
	want := []Suggestion{{"paris hotel", 11, 0}, {"paypal", 9, 0}, {"pasta", 4, 0}}
	if got := Merge(nil, own, all, 3); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Merge(want[:1:1], nil, all, 1); len(got) != 2 || got[1].Term != "paypal" {
		t.Errorf("%v", got)
	}
}
