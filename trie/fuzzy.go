package trie

import (
	"fmt"
	"unicode/utf8"
)

const (
	// MaxEdits is the most edits that Fuzzy takes.
	MaxEdits = 2
	far      = 100 // more edits than there ever are
	// MaxQuery is the length of Fuzzy's longest query, in characters.
	MaxQuery = 64
)

// Fuzzy appends up to k of the best terms that begin with something at most so many
// edits from the query, 0 to [MaxEdits]. An edit adds, drops or changes a character,
// or swaps two neighbours (optimal string alignment). Terms that are fewer edits away
// come first, and among these the better ones; with Edits set. The query has up to
// [MaxQuery] characters.
//
// It walks down the terms together with the table of edit distances and leaves every
// prefix from which the query cannot be reached any more; of what it finds it takes the
// best by the cached lists. It costs some tens of microseconds for one edit, and
// several times as much for two.
func (m *Image) Fuzzy(dst []Suggestion, query string, edits, k int) ([]Suggestion, error) {
	n := utf8.RuneCountInString(query)
	if edits < 0 || edits > MaxEdits || n > MaxQuery {
		return dst, fmt.Errorf("%w: %d edits, 0 to %d are possible, in a query of %d characters, up to %d", ErrInvalid, edits, MaxEdits, n, MaxQuery)
	}
	w := walk{m: m, edits: edits, left: m.parts()}
	for at := 0; at < len(query); {
		r, size := runeAt(query[at:])
		w.query = append(w.query, r)
		at += size
	}
	w.rows, w.least = append(w.rows, make([]uint8, len(w.query)+1)), append(w.least, 0)
	for i := range w.rows[0] {
		w.rows[0][i] = uint8(min(i, far))
	}
	w.place(m.root(), edits+1)

	// What is within d edits includes what is within fewer.
	var hits []Hit
	var taken []Hit
	for d := range edits + 1 {
		if len(taken) >= k {
			break
		}
		hits = m.best(hits[:0], w.found[d], k)
		for _, h := range hits {
			if len(taken) < k && !has(taken, h) {
				taken = append(taken, h)
				dst = append(dst, Suggestion{m.Term(h), m.Weight(h), d})
			}
		}
	}
	return dst, nil
}

func has(hs []Hit, h Hit) bool {
	for _, x := range hs {
		if x == h {
			return true
		}
	}
	return false
}

// runeAt decodes a character. A byte that is none counts as one of its own.
func runeAt(s string) (r rune, size int) {
	r, size = utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && size == 1 {
		return 0x110000 + rune(s[0]), 1
	}
	return r, size
}

// A walk goes through prefixes depth first. Rows[i] is the row of the edit distances
// between the prefix's first i characters and each beginning of the query.
type walk struct {
	m     *Image
	query []rune
	edits int
	path  []byte // the prefix
	runes []rune // its characters, as far as they are complete
	whole int    // bytes of path that these take
	rows  [][]uint8
	least []uint8 // the least of each row
	text  []byte  // of a term, for a while
	found [MaxEdits + 1][]place
	left  int // places still to look at: see Image.parts
}

// push goes on by a byte. It returns the distance of the query from the new prefix and
// the least that any longer one can have; if the byte completes no character, those of
// before.
func (w *walk) push(c byte) (distance, least int) {
	w.path = append(w.path, c)
	if c < utf8.RuneSelf && w.whole == len(w.path)-1 {
		w.whole++
		w.row(rune(c))
	} else {
		for w.whole < len(w.path) && utf8.FullRune(w.path[w.whole:]) {
			r, size := runeAt(string(w.path[w.whole:]))
			w.whole += size
			w.row(r)
		}
	}
	i := len(w.runes)
	least = int(w.least[i])
	if i > 1 { // a swap may jump over a row
		least = min(least, int(w.least[i-1])+1)
	}
	if i > len(w.query)+w.edits {
		return far, least
	}
	return int(w.rows[i][len(w.query)]), least
}

// row adds the row of one more character.
func (w *walk) row(r rune) {
	w.runes = append(w.runes, r)
	i := len(w.runes)
	if len(w.rows) <= i {
		w.rows, w.least = append(w.rows, make([]uint8, len(w.query)+1)), append(w.least, 0)
	}
	// Only cells at most so many edits off the diagonal can be so few edits away; those
	// beside them count as far.
	row, above := w.rows[i], w.rows[i-1]
	lo, hi := max(1, i-w.edits), min(len(w.query), i+w.edits)
	left := uint8(far)
	if i <= w.edits {
		left = uint8(i)
	}
	if lo <= len(w.query)+1 {
		row[lo-1] = left
	}
	least := left
	for j := lo; j <= hi; j++ {
		q := w.query[j-1]
		v := min(above[j], left) + 1
		if q == r {
			v = min(v, above[j-1])
		} else {
			v = min(v, above[j-1]+1)
		}
		if i > 1 && j > 1 && q == w.runes[i-2] && w.query[j-2] == r {
			v = min(v, w.rows[i-2][j-2]+1)
		}
		v = min(v, far)
		row[j], left, least = v, v, min(least, v)
	}
	if hi < len(w.query) && hi >= 0 {
		row[hi+1] = far
		row[len(w.query)] = far
	}
	w.least[i] = least
}

