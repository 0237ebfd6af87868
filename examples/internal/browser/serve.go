package browser

import (
	"context"
	"net"
	"testing"
)

// Serve runs a server of pages on a port of this machine and returns the address of its
// page. Stop ends it, and the test fails if that was not its own wish:
//
//	url, stop := browser.Serve(t, live.serve)
//	defer stop()
func Serve(t testing.TB, serve func(context.Context, net.Listener) error) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, l) }()
	return "http://" + l.Addr().String() + "/", func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
