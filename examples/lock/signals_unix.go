//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// freeze stops the process as a long garbage collection, a suspended machine or
// a busy host would: without warning, and for as long as we like (SIGSTOP). It
// returns when the process stands still, which is a moment after the signal.
func (p *process) freeze() error {
	if err := p.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.Cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("%s: wait: %w", p.Name, err)
		case status.Stopped():
			return nil
		default:
			return fmt.Errorf("%s has ended", p.Name)
		}
	}
}

// thaw lets it go on (SIGCONT).
func (p *process) thaw() error { return p.Cmd.Process.Signal(syscall.SIGCONT) }
