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

// checkLog says whether openLog knows what such a URL is.
func checkLog(url string) error {
	switch scheme, _, _ := strings.Cut(url, "://"); scheme {
	case "", "kafka", "nats":
		return nil
	}
	return fmt.Errorf("-log %s: want kafka://HOST:PORT or nats://HOST:PORT", url)
}

// openLog opens the log at a URL, or the one in a directory if there is none. In an
// engine that others use too, topics begin with a name of their own for each run.
func openLog(ctx context.Context, url, dir string) (stream.Transactor, error) {
	prefix := "ashlar-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir)
	switch scheme, rest, _ := strings.Cut(url, "://"); scheme {
	case "":
		return stream.OpenLocal(dir, nil)
	case "kafka":
		// A killed process leaves a transaction open, for which readers wait until
		// it has timed out.
		return kafka.Dial(ctx, strings.Split(rest, ","), &kafka.Options{Prefix: prefix + "-", Timeout: 5 * time.Second})
	case "nats":
		return nats.Dial(ctx, url, &nats.Options{Prefix: prefix})
	default:
		return nil, checkLog(url)
	}
}
