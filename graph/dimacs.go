package graph

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ReadDIMACS reads a graph in the text format of the 9th DIMACS Implementation Challenge:
// a .gr file with arcs and their weights and, unless co is nil, a .co file with
// coordinates in units of 1e-6 degree. Nodes are numbered from 1 there and from 0 here;
// arcs have the order of the file. A malformed line gives an error wrapping [ErrSyntax]
// that names it; more than 64 nodes for each arc (and 4,096) one wrapping [ErrTooLarge],
// so that a short file takes little memory.
func ReadDIMACS(gr, co io.Reader) (*Graph, []uint32, error) {
	var b *Builder
	var weights []uint32
	var nodes, arcs int64
	err := dimacs(gr, "a", 3, func(f []int64) error {
		switch {
		case b != nil:
			return fmt.Errorf("a second line \"p\"")
		case f[0] < 0 || f[0] > maxNodes || f[1] < 0 || f[1] > maxArcs:
			return fmt.Errorf("%w: %d nodes, %d arcs", ErrTooLarge, f[0], f[1])
		}
		nodes, arcs = f[0], f[1]
		b = NewBuilder(int(nodes))
		return nil
	}, func(f []int64) error {
		switch {
		case b == nil:
			return fmt.Errorf("an arc before the line \"p\"")
		case f[0] < 1 || f[0] > nodes || f[1] < 1 || f[1] > nodes:
			return fmt.Errorf("arc from %d to %d of %d nodes", f[0], f[1], nodes)
		case f[2] < 0 || f[2] > Inf:
			return fmt.Errorf("weight %d", f[2])
		}
		b.AddArc(NodeID(f[0]-1), NodeID(f[1]-1))
		weights = append(weights, uint32(f[2]))
		return nil
	})
	switch {
	case err != nil:
		return nil, nil, err
	case b == nil:
		return nil, nil, fmt.Errorf("%w: no line \"p sp NODES ARCS\"", ErrSyntax)
	case int64(len(weights)) != arcs:
		return nil, nil, fmt.Errorf("%w: %d arcs, the line \"p\" says %d", ErrSyntax, len(weights), arcs)
	}
	if nodes > 64*arcs+4096 {
		return nil, nil, fmt.Errorf("%w: %d nodes with %d arcs", ErrTooLarge, nodes, arcs)
	}
	if co != nil {
		err = dimacs(co, "v", 3, func([]int64) error { return nil }, func(f []int64) error {
			if f[0] < 1 || f[0] > nodes {
				return fmt.Errorf("coordinates of node %d of %d", f[0], nodes)
			}
			b.SetCoord(NodeID(f[0]-1), float64(f[2])/1e6, float64(f[1])/1e6)
			return b.err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	g, err := b.Build()
	return g, weights, err
}

// ReadDIMACSWeights reads other weights for the arcs of g from a second .gr file, such as
// lengths besides times. The file must list the same arcs in the same order.
func ReadDIMACSWeights(gr io.Reader, g *Graph) ([]uint32, error) {
	weights := make([]uint32, 0, g.Arcs())
	err := dimacs(gr, "a", 3, func([]int64) error { return nil }, func(f []int64) error {
		a := len(weights)
		switch {
		case a >= g.Arcs():
			return fmt.Errorf("more than %d arcs", g.Arcs())
		case f[0]-1 != int64(g.tail[a]) || f[1]-1 != int64(g.head[a]):
			return fmt.Errorf("arc %d goes from %d to %d, not from %d to %d", a+1, g.tail[a]+1, g.head[a]+1, f[0], f[1])
		case f[2] < 0 || f[2] > Inf:
			return fmt.Errorf("weight %d", f[2])
		}
		weights = append(weights, uint32(f[2]))
		return nil
	})
	if err == nil && len(weights) != g.Arcs() {
		err = fmt.Errorf("%w: %d arcs, the graph has %d", ErrSyntax, len(weights), g.Arcs())
	}
	if err != nil {
		return nil, err
	}
	return weights, nil
}

// dimacs calls problem for the "p" line and record for each line that begins with tag.
func dimacs(r io.Reader, tag string, fields int, problem, record func([]int64) error) error {
	lines := bufio.NewScanner(r)
	const longest = 1 << 16
	lines.Buffer(make([]byte, longest), longest)
	f := make([]int64, 0, 8)
	number := 1
	for ; lines.Scan(); number++ {
		line := lines.Bytes()
		if len(line) == 0 || line[0] == 'c' {
			continue
		}
		var err error
		f = f[:0]
		switch {
		case line[0] == 'p':
			// "p sp N M" and "p aux sp co N": the numbers behind the words.
			if f, err = integers(f, bytes.TrimLeft(line, "abcdefghijklmnopqrstuvwxyz ")); err == nil {
				if tag == "a" && len(f) != 2 {
					err = fmt.Errorf("%d numbers, not 2", len(f))
				} else {
					err = problem(f)
				}
			}
		case line[0] == tag[0]:
			if f, err = integers(f, line[1:]); err == nil {
				if len(f) != fields {
					err = fmt.Errorf("%d numbers, not %d", len(f), fields)
				} else {
					err = record(f)
				}
			}
		default:
			err = fmt.Errorf("it begins with %q", line[0])
		}
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrSyntax, number, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: line %d is longer than %d bytes", ErrSyntax, number, longest)
	} else if err != nil {
		return err
	}
	return nil
}

// integers appends the decimal numbers in b, which stand between spaces.
func integers(dst []int64, b []byte) ([]int64, error) {
	for i := 0; i < len(b); {
		if b[i] == ' ' || b[i] == '\t' || b[i] == '\r' {
			i++
			continue
		}
		start, negative := i, b[i] == '-'
		if negative {
			i++
		}
		digits, v := i, int64(0)
		for i < len(b) && b[i] >= '0' && b[i] <= '9' && i-digits < 18 {
			v = v*10 + int64(b[i]-'0')
			i++
		}
		if i == digits || i < len(b) && b[i] != ' ' && b[i] != '\t' && b[i] != '\r' {
			return dst, fmt.Errorf("%q is no number", b[start:min(len(b), start+20)])
		}
		if negative {
			v = -v
		}
		if len(dst) == cap(dst) {
			return dst, fmt.Errorf("more than %d numbers", cap(dst))
		}
		dst = append(dst, v)
	}
	return dst, nil
}
