// Package flow computes windows and joins over a [stream.Log], in event time and
// exactly once, without a cluster to run.
//
// A [Window] is the operator: events go in, watermarks go in, panes come out. It
// is pure: it starts no goroutine and reads no clock, so the same calls give the
// same panes. A [Job] runs one for each partition of a topic: it reads, asks
// [Watermarks] how far time has come, enriches events from a [Table], and commits
// panes, offsets and state in one transaction, after every record or in
// mini-batches.
//
//	       ┌─ partition 0 ─ Watermarks ─ Enrich ─ Window ─┐   ┌ panes    → Sink
//	topic ─┤                                              ├ Tx┤ offsets  → group
//	       └─ partition 1 ─ Watermarks ─ Enrich ─ Window ─┘   │ state    → State
//	                                                          └ the rest → Side
//
// # Time
//
// A watermark says that no event before it is expected any more. Each partition
// has its own: the latest event time seen, minus Bound, minus one. A partition
// that is silent for Idle does not hold up the others, and follows them. An event
// further than MaxAhead in the future says nothing about time: it goes to the
// side, so that one source with a wrong clock cannot make the others' events late.
//
// # Windows
//
// Windows are half-open, [start, end), and counted from 1970 (or an offset), also
// before it. [Tumbling] and [Hopping] keep one partial aggregate for each slice of
// gcd(size, slide): an event is one update, whatever the overlap, and a window
// merges its slices when it fires. [Sliding] has a window for each event: the
// events of its key in (t−size, t]. [Session] windows are as long as there is no
// gap between events; a late event may join two.
//
// A window fires once its last instant is at or before the watermark, with pane
// index 0. For as long as Lateness allows after that, a late event fires it again
// with the next index and the whole aggregate; a sink that keeps the highest index
// of each key and window is right in the end. An event that is later than that
// goes to the side output. Nothing is dropped in silence.
//
// # Exactly once, and the same again
//
// A partition's panes depend on its records and their order alone, as long as no
// partition goes idle and no event is too far ahead: how partitions interleave,
// where batches end, and where the job was killed and started again does not show.
// The state of a job is a compacted topic: a checkpoint writes what changed.
//
// docs/stream-operators.md maps each operator to Flink's and Spark's.
//
// # References
//
// Akidau et al., "The Dataflow Model" (VLDB 2015), for windows, watermarks and
// panes; Li et al., "No Pane, No Gain" (SIGMOD Record 2005), for slices; Tangwongsan
// et al., "Low-Latency Sliding-Window Aggregation in Worst-Case Constant Time" (DEBS
// 2017), for the two stacks of Sliding; Carbone et al., "State Management in Apache
// Flink" (VLDB 2017), for checkpoints.
package flow
