//go:build unix

package main

import "syscall"

// freeze stops the process as a long garbage collection, a suspended machine or
// a busy host would: without warning, and for as long as we like (SIGSTOP).
func (p *process) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// thaw lets it go on (SIGCONT).
func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
