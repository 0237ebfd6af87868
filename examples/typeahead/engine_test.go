//go:build engines

package main

import (
	"bytes"
	"testing"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"
	"github.com/twmb/franz-go/pkg/kfake"
)

// TestEngines runs the whole story with its feed and its messages in another system.
func TestEngines(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"kafka": startKafka, "nats": startNATS} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), &out, config{n: 4000, log: start(t)}); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
		})
	}
}

// startKafka starts a broker that speaks Kafka's protocol, in this process.
func startKafka(t *testing.T) string {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return "kafka://" + c.ListenAddrs()[0]
}

// startNATS starts a real server, in this process.
func startNATS(t *testing.T) string {
	s, err := nats.NewServer(&nats.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // ends with Shutdown
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s.ClientURL()
}

func TestOpenLogRefusesOtherSchemes(t *testing.T) {
	if l, err := openLog(t.Context(), "http://localhost", t.TempDir()); err == nil {
		l.Close()
		t.Error("openLog took an http URL")
	}
}
