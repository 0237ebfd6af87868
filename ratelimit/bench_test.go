package ratelimit

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkAllow asks for one of so many keys, from as many goroutines as there are
// processors.
func BenchmarkAllow(b *testing.B) {
	for _, n := range []int{1, 1000, 1_000_000} {
		for _, c := range []struct {
			name string
			p    Policy
		}{
			{"gcra", GCRA{Rate: Per(1_000_000_000, time.Second)}},
			{"counter", SlidingCounter{Rate: Per(1_000_000_000, time.Second)}},
		} {
			b.Run(fmt.Sprintf("%s/keys=%d", c.name, n), func(b *testing.B) {
				l, err := New(c.p, nil)
				if err != nil {
					b.Fatal(err)
				}
				keys := make([]string, n)
				for i := range keys {
					keys[i] = fmt.Sprintf("user-%07d", i)
					l.Allow(keys[i])
				}
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := 1; pb.Next(); i += 7919 {
						l.Allow(keys[i%n])
					}
				})
			})
		}
	}
}

// BenchmarkRefuse asks for a key that is at its limit.
func BenchmarkRefuse(b *testing.B) {
	l, err := New(GCRA{Rate: Per(1, time.Hour)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	l.Allow("k")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if l.Allow("k") {
				b.Error("passes")
			}
		}
	})
}
