module github.com/ashlar-go/ashlar/bench/redis

go 1.26.0

require (
	github.com/ashlar-go/ashlar v0.0.0
	github.com/ashlar-go/ashlar/adapters/redis v0.0.0
	github.com/ashlar-go/ashlar/bench v0.0.0
	github.com/go-redis/redis_rate/v10 v10.0.1
	github.com/redis/go-redis/v9 v9.23.0
	github.com/redis/rueidis v1.0.79
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace (
	github.com/ashlar-go/ashlar => ../..
	github.com/ashlar-go/ashlar/adapters/redis => ../../adapters/redis
	github.com/ashlar-go/ashlar/bench => ..
)
