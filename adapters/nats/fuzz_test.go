package nats

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// golden is an envelope as version 1 has it.
const golden = "01" + "03" +
	"02" + "acd4acf30e" + "c0d5d53a" + "016b" + "0176" + "00" + // k = v at a time
	"01" + "00" + "00" + // a tombstone without a key
	"00" + "00" + "00" + "02" + "01610131" + "0000" + // empty, with two headers
	"c762c466"

func goldenRecords() []stream.Record {
	return []stream.Record{
		{Offset: 10, Key: []byte("k"), Value: []byte("v"), Time: time.Unix(2_000_000_278, 123_038_400).UTC()},
		{Offset: 11},
		{Offset: 12, Value: []byte{}, Headers: []stream.Header{{Key: "a", Value: []byte("1")}, {Key: "", Value: []byte{}}}},
	}
}

// TestEnvelope: the format never changes.
func TestEnvelope(t *testing.T) {
	in := goldenRecords()
	b := endEnvelope(encodeRecords(beginEnvelope(len(in)), in))
	if hex.EncodeToString(b) != golden {
		t.Errorf("an envelope is\n%x, want\n%s", b, golden)
	}
	for skip := range len(in) + 2 {
		out, err := decodeEnvelope(nil, b, 10, skip)
		if want := in[min(skip, len(in)):]; err != nil || len(out) != len(want) || len(want) > 0 && !reflect.DeepEqual(out, want) {
			t.Errorf("decoding from %d on = %+v, %v", skip, out, err)
		}
	}
	// Every bit counts.
	for i := range len(b) * 8 {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if out, err := decodeEnvelope(nil, bad, 0, 0); !errors.Is(err, stream.ErrCorrupt) || out != nil {
			t.Errorf("with bit %d flipped: %+v, %v", i, out, err)
		}
	}
	later := bytes.Clone(b[:len(b)-4])
	later[0] = 2
	if _, err := decodeEnvelope(nil, endEnvelope(later), 0, 0); !errors.Is(err, stream.ErrVersion) {
		t.Errorf("version 2 = %v", err)
	}
}

// FuzzEnvelope: what is decoded is what would be encoded; anything else is an
// error.
func FuzzEnvelope(f *testing.F) {
	b, err := hex.DecodeString(golden)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-4])
	f.Add([]byte{1, 1, 0, 0, 0, 0})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0})
	f.Add([]byte{1, 1, 0, 0, 0, 0xff, 0xff, 0x03})
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := decodeEnvelope(nil, body, 0, 0); err == nil && len(body) < envelopeMin {
			t.Errorf("decoding %d bytes passed", len(body))
		}
		b := endEnvelope(bytes.Clone(body)) // a right checksum lets the rest be reached
		out, err := decodeEnvelope(nil, b, 0, 0)
		if err != nil {
			return
		}
		if again := endEnvelope(encodeRecords(beginEnvelope(len(out)), out)); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, out, again)
		}
	})
}

// FuzzDocs: offsets of groups and options of topics are read or refused, and what
// was read is written as it was.
func FuzzDocs(f *testing.F) {
	f.Add([]byte(`{"v":1,"by":"x","offsets":[{"topic":"t","partition":0,"next":-1,"epoch":3}]}`))
	f.Add([]byte(`{"v":1,"partitions":3,"retention":1000,"compact":true,"tombstone_keep":5}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := readGroup(b); err == nil {
			again, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := readGroup(again); err != nil || !reflect.DeepEqual(d.offsets(), e.offsets()) {
				t.Errorf("%q is read as %+v, and then %+v, %v", b, d, e, err)
			}
		}
		if o, err := readTopic(b); err == nil {
			again, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := readTopic(again); err != nil || *o != *p {
				t.Errorf("%q is read as %+v, and then %+v, %v", b, o, p, err)
			}
		}
	})
}
