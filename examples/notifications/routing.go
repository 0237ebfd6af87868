package main

import (
	"errors"
	"hash/fnv"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ring"
)

// A routing is the routing service: it tells a client which push server to connect
// to, and the router which one a user is connected to. A user's server is the
// next on a consistent-hash ring that is not loaded above its bound.
type routing struct {
	ring    *ring.Ring
	balance *ring.Balancer

	mu      sync.Mutex
	address map[string]string // of servers
	where   map[userID]string // server of each connected user
	last    map[userID]string // the same, and where those were who are not connected now
	moved   int               // connections that came back to another server
	away    int               // connections given to another server than the ring's owner
	change  chan struct{}     // closed when somebody is routed, and made anew
}

// slack is by how much a server's connections may exceed the average.
const slack = 0.05

var errNoServer = errors.New("no push server is alive")

func newRouting() (*routing, error) {
	r, err := ring.New(nil)
	if err != nil {
		return nil, err
	}
	b, err := ring.NewBalancer(r, slack)
	if err != nil {
		return nil, err
	}
	return &routing{
		ring: r, balance: b, address: map[string]string{}, where: map[userID]string{}, last: map[userID]string{},
		change: make(chan struct{}),
	}, nil
}

func (r *routing) add(server, address string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.address[server] = address
	return r.ring.Add(server, 1)
}

// assign chooses a server for a user who connects now.
func (r *routing) assign(user userID) (server, address string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaveLocked(user)
	server, ok := r.balance.Assign(user.name())
	if !ok {
		return "", "", errNoServer
	}
	if owner, _ := r.ring.Owner(user.name()); owner != server {
		r.away++
	}
	if last, ok := r.last[user]; ok && last != server {
		r.moved++
	}
	r.where[user], r.last[user] = server, server
	close(r.change)
	r.change = make(chan struct{})
	return server, r.address[server], nil
}

// leave notes that a user has disconnected.
func (r *routing) leave(user userID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaveLocked(user)
}

func (r *routing) leaveLocked(user userID) {
	if server, ok := r.where[user]; ok {
		r.balance.Done(server)
		delete(r.where, user)
	}
}

// find tells which server a user is connected to. The channel is closed when that
// may have changed.
func (r *routing) find(user userID) (server, address string, change <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	server = r.where[user]
	return server, r.address[server], r.change
}

// suspect is called by whoever got no answer from a server. If it is dead, none of
// its users is connected any more.
func (r *routing) suspect(server, address string) {
	if address == "" || alive(address) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.address[server] != address { // it was somebody else's turn
		return
	}
	delete(r.address, server)
	r.ring.Remove(server)
	for user, s := range r.where {
		if s == server {
			r.balance.Done(s)
			delete(r.where, user)
		}
	}
}

// alive asks a server whether it is there. A killed one's port refuses at once.
func alive(address string) bool {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + address + "/alive")
	if err != nil {
		var refused *net.OpError
		return !errors.As(err, &refused) // slow is not dead
	}
	resp.Body.Close()
	return true
}

// strays returns who is connected to another server than this one although the
// ring gives them to it.
func (r *routing) strays(server string) (list []userID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for user, s := range r.where {
		if owner, _ := r.ring.Owner(user.name()); s != server && owner == server {
			list = append(list, user)
		}
	}
	slices.Sort(list)
	return list
}

func (u userID) name() string { return "user/" + strconv.Itoa(int(u)) }

// modulo is the naive way to choose among numbered servers.
func modulo(user userID, servers int) int {
	h := fnv.New32a()
	h.Write([]byte(user.name()))
	return int(h.Sum32() % uint32(servers))
}
