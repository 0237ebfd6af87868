package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/core"
)

// A client of this module talks to a server over one connection, which begins
// as an HTTP request for StreamPath that upgrades to Protocol. From there on
// both sides send frames. Part of the protocol: never renumber.
//
//	offset  size  field
//	0       4     length of what follows, little-endian, 9 ≤ length ≤ MaxFrame
//	4       8     number of the request, chosen by the client; 0 for a ping
//	12      1     kind
//	13      …     payload
const (
	StreamPath = "/v1/stream"
	Protocol   = "ashlar-lock/1"
	MaxFrame   = 1 << 20

	frameHead = 13
)

// A Kind says what a frame is.
type Kind uint8

// What clients ask.
const (
	AskCommand Kind = 1 // payload: a core.Command; the server fills in clock and queue bound
	AskRenew   Kind = 2 // payload: the session's 16 bytes
	AskEvents  Kind = 3 // the same; answered by events until the session ends
	AskInspect Kind = 4 // payload: the key
)

// What servers answer.
const (
	Done      Kind = 16 // a core.Result: see AppendResult
	NotLeader Kind = 17 // payload: the leader's host:port, or nothing
	Failed    Kind = 18 // payload: why; the same request may succeed later
	Invalid   Kind = 19 // payload: why; the same request never will
	Renewed   Kind = 20 // no payload
	Inspected Kind = 21 // payload: a Lock as JSON
	GrantedTo Kind = 22 // an event: request, 8 bytes; token, 8 bytes
	Over      Kind = 23 // an event: the session has ended
	Ping      Kind = 24 // so that silence means a broken connection
)

// PingEvery is how often a server sends a Ping.
const PingEvery = 2 * time.Second

// ErrFrame is returned for bytes that are no frame.
var ErrFrame = errors.New("lock: malformed frame")

// ReadFrame reads one frame. The payload is in buf, which is made larger if need
// be, and returned for the next call.
func ReadFrame(r *bufio.Reader, buf []byte) (id uint64, k Kind, payload, next []byte, err error) {
	head, err := r.Peek(frameHead)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, nil, buf, err
	}
	n := binary.LittleEndian.Uint32(head)
	if n < frameHead-4 || n > MaxFrame {
		return 0, 0, nil, buf, fmt.Errorf("%w: length %d", ErrFrame, n)
	}
	id, k = binary.LittleEndian.Uint64(head[4:]), Kind(head[12])
	r.Discard(frameHead) //nolint:errcheck // it was peeked
	size := int(n) - (frameHead - 4)
	if size <= r.Size() {
		// Small: all of it is in the reader's buffer or will be.
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		_, err = io.ReadFull(r, buf[:size])
	} else {
		// Large: allocate as the bytes come, not as they are announced.
		buf, err = readLarge(r, buf[:0], size)
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, nil, buf, err
	}
	return id, k, buf[:size], buf, nil
}

func readLarge(r io.Reader, buf []byte, size int) ([]byte, error) {
	for len(buf) < size {
		n := min(size-len(buf), 64<<10)
		at := len(buf)
		buf = append(buf, make([]byte, n)...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// AppendFrame appends a frame whose payload is the concatenation of parts.
func AppendFrame(b []byte, id uint64, k Kind, parts ...[]byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, id)
	b = append(b, byte(k))
	for _, p := range parts {
		b = append(b, p...)
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// AppendResult appends a result and, for one that says who holds a lock, the
// holder's label: status, 1 byte; token, 8; ahead, 4; holder, 16; since, 8; the
// label.
func AppendResult(b []byte, r core.Result, label string) []byte {
	b = append(b, byte(r.Status))
	b = binary.LittleEndian.AppendUint64(b, r.Token)
	b = binary.LittleEndian.AppendUint32(b, r.Ahead)
	b = append(b, r.Holder[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Since))
	return append(b, label...)
}

const resultSize = 1 + 8 + 4 + 16 + 8

// ParseResult undoes AppendResult.
func ParseResult(b []byte) (r core.Result, label string, err error) {
	if len(b) < resultSize || len(b) > resultSize+core.MaxLabel {
		return r, "", fmt.Errorf("%w: result of %d bytes", ErrFrame, len(b))
	}
	r.Status = core.Status(b[0])
	r.Token = binary.LittleEndian.Uint64(b[1:])
	r.Ahead = binary.LittleEndian.Uint32(b[9:])
	copy(r.Holder[:], b[13:])
	r.Since = int64(binary.LittleEndian.Uint64(b[29:]))
	return r, string(b[resultSize:]), nil
}

// AppendGrant appends the payload of a GrantedTo.
func AppendGrant(b []byte, req, token uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, req), token)
}

// ParseGrant undoes AppendGrant.
func ParseGrant(b []byte) (req, token uint64, err error) {
	if len(b) != 16 {
		return 0, 0, fmt.Errorf("%w: grant of %d bytes", ErrFrame, len(b))
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), nil
}

// A Writer sends frames of many goroutines on one connection. Whoever finds the
// connection free writes what has gathered, its own and the others'. It is safe
// for concurrent use by multiple goroutines.
type Writer struct {
	nc      net.Conn
	timeout time.Duration

	mu    sync.Mutex
	buf   []byte // what waits
	spare []byte
	busy  bool
	err   error
}

// maxWaiting is how many bytes may wait for a peer that does not read.
const maxWaiting = 16 << 20

// NewWriter returns a writer on nc, which is closed when one write fails or
// takes longer than timeout.
func NewWriter(nc net.Conn, timeout time.Duration) *Writer { return &Writer{nc: nc, timeout: timeout} }

// Send sends a frame, or hands it to the goroutine that is writing. An error
// means that the connection is broken; no error does not mean that it is not.
func (w *Writer) Send(id uint64, k Kind, parts ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && len(w.buf) > maxWaiting {
		w.err = errors.New("lock: the peer does not read")
		w.nc.Close()
	}
	if w.err != nil {
		return w.err
	}
	w.buf = AppendFrame(w.buf, id, k, parts...)
	if w.busy {
		return nil
	}
	w.busy = true
	for len(w.buf) > 0 && w.err == nil {
		b := w.buf
		w.buf = w.spare[:0]
		w.mu.Unlock()
		w.nc.SetWriteDeadline(time.Now().Add(w.timeout)) //nolint:errcheck // the write will fail
		_, err := w.nc.Write(b)
		w.mu.Lock()
		if cap(b) > 256<<10 {
			b = nil
		}
		w.spare = b
		if err != nil && w.err == nil {
			w.err = err
			w.nc.Close()
		}
	}
	w.busy = false
	return w.err
}
