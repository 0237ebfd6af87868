package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A world is three nodes in virtual time, with a network that can be cut and, if
// they have disks, disks that can lose power.
type world struct {
	t        *testing.T
	rng      *rand.Rand
	ids      []string
	trs      map[string]*raft.InmemTransport
	disks    map[string]*vfs.Sim // nil: all in memory
	clients  sync.WaitGroup
	quit     chan struct{}
	mu       sync.Mutex
	nodes    map[string]*Node
	machines map[string]*journal
	acked    []string        // in the order in which the answers came
	unknown  map[string]bool // sent, and nobody knows
	refused  map[string]bool // ErrNotLeader
	reads    int
}

func newWorld(t *testing.T, seed uint64, disks bool) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 11)), ids: []string{"a", "b", "c"}, trs: map[string]*raft.InmemTransport{},
		nodes: map[string]*Node{}, machines: map[string]*journal{}, quit: make(chan struct{}),
		unknown: map[string]bool{}, refused: map[string]bool{},
	}
	if disks {
		w.disks = map[string]*vfs.Sim{}
	}
	for _, id := range w.ids {
		if disks {
			w.disks[id] = vfs.NewSim()
		}
		w.start(id)
	}
	return w
}

func (w *world) start(id string) {
	_, tr := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 500*time.Millisecond)
	w.trs[id] = tr
	for _, other := range w.ids {
		if o := w.trs[other]; other != id && o != nil {
			tr.Connect(raft.ServerAddress(other), o)
			o.Connect(raft.ServerAddress(id), tr)
		}
	}
	o := Options{ID: id, HeartbeatTimeout: 500 * time.Millisecond, Transport: tr, AuditEvery: time.Second, StallTimeout: time.Minute}
	for _, m := range w.ids {
		o.Bootstrap = append(o.Bootstrap, Member{ID: m, Address: m})
	}
	dir := ""
	if w.disks == nil {
		o.InMemory = true
	} else {
		o.fs, o.snapshots, dir = w.disks[id], raft.NewInmemSnapshotStore(), "node"
		// A flush takes its time, each another one: the leader's may end long
		// after those of the followers.
		slow := rand.New(rand.NewPCG(w.rng.Uint64(), 1))
		mean := []float64{1, 5, 40}[w.rng.IntN(3)] * float64(time.Millisecond)
		var mu sync.Mutex
		w.disks[id].SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpDatasync {
				mu.Lock()
				d := time.Duration(slow.ExpFloat64() * mean)
				mu.Unlock()
				time.Sleep(d) // virtual
			}
			return nil
		})
	}
	m := &journal{}
	n, err := Open(dir, m, &o)
	require.NoError(w.t, err, "node %s", id)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[id], w.machines[id] = n, m
}

// node returns one that may lead.
func (w *world) node() (*Node, *journal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.ids {
		if n := w.nodes[id]; n != nil && n.up.Load() && n.raft.State() == raft.Leader && rand.IntN(3) > 0 {
			return n, w.machines[id]
		}
	}
	id := w.ids[rand.IntN(len(w.ids))]
	return w.nodes[id], w.machines[id]
}

func (w *world) ended() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
	}
}

// client sends commands, each once, and reads in between.
func (w *world) client(c int) {
	ctx := context.Background()
	for i := 0; !w.ended(); i++ {
		time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
		n, m := w.node()
		if n == nil {
			continue
		}
		if i%5 == 0 {
			w.mu.Lock()
			before := slices.Clone(w.acked)
			w.mu.Unlock()
			if n.Read(ctx) == nil {
				have := map[string]bool{}
				for _, e := range m.all() {
					have[e] = true
				}
				for _, e := range before {
					if !have[e] {
						w.t.Errorf("a read at %s does not see %s, which was answered before", n.ID(), e)
					}
				}
				w.mu.Lock()
				w.reads++
				w.mu.Unlock()
			}
			continue
		}
		id := fmt.Sprintf("%d.%d", c, i)
		_, err := n.Apply(ctx, []byte(id))
		w.mu.Lock()
		switch {
		case err == nil:
			w.acked = append(w.acked, id)
		case errors.Is(err, ErrUnknown):
			w.unknown[id] = true
		default:
			w.refused[id] = true
		}
		w.mu.Unlock()
	}
}

