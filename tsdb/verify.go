package tsdb

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// A Report is what [DB.Verify] found.
type Report struct {
	Chunks  int   // looked at
	Blocks  int   // looked at
	Samples int64 // in whole blocks; log lines and rollup records too
	Damage  []*CorruptError
}

// Verify reads every sealed chunk, archived ones too, and compares checksums,
// blocks and summaries. Damage is in the report; the error says that it could
// not finish.
func (db *DB) Verify(ctx context.Context) (Report, error) {
	var rep Report
	if db.closed.Load() {
		return rep, ErrClosed
	}
	for _, s := range db.allSources() {
		db.mu.RLock()
		chunks := slices.Clone(s.chunks)
		for _, c := range chunks {
			c.hold()
		}
		db.mu.RUnlock()
		for i, c := range chunks {
			if err := ctx.Err(); err != nil {
				for _, c := range chunks[i:] {
					c.release()
				}
				return rep, err
			}
			rep.Chunks++
			c.verify(&rep)
			c.release()
		}
	}
	return rep, nil
}

func (c *chunk) verify(rep *Report) {
	lost := func(key string, r Range, err error) {
		rep.Damage = append(rep.Damage, c.fail(key, r, err).(*CorruptError))
	}
	// A fresh look at the file: the index in memory may be older than damage.
	c.mu.Lock()
	f, size, err := c.openLocked()
	c.mu.Unlock()
	if err != nil {
		lost("", c.info.rng, err)
		return
	}
	defer f.Close()
	info, sections, twin, err := readMeta(f, size)
	if err != nil {
		lost("", c.info.rng, err)
		return
	}
	if twin != nil {
		lost("", Range{c.info.minT, c.info.maxT + 1}, fmt.Errorf("one of two copies, nothing is lost: %w", twin))
	}
	x := loadIndex(f, &info, sections, size)
	for i, s := range x.lost {
		lost("", Range{s.minT, s.maxT + 1}, x.why[i])
	}
	read := blockReader{f: f, size: size}
	var b blockBuf
	for ord, key := range x.keys {
		for i := range x.series(uint32(ord)) {
			m := &x.series(uint32(ord))[i]
			rep.Blocks++
			payload, err := read.read(m)
			if err == nil {
				err = verifyBlock(&b, payload, &info, m)
			}
			if err != nil {
				lost(key, Range{m.minT, m.maxT + 1}, err)
				continue
			}
			rep.Samples += int64(m.n)
		}
	}
}

func verifyBlock(b *blockBuf, payload []byte, info *chunkInfo, m *blockMeta) error {
	if info.kind == chunkLogs {
		lines, err := decodeLines(nil, payload)
		if err == nil && (len(lines) != int(m.n) || lines[0].T != m.minT || lines[len(lines)-1].T != m.maxT) {
			err = fmt.Errorf("%w: block is not what the index says", ErrCorrupt)
		}
		return err
	}
	t, v, err := b.decode(payload, info.kind.columns())
	if err != nil {
		return err
	}
	s := m.sum
	if info.kind == chunkSamples {
		s = summarize(v)
	}
	same := func(a, b float64) bool { return a == b || a != a && b != b }
	if len(t) != int(m.n) || t[0] != m.minT || t[len(t)-1] != m.maxT || s.count != m.sum.count || !same(s.sum, m.sum.sum) ||
		!same(s.min, m.sum.min) || !same(s.max, m.sum.max) || !same(s.first, m.sum.first) || !same(s.last, m.sum.last) {
		return fmt.Errorf("%w: block is not what the index says", ErrCorrupt)
	}
	return nil
}

// checkFile verifies a whole chunk in memory.
func checkFile(data []byte, info *chunkInfo) error {
	f := bytes.NewReader(data)
	have, sections, twin, err := readMeta(f, int64(len(data)))
	if err == nil {
		err = twin
	}
	if err == nil && have.id != info.id {
		err = fmt.Errorf("%w: the file is another chunk", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	x := loadIndex(f, info, sections, int64(len(data)))
	if len(x.why) > 0 {
		return x.why[0]
	}
	read := blockReader{f: f, size: int64(len(data))}
	var b blockBuf
	for i := range x.blocks {
		payload, err := read.read(&x.blocks[i])
		if err == nil {
			err = verifyBlock(&b, payload, info, &x.blocks[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
