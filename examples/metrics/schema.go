package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hamba/avro/v2"
)

// Events travel and rest as Avro. The schema is agreed on once instead of being
// repeated in every message, as JSON's field names are; and it may change, since
// whoever reads knows both the schema that a message was written with and the one
// that it wants, and Avro says how the one becomes the other.
//
// Version 1 is what the combined log format has.
const schemaV1 = `{
	"type": "record", "name": "access", "namespace": "ashlar.example", "fields": [
		{"name": "time",    "type": {"type": "long", "logicalType": "timestamp-millis"}},
		{"name": "host",    "type": "string"},
		{"name": "ip",      "type": "string"},
		{"name": "user",    "type": "string"},
		{"name": "method",  "type": "string"},
		{"name": "path",    "type": "string"},
		{"name": "status",  "type": "int"},
		{"name": "bytes",   "type": "long"},
		{"name": "referer", "type": "string"},
		{"name": "agent",   "type": "string"}
	]}`

// Version 2 adds the time that a request took. Its default is what a reader of
// version 2 sees in a message of version 1.
const schemaV2 = `{
	"type": "record", "name": "access", "namespace": "ashlar.example", "fields": [
		{"name": "time",    "type": {"type": "long", "logicalType": "timestamp-millis"}},
		{"name": "host",    "type": "string"},
		{"name": "ip",      "type": "string"},
		{"name": "user",    "type": "string"},
		{"name": "method",  "type": "string"},
		{"name": "path",    "type": "string"},
		{"name": "status",  "type": "int"},
		{"name": "bytes",   "type": "long"},
		{"name": "referer", "type": "string"},
		{"name": "agent",   "type": "string"},
		{"name": "micros",  "type": "long", "default": -1}
	]}`

// An access is an event: an entry of the log of one server.
type access struct {
	Time    time.Time `avro:"time" json:"time"`
	Host    string    `avro:"host" json:"host"`
	IP      string    `avro:"ip" json:"ip"`
	User    string    `avro:"user" json:"user"`
	Method  string    `avro:"method" json:"method"`
	Path    string    `avro:"path" json:"path"`
	Status  int       `avro:"status" json:"status"`
	Bytes   int64     `avro:"bytes" json:"bytes"`
	Referer string    `avro:"referer" json:"referer"`
	Agent   string    `avro:"agent" json:"agent"`
	Micros  int64     `avro:"micros" json:"micros"`
}

func accessOf(host string, e *entry) access {
	return access{e.Time, host, e.IP, e.User, e.Method, e.Path, e.Status, e.Bytes, e.Referer, e.Agent, e.Micros}
}

// owner is whose event it is: the key that decides the partition.
func (a *access) owner() string {
	if a.User != "" {
		return a.User
	}
	return a.IP
}

// route is what kind of page it was: the path without what differs from one page
// of the kind to the next.
func (a *access) route() string {
	path, _, _ := strings.Cut(a.Path, "?")
	if i := strings.LastIndexByte(path, '/'); i > 0 && strings.HasPrefix(path, "/p/") {
		path = path[:i]
	}
	return path
}

// A message begins with two fixed bytes and the CRC-64 of the schema it was written
// with: Avro's single-object encoding. Ten bytes say which schema to look up.
const messageHead = 10

// A writer encodes events by one version of the schema.
type writer struct {
	schema avro.Schema
	head   [messageHead]byte
}

// A reader decodes events of any version into the one that it knows. Make one with
// newReader. It is safe for concurrent use by multiple goroutines.
type reader struct {
	schemas map[uint64]avro.Schema // by the fingerprint of what was written
}

func fingerprint(s avro.Schema) (uint64, error) {
	sum, err := s.FingerprintUsing(avro.CRC64AvroLE)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(sum), nil
}

func newWriter(schema string) (*writer, error) {
	s, err := avro.Parse(schema)
	if err != nil {
		return nil, err
	}
	f, err := fingerprint(s)
	if err != nil {
		return nil, err
	}
	w := &writer{schema: s, head: [messageHead]byte{0xC3, 0x01}}
	binary.LittleEndian.PutUint64(w.head[2:], f)
	return w, nil
}

func (w *writer) encode(a *access) ([]byte, error) {
	body, err := avro.Marshal(w.schema, a)
	if err != nil {
		return nil, err
	}
	return append(w.head[:messageHead:messageHead], body...), nil
}

// newReader returns a reader that wants events by schema own and meets events that
// were written by any of the others.
func newReader(own string, writers ...string) (*reader, error) {
	want, err := avro.Parse(own)
	if err != nil {
		return nil, err
	}
	r := &reader{schemas: map[uint64]avro.Schema{}}
	compat := avro.NewSchemaCompatibility()
	for _, text := range append(writers, own) {
		wrote, err := avro.Parse(text)
		if err != nil {
			return nil, err
		}
		f, err := fingerprint(wrote)
		if err != nil {
			return nil, err
		}
		// Fields that only the writer has are skipped, fields that only the
		// reader has get their default.
		if r.schemas[f], err = compat.Resolve(want, wrote); err != nil {
			return nil, err
		}
	}
	return r, nil
}

var errNoMessage = errors.New("no message of a known schema")

func (r *reader) decode(b []byte, a *access) error {
	if len(b) < messageHead || b[0] != 0xC3 || b[1] != 0x01 {
		return errNoMessage
	}
	f := binary.LittleEndian.Uint64(b[2:])
	s := r.schemas[f]
	if s == nil {
		return fmt.Errorf("%w: schema %016x", errNoMessage, f)
	}
	return decodeOne(s, b[messageHead:], a)
}

// decodeOne decodes bytes that are one event and nothing else.
func decodeOne(s avro.Schema, b []byte, a *access) error {
	r := readers.Get().(*avro.Reader)
	defer readers.Put(r)
	r.Reset(b)
	r.Error = nil
	if err := decodeNext(s, r, a); err != nil {
		return err
	}
	if r.Peek(); r.Error == nil {
		return fmt.Errorf("%w: bytes behind its end", errNoMessage)
	}
	return nil
}

var readers = sync.Pool{New: func() any { return avro.NewReader(nil, 0) }}

// decodeNext decodes the next of several events. The library's short forms take
// an event that was cut off for a whole one, with zeros at its end; this does not.
func decodeNext(s avro.Schema, r *avro.Reader, a *access) error {
	r.ReadVal(s, a)
	if errors.Is(r.Error, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	a.Time = a.Time.UTC()
	return r.Error
}
