package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
)

// A pane is a part of a drawing that shows a box of the map.
type pane struct {
	n             *network
	box           geohash.Box
	x, y          float64 // of its upper left corner
	width, height float64
	fine          float64 // pixels of a cell of its textures
}

func newPane(n *network, box geohash.Box, x, y, width, fine float64) *pane {
	stretch := math.Cos((box.South + box.North) / 2 * math.Pi / 180)
	return &pane{n, box, x, y, width, width * (box.North - box.South) / ((box.East - box.West) * stretch), fine}
}

// box returns what holds all nodes.
func (n *network) box() geohash.Box {
	box := geohash.Box{South: 90, North: -90, West: 180, East: -180}
	for u := range graph.NodeID(n.g.Nodes()) {
		lat, lon, _ := n.g.Coord(u)
		box = geohash.Box{South: min(box.South, lat), North: max(box.North, lat), West: min(box.West, lon), East: max(box.East, lon)}
	}
	return box
}

// around returns a box that holds paths, with a margin.
func (n *network) around(paths ...[]graph.ArcID) geohash.Box {
	box := geohash.Box{South: 90, North: -90, West: 180, East: -180}
	for _, path := range paths {
		for _, a := range path {
			lat, lon, _ := n.g.Coord(n.g.Head(a))
			box = geohash.Box{South: min(box.South, lat), North: max(box.North, lat), West: min(box.West, lon), East: max(box.East, lon)}
		}
	}
	h, w := (box.North-box.South)*0.1+0.001, (box.East-box.West)*0.1+0.001
	// Neither too narrow nor too flat.
	h = max(h, ((box.East-box.West)*0.6-(box.North-box.South))/2)
	w = max(w, ((box.North-box.South)*1.1-(box.East-box.West))/2)
	return geohash.Box{South: box.South - h, North: box.North + h, West: box.West - w, East: box.East + w}
}

func (p *pane) at(lat, lon float64) (x, y float64) {
	return p.x + (lon-p.box.West)/(p.box.East-p.box.West)*p.width, p.y + (p.box.North-lat)/(p.box.North-p.box.South)*p.height
}

func (p *pane) node(u graph.NodeID) (x, y float64) {
	lat, lon, _ := p.n.g.Coord(u)
	return p.at(lat, lon)
}

// A texture is what some nodes and lines cover, in cells: a drawing of a hundred thousand
// roads would be megabytes.
type texture struct {
	p    *pane
	cols int
	set  []bool
}

func (p *pane) texture() *texture {
	cols := int(p.width/p.fine) + 1
	return &texture{p, cols, make([]bool, cols*(int(p.height/p.fine)+1))}
}

func (t *texture) mark(x, y float64) {
	col, row := int((x-t.p.x)/t.p.fine), int((y-t.p.y)/t.p.fine)
	if x >= t.p.x && y >= t.p.y && col < t.cols && row*t.cols+col < len(t.set) {
		t.set[row*t.cols+col] = true
	}
}

func (t *texture) dot(u graph.NodeID) { t.mark(t.p.node(u)) }

func (t *texture) line(u, v graph.NodeID) {
	x, y := t.p.node(u)
	x2, y2 := t.p.node(v)
	steps := math.Ceil(math.Hypot(x2-x, y2-y)/t.p.fine*1.5) + 1
	for i := 0.0; i <= steps; i++ {
		t.mark(x+(x2-x)*i/steps, y+(y2-y)*i/steps)
	}
}

// path writes the texture as one path of short strokes.
func (t *texture) path(class string) string {
	var d strings.Builder
	for row := 0; row*t.cols < len(t.set); row++ {
		cells := t.set[row*t.cols : (row+1)*t.cols]
		last := 0.0
		for i := 0; i < len(cells); i++ {
			if !cells[i] {
				continue
			}
			j := i
			for j < len(cells) && cells[j] {
				j++
			}
			x := t.p.x + float64(i)*t.p.fine
			if last == 0 {
				fmt.Fprintf(&d, "M%s %s", short(x), short(t.p.y+(float64(row)+0.5)*t.p.fine))
			} else {
				fmt.Fprintf(&d, "m%s 0", short(x-last))
			}
			fmt.Fprintf(&d, "h%s", short(float64(j-i)*t.p.fine))
			last = t.p.x + float64(j)*t.p.fine
			i = j
		}
	}
	return fmt.Sprintf(`<path class="%s" stroke-width="%s" shape-rendering="crispEdges" d="%s"/>`+"\n", class, short(t.p.fine), d.String())
}

