package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hamba/avro/v2"
)

// Record files are Avro object containers, which Spark, Hive, DuckDB and others
// read as they are: the schema in front, then blocks of records, each compressed,
// with a marker between them at which a reader may begin.
//
//	"Obj" 1 │ metadata: avro.schema, avro.codec │ marker │ count size records marker │ …
//
// Libraries that write them bring compressors of many megabytes. With the standard
// library's deflate, which every reader has to know, it is this page.
const (
	containerMagic = "Obj\x01"
	containerMark  = 16
	blockRecords   = 1000
	blockLimit     = 64 << 20 // bytes of a block when it is unpacked
)

// A container is a record file that is being written. Records are Avro values of
// its schema.
type container struct {
	buf   bytes.Buffer
	mark  [containerMark]byte
	block []byte
	count int
}

func newContainer(schema avro.Schema) *container {
	text := schema.String()
	sum := sha256.Sum256([]byte(text)) // any bytes will do, and these are the same every time
	c := &container{mark: [containerMark]byte(sum[:])}
	c.buf.WriteString(containerMagic)
	c.long(2) // pairs
	for _, s := range []string{"avro.schema", text, "avro.codec", "deflate"} {
		c.long(int64(len(s)))
		c.buf.WriteString(s)
	}
	c.long(0) // the end of the map
	c.buf.Write(c.mark[:])
	return c
}

// long writes a number as Avro does, which is as encoding/binary's Varint does.
func (c *container) long(v int64) { c.buf.Write(binary.AppendVarint(nil, v)) }

func (c *container) add(record []byte) {
	c.block = append(c.block, record...)
	if c.count++; c.count == blockRecords {
		c.flush()
	}
}

func (c *container) flush() {
	if c.count == 0 {
		return
	}
	var packed bytes.Buffer
	z, _ := flate.NewWriter(&packed, flate.DefaultCompression) // the level is valid
	_, _ = z.Write(c.block)                                    // into memory
	_ = z.Close()
	c.long(int64(c.count))
	c.long(int64(packed.Len()))
	c.buf.Write(packed.Bytes())
	c.buf.Write(c.mark[:])
	c.block, c.count = c.block[:0], 0
}

func (c *container) bytes() []byte {
	c.flush()
	return c.buf.Bytes()
}

var errContainer = errors.New("not a record file")

// readContainer calls f with the schema in a record file and the records of each
// block, one behind the other.
func readContainer(file []byte, f func(schema avro.Schema, records []byte, count int) error) error {
	r := bytes.NewReader(file)
	magic := make([]byte, len(containerMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != containerMagic {
		return errContainer
	}
	meta, err := readMap(r)
	if err != nil {
		return err
	}
	if codec := meta["avro.codec"]; codec != "deflate" {
		return fmt.Errorf("%w: codec %q", errContainer, codec)
	}
	schema, err := avro.Parse(meta["avro.schema"])
	if err != nil {
		return err
	}
	mark, err := readBytes(r, containerMark)
	if err != nil {
		return err
	}
	for r.Len() > 0 {
		count, err := binary.ReadVarint(r)
		if err != nil || count < 0 {
			return errContainer
		}
		packed, err := readSized(r)
		if err != nil {
			return err
		}
		records, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), blockLimit+1))
		if err != nil || len(records) > blockLimit {
			return fmt.Errorf("%w: a block that does not unpack to at most %d bytes (%v)", errContainer, blockLimit, err)
		}
		if end, err := readBytes(r, containerMark); err != nil || !bytes.Equal(end, mark) {
			return fmt.Errorf("%w: no marker behind a block", errContainer)
		}
		if err := f(schema, records, int(count)); err != nil {
			return err
		}
	}
	return nil
}

// readMap reads a map of texts: blocks of pairs until one is empty.
func readMap(r *bytes.Reader) (map[string]string, error) {
	m := map[string]string{}
	for {
		n, err := binary.ReadVarint(r)
		if err != nil || n < 0 {
			return nil, errContainer
		}
		if n == 0 {
			return m, nil
		}
		for range n {
			k, err := readSized(r)
			if err != nil {
				return nil, err
			}
			v, err := readSized(r)
			if err != nil {
				return nil, err
			}
			m[string(k)] = string(v)
		}
	}
}

func readSized(r *bytes.Reader) ([]byte, error) {
	n, err := binary.ReadVarint(r)
	if err != nil {
		return nil, errContainer
	}
	return readBytes(r, n)
}

func readBytes(r *bytes.Reader, n int64) ([]byte, error) {
	if n < 0 || n > int64(r.Len()) { // before any memory is taken
		return nil, errContainer
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
