package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the live page as a visitor would: searches by a beginning of a word, walks
// to another place by a click, and loses the consumers.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	v, err := startLive(t.Context(), 20_000)
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	url, stop := browser.Serve(t, func(ctx context.Context, l net.Listener) error { return v.serve(ctx, l, 100*time.Millisecond) })
	defer stop()
	b.Open(url)
	b.WaitState("html", "data-live", "open")
	browser.Eval[bool](b, `(() => {
		window.seen = [];
		new EventSource("events").onmessage = (e) => window.seen.push(JSON.parse(e.data));
		return true;
	})()`)
	// Some hours on, there are places with stars by stream, and the night is behind.
	b.Wait(`seen.length > 0 && seen.at(-1).batches >= 1 && seen.at(-1).night.text > 0`)
	b.Wait(`document.querySelectorAll("#city circle").length > 50`)
	b.Wait(`document.querySelectorAll('[data-table="places"] tbody tr').length === 12`)
	b.Screenshot("reviews")

	b.Type("#words", "piz")
	b.Click("#search button")
	b.Wait(`seen.at(-1).found > 0 && [...document.querySelectorAll('[data-table="places"] tbody tr td:first-child')].every((td) => /pizz|forno/i.test(td.textContent))`)
	found := browser.Eval[int](b, `seen.at(-1).found`)
	if want := len(mustFind(t, v, "piz")); found != want {
		t.Errorf("the page found %d, want %d", found, want)
	}
	b.Screenshot("reviews-pizza")

	// A click on the map, a third from its left edge: west of the meridian.
	browser.Eval[bool](b, `(() => {
		const r = document.querySelector("#city svg").getBoundingClientRect();
		document.querySelector("#city svg").dispatchEvent(new MouseEvent("click", { bubbles: true, clientX: r.left + r.width / 3, clientY: r.top + r.height / 2 }));
		return true;
	})()`)
	b.Wait(`seen.at(-1).ask.lon < -0.005 && seen.at(-1).ask.lat > 44.9 && seen.at(-1).ask.lat < 45.1`)

	lost := browser.Eval[int](b, `seen.at(-1).lost`)
	b.Click("#lose")
	b.Wait(fmt.Sprintf(`seen.at(-1).lost >= %d + 4`, lost))
	b.Wait(`document.querySelector('[data-trace="events"]').textContent.includes("nothing is missing")`)
	// In all that was shown, the stream had the truth.
	if n := browser.Eval[int](b, `seen.filter((s) => s.exact.text !== 0 && s.hour !== "–").length`); n != 0 {
		t.Errorf("%d states with wrong ratings of the stream", n)
	}
	b.Screenshot("reviews-lost")
	b.Dark(true)
	b.Screenshot("reviews-dark")
	b.Dark(false)
	for _, width := range []int64{390, 320} {
		b.Viewport(width, 844)
		if n := browser.Eval[int](b, "document.documentElement.scrollWidth"); n > int(width) {
			t.Errorf("at %d pixels the page is %d wide", width, n)
		}
	}
	b.Viewport(390, 844)
	b.Screenshot("reviews-narrow")
}

func mustFind(t *testing.T, v *live, words string) []businessID {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	q := v.ask
	q.words = words
	found, _ := v.answer(q)
	return found
}
