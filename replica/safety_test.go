package replica

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// fastTransport is an in-memory transport with the heartbeat fast path that
// the engine's network transport has and its in-memory one lacks.
type fastTransport struct {
	*raft.InmemTransport
	handler func(raft.RPC)
}

func (f *fastTransport) SetHeartbeatHandler(h func(raft.RPC)) { f.handler = h }

// heartbeat delivers one as a network transport does: to the handler if there
// is one, else to the engine's main loop.
func (f *fastTransport) heartbeat(from *raft.InmemTransport, beat *raft.AppendEntriesRequest) {
	if f.handler != nil {
		f.handler(raft.RPC{Command: beat, RespChan: make(chan raft.RPCResponse, 1)})
		return
	}
	var out raft.AppendEntriesResponse
	from.AppendEntries("L", f.LocalAddr(), beat, &out)
}

// follower is a scripted member that grants every vote and takes every entry.
func follower(tr *raft.InmemTransport, quit <-chan struct{}) {
	for {
		select {
		case <-quit:
			return
		case r := <-tr.Consumer():
			switch c := r.Command.(type) {
			case *raft.RequestVoteRequest:
				r.Respond(&raft.RequestVoteResponse{RPCHeader: c.RPCHeader, Term: c.Term, Granted: true}, nil)
			case *raft.RequestPreVoteRequest:
				r.Respond(&raft.RequestPreVoteResponse{RPCHeader: c.RPCHeader, Term: c.Term, Granted: true}, nil)
			case *raft.AppendEntriesRequest:
				last := c.PrevLogEntry + uint64(len(c.Entries))
				r.Respond(&raft.AppendEntriesResponse{RPCHeader: c.RPCHeader, Term: c.Term, LastLog: last, Success: true}, nil)
			}
		}
	}
}

type record struct{ got []string }

func (x *record) Apply(l *raft.Log) any               { x.got = append(x.got, string(l.Data)); return nil }
func (x *record) Snapshot() (raft.FSMSnapshot, error) { return nil, io.EOF }
func (x *record) Restore(r io.ReadCloser) error       { return nil }

// TestHeartbeatFastPath reproduces hashicorp/raft issue 695 and shows that
// safeTransport closes it. L leads term T. F2 is elected for T+1 and beats; then
// a client writes X at L. On the fast path the heartbeat raises L's term beside
// its main loop, L stores X under T+1, and when F2 asks "is your entry at this
// index of term T+1?" it says yes, keeps X where the others have Y, and applies
// it. If the first half of this test fails, upstream has mended it.
func TestHeartbeatFastPath(t *testing.T) {
	for _, safe := range []bool{false, true} {
		t.Run(fmt.Sprint("safe=", safe), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fastPath(t, safe) })
		})
	}
}

func fastPath(t *testing.T, safe bool) {
	aL, tL := raft.NewInmemTransport("L")
	a1, t1 := raft.NewInmemTransport("F1")
	a2, t2 := raft.NewInmemTransport("F2")
	quit := make(chan struct{})
	for _, x := range []*raft.InmemTransport{t1, t2} {
		tL.Connect(x.LocalAddr(), x)
		x.Connect(aL, tL)
		go follower(x, quit)
	}
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = "L", hclog.NewNullLogger()
	members := raft.Configuration{Servers: []raft.Server{{ID: "L", Address: aL}, {ID: "F1", Address: a1}, {ID: "F2", Address: a2}}}
	store, snaps, machine := raft.NewInmemStore(), raft.NewInmemSnapshotStore(), &record{}
	network := &fastTransport{InmemTransport: tL}
	var tr raft.Transport = network
	if safe {
		tr = newSafeTransport(network, func() uint64 { return ^uint64(0) })
	}
	require.NoError(t, raft.BootstrapCluster(c, store, store, snaps, tr, members))
	r, err := raft.NewRaft(c, machine, store, store, snaps, tr)
	require.NoError(t, err)
	for r.State() != raft.Leader {
		time.Sleep(10 * time.Millisecond) // virtual
	}
	require.NoError(t, r.Apply([]byte("A"), time.Second).Error())
	synctest.Wait()
	term, last := r.CurrentTerm(), r.LastIndex()

	header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("F2"), Addr: []byte("F2")}
	network.heartbeat(t2, &raft.AppendEntriesRequest{RPCHeader: header, Term: term + 1})
	r.Apply([]byte("X"), time.Second) // a client of the deposed leader
	synctest.Wait()
	var e raft.Log
	stored := store.GetLog(last+1, &e) == nil && e.Term == term+1 && string(e.Data) == "X"
	// F2's own entry at last+1 is Y; it sends Z behind it.
	var out raft.AppendEntriesResponse
	t2.AppendEntries("L", aL, &raft.AppendEntriesRequest{
		RPCHeader: header, Term: term + 1, PrevLogEntry: last + 1, PrevLogTerm: term + 1,
		Entries: []*raft.Log{{Index: last + 2, Term: term + 1, Type: raft.LogCommand, Data: []byte("Z")}}, LeaderCommitIndex: last + 2,
	}, &out)
	synctest.Wait()
	require.Equal(t, !safe, stored, "X stored under the successor's term")
	require.Equal(t, !safe, out.Success, "Z accepted behind X")
	if safe {
		require.Equal(t, []string{"A"}, machine.got)
	} else {
		require.Equal(t, []string{"A", "X", "Z"}, machine.got, "the others have A Y Z")
	}
	close(quit)
	r.Shutdown().Error()
	time.Sleep(time.Minute) // let the engine's timers end
}

