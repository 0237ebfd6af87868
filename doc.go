// Package ashlar is the guide to this module: building blocks for distributed
// systems, each a package that can be used alone. It contains no code.
//
// An ashlar is a stone cut so well that it fits its neighbours without mortar.
//
// # Which package
//
// Ready:
//
//   - One at a time across machines, first come, first served, with a token that
//     lets the storage refuse a holder that was too slow: package lock. Its
//     servers are lock/node as a library and lock/lockd as a program.
//   - A state machine of your own, the same on several machines: package replica,
//     which hosts it on Raft and adds reads that cannot be stale.
//   - How many different items there were, in a few kilobytes: package hll.
//   - How often each item came, and which ones came most: package cms.
//   - Was this item added, from ten bits an item: package bloom.
//   - Which of many nodes owns a key, so that few keys move when nodes come and
//     go: package ring.
//   - The best completions of what is being typed: package trie;
//     trie/norm gives them one form first.
//   - What is near: cells of the Earth, covers of areas, and an index of points that
//     move: package geohash.
//   - The quickest way through a road network, while traffic changes: package graph;
//     across processes, graph/shard. Graphs of comments or dependencies:
//     graph/digraph.
//   - Who may pass, so many in so much time: package ratelimit, and ratelimit/httplimit
//     in front of an HTTP handler.
//   - A request that comes twice takes effect once: package idem. A storage of
//     your own is checked by idem/idemtest.
//   - Objects under names, on a disk or in memory, with conditional writes:
//     package blob. A store of your own is checked by blob/blobtest.
//   - Samples and log lines by label and time, in few bytes, in any order: package
//     tsdb.
//   - On servers that you have, as modules of their own: adapters/kafka and
//     adapters/nats are logs, adapters/redis has limits, keys of requests and a cache,
//     adapters/parquet writes files for Spark, adapters/osm reads roads.
//   - Records in order, read again from any offset, with groups of readers and
//     transactions, in a directory of one process: package stream. A log of your
//     own is checked by stream/streamtest.
//   - Counts and sums by window of event time over such records, and joins with a
//     table, each record exactly once: package stream/flow.
//
// Planned, in the same repository and under the same rules: values that merge
// (crdt) and proofs of what differs (merkle); priority queues (pqueue), scheduled
// jobs (sched), and names for recorded sound (fingerprint).
//
// # What they share
//
// Imports go down only: services stand on replication, replication on storage,
// storage on pure data structures. A test pins what each package compiles, so that
// a program which uses lock as a client, or blob, never compiles Raft. Where the
// floors are is drawn in docs/ARCHITECTURE.md.
//
// Required arguments are positional; what is optional is one trailing *Options, and
// nil means the defaults. Arguments out of range are errors. ErrClosed,
// ErrCorrupt, ErrIncompatible, ErrInvalid, ErrNotFound, ErrTooLarge and ErrVersion
// mean the same in every package that has them, each with a value of its own, and are
// matched with [errors.Is]. What may block takes a
// context. What is written to disk has a version and a checksum, and damage is an
// error, never other bytes. Nothing logs unless it is given a logger.
//
// # Where to start
//
// Run "go run ./examples/lock" in a clone: real processes, a frozen holder, a
// killed leader, and no lost write. Then read that example from top to bottom, and
// after it lock/doc.go.
package ashlar
