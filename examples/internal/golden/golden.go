// Package golden keeps the output that the README.md of an example shows true. Only
// tests import it.
//
//	golden.Check(t, out.String(), mask)
//
// The output stands between two comments:
//
//	<!-- output -->
//	```text
//	== 1. ...
//	```
//	<!-- end of output -->
//
// With the flag -update of "go test", Check writes it anew.
package golden

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// Update is the flag -update: the output goes into README.md.
var Update = flag.Bool("update", false, "write the output of the run into README.md")

const (
	begin = "<!-- output -->\n```text\n"
	end   = "```\n<!-- end of output -->"
)

// Check compares an output with that in README.md, both masked of what differs from run to
// run.
func Check(t testing.TB, out string, mask func(string) string) {
	t.Helper()
	const name = "README.md"
	readme, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), begin)
	shown, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no output between %q and %q", name, begin, end)
	}
	if *Update {
		if err := os.WriteFile(name, []byte(before+begin+out+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, want := mask(out), mask(shown); got != want {
		t.Errorf("the output, masked:\n%s\n%s, masked (go test -update writes it anew):\n%s", got, name, want)
	}
}
