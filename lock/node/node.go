package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ashlar-go/ashlar/lock/internal/core"
	"github.com/ashlar-go/ashlar/lock/internal/wire"
	"github.com/ashlar-go/ashlar/replica"
)

// Options configures [Open]. Nil, and a zero field, mean the default. The
// fields up to AuditEvery have the meaning that they have in [replica.Options].
type Options struct {
	ID        string
	Cluster   string
	Listen    string       // default "127.0.0.1:0"
	Listener  net.Listener // instead of Listen
	Advertise string
	Bootstrap []replica.Member
	Join      []string
	TLS       *tls.Config // for members and, without client certificates, for clients; changing members needs one
	Insecure  bool

	HeartbeatTimeout time.Duration
	StallTimeout     time.Duration
	SnapshotEvery    uint64
	TrailingLogs     uint64
	InFlight         int
	Store            replica.Store
	SerialSync       bool
	AuditEvery       time.Duration

	// MaxWaiters bounds the queue of one key; further requests get 429.
	// Default 100,000.
	MaxWaiters int

	// Logger receives messages. Default: none.
	Logger *slog.Logger

	// Clock returns the time since some fixed moment, for leases. Default: the
	// process' monotonic clock. Simulations replace it, and Transport and
	// InMemory, as in [replica.Options].
	Clock     func() time.Duration
	Transport raft.Transport
	InMemory  bool
}

// A Node is one lock server. It is safe for concurrent use by multiple
// goroutines. Use [Open].
type Node struct {
	opts    Options
	log     *slog.Logger
	replica *replica.Node
	state   *core.State
	hub     *hub
	leases  *leases
	server  *http.Server
	handler http.Handler

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open starts a server on a directory, which it owns until Close; see
// [replica.Open] for what a new directory needs. It returns when the server
// listens, and does not wait for a leader.
func Open(dir string, opts *Options) (*Node, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxWaiters == 0 {
		o.MaxWaiters = 100_000
	}
	if o.MaxWaiters < 1 || o.MaxWaiters > 1<<24 {
		return nil, fmt.Errorf("node: MaxWaiters %d is not in [1, 2^24]", o.MaxWaiters)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		start := time.Now()
		o.Clock = func() time.Duration { return time.Since(start) }
	}
	if o.TLS != nil && o.TLS.ClientAuth == tls.NoClientCert {
		// Clients need no certificate, but who changes the membership does.
		o.TLS = o.TLS.Clone()
		o.TLS.ClientAuth = tls.VerifyClientCertIfGiven
	}
	n := &Node{opts: o, log: o.Logger, state: core.New(), hub: newHub(), leases: newLeases(o.Clock)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.handler = n.routes()
	r, err := replica.Open(dir, (*machine)(n), &replica.Options{
		ID: o.ID, Cluster: o.Cluster, Listen: o.Listen, Listener: o.Listener, Advertise: o.Advertise,
		Bootstrap: o.Bootstrap, Join: o.Join, TLS: o.TLS, Insecure: o.Insecure,
		HeartbeatTimeout: o.HeartbeatTimeout, StallTimeout: o.StallTimeout,
		SnapshotEvery: o.SnapshotEvery, TrailingLogs: o.TrailingLogs, InFlight: o.InFlight,
		Store: o.Store, SerialSync: o.SerialSync, AuditEvery: o.AuditEvery, MaxCommand: maxBody,
		Leadership: n.lead, Logger: o.Logger, Transport: o.Transport, InMemory: o.InMemory,
	})
	if err != nil {
		n.cancel()
		return nil, err
	}
	n.replica = r
	n.wg.Go(func() { // a member that has failed can serve nobody
		<-r.Done()
		n.cancel()
	})
	if ln := r.Listener(); ln != nil {
		n.server = &http.Server{
			Handler: n.handler, ReadHeaderTimeout: bodyTimeout, IdleTimeout: 2 * time.Minute,
			ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		}
		n.wg.Go(func() {
			if err := n.server.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				n.log.Error("serve", "err", err)
			}
		})
	}
	return n, nil
}

// Replica returns the node's member of the cluster, for Join, Leave, Stats and
// what else concerns it rather than the locks.
func (n *Node) Replica() *replica.Node { return n.replica }

// Address returns the address for clients and members, host:port.
func (n *Node) Address() string { return n.replica.Address() }

// Handler returns the HTTP API, to be served elsewhere too. Requests must keep
// their path escaped as the client sent it.
func (n *Node) Handler() http.Handler { return n.handler }

// Done is closed when the server has stopped, by Close or because its disk or
// its state failed; Replica().Err() tells which.
func (n *Node) Done() <-chan struct{} { return n.replica.Done() }

// Close stops the server: clients are sent elsewhere, then the member stops. It
// may be called again.
func (n *Node) Close() error {
	n.cancel() // ends streams and polls
	if n.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		if n.server.Shutdown(ctx) != nil {
			n.server.Close()
		}
		cancel()
	}
	err := n.replica.Close()
	n.wg.Wait()
	return err
}

// Stats is a snapshot of a server's counters.
type Stats struct {
	Sessions  int    // open sessions
	Keys      int    // keys that are held
	Requests  int    // requests that hold or wait
	LastToken uint64 // the newest fencing token
	Grants    uint64 // grants made by another command than the request itself: hand-overs
	Notified  uint64 // events handed to a stream or poll of this server
	Renewals  uint64 // leases renewed here
	Expired   uint64 // leases that ended here
	Replica   replica.Stats
}