func short(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// roads draws all roads, the fast ones as lines; streets too, if there is no texture.
func (p *pane) roads() string {
	var lines strings.Builder
	var streets *texture
	if p.fine > 0 {
		streets = p.texture()
	}
	fast := [classes - 2]strings.Builder{}
	for a := range graph.ArcID(p.n.g.Arcs()) {
		u, v := p.n.g.Tail(a), p.n.g.Head(a)
		if u >= v {
			continue
		}
		x, y := p.node(u)
		x2, y2 := p.node(v)
		if min(x, x2) < p.x || max(x, x2) > p.x+p.width || min(y, y2) < p.y || max(y, y2) > p.y+p.height {
			continue
		}
		into := &lines
		if c := p.n.class[a]; int(c) < len(fast) {
			into = &fast[c]
		} else if streets != nil {
			streets.line(u, v)
			continue
		}
		fmt.Fprintf(into, "M%s %sL%s %s", short(x), short(y), short(x2), short(y2))
	}
	out := fmt.Sprintf(`<path class="street" d="%s"/>`+"\n", lines.String())
	if streets != nil {
		out = streets.path("street")
	}
	for c := range fast {
		out += fmt.Sprintf(`<path class="fast" d="%s"/>`+"\n", fast[c].String())
	}
	return out
}

// apart returns the arcs that only one of two paths has.
func apart(one, other []graph.ArcID) (list []graph.ArcID) {
	times := map[graph.ArcID]int{}
	for _, a := range append(slices.Clone(one), other...) {
		times[a]++
	}
	for a, n := range times {
		if n == 1 {
			list = append(list, a)
		}
	}
	return list
}

// way draws a path, as far as it is in the box.
func (p *pane) way(class string, path []graph.ArcID) string {
	var d strings.Builder
	inside := func(x, y float64) bool { return x >= p.x && x <= p.x+p.width && y >= p.y && y <= p.y+p.height }
	pen := false
	for _, a := range path {
		x, y := p.node(p.n.g.Tail(a))
		x2, y2 := p.node(p.n.g.Head(a))
		if !inside(x, y) || !inside(x2, y2) {
			pen = false
			continue
		}
		if !pen {
			fmt.Fprintf(&d, "M%s %s", short(x), short(y))
		}
		pen = true
		fmt.Fprintf(&d, "L%s %s", short(x2), short(y2))
	}
	return fmt.Sprintf(`<path class="%s" d="%s"/>`+"\n", class, d.String())
}

func (p *pane) end(u graph.NodeID) string {
	x, y := p.node(u)
	if x < p.x || x > p.x+p.width || y < p.y || y > p.y+p.height {
		return ""
	}
	return fmt.Sprintf(`<circle class="end" cx="%s" cy="%s" r="4"/>`+"\n", short(x), short(y))
}

const style = `<style>
.paper { fill: #fffefb } .ink { fill: #262420 } .soft { fill: #6a655c } .water { fill: #f1ede5 }
path { fill: none; stroke-linejoin: round }
.street { stroke: #d8d1c3; stroke-width: 1 } .fast { stroke: #a79f8f; stroke-width: 1.1; stroke-linecap: round } .seen { stroke: #d98a63 } .over { stroke: #8a5a43 }
.old { stroke: #2f6690; stroke-width: 5; stroke-linecap: round } .new { stroke: #a8431c; stroke-width: 3.5; stroke-linecap: round } .jam { stroke: #262420; stroke-width: 9; stroke-linecap: butt; stroke-dasharray: 2 3 }
.thin { stroke: #8a5a43; stroke-width: .5 } .halo { paint-order: stroke; stroke: #fffefb; stroke-width: 4; stroke-linejoin: round }
.route { stroke: #262420; stroke-width: 1.8 } .end { fill: #fffefb; stroke: #262420; stroke-width: 2 } .dot { fill: #a8431c } .bar { fill: #cfc8ba } .tick { stroke: #a8431c; stroke-width: 2 } .grid { stroke: #e2ddd3 }
</style>
`

func drawing(width, height float64, label string, body string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="system-ui, 'Liberation Sans', sans-serif" font-size="13" role="img" aria-label="%s">
%s<rect class="paper" width="100%%" height="100%%"/>
%s</svg>
`, width, height, label, style, body)
}

func text(x, y float64, class, format string, args ...any) string {
	size := ""
	if class == "title" {
		class, size = "ink", ` font-size="17" font-weight="600"`
	}
	return fmt.Sprintf(`<text class="%s" x="%s" y="%s"%s>%s</text>`+"\n", class, short(x), short(y), size, fmt.Sprintf(format, args...))
}

// A searched is the nodes that a search has looked at.
type searched struct {
	name  string
	nodes []graph.NodeID
	few   bool // drawn one by one
}

// drawSearches draws which nodes each search has looked at.
func drawSearches(n *network, t trip, path []graph.ArcID, list []searched) string {
	const gap, top, width = 14, 84, 238
	var b strings.Builder
	b.WriteString(text(gap, 30, "title", "Where each search looks: %s", t.name))
	first := newPane(n, n.box(), gap, top, width, 1.7)
	fmt.Fprintf(&b, `<defs><g id="roads"><rect class="water" x="%d" y="%d" width="%d" height="%s"/>%s</g></defs>`+"\n", gap, top, width, short(first.height), first.roads())
	for i, s := range list {
		p := newPane(n, n.box(), float64(gap+i*(width+gap)), top, width, 1.7)
		b.WriteString(text(p.x, top-28, "ink", "%s", s.name))
		b.WriteString(text(p.x, top-10, "soft", "%s nodes", num(len(s.nodes))))
		fmt.Fprintf(&b, `<use href="#roads" x="%s"/>`+"\n", short(p.x-first.x))
		seen := p.texture()
		for _, u := range s.nodes {
			if !s.few {
				seen.dot(u)
				continue
			}
			x, y := p.node(u)
			fmt.Fprintf(&b, `<circle class="dot" cx="%s" cy="%s" r="1.6"/>`+"\n", short(x), short(y))
		}
		if !s.few {
			b.WriteString(seen.path("seen"))
		}
		b.WriteString(p.way("route", path) + p.end(t.from) + p.end(t.to))
	}
	return drawing(float64(gap+len(list)*(width+gap)), top+first.height+gap, "Nodes that Dijkstra, a search from both ends, A* and a hierarchy look at for one route", b.String())
}

// A layer is a sparse graph: the nodes of a level and above.
type layer struct {
	name  string
	level int
	nodes int
	arcs  []graph.OverlayArc
}

// drawLevels draws how many nodes each level has, how high three routes climb, and the
// sparse graphs.
func drawLevels(n *network, levels []int, trips [3]trip, highest [3]int, layers []layer) string {
	const gap, top, width, chart = 14, 70, 322, 190
	var b strings.Builder
	b.WriteString(text(gap, 30, "title", "Levels of the hierarchy of %s, and how many nodes each has", n.name))
	most := math.Log10(float64(levels[0]))
	total := float64(3*width + 2*gap)
	x := func(level int) float64 { return gap + float64(level)/float64(len(levels))*total }
	y := func(nodes int) float64 { return top + chart - math.Log10(max(1, float64(nodes)))/most*chart }
	for v := 1; v <= levels[0]; v *= 10 {
		fmt.Fprintf(&b, `<path class="grid" d="M%d %sh%s"/>`+"\n", gap, short(y(v)), short(total))
		fmt.Fprintf(&b, `<text class="soft" x="%s" y="%s" text-anchor="end">%s</text>`+"\n", short(gap+total), short(y(v)-3), num(v))
	}
	for i, nodes := range levels {
		h := max(y(0)-y(nodes), 1)
		fmt.Fprintf(&b, `<rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", x(i)+0.5, y(0)-h, total/float64(len(levels))-1, h)
	}
	for i := range trips {
		fmt.Fprintf(&b, `<path class="tick" d="M%.1f %dV%d"/>`+"\n", x(highest[i])+total/float64(len(levels))/2, top+4+i*22, top+chart)
	}
	for i, t := range trips {
		fmt.Fprintf(&b, `<text class="ink halo" x="%.1f" y="%d" text-anchor="end">%s: up to level %d</text>`+"\n", x(highest[i])+total/float64(len(levels))/2-6, top+15+i*22, t.name, highest[i])
	}
	b.WriteString(text(gap, top+chart+18, "soft", "level 0"))
	below := float64(top + chart + 78)
	height := 0.0
	for i, l := range layers {
		p := newPane(n, n.box(), float64(gap+i*(width+gap)), below, width, 1.7)
		height = p.height
		b.WriteString(text(p.x, below-28, "ink", "%s: level %d and above", l.name, l.level))
		b.WriteString(text(p.x, below-10, "soft", "%s nodes, %s arcs", num(l.nodes), num(len(l.arcs))))
		fmt.Fprintf(&b, `<rect class="water" x="%s" y="%s" width="%d" height="%s"/>`+"\n", short(p.x), short(p.y), width, short(p.height))
		if i < len(layers)-1 {
			p.fine = 1.8
			nodes := p.texture()
			for _, a := range l.arcs {
				nodes.dot(a.Tail)
				nodes.dot(a.Head)
			}
			b.WriteString(nodes.path("over"))
			continue
		}
		var d strings.Builder
		drawn := map[[2]graph.NodeID]bool{}
		for _, a := range l.arcs {
			ends := [2]graph.NodeID{min(a.Tail, a.Head), max(a.Tail, a.Head)}
			if !drawn[ends] {
				drawn[ends] = true
				x, y := p.node(a.Tail)
				x2, y2 := p.node(a.Head)
				fmt.Fprintf(&d, "M%s %sL%s %s", short(x), short(y), short(x2), short(y2))
			}
		}
		fmt.Fprintf(&b, `<path class="thin" d="%s"/>`+"\n", d.String())
	}
	return drawing(total+2*gap, below+height+gap, "How many nodes each level of the hierarchy has, and its sparse graphs", b.String())
}

