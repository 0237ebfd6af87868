//go:build !linux

package lock

import "time"

// bootTime is the monotonic clock, which may stand still while the machine is
// suspended. On macOS and Windows it goes on; elsewhere a lease may be believed
// in for longer after a suspension.
func bootTime() time.Duration { return time.Since(processStart) }

var processStart = time.Now()
