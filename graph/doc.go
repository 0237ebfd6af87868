// Package graph finds shortest ways in road networks, hundreds of times faster than
// Dijkstra's algorithm, while the traffic on them changes.
//
//	g, weights, _, err := graph.Generate(500, 500, 1) // or ReadDIMACS, or adapters/osm
//	topo, err := graph.Dissect(ctx, g, nil)   // once for a map: seconds
//	m, err := topo.Customize(weights)         // once for new weights: some 50 ms for New York
//	m, err = m.Update([]graph.Change{{Arc: a, Weight: w}}) // a jam: some 50 µs
//	q := m.NewQuery()
//	millis, err := q.Distance(s, t)           // some 15 µs
//	for _, a := range q.AppendPath(nil) {     // and 20 µs more for the way itself
//		fmt.Println(g.Tail(a), g.Head(a))
//	}
//
// A [Graph] is nodes and directed arcs, numbered from 0, and perhaps coordinates. What an
// arc costs is not part of it: a weight is a whole number in any unit, milliseconds
// perhaps, from 0 to [MaxWeight], or [Inf] for an arc that is closed. The same graph may
// have many weights.
//
// # Which way to search
//
//   - [Dijkstra] is the plainest: what all others are tested against. [Search] keeps its
//     memory, may search from both ends or be led by coordinates (A*), and needs no
//     preparation: for a few queries, or weights that never last.
//   - [Contract] makes a contraction hierarchy of one set of weights, with the level of
//     each node: for weights that stay as they are, and to see what a hierarchy is.
//   - [Dissect] makes a hierarchy of the roads alone, a [Topology], that any weights can
//     be given to: for traffic, and the one to choose if in doubt.
//
// # How it works
//
// A customizable contraction hierarchy is made in three steps. Dissect orders the nodes
// by nested dissection: it looks for few nodes that cut the network in two, orders these
// last, and goes on with both parts. Roads have rivers, railways and borders, and a cut
// of a part of n nodes has about ∛n of them. Then it takes the nodes away, the least
// important first, and joins the neighbours of each by shortcuts, whatever the weights:
//
//	3───1───4───2───5    1 is taken away: 3 and 4 are joined;
//	 ╲     ╱ ╲     ╱     then 2: 4 and 5 are joined; then 3, which has
//	  ·····   ·····      one neighbour left; then 4.
//
// Customize then finds the weight of each shortcut, from the lowest up: the least of the
// graph's own arcs between its ends and of all ways over a node below both. That is where
// hierarchies that keep the one way that was best when they were made go wrong: when it
// is jammed the second best must have been kept. Update does the same for the shortcuts
// that some arcs concern, and stops where nothing changes.
//
// A shortest way first leads up in this order, then down: so a query follows the arcs up
// from both ends. All of them lead to nodes on one path to the root of a tree, the
// elimination tree, whose height is a few hundred: there is no queue, and labels are kept
// in an array by height. Distances from one node to many take one pass down the tree
// ([Targets], [Metric.Matrix], [Metric.Isochrone]).
//
// # Traffic
//
// A [Metric] is a snapshot and never changes: Update returns another that shares with it
// all that is the same. Readers take the snapshot of the moment from a [Live], without a
// lock, and see either all of a batch of changes or none. Route and matrix answer from
// the same snapshot if they are asked of the same Metric.
//
// # Turns
//
// [Builder.SetTurn] and [Builder.OnlyTurn] say what a turn from one arc to the next costs
// and which are forbidden. They count in the [Expansion] of a graph: a graph of its own
// with the turns as arcs, for Dissect and all the rest, and exact.
//
// # Files
//
// [Topology.WriteTo] writes a hierarchy with its graph, [OpenMapped] maps it back in a
// sixth of a second for a million nodes, checked. Processes share the memory. A Metric is
// kept as the weights alone: it refuses any other hierarchy than its own.
//
// # When not to use it
//
// A hierarchy is for networks that are easy to cut. Graphs of friends, links or trades
// are not: Dissect refuses them with [ErrTooDense], and Dijkstra's algorithm from both
// ends does well there. Weights that depend on the time of day need a metric for each
// time slice. For trees of comments and graphs of dependencies see package
// graph/digraph; for a network on several machines graph/shard; for nearest drivers
// package geohash.
//
// # References
//
//   - E. Dijkstra: A Note on Two Problems in Connexion with Graphs, 1959.
//   - P. Hart, N. Nilsson, B. Raphael: A Formal Basis for the Heuristic Determination of
//     Minimum Cost Paths, 1968.
//   - A. George: Nested Dissection of a Regular Finite Element Mesh, 1973; J. Liu: The
//     Role of Elimination Trees in Sparse Factorization, 1990: the tree and its
//     post-order.
//   - R. Geisberger, P. Sanders, D. Schultes, D. Delling: Contraction Hierarchies, 2008.
//   - D. Delling, A. Goldberg, A. Nowatzyk, R. Werneck: PHAST, 2011: the pass down.
//   - A. Schild, C. Sommer: On Balanced Separators in Road Networks, 2015: inertial flow.
//   - J. Dibbelt, B. Strasser, D. Wagner: Customizable Contraction Hierarchies, 2016:
//     customization by lower triangles, queries on the elimination tree.
//   - V. Buchhold, P. Sanders, D. Wagner: Real-Time Traffic Assignment Using Engineered
//     Customizable Contraction Hierarchies, 2019: pruned queries.
package graph
