//go:build !engines

package main

import (
	"context"
	"errors"
)

// readOSM would read an extract of OpenStreetMap. See engine_tagged.go.
func readOSM(context.Context, string) (*network, error) { return nil, errEngines }

var errEngines = errors.New("-osm needs a reader of OpenStreetMap's files, with which this program was not built: " +
	"go run -tags engines ./examples/maps -osm FILE")
