package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// The program starts itself again in other roles; this variable tells which.
const roleVariable = "ASHLAR_EXAMPLE_LOCK_ROLE"

// play is one of the processes that the story needs.
func play(role string) int {
	var err error
	switch role {
	case "server":
		err = playServer(os.Getenv("DIR"), os.Getenv("ID"), os.Getenv("MEMBERS"))
	case "worker":
		err = playWorker()
	case "victim":
		err = playVictim()
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// playServer is a whole lock server: this is all it takes.
func playServer(dir, id, members string) error {
	var founders []replica.Member
	if err := json.Unmarshal([]byte(members), &founders); err != nil {
		return err
	}
	self := founders[slices.IndexFunc(founders, func(m replica.Member) bool { return m.ID == id })]
	n, err := node.Open(dir, &node.Options{
		ID: id, Listen: self.Address, Bootstrap: founders, HeartbeatTimeout: heartbeat,
	})
	if err != nil {
		return err
	}
	fmt.Println("up")
	// The parent holds our standard input open: when it ends, so do we.
	go func() {
		io.Copy(io.Discard, os.Stdin)
		n.Close()
	}()
	<-n.Done()
	if err := n.Replica().Err(); !errors.Is(err, replica.ErrClosed) {
		return err
	}
	return nil
}

// A process is a child of this program.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	once  sync.Once
	done  chan struct{}
}

func startProcess(name, role string, env ...string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role)...)
	cmd.Stderr = os.Stderr
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	p.reap()
	return err
}

// reap waits for the end of the process, once.
func (p *process) reap() {
	p.once.Do(func() {
		p.stdin.Close()
		p.cmd.Wait()
		close(p.done)
	})
	<-p.done
}

// A cluster is the lock servers.
type cluster struct {
	dir     string
	members []replica.Member
	nodes   []*server
}

type server struct {
	*process
	name    string
	address string
	alive   bool
}

func startCluster(n int) (*cluster, error) {
	dir, err := os.MkdirTemp("", "ashlar-lock-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	// Find free ports. They are closed again before the servers open them,
	// which is good enough on a machine of one's own.
	var holders []net.Listener
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		holders = append(holders, ln)
		c.members = append(c.members, replica.Member{ID: string(rune('a' + i)), Address: ln.Addr().String()})
	}
	for _, ln := range holders {
		ln.Close()
	}
	for _, m := range c.members {
		c.nodes = append(c.nodes, &server{name: m.ID, address: m.Address})
	}
	for _, s := range c.nodes {
		if err := c.start(s); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) start(s *server) error {
	members, err := json.Marshal(c.members)
	if err != nil {
		return err
	}
	p, err := startProcess(s.name, "server", "DIR="+filepath.Join(c.dir, s.name), "ID="+s.name, "MEMBERS="+string(members))
	if err != nil {
		return err
	}
	s.process, s.alive = p, true
	if line, err := p.out.ReadString('\n'); err != nil || line != "up\n" {
		return fmt.Errorf("server %s did not start: %q, %v", s.name, line, err)
	}
	return nil
}

func (s *server) kill() error {
	s.alive = false
	return s.process.kill()
}

// revive starts the servers that were killed, on their old directories.
func (c *cluster) revive(ctx context.Context) error {
	for _, s := range c.nodes {
		if !s.alive {
			if err := c.start(s); err != nil {
				return err
			}
		}
	}
	_, err := c.leader(ctx)
	return err
}

func (c *cluster) stop() {
	for _, s := range c.nodes {
		if s.process != nil {
			s.signal(syscall.SIGCONT)
			s.kill()
		}
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
			if s.alive && get(ctx, s.address, "/v1/locks/any", &struct{}{}) == nil {
				found = s
				return nil
			}
		}
		return errors.New("no server leads")
	})
	return found, err
}

// waitQueue waits until a key has that many waiters.
func (c *cluster) waitQueue(ctx context.Context, key string, waiting int) error {
	return poll(ctx, func() error {
		l, err := c.leader(ctx)
		if err != nil {
			return err
		}
		var q struct{ Waiting int }
		if err := get(ctx, l.address, "/v1/locks/"+key, &q); err != nil {
			return err
		}
		if q.Waiting < waiting {
			return fmt.Errorf("%d of %d clients wait", q.Waiting, waiting)
		}
		return nil
	})
}

func splitNodes() []string { return strings.Split(os.Getenv("NODES"), ",") }
