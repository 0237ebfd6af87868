package replica

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A faultyFS is the system's files with a hook before each write and sync.
type faultyFS struct {
	vfs.FS
	hook atomic.Pointer[func(kind vfs.OpKind, name string) error]
}

func (f *faultyFS) call(kind vfs.OpKind, name string) error {
	if h := f.hook.Load(); h != nil {
		return (*h)(kind, name)
	}
	return nil
}

func (f *faultyFS) set(h func(kind vfs.OpKind, name string) error) { f.hook.Store(&h) }

func (f *faultyFS) Create(name string) (vfs.File, error) {
	x, err := f.FS.Create(name)
	return f.wrap(x, name), err
}

func (f *faultyFS) Open(name string) (vfs.File, error) {
	x, err := f.FS.Open(name)
	return f.wrap(x, name), err
}

func (f *faultyFS) wrap(x vfs.File, name string) vfs.File {
	if x == nil {
		return nil
	}
	return &faultyFile{x, f, name}
}

type faultyFile struct {
	vfs.File
	fs   *faultyFS
	name string
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.call(vfs.OpWrite, f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.call(vfs.OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) Datasync() error {
	if err := f.fs.call(vfs.OpDatasync, f.name); err != nil {
		return err
	}
	return f.File.Datasync()
}

// faultyCluster is three nodes, each on a disk that can be made to fail.
func faultyCluster(t *testing.T, o Options) (*cluster, []*faultyFS) {
	disks := []*faultyFS{{FS: vfs.OS}, {FS: vfs.OS}, {FS: vfs.OS}}
	c := newCluster(t, 3, o, func(i int, o *Options) { o.fs = disks[i] })
	return c, disks
}

func inLog(name string) bool {
	return strings.Contains(name, string(filepath.Separator)+walName+string(filepath.Separator))
}

// TestDiskErrorStopsNode: a leader whose log cannot be flushed stops, says why, and
// asks its disk for no further flush; the others go on, with all that was answered.
func TestDiskErrorStopsNode(t *testing.T) {
	for _, serial := range []bool{false, true} {
		c, disks := faultyCluster(t, Options{SerialSync: serial})
		ctx := background(t)
		l := c.put(ctx, "before")
		eio := errors.New("input/output error")
		var syncs atomic.Int32
		at := slices.Index(c.nodes, l)
		disks[at].set(func(kind vfs.OpKind, name string) error {
			if kind == vfs.OpDatasync && inLog(name) {
				syncs.Add(1)
				return eio
			}
			return nil
		})
		_, err := l.Apply(ctx, []byte("during"))
		require.Error(t, err)
		<-l.Done()
		require.ErrorIs(t, l.Err(), ErrDisk)
		require.ErrorIs(t, l.Err(), eio)
		require.LessOrEqual(t, syncs.Load(), int32(2), "one of the log, one of a segment being prepared")
		_, err = l.Apply(ctx, []byte("after"))
		require.ErrorIs(t, err, ErrClosed)
		c.nodes[at] = nil
		l2 := c.put(ctx, "on")
		got := c.machines[slices.Index(c.nodes, l2)].all()
		require.Equal(t, "before", got[0])
		require.Equal(t, "on", got[len(got)-1])
		// The disk is exchanged: the node comes back.
		disks[at].set(func(vfs.OpKind, string) error { return nil })
		c.start(at, nil)
		eventually(t, "the node catches up", func() bool { return slices.Equal(c.machines[at].all(), got) })
	}
}

// TestDiskErrorOnVote: the engine panics when it cannot store its term; the node
// must stop instead.
func TestDiskErrorOnVote(t *testing.T) {
	c, disks := faultyCluster(t, Options{})
	l := c.leader()
	eio := errors.New("input/output error")
	for i, d := range disks {
		if c.nodes[i] != l {
			d.set(func(kind vfs.OpKind, name string) error {
				if kind == vfs.OpWrite && inLog(name) {
					return eio
				}
				return nil
			})
		}
	}
	require.NoError(t, l.Close())
	// One stands for election; alone, the other cannot.
	at := slices.Index(c.nodes, l)
	one, two := c.nodes[(at+1)%3], c.nodes[(at+2)%3]
	select {
	case <-one.Done():
	case <-two.Done():
		one = two
	}
	require.ErrorIs(t, one.Err(), ErrDisk)
	require.ErrorIs(t, one.Err(), eio)
}

// TestDiskErrorOnRead: the engine also panics when it cannot read an entry that it
// must apply or send.
func TestDiskErrorOnRead(t *testing.T) {
	s, _, err := openWAL(vfs.NewSim(), "log", 0)
	require.NoError(t, err)
	defer s.Close()
	var failed error
	g := &guardedStore{logStore: badReads{s}, fail: func(err error) { failed = err }, stalls: newStallWatch(func() time.Duration { return 0 })}
	require.Error(t, g.GetLog(1, new(raft.Log)), "before the engine runs")
	g.running.Store(true)
	returned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.GetLog(1, new(raft.Log))
		returned = true
	}()
	<-done
	require.False(t, returned)
	require.ErrorIs(t, failed, ErrDisk)
}

type badReads struct{ logStore }

func (badReads) GetLog(uint64, *raft.Log) error { return errors.New("input/output error") }

// TestStallStopsNode: a leader whose flush hangs gives up, although the flush
// never returns, and the others elect another.
func TestStallStopsNode(t *testing.T) {
	c, disks := faultyCluster(t, Options{StallTimeout: 300 * time.Millisecond})
	ctx := background(t)
	l := c.leader()
	at := slices.Index(c.nodes, l)
	release := make(chan struct{})
	disks[at].set(func(kind vfs.OpKind, name string) error {
		if kind == vfs.OpDatasync && inLog(name) {
			<-release
		}
		return nil
	})
	_, err := l.Apply(ctx, []byte("stuck"))
	require.Error(t, err)
	<-l.Done()
	require.ErrorIs(t, l.Err(), ErrStalled)
	require.NoError(t, l.Close())
	c.nodes[at] = nil
	c.put(ctx, "on")
	// The directory stays locked until the disk comes back.
	o := c.options(at, nil)
	_, err = Open(c.dirs[at], &journal{}, &o)
	require.ErrorIs(t, err, ErrIncompatible)
	close(release)
	eventually(t, "the directory is free", func() bool {
		o := c.options(at, nil)
		n, err := Open(c.dirs[at], &journal{}, &o)
		if err == nil {
			c.nodes[at] = n
		}
		return err == nil
	})
}

// TestFullDiskStopsNode: there is no point in leading without room for the log.
func TestFullDiskStopsNode(t *testing.T) {
	c, disks := faultyCluster(t, Options{})
	l := c.leader()
	at := slices.Index(c.nodes, l)
	disks[at].set(func(kind vfs.OpKind, name string) error {
		if kind == vfs.OpWrite && inLog(name) {
			return vfs.ErrNoSpace
		}
		return nil
	})
	_, err := l.Apply(background(t), []byte("x"))
	require.Error(t, err)
	<-l.Done()
	require.ErrorIs(t, l.Err(), ErrDisk)
	require.ErrorIs(t, l.Err(), vfs.ErrNoSpace)
	c.nodes[at] = nil
	c.leader()
}

// TestAuditFindsDivergence: a replica whose machine went another way stops.
func TestAuditFindsDivergence(t *testing.T) {
	c := newCluster(t, 3, Options{AuditEvery: 20 * time.Millisecond})
	ctx := background(t)
	l := c.leader()
	odd := (slices.Index(c.nodes, l) + 1) % 3
	m := c.machines[odd]
	m.mu.Lock()
	m.flip = true
	m.mu.Unlock()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.Apply(ctx, []byte("x"))
			}
		}
	})
	select {
	case <-c.nodes[odd].Done():
	case <-ctx.Done():
		t.Error("the odd node runs on")
	}
	close(stop)
	wg.Wait()
	require.ErrorIs(t, c.nodes[odd].Err(), ErrDiverged)
	for i, n := range c.nodes {
		if i != odd {
			require.NoError(t, n.Err())
		}
	}
}

