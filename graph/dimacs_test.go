package graph

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestReadDIMACS(t *testing.T) {
	const gr = "c New Town\np sp 3 4\na 1 2 10\na 2 1 11\n\na 2 3 0\na 3\t3 2147483647\r\n"
	const co = "c where\np aux sp co 3\nv 1 -73530767 41085396\nv 2 0 -90000000\n"
	g, weights, err := ReadDIMACS(strings.NewReader(gr), strings.NewReader(co))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(g.tail, g.head, weights) != "[0 1 1 2] [1 0 2 2] [10 11 0 2147483647]" {
		t.Fatal(g.tail, g.head, weights)
	}
	if lat, lon, ok := g.Coord(0); lat != 41.085396 || lon != -73.530767 || !ok {
		t.Fatal(lat, lon, ok)
	}
	if _, _, ok := g.Coord(2); ok {
		t.Fatal("node 2 has coordinates")
	}
	again, err := ReadDIMACSWeights(strings.NewReader(gr), g)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(weights) {
		t.Fatal(again, err)
	}
	if _, err := ReadDIMACSWeights(strings.NewReader("p sp 3 1\na 1 2 10\n"), g); !errors.Is(err, ErrSyntax) {
		t.Fatal(err)
	}
	if _, err := ReadDIMACSWeights(strings.NewReader("a 1 3 10\n"), g); !errors.Is(err, ErrSyntax) {
		t.Fatal(err)
	}
	if _, err := ReadDIMACSWeights(strings.NewReader(gr+"a 1 2 3\n"), g); !errors.Is(err, ErrSyntax) {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                                    "no line",
		"a 1 2 3\n":                           "line 1: an arc before",
		"p sp 2 1\np sp 2 1\n":                "line 2: a second line",
		"p sp 2\n":                            "line 1: 1 numbers, not 2",
		"p sp 2 2\na 1 2 3\n":                 "1 arcs, the line \"p\" says 2",
		"p sp 2 1\na 1 3 3\n":                 "line 2: arc from 1 to 3",
		"p sp 2 1\na 0 1 3\n":                 "line 2: arc from 0 to 1",
		"p sp 2 1\na 1 2 -3\n":                "line 2: weight -3",
		"p sp 2 1\na 1 2 2147483648\n":        "line 2: weight 2147483648",
		"p sp 2 1\na 1 2 3.5\n":               "is no number",
		"p sp 2 1\na 1 2\n":                   "line 2: 2 numbers, not 3",
		"p sp 2 1\nx 1 2\n":                   "line 2: it begins with 'x'",
		"p sp 9999999 1\na 1 2 3\n":           "9999999 nodes with 1 arcs",
		"p sp 99999999999 1\na 1 2 3\n":       "too large",
		"p sp 2 1\na 1 2 9999999999999999999": "is no number",
	} {
		_, _, err := ReadDIMACS(strings.NewReader(text), nil)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, co := range []string{"v 4 0 0\n", "v 1 0 90000001\n", "v 1 180000001 0\n", "v 1 0\n"} {
		if _, _, err := ReadDIMACS(strings.NewReader(gr), strings.NewReader(co)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", co, err)
		}
	}
}

// What is read has what its text says, whatever the text.
func FuzzReadDIMACS(f *testing.F) {
	f.Add([]byte("p sp 3 2\na 1 2 10\na 2 3 11\n"), []byte("v 1 -73530767 41085396\n"))
	f.Add([]byte("c\np sp 1 0\n"), []byte{})
	f.Fuzz(func(t *testing.T, gr, co []byte) {
		g, weights, err := ReadDIMACS(bytes.NewReader(gr), bytes.NewReader(co))
		if err != nil {
			return
		}
		if g.Arcs() != len(weights) || g.Arcs() > len(gr) || g.Nodes() > 64*len(gr)+4096 {
			t.Fatalf("%d nodes and %d arcs, %d weights from %d bytes", g.Nodes(), g.Arcs(), len(weights), len(gr))
		}
		var text bytes.Buffer
		fmt.Fprintf(&text, "p sp %d %d\n", g.Nodes(), g.Arcs())
		for a, w := range weights {
			fmt.Fprintf(&text, "a %d %d %d\n", g.tail[a]+1, g.head[a]+1, w)
		}
		again, _, err := ReadDIMACS(&text, nil)
		if err != nil || fmt.Sprint(again.tail, again.head) != fmt.Sprint(g.tail, g.head) {
			t.Fatalf("%v: %v", err, again)
		}
	})
}
