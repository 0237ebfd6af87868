package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// The program starts itself again as the consumer that is killed; this variable
// tells it so.
const roleVariable = "ASHLAR_EXAMPLE_LEADERBOARD_ROLE"

const (
	roleConsumer = "consumer" // counts what is there, and ends
	roleLive     = "live"     // counts for ever, and answers questions
)

// playRole is the life of such a process.
func playRole(role string) int {
	var err error
	switch role {
	case roleConsumer:
		err = playConsumer()
	case roleLive:
		err = playLive()
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// A report is what a consumer process tells.
type report struct {
	Stopped string `json:"stopped,omitempty"` // it stands at this point and waits to be killed
	Done    bool   `json:"done,omitempty"`
	Skipped int    `json:"skipped,omitempty"`
	URL     string `json:"url,omitempty"` // of one that answers questions
}

func playConsumer() error {
	size, err := strconv.Atoi(os.Getenv("SIZE"))
	if err != nil {
		return err
	}
	c, err := newConsumer(client{os.Getenv("API")}, os.Getenv("WAY"), os.Getenv("DIR"), size)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if stop := os.Getenv("STOP"); stop != "" {
		begun := 0
		c.at = func(point string) {
			if point != stop {
				return
			}
			if begun++; begun < 2 {
				return
			}
			_ = out.Encode(report{Stopped: point, Skipped: c.skipped})
			_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or the parent ends
			os.Exit(1)
		}
	}
	if err := c.run(context.Background()); err != nil {
		return err
	}
	return errors.Join(out.Encode(report{Done: true, Skipped: c.skipped}), c.close())
}

// A process is a child of this program.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *json.Decoder
}

func startProcess(role string, env ...string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role)...)
	cmd.Stderr = os.Stderr
	p := &process{cmd: cmd}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	return p, cmd.Start()
}

// heard waits for the next report.
func (p *process) heard() (r report, err error) {
	if err = p.out.Decode(&r); err != nil {
		err = fmt.Errorf("the consumer ended without a word: %w", errors.Join(err, p.cmd.Wait()))
	}
	return r, err
}

// kill ends the process with SIGKILL: it can close and flush nothing.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	_ = p.cmd.Wait()
	p.stdin.Close()
}

// close lets the process end by itself.
func (p *process) close() error {
	p.stdin.Close()
	return p.cmd.Wait()
}