// heldTransport delays the answers to AppendEntries while its gate is set: the
// peer has answered, the answer is still on its way.
type heldTransport struct {
	*raft.InmemTransport
	mu   sync.Mutex
	gate chan struct{}
	held int
}

func (h *heldTransport) AppendEntries(id raft.ServerID, a raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := h.InmemTransport.AppendEntries(id, a, req, resp)
	h.mu.Lock()
	gate := h.gate
	if gate != nil && err == nil {
		h.held++
	}
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return err
}

// TestConfirmCountsOnlyLaterAnswers shows that the engine's VerifyLeader
// accepts an answer from before the question, and that Confirm does not. a
// leads; both followers answer a heartbeat and the answers are held up; a is cut
// off, b or c is elected and commits; now a read arrives at a; then the old
// answers come in.
func TestConfirmCountsOnlyLaterAnswers(t *testing.T) {
	for _, ours := range []bool{false, true} {
		t.Run(fmt.Sprint("Confirm=", ours), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { oldAnswers(t, ours) })
		})
	}
}

func oldAnswers(t *testing.T, ours bool) {
	ids := []string{"a", "b", "c"}
	trs, nodes := map[string]*heldTransport{}, map[string]*Node{}
	var members []Member
	for _, id := range ids {
		_, tr := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), time.Minute)
		trs[id] = &heldTransport{InmemTransport: tr}
		members = append(members, Member{ID: id, Address: id})
	}
	for _, x := range ids {
		for _, y := range ids {
			if x != y {
				trs[x].Connect(raft.ServerAddress(y), trs[y].InmemTransport)
			}
		}
	}
	start := func(id string, members []Member, heartbeat time.Duration) {
		n, err := Open("", &journal{}, &Options{
			ID: id, Bootstrap: members, InMemory: true,
			HeartbeatTimeout: heartbeat, Transport: trs[id], AuditEvery: -1,
		})
		require.NoError(t, err)
		nodes[id] = n
	}
	// a's timers stand for those of a process that is stopped for a while.
	start("a", members[:1], 20*time.Second)
	start("b", nil, 3*time.Second)
	start("c", nil, 3*time.Second)
	a := nodes["a"]
	ctx := context.Background()
	for {
		if _, err := a.Confirm(ctx); err == nil {
			break
		}
		time.Sleep(time.Second)
	}
	for _, m := range members[1:] {
		require.NoError(t, a.Join(ctx, m))
	}
	votes := func() int {
		ms, err := a.Members()
		require.NoError(t, err)
		n := 0
		for _, m := range ms {
			if m.Voter {
				n++
			}
		}
		return n
	}
	for votes() < 3 {
		time.Sleep(time.Second)
	}
	_, err := a.Apply(ctx, []byte("x"))
	require.NoError(t, err)
	time.Sleep(10 * time.Second)

	gate := make(chan struct{})
	h := trs["a"]
	h.mu.Lock()
	h.gate = gate
	h.mu.Unlock()
	for held := 0; held < 2; {
		time.Sleep(10 * time.Millisecond)
		h.mu.Lock()
		held = h.held
		h.mu.Unlock()
	}
	for _, id := range ids[1:] {
		h.Disconnect(raft.ServerAddress(id))
		trs[id].Disconnect("a")
	}
	var successor *Node
	for t0 := time.Now(); successor == nil && time.Since(t0) < 9*time.Second; {
		time.Sleep(50 * time.Millisecond)
		for _, id := range ids[1:] {
			if _, err := nodes[id].Confirm(ctx); err == nil {
				successor = nodes[id]
			}
		}
	}
	require.NotNil(t, successor, "no successor while a still believes to lead")
	_, err = successor.Apply(ctx, []byte("y"))
	require.NoError(t, err)
	require.Equal(t, raft.Leader, a.raft.State())

	answer := make(chan error, 1)
	go func() { // the read
		if ours {
			_, err := a.Confirm(ctx)
			answer <- err
		} else {
			answer <- a.raft.VerifyLeader().Error()
		}
	}()
	synctest.Wait()
	h.mu.Lock()
	h.gate = nil
	h.mu.Unlock()
	close(gate) // the old answers come in
	if err := <-answer; ours {
		require.ErrorIs(t, err, ErrNotLeader)
	} else {
		require.NoError(t, err, "VerifyLeader no longer counts old answers: mended upstream?")
	}
	for _, n := range nodes {
		n.Close()
	}
	time.Sleep(time.Minute)
}
