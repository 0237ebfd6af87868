module github.com/ashlar-go/ashlar/adapters/kafka

go 1.26.0

require github.com/ashlar-go/ashlar v0.0.0

require github.com/cespare/xxhash/v2 v2.3.0 // indirect

replace github.com/ashlar-go/ashlar => ../..
