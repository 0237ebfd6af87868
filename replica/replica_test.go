package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cluster is three nodes of this process on loopback TCP.
type cluster struct {
	t        *testing.T
	dirs     []string
	members  []Member
	nodes    []*Node
	machines []*journal
	opts     Options
	each     []func(i int, o *Options) // changes the options of node i
}

func listen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func newCluster(t *testing.T, size int, opts Options, each ...func(i int, o *Options)) *cluster {
	c := &cluster{t: t, opts: opts, each: each}
	if c.opts.HeartbeatTimeout == 0 {
		c.opts.HeartbeatTimeout = 300 * time.Millisecond
	}
	var lns []net.Listener
	for i := range size {
		ln := listen(t)
		lns = append(lns, ln)
		c.members = append(c.members, Member{ID: fmt.Sprint("n", i), Address: ln.Addr().String()})
		dir := ""
		if !opts.InMemory {
			dir = filepath.Join(t.TempDir(), "n")
		}
		c.dirs = append(c.dirs, dir)
	}
	c.nodes, c.machines = make([]*Node, size), make([]*journal, size)
	for i := range size {
		c.start(i, lns[i])
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if n != nil {
				n.Close()
			}
		}
	})
	return c
}

func (c *cluster) start(i int, ln net.Listener) *Node {
	c.t.Helper()
	o := c.options(i, ln)
	c.machines[i] = &journal{}
	n, err := Open(c.dirs[i], c.machines[i], &o)
	require.NoError(c.t, err)
	c.nodes[i] = n
	return n
}

// options returns what node i is opened with.
func (c *cluster) options(i int, ln net.Listener) Options {
	o := c.opts
	o.ID, o.Listener, o.Listen = c.members[i].ID, ln, c.members[i].Address
	o.Bootstrap = c.members
	for _, f := range c.each {
		f(i, &o)
	}
	return o
}

// leader returns a node that can prove that it leads.
func (c *cluster) leader() *Node {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		for _, n := range c.nodes {
			if n == nil {
				continue
			}
			if _, err := n.Confirm(ctx); err == nil {
				return n
			}
		}
		if ctx.Err() != nil {
			c.t.Fatal("no leader in 30 s")
		}
		time.Sleep(5 * time.Millisecond) // polls a condition
	}
}

// put applies a command at whoever leads, again and again until it is answered:
// on a busy machine leaders may change at any time. A command whose outcome was
// unknown may have been applied more than once.
func (c *cluster) put(ctx context.Context, data string) (leader *Node) {
	c.t.Helper()
	for {
		l := c.leader()
		_, err := l.Apply(ctx, []byte(data))
		if err == nil {
			return l
		}
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnknown) || ctx.Err() != nil {
			c.t.Fatal(err)
		}
	}
}

// firsts returns the entries without repetitions.
func firsts(entries []string) (once []string) {
	seen := map[string]bool{}
	for _, e := range entries {
		if !seen[e] {
			seen[e] = true
			once = append(once, e)
		}
	}
	return once
}

