package lock

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseFence(t *testing.T) {
	h := http.Header{}
	(&Lock{token: 42}).SetFence(h)
	token, err := ParseFence(h)
	require.NoError(t, err)
	require.Equal(t, uint64(42), token)
	for _, v := range [][]string{nil, {""}, {"0"}, {"-1"}, {"+1"}, {"01"}, {" 1"}, {"1.0"}, {"0x1"}, {"18446744073709551616"}, {"1", "2"}, {"1", "1"}} {
		_, err := ParseFence(http.Header{FenceHeader: v})
		require.ErrorIs(t, err, ErrInvalid, "%q", v)
	}
	token, err = ParseFence(http.Header{FenceHeader: {"18446744073709551615"}})
	require.NoError(t, err)
	require.Equal(t, uint64(1<<64-1), token)
}

func TestMiddleware(t *testing.T) {
	store := &memStore{highest: map[string]uint64{}}
	g := newGuard(t, &GuardOptions{Store: store})
	files := map[string]string{} // guarded by the guard
	h := g.Middleware(nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.URL.Path)
		switch r.Method {
		case "PUT":
			b, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, int64(len(b)), r.ContentLength)
			files[r.URL.Path] = string(b)
			w.WriteHeader(http.StatusCreated)
			w.WriteHeader(http.StatusTeapot) // too late
		case "GET":
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, files[r.URL.Path])
		}
	}))
	srv := httptest.NewServer(h)
	defer srv.Close()
	call := func(method, path, token, body string) (int, string, http.Header) {
		req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		if token != "-" {
			req.Header.Set(FenceHeader, token)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b), resp.Header
	}
	status, _, header := call("PUT", "/f", "7", "seven")
	require.Equal(t, 201, status)
	require.Equal(t, "/f", header.Get("X-Seen"))
	status, body, _ := call("GET", "/f", "8", "")
	require.Equal(t, 200, status)
	require.Equal(t, "seven", body)

	status, body, header = call("PUT", "/f", "7", "late")
	require.Equal(t, 412, status)
	require.Equal(t, "application/json", header.Get("Content-Type"))
	var f Refusal
	require.NoError(t, json.Unmarshal([]byte(body), &f))
	require.Equal(t, Refusal{Error: `lock: stale token: "/f": token 7, 8 has been seen`, Resource: "/f", Got: 7, Max: 8}, f)
	require.Equal(t, "seven", files["/f"])
	status, _, _ = call("GET", "/f", "7", "")
	require.Equal(t, 412, status)
	status, _, _ = call("HEAD", "/f", "8", "")
	require.Equal(t, 200, status)

	for _, c := range []struct {
		token, want string
		status      int
	}{
		{"-", "lock first", 428}, {"0", "not a token", 400}, {"x", "not a token", 400},
	} {
		status, body, _ = call("PUT", "/f", c.token, "x")
		require.Equal(t, c.status, status, c.token)
		require.Contains(t, body, c.want)
	}
	status, _, _ = call("PUT", "/"+strings.Repeat("x", 1200), "9", "x")
	require.Equal(t, 400, status)
	status, _, _ = call("PUT", "/f", "9", strings.Repeat("x", maxGuardedBody+1))
	require.Equal(t, 413, status)

	store.fail = true
	status, _, header = call("PUT", "/f", "10", "x")
	require.Equal(t, 503, status)
	require.Equal(t, "1", header.Get("Retry-After"))
	require.Equal(t, "seven", files["/f"])
}

func TestMiddlewareResource(t *testing.T) {
	g := newGuard(t, nil)
	h := g.Middleware(func(r *http.Request) string { return r.URL.Query().Get("key") })(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	call := func(url string, token uint64) int {
		r := httptest.NewRequest("POST", url, nil)
		r.Header.Set(FenceHeader, FormatFence(token))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, 200, call("/a?key=k", 2))
	require.Equal(t, 412, call("/b?key=k", 1))
	require.Equal(t, 400, call("/b", 1))
}

// The resource is free again when a handler panics, and when a client hangs up
// while it waits.
func TestMiddlewareLeaves(t *testing.T) {
	g := newGuard(t, nil)
	h := g.Middleware(nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	r := httptest.NewRequest("PUT", "/f", nil)
	r.Header.Set(FenceHeader, "1")
	require.Panics(t, func() { h.ServeHTTP(httptest.NewRecorder(), r) })
	leave, err := g.Enter(t.Context(), "/f", 1)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(ctx))
	require.Equal(t, 503, w.Code)
	leave()
	require.NoError(t, g.Check(t.Context(), "/f", 1))
}
