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

// TestRun runs the whole example with fewer phrases, whose claims are its own assertions,
// and checks that README.md shows this output, but for what depends on their number and
// on time.
func TestRun(t *testing.T) {
	c := config{n: phrasesInTest}
	if *golden.Update {
		c.n = 0
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, c); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	golden.Check(t, out.String(), mask)
}

var (
	number = regexp.MustCompile(`\d+([.,:]\d+)*(ms|µs|s|x)?\b`)
	proven = regexp.MustCompile(`(failed reads|wrong reads) = \d+`)
	spaces = regexp.MustCompile(` +`)
)

// mask replaces what differs from run to run or with the number of phrases: all numbers,
// and which phrases are suggested. Not that no read fails, that stream and archive agree,
// and what allocates nothing and takes no lock.
func mask(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "== "), strings.HasPrefix(line, "  windows in which"), strings.HasPrefix(line, "  a key takes"):
		case strings.HasPrefix(line, "bytes a term"):
			line = strings.Join(proven.FindAllString(line, -1), ", ")
		default:
			if before, _, ok := strings.Cut(line, ": "); ok && (strings.HasPrefix(line, "  “") || strings.Contains(line, "such as “")) {
				line = before
			}
			if i := strings.Index(line, ", such as “"); i >= 0 {
				line = line[:i]
			}
			for _, begin := range []string{"“to” was", "“to” is", "“total eclipse today” by minute"} {
				if strings.HasPrefix(line, begin) {
					line = begin
				}
			}
			line = spaces.ReplaceAllString(number.ReplaceAllString(line, "#"), " ")
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"== 1. What", "== 1. What\n"},
		{"  “ap”       82 terms; best: apart", " “ap” # terms; best\n"},
		{"  windows in which stream and archive differ: 3", "  windows in which stream and archive differ: 3\n"},
		{"“to” was to, too", "“to” was\n"},
		{"bytes a term = 11.0, map / trie = 25x, failed reads = 2, wrong reads = 0, fullest node = 91 %", "failed reads = 2, wrong reads = 0\n"},
	} {
		if got := mask(c.in); got != c.want {
			t.Errorf("mask(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}
