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

// An append is what a client reports to the program: one line each.
type appended struct {
	Client string
	Token  uint64
	Line   string
	Waited time.Duration
}

// playWorker is a process with several clients. Each has a session of its own.
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
	for i := 0; i < each; {
		asked := time.Now()
		l, err := c.Lock(ctx, object)
		if err != nil {
			return err
		}
		waited := time.Since(asked)
		line := fmt.Sprintf("%s line %d", name, i)
		text, err := readObject(ctx, l.Token())
		if err == nil {
			err = writeObject(ctx, text+line+"\n", l.Token())
		}
		if err == nil {
			report(appended{name, l.Token(), line, waited})
			i++
		} else if !errors.Is(err, errRefused) {
			return err
		} // refused: the lease was lost on the way; take the lock again
		if err := l.Unlock(ctx); err != nil && !errors.Is(err, lock.ErrNotHeld) {
			return err
		}
	}
	return nil
}

// playVictim takes the lock, reads, tells its parent, waits for a line on its
// standard input, and writes. In between it will be stopped.
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
	text, err := readObject(ctx, l.Token())
	if err != nil {
		return err
	}
	fmt.Println(l.Token())
	bufio.NewReader(os.Stdin).ReadString('\n')
	// It does not ask again whether it still holds the lock, and asking would
	// not help: it could be stopped right after the answer.
	err = writeObject(ctx, text+"C1 was here\n", l.Token())
	switch {
	case err == nil:
		fmt.Println("accepted: it wrote back the object as it was before the freeze")
	case errors.Is(err, errRefused):
		fmt.Println(err)
	default:
		return err
	}
	return nil // without Close: the session is long gone
}

var errRefused = errors.New("refused")

func readObject(ctx context.Context, token uint64) (string, error) {
	return objectCall(ctx, "GET", "", token)
}

func writeObject(ctx context.Context, text string, token uint64) error {
	_, err := objectCall(ctx, "PUT", text, token)
	return err
}

func objectCall(ctx context.Context, method, body string, token uint64) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, os.Getenv("STORE")+"/"+object, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set(lock.FenceHeader, strconv.FormatUint(token, 10))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode == http.StatusPreconditionFailed || resp.StatusCode == http.StatusConflict:
		return "", fmt.Errorf("%w: %s", errRefused, strings.TrimSpace(string(b)))
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("store: %s: %s", resp.Status, b)
	}
	return string(b), nil
}

// The program's side of its client processes.

// A victim is the process that will be frozen.
type victim struct{ *process }

func startVictim(c *cluster, s *store) (*victim, error) {
	p, err := startProcess("C1", "victim", "NODES="+strings.Join(c.addresses(), ","), "STORE="+s.url)
	if err != nil {
		return nil, err
	}
	return &victim{p}, nil
}

func (v *victim) line(ctx context.Context) (string, error) {
	type line struct {
		s   string
		err error
	}
	got := make(chan line, 1)
	go func() {
		s, err := v.out.ReadString('\n')
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

func (v *victim) goAhead() { io.WriteString(v.stdin, "write\n") }

func (v *victim) waitVerdict(ctx context.Context) (string, error) { return v.line(ctx) }

// A team is the worker processes.
type team struct {
	ps   []*process
	wg   sync.WaitGroup
	more chan struct{} // capacity 1

	mu           sync.Mutex
	acknowledged []string
	samples      []string
	inversions   int
	last         uint64
	running      int
	failed       error
}

func startWorkers(c *cluster, s *store, workers, clients, lines int) (*team, error) {
	t := &team{more: make(chan struct{}, 1), running: workers}
	for i := range workers {
		p, err := startProcess(fmt.Sprint("w", i), "worker", "NODES="+strings.Join(c.addresses(), ","), "STORE="+s.url,
			fmt.Sprint("CLIENTS=", clients), fmt.Sprint("LINES=", lines), fmt.Sprint("NAME=w", i))
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

func (t *team) collect(p *process) {
	defer t.wg.Done()
	dec := json.NewDecoder(p.out)
	for {
		var a appended
		err := dec.Decode(&a)
		t.mu.Lock()
		if err != nil {
			t.running--
			if err != io.EOF && t.failed == nil {
				t.failed = fmt.Errorf("%s: %w", p.name, err)
			}
		} else {
			t.acknowledged = append(t.acknowledged, a.Line)
			// The lines of several processes may reach us out of order; only a
			// token that comes twice would be a broken promise.
			if a.Token == t.last {
				t.inversions++
			}
			t.last = a.Token
			if n := len(t.acknowledged); n <= 3 || n%60 == 0 {
				t.samples = append(t.samples, fmt.Sprintf("%-5s token %-4d waited %v", a.Client, a.Token, a.Waited.Round(time.Millisecond)))
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
		if running == 0 {
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
	if err := t.waitAppends(ctx, workers*clients*lines); err != nil {
		return err
	}
	t.wg.Wait()
	for _, p := range t.ps {
		p.reap()
		if !p.cmd.ProcessState.Success() {
			return fmt.Errorf("%s: %v", p.name, p.cmd.ProcessState)
		}
	}
	return nil
}

func (t *team) kill() {
	for _, p := range t.ps {
		p.kill()
	}
}
