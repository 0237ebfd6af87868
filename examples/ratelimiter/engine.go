//go:build !engines

package main

import "errors"

// openRedis returns what decides in Redis. See engine_tagged.go.
func openRedis(setting) (decider, error) { return nil, errEngines }

var errEngines = errors.New("-redis needs a client, with which this program was not built: " +
	"go run -tags engines ./examples/ratelimiter -redis redis://HOST:PORT")

// canRedis tells whether this program was built with a client.
const canRedis = false
