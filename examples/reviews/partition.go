package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/ring"
	"github.com/ashlar-go/ashlar/stream"
)

// logical is the number of partitions that the data is cut into on its first day, when
// one machine has all of them.
const logical = 64

// moved returns which share of the rows changes machines when so many become more.
func moved(rows int, from, to int) (modulo, cut float64, err error) {
	before, err := ring.New(nil)
	if err != nil {
		return 0, 0, err
	}
	for i := range from {
		if err := before.Add(fmt.Sprint("machine-", i), 1); err != nil {
			return 0, 0, err
		}
	}
	after := before.Clone()
	for i := from; i < to; i++ {
		if err := after.Add(fmt.Sprint("machine-", i), 1); err != nil {
			return 0, 0, err
		}
	}
	differ := 0
	for i := range rows {
		key := keyOf(businessID(i))
		if stream.PartitionOf(key, from) != stream.PartitionOf(key, to) {
			differ++
		}
		name := fmt.Sprint("partition-", stream.PartitionOf(key, logical))
		a, _ := before.Owner(name)
		b, _ := after.Owner(name)
		if a != b {
			cut++
		}
	}
	return float64(differ) / float64(rows), cut / float64(rows), nil
}

// byPlace cuts the businesses into partitions along the curve of their cells, with as many
// in each: the first cell of every partition.
func byPlace(t *table) []geohash.Cell {
	cuts := make([]geohash.Cell, logical)
	for i := range cuts[1:] {
		cuts[i+1] = t.rows[(i+1)*len(t.rows)/logical].cell
	}
	return cuts
}

func placeOf(cuts []geohash.Cell, c geohash.Cell) int {
	i, found := slices.BinarySearchFunc(cuts, c, func(a, b geohash.Cell) int { return cmp.Compare(a, b) })
	if !found {
		i--
	}
	return i
}

// touched returns how many partitions a question about what is near asks, on average.
func touched(cuts []geohash.Cell, spots []spot) float64 {
	sum := 0
	for _, s := range spots {
		cells, _ := geohash.CoverCircle(nil, s.lat, s.lon, s.metres, 16)
		seen := map[int]bool{}
		for _, r := range geohash.AppendRanges(nil, cells) {
			for i := placeOf(cuts, r.First); i < len(cuts) && cuts[i] <= r.Last; i++ {
				seen[i] = true
			}
		}
		sum += len(seen)
	}
	return float64(sum) / float64(len(spots))
}

// skew returns how much more than its share the busiest partition has.
func skew(loads []int) float64 {
	sum := 0
	for _, n := range loads {
		sum += n
	}
	return float64(slices.Max(loads)) * float64(len(loads)) / float64(sum)
}
