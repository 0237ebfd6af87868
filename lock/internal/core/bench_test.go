package core

import (
	"fmt"
	"io"
	"testing"
	"time"
)

// waiters returns a state with n sessions that all ask for one key.
func waiters(n int) *State {
	s := New()
	var events []Event
	for i := range n {
		id := SessionID{byte(i), byte(i >> 8), byte(i >> 16)}
		s.Apply(1, 1, &Command{Op: OpOpen, Session: id, TTL: time.Second}, &events)
		s.Apply(1, 1, &Command{Op: OpEnqueue, Session: id, Req: 1, Key: "k", MaxWaiters: 1 << 24}, &events)
	}
	return s
}

// A hand-over costs the same whatever the length of the queue.
func BenchmarkHandover(b *testing.B) {
	for _, n := range []int{32, 1000, 100_000} {
		b.Run(fmt.Sprintf("waiters=%d", n), func(b *testing.B) {
			s := waiters(n)
			req := make([]uint64, n)
			index := uint64(1)
			holder := 0
			var events []Event
			b.ReportAllocs()
			for b.Loop() {
				id := SessionID{byte(holder), byte(holder >> 8), byte(holder >> 16)}
				index++
				events = events[:0]
				s.Apply(index, 1, &Command{Op: OpRelease, Session: id, Req: req[holder] + 1, Key: "k", Token: s.token}, &events)
				req[holder]++
				s.Apply(index, 1, &Command{Op: OpEnqueue, Session: id, Req: req[holder] + 1, Key: "k", MaxWaiters: 1 << 24}, &events)
				holder = (holder + 1) % n
			}
		})
	}
}

// Taking a snapshot stops the state for the time of a small copy.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		s := waiters(n)
		b.Run(fmt.Sprintf("take/requests=%d", n), func(b *testing.B) {
			for b.Loop() {
				s.Snapshot().Release()
			}
		})
		b.Run(fmt.Sprintf("write/requests=%d", n), func(b *testing.B) {
			for b.Loop() {
				p := s.Snapshot()
				size, _ := p.WriteTo(io.Discard)
				b.SetBytes(size)
				p.Release()
			}
		})
	}
}
