package tsdb

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// A Matcher accepts or refuses a series by one of its labels, where no label
// counts as the empty value. Name [SourceLabel] matches the source.
// The zero Matcher is not valid; use [Eq], [Ne], [Re] or [NotRe].
type Matcher struct {
	name, value string
	op          matchOp
	pattern     *pattern
	err         error
}

type matchOp byte

// Part of the log's format: never renumber.
const (
	opEq    matchOp = 1
	opNe    matchOp = 2
	opRe    matchOp = 3
	opNotRe matchOp = 4
)

// Eq accepts series whose label has the value.
func Eq(name, value string) Matcher { return Matcher{name: name, value: value, op: opEq} }

// Ne accepts series whose label has another value, or that lack it.
func Ne(name, value string) Matcher { return Matcher{name: name, value: value, op: opNe} }

// Re accepts series whose label's whole value matches the regular expression, of
// package regexp's syntax; the dot matches a newline too. An invalid one is an
// error of the call that the matcher is given to.
func Re(name, expr string) Matcher { return newRe(name, expr, opRe) }

// NotRe accepts series whose label's whole value does not match.
func NotRe(name, expr string) Matcher { return newRe(name, expr, opNotRe) }

func newRe(name, expr string, op matchOp) Matcher {
	m := Matcher{name: name, value: expr, op: op}
	m.pattern, m.err = compile(expr)
	return m
}

// String returns the matcher as in name=~"expr".
func (m Matcher) String() string {
	op := map[matchOp]string{opEq: "=", opNe: "!=", opRe: "=~", opNotRe: "!~"}[m.op]
	return fmt.Sprintf("%s%s%q", m.name, op, m.value)
}

// check returns why a matcher cannot be used.
func (m *Matcher) check() error {
	switch {
	case m.err != nil:
		return fmt.Errorf("%w: %v", ErrInvalid, m.err)
	case m.op == 0 || m.name == "":
		return fmt.Errorf("%w: matcher without a name", ErrInvalid)
	}
	return nil
}

// matches reports whether a value is accepted.
func (m *Matcher) matches(v string) bool {
	switch m.op {
	case opEq:
		return v == m.value
	case opNe:
		return v != m.value
	case opRe:
		return m.pattern.match(v)
	default:
		return !m.pattern.match(v)
	}
}

// positive returns what m accepts, or what it refuses if negated.
func (m *Matcher) positive() (accept func(string) bool, negated bool) {
	switch m.op {
	case opEq, opNe:
		return func(v string) bool { return v == m.value }, m.op == opNe
	default:
		return m.pattern.match, m.op == opNotRe
	}
}

// matchKey reports whether all matchers accept a series.
func matchKey(source, key string, ms []Matcher) bool {
	for i := range ms {
		if !ms[i].matches(keyValue(source, key, ms[i].name)) {
			return false
		}
	}
	return true
}

// keyValue returns the value of a label in a key.
func keyValue(source, key, name string) string {
	if name == SourceLabel {
		return source
	}
	for key != "" {
		n, v, rest, ok := nextLabel(key)
		if !ok || n > name {
			break
		}
		if n == name {
			return v
		}
		key = rest
	}
	return ""
}

// A pattern is a regular expression, taken apart so far that most are answered
// without running an automaton.
type pattern struct {
	set     []string // the only strings that match, sorted; nil: see the others
	literal string   // part of every string that matches
	free    bool     // every string that contains literal matches
	prefix  string   // with simple: it begins so
	suffix  string   // with simple: it ends so
	simple  bool     // prefix, anything, suffix
	re      *regexp.Regexp
}

// maxSet bounds the strings that a pattern is enumerated into.
const maxSet = 256

func compile(expr string) (*pattern, error) {
	re, err := regexp.Compile("^(?s:" + expr + ")$")
	if err != nil {
		return nil, err
	}
	if _, err := regexp.Compile(expr); err != nil { // it must be valid without what surrounds it
		return nil, err
	}
	p := &pattern{re: re}
	tree, err := syntax.Parse("(?s:"+expr+")", syntax.Perl)
	if err != nil {
		return nil, err
	}
	tree = tree.Simplify()
	for tree.Op == syntax.OpCapture {
		tree = tree.Sub[0]
	}
	if set, ok := enumerate(tree, maxSet); ok {
		slices.Sort(set)
		p.set = slices.Compact(set)
		return p, nil
	}
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	for _, x := range parts {
		if lit, ok := literal(x); ok && len(lit) > len(p.literal) {
			p.literal = lit
		}
	}
	first, firstOK := literal(parts[0])
	last, lastOK := literal(parts[len(parts)-1])
	switch {
	case len(parts) == 1 && anything(parts[0]),
		len(parts) == 2 && anything(parts[0]) && anything(parts[1]):
		p.free = true
	case len(parts) == 3 && anything(parts[0]) && anything(parts[2]) && p.literal != "":
		p.free = true
	case len(parts) == 2 && firstOK && anything(parts[1]):
		p.simple, p.prefix = true, first
	case len(parts) == 2 && anything(parts[0]) && lastOK:
		p.simple, p.suffix = true, last
	case len(parts) == 3 && firstOK && anything(parts[1]) && lastOK:
		p.simple, p.prefix, p.suffix = true, first, last
	}
	return p, nil
}

func (p *pattern) match(v string) bool {
	switch {
	case p.set != nil:
		_, ok := slices.BinarySearch(p.set, v)
		return ok
	case p.free:
		return strings.Contains(v, p.literal)
	case p.simple:
		return len(v) >= len(p.prefix)+len(p.suffix) && strings.HasPrefix(v, p.prefix) && strings.HasSuffix(v, p.suffix)
	}
	return (p.literal == "" || strings.Contains(v, p.literal)) && p.re.MatchString(v)
}

func literal(re *syntax.Regexp) (string, bool) {
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	if re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0 {
		return string(re.Rune), true
	}
	return "", false
}

func anything(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar && re.Sub[0].Op == syntax.OpAnyChar
}

// enumerate lists the strings that an expression matches, if these are at most
// limit.
func enumerate(re *syntax.Regexp, limit int) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return nil, false
		}
		return []string{string(re.Rune)}, true
	case syntax.OpCapture:
		return enumerate(re.Sub[0], limit)
	case syntax.OpQuest:
		sub, ok := enumerate(re.Sub[0], limit-1)
		return append(sub, ""), ok
	case syntax.OpCharClass:
		var out []string
		for i := 0; i < len(re.Rune); i += 2 {
			if int(re.Rune[i+1]-re.Rune[i])+1+len(out) > limit {
				return nil, false
			}
			for c := re.Rune[i]; c <= re.Rune[i+1]; c++ {
				out = append(out, string(c))
			}
		}
		return out, true
	case syntax.OpAlternate:
		var out []string
		for _, sub := range re.Sub {
			s, ok := enumerate(sub, limit-len(out))
			if !ok {
				return nil, false
			}
			out = append(out, s...)
		}
		return out, len(out) <= limit
	case syntax.OpConcat:
		out := []string{""}
		for _, sub := range re.Sub {
			s, ok := enumerate(sub, limit)
			if !ok || len(s)*len(out) > limit {
				return nil, false
			}
			next := make([]string, 0, len(s)*len(out))
			for _, a := range out {
				for _, b := range s {
					next = append(next, a+b)
				}
			}
			out = next
		}
		return out, true
	}
	return nil, false
}
