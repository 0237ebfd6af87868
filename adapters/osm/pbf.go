package osm

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits: the first two are those of the format. Keys, values and roles have at most 255
// characters in OpenStreetMap.
const (
	maxHeader  = 64 << 10
	maxBlob    = 32 << 20
	maxText    = 4 << 10
	maxStrings = 1 << 20 // in a block; usual are some thousand
	maxTags    = 1 << 14 // of an object
)

// scanPBF calls yield for each object. With nodesOnly, ways and relations are passed over.
//
// The file is a sequence of blobs, each with a header in front, and those of the kind
// OSMData hold a block of objects with a table of their strings. The fields of the
// messages are named at their numbers below.
//
// Blocks are taken apart here, field by field, rather than by a library: the one that is
// in use for this panics in a goroutine of its own where a file has nodes that are not
// dense, and nobody can recover from that.
func scanPBF(ctx context.Context, r io.Reader, nodesOnly bool, yield func(*object) error) error {
	var blob, block []byte
	for first := true; ; first = false {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			if errors.Is(err, io.EOF) && !first {
				return nil
			}
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		n := binary.BigEndian.Uint32(size[:])
		if first && size[0] == '<' {
			return fmt.Errorf("%w: it begins with %q: XML is for ReadXML", ErrCorrupt, size[:])
		}
		if n > maxHeader {
			return fmt.Errorf("%w: a blob header of %d bytes, above %d", ErrCorrupt, n, maxHeader)
		}
		head, err := readN(r, nil, int(n))
		if err != nil {
			return err
		}
		kind, length := "", uint64(0)
		if err := fields(head, func(num protowire.Number, v uint64, b []byte) error {
			switch num {
			case 1: // type
				kind = string(b)
			case 3: // datasize
				length = v
			}
			return nil
		}); err != nil {
			return err
		}
		if first && kind != "OSMHeader" {
			return fmt.Errorf("%w: the first blob is %.20q, want OSMHeader", ErrCorrupt, kind)
		}
		if length > maxBlob {
			return fmt.Errorf("%w: a blob of %d bytes, above %d", ErrCorrupt, length, maxBlob)
		}
		if blob, err = readN(r, blob[:0], int(length)); err != nil {
			return err
		}
		if kind != "OSMHeader" && kind != "OSMData" {
			continue
		}
		if block, err = unpack(block[:0], blob); err != nil {
			return err
		}
		if kind == "OSMHeader" {
			err = checkFeatures(block)
		} else {
			err = scanBlock(ctx, block, nodesOnly, yield)
		}
		if err != nil {
			return err
		}
	}
}

// readN appends n bytes to dst. Memory grows as they come.
func readN(r io.Reader, dst []byte, n int) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	if m, err := io.CopyN(b, r, int64(n)); err != nil {
		return nil, fmt.Errorf("%w: %d bytes where %d should be: %w", ErrCorrupt, m, n, err)
	}
	return b.Bytes(), nil
}

// unpack appends what is in a blob.
func unpack(dst, blob []byte) ([]byte, error) {
	var packed []byte
	raw, size, found := []byte(nil), uint64(0), protowire.Number(0)
	if err := fields(blob, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1: // raw
			raw, found = b, num
		case 2: // raw_size
			size = v
		case 3: // zlib_data
			packed, found = b, num
		case 4, 5, 6, 7: // lzma, bzip2, lz4, zstd
			found = num
		}
		return nil
	}); err != nil {
		return nil, err
	}
	switch {
	case found == 1:
		return append(dst, raw...), nil
	case found != 3:
		return nil, fmt.Errorf("%w: a blob packed in way %d; only zlib is known", ErrUnsupported, found)
	case size > maxBlob:
		return nil, fmt.Errorf("%w: a block of %d bytes, above %d", ErrCorrupt, size, maxBlob)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	b := bytes.NewBuffer(dst)
	if n, err := io.Copy(b, io.LimitReader(z, int64(size)+1)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	} else if uint64(n) != size {
		return nil, fmt.Errorf("%w: a block is not of %d bytes, as it says", ErrCorrupt, size)
	}
	return b.Bytes(), nil
}

