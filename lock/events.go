package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// listen keeps the session subscribed to its grants, on whatever connection
// there is. Each subscription begins with the grants that stand, so none is
// missed.
func (s *session) listen(ctx context.Context) {
	const first = 5 * time.Millisecond
	pause := first
	for ctx.Err() == nil {
		began := time.Now()
		tctx, cancel := context.WithTimeout(ctx, s.c.opts.RequestTimeout)
		nc, err := s.c.servers.conn(tctx)
		cancel()
		if err == nil {
			err = s.listenOn(ctx, nc)
		}
		if ctx.Err() != nil {
			return
		}
		s.c.log.Debug("stream", "session", s.id, "err", err)
		// While there is no leader all clients are here: they must not keep the
		// servers from electing one.
		if time.Since(began) > time.Second {
			pause = first
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// listenOn returns when the subscription or the connection ends.
func (s *session) listenOn(ctx context.Context, nc *conn) error {
	failed := make(chan error, 1)
	cancel, err := nc.subscribe(wire.AskEvents, s.id[:], func(a frame) {
		if err := s.event(a); err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer cancel()
	select {
	case err := <-failed:
		var r *redirect
		if errors.As(err, &r) {
			r.node = nc.node
			s.c.servers.leave(nc, r)
		}
		return err
	case <-nc.dead:
		return nc.broken()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// event handles one event. An error ends the subscription.
func (s *session) event(a frame) error {
	switch a.kind {
	case wire.GrantedTo:
		req, token, err := wire.ParseGrant(a.payload)
		if err != nil {
			return err
		}
		s.mu.Lock()
		p := s.requests[req]
		s.mu.Unlock()
		if p != nil {
			select {
			case p.grant <- token:
			default: // told before
			}
		}
		return nil
	case wire.Over:
		s.end(fmt.Errorf("%w: the servers ended the session", ErrLost))
		return errNoSession
	}
	if a.kind == wire.NotLeader {
		return &redirect{leader: string(a.payload)}
	}
	return fmt.Errorf("lock: event of kind %d: %.80q", a.kind, a.payload)
}
