//go:build unix

package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// The tests of this file run servers and clients as processes of their own,
// which they kill and stop. Each is this test program, told its role by a
// variable.
func TestMain(m *testing.M) {
	switch os.Getenv("ASHLAR_TEST_ROLE") {
	case "server":
		playServer()
	case "holders":
		playHolders()
	default:
		os.Exit(m.Run())
	}
}

func playServer() {
	var members []replica.Member
	if err := json.Unmarshal([]byte(os.Getenv("MEMBERS")), &members); err != nil {
		panic(err)
	}
	id := os.Getenv("ID")
	heartbeat, _ := time.ParseDuration(os.Getenv("HEARTBEAT"))
	self := members[slices.IndexFunc(members, func(m replica.Member) bool { return m.ID == id })]
	n, err := node.Open(os.Getenv("DIR"), &node.Options{
		ID: id, Listen: self.Address, Bootstrap: members, HeartbeatTimeout: heartbeat, StallTimeout: time.Minute, Insecure: true,
		SnapshotEvery: 2000, TrailingLogs: 1000, AuditEvery: 500 * time.Millisecond,
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up")
	go func() { // the parent holds our input open
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what matters
		os.Exit(0)
	}()
	<-n.Done()
	fmt.Fprintln(os.Stderr, "server", id, "stopped:", n.Replica().Err())
	os.Exit(3)
}

// A process is a child of the test.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startProcess(t testing.TB, role string, env ...string) *process {
	t.Helper()
	return startProcessIn(t, nil, role, env...)
}

// startProcessIn has the process started by another command, which gets the
// program's name as its last argument.
func startProcessIn(t testing.TB, wrap []string, role string, env ...string) *process {
	t.Helper()
	args := append(slices.Clone(wrap), os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), append(env, "ASHLAR_TEST_ROLE="+role)...)
	cmd.Stderr = os.Stderr
	p := &process{cmd: cmd}
	var err error
	p.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	require.NoError(t, cmd.Start())
	return p
}

func (p *process) signal(s syscall.Signal) { p.cmd.Process.Signal(s) } //nolint:errcheck // it may be gone

func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may be gone
	p.cmd.Wait()         //nolint:errcheck // killed
}

// A fleet is a cluster of server processes.
type fleet struct {
	t         testing.TB
	heartbeat time.Duration
	dir       string
	members   []replica.Member
	procs     []*process
	wrap      func(i int) []string // what starts server i; nil: nothing does
}

func newFleet(t testing.TB, size int, heartbeat time.Duration) *fleet {
	f := &fleet{t: t, heartbeat: heartbeat, dir: t.TempDir(), procs: make([]*process, size)}
	var lns []net.Listener
	for i := range size {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		lns = append(lns, ln)
		f.members = append(f.members, replica.Member{ID: fmt.Sprint("n", i), Address: ln.Addr().String()})
	}
	for i, ln := range lns {
		ln.Close()
		f.start(i)
	}
	t.Cleanup(f.kill)
	return f
}

// kill ends all servers.
func (f *fleet) kill() {
	for _, p := range f.procs {
		p.kill()
	}
}

func (f *fleet) start(i int) {
	f.t.Helper()
	members, _ := json.Marshal(f.members)
	var wrap []string
	if f.wrap != nil {
		wrap = f.wrap(i)
	}
	p := startProcessIn(f.t, wrap, "server", "DIR="+filepath.Join(f.dir, f.members[i].ID), "ID="+f.members[i].ID, "MEMBERS="+string(members),
		"HEARTBEAT="+f.heartbeat.String())
	line, err := p.out.ReadString('\n')
	require.NoError(f.t, err)
	require.Equal(f.t, "up\n", line)
	f.procs[i] = p
}

func (f *fleet) addresses() (a []string) {
	for _, m := range f.members {
		a = append(a, m.Address)
	}
	return a
}

// status asks one server how it sees the cluster.
func (f *fleet) status(ctx context.Context, i int) (s struct {
	Leader string
	Stats  node.Stats
}, err error,
) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err = getJSON(ctx, "http://"+f.members[i].Address+"/v1/cluster", &s)
	return s, err
}

// leader returns the index of the server that a majority takes for the leader.
func (f *fleet) leader(ctx context.Context) int {
	f.t.Helper()
	for {
		votes := map[string]int{}
		for i := range f.members {
			if s, err := f.status(ctx, i); err == nil && s.Leader != "" {
				if votes[s.Leader]++; votes[s.Leader] > len(f.members)/2 {
					return slices.IndexFunc(f.members, func(m replica.Member) bool { return m.ID == s.Leader })
				}
			}
		}
		if ctx.Err() != nil {
			f.t.Fatal("no leader")
		}
		time.Sleep(10 * time.Millisecond) // polls a condition
	}
}

