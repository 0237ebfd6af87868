package replica

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Member is one node of a cluster.
type Member struct {
	// ID names the node for ever; a node that lost its disk comes back under
	// a new one. 1 to 64 bytes.
	ID string `json:"id"`

	// Address is where the others reach it, host:port.
	Address string `json:"address"`

	// Voter tells whether it counts for majorities. A member that is still
	// catching up does not. Ignored in [Options.Bootstrap]: those all vote.
	Voter bool `json:"voter"`
}

// A Store is a way to keep the log on disk.
type Store int

const (
	// StoreWAL is this project's own segmented log: one write and one
	// fdatasync into space that is zero-filled ahead. On it the leader flushes
	// while the followers do: a commit costs the slower of the two flushes,
	// not their sum. The default.
	StoreWAL Store = iota

	// StoreBolt is hashicorp/raft-boltdb, the engine's usual store. The leader
	// flushes first and replicates then.
	StoreBolt
)

// String returns the store's name: "wal" or "bolt".
func (s Store) String() string {
	switch s {
	case StoreWAL:
		return "wal"
	case StoreBolt:
		return "bolt"
	}
	return fmt.Sprintf("Store(%d)", int(s))
}

// Options configures [Open]. Nil, and a zero field, mean the default.
type Options struct {
	// ID is this node's identity. It is needed with Bootstrap; by default a
	// new directory gets a random one. On a used directory it must be the
	// directory's or empty.
	ID string

	// Cluster names the cluster; members of differently named clusters refuse
	// each other's connections even if their members are the same.
	Cluster string

	// Listen is the address to listen on, host:port. Default "127.0.0.1:0", which
	// is another port at each start: the others would not find a member that was
	// restarted.
	Listen string

	// Listener, if set, is used instead of Listen. The node closes it.
	Listener net.Listener

	// Advertise is the address that others reach this node at. Default: the
	// listener's own, which must then not be a wildcard.
	Advertise string

	// Bootstrap founds a cluster of these members, if the directory is new.
	// Every founding member gets the same list, in any order. Exactly one of
	// Bootstrap and Join must be set for a new directory; on a used one both
	// are ignored. A founder that has lost its directory looks like one that
	// starts late: it must not be started with Bootstrap again, or it votes and
	// acknowledges as if it never had. Remove it, and join under a new ID.
	Bootstrap []Member

	// Join lists addresses of members of an existing cluster, which this node
	// asks to take it in if its directory is new: first without a vote, and
	// with one as soon as it has caught up. One whose ID has a vote already has
	// lost its directory, and is refused until it has been removed.
	Join []string

	// TLS turns on mutual TLS between members: it must carry a certificate
	// usable as server and client, and RootCAs and ClientCAs to verify the
	// others'. Connections of the application's protocol (see [Node.Listener])
	// need no client certificate unless ClientAuth says so.
	TLS *tls.Config

	// Insecure allows plain TCP on an address that is not loopback.
	Insecure bool

	// HeartbeatTimeout is how long a follower waits for its leader before it
	// stands for election; a leader that does not reach a majority for half of
	// it steps down. It should be at least twenty times the disk's slowest
	// usual flush. Default 1 s, at least 20 ms.
	HeartbeatTimeout time.Duration

	// StallTimeout is how long one write to the log may take before the node
	// gives up and stops: a leader with a stuck disk would keep its followers
	// from electing another. Default 5 s.
	StallTimeout time.Duration

	// SnapshotEvery is the number of log entries after which a snapshot is
	// taken. Default 65,536.
	SnapshotEvery uint64

	// TrailingLogs is how many entries are kept behind a snapshot, so that a
	// follower that was away for a short time needs no snapshot. Default
	// 65,536.
	TrailingLogs uint64

	// MaxCommand is the size limit of one command in bytes. Default 1 MiB, at
	// most 16 MiB.
	MaxCommand int

	// InFlight is the number of coalesced entries under way at one time: more
	// lower the latency at light load, fewer make larger batches. Default 4.
	InFlight int

	// Store is how the log is kept. All members need not agree.
	Store Store

	// SerialSync makes the leader flush before it replicates, as StoreBolt
	// always does.
	SerialSync bool

	// AuditEvery is how often the leader has all machines compared, if there
	// was a command since. Default 5 s; negative: never.
	AuditEvery time.Duration

	// Leadership, if set, is called on a goroutine of its own whenever this
	// node has become the leader and its machine has applied all that earlier
	// leaders committed. ctx ends when the leadership does; the next call
	// comes only after this one has returned.
	Leadership func(ctx context.Context, term uint64)

	// Logger receives the engine's and the node's messages. Default: none.
	Logger *slog.Logger

	// Transport replaces the network, in simulations. Joining and
	// [Node.Listener] do not work then.
	Transport raft.Transport

	// InMemory keeps log and snapshots in memory, for tests: dir must be "".
	InMemory bool

	// For tests: the files of directory and log, and the snapshots; nil means the
	// system's.
	fs        vfs.FS
	snapshots raft.SnapshotStore
}

func (o *Options) disk() vfs.FS {
	if o.fs != nil {
		return o.fs
	}
	return vfs.OS
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	def(&c.HeartbeatTimeout, time.Second)
	def(&c.StallTimeout, 5*time.Second)
	def(&c.AuditEvery, 5*time.Second)
	if c.SnapshotEvery == 0 {
		c.SnapshotEvery = 65536
	}
	if c.TrailingLogs == 0 {
		c.TrailingLogs = 65536
	}
	if c.MaxCommand == 0 {
		c.MaxCommand = 1 << 20
	}
	if c.InFlight == 0 {
		c.InFlight = 4
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.HeartbeatTimeout < 20*time.Millisecond:
		return c, fmt.Errorf("replica: HeartbeatTimeout %v is below 20ms", c.HeartbeatTimeout)
	case c.StallTimeout < 0:
		return c, fmt.Errorf("replica: StallTimeout %v is negative", c.StallTimeout)
	case c.MaxCommand < 1 || c.MaxCommand > 16<<20:
		return c, fmt.Errorf("replica: MaxCommand %d is not in [1, 16 MiB]", c.MaxCommand)
	case c.InFlight < 1 || c.InFlight > 64:
		return c, fmt.Errorf("replica: InFlight %d is not in [1, 64]", c.InFlight)
	case c.Store != StoreWAL && c.Store != StoreBolt:
		return c, fmt.Errorf("replica: unknown %v", c.Store)
	case len(c.ID) > 64:
		return c, fmt.Errorf("replica: ID of %d bytes, above 64", len(c.ID))
	case len(c.Bootstrap) > 0 && len(c.Join) > 0:
		return c, errors.New("replica: both Bootstrap and Join are set")
	case len(c.Bootstrap) > 0 && c.ID == "":
		return c, errors.New("replica: Bootstrap needs an ID")
	}
	seen := map[string]bool{}
	found := false
	for _, m := range c.Bootstrap {
		if m.ID == "" || len(m.ID) > 64 || m.Address == "" {
			return c, fmt.Errorf("replica: Bootstrap member %+v lacks an id of 1 to 64 bytes or an address", m)
		}
		if seen[m.ID] || seen["@"+m.Address] {
			return c, fmt.Errorf("replica: Bootstrap names %s at %s twice", m.ID, m.Address)
		}
		seen[m.ID], seen["@"+m.Address] = true, true
		found = found || m.ID == c.ID
	}
	if len(c.Bootstrap) > 0 && !found {
		return c, fmt.Errorf("replica: Bootstrap does not contain this node, %q", c.ID)
	}
	return c, nil
}
