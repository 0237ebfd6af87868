// Package hll counts different items in a few kilobytes, however many they are
// and however often each comes: HyperLogLog (Flajolet, Fusy, Gandouet and
// Meunier, 2007) and its successor ExaLogLog (Ertl, 2025).
//
//	s, err := hll.NewExa(11) // standard error 0.80 % in 7 KiB
//	for _, user := range users {
//		s.AddString(user)
//	}
//	s.Estimate() // how many different users
//
// # How it works
//
// Hash each item to 64 random bits. Half of all hashes end in no zero, a quarter
// in one, an eighth in two: whoever has seen a hash that ends in k zeros has
// probably seen about 2^k different ones, and seeing one again changes nothing.
// [Rightmost] is just that, one number for any set, and wrong by a factor of two
// or more. HyperLogLog lets a part of the hash choose one of m = 2^p registers,
// each of which remembers its longest run of zeros; from all of them together the
// number follows with a standard error of 1.04/√m. ExaLogLog remembers for each
// register also which of the next shorter runs were there, since those tell
// something too. For the same error it needs 43 % less memory than HyperLogLog
// with registers of six bits, and 56 % less than with bytes.
//
// Which one:
//
//   - [Exa] unless something else speaks the other. p = 11 is 0.80 % in 7 KiB,
//     each step of p doubles the memory and divides the error by √2.
//   - [Sketch] is HyperLogLog, in and out of Redis ([Sketch.AppendRedis],
//     [ParseRedis]). p = 14 is 0.81 % in 12 KiB.
//   - [Concurrent] is an Exa that many goroutines add to without a lock.
//
// Small sets are kept as lists of 32-bit tokens, of which at most a few hundred
// to a few thousand fit before a sketch turns to registers; until then the
// estimate is off by hundredths of a per cent at most.
//
// # In a distributed system
//
// The sketch of a union is the merge of the sketches. Merge commutes, associates
// and may be repeated, so that servers count on their own and report in any order,
// twice if need be; hours merge to days. A sketch is a function of the set alone:
// the same items give the same bytes in whatever order and grouping they came,
// before or after lowering the precision. Intersections and differences are not
// in it: of |A| + |B| - |A∪B| only the errors remain when A and B differ much in
// size.
//
// Where the precision differs, the result has the lower one; lowering loses nothing
// against a sketch that had it from the start ([Exa.Reduce]).
//
// # Hashes
//
// Add and AddString use xxHash64, the same everywhere and without a secret:
// somebody who chooses the items can choose the count. Hash with a key where that
// matters, and use AddHash, which needs 64 well-mixed bits: a raw FNV of short
// integers is not that, [HashUint64] of them is. What is added under different
// hashes must not be merged.
//
// # Estimation
//
// All estimates are by maximum likelihood, with one formula for every size: no
// ranges that join badly, no tables of measured bias. The bias stays below a
// fifth of the standard error at any number of items, and the tests hold it to
// that where other implementations bulge, at the turn to registers.
//
// # References
//
//   - P. Flajolet, É. Fusy, O. Gandouet, F. Meunier: HyperLogLog: the analysis of
//     a near-optimal cardinality estimation algorithm, AofA 2007.
//   - O. Ertl: ExaLogLog: Space-Efficient and Practical Approximate Distinct
//     Counting up to the Exa-Scale, EDBT 2025 (arXiv 2402.13726). Registers,
//     insertion, merging and lowering: section 2; likelihood: section 3.
//   - O. Ertl: New cardinality estimation algorithms for HyperLogLog sketches,
//     2017 (arXiv 1702.01284): likelihood of HyperLogLog's registers.
//   - S. Heule, M. Nunkesser, A. Hall: HyperLogLog in Practice, EDBT 2013: lists
//     of tokens for small sets.
//   - D. Cox, E. Snell: A General Definition of Residuals, 1968, equation 20: the
//     first-order bias of a maximum-likelihood estimate.
package hll
