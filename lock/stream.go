package lock

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// listen keeps the session's event stream open. Whenever it is opened anew the
// server first repeats the grants that stand, so none is missed.
func (s *session) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.listenOnce(ctx)
		if errors.Is(err, errNoSession) {
			s.end(fmt.Errorf("%w: the servers ended the session", ErrLost))
			return
		}
		if ctx.Err() != nil {
			return
		}
		s.c.log.Debug("stream", "session", s.id, "err", err)
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// streamSilence is how long a stream may stay silent: the server sends a
// comment every 2 s.
const streamSilence = 7 * time.Second

func (s *session) listenOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(s.c.opts.RequestTimeout, cancel)
	defer silence.Stop()
	resp, node, err := s.c.http.do(ctx, "GET", s.path()+"/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusMisdirectedRequest:
		if l := resp.Header.Get(wire.LeaderHeader); l != "" {
			s.c.http.leadBy(l)
		} else {
			s.c.http.leave(node)
		}
		return fmt.Errorf("lock: %s does not lead", node)
	case http.StatusNotFound:
		var o wire.Outcome
		if json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&o) == nil && o.State == wire.NoSession {
			return errNoSession
		}
		return fmt.Errorf("lock: %s: %s", node, resp.Status)
	default:
		s.c.http.leave(node)
		return fmt.Errorf("lock: %s: %s", node, resp.Status)
	}
	r := bufio.NewReaderSize(resp.Body, 4<<10)
	var name string
	var data []byte
	for {
		silence.Reset(streamSilence)
		line, err := r.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("lock: stream ended")
			}
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			if name != "" {
				if err := s.event(name, data); err != nil {
					return err
				}
			}
			name, data = "", data[:0]
		case bytes.HasPrefix(line, []byte("event: ")):
			name = string(line[7:])
		case bytes.HasPrefix(line, []byte("data: ")):
			data = append(data, line[6:]...)
		}
	}
}

// event handles one event of the stream.
func (s *session) event(name string, data []byte) error {
	var e wire.Event
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("lock: event %q: %w", name, err)
	}
	switch name {
	case wire.Granted:
		s.mu.Lock()
		p := s.requests[e.Req]
		s.mu.Unlock()
		if p != nil {
			select {
			case p.grant <- e.Token:
			default: // told before
			}
		}
	case wire.End:
		return errNoSession
	}
	return nil
}