// damage flips a bit in the middle of a file.
func damage(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[len(b)/2] ^= 4
	require.NoError(t, os.WriteFile(name, b, 0o644))
}

// TestDamagedSnapshot: a damaged snapshot is an error that names it, unless an older
// one and the log hold everything that it held.
func TestDamagedSnapshot(t *testing.T) {
	for _, c := range []struct {
		file     string
		trailing uint64
		snaps    int
		ok       bool
	}{
		{"state.bin", 1, 1, false},
		{"meta.json", 1, 1, false},
		{"state.bin", 1, 2, false},
		{"state.bin", 1000, 2, true},
		{"meta.json", 1000, 2, true},
		{"state.bin", 1000, 1, false},
	} {
		o := Options{SnapshotEvery: 1 << 20, TrailingLogs: c.trailing}
		cl := newCluster(t, 1, o)
		ctx := background(t)
		l := cl.leader()
		for s := range c.snaps {
			for i := range 20 {
				_, err := l.Apply(ctx, []byte{byte(s), byte(i)})
				require.NoError(t, err)
			}
			require.NoError(t, l.Snapshot())
		}
		want := cl.machines[0].all()
		require.NoError(t, l.Close())
		cl.nodes[0] = nil
		names, err := filepath.Glob(filepath.Join(cl.dirs[0], "snapshots", "*"))
		require.NoError(t, err)
		require.Len(t, names, c.snaps)
		newest := slices.MaxFunc(names, func(a, b string) int { return strings.Compare(filepath.Base(a)[:6], filepath.Base(b)[:6]) })
		if c.file == "meta.json" {
			require.NoError(t, os.WriteFile(filepath.Join(newest, c.file), []byte("{"), 0o644))
		} else {
			damage(t, filepath.Join(newest, c.file))
		}
		opts := cl.options(0, nil)
		m := &journal{}
		n, err := Open(cl.dirs[0], m, &opts)
		if !c.ok {
			require.ErrorIs(t, err, ErrCorrupt, "%+v", c)
			require.ErrorContains(t, err, newest)
			continue
		}
		require.NoError(t, err, "%+v", c)
		cl.nodes[0] = n
		require.NoError(t, cl.leader().Read(ctx))
		require.Equal(t, want, m.all())
	}
}

