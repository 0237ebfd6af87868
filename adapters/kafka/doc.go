// Package kafka is a [stream.Log] on a Kafka cluster, or on anything else that
// speaks its protocol.
//
// [Dial] connects. The log is a [stream.Transactor]: its transactions are Kafka's,
// its epochs are safe between processes, and groups of package stream and jobs of
// package stream/flow run on it as they do on a local log. Where one machine is
// enough, [stream.OpenLocal] is faster and needs no servers.
//
// # What is what
//
//	stream.Log           Kafka
//	topic, partition     topic, partition, with Options.Prefix before the name
//	offset               offset; the markers of transactions use some up
//	record               record; Time is its timestamp in milliseconds
//	TopicOptions         cleanup.policy, retention.ms, retention.bytes, delete.retention.ms
//	Append               one record batch of an idempotent producer, acks=all
//	Read                 Fetch, isolation level read_committed
//	Bounds               log start offset, last stable offset
//	group                consumer group without members: only its offsets are used
//	Offset.Next          committed offset
//	Offset.Epoch         a note in the committed offset's metadata, see type note
//	Commit, Transact     transaction whose transactional id is the group's name
//	ErrStale             an epoch in the notes is higher; compared under the id's fence
//
// An Append is a batch of its own, or shares one with others that waited for the
// same partition, and is never divided: brokers store a batch whole or not at all.
// The usual producers promise that for single records only, so this package
// encodes its batches and keeps its sequence numbers itself; connections, versions,
// TLS and SASL are franz-go's.
//
// # What is promised
//
// What was acknowledged is on all replicas that were in sync, so it survives as
// long as one of them does. An append that is repeated because its answer was lost
// is stored once. A process that stops in the middle of a transaction leaves
// nothing: who commits to the group next, in whatever process, takes its
// transactional id over, which aborts what was open and refuses what the former
// one still sends. Two processes that commit to one group in turns are right, and
// slow; one process at a time should coordinate a group.
//
// What was appended can be read when Append returns, unless somebody's transaction
// is open in that partition: then when that has ended. What Transact returned can
// be read, in each partition. Readers of two partitions may see a transaction in
// one a moment before the other.
//
// Not promised: that the outcome is known. When the cluster does not answer for
// [Options.Timeout], or a commit's answer is lost and others have committed since,
// the error says so, and what Committed returns decides. Offsets given to Commit
// are not compared with the partition's bounds.
//
// # Costs
//
// In requests, one after the other, when all is well:
//
//	Append        1, shared by those that wait for the same partition
//	Read          1 for up to Batch.MaxBytes; 1 more where it has to wait
//	Bounds        2
//	Committed     1
//	Commit        4, shared by those that wait for the same group
//	Transact      6, shared in the same way; the batches of a step go in parallel
//
// The first Append to a partition asks for a producer id, and the first Commit to a
// group takes it over, 2 requests. Reads that wait hold no connection each: all
// that wait for one broker share up to four.
//
// # Settings that matter
//
//   - Replication factor 3 and min.insync.replicas 2 ([Options.Replicas],
//     [Options.MinInSync]): without them acks=all means as little as one disk.
//     Unclean leader election must stay off.
//   - Brokers acknowledge what is in the memory of the replicas, and leave the disks
//     to the system. A power cut of all replicas at once may lose the latest
//     records; flush.messages=1 on a topic excludes that, slowly.
//   - offsets.retention.minutes: a group without members loses its offsets, and so
//     its epochs, so long after its last commit, by default 7 days. Set it above
//     the longest time that a group may rest.
//   - message.timestamp.after.max.ms: brokers refuse records whose time is further
//     in the future ([stream.ErrInvalid]), since version 4.0 by one hour.
//   - Retention counts from the records' times, not from when they were appended.
//   - message.max.bytes must allow [Options.MaxBatch]; transaction.max.timeout.ms
//     must allow half of [Options.Timeout].
//   - Tools that reset a group's offsets also remove its epochs. Stop the group's
//     logs first: they know the offsets that they committed.
//
// Kafka allows letters, digits, '.', '_' and '-' in the name of a topic, and 249
// bytes, with the prefix; a name with other characters stands there in base 64,
// behind "ashlar-name.". Two names that differ only in '.' and '_' are
// [stream.ErrInvalid]: the brokers' metrics would not tell them apart. Times are rounded to milliseconds.
//
// # References
//
// Kafka improvement proposals 98 (idempotent producers and transactions), 447
// (offsets under transactions), 360 (forgotten producers) and 890 (part 1: brokers
// since 3.6 verify that a batch belongs to an open transaction, which this package
// relies on against batches that arrive after their transaction's end).
package kafka
