//go:build engines

package main

import (
	"context"
	"os"
	"strings"

	"github.com/ashlar-go/ashlar/adapters/osm"
)

// readOSM reads an extract of OpenStreetMap, whose data is © OpenStreetMap contributors,
// under the Open Database Licence.
func readOSM(ctx context.Context, path string) (*network, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	read := osm.ReadPBF
	if strings.HasSuffix(path, ".osm") || strings.HasSuffix(path, ".xml") {
		read = osm.ReadXML
	}
	x, err := read(ctx, f, &osm.Options{Connected: true})
	if err != nil {
		return nil, err
	}
	n := &network{name: path + " (© OpenStreetMap contributors)", g: x.Graph, millis: x.Millis, decimetres: x.Decimetres}
	n.classify()
	return n, nil
}
