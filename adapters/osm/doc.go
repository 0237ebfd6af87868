// Package osm reads road networks from OpenStreetMap for package graph: which roads a
// vehicle may take, in which directions, how long they are, how fast they are driven, and
// which turns are forbidden.
//
//	f, err := os.Open("monaco.osm.pbf")
//	net, err := osm.ReadPBF(ctx, f, nil)
//	turns, err := net.Graph.Expand(0)                  // what it costs to go back
//	topo, err := graph.Dissect(ctx, turns.Graph(), nil)
//	metric, err := turns.Customize(topo, net.Millis)   // a graph.TurnMetric
//
// That obeys turn restrictions. Who does not need them takes a hierarchy of the roads
// themselves, which is a tenth of the size:
//
//	topo, err := graph.Dissect(ctx, net.Graph, nil)    // turns are ignored
//	metric, err := topo.Customize(net.Millis)
//
// Both formats of extracts are read: .osm.pbf ([ReadPBF]) and XML ([ReadXML]). Each file is
// read twice, first the ways and relations, then the nodes that these need, so that memory
// holds the roads only: some 200 bytes a node. XML is the slower one by far.
//
// # What becomes an arc
//
// Each piece of a way between two of its nodes becomes an arc for each direction that is
// open, so that the nodes which give a road its shape are nodes of the graph, and a route
// can be drawn by its arcs' ends. They cost a hierarchy next to nothing: they are removed
// first.
//
// A [Profile] says which ways count and how fast they are. [Car] is the default: its
// speeds are those of the tag maxspeed (in km/h, mph or knots, none, walk, or a zone such
// as DE:urban, for each direction if given so), or else usual ones for the kind of road.
// Access is that of the most special of motorcar, motor_vehicle, vehicle and access. One-way
// streets are those of the tag oneway, of roundabouts and of motorways. A ferry takes its
// duration. A node with a barrier that is not open to the vehicle is passed by no arc.
//
// # Turns
//
// Relations of the type restriction become turns of the graph, which count after
// [graph.Graph.Expand]: no_… forbids one, only_… all others from there; several relations
// with the same way are all kept, as are several ways in one relation. A way that goes on
// through the node is restricted from both sides. Those over a way
// (instead of a node), conditional ones, and those that cannot be matched to the roads
// are left out and counted in [Network.Skipped].
//
// # Limits
//
// Coordinates are kept to 1e-7 degree, as OpenStreetMap has them. A turn back is allowed
// wherever no relation forbids it. Speeds are legal limits, not what is driven: scale the
// weights, or measure.
//
// Data of OpenStreetMap is under the Open Database Licence: who shows it names
// "© OpenStreetMap contributors".
package osm
