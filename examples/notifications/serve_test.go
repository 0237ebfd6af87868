package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the live page as two visitors would, each in a tab: both get a toast
// by push and one by polling; the server of one is killed, and both go on; it is
// started again, and calls its users home.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	v, err := startLive(t.Context(), 60, time.Second, "")
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	url, stop := browser.Serve(t, v.serve)
	defer stop()

	// Two tabs of one browser: the second is opened by the first, which can look
	// into it.
	b.Open(url)
	b.WaitState("html", "data-live", "open")
	browser.Eval[bool](b, `(window.second = window.open("/", "second", "popup,width=900,height=900")) !== null`)
	const first, second = "document", "second.document"
	tabs := []string{first, second}
	for _, tab := range tabs {
		b.Wait(tab + `.querySelector("#at")?.dataset.server.startsWith("push-")`)
	}
	if who := browser.Eval[bool](b, `document.querySelector("#who").textContent === second.document.querySelector("#who").textContent`); who {
		t.Error("both tabs are the same user")
	}
	small := fmt.Sprint(v.people.popular() + 1)

	// Pushed.
	published := func(topic string) {
		t.Helper()
		b.Click(fmt.Sprintf(`#mine [data-topic=%q] button`, topic))
	}
	for _, tab := range tabs {
		if got := browser.Eval[string](b, fmt.Sprintf(`%s.querySelector('#mine [data-topic=%q] .badge').textContent`, tab, small)); got != "pushed" {
			t.Errorf("the small topic's badge says %q", got)
		}
	}
	published(small)
	for _, tab := range tabs {
		b.Wait(fmt.Sprintf(`%s.querySelector('.toast[data-how="pushed"][data-topic=%q]')`, tab, small))
	}

	// Polled, with a badge that says so.
	published("1")
	for _, tab := range tabs {
		b.Wait(tab + `.querySelector('.toast[data-how="polled"][data-topic="1"] .badge')?.textContent === "polled"`)
	}
	b.WaitText(`#mine [data-topic="1"] .badge`, "polled")
	b.WaitText(`tr[data-key="1"] [data-col="how"]`, "polled")
	b.WaitText(`tr[data-key=`+fmt.Sprintf("%q", small)+`] [data-col="how"]`, "pushed")
	b.Screenshot("notifications")

	// The first tab's server is killed: it comes back elsewhere, and both go on.
	victim := b.Attr("#at", "data-server")
	count := func(tab string) string {
		return fmt.Sprintf(`%s.querySelectorAll('#inbox li[data-topic=%q]').length`, tab, small)
	}
	before := map[string]int{}
	for _, tab := range tabs {
		before[tab] = browser.Eval[int](b, count(tab))
	}
	b.Click(fmt.Sprintf(`tr[data-key=%q] button`, victim))
	published(small) // while it is away, perhaps
	b.WaitText(fmt.Sprintf(`tr[data-key=%q] [data-col="state"]`, victim), "dead")
	b.Wait(fmt.Sprintf(`document.querySelector("#at").dataset.server.startsWith("push-") && document.querySelector("#at").dataset.server !== %q`, victim))
	for _, tab := range tabs {
		b.Wait(fmt.Sprintf("%s >= %d", count(tab), before[tab]+1))
	}
	published(small)
	for _, tab := range tabs {
		b.Wait(fmt.Sprintf("%s >= %d", count(tab), before[tab]+2))
		if twice := browser.Eval[int](b, fmt.Sprintf(`(() => { const l = [...%s.querySelectorAll('#inbox li .text')].map((e) => e.textContent); return l.length - new Set(l).size })()`, tab)); twice != 0 {
			t.Errorf("a tab shows %d notifications twice", twice)
		}
	}
	b.Wait(`Number(document.querySelector('[data-text="moved"]').dataset.value) > 0`)
	b.Dark(true)
	b.Screenshot("notifications-dark")
	b.Dark(false)

	// By keyboard: start it again. The devices are called home.
	b.Wait(fmt.Sprintf(`document.querySelector('tr[data-key=%q] button').textContent === "Start"`, victim))
	browser.Eval[bool](b, fmt.Sprintf(`document.querySelector('tr[data-key=%q] button').focus() ?? true`, victim))
	b.Press("\r")
	b.WaitText(fmt.Sprintf(`tr[data-key=%q] [data-col="state"]`, victim), "runs")
	b.Wait(fmt.Sprintf(`Number(document.querySelector('tr[data-key=%q] [data-col="connections"]').textContent) > 5`, victim))
	b.Viewport(390, 900)
	b.Screenshot("notifications-narrow")
	for _, name := range []string{"twice", "lost"} {
		if n := b.Text(fmt.Sprintf(`[data-text=%q]`, name)); n != "0" {
			t.Errorf("%s: %s", name, n)
		}
	}
	if wide := browser.Eval[bool](b, "document.documentElement.scrollWidth > innerWidth"); wide {
		t.Error("the page is wider than a narrow window")
	}
}
