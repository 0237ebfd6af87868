// Package stream is a replayable log: topics of partitions to which records are
// appended, which are read from any offset, again and again, and the offsets at
// which groups of readers go on.
//
// [Log] is the interface, [Transactor] adds transactions over partitions and
// offsets. [OpenLocal] opens one in a directory; [NewMem] makes one in memory, for
// tests. Package stream/streamtest is the suite that every log has to pass, and
// package stream/flow computes windows and joins over any of them.
//
// A [Local] log is a file format with offsets, for one process and one machine. It
// is no cluster: nothing is replicated, nothing fails over. What outgrows a
// machine belongs in Kafka or JetStream, behind the same interface.
//
// # One log for all partitions
//
// The records of all partitions, the offsets of groups and the changes of topics
// stand in one row of files, in the order in which they were written; an index
// tells the partitions apart:
//
//	0000000000000001-0000.seg   │state│ a/0 │ b/1 │ a/0 │g:a/0=7│ b/0 │ ...
//	                                   └── transaction ──┘
//	partition a/0:  offset 0 ─────► byte 560, 9 ─► byte 66,112, ... (one entry in 64 KiB)
//
// That has three consequences. A commit is one write and one sync, whatever it
// contains: a transaction over many partitions costs what an append costs, and is
// there whole or not at all. What a power cut leaves is a prefix of all that was
// written, so that no offset outlives the records it stands for, at any level of
// durability. And cleaning, by which retention and compaction give space back,
// rewrites a file when enough of it is unneeded: a small topic beside a large
// one is compacted when the large one's records around it expire. Topics that live
// very differently, and need no common transactions, are better off in logs of
// their own.
//
// # What is promised
//
// At [SyncGroup], the default, whatever was acknowledged is on the disk; writers
// that wait at the same time share a sync, and readers see a record only when it
// cannot vanish any more. [Sync] says what the other levels lose.
//
// Opening cuts off what a crash left unfinished. Damage to what was durable is
// never cut off and never hides what is behind it: it is reported with file and
// place, by [Local.Recovery] for the end of the log, which opening reads, and by a
// [DamageError] from Read, with the offsets that are lost. Every batch carries a
// CRC-32C, which is checked whenever it is read.
//
// After a failed write or sync the log takes no more of them ([ErrFailed]), since
// nobody knows what is on the disk; opening it again finds out, and writes anew
// what it shows. A full disk only refuses: such an append had no effect.
//
// # Exactly once
//
// A [Group] gives each partition to one member and fences the one before with an
// epoch, kept in the log. [Claim.Commit] stores, in one transaction, how far a
// member has read and what it made of it. Either both survive or neither, and a
// member that was overtaken stores nothing; so each record counts once, whoever
// dies when.
//
// # Format, version 1
//
// A directory holds LOCK, FORMAT (the text "ashlar stream 1" and the log's random
// id), and segments, with the names number-generation.seg in hexadecimal digits.
// Integers are little-endian. A segment begins with 512 bytes, laid out at the
// type header. Frames of package frame follow, salted with the log's id, number
// and generation, each at the position of its offset in the file. A frame's tag
// holds its kind in bits 0-2; in bit 3, whether the transaction goes on in the
// next frame; and in bits 4-31 its distance to the durable end of the log when it
// was written, in units of 8 bytes (2²⁸−1: unknown), which tells a torn end from
// damage. The kinds:
//
//	1  batch   records of one partition: see appendRecord, then a trailer
//	2  ops     changes of topics, bounds and offsets: see op
//	3  state   ops that rebuild all of these; the first frame of every segment
//	4  mark    the state again, left by Close: all before it is durable
//
// Batches, ops and transactions never reach across a segment's end. A segment that
// is full and durable gets an index, number-generation.idx, see encodeIndex; it can
// always be made again. Cleaning writes generation g+1 of a segment beside g, whole
// and synced before it gets its name, and then removes g; its frames have the
// partition's id in bits 4-31. Segments are independent but for the order of their
// numbers.
//
// # References
//
// Kreps et al., "Kafka: a Distributed Messaging System for Log Processing" (NetDB
// 2011), for offsets, partitions and groups; Kafka improvement proposals 98 (exactly
// once) and 429 (incremental rebalancing); Rosenblum and Ousterhout, "The Design
// and Implementation of a Log-Structured File System" (TOCS 1992), for cleaning;
// Rebello et al., "Can Applications Recover from fsync Failures?" (USENIX ATC 2020).
package stream
