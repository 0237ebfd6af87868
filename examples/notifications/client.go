package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A client is a user's device: it keeps one SSE connection open, polls the popular
// topics among its subscriptions, and shows what it gets.
//
// With a memory it keeps one number for each topic, the time of the last notification
// shown. That is its client-side idempotency key: what is not later was shown before;
// and if a notification's predecessor is later, some are missing, and it fetches them.
type client struct {
	user    userID
	service string
	memory  bool
	pace    time.Duration // between polls
	since   int64         // what is older is known already

	mu      sync.Mutex
	cursor  map[topicID]int64
	polled  []topicID
	pushed  []topicID
	shown   map[message]int // how often
	counts  counts
	fence   string // the last mark that came
	fresh   string // the last mark that came before a round of polling
	polls   int    // rounds of polling
	place   place
	up      bool
	now     chan struct{} // asks for a round of polling
	stopped chan struct{}
}

// A message is a notification's identity.
type message struct {
	topic topicID
	at    int64
}

// counts are what clients add up.
type counts struct {
	pushed   int // shown, from the connection
	polled   int // shown, from polling
	fetched  int // shown, from the store after an absence or a gap
	twice    int // shown again
	dropped  int // came by push and had been shown before
	gaps     int // times that a predecessor was missing
	connects int
	retries  int // connections that did not come about, or broke
}

func (a *counts) add(b counts) {
	a.pushed += b.pushed
	a.polled += b.polled
	a.fetched += b.fetched
	a.twice += b.twice
	a.dropped += b.dropped
	a.gaps += b.gaps
	a.connects += b.connects
	a.retries += b.retries
}

func newClient(user userID, service string, memory bool, pace time.Duration, since int64) *client {
	return &client{
		user: user, service: service, memory: memory, pace: pace, since: since,
		cursor: map[topicID]int64{}, shown: map[message]int{},
		now: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
}

func (c *client) me() url.Values { return url.Values{"user": {fmt.Sprint(uint32(c.user))}} }

// run is the device's life, until ctx ends.
func (c *client) run(ctx context.Context) {
	defer close(c.stopped)
	c.keepTrying(ctx, func() error {
		var list []interest
		if err := ask(ctx, "GET", c.service+"/subscriptions", c.me(), "", &list); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, i := range list {
			c.cursor[i.Topic] = c.since
			if i.Polled {
				c.polled = append(c.polled, i.Topic)
			} else {
				c.pushed = append(c.pushed, i.Topic)
			}
		}
		return nil
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.keepPolling(ctx) })
	for ctx.Err() == nil {
		c.keepTrying(ctx, func() error { return c.connection(ctx) })
	}
}

// keepTrying repeats f until it succeeds, after longer and longer pauses that differ
// from client to client: those of a dead server should not all come at once.
func (c *client) keepTrying(ctx context.Context, f func() error) {
	pause := 10 * time.Millisecond
	for began := time.Now(); ctx.Err() == nil && f() != nil; began = time.Now() {
		if time.Since(began) > time.Second {
			pause = 10 * time.Millisecond // it worked for a while
		}
		c.count(func(n *counts) { n.retries++ })
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, time.Second)
	}
}

func (c *client) count(f func(*counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.counts)
}

