package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
)

// A Section holds the results of one subject.
type Section struct {
	Subject  string
	Versions []string // the peers' modules with their versions
	vs, own  []Result
}

func (s *Section) add(r Result) {
	if _, _, ok := r.Versus(); ok {
		s.vs = append(s.vs, r)
	} else {
		s.own = append(s.own, r)
	}
}

// A verdict says how a comparison came out.
type verdict string

const (
	won   verdict = "won"
	short verdict = "won, below the goal"
	even  verdict = "even"
	lost  verdict = "lost"
)

// judge calls a comparison even when the quartiles of the ratio lie on both
// sides of 1: then the same run might as well have ended the other way.
func judge(m map[string]float64) verdict {
	x, q1, q3 := m["x-faster"], m["x-faster-q1"], m["x-faster-q3"]
	switch {
	case q1 > 0 && q1 < 1 && q3 > 1:
		return even
	case m["x-goal"] > 0 && m["x-goal"] < 1 && x >= m["x-goal"]:
		return won // a share of the other side's speed is all that was asked
	case x < 1:
		return lost
	case x < m["x-goal"]:
		return short
	}
	return won
}

// Score counts the comparisons by verdict.
func (s Section) Score() string {
	count := map[verdict]int{}
	for _, r := range s.vs {
		count[judge(r.Metrics)]++
	}
	var parts []string
	for _, v := range []verdict{won, short, even, lost} {
		if n := count[v]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, v))
		}
	}
	if len(parts) == 0 {
		return "no comparisons"
	}
	return strings.Join(parts, ", ")
}

// Markdown returns the section's tables and how they came about.
func (s Section) Markdown() string {
	var b strings.Builder
	if len(s.vs) > 0 {
		fmt.Fprintf(&b, "%s.\n\n", capital(s.Score()))
		b.WriteString("| what | against | ours | theirs | ratio (quartiles) | goal | outcome | beside it |\n")
		b.WriteString("| --- | --- | ---: | ---: | ---: | ---: | --- | --- |\n")
		for _, r := range s.vs {
			b.WriteString(versusRow(r))
		}
	}
	if len(s.own) > 0 {
		if len(s.vs) > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("| ours alone | time per operation | beside it |\n| --- | ---: | --- |\n")
		for _, r := range s.own {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(r.Name), nanos(r.Metrics["ns/op"]), beside(r.Metrics))
		}
	}
	b.WriteByte('\n')
	for _, line := range s.origin() {
		fmt.Fprintf(&b, "%s  \n", line)
	}
	return strings.TrimRight(b.String(), " \n") + "\n"
}

func versusRow(r Result) string {
	m := r.Metrics
	what, peer, _ := r.Versus()
	ratio := fmt.Sprintf("%s× (%s–%s)", digits(m["x-faster"]), digits(m["x-faster-q1"]), digits(m["x-faster-q3"]))
	goal := "–"
	if g := m["x-goal"]; g > 0 {
		goal = digits(g) + "×"
	}
	outcome := string(judge(m))
	if outcome != string(won) {
		outcome = "**" + outcome + "**"
	}
	if p := m["pairs"]; p < versus.MinPairs {
		outcome += fmt.Sprintf(" (a trial: %g pairs)", p)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", cell(what), cell(peer),
		nanos(m["ns/op"]), nanos(m["peer-ns/op"]), ratio, goal, outcome, beside(m))
}

// beside lists what was measured besides time: sizes and qualities, ours first
// and the peer's behind a slash.
func beside(m map[string]float64) string {
	known := []string{"ns/op", "x-faster", "x-faster-q1", "x-faster-q3", "x-goal", "pairs", "spread-%"}
	var parts []string
	for _, unit := range sortedKeys(m) {
		if slices.Contains(known, unit) || strings.HasSuffix(unit, "-spread-%") {
			continue
		}
		if base, ok := strings.CutPrefix(unit, "peer-"); ok {
			if _, both := m[base]; both || base == "allocs/op" || slices.Contains(known, base) {
				continue
			}
		}
		v := value(m[unit], unit)
		name := unit
		if unit == "ours-allocs/op" {
			name = "allocs/op"
		}
		if p, ok := m["peer-"+name]; ok {
			v += " / " + value(p, unit)
		}
		name, _ = strings.CutSuffix(name, "-ns/op")
		parts = append(parts, cell(name)+" "+v)
	}
	return strings.Join(parts, "; ")
}

func value(v float64, unit string) string {
	if strings.HasSuffix(unit, "ns/op") {
		return nanos(v)
	}
	return digits(v)
}

// origin tells where, when and how the section was measured.
func (s Section) origin() []string {
	var machines, dates, commands, notes []string
	for _, r := range slices.Concat(s.vs, s.own) {
		c := r.Config
		machine := strings.Trim(strings.Join([]string{c["cpu"], c["goos"] + "/" + c["goarch"]}, ", "), ", /")
		put(&machines, fmt.Sprintf("%s, GOMAXPROCS %s", cmp.Or(machine, "unknown machine"), r.Procs))
		date := strings.Trim(strings.Join([]string{c["date"], c["go"]}, ", "), ", ")
		if c["commit"] != "" {
			date += ", commit " + c["commit"]
		}
		put(&dates, date)
		put(&commands, c["command"])
		put(&notes, c["note"])
	}
	lines := []string{"Measured on " + strings.Join(machines, "; ") + "."}
	if len(dates) > 0 {
		lines = append(lines, "Date and version: "+strings.Join(dates, "; ")+".")
	}
	if len(s.Versions) > 0 {
		lines = append(lines, "Peers: "+strings.Join(s.Versions, ", ")+".")
	}
	for _, c := range commands {
		lines = append(lines, "Command: `"+c+"`")
	}
	for _, n := range notes {
		lines = append(lines, "Note: "+n)
	}
	return lines
}

// put appends s unless it is empty or there.
func put(list *[]string, s string) {
	if s != "" && !slices.Contains(*list, s) {
		*list = append(*list, s)
	}
}

// Replace puts the section between its markers in the document, or at the end
// if it has none yet.
func Replace(doc string, s Section) string {
	begin, end := fmt.Sprintf("<!-- bench:%s -->", s.Subject), fmt.Sprintf("<!-- /bench:%s -->", s.Subject)
	block := begin + "\n" + s.Markdown() + end
	if i := strings.Index(doc, begin); i >= 0 {
		if j := strings.Index(doc[i:], end); j >= 0 {
			return doc[:i] + block + doc[i+j+len(end):]
		}
	}
	doc = strings.TrimRight(doc, "\n")
	if doc != "" {
		doc += "\n\n"
	}
	return doc + "## " + s.Subject + "\n\n" + block + "\n"
}

// nanos writes a time per operation with three digits and a fitting unit.
func nanos(ns float64) string {
	switch {
	case ns == 0:
		return "–"
	case ns < 1e3:
		return digits(ns) + " ns"
	case ns < 1e6:
		return digits(ns/1e3) + " µs"
	case ns < 1e9:
		return digits(ns/1e6) + " ms"
	}
	return digits(ns/1e9) + " s"
}

// digits writes about three significant digits, and whole numbers as they are.
func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case v == math.Trunc(v) && a < 1e15:
		return group(fmt.Sprintf("%.0f", v))
	case a >= 1000:
		return group(fmt.Sprintf("%.0f", v))
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// group puts commas between the thousands of a whole number.
func group(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func sortedKeys(m map[string]float64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
