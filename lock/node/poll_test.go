package node_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A long poll at a leader that has lost its majority does not wait to the end:
// nothing can come there.
func TestPollLeavesDeposedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 500*time.Millisecond)
		l := w.leader()
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx, l) }}
		client := &http.Client{Transport: tr}
		do := func(method, path, body string) int {
			req, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			return resp.StatusCode
		}
		for i, id := range []string{sessionA, sessionB} {
			require.Equal(t, 201, do("POST", "/v1/sessions", `{"session":"`+id+`","ttl_ms":600000}`))
			require.Equal(t, 200+2*i, do("POST", "/v1/locks/k/requests", fmt.Sprintf(`{"session":%q,"req":1}`, id)))
		}
		time.AfterFunc(time.Second, func() { w.cut(l, true, true) })
		start := time.Now()
		status := do("GET", "/v1/locks/k/requests/1?wait=4m&session="+sessionB, "")
		require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusMisdirectedRequest}, status)
		require.Less(t, time.Since(start), 5*time.Second)
		tr.CloseIdleConnections()
		w.close()
	})
}
