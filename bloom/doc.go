// Package bloom answers "was this item added?" from a few bits per item: no is
// certain, yes is wrong with a probability chosen beforehand (Bloom, 1970).
//
//	f, err := bloom.New(1_000_000, 0.01) // a million items, 1 % false yes: 1.24 MB
//	f.AddString("order-7")
//	f.ContainsString("order-7") // true
//	f.ContainsString("order-8") // false, or with probability 1 % true
//
// A [Filter] is blocked (Putze, Sanders and Singler, 2007): all k bits of an item
// lie in one block of 512 bits, one line of a processor's cache, so that a
// question costs one access to memory where the textbook's filter makes k. The
// price is space, since some blocks get more items than others. How much is
// computed, not guessed: [New] takes the number of blocks from the exact sum over
// how many items a block may hold, and the measured rate is the one asked for.
// It needs 9.9 bits per item at 1 % (textbook: 9.6) and 15.6 at 0.1 % (14.4).
//
// Which one:
//
//   - [Filter] when the number of items is known, at least roughly. Twice as
//     many items as planned make the rate about five times as high;
//     [Filter.FPR] tells what it is at any moment.
//   - [Concurrent] is the same for many goroutines, without locks.
//   - [Scalable] grows with the items and keeps the rate (Almeida et al., 2007).
//   - [Generations] forgets: items of the oldest period are dropped all at once.
//     That is the filter in front of a store of idempotency keys.
//
// How many different items there were is a question for package hll, and how
// often each was there one for package cms.
//
// # In a distributed system
//
// Equal filters have equal bytes, and the union of two filters with the same
// parameters is the filter of both sets: Union commutes, associates and may be
// repeated, so shards may report in any order and twice. The hash is xxHash64
// for bytes and strings, the same everywhere, without a secret: somebody who
// chooses items to collide can do so. Where that matters, hash with a key first
// and use AddHash.
//
// # References
//
//   - B. Bloom: Space/Time Trade-offs in Hash Coding with Allowable Errors, CACM
//     1970.
//   - F. Putze, P. Sanders, J. Singler: Cache-, Hash- and Space-Efficient Bloom
//     Filters, WEA 2007. Section 3: blocks, and the sum over their loads.
//   - P. Almeida, C. Baquero, N. Preguiça, D. Hutchison: Scalable Bloom Filters,
//     Information Processing Letters 2007.
//   - S. Swamidass, P. Baldi: Mathematical Correction for Fingerprint Similarity
//     Measures, 2007: the number of items from the bits that are set.
package bloom
