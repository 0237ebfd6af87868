package lock

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock/internal/core"
)

// What is given up while the client closes, or after it has, is none of Close's
// business any more: the session's end has said it.
func TestCloseBesideUnlocks(t *testing.T) {
	dial := playedServer(func(c core.Command) *core.Result {
		switch c.Op {
		case core.OpEnqueue:
			return &core.Result{Status: core.StatusGranted, Token: c.Req}
		case core.OpOpen:
			return &core.Result{Status: core.StatusOK}
		}
		return &core.Result{Status: core.StatusReleased}
	})
	for range 100 {
		c, err := Dial(context.Background(), []string{"played"}, &Options{Dial: dial})
		require.NoError(t, err)
		s, err := c.current(context.Background())
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for range 20 {
					s.giveUp(uint64(i), &core.Command{Op: core.OpCancel, Req: 1, Key: "k"})
				}
			})
		}
		require.NoError(t, c.Close())
		wg.Wait()
	}
}
