package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
	"github.com/ashlar-go/ashlar/graph"
)

// pointer lets the pointer go over places on the page, given as JavaScript arrays.
func pointer(b *browser.Browser, places ...string) {
	browser.Eval[bool](b, fmt.Sprintf(`(() => {
		const list = [%s], map = document.getElementById("map");
		const send = (type, [clientX, clientY]) => map.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: 1, button: 0, clientX, clientY }));
		send("pointerdown", list[0]);
		for (const p of list.slice(1)) send("pointermove", p);
		send("pointerup", list.at(-1));
		return true;
	})()`, strings.Join(places, ",")))
}

// TestPage uses the map as a visitor would: by clicks, with the brush, by its buttons, and
// by keys alone.
func TestPage(t *testing.T) {
	t.Parallel()
	b := browser.Start(t)
	n, err := openEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	v, err := newLive(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	url, stop := browser.Serve(t, v.serve)
	defer stop()
	b.Viewport(1280, 900)
	b.Open(url)
	b.WaitState("html", "data-live", "open")
	b.WaitState("#map", "data-ready", "yes")
	browser.Eval[bool](b, `(() => {
		window.seen = [];
		new EventSource("events").onmessage = (e) => window.seen.push(JSON.parse(e.data));
		return true;
	})()`)
	b.Wait(`seen.length > 0 && seen.at(-1).now.path.length > 100`)
	b.Screenshot("maps")

	// Two clicks: the first sets the start, the second the target.
	pointer(b, `onMap(40.758, -73.9855)`)
	b.Wait(`Math.abs(seen.at(-1).from[0] - 40.758) < 0.003`)
	pointer(b, `onMap(40.6602, -73.969)`)
	b.Wait(`Math.abs(seen.at(-1).to[0] - 40.6602) < 0.003`)
	q := v.base.NewQuery()
	want := func() string {
		v.mu.Lock()
		defer v.mu.Unlock()
		d, err := q.Distance(v.from, v.to)
		if err != nil {
			t.Fatal(err)
		}
		return eta(d)
	}
	b.WaitText("#eta", want())
	b.WaitText("#eta-stay", want())

	// A brush over the middle of the way closes it, and there is another.
	b.Click(`[data-zoom="fit"]`)
	b.Click(`[data-tool="closed"]`)
	b.WaitState("#map", "data-tool", "closed")
	pointer(b, `onMapNode(seen.at(-1).now.path[60])`, `onMapNode(seen.at(-1).now.path[61])`, `onMapNode(seen.at(-1).now.path[62])`)
	b.WaitText("#eta-stay", "closed")
	b.Wait(`!seen.at(-1).same && seen.at(-1).now.millis > seen.at(-1).before.millis && seen.at(-1).closed.length > 0`)
	agree(t, v)
	b.Screenshot("maps-closed")

	// Freed by the same brush strokes, wherever they were.
	b.Click("#clear")
	b.Wait(`seen.at(-1).painted === 0 && seen.at(-1).same`)
	b.WaitText("#eta", want())

	// Between places with names, and a jam where it hurts.
	b.Click(`[data-tool="move"]`)
	b.Wait(`["from", "to"].every((id, i) => document.getElementById(id).value === seen.at(-1).names[i])`)
	browser.Eval[bool](b, `(() => {
		document.getElementById("from").value = "Van Cortlandt Park";
		document.getElementById("to").value = "JFK Airport";
		return true;
	})()`)
	b.Click("#places button")
	b.Wait(`Math.abs(seen.at(-1).to[0] - 40.6446) < 0.01`)
	b.Click(`[data-zoom="fit"]`)
	b.Click("#jam")
	b.Wait(`seen.at(-1).slow.length > 3 && !seen.at(-1).same`)
	agree(t, v)
	b.Wait(`document.querySelector('[data-trace="events"]').textContent.includes("are slow")`)
	b.Screenshot("maps-jam")

	// What each search looked at.
	for _, name := range []string{nameDijkstra, nameCustomizable} {
		browser.Eval[bool](b, fmt.Sprintf(`(() => {
			const look = document.getElementById("look-name");
			look.value = %q;
			look.dispatchEvent(new Event("change", { bubbles: true }));
			return true;
		})()`, name))
		b.Wait(fmt.Sprintf(`seen.at(-1).looks === %q && Number(document.getElementById("map").dataset.seen) === seen.at(-1).seen && seen.at(-1).seen > 0`, name))
		b.Screenshot("maps-" + strings.ToLower(name))
	}
	if got, most := browser.Eval[int](b, `seen.at(-1).seen`), n.g.Nodes()/50; got > most {
		t.Errorf("the hierarchy looked at %d nodes, want at most %d", got, most)
	}

	// Snow changes all roads, and the jam stays.
	before := browser.Eval[int](b, `seen.at(-1).before.millis`)
	b.Click("#snow")
	b.Wait(fmt.Sprintf(`seen.at(-1).snow && seen.at(-1).before.millis > %d && seen.at(-1).slow.length > 3`, before))
	agree(t, v)
	b.Click("#snow")
	b.Wait(fmt.Sprintf(`!seen.at(-1).snow && seen.at(-1).before.millis === %d`, before))

	// By keys alone: the place in the middle of the map, the road nearest to it.
	b.Click("#clear")
	b.Wait(`seen.at(-1).painted === 0`)
	browser.Eval[bool](b, `(document.getElementById("map").focus({ focusVisible: true }), true)`)
	scale := browser.Eval[float64](b, `onMap(40.8, -73.9)[0] - onMap(40.7, -73.95)[0]`)
	b.Press("+")
	b.Wait(fmt.Sprintf(`onMap(40.8, -73.9)[0] - onMap(40.7, -73.95)[0] > %g`, scale*1.3))
	b.Press("s")
	b.Wait(`(() => {
		const r = document.getElementById("map").getBoundingClientRect(), [x, y] = onMap(...seen.at(-1).from);
		return Math.hypot(x - r.left - r.width / 2, y - r.top - r.height / 2) < 60;
	})()`)
	b.Press("+")
	b.Press("+")
	b.Press("+")
	b.Press("+")
	browser.Eval[bool](b, `(document.activeElement.id === "map") || (() => { throw new Error("the focus is lost"); })()`)
	b.Press("x")
	b.Wait(`seen.at(-1).closed.length === 1`)
	b.Screenshot("maps-keys")
	b.Press("f")
	b.Wait(`seen.at(-1).painted === 0`)
	b.Press("0")

	b.Click("#jam")
	b.Wait(`seen.at(-1).slow.length > 3`)
	b.Dark(true)
	b.Screenshot("maps-dark")
	b.Dark(false)
	for _, width := range []int64{390, 320} {
		b.Viewport(width, 844)
		if n := browser.Eval[int](b, "document.documentElement.scrollWidth"); n > int(width) {
			t.Errorf("at %d pixels the page is %d wide", width, n)
		}
	}
	b.Viewport(390, 844)
	b.Click(`[data-zoom="fit"]`)
	b.Screenshot("maps-narrow")
	// Whatever was shown, all searches agreed.
	if n := browser.Eval[int](b, `seen.filter((s) => s.search.some((r) => r.name.text)).length`); n != 0 {
		t.Errorf("in %d states searches disagree", n)
	}
}

// agree checks the metric of the moment against Dijkstra's algorithm.
func agree(t *testing.T, v *live) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.live.Metric()
	weights := make([]uint32, v.n.g.Arcs())
	for a := range weights {
		weights[a] = m.Weight(graph.ArcID(a))
		if weights[a] != v.weightLocked(graph.ArcID(a)) {
			t.Fatalf("arc %d weighs %d, want %d", a, weights[a], v.weightLocked(graph.ArcID(a)))
		}
	}
	want, _, err := graph.Dijkstra(v.n.g, weights, v.from, v.to)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.NewQuery().Distance(v.from, v.to); got != want || err != nil {
		t.Errorf("from %d to %d it is %d, %v, want %d", v.from, v.to, got, err, want)
	}
}

