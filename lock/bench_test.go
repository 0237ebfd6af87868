package lock_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// startServers starts three servers of this process on loopback TCP, with every
// commit flushed to the disk.
func startServers(b *testing.B) (nodes []*node.Node, addresses []string) {
	var lns []net.Listener
	var members []replica.Member
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		lns = append(lns, ln)
		addresses = append(addresses, ln.Addr().String())
		members = append(members, replica.Member{ID: fmt.Sprint("n", i), Address: ln.Addr().String()})
	}
	dir := b.TempDir()
	for i, m := range members {
		n, err := node.Open(filepath.Join(dir, m.ID), &node.Options{ID: m.ID, Listener: lns[i], Bootstrap: members})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { n.Close() })
		nodes = append(nodes, n)
	}
	return nodes, addresses
}

func dialMany(b *testing.B, addresses []string, n int) []*lock.Client {
	clients := make([]*lock.Client, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c, err := lock.Dial(context.Background(), addresses, &lock.Options{TTL: time.Minute})
			if err != nil {
				b.Error(err)
				return
			}
			clients[i] = c
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	b.Cleanup(func() {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() { c.Close() })
		}
		wg.Wait()
	})
	return clients
}

// shared has workers do b.N operations between them.
func shared(b *testing.B, workers int, op func(worker int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range workers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := op(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

// An operation is a lock and an unlock, both answered after a majority of three
// servers has flushed them.
func BenchmarkLock(b *testing.B) {
	ctx := context.Background()
	for _, mode := range []string{"ownkeys", "onekey"} {
		for _, n := range []int{1, 32, 320} {
			b.Run(fmt.Sprintf("keys=%s/clients=%d", mode, n), func(b *testing.B) {
				_, addresses := startServers(b)
				clients := dialMany(b, addresses, n)
				shared(b, n, func(i int) error {
					key := "k"
					if mode == "ownkeys" {
						key = fmt.Sprint("k", i)
					}
					l, err := clients[i].Lock(ctx, key)
					if err != nil {
						return err
					}
					return l.Unlock(ctx)
				})
			})
		}
	}
}

// The same without waiting for the answer to the unlock.
func BenchmarkUnlockAsync(b *testing.B) {
	ctx := context.Background()
	for _, n := range []int{1, 32, 320} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			_, addresses := startServers(b)
			clients := dialMany(b, addresses, n)
			shared(b, n, func(i int) error {
				l, err := clients[i].Lock(ctx, fmt.Sprint("k", i))
				if err != nil {
					return err
				}
				l.UnlockAsync()
				return nil
			})
		})
	}
}
