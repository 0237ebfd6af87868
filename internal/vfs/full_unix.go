//go:build !windows && !plan9

package vfs

import "syscall"

var fullErrors = []error{syscall.ENOSPC, syscall.EDQUOT}
