package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
	"github.com/ashlar-go/ashlar/replica"
)

// maxConcurrent is how many requests of one connection are under way at a time;
// further ones wait unread.
const maxConcurrent = 1024

// maxSubscriptions is how many subscriptions one connection may have: package
// lock's client has one for each session, and one session at a time.
const maxSubscriptions = 1024

// A stream is the connection of one client of package lock: see package wire.
type stream struct {
	n      *Node
	out    *wire.Writer
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// upgrade turns an HTTP request into a stream. Only a leader does, so that a
// client finds it at once.
func (n *Node) upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != wire.Protocol {
		w.Header().Set("Upgrade", wire.Protocol)
		reply(w, http.StatusUpgradeRequired, wire.Failure{Error: "lock: this path speaks " + wire.Protocol})
		return
	}
	if id, _, ok := n.replica.Leader(); !ok || id != n.replica.ID() {
		n.fail(w, n.notLeader())
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		n.fail(w, err)
		return
	}
	defer nc.Close()
	if nc.SetDeadline(time.Time{}) != nil {
		return
	}
	if _, err := fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", wire.Protocol); err != nil {
		return
	}
	s := &stream{n: n, out: wire.NewWriter(nc, 10*time.Second)}
	s.ctx, s.cancel = context.WithCancel(n.ctx)
	stop := context.AfterFunc(s.ctx, func() { nc.Close() })
	defer stop()
	s.wg.Go(s.ping)
	s.serve(rw.Reader)
	s.cancel()
	nc.Close()
	s.wg.Wait()
}

func (n *Node) notLeader() *replica.NotLeaderError {
	e := &replica.NotLeaderError{}
	if id, addr, ok := n.replica.Leader(); ok && id != n.replica.ID() {
		e.ID, e.Address = id, addr
	}
	return e
}

// ping tells the client that the connection is alive, and ends it when this
// server no longer leads.
func (s *stream) ping() {
	tick := time.NewTicker(wire.PingEvery / 4)
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		if id, addr, ok := s.n.replica.Leader(); !ok || id != s.n.replica.ID() {
			s.out.Send(0, wire.NotLeader, []byte(addr)) //nolint:errcheck // it is over anyway
			s.cancel()
			return
		}
		if i%4 == 0 && s.out.Send(0, wire.Ping) != nil {
			s.cancel()
			return
		}
	}
}

// serve reads requests until the connection breaks.
func (s *stream) serve(r *bufio.Reader) {
	slots := make(chan struct{}, maxConcurrent)
	subscriptions := make(chan struct{}, maxSubscriptions)
	var buf []byte
	for {
		id, kind, payload, next, err := wire.ReadFrame(r, buf)
		if err != nil {
			return
		}
		buf = next
		var run func()
		switch kind {
		case wire.AskCommand:
			c, err := core.DecodeCommand(payload)
			if err == nil && c.Op == core.OpExpire {
				err = fmt.Errorf("%w: leases are ended by the leader alone", core.ErrInvalid)
			}
			if err != nil {
				s.fail(id, err)
				continue
			}
			run = func() { s.command(id, &c) }
		case wire.AskRenew, wire.AskEvents:
			var session core.SessionID
			if len(payload) != len(session) {
				s.fail(id, fmt.Errorf("%w: session of %d bytes", core.ErrInvalid, len(payload)))
				continue
			}
			copy(session[:], payload)
			if kind == wire.AskRenew {
				run = func() { s.renew(id, session) }
				break
			}
			// A subscription is not one of the slots: it lasts.
			select {
			case subscriptions <- struct{}{}:
			default:
				s.fail(id, fmt.Errorf("node: more than %d subscriptions", maxSubscriptions))
				continue
			}
			s.wg.Go(func() {
				defer func() { <-subscriptions }()
				s.events(id, session)
			})
			continue
		case wire.AskInspect:
			if !core.ValidKey(string(payload)) {
				s.fail(id, fmt.Errorf("%w: key of %d bytes", core.ErrInvalid, len(payload)))
				continue
			}
			key := string(payload)
			run = func() { s.inspect(id, key) }
		default:
			s.fail(id, fmt.Errorf("%w: unknown request %d", core.ErrInvalid, kind))
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		s.wg.Go(func() {
			defer func() { <-slots }()
			run()
		})
	}
}

func (s *stream) send(id uint64, k wire.Kind, parts ...[]byte) {
	if s.out.Send(id, k, parts...) != nil {
		s.cancel()
	}
}

// fail answers with an error.
func (s *stream) fail(id uint64, err error) {
	var nl *replica.NotLeaderError
	switch {
	case errors.As(err, &nl):
		s.send(id, wire.NotLeader, []byte(nl.Address))
	case errors.Is(err, core.ErrInvalid), errors.Is(err, core.ErrVersion):
		s.send(id, wire.Invalid, []byte(err.Error()))
	default:
		s.send(id, wire.Failed, []byte(err.Error()))
	}
}

func (s *stream) command(id uint64, c *core.Command) {
	ctx, cancel := s.n.bounded(s.ctx)
	defer cancel()
	res, err := s.n.execute(ctx, c)
	if err != nil {
		s.fail(id, err)
		return
	}
	s.result(id, res)
}

func (s *stream) result(id uint64, res core.Result) {
	label := ""
	if res.Status == core.StatusHeld {
		if x, ok := s.n.state.Session(res.Holder); ok {
			label = x.Label
		}
	}
	s.send(id, wire.Done, wire.AppendResult(make([]byte, 0, 64), res, label))
}

func (s *stream) renew(id uint64, session core.SessionID) {
	ctx, cancel := s.n.bounded(s.ctx)
	defer cancel()
	_, exists, err := s.n.renew(ctx, session)
	switch {
	case err != nil:
		s.fail(id, err)
	case !exists:
		s.result(id, core.Result{Status: core.StatusNoSession})
	default:
		s.send(id, wire.Renewed)
	}
}

func (s *stream) inspect(id uint64, key string) {
	ctx, cancel := s.n.bounded(s.ctx)
	defer cancel()
	if err := s.n.replica.Read(ctx); err != nil {
		s.fail(id, err)
		return
	}
	b, err := json.Marshal(s.n.view(key))
	if err != nil {
		s.fail(id, err)
		return
	}
	s.send(id, wire.Inspected, b)
}

// events tells of a session's grants: first those that stand, then each as it
// is made.
func (s *stream) events(id uint64, session core.SessionID) {
	ctx, cancel := s.n.bounded(s.ctx)
	err := s.n.replica.Read(ctx)
	cancel()
	if err != nil {
		s.fail(id, err)
		return
	}
	// Listen first and look then: a grant in between is told twice, not never.
	l := s.n.hub.listen(session, 0)
	defer s.n.hub.leave(l)
	held, ok := s.n.state.Holds(session, 0)
	if !ok {
		s.send(id, wire.Over)
		return
	}
	var scratch [16]byte
	for _, g := range held {
		s.send(id, wire.GrantedTo, wire.AppendGrant(scratch[:0], g.Req, g.Token))
	}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-l.wake:
		}
		events, cut := l.take()
		for _, e := range events {
			switch e.name {
			case wire.Granted:
				s.send(id, wire.GrantedTo, wire.AppendGrant(scratch[:0], e.Req, e.Token))
			case wire.End:
				s.send(id, wire.Over)
				return
			}
		}
		if cut { // it fell behind: the connection begins anew
			s.cancel()
			return
		}
	}
}
