package replica

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// snapshots is the engine's store of snapshots in files with two things added:
// the names inside a new snapshot's directory are synced too, since the log that
// the snapshot replaces is removed next; and it knows the newest one's index.
type snapshots struct {
	raft.SnapshotStore
	fs   vfs.FS
	path string // of the node's directory
	last atomic.Uint64
}

func (s *snapshots) dir() string { return filepath.Join(s.path, "snapshots") }

func openSnapshots(d *directory, log engineLogger) (*snapshots, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(d.path, 2, log)
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	return &snapshots{SnapshotStore: files, fs: d.fs, path: d.path}, nil
}

// check makes certain that snapshots and log together hold everything up to the
// log's end: first and last are the log's, 0 for an empty one. The newest
// snapshot may be damaged only if an older one and the log make up for it.
func (s *snapshots) check(first, last uint64) error {
	names, err := s.fs.List(s.dir())
	if err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	type known struct {
		name        string
		term, index uint64
	}
	var all []known
	for _, name := range names {
		k := known{name: name}
		var msec int64
		if _, err := fmt.Sscanf(name, "%d-%d-%d", &k.term, &k.index, &msec); err != nil || strings.HasSuffix(name, ".tmp") {
			continue
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b known) int { // newest first, as the engine has them
		return cmp.Or(cmp.Compare(b.term, a.term), cmp.Compare(b.index, a.index), strings.Compare(b.name, a.name))
	})
	var damage error // of the newest
	var need uint64
	for _, k := range all {
		_, r, err := s.Open(k.name)
		if err == nil {
			r.Close()
			if damage != nil && (last < need || first == 0 || first > k.index+1) {
				return damage
			}
			s.last.Store(k.index)
			break
		}
		if damage == nil {
			damage = fmt.Errorf("%w: snapshot %s: %w", ErrCorrupt, filepath.Join(s.dir(), k.name), err)
			need = k.index
		}
	}
	if base := s.last.Load(); base == 0 && damage != nil {
		return damage
	} else if first > base+1 {
		return fmt.Errorf("%w: %s: the log begins with entry %d and the newest snapshot ends with %d", ErrCorrupt, s.path,
			first, base)
	}
	return nil
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, cindex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, cindex, t)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{sink, s, index}, nil
}

type snapshotSink struct {
	raft.SnapshotSink
	s     *snapshots
	index uint64
}

func (k *snapshotSink) Close() error {
	if err := k.SnapshotSink.Close(); err != nil {
		return err
	}
	if err := k.s.fs.SyncDir(filepath.Join(k.s.dir(), k.ID())); err != nil {
		return err
	}
	k.s.last.Store(k.index)
	return nil
}
