// Package ring_test compares package ring with the consistent hashing libraries
// that Go programs use most, on the same nodes and keys:
//
//	cd bench/ring && GOWORK=off go test -bench Vs .
package ring_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
	"github.com/serialx/hashring"
	stathat "stathat.com/c/consistent"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/ring"
)

const nodes = 100

var keys = func() (ks []string) {
	for i := range 1 << 16 {
		ks = append(ks, fmt.Sprint("user/", i))
	}
	return ks
}()

func name(i int) string { return fmt.Sprintf("node-%03d", i) }

func ours(b *testing.B) *ring.Ring {
	r, err := ring.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range nodes {
		if err := r.Add(name(i), 1); err != nil {
			b.Fatal(err)
		}
	}
	return r
}

// spread returns the relative standard deviation of the nodes' shares of the
// keys, in per cent.
func spread(owner func(key string) string) float64 {
	count := map[string]int{}
	for _, k := range keys {
		count[owner(k)]++
	}
	mean, sum := float64(len(keys))/nodes, 0.0
	for i := range nodes {
		d := float64(count[name(i)]) - mean
		sum += d * d
	}
	return 100 * math.Sqrt(sum/nodes) / mean
}

// moved returns the share of keys that change hands when a node joins, as a
// multiple of the least possible.
func moved(before, after func(key string) string) float64 {
	n := 0
	for _, k := range keys {
		if before(k) != after(k) {
			n++
		}
	}
	return float64(n) / float64(len(keys)) * (nodes + 1)
}

var sink string

func compare(b *testing.B, peer func(key string) string, joined func() func(key string) string) {
	r := ours(b)
	own := func(key string) string { o, _ := r.Owner(key); return o }
	more := r.Clone()
	if err := more.Add(name(nodes), 1); err != nil {
		b.Fatal(err)
	}
	ownMore := func(key string) string { o, _ := more.Owner(key); return o }
	side := func(owner func(string) string, spread, moved float64) func(*versus.Round) {
		return func(round *versus.Round) {
			for i := range round.N {
				sink = owner(keys[i%len(keys)])
			}
			round.Metric(spread, "spread-of-shares-%")
			round.Metric(moved, "moved/least")
		}
	}
	versus.Run(b, versus.Case{
		Ours:   side(own, spread(own), moved(own, ownMore)),
		Theirs: side(peer, spread(peer), moved(peer, joined())),
		Allocs: true,
	})
}

type member string

func (m member) String() string { return string(m) }

type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// BenchmarkVs asks for the owner of a key among 100 nodes, and beside it how
// even the shares are and how much moves when another node joins.
func BenchmarkVs(b *testing.B) {
	b.Run("owner/stathat", func(b *testing.B) {
		make := func(n int) func(string) string {
			c := stathat.New()
			for i := range n {
				c.Add(name(i))
			}
			return func(key string) string { o, _ := c.Get(key); return o }
		}
		compare(b, make(nodes), func() func(string) string { return make(nodes + 1) })
	})
	b.Run("owner/hashring", func(b *testing.B) {
		make := func(n int) func(string) string {
			var ns []string
			for i := range n {
				ns = append(ns, name(i))
			}
			c := hashring.New(ns)
			return func(key string) string { o, _ := c.GetNode(key); return o }
		}
		compare(b, make(nodes), func() func(string) string { return make(nodes + 1) })
	})
	b.Run("owner/buraksezer", func(b *testing.B) {
		make := func(n int) func(string) string {
			var ms []consistent.Member
			for i := range n {
				ms = append(ms, member(name(i)))
			}
			c := consistent.New(ms, consistent.Config{PartitionCount: 7919, ReplicationFactor: 40, Load: 1.25, Hasher: hasher{}})
			return func(key string) string { return c.LocateKey([]byte(key)).String() }
		}
		compare(b, make(nodes), func() func(string) string { return make(nodes + 1) })
	})
}
