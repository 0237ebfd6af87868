package tsdb

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/ashlar-go/ashlar/internal/frame"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A chunk file holds the series of one source in one time range, with their
// index: see docs/format/tsdb.md. Part of the format: never renumber.
const (
	chunkMagic   = "ASHLTSC\x00"
	chunkVersion = 1
	chunkHeader  = 32 // bytes
	chunkFooter  = 32
	sectionSize  = 128 // series in a section of the index

	chunkSamples chunkKind = 1
	chunkRollup  chunkKind = 2
	chunkLogs    chunkKind = 3

	rollupColumns = 6
)

type chunkKind byte

func (k chunkKind) columns() int {
	if k == chunkRollup {
		return rollupColumns
	}
	return 1
}

// chunkInfo is what the manifest, and the chunk itself, say about a chunk.
type chunkInfo struct {
	id       uint64
	kind     chunkKind
	source   string
	rng      Range // times that it may hold
	step     int64 // of a rollup, in milliseconds
	minT     int64 // times that it does hold, both included
	maxT     int64
	samples  uint64
	series   uint64
	size     int64    // of the file in bytes
	from     []uint64 // of a rollup: the chunks of samples that it was made from
	archived bool     // the file is in the archive only
}

func (c *chunkInfo) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, c.id)
	flags := byte(0)
	if c.archived {
		flags = 1
	}
	dst = append(dst, byte(c.kind), flags)
	dst = appendText(dst, c.source)
	for _, v := range [...]int64{c.rng.From, c.rng.To, c.step, c.minT, c.maxT, c.size} {
		dst = binary.AppendVarint(dst, v)
	}
	dst = binary.AppendUvarint(dst, c.samples)
	dst = binary.AppendUvarint(dst, c.series)
	dst = binary.AppendUvarint(dst, uint64(len(c.from)))
	for _, id := range c.from {
		dst = binary.AppendUvarint(dst, id)
	}
	return dst
}

func (c *chunkInfo) read(r *reader) {
	c.id = r.uvarint()
	c.kind = chunkKind(r.byte())
	c.archived = r.byte()&1 != 0
	c.source = r.text()
	for _, p := range [...]*int64{&c.rng.From, &c.rng.To, &c.step, &c.minT, &c.maxT, &c.size} {
		*p = r.varint()
	}
	c.samples = r.uvarint()
	c.series = r.uvarint()
	for range r.count(1) {
		c.from = append(c.from, r.uvarint())
	}
	if c.kind < chunkSamples || c.kind > chunkLogs || c.rng.From >= c.rng.To || c.kind == chunkRollup && c.step <= 0 || c.id == 0 {
		r.fail()
	}
}

// blockMeta is what the index says about a block.
type blockMeta struct {
	minT, maxT int64
	off        int64
	size       uint32 // without its checksum
	n          uint32
	sum        summary
}

// section is a part of a chunk's index.
type section struct {
	off        int64
	size       uint32
	sum        uint32
	series     uint32
	minT, maxT int64
}

// A chunkWriter writes a chunk file. Series come sorted by key, each with its
// blocks in order of time.
type chunkWriter struct {
	f        vfs.File
	off      int64 // of buf in the file
	buf      []byte
	info     chunkInfo
	sections []section

	sec     []byte // the open section
	secN    int
	secMin  int64
	secMax  int64
	prevKey string
	prevOff int64

	key    string
	blocks []blockMeta
	index  []byte // finished sections, written after the blocks
}

const writeBuffer = 256 << 10

func newChunkWriter(f vfs.File, info chunkInfo) *chunkWriter {
	w := &chunkWriter{f: f, info: info}
	w.buf = append(w.buf, make([]byte, chunkHeader)...)
	w.prevOff = chunkHeader
	return w
}

func (w *chunkWriter) pos() int64 { return w.off + int64(len(w.buf)) }

