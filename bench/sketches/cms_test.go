package sketches_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/datasketches-go/frequencies"
	boom "github.com/tylertreat/BoomFilters"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/cms"
	"github.com/ashlar-go/ashlar/hll"
)

// The stream: items by Zipf's law with exponent 1.1, 3 million of them, as random
// integers.
var zipf = func() []uint64 {
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 1<<20)
	s := make([]uint64, 3_000_000)
	for i := range s {
		s[i] = hll.HashUint64(z.Uint64())
	}
	return s
}()

// counts returns how often each item of n rounds of the stream comes, and the
// items by falling count.
func counts() (exact map[uint64]uint64, order []uint64) {
	exact = map[uint64]uint64{}
	for _, k := range zipf {
		exact[k]++
	}
	for k := range exact {
		order = append(order, k)
	}
	slices.SortFunc(order, func(a, b uint64) int {
		if exact[a] != exact[b] {
			return int(int64(exact[b]) - int64(exact[a]))
		}
		if a < b {
			return -1
		}
		return 1
	})
	return exact, order
}

func bytesOf(k uint64) []byte { return binary.LittleEndian.AppendUint64(nil, k) }

// cmsVs compares count-min sketches of 64 KiB, and lists of the 100 most frequent.
func cmsVs(b *testing.B) {
	exact, order := counts()
	keys := make([][]byte, len(zipf))
	for i, k := range zipf {
		keys[i] = bytesOf(k)
	}

	// count-min: 4 rows, 64 KiB; 32-bit counters here, 64-bit there.
	b.Run("cms-add/BoomFilters", func(b *testing.B) {
		const bytes = 64 << 10
		quality := func(count func(k uint64) uint64) (all, top float64) {
			for i, k := range order {
				e := float64(count(k) - exact[k])
				all += e / float64(len(order))
				if i < 1000 {
					top += e / float64(exact[k]) / 1000
				}
			}
			return all, top
		}
		s, err := cms.NewSize(bytes/4/4, 4)
		if err != nil {
			b.Fatal(err)
		}
		for _, k := range keys {
			s.Add(k, 1)
		}
		all, top := quality(func(k uint64) uint64 { return s.Count(bytesOf(k)) })
		g := boom.NewCountMinSketch(math.E/(bytes/8/4), math.Exp(-4)*1.0001)
		for _, k := range keys {
			g.Add(k)
		}
		gAll, gTop := quality(func(k uint64) uint64 { return g.Count(bytesOf(k)) })
		at := 0
		versus.Run(b, versus.Case{
			Goal: 1.5,
			Ours: func(r *versus.Round) {
				for range r.N { // of the stream's first part, which stays in the cache
					s.Add(keys[at&0xffff], 1)
					at++
				}
				r.Metric(all, "error")
				r.Metric(top, "error-of-top-1000")
			},
			Theirs: func(r *versus.Round) {
				for range r.N {
					g.Add(keys[at&0xffff])
					at++
				}
				r.Metric(gAll, "error")
				r.Metric(gTop, "error-of-top-1000")
			},
		})
	})

	const k = 100
	least := exact[order[k-1]]
	recall := func(list []uint64) (found float64) {
		for _, key := range list[:min(k, len(list))] {
			if exact[key] >= least {
				found++
			}
		}
		return found / k
	}
	for _, c := range []struct {
		name  string
		bytes int
		slots int // of theirs: the least with which they find all is 2^11
	}{{"topk-add-8KiB", 8 << 10, 1 << 9}, {"topk-add-16KiB", 16 << 10, 1 << 11}} {
		b.Run(c.name+"/datasketches-frequencies", func(b *testing.B) {
			top, err := cms.NewTopK[uint64](k, c.bytes)
			if err != nil {
				b.Fatal(err)
			}
			freq, err := frequencies.NewLongsSketchWithMaxMapSize(c.slots)
			if err != nil {
				b.Fatal(err)
			}
			for _, key := range zipf {
				top.Add(key, 1)
				if err := freq.Update(int64(key)); err != nil {
					b.Fatal(err)
				}
			}
			var ours, theirs []uint64
			relative := 0.0
			for _, it := range top.List() {
				ours = append(ours, it.Key)
				relative += math.Abs(float64(it.Count)-float64(exact[it.Key])) / float64(exact[it.Key]) / k
			}
			rows, err := freq.GetFrequentItemsWithThreshold(1, frequencies.ErrorTypeEnum.NoFalseNegatives)
			if err != nil {
				b.Fatal(err)
			}
			theirRelative := 0.0
			for i, row := range rows {
				key := uint64(row.GetItem())
				theirs = append(theirs, key)
				if i < k {
					theirRelative += math.Abs(float64(row.GetEstimate())-float64(exact[key])) / float64(exact[key]) / k
				}
			}
			at, bt := 0, 0
			versus.Run(b, versus.Case{
				Goal: 1,
				Ours: func(r *versus.Round) {
					for range r.N {
						top.Add(zipf[at%len(zipf)], 1)
						at++
					}
					r.Metric(recall(ours), "recall")
					r.Metric(relative, "error")
					r.Size(int64(top.SizeBytes()))
				},
				Theirs: func(r *versus.Round) {
					for range r.N {
						if err := freq.Update(int64(zipf[bt%len(zipf)])); err != nil {
							b.Fatal(err)
						}
						bt++
					}
					r.Metric(recall(theirs), "recall")
					r.Metric(theirRelative, "error")
					r.Size(int64(18 * c.slots)) // 8 of key, 8 of count, 2 of state
				},
			})
		})
	}
	b.Run("topk-add-strings/BoomFilters", func(b *testing.B) {
		top, err := cms.NewTopK[string](k, 16<<10)
		if err != nil {
			b.Fatal(err)
		}
		g := boom.NewTopK(math.E/2048, math.Exp(-4)*1.0001, k) // 64 KiB
		texts := make([]string, len(zipf))
		for i, key := range keys {
			texts[i] = string(key)
		}
		for i := range keys {
			top.Add(texts[i], 1)
			g.Add(keys[i])
		}
		var ours, theirs []uint64
		for _, it := range top.List() {
			ours = append(ours, binary.LittleEndian.Uint64([]byte(it.Key)))
		}
		for _, e := range g.Elements() {
			theirs = append(theirs, binary.LittleEndian.Uint64(e.Data))
		}
		at, bt := 0, 0
		versus.Run(b, versus.Case{
			Ours: func(r *versus.Round) {
				for range r.N {
					top.Add(texts[at%len(texts)], 1)
					at++
				}
				r.Metric(recall(ours), "recall")
			},
			Theirs: func(r *versus.Round) {
				for range r.N {
					g.Add(keys[bt%len(keys)])
					bt++
				}
				r.Metric(recall(theirs), "recall")
			},
		})
	})
	b.Run("heavy-add/datasketches-frequencies", func(b *testing.B) {
		v, err := cms.NewHeavy[uint64](1536)
		if err != nil {
			b.Fatal(err)
		}
		freq, err := frequencies.NewLongsSketchWithMaxMapSize(2048) // at most 1,536 in use
		if err != nil {
			b.Fatal(err)
		}
		for _, key := range zipf {
			v.Add(key, 1)
			if err := freq.Update(int64(key)); err != nil {
				b.Fatal(err)
			}
		}
		gap, theirGap := float64(v.Error()), float64(freq.GetMaximumError())
		at, bt := 0, 0
		versus.Run(b, versus.Case{
			Ours: func(r *versus.Round) {
				for range r.N {
					v.Add(zipf[at%len(zipf)], 1)
					at++
				}
				r.Metric(gap, "error")
			},
			Theirs: func(r *versus.Round) {
				for range r.N {
					if err := freq.Update(int64(zipf[bt%len(zipf)])); err != nil {
						b.Fatal(err)
					}
					bt++
				}
				r.Metric(theirGap, "error")
			},
		})
	})
}
