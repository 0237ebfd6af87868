package idem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"
)

// FuzzRecord: bytes are refused, or are the only encoding of a record.
func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, Record{Key: "k", State: Completed, Token: 3, Hash: []byte("hash"), Result: []byte("r"), Began: time.Unix(1, 2), Expires: time.Unix(3, 4)}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(b) - 4; n >= 0 {
			b = binary.LittleEndian.AppendUint32(bytes.Clone(b[:n]), checksum("k", b[:n]))
		}
		rec, err := parseRecord("k", b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if again := appendRecord(nil, rec); !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x", b, again)
		}
	})
}

// Records are forgotten in the order of time, before and after 1970 too.
func TestDueKeys(t *testing.T) {
	times := []time.Time{time.Unix(0, math.MinInt64), time.Unix(-5, 0), time.Unix(0, 0), time.Unix(0, 1), time.Unix(5, 0), time.Unix(0, math.MaxInt64)}
	for i := range times[1:] {
		if bytes.Compare(dueKey(times[i], "b"), dueKey(times[i+1], "a")) >= 0 {
			t.Errorf("%v is not before %v", times[i], times[i+1])
		}
	}
	if nanos(time.Unix(1<<60, 0)) != math.MaxInt64 || nanos(time.Unix(-1<<60, 0)) != math.MinInt64 || nanos(time.Time{}) != 0 {
		t.Error("times that nanoseconds do not reach")
	}
}

// Every prefix of a record, every flipped bit and every other key is refused.
func TestRecordDamage(t *testing.T) {
	b := appendRecord(nil, Record{Key: "k", State: Failed, Token: 1, Hash: []byte("hash"), Result: []byte("result")})
	if _, err := parseRecord("k", b); err != nil {
		t.Fatal(err)
	}
	if _, err := parseRecord("l", b); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("under another key: %v", err)
	}
	for n := range b {
		if rec, err := parseRecord("k", b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("a prefix of %d: %+v, %v", n, rec, err)
		}
	}
	for i := range 8 * len(b) {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		if rec, err := parseRecord("k", c); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("flipped bit %d: %+v, %v", i, rec, err)
		}
	}
	if State(9).String() != "state 9" || Released.String() != "released" {
		t.Error("names of states")
	}
}
