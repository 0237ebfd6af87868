// Package replica keeps one deterministic state machine identical on several
// computers. It hosts any [Machine] on the Raft consensus algorithm (Ongaro and
// Ousterhout, USENIX ATC 2014) in one call, with hashicorp/raft as the engine.
//
//	Apply ──▶ coalesce ──▶ leader's log ──┬──▶ follower's log ──▶ Machine
//	                          │ sync      └──▶ follower's log ──▶ Machine
//	                          └──▶ Machine ──▶ answer, after a majority has it on disk
//
// A [Node] is one member. [Node.Apply] carries a command through the log and
// returns the machine's answer; [Node.Read] makes a look at the machine
// linearizable without writing to the log; [Node.Confirm] proves that the node
// leads, now. Everything that concerns disks, sockets, elections, membership
// and snapshots is behind [Open] and [Options].
//
// Only the leader answers. Open does not wait for one, and no node passes a
// command on: elsewhere Apply and Read return [ErrNotLeader] at once, as a
// [*NotLeaderError] that names the leader where it is known. A program sends its
// command there by a protocol of its own, on the same port if it likes
// ([Node.Listener]), and learns from [Options.Leadership] when it leads itself.
//
// # What a machine owes
//
// The same commands in the same order must give the same state and answers
// everywhere: a Machine reads no clock, no random source, no map in iteration
// order and no file. What depends on time is decided by the leader and carried
// in a command. Snapshot must be cheap, since no command is applied while it
// runs; what it returns is written out beside further commands.
//
// # What is promised
//
// An answer from Apply means that the command is on the disks of a majority of
// the voters, flushed, and has been applied here. [ErrNotLeader] means it
// was never logged; [ErrUnknown] that it may or may not be applied, now or
// later: send it again with an identity by which the machine can recognise the
// repetition. A node whose disk fails or stalls, or whose machine differs from
// the leader's at the same log position ([ErrDiverged]), stops for good and
// says why in [Node.Err]; it never answers from a state that it cannot trust.
//
// # What this package adds to hashicorp/raft
//
//   - Heartbeats never take the engine's fast path, in which a deposed leader
//     may append an entry under its successor's term (hashicorp/raft issue 695).
//   - A confirmation counts only answers to heartbeats sent after the question;
//     the engine's VerifyLeader also counts older ones, so that a leader that
//     was paused could answer from the past. See [Node.Confirm].
//   - Commands that arrive while a commit is under way share the next log entry,
//     up to 1,024 commands or 256 KiB, and each gets its own answer.
//   - The leader flushes its own log while the followers flush theirs (Ongaro's
//     thesis, §10.2.1), where the engine alone would do one after the other.
//     Nothing leaves the node before both have happened. See [StoreWAL].
//   - A disk that fails or hangs stops the node with an error: the engine would
//     panic or wait for ever. Log and snapshots are checked against each other
//     at Open, and a log that was lost is not begun anew, since the node could
//     then vote twice.
//   - Replicas compare digests of their machines at agreed log positions.
//   - One port, with cluster identity checked on every connection and optional
//     mutual TLS, serves Raft, joining, and the application's own protocol.
//
// # What is not promised
//
// The log tells damage from the remains of an unfinished write, but for the last
// flush before a crash: a bit that flips there looks like a torn write, and is cut
// off without a word. The other members still hold what was cut, unless as many as
// make a majority suffer the same at once.
//
// Leadership is never handed over automatically: in the engine a transfer may
// leave the leader refusing writes until it is restarted (issue 696).
//
// # References
//
//   - D. Ongaro, J. Ousterhout: In Search of an Understandable Consensus
//     Algorithm, 2014. Sections 5 (the log), 6 (membership), 8 (read-only
//     queries).
//   - D. Ongaro: Consensus: Bridging Theory and Practice, 2014. Sections 6.4
//     (reads), 10.2.1 (writing to the leader's disk in parallel).
package replica
