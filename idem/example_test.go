package idem_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"os"

	"github.com/ashlar-go/ashlar/idem"
)

// A payment whose answer is lost and which is sent again.
func Example() {
	dir, err := os.MkdirTemp("", "idem")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := idem.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	pay := func(key, request string) {
		hash := sha256.Sum256([]byte(request))
		result, err := store.Do(context.Background(), key, hash[:],
			func(context.Context, *idem.Attempt) ([]byte, error) {
				fmt.Println("charging:", request)
				return []byte("receipt 1"), nil
			})
		if err != nil {
			fmt.Println("refused:", err)
			return
		}
		fmt.Printf("answer: %s\n", result)
	}
	pay("order-7", "10 EUR")
	pay("order-7", "10 EUR")
	pay("order-7", "99 EUR")
	// Output:
	// charging: 10 EUR
	// answer: receipt 1
	// answer: receipt 1
	// refused: idem: the key was used for another request: "order-7"
}

// The steps that Do takes, for work that is not a function.
func ExampleStore_Begin() {
	ctx := context.Background()
	store, err := idem.New(idem.NewMem(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	a, err := store.Begin(ctx, "mail-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	if since, taken := a.Taken(); taken {
		fmt.Println("somebody died at this, it may have been sent since", since)
	}
	_, err = store.Begin(ctx, "mail-1", nil)
	fmt.Println("a duplicate meanwhile is refused:", err != nil)
	if err := a.Complete(ctx, []byte("sent")); err != nil {
		log.Fatal(err) // ErrStale: another one has taken over
	}
	b, err := store.Begin(ctx, "mail-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	result, done := b.Result()
	fmt.Printf("%s %t\n", result, done)
	// Output:
	// a duplicate meanwhile is refused: true
	// sent true
}
