package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
	"github.com/ashlar-go/ashlar/replica"
)

const (
	maxBody = 16 << 10        // of a request; a value of 1 KiB and a key of 1 KiB fit
	maxWait = 5 * time.Minute // of a long poll
	beat    = 2 * time.Second // comments on an event stream
)

func (n *Node) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/sessions", n.openSession)
	m.HandleFunc("PUT /v1/sessions/{id}", n.renewSession)
	m.HandleFunc("DELETE /v1/sessions/{id}", n.closeSession)
	m.HandleFunc("GET /v1/sessions/{id}/events", n.sessionEvents)
	m.HandleFunc("POST /v1/locks/{key}/requests", n.request)
	m.HandleFunc("GET /v1/locks/{key}/requests/{req}", n.poll)
	m.HandleFunc("GET /v1/locks/{key}/requests/{req}/events", n.requestEvents)
	m.HandleFunc("DELETE /v1/locks/{key}/requests/{req}", n.release)
	m.HandleFunc("GET /v1/locks/{key}", n.inspect)
	m.HandleFunc("GET "+wire.StreamPath, n.upgrade)
	m.HandleFunc("GET /v1/cluster", n.cluster)
	m.HandleFunc("POST /v1/cluster/members", n.addMember)
	m.HandleFunc("DELETE /v1/cluster/members/{id}", n.removeMember)
	return m
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
}

// fail answers an error of the replica or of decoding.
func (n *Node) fail(w http.ResponseWriter, err error) {
	var nl *replica.NotLeaderError
	switch {
	case errors.As(err, &nl):
		if nl.Address == "" {
			n.unavailable(w, err)
			return
		}
		w.Header().Set(wire.LeaderHeader, nl.Address)
		reply(w, http.StatusMisdirectedRequest, wire.Failure{Error: err.Error()})
	case errors.Is(err, core.ErrInvalid):
		reply(w, http.StatusBadRequest, wire.Failure{Error: err.Error()})
	default:
		n.unavailable(w, err)
	}
}

func (n *Node) unavailable(w http.ResponseWriter, err error) {
	w.Header().Set("Retry-After", "1")
	reply(w, http.StatusServiceUnavailable, wire.Failure{Error: err.Error()})
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}

// bodyTimeout is how long a client may take to send a body.
const bodyTimeout = 5 * time.Second

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Now().Add(bodyTimeout)) //nolint:errcheck // not every server of the handler has one
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return invalid("body: %v", err)
	}
	if len(b) > maxBody {
		return invalid("body above %d bytes", maxBody)
	}
	rc.SetReadDeadline(time.Time{}) //nolint:errcheck // all is read: the request may take longer than its body
	if err := json.Unmarshal(b, v); err != nil {
		return invalid("body: %v", err)
	}
	return nil
}

// bounded is ctx with a limit on how long a request waits for a majority.
func (n *Node) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	d := n.opts.HeartbeatTimeout
	if d == 0 {
		d = time.Second
	}
	return context.WithTimeout(ctx, 5*d)
}

func (n *Node) openSession(w http.ResponseWriter, r *http.Request) {
	var in wire.Session
	if err := decode(w, r, &in); err != nil {
		n.fail(w, err)
		return
	}
	id, err := core.ParseSessionID(in.ID)
	if err != nil {
		n.fail(w, err)
		return
	}
	if in.TTLms < 0 || in.TTLms > 1<<40 {
		n.fail(w, invalid("ttl_ms %d", in.TTLms))
		return
	}
	ttl := time.Duration(in.TTLms) * time.Millisecond
	n.command(w, r, core.Command{Op: core.OpOpen, Session: id, TTL: ttl, Value: []byte(in.Label)}, func(res core.Result) {
		if res.Status != core.StatusOK {
			n.outcome(w, res)
			return
		}
		if s, ok := n.state.Session(id); ok {
			in.TTLms = s.TTL.Milliseconds() // the first request decided
		}
		reply(w, http.StatusCreated, wire.Session{ID: in.ID, TTLms: in.TTLms})
	})
}

