package tsdb

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Each decoder of bytes that come from a disk gives an error or something sound,
// never a panic. Checksums are repaired first, so that the fuzzer gets behind
// them.

func FuzzBlock(f *testing.F) {
	var c coder
	f.Add(c.appendBlock(nil, []int64{1, 2, 5}, make([]int, 1), []float64{1, 2.5, 3}), 1)
	six := make([][]float64, 6)
	for i := range six {
		six[i] = []float64{1, float64(i)}
	}
	f.Add(c.appendBlock(nil, []int64{1, 2}, make([]int, 6), six...), 6)
	f.Fuzz(func(t *testing.T, b []byte, cols int) {
		var buf blockBuf
		ts, v, err := buf.decode(b, 1+max(cols, 0)%6)
		if err != nil {
			return
		}
		var again blockBuf
		ts2, v2, err := again.decode(new(coder).appendBlock(nil, ts, make([]int, 1), v), 1)
		require.NoError(t, err)
		require.Equal(t, ts, ts2)
		require.Len(t, v2, len(v))
	})
}

func FuzzLogBlock(f *testing.F) {
	var c headCoder
	f.Add(c.appendLines(nil, []logEntry{{1, 0, "one"}, {2, 0, ""}, {2, 0, "three three three"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, err := decodeLines(nil, b)
		if err != nil {
			return
		}
		var in []logEntry
		for _, l := range lines {
			in = append(in, logEntry{t: l.T, text: l.Text})
		}
		again, err := decodeLines(nil, new(headCoder).appendLines(nil, in))
		require.NoError(t, err)
		require.Equal(t, lines, again)
	})
}

func FuzzRecord(f *testing.F) {
	var c headCoder
	f.Add(c.sampleRecord(nil, []Ref{1, 2, 3}, []int64{4, 4, 5}, []float64{1, 2, 3}))
	f.Add(logRecord(nil, []LogLine{{1, 2, "x"}}))
	f.Add([]byte{recSeries, 1, 7, 1, 's', 4, 1, 'a', 1, 'b'})
	f.Add((&tombstone{1, 2, Range{3, 4}, []Matcher{Re("a", "b.*")}}).append([]byte{recDelete}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		switch b[0] {
		case recSamples:
			if refs, ts, v, err := decodeSamples(nil, nil, nil, b[1:]); err == nil {
				require.Len(t, ts, len(refs))
				require.Len(t, v, len(refs))
			}
		case recSeries:
			_ = decodeSeries(b[1:], func(_ Ref, _, key string) { require.True(t, validKey(key)) })
		case recLogs:
			_, _ = decodeLogs(b[1:])
		case recDelete:
			r := reader{b: b[1:]}
			new(tombstone).read(&r)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := manifest{
		seq: 5, nextChunk: 3, nextTomb: 2,
		chunks: []chunkInfo{{id: 1, kind: chunkSamples, source: "s", rng: Range{0, 10}, maxT: 9, samples: 4, series: 1, size: 100, from: []uint64{1}}},
		tombs:  []tombstone{{1, 2, Range{3, 4}, []Matcher{Eq("a", "b")}}},
		marks:  []mark{{headKey{chunkSamples, "s", 0}, 99}},
	}
	b := m.encode()
	f.Add(b[:len(b)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(binary.LittleEndian.AppendUint32(b[:len(b):len(b)], frame.Checksum(b)))
		if err != nil {
			return
		}
		again, err := decodeManifest(m.encode())
		require.NoError(t, err)
		require.Equal(t, len(m.chunks), len(again.chunks))
	})
}

// FuzzChunk reads a hostile chunk file from end to end.
func FuzzChunk(f *testing.F) {
	sim := vfs.NewSim()
	db, err := Open("db", testOptions(sim))
	require.NoError(f, err)
	m := newModel()
	var batch Batch
	for i := range 3 {
		ref, err := db.Series("s", Pairs("id", string(rune('a'+i)), "x", "y"))
		require.NoError(f, err)
		for j := range 4 {
			batch.Refs, batch.T, batch.V = append(batch.Refs, ref), append(batch.T, start+int64(j)), append(batch.V, float64(j))
		}
	}
	_ = m
	_, err = db.Append(f.Context(), batch)
	require.NoError(f, err)
	require.NoError(f, db.Seal(f.Context()))
	info := db.byName["s"].chunks[0].info
	data, err := vfs.ReadFile(sim, db.byName["s"].chunks[0].path(), 1<<20)
	require.NoError(f, err)
	require.NoError(f, db.Close())
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		repair(b)
		file := bytes.NewReader(b)
		have, sections, _, err := readMeta(file, int64(len(b)))
		if err != nil {
			return
		}
		total := uint64(0)
		for i := range sections { // let the sections pass too
			s := &sections[i]
			if s.off >= 0 && s.off+int64(s.size) <= int64(len(b)) {
				s.sum = frame.Checksum(b[s.off:][:s.size])
			}
			total += uint64(s.size)
		}
		if total > 1<<20 {
			return // sections that overlap: bounded, but slow
		}
		x := loadIndex(file, &have, sections, int64(len(b)))
		for i := range x.blocks {
			r := blockReader{f: file, size: int64(len(b))}
			_, _ = r.read(&x.blocks[i])
		}
		x.find([]Matcher{Re("id", ".*")})
		_ = checkFile(b, &info)
	})
}

// repair makes the checksums of both pointers right.
func repair(b []byte) {
	for _, off := range []int{0, len(b) - chunkFooter} {
		if off < 0 || len(b) < chunkHeader {
			continue
		}
		p := b[off : off+chunkHeader]
		at, n := binary.LittleEndian.Uint64(p[12:]), uint64(binary.LittleEndian.Uint32(p[20:]))
		if at <= uint64(len(b)) && n <= uint64(len(b))-at {
			binary.LittleEndian.PutUint32(p[24:], frame.Checksum(b[at:at+n]))
		}
		binary.LittleEndian.PutUint32(p[28:], frame.Checksum(p[:28]))
	}
}

// FuzzSection opens a section of any bytes, and one made of them.
func FuzzSection(f *testing.F) {
	f.Add([]byte{sectionPlain, 1, 2, 3})
	f.Add(appendSection(nil, bytes.Repeat([]byte("series "), 50)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sec, _, err := openSection(nil, b); err == nil {
			require.LessOrEqual(t, len(sec), len(b)*maxInflate)
		}
		sec, _, err := openSection(make([]byte, 3), appendSection(nil, b))
		require.NoError(t, err)
		require.Equal(t, string(b), string(sec))
		var x chunkIndex
		info := chunkInfo{kind: chunkSamples, rng: Range{0, 1 << 40}}
		if keys, err := x.decodeSection(b, &info, 1+len(b)%3, nil, 1<<30); err == nil {
			require.Len(t, keys, 1+len(b)%3)
			require.Equal(t, len(x.blocks), int(x.firsts[len(x.firsts)-1]))
		}
	})
}
