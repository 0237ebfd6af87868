package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
	"github.com/ashlar-go/ashlar/ring"
)

// What a balancer decides when the node that has a key does not answer.
const (
	failOpen   = "fail-open"   // all pass
	failClosed = "fail-closed" // none pass
	failShare  = "local share" // each balancer decides, with its part of the limit
	failNext   = "next node"   // the next node on the ring decides, which has not seen the key
)

var failModes = []string{failOpen, failClosed, failShare, failNext}

// A remote asks limiter nodes. Which of them has a key is for a consistent-hash ring to
// say, so that all balancers ask the same one. It is safe for concurrent use by multiple
// goroutines.
type remote struct {
	spec    policySpec
	fail    string
	timeout time.Duration
	pause   time.Duration
	ring    *ring.Ring
	nodes   map[string]*link
	share   *ratelimit.Limiter
	now     func() time.Time // for what is remembered of answers

	calls   atomic.Int64 // questions to nodes
	without atomic.Int64 // decisions that no node made
	once    atomic.Int64 // names of those who hold nothing
}

// newRemote returns a client for nodes, by name and address. Balancers is how many share
// the limit when a node is away.
func newRemote(s policySpec, nodes map[string]string, fail string, balancers int, timeout time.Duration) (*remote, error) {
	r := &remote{spec: s, fail: fail, timeout: timeout, pause: 100 * time.Millisecond, now: time.Now, nodes: map[string]*link{}}
	var err error
	if r.ring, err = ring.New(nil); err != nil {
		return nil, err
	}
	for name, address := range nodes {
		if err := r.ring.Add(name, 1); err != nil {
			return nil, err
		}
		r.nodes[name] = &link{address: address}
	}
	r.share, err = s.limiter(balancers, time.Now)
	return r, err
}

func (r *remote) close() error {
	for _, l := range r.nodes {
		l.close()
	}
	return nil
}

// errDown is returned without asking, shortly after a node failed.
var errDown = errors.New("failed a moment ago")

// ask sends a question about a key to its node, and returns the fields of the answer.
// Without an answer it asks the next node, where that is the rule.
func (r *remote) ask(ctx context.Context, key, question string) ([]string, error) {
	if r.fail != failNext {
		name, ok := r.ring.Owner(key)
		if !ok {
			return nil, errDown
		}
		return r.askNode(ctx, name, question)
	}
	err := errDown
	for _, name := range r.ring.Owners(key, len(r.nodes)) {
		var answer []string
		if answer, err = r.askNode(ctx, name, question); err == nil {
			return answer, nil
		}
	}
	return nil, err
}

func (r *remote) askNode(ctx context.Context, name, question string) ([]string, error) {
	l := r.nodes[name]
	if l.away(time.Now()) {
		return nil, fmt.Errorf("node %s: %w", name, errDown)
	}
	r.calls.Add(1)
	deadline := time.Now().Add(r.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	line, err := l.exchange(deadline, question)
	if err != nil {
		l.failed(time.Now().Add(r.pause))
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	answer := strings.Split(line, "\t")
	if answer[0] == "error" {
		return nil, fmt.Errorf("node %s: %s", name, line)
	}
	return answer, nil
}

// Check implements ratelimit.Checker: a question for each decision.
func (r *remote) Check(ctx context.Context, key string, n int) (ratelimit.Decision, error) {
	answer, err := r.ask(ctx, key, fmt.Sprintf("check\t%s\t%d", url.QueryEscape(key), n))
	if err != nil {
		return r.instead(key, n), nil
	}
	f := fields{list: answer[1:]}
	d := ratelimit.Decision{OK: answer[0] == "ok", Limit: int(f.number()), Remaining: int(f.number())}
	d.RetryAfter, d.ResetAfter = parseDuration(f.next()), parseDuration(f.next())
	return d, f.err
}

// checkBucket is Check where a bucket has the count: tokens that are taken are spent at
// once.
func (r *remote) checkBucket(ctx context.Context, key, holder string, n int) (ratelimit.Decision, error) {
	holder += fmt.Sprint(" once ", r.once.Add(1))
	answer, err := r.ask(ctx, key, fmt.Sprintf("take\t%s\t%s\t1\t0\t0\t%d\t0\t1", url.QueryEscape(key), url.QueryEscape(holder), n))
	if err != nil {
		return r.instead(key, n), nil
	}
	f := fields{list: answer}
	got, left, retry := int(f.number()), int(f.number()), parseDuration(f.next())
	return ratelimit.Decision{OK: got >= n, Limit: r.spec.Count, Remaining: left, RetryAfter: retry, ResetAfter: r.spec.Period}, f.err
}

// parseDuration reads what may be ratelimit.Never, which is longer than f.number takes.
func parseDuration(s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}

// instead decides without a node.
func (r *remote) instead(key string, n int) ratelimit.Decision {
	r.without.Add(1)
	switch r.fail {
	case failOpen:
		return ratelimit.Decision{OK: true, Limit: r.spec.Count, Full: true}
	case failShare:
		return r.share.AllowN(key, n)
	}
	return ratelimit.Decision{Limit: r.spec.Count, RetryAfter: r.pause, Full: true}
}

// A link is the connections to one node. Each carries a question at a time.
type link struct {
	address string

	mu    sync.Mutex
	idle  []*conversation
	until time.Time // it failed: not before then
	ended bool
}

type conversation struct {
	net.Conn
	in *bufio.Reader
}

func (l *link) away(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Before(l.until)
}

// failed notes that the node does not answer: what was connected to it is closed.
func (l *link) failed(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
	l.closeLocked()
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.closeLocked()
}

func (l *link) closeLocked() {
	for _, c := range l.idle {
		c.Close()
	}
	l.idle = nil
}

// exchange sends a line and returns the one that comes back.
func (l *link) exchange(deadline time.Time, question string) (string, error) {
	l.mu.Lock()
	var c *conversation
	if n := len(l.idle); n > 0 {
		c, l.idle = l.idle[n-1], l.idle[:n-1]
	}
	l.mu.Unlock()
	if c == nil {
		d := net.Dialer{Deadline: deadline}
		conn, err := d.Dial("tcp", l.address)
		if err != nil {
			return "", err
		}
		c = &conversation{conn, bufio.NewReader(conn)}
	}
	_ = c.SetDeadline(deadline)
	_, err := c.Write([]byte(question + "\n"))
	line := ""
	if err == nil {
		line, err = c.in.ReadString('\n')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.ended {
		c.Close()
		return line, err
	}
	l.idle = append(l.idle, c)
	return strings.TrimSuffix(line, "\n"), nil
}
