package tsdb

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIndexModel compares the index with asking each series.
func TestIndexModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	words := []string{"", "a", "b", "ab", "ba", "web-1", "web-2", "web-10", "db-1", "77", "177", "1771", "é", "x\ny", "web-web"}
	exprs := []string{
		"", "a", "a|b", "web-.*", ".*77.*", ".*", ".+", "web-[0-9]+", "(web|db)-1", ".*-1", "w.*1", "[ab]+", "a?", "(?i)WEB-1", ".*é.*", "x.y",
		"web-(1|2|10)", ".*web.*web.*", "a|.*", "^a$", "a{2,3}", "(ab)", ".*1.*7.*", "()", "$", "\\d+",
	}
	var keys []string
	for range 500 {
		var l Labels
		for _, name := range []string{"a", "host", "z"} {
			if v := words[rnd.IntN(len(words))]; v != "" {
				l = append(l, Label{name, v})
			}
		}
		key, err := l.appendKey(nil)
		require.NoError(t, err)
		keys = append(keys, string(key))
	}
	keys[7] = gone
	x := newLabelIndex(keys)
	makers := []func() Matcher{}
	for _, name := range []string{"a", "host", "z", "absent"} {
		makers = append(makers,
			func() Matcher { return Eq(name, words[rnd.IntN(len(words))]) },
			func() Matcher { return Ne(name, words[rnd.IntN(len(words))]) },
			func() Matcher { return Re(name, exprs[rnd.IntN(len(exprs))]) },
			func() Matcher { return NotRe(name, exprs[rnd.IntN(len(exprs))]) })
	}
	for range 400 {
		var ms []Matcher
		for range rnd.IntN(4) {
			m := makers[rnd.IntN(len(makers))]()
			require.NoError(t, m.check())
			ms = append(ms, m)
		}
		var want []uint32
		for i, key := range keys {
			if key != gone && slowMatch(key, ms) {
				want = append(want, uint32(i))
			}
		}
		got := x.find(ms)
		slices.Sort(got)
		require.Equal(t, want, slices.Clip(append([]uint32(nil), got...)), fmt.Sprint(ms))
		for i, key := range keys {
			require.Equal(t, slowMatch(key, ms), matchKey("", key, ms), fmt.Sprint(ms, i))
		}
	}
}

// slowMatch decides with package regexp and nothing else.
func slowMatch(key string, ms []Matcher) bool {
	for _, m := range ms {
		v := keyLabels(key).Get(m.name)
		var ok bool
		switch m.op {
		case opEq, opNe:
			ok = v == m.value
		default:
			ok = regexp.MustCompile(`\A(?s:` + m.value + `)\z`).MatchString(v)
		}
		if ok == (m.op == opNe || m.op == opNotRe) {
			return false
		}
	}
	return true
}

func TestMatcherErrors(t *testing.T) {
	for _, m := range []Matcher{{}, Re("a", "("), Re("a", "a)(b"), Eq("", "x")} {
		require.ErrorIs(t, m.check(), ErrInvalid, m.String())
	}
}
