package replica

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// sink is a machine that keeps nothing.
type sink struct{ journal }

func (*sink) Apply(batch []Command, answers []any) {}
func (*sink) Digest() uint64                       { return 0 }

// benchCluster starts three nodes on loopback TCP and returns the leader.
func benchCluster(b *testing.B, o Options) *Node {
	b.Helper()
	var lns []net.Listener
	var members []Member
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		lns = append(lns, ln)
		members = append(members, Member{ID: fmt.Sprint("n", i), Address: ln.Addr().String()})
	}
	var nodes []*Node
	for i, m := range members {
		o := o
		o.ID, o.Listener, o.Bootstrap = m.ID, lns[i], members
		dir := ""
		if !o.InMemory {
			dir = filepath.Join(b.TempDir(), m.ID)
		}
		n, err := Open(dir, &sink{}, &o)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { n.Close() })
		nodes = append(nodes, n)
	}
	for {
		for _, n := range nodes {
			if _, err := n.Confirm(context.Background()); err == nil {
				return n
			}
		}
	}
}

func applyMany(b *testing.B, l *Node, n, appliers int) {
	ctx := context.Background()
	data := make([]byte, 256)
	var wg sync.WaitGroup
	for g := range appliers {
		wg.Go(func() {
			for i := g; i < n; i += appliers {
				if _, err := l.Apply(ctx, data); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkApply is one command of 256 bytes, answered by a cluster of three nodes
// with a flushed log each: on the own log, on it without parallel flushes, on
// bbolt, and without disks.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"wal", Options{}},
		{"wal-serial", Options{SerialSync: true}},
		{"bolt", Options{Store: StoreBolt}},
		{"memory", Options{InMemory: true}},
	} {
		for _, appliers := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("store=%s/appliers=%d", c.name, appliers), func(b *testing.B) {
				l := benchCluster(b, c.o)
				applyMany(b, l, 200, appliers)
				before := l.Stats()
				b.ReportAllocs()
				b.ResetTimer()
				applyMany(b, l, b.N, appliers)
				b.StopTimer()
				s := l.Stats()
				b.ReportMetric(float64(s.Commands-before.Commands)/float64(max(1, s.Batches-before.Batches)), "commands/entry")
			})
		}
	}
}

// BenchmarkConfirm is one proof of leadership, which no disk takes part in.
func BenchmarkConfirm(b *testing.B) {
	for _, askers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("askers=%d", askers), func(b *testing.B) {
			l := benchCluster(b, Options{})
			ctx := context.Background()
			before := l.Stats().ConfirmRounds
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range askers {
				wg.Go(func() {
					for i := g; i < b.N; i += askers {
						if _, err := l.Confirm(ctx); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(l.Stats().ConfirmRounds-before)/float64(b.N), "rounds/op")
		})
	}
}
