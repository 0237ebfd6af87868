// Package geo_test compares package geohash with what Go programs use today for the
// same purposes:
//
//	cd bench && GOWORK=off go test -bench Vs ./geo
//
// ASHLAR_ROADS=dir takes the places from the nodes of a real road network, the
// DIMACS file USA-road-d.NY.co.gz in that directory; else they are those of made-up
// towns.
package geo_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang/geo/s1"
	"github.com/golang/geo/s2"
	mmc "github.com/mmcloughlin/geohash"
	"github.com/tidwall/rtree"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/geohash"
)

const (
	drivers = 200_000
	mask    = 1<<16 - 1
)

type place struct{ lat, lon float64 }

// cars stand on the roads; globe is spread over the Earth evenly.
var cars, globe = sync.OnceValue(func() []place { return makeCars(drivers) }), sync.OnceValue(func() []place {
	r := rand.New(rand.NewPCG(1, 1))
	l := make([]place, mask+1)
	for i := range l {
		l[i] = place{math.Asin(2*r.Float64()-1) * 180 / math.Pi, r.Float64()*360 - 180}
	}
	return l
})

func makeCars(n int) []place {
	r := rand.New(rand.NewPCG(2, 2))
	nodes := roads()
	l := make([]place, n)
	for i := range l {
		p := nodes[r.IntN(len(nodes))]
		l[i] = place{p.lat + r.Float64()*1e-4, p.lon + r.Float64()*1e-4}
	}
	return l
}

var roads = sync.OnceValue(func() []place {
	dir := os.Getenv("ASHLAR_ROADS")
	if dir == "" {
		r := rand.New(rand.NewPCG(3, 3))
		l := make([]place, 1<<18)
		for i := range l {
			// Towns around a city, denser towards its centre.
			a, d := r.Float64()*2*math.Pi, 0.5*r.Float64()*r.Float64()
			l[i] = place{40.7 + d*math.Sin(a), -74 + d*math.Cos(a)}
		}
		return l
	}
	f, err := os.Open(filepath.Join(dir, "USA-road-d.NY.co.gz"))
	if err != nil {
		panic(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	var l []place
	for s := bufio.NewScanner(z); s.Scan(); {
		var id int
		var lon, lat float64
		if n, _ := fmt.Sscanf(s.Text(), "v %d %g %g", &id, &lon, &lat); n == 3 {
			l = append(l, place{lat / 1e6, lon / 1e6})
		}
	}
	return l
})

func BenchmarkVs(b *testing.B) {
	b.Run("encode/mmcloughlin", func(b *testing.B) { encode(b) })
	b.Run("encode-text/mmcloughlin", func(b *testing.B) { encodeText(b) })
	b.Run("decode-text/mmcloughlin", func(b *testing.B) { decodeText(b) })
	b.Run("neighbors/mmcloughlin", func(b *testing.B) { neighbors(b) })
	b.Run("cover/s2", func(b *testing.B) { cover(b) })
	b.Run("cover-polygon/s2", func(b *testing.B) { coverPolygon(b) })
	b.Run("move/rtree", func(b *testing.B) { move(b, cars()) })
	b.Run("nearest/rtree", func(b *testing.B) { nearest(b, cars()) })
	b.Run("mixed/rtree", func(b *testing.B) { mixed(b) })
	b.Run("move-2M/rtree", func(b *testing.B) { move(b, makeCars(2_000_000)) })
	b.Run("nearest-2M/rtree", func(b *testing.B) { nearest(b, makeCars(2_000_000)) })
	b.Run("nearest-stadium/rtree", func(b *testing.B) { nearest(b, stadium()) })
	b.Run("memory/rtree", func(b *testing.B) { memory(b) })
}

// stadium returns cars half of which stand within one kilometre.
func stadium() []place {
	l := slices.Clone(cars())
	r := rand.New(rand.NewPCG(4, 4))
	for i := range l[:len(l)/2] {
		l[2*i] = place{40.75 + r.Float64()*0.009, -73.99 + r.Float64()*0.012}
	}
	return l
}

var (
	sinkU uint64
	sinkF float64
	sinkS string
)

func encode(b *testing.B) {
	l := globe()
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for i := range r.N {
				p := &l[i&mask]
				c, _ := geohash.CellAt(p.lat, p.lon, geohash.MaxBits)
				sinkU += uint64(c)
			}
		},
		Theirs: func(r *versus.Round) {
			for i := range r.N {
				p := &l[i&mask]
				sinkU += mmc.EncodeInt(p.lat, p.lon)
			}
		},
		Goal: 1,
	})
}

