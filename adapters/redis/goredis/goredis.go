// Package goredis makes a client of package redis from one of github.com/redis/go-redis.
package goredis

import (
	"context"
	"errors"

	goredis "github.com/redis/go-redis/v9"

	"github.com/ashlar-go/ashlar/adapters/redis"
)

// New returns a client that uses c: a *goredis.Client, *ClusterClient or *Ring, whose
// options hold. It does not close it. A Ring counts as a cluster, since it spreads keys
// by their hash tags too; all keys of one slot are on one shard.
//
// go-redis repeats a command up to MaxRetries times when the connection breaks, so that
// a limit may count a request twice: it errs to the safe side. It heeds a context's
// deadline while it reads only with ContextTimeoutEnabled; package redis answers its
// callers in time without it, but the connection is busy for longer, and each request that
// comes alone takes a goroutine. With it, a cancellation that is no deadline is noticed when
// the answer comes, or at the timeout.
func New(c goredis.UniversalClient) redis.Client {
	out := &client{c: c, cluster: true}
	switch c := c.(type) {
	case *goredis.Client:
		out.cluster, out.heeds = false, c.Options().ContextTimeoutEnabled
	case *goredis.ClusterClient:
		out.heeds = c.Options().ContextTimeoutEnabled
	case *goredis.Ring:
		out.heeds = c.Options().ContextTimeoutEnabled
	}
	return out
}

type client struct {
	c              goredis.UniversalClient
	cluster, heeds bool
}

// Heeds implements redis.Client.
func (c *client) Heeds() bool { return c.heeds }

// Cluster implements redis.Client.
func (c *client) Cluster() bool { return c.cluster }

// Do implements redis.Client.
func (c *client) Do(ctx context.Context, cmds []redis.Command) []redis.Reply {
	replies := make([]redis.Reply, len(cmds))
	if len(cmds) == 1 {
		replies[0] = reply(c.c.Do(ctx, words(cmds[0])...))
		return replies
	}
	pipe := c.c.Pipeline()
	sent := make([]*goredis.Cmd, len(cmds))
	for i, cmd := range cmds {
		sent[i] = pipe.Do(ctx, words(cmd)...)
	}
	_, err := pipe.Exec(ctx)
	for i, cmd := range sent {
		replies[i] = reply(cmd)
		if err != nil && replies[i].Err == nil && cmd.Val() == nil && !errors.Is(cmd.Err(), goredis.Nil) {
			replies[i].Err = err // never sent
		}
	}
	return replies
}

func words(c redis.Command) []any {
	list := make([]any, 0, len(c.Name)+len(c.Keys)+len(c.Args))
	for _, part := range [][]string{c.Name, c.Keys, c.Args} {
		for _, s := range part {
			list = append(list, s)
		}
	}
	return list
}

func reply(cmd *goredis.Cmd) redis.Reply {
	v, err := cmd.Result()
	if errors.Is(err, goredis.Nil) {
		return redis.Reply{}
	}
	return redis.Reply{Value: v, Err: err}
}
