//go:build engines

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The story can be told of any place: here of a made-up one in OpenStreetMap's XML.
func TestOSM(t *testing.T) {
	const size = 40
	var x bytes.Buffer
	x.WriteString(`<?xml version="1.0"?><osm version="0.6">`)
	for row := range size {
		for col := range size {
			fmt.Fprintf(&x, `<node id="%d" lat="%.6f" lon="%.6f"/>`, 1+row*size+col, 43.7+float64(row)*0.001+float64(col%3)*0.0001, 7.4+float64(col)*0.0013)
		}
	}
	for line := range size {
		kind := "residential"
		if line%10 == 5 {
			kind = "primary"
		}
		for side := range 2 {
			fmt.Fprintf(&x, `<way id="%d">`, 1+2*line+side)
			for i := range size {
				fmt.Fprintf(&x, `<nd ref="%d"/>`, 1+[2]int{line*size + i, i*size + line}[side])
			}
			fmt.Fprintf(&x, `<tag k="highway" v="%s"/></way>`, kind)
		}
	}
	x.WriteString(`</osm>`)
	path := filepath.Join(t.TempDir(), "place.osm")
	if err := os.WriteFile(path, x.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, files{osm: path}, 1_000, 100, ""); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
}
