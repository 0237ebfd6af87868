package trie_test

import (
	"fmt"
	"log"
	"maps"
	"time"

	"github.com/ashlar-go/ashlar/trie"
)

func Example() {
	b := trie.NewBuilder(&trie.Options{K: 2})
	for term, searches := range map[string]uint64{
		"new york": 90, "new zealand": 70, "newton": 20, "news": 80, "nevada": 40,
	} {
		b.Add(term, searches)
	}
	image, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}

	c := image.Cursor()
	for _, key := range "new " {
		c.StepString(string(key))
		fmt.Printf("%d terms:", c.Len())
		for _, h := range c.Top(nil) {
			fmt.Printf(" %q", image.Term(h))
		}
		fmt.Println()
	}
	c.Back() // the space was a mistake
	fmt.Println(c.Len(), "terms")
	// Output:
	// 5 terms: "new york" "news"
	// 5 terms: "new york" "news"
	// 4 terms: "new york" "news"
	// 2 terms: "new york" "new zealand"
	// 4 terms
}

func ExampleImage_Fuzzy() {
	b := trie.NewBuilder(nil)
	b.Add("weather", 50)
	b.Add("whether", 60)
	b.Add("wedding", 90)
	image, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}
	suggestions, err := image.Fuzzy(nil, "waether", 1, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range suggestions {
		fmt.Println(s.Term, s.Edits)
	}
	// Output:
	// whether 1
	// weather 1
}

// Everybody asks for news: its partition is split, and what follows rebuilds less.
func ExamplePartitioned() {
	b := trie.NewBuilder(nil)
	for i := range 1000 {
		b.Add(fmt.Sprintf("%c%03d", 'a'+i/100, i), 1)
	}
	b.Add("news", 90)
	b.Add("new york", 80)
	image, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}
	p, err := trie.NewPartitioned(image, &trie.PartitionOptions{Terms: 200, Hot: 3})
	if err != nil {
		log.Fatal(err)
	}
	for range 1000 {
		p.Complete(nil, "new", 10)
		p.Complete(nil, "j9", 10)
	}
	before := len(p.Partitions())
	if _, err := p.Balance(time.Now()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(before, "partitions, then", len(p.Partitions()))

	change, err := p.Update(maps.All(map[string]uint64{"newton": 85}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(change.Rebuilt), "rebuilt,", change.Kept, "kept")
	for _, s := range p.Complete(nil, "new", 2) {
		fmt.Println(s.Term, s.Weight)
	}
	// Output:
	// 7 partitions, then 8
	// 1 rebuilt, 7 kept
	// news 90
	// newton 85
}
