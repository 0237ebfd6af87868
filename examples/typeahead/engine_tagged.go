//go:build engines

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/adapters/kafka"
	"github.com/ashlar-go/ashlar/adapters/nats"
	"github.com/ashlar-go/ashlar/stream"
)

// openLog opens the log at a URL, or the one in a directory if there is none. In an
// engine that others use too, topics begin with a name of their own for each run.
func openLog(ctx context.Context, url, dir string) (stream.Transactor, error) {
	prefix := "ashlar-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir)
	switch scheme, rest, _ := strings.Cut(url, "://"); scheme {
	case "":
		return stream.OpenLocal(dir, nil)
	case "kafka":
		return kafka.Dial(ctx, strings.Split(rest, ","), &kafka.Options{Prefix: prefix + "-", Timeout: 10 * time.Second})
	case "nats":
		return nats.Dial(ctx, url, &nats.Options{Prefix: prefix})
	default:
		return nil, fmt.Errorf("-log %s: want kafka://HOST:PORT or nats://HOST:PORT", url)
	}
}
