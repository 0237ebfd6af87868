// Package child lets an example start itself again as the other processes of its story,
// which it may kill.
//
//	func main() {
//		child.Main(roles) // does not return in a child
//		...
//		p, err := child.Start("push server 1", "push", "DIR="+dir)
//		line, err := p.Line() // what it prints, such as its address
//		p.Kill()
//	}
//
//	var roles = child.Roles{"push": playPush}
//
// Tests of the example call Main in their TestMain: there the test's program is what is
// started again.
package child

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// variable tells a child its role.
const variable = "ASHLAR_EXAMPLE_ROLE"

// Roles are what a child can be.
type Roles map[string]func() error

// Main plays the role that this process was started for, and ends it. It returns in a
// process that has none.
func Main(roles Roles) {
	role := os.Getenv(variable)
	if role == "" {
		return
	}
	err := fmt.Errorf("there is no such role")
	if play := roles[role]; play != nil {
		err = play()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A Process is a child. Its errors go to the standard error of this program. It should end
// when its standard input does, so that none is left behind whatever happens to this one.
type Process struct {
	Name  string
	Cmd   *exec.Cmd
	Stdin io.WriteCloser
	Out   *bufio.Reader // what it prints

	once sync.Once
	done chan struct{}
}

// Start starts a child in a role, with variables of the form "KEY=value" beside those of
// this process. Name is for errors.
func Start(name, role string, env ...string) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, variable+"="+role)...)
	cmd.Stderr = os.Stderr
	p := &Process{Name: name, Cmd: cmd, done: make(chan struct{})}
	if p.Stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.Out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// Line waits for the next line that the process prints.
func (p *Process) Line() (string, error) {
	line, err := p.Out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s has ended: %w", p.Name, err)
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// Kill ends the process at once, with SIGKILL where there are signals: it can close and
// flush nothing.
func (p *Process) Kill() error {
	err := p.Cmd.Process.Kill()
	p.Reap()
	return err
}

// Reap ends the standard input of the process and waits for its end. It may be repeated.
func (p *Process) Reap() {
	p.once.Do(func() {
		_ = p.Stdin.Close()
		_ = p.Cmd.Wait() // how it ended is not asked here
		close(p.done)
	})
	<-p.done
}
