package tsdb

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// mixed returns the value of series s at step i: a quarter of the series are
// constant, others counters, gauges of two decimals, and a tenth use all digits.
func mixed(rnd *rand.Rand, s, i int, state []float64) float64 {
	switch k := s % 20; {
	case k < 5:
		return float64(s)
	case k < 12:
		state[s] += float64(rnd.IntN(200))
		return state[s]
	case k < 18:
		state[s] += float64(rnd.IntN(201)-100) / 100
		return float64(int64(state[s]*100)) / 100
	default:
		return rnd.NormFloat64()
	}
}

func benchDB(b *testing.B, series int, o Options) (*DB, Batch, []float64) {
	b.Helper()
	o.Now = func() time.Time { return at(start + 1<<40) }
	db, err := Open(b.TempDir(), &o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	batch := Batch{Refs: make([]Ref, series), T: make([]int64, series), V: make([]float64, series)}
	for s := range series {
		l := Pairs("name", fmt.Sprint("metric_", s%10), "id", fmt.Sprint(s), "instance", fmt.Sprintf("host-%d:9100", s/100), "job", "node")
		if batch.Refs[s], err = db.Series("bench", l); err != nil {
			b.Fatal(err)
		}
	}
	return db, batch, make([]float64, series)
}

func (b *Batch) fill(rnd *rand.Rand, i int, state []float64) {
	for s := range b.Refs {
		b.T[s] = start + int64(i)*15_000
		b.V[s] = mixed(rnd, s, i, state)
	}
}

var benchSizes = []int{1_000, 10_000, 100_000}

func BenchmarkAppend(b *testing.B) {
	for _, level := range []struct {
		name string
		sync Durability
	}{{"none", SyncNone}, {"group", SyncGroup}} {
		for _, series := range benchSizes {
			b.Run(fmt.Sprintf("sync=%s/series=%d", level.name, series), func(b *testing.B) {
				db, batch, state := benchDB(b, series, Options{Sync: level.sync})
				rnd := rand.New(rand.NewPCG(1, 1))
				var batches [8]Batch // values change, as they would
				for i := range batches {
					batch.fill(rnd, i, state)
					batches[i] = Batch{batch.Refs, batch.T, append([]float64(nil), batch.V...)}
				}
				if _, err := db.Append(b.Context(), batches[0]); err != nil { // the series are known
					b.Fatal(err)
				}
				i := 1
				for b.Loop() {
					x := batches[i%len(batches)]
					for s := range x.T {
						x.T[s] = start + int64(i)*15_000
					}
					if _, err := db.Append(b.Context(), x); err != nil {
						b.Fatal(err)
					}
					i++
				}
				b.ReportMetric(float64(series)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
			})
		}
	}
}

// sealedDB has 240 samples of each series.
func sealedDB(b *testing.B, series int, seal bool) *DB {
	const steps = 240
	db, batch, state := benchDB(b, series, Options{Sync: SyncNone, Manual: true, HeadBytes: 4 << 30})
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range steps {
		batch.fill(rnd, i, state)
		if _, err := db.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if seal {
		if err := db.Seal(b.Context()); err != nil {
			b.Fatal(err)
		}
		st := db.Stats()
		b.ReportMetric(float64(st.ChunkSize)/float64(steps*series), "B/sample")
	}
	return db
}

func BenchmarkScan(b *testing.B) {
	for _, sealed := range []bool{false, true} {
		for _, series := range benchSizes {
			if series > 10_000 && testing.Short() {
				continue
			}
			b.Run(fmt.Sprintf("sealed=%v/series=%d", sealed, series), func(b *testing.B) {
				db := sealedDB(b, series, sealed)
				n, sum := 0, 0.0
				for b.Loop() {
					n, sum = 0, 0
					for s, err := range db.Query(b.Context(), All) {
						if err != nil {
							b.Fatal(err)
						}
						for x, err := range s.Blocks() {
							if err != nil {
								b.Fatal(err)
							}
							n += len(x.T)
							sum += x.V[0]
						}
					}
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
			})
		}
	}
}

func BenchmarkAggregate(b *testing.B) {
	for _, series := range benchSizes {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			db := sealedDB(b, series, true)
			n := uint64(0)
			for b.Loop() {
				n = 0
				for s, err := range db.Aggregate(b.Context(), All, 24*time.Hour) {
					if err != nil {
						b.Fatal(err)
					}
					for _, x := range s.Buckets {
						n += x.Count
					}
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

func BenchmarkRegexp(b *testing.B) {
	for _, series := range benchSizes {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			db, batch, state := benchDB(b, series, Options{Sync: SyncNone, Manual: true})
			batch.fill(rand.New(rand.NewPCG(1, 1)), 0, state)
			if _, err := db.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				n := 0
				for _, err := range db.Query(b.Context(), All, Re("id", ".*77.*")) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n == 0 {
					b.Fatal("none found")
				}
			}
		})
	}
}

// BenchmarkReopen replays the log of 40 samples a series.
func BenchmarkReopen(b *testing.B) {
	for _, series := range benchSizes {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			db, batch, state := benchDB(b, series, Options{Sync: SyncNone, Manual: true, HeadBytes: 4 << 30})
			rnd := rand.New(rand.NewPCG(1, 1))
			for i := range 40 {
				batch.fill(rnd, i, state)
				if _, err := db.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				again, err := Open(db.dir, &Options{Sync: SyncNone, Manual: true, HeadBytes: 4 << 30})
				if err != nil {
					b.Fatal(err)
				}
				if err := again.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(40*series)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

// BenchmarkLate appends the samples of BenchmarkAppend, a tenth of them up to an
// hour late.
func BenchmarkLate(b *testing.B) {
	const hour = 240 // steps
	for _, series := range benchSizes {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			db, batch, state := benchDB(b, series, Options{Sync: SyncNone, HeadBytes: 4 << 30})
			rnd := rand.New(rand.NewPCG(1, 1))
			var delayed [hour + 1]Batch // what comes at a step, besides its own
			n := 0
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				batch.fill(rnd, i, state)
				due := &delayed[i%len(delayed)]
				for s := range batch.Refs {
					to := due
					if rnd.IntN(10) == 0 {
						to = &delayed[(i+1+rnd.IntN(hour))%len(delayed)]
					}
					to.Refs, to.T, to.V = append(to.Refs, batch.Refs[s]), append(to.T, batch.T[s]), append(to.V, batch.V[s])
				}
				b.StartTimer()
				if _, err := db.Append(b.Context(), *due); err != nil {
					b.Fatal(err)
				}
				n += len(due.Refs)
				*due = Batch{due.Refs[:0], due.T[:0], due.V[:0]}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

// BenchmarkAppendParallel appends from several goroutines, each to a source of
// its own with 10,000 series. They take turns at the log and at the heads, where
// each of these batches has all cores to itself.
func BenchmarkAppendParallel(b *testing.B) {
	const series = 10_000
	for _, writers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db, first, _ := benchDB(b, series, Options{Sync: SyncNone, HeadBytes: 4 << 30})
			batches := []Batch{first}
			for w := 1; w < writers; w++ {
				batch := Batch{Refs: make([]Ref, series), T: make([]int64, series), V: make([]float64, series)}
				for s := range series {
					ref, err := db.Series(fmt.Sprint("bench ", w), Pairs("id", fmt.Sprint(s)))
					if err != nil {
						b.Fatal(err)
					}
					batch.Refs[s] = ref
				}
				batches = append(batches, batch)
			}
			rnd := rand.New(rand.NewPCG(1, 1))
			for w := range batches {
				batches[w].fill(rnd, 0, make([]float64, series))
			}
			i := 0
			for b.Loop() {
				i++
				var wg sync.WaitGroup
				for w := range batches {
					wg.Go(func() {
						x := &batches[w]
						for s := range x.T {
							x.T[s] = start + int64(i)*15_000
							x.V[s]++
						}
						if _, err := db.Append(b.Context(), *x); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(series*writers)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

// BenchmarkHead reports the memory of heads with 240 samples a series.
func BenchmarkHead(b *testing.B) {
	for _, series := range benchSizes {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			for b.Loop() {
				db := sealedDB(b, series, false)
				b.ReportMetric(float64(db.Stats().HeadBytes)/float64(series), "B/series")
				db.Close()
			}
		})
	}
}
