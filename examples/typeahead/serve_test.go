package main

import (
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage types into the search box as a visitor would: by keyboard, with a wrong key,
// with a search that becomes his own, and through a rebuild and a crowd that types alike.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	v, err := startLive(t.Context(), config{n: 12_000})
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	url, stop := browser.Serve(t, v.serve)
	defer stop()
	b.Open(url)
	b.WaitState("html", "data-live", "open")

	// Key by key.
	const first, box = "#list li:first-child .term", "#q"
	b.Type(box, "ap")
	b.WaitState("#list", "data-query", "ap")
	b.WaitText(first, "apparently")
	if n := b.Count("#list li"); n != k {
		t.Errorf("%d suggestions", n)
	}
	b.Wait(`Number(document.querySelector("#latency").dataset.millis) > 0`)
	b.Type(box, "ar")
	b.WaitText(first, "apart")
	b.Press("\b\b")
	b.WaitText(first, "apparently")
	b.WaitState(box, "aria-expanded", "true")
	b.Screenshot("typeahead")

	// By keyboard: down twice, up once, Enter.
	const down, up, escape = "\u0301", "\u0304", "\u001b" // how the driver writes these keys
	b.Press(down)
	b.WaitState("#option-0", "aria-selected", "true")
	b.Press(down)
	b.WaitState("#option-1", "aria-selected", "true")
	b.WaitState(box, "aria-activedescendant", "option-1")
	b.Press(up)
	b.WaitState("#option-0", "aria-selected", "true")
	b.Press(up)
	b.Wait(`document.querySelector("#q").value === "ap"`)
	b.Press(down + down)
	second := b.Attr("#option-1", "data-term")
	b.Press("\r")
	b.WaitState("#picked", "data-term", second)
	b.Wait(`document.querySelectorAll("#list li").length === 0`)

	// What was searched for is one's own from now on, and first.
	retype := func(text string) {
		browser.Eval[bool](b, `document.querySelector("#q").select() ?? true`)
		b.Press("\b" + text)
	}
	retype("ap")
	b.WaitText(first, second)
	b.WaitText("#list li:first-child .mark", "yours")
	b.Press(escape)
	b.Wait(`document.querySelectorAll("#list li").length === 0`)

	// A wrong key.
	retype("becuase")
	b.WaitState("#list", "data-query", "becuase")
	b.Wait(`document.querySelectorAll("#list li").length === 0`)
	b.Click("#fuzzy")
	b.WaitText(first, "because")
	b.WaitText("#list li:first-child .mark", "one wrong key")
	b.Dark(true)
	b.Screenshot("typeahead-dark")
	b.Dark(false)
	b.Click("#fuzzy")

	// Something new is nobody's suggestion, until the next build.
	browser.Eval[bool](b, `document.querySelector("#q").focus() ?? true`)
	retype("zyzzyva hunt")
	b.WaitState("#list", "data-query", "zyzzyva hunt")
	b.Press("\r")
	b.WaitState("#picked", "data-term", "zyzzyva hunt")
	if got := v.parts.Complete(nil, "zyzzyva h", 1); len(got) != 0 {
		t.Errorf("suggested already: %v", got)
	}
	b.Click("form[action='do/rebuild'] button")
	b.Wait(`document.querySelector("[data-said]").textContent.startsWith("Built from")`)
	if got := v.parts.Complete(nil, "zyzzyva h", 1); len(got) != 1 || got[0].Term != "zyzzyva hunt" {
		t.Errorf("after the build: %v", got)
	}

	// A crowd that types alike: partitions are split or copied.
	before := len(v.parts.Partitions())
	b.Click("form[action='do/skew'] button")
	b.Wait(`document.querySelector("[data-said]").textContent.includes("Watch the partitions")`)
	b.Wait(`Number(document.querySelector('[data-text="copied"]').dataset.value) > 0 || Number(document.querySelector('[data-text="partitions"]').dataset.value) > ` + num(before))
	b.Viewport(390, 900)
	b.Screenshot("typeahead-narrow")
	if wide := browser.Eval[bool](b, "document.documentElement.scrollWidth > innerWidth"); wide {
		t.Error("the page is wider than a narrow window")
	}
	if n := b.Text(`[data-text="failed"]`); n != "0" {
		t.Errorf("%s reads failed or were wrong", n)
	}
}