// drawJam draws the way before the jam and the one around it.
func drawJam(n *network, t trip, before, after, jam []graph.ArcID, captions [2]string) string {
	const gap, top, width = 14, 92, 620
	p := newPane(n, n.around(before, after), gap, top, width, 3)
	if differ := apart(before, after); len(differ) > 0 {
		p = newPane(n, n.around(differ, jam), gap, top, width, 0)
	}
	var b strings.Builder
	b.WriteString(text(gap, 30, "title", "The jam (hatched), and the way around it"))
	for i, class := range []string{"old", "new"} {
		fmt.Fprintf(&b, `<path class="%s" d="M%d %dh26"/>`+"\n", class, gap, 51+22*i)
		b.WriteString(text(gap+34, float64(56+22*i), "ink", "%s", captions[i]))
	}
	fmt.Fprintf(&b, `<rect class="water" x="%d" y="%d" width="%d" height="%s"/>`+"\n", gap, top, width, short(p.height))
	b.WriteString(p.roads() + p.way("jam", jam) + p.way("old", before) + p.way("new", after) + p.end(t.from) + p.end(t.to))
	return drawing(width+2*gap, top+p.height+gap, "The way before the jam, and around it", b.String())
}

func (s *story) draw(name string, svg func() string) error {
	if s.svg == "" {
		return nil
	}
	if err := os.MkdirAll(s.svg, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.svg, name), []byte(svg()), 0o644)
}
