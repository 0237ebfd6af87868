package main

import (
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the live page as a visitor would: asks for a ride by a click and by the
// keyboard, chooses a policy, and kills the server.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	v, err := startLive(t.Context(), 200)
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	url, stop := browser.Serve(t, v.serve)
	defer stop()
	b.Open(url)
	b.WaitState("html", "data-live", "open")
	browser.Eval[bool](b, `(() => {
		window.seen = [];
		new EventSource("events").onmessage = (e) => window.seen.push(JSON.parse(e.data));
		return true;
	})()`)
	// All phones have reported, and the cars move.
	b.Wait(`seen.length > 0 && seen.at(-1).known.text === 200 && Number(document.querySelector("#city").dataset.cars) === 200`)
	b.Wait(`JSON.stringify(seen.at(-1).cars) !== JSON.stringify(seen[0].cars)`)

	click := `(() => {
		const c = document.querySelector("#city"), r = c.getBoundingClientRect();
		c.dispatchEvent(new MouseEvent("click", { bubbles: true, clientX: r.left + r.width / 2, clientY: r.top + r.height / 2 }));
		return true;
	})()`
	browser.Eval[bool](b, click)
	b.Wait(`seen.at(-1).number === 1 && seen.at(-1).rides.length === 1 && seen.at(-1).rides[0].line.length > 0`)
	b.Wait(`/Car \d+ comes/.test(document.querySelector("[data-said]").textContent)`)
	b.Screenshot("rideshare")
	// The car comes to the rider and brings them there.
	b.Wait(`seen.some((s) => s.rides.some((r) => r.in))`)

	// By keyboard from another place, by another policy.
	browser.Eval[bool](b, `(() => { document.querySelector("#which").value = "3"; return true; })()`)
	b.Click("#policy button")
	b.WaitText(`[data-text="policy"]`, "best rated within 5 min")
	browser.Eval[bool](b, `document.querySelector("#city").focus() ?? true`)
	b.Press("\u0302") // left arrow
	b.Press("\r")
	b.Wait(`seen.at(-1).number === 2`)

	// The server is killed: nobody is known, then all come back.
	b.Click("#kill")
	b.Wait(`seen.at(-1).known.text === 0`)
	b.Screenshot("rideshare-killed")
	b.Wait(`seen.at(-1).known.text === 200 && seen.at(-1).open >= 200 && seen.at(-1).tries > 0`)
	b.Wait(`document.querySelector('[data-trace="events"]').textContent.includes("knows nobody")`)
	b.Dark(true)
	b.Screenshot("rideshare-dark")
	b.Dark(false)
	for _, width := range []int64{390, 320} {
		b.Viewport(width, 844)
		if n := browser.Eval[int](b, "document.documentElement.scrollWidth"); n > int(width) {
			t.Errorf("at %d pixels the page is %d wide", width, n)
		}
	}
	b.Viewport(390, 844)
	b.Screenshot("rideshare-narrow")
}