// A byteSet is some of the 256 bytes.
type byteSet [4]uint64

func (s *byteSet) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *byteSet) has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }

var anyByte = byteSet{1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<64 - 1}

// next returns the bytes with which the path may go on to come nearer than nearest.
// Where no edit is left that is no matter of distances any more: the next character is
// one of the query's that follow where the path has got to, or one that ends a swap.
func (w *walk) next(nearest int) (set byteSet) {
	i, most := len(w.runes), min(w.edits, nearest-1)
	if w.whole < len(w.path) || int(w.least[i]) < most {
		return anyByte
	}
	for j := max(0, i-w.edits); j < min(len(w.query), i+w.edits+1); j++ {
		if int(w.rows[i][j]) <= most {
			set.add(firstByte(w.query[j]))
		}
	}
	for j := max(2, i+1-w.edits); i > 0 && j <= min(len(w.query), i+1+w.edits); j++ {
		if w.query[j-1] == w.runes[i-1] && int(w.rows[i-1][j-2]) < most {
			set.add(firstByte(w.query[j-2]))
		}
	}
	return set
}

// firstByte returns that of a character's encoding.
func firstByte(r rune) byte {
	switch {
	case r < utf8.RuneSelf:
		return byte(r)
	case r >= 0x110000:
		return byte(r - 0x110000)
	}
	var p [utf8.UTFMax]byte
	utf8.EncodeRune(p[:], r)
	return p[0]
}

// cut goes back to a prefix of n bytes, of whole characters and whole bytes as given.
func (w *walk) cut(n, runes, whole int) {
	w.path, w.runes, w.whole = w.path[:n], w.runes[:runes], whole
}

// place looks at the prefix of a place, which is the path, and goes on from there.
// Nearest is the distance at which an earlier prefix was found.
func (w *walk) place(at place, nearest int) {
	if len(w.path) == 0 { // the beginning is a prefix too
		if d := int(w.rows[0][len(w.query)]); d < nearest {
			w.found[d] = append(w.found[d], at)
			nearest = d
		}
	}
	if w.left--; w.left < 0 {
		return
	}
	n, runes, whole := len(w.path), len(w.runes), w.whole
	defer func() { w.cut(n, runes, whole) }()
	if at.node < 0 {
		w.terms(at, nearest)
		return
	}
	node := w.m.node(int(at.node))
	if node.hi <= node.lo {
		return
	}
	// What all its terms go on with.
	if len(w.path) < node.depth {
		w.text = w.m.appendTerm(w.text[:0], node.lo)
		for len(w.path) < min(node.depth, len(w.text)) {
			var ok bool
			if nearest, ok = w.look(w.text[len(w.path)], at, nearest); !ok {
				return
			}
		}
	}
	sizes := w.m.section[secSizes][node.child:][:node.children]
	base, baseRunes, baseWhole := len(w.path), len(w.runes), w.whole
	follow := w.next(nearest)
	// Where a child's terms begin: so many behind those of the last child that is a node,
	// which is only looked at if one is asked for that is none.
	next, behind := node.first, 0
	if node.terminal {
		behind++
	}
	for i, c := range node.labelBytes {
		size := int(sizes[i])
		before := behind
		if behind += size; size == 0 {
			next, behind = next+1, 0
		}
		if !follow.has(c) {
			continue
		}
		var child place
		if size == 0 {
			lo, hi := w.m.bounds(next - 1)
			child = place{int32(next - 1), int32(lo), int32(hi)}
		} else {
			lo := node.lo
			if next > node.first {
				_, lo = w.m.bounds(next - 1)
			}
			lo = min(lo+before, w.m.n)
			child = place{-1, int32(lo), int32(min(lo+size, w.m.n))}
		}
		if near, ok := w.look(c, child, nearest); ok {
			w.place(child, near)
		}
		w.cut(base, baseRunes, baseWhole)
	}
}

// look goes on by a byte, to the prefix of a place. It returns the nearest distance now,
// and false if nothing nearer can be found below.
func (w *walk) look(c byte, at place, nearest int) (int, bool) {
	before := len(w.runes)
	d, least := w.push(c)
	if len(w.runes) > before && d < nearest && d <= w.edits {
		w.found[d] = append(w.found[d], at)
		nearest = d
	}
	return nearest, least < nearest && least <= w.edits
}

// terms looks at each of a few terms with the path as prefix.
func (w *walk) terms(at place, nearest int) {
	n, runes, whole := len(w.path), len(w.runes), w.whole
	t := w.m.termsAt(w.text[:0], int(at.lo))
	follow := w.next(nearest)
	for pos := at.lo; pos < at.hi && w.left >= 0 && t.next(); pos++ {
		w.left--
		if n < len(t.text) && !follow.has(t.text[n]) {
			continue
		}
		near := nearest
		for _, c := range t.text[min(n, len(t.text)):] {
			var ok bool
			if near, ok = w.look(c, place{-1, pos, pos + 1}, near); !ok {
				break
			}
		}
		w.cut(n, runes, whole)
	}
	w.text = t.text
}
