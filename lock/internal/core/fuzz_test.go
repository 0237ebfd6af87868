package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// FuzzCommand decodes anything: an error, or a command whose encoding it is.
func FuzzCommand(f *testing.F) {
	for _, c := range []Command{
		{Op: OpOpen, TTL: MinTTL, Value: []byte("me")},
		{Op: OpClose},
		{Op: OpExpire, Epoch: 3, Term: 1 << 40},
		{Op: OpEnqueue, Req: 300, Key: "k", Kind: Permit, Weight: 1, Limit: 9, Try: true, MaxWaiters: 5, At: -1},
		{Op: OpCancel, Req: 1, Key: "k"},
		{Op: OpRelease, Req: 1, Key: "k", Token: 1 << 63},
	} {
		f.Add(c.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if got := c.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, c, got)
		}
		New().Apply(1, 1, &c, new([]Event))
	})
}

func sample() []byte {
	s, m := New(), newModel()
	rng := rand.New(rand.NewPCG(3, 3))
	reqs := map[SessionID]uint64{}
	var events []Event
	for i := range uint64(300) {
		c := randomCommand(rng, m, reqs, 1)
		m.apply(i+1, 1, &c)
		s.Apply(i+1, 1, &c, &events)
	}
	return encode(s.Snapshot())
}

// FuzzRestore restores anything: an error, or a state whose snapshot it is. The
// checksum is mended first, so that the fuzzer gets past it.
func FuzzRestore(f *testing.F) {
	f.Add(sample())
	f.Add(encode(New().Snapshot()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			n := len(b) - 4
			b = binary.LittleEndian.AppendUint32(bytes.Clone(b[:n]), crc32.Checksum(b[:n], castagnoli))
		}
		s := New()
		if err := s.Restore(bytes.NewReader(b)); err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if got := encode(s.Snapshot()); !bytes.Equal(got, b) {
			t.Fatalf("restored %x, snapshot %x", b, got)
		}
	})
}

// Every flipped bit of a snapshot is found, and the state stays as it was.
func TestRestoreDamage(t *testing.T) {
	b := sample()
	s := New()
	if err := s.Restore(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	digest := s.Digest()
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if err := s.Restore(bytes.NewReader(b)); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range len(b) {
		if err := s.Restore(bytes.NewReader(b[:n])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if err := s.Restore(bytes.NewReader(append(bytes.Clone(b), 0))); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a byte too many: %v", err)
	}
	if s.Digest() != digest {
		t.Error("a refused snapshot changed the state")
	}
}

// A header that announces a million sessions costs nothing.
func TestRestoreAllocates(t *testing.T) {
	b := append([]byte(snapshotMagic), make([]byte, 24)...)
	b = binary.LittleEndian.AppendUint32(b, MaxSessions)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := New().Restore(bytes.NewReader(b)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated for a snapshot of %d", n, len(b))
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		c    Command
		want string
	}{
		{Command{}, "unknown operation"},
		{Command{Op: OpOpen, TTL: MinTTL - 1}, "ttl"},
		{Command{Op: OpOpen, TTL: MaxTTL + 1}, "ttl"},
		{Command{Op: OpOpen, TTL: MinTTL, Value: bytes.Repeat([]byte{'x'}, MaxLabel+1)}, "label"},
		{Command{Op: OpOpen, TTL: MinTTL, Value: []byte{0xff}}, "label"},
		{Command{Op: OpEnqueue, Req: 1}, "key"},
		{Command{Op: OpEnqueue, Req: 1, Key: strings.Repeat("x", MaxKey+1)}, "key"},
		{Command{Op: OpEnqueue, Req: 1, Key: "\xff"}, "key"},
		{Command{Op: OpEnqueue, Key: "k"}, "request 0"},
		{Command{Op: OpEnqueue, Req: 1, Key: "k", Kind: 3}, "kind"},
		{Command{Op: OpEnqueue, Req: 1, Key: "k", Kind: Permit}, "weight"},
		{Command{Op: OpEnqueue, Req: 1, Key: "k", Kind: Permit, Weight: 3, Limit: 2}, "weight"},
		{Command{Op: OpEnqueue, Req: 1, Key: "k", Weight: 1}, "permits"},
		{Command{Op: OpEnqueue, Req: 1, Key: "k", Value: make([]byte, MaxValue+1)}, "value"},
	} {
		if err := c.c.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.c, err, c.want)
		}
	}
	if _, err := ParseSessionID("xyz"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}
