package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/stream"
)

// A plan says which precautions a drill takes.
type plan struct {
	name   string
	keys   bool // the router has a key for each notification and user
	memory bool // devices know what they have shown, and fetch what they have not
}

// A result is what a drill came to.
type result struct {
	plan
	expected int // notifications times subscribers with a device
	lost     int // never shown
	counts
	routed                            int // pushes that were answered
	unanswered, stopped, offline, fed int64
	polls, hits                       int64
	victim                            string
	connections, moved                int // of the victim; that came back elsewhere
	back                              time.Duration
	keyReads, keySaved                uint64
}

// A producer is where messages come from. It sees to it that no two have the same
// time.
type producer struct {
	log  stream.Log
	mu   sync.Mutex
	last int64
}

func (p *producer) now() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = max(p.last+1, time.Now().UnixMicro())
	return p.last
}

func (p *producer) send(ctx context.Context, topic topicID, text string) (message, error) {
	n := notification{Topic: topic, At: p.now(), Text: text}
	value, err := json.Marshal(n)
	if err != nil {
		return message{}, err
	}
	partition := stream.Partition{Topic: topicMessages, Number: partitionOf(topic)}
	_, err = p.log.Append(ctx, partition, []stream.Record{{Key: []byte(fmt.Sprint(topic)), Value: value}})
	return message{topic, n.At}, err
}

// schedule returns the topics of a drill's messages: small ones, by how many devices
// they reach, and each tenth a popular one, topic 1 first.
func (s *story) schedule(small int) (list []topicID) {
	rnd := rand.New(rand.NewPCG(11, 11))
	var rows []topicID
	for _, row := range s.people.rows {
		if int(row.user) < s.people.online && s.people.sizes[row.topic-1] < popularFrom {
			rows = append(rows, row.topic)
		}
	}
	for i := range small {
		if i%10 == 0 {
			t := topicID(1)
			if i > 0 {
				t = topicID(1 + rnd.IntN(s.people.popular()))
			}
			list = append(list, t)
		}
		list = append(list, rows[rnd.IntN(len(rows))])
	}
	return list
}

