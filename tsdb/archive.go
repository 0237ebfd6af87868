package tsdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// The life of a chunk that is archived. A crash at any place leaves it readable:
//
//	local file ──► put if absent ──► read back, compare ──► manifest ──► unlink
//
// An object that is there already from a try that was cut off is compared, and
// replaced if it differs.

// archiveKey is the object's name: the source is hashed since it may be any
// text.
func (db *DB) archiveKey(c *chunkInfo) string {
	sum := sha256.Sum256([]byte(c.source))
	return fmt.Sprintf("%s%x/%d-%016x.chk", db.opts.ArchivePrefix, sum[:8], c.rng.From, c.id)
}

// archive moves the chunks that are old enough.
func (db *DB) archive(ctx context.Context) error {
	if db.opts.Archive == nil {
		return nil
	}
	due := db.oldest(db.opts.ArchiveAfter)
	for _, s := range db.allSources() {
		for k, chunks := range ranges(s) {
			if k.kind == chunkRollup || k.rng.To > due || !db.finished(k.rng) {
				continue
			}
			for _, c := range chunks {
				if c.info.archived {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := db.archiveChunk(ctx, s, c); err != nil {
					return fmt.Errorf("archive of %s: %w", chunkName(c.info.id), err)
				}
			}
		}
	}
	return nil
}

func (db *DB) archiveChunk(ctx context.Context, s *source, c *chunk) error {
	data, err := vfs.ReadFile(db.fs, c.path(), max(c.info.size, 1<<30))
	if err != nil {
		return err
	}
	if err := checkFile(data, &c.info); err != nil {
		db.warn("a damaged chunk is not archived", c.fail("", c.info.rng, err))
		return nil
	}
	key := db.archiveKey(&c.info)
	_, err = blob.PutBytesIf(ctx, db.opts.Archive, key, data, blob.Absent)
	if err != nil && !errors.Is(err, blob.ErrExists) {
		return err
	}
	back, _, err := blob.GetBytes(ctx, db.opts.Archive, key, int64(len(data))+1)
	if err != nil || !bytes.Equal(back, data) {
		if _, err := blob.PutBytes(ctx, db.opts.Archive, key, data); err != nil {
			return err
		}
		if back, _, err = blob.GetBytes(ctx, db.opts.Archive, key, int64(len(data))+1); err != nil {
			return err
		}
		if !bytes.Equal(back, data) {
			return fmt.Errorf("%w: the archive gives back other bytes", ErrCorrupt)
		}
	}
	// From here on readers use the archive: another chunk takes this one's place.
	man := *db.man
	man.chunks = slices.Clone(man.chunks)
	for i := range man.chunks {
		if man.chunks[i].id == c.info.id {
			man.chunks[i].archived = true
		}
	}
	if err := db.commit(&man); err != nil {
		return err
	}
	info := c.info
	info.archived = true
	db.mu.Lock()
	s.chunks = slices.Clone(s.chunks)
	s.chunks[slices.Index(s.chunks, c)] = &chunk{info: info, db: db}
	db.mu.Unlock()
	db.cache.forget(c)
	c.remove()
	db.stats.archived.Add(1)
	return db.fs.SyncDir(filepath.Join(db.dir, "chunks"))
}

// archivedFile reads a chunk in the archive by ranges.
type archivedFile struct {
	db   *DB
	key  string
	size int64
}

func (db *DB) openArchived(c *chunk) (chunkFile, int64, error) {
	if db.opts.Archive == nil {
		return nil, 0, errors.New("tsdb: the chunk is archived, and Options.Archive is not set")
	}
	return &archivedFile{db, db.archiveKey(&c.info), c.info.size}, c.info.size, nil
}

func (f *archivedFile) Close() error { return nil }

// archiveTries is how often a read of the archive is tried.
const archiveTries = 4

func (f *archivedFile) ReadAt(p []byte, off int64) (int, error) {
	want := min(int64(len(p)), f.size-off)
	if want <= 0 {
		return 0, io.EOF
	}
	var err error
	for try := range archiveTries {
		if try > 0 {
			time.Sleep(time.Duration(rand.Int64N(int64(10*time.Millisecond) << try)))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		var o *blob.Object
		o, err = f.db.opts.Archive.GetRange(ctx, f.key, off, want)
		if err == nil {
			_, err = io.ReadFull(o, p[:want])
			o.Close()
		}
		cancel()
		if err == nil {
			if want < int64(len(p)) {
				return int(want), io.EOF
			}
			return int(want), nil
		}
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrClosed) {
			break
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: the object is shorter than the chunk", ErrCorrupt)
	}
	return 0, fmt.Errorf("archive: %w", err)
}
