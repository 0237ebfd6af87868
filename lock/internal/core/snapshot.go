package core

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// Snapshot encoding, version 1. Integers are little-endian; a string is its
// length as a uvarint and its bytes.
//
//	8   magic "ASHLOCK\x01", the last byte is the version
//	8   index · 8 last token · 8 last seq
//	4   sessions, then each, in the order of their ids:
//	    16 id · 8 ttl in ns · 8 epoch · 8 floor · string label
//	    2 finished requests, then each, oldest first: 8 req · 8 token · 1 status
//	4   requests, then each, in the order of seq:
//	    8 seq · 4 number of its session above, from 0 · 8 req · 8 token · 8 since
//	    1 kind · 4 weight · 4 limit · string key · string value
//	4   CRC-32C of everything before
//
// Queues and lists follow from the order of the requests.
const snapshotMagic = "ASHLOCK\x01"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Snapshot is the state at one moment. It stays as it is while further
// commands are applied.
type Snapshot struct {
	index, token, seq  uint64
	sessions           []*page[session]
	requests           []*page[request]
	nSession, nRequest int
}

// Snapshot fixes the present state. It takes the time to copy the tables of
// pages, 8 bytes for 128 sessions or requests.
func (s *State) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Snapshot{
		index: s.index, token: s.token, seq: s.seq, sessions: s.sessions.freeze(), requests: s.requests.freeze(),
		nSession: s.sessions.n, nRequest: s.requests.n,
	}
}

// Release drops the snapshot's memory.
func (p *Snapshot) Release() { p.sessions, p.requests = nil, nil }

// WriteTo writes the encoding, which is the same for equal states.
func (p *Snapshot) WriteTo(w io.Writer) (int64, error) {
	e := encoder{w: bufio.NewWriterSize(w, 64<<10)}
	e.raw([]byte(snapshotMagic))
	e.u64(p.index, p.token, p.seq)

	type numbered struct {
		*session
		slot uint32
	}
	sessions := make([]numbered, 0, p.nSession)
	for i, pg := range p.sessions {
		for j := range pg.items {
			if x := &pg.items[j]; x.ttl != 0 {
				sessions = append(sessions, numbered{x, uint32(i*pageSize + j)})
			}
		}
	}
	slices.SortFunc(sessions, func(a, b numbered) int { return bytes.Compare(a.id[:], b.id[:]) })
	number := make(map[uint32]uint32, len(sessions))
	e.u32(uint32(len(sessions)))
	for i, x := range sessions {
		number[x.slot] = uint32(i)
		e.raw(x.id[:])
		e.u64(uint64(x.ttl), x.epoch, x.floor)
		e.str(x.label)
		e.raw([]byte{byte(len(x.done)), byte(len(x.done) >> 8)})
		for _, f := range x.done {
			e.u64(f.req, f.token)
			e.raw([]byte{byte(f.status)})
		}
	}

	requests := make([]*request, 0, p.nRequest)
	for _, pg := range p.requests {
		for j := range pg.items {
			if x := &pg.items[j]; x.seq != 0 {
				requests = append(requests, x)
			}
		}
	}
	slices.SortFunc(requests, func(a, b *request) int { return cmp.Compare(a.seq, b.seq) })
	e.u32(uint32(len(requests)))
	for _, x := range requests {
		e.u64(x.seq)
		e.u32(number[x.session])
		e.u64(x.req, x.token, uint64(x.since))
		e.raw([]byte{byte(x.kind)})
		e.u32(x.weight)
		e.u32(x.limit)
		e.str(x.key)
		e.str(x.value)
	}
	e.u32(e.sum)
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.n, e.err
}

type encoder struct {
	w   *bufio.Writer
	sum uint32
	n   int64
	err error
	buf []byte
}

func (e *encoder) raw(b []byte) {
	if e.err != nil {
		return
	}
	e.sum = crc32.Update(e.sum, castagnoli, b)
	n, err := e.w.Write(b)
	e.n += int64(n)
	e.err = err
}

func (e *encoder) u64(xs ...uint64) {
	e.buf = e.buf[:0]
	for _, x := range xs {
		e.buf = binary.LittleEndian.AppendUint64(e.buf, x)
	}
	e.raw(e.buf)
}

func (e *encoder) u32(x uint32) {
	e.buf = binary.LittleEndian.AppendUint32(e.buf[:0], x)
	e.raw(e.buf)
}

func (e *encoder) str(s string) {
	e.buf = append(binary.AppendUvarint(e.buf[:0], uint64(len(s))), s...)
	e.raw(e.buf)
}

// Restore replaces the state by that of a snapshot, which must end where r
// does. Errors wrap [ErrCorrupt], [ErrVersion] or r's own; the state is then
// what it was.
func (s *State) Restore(r io.Reader) error {
	fresh := New()
	d := reader{r: bufio.NewReaderSize(r, 64<<10)}
	if err := fresh.restore(&d); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.token, s.seq, s.sum = fresh.index, fresh.token, fresh.seq, fresh.sum
	s.sessions, s.requests = fresh.sessions, fresh.requests
	s.byID, s.queues, s.active = fresh.byID, fresh.queues, fresh.active
	return nil
}