func encodeText(b *testing.B) {
	l, buf := globe(), make([]byte, 0, 16)
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for i := range r.N {
				p := &l[i&mask]
				buf, _ = geohash.AppendEncode(buf[:0], p.lat, p.lon, 12)
			}
		},
		Theirs: func(r *versus.Round) {
			for i := range r.N {
				p := &l[i&mask]
				sinkS = mmc.Encode(p.lat, p.lon)
			}
		},
		Goal: 1.4,
	})
}

func decodeText(b *testing.B) {
	l := make([]string, mask+1)
	for i, p := range globe() {
		l[i] = mmc.Encode(p.lat, p.lon)
	}
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for i := range r.N {
				c, _ := geohash.Parse(l[i&mask])
				lat, lon := c.Center()
				sinkF += lat + lon
			}
		},
		Theirs: func(r *versus.Round) {
			for i := range r.N {
				lat, lon := mmc.DecodeCenter(l[i&mask])
				sinkF += lat + lon
			}
		},
		Goal: 1.4,
	})
}

func neighbors(b *testing.B) {
	cells, ints, buf := make([]geohash.Cell, mask+1), make([]uint64, mask+1), make([]geohash.Cell, 0, 8)
	for i, p := range globe() {
		c, err := geohash.CellAt(p.lat, p.lon, 40)
		if err != nil {
			b.Fatal(err)
		}
		cells[i], ints[i] = c, c.Int()
	}
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for i := range r.N {
				buf = cells[i&mask].AppendNeighbors(buf[:0])
				sinkU += uint64(buf[3])
			}
		},
		Theirs: func(r *versus.Round) {
			for i := range r.N {
				sinkU += mmc.NeighborsIntWithPrecision(ints[i&mask], 40)[3]
			}
		},
		Goal: 3,
	})
}

// cover covers circles of 5 km by 16 cells. How much more than the circle is
// covered is recorded too.
func cover(b *testing.B) {
	const metres = 5000
	l, buf := cars(), []geohash.Cell(nil)
	coverer := &s2.RegionCoverer{MinLevel: 5, MaxLevel: 16, MaxCells: 16}
	angle := metres / geohash.EarthRadius
	ours := func(p place) { buf, _ = geohash.CoverCircle(buf[:0], p.lat, p.lon, metres, 16) }
	theirs := func(p place) s2.CellUnion {
		centre := s2.PointFromLatLng(s2.LatLngFromDegrees(p.lat, p.lon))
		return coverer.Covering(s2.CapFromCenterAngle(centre, s1.Angle(angle)))
	}
	const sample = 1000
	var areaOurs, areaTheirs float64
	for _, p := range l[:sample] {
		ours(p)
		areaOurs += area(buf) / (math.Pi * metres * metres * sample)
		union := theirs(p)
		areaTheirs += union.ExactArea() / (math.Pi * angle * angle * sample)
	}
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for i := range r.N {
				ours(l[i%len(l)])
			}
			r.Metric(areaOurs, "area-of-circle")
		},
		Theirs: func(r *versus.Round) {
			for i := range r.N {
				theirs(l[i%len(l)])
			}
			r.Metric(areaTheirs, "area-of-circle")
		},
		Goal: 3,
	})
}

// area returns the square metres of cells.
func area(cells []geohash.Cell) float64 {
	sum := 0.0
	for _, c := range cells {
		b := c.Bounds()
		sum += (math.Sin(b.North*math.Pi/180) - math.Sin(b.South*math.Pi/180)) * (b.East - b.West) * math.Pi / 180
	}
	return sum * geohash.EarthRadius * geohash.EarthRadius
}