func (w *chunkWriter) flush(least int) error {
	if len(w.buf) < least {
		return nil
	}
	if _, err := w.f.WriteAt(w.buf, w.off); err != nil {
		return err
	}
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// begin starts a series.
func (w *chunkWriter) begin(key string) {
	w.key = key
	w.blocks = w.blocks[:0]
}

// block adds a block whose payload encode appends.
func (w *chunkWriter) block(m blockMeta, encode func(dst []byte) []byte) error {
	m.off = w.pos()
	begin := len(w.buf)
	w.buf = encode(w.buf)
	m.size = uint32(len(w.buf) - begin)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, frame.Checksum(w.buf[begin:]))
	w.blocks = append(w.blocks, m)
	return w.flush(writeBuffer)
}

// end finishes a series; one without blocks is left out.
func (w *chunkWriter) end() {
	if len(w.blocks) == 0 {
		return
	}
	if w.secN == 0 {
		w.secMin, w.secMax = w.blocks[0].minT, w.blocks[0].maxT
	}
	w.sec = appendKeyAfter(w.sec, w.key, w.prevKey)
	w.prevKey = w.key
	w.sec = binary.AppendUvarint(w.sec, uint64(len(w.blocks)))
	last := w.info.rng.From
	for i := range w.blocks {
		b := &w.blocks[i]
		w.sec = binary.AppendVarint(w.sec, b.minT-last)
		w.sec = binary.AppendUvarint(w.sec, uint64(b.maxT-b.minT))
		w.sec = binary.AppendVarint(w.sec, b.off-w.prevOff)
		w.sec = binary.AppendUvarint(w.sec, uint64(b.size))
		w.sec = binary.AppendUvarint(w.sec, uint64(b.n))
		if w.info.kind == chunkSamples {
			w.sec = b.sum.append(w.sec, int(b.n))
		}
		w.prevOff = b.off + int64(b.size) + 4
		last = b.maxT
		if w.info.samples == 0 {
			w.info.minT, w.info.maxT = b.minT, b.maxT
		}
		w.info.minT, w.info.maxT = min(w.info.minT, b.minT), max(w.info.maxT, b.maxT)
		w.secMin, w.secMax = min(w.secMin, b.minT), max(w.secMax, b.maxT)
		w.info.samples += uint64(b.n)
	}
	w.info.series++
	if w.secN++; w.secN == sectionSize {
		w.endSection()
	}
}

func (w *chunkWriter) endSection() {
	if w.secN == 0 {
		return
	}
	begin := len(w.index)
	w.index = appendSection(w.index, w.sec)
	w.sections = append(w.sections, section{
		off: int64(begin), size: uint32(len(w.index) - begin), sum: frame.Checksum(w.index[begin:]), series: uint32(w.secN),
		minT: w.secMin, maxT: w.secMax,
	})
	w.sec, w.secN, w.prevKey = w.sec[:0], 0, ""
	w.prevOff = chunkHeader
}

// Forms of a section.
const (
	sectionPlain   = 0
	sectionDeflate = 1
)

// maxInflate is how many times larger than its coding DEFLATE can make a text.
const maxInflate = 1032

var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.DefaultCompression) // the level is valid
	return w
}}

// appendSection appends a section, by DEFLATE where that saves an eighth: of
// series with many long labels it leaves a third, of those with few all.
func appendSection(dst, sec []byte) []byte {
	var buf bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&buf)
	_, _ = w.Write(sec) // a bytes.Buffer does not fail
	_ = w.Close()
	if buf.Len() >= len(sec)-len(sec)/8 {
		return append(append(dst, sectionPlain), sec...)
	}
	dst = binary.AppendUvarint(append(dst, sectionDeflate), uint64(len(sec)))
	return append(dst, buf.Bytes()...)
}

