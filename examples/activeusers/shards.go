package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ring"
	"github.com/ashlar-go/ashlar/stream"
)

// The exact way: a hash map of all users, divided among nodes. A ring says which
// node is a user's, always the same, so that no user is on two nodes and the nodes'
// counts add up.
type shards struct {
	ring  *ring.Ring
	nodes map[string]*shard
}

type shard struct {
	mu    sync.Mutex // guards users while jobs fill them
	users map[uint32]struct{}
}

func newShards(names ...string) (*shards, error) {
	r, err := ring.New(nil)
	if err != nil {
		return nil, err
	}
	s := &shards{ring: r, nodes: map[string]*shard{}}
	for _, name := range names {
		if err := r.Add(name, 1); err != nil {
			return nil, err
		}
		s.nodes[name] = &shard{users: map[uint32]struct{}{}}
	}
	return s, nil
}

func nodeNames(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("node-%d", i+1))
	}
	return out
}

// owner returns the node of a user.
func (s *shards) owner(user uint32) string {
	node, _ := s.ring.OwnerHash(userHash(user))
	return node
}

// fill sends the users of all events to their nodes, a few thousand at a time.
func (s *shards) fill(ctx context.Context, l stream.Log) error {
	return parallel(func(p int) error {
		queued := map[string][]uint32{}
		deliver := func(node string) {
			n := s.nodes[node]
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, u := range queued[node] {
				n.users[u] = struct{}{}
			}
			queued[node] = queued[node][:0]
		}
		err := each(ctx, l, p, 0, func(_ int64, _ time.Time, e event) error {
			node := s.owner(e.user)
			if queued[node] = append(queued[node], e.user); len(queued[node]) == 4096 {
				deliver(node)
			}
			return nil
		})
		for node := range queued {
			deliver(node)
		}
		return err
	})
}

func (s *shards) count() (n int) {
	for _, node := range s.nodes {
		n += len(node.users)
	}
	return n
}

// A resize is what a change of the ring moved.
type resize struct {
	moved     int // users
	sideways  int // of these, between two nodes that both stay
	predicted float64
	modulo    int // users that would have moved if user % nodes said whose they are
}

// change adds or removes a node, and moves what the new ring gives to others.
func (s *shards) change(add, remove string) (resize, error) {
	old := s.ring.Clone()
	if add != "" {
		if err := s.ring.Add(add, 1); err != nil {
			return resize{}, err
		}
		s.nodes[add] = &shard{users: map[uint32]struct{}{}}
	}
	if remove != "" {
		s.ring.Remove(remove)
	}
	r := resize{predicted: s.ring.Moved(old)}
	before, after := uint64(old.Len()), uint64(s.ring.Len())
	type transfer struct {
		user     uint32
		from, to string
	}
	var todo []transfer
	for name, node := range s.nodes {
		for u := range node.users {
			if h := userHash(u); h%before != h%after {
				r.modulo++
			}
			if to := s.owner(u); to != name {
				todo = append(todo, transfer{u, name, to})
			}
		}
	}
	for _, t := range todo {
		if t.to != add && t.from != remove {
			r.sideways++
		}
		delete(s.nodes[t.from].users, t.user)
		s.nodes[t.to].users[t.user] = struct{}{}
	}
	r.moved = len(todo)
	if remove != "" {
		delete(s.nodes, remove)
	}
	return r, nil
}
