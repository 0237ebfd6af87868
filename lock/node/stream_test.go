package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// Who waits when the session ends hears that the request is lost, and why,
// before the stream ends.
func TestLostBeforeEnd(t *testing.T) {
	n, term := alone(t)
	ctx := context.Background()
	for _, tc := range []struct {
		how    core.Command
		reason string
	}{
		{core.Command{Op: core.OpExpire, Term: term, Epoch: 1}, "lease ended"},
		{core.Command{Op: core.OpClose}, "session closed"},
		{core.Command{Op: core.OpCancel, Key: "k", Req: 1}, "cancelled"},
	} {
		id := core.SessionID{byte(tc.how.Op)}
		for _, c := range []core.Command{
			{Op: core.OpOpen, Session: id, TTL: time.Hour},
			{Op: core.OpEnqueue, Session: id, Key: "k", Req: 1},
		} {
			_, err := n.execute(ctx, &c)
			require.NoError(t, err)
		}
		l := n.hub.listen(id, 0)
		tc.how.Session = id
		res, err := n.execute(ctx, &tc.how)
		require.NoError(t, err)
		require.Contains(t, []core.Status{core.StatusOK, core.StatusReleased}, res.Status)
		events, _ := l.take()
		require.NotEmpty(t, events)
		require.Equal(t, event{wire.Lost, wire.Event{Req: 1, Key: "k", Reason: tc.reason}}, events[0])
		n.hub.leave(l)
	}
}

// dialStream opens a connection as package lock does.
func dialStream(t *testing.T, n *Node) (net.Conn, *bufio.Reader) {
	nc, err := net.Dial("tcp", n.Address())
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", wire.StreamPath, wire.Protocol)
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	return nc, r
}

// A client cannot make the server keep any number of subscriptions: each is work
// for the state machine.
func TestSubscriptionsAreBounded(t *testing.T) {
	n, _ := alone(t)
	open := core.Command{Op: core.OpOpen, Session: core.SessionID{1}, TTL: time.Hour}
	_, err := n.execute(context.Background(), &open)
	require.NoError(t, err)
	nc, r := dialStream(t, n)
	const more = 10
	var b []byte
	for i := range maxSubscriptions + more {
		b = wire.AppendFrame(b, uint64(i+1), wire.AskEvents, open.Session[:])
	}
	_, err = nc.Write(b)
	require.NoError(t, err)
	for refused := 0; refused < more; {
		_, kind, _, _, err := wire.ReadFrame(r, nil)
		require.NoError(t, err)
		if kind == wire.Failed {
			refused++
		}
	}
	require.Eventually(t, func() bool {
		n.hub.mu.Lock()
		defer n.hub.mu.Unlock()
		return len(n.hub.listeners[open.Session]) == maxSubscriptions
	}, 20*time.Second, time.Millisecond)
}

// A server whose member has failed serves nobody: streams and polls end, though
// nobody has called Close.
func TestStreamsEndWithTheMember(t *testing.T) {
	n, _ := alone(t)
	_, r := dialStream(t, n)
	n.replica.Close()
	select {
	case <-n.ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the server goes on without its member")
	}
	for {
		if _, _, _, _, err := wire.ReadFrame(r, nil); err != nil {
			break
		}
	}
}

// With TLS only who has a member's certificate changes the membership; others
// may use the locks.
func TestMembershipNeedsCertificate(t *testing.T) {
	n, _ := alone(t)
	n.opts.TLS = &tls.Config{}
	for _, tc := range []struct {
		state *tls.ConnectionState
		want  int
	}{
		{nil, http.StatusForbidden},
		{&tls.ConnectionState{}, http.StatusForbidden},
		{&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}, http.StatusOK},
	} {
		for _, method := range []string{"DELETE", "POST"} {
			path, body := "/v1/cluster/members/nobody", ""
			if method == "POST" {
				path, body = "/v1/cluster/members", `{"id":"a","address":"`+n.Address()+`"}`
			}
			req := httptest.NewRequest(method, path, strings.NewReader(body))
			req.TLS = tc.state
			w := httptest.NewRecorder()
			n.Handler().ServeHTTP(w, req)
			require.Equal(t, tc.want, w.Code, "%s: %s", method, w.Body)
		}
	}
}

// A key that no lock can have is refused where one only looks, too.
func TestInspectRefusesBadKeys(t *testing.T) {
	n, _ := alone(t)
	nc, r := dialStream(t, n)
	for i, key := range []string{"", strings.Repeat("k", core.MaxKey+1), "\xff"} {
		_, err := nc.Write(wire.AppendFrame(nil, uint64(i+1), wire.AskInspect, []byte(key)))
		require.NoError(t, err)
		for id, kind := uint64(0), wire.Ping; id == 0; {
			id, kind, _, _, err = wire.ReadFrame(r, nil)
			require.NoError(t, err)
			require.True(t, id == 0 || kind == wire.Invalid, "key %.10q: kind %d", key, kind)
		}
	}
	w := httptest.NewRecorder()
	n.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/locks/"+strings.Repeat("k", core.MaxKey+1), nil))
	require.Equal(t, http.StatusBadRequest, w.Code)
}
