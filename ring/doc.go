// Package ring decides which node owns a key so that few keys move when nodes
// come and go: consistent hashing (Karger et al., STOC 1997), with virtual
// nodes, weights, several owners per key, and bounded loads.
//
//	r, err := ring.New(nil)
//	err = r.Add("cache-1", 1)
//	err = r.Add("cache-2", 2) // twice the share
//	node, ok := r.Owner("user/42")
//	nodes := r.Owners("user/42", 3) // the owner and the two next in line
//
// Every node stands at many pseudo-random points of a circle of 2⁶⁴ positions, and
// a key belongs to the first point at or after its own position:
//
//	       cache-1      cache-2   cache-2          cache-1
//	─────────┴─────────────┴─────────┴────────────────┴──────▶ and round again
//	    ▲                       ▲
//	    key a: cache-1          key b: cache-2
//
// Nothing but the names of the nodes and their weights decides where points are,
// so all processes that agree on those agree on every owner, whatever the order
// in which they learned of them.
//
// # What moves
//
// A node that joins takes keys from the others, and no key moves between two
// nodes that stay; one that leaves gives its keys to the others, and no other key
// moves. The share of keys that moves is the node's own share, which is the least
// possible. [Ring.Moves] lists the arcs of the circle that change hands between
// two rings, for whoever has to move data.
//
// # Balance
//
// A node of weight w has w·V points (V is Options.Points, 256 by default). Its
// share of the keys is off by a relative standard deviation of about 1/√(w·V):
// 6 % at weight 1. More points even that out, at 12 bytes and a little time of
// Add each. [Ring.Shares] tells the exact shares.
//
// Even shares of keys are not even loads: some keys are asked for more than
// others. [Balancer] keeps each node's load within a factor 1+ε of the average by
// passing the surplus on to the next node on the circle (Mirrokni, Thorup and
// Zadimoghaddam, SODA 2018).
//
// # When to use something else
//
// Where nodes are numbered 0 to n−1 and only the last ones come and go, jump
// consistent hashing needs no memory. Where a handful of nodes must be perfectly
// even, rendezvous hashing is simpler. This package is for named nodes that join
// and leave anywhere, up to some ten thousand.
//
// # References
//
//   - D. Karger et al.: Consistent Hashing and Random Trees, STOC 1997. Section
//     4: the circle; 4.2: copies of each node, and what moves.
//   - V. Mirrokni, M. Thorup, M. Zadimoghaddam: Consistent Hashing with Bounded
//     Loads, SODA 2018: the bound (1+ε) and the forwarding.
package ring