// Stats returns the counters of this moment. It is cheap.
func (n *Node) Stats() Stats {
	c := n.state.Stats()
	s := Stats{
		Sessions: c.Sessions, Keys: c.Keys, Requests: c.Requests, LastToken: c.LastToken,
		Grants: c.Handoffs, Notified: n.hub.count(), Replica: n.replica.Stats(),
	}
	n.leases.mu.Lock()
	s.Renewals, s.Expired = n.leases.renewals, n.leases.expired
	n.leases.mu.Unlock()
	return s
}

// lead is one leadership.
func (n *Node) lead(ctx context.Context, term uint64) {
	n.leases.start(n.state.EachSession)
	defer n.leases.stop()
	slots := make(chan struct{}, 256)
	var wg sync.WaitGroup
	defer wg.Wait()
	n.leases.run(ctx, func(id core.SessionID) {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			n.expire(ctx, id, term)
		})
	})
}

// expire replicates the end of a lease. The entry counts only in this term and
// if the session has done nothing since.
func (n *Node) expire(ctx context.Context, id core.SessionID, term uint64) {
	defer n.leases.settle(id)
	s, ok := n.state.Session(id)
	if !ok {
		n.leases.remove(id)
		// It may have been opened in between, and have lost its lease just now.
		if s, ok = n.state.Session(id); ok {
			n.leases.touch(id, s.TTL)
		}
		return
	}
	// The session may have been opened again since its lease was found to be
	// over. Such an Open revives the lease first and raises the epoch then: it is
	// seen here, or it makes the entry stale.
	if !n.leases.ending(id) {
		return
	}
	c := core.Command{Op: core.OpExpire, Session: id, Epoch: s.Epoch, Term: term, At: time.Now().UnixMilli()}
	res, err := n.apply(ctx, &c)
	switch {
	case err != nil:
		n.log.Warn("lease not ended", "session", id, "err", err)
	case res.Status == core.StatusStale:
		n.leases.touch(id, s.TTL)
	default:
		n.log.Info("lease ended", "session", id, "label", s.Label)
	}
}

// apply replicates one command.
func (n *Node) apply(ctx context.Context, c *core.Command) (core.Result, error) {
	b, err := c.Append(nil), c.Validate()
	if err != nil {
		return core.Result{}, err
	}
	ans, err := n.replica.Apply(ctx, b)
	if err != nil {
		return core.Result{}, err
	}
	return ans.(core.Result), nil
}

// execute replicates a client's command.
func (n *Node) execute(ctx context.Context, c *core.Command) (core.Result, error) {
	c.At = time.Now().UnixMilli()
	c.MaxWaiters = uint32(n.opts.MaxWaiters)
	return n.apply(ctx, c)
}

var errEnding = errors.New("node: the session is about to end, or leadership about to begin")

// renew extends a session's lease, or reports that there is no such session. A
// majority must have confirmed, after the renewal arrived, that this node
// leads: no other leader has ended the session then, nor will one before its
// TTL.
func (n *Node) renew(ctx context.Context, id core.SessionID) (ttl time.Duration, exists bool, err error) {
	if _, err := n.replica.Confirm(ctx); err != nil {
		return 0, false, err
	}
	if ttl, ok := n.leases.renew(id); ok {
		return ttl, true, nil
	}
	if _, exists := n.state.Session(id); exists {
		return 0, true, errEnding
	}
	return 0, false, nil
}

// machine is the node as the replica's state machine.
type machine Node

func (m *machine) Apply(batch []replica.Command, answers []any) {
	var events []core.Event
	for i := range batch {
		c, err := core.DecodeCommand(batch[i].Data)
		if err != nil {
			// Only this package appends to the log, so a later version did, and
			// servers of that version understand it.
			answers[i] = replica.Halt{Err: err}
			return
		}
		if c.Op == core.OpOpen {
			m.leases.revive(c.Session)
		}
		events = events[:0]
		r := m.state.Apply(batch[i].Index, batch[i].Term, &c, &events)
		answers[i] = r
		for _, e := range events {
			m.publish(e, c.Op)
		}
		m.track(&c, r)
	}
}

// track keeps the leader's table of leases in step with the sessions.
func (m *machine) track(c *core.Command, r core.Result) {
	switch c.Op {
	case core.OpOpen:
		// The TTL is that of the first Open.
		if s, ok := m.state.Session(c.Session); ok && r.Status == core.StatusOK {
			m.leases.touch(c.Session, s.TTL)
		}
	case core.OpClose, core.OpExpire:
		if r.Status == core.StatusOK {
			m.leases.remove(c.Session)
			m.hub.publish(c.Session, event{name: wire.End, Event: wire.Event{Reason: c.Op.String()}})
		}
	}
}

// publish tells of an event that a command has caused.
func (m *machine) publish(e core.Event, cause core.Op) {
	switch e.Kind {
	case core.EventGranted:
		m.hub.publish(e.Session, event{wire.Granted, wire.Event{Req: e.Req, Key: e.Key, Token: e.Token}})
	case core.EventLost:
		reason := "cancelled"
		switch cause {
		case core.OpClose:
			reason = "session closed"
		case core.OpExpire:
			reason = "lease ended"
		}
		m.hub.publish(e.Session, event{wire.Lost, wire.Event{Req: e.Req, Key: e.Key, Reason: reason}})
	}
}

func (m *machine) Digest() uint64 { return m.state.Digest() }

func (m *machine) Snapshot() (replica.Snapshot, error) { return m.state.Snapshot(), nil }

func (m *machine) Restore(r io.Reader) error { return m.state.Restore(r) }
