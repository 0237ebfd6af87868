package tsdb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHead puts samples of many shapes into a head, and compares what a reader
// sees with a map of all samples, the last for each time.
func TestHead(t *testing.T) {
	seeds := 60
	if full {
		seeds = 2000
	}
	for seed := range uint64(seeds) {
		testHead(t, seed)
	}
}

func testHead(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 12))
	h := &head{start: start, end: start + 24*3600_000}
	const series = 6
	h.grow(series)
	var c headCoder
	var models [series]map[int64]float64
	var clocks, steps [series]int64
	for i := range models {
		models[i] = map[int64]float64{}
		clocks[i], steps[i] = start+rnd.Int64N(1000_000), 1+rnd.Int64N(15_000)
	}
	gaps, jitter, late, repeat, constant := rnd.IntN(4) == 0, rnd.IntN(4) == 0, rnd.IntN(2) == 0, rnd.IntN(3) == 0, rnd.IntN(3) == 0
	check := func() {
		var w headView
		for ord := range uint32(series) {
			require.Equal(t, len(models[ord]) > 0, h.view(ord, &w), "seed %d", seed)
			if len(models[ord]) == 0 {
				continue
			}
			at, v := w.samples(&c)
			want := make([]int64, 0, len(at))
			for x := range models[ord] {
				want = append(want, x)
			}
			slices.Sort(want)
			require.Equal(t, want, at, "seed %d, series %d", seed, ord)
			for i, x := range at {
				require.Equal(t, math.Float64bits(models[ord][x]), math.Float64bits(v[i]), "seed %d, series %d, at %d", seed, ord, x)
			}
		}
	}
	for n := range 6000 {
		ord := uint32(rnd.IntN(series))
		if rnd.IntN(1000) == 0 {
			steps[ord] = 1 + rnd.Int64N(15_000)
		}
		clocks[ord] += steps[ord]
		if gaps && rnd.IntN(10) == 0 {
			clocks[ord] += steps[ord] * rnd.Int64N(40)
		}
		at := clocks[ord]
		switch {
		case jitter && rnd.IntN(3) == 0:
			at += rnd.Int64N(5)
		case late && rnd.IntN(10) == 0:
			at -= steps[ord] * rnd.Int64N(300)
		case late && rnd.IntN(100) == 0:
			at -= rnd.Int64N(2_000_000)
		case repeat && rnd.IntN(10) == 0:
			at -= steps[ord] * rnd.Int64N(20)
		}
		at = min(max(at, h.start), h.end-1)
		v := float64(ord)
		if !constant || n/500%3 == 0 {
			v = float64(rnd.IntN(1000)) / 8
		}
		h.add(&h.series[ord], ord, &c, at, v)
		models[ord][at] = v
		if rnd.IntN(500) == 0 {
			check()
		}
		if rnd.IntN(3000) == 0 { // a delete
			var w headView
			h.view(ord, &w)
			ts, vs := w.samples(&c)
			n := rnd.IntN(len(ts) + 1)
			for _, x := range ts[:n] {
				delete(models[ord], x)
			}
			h.set(ord, &c, slices.Clone(ts[n:]), slices.Clone(vs[n:]))
		}
	}
	check()
	require.Positive(t, h.bytes.Load())
	for ord := range uint32(series) {
		h.set(ord, &c, nil, nil)
	}
	want := int64(0) // what late samples took stays with the head
	for i := range h.late {
		want += int64(cap(h.late[i].list))*lateSampleBytes + int64(cap(h.late[i].ends))*lateEndBytes
	}
	require.Equal(t, want, h.bytes.Load(), "seed %d: the estimate of memory adds up", seed)
}

// TestHeadMemory counts what the buffers of ordinary series take: values alone,
// and nothing while they are constant.
func TestHeadMemory(t *testing.T) {
	var c headCoder
	for _, x := range []struct {
		name  string
		value func(i int) float64
		time  func(i int) int64
		want  int64
	}{
		{"constant", func(int) float64 { return 5 }, func(i int) int64 { return int64(i) * 1000 }, 0},
		{"gaps", func(int) float64 { return 5 }, func(i int) int64 { return int64(i+i/10) * 1000 }, 0},
		{"varying", func(i int) float64 { return float64(i) }, func(i int) int64 { return int64(i) * 1000 }, headValsBytes},
		{"no step", func(i int) float64 { return float64(i) }, func(i int) int64 { return int64(i*i) * 10 }, headValsBytes + headOddBytes},
	} {
		h := &head{start: start, end: start + 24*3600_000}
		h.grow(1)
		for i := range 20 {
			h.add(&h.series[0], 0, &c, start+x.time(i), x.value(i))
		}
		require.Equal(t, x.want, h.bytes.Load(), x.name)
	}
}

// TestLateLogDropsTaken: the list of late samples does not grow with those that
// were joined.
func TestLateLogDropsTaken(t *testing.T) {
	h := &head{start: start, end: start + 24*3600_000}
	h.grow(8)
	var c headCoder
	for i := range 20_000 {
		for ord := range uint32(8) {
			at := start + int64(i)*1000
			if i%5 == 4 {
				at -= 200_500
			}
			if at >= start {
				h.add(&h.series[ord], ord, &c, at, float64(i))
			}
		}
	}
	for i := range h.late {
		require.LessOrEqual(t, cap(h.late[i].list), 1024, fmt.Sprint("shard ", i))
	}
}

// TestKeyTable against a map.
func TestKeyTable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	var keys []string
	x, model := &keyTable{}, map[string]uint32{}
	for range 5000 {
		key := fmt.Sprint("key ", rnd.IntN(4000))
		hash := keyHash(key)
		ord, ok := findKey(x, keys, hash, []byte(key))
		want, has := model[key]
		require.Equal(t, has, ok)
		if ok {
			require.Equal(t, want, ord)
			continue
		}
		model[key] = uint32(len(keys))
		x.add(hash, uint32(len(keys)))
		keys = append(keys, key)
	}
	require.Equal(t, len(model), x.n)
	for key, ord := range model {
		if ord%3 == 0 {
			keys[ord] = gone
			delete(model, key)
		}
	}
	x = newKeyTable(keys)
	require.Equal(t, len(model), x.n)
	for i := range 4000 {
		key := fmt.Sprint("key ", i)
		ord, ok := findKey(x, keys, keyHash(key), key)
		want, has := model[key]
		require.Equal(t, has, ok)
		require.Equal(t, want, ord)
	}
}
