package newyork

import (
	"bytes"
	"errors"
	"testing"
)

func TestLoad(t *testing.T) {
	n, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if _, count := n.Graph.Components(); count != 1 || n.Graph.Nodes() < 10_000 || len(n.Millis) != n.Graph.Arcs() {
		t.Errorf("%d nodes in %d pieces, %d of %d times", n.Graph.Nodes(), count, len(n.Millis), n.Graph.Arcs())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode([]Point{{40e6, -73e6}, {40e6 + 5, -73e6 - 9}}, []Edge{{0, 1, 10, 10, 0}, {0, 1, 100, 251, 3}}))
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Decode(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, errExtract) {
				t.Errorf("%v does not wrap %v", err, errExtract)
			}
			return
		}
		if n.Graph.Arcs() != len(n.Millis) || n.Graph.Arcs() != len(n.Decimetres) || n.Graph.Arcs() != len(n.Class) || n.Graph.Nodes() > len(data) {
			t.Errorf("%d nodes and %d arcs of %d bytes, with %d times", n.Graph.Nodes(), n.Graph.Arcs(), len(data), len(n.Millis))
		}
	})
}
