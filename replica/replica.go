package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A Node is one member of a cluster and hosts one copy of the machine. It is
// safe for concurrent use by multiple goroutines. Use [Open].
type Node struct {
	id      string
	address string
	opts    Options
	log     *slog.Logger
	started time.Time

	raft   *raft.Raft
	fsm    *fsm
	trans  *safeTransport
	net    *switchboard // nil with Options.Transport
	store  *guardedStore
	dir    *directory // nil with Options.InMemory
	queue  *coalescer
	asking *confirmer

	wg       sync.WaitGroup
	closed   chan struct{} // closed first of all when the node stops
	stopped  chan struct{} // closed when everything has ended
	stopping atomic.Bool
	pending  pending // futures of the engine

	up atomic.Bool // raft is set and Open has succeeded

	mu    sync.Mutex
	err   error
	early error         // what failed while the node was being opened
	term  uint64        // term that this node leads and is ready to serve in; 0: none
	turns chan struct{} // closed and replaced when term changes

	closers []func() error // in the order to be called

	audits atomic.Uint64
}

// Open starts this node on a directory, which it owns until Close. A new
// directory needs [Options.Bootstrap] or [Options.Join]; a used one continues
// where it was. Open returns when the machine holds the newest local snapshot
// and the node takes part; it does not wait for a leader.
//
// Errors: [ErrIncompatible] if the directory belongs to another node or
// cluster, another process holds it, or its log is of another [Store];
// [ErrCorrupt] if what it holds does not decode or something is missing;
// [ErrVersion] if a newer version of this package wrote it.
func Open(dir string, m Machine, opts *Options) (*Node, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if (dir == "") != o.InMemory {
		return nil, fmt.Errorf("replica: directory %q with InMemory %v", dir, o.InMemory)
	}
	n := &Node{
		opts: o, log: o.Logger, started: time.Now(),
		closed: make(chan struct{}), stopped: make(chan struct{}), turns: make(chan struct{}),
	}
	if err := n.open(dir, m); err != nil {
		n.stop(err)
		<-n.stopped
		return nil, err
	}
	return n, nil
}

func (n *Node) open(dir string, m Machine) error {
	o := &n.opts
	var ident identity
	if o.InMemory {
		ident.ID = o.ID
		if ident.ID == "" {
			ident.ID = randomID()
		}
	} else {
		d, err := openDirectory(o.disk(), dir)
		if err != nil {
			return err
		}
		n.dir = d
		n.closers = append(n.closers, d.Close)
		if ident, err = d.identify(o.ID); err != nil {
			return err
		}
	}
	n.id = ident.ID

	// The network.
	var inner raft.Transport
	if o.Transport != nil {
		inner = o.Transport
		n.address = string(inner.LocalAddr())
	} else {
		if err := n.listen(); err != nil {
			return err
		}
		inner = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: n.net, MaxPool: 3, Timeout: max(10*o.HeartbeatTimeout, 2*time.Second),
			Logger: engineLogger{n.log}, MsgpackUseNewTimeFormat: true,
		})
	}

	durable := func() uint64 { return ^uint64(0) } // until there is a log
	n.trans = newSafeTransport(inner, func() uint64 { return durable() })
	n.closers = append([]func() error{n.trans.Close}, n.closers...)

	// The log.
	split, plain, err := openStore(n.dir, o)
	if err != nil {
		return err
	}
	waitFlushed := func(uint64) error { return nil }
	stalls := newStallWatch(func() time.Duration { return time.Since(n.started) })
	n.store = &guardedStore{fail: n.fail, stalls: stalls}
	var par *parallelStore
	if split != nil && !o.SerialSync {
		if par, err = newParallelStore(watchedStore{split, stalls}, n.fail, n.closed); err != nil {
			split.Close()
			return err
		}
		durable, waitFlushed = par.flushed.Load, par.waitFlushed
		n.store.logStore = par
	} else if split != nil {
		n.store.logStore = split
	} else {
		n.store.logStore = plain
	}
	n.closers = append([]func() error{n.store.Close}, n.closers...)

	var snaps raft.SnapshotStore = raft.NewInmemSnapshotStore()
	if o.snapshots != nil {
		snaps = o.snapshots
	} else if n.dir != nil {
		files, err := openSnapshots(n.dir, engineLogger{n.log})
		if err != nil {
			return err
		}
		first, err := n.store.FirstIndex()
		if err != nil {
			return err
		}
		last, err := n.store.LastIndex()
		if err != nil {
			return err
		}
		if err := files.check(first, last); err != nil {
			return err
		}
		if w, ok := split.(*walStore); ok {
			w.covered = files.last.Load
		}
		snaps = files
	}
	n.fsm = newFSM(m, waitFlushed, n.fail)

	// Membership, on a new directory.
	used, err := raft.HasExistingState(n.store, n.store, snaps)
	if err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	conf := n.engineConfig()
	if err := n.found(&ident, used, conf, snaps); err != nil {
		return err
	}

	n.queue = newCoalescer(o.InFlight, func(b []byte) raft.ApplyFuture { return n.raft.Apply(b, enqueueTimeout) }, &n.pending, n.closed)
	n.asking = newConfirmer(n.confirmRound, n.closed)
	if par != nil {
		par.isLeader = func() bool { return n.up.Load() && n.raft.State() == raft.Leader }
	}
	leader := make(chan bool, 16)
	conf.NotifyCh = leader
	if err := n.startEngine(conf, snaps); err != nil {
		return err
	}
	n.spawn(func() { stalls.watch(o.StallTimeout, n.fail, n.closed) })
	if par != nil {
		n.spawn(par.run)
	}
	n.spawn(n.queue.run)
	n.spawn(n.asking.run)
	n.spawn(func() { n.follow(leader) })

	n.mu.Lock()
	defer n.mu.Unlock()
	n.up.Store(true)
	return n.early
}

