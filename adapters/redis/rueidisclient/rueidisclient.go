// Package rueidisclient makes a client of package redis from one of
// github.com/redis/rueidis.
package rueidisclient

import (
	"context"

	"github.com/redis/rueidis"

	"github.com/ashlar-go/ashlar/adapters/redis"
)

// New returns a client that uses c, whose options hold. It does not close it.
func New(c rueidis.Client) redis.Client { return client{c} }

type client struct{ c rueidis.Client }

// Cluster implements redis.Client.
func (c client) Cluster() bool { return c.c.Mode() == rueidis.ClientModeCluster }

// Heeds implements redis.Client.
func (c client) Heeds() bool { return true }

// Do implements redis.Client.
func (c client) Do(ctx context.Context, cmds []redis.Command) []redis.Reply {
	replies := make([]redis.Reply, len(cmds))
	if len(cmds) == 1 {
		replies[0] = reply(c.c.Do(ctx, c.build(cmds[0])))
		return replies
	}
	built := make([]rueidis.Completed, len(cmds))
	for i, cmd := range cmds {
		built[i] = c.build(cmd)
	}
	for i, r := range c.c.DoMulti(ctx, built...) {
		replies[i] = reply(r)
	}
	return replies
}

func (c client) build(cmd redis.Command) rueidis.Completed {
	return c.c.B().Arbitrary(cmd.Name...).Keys(cmd.Keys...).Args(cmd.Args...).Build()
}

func reply(r rueidis.RedisResult) redis.Reply {
	v, err := r.ToAny()
	if rueidis.IsRedisNil(err) {
		return redis.Reply{}
	}
	return redis.Reply{Value: v, Err: err}
}
