// Package tsdb is an embedded database for time series and, beside them, logs:
// samples of float64 by series and time, appended in any order, kept losslessly
// in about two bytes each, found by labels, summed up without being read.
//
//	db, err := tsdb.Open(dir, nil)
//	ref, err := db.Series("host-1", tsdb.Pairs("name", "cpu", "mode", "idle"))
//	res, err := db.Append(ctx, tsdb.Batch{Refs: refs, T: times, V: values}) // durable when nil
//	for s, err := range db.Query(ctx, tsdb.Range{From: from, To: to}, tsdb.Eq("name", "cpu")) {
//		for b, err := range s.Blocks() { use(b.T, b.V) } // slices, not samples
//	}
//
// # Sources, heads, chunks
//
// A series belongs to a source: a host, a tenant, a group of devices. What one
// source appends in one range of time goes to a head in memory, and from there,
// sealed, to a chunk, a file with an index of its own:
//
//	Append ─► log (wal/) ─► heads: (host-1, today) (host-2, today) (host-1, yesterday, late)
//	                          │ seal: the range is over, or memory is short
//	                          ▼
//	                        chunks/: one file for each source and range, immutable
//	                          │ finished ranges: merge, roll up
//	                          ▼
//	                        archive (optional): an object store        retention: unlink
//
// So what is being written, with its index, fits a budget
// ([Options.HeadBytes]), old data is dropped by unlinking files, and a damaged
// file concerns one source and one day.
//
// Late samples are ordinary: they go to a head for their range, which may have
// been sealed before, and are merged with it later. Queries merge on the fly. Of
// several samples at one time the last one appended counts.
//
// # Durability
//
//	level         after a nil error the samples are    kill -9 loses   power cut loses
//	SyncGroup     on the disk, one sync for a group    nothing         nothing
//	SyncInterval  with the operating system            nothing         SyncEvery + one sync
//	SyncNone      with the operating system            nothing         what is not sealed
//
// Deletes and chunks are always synced. A failed sync ends writing until the
// database is opened again ([ErrFailed]): after it nobody knows what is on the
// disk. A full disk does not ([ErrNoSpace]): appends are refused without effect,
// reads go on, a reserve of space lets retention run.
//
// # Damage
//
// Everything read is checked by CRC-32C. Damage is skipped and reported, never
// answered with other numbers, and never keeps the rest from being read: a
// damaged record of the log is left out ([DB.OpenReport]), a damaged block is a
// [CorruptError] that names series and times in the middle of a loop that goes
// on. The manifest and each chunk's table of contents exist twice. [DB.Verify]
// reads everything.
//
// # Size and speed
//
// In a head a series takes 64 bytes, its key, the samples in blocks of up to 256,
// and for the newest 32 nothing while they are constant, 8 bytes each otherwise.
// Appends take turns, at the log and at the heads, since both must have one
// order; a batch of 2,048 samples and more is put into the heads by up to four
// cores at once, as the log is when it is replayed. So one goroutine with large
// batches is as fast as many, and many small batches are best collected first.
//
// A block of up to 1,024 samples costs 12 bytes for its times if their step is
// constant. Values are constant, or decimal (an integer over a power of ten, by
// frame of reference or differences, with patches and exceptions), or bits. Each
// block's count, sum, minimum, maximum, first and last value are in the index,
// from where [DB.Aggregate] answers. The index keeps a column for each label that
// was ever asked for; regular expressions run over its distinct values, and most
// of them as a substring search.
//
// # When not to use it
//
// It is one process on one machine, without a query language, and replicates
// nothing. For a fleet use Prometheus with remote storage, or VictoriaMetrics.
// For windows over a stream of events use package stream/flow.
//
// # References
//
// Pelkonen et al., "Gorilla" (VLDB 2015), for the head of recent samples and the
// log before it; Afroozeh et al., "ALP: Adaptive Lossless floating-Point
// Compression" (SIGMOD 2024), §3, for decimals with exceptions and for splitting
// real doubles; Lemire and Boytsov, "Decoding billions of integers per second"
// (2015), for patched frames of reference; the Timescale manual's rule that the
// indexes of all chunks being written must fit in memory. The files are described
// in docs/format/tsdb.md.
package tsdb