// startEngine starts the engine, which panics if it cannot read the log.
func (n *Node) startEngine(conf *raft.Config, snaps raft.SnapshotStore) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("replica: %v", p)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.early != nil {
			err = n.early // the cause, in this package's terms
		}
	}()
	n.raft, err = raft.NewRaft(conf, n.fsm, n.store, n.store, snaps, n.trans)
	if err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	n.store.running.Store(true)
	return nil
}

func (n *Node) spawn(f func()) {
	n.wg.Add(1)
	go func() { defer n.wg.Done(); f() }()
}

func (n *Node) engineConfig() *raft.Config {
	o := &n.opts
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.id)
	c.HeartbeatTimeout, c.ElectionTimeout = o.HeartbeatTimeout, o.HeartbeatTimeout
	c.LeaderLeaseTimeout = o.HeartbeatTimeout / 2
	c.CommitTimeout = min(c.CommitTimeout, o.HeartbeatTimeout/10)
	c.MaxAppendEntries = 64
	c.SnapshotThreshold, c.TrailingLogs = o.SnapshotEvery, o.TrailingLogs
	c.SnapshotInterval = 10 * time.Second
	c.NoLegacyTelemetry = true
	c.Logger = engineLogger{n.log}
	return c
}

// listen opens the node's port.
func (n *Node) listen() error {
	o := &n.opts
	ln := o.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", o.Listen); err != nil {
			return fmt.Errorf("replica: %w", err)
		}
	}
	n.address = o.Advertise
	if n.address == "" {
		n.address = ln.Addr().String()
	}
	host, _, err := net.SplitHostPort(n.address)
	if err != nil {
		ln.Close()
		return fmt.Errorf("replica: address %q: %w", n.address, err)
	}
	ip := net.ParseIP(host)
	if ip != nil && ip.IsUnspecified() {
		ln.Close()
		return fmt.Errorf("replica: others cannot reach %s: set Options.Advertise", n.address)
	}
	if bound, ok := ln.Addr().(*net.TCPAddr); ok && o.TLS == nil && !o.Insecure && !bound.IP.IsLoopback() {
		ln.Close()
		return fmt.Errorf("replica: %s is not loopback: set Options.TLS, or Options.Insecure to do without", ln.Addr())
	}
	n.net = newSwitchboard(ln, n.address, o.TLS, n.log)
	n.net.control = n.serveControl
	n.closers = append([]func() error{n.net.Close}, n.closers...)
	n.spawn(n.net.run)
	return nil
}

// fail stops the node for good because of err. While the node is being opened it
// makes that fail.
func (n *Node) fail(err error) {
	n.log.Error("node stops", "id", n.id, "err", err)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.early == nil {
		n.early = err
	}
	if n.up.Load() {
		go n.stop(err)
	}
}

// stop ends everything. The order matters: nothing is answered any more, then
// the network ends, then the engine, then the disk.
func (n *Node) stop(err error) {
	if !n.stopping.CompareAndSwap(false, true) {
		return
	}
	n.mu.Lock()
	n.err = err
	n.mu.Unlock()
	close(n.closed)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.end(err)
	}()
	// A disk that is stuck may keep the engine for ever.
	limit := n.opts.StallTimeout
	if errors.Is(err, ErrStalled) {
		limit = 0
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		n.log.Error("the disk keeps the node from ending", "id", n.id)
	}
	close(n.stopped)
}

