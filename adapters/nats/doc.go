// Package nats is a [stream.Log] in NATS JetStream, on servers that have atomic
// batches: those came with version 2.12, and the tests run 2.15.
//
// [Dial] connects. The log is a [stream.Transactor]: its transactions are atomic
// batches, its epochs are safe between processes, and groups of package stream and
// jobs of package stream/flow run on it as they do on a local log. Where one
// machine is enough, [stream.OpenLocal] is faster and needs no servers.
//
// # One stream for all partitions
//
// All topics, partitions and groups of a log stand in one JetStream stream, told
// apart by their subjects:
//
//	PREFIX.t.TOPIC             options of a topic
//	PREFIX.r.TOPIC.N           records of a partition
//	PREFIX.r.TOPIC.N.KEY       records of a partition of a compacted topic
//	PREFIX.g.GROUP             offsets of a group
//	PREFIX.x.LOG               state of transactions without offsets, for an hour
//
// Servers store an atomic batch in one stream only, so this is what lets a
// transaction reach over partitions and offsets. It also means that a log has the
// throughput of one stream, which one server leads; topics that need no common
// transactions can have logs of their own, with other prefixes.
//
//	stream.Log           JetStream
//	record               part of a message, in an envelope: see envelopeVersion
//	offset               the message's sequence number and the record's place in it
//	Append               one message with an id, by which repetitions are recognised
//	Read                 direct get in batches, from any replica
//	waiting              an ordered consumer of the partition's headers
//	Bounds               first and last message of the subject, from the leader
//	group                one message with all offsets and epochs of the group
//	Commit               that message again, on condition that it was the last
//	Transact             atomic batch: records, then the group's message
//	ErrStale             an epoch in the group's message is higher
//	Retention            the messages' TTL, in whole seconds
//	Compact              a subject for each key; a record replaces what is there
//	TombstoneKeep        the tombstone's TTL
//	RetainBytes          kept with the topic's options, not applied
//
// The records of an Append have offsets that follow each other; between appends
// there are gaps: message s holds the offsets from (s-1)·2²⁰ on. So the difference
// of two offsets says nothing about how many records lie between them.
//
// # What is promised
//
// What was acknowledged is on a majority of the stream's replicas. An append whose
// answer was lost is repeated, also with another leader, and stored once. Of two
// commits that began from the same offsets one succeeds, and the other begins
// anew, or is [stream.ErrStale]; a commit whose answer was lost finds out by a
// random number in the group's message whether it was done. All of a transaction
// can be read at the same moment.
//
// Not promised: that the outcome is known. When the servers do not answer for
// [Options.Timeout], or a commit's answer is lost and others have committed since,
// the error says so, and what Committed returns decides. While the network is
// divided a server that still takes itself for the leader may answer Bounds and
// Committed with what was true a moment before; no commit can build on that.
// Offsets given to Commit are not compared with the partition's bounds.
//
// # Costs
//
// In requests, one after the other, when all is well:
//
//	Append        1, shared by small ones that wait for the same partition
//	Read          1 for up to Batch.MaxBytes; where it has to wait 1 more, then none
//	Bounds        1, or 2 for a topic with retention
//	Committed     1
//	Commit        1 if this log committed last, else 2
//	Transact      as Commit; the batch's messages go out together
//
// Waiting needs a consumer for each partition that is waited for, kept a minute
// after. In topics with retention or compaction a Read that waits also asks, every
// second, whether what it waits for has vanished. When a leader dies, requests wait
// for the election, some seconds.
//
// # Settings that matter
//
//   - [Options.Replicas] 3, on three servers: with one, a lost disk is a lost log.
//   - sync_interval of the servers: they acknowledge what the system has, and sync
//     every 2 minutes. A process may be killed without loss; a power cut of all
//     replicas at once loses up to so much, and one of a majority may lose more than
//     is seen. "sync_interval: always" excludes that, at the cost of a sync for each
//     message.
//   - max_payload, 1 MiB by default, limits an Append; see [Options.MaxBatch].
//   - The stream's window for duplicates, which Dial sets above [Options.Timeout].
//   - A transaction has at most 1,000 messages, one of them for the offsets.
//
// Do not delete or purge messages of the stream by hand, nor set limits on it other
// than these: readers would wait for what is not there any more.
//
// # References
//
// NATS architecture decisions 22 (publish with expectations), 31 (direct get), 43
// (TTL of messages) and 50 (atomic batch publishing).
package nats
