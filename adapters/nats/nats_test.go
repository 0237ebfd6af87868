package nats

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/streamtest"
)

var ctx = context.Background()

// single starts one server in this process and returns its address.
func single(t testing.TB) string {
	t.Helper()
	_, url := startOne(t, t.TempDir(), 0)
	return url
}

// startOne starts a server on a directory, at a port or, if that is 0, at any.
func startOne(t testing.TB, dir string, port int) (*server.Server, string) {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "one", Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s, s.ClientURL()
}

// dial connects, and closes at the end of the test.
func dial(t testing.TB, url string, o *Options) *Log {
	t.Helper()
	l, err := Dial(ctx, url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestConformance(t *testing.T) {
	url := single(t)
	streamtest.Run(t, func(t *testing.T) stream.Log {
		return dial(t, url, &Options{Prefix: "test-" + randomID()})
	})
}

// TestConformanceReal runs the suite against servers that are there.
func TestConformanceReal(t *testing.T) {
	url := os.Getenv("ASHLAR_NATS")
	if url == "" {
		t.Skip("ASHLAR_NATS=nats://host:port,... names no servers")
	}
	streamtest.Run(t, func(t *testing.T) stream.Log {
		l := dial(t, url, &Options{Prefix: "ashlar-test-" + randomID()})
		t.Cleanup(func() { // by another log: the test may have closed l
			sweeper := dial(t, url, &Options{Prefix: l.opts.Prefix})
			if err := sweeper.js.DeleteStream(ctx, l.opts.Prefix); err != nil {
				t.Error(err)
			}
		})
		return l
	})
}

func TestShared(t *testing.T) {
	url := single(t)
	streamtest.RunShared(t, func(t *testing.T) (a, b stream.Log) {
		o := &Options{Prefix: "test-" + randomID()}
		return dial(t, url, o), dial(t, url, o)
	})
}
