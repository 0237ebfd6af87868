package main

import (
	"bytes"
	"os"
	"regexp"
	"runtime"
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

// TestRun runs the whole example, whose claims are its own assertions, and
// checks that README.md shows this output, but for what varies.
func TestRun(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGSTOP on Windows")
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, 4); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	golden.Check(t, out.String(), mask)
}

var (
	historyLine = regexp.MustCompile(`^ +(\d+\.  token|✗ |… )`)
	serverName  = regexp.MustCompile(`\b[abc]( leads|; |, which)`)
	number      = regexp.MustCompile(`\d+([.,]\d+)*(ms|µs|s)?\b`)
	lostReason  = regexp.MustCompile(`lock: lost: .*`)
	spaces      = regexp.MustCompile(` +`)
	clientName  = regexp.MustCompile(`\bw\d+\.\d+`)
	refusals    = regexp.MustCompile(`refused = \d+`)
)

// mask replaces what differs from run to run: in the parts that run in real
// time all numbers, which server it was, and the store's history but for the
// remarks. The simulated parts, and the last line, are the same every time.
func mask(out string) string {
	var b strings.Builder
	simulated := false
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "== ") {
			simulated = strings.HasPrefix(line, "== 3") || strings.HasPrefix(line, "== 5")
		}
		switch {
		case strings.HasPrefix(line, "appended"):
			line = refusals.ReplaceAllString(line, "refused = k")
		case simulated || strings.HasPrefix(line, "== "):
		case historyLine.MatchString(line):
			continue
		default:
			line = clientName.ReplaceAllString(line, "w")
			line = lostReason.ReplaceAllString(line, "lock: lost: …")
			line = serverName.ReplaceAllString(line, "x$1")
			line = number.ReplaceAllString(line, "#")
			line = spaces.ReplaceAllString(line, " ")
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"servers a, b, c; b leads", "servers a, b, x; x leads\n"},
		{"SIGKILL to server a, which led; b leads now, and appends go on 270ms after the kill", "SIGKILL to server x, which led; x leads now, and appends go on # after the kill\n"},
		{"   150.  token  330  w3.6 line 3", ""},
		{"== 3. Timestamps\n  timestamps   12:00:00.010", "== 3. Timestamps\n  timestamps   12:00:00.010\n"},
		{"appended = 200, lost = 0, refused = 3", "appended = 200, lost = 0, refused = k\n"},
	} {
		if got := mask(c.in); got != c.want {
			t.Errorf("mask(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestOvertaken(t *testing.T) {
	write := func(names ...string) (w []entry) {
		for _, n := range names {
			w = append(w, entry{line: n + " line 0"})
		}
		return w
	}
	queue := []string{"a", "b", "c"}
	for _, c := range []struct {
		writes []entry
		moved  map[string]bool
		want   int
	}{
		{write("a", "b", "c", "a", "x"), nil, 0},
		{write("b", "a", "c"), nil, 2},
		{write("b", "c", "a"), nil, 3},
		{write("b", "c", "a"), map[string]bool{"a": true}, 0},
		{write("a", "b"), nil, 1},
	} {
		if got := overtaken(queue, c.writes, c.moved); got != c.want {
			t.Errorf("overtaken(%v) = %d, want %d", c.writes, got, c.want)
		}
	}
}

// An election's outcome is a matter of its seed alone.
func TestBallot(t *testing.T) {
	for _, keep := range []bool{true, false} {
		a, b := ballot(300, keep), ballot(300, keep)
		if a != b {
			t.Errorf("ballot(300, %v) = %v, then %v", keep, a, b)
		}
		if keep && a.two != 0 {
			t.Errorf("kept votes made two holders: %v", a)
		}
		if !keep && a.none != 0 {
			t.Errorf("votes that end left the lock stuck: %v", a)
		}
	}
}