// command replicates c and passes the result on, or answers the failure.
func (n *Node) command(w http.ResponseWriter, r *http.Request, c core.Command, then func(core.Result)) {
	ctx, cancel := n.bounded(r.Context())
	defer cancel()
	res, err := n.execute(ctx, &c)
	if err != nil {
		n.fail(w, err)
		return
	}
	then(res)
}

func (n *Node) pathSession(w http.ResponseWriter, r *http.Request) (core.SessionID, bool) {
	s := r.PathValue("id")
	if s == "" {
		s = r.URL.Query().Get("session")
	}
	id, err := core.ParseSessionID(s)
	if err != nil {
		n.fail(w, err)
		return id, false
	}
	return id, true
}

func (n *Node) renewSession(w http.ResponseWriter, r *http.Request) {
	id, ok := n.pathSession(w, r)
	if !ok {
		return
	}
	ctx, cancel := n.bounded(r.Context())
	defer cancel()
	ttl, exists, err := n.renew(ctx, id)
	switch {
	case err != nil:
		n.fail(w, err)
	case !exists:
		reply(w, http.StatusNotFound, wire.Outcome{State: wire.NoSession})
	default:
		reply(w, http.StatusOK, wire.Session{ID: id.String(), TTLms: ttl.Milliseconds()})
	}
}

func (n *Node) closeSession(w http.ResponseWriter, r *http.Request) {
	if id, ok := n.pathSession(w, r); ok {
		n.command(w, r, core.Command{Op: core.OpClose, Session: id}, func(res core.Result) { n.outcome(w, res) })
	}
}

func (n *Node) request(w http.ResponseWriter, r *http.Request) {
	var in wire.Request
	if err := decode(w, r, &in); err != nil {
		n.fail(w, err)
		return
	}
	id, err := core.ParseSessionID(in.Session)
	if err != nil {
		n.fail(w, err)
		return
	}
	c := core.Command{
		Op: core.OpEnqueue, Session: id, Req: in.Req, Key: r.PathValue("key"),
		Weight: in.Weight, Limit: in.Limit, Try: in.Try, Value: in.Value,
	}
	switch in.Kind {
	case "", "exclusive":
		c.Kind = core.Exclusive
	case "shared":
		c.Kind = core.Shared
	case "permit":
		c.Kind = core.Permit
	default:
		n.fail(w, invalid("kind %.20q", in.Kind))
		return
	}
	n.command(w, r, c, func(res core.Result) { n.outcome(w, res) })
}

func (n *Node) release(w http.ResponseWriter, r *http.Request) {
	c, ok := n.pathRequest(w, r)
	if !ok {
		return
	}
	c.Op = core.OpCancel
	if s := r.URL.Query().Get("token"); s != "" {
		token, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			n.fail(w, invalid("token %.30q", s))
			return
		}
		c.Op, c.Token = core.OpRelease, token
	}
	n.command(w, r, c, func(res core.Result) { n.outcome(w, res) })
}

func (n *Node) pathRequest(w http.ResponseWriter, r *http.Request) (c core.Command, ok bool) {
	if c.Session, ok = n.pathSession(w, r); !ok {
		return c, false
	}
	req, err := strconv.ParseUint(r.PathValue("req"), 10, 64)
	if err != nil {
		n.fail(w, invalid("request %.30q", r.PathValue("req")))
		return c, false
	}
	c.Key, c.Req = r.PathValue("key"), req
	return c, true
}

// outcome answers with the state machine's result.
func (n *Node) outcome(w http.ResponseWriter, res core.Result) {
	status, o := n.translate(res)
	reply(w, status, o)
}

