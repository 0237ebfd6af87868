package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// The program starts itself again in other roles; this variable tells which.
const roleVariable = "ASHLAR_EXAMPLE_TYPEAHEAD_ROLE"

// play is one of the processes that the story needs.
func play(role string) int {
	var err error
	switch role {
	case "node":
		err = playNode()
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// A process is a child of this program. It ends when its standard input does, so
// none is left behind.
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

// line waits for the next line that the process prints.
func (p *process) line() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s has ended: %w", p.name, err)
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// kill ends the process at once: SIGKILL, where there are signals.
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
