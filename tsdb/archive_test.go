package tsdb

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// flaky fails or damages what its hooks say.
type flaky struct {
	blob.Store
	get  func() error
	put  func() error
	trim bool // puts store half of what they are given
}

func (s *flaky) GetRange(ctx context.Context, key string, off, n int64) (*blob.Object, error) {
	if s.get != nil {
		if err := s.get(); err != nil {
			return nil, err
		}
	}
	return s.Store.GetRange(ctx, key, off, n)
}

func (s *flaky) PutIf(ctx context.Context, key string, r io.Reader, size int64, version string) (blob.Info, error) {
	if s.trim {
		return s.Store.PutIf(ctx, key, io.LimitReader(r, size/2), size/2, version)
	}
	if s.put != nil {
		if err := s.put(); err != nil {
			return blob.Info{}, err
		}
	}
	return s.Store.PutIf(ctx, key, r, size, version)
}

func TestArchive(t *testing.T) {
	sim := vfs.NewSim()
	store := &flaky{Store: blob.NewMem()}
	opts := testOptions(sim)
	opts.Archive, opts.ArchivePrefix, opts.ArchiveAfter = store, "cold/", time.Hour
	db := open(t, opts)
	m := newModel()
	fill(t, db, m, "s", 30, 500, start)
	fill(t, db, newModel(), "now", 1, 1, start+24*3600_000)

	timeout := errors.New("timeout")
	store.put = func() error { return timeout }
	require.ErrorIs(t, db.Seal(t.Context()), timeout)
	require.NotEmpty(t, files(t, sim, "chunks", ".chk"), "the local file stays")
	store.put = nil
	store.trim = true // half an object, as a put that was cut off may leave it
	require.NoError(t, db.Maintain(t.Context()))
	require.Equal(t, uint64(1), db.Stats().Archived)
	require.Len(t, files(t, sim, "chunks", ".chk"), 1, "that of now")

	want := m.query(All, []Matcher{Eq(SourceLabel, "s")})
	fails := 2
	store.get = func() error {
		if fails--; fails >= 0 {
			return timeout
		}
		return nil
	}
	sameColumns(t, want, read(t, db, All, Eq(SourceLabel, "s")), "from the archive, after two failures")
	rep, err := db.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, rep.Damage)

	// Late samples for an archived range, and another life of the process.
	fill(t, db, m, "s", 3, 10, start+300_500)
	require.NoError(t, db.Seal(t.Context()))
	require.NoError(t, db.Close())
	sim = sim.Kill()
	opts.fs = sim
	db = open(t, opts)
	require.Empty(t, db.OpenReport().Damage)
	sameColumns(t, m.query(All, []Matcher{Eq(SourceLabel, "s")}), read(t, db, All, Eq(SourceLabel, "s")), "late")

	// A missing object is an error that names the range, not an empty answer.
	for info, err := range store.List(t.Context(), "cold/", "") {
		require.NoError(t, err)
		require.NoError(t, store.Delete(t.Context(), info.Key))
	}
	require.NoError(t, db.Close())
	db = open(t, opts)
	var ce *CorruptError
	for _, err := range db.Query(t.Context(), All, Eq(SourceLabel, "s")) {
		require.ErrorAs(t, err, &ce)
		require.ErrorIs(t, err, blob.ErrNotFound)
		require.Equal(t, Range{start, start + 600_000}, ce.Range)
	}
	require.NotNil(t, ce)
}

func TestArchivedChunksExpire(t *testing.T) {
	store := blob.NewMem()
	now := at(start + 4*3600_000)
	opts := testOptions(vfs.NewSim())
	opts.Archive, opts.ArchiveAfter, opts.Retention = store, time.Hour, 6*time.Hour
	opts.Now = func() time.Time { return now }
	db := open(t, opts)
	fill(t, db, newModel(), "s", 3, 10, start)
	fill(t, db, newModel(), "s", 3, 10, start+4*3600_000)
	require.NoError(t, db.Seal(t.Context()))
	objects := func() (n int) {
		for range store.List(t.Context(), "", "") {
			n++
		}
		return n
	}
	require.Equal(t, 1, objects())
	now = at(start + 7*3600_000)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, db.expire(gone), "the object could not be deleted")
	require.Equal(t, 1, objects())
	require.Equal(t, 2, db.Stats().Chunks, "and is not forgotten")
	require.NoError(t, db.Maintain(t.Context()))
	require.Zero(t, objects())
	require.Equal(t, 1, db.Stats().Chunks)
}
