package cms_test

import (
	"fmt"
	"log"
	"time"

	"github.com/ashlar-go/ashlar/cms"
)

// How often was this page asked for? Two servers count, one adds up.
func Example() {
	north, err := cms.New(0.0001, 0.01)
	if err != nil {
		log.Fatal(err)
	}
	south := north.Clone()
	for i := range 100_000 {
		north.AddString(fmt.Sprint("/page/", i%5000), 1)
		south.AddString(fmt.Sprint("/page/", i%20), 1)
	}
	if err := north.Merge(south); err != nil {
		log.Fatal(err)
	}
	fmt.Println(north.CountString("/page/7"), "of", north.Total())
	// Output: 5020 of 200000
}

// The most frequent words of a text, with bounds that always hold.
func ExampleTopK() {
	top, err := cms.NewTopK[string](3, 1024)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 10_000 {
		top.Add("the", 3)
		top.Add("of", 2)
		top.Add("and", 1)
		top.Add(fmt.Sprint("word-", i), 1) // each once
	}
	for _, it := range top.List()[:2] {
		fmt.Println(it.Key, it.Count, it.Lower <= it.Count && it.Count <= it.Upper)
	}
	// Output:
	// the 30000 true
	// of 20000 true
}

// Who makes up more than a tenth of the traffic? The answer is certain.
func ExampleHeavy() {
	clients, err := cms.NewHeavy[string](40)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 10_000 {
		clients.Add(fmt.Sprint("client-", i%3000), 100)
		if i%5 == 0 {
			clients.Add("greedy", 1000)
		}
	}
	for _, it := range clients.List() {
		if it.Lower > clients.Total()/10 {
			fmt.Printf("%s: at least %d of %d\n", it.Key, it.Lower, clients.Total())
		}
	}
	// Output: greedy: at least 1975000 of 3000000
}

// The last minute, in slots of five seconds.
func ExampleWindow() {
	w, err := cms.NewWindow(time.Minute, 12, 1000, 4)
	if err != nil {
		log.Fatal(err)
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range 300 { // one a second, for five minutes
		w.AddString("login", 1, noon.Add(time.Duration(i)*time.Second))
	}
	fmt.Println(w.CountString("login", noon.Add(299*time.Second)))
	fmt.Println(w.CountString("login", noon.Add(time.Hour)))
	// Output:
	// 65
	// 0
}
