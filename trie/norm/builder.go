package norm

import (
	"maps"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/trie"
)

// separator stands between the normal form and the spelling. No normal form has it.
const separator = "\x00"

// Surface returns how a term of a [Builder]'s image should be read. Of a term of
// another image it returns all.
func Surface(term string) string {
	_, surface, ok := strings.Cut(term, separator)
	if !ok {
		return term
	}
	return surface
}

// Folded returns the normal form of a term of a [Builder]'s image.
func Folded(term string) string {
	folded, _, _ := strings.Cut(term, separator)
	return folded
}

// A Builder collects terms by their normal form. It is not safe for concurrent use. Use
// [NewBuilder].
type Builder struct {
	opts  trie.Options
	terms map[string]*spellings
}

// spellings are the ways in which a term is written. Most have one.
type spellings struct {
	first  string
	weight uint64
	others map[string]uint64
}

// NewBuilder returns an empty builder. Options are those of [trie.NewBuilder].
func NewBuilder(opts *trie.Options) *Builder {
	b := &Builder{terms: map[string]*spellings{}}
	if opts != nil {
		b.opts = *opts
	}
	return b
}

// Add adds weight to a term's, as it is written here. Terms of which nothing is left
// but spaces are left out. Sums stop at 2^64-1.
func (b *Builder) Add(surface string, weight uint64) {
	folded := Term(surface)
	if folded == "" {
		return
	}
	written := folded
	if surface != folded {
		written = Tidy(surface)
	}
	switch s := b.terms[folded]; {
	case s == nil:
		b.terms[folded] = &spellings{first: written, weight: weight}
	case s.first == written:
		s.weight = plus(s.weight, weight)
	default:
		if s.others == nil {
			s.others = map[string]uint64{}
		}
		s.others[written] = plus(s.others[written], weight)
	}
}

func plus(a, b uint64) uint64 { return a + min(b, ^uint64(0)-a) }

// Len returns how many terms there are.
func (b *Builder) Len() int { return len(b.terms) }

// Build returns the image of all terms, each with the weight of all its spellings and,
// for [Surface], the spelling that weighs most; of equal ones the first by its bytes.
// Its errors are those of [trie.Builder.Build], where a term counts with its spelling.
func (b *Builder) Build() (*trie.Image, error) {
	out := trie.NewBuilder(&b.opts)
	for folded, s := range b.terms {
		best, most, sum := s.first, s.weight, s.weight
		for _, written := range slices.Sorted(maps.Keys(s.others)) {
			w := s.others[written]
			sum = plus(sum, w)
			if w > most || w == most && written < best {
				best, most = written, w
			}
		}
		if best != folded {
			folded += separator + best
		}
		out.Add(folded, sum)
	}
	return out.Build()
}

// Lookup returns the spelling and the weight of a term in an image of a Builder, and
// whether it is there. It may be written in any way.
func Lookup(m *trie.Image, term string) (surface string, weight uint64, ok bool) {
	folded := Term(term)
	if w, ok := m.Lookup(folded); ok {
		return folded, w, true
	}
	// There is one spelling only, and so one term with the separator.
	for _, s := range m.Complete(nil, folded+separator, 1) {
		return Surface(s.Term), s.Weight, true
	}
	return "", 0, false
}
