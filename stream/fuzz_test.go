package stream

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

func sample() []Record {
	return []Record{
		{Key: []byte("k"), Value: []byte("v"), Time: time.Unix(1, 2)},
		{Value: []byte{}, Headers: []Header{{"h", []byte("x")}, {"", nil}}},
		{Key: []byte("k")},
		{Time: time.Unix(-1<<40, 0), Value: bytes.Repeat([]byte("x"), 200)},
	}
}

// FuzzBatch: what decodes, encodes to records that decode the same.
func FuzzBatch(f *testing.F) {
	p := &partition{id: 3, topic: &topic{}}
	var b body
	b.encode(p, sample(), baseTime(sample()))
	b.t.next = 4
	b.t.put(b.buf[b.end:])
	f.Add(b.buf[frame.HeaderSize : frame.HeaderSize+b.payload()])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var b Batch
		if err := decodeBatch(&b, payload, 0); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		tr, _ := parseTrailer(payload)
		var enc []byte
		at := tr.first
		for i := range b.Records {
			r := &b.Records[i]
			enc = appendRecord(enc, r, tr.base, r.Offset-at, true)
			at = r.Offset + 1
		}
		tr.flags = flagSparse
		enc = append(enc, make([]byte, trailerSize)...)
		tr.put(enc[len(enc)-trailerSize:])
		var again Batch
		if err := decodeBatch(&again, enc, 0); err != nil {
			t.Fatalf("encoded again: %v", err)
		}
		if len(again.Records) != len(b.Records) {
			t.Fatalf("%d records, then %d", len(b.Records), len(again.Records))
		}
		for i, r := range b.Records {
			s := again.Records[i]
			if r.Offset != s.Offset || !bytes.Equal(r.Key, s.Key) || !bytes.Equal(r.Value, s.Value) || (r.Value == nil) != (s.Value == nil) ||
				!r.Time.Equal(s.Time) || len(r.Headers) != len(s.Headers) {
				t.Fatalf("record %d: %+v, then %+v", i, r, s)
			}
		}
	})
}

// FuzzOps: what decodes, encodes to what decodes the same.
func FuzzOps(f *testing.F) {
	var b []byte
	for _, o := range []op{
		{kind: opNextID, id: 7},
		{kind: opTopic, topic: topicOp{id: 1, name: "t", opts: TopicOptions{Partitions: 3, Retention: time.Hour, Compact: true}}},
		{kind: opBounds, part: 2, first: 3, next: 9},
		{kind: opGroup, group: "g", marks: []mark{{1, Keep, 4}, {2, 8, 0}}},
	} {
		b = o.append(b)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := decodeOps(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		var enc []byte
		for i := range ops {
			enc = ops[i].append(enc)
		}
		again, err := decodeOps(enc)
		if err != nil || len(again) != len(ops) {
			t.Fatalf("%v; %d, then %d", err, len(ops), len(again))
		}
		var enc2 []byte
		for i := range again {
			enc2 = again[i].append(enc2)
		}
		if !bytes.Equal(enc, enc2) {
			t.Fatalf("%x, then %x", enc, enc2)
		}
	})
}

// FuzzIndex: an error, or an index whose encoding is the input.
func FuzzIndex(f *testing.F) {
	h := header{id: 1, num: 2}
	s := newSegment("", h, nil)
	for i := range 5 {
		s.add(&trailer{part: uint32(i % 2), count: 3, first: int64(i) * 10, next: int64(i)*10 + 3}, int64(headerSize+i*stretch), 100)
	}
	good := s.encodeIndex(1 << 20)
	f.Add(good[:len(good)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		b = appendSum(b)
		size, parts, err := decodeIndex(b, h)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		s := newSegment("", h, nil)
		s.parts = parts
		enc := s.encodeIndex(size)
		size2, parts2, err := decodeIndex(enc, h)
		if err != nil || size2 != size || len(parts2) != len(parts) {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

func appendSum(b []byte) []byte {
	s := frame.Checksum(b)
	return append(b[:len(b):len(b)], byte(s), byte(s>>8), byte(s>>16), byte(s>>24))
}

// FuzzSegment opens a directory whose first segment holds any bytes.
func FuzzSegment(f *testing.F) {
	sim := vfs.NewSim()
	l, err := openLocal(sim, "log", &Options{CleanEvery: -1})
	if err != nil {
		f.Fatal(err)
	}
	if err := l.CreateTopic(ctx, "t", nil); err != nil {
		f.Fatal(err)
	}
	if _, err := l.Append(ctx, Partition{Topic: "t"}, sample()); err != nil {
		f.Fatal(err)
	}
	l.Close()
	format, err := vfs.ReadFile(sim, "log/FORMAT", 1000)
	if err != nil {
		f.Fatal(err)
	}
	seg, err := vfs.ReadFile(sim, "log/"+segmentName(1, 0), 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seg)
	f.Add(seg[:600])
	f.Add(append(bytes.Clone(seg[:560]), seg[600:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		sim := vfs.NewSim()
		for name, data := range map[string][]byte{"FORMAT": format, segmentName(1, 0): b} {
			if err := sim.MkdirAll("log"); err != nil {
				t.Fatal(err)
			}
			if err := vfs.WriteFile(sim, "log/"+name, data); err != nil {
				t.Fatal(err)
			}
		}
		l, err := openLocal(sim, "log", &Options{CleanEvery: -1})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		defer l.Close()
		for _, name := range l.Topics() {
			o, err := l.Topic(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			for n := range o.Partitions {
				values(t, l, Partition{name, n})
			}
		}
		if err := l.CreateTopic(ctx, "another", nil); err != nil {
			t.Fatal(err)
		}
		add(t, l, Partition{Topic: "another"}, "x")
	})
}