// drill sends messages to n devices, of which one in ten is off at first. In the
// middle a push server is killed that has pushed and not yet answered, and later a
// router stops that has pushed and not yet committed.
func (s *story) drill(ctx context.Context, p plan) (r result, err error) {
	r.plan = p
	router := &router{
		log: s.log, group: "drill " + p.name, directory: s.directory, store: s.store, routing: s.routing,
		polledAt: popularFrom, keepAll: p.memory, patience: 30 * time.Second,
	}
	if p.keys {
		keys, err := idem.Open(filepath.Join(s.dir, "keys of "+p.name), &idem.Options{Lease: 10 * time.Second})
		if err != nil {
			return r, err
		}
		defer keys.Close()
		router.keys = keys
		defer func() { r.keyReads, r.keySaved = keys.Stats().Reads, keys.Stats().Saved }()
	}
	if err := s.fromNow(ctx, router.group); err != nil {
		return r, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer func() { cancel(nil); wg.Wait() }()
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := router.run(ctx); err != nil && !errors.Is(err, errCrash) {
				cancel(err)
			}
		} // and one that crashed is started again
	})

	// The devices.
	since := s.producer.now()
	polls, hits := s.cache.polls.Load(), s.cache.hits.Load()
	var devices []*client
	turnOn := func(c *client) { wg.Go(func() { c.run(ctx) }) }
	for u := range s.people.online {
		c := newClient(userID(u), s.service.url, p.memory, time.Second, since)
		if devices = append(devices, c); u%10 != 9 {
			turnOn(c)
		}
	}
	defer func() { // the next drill begins with nobody connected
		cancel(nil)
		for _, c := range devices {
			s.routing.leave(c.user)
		}
	}()
	dead := "" // a server that nobody can be connected to
	up := func(some func(u int) bool) error {
		return s.until(ctx, "devices are connected", func() bool {
			for u, c := range devices {
				if server, _ := c.passed(); some(u) && (server == "" || server == dead) {
					return false
				}
			}
			return true
		})
	}
	mostly := func(u int) bool { return u%10 != 9 }
	if err := up(mostly); err != nil {
		return r, err
	}
	s.routing.settle()

	// A first part in peace.
	topics := s.schedule(s.messages)
	var sent []message
	send := func(share float64) error {
		for len(sent) < int(share*float64(len(topics))) {
			t := topics[len(sent)]
			m, err := s.producer.send(ctx, t, fmt.Sprintf("message %d", len(sent)))
			if err != nil {
				return err
			}
			sent = append(sent, m)
		}
		return nil
	}
	if err := send(0.3); err != nil {
		return r, err
	}
	if err := s.routed(ctx, router.group); err != nil {
		return r, err
	}

	// The server with the most connections answers no more. What it has pushed by now
	// is seen by the devices, and unknown to the router; then it is killed.
	victim := s.fleet.busiest()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.fleet.kill(victim)) // whoever waits for its answers waits no longer
		}
	}()
	r.victim, r.connections = victim.name, s.routing.balance.Load(victim.name)
	before, err := s.fleet.load(ctx, victim)
	if err != nil {
		return r, err
	}
	if err := post(ctx, "http://"+victim.address+"/hold", http.NoBody, nil); err != nil {
		return r, err
	}
	if err := send(0.6); err != nil {
		return r, err
	}
	err = s.until(ctx, "the server has pushed what it does not answer", func() bool {
		after, err := s.fleet.load(ctx, victim)
		return err == nil && after.Pushed >= before.Pushed+min(5, s.people.online/30)
	})
	if err != nil {
		return r, err
	}
	if err := s.fence(ctx, devices, victim); err != nil {
		return r, err
	}
	if err := s.fleet.kill(victim); err != nil {
		return r, err
	}
	killed := time.Now()
	dead = victim.name
	if err := up(mostly); err != nil {
		return r, err
	}
	r.back = time.Since(killed)
	r.moved = s.routing.settle()

	// Those who were off come back.
	if err := send(0.7); err != nil {
		return r, err
	}
	if err := s.routed(ctx, router.group); err != nil {
		return r, err
	}
	for u, c := range devices {
		if !mostly(u) {
			turnOn(c)
		}
	}
	if err := up(func(int) bool { return true }); err != nil {
		return r, err
	}

	// A router stops after it has pushed a batch and before it has said so.
	router.crash.Store(true)
	if err := send(1); err != nil {
		return r, err
	}
	if err := s.routed(ctx, router.group); err != nil {
		return r, err
	}
	if router.crash.Load() {
		return r, errors.New("the router should have stopped once")
	}

	// Everything is on its way: wait until the devices have what is, from their
	// connections and from polls after the cache has it.
	sentAll := time.Now()
	err = s.until(ctx, "the cache has everything", func() bool { return time.Since(sentAll) > cacheTime })
	if err != nil {
		return r, err
	}
	if err := s.fence(ctx, devices, s.fleet.living()...); err != nil {
		return r, err
	}
	mark := fmt.Sprint(s.fences)
	err = s.until(ctx, "everybody has polled", func() bool {
		return !slices.ContainsFunc(devices, func(c *client) bool { return c.polledAfter() != mark })
	})
	if err != nil {
		return r, err
	}
	if err := context.Cause(ctx); err != nil {
		return r, err
	}
	cancel(nil)
	wg.Wait()
	if err := s.fleet.start(victim); err != nil {
		return r, err
	}

	// Who has seen what.
	audience := s.people.reachable()
	for _, m := range sent {
		for _, u := range audience[m.topic] {
			r.expected++
			if devices[u].shown[m] == 0 {
				r.lost++
			}
		}
	}
	for _, c := range devices {
		r.add(c.counts)
	}
	r.unanswered, r.stopped, r.offline = router.unanswered.Load(), router.stopped.Load(), router.offline.Load()
	r.routed, r.fed = int(router.pushed.Load()), router.popular.Load()
	r.polls, r.hits = s.cache.polls.Load()-polls, s.cache.hits.Load()-hits
	return r, nil
}

