//go:build engines

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/ashlar-go/ashlar/adapters/redis"
	viagoredis "github.com/ashlar-go/ashlar/adapters/redis/goredis"
	"github.com/ashlar-go/ashlar/ratelimit"
)

// canRedis tells whether this program was built with a client.
const canRedis = true

// A redisDecider decides in Redis, or near it. It is what a remote, a denyCache, leases
// and a writeBack are, as a library.
type redisDecider struct {
	ratelimit.Checker
	client  *goredis.Client
	limiter *redis.Limiter
	near    *redis.Near // nil without one
}

// openRedis returns what decides in Redis. Keys have a name of their own for each
// setting.
func openRedis(s setting) (decider, error) {
	o, err := goredis.ParseURL(s.Redis)
	if err != nil {
		return nil, err
	}
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaxRetries, o.DialerRetries = -1, 1 // what to do without Redis is for the setting to say
	d := &redisDecider{client: goredis.NewClient(o)}
	p, err := s.Policy.policy(1)
	if err != nil {
		return nil, err
	}
	failure := map[string]redis.Failure{failOpen: redis.Open, failClosed: redis.Closed, failShare: redis.Local}
	d.limiter, err = redis.New(viagoredis.New(d.client), p, &redis.Options{
		Prefix: s.Run + ":", Timeout: s.Timeout, Failure: failure[s.Fail], Nodes: s.Balancers,
	})
	if err != nil {
		return nil, errors.Join(err, d.client.Close())
	}
	d.Checker = d.limiter
	near := &redis.NearOptions{Share: s.Share, Lease: min(s.Keep, time.Minute), MaxPending: s.Pending, Flush: s.Flush}
	switch s.Mode {
	case modeRemote:
		near = nil
	case modeDeny:
		near.Mode = redis.Deny
	case modeLease:
		near.Mode = redis.Lease
	case modeBack:
		near.Mode = redis.WriteBack
	default:
		return nil, errors.Join(fmt.Errorf("no mode is called %q", s.Mode), d.client.Close())
	}
	if near != nil {
		if d.near, err = redis.NewNear(d.limiter, near); err != nil {
			return nil, errors.Join(err, d.client.Close())
		}
		d.Checker = d.near
	}
	if err := d.client.Ping(context.Background()).Err(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *redisDecider) counts() (calls, without int) {
	if d.near != nil {
		calls = int(d.near.Stats().Calls)
	} else {
		calls = int(d.limiter.Stats().Calls)
	}
	return calls, int(d.limiter.Stats().Without)
}

func (d *redisDecider) close() error {
	var err error
	if d.near != nil {
		err = d.near.Close()
	}
	return errors.Join(err, d.client.Close())
}