// end ends the engine, and before that whatever waits for an answer of it: it
// would leave some for ever without one. As long as a leader has its network it
// can answer; without, it soon knows that it leads no longer, and says that.
func (n *Node) end(err error) {
	if err == ErrClosed {
		n.pending.wait(n.opts.HeartbeatTimeout)
	}
	if n.trans != nil {
		n.trans.Close()
	}
	if n.raft != nil {
		if !errors.Is(err, ErrStalled) {
			n.pending.wait(2 * n.opts.HeartbeatTimeout)
		}
		n.raft.Shutdown().Error()
	}
	n.wg.Wait()
	for _, c := range n.closers {
		if err := c(); err != nil && !errors.Is(err, net.ErrClosed) {
			n.log.Warn("close", "err", err)
		}
	}
}

// Close leaves the cluster's conversation, not the cluster: the node stops
// taking part until it is opened again. Commands under way end with
// [ErrUnknown]. It waits for everything to end, but for a write to the disk that
// does not end within [Options.StallTimeout]: then the directory stays locked
// until it does. Close may be called again.
func (n *Node) Close() error {
	n.stop(ErrClosed)
	<-n.stopped
	return nil
}

// Done is closed when the node has stopped, by Close or by a failure.
func (n *Node) Done() <-chan struct{} { return n.stopped }

// Err tells why the node stopped: [ErrClosed] after Close; an error wrapping
// [ErrDisk], [ErrStalled], [ErrDiverged] or [ErrCorrupt] after a failure; nil
// while it runs.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// ID returns this node's id.
func (n *Node) ID() string { return n.id }

// Address returns the address that other members reach this node at.
func (n *Node) Address() string { return n.address }

// Listener returns a listener of all connections to the node's port that are
// not the cluster's own, so that one address serves both. It is nil in
// simulations. Closing it ends its Accept and leaves the port open.
func (n *Node) Listener() net.Listener {
	if n.net == nil {
		return nil
	}
	return &appListener{s: n.net, closed: make(chan struct{})}
}

// Apply carries one command through the log and returns the machine's answer.
// It returns when a majority of the voters, this node among them, has the
// command on disk and this node's machine has applied it. data must not be
// changed before it returns.
//
// Commands from many goroutines share log entries; their order is that of the
// machine, not of the calls.
//
// Errors: [ErrNotLeader], or ctx's error alone: the command was not and will
// not be applied. [ErrUnknown]: it may be. [ErrTooLarge], [ErrClosed].
func (n *Node) Apply(ctx context.Context, data []byte) (any, error) {
	if len(data) > n.opts.MaxCommand {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(data), n.opts.MaxCommand)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-n.closed:
		return nil, ErrClosed
	default:
	}
	if n.raft.State() != raft.Leader {
		return nil, n.notLeader()
	}
	ans, err := n.queue.do(ctx, data)
	if err == ErrNotLeader {
		err = n.notLeader()
	}
	return ans, err
}

// Confirm proves that this node is the leader at some moment after the call,
// with one round of heartbeats and without the disk, and returns the term. By
// then everything that earlier leaders committed has been applied here.
// Concurrent calls share rounds. It is what a lease is renewed with.
//
// Errors: [ErrNotLeader] if it does not lead or cannot reach a majority; ctx's
// error; [ErrClosed].
func (n *Node) Confirm(ctx context.Context) (term uint64, err error) {
	if err := n.ready(ctx); err != nil {
		return 0, err
	}
	term, err = n.asking.ask(ctx)
	if err == nil && term != n.servingTerm() {
		err = n.notLeader() // a new term, not ready yet
	}
	return term, err
}

// Read returns when this node's machine reflects every command that was
// answered anywhere before the call: a look at the machine after it is
// linearizable (Ongaro's thesis, §6.4). It costs one round of heartbeats,
// shared with concurrent calls, and no log entry. Only the leader can tell: on
// other nodes it returns ErrNotLeader. Errors are those of Confirm.
func (n *Node) Read(ctx context.Context) error {
	if err := n.ready(ctx); err != nil {
		return err
	}
	index := n.raft.CommitIndex()
	if _, err := n.Confirm(ctx); err != nil {
		return err
	}
	return n.fsm.wait(ctx, index, n.closed)
}

// ready waits while this node is elected but has not yet applied what earlier
// leaders committed.
func (n *Node) ready(ctx context.Context) error {
	for {
		select {
		case <-n.closed:
			return ErrClosed
		default:
		}
		n.mu.Lock()
		term, turns := n.term, n.turns
		n.mu.Unlock()
		if n.raft.State() != raft.Leader {
			return n.notLeader()
		}
		if term != 0 {
			return nil
		}
		select {
		case <-turns:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.closed:
			return ErrClosed
		}
	}
}

func (n *Node) servingTerm() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.term
}