// coverPolygon covers a star of 100 corners by 64 cells.
func coverPolygon(b *testing.B) {
	const corners = 100
	l := cars()[:256]
	rings, loops, areas := make([][][]geohash.Point, len(l)), make([]*s2.Polygon, len(l)), make([]float64, len(l))
	for i, p := range l {
		var ring []geohash.Point
		var points []s2.Point
		for k := range corners {
			d := 0.05
			if k%2 == 1 {
				d = 0.03
			}
			sin, cos := math.Sincos(2 * math.Pi * float64(k) / corners)
			q := geohash.Point{Lat: p.lat + d*sin, Lon: p.lon + d*cos}
			ring = append(ring, q)
			points = append(points, s2.PointFromLatLng(s2.LatLngFromDegrees(q.Lat, q.Lon)))
		}
		rings[i] = [][]geohash.Point{ring}
		loops[i] = s2.PolygonFromLoops([]*s2.Loop{s2.LoopFromPoints(points)})
		areas[i] = loops[i].Area() * geohash.EarthRadius * geohash.EarthRadius
	}
	coverer, buf := &s2.RegionCoverer{MaxLevel: 30, MaxCells: 64}, []geohash.Cell(nil)
	var areaOurs, areaTheirs float64
	for i := range l {
		buf, _ = geohash.CoverPolygon(buf[:0], rings[i], 64)
		areaOurs += area(buf) / areas[i] / float64(len(l))
		union := coverer.Covering(loops[i])
		areaTheirs += union.ExactArea() / loops[i].Area() / float64(len(l))
	}
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for i := range r.N {
				buf, _ = geohash.CoverPolygon(buf[:0], rings[i%len(l)], 64)
			}
			r.Metric(areaOurs, "area-of-polygon")
		},
		Theirs: func(r *versus.Round) {
			for i := range r.N {
				coverer.Covering(loops[i%len(l)])
			}
			r.Metric(areaTheirs, "area-of-polygon")
		},
		Goal: 1,
	})
}

func newIndex(b testing.TB, l []place) *geohash.Index[int64] {
	ix := geohash.NewIndex[int64](nil)
	for i, p := range l {
		if err := ix.Put(int64(i), p.lat, p.lon); err != nil {
			b.Fatal(err)
		}
	}
	return ix
}

func newTree(l []place) *rtree.RTreeG[int64] {
	var t rtree.RTreeG[int64]
	for i, p := range l {
		q := [2]float64{p.lon, p.lat}
		t.Insert(q, q, int64(i))
	}
	return &t
}

// A step is some fifty metres in any direction.
func step(r *rand.Rand, p place) place {
	return place{p.lat + (r.Float64()-0.5)*1e-3, p.lon + (r.Float64()-0.5)*1e-3}
}

// A report says where a car was and where it is now.
type report struct {
	car      int64
	from, to place
}

// move reads new positions off a list, to the end and back again. The tree has to be
// told the old one too, for which its users keep a map; here the list tells it for
// nothing.
func move(b *testing.B, l []place) {
	ix, tree := newIndex(b, l), newTree(l)
	random, now := rand.New(rand.NewPCG(5, 5)), slices.Clone(l)
	reports := make([]report, 1<<21)
	for i := range reports {
		car := random.IntN(len(l))
		to := step(random, now[car])
		reports[i] = report{int64(car), now[car], to}
		now[car] = to
	}
	pass := func(do func(r *report, back bool)) func(*versus.Round) {
		i, back := 0, false
		return func(r *versus.Round) {
			for range r.N {
				if back {
					i--
				}
				do(&reports[i], back)
				if !back {
					i++
				}
				if i == len(reports) || i == 0 {
					back = !back
				}
			}
		}
	}
	versus.Run(b, versus.Case{
		Ours: pass(func(r *report, back bool) {
			to := &r.to
			if back {
				to = &r.from
			}
			_ = ix.Put(r.car, to.lat, to.lon)
		}),
		Theirs: pass(func(r *report, back bool) {
			o, n := [2]float64{r.from.lon, r.from.lat}, [2]float64{r.to.lon, r.to.lat}
			if back {
				o, n = n, o
			}
			tree.Replace(o, o, r.car, n, n, r.car)
		}),
		Goal: 4,
	})
}

func nearest(b *testing.B, l []place) {
	ix, tree := newIndex(b, l), newTree(l)
	var found []geohash.Found[int64]
	var keys []int64
	for i := range 200 { // both must find points at the same distances
		p := l[i*991%len(l)]
		p.lon += 0.001
		found, _ = ix.Nearest(found[:0], p.lat, p.lon, 10, nil)
		keys = nearby(tree, p, 10, keys[:0])
		for j, k := range keys {
			d := geohash.Distance(p.lat, p.lon, l[k].lat, l[k].lon)
			if math.Abs(d-found[j].Distance) > 1e-3 {
				b.Fatalf("nearest %d of %v: %v m, the tree says %v", j, p, found[j].Distance, d)
			}
		}
	}
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			for i := range r.N {
				p := &l[i*7919%len(l)]
				found, _ = ix.Nearest(found[:0], p.lat, p.lon+0.001, 10, nil)
			}
		},
		Theirs: func(r *versus.Round) {
			for i := range r.N {
				p := l[i*7919%len(l)]
				p.lon += 0.001
				keys = nearby(tree, p, 10, keys[:0])
			}
		},
		Goal: 4,
	})
}

