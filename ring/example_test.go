package ring_test

import (
	"fmt"

	"github.com/ashlar-go/ashlar/ring"
)

func Example() {
	r, err := ring.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, node := range []string{"cache-1", "cache-2", "cache-3"} {
		if err := r.Add(node, 1); err != nil {
			fmt.Println(err)
			return
		}
	}
	owner, _ := r.Owner("user/42")
	fmt.Println("user/42 is on", owner)
	fmt.Println("and, if that fails, on", r.Owners("user/42", 2)[1])
	// Output:
	// user/42 is on cache-2
	// and, if that fails, on cache-3
}

// Before a node joins one can tell what will have to be moved to it.
func ExampleRing_Moves() {
	now, _ := ring.New(nil)
	for i := range 9 {
		if err := now.Add(fmt.Sprint("node-", i), 1); err != nil {
			fmt.Println(err)
			return
		}
	}
	planned := now.Clone()
	if err := planned.Add("node-9", 1); err != nil {
		fmt.Println(err)
		return
	}
	from := map[string]bool{}
	for m := range planned.Moves(now) {
		from[m.Old] = true
	}
	fmt.Printf("%.0f %% of the keys move, from %d nodes, all to the new one\n", 100*planned.Moved(now), len(from))
	// Output:
	// 9 % of the keys move, from 9 nodes, all to the new one
}

// A very popular key spreads over as many nodes as it needs.
func ExampleBalancer() {
	r, _ := ring.New(nil)
	for i := range 4 {
		if err := r.Add(fmt.Sprint("node-", i), 1); err != nil {
			fmt.Println(err)
			return
		}
	}
	b, err := ring.NewBalancer(r, 0.25)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 1000 {
		b.Assign("the one that everybody wants")
	}
	most := 0
	for name := range r.All() {
		most = max(most, b.Load(name))
	}
	fmt.Println("of 1000 requests, the busiest of 4 nodes has", most)
	// Output:
	// of 1000 requests, the busiest of 4 nodes has 313
}