// streams is for connections that stay open.
var streams = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// connection asks where to connect, connects, and reads until the connection breaks.
func (c *client) connection(ctx context.Context) error {
	q := c.me()
	c.mu.Lock()
	q.Set("failed", c.place.Server)
	q.Set("address", c.place.Address)
	c.mu.Unlock()
	var p place
	if err := ask(ctx, "POST", c.service+"/route", q, "", &p); err != nil {
		return err
	}
	c.mu.Lock()
	c.place = p
	c.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.Address+"/events?"+c.me().Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := streams.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	defer c.setUp(false)
	in := bufio.NewReader(resp.Body)
	for {
		event, data, err := readEvent(in)
		if err != nil {
			return err // streams do not end by themselves
		}
		switch event {
		case "connected":
			c.count(func(n *counts) { n.connects++ })
			// Connected first, then asked what was missed: nothing can come between.
			if c.memory {
				c.mu.Lock()
				topics := c.pushed
				c.mu.Unlock()
				if err := c.fetch(ctx, topics...); err != nil {
					return err
				}
			}
			c.setUp(true)
		case "push":
			var n notification
			if err := json.Unmarshal([]byte(data), &n); err != nil {
				return err
			}
			if err := c.take(ctx, n); err != nil {
				return err
			}
		case "fence":
			c.mu.Lock()
			c.fence = data
			c.mu.Unlock()
			select {
			case c.now <- struct{}{}:
			default:
			}
		}
	}
}

// readEvent reads one server-sent event.
func readEvent(in *bufio.Reader) (event, data string, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		line = strings.TrimSuffix(line, "\n")
		switch name, value, _ := strings.Cut(line, ": "); {
		case line == "" && event != "":
			return event, data, nil
		case name == "event":
			event = value
		case name == "data":
			data = value
		}
	}
}

func (c *client) setUp(up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = up
}

// take deals with a pushed notification.
func (c *client) take(ctx context.Context, n notification) error {
	c.mu.Lock()
	last := c.cursor[n.Topic]
	switch {
	case !c.memory:
		c.showLocked(n)
		c.counts.pushed++
	case n.At <= last:
		c.counts.dropped++
	case n.Prev > last:
		c.counts.gaps++
		c.mu.Unlock()
		return c.fetch(ctx, n.Topic) // n is among them: it was stored before it was pushed
	default:
		c.showLocked(n)
		c.counts.pushed++
	}
	c.mu.Unlock()
	return nil
}

// showLocked is where the user sees it.
func (c *client) showLocked(n notification) {
	m := message{n.Topic, n.At}
	if c.shown[m]++; c.shown[m] > 1 {
		c.counts.twice++
	}
	c.cursor[n.Topic] = max(c.cursor[n.Topic], n.At)
}

// fetch shows what was stored in topics after what was shown last.
func (c *client) fetch(ctx context.Context, topics ...topicID) error {
	since := map[topicID]int64{}
	c.mu.Lock()
	for _, t := range topics {
		since[t] = c.cursor[t]
	}
	c.mu.Unlock()
	body, err := json.Marshal(since)
	if err != nil {
		return err
	}
	var list []notification
	if err := ask(ctx, "POST", c.service+"/missed", c.me(), string(body), &list); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range list {
		if n.At > c.cursor[n.Topic] {
			c.showLocked(n)
			c.counts.fetched++
		}
	}
	return nil
}

// keepPolling asks for the popular topics again and again.
func (c *client) keepPolling(ctx context.Context) {
	for ctx.Err() == nil {
		if c.pollOnce(ctx) != nil && ctx.Err() == nil {
			c.count(func(n *counts) { n.retries++ })
		}
		select {
		case <-time.After(c.pace/2 + rand.N(c.pace)): // spread, so that they do not all come at once
		case <-c.now:
		case <-ctx.Done():
		}
	}
}

func (c *client) pollOnce(ctx context.Context) error {
	c.mu.Lock()
	topics, mark := c.polled, c.fence
	c.mu.Unlock()
	for _, t := range topics {
		c.mu.Lock()
		after := c.cursor[t]
		c.mu.Unlock()
		var list []notification
		q := url.Values{"topic": {fmt.Sprint(uint32(t))}, "after": {fmt.Sprint(after)}}
		if err := ask(ctx, "GET", c.service+"/poll", q, "", &list); err != nil {
			return err
		}
		c.mu.Lock()
		for _, n := range list {
			if n.At > c.cursor[t] {
				c.showLocked(n)
				c.counts.polled++
			}
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = mark
	c.polls++
	return nil
}
