package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// errNoPreVote makes the engine fall back to plain elections on a transport
// without pre-votes.
var errNoPreVote = errors.New("replica: transport without pre-vote")

// A confirmer answers the question "do I lead, now?" for many callers with one
// round of heartbeats. A round that is under way when a question arrives does
// not count for it.
type confirmer struct {
	round  func() (term uint64, err error)
	closed <-chan struct{}

	mu      sync.Mutex
	waiting []chan verdict // each of capacity 1
	wake    chan struct{}  // capacity 1
	rounds  uint64
}

type verdict struct {
	term uint64
	err  error
}

func newConfirmer(round func() (uint64, error), closed <-chan struct{}) *confirmer {
	return &confirmer{round: round, closed: closed, wake: make(chan struct{}, 1)}
}

func (c *confirmer) ask(ctx context.Context) (uint64, error) {
	ch := make(chan verdict, 1)
	c.mu.Lock()
	c.waiting = append(c.waiting, ch)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	select {
	case v := <-ch:
		return v.term, v.err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.closed:
		return 0, ErrClosed
	}
}

func (c *confirmer) run() {
	for {
		select {
		case <-c.closed:
			return
		case <-c.wake:
		}
		c.mu.Lock()
		asked := c.waiting
		c.waiting = nil
		c.rounds++
		c.mu.Unlock()
		if len(asked) == 0 {
			continue
		}
		var v verdict
		v.term, v.err = c.round()
		for _, ch := range asked {
			ch <- v
		}
	}
}

// confirmRound proves that this node leads at some moment after the call began.
//
// The engine's VerifyLeader starts a heartbeat to every peer and succeeds when
// a majority has answered one; but it also takes the answer to a heartbeat that
// was under way before it was asked (replication.go, notifyAll). Such an answer
// says that the peer followed then. So the round is repeated until a majority
// has answered calls sent after the mark was drawn: a peer that answers in our
// term has not voted for a higher one, and no other leader can have been
// elected without a peer of this majority.
func (n *Node) confirmRound() (uint64, error) {
	term := n.raft.CurrentTerm()
	mark := n.trans.seq.Load()
	for {
		if err := n.await(n.raft.VerifyLeader()); err != nil {
			if errors.Is(err, raft.ErrRaftShutdown) || errors.Is(err, ErrClosed) {
				return 0, ErrClosed
			}
			return 0, n.notLeader()
		}
		f := n.raft.GetConfiguration()
		if err := f.Error(); err != nil {
			return 0, n.notLeader()
		}
		if n.trans.confirmed(f.Configuration(), raft.ServerID(n.id), term, mark) {
			return term, nil
		}
		if n.raft.CurrentTerm() != term {
			return 0, n.notLeader()
		}
	}
}

// A pending counts the engine's futures that somebody waits for.
type pending struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n becomes 0; nil before the first
}

func (p *pending) add() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n++; p.n == 1 {
		p.none = make(chan struct{})
	}
}

func (p *pending) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n--; p.n == 0 {
		close(p.none)
	}
}

// wait returns when none is left, or after limit.
func (p *pending) wait(limit time.Duration) {
	p.mu.Lock()
	none := p.none
	p.mu.Unlock()
	if none == nil {
		return
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-none:
	case <-t.C:
	}
}

// await returns a future's error, or ErrClosed when the node ends: the engine
// leaves questions unanswered that reach it while it shuts down.
func (n *Node) await(f raft.Future) error {
	answer := make(chan error, 1)
	n.pending.add()
	go func() {
		defer n.pending.done()
		answer <- f.Error()
	}()
	select {
	case err := <-answer:
		return err
	case <-n.closed:
		return ErrClosed
	}
}