// eventually polls a condition that other goroutines bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestClusterAgrees(t *testing.T) {
	for _, store := range []Store{StoreWAL, StoreBolt} {
		t.Run(store.String(), func(t *testing.T) {
			c := newCluster(t, 3, Options{Store: store, HeartbeatTimeout: 2 * time.Second})
			l := c.leader()
			ctx := background(t)
			var wg sync.WaitGroup
			var mu sync.Mutex
			seen := map[int]bool{}
			for g := range 8 {
				wg.Go(func() {
					for i := range 50 {
						ans, err := l.Apply(ctx, fmt.Appendf(nil, "%d/%d", g, i))
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						if seen[ans.(int)] {
							t.Errorf("answer %v twice", ans)
						}
						seen[ans.(int)] = true
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			require.Len(t, seen, 400)
			require.NoError(t, l.Read(ctx))
			eventually(t, "all machines agree", func() bool {
				for _, m := range c.machines {
					if !slices.Equal(m.all(), c.machines[0].all()) || len(m.all()) != 400 {
						return false
					}
				}
				return true
			})
			s := l.Stats()
			require.EqualValues(t, 400, s.Commands)
			require.Less(t, s.Batches, s.Commands, "nothing was coalesced")

			// Followers refuse, and name the leader.
			for _, n := range c.nodes {
				if n == l {
					continue
				}
				_, err := n.Apply(ctx, []byte("x"))
				var nl *NotLeaderError
				require.ErrorAs(t, err, &nl)
				require.ErrorIs(t, err, ErrNotLeader)
				require.Equal(t, l.Address(), nl.Address)
				require.ErrorIs(t, n.Read(ctx), ErrNotLeader)
			}
		})
	}
}

func TestRestartAndFailover(t *testing.T) {
	for _, store := range []Store{StoreWAL, StoreBolt} {
		t.Run(store.String(), func(t *testing.T) {
			c := newCluster(t, 3, Options{Store: store, SnapshotEvery: 50, TrailingLogs: 20})
			ctx := background(t)
			var acked []string
			put := func(s string) *Node {
				l := c.put(ctx, s)
				acked = append(acked, s)
				return l
			}
			for round := range 4 {
				var l *Node
				for i := range 30 {
					l = put(fmt.Sprintf("%d.%d", round, i))
				}
				if round == 1 {
					require.NoError(t, l.Snapshot())
				}
				at := slices.Index(c.nodes, l)
				require.NoError(t, l.Close())
				require.ErrorIs(t, l.Err(), ErrClosed)
				c.nodes[at] = nil
				put(fmt.Sprint("after ", round))
				c.start(at, nil)
			}
			eventually(t, "a leader reads", func() bool {
				l := c.leader()
				return l.Read(ctx) == nil && slices.Equal(firsts(c.machines[slices.Index(c.nodes, l)].all()), acked)
			})
			eventually(t, "restarted nodes catch up", func() bool {
				for _, m := range c.machines {
					if !slices.Equal(firsts(m.all()), acked) {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestJoinAndLeave(t *testing.T) {
	c := newCluster(t, 1, Options{SnapshotEvery: 50, TrailingLogs: 10})
	ctx := background(t)
	l := c.leader()
	for i := range 200 {
		_, err := l.Apply(ctx, fmt.Append(nil, i))
		require.NoError(t, err)
	}
	require.NoError(t, l.Snapshot())
	for i := range 2 {
		m := &journal{}
		n, err := Open(filepath.Join(t.TempDir(), "n"), m, &Options{
			Join: []string{c.nodes[0].Address()}, HeartbeatTimeout: c.opts.HeartbeatTimeout,
		})
		require.NoError(t, err)
		c.nodes, c.machines = append(c.nodes, n), append(c.machines, m)
		eventually(t, "the new member votes", func() bool {
			ms, err := c.nodes[0].Members()
			return err == nil && len(ms) == i+2 && ms[i+1].Voter
		})
	}
	eventually(t, "new members have everything", func() bool {
		return slices.Equal(c.machines[0].all(), c.machines[2].all()) && len(c.machines[1].all()) == 200
	})
	// A known address under another id is refused, and so is the reverse.
	err := c.nodes[1].Join(ctx, Member{ID: "other", Address: c.nodes[2].Address()})
	require.ErrorContains(t, err, "remove it first")
	err = c.nodes[0].Join(ctx, Member{ID: c.nodes[2].ID(), Address: "127.0.0.1:1"})
	require.ErrorContains(t, err, "remove it first")

	// The founder leaves; a follower passes the request on.
	require.NoError(t, c.nodes[1].Leave(ctx, "n0"))
	require.NoError(t, c.nodes[0].Close())
	c.nodes[0] = nil
	l = c.put(ctx, "on without it")
	// Without the second of two voters there is no majority to decide anything.
	other := 3 - slices.Index(c.nodes, l)
	require.NoError(t, c.nodes[other].Close())
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	require.Error(t, l.Leave(short, l.ID()))
}

func TestRefusesStrangers(t *testing.T) {
	a := newCluster(t, 1, Options{})
	_, err := Open(t.TempDir(), &journal{}, &Options{Join: []string{a.nodes[0].Address()}, Cluster: "other"})
	require.ErrorContains(t, err, "other cluster")

	// A directory keeps its node and its cluster.
	require.NoError(t, a.nodes[0].Close())
	_, err = Open(a.dirs[0], &journal{}, &Options{ID: "else", Bootstrap: []Member{{ID: "else", Address: "127.0.0.1:1"}}})
	require.ErrorIs(t, err, ErrIncompatible)
	a.nodes[0] = nil
}

func TestOptions(t *testing.T) {
	two := []Member{{ID: "a", Address: "127.0.0.1:1"}, {ID: "b", Address: "127.0.0.1:2"}}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "needs Options.Bootstrap or Options.Join"},
		{Options{Bootstrap: two}, "needs an ID"},
		{Options{Bootstrap: two, ID: "c"}, "does not contain this node"},
		{Options{Bootstrap: two, ID: "a", Join: []string{"x"}}, "both Bootstrap and Join"},
		{Options{Bootstrap: append(two, two[0]), ID: "a"}, "twice"},
		{Options{HeartbeatTimeout: time.Millisecond}, "below 20ms"},
		{Options{MaxCommand: 1 << 30}, "MaxCommand"},
		{Options{InFlight: -1}, "InFlight"},
		{Options{Listen: "0.0.0.0:0"}, "Advertise"},
		{Options{Listen: "0.0.0.0:0", Advertise: "example.org:1"}, "not loopback"},
		{Options{Store: 9}, "Store(9)"},
	} {
		_, err := Open(t.TempDir(), &journal{}, &c.o)
		require.ErrorContains(t, err, c.want)
	}
}

func TestApplyErrors(t *testing.T) {
	c := newCluster(t, 1, Options{MaxCommand: 10, InMemory: true})
	l := c.leader()
	ctx := background(t)
	_, err := l.Apply(ctx, make([]byte, 11))
	require.ErrorIs(t, err, ErrTooLarge)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = l.Apply(done, nil)
	require.True(t, errors.Is(err, context.Canceled) && !errors.Is(err, ErrUnknown), "%v", err)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	_, err = l.Apply(ctx, nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, l.Read(ctx), ErrClosed)
}
