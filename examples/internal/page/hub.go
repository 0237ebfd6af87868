package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A Hub sends the newest state to every open page as server-sent events. The
// zero Hub is ready. A Hub is safe for concurrent use by multiple goroutines. It
// starts none.
type Hub struct {
	mu      sync.Mutex
	state   []byte // JSON of the newest state, never changed
	version int
	readers map[chan struct{}]struct{}
	closed  bool
}

// quiet is how long a stream may be silent: a comment then tells the page, and
// what stands between, that it is alive.
const quiet = 15 * time.Second

// Publish makes v, as JSON, the present state. It panics if v has no JSON, which
// is a mistake in the program.
func (h *Hub) Publish(v any) {
	state, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("page: %T has no JSON: %v", v, err))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = state
	h.version++
	h.wakeLocked()
}

// wakeLocked tells each reader that there is something new. A reader that has
// not taken the last hint needs no second one: it will find the newest state.
func (h *Hub) wakeLocked() {
	for wake := range h.readers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// Present returns the present state as JSON, nil before the first, and its
// number.
func (h *Hub) Present() (state []byte, version int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.version
}

// Close ends all streams, and later ones at once.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.wakeLocked()
}

// ServeHTTP streams the present state and every later one, the newest first
// where the reader is slow. The number of a state is its event's id.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)

	wake := make(chan struct{}, 1)
	h.mu.Lock()
	if h.readers == nil {
		h.readers = map[chan struct{}]struct{}{}
	}
	h.readers[wake] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.readers, wake)
	}()

	silence := time.NewTicker(quiet)
	defer silence.Stop()
	sent := 0
	for {
		h.mu.Lock()
		state, version, closed := h.state, h.version, h.closed
		h.mu.Unlock()
		if closed {
			return
		}
		text := ": alive\n\n"
		if version > sent {
			text = "id: " + strconv.Itoa(version) + "\ndata: " + string(state) + "\n\n"
			sent = version
		}
		// A reader that takes nothing for long is gone. Not every server can set
		// a deadline.
		_ = out.SetWriteDeadline(time.Now().Add(2 * quiet))
		if _, err := w.Write([]byte(text)); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-wake:
		case <-silence.C:
		case <-r.Context().Done():
			return
		}
	}
}
