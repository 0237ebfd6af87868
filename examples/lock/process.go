package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

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
	case "resident":
		err = playResident()
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

func splitNodes() []string { return strings.Split(os.Getenv("NODES"), ",") }
