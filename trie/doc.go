// Package trie completes what somebody types: the best terms that begin with a prefix,
// in a tenth of a microsecond for each key pressed, from about twelve bytes a term.
//
//	b := trie.NewBuilder(nil)
//	for term, count := range searches {
//		b.Add(term, count)
//	}
//	image, err := b.Build()
//	c := image.Cursor()
//	c.StepString("new y")
//	for _, h := range c.Top(nil) { // the ten best
//		fmt.Println(image.Term(h), image.Weight(h))
//	}
//
// # How it works
//
// The terms are sorted, so that those with a prefix are a range. A path-compressed
// trie (Morrison, 1968) has a node for each prefix that branches and has more than K
// terms, and each node a list of its K best terms, made when the image is built: what
// is shown for the shortest prefixes, which are typed most and match most, is only
// read. A prefix with fewer terms needs no list, since all of them are shown, in the
// order of their ranks; and these are most prefixes: of 600,000 phrases, 36,000 nodes
// have lists. To cache the list of every prefix in a map, as is often drawn, takes twenty
// times the memory, to save some tens of nanoseconds a key.
//
// The text itself is front-coded: each term says how much it shares with the one
// before. A node is 20 bytes, and its small children two bytes each.
//
// # Batch and swap
//
// An [Image] is immutable and one piece of memory: bytes to store, send or map
// ([Image.Bytes], [Load]). New counts make a new image, which [Index.Swap] publishes
// while readers go on; a cursor stays with the image that it began with. The textbook's
// trie whose nodes are changed under locks has to touch all ancestors of a term at each
// write, and readers wait for it.
//
// What a user has typed himself is a small image of its own, merged with everybody's by
// [Merge].
//
// # Partitions
//
// What is too much for one machine, or for one batch, is divided into small ranges of
// terms, each an image: see [Partitioned]. Those that are asked for most are split or
// copied, and new counts rebuild those that they are in.
//
// # Text
//
// Terms and prefixes are bytes, compared as they are: fold case and normalise before
// Add and before Step, in the same way. A prefix may end within a character.
// [Image.Fuzzy] counts edits by characters of UTF-8.
//
// # References
//
//   - D. Morrison: PATRICIA, JACM 1968.
//   - I. Witten, A. Moffat, T. Bell: Managing Gigabytes, 1999: front coding.
//   - B.-J. Hsu, G. Ottaviano: Space-Efficient Data Structures for Top-k Completion,
//     WWW 2013: best-first search by the best weight below.
//   - K. Schulz, S. Mihov: Fast String Correction with Levenshtein Automata, 2002; here
//     with the table of distances itself, row by row.
package trie
