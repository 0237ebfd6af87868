package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/trie"
)

// shipped holds 40,000 phrases; data/LICENCE.txt says where they come from.
//
//go:embed data/phrases.tsv.gz
var shipped []byte

// A phrase is a word or a full query, with how often it is searched.
type phrase struct {
	term   string
	weight uint64
}

// loadPhrases reads the n heaviest of the phrases in a file, or of those that are
// shipped if it has no name; 0 means all. A line is a weight, a tab and the phrase, the
// heaviest first.
func loadPhrases(name string, n int) ([]phrase, error) {
	var in io.Reader = bytes.NewReader(shipped)
	if name != "" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	var list []phrase
	lines := bufio.NewScanner(z)
	for (n == 0 || len(list) < n) && lines.Scan() {
		w, term, ok := strings.Cut(lines.Text(), "\t")
		weight, err := strconv.ParseUint(w, 10, 64)
		if !ok || err != nil || term != clean(term) {
			return nil, fmt.Errorf("line %d is no weight, tab and phrase: %q", len(list)+1, lines.Text())
		}
		list = append(list, phrase{term, weight})
	}
	return list, lines.Err()
}

// clean brings what somebody types into the form that the phrases have: small letters,
// single spaces, none in front. A space at the end stays: it is a key that was pressed.
// Package trie/norm does more, for all of Unicode.
func clean(s string) string {
	words := strings.Fields(strings.ToLower(s))
	out := strings.Join(words, " ")
	if len(words) > 0 && strings.TrimRight(s, " \t") != s {
		out += " "
	}
	return out
}

// imageOf builds the image of some phrases.
func imageOf(list []phrase) (*trie.Image, error) {
	b := trie.NewBuilder(&trie.Options{K: k})
	for _, p := range list {
		b.Add(p.term, p.weight)
	}
	return b.Build()
}

// A crowd searches for phrases: the heavier ones more often. It is not safe for
// concurrent use.
type crowd struct {
	rng  *rand.Rand
	list []phrase
}

func newCrowd(list []phrase, seed uint64) *crowd {
	return &crowd{rand.New(rand.NewPCG(seed, 17)), list}
}

// wants returns what the next one has in mind.
func (c *crowd) wants() string {
	x := c.rng.Float64()
	return c.list[int(x*x*x*float64(len(c.list)))].term
}
