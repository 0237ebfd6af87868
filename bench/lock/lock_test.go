// Package lock_test compares the lock service with etcd's, each with three
// servers of this process, reached by its own public client over loopback TCP,
// on the same disk, with every commit flushed:
//
//	cd bench/lock && GOWORK=off go test -bench Vs .
//
// An operation is one lock and one unlock, both answered. etcd's clients talk
// to the leader, which is its best case; ours find it.
package lock_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

const ttl = 30 * time.Second // long: no lease ends during a benchmark

var ctx = context.Background()

// ashlar starts three servers and returns n clients and the servers.
func ashlar(b *testing.B, n int, store replica.Store) ([]*lock.Client, []*node.Node) {
	var lns []net.Listener
	var members []replica.Member
	var addresses []string
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		lns = append(lns, ln)
		addresses = append(addresses, ln.Addr().String())
		members = append(members, replica.Member{ID: fmt.Sprint("n", i), Address: ln.Addr().String()})
	}
	var nodes []*node.Node
	dir := b.TempDir()
	for i, m := range members {
		s, err := node.Open(filepath.Join(dir, m.ID), &node.Options{ID: m.ID, Listener: lns[i], Bootstrap: members, Store: store})
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, s)
		b.Cleanup(func() { s.Close() })
	}
	return dial(b, addresses, n), nodes
}

func dial(b *testing.B, addresses []string, n int) []*lock.Client {
	clients := make([]*lock.Client, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c, err := lock.Dial(ctx, addresses, &lock.Options{TTL: ttl})
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
		for _, c := range clients {
			c.Close()
		}
	})
	return clients
}

// etcd starts three servers and returns n sessions, each on a client of its own.
func etcd(b *testing.B, n int) []*concurrency.Session {
	var peers, initial []string
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		peers = append(peers, "http://"+ln.Addr().String())
		initial = append(initial, fmt.Sprintf("n%d=%s", i, peers[i]))
		ln.Close()
	}
	dir := b.TempDir()
	var servers []*embed.Etcd
	for i := range 3 {
		c := embed.NewConfig()
		c.Name, c.Dir = fmt.Sprint("n", i), filepath.Join(dir, fmt.Sprint("n", i))
		c.LogLevel, c.Logger, c.LogOutputs = "panic", "zap", []string{"/dev/null"}
		client, _ := url.Parse("http://127.0.0.1:0")
		peer, _ := url.Parse(peers[i])
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
		c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
		c.InitialCluster = strings.Join(initial, ",")
		e, err := embed.StartEtcd(c)
		if err != nil {
			b.Fatal(err)
		}
		servers = append(servers, e)
		b.Cleanup(e.Close)
	}
	for _, e := range servers {
		<-e.Server.ReadyNotify()
	}
	endpoint := ""
	for _, e := range servers {
		if e.Server.Leader() == e.Server.MemberID() {
			endpoint = e.Clients[0].Addr().String()
		}
	}
	var sessions []*concurrency.Session
	for range n {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
		if err != nil {
			b.Fatal(err)
		}
		s, err := concurrency.NewSession(c, concurrency.WithTTL(int(ttl.Seconds())))
		if err != nil {
			b.Fatal(err)
		}
		sessions = append(sessions, s)
		b.Cleanup(func() { s.Close(); c.Close() })
	}
	return sessions
}

// shared has workers do n operations between them.
func shared(b *testing.B, workers, n int, op func(worker int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := op(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// versusEtcd compares n clients, each on the key that key names.
func versusEtcd(b *testing.B, n int, goal float64, key func(i int) string) {
	ours, nodes := ashlar(b, n, replica.StoreWAL)
	theirs := etcd(b, n)
	mutexes := make([]*concurrency.Mutex, n)
	for i, s := range theirs {
		mutexes[i] = concurrency.NewMutex(s, "/"+key(i)+"/")
	}
	run := func(async bool) func(r *versus.Round) {
		return func(r *versus.Round) {
			shared(b, n, r.N, func(i int) error {
				l, err := ours[i].Lock(ctx, key(i))
				if err != nil {
					return err
				}
				if async {
					l.UnlockAsync()
					return nil
				}
				return l.Unlock(ctx)
			})
		}
	}
	var before node.Stats
	leader := nodes[0]
	for _, s := range nodes {
		if s.Stats().Replica.Leader == s.Replica().ID() {
			leader = s
		}
	}
	before = leader.Stats()
	versus.Run(b, versus.Case{
		Ours: run(false),
		Theirs: func(r *versus.Round) {
			shared(b, n, r.N, func(i int) error {
				if err := mutexes[i].Lock(ctx); err != nil {
					return err
				}
				return mutexes[i].Unlock(ctx)
			})
		},
		Goal: goal,
	})
	after := leader.Stats()
	if grants := after.Grants - before.Grants; grants > 0 {
		b.ReportMetric(float64(after.Notified-before.Notified)/float64(grants), "wakeups/handoff")
	}
}

func one(int) string   { return "one" }
func own(i int) string { return fmt.Sprint("own", i) }

// BenchmarkVs is the comparison.
func BenchmarkVs(b *testing.B) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	b.Run("handoff/etcd", func(b *testing.B) { versusEtcd(b, 32, 4, one) })
	b.Run("ownkeys/etcd", func(b *testing.B) { versusEtcd(b, 32, 6, own) })
	b.Run("single/etcd", func(b *testing.B) { versusEtcd(b, 1, 1.6, one) })
}
