package kafka

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/streamtest"
)

var ctx = context.Background()

// cluster starts three brokers in this process.
func cluster(t testing.TB, o ...kfake.Opt) (*kfake.Cluster, []string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, c.ListenAddrs()
}

// dial connects, and closes at the end of the test.
func dial(t testing.TB, brokers []string, o *Options) *Log {
	t.Helper()
	l, err := Dial(ctx, brokers, o)
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
	t.Run("memory", func(t *testing.T) {
		streamtest.Run(t, func(t *testing.T) stream.Log {
			_, brokers := cluster(t)
			return dial(t, brokers, nil)
		})
	})
	t.Run("disk", func(t *testing.T) {
		streamtest.Run(t, func(t *testing.T) stream.Log {
			_, brokers := cluster(t, kfake.DataDir(t.TempDir()))
			return dial(t, brokers, &Options{Prefix: "disk."})
		})
	})
}

// TestConformanceReal runs the suite against a cluster that is there.
func TestConformanceReal(t *testing.T) {
	addrs := os.Getenv("ASHLAR_KAFKA")
	if addrs == "" {
		t.Skip("ASHLAR_KAFKA=host:port,... names no brokers")
	}
	streamtest.Run(t, func(t *testing.T) stream.Log {
		prefix := "ashlar-test." + randomID() + "."
		l := dial(t, strings.Split(addrs, ","), &Options{Prefix: prefix, Timeout: 30 * time.Second})
		t.Cleanup(func() { // by another log: the test may have closed l
			sweeper := dial(t, strings.Split(addrs, ","), nil)
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.TimeoutMillis = 30_000
			for name := range l.topics {
				rt := kmsg.NewDeleteTopicsRequestTopic()
				rt.Topic = kmsg.StringPtr(l.full(name))
				req.Topics, req.TopicNames = append(req.Topics, rt), append(req.TopicNames, l.full(name))
			}
			if _, err := req.RequestWith(ctx, sweeper.cl); err != nil {
				t.Error(err)
			}
		})
		return l
	})
}

func TestShared(t *testing.T) {
	streamtest.RunShared(t, func(t *testing.T) (a, b stream.Log) {
		_, brokers := cluster(t)
		return dial(t, brokers, nil), dial(t, brokers, nil)
	})
}
