package ring

import (
	"fmt"
	"testing"
)

func sized(b *testing.B, nodes int) (*Ring, []string) {
	r := newRing(b, 256)
	r.mu.Lock()
	var ns []node
	for i := range nodes {
		ns = append(ns, node{fmt.Sprintf("node-%05d", i), HashKey(fmt.Sprintf("node-%05d", i)), 1})
	}
	r.state.Store(build(ns, r.points))
	r.mu.Unlock()
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = fmt.Sprint("user/", i)
	}
	return r, keys
}

var sink string

func BenchmarkOwner(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			r, keys := sized(b, n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				sink, _ = r.Owner(keys[i%len(keys)])
				i++
			}
		})
	}
}

func BenchmarkOwners(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d/n=3", n), func(b *testing.B) {
			r, keys := sized(b, n)
			var dst []string
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				dst = r.AppendOwners(dst[:0], keys[i%len(keys)], 3)
				i++
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			r, _ := sized(b, n)
			for b.Loop() {
				if err := r.Add("new", 1); err != nil {
					b.Fatal(err)
				}
				r.Remove("new")
			}
		})
	}
}

func BenchmarkAssign(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			r, keys := sized(b, n)
			bal, err := NewBalancer(r, 0.25)
			if err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				name, _ := bal.Assign(keys[i%len(keys)])
				bal.Done(name)
				i++
			}
		})
	}
}