// A ledger is the guarded store of these tests: a counter per key that clients
// read, raise by one and write back, so that a write under a stale lock would
// lose one.
type ledger struct {
	guard *lock.Guard
	mu    sync.Mutex
	value map[string]int
	last  map[string]uint64
	stale atomic.Int64 // writes accepted although a higher token had written before
}

func newLedger(t testing.TB) *ledger {
	g, err := lock.NewGuard(nil)
	require.NoError(t, err)
	return &ledger{guard: g, value: map[string]int{}, last: map[string]uint64{}}
}

func (l *ledger) read(ctx context.Context, key string, token uint64) (v int, err error) {
	if err := l.guard.Check(ctx, key, token); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value[key], nil
}

func (l *ledger) write(ctx context.Context, key string, token uint64, v int) error {
	return l.guard.Do(ctx, key, token, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if token < l.last[key] {
			l.stale.Add(1)
		}
		l.last[key] = token
		l.value[key] = v
		return nil
	})
}

// A load is clients that lock, read, write and unlock, and what came of it.
type load struct {
	fleet   *fleet
	ledger  *ledger
	h       *history
	acked   []atomic.Int64 // writes acknowledged, per key
	grants  atomic.Int64
	lost    atomic.Int64 // holds that ended before their Unlock
	refused atomic.Int64 // writes that the guard refused
	doubled atomic.Int64 // of these, such whose client still had reason to believe
	granted chan time.Time
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

func startLoad(t testing.TB, f *fleet, clients, keys int, ttl time.Duration) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{fleet: f, ledger: newLedger(t), h: newHistory(), acked: make([]atomic.Int64, keys), granted: make(chan time.Time, 1), stop: cancel}
	for i := range clients {
		c, err := lock.Dial(deadline(t), f.addresses(), &lock.Options{TTL: ttl, Label: fmt.Sprint("client ", i)})
		require.NoError(t, err)
		l.wg.Go(func() {
			defer c.Close()
			k := i % keys
			key := fmt.Sprint("key", k)
			for ctx.Err() == nil {
				l.once(ctx, t, c, i, k, key)
			}
		})
	}
	return l
}

func (l *load) once(ctx context.Context, t testing.TB, c *lock.Client, i, k int, key string) {
	called := l.h.now()
	lk, err := c.Lock(ctx, key)
	if err != nil {
		if ctx.Err() == nil {
			t.Errorf("Lock: %v", err)
			l.stop()
		}
		return
	}
	l.h.add(i, called, observation{key, "acquire", lk.Token()})
	l.grants.Add(1)
	select {
	case l.granted <- time.Now():
	default:
	}
	v, err := l.ledger.read(ctx, key, lk.Token())
	if err == nil {
		err = l.ledger.write(ctx, key, lk.Token(), v+1)
	}
	switch {
	case err == nil:
		l.acked[k].Add(1)
	case errors.Is(err, lock.ErrStale):
		l.refused.Add(1)
		if lk.Err() == nil {
			l.doubled.Add(1)
		}
	case ctx.Err() == nil:
		t.Errorf("write: %v", err)
	}
	called = l.h.now()
	switch err := lk.Unlock(ctx); {
	case err == nil:
		l.h.add(i, called, observation{key, "release", lk.Token()})
	case errors.Is(err, lock.ErrNotHeld):
		l.lost.Add(1)
		l.h.add(i, called, observation{key, "maybe", lk.Token()})
	default:
		l.h.add(i, called, observation{key, "maybe", lk.Token()})
	}
}

// nextGrant returns when the next grant is made, after those made before.
func (l *load) nextGrant(t testing.TB, after time.Time, limit time.Duration) time.Time {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case at := <-l.granted:
			if at.After(after) {
				return at
			}
		case <-timer.C:
			t.Fatalf("no grant for %v", limit)
		}
	}
}

// finish ends the load and checks what it saw.
func (l *load) finish(t testing.TB) {
	l.stop()
	l.wg.Wait()
	require.Zero(t, l.ledger.stale.Load(), "stale writes accepted")
	require.Zero(t, l.doubled.Load(), "holds of which two clients had reason to believe")
	for k := range l.acked {
		require.EqualValues(t, l.acked[k].Load(), l.ledger.value[fmt.Sprint("key", k)], "acknowledged writes of key %d", k)
	}
	l.h.check(t)
}

