package norm

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/ashlar-go/ashlar/trie"
)

var fold = cases.Fold()

// slow is the obvious form, by the packages that have each step whole; but those swap the
// two cases of Cherokee.
func slow(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r != utf8.RuneError && (unicode.IsSpace(r) || unicode.IsControl(r)) {
			b.WriteByte(' ')
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	words := strings.FieldsFunc(norm.NFD.String(b.String()), func(r rune) bool { return r == ' ' })
	folded := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cherokee, r) {
			return unicode.ToUpper(r)
		}
		return r
	}, fold.String(strings.Join(words, " ")))
	return norm.NFC.String(folded)
}

func TestForms(t *testing.T) {
	for _, c := range []struct{ in, term, prefix string }{
		{"", "", ""},
		{"new york", "new york", "new york"},
		{"New York", "new york", "new york"},
		{"  NEW \t\r\n york  ", "new york", "new york "},
		{"new ", "new", "new "},
		{"   ", "", ""},
		{"a\x00b\x7f", "a b", "a b "},
		{"Straße", "strasse", "strasse"},
		{"STRASSE", "strasse", "strasse"},
		{"Cafe\u0301 de\u00a0Flore", "café de flore", "café de flore"},
		{"ΣΊΣΥΦΟΣ", "σίσυφοσ", "σίσυφοσ"},
		{"σίσυφος", "σίσυφοσ", "σίσυφοσ"},
		{"İstanbul", "i\u0307stanbul", "i\u0307stanbul"},
		{"Kelvin \u212a", "kelvin k", "kelvin k"},
		{"ﬁsh\u3000ﬅ", "fish st", "fish st"},
		{"\u1100\u1161\u11a8", "각", "각"},
		{"ᾳ\u0301", "άι", "άι"},
		{"bad\xffByte\xc3", "bad\xffbyte\xc3", "bad\xffbyte\xc3"},
		{"世界 ", "世界", "世界 "},
		{"\U00010041\u0301", "\U00010041\u0301", "\U00010041\u0301"}, // is no Á
		{"\U00010400e\u0301", "\U00010428é", "\U00010428é"},
		{"\U00011099\U000110ba", "\U0001109a", "\U0001109a"},
	} {
		if got := Term(c.in); got != c.term {
			t.Errorf("Term(%q) = %q, want %q", c.in, got, c.term)
		}
		if got := Prefix(c.in); got != c.prefix {
			t.Errorf("Prefix(%q) = %q, want %q", c.in, got, c.prefix)
		}
	}
	if got, want := Tidy(" New   Cafe\u0301 "), "New Café"; got != want {
		t.Errorf("Tidy = %q, want %q", got, want)
	}
}

// laws holds what must be true of any text.
func laws(t *testing.T, s string) {
	t.Helper()
	term, prefix := Term(s), Prefix(s)
	if again := Term(term); again != term {
		t.Fatalf("Term(%+q) = %+q, and of that %+q", s, term, again)
	}
	if again := Prefix(prefix); again != prefix {
		t.Fatalf("Prefix(%+q) = %+q, and of that %+q", s, prefix, again)
	}
	if got := strings.TrimSuffix(prefix, " "); got != term {
		t.Fatalf("Prefix(%+q) = %+q without the space, Term %+q", s, got, term)
	}
	if strings.Contains(term, separator) || strings.Contains(term, "  ") || strings.HasPrefix(prefix, " ") {
		t.Fatalf("Term(%+q) = %+q", s, term)
	}
	if tidy := Tidy(s); Term(tidy) != term || Tidy(tidy) != tidy {
		t.Fatalf("Tidy(%+q) = %+q, of which Term is %+q and not %+q", s, tidy, Term(tidy), term)
	}
	if got := string(AppendTerm([]byte("Before "), s)); got != "Before "+term {
		t.Fatalf("AppendTerm(%+q) appends %+q", s, got)
	}
}