// Commands refuse what they cannot do, and then change nothing.
func TestBadCommands(t *testing.T) {
	v, err := newLive(t.Context(), grid(t, 6))
	if err != nil {
		t.Fatal(err)
	}
	was := v.live.Metric()
	form := func(pairs ...string) map[string][]string {
		f := map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			f[pairs[i]] = []string{pairs[i+1]}
		}
		return f
	}
	many := strings.Repeat("0,", mostPainted+1)
	for _, f := range []map[string][]string{
		form(), form("how", "blue", "roads", "1"), form("how", paintSlow, "roads", "x"), form("how", paintSlow, "roads", "-1"),
		form("how", paintSlow, "roads", strconv.Itoa(len(v.roads))), form("how", paintSlow, "roads", many),
	} {
		if said, err := v.doPaint(t.Context(), f); err == nil {
			t.Errorf("paint %v: %q, want an error", f["how"], said)
		}
	}
	for _, f := range []map[string][]string{form(), form("lat", "91", "lon", "0", "end", "from"), form("lat", "NaN", "lon", "0", "end", "to"), form("lat", "0", "lon", "0", "end", "both")} {
		if said, err := v.doRoute(t.Context(), f); err == nil {
			t.Errorf("route %v: %q, want an error", f, said)
		}
	}
	if said, err := v.doLook(t.Context(), form("name", "under the bed")); err == nil {
		t.Errorf("look: %q, want an error", said)
	}
	for _, f := range []map[string][]string{form("from", "Atlantis", "to", "JFK Airport"), form("from", "Times Square", "to", "JFK Airport")} {
		if said, err := v.doPlaces(t.Context(), f); err == nil {
			t.Errorf("places %v: %q, want an error", f, said)
		}
	}
	if v.live.Metric() != was || len(v.painted) != 0 {
		t.Error("something has changed")
	}
	// All roads closed: there is no way, and that is said.
	all := []string{}
	for i := range v.roads {
		all = append(all, strconv.Itoa(i))
	}
	said, err := v.doPaint(t.Context(), form("how", paintClosed, "roads", strings.Join(all, ",")))
	if err != nil || said != "There is no way." {
		t.Errorf("%q, %v", said, err)
	}
	if said, err := v.doJam(t.Context(), nil); err == nil {
		t.Errorf("jam: %q, want an error", said)
	}
	if _, err := v.doLook(t.Context(), form("name", nameAStar)); err != nil {
		t.Error(err)
	}
	if _, err := v.doClear(t.Context(), nil); err != nil || v.live.Metric().Weight(0) != was.Weight(0) {
		t.Errorf("%v, weight %d", err, v.live.Metric().Weight(0))
	}
}
