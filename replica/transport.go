package replica

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// safeTransport stands between the engine and its network. It does three
// things, and each is needed for safety:
//
//   - It ignores SetHeartbeatHandler, so that heartbeats reach the engine's
//     main loop like every other message. On the fast path a heartbeat of a
//     higher term changes term and state beside the main loop, and a deposed
//     leader then appends a client's entry under the term of its successor
//     (hashicorp/raft issue 695).
//   - It numbers every AppendEntries call as it is sent and notes, per peer,
//     the highest number whose answer came back in the same term. See confirm.
//   - It lowers the commit index that is sent to followers to what this
//     node's own log has flushed. See parallelStore.
type safeTransport struct {
	raft.Transport
	durable func() uint64 // highest flushed index of the own log

	seq atomic.Uint64 // number of the last call sent

	mu    sync.Mutex
	peers map[raft.ServerID]heard
}

// heard is the latest proof that a peer followed this node in a term.
type heard struct {
	term uint64
	seq  uint64 // the answered call was sent after this number was drawn
}

func newSafeTransport(t raft.Transport, durable func() uint64) *safeTransport {
	return &safeTransport{Transport: t, durable: durable, peers: map[raft.ServerID]heard{}}
}

func (t *safeTransport) SetHeartbeatHandler(func(raft.RPC)) {}

func (t *safeTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	term := args.Term
	t.clamp(args)
	seq := t.seq.Add(1)
	if err := t.Transport.AppendEntries(id, target, args, resp); err != nil {
		return err
	}
	if resp.Term == term {
		t.mu.Lock()
		h := t.peers[id]
		if term > h.term || term == h.term && seq > h.seq {
			t.peers[id] = heard{term, seq}
		}
		t.mu.Unlock()
	}
	return nil
}

// clamp keeps a commit that rests on an unflushed entry of ours from being
// told to anyone.
func (t *safeTransport) clamp(args *raft.AppendEntriesRequest) {
	if args.LeaderCommitIndex > 0 {
		args.LeaderCommitIndex = min(args.LeaderCommitIndex, t.durable())
	}
}

func (t *safeTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.Transport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return &safePipeline{p, t}, nil
}

type safePipeline struct {
	raft.AppendPipeline
	t *safeTransport
}

func (p *safePipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.t.clamp(args)
	return p.AppendPipeline.AppendEntries(args, resp)
}

// RequestPreVote passes on an optional part of the interface.
func (t *safeTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if p, ok := t.Transport.(raft.WithPreVote); ok {
		return p.RequestPreVote(id, target, args, resp)
	}
	return errNoPreVote
}

// Close passes on an optional part of the interface.
func (t *safeTransport) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// confirmed tells whether a majority of the voters, this node included, has
// answered in term a call that was sent after mark was drawn.
func (t *safeTransport) confirmed(c raft.Configuration, self raft.ServerID, term, mark uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	voters, votes := 0, 0
	for _, s := range c.Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if h := t.peers[s.ID]; s.ID == self || h.term == term && h.seq > mark {
			votes++
		}
	}
	return votes > voters/2
}