// TestUnknownSnapshot: bytes that are no snapshot of this package stop Open, also
// where the engine's checksum is right.
func TestUnknownSnapshot(t *testing.T) {
	f := newFSM(&journal{}, func(uint64) error { return nil }, func(error) {})
	require.ErrorIs(t, f.Restore(io.NopCloser(strings.NewReader("something else, long enough"))), ErrCorrupt)
	_, err := f.Snapshot()
	require.ErrorIs(t, err, ErrCorrupt, "no snapshot of a state that is not whole")
}

// TestNoSnapshotOfSkippedEntries: entries that were left out because the log's flush
// failed must not be covered by a snapshot.
func TestNoSnapshotOfSkippedEntries(t *testing.T) {
	broken := errors.New("not flushed")
	var fail error
	m := &journal{}
	f := newFSM(m, func(uint64) error { return fail }, func(error) {})
	one := func(index uint64) *raft.Log {
		return &raft.Log{Index: index, Type: raft.LogCommand, Data: encodeBatch([]*request{{data: []byte("x")}})}
	}
	require.IsType(t, []any{}, f.Apply(one(1)))
	_, err := f.Snapshot()
	require.NoError(t, err)
	fail = broken
	require.ErrorIs(t, f.Apply(one(2)).(error), broken)
	fail = nil
	require.ErrorIs(t, f.Apply(one(3)).(error), broken, "an entry after one that was left out")
	_, err = f.Snapshot()
	require.ErrorIs(t, err, broken)
	require.Len(t, m.all(), 1)
	require.EqualValues(t, 1, f.appliedIndex())
}

