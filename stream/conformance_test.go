package stream_test

import (
	"testing"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/streamtest"
)

func TestLocal(t *testing.T) {
	for name, o := range map[string]*stream.Options{
		"group":    nil,
		"interval": {Sync: stream.SyncInterval},
		"none":     {Sync: stream.SyncNone},
		"small":    {Sync: stream.SyncNone, SegmentSize: 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			streamtest.Run(t, func(t *testing.T) stream.Log {
				l, err := stream.OpenLocal(t.TempDir(), o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				})
				return l
			})
		})
	}
}

func TestMem(t *testing.T) {
	streamtest.Run(t, func(t *testing.T) stream.Log { return stream.NewMem() })
}
