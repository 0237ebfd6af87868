package graph

import "errors"

var (
	// ErrInvalid is returned for an argument outside its range: a node or an arc that
	// the graph does not have, a weight between [MaxWeight] and [Inf], a coordinate that
	// is none, weights whose number is not that of the arcs.
	ErrInvalid = errors.New("graph: invalid argument")
	// ErrTooLarge is returned for more nodes, arcs or turns than 32 bits can number.
	ErrTooLarge = errors.New("graph: too large")
	// ErrTooDense is returned by [Dissect] and [Contract] when the hierarchy would have
	// more arcs than allowed: the graph is no road network.
	ErrTooDense = errors.New("graph: too dense for a hierarchy")
	// ErrIncompatible is returned for what does not belong together: a metric's file and
	// another hierarchy, or a hierarchy and an expansion of another graph.
	ErrIncompatible = errors.New("graph: not of the same graph")
	// ErrCorrupt is returned for a file that is damaged or is none of ours.
	ErrCorrupt = errors.New("graph: corrupt file")
	// ErrVersion is returned for a file of a later version.
	ErrVersion = errors.New("graph: unknown version")
	// ErrSyntax is returned for text that does not follow the DIMACS format.
	ErrSyntax = errors.New("graph: syntax error")
)