// mixed is nine moves for each search, from two goroutines.
func mixed(b *testing.B) {
	const workers = 2
	l := cars()
	ix, tree := newIndex(b, l), newTree(l)
	mine, theirs := slices.Clone(l), slices.Clone(l)
	var mu sync.RWMutex
	parallel := func(n int, work func(w, n int, r *rand.Rand)) {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() { work(w, n/workers+1, rand.New(rand.NewPCG(6, uint64(w)))) })
		}
		wg.Wait()
	}
	versus.Run(b, versus.Case{
		Ours: func(r *versus.Round) {
			parallel(r.N, func(w, n int, r *rand.Rand) {
				var found []geohash.Found[int64]
				for range n {
					i := r.IntN(len(l)/workers)*workers + w
					if r.IntN(10) == 0 {
						found, _ = ix.Nearest(found[:0], mine[i].lat, mine[i].lon, 10, nil)
						continue
					}
					mine[i] = step(r, mine[i])
					_ = ix.Put(int64(i), mine[i].lat, mine[i].lon)
				}
			})
		},
		Theirs: func(r *versus.Round) {
			parallel(r.N, func(w, n int, r *rand.Rand) {
				var keys []int64
				for range n {
					i := r.IntN(len(l)/workers)*workers + w
					if r.IntN(10) == 0 {
						mu.RLock()
						keys = nearby(tree, theirs[i], 10, keys[:0])
						mu.RUnlock()
						continue
					}
					from, to := theirs[i], step(r, theirs[i])
					o, n := [2]float64{from.lon, from.lat}, [2]float64{to.lon, to.lat}
					mu.Lock()
					tree.Replace(o, o, int64(i), n, n, int64(i))
					mu.Unlock()
					theirs[i] = to
				}
			})
		},
		Goal: 4,
	})
}

// memory compares bytes a driver. The tree alone cannot say where a driver is: with
// it comes the map that its users need to move one.
func memory(b *testing.B) {
	l := cars()
	size := func(r *versus.Round, build func() any) {
		for range r.N {
			before := heap()
			x := build()
			r.Size(int64(heap()-before) / drivers)
			runtime.KeepAlive(x)
		}
	}
	versus.Run(b, versus.Case{
		N:    1,
		Ours: func(r *versus.Round) { size(r, func() any { return newIndex(b, l) }) },
		Theirs: func(r *versus.Round) {
			size(r, func() any {
				at := map[int64]place{}
				for i, p := range l {
					at[int64(i)] = p
				}
				return []any{newTree(l), at}
			})
		},
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// nearby is a search on the sphere with the tree: it is told the least distance on
// the sphere from the point to a rectangle of degrees.
func nearby(t *rtree.RTreeG[int64], p place, k int, keys []int64) []int64 {
	t.Nearby(func(low, high [2]float64, _ int64, item bool) float64 {
		if item {
			return geohash.Distance(p.lat, p.lon, low[1], low[0])
		}
		return toRect(p, low, high)
	}, func(_, _ [2]float64, key int64, _ float64) bool {
		keys = append(keys, key)
		return len(keys) < k
	})
	return keys
}

func toRect(p place, low, high [2]float64) float64 {
	const rad = math.Pi / 180
	if p.lon >= low[0] && p.lon <= high[0] {
		if p.lat >= low[1] && p.lat <= high[1] {
			return 0
		}
		return min(math.Abs(p.lat-low[1]), math.Abs(p.lat-high[1])) * rad * geohash.EarthRadius
	}
	best := math.Inf(1)
	for _, edge := range [2]float64{low[0], high[0]} {
		// The nearest point of the edge, which is a piece of a meridian.
		lat := math.Copysign(90, p.lat)
		if d := math.Abs(math.Remainder(p.lon-edge, 360)) * rad; d < math.Pi/2 {
			lat = math.Atan2(math.Tan(p.lat*rad), math.Cos(d)) / rad
		}
		lat = max(low[1], min(high[1], lat))
		best = min(best, geohash.Distance(p.lat, p.lon, lat, edge))
	}
	return best
}

// TestSpeaksTheSame compares the hashes themselves with the peer's.
func TestSpeaksTheSame(t *testing.T) {
	for _, p := range globe() {
		text, err := geohash.Encode(p.lat, p.lon, 12)
		if err != nil {
			t.Fatal(err)
		}
		if want := mmc.Encode(p.lat, p.lon); !strings.EqualFold(text, want) {
			t.Fatalf("%v is %s, the peer says %s", p, text, want)
		}
	}
}