// Every character, alone and between others, against the packages that know all steps.
func TestEveryCharacter(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		if !utf8.ValidRune(r) || r > 0x100 && !unicode.IsGraphic(r) || unicode.In(r, unicode.Han, unicode.Hangul, unicode.Tangut) {
			continue
		}
		for _, s := range []string{string(r), "a" + string(r) + "\u0301B"} {
			if got, want := Term(s), slow(s); got != want && !strings.ContainsFunc(got, func(r rune) bool { return r > 0xFFFF }) {
				t.Fatalf("%U: Term(%+q) = %+q, want %+q", r, s, got, want)
			}
		}
		laws(t, "a"+string(r)+"\u0345\u0301 "+string(r))
	}
}

// pieces are what random text is made of: marks of different classes, jamo, letters
// that fold to several, spaces, bad bytes.
var pieces = []string{
	"a", "E", "s", "ß", "ẞ", "İ", "ı", "K", "ŉ", "ǰ", "ΐ", "Σ", "ς", "ᾳ", "ᾼ", "ﬃ", "Ꭰ", "ꭰ", "é", "ſ",
	"\u0301", "\u0345", "\u0327", "\u0323", "\u0307", "\u030c", "\u3099", "か", "\u1100", "\u1161", "\u11a8", "가",
	" ", "  ", "\u00a0", "\u2003", "\t", "\x00", "\xff", "\xc3", "\xe2\x80", "世", "\u200d", "\U0001F469", "\u0f71\u0f80",
}

func random(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(12) {
		p := pieces[rng.IntN(len(pieces))]
		for range 1 + max(0, rng.IntN(300)-250) { // more than 30 marks are a case of their own
			b.WriteString(p)
		}
	}
	return b.String()
}

func TestLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		s := random(rng)
		laws(t, s)
		prefixLaw(t, s)
		if got, want := Term(s), slow(s); utf8.ValidString(s) && got != want {
			t.Fatalf("Term(%+q) = %+q, want %+q", s, got, want)
		}
	}
}

// prefixLaw: the form of each prefix of whole characters is a prefix of the whole's, but
// for the last sequence that more marks or jamo may change, and a space at the end.
func prefixLaw(t *testing.T, s string) {
	t.Helper()
	term := Term(s)
	for i := range s {
		p := s[:i]
		if got := strings.TrimSuffix(Prefix(p), " "); strings.HasPrefix(term, got) {
			continue
		}
		if starts(s[i:]) {
			t.Fatalf("%+q: Prefix(%+q) = %+q is no prefix of %+q, though a new sequence follows", s, p, Prefix(p), term)
		}
		begin := len(p)
		for j := range p {
			if starts(p[j:]) {
				begin = j
			}
		}
		if begin == len(p) {
			begin = 0 // marks only
		}
		if got := strings.TrimSuffix(Prefix(p[:begin]), " "); !strings.HasPrefix(term, got) {
			t.Fatalf("%+q: Prefix(%+q) = %+q is no prefix of %+q", s, p[:begin], got, term)
		}
	}
}

// starts tells whether a text begins with a character that no earlier one is composed
// with.
func starts(s string) bool {
	r, size := utf8.DecodeRuneInString(s)
	return r == utf8.RuneError && size == 1 || norm.NFC.PropertiesString(s).BoundaryBefore()
}

// A space at the end of a prefix is kept, and is one of the whole where a word follows.
func TestSpaces(t *testing.T) {
	whole := "New  York\tCity "
	term := Term(whole)
	for i := range whole {
		if p := Prefix(whole[:i]); !strings.HasPrefix(term, p) {
			t.Errorf("Prefix(%q) = %q is no prefix of %q", whole[:i], p, term)
		}
	}
	if p := Prefix(whole); p != term+" " {
		t.Errorf("Prefix(%q) = %q", whole, p)
	}
}

