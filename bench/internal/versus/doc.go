// Package versus measures one thing twice, with our code and with a peer's, so
// that the ratio means something on a machine that is never quite quiet.
//
// A benchmark that runs our side for a while and then the peer's measures the
// weather as much as the code: a shared disk or processor may change twofold
// from minute to minute. [Run] therefore alternates short rounds of both sides
// in one process, swaps who goes first from pair to pair, takes the ratio
// inside each pair, where both sides saw the same weather, and reports the
// median of these ratios:
//
//	pair 1   ours  peer      ratio 2.1
//	pair 2   peer  ours      ratio 2.3   ──►  x-faster = median, with quartiles
//	pair 3   ours  peer      ratio 1.9
//	...                                       at least 7 pairs
//
// Benchmarks are named BenchmarkVs/<what>/<peer>, so that "-bench Vs" runs the
// comparisons and bench/report can read who was measured against whom:
//
//	func BenchmarkVs(b *testing.B) {
//		b.Run("add/otherlib", func(b *testing.B) {
//			ours, theirs := newOurs(), newTheirs()
//			versus.Run(b, versus.Case{
//				Ours:   func(r *versus.Round) { for i := range r.N { ours.Add(keys[i&mask]) } },
//				Theirs: func(r *versus.Round) { for i := range r.N { theirs.Add(keys[i&mask]) } },
//				Goal:   1.5,
//			})
//		})
//	}
//
// # What is reported
//
//	x-faster                 median of peer time / our time; above 1 we win
//	x-faster-q1, x-faster-q3 the quartiles of the ratio: its spread
//	ns/op, peer-ns/op        each side's median time per operation
//	spread-%, peer-spread-%  each side's interquartile range / median
//	x-smaller                peer bytes / our bytes, where a side calls Size
//	bytes, peer-bytes        each side's median size
//	UNIT, peer-UNIT          what a side recorded with Metric: error, recall, p99
//	NAME-ns/op               what Beside measured in the same rotation
//	x-goal                   Case.Goal, if set
//	pairs                    how many pairs of rounds there were
//
// The number of pairs is at least 7, or ASHLAR_ROUNDS where the environment has
// it (report marks results of fewer than 7 as trials); -benchtime asks for more.
// A round lasts about 100 ms, or ASHLAR_ROUND_TIME, unless Case.N fixes the
// number of its operations.
package versus
