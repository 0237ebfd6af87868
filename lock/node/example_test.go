package node_test

import (
	"context"
	"fmt"
	"os"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// A program can be its own lock server. This one is a cluster of one; three of
// them, each with the same three members in Bootstrap, survive the loss of one.
func Example() {
	dir, err := os.MkdirTemp("", "lock")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	n, err := node.Open(dir, &node.Options{
		ID: "a", Listen: "127.0.0.1:7001",
		Bootstrap: []replica.Member{{ID: "a", Address: "127.0.0.1:7001"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Close()

	ctx := context.Background()
	c, err := lock.Dial(ctx, []string{n.Address()}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	l, err := c.Lock(ctx, "invoices/42")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(l.Key(), "is held:", n.Stats().Requests)
	fmt.Println(l.Unlock(ctx))
	// Output:
	// invoices/42 is held: 1
	// <nil>
}