func (n *Node) translate(res core.Result) (int, wire.Outcome) {
	o := wire.Outcome{Token: res.Token, Ahead: int(res.Ahead)}
	switch res.Status {
	case core.StatusOK:
		o.State = wire.Released
		return http.StatusOK, o
	case core.StatusGranted:
		o.State = wire.Granted
		return http.StatusOK, o
	case core.StatusQueued:
		o.State = wire.Queued
		return http.StatusAccepted, o
	case core.StatusReleased:
		o.State = wire.Released
		return http.StatusOK, o
	case core.StatusHeld:
		o.State, o.Token = wire.Held, 0
		h := &wire.Holder{Session: res.Holder.String(), Token: res.Token, Since: res.Since}
		if s, ok := n.state.Session(res.Holder); ok {
			h.Label = s.Label
		}
		o.Holder = h
		return http.StatusConflict, o
	case core.StatusHeldBySelf:
		o.State = wire.HeldBySelf
		return http.StatusConflict, o
	case core.StatusConflict:
		o.State = wire.Conflict
		return http.StatusConflict, o
	case core.StatusNotHeld:
		o.State = wire.NotHeld
		return http.StatusConflict, o
	case core.StatusGone:
		o.State = wire.Gone
		return http.StatusGone, o
	case core.StatusNoSession:
		o.State = wire.NoSession
		return http.StatusNotFound, o
	case core.StatusTooMany:
		o.State = wire.TooMany
		return http.StatusTooManyRequests, o
	}
	o.Error = res.Status.String()
	return http.StatusInternalServerError, o
}

