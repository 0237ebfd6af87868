package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/examples/internal/golden"
)

// TestMain lets the test's binary be the processes that the example starts.
func TestMain(m *testing.M) {
	child.Main(roles)
	os.Exit(m.Run())
}

// TestRun runs the whole example, whose claims are its own assertions, and checks that
// README.md shows this output, but for times.
func TestRun(t *testing.T) {
	t.Parallel()
	n := usual
	if slow {
		n = 1000
	}
	svg := t.TempDir() + "/burst.svg"
	var out bytes.Buffer
	if err := run(t.Context(), &out, config{n: n, svg: svg}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	drawn, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	if *golden.Update {
		if err := os.WriteFile("burst.svg", drawn, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if shown, err := os.ReadFile("burst.svg"); err != nil || !bytes.Equal(shown, drawn) {
		t.Errorf("burst.svg is another one (go test -update draws it anew), %v", err)
	}
	if slow {
		return // README.md has the output for more requests
	}
	golden.Check(t, out.String(), mask)
}

// varying are times, what is measured in bytes, and what depends on which request was
// there first.
var varying = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^(  (?:fixed window|sliding log|sliding counter|… interpolated|token bucket|GCRA, burst 10|log as a linked list)(?: +\d+){4}).*$`),
	regexp.MustCompile(`(?m)^(  (?:local|remote|remote, refusals cached) +[\d,]+ +\d+ +\d+ ) .*$`),
	regexp.MustCompile(`(?m)^(  remote, leases) +[\d,]+ +(0) .*$`),
	regexp.MustCompile(`(?m)^(  remote, write-back) +[\d,]+ +[\d,]+ +(0) .*$`),
}

var spaces = regexp.MustCompile(` +`)

func mask(out string) string {
	for _, r := range varying {
		replacement := "$1 $2 #"
		if r.NumSubexp() == 1 {
			replacement = "$1 #"
		}
		out = r.ReplaceAllString(out, replacement)
	}
	return spaces.ReplaceAllString(out, " ")
}

func TestMask(t *testing.T) {
	a := `  fixed window                200      200      200                200              22             414
  remote                         1,551          0         0     3,000           233.7 µs       2707.8 µs           1223.5 µs
  remote, leases                 1,551          0         0       478             0.7 µs       1442.6 µs            797.9 µs
  remote, write-back             1,593         42         0     1,157             0.6 µs       1380.2 µs            830.8 µs
`
	b := `  fixed window                200      200      200                200              25              99
  remote                         1,551          0         0     3,001            33.7 µs       2707.8 µs           1223.5 µs
  remote, leases                 1,548          0         3       501            20.7 µs       1442.6 µs            797.9 µs
  remote, write-back             1,590         39         0     1,100             0.6 µs       1380.2 µs            830.8 µs
`
	if mask(a) != mask(b) {
		t.Errorf("%s\n%s", mask(a), mask(b))
	}
	for _, change := range [][2]string{{"200      200      200", "200      100      200"}, {"1,551          0         0     3,000", "1,551          1         0     3,000"}, {"1,551          0         0       478", "1,551          2         0       478"}} {
		if c := strings.Replace(a, change[0], change[1], 1); c == a || mask(c) == mask(a) {
			t.Errorf("%q is masked", change[0])
		}
	}
}
