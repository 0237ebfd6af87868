package main

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/trie"
	"github.com/ashlar-go/ashlar/trie/norm"
)

// An index of words: for each, the businesses that have it in their name or are of that
// kind, by id. Its words are completed by a trie.
type words struct {
	postings map[string][]businessID
	image    *trie.Image
	city     []business
	table    *table // by cell
}

func newWords(city []business, byCell *table) (*words, error) {
	w := &words{postings: map[string][]businessID{}, city: city, table: byCell}
	for i := range city {
		b := &city[i]
		for _, word := range wordsOf(b.name + " " + b.kind) {
			if l := w.postings[word]; len(l) == 0 || l[len(l)-1] != b.id {
				w.postings[word] = append(l, b.id)
			}
		}
	}
	b := trie.NewBuilder(nil)
	for word, l := range w.postings {
		b.Add(word, uint64(len(l)))
	}
	var err error
	w.image, err = b.Build()
	return w, err
}

// wordsOf returns the words of a text in one spelling, each once.
func wordsOf(text string) []string {
	list := strings.FieldsFunc(norm.Term(text), func(r rune) bool { return !unicode.IsLetter(r) })
	slices.Sort(list)
	return slices.Compact(list)
}

// A plan says in which order a query is answered, and what that costs.
type plan struct {
	name     string
	estimate int // rows
}

const (
	textFirst  = "text first"
	placeFirst = "place first"
)

// plans returns the plans for a word near a spot, the cheaper first. The length of a
// list of postings is known, and how many rows the cells of a circle have is told by the
// places of their ends in the order.
func (w *words) plans(word string, s spot) []plan {
	rows := 0
	cells, _ := geohash.CoverCircle(nil, s.lat, s.lon, s.metres, 16)
	for _, r := range geohash.AppendRanges(nil, cells) {
		first, _ := slices.BinarySearchFunc(w.table.rows, r.First, func(b business, c geohash.Cell) int { return cmp.Compare(b.cell, c) })
		last, _ := slices.BinarySearchFunc(w.table.rows, r.Last, func(b business, c geohash.Cell) int { return cmp.Compare(b.cell, c) })
		rows += last - first
	}
	list := []plan{{textFirst, len(w.postings[word])}, {placeFirst, rows}}
	slices.SortFunc(list, func(a, b plan) int { return cmp.Compare(a.estimate, b.estimate) })
	return list
}

// find returns the businesses that have a word and are near, and how many rows that took.
func (w *words) find(p plan, word string, s spot) (found []businessID, read int) {
	w.table.read = 0
	switch p.name {
	case textFirst:
		for _, id := range w.postings[word] {
			read++
			if s.near(&w.city[id]) {
				found = append(found, id)
			}
		}
	default:
		for _, id := range covered(w.table, s) {
			if _, ok := slices.BinarySearch(w.postings[word], id); ok {
				found = append(found, id)
			}
		}
		read = w.table.read
	}
	return found, read
}
