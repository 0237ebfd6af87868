package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock"
)

// An appended is what a client reports to the program, one line each, once the
// store has acknowledged its write.
type appended struct {
	Client string
	Token  uint64
	Line   string
	Kept   bool // the client still has its first session
}

// playWorker is a process with several clients, each with a session of its own.
func playWorker() error {
	n, _ := strconv.Atoi(os.Getenv("CLIENTS"))
	each, _ := strconv.Atoi(os.Getenv("LINES"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	enc := json.NewEncoder(os.Stdout)
	errs := make(chan error, n)
	for i := range n {
		name := fmt.Sprintf("%s.%d", os.Getenv("NAME"), i)
		go func() {
			errs <- client(ctx, name, each, func(a appended) {
				mu.Lock()
				defer mu.Unlock()
				enc.Encode(a)
			})
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// client appends its lines, one per turn of the lock.
func client(ctx context.Context, name string, each int, report func(appended)) error {
	c, err := lock.Dial(ctx, splitNodes(), &lock.Options{TTL: lease, Label: name})
	if err != nil {
		return err
	}
	defer c.Close()
	session := c.Session()
	for i := 0; i < each; {
		l, err := c.Lock(ctx, object)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s line %d", name, i)
		// With the context of the program, not with the lock's, which would end
		// when the lease does: a request that is cut off may or may not have
		// been carried out, while the store's refusal is a clear answer.
		text, err := readObject(ctx, l)
		if err == nil {
			err = writeObject(ctx, l, text+line+"\n")
		}
		if err == nil {
			report(appended{name, l.Token(), line, c.Session() == session})
			i++
		} else if !errors.Is(err, errRefused) {
			return err
		} // refused: the lease ran out on the way; take the lock again
		if err := l.Unlock(ctx); err != nil && !errors.Is(err, lock.ErrNotHeld) {
			return err
		}
	}
	return nil
}

// playVictim takes the lock, reads, tells its parent, waits for a line on its
// standard input, and writes. Before the last step it will be stopped.
func playVictim() error {
	ctx := context.Background()
	c, err := lock.Dial(ctx, splitNodes(), &lock.Options{TTL: lease, Label: "C1"})
	if err != nil {
		return err
	}
	l, err := c.Lock(ctx, object)
	if err != nil {
		return err
	}
	text, err := readObject(ctx, l)
	if err != nil {
		return err
	}
	fmt.Println(l.Token())
	bufio.NewReader(os.Stdin).ReadString('\n')
	// It does not ask again whether it still holds the lock. That would make
	// the window smaller and not close it: it could be stopped right after the
	// answer.
	err = writeObject(ctx, l, text+staleLine+"\n")
	switch {
	case err == nil:
		fmt.Println("accepted")
	case errors.Is(err, errRefused):
		fmt.Println(err)
	default:
		return err
	}
	<-l.Lost()
	fmt.Println(l.Err())
	return nil // without Close: the session is long gone
}

// staleLine is what the victim appends.
const staleLine = "C1 was here"

var errRefused = errors.New("refused")

func readObject(ctx context.Context, l *lock.Lock) (string, error) {
	return objectCall(ctx, l, "GET", "")
}

func writeObject(ctx context.Context, l *lock.Lock, text string) error {
	_, err := objectCall(ctx, l, "PUT", text)
	return err
}

// objectCall makes one request to the store about the object that the lock is
// for, with the lock's token.
func objectCall(ctx context.Context, l *lock.Lock, method, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, os.Getenv("STORE")+"/"+l.Key(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	l.SetFence(req.Header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return string(b), nil
	case http.StatusPreconditionFailed:
		var r lock.Refusal
		if err := json.Unmarshal(b, &r); err != nil {
			return "", err
		}
		return "", fmt.Errorf("%w: token %d, and the store has seen %d", errRefused, r.Got, r.Max)
	}
	return "", fmt.Errorf("store: %s: %s", resp.Status, b)
}

// What follows is the program's side of these processes.

// A victim is the process that will be frozen.
type victim struct{ *process }

func startVictim(c *cluster, s *store) (*victim, error) {
	p, err := startProcess("C1", "victim", "NODES="+strings.Join(c.addresses(), ","), "STORE="+s.url)
	if err != nil {
		return nil, err
	}
	return &victim{p}, nil
}

// line returns the next line that the process prints.
func (v *victim) line(ctx context.Context) (string, error) {
	type line struct {
		s   string
		err error
	}
	got := make(chan line, 1)
	go func() {
		s, err := v.Out.ReadString('\n')
		got <- line{strings.TrimSpace(s), err}
	}()
	select {
	case l := <-got:
		return l.s, l.err
	case <-ctx.Done():
		return "", fmt.Errorf("C1 is silent: %w", ctx.Err())
	}
}

func (v *victim) waitHolding(ctx context.Context) (uint64, error) {
	s, err := v.line(ctx)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(s, 10, 64)
}

// goAhead gives the process the line that it waits for before it writes.
func (v *victim) goAhead() { io.WriteString(v.Stdin, "write\n") }

// A load is how much the workers do.
type load struct {
	workers int // processes
	clients int // in each of them
	lines   int // that each client appends
}

func (l load) appends() int { return l.workers * l.clients * l.lines }

// A team is the worker processes.
type team struct {
	load load
	ps   []*process
	wg   sync.WaitGroup
	more chan struct{} // capacity 1

	mu           sync.Mutex
	acknowledged []appended
	running      int
	failed       error
}

func startWorkers(c *cluster, s *store, l load) (*team, error) {
	t := &team{load: l, more: make(chan struct{}, 1), running: l.workers}
	for i := range l.workers {
		p, err := startProcess(fmt.Sprint("w", i), "worker", "NODES="+strings.Join(c.addresses(), ","), "STORE="+s.url,
			fmt.Sprint("CLIENTS=", l.clients), fmt.Sprint("LINES=", l.lines), fmt.Sprint("NAME=w", i))
		if err != nil {
			t.kill()
			return nil, err
		}
		t.ps = append(t.ps, p)
		t.wg.Add(1)
		go t.collect(p)
	}
	return t, nil
}

// collect reads what one process reports.
func (t *team) collect(p *process) {
	defer t.wg.Done()
	dec := json.NewDecoder(p.Out)
	for {
		var a appended
		err := dec.Decode(&a)
		t.mu.Lock()
		if err == nil {
			t.acknowledged = append(t.acknowledged, a)
		} else {
			t.running--
			if err != io.EOF && t.failed == nil {
				t.failed = fmt.Errorf("%s: %w", p.Name, err)
			}
		}
		t.mu.Unlock()
		select {
		case t.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (t *team) appends() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.acknowledged)
}

// waitAppends waits until n lines have been acknowledged.
func (t *team) waitAppends(ctx context.Context, n int) error {
	for t.appends() < n {
		t.mu.Lock()
		running, failed := t.running, t.failed
		t.mu.Unlock()
		if failed != nil {
			return failed
		}
		if running == 0 && t.appends() < n {
			return fmt.Errorf("the workers ended after %d of %d appends", t.appends(), n)
		}
		select {
		case <-t.more:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d appends: %w", t.appends(), n, ctx.Err())
		}
	}
	return nil
}

// wait waits for all workers to end.
func (t *team) wait(ctx context.Context) error {
	if err := t.waitAppends(ctx, t.load.appends()); err != nil {
		return err
	}
	t.wg.Wait()
	for _, p := range t.ps {
		p.Reap()
		if !p.Cmd.ProcessState.Success() {
			return fmt.Errorf("%s: %v", p.Name, p.Cmd.ProcessState)
		}
	}
	return nil
}

func (t *team) kill() {
	for _, p := range t.ps {
		p.Kill()
	}
}
