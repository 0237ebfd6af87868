package geohash_test

import (
	"fmt"

	"github.com/ashlar-go/ashlar/geohash"
)

func ExampleCellAt() {
	c, err := geohash.CellAt(40.7527, -73.9772, 30)
	if err != nil {
		panic(err)
	}
	east, _ := c.Neighbor(geohash.East)
	b := c.Bounds()
	fmt.Println(c, east, c.Parent(20))
	fmt.Printf("%.4f to %.4f, %.4f to %.4f\n", b.South, b.North, b.West, b.East)
	// Output:
	// dr5rud dr5ruf dr5r
	// 40.7483 to 40.7538, -73.9819 to -73.9709
}

// The ranges of a circle, to scan in a sorted store.
func ExampleCoverCircle() {
	cells, err := geohash.CoverCircle(nil, 40.7527, -73.9772, 800, 8)
	if err != nil {
		panic(err)
	}
	for _, r := range geohash.AppendRanges(nil, cells) {
		fmt.Println(r.First, r.Last)
	}
	// Output:
	// dr5ru3h00000 dr5ru3zzzzzz
	// dr5ru6h00000 dr5ru6zzzzzz
	// dr5ru7h00000 dr5ru7zzzzzz
	// dr5ru9000000 dr5ru9zzzzzz
	// dr5ruc000000 dr5rucgzzzzz
	// dr5rud000000 dr5rugzzzzzz
	// dr5rus000000 dr5ruszzzzzz
}

// Cells group points; the neighbours of a cell are needed to find what is near.
func ExampleCell_AppendNeighbors() {
	c, err := geohash.Parse("u4pru")
	if err != nil {
		panic(err)
	}
	fmt.Println(c.AppendNeighbors(nil))
	// Output:
	// [u4r2h u4r2j u4prv u4prt u4prs u4pre u4prg u4r25]
}

func ExampleIndex() {
	ix := geohash.NewIndex[string](nil)
	_ = ix.Put("Alice", 40.7580, -73.9855)
	_ = ix.Put("Bob", 40.7484, -73.9857)
	_ = ix.Put("Carol", 40.6892, -74.0445)
	near, err := ix.Nearest(nil, 40.7527, -73.9772, 2, nil) // Grand Central
	if err != nil {
		panic(err)
	}
	for _, f := range near {
		fmt.Printf("%s %.0f m\n", f.Key, f.Distance)
	}
	// Output:
	// Bob 861 m
	// Alice 914 m
}
