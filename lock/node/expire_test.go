package node

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/replica"
)

// alone starts a server that leads a cluster of itself.
func alone(t *testing.T) (n *Node, term uint64) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n, err = Open("", &Options{
		ID: "a", Bootstrap: []replica.Member{{ID: "a", Address: ln.Addr().String()}}, Listener: ln,
		InMemory: true, HeartbeatTimeout: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) { // polls a condition
		term, err = n.replica.Confirm(context.Background())
		n.leases.mu.Lock()
		active := n.leases.active
		n.leases.mu.Unlock()
		if err == nil && active {
			return n, term
		}
		if time.Now().After(end) {
			t.Fatalf("no leader: %v", err)
		}
	}
}

// lapse has the lease of a session found to be over, as due does.
func lapse(l *leases, id core.SessionID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions[id].ending, l.sessions[id].proposed = true, true
}

// A lease is found to be over, and before its end is proposed the client is
// heard of: it opens the session again, since the first answer was lost. It is
// told that it has a session for a whole TTL, so that must not end.
func TestExpireAfterRevival(t *testing.T) {
	n, term := alone(t)
	ctx := context.Background()
	open := core.Command{Op: core.OpOpen, Session: core.SessionID{1}, TTL: time.Hour}
	res, err := n.execute(ctx, &open)
	require.NoError(t, err)
	require.Equal(t, core.StatusOK, res.Status)
	lapse(n.leases, open.Session)
	_, err = n.execute(ctx, &open)
	require.NoError(t, err)
	n.expire(ctx, open.Session, term)
	_, exists := n.state.Session(open.Session)
	require.True(t, exists)
	_, exists, err = n.renew(ctx, open.Session)
	require.NoError(t, err)
	require.True(t, exists)
	// Without a sign of life it does end.
	lapse(n.leases, open.Session)
	n.expire(ctx, open.Session, term)
	_, exists = n.state.Session(open.Session)
	require.False(t, exists)
}

// While the end of a lease is on its way no second one is sent after it: if the
// first comes too late, and the lease is renewed therefore, the second would end
// it all the same.
func TestExpireOnce(t *testing.T) {
	var now time.Duration
	l := newLeases(func() time.Duration { return now })
	l.start(func(yield func(core.SessionID, time.Duration)) { yield(core.SessionID{1}, time.Second) })
	now = time.Second
	ids, _ := l.due()
	require.Len(t, ids, 1)
	for range 5 {
		now += 2 * time.Second
		ids, _ = l.due()
		require.Empty(t, ids)
	}
	l.settle(core.SessionID{1}) // it failed
	now += 2 * time.Second
	ids, _ = l.due()
	require.Len(t, ids, 1)
}

// The first Open decides the TTL, also after a repetition with another.
func TestOpenAgainKeepsTTL(t *testing.T) {
	n, _ := alone(t)
	ctx := context.Background()
	open := core.Command{Op: core.OpOpen, Session: core.SessionID{1}, TTL: time.Minute}
	_, err := n.execute(ctx, &open)
	require.NoError(t, err)
	open.TTL = time.Hour
	_, err = n.execute(ctx, &open)
	require.NoError(t, err)
	ttl, _, err := n.renew(ctx, open.Session)
	require.NoError(t, err)
	require.Equal(t, time.Minute, ttl)
}
