package tsdb

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Durability says what a nil error of an append promises.
type Durability int

const (
	// SyncGroup, the default: the samples are on the disk. Calls that wait at
	// the same time share one fdatasync. A power cut loses nothing that was
	// acknowledged.
	SyncGroup Durability = iota
	// SyncInterval: the samples are with the operating system, which is told to
	// write them every Options.SyncEvery. If the process is killed nothing is
	// lost; a power cut loses at most what came in that time, plus one sync.
	SyncInterval
	// SyncNone: as SyncInterval, but only sealing and Close sync. A power cut may
	// lose whatever is not sealed.
	SyncNone
)

// Options configures [Open]. Nil, and a zero field, mean the default.
type Options struct {
	// Sync says when appends are on the disk. Default [SyncGroup].
	Sync Durability
	// SyncEvery is the time between syncs of [SyncInterval]. Default 1 s.
	SyncEvery time.Duration

	// ChunkRange is the time that a chunk spans, from 1 minute to 32 days, in
	// whole milliseconds. It is fixed when the directory is made; afterwards
	// another value holds for chunks still to be made. Default 24 h.
	ChunkRange time.Duration
	// HeadBytes is the memory for samples that are not sealed yet. Above it the
	// largest heads are sealed early; above twice as much appends wait.
	// Default 256 MiB.
	HeadBytes int64
	// IndexBytes is the memory for indexes of sealed chunks. Default 64 MiB.
	IndexBytes int64
	// LogBytes is the size of the write-ahead log at which the oldest heads are
	// sealed, so that it can be cut. Default 256 MiB.
	LogBytes int64

	// MaxSeries and MaxSeriesPerSource bound the series that had samples within
	// the last ChunkRange, or are in heads. A new one above them is [ErrTooManySeries]. Default 2,000,000 and
	// no further bound.
	MaxSeries, MaxSeriesPerSource int

	// Retention is how long samples are kept, counted from the newest sample or
	// the clock, whichever is later. Older ones are refused as [ErrTooOld], and
	// chunks that hold nothing else are unlinked. Zero: for ever.
	Retention time.Duration
	// MaxFuture is how far ahead of the clock a sample may lie. Default 1 h. It
	// keeps one wrong clock from expiring everything.
	MaxFuture time.Duration
	// Rollups are made of each finished range and kept when its samples have
	// gone.
	Rollups []Rollup

	// Archive takes sealed chunks of finished ranges once they are older than
	// ArchiveAfter; the local file is removed when the archived one has been
	// read back. Nil: none.
	Archive blob.Store
	// ArchivePrefix begins the keys in Archive. It must end in '/'.
	ArchivePrefix string
	// ArchiveAfter is the age, from the end of its range, at which a chunk is
	// archived. Default 24 h.
	ArchiveAfter time.Duration

	// Manual leaves sealing, retention and the rest to calls of [DB.Maintain];
	// nothing runs in the background. Default false.
	Manual bool
	// Now is the clock, for retention and MaxFuture. Default [time.Now].
	Now func() time.Time
	// Logger is told of damage and of failures in the background. Nil: nobody.
	Logger *slog.Logger

	fs vfs.FS
}

// A Rollup says how samples are made coarser: for each Step one record of count,
// sum, minimum, maximum, first and last.
type Rollup struct {
	Step time.Duration // at least 1 ms, and divides ChunkRange
	Keep time.Duration // counted as Retention is; zero: for ever
}

func (o *Options) withDefaults() (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&v.SyncEvery, time.Second)
	def(&v.ChunkRange, 24*time.Hour)
	def(&v.MaxFuture, time.Hour)
	def(&v.ArchiveAfter, 24*time.Hour)
	for _, p := range []struct {
		v   *int64
		def int64
	}{{&v.HeadBytes, 256 << 20}, {&v.IndexBytes, 64 << 20}, {&v.LogBytes, 256 << 20}} {
		if *p.v == 0 {
			*p.v = p.def
		}
	}
	if v.MaxSeries == 0 {
		v.MaxSeries = 2_000_000
	}
	if v.Now == nil {
		v.Now = time.Now
	}
	if v.fs == nil {
		v.fs = vfs.OS
	}
	bad := func(what string, value any) (Options, error) {
		return v, fmt.Errorf("%w: %s is %v", ErrInvalid, what, value)
	}
	switch {
	case v.Sync < SyncGroup || v.Sync > SyncNone:
		return bad("Sync", v.Sync)
	case v.SyncEvery < 0:
		return bad("SyncEvery", v.SyncEvery)
	case v.ChunkRange < time.Minute || v.ChunkRange > 32*24*time.Hour || v.ChunkRange%time.Millisecond != 0:
		return bad("ChunkRange", v.ChunkRange)
	case v.HeadBytes < 0 || v.IndexBytes < 0 || v.LogBytes < 0:
		return bad("a budget", "negative")
	case v.MaxSeries < 0 || v.MaxSeriesPerSource < 0 || int64(v.MaxSeries) > 1<<31:
		return bad("MaxSeries", v.MaxSeries)
	case v.Retention < 0 || v.MaxFuture < 0 || v.ArchiveAfter < 0:
		return bad("a time", "negative")
	case v.ArchivePrefix != "" && v.ArchivePrefix[len(v.ArchivePrefix)-1] != '/':
		return bad("ArchivePrefix", v.ArchivePrefix)
	}
	for _, r := range v.Rollups {
		if r.Step < time.Millisecond || r.Step%time.Millisecond != 0 || v.ChunkRange%r.Step != 0 || r.Keep < 0 {
			return bad("a rollup", r)
		}
	}
	return v, nil
}
