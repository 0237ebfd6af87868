package lock_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// server starts one lock server of this program; in production there are three,
// each a lockd of its own.
func server() (address string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "lock")
	if err != nil {
		return "", nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	n, err := node.Open(dir, &node.Options{
		ID: "a", Listener: ln, Bootstrap: []replica.Member{{ID: "a", Address: ln.Addr().String()}},
	})
	if err != nil {
		return "", nil, err
	}
	return n.Address(), func() { n.Close(); os.RemoveAll(dir) }, nil
}

// Two clients of the same lock. The second has to wait, and gets a higher token.
func ExampleClient() {
	address, stop, err := server()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	ctx := context.Background()
	ann, err := lock.Dial(ctx, []string{address}, &lock.Options{Label: "ann"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ann.Close()
	bob, err := lock.Dial(ctx, []string{address}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bob.Close()

	l, err := ann.Lock(ctx, "invoices/42")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = bob.TryLock(ctx, "invoices/42")
	var held *lock.HeldError
	fmt.Println("bob may have it:", err == nil)
	fmt.Println("because of", errors.As(err, &held) && held.Holder == "ann")

	l.UnlockAsync()
	l2, err := bob.Lock(ctx, "invoices/42") // waits for its turn
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("bob's token is higher:", l2.Token() > l.Token())
	fmt.Println("bob unlocks:", l2.Unlock(ctx))
	// Output:
	// bob may have it: false
	// because of true
	// bob's token is higher: true
	// bob unlocks: <nil>
}

// At most five at a time, whatever the number of processes.
func ExampleClient_Acquire() {
	address, stop, err := server()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	ctx := context.Background()
	c, err := lock.Dial(ctx, []string{address}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	permit, err := c.Acquire(ctx, "encoders", 2, 5) // two of five
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := c.Inspect(ctx, "encoders")
	fmt.Println(info.Holders[0].Weight, "of", info.Limit, "taken", err)
	fmt.Println(permit.Unlock(ctx))
	// Output:
	// 2 of 5 taken <nil>
	// <nil>
}
