//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package main

import "errors"

var errNoSignals = errors.New("this example stops a process with SIGSTOP, which this system does not have: run it on Linux or macOS")

func (p *process) freeze() error { return errNoSignals }

func (p *process) thaw() error { return errNoSignals }