func (s *State) restore(d *reader) error {
	var magic [len(snapshotMagic)]byte
	d.raw(magic[:])
	switch {
	case d.err != nil:
		return d.fail("magic")
	case string(magic[:7]) != snapshotMagic[:7]:
		return fmt.Errorf("%w: magic %q", ErrCorrupt, magic)
	case magic[7] != snapshotMagic[7]:
		return fmt.Errorf("%w: snapshot version %d", ErrVersion, magic[7])
	}
	s.index, s.token, s.seq = d.u64(), d.u64(), d.u64()
	n := d.u32()
	if n > MaxSessions {
		return fmt.Errorf("%w: %d sessions, above %d", ErrCorrupt, n, MaxSessions)
	}
	var slots []uint32
	var last SessionID
	for i := range n {
		var x session
		d.raw(x.id[:])
		x.ttl, x.epoch, x.floor = time.Duration(d.u64()), d.u64(), d.u64()
		x.label = d.str(MaxLabel)
		for range d.u16() {
			x.done = append(x.done, finished{d.u64(), d.u64(), Status(d.u8())})
			if d.err != nil {
				break
			}
		}
		switch {
		case d.err != nil:
			return d.fail(fmt.Sprintf("session %d", i))
		case i > 0 && bytes.Compare(last[:], x.id[:]) >= 0:
			return fmt.Errorf("%w: session %v is out of order", ErrCorrupt, x.id)
		case x.ttl < MinTTL || x.ttl > MaxTTL || len(x.done) > remembered || !utf8.ValidString(x.label):
			return fmt.Errorf("%w: session %v: ttl %v, %d finished requests", ErrCorrupt, x.id, x.ttl, len(x.done))
		}
		for _, f := range x.done {
			if f.status < StatusOK || f.status > StatusInvalid {
				return fmt.Errorf("%w: session %v: request %d has status %d", ErrCorrupt, x.id, f.req, f.status)
			}
		}
		last = x.id
		slot := s.sessions.put(x)
		slots = append(slots, slot)
		s.byID[x.id] = slot
		s.sum ^= x.digest()
	}
	seq := uint64(0)
	for i := range d.u32() {
		var x request
		x.seq = d.u64()
		owner := d.u32()
		x.req, x.token, x.since = d.u64(), d.u64(), int64(d.u64())
		x.kind, x.weight, x.limit = Kind(d.u8()), d.u32(), d.u32()
		x.key, x.value = d.str(MaxKey), d.str(MaxValue)
		if d.err != nil {
			return d.fail(fmt.Sprintf("request %d", i))
		}
		bad := func(why string) error {
			return fmt.Errorf("%w: request %d, seq %d, on %.40q: %s", ErrCorrupt, i, x.seq, x.key, why)
		}
		if x.seq <= seq || x.seq > s.seq || int(owner) >= len(slots) || x.token > s.token {
			return bad("order, session or token out of range")
		}
		seq = x.seq
		c := Command{Op: OpEnqueue, Req: x.req, Key: x.key, Kind: x.kind, Weight: x.weight, Limit: x.limit}
		if err := c.Validate(); err != nil {
			return bad(err.Error())
		}
		x.session = slots[owner]
		token := x.token
		x.token = 0 // link takes it for one that waits
		if q := s.queues[x.key]; q != nil {
			switch {
			case s.active[place{x.session, q}] != 0:
				return bad("the session has two requests on the key")
			case q.limit != x.limit || (q.limit != 0) != (x.kind == Permit):
				return bad("two kinds of lock on one key")
			case token != 0 && (q.wait != 0 || !q.admits(x.kind, x.weight)):
				return bad("granted, though it should wait")
			}
		}
		_, q := s.link(x)
		if token != 0 {
			s.hold(q, token, x.since)
		}
		if q.holders == 0 {
			return bad("it waits, though nobody holds the key")
		}
	}
	want := d.sum
	if got := d.u32(); d.err != nil {
		return d.fail("checksum")
	} else if got != want {
		return fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	if _, err := d.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: bytes behind the checksum", ErrCorrupt)
	}
	for _, q := range s.queues {
		if q.wait != 0 {
			if x := s.requests.at(q.wait); q.admits(x.kind, x.weight) {
				return fmt.Errorf("%w: %.40q: the first waiter should hold the lock", ErrCorrupt, q.key)
			}
		}
	}
	return nil
}

type reader struct {
	r   *bufio.Reader
	sum uint32
	err error
	buf [8]byte
}

func (d *reader) fail(what string) error {
	if errors.Is(d.err, io.EOF) || errors.Is(d.err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within %s", ErrCorrupt, what)
	}
	return fmt.Errorf("lock: snapshot: %s: %w", what, d.err)
}

func (d *reader) raw(b []byte) {
	if d.err != nil {
		clear(b)
		return
	}
	if _, d.err = io.ReadFull(d.r, b); d.err != nil {
		clear(b)
		return
	}
	d.sum = crc32.Update(d.sum, castagnoli, b)
}

func (d *reader) u64() uint64 {
	d.raw(d.buf[:8])
	return binary.LittleEndian.Uint64(d.buf[:8])
}

func (d *reader) u32() uint32 {
	d.raw(d.buf[:4])
	return binary.LittleEndian.Uint32(d.buf[:4])
}

func (d *reader) u16() uint16 {
	d.raw(d.buf[:2])
	return binary.LittleEndian.Uint16(d.buf[:2])
}

func (d *reader) u8() byte {
	d.raw(d.buf[:1])
	return d.buf[0]
}

// str reads a string of at most limit bytes.
func (d *reader) str(limit int) string {
	n, shift := 0, 0
	for {
		b := d.u8()
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 {
				d.bad("a length that is not minimal")
			}
			break
		}
		if shift += 7; shift > 14 {
			d.bad("a length above any limit")
			return ""
		}
	}
	if n > limit {
		d.bad(fmt.Sprintf("a string of %d bytes, above %d", n, limit))
		return ""
	}
	b := make([]byte, n)
	d.raw(b)
	return string(b)
}

func (d *reader) bad(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, why)
	}
}