// openSection returns what appendSection was given, in buf if that is large
// enough, or part of src.
func openSection(buf, src []byte) (sec, room []byte, err error) {
	r := reader{b: src}
	switch kind := r.byte(); {
	case r.err:
	case kind == sectionPlain:
		return r.b, buf, nil
	case kind == sectionDeflate:
		n := r.uvarint()
		if r.err || n > uint64(len(r.b))*maxInflate {
			break
		}
		if uint64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		z := flate.NewReader(bytes.NewReader(r.b))
		if _, err := io.ReadFull(z, buf[:n]); err != nil {
			break
		}
		if k, _ := z.Read(make([]byte, 1)); k == 0 {
			return buf[:n], buf, nil
		}
	}
	return nil, buf, fmt.Errorf("%w: form of a section of the index", ErrCorrupt)
}

// finish writes index, footer and header, and syncs the file.
func (w *chunkWriter) finish() (chunkInfo, error) {
	w.endSection()
	base := w.pos()
	w.buf = append(w.buf, w.index...)
	// The meta part exists twice; the header points at the first, the footer at
	// the second.
	meta := binary.AppendUvarint(nil, uint64(len(w.sections)))
	for i := range w.sections {
		s := &w.sections[i]
		s.off += base
		meta = binary.AppendUvarint(meta, uint64(s.off))
		meta = binary.AppendUvarint(meta, uint64(s.size))
		meta = binary.LittleEndian.AppendUint32(meta, s.sum)
		meta = binary.AppendUvarint(meta, uint64(s.series))
		meta = binary.AppendVarint(meta, s.minT)
		meta = binary.AppendVarint(meta, s.maxT)
	}
	first := w.pos()
	metaLen := func() int { return len(w.info.append(nil)) + len(meta) }
	// The file's size is part of the meta part: find it by a second look.
	for range 3 {
		w.info.size = first + 2*int64(metaLen()) + chunkFooter
	}
	meta = w.info.append(meta)
	w.buf = append(w.buf, meta...)
	second := w.pos()
	w.buf = append(w.buf, meta...)
	w.buf = appendPointer(w.buf, second, meta)
	if err := w.flush(0); err != nil {
		return w.info, err
	}
	if _, err := w.f.WriteAt(appendPointer(nil, first, meta), 0); err != nil {
		return w.info, err
	}
	return w.info, w.f.Sync()
}

// appendPointer appends the 32 bytes that begin and end a chunk file.
func appendPointer(dst []byte, off int64, meta []byte) []byte {
	begin := len(dst)
	dst = append(dst, chunkMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, chunkVersion)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(off))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(meta)))
	dst = binary.LittleEndian.AppendUint32(dst, frame.Checksum(meta))
	return binary.LittleEndian.AppendUint32(dst, frame.Checksum(dst[begin:]))
}