// A journal keeps the results of rounds that take long, so that a run that was
// cut off goes on where it was. Without ASHLAR_JOURNAL it keeps nothing.
type journal struct {
	path string
	done []map[string]float64
}

func openJournal(t testing.TB, name string) *journal {
	j := &journal{}
	if dir := os.Getenv("ASHLAR_JOURNAL"); dir != "" {
		j.path = filepath.Join(dir, name+".jsonl")
		b, err := os.ReadFile(j.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var r map[string]float64
			if json.Unmarshal([]byte(line), &r) == nil { // the last line may be cut
				j.done = append(j.done, r)
			}
		}
	}
	return j
}

func (j *journal) add(t testing.TB, r map[string]float64) {
	j.done = append(j.done, r)
	if j.path == "" {
		return
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer f.Close()
	b, _ := json.Marshal(r)
	_, err = f.Write(append(b, '\n'))
	require.NoError(t, err)
}

// addAll adds the rounds of one cluster, the first with what the whole load saw.
func (j *journal) addAll(t testing.TB, batch []map[string]float64, l *load) {
	for i, r := range batch {
		if i == 0 {
			r["lost"], r["refused"], r["acquired"] = float64(l.lost.Load()), float64(l.refused.Load()), float64(l.grants.Load())
		}
		j.add(t, r)
	}
}

func (j *journal) quantile(name string, q float64) float64 {
	var xs []float64
	for _, r := range j.done {
		xs = append(xs, r[name])
	}
	slices.Sort(xs)
	return xs[min(int(q*float64(len(xs))), len(xs)-1)]
}

func (j *journal) sum(name string) (s float64) {
	for _, r := range j.done {
		s += r[name]
	}
	return s
}

// TestLeaderKills (V3) kills the leading server with SIGKILL under load, waits
// until locks are granted again, and starts it anew on its directory. No write
// under a stale lock is accepted, no acknowledged one is lost, and what the
// clients saw is linearizable. ASHLAR_KILLS sets the number of kills, 4 by
// default; the record is 1,000.
func TestLeaderKills(t *testing.T) {
	total := rounds(t, "ASHLAR_KILLS", 4)
	j := openJournal(t, "kills")
	for len(j.done) < total {
		n := min(20, total-len(j.done))
		// A fresh cluster now and then keeps the histories short enough to check.
		f := newFleet(t, 3, 200*time.Millisecond)
		l := startLoad(t, f, 32, 8, 3*time.Second)
		var batch []map[string]float64
		for range n {
			ctx := deadline(t)
			l.nextGrant(t, time.Now(), 20*time.Second)
			x := f.leader(ctx)
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // lets the kill fall anywhere
			before := l.grants.Load()
			f.procs[x].kill()
			killed := time.Now()
			gap := l.nextGrant(t, killed, 20*time.Second).Sub(killed)
			f.start(x)
			batch = append(batch, map[string]float64{"gap_ms": float64(gap.Milliseconds()), "grants": float64(l.grants.Load() - before)})
		}
		l.finish(t)
		j.addAll(t, batch, l)
		f.kill()
	}
	t.Logf("%d kills: gap to the next grant p50 %.0f ms, p99 %.0f ms, longest %.0f ms; %.0f grants, %.0f leases lost, %.0f stale writes refused, 0 accepted",
		len(j.done), j.quantile("gap_ms", 0.5), j.quantile("gap_ms", 0.99), j.quantile("gap_ms", 1), j.sum("acquired"), j.sum("lost"), j.sum("refused"))
}

// TestLeaderPauses (V5) stops the leading server for 0.1 to 5 s under load:
// what triggers the fast-path fault of the engine. Every few seconds the servers
// compare digests of their states, and one that differs would end itself.
// ASHLAR_PAUSES sets the number of pauses, 3 by default; the record is 500.
func TestLeaderPauses(t *testing.T) {
	total := rounds(t, "ASHLAR_PAUSES", 3)
	j := openJournal(t, "pauses")
	for len(j.done) < total {
		n := min(20, total-len(j.done))
		f := newFleet(t, 3, 200*time.Millisecond)
		l := startLoad(t, f, 16, 4, 3*time.Second)
		var batch []map[string]float64
		for range n {
			ctx := deadline(t)
			l.nextGrant(t, time.Now(), 20*time.Second)
			x := f.leader(ctx)
			pause := 100*time.Millisecond + time.Duration(rand.ExpFloat64()*float64(800*time.Millisecond))
			pause = min(pause, 5*time.Second)
			f.procs[x].signal(syscall.SIGSTOP)
			stopped := time.Now()
			time.Sleep(pause) // how long the server is stopped is what is tried here
			f.procs[x].signal(syscall.SIGCONT)
			gap := l.nextGrant(t, stopped, 20*time.Second).Sub(stopped)
			batch = append(batch, map[string]float64{"pause_ms": float64(pause.Milliseconds()), "gap_ms": float64(gap.Milliseconds())})
		}
		l.finish(t)
		// All servers run, and have compared their states since.
		ctx := deadline(t)
		c, err := lock.Dial(ctx, f.addresses(), nil)
		require.NoError(t, err)
		audits := func() (n uint64) {
			for i := range f.members {
				s, err := f.status(ctx, i)
				if err != nil {
					return 0
				}
				n += s.Stats.Replica.Audits
			}
			return n
		}
		first := audits()
		eventually(t, "two audits on live servers", func() bool {
			lk, err := c.Lock(ctx, "audited")
			require.NoError(t, err)
			require.NoError(t, lk.Unlock(ctx))
			return audits() >= first+2
		})
		c.Close()
		j.addAll(t, batch, l)
		f.kill()
	}
	t.Logf("%d pauses of %.0f to %.0f ms: %.0f grants, %.0f leases lost, %.0f stale writes refused, 0 accepted, all digests equal",
		len(j.done), j.quantile("pause_ms", 0), j.quantile("pause_ms", 1), j.sum("acquired"), j.sum("lost"), j.sum("refused"))
}

// playHolders takes a lock for each of its clients, says so, and is stopped.
// When it goes on it writes at once, without asking whether it still holds what
// it held, and then tells what its locks say.
func playHolders() {
	ctx := context.Background()
	nodes := strings.Split(os.Getenv("NODES"), ",")
	var locks []*lock.Lock
	for _, key := range strings.Split(os.Getenv("KEYS"), ",") {
		c, err := lock.Dial(ctx, nodes, &lock.Options{TTL: time.Second})
		if err != nil {
			panic(err)
		}
		l, err := c.Lock(ctx, key)
		if err != nil {
			panic(err)
		}
		locks = append(locks, l)
	}
	for _, l := range locks {
		fmt.Println(l.Key(), l.Token())
	}
	bufio.NewReader(os.Stdin).ReadString('\n') //nolint:errcheck // stopped here, and let go on
	for _, l := range locks {
		fmt.Println(l.Key(), l.Token(), l.Err() != nil)
	}
}

// TestHolderPauses (V4) stops holders with SIGSTOP for three leases. Others get
// their locks meanwhile and write; then the holders go on and write at once. A
// store without a guard takes every such write, which shows that the test
// bites; the guarded one refuses all; and every lock says that it is lost when
// its holder first asks. ASHLAR_HOLDERS sets the number of holders, 10 by
// default; the record is 1,000.
func TestHolderPauses(t *testing.T) {
	total := rounds(t, "ASHLAR_HOLDERS", 10)
	f := newFleet(t, 3, 300*time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	next, err := lock.Dial(ctx, f.addresses(), &lock.Options{TTL: 10 * time.Second})
	require.NoError(t, err)
	defer next.Close()
	naive, guarded, told := 0, 0, 0
	for done := 0; done < total; {
		n := min(50, total-done)
		var keys []string
		for i := range n {
			keys = append(keys, fmt.Sprint("k", done+i))
		}
		p := startProcess(t, "holders", "NODES="+strings.Join(f.addresses(), ","), "KEYS="+strings.Join(keys, ","))
		ledger := newLedger(t)
		tokens := map[string]uint64{}
		for range keys {
			var key string
			var token uint64
			_, err := fmt.Fscanln(p.out, &key, &token)
			require.NoError(t, err)
			tokens[key] = token
			_, err = ledger.read(ctx, key, token)
			require.NoError(t, err)
		}
		p.signal(syscall.SIGSTOP)
		stopped := time.Now()
		unguarded := map[string]uint64{} // the token of the last write
		for _, key := range keys {
			l, err := next.Lock(ctx, key) // granted when the lease has ended
			require.NoError(t, err)
			require.Greater(t, l.Token(), tokens[key])
			require.NoError(t, ledger.write(ctx, key, l.Token(), 2))
			unguarded[key] = l.Token()
			require.NoError(t, l.Unlock(ctx))
		}
		time.Sleep(time.Until(stopped.Add(3 * time.Second))) // three leases are what is tried here
		fmt.Fprintln(p.in)
		p.signal(syscall.SIGCONT)
		for range keys {
			var key string
			var token uint64
			var lost bool
			_, err := fmt.Fscanln(p.out, &key, &token, &lost)
			require.NoError(t, err)
			// Its write, on both kinds of store.
			if token < unguarded[key] {
				naive++
			}
			if err := ledger.write(ctx, key, token, 1); err == nil {
				t.Errorf("%s: token %d accepted after %d", key, token, unguarded[key])
			} else {
				require.ErrorIs(t, err, lock.ErrStale)
				guarded++
			}
			if lost {
				told++
			}
		}
		p.kill()
		done += n
	}
	require.Equal(t, total, naive, "stale writes that the unguarded store took")
	require.Equal(t, total, guarded, "stale writes that the guard refused")
	require.Equal(t, total, told, "locks that knew of their loss when first asked")
	t.Logf("%d holders stopped for 3 leases: %d stale writes taken without a guard, 0 with it; %d of %d knew at their first look", total, naive, told, total)
}

// However many wait, a hand-over wakes exactly one of them. ASHLAR_WAITERS sets
// how many wait, 500 by default; the record is 10,000.
func TestOneWakeup(t *testing.T) {
	waiters := rounds(t, "ASHLAR_WAITERS", 500)
	// The server is a process of its own, so that each side has its own limit
	// of open files.
	f := newFleet(t, 1, 2*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	first, err := lock.Dial(ctx, f.addresses(), &lock.Options{TTL: 5 * time.Minute})
	require.NoError(t, err)
	defer first.Close()
	l, err := first.Lock(ctx, "k")
	require.NoError(t, err)
	stats := func() node.Stats {
		s, err := f.status(ctx, 0)
		require.NoError(t, err)
		return s.Stats
	}
	var wg sync.WaitGroup
	got := make(chan *lock.Lock)
	slots := make(chan struct{}, 64)
	var clients []*lock.Client
	var mu sync.Mutex
	for range waiters {
		slots <- struct{}{}
		wg.Go(func() {
			cl, err := lock.Dial(ctx, f.addresses(), &lock.Options{TTL: 5 * time.Minute})
			<-slots
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			clients = append(clients, cl)
			mu.Unlock()
			l, err := cl.Lock(ctx, "k")
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			got <- l
		})
	}
	eventually(t, "all wait", func() bool { i, err := first.Inspect(ctx, "k"); return err == nil && i.Waiting == waiters })
	before := stats()
	handovers := min(waiters, 200)
	start := time.Now()
	for range handovers {
		require.NoError(t, l.Unlock(ctx))
		l = <-got
	}
	took := time.Since(start)
	after := stats()
	require.EqualValues(t, handovers, after.Grants-before.Grants)
	require.EqualValues(t, handovers, after.Notified-before.Notified)
	t.Logf("%d waiters: %d hand-overs, %d wake-ups, %v each", waiters, handovers, after.Notified-before.Notified, took/time.Duration(handovers))
	cancel()
	wg.Wait()
	for _, cl := range clients {
		wg.Go(func() { cl.Close() })
	}
	wg.Wait()
}

// Sessions that do nothing but live write nothing to the log. ASHLAR_IDLE sets
// how many there are, 50 by default; the record is 10,000.
func TestIdleSessionsWriteNothing(t *testing.T) {
	sessions := rounds(t, "ASHLAR_IDLE", 50)
	f := newFleet(t, 3, time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	ttl := 3 * time.Second
	if sessions > 1000 {
		ttl = 10 * time.Second
	}
	clients := make([]*lock.Client, sessions)
	slots := make(chan struct{}, 64)
	var wg sync.WaitGroup
	for i := range clients {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c, err := lock.Dial(ctx, f.addresses(), &lock.Options{TTL: ttl})
			if err != nil {
				t.Error(err)
				return
			}
			clients[i] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	leader := f.leader(ctx)
	stats := func() node.Stats {
		s, err := f.status(ctx, leader)
		require.NoError(t, err)
		return s.Stats
	}
	before := stats()
	eventually(t, "every session renewed twice", func() bool { return stats().Renewals >= before.Renewals+2*uint64(sessions) })
	after := stats()
	// What the machines compare now and then is not the sessions' doing.
	entries := (after.Replica.LogEntries - after.Replica.Audits) - (before.Replica.LogEntries - before.Replica.Audits)
	require.Zero(t, entries, "log entries written by idle sessions")
	require.Equal(t, sessions, after.Sessions)
	t.Logf("%d sessions: %d renewals, %d log entries", sessions, after.Renewals-before.Renewals, entries)
	for _, c := range clients {
		wg.Go(func() { c.Close() })
	}
	wg.Wait()
}
