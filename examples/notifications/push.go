package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
)

// A pushServer holds the connections of some users, each a response that never
// ends: server-sent events. It knows nothing of topics and keeps nothing: what it
// is asked to push it writes to the connection, if there is one.
type pushServer struct {
	mu          sync.Mutex
	connections map[userID]*connection
	holding     bool // answers to pushes are held back, as by a slow network
	pushed      int
}

type connection struct {
	mu  sync.Mutex // one event after another
	w   http.ResponseWriter
	end context.CancelFunc
}

// A push is what a router asks for: one notification to some users.
type push struct {
	Notification notification
	Users        []userID
}

// playPush is a push server in a process of its own: a server starts by printing
// its address.
func playPush() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin) // the parent holds it open
		os.Exit(0)
	}()
	p := &pushServer{connections: map[userID]*connection{}}
	return http.Serve(l, p.handler())
}

func (p *pushServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /alive", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /events", p.events)
	mux.HandleFunc("POST /push", p.push)
	mux.HandleFunc("POST /fence", p.fence)
	mux.HandleFunc("POST /hold", func(http.ResponseWriter, *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.holding = true
	})
	mux.HandleFunc("POST /move", p.move)
	mux.HandleFunc("GET /load", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		json.NewEncoder(w).Encode(load{len(p.connections), p.pushed})
	})
	return mux
}

// A load is what a push server says about itself.
type load struct{ Connections, Pushed int }

// events keeps one user's connection. A second one of the same user ends the first.
func (p *pushServer) events(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.FormValue("user"), 10, 32)
	if err != nil {
		http.Error(w, "no user", http.StatusBadRequest)
		return
	}
	user := userID(id)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	c := &connection{w: w, end: cancel}
	c.mu.Lock() // nothing is pushed before the greeting is out
	p.mu.Lock()
	if old := p.connections[user]; old != nil {
		old.end()
	}
	p.connections[user] = c
	p.mu.Unlock()
	err = c.writeLocked("connected", os.Getenv("NAME"))
	c.mu.Unlock()
	if err == nil {
		<-ctx.Done()
	}
	p.mu.Lock()
	if p.connections[user] == c {
		delete(p.connections, user)
	}
	p.mu.Unlock()
	c.mu.Lock() // who still writes must be through before w is gone
	c.w = nil
	c.mu.Unlock()
}

// write sends an event. That it returns nil means that the system has the bytes, not
// that the client has.
func (c *connection) write(event, data string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(event, data)
}

func (c *connection) writeLocked(event, data string) error {
	if c.w == nil {
		return net.ErrClosed
	}
	out := http.NewResponseController(c.w)
	_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // who takes nothing for so long is gone
	_, err := io.WriteString(c.w, "event: "+event+"\ndata: "+data+"\n\n")
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		c.end()
	}
	return err
}

// push writes a notification to the connections of users and answers with those
// who have none here.
func (p *pushServer) push(w http.ResponseWriter, r *http.Request) {
	var order push
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	data, err := json.Marshal(order.Notification)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	absent := []userID{}
	for _, user := range order.Users {
		p.mu.Lock()
		c := p.connections[user]
		p.mu.Unlock()
		if c == nil || c.write("push", string(data)) != nil {
			absent = append(absent, user)
		}
	}
	p.mu.Lock()
	p.pushed += len(order.Users) - len(absent)
	holding := p.holding
	p.mu.Unlock()
	if holding {
		<-r.Context().Done() // pushed, and nobody will ever know
		return
	}
	json.NewEncoder(w).Encode(absent)
}

// fence sends everybody a mark: who has got it has got all that was pushed before.
func (p *pushServer) fence(_ http.ResponseWriter, r *http.Request) {
	for _, c := range p.all() {
		_ = c.write("fence", r.FormValue("n")) // who is gone needs none
	}
}

// move asks users to connect anew, all those named.
func (p *pushServer) move(w http.ResponseWriter, r *http.Request) {
	var users []userID
	if err := json.NewDecoder(r.Body).Decode(&users); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, user := range users {
		p.mu.Lock()
		c := p.connections[user]
		p.mu.Unlock()
		if c != nil {
			c.end()
		}
	}
}

func (p *pushServer) all() (list []*connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.connections {
		list = append(list, c)
	}
	return list
}

// A fleet is the push servers, as their parent knows them.
type fleet struct {
	routing *routing
	mu      sync.Mutex
	servers []*server
}

type server struct {
	name    string
	address string
	process *child.Process
	dead    bool
}

const servers = 4

func startFleet(routing *routing) (*fleet, error) {
	f := &fleet{routing: routing}
	for i := range servers {
		f.servers = append(f.servers, &server{name: "push-" + strconv.Itoa(i+1), dead: true})
	}
	for _, s := range f.servers {
		if err := f.start(s); err != nil {
			f.stop()
			return nil, err
		}
	}
	return f, nil
}

// start starts a server that does not run, and puts it on the ring.
func (f *fleet) start(s *server) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !s.dead {
		return nil
	}
	if s.process, err = child.Start(s.name, "push", "NAME="+s.name); err != nil {
		return err
	}
	if s.address, err = s.process.Line(); err != nil {
		_ = s.process.Kill()
		return err
	}
	s.dead = false
	return f.routing.add(s.name, s.address)
}

// kill ends a server at once. Nobody is told: that is found out.
func (f *fleet) kill(s *server) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.dead {
		return nil
	}
	s.dead = true
	return s.process.Kill()
}

func (f *fleet) stop() {
	for _, s := range f.servers {
		_ = f.kill(s) // it has ended, one way or another
	}
}

func (f *fleet) living() (list []*server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.servers {
		if !s.dead {
			list = append(list, s)
		}
	}
	return list
}

// between is how routers and the parent talk to the servers.
var between = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// post sends v as JSON and reads the answer into out, unless that is nil.
func post(ctx context.Context, url string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, "POST", url, body)
	if err != nil {
		return err
	}
	resp, err := between.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
