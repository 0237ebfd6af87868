package graph

// A Query answers questions about one metric. It keeps its memory from question to
// question and is not safe for concurrent use: have one for each goroutine, or a pool.
type Query struct {
	m      *Metric
	label  []cost // by depth: from the start up to there, and from there down to the target
	best   uint32
	middle uint32
	s, t   uint32
}

// NewQuery returns a query on m.
func (m *Metric) NewQuery() *Query {
	return &Query{m: m, label: make([]cost, m.t.height)}
}

// Distance returns the length of a shortest path from s to t, or [Inf] if there is none.
func (q *Query) Distance(s, t NodeID) (uint32, error) {
	m := q.m
	tt := m.t
	if err := tt.g.checkNode("node", max(s, t)); err != nil {
		return Inf, err
	}
	x, y := tt.rank[s], tt.rank[t]
	q.s, q.t = x, y
	label := q.label
	px, py := &tt.nodes[x], &tt.nodes[y]
	for i := range label[:max(px.depth, py.depth)+1] {
		label[i] = cost{Inf, Inf}
	}
	label[px.depth].up = 0
	label[py.depth].down = 0
	for x != y {
		if x < y {
			q.up(px)
			if x = px.parent; x == none {
				break
			}
			px = &tt.nodes[x]
		} else {
			q.down(py)
			if y = py.parent; y == none {
				break
			}
			py = &tt.nodes[y]
		}
	}
	q.best, q.middle = Inf, none
	if x != y {
		return Inf, nil
	}
	best := uint32(Inf)
	for {
		c := label[px.depth]
		if s := c.up + c.down; s < best {
			best, q.middle = s, px.depth
		}
		if c.up < best || c.down < best {
			row := tt.row(m.pages, px)
			depth := tt.depth[px.first:px.end]
			depth = depth[:len(row)]
			for i := range row {
				b := &label[depth[i]]
				b.up = min(b.up, c.up+row[i].up)
				b.down = min(b.down, c.down+row[i].down)
			}
		}
		if px.parent == none {
			break
		}
		px = &tt.nodes[px.parent]
	}
	q.best = best
	return best, nil
}

func (q *Query) up(p *place) {
	t := q.m.t
	d := q.label[p.depth].up
	if d >= Inf {
		return
	}
	row := t.row(q.m.pages, p)
	depth := t.depth[p.first:p.end]
	depth = depth[:len(row)]
	label := q.label
	for i := range row {
		b := &label[depth[i]]
		b.up = min(b.up, d+row[i].up)
	}
}

func (q *Query) down(p *place) {
	t := q.m.t
	d := q.label[p.depth].down
	if d >= Inf {
		return
	}
	row := t.row(q.m.pages, p)
	depth := t.depth[p.first:p.end]
	depth = depth[:len(row)]
	label := q.label
	for i := range row {
		b := &label[depth[i]]
		b.down = min(b.down, d+row[i].down)
	}
}
