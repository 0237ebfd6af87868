package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Result is one benchmark of one run.
type Result struct {
	Name    string             // without "Benchmark" and the number of processors
	Config  map[string]string  // pkg, cpu, goos, date, command, ...
	Metrics map[string]float64 // by unit
	Procs   string             // GOMAXPROCS, "1" where the name says nothing
}

var (
	configLine = regexp.MustCompile(`^([a-z][a-z0-9-]*): (.*)$`)
	benchLine  = regexp.MustCompile(`^Benchmark(\S+?)(?:-(\d+))?\s+\d+\s+(\S.*)$`)
)

// Parse reads the output of go test -bench. Lines that are neither results nor
// settings are passed over; a line that begins like a result and is damaged is
// an error.
func Parse(r io.Reader) ([]Result, error) {
	config := map[string]string{}
	var out []Result
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if m := configLine.FindStringSubmatch(line); m != nil {
			config[m[1]] = m[2]
			continue
		}
		m := benchLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		res := Result{Name: m[1], Procs: cmp.Or(m[2], "1"), Config: map[string]string{}, Metrics: map[string]float64{}}
		for k, v := range config {
			res.Config[k] = v
		}
		fields := strings.Fields(m[3])
		if len(fields)%2 != 0 {
			return nil, fmt.Errorf("line %d: a value without a unit", n)
		}
		for pair := range slices.Chunk(fields, 2) {
			v, err := strconv.ParseFloat(pair[0], 64)
			if err != nil {
				return nil, fmt.Errorf("line %d: %q is not a number", n, pair[0])
			}
			res.Metrics[pair[1]] = v
		}
		out = append(out, res)
	}
	return out, lines.Err()
}

// Subject returns what the result is about: the package's path below the
// module, and below bench.
func (r Result) Subject() string {
	s := strings.TrimPrefix(r.Config["pkg"], "github.com/ashlar-go/ashlar/")
	return cmp.Or(strings.TrimPrefix(s, "bench/"), "unknown")
}

// Versus tells whether the result is a comparison, of what and against whom.
func (r Result) Versus() (what, peer string, ok bool) {
	rest, ok := strings.CutPrefix(r.Name, "Vs/")
	if !ok {
		return "", "", false
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return rest, "", true
	}
	return rest[:i], rest[i+1:], true
}
