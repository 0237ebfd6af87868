// Package cms counts how often items come, in memory that does not grow with
// their number: the count-min sketch (Cormode and Muthukrishnan, 2005) and two
// sketches for the most frequent ones.
//
//	s, err := cms.New(0.0001, 0.01) // off by 0.01 % of all, in 99 of 100 cases
//	s.AddString("/index.html", 1)
//	s.CountString("/index.html") // at least as many as there were
//
// Which one:
//
//   - [Sketch] answers "how often was this one there?" for any item that you can
//     name. It never says too little.
//   - [TopK] lists the k most frequent with their counts. It is small, 8 KiB for
//     nearly all of a hundred and 16 for all, and right with high probability.
//   - [Heavy] lists all that make up more than a share of the whole, with bounds
//     that always hold and no chance in it.
//   - [Window] is a Sketch of the last minute, or hour, at each moment.
//
// # Count-min
//
// A sketch is depth rows of width counters. Each row's hash gives an item one
// counter there; to add it is to raise these, and to ask is to take the least of
// them, since each of them counts the item and whatever shares the counter. With
// width e/ε and depth ln(1/δ) the answer is above the truth by more than ε·Total
// with probability at most δ. Here an addition raises only those of the item's
// counters that would otherwise be below its new count (conservative update,
// Estan and Varghese, 2002). On real streams, where few items make up most of
// the whole, that divides the errors of frequent ones by hundreds. It also means
// that there is no taking back: counts only grow, but for [Sketch.Decay].
//
// # The most frequent
//
// TopK watches k items in a table and counts each exactly from the moment on at
// which the watch began. What is not watched goes through a filter, a HeavyKeeper
// (Gong and others, 2018): a cell holds the fingerprint of one item and its count,
// and others that come to the cell wear it down with a probability that falls with
// the count, so that the frequent stay and the rest give way. Who in the filter
// overtakes the least of the watched takes its place. Unlike in the paper, the
// watched are not in the filter, where they would only be in the way, and a cell
// can be taken at once with a small probability, so that an item which becomes
// frequent late is noticed too.
//
// Heavy is the algorithm of Misra and Gries (1982) in the form of Anderson and
// others (2017): when its counters are used up, the median is subtracted from all,
// and those at zero go.
//
// # In a distributed system
//
// All but Window merge: shards count on their own and report sums. Merged
// estimates of a Sketch are upper bounds of the whole, those of Heavy keep both
// bounds, and TopK's keep Lower and Upper; which items a merged TopK lists is a
// matter of what its parts had in their tables and filters.
//
// Strings and bytes are hashed by xxHash64, the same everywhere and without a
// secret: somebody who chooses the items can let them share counters, and so make
// an item look frequent. Where that matters, hash with a key first and use AddHash,
// which needs 64 well-mixed bits.
//
// # References
//
//   - G. Cormode, S. Muthukrishnan: An Improved Data Stream Summary: The Count-Min
//     Sketch and its Applications, J. Algorithms 2005.
//   - C. Estan, G. Varghese: New Directions in Traffic Measurement and Accounting,
//     SIGCOMM 2002. Conservative update: section 3.2.
//   - J. Gong and others: HeavyKeeper: An Accurate Algorithm for Finding Top-k
//     Elephant Flows, USENIX ATC 2018.
//   - J. Misra, D. Gries: Finding Repeated Elements, 1982.
//   - D. Anderson and others: A High-Performance Algorithm for Identifying Frequent
//     Items in Data Streams, IMC 2017.
package cms
