package node_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
)

const (
	sessionA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	sessionB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// An api speaks to one server as any HTTP client would.
type api struct {
	t    *testing.T
	base string
}

func (a api) do(method, path, body string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(deadline(a.t), method, a.base+path, strings.NewReader(body))
	require.NoError(a.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func newAPI(t *testing.T, opts node.Options) (api, *cluster) {
	opts.InMemory = true
	c := newCluster(t, 1, opts)
	c.leader()
	return api{t, "http://" + c.nodes[0].Address()}, c
}

// The whole life of a lock over plain HTTP, every request sent twice: the
// repetition gets the same answer and changes nothing.
func TestHTTP(t *testing.T) {
	a, _ := newAPI(t, node.Options{})
	var token string
	for _, s := range []struct {
		method, path, body string
		status             int
		want               string // in the answer; TOKEN stands for the grant's
	}{
		{"POST", "/v1/sessions", `{"session":"` + sessionA + `","ttl_ms":10000,"label":"A"}`, 201, `"ttl_ms":10000`},
		{"POST", "/v1/sessions", `{"session":"` + sessionB + `","ttl_ms":10000}`, 201, sessionB},
		{"PUT", "/v1/sessions/" + sessionA, ``, 200, `10000`},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionA + `","req":1,"value":"aGk="}`, 200, `"state":"granted","token":TOKEN`},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionB + `","req":1,"try":true}`, 409, `"state":"held"`},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionB + `","req":2}`, 202, `"state":"queued","ahead":1`},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionB + `","req":3}`, 409, `"state":"held_by_self"`},
		{"GET", "/v1/locks/k/requests/2?session=" + sessionB + "&wait=10ms", ``, 204, ``},
		{"GET", "/v1/locks/k", ``, 200, `"label":"A"`},
		{"GET", "/v1/locks/k?consistency=stale", ``, 200, `"waiting":1`},
		{"DELETE", "/v1/locks/k/requests/1?session=" + sessionA + "&token=1", ``, 409, `"state":"not_held"`},
		{"DELETE", "/v1/locks/k/requests/1?session=" + sessionA + "&token=TOKEN", ``, 200, `"state":"released"`},
		{"GET", "/v1/locks/k/requests/2?session=" + sessionB + "&wait=10s", ``, 200, `"state":"granted"`},
		{"GET", "/v1/locks/k/requests/1?session=" + sessionA, ``, 410, `"state":"gone"`},
		{"DELETE", "/v1/locks/k/requests/2?session=" + sessionB, ``, 200, `"state":"released"`},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionB + `","req":2}`, 410, `"state":"gone"`},
		{"POST", "/v1/locks/pool/requests", `{"session":"` + sessionA + `","req":5,"kind":"permit","weight":2,"limit":3}`, 200, `granted`},
		{"POST", "/v1/locks/pool/requests", `{"session":"` + sessionB + `","req":5,"kind":"permit","weight":2,"limit":3}`, 202, `queued`},
		{"POST", "/v1/locks/pool/requests", `{"session":"` + sessionB + `","req":6}`, 409, `held_by_self`},
		{"POST", "/v1/locks/shared%2Fkey/requests", `{"session":"` + sessionA + `","req":7,"kind":"shared"}`, 200, `granted`},
		{"GET", "/v1/locks/shared%2Fkey", ``, 200, `"key":"shared/key"`},
		{"POST", "/v1/locks/shared%2Fkey/requests", `{"session":"` + sessionB + `","req":7,"kind":"permit","weight":1,"limit":1}`, 409, `conflict`},
		{"GET", "/v1/cluster", ``, 200, `"leader":"n0"`},
		{"DELETE", "/v1/sessions/" + sessionA, ``, 200, ``},
		{"GET", "/v1/locks/pool/requests/5?session=" + sessionB, ``, 200, `granted`},
	} {
		for try := range 2 {
			path := strings.ReplaceAll(s.path, "TOKEN", token)
			status, body := a.do(s.method, path, s.body)
			if s.path == "/v1/sessions/"+sessionA && s.method == "DELETE" && try == 1 {
				require.Equal(t, 404, status) // gone is gone
				break
			}
			name := fmt.Sprintf("%s %s, time %d: %s", s.method, path, try+1, body)
			require.Equal(t, s.status, status, name)
			if i := strings.Index(s.want, "TOKEN"); i >= 0 && token == "" {
				var o struct{ Token uint64 }
				require.NoError(t, json.Unmarshal([]byte(body), &o))
				token = fmt.Sprint(o.Token)
			}
			require.Contains(t, body, strings.ReplaceAll(s.want, "TOKEN", token), name)
		}
	}
}

