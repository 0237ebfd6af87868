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

// TestRun runs the whole example with fewer devices, whose claims are its own
// assertions, and checks that README.md shows this output, but for what depends on
// their number and on time.
func TestRun(t *testing.T) {
	n := devices
	if *golden.Update {
		n = usual
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, n, ""); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	golden.Check(t, out.String(), mask)
}

var (
	number = regexp.MustCompile(`\d+([.,]\d+)*(ms|µs|s)?\b`)
	micro  = regexp.MustCompile(` +\d+\.\d+$`)
	proven = regexp.MustCompile(`(duplicates|lost) = \d+`)
	holds  = regexp.MustCompile(`^(  (?:key on the device, and the store|both keys, and the store)) +\S+ +(\S+) +(\S+) .*`)
	spaces = regexp.MustCompile(` +`)
)

// mask replaces what differs from run to run or with the number of devices: all
// numbers in most parts, but not that nothing is lost or shown twice. Parts 6, 7 and
// 8, without their times, are the same always.
func mask(out string) string {
	var b strings.Builder
	same := false
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "== "):
			same = strings.HasPrefix(line, "== 6") || strings.HasPrefix(line, "== 7") || strings.HasPrefix(line, "== 8")
		case strings.HasPrefix(line, "pushed = "):
			line = strings.Join(proven.FindAllString(line, -1), ", ")
		case holds.MatchString(line):
			line = holds.ReplaceAllString(line, "$1: $2 twice, $3 lost")
		case strings.HasPrefix(line, "  filled before the first"):
			line = spaces.ReplaceAllString(line[:strings.LastIndex(line, ";")], " ")
			line = line[:strings.LastIndex(line, " of ")]
		case same:
			line = micro.ReplaceAllString(line, " #")
		default:
			line = spaces.ReplaceAllString(number.ReplaceAllString(line, "#"), " ")
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"== 1. Who", "== 1. Who\n"},
		{"250,000 users, written in 2.64s", "# users, written in #\n"},
		{"  both keys, and the store               7,872         0           3       219        54       480", "  both keys, and the store: 0 twice, 3 lost\n"},
		{"== 8. A\n  filter alone    0    51    0         0.21", "== 8. A\n  filter alone    0    51    0 #\n"},
		{"pushed = 6,339, duplicates = 1, lost = 20, reads saved by the filter = 95.9 %", "duplicates = 1, lost = 20\n"},
	} {
		if got := mask(c.in); got != c.want {
			t.Errorf("mask(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}
