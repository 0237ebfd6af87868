package lock

import (
	"syscall"
	"time"
	"unsafe"
)

// bootTime reads CLOCK_BOOTTIME, which unlike Go's monotonic clock goes on
// while the machine is suspended: a lease runs out in the meantime.
func bootTime() time.Duration {
	const clockBoottime = 7
	var ts syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		return time.Since(processStart)
	}
	return time.Duration(ts.Nano())
}

var processStart = time.Now()