func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 0, 64)
	for name, f := range map[string]func(){
		"Term":         func() { Term("new york") },
		"Prefix":       func() { Prefix("new ") },
		"AppendTerm":   func() { buf = AppendTerm(buf[:0], " New  YORK ") },
		"AppendPrefix": func() { buf = AppendPrefix(buf[:0], "New ") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestBuilder(t *testing.T) {
	b := NewBuilder(&trie.Options{K: 3})
	b.Add("New York", 50)
	b.Add("new york", 20)
	b.Add(" NEW  YORK", 45)
	b.Add("NEW YORK ", 4)
	b.Add("new zealand", 100)
	b.Add("Straße", 7)
	b.Add("strasse", 7)
	b.Add("Heavy", 1<<64-1)
	b.Add("heavy", 5)
	b.Add(" \x00 ", 9) // nothing
	if b.Len() != 4 {
		t.Errorf("%d terms", b.Len())
	}
	image, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range image.Complete(nil, "", 10) {
		got = append(got, fmt.Sprint(Folded(s.Term), "|", Surface(s.Term), " ", s.Weight))
	}
	want := "heavy|Heavy 18446744073709551615, new york|New York 119, new zealand|new zealand 100, strasse|Straße 14"
	if strings.Join(got, ", ") != want {
		t.Errorf("%v\nwant %s", got, want)
	}
	for _, c := range []struct {
		in, surface string
		weight      uint64
		ok          bool
	}{
		{"NEW york", "New York", 119, true},
		{"New  Zealand", "new zealand", 100, true},
		{"STRASSE", "Straße", 14, true},
		{"new", "", 0, false},
		{"", "", 0, false},
	} {
		if surface, w, ok := Lookup(image, c.in); surface != c.surface || w != c.weight || ok != c.ok {
			t.Errorf("Lookup(%q) = %q, %d, %t", c.in, surface, w, ok)
		}
	}
	if _, err := NewBuilder(&trie.Options{K: -1}).Build(); err == nil {
		t.Error("a wrong K passes")
	}
	if empty, err := NewBuilder(nil).Build(); err != nil || empty.Len() != 0 {
		t.Errorf("an empty one has %d terms, %v", empty.Len(), err)
	}
}

// Any spellings of any terms, against a map of maps.
func TestBuilderModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		b := NewBuilder(nil)
		model := map[string]map[string]uint64{}
		for range rng.IntN(40) {
			s, w := pieces[rng.IntN(8)]+pieces[rng.IntN(8)], rng.Uint64N(5)
			b.Add(s, w)
			if model[slow(s)] == nil {
				model[slow(s)] = map[string]uint64{}
			}
			model[slow(s)][Tidy(s)] += w
		}
		image, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if image.Len() != len(model) {
			t.Fatalf("%d terms, want %d", image.Len(), len(model))
		}
		for term, ways := range model {
			var sum, most uint64
			for _, w := range ways {
				sum, most = sum+w, max(most, w)
			}
			surface, w, ok := Lookup(image, term)
			if !ok || w != sum || ways[surface] != most {
				t.Fatalf("%q: %q %d %t of %v", term, surface, w, ok, ways)
			}
		}
	}
}

// FuzzNorm: the laws hold of any bytes.
func FuzzNorm(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		f.Add(random(rng))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 200 {
			return // each of its prefixes is looked at
		}
		laws(t, s)
		prefixLaw(t, s)
		if utf8.ValidString(s) && Term(s) != slow(s) {
			t.Fatalf("Term(%+q) = %+q, want %+q", s, Term(s), slow(s))
		}
	})
}

func BenchmarkTerm(b *testing.B) {
	for _, c := range []struct{ name, s string }{{"normal", "new york city"}, {"ascii", "New  York City"}, {"unicode", "Café de Flore"}} {
		b.Run(c.name, func(b *testing.B) {
			var buf [64]byte
			b.ReportAllocs()
			for b.Loop() {
				if c.name == "normal" {
					Term(c.s)
					continue
				}
				AppendTerm(buf[:0], c.s)
			}
		})
	}
}
