package geohash

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// crowd returns points of a few towns, most of them near the centres.
func crowd(n int) []Point {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	towns := [][3]float64{{40.75, -73.98, 0.08}, {55.75, 37.62, 0.12}, {-17.8, 179.99, 0.05}, {1.3, 103.8, 0.05}}
	points := make([]Point, n)
	for i := range points {
		t := towns[r.IntN(len(towns))]
		points[i] = Point{t[0] + r.NormFloat64()*t[2], Wrap(t[1] + r.NormFloat64()*t[2])}
	}
	return points
}

var (
	sinkCell  Cell
	sinkFloat float64
)

func BenchmarkCellAt(b *testing.B) {
	points := crowd(1 << 12)
	b.ReportAllocs()
	for i := range b.N {
		p := points[i&(1<<12-1)]
		c, _ := CellAt(p.Lat, p.Lon, MaxBits)
		sinkCell ^= c
	}
}

func BenchmarkAppendEncode(b *testing.B) {
	points, buf := crowd(1<<12), make([]byte, 0, 16)
	b.ReportAllocs()
	for i := range b.N {
		p := points[i&(1<<12-1)]
		buf, _ = AppendEncode(buf[:0], p.Lat, p.Lon, 12)
	}
}

func BenchmarkParse(b *testing.B) {
	texts := make([]string, 1<<12)
	for i, p := range crowd(len(texts)) {
		texts[i], _ = Encode(p.Lat, p.Lon, 12)
	}
	b.ReportAllocs()
	for i := range b.N {
		c, _ := Parse(texts[i&(1<<12-1)])
		lat, _ := c.Center()
		sinkFloat += lat
	}
}

func BenchmarkNeighbors(b *testing.B) {
	points := crowd(1 << 12)
	cells, buf := make([]Cell, len(points)), make([]Cell, 0, 8)
	for i, p := range points {
		cells[i], _ = CellAt(p.Lat, p.Lon, 40)
	}
	b.ReportAllocs()
	for i := range b.N {
		buf = cells[i&(1<<12-1)].AppendNeighbors(buf[:0])
		sinkCell ^= buf[3]
	}
}

func BenchmarkCoverCircle(b *testing.B) {
	points, buf := crowd(1<<12), []Cell(nil)
	for _, n := range []int{8, 16, 64} {
		b.Run(fmt.Sprintf("cells=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				p := points[i&(1<<12-1)]
				buf, _ = CoverCircle(buf[:0], p.Lat, p.Lon, 5000, n)
			}
		})
	}
}

func BenchmarkIndex(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		points := crowd(n)
		ix := NewIndex[int](nil)
		for i, p := range points {
			if err := ix.Put(i, p.Lat, p.Lon); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("Put/points=%d", n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(3, 4))
			b.ReportAllocs()
			for range b.N {
				i := r.IntN(n)
				p := &points[i]
				p.Lat += (r.Float64() - 0.5) * 1e-3
				p.Lon = Wrap(p.Lon + (r.Float64()-0.5)*1e-3)
				_ = ix.Put(i, p.Lat, p.Lon)
			}
		})
		b.Run(fmt.Sprintf("Nearest/points=%d", n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 6))
			var buf []Found[int]
			b.ReportAllocs()
			for range b.N {
				p := points[r.IntN(n)]
				buf, _ = ix.Nearest(buf[:0], p.Lat, math.Min(p.Lon+0.001, 180), 10, nil)
			}
		})
	}
}