// readPointer returns the meta part that the pointer at off names.
func readPointer(f io.ReaderAt, off, size int64) ([]byte, error) {
	var p [chunkHeader]byte
	if _, err := f.ReadAt(p[:], off); err != nil {
		return nil, corrupt(err, "pointer to the index")
	}
	if string(p[:8]) != chunkMagic || frame.Checksum(p[:28]) != binary.LittleEndian.Uint32(p[28:]) {
		return nil, fmt.Errorf("%w: pointer to the index", ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v != chunkVersion {
		return nil, fmt.Errorf("%w: chunk of version %d", ErrVersion, v)
	}
	at, n := int64(binary.LittleEndian.Uint64(p[12:])), int64(binary.LittleEndian.Uint32(p[20:]))
	if at < chunkHeader || at > size || n > size-at {
		return nil, fmt.Errorf("%w: index out of the file", ErrCorrupt)
	}
	meta := make([]byte, n)
	if _, err := f.ReadAt(meta, at); err != nil {
		return nil, corrupt(err, "index")
	}
	if frame.Checksum(meta) != binary.LittleEndian.Uint32(p[24:]) {
		return nil, fmt.Errorf("%w: checksum of the index", ErrCorrupt)
	}
	return meta, nil
}

// corrupt tells a file that ends too early from one that cannot be read.
func corrupt(err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s: the file ends", ErrCorrupt, what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// readMeta returns the meta part of a chunk of size bytes, from either copy.
func readMeta(f io.ReaderAt, size int64) (info chunkInfo, sections []section, twin error, err error) {
	var errs [2]error
	for i, off := range [...]int64{0, size - chunkFooter} {
		if size < chunkHeader+chunkFooter {
			return info, nil, nil, fmt.Errorf("%w: chunk of %d bytes", ErrCorrupt, size)
		}
		meta, err := readPointer(f, off, size)
		if err == nil && sections == nil && info.id == 0 {
			info, sections, err = decodeMeta(meta)
		}
		errs[i] = err
	}
	if errs[0] != nil && errs[1] != nil {
		return info, nil, nil, errs[0]
	}
	return info, sections, errors.Join(errs[0], errs[1]), nil
}

func decodeMeta(meta []byte) (info chunkInfo, sections []section, err error) {
	r := reader{b: meta}
	for range r.count(9) {
		var s section
		s.off = int64(r.uvarint())
		s.size = uint32(r.uvarint())
		if b := r.bytes(4); b != nil {
			s.sum = binary.LittleEndian.Uint32(b)
		}
		s.series = uint32(r.uvarint())
		s.minT, s.maxT = r.varint(), r.varint()
		sections = append(sections, s)
	}
	info.read(&r)
	if r.err || len(r.b) > 0 {
		return chunkInfo{}, nil, fmt.Errorf("%w: meta part", ErrCorrupt)
	}
	return info, sections, nil
}

// appendKeyAfter appends a key as what differs from the one before: bytes in
// common at the front and at the end, and what is between. Neighbours in order
// share most.
func appendKeyAfter(dst []byte, key, prev string) []byte {
	front := 0
	for front < len(key) && front < len(prev) && key[front] == prev[front] {
		front++
	}
	back := 0
	for back < len(key)-front && back < len(prev)-front && key[len(key)-1-back] == prev[len(prev)-1-back] {
		back++
	}
	dst = binary.AppendUvarint(dst, uint64(front))
	dst = binary.AppendUvarint(dst, uint64(back))
	return appendText(dst, key[front:len(key)-back])
}

func readKeyAfter(r *reader, prev string) string {
	front, back := r.uvarint(), r.uvarint()
	mid := r.text()
	if front > uint64(len(prev)) || back > uint64(len(prev))-front || len(mid)+int(front+back) > maxKey {
		r.fail()
		return ""
	}
	return prev[:front] + mid + prev[len(prev)-int(back):]
}

// A chunkIndex is a chunk's index in memory.
type chunkIndex struct {
	*labelIndex          // sorted by key
	firsts      []uint32 // of a series in blocks; one more for the end
	blocks      []blockMeta
	lost        []section // that could not be read
	why         []error
	bytes       int64 // estimate of memory
}

func (x *chunkIndex) series(ord uint32) []blockMeta { return x.blocks[x.firsts[ord]:x.firsts[ord+1]] }

// loadIndex reads the sections of a chunk. Those that are damaged are in lost;
// the memory it takes is bounded by the size of the file.
func loadIndex(f io.ReaderAt, info *chunkInfo, sections []section, size int64) *chunkIndex {
	x := &chunkIndex{firsts: []uint32{0}}
	var keys []string
	var buf, plain []byte
	lose := func(s section, err error) {
		x.lost = append(x.lost, s)
		x.why = append(x.why, err)
	}
	for _, s := range sections {
		if s.off < 0 || s.off > size || int64(s.size) > size-s.off {
			lose(s, fmt.Errorf("%w: section out of the file", ErrCorrupt))
			continue
		}
		if cap(buf) < int(s.size) {
			buf = make([]byte, s.size)
		}
		buf = buf[:s.size]
		if _, err := f.ReadAt(buf, s.off); err != nil {
			lose(s, corrupt(err, "section of the index"))
			continue
		}
		if frame.Checksum(buf) != s.sum {
			lose(s, fmt.Errorf("%w: checksum of a section of the index", ErrCorrupt))
			continue
		}
		var sec []byte
		var err error
		if sec, plain, err = openSection(plain, buf); err != nil {
			lose(s, err)
			continue
		}
		nKeys, nBlocks, nFirsts := len(keys), len(x.blocks), len(x.firsts)
		if keys, err = x.decodeSection(sec, info, int(s.series), keys, size); err != nil {
			keys, x.blocks, x.firsts = keys[:nKeys], x.blocks[:nBlocks], x.firsts[:nFirsts]
			lose(s, err)
		}
	}
	x.labelIndex = newLabelIndex(keys)
	for _, k := range keys {
		x.bytes += int64(len(k)) + 20
	}
	x.bytes += int64(cap(x.blocks)) * 80
	return x
}

func (x *chunkIndex) decodeSection(b []byte, info *chunkInfo, series int, keys []string, size int64) ([]string, error) {
	bad := func(what string) ([]string, error) {
		return keys, fmt.Errorf("%w: section of the index: %s", ErrCorrupt, what)
	}
	r := reader{b: b}
	prev, prevOff := "", int64(chunkHeader)
	for range series {
		key := readKeyAfter(&r, prev)
		if r.err || !validKey(key) {
			return bad("key")
		}
		if n := len(keys); n > 0 && keys[n-1] >= key {
			return bad("keys do not rise")
		}
		prev = key
		n := r.count(5)
		last := info.rng.From
		for i := range n {
			var m blockMeta
			m.minT = last + r.varint()
			m.maxT = m.minT + int64(r.uvarint())
			m.off = prevOff + r.varint()
			m.size = uint32(r.uvarint())
			m.n = uint32(r.uvarint())
			if info.kind == chunkSamples {
				m.sum.read(&r, int(m.n))
			}
			after := m.off + int64(m.size) + 4
			if r.err || m.minT > m.maxT || m.minT < info.rng.From || m.maxT >= info.rng.To || m.n == 0 || m.n > maxBlock ||
				m.off < chunkHeader || after < m.off || after > size || i > 0 && (m.minT < last || info.kind != chunkLogs && m.minT == last) {
				return bad("block")
			}
			prevOff, last = after, m.maxT
			x.blocks = append(x.blocks, m)
		}
		keys = append(keys, key)
		x.firsts = append(x.firsts, uint32(len(x.blocks)))
	}
	if len(r.b) > 0 {
		return bad("bytes behind it")
	}
	return keys, nil
}

// A chunk is a sealed chunk. Its file is open and its index in memory while
// somebody reads it, and for some time after.
type chunk struct {
	info chunkInfo
	db   *DB

	mu   sync.Mutex // guards what is below, and loading
	refs int
	dead bool // to be removed when refs is zero
	f    chunkFile
	x    *chunkIndex
	used uint64 // the cache's clock at the last use
}

type chunkFile interface {
	io.ReaderAt
	Close() error
}

func chunkName(id uint64) string { return fmt.Sprintf("%016x.chk", id) }

func (c *chunk) path() string { return filepath.Join(c.db.dir, "chunks", chunkName(c.info.id)) }

func (c *chunk) fail(key string, r Range, err error) error {
	e := &CorruptError{Source: c.info.source, Range: r, File: chunkName(c.info.id), Err: err}
	if key != "" {
		e.Labels = keyLabels(key)
	}
	return e
}

// hold keeps the chunk's file until release.
func (c *chunk) hold() {
	c.mu.Lock()
	c.refs++
	c.mu.Unlock()
}

func (c *chunk) release() {
	c.mu.Lock()
	c.refs--
	if c.refs == 0 && c.dead {
		c.removeLocked()
	}
	c.mu.Unlock()
}

// remove unlinks the file, at once or when the last reader is done.
func (c *chunk) remove() {
	c.mu.Lock()
	c.dead = true
	if c.refs == 0 {
		c.removeLocked()
	}
	c.mu.Unlock()
}

func (c *chunk) removeLocked() {
	c.unloadLocked()
	if !c.info.archived {
		_ = c.db.fs.Remove(c.path()) // else the next Open does it
	}
}

func (c *chunk) unloadLocked() {
	if c.f != nil {
		c.f.Close()
	}
	c.f, c.x = nil, nil
}

// index returns the index, loading it if need be. The caller holds the chunk.
func (c *chunk) index() (*chunkIndex, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = c.db.clock.Add(1)
	if c.x != nil {
		return c.x, nil
	}
	f, size, err := c.openLocked()
	if err != nil {
		return nil, c.fail("", c.info.rng, err)
	}
	info, sections, _, err := readMeta(f, size)
	if err == nil && (info.id != c.info.id || info.source != c.info.source) {
		err = fmt.Errorf("%w: the file is another chunk", ErrCorrupt)
	}
	if err != nil {
		f.Close()
		return nil, c.fail("", c.info.rng, err)
	}
	c.f, c.x = f, loadIndex(f, &c.info, sections, size)
	c.db.cache.loaded(c)
	return c.x, nil
}

func (c *chunk) openLocked() (chunkFile, int64, error) {
	if c.info.archived {
		return c.db.openArchived(c)
	}
	f, err := c.db.fs.Open(c.path())
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// A blockReader reads blocks of a chunk, ahead where they are read in order.
type blockReader struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	off  int64 // of buf
	last int64 // end of the block before
}

const readAhead = 256 << 10

// read returns the payload of a block, valid until the next call.
func (r *blockReader) read(m *blockMeta) ([]byte, error) {
	need := int64(m.size) + 4
	if m.off < r.off || m.off+need > r.off+int64(len(r.buf)) {
		n := need
		if d := m.off - r.last; d >= 0 && d < readAhead/8 {
			n = max(n, min(readAhead, r.size-m.off))
		}
		if int64(cap(r.buf)) < n {
			r.buf = make([]byte, n)
		}
		r.buf, r.off = r.buf[:n], m.off
		if k, err := r.f.ReadAt(r.buf, m.off); int64(k) < need {
			r.buf = r.buf[:0]
			return nil, corrupt(err, "block")
		} else if int64(k) < n {
			r.buf = r.buf[:k]
		}
	}
	r.last = m.off + need
	b := r.buf[m.off-r.off:][:need]
	if frame.Checksum(b[:m.size]) != binary.LittleEndian.Uint32(b[m.size:]) {
		return nil, fmt.Errorf("%w: checksum of a block", ErrCorrupt)
	}
	return b[:m.size:m.size], nil
}

// chunkCache bounds how many chunks are open and what their indexes take.
type chunkCache struct {
	mu     sync.Mutex
	chunks map[*chunk]int64 // bytes
	bytes  int64
	budget int64
}

const maxOpenChunks = 512

// loaded notes that a chunk was loaded, and unloads those used longest ago that
// nobody holds. The caller holds the chunk's lock.
func (h *chunkCache) loaded(c *chunk) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.chunks == nil {
		h.chunks = map[*chunk]int64{}
	}
	h.bytes += c.x.bytes - h.chunks[c]
	h.chunks[c] = c.x.bytes
	for h.bytes > h.budget || len(h.chunks) > maxOpenChunks {
		var old *chunk
		var used uint64
		for o := range h.chunks {
			if o == c || !o.mu.TryLock() {
				continue
			}
			if o.refs == 0 && (old == nil || o.used < used) {
				old, used = o, o.used
			}
			o.mu.Unlock()
		}
		if old == nil || !old.mu.TryLock() {
			return
		}
		if old.refs == 0 {
			old.unloadLocked()
		}
		old.mu.Unlock()
		h.bytes -= h.chunks[old]
		delete(h.chunks, old)
	}
}

func (h *chunkCache) forget(c *chunk) {
	h.mu.Lock()
	h.bytes -= h.chunks[c]
	delete(h.chunks, c)
	h.mu.Unlock()
}
