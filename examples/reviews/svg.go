package main

import (
	"fmt"
	"strings"
)

// drawDrift draws the drift of each way over the week.
func drawDrift(hours []hour) string {
	const width, height, left, right, top, bottom = 980, 420, 70, 20, 86, 56
	most := 0.0
	for _, h := range hours {
		for _, d := range h.drift {
			most = max(most, d.mean)
		}
	}
	most *= 1.05
	x := func(i int) float64 { return left + float64(i)/float64(len(hours)-1)*(width-left-right) }
	y := func(v float64) float64 { return height - bottom - v/most*(height-top-bottom) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, 'Liberation Sans', sans-serif" font-size="13" role="img" aria-label="How far shown ratings are from the truth, over a week">
<style>
.paper { fill: #fffefb } .ink { fill: #262420 } .soft { fill: #6a655c } .grid { stroke: #e2ddd3 } .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.w0 { stroke: #a8431c } .w1 { stroke: #2f6690 } .w2 { stroke: #262420; stroke-dasharray: 2 4 } .w3 { stroke: #7a7264; stroke-dasharray: 7 4 }
</style>
<rect class="paper" width="100%%" height="100%%"/>
<text class="ink" x="%d" y="28" font-size="17" font-weight="600">How far shown stars are from the truth, on average</text>
`, width, height, left)
	at := left
	for i, name := range wayNames {
		fmt.Fprintf(&b, `<path class="line w%d" d="M%d 52h26"/><text class="ink" x="%d" y="56">%s</text>`+"\n", i, at, at+32, name)
		at += 56 + 7*len(name)
	}
	step := 0.05
	for most/step > 8 {
		step *= 2
	}
	for v := 0.0; v <= most; v += step {
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fH%d"/><text class="soft" x="%d" y="%.1f" text-anchor="end">%.2f</text>`+"\n", left, y(v), width-right, left-8, y(v)+4, v)
	}
	for i := 0; i < len(hours); i += 24 {
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %dV%d"/><text class="soft" x="%.1f" y="%d">%s</text>`+"\n", x(i), top, height-bottom, x(i)+4, height-bottom+20, hours[i].String()[:3])
	}
	for way := range ways {
		var d strings.Builder
		for i, h := range hours {
			fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], x(i), y(h.drift[way].mean))
		}
		fmt.Fprintf(&b, `<path class="line w%d" d="%s"/>`+"\n", way, d.String())
	}
	b.WriteString("</svg>\n")
	return b.String()
}