// fromNow makes a group begin behind what is in the log.
func (s *story) fromNow(ctx context.Context, group string) error {
	offsets := map[stream.Partition]stream.Offset{}
	for p := range partitions {
		partition := stream.Partition{Topic: topicMessages, Number: p}
		_, next, err := s.log.Bounds(ctx, partition)
		if err != nil {
			return err
		}
		offsets[partition] = stream.Offset{Next: next}
	}
	return s.log.Commit(ctx, group, offsets)
}

// routed waits until a router has done all that is in the log.
func (s *story) routed(ctx context.Context, group string) error {
	var failed error
	err := s.until(ctx, "the router is through", func() bool {
		done, err := s.log.Committed(ctx, group)
		for p := range partitions {
			partition := stream.Partition{Topic: topicMessages, Number: p}
			_, next, err2 := s.log.Bounds(ctx, partition)
			if failed = errors.Join(err, err2); failed != nil {
				return true
			}
			if done[partition].Next < next {
				return false
			}
		}
		return true
	})
	return errors.Join(err, failed)
}

// until waits until something is so.
func (s *story) until(ctx context.Context, what string, f func() bool) error {
	limit := time.After(time.Minute)
	for !f() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		case <-limit:
			return fmt.Errorf("waited for a minute until %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// fence waits until the devices that are connected to some servers have got all that
// these have pushed.
func (s *story) fence(ctx context.Context, devices []*client, servers ...*server) error {
	s.fences++
	mark := fmt.Sprint(s.fences)
	names := map[string]bool{}
	for _, server := range servers {
		names[server.name] = true
	}
	return s.until(ctx, "what was pushed has arrived", func() bool {
		for _, server := range servers { // again and again: somebody may have connected since
			if err := post(ctx, "http://"+server.address+"/fence?n="+mark, http.NoBody, nil); err != nil {
				return false
			}
		}
		for _, c := range devices {
			if at, fence := c.passed(); names[at] && fence != mark {
				return false
			}
		}
		return true
	})
}

func (c *client) polledAfter() (mark string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fresh
}

func (c *client) rounds() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.polls
}

// passed tells where a client is connected, "" if it is not, and the last mark that
// it got.
func (c *client) passed() (server, fence string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.up {
		return "", ""
	}
	return c.place.Server, c.fence
}

// settle forgets what it knows of moves, and returns how many there were.
func (r *routing) settle() (moved int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	moved, r.moved = r.moved, 0
	return moved
}

// busiest returns the server with the most connections.
func (f *fleet) busiest() (s *server) {
	for _, t := range f.living() {
		if s == nil || f.routing.balance.Load(t.name) > f.routing.balance.Load(s.name) {
			s = t
		}
	}
	return s
}

// load asks a server how much it has to do.
func (f *fleet) load(ctx context.Context, s *server) (l load, err error) {
	f.mu.Lock()
	address, dead := s.address, s.dead
	f.mu.Unlock()
	if dead {
		return l, errNoServer
	}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/load", nil)
	if err != nil {
		return l, err
	}
	resp, err := between.Do(req)
	if err != nil {
		return l, err
	}
	defer resp.Body.Close()
	return l, json.NewDecoder(resp.Body).Decode(&l)
}

// comparison writes results side by side.
func comparison(results []result) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "  %-34s %9s %9s %11s %9s %9s %9s\n", "", "shown", "twice", "lost", "stopped", "dropped", "fetched")
	for _, r := range results {
		fmt.Fprintf(&b, "  %-34s %9s %9s %11s %9s %9s %9s\n", r.name, num(r.shown()), num(r.twice), num(r.lost),
			num(int(r.stopped)), num(r.dropped), num(r.fetched))
	}
	return strings.TrimSuffix(b.String(), "\n")
}
