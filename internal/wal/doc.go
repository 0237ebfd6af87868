// Package wal is a write-ahead log: records appended to segment files, made
// durable in groups, read by position, cut at both ends.
//
//	l, err := wal.Open(dir, nil)
//	pos, end, err := l.Append(record) // written, readable, not yet durable
//	err = l.Sync(ctx, end)            // durable; one fdatasync serves all who wait
//	data, err := l.Read(pos, nil)
//
// # Positions
//
// A position is the place of a record in the endless row of bytes that the log
// ever held. Positions rise and survive restarts; a durable one is never given
// to another record, also after [Log.TruncateFrom]. Zero is never one. Where an
// end is returned, it is the position after the last byte written, which is what
// [Log.Sync] takes.
//
// # Cost
//
// A commit is one pwrite and one fdatasync, into space filled with zeros
// before, so that the file system has no metadata to journal; nothing is
// allocated. Zero-filling runs in the background, in another file than the one
// in use, and segments that [Log.TruncateBefore] has emptied are used again.
// The first segments of a log are small (256 KiB, then four times the one
// before up to [Options.SegmentSize]), so that a new log opens quickly.
//
// # What is promised
//
// After Sync returned nil, all before its position survives kill and power
// loss. What was not synced survives as a prefix: after the first lost record
// none is returned, records before it are whole. Records cut by TruncateFrom
// never return once anything appended after the cut has been synced.
//
// A failed write or sync ends the log's life: every later call but reading
// returns [ErrFailed] with the cause, since after a failed fsync nobody knows
// what is on the disk, and trying again hides the loss. Open it anew: Open
// writes the end of the log again and syncs it before it reports the records
// there as present. The one exception is a full disk that refuses an append:
// that append had no effect and may be repeated.
//
// Each record carries how far the log was durable when it was written. That
// tells a torn end from damage: where the log breaks behind the last durable
// place that any record vouches for, nobody was promised the rest, and Open
// cuts it off ([Recovery.Torn]). Where it breaks before, something durable is
// gone, and [Options.OnDamage] decides: [Refuse] (the default) or [Skip]. Close
// leaves a mark that vouches for everything; after a crash, damage to the very
// last records synced, which nothing was written after, looks like a torn end.
//
// # Format, version 1
//
// A directory holds LOCK and segments named by their number in 16 hexadecimal
// digits, ".wal". Integers are little-endian. A segment begins with 512 bytes:
//
//	offset  size  field
//	0       8     magic "ASHLWAL\x00"
//	8       4     version, 1
//	12      4     zero
//	16      8     id of the log, random
//	24      8     number of the segment, as in its name
//	32      8     position of its first frame
//	40      20    zero
//	60      4     CRC-32C of the 60 bytes before
//	64      448   zero
//
// A file whose header is not valid for its name is a spare, filled with zeros or
// with what a recycled segment held. Frames of package frame follow, salted with
// frame.NewSalt(id, number), each at position first+(offset−512), without gap up
// to the first position of the next segment. A frame's tag holds its kind in
// bits 0-3, and in bits 4-31 its distance from the durable end when it was
// written, in units of 8 bytes; 2²⁸−1 stands for unknown. The kinds, part of
// the format:
//
//	1  record   payload: the caller's
//	2  cut      payload: position, 8 bytes; frames from there up to this one are void
//	3  head     payload: position, 8 bytes; frames before it are void
//	4  mark     payload: none; carries the distance only
//
// After the last frame of a write 8 zero bytes follow where the file has room.
// Cutting the end is therefore an append like any other, which is why it needs
// no sync of its own and why a crash cannot half undo it: either the cut is on
// the disk, or nothing written after it is. When Open itself cuts off a torn
// end, whole frames may stand behind the break; it removes the segments after
// it and zeroes those frames, durably, before it lets anyone append.
//
// # References
//
// Mohan et al., "ARIES" (TODS 1992), for the log as truth. Rebello et al., "Can
// Applications Recover from fsync Failures?" (USENIX ATC 2020).
package wal
