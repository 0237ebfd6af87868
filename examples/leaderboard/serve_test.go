package main

import (
	"fmt"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the live page as a visitor would: it looks at both lists, sees rows
// change places, and kills the consumer.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	v, err := startLive(t.Context(), "", 3000)
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	url, stop := browser.Serve(t, v.serve)
	defer stop()

	b.Open(url)
	b.WaitState("html", "data-live", "open")
	b.Wait(`document.querySelectorAll("#board li").length === 10`)
	// From here on every state is remembered.
	browser.Eval[bool](b, `(() => {
		window.seen = [];
		new EventSource("events").onmessage = (e) => window.seen.push(JSON.parse(e.data));
		return true;
	})()`)

	// Ranks move: rows slide, and say so.
	b.Wait(`Number(document.querySelector("#board").dataset.slid) > 10`)
	b.Wait(`document.querySelector('#board li[data-move="up"] .move')?.textContent.startsWith("▲")`)
	b.Wait(`Number(document.querySelector('[data-text="counted"]').dataset.value) > 10000`)
	b.Screenshot("leaderboard")

	// This minute is another list, with smaller counts.
	all := browser.Eval[int](b, `Number(document.querySelector("#board li").dataset.count)`)
	b.Click(`[data-tab="minute"]`)
	b.WaitState("#board", "data-shows", "minute")
	b.Wait(`document.querySelectorAll("#board li").length === 10`)
	b.Screenshot("leaderboard-minute")
	// By keyboard back again.
	browser.Eval[bool](b, `document.querySelector('[data-tab="minute"]').focus() ?? true`)
	b.Press("\u0302") // left arrow
	b.WaitState("#board", "data-shows", "all")

	// The consumer is killed: the board stands still, plays still come in, and another
	// process goes on.
	pid := b.Text("#pid")
	b.Click("#kill")
	b.WaitText(`[data-text="consumer"]`, "dead")
	b.Wait(`seen.filter((s) => s.consumer.text === "dead").length > 4`)
	b.Screenshot("leaderboard-killed")
	b.Wait(fmt.Sprintf(`!["", "–", %q].includes(document.querySelector("#pid").textContent)`, pid))
	b.WaitText(`[data-text="consumer"]`, "counts")
	b.WaitText(`[data-text="kills"]`, "1")
	counted := browser.Eval[int](b, `seen.at(-1).counted`)
	b.Wait(fmt.Sprintf(`seen.at(-1).counted > %d + 6000`, counted))

	// In all that was shown: what is counted only grows, is never more than was taken
	// in, and is what an exact count of the same plays says; and each count on the board
	// is no less than the exact one and at most ε above it; what is listed for a minute was
	// played in it.
	type check struct {
		States, Dead, Fell, Above, Wrong, Low, High, Ghost int
		First                                              int
	}
	c := browser.Eval[check](b, fmt.Sprintf(`(() => {
		const c = { States: seen.length, Dead: 0, Fell: 0, Above: 0, Wrong: 0, Low: 0, High: 0, Ghost: 0, First: seen.at(-1).tabs.all[0].count };
		seen.forEach((s, i) => {
			if (s.consumer.text === "dead") c.Dead++;
			if (i > 0 && s.counted < seen[i - 1].counted) c.Fell++;
			if (s.counted > s.played) c.Above++;
			if (s.counted !== s.total || s.wrong.text !== 0) c.Wrong++;
			for (const p of s.tabs.all) {
				if (p.count < p.exact) c.Low++;
				if (p.count > p.exact + Math.E / %d * s.total) c.High++;
			}
			for (const p of s.tabs.minute) if (p.exact === 0) c.Ghost++;
		});
		return c;
	})()`, sketchWidth))
	if c.States < 20 || c.Dead == 0 {
		t.Errorf("%d states, %d of a dead consumer: too few to tell", c.States, c.Dead)
	}
	if c.Fell+c.Above+c.Wrong+c.Low+c.High+c.Ghost != 0 {
		t.Errorf("%+v: counts jumped, or are wrong", c)
	}
	if c.First <= all {
		t.Errorf("the first has %d plays, and had %d before", c.First, all)
	}
	b.Dark(true)
	b.Screenshot("leaderboard-dark")
	b.Dark(false)
	for _, width := range []int64{390, 320} {
		b.Viewport(width, 844)
		if n := browser.Eval[int](b, "document.documentElement.scrollWidth"); n > int(width) {
			t.Errorf("at %d pixels the page is %d wide", width, n)
		}
	}
	b.Viewport(390, 844)
	b.Screenshot("leaderboard-narrow")
}
