package trie

import (
	"fmt"
	"testing"
)

// phrases are made-up words and pairs of them, weighted by Zipf's law.
func phrases(n int) *Image {
	rng := newRand(1)
	var words []string
	for range max(10, n/50) {
		w := ""
		for range 1 + rng.IntN(4) {
			w += []string{"ka", "ne", "tor", "mi", "sul", "e", "ran", "do"}[min(rng.IntN(8), rng.IntN(8))]
		}
		words = append(words, w)
	}
	b := NewBuilder(nil)
	for i := range n {
		term := words[min(rng.IntN(len(words)), rng.IntN(len(words)))] + " " + words[rng.IntN(len(words))] + fmt.Sprint(i%100)
		b.Add(term, uint64(1_000_000_000/(i+1)))
	}
	img, err := b.Build()
	if err != nil {
		panic(err)
	}
	return img
}

func BenchmarkKeystroke(b *testing.B) {
	for _, n := range []int{6000, 60_000, 600_000} {
		img := phrases(n)
		rng := newRand(2)
		var typed []string
		for range 1000 {
			typed = append(typed, img.Term(Hit(rng.IntN(img.Len()))))
		}
		b.Run(fmt.Sprintf("terms=%d", n), func(b *testing.B) {
			var top [10]Hit
			b.ReportAllocs()
			c, i, at := img.Cursor(), 0, 0
			for b.Loop() {
				if at == len(typed[i%1000]) {
					i, at = i+1, 0
					c.Reset()
				}
				c.Step(typed[i%1000][at])
				c.Top(top[:0])
				at++
			}
			b.ReportMetric(float64(len(img.Bytes()))/float64(img.Len()), "B/term")
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{6000, 60_000, 600_000} {
		img := phrases(n)
		bd := NewBuilder(nil)
		for i := range img.Len() {
			bd.Add(img.Term(Hit((i*7919)%img.Len())), img.Weight(Hit(i)))
		}
		b.Run(fmt.Sprintf("terms=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := bd.Build(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(bd.Len()), "ns/term")
		})
	}
}

func BenchmarkFuzzy(b *testing.B) {
	for _, n := range []int{6000, 60_000, 600_000} {
		img := phrases(n)
		for _, edits := range []int{1, 2} {
			b.Run(fmt.Sprintf("terms=%d/edits=%d", n, edits), func(b *testing.B) {
				for b.Loop() {
					if _, err := img.Fuzzy(nil, "torkna", edits, 10); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
