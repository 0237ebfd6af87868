//go:build !race

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/golden"
)

// TestRun runs the whole example, whose claims are its own assertions, and checks that
// README.md shows this output, but for times, and the drawings that it shows.
//
// Under the race detector it would take minutes: there [TestOtherNetwork] tells the whole
// story, of fewer roads.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if *golden.Update {
		dir = "."
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, files{}, usual, 1000, dir); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	golden.Check(t, out.String(), mask)
	for _, name := range []string{"search.svg", "levels.svg", "jam.svg"} {
		drawn, err := os.ReadFile(filepath.Join(dir, name))
		shown, err2 := os.ReadFile(name)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(drawn, shown) {
			t.Errorf("%s is not what is drawn (go test -update draws it anew)", name)
		}
	}
}
