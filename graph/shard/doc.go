// Package shard answers routing questions over a road network that is divided among
// several processes: exactly, as if it were in one.
//
// Places that are near each other belong together, so the network is cut by geohash cells
// ([Place]). Each process has the roads of its cells and a hierarchy of them ([NewPart]),
// and knows nothing of the rest. A [Router] knows only the overlay, which is the nodes at
// the borders of the parts:
//
//	part 0                   part 1                    part 2
//	┌──────────────┐         ┌──────────────┐          ┌──────────────┐
//	│ s ─ ─ ─ ─► ●─┼─────────┼─► ●═════►●───┼──────────┼─► ● ─ ─ ─► t │
//	│ ▲         ●──┼──┐      │              │          │           ▲  │
//	└─┼────────────┘  └──────┼─► ●═════►●───┼──────────┼─► ●       │  │
//	  │ asked: s to borders  └──────────────┘          └───────────┼──┘
//	  └────────────── Router: ● ═ ─ borders and roads between ─────┘ asked: borders to t
//
// An arc ═ of the overlay is the length of the shortest way within a part from one border
// node to another. Any way through the network is made of such pieces, so that the least
// sum over the overlay is the distance. A question costs two requests, to the parts of its
// ends, at the same time; a path one more to each part that it leads through. Arcs that
// are as long as two shorter ones are left out, which is most of them.
//
// Traffic stays local: an update changes one part's hierarchy and its overlay arcs, and
// has a version, of which routers are told ([Router.Refresh]). A router that gets an answer
// of another version than its overlay's reads that part's arcs anew and asks again, so that
// no answer mixes two versions of a part.
//
// Cells are for placing data, not for finding ways: a cut by cells has many times the
// border nodes of one found by package graph's dissection. What is lost by that is the
// router's: it searches the borders of all parts, of which New York in four parts has
// 1,680.
//
// This is the overlay of multi-level partitions (Holzer, Schulz and Wagner: Engineering
// Multilevel Overlay Graphs for Shortest-Path Queries, JEA 2009; Delling, Goldberg, Pajor
// and Werneck: Customizable Route Planning, 2011) with one level, spread over processes.
package shard
