package ratelimit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
	"time"
)

func snapshot(t testing.TB, l *Limiter) []byte {
	t.Helper()
	b, err := l.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// filled has a few keys in all kinds of states.
func filled(t testing.TB, p Policy) (*Limiter, *clock) {
	l, clk := limiter(t, p, nil)
	rng := newRand(3)
	for range 200 {
		l.AllowN(fmt.Sprint(rng.IntN(15)), 1+rng.IntN(2))
		clk.pass(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
	}
	return l, clk
}

// A restored limiter decides as the one that was saved, also after a while.
func TestSnapshot(t *testing.T) {
	policies := map[string]Policy{"counter": SlidingCounter{Rate: Per(20, time.Second)}, "smooth": SlidingCounter{Rate: Per(20, time.Second), Interpolate: true}}
	for name, c := range cases() {
		policies[name] = c.policy
	}
	for name, p := range policies {
		for _, pause := range []time.Duration{0, 30 * time.Millisecond, 700 * time.Millisecond, time.Hour} {
			l, clk := filled(t, p)
			b := snapshot(t, l)
			clk.pass(pause)
			r, err := Restore(b, p, &Options{Now: clk.now})
			if err != nil {
				t.Fatal(name, err)
			}
			rng := newRand(4)
			for step := range 300 {
				key := fmt.Sprint(rng.IntN(20))
				a, b := l.AllowN(key, 1), r.AllowN(key, 1)
				if a != b {
					t.Fatalf("%s after %v, step %d: %+v, then %+v", name, pause, step, a, b)
				}
				clk.pass(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
			}
		}
	}
	l, _ := filled(t, GCRA{Per(10, time.Second), 5})
	for _, p := range []Policy{GCRA{Per(10, time.Second), 6}, GCRA{Per(11, time.Second), 5}, FixedWindow{Per(10, time.Second)}, SlidingLog{Per(10, time.Second)}} {
		if _, err := Restore(snapshot(t, l), p, nil); !errors.Is(err, ErrIncompatible) {
			t.Errorf("as %+v: %v", p, err)
		}
	}
	if _, err := Restore(snapshot(t, l), GCRA{}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("as nothing: %v", err)
	}
}

func TestSnapshotDamage(t *testing.T) {
	for name, p := range map[string]Policy{"gcra": GCRA{Per(10, time.Second), 5}, "log": SlidingLog{Per(3, time.Second)}} {
		l, clk := filled(t, p)
		b := snapshot(t, l)
		opts := &Options{Now: clk.now}
		for n := range b {
			if _, err := Restore(b[:n], p, opts); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: a prefix of %d of %d: %v", name, n, len(b), err)
			}
		}
		for i := range 8 * len(b) {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			if _, err := Restore(c, p, opts); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%s: flipped bit %d: %v", name, i, err)
			}
		}
	}
}

// FuzzRestore: bytes are refused, or make a limiter that works.
func FuzzRestore(f *testing.F) {
	policies := []Policy{GCRA{Per(10, time.Second), 5}, FixedWindow{Per(10, time.Second)}, SlidingLog{Per(3, time.Second)}, SlidingCounter{Rate: Per(5, time.Second)}}
	for i, p := range policies {
		l, _ := filled(f, p)
		b := snapshot(f, l)
		f.Add(b[:len(b)-4], uint8(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		p := policies[int(which)%len(policies)]
		b = binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
		clk := &clock{}
		l, err := Restore(b, p, &Options{Now: clk.now})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrIncompatible) {
				t.Fatal(err)
			}
			return
		}
		for i := range 20 {
			d := l.AllowN(fmt.Sprint(i), 1)
			if d.Remaining < 0 || d.RetryAfter < 0 || d.ResetAfter < 0 {
				t.Fatalf("%+v", d)
			}
			clk.pass(time.Second)
		}
		// The keys themselves too, under their hashes.
		l.store.each(l.now(), func(h uint64, word int64, mem []uint32) {
			if _, d := l.rule.take(word, mem, l.now(), 1); d.Remaining < 0 || d.RetryAfter < 0 || d.ResetAfter < 0 {
				t.Fatalf("%x: %+v", h, d)
			}
		})
	})
}
