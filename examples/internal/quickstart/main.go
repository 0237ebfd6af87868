// Quickstart is the program of the README: one lock server, two clients, and the
// guard that makes the lock safe.
package main

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

func main() {
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "quickstart"))
	defer os.RemoveAll(dir)

	// A cluster of one server. In production there are three, each a lockd.
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	addr := listener.Addr().String()
	server := must(node.Open(dir, &node.Options{
		ID: "a", Listener: listener, Bootstrap: []replica.Member{{ID: "a", Address: addr}},
	}))
	defer server.Close()
	ann := must(lock.Dial(ctx, []string{addr}, nil))
	defer ann.Close()
	bob := must(lock.Dial(ctx, []string{addr}, nil))
	defer bob.Close()

	// The guard lives with the data, here a string.
	guard := must(lock.NewGuard(nil))
	invoice := "draft"
	write := func(l *lock.Lock, text string) error {
		return guard.Do(ctx, "invoice", l.Token(), func() error { invoice = text; return nil })
	}

	annHas := must(ann.Lock(ctx, "invoice"))
	_, err := bob.TryLock(ctx, "invoice")
	fmt.Println("Bob must wait:", errors.Is(err, lock.ErrHeld))
	fmt.Println("Ann writes:", write(annHas, "by Ann"))

	annHas.Unlock(ctx) // as if her lease had ended while she was paused
	bobHas := must(bob.Lock(ctx, "invoice"))
	fmt.Println("Bob's token is higher:", bobHas.Token() > annHas.Token())
	fmt.Println("Bob writes:", write(bobHas, "by Bob"))

	err = write(annHas, "by Ann, too late")
	fmt.Println("Ann is refused:", errors.Is(err, lock.ErrStale))
	fmt.Println("The invoice is", invoice)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
