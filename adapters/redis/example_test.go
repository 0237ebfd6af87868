package redis_test

import (
	"context"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/ashlar-go/ashlar/adapters/redis"
	viagoredis "github.com/ashlar-go/ashlar/adapters/redis/goredis"
	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/ratelimit"
)

// dial connects to a server that the examples start; yours is at an address of its own.
func dial() (redis.Client, func(), error) {
	addr, stop, err := serve()
	if err != nil {
		return nil, nil, err
	}
	c := goredis.NewClient(&goredis.Options{Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true})
	return viagoredis.New(c), func() { _ = c.Close(); stop() }, nil
}

// Three requests an hour, and what to tell the fourth.
func Example() {
	ctx := context.Background()
	client, stop, err := dial()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	limiter, err := redis.New(client, ratelimit.GCRA{Rate: ratelimit.Per(3, time.Hour)}, &redis.Options{
		Failure: redis.Local, Nodes: 4, // without Redis, a fourth of the limit in each process
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 4 {
		d, err := limiter.Check(ctx, "user 7", 1)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(d.OK, d.Remaining, d.RetryAfter.Round(time.Minute))
	}
	// Output:
	// true 2 0s
	// true 1 0s
	// true 0 0s
	// false 0 20m0s
}

// Of a thousand requests with one key, few ask Redis.
func ExampleNear() {
	ctx := context.Background()
	client, stop, err := dial()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	limiter, err := redis.New(client, ratelimit.GCRA{Rate: ratelimit.Per(500, time.Hour)}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	near, err := redis.NewNear(limiter, &redis.NearOptions{Mode: redis.Lease})
	if err != nil {
		fmt.Println(err)
		return
	}
	passed := 0
	for range 1000 {
		if d, err := near.Check(ctx, "user 7", 1); err == nil && d.OK {
			passed++
		}
	}
	if err := near.Close(); err != nil { // gives back what is left
		fmt.Println(err)
	}
	fmt.Println(passed, "pass, in fewer than 100 calls:", near.Stats().Calls < 100)
	// Output: 500 pass, in fewer than 100 calls: true
}

// A user's limit and that of a route, together. On a cluster the keys need a common tag.
func ExampleCheckAll() {
	ctx := context.Background()
	client, stop, err := dial()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	user, err := redis.New(client, ratelimit.GCRA{Rate: ratelimit.Per(100, time.Hour)}, &redis.Options{Prefix: "user:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	route, err := redis.New(client, ratelimit.SlidingLog{Rate: ratelimit.Per(2, time.Hour)}, &redis.Options{Prefix: "route:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		d, rule, err := redis.CheckAll(ctx, 1, redis.Rule{Limiter: user, Key: "{7}"}, redis.Rule{Limiter: route, Key: "{7}/search"})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(d.OK, "rule", rule)
	}
	d, err := user.Check(ctx, "{7}", 0)
	fmt.Println(d.Remaining, err) // what was refused by the other is not counted
	// Output:
	// true rule 1
	// true rule 1
	// false rule 1
	// 98 <nil>
}

// A payment that comes twice is made once.
func ExampleIdem() {
	ctx := context.Background()
	client, stop, err := dial()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	backend, err := redis.NewIdem(client, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := idem.New(backend, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	for range 2 {
		result, err := store.Do(ctx, "order 17", []byte("hash of the request"), func(context.Context, *idem.Attempt) ([]byte, error) {
			fmt.Println("charging")
			return []byte("charge 4711"), nil
		})
		fmt.Println(string(result), err)
	}
	// Output:
	// charging
	// charge 4711 <nil>
	// charge 4711 <nil>
}

// A product page that many ask for is rendered once.
func ExampleCache() {
	ctx := context.Background()
	client, stop, err := dial()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	cache, err := redis.NewCache(client, &redis.CacheOptions{TTL: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close()
	render := func(context.Context) ([]byte, error) {
		fmt.Println("rendering")
		return []byte("<h1>Tea</h1>"), nil
	}
	for range 3 {
		page, err := cache.Get(ctx, "product 5", render)
		fmt.Println(string(page), err)
	}
	// Output:
	// rendering
	// <h1>Tea</h1> <nil>
	// <h1>Tea</h1> <nil>
	// <h1>Tea</h1> <nil>
}