// TestDirectory: a directory belongs to one process, one store, one node, and
// keeps its log.
func TestDirectory(t *testing.T) {
	c := newCluster(t, 1, Options{})
	_, err := c.leader().Apply(background(t), []byte("x"))
	require.NoError(t, err)
	o := c.options(0, nil)
	_, err = Open(c.dirs[0], &journal{}, &o)
	require.ErrorIs(t, err, ErrIncompatible)
	require.ErrorContains(t, err, "open elsewhere")
	require.NoError(t, c.nodes[0].Close())
	c.nodes[0] = nil

	o.Store = StoreBolt
	_, err = Open(c.dirs[0], &journal{}, &o)
	require.ErrorIs(t, err, ErrIncompatible)
	o.Store = StoreWAL

	id := filepath.Join(c.dirs[0], "node.json")
	b, err := os.ReadFile(id)
	require.NoError(t, err)
	for _, bad := range []string{"", "{", `{"version":1}`, `{"version":1,"id":"n0","cluster":"zz"}`, strings.Repeat(" ", 5000)} {
		require.NoError(t, os.WriteFile(id, []byte(bad), 0o644))
		_, err = Open(c.dirs[0], &journal{}, &o)
		require.ErrorIs(t, err, ErrCorrupt, bad)
		require.ErrorContains(t, err, id)
	}
	require.NoError(t, os.WriteFile(id, []byte(`{"version":2,"id":"n0"}`), 0o644))
	_, err = Open(c.dirs[0], &journal{}, &o)
	require.ErrorIs(t, err, ErrVersion)
	require.NoError(t, os.WriteFile(id, b, 0o644))

	// A damaged log is refused by name; a lost one too, instead of voting anew.
	segment := filepath.Join(c.dirs[0], walName, "0000000000000001.wal")
	good, err := os.ReadFile(segment)
	require.NoError(t, err)
	bad := slices.Clone(good)
	bad[600] ^= 1
	require.NoError(t, os.WriteFile(segment, bad, 0o644))
	_, err = Open(c.dirs[0], &journal{}, &o)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, segment+" at offset")
	require.NoError(t, os.RemoveAll(filepath.Dir(segment)))
	_, err = Open(c.dirs[0], &journal{}, &o)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "the log is empty and was not")
}

// slowSnapshot is a journal whose snapshot is written only when it is let.
type slowSnapshot struct {
	journal
	began, let chan struct{}
}

func (m *slowSnapshot) Snapshot() (Snapshot, error) {
	s, err := m.journal.Snapshot()
	return slowWriter{s, m}, err
}

type slowWriter struct {
	Snapshot
	m *slowSnapshot
}

func (s slowWriter) WriteTo(w io.Writer) (int64, error) {
	close(s.m.began)
	<-s.m.let
	return s.Snapshot.WriteTo(w)
}

// TestSnapshotDoesNotStopTheWorld: while a snapshot is written, commands are
// answered, and what they did is not in it.
func TestSnapshotDoesNotStopTheWorld(t *testing.T) {
	dir := t.TempDir()
	o := Options{ID: "n0", Listen: "127.0.0.1:0", HeartbeatTimeout: 100 * time.Millisecond, TrailingLogs: 1}
	ln := listen(t)
	o.Listener, o.Bootstrap = ln, []Member{{ID: "n0", Address: ln.Addr().String()}}
	m := &slowSnapshot{began: make(chan struct{}), let: make(chan struct{})}
	n, err := Open(dir, m, &o)
	require.NoError(t, err)
	defer func() { n.Close() }()
	ctx := background(t)
	eventually(t, "it leads", func() bool { return n.Read(ctx) == nil })
	for range 50 {
		_, err := n.Apply(ctx, []byte("before"))
		require.NoError(t, err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Snapshot() }()
	<-m.began
	for range 50 {
		_, err := n.Apply(ctx, []byte("meanwhile"))
		require.NoError(t, err)
	}
	require.NoError(t, n.Read(ctx))
	close(m.let)
	require.NoError(t, <-done)
	_, err = n.Apply(ctx, []byte("after"))
	require.NoError(t, err)
	require.NoError(t, n.Close())
	want := m.all()
	o.Listener, o.Listen = nil, ln.Addr().String()
	again := &journal{}
	n, err = Open(dir, again, &o)
	require.NoError(t, err)
	eventually(t, "it leads again", func() bool { return n.Read(context.Background()) == nil })
	require.Equal(t, want, again.all())
}
