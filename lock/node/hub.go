package node

import (
	"sync"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// A hub hands the state machine's events to those who wait for them: event
// streams and long polls. It never blocks the machine: a listener that does not
// keep up is cut off and comes back for the present state.
type hub struct {
	mu        sync.Mutex
	listeners map[core.SessionID]map[*listener]struct{}
	delivered uint64 // events handed to a listener
}

// maxBacklog is how many events a listener may be behind.
const maxBacklog = 65536

// A listener receives one session's events, or those of one request of it.
type listener struct {
	session core.SessionID
	req     uint64        // 0: all
	wake    chan struct{} // capacity 1

	mu     sync.Mutex
	events []event
	cut    bool
}

type event struct {
	name string
	wire.Event
}

func newHub() *hub { return &hub{listeners: map[core.SessionID]map[*listener]struct{}{}} }

func (h *hub) listen(id core.SessionID, req uint64) *listener {
	l := &listener{session: id, req: req, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[id] == nil {
		h.listeners[id] = map[*listener]struct{}{}
	}
	h.listeners[id][l] = struct{}{}
	return l
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners[l.session], l)
	if len(h.listeners[l.session]) == 0 {
		delete(h.listeners, l.session)
	}
}

// publish is called by the state machine.
func (h *hub) publish(id core.SessionID, e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners[id] {
		if l.req != 0 && l.req != e.Req && e.name != wire.End {
			continue
		}
		h.delivered++
		l.mu.Lock()
		if len(l.events) >= maxBacklog {
			l.cut, l.events = true, nil
		} else if !l.cut {
			l.events = append(l.events, e)
		}
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// take returns what has arrived and whether the listener was cut off.
func (l *listener) take() (events []event, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, l.events = l.events, nil
	return events, l.cut
}

func (h *hub) count() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.delivered
}
