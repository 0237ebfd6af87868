// Package norm brings what people type and what they look for into one form, so that
// "Café  DE Flore" is found by "cafe\u0301 d", and remembers how a term should be
// read.
//
//	b := norm.NewBuilder(nil)
//	b.Add("New York", 90)
//	b.Add("new  york", 7)
//	image, err := b.Build() // a trie.Image like any other
//	for _, s := range image.Complete(nil, norm.Prefix("NEW Y"), 10) {
//		fmt.Println(norm.Surface(s.Term), s.Weight) // New York 97
//	}
//
// # The normal form
//
// Text is decomposed (NFD), each character is folded by the full case folding of
// Unicode ("Straße" and "STRASSE" become "strasse"), white space and control
// characters become single spaces and go from the ends, and what is left is composed
// (NFC). Accents stay: "resume" is not "résumé". Nothing depends on a language: the
// Turkish I folds like the English one. Bytes that are no UTF-8 stay as they are.
// The form of a form is itself: Term(Term(x)) == Term(x), and so for Prefix.
//
// # Prefixes
//
// Who types goes from prefix to prefix, and each should find what the whole will. If p
// is a prefix of t that ends between two characters, then Prefix(p) is a prefix of
// Term(t), with two exceptions:
//
//   - The last sequence of a letter with combining marks, or of Korean jamo, may be
//     composed differently when more of it comes: "e" becomes "é" with the mark that
//     follows. Let q be p without that sequence: then Prefix(q) is a prefix.
//   - A space at the end of Prefix(p) is none of Term(t) where t goes on with
//     nothing but spaces.
//
// # Surface forms
//
// [Builder] adds up all spellings of a term and keeps the most frequent one. Where
// that differs from the normal form it stands behind it in the image's term, after a
// zero byte, which no normal form contains:
//
//	strasse\x00Straße
//
// So the image needs nothing beside it: files, partitions and swaps work as without
// spellings. [Surface] takes it off again, [Folded] what is before it: of every term
// that comes out of an image, also of its Fuzzy. To look up a term, use [Lookup]; to step
// a cursor, give it the bytes of [Prefix]. Who wants "cafe" to find "café" too asks
// for one mistake ([trie.Image.Fuzzy]).
//
// # References
//
// The Unicode Standard, section 3.13 (caseless matching, D145: NFD before folding, and
// again after), annex 15 (normalization forms); its data file CaseFolding.txt.
package norm
