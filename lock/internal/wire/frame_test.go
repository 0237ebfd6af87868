package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/core"
)

// FuzzReadFrame reads anything: an error, or frames that encode to what was
// read.
func FuzzReadFrame(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, 7, AskRenew, make([]byte, 16)), 0, Ping))
	f.Add(AppendFrame(nil, 1, Done, AppendResult(nil, core.Result{Status: core.StatusHeld, Token: 5}, "label")))
	f.Add(AppendFrame(nil, 1, Inspected, make([]byte, 100_000)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(b), 4096)
		var buf, again []byte
		for {
			id, k, payload, next, err := ReadFrame(r, buf)
			if err != nil {
				if !errors.Is(err, ErrFrame) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("error %v", err)
				}
				break
			}
			buf = next
			again = AppendFrame(again, id, k, payload)
			if k == Done {
				if res, label, err := ParseResult(payload); err == nil {
					if got := AppendResult(nil, res, label); !bytes.Equal(got, payload) {
						t.Fatalf("result %x encodes to %x", payload, got)
					}
				}
			}
			if k == GrantedTo {
				if req, token, err := ParseGrant(payload); err == nil && !bytes.Equal(AppendGrant(nil, req, token), payload) {
					t.Fatalf("grant %x", payload)
				}
			}
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("read %x from %x", again, b)
		}
	})
}

// A length is not believed before its bytes come.
func TestReadFrameAllocates(t *testing.T) {
	b := AppendFrame(nil, 1, Inspected, make([]byte, MaxFrame-frameHead))[:1000]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, _, _, err := ReadFrame(bufio.NewReaderSize(bytes.NewReader(b), 4096), nil)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
		t.Errorf("%d bytes allocated for 1000", n)
	}
}

// Frames of many goroutines arrive whole, each goroutine's in order.
func TestWriter(t *testing.T) {
	ours, theirs := net.Pipe()
	w := NewWriter(ours, time.Minute)
	const senders, frames = 8, 200
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range frames {
				if err := w.Send(uint64(s+1), AskInspect, []byte(strings.Repeat("x", i)), []byte{byte(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := map[uint64]int{}
	r := bufio.NewReader(theirs)
	var buf []byte
	for range senders * frames {
		id, _, payload, b, err := ReadFrame(r, buf)
		if err != nil {
			t.Fatal(err)
		}
		buf = b
		if i := next[id]; len(payload) != i+1 || payload[i] != byte(i) {
			t.Fatalf("frame %d of sender %d has %d bytes", i, id, len(payload))
		}
		next[id]++
	}
	wg.Wait()
	theirs.Close()
	if err := w.Send(1, Ping); err == nil {
		t.Error("sent on a broken connection")
	}
	if err := w.Send(1, Ping); err == nil {
		t.Error("a broken writer works again")
	}
}

// A peer that does not read is cut off, and blocks one sender at most.
func TestWriterSlowPeer(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	w := NewWriter(ours, time.Hour)
	first := make(chan error, 1)
	go func() { first <- w.Send(1, Ping) }()
	for { // until it is writing
		w.mu.Lock()
		busy := w.busy
		w.mu.Unlock()
		if busy {
			break
		}
		runtime.Gosched()
	}
	big := make([]byte, 1<<20-100)
	var err error
	for i := 0; err == nil; i++ {
		if i > 100 {
			t.Fatal("it takes everything")
		}
		err = w.Send(2, Inspected, big)
	}
	if fmt.Sprint(err) != "lock: the peer does not read" {
		t.Error(err)
	}
	if <-first == nil {
		t.Error("the blocked sender was told that all is well")
	}
}
