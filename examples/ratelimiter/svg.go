package main

import (
	"fmt"
	"html"
	"strings"
	"time"
)

// A lane is what became of a trace under one policy.
type lane struct {
	name     string
	asked    trace
	admitted trace
	most     int // in a second
}

// drawLanes draws when requests were let through, one policy below the other. All lanes
// have the same trace.
func drawLanes(lanes []lane) string {
	const width, left, right, top, each = 900, 150, 150, 84, 62
	height := top + each*len(lanes) + 40
	begin, end := 940*time.Millisecond, 1060*time.Millisecond
	x := func(t time.Duration) float64 {
		return left + float64(t-begin)/float64(end-begin)*(width-left-right)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, 'Liberation Sans', sans-serif" font-size="13" role="img" aria-label="The same burst under all policies">
<style>
.paper { fill: #fffefb } .ink { fill: #262420 } .soft { fill: #6a655c } .grid { stroke: #e2ddd3 } .edge { stroke: #262420; stroke-dasharray: 3 3 } .yes { stroke: #a8431c; stroke-width: 1.1 } .no { stroke: #cfc8ba; stroke-width: 1 }
</style>
<rect class="paper" width="100%%" height="100%%"/>
<text class="ink" x="%d" y="28" font-size="17" font-weight="600">300 requests around the boundary of a second; the limit is 100 in a second</text>
<path class="yes" d="M%d 44v14m4 -14v14m4 -14v14"/><text class="ink" x="%d" y="56">let through</text>
<path class="no" d="M%d 48v6m4 -6v6m4 -6v6"/><text class="ink" x="%d" y="56">refused</text>
<text class="soft" x="%d" y="56" text-anchor="end">in the worst second</text>
`, width, height, left, left, left+18, left+120, left+138, width-8)
	for i, l := range lanes {
		y := top + i*each
		fmt.Fprintf(&b, `<text class="ink" x="%d" y="%d" text-anchor="end">%s</text><path class="grid" d="M%d %dH%d"/>`+"\n", left-14, y+30, html.EscapeString(l.name), left, y+42, width-right)
		var yes, no strings.Builder
		next := 0
		for _, at := range l.asked {
			if next < len(l.admitted) && l.admitted[next] == at {
				next++
				fmt.Fprintf(&yes, "M%.1f %dv-32", x(at), y+42)
			} else {
				fmt.Fprintf(&no, "M%.1f %dv-8", x(at), y+42)
			}
		}
		fmt.Fprintf(&b, `<path class="no" d="%s"/><path class="yes" d="%s"/>`+"\n", no.String(), yes.String())
		fmt.Fprintf(&b, `<text class="ink" x="%d" y="%d" text-anchor="end" font-size="20" font-weight="600">%d</text>`+"\n", width-8, y+36, l.most)
	}
	bottom := top + each*len(lanes)
	fmt.Fprintf(&b, `<path class="edge" d="M%.1f %dV%d"/>`+"\n", x(time.Second), top-8, bottom)
	for _, t := range []time.Duration{950, 975, 1000, 1025, 1050} {
		fmt.Fprintf(&b, `<text class="soft" x="%.1f" y="%d" text-anchor="middle">%.3f s</text>`+"\n", x(t*time.Millisecond), bottom+18, (t * time.Millisecond).Seconds())
	}
	b.WriteString("</svg>\n")
	return b.String()
}
