package node_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
)

// The time from one client's Unlock to the next one's grant, on one server in
// memory: what the service itself costs, without disk and network of a
// majority, and that it does not grow with the queue.
func BenchmarkHandover(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("waiters=%d", n), func(b *testing.B) {
			c := newCluster(b, 1, node.Options{InMemory: true})
			ctx := deadline(b)
			var clients []*lock.Client
			for range n {
				clients = append(clients, c.dial(&lock.Options{TTL: time.Minute}))
			}
			gate, err := clients[0].Lock(ctx, "k")
			require.NoError(b, err)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for _, cl := range clients[1:] {
				wg.Go(func() {
					for left.Load() > 0 {
						l, err := cl.Lock(ctx, "k")
						if err != nil {
							b.Error(err)
							return
						}
						left.Add(-1)
						if err := l.Unlock(ctx); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			eventually(b, "all wait", func() bool {
				i, err := clients[0].Inspect(ctx, "k")
				return err == nil && i.Waiting == n-1
			})
			b.ResetTimer()
			require.NoError(b, gate.Unlock(ctx))
			wg.Wait()
		})
	}
}
