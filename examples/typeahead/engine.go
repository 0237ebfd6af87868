//go:build !engines

package main

import (
	"context"
	"errors"

	"github.com/ashlar-go/ashlar/stream"
)

// openLog opens the log: here always the one in a directory. See engine_tagged.go
// for those past one machine.
func openLog(_ context.Context, url, dir string) (stream.Transactor, error) {
	if url != "" {
		return nil, errEngines
	}
	return stream.OpenLocal(dir, nil)
}

var errEngines = errors.New("-log needs the clients of other systems, with which this program was not built: " +
	"go run -tags engines ./examples/typeahead -log kafka://HOST:PORT or nats://HOST:PORT")
