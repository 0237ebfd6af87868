package main

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the live page as a visitor would: it freezes a holder, lets it
// go on, kills the leader, starts it again, and switches the store's check off.
func TestPage(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGSTOP on Windows")
	}
	b := browser.Start(t)
	live, err := startLive(t.Context(), 6, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer live.stop()
	url, stop := browser.Serve(t, live.serve)
	defer stop()

	b.Open(url)
	b.WaitState("html", "data-live", "open")
	atLeast(b, "appended", 3)

	// A stale write is refused.
	stale(t, b, "locks.0.queue")
	atLeast(b, "refused", 1)
	b.Wait(`Number(document.querySelector("#timeline").dataset.refused) > 0`)
	b.Screenshot("lock")
	if lost := b.Text(`[data-text="lost"]`); lost != "0" {
		t.Errorf("%s lines were lost", lost)
	}

	// The leader is killed; another takes over, and appends go on.
	leader := b.Text(`[data-text="leader"]`)
	b.Click(fmt.Sprintf(`tr[data-key=%q] button`, leader))
	b.Wait(fmt.Sprintf(`!["none", %q].includes(document.querySelector('[data-text="leader"]').textContent.trim())`, leader))
	b.WaitText(fmt.Sprintf(`tr[data-key=%q] [data-col="role"]`, leader), "dead")
	atLeast(b, "appended", shown(b, "appended")+3)
	b.Dark(true)
	b.Screenshot("lock-dark")
	b.Dark(false)

	// By keyboard: start it again.
	b.Wait(fmt.Sprintf(`document.querySelector('tr[data-key=%q] button').textContent === "Start"`, leader))
	browser.Eval[bool](b, fmt.Sprintf(`document.querySelector('tr[data-key=%q] button').focus() ?? true`, leader))
	b.Press("\r")
	b.WaitText(fmt.Sprintf(`tr[data-key=%q] [data-col="role"]`, leader), "follows")

	// Without the check the same stale write destroys lines.
	b.Click(`form[action="do/guard"] button`)
	b.WaitText(`[data-text="guard"]`, "no")
	stale(t, b, "locks.1.queue")
	atLeast(b, "lost", 1)
	b.Viewport(390, 900)
	b.Screenshot("lock-narrow")
	if err := t.Context().Err(); err != nil {
		t.Error(err)
	}
}

// stale freezes the holder of a lock, waits until another holds it, and lets the
// first go on.
func stale(t *testing.T, b *browser.Browser, lock string) {
	t.Helper()
	holder := fmt.Sprintf(`[data-queue=%q] [data-place="0"]`, lock)
	for {
		b.Wait(fmt.Sprintf(`document.querySelector('%s[data-kind="hot"]')`, holder))
		name, _, _ := strings.Cut(b.Text(holder), " ")
		button := fmt.Sprintf(`tr[data-key=%q] button`, name)
		b.Click(button)
		b.WaitText(fmt.Sprintf(`tr[data-key=%q] [data-col="state"]`, name), "frozen")
		// It may have let go in the meantime: then it stands frozen elsewhere.
		caught := b.Text(holder)
		if strings.HasPrefix(caught, name+" ") && strings.HasSuffix(caught, "frozen") {
			b.Wait(fmt.Sprintf(`(() => { const h = document.querySelector('%s'); return h && h.dataset.key !== %q && h.dataset.kind === "hot" })()`, holder, name))
			b.Click(button)
			b.WaitText(fmt.Sprintf(`tr[data-key=%q] [data-col="state"]`, name), "runs")
			return
		}
		b.Click(button)
		b.WaitText(fmt.Sprintf(`tr[data-key=%q] [data-col="state"]`, name), "runs")
	}
}

func figure(name string) string {
	return fmt.Sprintf(`Number(document.querySelector('[data-text=%q]').textContent.replace(",", ""))`, name)
}

func shown(b *browser.Browser, name string) int {
	return browser.Eval[int](b, figure(name))
}

func atLeast(b *browser.Browser, name string, n int) {
	b.Wait(fmt.Sprintf("%s >= %d", figure(name), n))
}
