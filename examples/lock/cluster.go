package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// A cluster is the lock servers.
type cluster struct {
	dir     string
	members []replica.Member
	nodes   []*server
}

type server struct {
	name    string
	address string

	mu      sync.Mutex
	process *process // nil: dead
}

func startCluster(n int) (c *cluster, err error) {
	for range 3 { // somebody else may take one of the ports before the server does
		if c, err = tryCluster(n); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func tryCluster(n int) (*cluster, error) {
	dir, err := os.MkdirTemp("", "ashlar-lock-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	var held []net.Listener // all at once, so that they differ
	for i := range n {
		ln, err := listenLow()
		if err != nil {
			c.stop()
			return nil, err
		}
		held = append(held, ln)
		m := replica.Member{ID: string(rune('a' + i)), Address: ln.Addr().String()}
		c.members = append(c.members, m)
		c.nodes = append(c.nodes, &server{name: m.ID, address: m.Address})
	}
	for _, ln := range held {
		ln.Close()
	}
	for _, s := range c.nodes {
		if err := c.start(s); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

// listenLow finds a free port below those that the system gives to outgoing
// connections: one of these could take a server's port while it is dead.
func listenLow() (ln net.Listener, err error) {
	for range 100 {
		if ln, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))); err == nil {
			return ln, nil
		}
	}
	return nil, err
}

// start starts a server, on its old directory if it was there before.
func (c *cluster) start(s *server) error {
	members, err := json.Marshal(c.members)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return nil
	}
	p, err := startProcess(s.name, "server", "DIR="+filepath.Join(c.dir, s.name), "ID="+s.name, "MEMBERS="+string(members))
	if err != nil {
		return err
	}
	if line, err := p.Out.ReadString('\n'); err != nil || line != "up\n" {
		_ = p.Kill()
		return fmt.Errorf("server %s did not start: %q, %v", s.name, line, err)
	}
	s.process = p
	return nil
}

// kill ends a server at once (SIGKILL).
func (s *server) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	err := s.process.Kill()
	s.process = nil
	return err
}

func (s *server) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil
}

// standing asks a server whether it leads, as far as it knows.
func (s *server) standing(ctx context.Context) (up, leads bool) {
	if !s.alive() {
		return false, false
	}
	var v struct{ ID, Leader string }
	err := get(ctx, s.address, "/v1/cluster", &v)
	return true, err == nil && v.ID == v.Leader
}

// revive starts the servers that were killed, on their old directories.
func (c *cluster) revive(ctx context.Context) error {
	for _, s := range c.nodes {
		if err := c.start(s); err != nil {
			return err
		}
	}
	_, err := c.leader(ctx)
	return err
}

func (c *cluster) stop() {
	for _, s := range c.nodes {
		s.kill()
	}
	os.RemoveAll(c.dir)
}

func (c *cluster) addresses() (a []string) {
	for _, s := range c.nodes {
		a = append(a, s.address)
	}
	return a
}

func (c *cluster) names() (a []string) {
	for _, s := range c.nodes {
		a = append(a, s.name)
	}
	return a
}

// get fetches a JSON page of one server.
func get(ctx context.Context, address, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// poll repeats f until it succeeds.
func poll(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// leader returns the server that can answer a linearizable question.
func (c *cluster) leader(ctx context.Context) (*server, error) {
	var found *server
	err := poll(ctx, func() error {
		for _, s := range c.nodes {
			if s.alive() && get(ctx, s.address, "/v1/locks/any", &struct{}{}) == nil {
				found = s
				return nil
			}
		}
		return errors.New("no server leads")
	})
	return found, err
}

// waitQueue waits until a key that holder has has that many waiters, and
// returns their names in the order of the queue.
func waitQueue(ctx context.Context, c *lock.Client, key, holder string, waiting int) (names []string, err error) {
	for {
		info, err := c.Inspect(ctx, key)
		switch {
		case err != nil:
			return nil, err
		case len(info.Holders) != 1 || info.Holders[0].Label != holder:
			return nil, fmt.Errorf("%s has lost %s already", holder, key)
		case info.Waiting >= waiting:
			for _, p := range info.Queue {
				names = append(names, p.Label)
			}
			return names, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d clients wait: %w", info.Waiting, waiting, ctx.Err())
		}
	}
}

// counters are those of all servers together.
func (c *cluster) counters(ctx context.Context) (sum node.Stats, err error) {
	for _, s := range c.nodes {
		var v struct {
			Stats node.Stats `json:"stats"`
		}
		if err := get(ctx, s.address, "/v1/cluster", &v); err != nil {
			return sum, err
		}
		sum.Notified += v.Stats.Notified
		sum.Replica.Term = max(sum.Replica.Term, v.Stats.Replica.Term)
		sum.Grants = max(sum.Grants, v.Stats.Grants) // every server counts them all
	}
	return sum, nil
}
