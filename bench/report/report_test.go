package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `date: 2026-01-02
go: go1.26.8
commit: abc1234
command: cd bench && GOWORK=off go test -run ^$ -bench Vs -timeout 0 ./lock
note: load below 1
goos: linux
goarch: amd64
pkg: github.com/ashlar-go/ashlar/bench/lock
cpu: Some CPU @ 2 GHz
BenchmarkVs/handoff/clients=32/etcd-2         	       7	   1612345 ns/op	   6400000 peer-ns/op	         7.000 pairs	         9.000 floor-spread-%	      500000 floor-ns/op	         4.100 p99-ms	        11.00 peer-p99-ms	         3.970 x-faster	         3.600 x-faster-q1	         4.400 x-faster-q3	         3.000 x-goal
BenchmarkVs/single/etcd-2                     	       3	   2000000 ns/op	   1900000 peer-ns/op	         3.000 pairs	         0.950 x-faster	         0.900 x-faster-q1	         0.980 x-faster-q3	         1.200 x-goal
BenchmarkVs/ownkeys/etcd-2                    	       7	    100000 ns/op	    500000 peer-ns/op	         7.000 pairs	         5.000 x-faster	         4.900 x-faster-q1	         5.100 x-faster-q3	         6.000 x-goal
BenchmarkVs/noise/etcd-2                      	       7	       100 ns/op	       101 peer-ns/op	         7.000 pairs	         1.010 x-faster	         0.800 x-faster-q1	         1.300 x-faster-q3
PASS
ok  	github.com/ashlar-go/ashlar/bench/lock	12.3s
pkg: github.com/ashlar-go/ashlar/blob
BenchmarkPut/store=mem/size=1KB-2     	  100	     1234.5 ns/op	 829.00 MB/s
`

func TestTables(t *testing.T) {
	results, err := Parse(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	sections := Sections(results)
	if len(sections) != 2 || sections[0].Subject != "blob" || sections[1].Subject != "lock" {
		t.Fatalf("sections %+v", sections)
	}
	if got, want := sections[1].Score(), "1 won, 1 won, below the goal, 1 even, 1 lost"; got != want {
		t.Errorf("Score() = %q, want %q", got, want)
	}
	lock := sections[1].Markdown()
	for _, want := range []string{
		"| handoff/clients=32 | etcd | 1.61 ms | 6.40 ms | 3.97× (3.60–4.40) | 3× | won | floor 500 µs; p99-ms 4.10 / 11 |",
		"| single | etcd | 2 ms | 1.90 ms | 0.95× (0.9–0.98) | 1.20× | **lost** (a trial: 3 pairs) |  |",
		"| ownkeys | etcd | 100 µs | 500 µs | 5× (4.90–5.10) | 6× | **won, below the goal** |  |",
		"| noise | etcd | 100 ns | 101 ns | 1.01× (0.8–1.30) | – | **even** |  |",
		"Measured on Some CPU @ 2 GHz, linux/amd64, GOMAXPROCS 2.",
		"Date and version: 2026-01-02, go1.26.8, commit abc1234.",
		"`cd bench && GOWORK=off go test -run ^$ -bench Vs -timeout 0 ./lock`",
		"Note: load below 1",
	} {
		if !strings.Contains(lock, want) {
			t.Errorf("no %q in\n%s", want, lock)
		}
	}
	if got := sections[0].Markdown(); !strings.Contains(got, "| Put/store=mem/size=1KB | 1.23 µs | MB/s 829 |") {
		t.Errorf("own benchmarks:\n%s", got)
	}
}

func TestReplaceKeepsTheRest(t *testing.T) {
	results, _ := Parse(strings.NewReader(sample))
	lock := Sections(results)[1]
	doc := "# Title\n\nBefore.\n\n<!-- bench:lock -->\nstale\n<!-- /bench:lock -->\n\nAfter.\n"
	got := Replace(doc, lock)
	if !strings.HasPrefix(got, "# Title\n\nBefore.\n\n<!-- bench:lock -->\n") || !strings.HasSuffix(got, "<!-- /bench:lock -->\n\nAfter.\n") ||
		strings.Contains(got, "stale") {
		t.Errorf("Replace:\n%s", got)
	}
	if again := Replace(got, lock); again != got {
		t.Error("replacing twice changes the document")
	}
	if got := Replace("# Title\n", lock); !strings.HasPrefix(got, "# Title\n\n## lock\n\n<!-- bench:lock -->\n") {
		t.Errorf("a section without markers:\n%s", got)
	}
}

func TestDamagedLines(t *testing.T) {
	for _, line := range []string{"BenchmarkX-2 10 12 ns/op 5", "BenchmarkX-2 10 twelve ns/op"} {
		if _, err := Parse(strings.NewReader(line)); err == nil {
			t.Errorf("Parse(%q) accepts it", line)
		}
	}
}

func TestRunWritesTheDocument(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.txt"), filepath.Join(dir, "BENCHMARKS.md")
	if err := os.WriteFile(in, []byte(sample), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	if err := run([]string{"-o", out, in}, &stdout); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, []byte("<!-- /bench:blob -->")) || !bytes.Contains(doc, []byte("## lock")) {
		t.Errorf("document:\n%s", doc)
	}
	if !strings.Contains(stdout.String(), "lock: 1 won") {
		t.Errorf("output: %s", &stdout)
	}
	if err := run([]string{"-results", dir + "/none"}, &stdout); err == nil {
		t.Error("no files is no error")
	}
}

func TestPeerVersions(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module m\n\nrequire one.example/a v1.2.3\n\nrequire (\n\ttwo.example/b v0.1.0\n\ttwo.example/b/v2 v2.0.0 // indirect\n)\n")
	write("lock/x_test.go", "package x\n\nimport (\n\t\"fmt\"\n\t\"two.example/b/v2/sub\"\n\t\"one.example/a\"\n)\n")
	got, err := peerVersions(dir, "lock")
	if err != nil {
		t.Fatal(err)
	}
	if want := "one.example/a v1.2.3, two.example/b/v2 v2.0.0"; strings.Join(got, ", ") != want {
		t.Errorf("peerVersions = %v, want %s", got, want)
	}
}

// A subject with a go.mod of its own is measured in its folder.
func TestVersusSession(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "own/go.mod"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("module x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ subject, dir, pkg, shown string }{
		{"shared", dir, "./shared", "cd bench && GOWORK=off "},
		{"own", filepath.Join(dir, "own"), "./", "cd bench/own && GOWORK=off "},
	} {
		r := versusSession(dir, c.subject, "")
		if last := r.args[len(r.args)-1]; r.dir != c.dir || last != c.pkg || r.shown != c.shown {
			t.Errorf("versusSession(%q) = %q, %q, %q", c.subject, r.dir, last, r.shown)
		}
	}
}

// A goal below 1 asks for a share of the other side's speed.
func TestGoalBelowOne(t *testing.T) {
	for _, c := range []struct {
		x, goal float64
		want    verdict
	}{{0.8, 0.7, won}, {0.6, 0.7, lost}, {0.8, 0, lost}, {1.2, 0.7, won}, {1.2, 1.5, short}} {
		m := map[string]float64{"x-faster": c.x, "x-faster-q1": c.x, "x-faster-q3": c.x, "x-goal": c.goal}
		if got := judge(m); got != c.want {
			t.Errorf("judge(%v of %v) = %v, want %v", c.x, c.goal, got, c.want)
		}
	}
}
