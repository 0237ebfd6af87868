package lock

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// playedServer dials a server that answers every command as reply says; nil
// leaves it unanswered and breaks the connection.
func playedServer(reply func(c core.Command) *core.Result) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r := bufio.NewReader(theirs)
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			theirs.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"))
			out := wire.NewWriter(theirs, time.Second)
			for {
				id, kind, payload, _, err := wire.ReadFrame(r, nil)
				if err != nil {
					return
				}
				switch kind {
				case wire.AskRenew:
					out.Send(id, wire.Renewed)
				case wire.AskCommand:
					c, err := core.DecodeCommand(payload)
					if err != nil {
						return
					}
					res := reply(c)
					if res == nil {
						return
					}
					out.Send(id, wire.Done, wire.AppendResult(nil, *res, ""))
				}
			}
		}()
		return ours, nil
	}
}

// The servers remember a client's last requests only. If the answer to an Unlock
// is lost, and many others follow before it is asked again, they know no more
// than that it is over. As long as the session lives it was the Unlock that
// ended it, so the lock was held until then.
func TestUnlockAskedAgainLate(t *testing.T) {
	var releases atomic.Int32
	c, err := Dial(context.Background(), []string{"played"}, &Options{Dial: playedServer(func(c core.Command) *core.Result {
		switch c.Op {
		case core.OpEnqueue:
			return &core.Result{Status: core.StatusGranted, Token: 7}
		case core.OpRelease:
			if releases.Add(1) == 1 {
				return nil
			}
			return &core.Result{Status: core.StatusNotHeld}
		}
		return &core.Result{Status: core.StatusOK}
	})})
	require.NoError(t, err)
	l, err := c.Lock(context.Background(), "k")
	require.NoError(t, err)
	require.NoError(t, l.Unlock(context.Background()))
	require.EqualValues(t, 2, releases.Load())
	require.NoError(t, c.Close())
}

// Servers that know nothing of the session any more have given all its locks
// away, not only the one that is unlocked.
func TestUnlockInLostSession(t *testing.T) {
	c, err := Dial(context.Background(), []string{"played"}, &Options{Dial: playedServer(func(c core.Command) *core.Result {
		switch c.Op {
		case core.OpEnqueue:
			return &core.Result{Status: core.StatusGranted, Token: c.Req}
		case core.OpRelease:
			return &core.Result{Status: core.StatusNoSession}
		}
		return &core.Result{Status: core.StatusOK}
	})})
	require.NoError(t, err)
	a, err := c.Lock(context.Background(), "a")
	require.NoError(t, err)
	b, err := c.Lock(context.Background(), "b")
	require.NoError(t, err)
	require.Len(t, c.Session(), 32)
	require.ErrorIs(t, a.Unlock(context.Background()), ErrNotHeld)
	require.ErrorIs(t, b.Err(), ErrLost)
	require.Empty(t, c.Session())
	require.NoError(t, c.Close())
}
