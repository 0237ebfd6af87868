package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/ring"
	"github.com/ashlar-go/ashlar/stream"
)

// lazily is a router that does not wait for its map: it takes changes and messages
// by turns, a batch of the one and a share of the other, one message for every topic
// in all. It returns how many found subscribers missing, and how many these are.
func (s *story) lazily(ctx context.Context) (messages, missed, expected int, err error) {
	d := newDirectory()
	for p, shard := range d {
		var mine []topicID
		for t := topicID(1); t <= topics; t++ {
			if partitionOf(t) == p {
				mine = append(mine, t)
			}
		}
		_, end, err := s.log.Bounds(ctx, shard.partition)
		if err != nil {
			return 0, 0, 0, err
		}
		b := stream.Batch{MaxBytes: 64 << 10}
		for len(mine) > 0 {
			if shard.next < end {
				if err := shard.read(ctx, s.log, &b); err != nil {
					return 0, 0, 0, err
				}
			}
			for _, t := range mine[:min(50, len(mine))] {
				size := s.people.sizes[t-1]
				expected += size
				if found := d.count(t); found < size {
					messages++
					missed += size - found
				}
			}
			mine = mine[min(50, len(mine)):]
		}
	}
	return messages, missed, expected, nil
}

// equal compares what routers know with the table.
func (d *directory) equal(t *table) (bool, error) {
	seen := map[topicID]int{}
	same := true
	err := t.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRows).ForEach(func(k, _ []byte) error {
			row := subscriptionOf(k)
			_, ok := d.shard(row.topic).of[row.topic][row.user]
			same = same && ok
			seen[row.topic]++
			return nil
		})
	})
	for _, s := range d {
		for topic, users := range s.of {
			same = same && len(users) == seen[topic]
		}
	}
	return same, err
}

// A choice is what ways to choose a server come to.
type choice struct {
	modulo, ring    float64 // share of users who are sent elsewhere when a server dies
	victim          float64 // share of those who were its
	owners, bounded float64 // connections of the fullest server, by the average
	away            float64 // share of users who are not with their owner
}

func chooseAll(users, online int) (c choice, err error) {
	r, err := ring.New(nil)
	if err != nil {
		return c, err
	}
	for i := range servers {
		if err := r.Add(fmt.Sprintf("push-%d", i+1), 1); err != nil {
			return c, err
		}
	}
	after := r.Clone()
	const victim = "push-2"
	after.Remove(victim)
	n := 0
	for u := range users {
		name := userID(u).name()
		old, _ := r.Owner(name)
		now, _ := after.Owner(name)
		if old == victim {
			c.victim++
		}
		if old != now {
			c.ring++
		}
		if modulo(userID(u), servers) != modulo(userID(u), servers-1) {
			c.modulo++
		}
		n++
	}
	c.victim, c.ring, c.modulo = c.victim/float64(n), c.ring/float64(n), c.modulo/float64(n)

	b, err := ring.NewBalancer(r, slack)
	if err != nil {
		return c, err
	}
	owned := map[string]int{}
	for u := range online {
		owner, _ := r.Owner(userID(u).name())
		owned[owner]++
		if got, _ := b.Assign(userID(u).name()); got != owner {
			c.away += 1 / float64(online)
		}
	}
	average := float64(online) / servers
	c.owners = float64(slices.Max(slices.Collect(maps.Values(owned)))) / average
	for name := range r.All() {
		c.bounded = max(c.bounded, float64(b.Load(name))/average)
	}
	return c, nil
}

// A burst is what one message to topic 1 does.
type burst struct {
	pushes        int
	reached       int           // devices that have shown it
	routed, small time.Duration // until the router was through; until all saw the small one
	polls, reads  int           // of topic 1 and for it, meanwhile
}

// burst sends the message, and another to a small topic of the same partition, and
// waits until everybody has both.
func (s *story) burst(ctx context.Context, name string, polledAt int) (b burst, err error) {
	s.service.polledAt.Store(int64(polledAt))
	defer s.service.polledAt.Store(popularFrom)
	keys, err := idem.Open(filepath.Join(s.dir, "keys of burst "+name), nil)
	if err != nil {
		return b, err
	}
	defer keys.Close()
	r := &router{
		log: s.log, group: "burst " + name, directory: s.directory, store: s.store, routing: s.routing,
		polledAt: polledAt, keepAll: true, keys: keys, patience: time.Second,
	}
	if err := s.fromNow(ctx, r.group); err != nil {
		return b, err
	}
	audience := s.people.reachable()
	behind := topicID(s.people.popular() + 1) // the largest small topic that is where topic 1 is
	for partitionOf(behind) != partitionOf(1) || len(audience[behind]) == 0 {
		behind++
	}

	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	var devices []*client
	defer func() {
		cancel(nil)
		wg.Wait()
		for _, c := range devices {
			s.routing.leave(c.user)
		}
	}()
	wg.Go(func() {
		if err := r.run(ctx); err != nil {
			cancel(err)
		}
	})
	since := s.producer.now()
	for u := range s.people.online {
		c := newClient(userID(u), s.service.url, true, time.Second, since)
		devices = append(devices, c)
		wg.Go(func() { c.run(ctx) })
	}
	err = s.until(ctx, "devices are connected", func() bool {
		for _, c := range devices {
			if server, _ := c.passed(); server == "" || c.rounds() == 0 {
				return false
			}
		}
		return true
	})
	if err != nil {
		return b, err
	}

	polls, reads := s.cache.count(1)
	began := time.Now()
	popular, err := s.producer.send(ctx, 1, "popular")
	if err != nil {
		return b, err
	}
	if err := s.routed(ctx, r.group); err != nil {
		return b, err
	}
	b.routed, b.pushes = time.Since(began), int(r.pushed.Load())

	// Once more, and the small one behind it: when do those see it?
	began = time.Now()
	_, err = s.producer.send(ctx, 1, "popular again")
	if err != nil {
		return b, err
	}
	second, err := s.producer.send(ctx, behind, "small")
	if err != nil {
		return b, err
	}
	err = s.until(ctx, "the small topic's subscribers have seen it", func() bool { return seen(devices, audience[behind], second) == len(audience[behind]) })
	if err != nil {
		return b, err
	}
	b.small = time.Since(began)
	err = s.until(ctx, "the popular topic's subscribers have seen it", func() bool { return seen(devices, audience[1], popular) == len(audience[1]) })
	if err != nil {
		return b, err
	}
	b.reached = seen(devices, audience[1], popular)
	morePolls, moreReads := s.cache.count(1)
	b.polls, b.reads = morePolls-polls, moreReads-reads
	return b, context.Cause(ctx)
}

// seen counts the users whose device has shown a message.
func seen(devices []*client, users []userID, m message) (n int) {
	for _, u := range users {
		c := devices[u]
		c.mu.Lock()
		if c.shown[m] > 0 {
			n++
		}
		c.mu.Unlock()
	}
	return n
}

func (r result) shown() int { return r.counts.pushed + r.counts.polled + r.counts.fetched }