// serveStream proves that this server leads, then hands the session's events to
// send until the client goes, the server stops, or send says that it is over.
func (n *Node) serveStream(w http.ResponseWriter, r *http.Request, id core.SessionID, req uint64) {
	ctx, cancel := n.bounded(r.Context())
	err := n.replica.Read(ctx)
	cancel()
	if err != nil {
		n.fail(w, err)
		return
	}
	// Listen first and look then: a grant in between is told twice, not never.
	l := n.hub.listen(id, req)
	defer n.hub.leave(l)
	held, ok := n.state.Holds(id, req)
	if !ok {
		reply(w, http.StatusNotFound, wire.Outcome{State: wire.NoSession})
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	var buf []byte
	put := func(e event) {
		b, _ := json.Marshal(e.Event)
		buf = fmt.Appendf(buf, "event: %s\ndata: %s\n\n", e.name, b)
	}
	buf = append(buf, ":\n\n"...)
	for _, g := range held {
		put(event{wire.Granted, wire.Event{Req: g.Req, Key: g.Key, Token: g.Token}})
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	leading := time.NewTicker(beat / 4)
	defer leading.Stop()
	for over := false; ; {
		if len(buf) > 0 {
			out.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if _, err := w.Write(buf); err != nil {
				return
			}
			if out.Flush() != nil {
				return
			}
			buf = buf[:0]
		}
		if over {
			return
		}
		select {
		case <-l.wake:
			events, cut := l.take()
			for _, e := range events {
				put(e)
				over = over || e.name == wire.End || req != 0 && e.name == wire.Lost
			}
			over = over || cut
		case <-tick.C:
			buf = append(buf, ":\n\n"...)
		case <-leading.C:
			// A deposed leader still learns of grants as a follower, but its
			// clients' other requests belong to the new one.
			if id, _, ok := n.replica.Leader(); !ok || id != n.replica.ID() {
				return
			}
		case <-r.Context().Done():
			return
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) sessionEvents(w http.ResponseWriter, r *http.Request) {
	if id, ok := n.pathSession(w, r); ok {
		n.serveStream(w, r, id, 0)
	}
}

func (n *Node) requestEvents(w http.ResponseWriter, r *http.Request) {
	if c, ok := n.pathRequest(w, r); ok {
		n.serveStream(w, r, c.Session, c.Req)
	}
}

// poll answers where a request stands, waiting for its grant.
func (n *Node) poll(w http.ResponseWriter, r *http.Request) {
	c, ok := n.pathRequest(w, r)
	if !ok {
		return
	}
	wait := time.Duration(0)
	if s := r.URL.Query().Get("wait"); s != "" {
		var err error
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 || wait > maxWait {
			n.fail(w, invalid("wait %.30q: want 0s to %v", s, maxWait))
			return
		}
	}
	ctx, cancel := n.bounded(r.Context())
	err := n.replica.Read(ctx)
	cancel()
	if err != nil {
		n.fail(w, err)
		return
	}
	l := n.hub.listen(c.Session, c.Req)
	defer n.hub.leave(l)
	t := time.NewTimer(wait)
	defer t.Stop()
	leading := time.NewTicker(beat / 4)
	defer leading.Stop()
	for {
		res := n.state.Request(c.Session, c.Key, c.Req)
		if res.Status != core.StatusQueued {
			n.outcome(w, res)
			return
		}
		select {
		case <-l.wake:
			l.take()
		case <-t.C:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-leading.C:
			if id, _, ok := n.replica.Leader(); !ok || id != n.replica.ID() {
				n.fail(w, n.notLeader()) // it waits elsewhere from now on
				return
			}
		case <-r.Context().Done():
			return
		case <-n.ctx.Done():
			n.unavailable(w, errors.New("node: stopping"))
			return
		}
	}
}

// queueShown is how many waiters an inspection lists.
const queueShown = 100

func (n *Node) inspect(w http.ResponseWriter, r *http.Request) {
	if key := r.PathValue("key"); !core.ValidKey(key) {
		n.fail(w, invalid("key of %d bytes", len(key)))
		return
	}
	switch c := r.URL.Query().Get("consistency"); c {
	case "", "linearizable":
		ctx, cancel := n.bounded(r.Context())
		defer cancel()
		if err := n.replica.Read(ctx); err != nil {
			n.fail(w, err)
			return
		}
	case "stale":
	default:
		n.fail(w, invalid("consistency %.30q: want linearizable or stale", c))
		return
	}
	reply(w, http.StatusOK, n.view(r.PathValue("key")))
}

func (n *Node) view(key string) wire.Lock {
	i := n.state.Inspect(key, queueShown)
	out := wire.Lock{Key: key, Limit: i.Limit, Waiting: i.Waiting, Index: i.Index, Holders: []wire.Holder{}}
	for _, h := range i.Holders {
		out.Holders = append(out.Holders, wire.Holder{
			Session: h.Session.String(), Label: h.Label, Req: h.Req,
			Kind: h.Kind.String(), Weight: h.Weight, Token: h.Token, Since: h.Since, Value: h.Value,
		})
	}
	for _, q := range i.Queue {
		out.Queue = append(out.Queue, wire.Waiter{
			Session: q.Session.String(), Label: q.Label, Req: q.Req,
			Kind: q.Kind.String(), Weight: q.Weight, Since: q.Since,
		})
	}
	return out
}

// clusterView answers GET /v1/cluster.
type clusterView struct {
	ID      string           `json:"id"`
	Leader  string           `json:"leader"`
	Address string           `json:"leader_address"`
	Members []replica.Member `json:"members"`
	Stats   Stats            `json:"stats"`
}

func (n *Node) cluster(w http.ResponseWriter, r *http.Request) {
	members, err := n.replica.Members()
	if err != nil {
		n.unavailable(w, err)
		return
	}
	v := clusterView{ID: n.replica.ID(), Members: members, Stats: n.Stats()}
	v.Leader, v.Address, _ = n.replica.Leader()
	reply(w, http.StatusOK, v)
}

// trusted tells whether a request may change the membership: with TLS that needs
// a certificate that a member's authority has signed, else whoever may take a
// lock could take the cluster apart.
func (n *Node) trusted(w http.ResponseWriter, r *http.Request) bool {
	if n.opts.TLS == nil || r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	reply(w, http.StatusForbidden, wire.Failure{Error: "node: changing the membership needs a client certificate"})
	return false
}

func (n *Node) addMember(w http.ResponseWriter, r *http.Request) {
	if !n.trusted(w, r) {
		return
	}
	var m replica.Member
	if err := decode(w, r, &m); err != nil {
		n.fail(w, err)
		return
	}
	n.membership(w, n.replica.Join(r.Context(), m))
}

func (n *Node) removeMember(w http.ResponseWriter, r *http.Request) {
	if !n.trusted(w, r) {
		return
	}
	n.membership(w, n.replica.Leave(r.Context(), r.PathValue("id")))
}

func (n *Node) membership(w http.ResponseWriter, err error) {
	var nl *replica.NotLeaderError
	switch {
	case err == nil:
		reply(w, http.StatusOK, struct{}{})
	case errors.As(err, &nl):
		n.fail(w, err)
	default:
		reply(w, http.StatusConflict, wire.Failure{Error: err.Error()})
	}
}
