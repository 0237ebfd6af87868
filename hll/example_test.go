package hll_test

import (
	"fmt"
	"log"

	"github.com/ashlar-go/ashlar/hll"
)

// Two servers count their users; who was on both counts once.
func Example() {
	monday, err := hll.NewExa(11)
	if err != nil {
		log.Fatal(err)
	}
	tuesday, err := hll.NewExa(11)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 60_000 {
		monday.AddString(fmt.Sprint("user-", i))
	}
	for i := 40_000; i < 100_000; i++ {
		tuesday.AddString(fmt.Sprint("user-", i))
	}

	b, err := tuesday.MarshalBinary() // over the network
	if err != nil {
		log.Fatal(err)
	}
	var received hll.Exa
	if err := received.UnmarshalBinary(b); err != nil {
		log.Fatal(err)
	}
	monday.Merge(&received)

	lo, hi := monday.Bounds(3)
	fmt.Printf("%d bytes\n", len(b))
	fmt.Printf("off by less than 2 %%: %t\n", monday.Estimate() > 98_000 && monday.Estimate() < 102_000)
	fmt.Printf("100,000 between the bounds: %t\n", lo < 100_000 && 100_000 < hi)
	// Output:
	// 7184 bytes
	// off by less than 2 %: true
	// 100,000 between the bounds: true
}

// Small sets are as good as exact, and AddString tells what is new.
func ExampleExa_AddString() {
	s, err := hll.NewExa(11)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.AddString("ann"), s.AddString("bob"), s.AddString("ann"))
	fmt.Printf("%.0f\n", s.Estimate())
	// Output:
	// true true false
	// 2
}

// A day's sketch is kept for years at a third of its size.
func ExampleExa_Reduce() {
	s, err := hll.NewExa(11)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 1_000_000 {
		s.AddHash(hll.HashUint64(uint64(i)))
	}
	before, _ := s.MarshalBinary()
	if err := s.Reduce(9, 20); err != nil {
		log.Fatal(err)
	}
	after, _ := s.MarshalBinary()
	fmt.Printf("%d bytes, then %d, standard error %.1f %%\n", len(before), len(after), 100*s.RelativeError())
	// Output:
	// 7184 bytes, then 1808, standard error 1.6 %
}

// The bytes for a key of Redis.
func ExampleSketch_AppendRedis() {
	s, err := hll.New(14)
	if err != nil {
		log.Fatal(err)
	}
	s.AddHash(hll.RedisHash([]byte("ann")))
	b, err := s.AppendRedis(nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("SET users <%d bytes that begin with %s>, then PFADD, PFCOUNT and PFMERGE work\n", len(b), b[:4])
	back, err := hll.ParseRedis(b) // what GET users returns
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.0f\n", back.Estimate())
	// Output:
	// SET users <21 bytes that begin with HYLL>, then PFADD, PFCOUNT and PFMERGE work
	// 1
}
