package bloom_test

import (
	"fmt"

	"github.com/ashlar-go/ashlar/bloom"
)

func Example() {
	f, err := bloom.New(1_000_000, 0.01)
	if err != nil {
		fmt.Println(err)
		return
	}
	f.AddString("order-7")
	fmt.Println(f.ContainsString("order-7"), f.ContainsString("order-8"))
	fmt.Printf("%.2f bits an item\n", float64(f.Bits())/1e6)
	// Output:
	// true false
	// 9.93 bits an item
}

// Two shards see different items; the union of their filters has seen both.
func ExampleFilter_Union() {
	east, _ := bloom.New(1000, 0.01)
	west, _ := bloom.New(1000, 0.01)
	east.AddString("ann")
	west.AddString("bob")
	err := east.Union(west)
	fmt.Println(err, east.ContainsString("ann"), east.ContainsString("bob"))
	// Output: <nil> true true
}

// Keys of the last three hours stand in front of a store of requests: only what the
// filter knows has to be looked up.
func ExampleGenerations() {
	seen, _ := bloom.NewGenerations(100_000, 0.001, 3)
	fmt.Println("new:", seen.AddString("request-1"))
	seen.Rotate() // an hour later
	fmt.Println("new:", seen.AddString("request-1"))
	for range 3 {
		seen.Rotate()
	}
	fmt.Println("three hours later, known:", seen.ContainsString("request-1"))
	// Output:
	// new: true
	// new: false
	// three hours later, known: false
}
