package flow

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// An Aggregate says how the values of a window become one. The zero A is that of
// no values.
type Aggregate[V, A any] struct {
	// Add returns acc with one more event. It may change acc and return it.
	Add func(acc A, e *Event[V]) A
	// Merge returns the aggregate of both, b's events being the later ones. It
	// must change neither: they may be merged again with others.
	Merge func(a, b A) A
	// Append encodes an aggregate for checkpoints, and Decode undoes it. Nil:
	// encoding/json.
	Append func(dst []byte, acc A) []byte
	Decode func(b []byte) (A, error)
}

func (g *Aggregate[V, A]) check() error {
	if g.Add == nil || g.Merge == nil || (g.Append == nil) != (g.Decode == nil) {
		return fmt.Errorf("%w: an Aggregate needs Add and Merge, and both or none of Append and Decode", ErrInvalid)
	}
	if g.Append == nil {
		g.Append = func(dst []byte, acc A) []byte {
			b, err := json.Marshal(acc)
			if err != nil {
				panic(fmt.Sprintf("flow: an aggregate that JSON cannot encode: %v", err))
			}
			return append(dst, b...)
		}
		g.Decode = func(b []byte) (acc A, err error) {
			return acc, json.Unmarshal(b, &acc)
		}
	}
	return nil
}

// Stats is the aggregate of numbers.
type Stats struct {
	Count    int64
	Sum      float64
	Min, Max float64 // 0 if Count is 0
}

// Mean returns the average, and 0 of nothing.
func (s Stats) Mean() float64 {
	if s.Count == 0 {
		return 0
	}
	return s.Sum / float64(s.Count)
}

// Numbers aggregates floating-point numbers. Their sum depends on the order of
// events in its last bits.
func Numbers() Aggregate[float64, Stats] {
	return Aggregate[float64, Stats]{
		Add: func(s Stats, e *Event[float64]) Stats {
			v := e.Value
			if s.Count == 0 {
				return Stats{1, v, v, v}
			}
			s.Count++
			s.Sum += v
			s.Min, s.Max = min(s.Min, v), max(s.Max, v)
			return s
		},
		Merge: func(a, b Stats) Stats {
			switch {
			case a.Count == 0:
				return b
			case b.Count == 0:
				return a
			}
			return Stats{a.Count + b.Count, a.Sum + b.Sum, min(a.Min, b.Min), max(a.Max, b.Max)}
		},
		Append: func(dst []byte, s Stats) []byte {
			dst = binary.AppendVarint(dst, s.Count)
			for _, v := range []float64{s.Sum, s.Min, s.Max} {
				dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
			}
			return dst
		},
		Decode: func(b []byte) (s Stats, err error) {
			n, k := binary.Varint(b)
			if k <= 0 || len(b) != k+24 {
				return s, fmt.Errorf("%w: Stats of %d bytes", ErrCorrupt, len(b))
			}
			f := func(i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b[k+8*i:])) }
			return Stats{n, f(0), f(1), f(2)}, nil
		},
	}
}

// Count counts events of any kind.
func Count[V any]() Aggregate[V, int64] {
	return Aggregate[V, int64]{
		Add:    func(n int64, _ *Event[V]) int64 { return n + 1 },
		Merge:  func(a, b int64) int64 { return a + b },
		Append: binary.AppendVarint,
		Decode: func(b []byte) (int64, error) {
			n, k := binary.Varint(b)
			if k <= 0 || k != len(b) {
				return 0, fmt.Errorf("%w: count of %d bytes", ErrCorrupt, len(b))
			}
			return n, nil
		},
	}
}
