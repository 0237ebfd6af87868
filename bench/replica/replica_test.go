// Package replica_test compares commits of package replica with those of
// hashicorp/raft as its users run it, on raft-wal and on raft-boltdb: three
// members of this process each, TCP over loopback, the same disk, every log
// flushed, commands of 256 bytes:
//
//	cd bench && GOWORK=off go test -bench Vs ./replica
//
// An operation is one command, answered. Beside it stands what the disk itself
// takes in the same rotation: "two-syncs" are two writes of such an entry into
// prepared space, each flushed, one after the other, which is the least that a
// leader needs which flushes before it replicates; "parallel-syncs" are the same
// two at once.
package replica_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	raftwal "github.com/hashicorp/raft-wal"

	"github.com/ashlar-go/ashlar/bench/internal/versus"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/replica"
)

const commandSize = 256

// counter is the machine of both sides: it counts.
type counter struct{ n uint64 }

func (c *counter) Apply(batch []replica.Command, answers []any) {
	for i := range batch {
		c.n++
		answers[i] = nil
	}
}

func (c *counter) Digest() uint64                      { return 0 }
func (c *counter) Restore(io.Reader) error             { return nil }
func (c *counter) Snapshot() (replica.Snapshot, error) { return empty{}, nil }

type empty struct{}

func (empty) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (empty) Release()                         {}

// fsm shows counter to the engine.
type fsm struct{ n uint64 }

func (f *fsm) Apply(*raft.Log) any { f.n++; return nil }

func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	f.n += uint64(len(logs))
	return make([]any, len(logs))
}
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{}, nil }
func (f *fsm) Restore(r io.ReadCloser) error       { return r.Close() }

type snapshot struct{}

func (snapshot) Persist(s raft.SnapshotSink) error { return s.Close() }
func (snapshot) Release()                          {}

// An applier carries one command through a cluster's log.
type applier func([]byte) error

// ashlar starts three nodes and returns the leader's Apply.
func ashlar(b *testing.B, o replica.Options) applier {
	var lns []net.Listener
	var members []replica.Member
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		lns = append(lns, ln)
		members = append(members, replica.Member{ID: fmt.Sprint("n", i), Address: ln.Addr().String()})
	}
	dir := b.TempDir()
	var nodes []*replica.Node
	for i, m := range members {
		o := o
		o.ID, o.Listener, o.Bootstrap = m.ID, lns[i], members
		n, err := replica.Open(filepath.Join(dir, m.ID), &counter{}, &o)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { n.Close() })
		nodes = append(nodes, n)
	}
	ctx := context.Background()
	for {
		for _, n := range nodes {
			if _, err := n.Confirm(ctx); err == nil {
				return func(data []byte) error {
					_, err := n.Apply(ctx, data)
					return err
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

type peerStore interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

// peer starts three members of hashicorp/raft and returns the leader's Apply.
func peer(b *testing.B, open func(dir string) (peerStore, error)) applier {
	dir := b.TempDir()
	var conf raft.Configuration
	var start []func() (*raft.Raft, error)
	for i := range 3 {
		d := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = raft.ServerID(fmt.Sprint("n", i)), hclog.NewNullLogger()
		c.BatchApplyCh, c.MaxAppendEntries = true, 64
		t, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, 5*time.Second, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		store, err := open(d)
		if err != nil {
			b.Fatal(err)
		}
		snaps, err := raft.NewFileSnapshotStore(d, 1, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		conf.Servers = append(conf.Servers, raft.Server{ID: c.LocalID, Address: t.LocalAddr()})
		start = append(start, func() (*raft.Raft, error) {
			if err := raft.BootstrapCluster(c, store, store, snaps, t, conf); err != nil {
				return nil, err
			}
			r, err := raft.NewRaft(c, &fsm{}, store, store, snaps, t)
			if err == nil {
				b.Cleanup(func() { r.Shutdown().Error(); t.Close(); store.Close() })
			}
			return r, err
		})
	}
	var nodes []*raft.Raft
	for _, f := range start {
		r, err := f()
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, r)
	}
	for {
		for _, r := range nodes {
			if r.State() == raft.Leader && r.VerifyLeader().Error() == nil {
				return func(data []byte) error { return r.Apply(data, time.Minute).Error() }
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func openWAL(dir string) (peerStore, error) { return raftwal.Open(dir) }

func openBolt(dir string) (peerStore, error) {
	return raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db")})
}

// drive does r.N commands with some appliers at a time.
func drive(b *testing.B, apply applier, appliers int) func(*versus.Round) {
	return func(r *versus.Round) {
		var wg sync.WaitGroup
		for g := range min(appliers, r.N) {
			wg.Go(func() {
				for i := g; i < r.N; i += appliers {
					if err := apply(make([]byte, commandSize)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// floor returns the disk's own time for two flushed writes of an entry.
func floor(b *testing.B, parallel bool) func(*versus.Round) {
	const room = 16 << 20
	dir := b.TempDir()
	data := make([]byte, 320) // an entry with its frame
	var write [2]func() error
	for i := range write {
		f, err := vfs.OS.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		if err := vfs.ZeroFill(f, 0, room); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		off := int64(0)
		write[i] = func() error {
			if _, err := f.WriteAt(data, off); err != nil {
				return err
			}
			off = (off + int64(len(data))) % (room - int64(len(data)))
			return f.Datasync()
		}
	}
	return func(r *versus.Round) {
		for range r.N {
			done := make(chan error, 1)
			first := func() { done <- write[0]() }
			if parallel {
				go first()
			} else {
				first()
			}
			if err := write[1](); err != nil {
				b.Error(err)
			}
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
	}
}

func BenchmarkVs(b *testing.B) {
	peers := map[string]func(string) (peerStore, error){"raft-wal": openWAL, "raft-boltdb": openBolt}
	for _, c := range []struct {
		what     string
		appliers int
		goal     float64
	}{{"commit", 1, 1 / 0.85}, {"commit-16", 16, 0}, {"commit-128", 128, 0}} {
		for _, name := range []string{"raft-wal", "raft-boltdb"} {
			b.Run(c.what+"/"+name, func(b *testing.B) {
				ours, theirs := ashlar(b, replica.Options{}), peer(b, peers[name])
				drive(b, ours, c.appliers)(&versus.Round{N: 500})
				drive(b, theirs, c.appliers)(&versus.Round{N: 500})
				v := versus.Case{Ours: drive(b, ours, c.appliers), Theirs: drive(b, theirs, c.appliers), Goal: c.goal}
				if c.appliers == 1 {
					v.Beside = map[string]func(*versus.Round){
						"two-syncs": floor(b, false), "parallel-syncs": floor(b, true),
						"serial-sync": drive(b, ashlar(b, replica.Options{SerialSync: true}), 1),
					}
				}
				versus.Run(b, v)
			})
		}
	}
}
