package trie_test

import (
	"fmt"
	"log"

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
