package main

import (
	"bytes"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/golden"
)

// TestMain lets the test's binary be the process that the example kills.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role))
	}
	os.Exit(m.Run())
}

// TestRun runs the whole example, whose claims are its own assertions, and checks
// that README.md shows this output, but for what varies.
func TestRun(t *testing.T) {
	n := usual
	if slow {
		n = 40_000
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, n, ""); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if slow {
		return // README.md has the output for more plays
	}
	golden.Check(t, out.String(), mask)
}

// varying are the parts of lines that differ from run to run: what maps take in
// memory, which is asked of the runtime, how well gzip does, and times.
var varying = []*regexp.Regexp{
	regexp.MustCompile(`a map of all songs +([\d,]+) bytes .* (\d+) bytes more`),
	regexp.MustCompile(`its songs in a map ([\d,]+)`),
	regexp.MustCompile(` +([\d.]+ ms)$`),
	regexp.MustCompile(`files, ([\d.]+) bytes each`),
	regexp.MustCompile(`a song in a map is (\d+) bytes here.* counts ([\d,]+) plays/s here`),
	regexp.MustCompile(`map : sketch = (\d+) : 1`),
}

var spaces = regexp.MustCompile(` +`)

func mask(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		for _, r := range varying {
			m := r.FindStringSubmatchIndex(line)
			for i := len(m) - 2; i >= 2; i -= 2 {
				line = line[:m[i]] + "#" + line[m[i+1]:]
			}
			if len(m) > 2 {
				line = spaces.ReplaceAllString(line, " ")
			}
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"  a map of all songs              873,728 bytes  10 of 10  counts off by 0, and 46 bytes more for each new song\n", " a map of all songs # bytes 10 of 10 counts off by 0, and # bytes more for each new song\n"},
		{"  two-phase commit    2.0      2.0      3.0      5.0     10.59 ms\n", " two-phase commit 2.0 2.0 3.0 5.0 #\n"},
		{"  the best    10   min-heap  1.06\n", "  the best    10   min-heap  1.06\n"},
	} {
		if got := mask(c.in); got != c.want {
			t.Errorf("mask(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// The plays are the same every time, in the order of their arrival, and of songs that
// exist.
func TestPlays(t *testing.T) {
	a, b := generate(40_000), generate(40_000)
	if !reflect.DeepEqual(a, b) {
		t.Fatal("two generations differ")
	}
	n := 0
	for r, list := range a {
		n += len(list)
		if !slices.IsSortedFunc(list, byArrival) {
			t.Errorf("region %d is not in the order of arrival", r)
		}
	}
	if n != 40_000 {
		t.Errorf("%d plays, want 40,000", n)
	}
	names := map[string]bool{}
	for i := range songs {
		names[song(i)] = true
	}
	if len(names) != songs {
		t.Errorf("%d names for %d songs", len(names), songs)
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		l    load
		want string
	}{
		{load{users: 1000, each: 10, items: 1000}, verdictMap},
		{load{users: 1000, each: 10, items: enough()}, verdictMap},
		{load{users: 1000, each: 10, items: 1.01 * enough()}, verdictShards},
		{load{users: 1e9, each: 20, items: 1000}, verdictShards}, // too many plays for one process
		{load{users: 1000, each: 10, items: 4.01 * enough()}, verdictSketch},
	} {
		if got := c.l.estimate().verdict; got != c.want {
			t.Errorf("%+v: %s, want %s", c.l, got, c.want)
		}
	}
}

func TestNum(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -12: "-12"} {
		if got := num(n); got != want {
			t.Errorf("num(%d) = %s, want %s", n, got, want)
		}
	}
}
