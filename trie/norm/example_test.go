package norm_test

import (
	"fmt"
	"log"

	"github.com/ashlar-go/ashlar/trie/norm"
)

func Example() {
	b := norm.NewBuilder(nil)
	b.Add("New York", 90)
	b.Add("new  york", 7)
	b.Add("Café de Flore", 20)
	image, err := b.Build()
	if err != nil {
		log.Fatal(err)
	}
	for _, typed := range []string{"NEW Y", "cafe\u0301 D"} {
		for _, s := range image.Complete(nil, norm.Prefix(typed), 10) {
			fmt.Println(norm.Surface(s.Term), s.Weight)
		}
	}
	// Output:
	// New York 97
	// Café de Flore 20
}

func ExamplePrefix() {
	fmt.Printf("%q %q\n", norm.Prefix("  New  "), norm.Term("  New  "))
	fmt.Printf("%q %q\n", norm.Prefix("STRASSE"), norm.Prefix("Straß"))
	// Output:
	// "new " "new"
	// "strasse" "strass"
}
