package ratelimit_test

import (
	"fmt"
	"log"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// Two requests in a second, and three at once after a pause.
func Example() {
	l, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(2, time.Second), Burst: 3}, nil)
	if err != nil {
		log.Fatal(err)
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, ms := range []int{0, 0, 0, 0, 300, 500, 600} {
		d := l.AllowAt(noon.Add(time.Duration(ms)*time.Millisecond), "ann", 1)
		fmt.Printf("%3d ms: %t, %d remain, retry after %v\n", ms, d.OK, d.Remaining, d.RetryAfter)
	}
	// Output:
	//   0 ms: true, 2 remain, retry after 0s
	//   0 ms: true, 1 remain, retry after 0s
	//   0 ms: true, 0 remain, retry after 0s
	//   0 ms: false, 0 remain, retry after 500ms
	// 300 ms: false, 0 remain, retry after 200ms
	// 500 ms: true, 0 remain, retry after 0s
	// 600 ms: false, 0 remain, retry after 400ms
}

// A user's limit and an address': a request counts with both or with none.
func ExampleAllowAll() {
	users, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(100, time.Hour)}, nil)
	if err != nil {
		log.Fatal(err)
	}
	addresses, err := ratelimit.New(ratelimit.GCRA{Rate: ratelimit.Per(2, time.Hour)}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		d, rule := ratelimit.AllowAll(1,
			ratelimit.Rule{Limiter: users, Key: "ann"}, ratelimit.Rule{Limiter: addresses, Key: "192.0.2.7"})
		fmt.Println(d.OK, rule)
	}
	fmt.Println("left for ann:", users.AllowN("ann", 0).Remaining)
	// Output:
	// true 1
	// true 1
	// false 1
	// left for ann: 98
}

// Nothing is lost over a restart.
func ExampleRestore() {
	policy := ratelimit.GCRA{Rate: ratelimit.Per(1, time.Hour)}
	l, err := ratelimit.New(policy, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Allow("ann"))
	snapshot, err := l.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}
	restarted, err := ratelimit.Restore(snapshot, policy, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(restarted.Allow("ann"))
	// Output:
	// true
	// false
}
