package blob_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ashlar-go/ashlar/blob"
)

// A directory of photos: put, list by prefix, read a range.
func ExampleOpenDir() {
	dir, err := os.MkdirTemp("", "blob")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := blob.OpenDir(dir, nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()

	ctx := context.Background()
	for _, key := range []string{"photos/2026/sea.jpg", "photos/2025/snow.jpg", "notes.txt"} {
		if _, err := blob.PutBytes(ctx, store, key, []byte("content of "+key)); err != nil {
			panic(err)
		}
	}
	for info, err := range store.List(ctx, "photos/", "") {
		fmt.Println(info.Key, info.Size, err)
	}
	obj, err := store.GetRange(ctx, "notes.txt", 11, 5)
	if err != nil {
		panic(err)
	}
	defer obj.Close()
	part, err := io.ReadAll(obj)
	fmt.Printf("%q of %d bytes, %v\n", part, obj.Size, err)
	// Output:
	// photos/2025/snow.jpg 31 <nil>
	// photos/2026/sea.jpg 30 <nil>
	// "notes" of 20 bytes, <nil>
}

// Two editors read the same version; the slower one is told and starts again.
func ExampleStore_putIf() {
	ctx := context.Background()
	var store blob.Store = blob.NewMem()
	read, _ := blob.PutBytes(ctx, store, "plan", []byte("v1"))

	_, err := blob.PutBytesIf(ctx, store, "plan", []byte("v1, edited by Ann"), read.Version)
	fmt.Println("Ann:", err)
	_, err = blob.PutBytesIf(ctx, store, "plan", []byte("v1, edited by Bob"), read.Version)
	fmt.Println("Bob is too late:", err != nil)
	data, _, _ := blob.GetBytes(ctx, store, "plan", 1024)
	fmt.Printf("%s\n", data)
	// Output:
	// Ann: <nil>
	// Bob is too late: true
	// v1, edited by Ann
}

// Update does the reading again and again until nobody was faster.
func ExampleUpdate() {
	ctx := context.Background()
	store := blob.NewMem()
	for _, name := range []string{"ann", "bob"} {
		_, err := blob.Update(ctx, store, "guests", 1<<20, func(old []byte) ([]byte, error) {
			return append(old, name+"\n"...), nil
		})
		if err != nil {
			panic(err)
		}
	}
	data, _, _ := blob.GetBytes(ctx, store, "guests", 1<<20)
	fmt.Print(string(data))
	// Output:
	// ann
	// bob
}
