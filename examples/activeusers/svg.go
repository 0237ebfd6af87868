package main

import (
	"fmt"
	"math"
	"strings"
)

// drawCurve draws the points as two panels, error and bytes, over the number of users.
// All axes are logarithmic.
func drawCurve(points []curvePoint) string {
	var b strings.Builder
	const width, height, panel, left, top = 980, 430, 350, 108, 92
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, 'Liberation Sans', sans-serif" font-size="13" role="img" aria-label="Relative error and bytes of four ways to count users">
<style>
.paper { fill: #fffefb } .ink { fill: #262420 } .soft { fill: #6a655c } .grid { stroke: #e2ddd3 } .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.a { stroke: #a8431c } .b { stroke: #2f6690 } .c { stroke: #7a7264; stroke-dasharray: 7 4 } .d { stroke: #262420; stroke-dasharray: 2 4 }
</style>
<rect class="paper" width="100%%" height="100%%"/>
<text class="ink" x="%d" y="28" font-size="17" font-weight="600">Counting different users: error and memory, measured over %d runs</text>
`, width, height, left, points[0].runs)
	series := []struct {
		class, name string
		errorOf     func(p curvePoint) float64
		bytes       func(p curvePoint) float64
	}{
		{"c", "one register (rightmost zeros)", func(p curvePoint) float64 { return p.rightmost }, func(p curvePoint) float64 { return float64(p.oneBytes) }},
		{"b", fmt.Sprintf("HyperLogLog, p = %d", precision), func(p curvePoint) float64 { return p.sketch }, func(p curvePoint) float64 { return float64(p.sketchBytes) }},
		{"a", fmt.Sprintf("ExaLogLog, p = %d", exaPrecision), func(p curvePoint) float64 { return p.exa }, func(p curvePoint) float64 { return float64(p.exaBytes) }},
		{"d", "exact (4 bytes an id; error 0)", nil, func(p curvePoint) float64 { return float64(p.exactBytes) }},
	}
	x := left
	for _, s := range series {
		fmt.Fprintf(&b, `<path class="line %s" d="M%d 50h26"/><text class="ink" x="%d" y="54">%s</text>`+"\n", s.class, x, x+32, s.name)
		x += 52 + 7*len(s.name)
	}
	lastN := math.Log10(float64(points[len(points)-1].n))
	draw := func(x0 int, title string, lo, hi int, label func(e int) string, value func(i int) func(p curvePoint) float64) {
		X := func(n int) float64 { return float64(x0) + (math.Log10(float64(n))-1)/(lastN-1)*panel }
		Y := func(v float64) float64 {
			e := min(max(math.Log10(max(v, 1e-300)), float64(lo)), float64(hi))
			return top + (float64(hi)-e)/float64(hi-lo)*float64(height-top-56)
		}
		fmt.Fprintf(&b, `<text class="soft" x="%d" y="%d">%s</text>`+"\n", x0, top-8, title)
		for e := lo; e <= hi; e++ {
			y := Y(math.Pow(10, float64(e)))
			fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fh%d"/><text class="soft" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", x0, y, panel, x0-8, y+4, label(e))
		}
		for n := 10; n <= points[len(points)-1].n; n *= 10 {
			fmt.Fprintf(&b, `<path class="grid" d="M%.1f %d v%d"/><text class="soft" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", X(n), top, height-top-56, X(n), height-36, short(n))
		}
		fmt.Fprintf(&b, `<text class="soft" x="%d" y="%d" text-anchor="end">different users</text>`+"\n", x0+panel, height-14)
		for i, s := range series {
			f := value(i)
			if f == nil {
				continue
			}
			var d strings.Builder
			for k, p := range points {
				fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(k, 1)], X(p.n), Y(f(p)))
			}
			fmt.Fprintf(&b, `<path class="line %s" d="%s"/>`+"\n", s.class, d.String())
		}
	}
	draw(left, "relative error (root mean square)", -4, 2,
		func(e int) string {
			if e == -4 {
				return "0.01 % or less"
			}
			return fmt.Sprintf("%g %%", math.Pow(10, float64(e+2)))
		},
		func(i int) func(curvePoint) float64 { return series[i].errorOf })
	draw(left+panel+110, "bytes in memory", 0, 7,
		func(e int) string {
			return [...]string{"1 B", "10 B", "100 B", "1 kB", "10 kB", "100 kB", "1 MB", "10 MB"}[e]
		},
		func(i int) func(curvePoint) float64 { return series[i].bytes })
	b.WriteString("</svg>\n")
	return b.String()
}

func short(n int) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%g M", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%g k", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}
