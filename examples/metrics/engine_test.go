//go:build engines

package main

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/hamba/avro/v2/ocf"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ashlar-go/ashlar/blob"
)

// TestEngines runs the whole story with its events in another system: what the
// killed process is then is only the collector and its jobs.
func TestEngines(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"kafka": startKafka, "nats": startNATS} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), &out, 10_000, start(t)); err != nil {
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
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
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

// Another library reads the record files of container.go.
func TestContainerForOthers(t *testing.T) {
	store := testLake(t)
	n := 0
	for info, err := range store.List(t.Context(), lakePrefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		file, _, err := blob.GetBytes(t.Context(), store, info.Key, lakeLimit)
		if err != nil {
			t.Fatal(err)
		}
		d, err := ocf.NewDecoder(bytes.NewReader(file))
		if err != nil {
			t.Fatalf("%s: %v", info.Key, err)
		}
		for d.HasNext() {
			var a access
			if err := d.Decode(&a); err != nil {
				t.Fatal(err)
			}
			n++
		}
		if err := d.Error(); err != nil {
			t.Fatal(err)
		}
	}
	if want := len(lakeEvents(t, store)); n != want || n == 0 {
		t.Errorf("another library reads %d events, want %d", n, want)
	}
}

// The Parquet file holds the events of the lake.
func TestParquet(t *testing.T) {
	store := testLake(t)
	if err := exportParquet(t.Context(), io.Discard, store); err != nil {
		t.Fatal(err)
	}
	file, _, err := blob.GetBytes(t.Context(), store, "parquet/events.parquet", lakeLimit)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Read[parquetRow](bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var got []access
	for _, r := range rows {
		a := access{time.UnixMilli(r.Time).UTC(), r.Host, r.IP, r.User, r.Method, r.Path, int(r.Status), r.Bytes, r.Referer, r.Agent, -1}
		if r.Micros != nil {
			a.Micros = *r.Micros
		}
		got = append(got, a)
	}
	if want := lakeEvents(t, store); !slices.Equal(got, want) || len(got) == 0 {
		t.Errorf("%d rows, want the %d events of the lake", len(got), len(want))
	}
}
