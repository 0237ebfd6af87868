package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/ring"
)

// roles are the processes that the story needs. This program starts itself again as them.
var roles = child.Roles{"node": playNode, "balancer": playBalancer}

const (
	balancers = 3
	nodes     = 3
)

// A fleet is the application, in this process, and the balancers and limiter nodes, each
// in a process of its own.
type fleet struct {
	app       *app
	balancers []*balancerProcess
	nodes     []*nodeProcess
	now       setting
	client    *http.Client
}

type balancerProcess struct {
	*child.Process
	address, private string
	dead             bool
}

type nodeProcess struct {
	*child.Process
	name    string
	address string
	control *link
	dead    bool
}

func startFleet() (f *fleet, err error) {
	f = &fleet{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	if f.app, err = startApp(); err != nil {
		return f, err
	}
	for i := range nodes {
		f.nodes = append(f.nodes, &nodeProcess{name: fmt.Sprint("limiter-", i+1), dead: true})
		if err := f.startNode(i); err != nil {
			return f, err
		}
	}
	for i := range balancers {
		f.balancers = append(f.balancers, &balancerProcess{dead: true})
		if err := f.startBalancer(i); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *fleet) startNode(i int) (err error) {
	n := f.nodes[i]
	if n.Process, err = child.Start(n.name, "node"); err != nil {
		return err
	}
	n.dead = false
	if n.address, err = n.Line(); err != nil {
		return err
	}
	n.control = &link{address: n.address}
	return nil
}

func (f *fleet) startBalancer(i int) (err error) {
	b := f.balancers[i]
	name := fmt.Sprint("balancer-", i+1)
	if b.Process, err = child.Start(name, "balancer", "NAME="+name, "APP="+f.app.url); err != nil {
		return err
	}
	b.dead = false
	line, err := b.Line()
	if err != nil {
		return err
	}
	b.address, b.private, _ = strings.Cut(line, " ")
	return nil
}

func (f *fleet) stop() {
	for _, b := range f.balancers {
		if b.Process != nil {
			_ = b.Kill() // it has ended, one way or another
		}
	}
	for _, n := range f.nodes {
		if n.control != nil {
			n.control.close()
		}
		if n.Process != nil {
			_ = n.Kill()
		}
	}
	f.client.CloseIdleConnections()
	if f.app != nil {
		f.app.stop()
	}
}

func (f *fleet) killNode(i int) error {
	f.nodes[i].dead = true
	return f.nodes[i].Kill()
}

func (f *fleet) killBalancer(i int) error {
	f.balancers[i].dead = true
	return f.balancers[i].Kill()
}

// tell sends a question to a node, and returns the answer.
func (n *nodeProcess) tell(question string) (string, error) {
	answer, err := n.control.exchange(time.Now().Add(30*time.Second), question)
	if err == nil && strings.HasPrefix(answer, "error") {
		err = errors.New(answer)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", n.name, err)
	}
	return answer, err
}

// owner returns the number of the node that has a key.
func (f *fleet) owner(key string) (int, error) {
	r, err := ring.New(nil)
	if err != nil {
		return 0, err
	}
	for _, n := range f.nodes {
		if err := r.Add(n.name, 1); err != nil {
			return 0, err
		}
	}
	name, _ := r.Owner(key)
	return slices.IndexFunc(f.nodes, func(n *nodeProcess) bool { return n.name == name }), nil
}

// set lets nodes begin anew, and balancers decide by a setting.
func (f *fleet) set(ctx context.Context, s setting) error {
	policy, err := json.Marshal(s.Policy)
	if err != nil {
		return err
	}
	for _, n := range f.nodes {
		if n.dead {
			continue
		}
		if _, err := n.tell("policy\t" + string(policy)); err != nil {
			return err
		}
	}
	f.app.reset()
	return f.adjust(ctx, s)
}

// adjust sets up the balancers and leaves the nodes as they are.
func (f *fleet) adjust(ctx context.Context, s setting) error {
	s.Generation = f.now.Generation + 1
	s.Run = fmt.Sprintf("ashlar:ratelimiter:%d:%d:%d", os.Getpid(), time.Now().UnixNano(), s.Generation)
	s.Balancers = balancers
	s.Nodes = map[string]string{}
	for _, n := range f.nodes {
		s.Nodes[n.name] = n.address // of a dead one the last: nobody is told of its death
	}
	f.now = s
	for _, b := range f.balancers {
		if b.dead {
			continue
		}
		body, err := json.Marshal(s)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.private+"/set", bytes.NewReader(body))
		if err != nil {
			return err
		}
		if _, err := f.do(r); err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
	}
	return nil
}

// do sends a request and returns the body of the answer, which must be 200.
func (f *fleet) do(r *http.Request) ([]byte, error) {
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// stats returns what all balancers that live tell, taken together.
func (f *fleet) stats(ctx context.Context) (all stats, err error) {
	for i, b := range f.balancers {
		if b.dead {
			continue
		}
		one, err := f.statsOf(ctx, i)
		if err != nil {
			return all, err
		}
		all.Took = append(all.Took, one.Took...)
		all.Calls, all.Without, all.Holds = all.Calls+one.Calls, all.Without+one.Without, all.Holds+one.Holds
	}
	slices.Sort(all.Took)
	return all, nil
}

func (f *fleet) statsOf(ctx context.Context, i int) (s stats, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.balancers[i].private+"/stats", nil)
	if err != nil {
		return s, err
	}
	body, err := f.do(r)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// A request is one that a client sends: to a balancer, as a user.
type request struct {
	balancer int
	user     string
}

// An outcome is what became of it.
type outcome struct {
	at     time.Time // of the answer
	took   time.Duration
	status int
	header http.Header
}

// send sends requests, some at a time, and returns their outcomes in the same order.
func (f *fleet) send(ctx context.Context, atATime int, list []request) ([]outcome, error) {
	out := make([]outcome, len(list))
	errs := make([]error, atATime)
	next := make(chan int)
	var wg sync.WaitGroup
	for w := range atATime {
		wg.Go(func() {
			for i := range next {
				if errs[w] == nil {
					out[i], errs[w] = f.ask(ctx, list[i])
				}
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wg.Wait()
	return out, errors.Join(errs...)
}

func (f *fleet) ask(ctx context.Context, q request) (o outcome, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.balancers[q.balancer].address+"/", nil)
	if err != nil {
		return o, err
	}
	r.Header.Set("X-User", q.user)
	began := time.Now()
	answer, err := f.client.Do(r)
	if err != nil {
		return o, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	o = outcome{at: time.Now(), status: answer.StatusCode, header: answer.Header}
	o.took = o.at.Sub(began)
	if err == nil && o.status != http.StatusOK && o.status != http.StatusTooManyRequests {
		err = errors.New(answer.Status)
	}
	return o, err
}

// passed counts the outcomes of requests that were let through.
func passed(list []outcome) (n int) {
	for _, o := range list {
		if o.status == http.StatusOK {
			n++
		}
	}
	return n
}

// round returns n requests of a user, to one balancer after the other.
func round(n int, user string, to ...int) (list []request) {
	for i := range n {
		list = append(list, request{to[i%len(to)], user})
	}
	return list
}

// An app is what is to be protected. It counts what reaches it.
type app struct {
	url    string
	server *http.Server
	served chan struct{}

	mu    sync.Mutex
	users map[string]int
	all   int
}

func startApp() (*app, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &app{url: "http://" + l.Addr().String(), users: map[string]int{}, served: make(chan struct{})}
	a.server = &http.Server{Handler: a}
	go func() {
		defer close(a.served)
		_ = a.server.Serve(l) // until it is closed
	}()
	return a, nil
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users[r.Header.Get("X-User")]++
	a.all++
	io.WriteString(w, "hello\n")
}

// of returns how many requests of a user have reached the application.
func (a *app) of(user string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.users[user]
}

// over returns how many requests have reached it, how many of these were above each
// user's limit, and the most of one user.
func (a *app) over(limit int) (all, over, worst int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.users {
		over += max(0, n-limit)
		worst = max(worst, n-limit)
	}
	return a.all, over, worst
}

func (a *app) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users, a.all = map[string]int{}, 0
}

func (a *app) stop() {
	_ = a.server.Close()
	<-a.served
}
