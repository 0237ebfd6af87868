package tsdb

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Records of the log. Each begins with its kind, one byte; part of the format:
// never renumber.
//
//	series   count (uvarint); for each ref (uvarint), source and key (texts)
//	samples  count (uvarint); for every 1024: refs and times (integers); then
//	         the values, 8 bytes each
//	delete   tombstone, as in the manifest
//	logs     count (uvarint); for each ref (uvarint), time (varint), text
//
// A ref is defined by the last series record before it. Every epoch, which
// begins with each sealing, defines its refs anew, so that the log can be cut
// where an epoch begins.
const (
	recSeries  = 1
	recSamples = 2
	recDelete  = 3
	recLogs    = 4
)

// sampleRecord appends a record of samples.
func (c *headCoder) sampleRecord(dst []byte, refs []Ref, t []int64, v []float64) []byte {
	dst = binary.AppendUvarint(append(dst, recSamples), uint64(len(refs)))
	for at := 0; at < len(refs); at += maxBlock {
		n := min(maxBlock, len(refs)-at)
		x := c.ints[:n]
		for i, r := range refs[at : at+n] {
			x[i] = int64(r)
		}
		dst = c.intCoder.append(dst, x)
		dst = c.intCoder.append(dst, t[at:at+n])
	}
	begin := len(dst)
	dst = append(dst, make([]byte, 8*len(v))...)
	for i, x := range v {
		binary.LittleEndian.PutUint64(dst[begin+8*i:], math.Float64bits(x))
	}
	return dst
}

// decodeSamples appends to the columns what follows the kind in a record of
// samples.
func decodeSamples(refs []Ref, t []int64, v []float64, b []byte) ([]Ref, []int64, []float64, error) {
	r := reader{b: b}
	n := r.count(8)
	if r.err || n > MaxBatch {
		return nil, nil, nil, fmt.Errorf("%w: record of samples", ErrCorrupt)
	}
	begin := len(refs)
	refs, t, v = slices.Grow(refs, n)[:begin+n], slices.Grow(t, n)[:begin+n], slices.Grow(v, n)[:begin+n]
	var x [maxBlock]int64
	rest := r.b
	var err error
	for at := begin; at < len(refs); at += maxBlock {
		m := min(maxBlock, len(refs)-at)
		if rest, err = decodeInts(x[:m], rest); err != nil {
			return nil, nil, nil, err
		}
		for i, ref := range x[:m] {
			refs[at+i] = Ref(ref)
		}
		if rest, err = decodeInts(t[at:at+m], rest); err != nil {
			return nil, nil, nil, err
		}
	}
	if len(rest) != 8*n {
		return nil, nil, nil, fmt.Errorf("%w: record of samples", ErrCorrupt)
	}
	for i := range v[begin:] {
		v[begin+i] = math.Float64frombits(binary.LittleEndian.Uint64(rest[8*i:]))
	}
	return refs, t, v, nil
}

// decodeSeries calls f for each definition in a record of series. The key is
// part of a string that is larger: clone it to keep it.
func decodeSeries(b []byte, f func(ref Ref, source, key string)) error {
	bad := fmt.Errorf("%w: record of series", ErrCorrupt)
	r := reader{b: b}
	n := r.count(3)
	all := string(r.b)
	at := func() string { return all[len(all)-len(r.b):] }
	source := ""
	for range n {
		ref := Ref(r.uvarint())
		rest := at()
		name, rest, ok := nextText(rest)
		key, rest, ok2 := nextText(rest)
		if r.err || !ok || !ok2 || !validKey(key) || len(key) > maxKey {
			return bad
		}
		r.b = r.b[len(r.b)-len(rest):]
		if name != source || name == "" { // many of one source come together
			if checkSource(name) != nil {
				return bad
			}
			source = strings.Clone(name)
		}
		f(ref, source, key)
	}
	if r.err || len(r.b) > 0 {
		return bad
	}
	return nil
}

func logRecord(dst []byte, lines []LogLine) []byte {
	dst = binary.AppendUvarint(append(dst, recLogs), uint64(len(lines)))
	for _, l := range lines {
		dst = binary.AppendUvarint(dst, uint64(l.Ref))
		dst = binary.AppendVarint(dst, l.T)
		dst = appendText(dst, l.Text)
	}
	return dst
}

func decodeLogs(b []byte) ([]LogLine, error) {
	r := reader{b: b}
	lines := make([]LogLine, 0, r.count(3))
	for range cap(lines) {
		lines = append(lines, LogLine{Ref: Ref(r.uvarint()), T: r.varint(), Text: r.text()})
	}
	if r.err || len(r.b) > 0 {
		return nil, fmt.Errorf("%w: record of logs", ErrCorrupt)
	}
	return lines, nil
}