// leader returns the id of a node that can prove that it leads, soon.
func (w *world) leader() string {
	for {
		for _, id := range w.ids {
			w.mu.Lock()
			n := w.nodes[id]
			w.mu.Unlock()
			if n != nil {
				if _, err := n.Confirm(context.Background()); err == nil {
					return id
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) isolate(id string) {
	for _, other := range w.ids {
		if other != id {
			w.trs[id].Disconnect(raft.ServerAddress(other))
			w.trs[other].Disconnect(raft.ServerAddress(id))
		}
	}
}

func (w *world) heal(id string) {
	for _, other := range w.ids {
		if other != id {
			w.trs[id].Connect(raft.ServerAddress(other), w.trs[other])
			w.trs[other].Connect(raft.ServerAddress(id), w.trs[id])
		}
	}
}

// cutPower takes a node's power away, and returns what starts it again.
func (w *world) cutPower(id string) (restart func()) {
	disk := w.disks[id]
	disk.CutAt(1)
	w.mu.Lock()
	n := w.nodes[id]
	w.nodes[id] = nil
	w.mu.Unlock()
	w.isolate(id)
	after := disk.Crash(w.rng.Uint64())
	n.Close()
	return func() {
		w.disks[id] = after
		w.start(id)
	}
}

// check ends the clients and compares all machines with what was answered.
func (w *world) check() {
	close(w.quit)
	w.clients.Wait()
	w.leader()
	_, err := w.nodes[w.leader()].Apply(context.Background(), []byte("last"))
	require.NoError(w.t, err)
	all := w.machines[w.leader()].all()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		same := 0
		for _, id := range w.ids {
			if slices.Equal(w.machines[id].all(), all) {
				same++
			}
		}
		if same == len(w.ids) {
			break
		}
		require.True(w.t, time.Now().Before(deadline), "the machines do not agree")
	}
	count := map[string]int{}
	for _, e := range all {
		count[e]++
		require.Equal(w.t, 1, count[e], "%s was applied twice", e)
		require.False(w.t, w.refused[e], "%s was refused and applied", e)
	}
	for _, e := range w.acked {
		require.Equal(w.t, 1, count[e], "%s was answered and is lost", e)
	}
	for _, id := range w.ids {
		require.NoError(w.t, w.nodes[id].Err())
		w.nodes[id].Close()
	}
	w.t.Logf("%d answered, %d unknown, %d refused, %d reads", len(w.acked), len(w.unknown), len(w.refused), w.reads)
	require.NotEmpty(w.t, w.acked)
	time.Sleep(2 * time.Minute) // let the engine's timers end
}

// TestPartitions cuts the leader off, again and again, while clients write and read.
// 1,000 times with ASHLAR_FULL.
func TestPartitions(t *testing.T) {
	for seed := range uint64(scaled(1, 40)) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { partitions(t, seed) }) })
	}
}

func partitions(t *testing.T, seed uint64) {
	w := newWorld(t, seed, false)
	for c := range 5 {
		w.clients.Go(func() { w.client(c) })
	}
	for range 25 {
		id := w.leader()
		time.Sleep(time.Duration(w.rng.Int64N(int64(500 * time.Millisecond))))
		w.isolate(id)
		time.Sleep(time.Duration(w.rng.Int64N(int64(3 * time.Second))))
		w.heal(id)
	}
	w.check()
}

// TestClusterPowerCuts takes the power from the leader, a follower, or all nodes at
// once, on disks whose flushes take their time, so that a leader often has
// answered nothing yet of what its followers hold, and the other way round. What was
// answered is there afterwards, on every node. 1,000 cuts with ASHLAR_FULL.
func TestClusterPowerCuts(t *testing.T) {
	for seed := range uint64(scaled(2, 40)) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { powerCuts(t, seed) }) })
	}
}

func powerCuts(t *testing.T, seed uint64) {
	w := newWorld(t, seed, true)
	for c := range 5 {
		w.clients.Go(func() { w.client(c) })
	}
	for range 25 {
		leader := w.leader()
		time.Sleep(time.Duration(w.rng.Int64N(int64(300 * time.Millisecond))))
		victims := []string{leader}
		switch w.rng.IntN(4) {
		case 0:
			victims[0] = w.ids[w.rng.IntN(3)]
		case 1:
			victims = w.ids
		}
		var restart []func()
		for _, id := range victims {
			restart = append(restart, w.cutPower(id))
		}
		time.Sleep(time.Duration(w.rng.Int64N(int64(2 * time.Second))))
		for _, f := range restart {
			f()
		}
	}
	w.check()
}