func TestHTTPBadInput(t *testing.T) {
	a, _ := newAPI(t, node.Options{MaxWaiters: 1})
	for _, id := range []string{sessionA, sessionB, strings.Repeat("c", 32)} {
		status, body := a.do("POST", "/v1/sessions", `{"session":"`+id+`","ttl_ms":10000}`)
		require.Equal(t, 201, status, body)
	}
	long := strings.Repeat("x", 1025)
	for _, s := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/sessions", `{`, 400, "body"},
		{"POST", "/v1/sessions", strings.Repeat("x", 17<<10), 400, "above"},
		{"POST", "/v1/sessions", `{"session":"x","ttl_ms":10000}`, 400, "32 hexadecimal"},
		{"POST", "/v1/sessions", `{"session":"` + sessionA + `","ttl_ms":999}`, 400, "ttl"},
		{"POST", "/v1/sessions", `{"session":"` + sessionA + `","ttl_ms":86400001}`, 400, "ttl"},
		{"POST", "/v1/sessions", `{"session":"` + sessionA + `","ttl_ms":-9223372036854775808}`, 400, "ttl"},
		{"POST", "/v1/sessions", `{"session":"` + sessionA + `","ttl_ms":1e99}`, 400, "body"},
		{"POST", "/v1/sessions", `{"session":"` + sessionA + `","ttl_ms":5000,"label":"` + long + `"}`, 400, "label"},
		{"PUT", "/v1/sessions/" + strings.Repeat("d", 32), ``, 404, "no_session"},
		{"PUT", "/v1/sessions/zz", ``, 400, "hexadecimal"},
		{"POST", "/v1/locks/" + long + "/requests", `{"session":"` + sessionA + `","req":1}`, 400, "key"},
		{"POST", "/v1/locks/%FF/requests", `{"session":"` + sessionA + `","req":1}`, 400, "UTF-8"},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionA + `"}`, 400, "numbered from 1"},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionA + `","req":-1}`, 400, "body"},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionA + `","req":1,"kind":"huh"}`, 400, "kind"},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionA + `","req":1,"kind":"permit","weight":2,"limit":1}`, 400, "weight"},
		{"POST", "/v1/locks/k/requests", `{"session":"` + sessionA + `","req":1,"kind":"permit"}`, 400, "weight"},
		{"POST", "/v1/locks/k/requests", `{"session":"` + strings.Repeat("d", 32) + `","req":1}`, 404, "no_session"},
		{"DELETE", "/v1/locks/k/requests/x?session=" + sessionA, ``, 400, "request"},
		{"DELETE", "/v1/locks/k/requests/1?session=" + sessionA + "&token=-1", ``, 400, "token"},
		{"DELETE", "/v1/locks/k/requests/1", ``, 400, "session"},
		{"GET", "/v1/locks/k/requests/1?session=" + sessionA + "&wait=1h", ``, 400, "wait"},
		{"GET", "/v1/locks/k?consistency=maybe", ``, 400, "consistency"},
		{"GET", "/v1/sessions/" + strings.Repeat("d", 32) + "/events", ``, 404, "no_session"},
		{"GET", "/v1/stream", ``, 426, "ashlar-lock/1"},
		{"POST", "/v1/cluster/members", `{"id":""}`, 409, "empty"},
		{"PATCH", "/v1/locks/k", ``, 405, ""},
		// The queue of one key is bounded.
		{"POST", "/v1/locks/full/requests", `{"session":"` + sessionA + `","req":10}`, 200, "granted"},
		{"POST", "/v1/locks/full/requests", `{"session":"` + sessionB + `","req":10}`, 202, "queued"},
		{"POST", "/v1/locks/full/requests", `{"session":"` + strings.Repeat("c", 32) + `","req":10}`, 429, "too_many"},
	} {
		status, body := a.do(s.method, s.path, s.body)
		require.Equal(t, s.status, status, "%s %.60s %.60s: %s", s.method, s.path, s.body, body)
		require.Contains(t, body, s.want, "%s %.60s", s.method, s.path)
	}
}

