package replica

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStallWatchOfPausedProcess: a process that was stopped in the middle of a
// write, with its machine or by a signal, has no stuck disk.
func TestStallWatchOfPausedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4 * time.Second
		start := time.Now()
		var paused atomic.Int64
		w := newStallWatch(func() time.Duration { return time.Since(start) + time.Duration(paused.Load()) })
		closed := make(chan struct{})
		failed := make(chan error, 1)
		go w.watch(limit, func(err error) { failed <- err }, closed)
		w.begin()
		time.Sleep(limit / 2)
		paused.Store(int64(time.Hour))
		w.begin() // after the pause, before the watch has looked
		time.Sleep(limit / 4)
		synctest.Wait()
		require.Empty(t, failed)
		// The disk is stuck all the same.
		time.Sleep(limit)
		synctest.Wait()
		require.Len(t, failed, 1)
		require.ErrorIs(t, <-failed, ErrStalled)
		close(closed)
	})
}