// checkFeatures refuses files that need what is not known here.
func checkFeatures(b []byte) error {
	return fields(b, func(num protowire.Number, _ uint64, b []byte) error {
		if num == 4 { // required_features
			switch string(b) {
			case "OsmSchema-V0.6", "DenseNodes":
			default:
				return fmt.Errorf("%w: the file requires %.40q", ErrUnsupported, b)
			}
		}
		return nil
	})
}

// fields calls f for each field of a message: v is the value of a number, b that of
// anything with a length.
func fields(b []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrCorrupt, protowire.ParseError(n))
		}
		b = b[n:]
		var v uint64
		var bytes []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", ErrCorrupt, num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := f(num, v, bytes); err != nil {
			return err
		}
	}
	return nil
}

// A packed is a list of numbers, one after the other.
type packed struct {
	b   []byte
	sum int64
	err error
}

func (p *packed) more() bool { return len(p.b) > 0 && p.err == nil }

func (p *packed) next() uint64 {
	v, n := protowire.ConsumeVarint(p.b)
	if n < 0 {
		p.err = fmt.Errorf("%w: %w", ErrCorrupt, protowire.ParseError(n))
		p.b = nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

// delta returns the next of a list in which each stands as the difference to the one
// before.
func (p *packed) delta() int64 {
	p.sum += protowire.DecodeZigZag(p.next())
	return p.sum
}

// A block holds what all objects in it share.
type block struct {
	ctx            context.Context
	work           uint     // tags and objects
	raw            [][]byte // the table of strings
	strings        []string // those that were needed
	granularity    int64
	latOff, lonOff int64
	groups         [][]byte
	yield          func(*object) error
}

func scanBlock(ctx context.Context, b []byte, nodesOnly bool, yield func(*object) error) error {
	k := block{ctx: ctx, granularity: 100}
	k.yield = func(o *object) error {
		if err := k.step(); err != nil {
			return err
		}
		return yield(o)
	}
	err := fields(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1: // stringtable
			return fields(b, func(num protowire.Number, _ uint64, b []byte) error {
				switch {
				case num != 1:
				case len(k.raw) >= maxStrings:
					return fmt.Errorf("%w: more than %d strings in a block", ErrCorrupt, maxStrings)
				case len(b) > maxText:
					return fmt.Errorf("%w: a string of %d bytes, above %d", ErrCorrupt, len(b), maxText)
				default:
					k.raw = append(k.raw, b)
				}
				return nil
			})
		case 2: // primitivegroup: read when all that follows is known
			k.groups = append(k.groups, b)
		case 17:
			k.granularity = int64(v)
		case 19:
			k.latOff = int64(v)
		case 20:
			k.lonOff = int64(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	k.strings = make([]string, len(k.raw))
	for _, g := range k.groups {
		err := fields(g, func(num protowire.Number, _ uint64, b []byte) error {
			switch {
			case num == 1:
				return k.node(b)
			case num == 2:
				return k.dense(b)
			case num == 3 && !nodesOnly:
				return k.way(b)
			case num == 4 && !nodesOnly:
				return k.relation(b)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// text returns a string of the table. All who use one share it.
func (k *block) text(i uint64) (string, error) {
	if i >= uint64(len(k.raw)) {
		return "", fmt.Errorf("%w: string %d of %d", ErrCorrupt, i, len(k.raw))
	}
	if k.strings[i] == "" {
		k.strings[i] = string(k.raw[i])
	}
	return k.strings[i], nil
}

// step asks from time to time whether anybody waits for this.
func (k *block) step() error {
	if k.work++; k.work&1023 == 0 {
		return k.ctx.Err()
	}
	return nil
}

func (k *block) degrees(off, v int64) float64 { return 1e-9 * float64(off+k.granularity*v) }

// tag notes one tag by the numbers of its strings.
func (k *block) tag(o *object, key, value uint64) error {
	if err := k.step(); err != nil {
		return err
	}
	if len(o.tags) >= maxTags {
		return fmt.Errorf("%w: an object with more than %d tags", ErrCorrupt, maxTags)
	}
	a, err := k.text(key)
	if err != nil {
		return err
	}
	b, err := k.text(value)
	if err != nil {
		return err
	}
	if o.tags == nil {
		o.tags = Tags{}
	}
	o.tags[a] = b
	return nil
}

func (k *block) tags(o *object, keys, vals []byte) error {
	a, b := packed{b: keys}, packed{b: vals}
	for a.more() && b.more() {
		if err := k.tag(o, a.next(), b.next()); err != nil {
			return err
		}
	}
	if a.more() || b.more() {
		return fmt.Errorf("%w: not as many keys as values", ErrCorrupt)
	}
	return errors.Join(a.err, b.err)
}

func (k *block) node(b []byte) error {
	o := object{kind: aNode}
	var keys, vals []byte
	if err := fields(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1:
			o.id = protowire.DecodeZigZag(v)
		case 2:
			keys = b
		case 3:
			vals = b
		case 8:
			o.lat = k.degrees(k.latOff, protowire.DecodeZigZag(v))
		case 9:
			o.lon = k.degrees(k.lonOff, protowire.DecodeZigZag(v))
		}
		return nil
	}); err != nil {
		return err
	}
	if err := k.tags(&o, keys, vals); err != nil {
		return err
	}
	return k.yield(&o)
}

func (k *block) dense(b []byte) error {
	var ids, lats, lons, tags packed
	if err := fields(b, func(num protowire.Number, _ uint64, b []byte) error {
		switch num {
		case 1:
			ids.b = b
		case 8:
			lats.b = b
		case 9:
			lons.b = b
		case 10: // key, value, key, value, 0 for each node; empty if no node has any
			tags.b = b
		}
		return nil
	}); err != nil {
		return err
	}
	tagged := len(tags.b) > 0
	for ids.more() {
		if !lats.more() || !lons.more() {
			return fmt.Errorf("%w: not as many coordinates as nodes", ErrCorrupt)
		}
		o := object{
			kind: aNode, id: ids.delta(),
			lat: k.degrees(k.latOff, lats.delta()), lon: k.degrees(k.lonOff, lons.delta()),
		}
		for tagged {
			if !tags.more() {
				return fmt.Errorf("%w: not as many tags as nodes", ErrCorrupt)
			}
			key := tags.next()
			if key == 0 {
				break
			}
			if err := k.tag(&o, key, tags.next()); err != nil {
				return err
			}
		}
		if err := errors.Join(ids.err, lats.err, lons.err, tags.err); err != nil {
			return err
		}
		if err := k.yield(&o); err != nil {
			return err
		}
	}
	return ids.err
}

func (k *block) way(b []byte) error {
	o := object{kind: aWay}
	var keys, vals []byte
	var refs packed
	if err := fields(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1:
			o.id = int64(v)
		case 2:
			keys = b
		case 3:
			vals = b
		case 8:
			refs.b = b
		}
		return nil
	}); err != nil {
		return err
	}
	if err := k.tags(&o, keys, vals); err != nil {
		return err
	}
	for refs.more() {
		o.refs = append(o.refs, refs.delta())
	}
	if refs.err != nil {
		return refs.err
	}
	return k.yield(&o)
}

func (k *block) relation(b []byte) error {
	o := object{kind: aRelation}
	var keys, vals []byte
	var roles, ids, kinds packed
	if err := fields(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1:
			o.id = int64(v)
		case 2:
			keys = b
		case 3:
			vals = b
		case 8:
			roles.b = b
		case 9:
			ids.b = b
		case 10:
			kinds.b = b
		}
		return nil
	}); err != nil {
		return err
	}
	if err := k.tags(&o, keys, vals); err != nil {
		return err
	}
	for ids.more() {
		if !roles.more() || !kinds.more() {
			return fmt.Errorf("%w: relation %d has not as many roles as members", ErrCorrupt, o.id)
		}
		if err := k.step(); err != nil {
			return err
		}
		m := member{ref: ids.delta(), kind: kind(min(kinds.next(), uint64(aRelation)))}
		role, err := k.text(roles.next())
		if err != nil {
			return err
		}
		m.role = role
		o.members = append(o.members, m)
	}
	if err := errors.Join(ids.err, roles.err, kinds.err); err != nil {
		return err
	}
	return k.yield(&o)
}
