package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
)

// A key that was given up without waiting for the servers' answer can be asked
// for again at once: what is still on its way to the servers is not the client's
// any more.
func TestAgainAfterGivingUp(t *testing.T) {
	c := newCluster(t, 1, node.Options{InMemory: true})
	ctx := deadline(t)
	a, b := c.dial(nil), c.dial(nil)
	for i := range 200 {
		l, err := b.Lock(ctx, "unlocked")
		require.NoError(t, err, "round %d", i)
		l.UnlockAsync()
	}
	held, err := a.Lock(ctx, "abandoned")
	require.NoError(t, err)
	for i := range 50 {
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		_, err := b.Lock(short, "abandoned")
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, "round %d", i)
	}
	require.NoError(t, held.Unlock(ctx))
	l, err := b.Lock(ctx, "abandoned")
	require.NoError(t, err)
	// What it does hold stays refused.
	_, err = b.Lock(ctx, "abandoned")
	require.ErrorIs(t, err, lock.ErrHeldBySelf)
	require.NoError(t, l.Unlock(ctx))
}