func (n *Node) setServing(term uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.term != term || term == 0 { // 0 also ends a leadership that never served
		n.term = term
		close(n.turns)
		n.turns = make(chan struct{})
	}
}

func (n *Node) notLeader() error {
	e := &NotLeaderError{}
	if id, addr, ok := n.Leader(); ok && id != n.id {
		e.ID, e.Address = id, addr
	}
	return e
}

// Leader returns the leader as this node knows it, and whether it knows one.
// It may be out of date; [Node.Confirm] is the proof.
func (n *Node) Leader() (id, address string, ok bool) {
	addr, sid := n.raft.LeaderWithID()
	return string(sid), string(addr), sid != ""
}

// follow watches this node win and lose leadership.
func (n *Node) follow(leader <-chan bool) {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case <-n.closed:
			return
		case won := <-leader:
			end()
			end = func() {}
			if won && len(leader) == 0 { // else there is newer news
				end = n.startTurn()
			}
		}
	}
}

// startTurn runs one leadership and returns the function that ends it.
func (n *Node) startTurn() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.lead(ctx)
	}()
	return func() {
		n.setServing(0)
		cancel()
		<-done
		n.setServing(0) // lead may have been just about to begin
	}
}

// lead is one leadership, from election to loss.
func (n *Node) lead(ctx context.Context) {
	term := n.raft.CurrentTerm()
	// The machine must hold all that earlier leaders committed: an entry of our
	// own term, applied, proves it (Raft, §8). The engine's barrier waits for
	// the state machine.
	for {
		f := n.raft.Barrier(n.opts.HeartbeatTimeout)
		err := n.await(f)
		if err == nil {
			if i, ok := f.(interface{ Index() uint64 }); ok {
				// Entries that are no commands do not pass the machine.
				n.fsm.setApplied(i.Index())
			}
			break
		}
		if ctx.Err() != nil || n.raft.State() != raft.Leader || errors.Is(err, raft.ErrRaftShutdown) || errors.Is(err, ErrClosed) {
			return
		}
	}
	if ctx.Err() != nil || n.raft.CurrentTerm() != term {
		return
	}
	n.setServing(term)
	n.log.Info("leading", "id", n.id, "term", term)
	var wg sync.WaitGroup
	if n.opts.Leadership != nil {
		wg.Go(func() { n.opts.Leadership(ctx, term) })
	}
	if n.opts.AuditEvery > 0 {
		wg.Go(func() { n.audit(ctx) })
	}
	wg.Go(func() { n.promote(ctx) })
	wg.Wait()
}

// audit has all machines compared at one log position, from time to time.
func (n *Node) audit(ctx context.Context) {
	t := time.NewTicker(n.opts.AuditEvery)
	defer t.Stop()
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		_, commands := n.queue.counts()
		if commands == seen {
			continue
		}
		seen = commands
		if n.await(n.raft.Apply(appendAudit(n.fsm.lastAudit()), n.opts.HeartbeatTimeout)) == nil {
			n.audits.Add(1)
		}
	}
}

// Snapshot writes a snapshot now and drops what the log needs no longer. The
// node does this by itself every [Options.SnapshotEvery] entries.
func (n *Node) Snapshot() error {
	err := n.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// Stats is a snapshot of a node's counters.
type Stats struct {
	ID            string
	Leader        string // id of the leader, "" if unknown
	Term          uint64
	LastIndex     uint64 // last log entry
	CommitIndex   uint64
	AppliedIndex  uint64 // what the machine reflects
	FlushedIndex  uint64 // what the own log has on disk
	Batches       uint64 // log entries proposed here
	Commands      uint64 // commands in them
	LogWrites     uint64 // calls that wrote to the log
	LogEntries    uint64 // entries in them
	ConfirmRounds uint64 // heartbeat rounds for reads and leases
	Audits        uint64 // comparisons that this node asked for
}

// Stats returns the counters of this moment. It is cheap.
func (n *Node) Stats() Stats {
	s := Stats{
		ID: n.id, Term: n.raft.CurrentTerm(), LastIndex: n.raft.LastIndex(), CommitIndex: n.raft.CommitIndex(),
		AppliedIndex: n.fsm.appliedIndex(), LogWrites: n.store.syncs.Load(), LogEntries: n.store.written.Load(),
		Audits: n.audits.Load(),
	}
	s.Leader, _, _ = n.Leader()
	s.Batches, s.Commands = n.queue.counts()
	s.FlushedIndex = s.LastIndex
	if p, ok := n.store.logStore.(*parallelStore); ok {
		s.FlushedIndex = p.flushed.Load()
	}
	n.asking.mu.Lock()
	s.ConfirmRounds = n.asking.rounds
	n.asking.mu.Unlock()
	return s
}