// An event stream repeats the grants that stand, then tells of new ones.
func TestHTTPEvents(t *testing.T) {
	a, _ := newAPI(t, node.Options{})
	for _, id := range []string{sessionA, sessionB} {
		a.do("POST", "/v1/sessions", `{"session":"`+id+`","ttl_ms":60000}`)
	}
	for _, id := range []string{sessionA, sessionB} {
		a.do("POST", "/v1/locks/k/requests", `{"session":"`+id+`","req":1}`)
	}
	a.do("POST", "/v1/locks/other/requests", `{"session":"`+sessionB+`","req":2}`)
	listen := func(path string) (next func() string) {
		req, err := http.NewRequestWithContext(deadline(t), "GET", a.base+path, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
		lines := bufio.NewScanner(resp.Body)
		return func() string {
			for lines.Scan() {
				if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
					lines.Scan()
					return name + " " + strings.TrimPrefix(lines.Text(), "data: ")
				}
			}
			return "end of stream"
		}
	}
	all := listen("/v1/sessions/" + sessionB + "/events")
	one := listen("/v1/locks/k/requests/1/events?session=" + sessionB)
	require.Contains(t, all(), `"key":"other"`)
	a.do("DELETE", "/v1/sessions/"+sessionA, "")
	require.Contains(t, all(), `granted {"req":1,"key":"k"`)
	require.Contains(t, one(), `granted {"req":1,"key":"k"`)
	a.do("DELETE", "/v1/locks/k/requests/1?session="+sessionB, "")
	require.Contains(t, one(), `lost {"req":1`)
	require.Equal(t, "end of stream", one())
	a.do("DELETE", "/v1/sessions/"+sessionB, "")
	for {
		e := all()
		if strings.HasPrefix(e, "end ") {
			break
		}
		require.NotEqual(t, "end of stream", e)
	}
}

// A server that does not lead names the one that does; without a majority there
// is none to name, and the answer says to come again.
func TestHTTPNotLeader(t *testing.T) {
	c := newCluster(t, 3, node.Options{})
	l := c.leader()
	f := (l + 1) % 3
	open := `{"session":"` + sessionA + `","ttl_ms":10000}`
	eventually(t, "the follower knows the leader", func() bool {
		_, _, ok := c.nodes[f].Replica().Leader()
		return ok
	})
	resp, err := http.Post("http://"+c.nodes[f].Address()+"/v1/sessions", "application/json", strings.NewReader(open))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
	require.Equal(t, c.nodes[l].Address(), resp.Header.Get("Leader"))

	c.stop(l)
	c.stop((l + 2) % 3)
	client := http.Client{Timeout: 20 * time.Second}
	eventually(t, "503 without a majority", func() bool {
		resp, err := client.Post("http://"+c.nodes[f].Address()+"/v1/sessions", "application/json", strings.NewReader(open))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != ""
	})
	_, err = lock.Dial(shortly(t), c.addresses(), nil)
	require.Error(t, err)
}

// A client that announces a body and does not send it is cut off; others are not
// kept waiting by it.
func TestHTTPSlowBody(t *testing.T) {
	a, c := newAPI(t, node.Options{})
	nc, err := net.Dial("tcp", c.nodes[0].Address())
	require.NoError(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	status, _ := a.do("GET", "/v1/cluster", "")
	require.Equal(t, 200, status)
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(time.Minute)))
	line, err := bufio.NewReader(nc).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "400")
}
