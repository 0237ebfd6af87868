package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the live page as a visitor would: sends bursts by several policies, kills
// the limiter that counts them, and chooses what happens then.
func TestPage(t *testing.T) {
	t.Parallel()
	b := browser.Start(t)
	// Of a limit of a day nothing comes in meanwhile: what passes depends on no clock. The
	// pictures are of the usual one.
	period := 24 * time.Hour
	if os.Getenv("ASHLAR_SHOTS") != "" {
		period = pagePeriod
	}
	v, err := startLive(t.Context(), period)
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	addr, stop := browser.Serve(t, func(ctx context.Context, l net.Listener) error { return v.serve(ctx, l) })
	defer stop()
	b.Open(addr)
	b.WaitState("html", "data-live", "open")
	b.Wait(`document.querySelectorAll('[data-table="nodes"] tbody tr').length === 3`)
	said := 0
	clicked := func(selector string) string {
		t.Helper()
		b.Click(selector)
		said++
		b.WaitState("[data-said]", "data-said", fmt.Sprint(said))
		return b.Text("[data-said]")
	}
	passed := func(lane string) int {
		t.Helper()
		return browser.Eval[int](b, fmt.Sprintf(`Number(document.querySelector("[data-lane='%s']").dataset.passed)`, lane))
	}
	choose := func(policy, mode, fail string) {
		t.Helper()
		for id, value := range map[string]string{"policy": policy, "mode": mode, "fail": fail} {
			browser.Eval[bool](b, fmt.Sprintf(`(() => { const e = document.getElementById(%q); e.value = %q; return e.value === %q || (() => { throw new Error("no " + %q) })(); })()`, id, value, value, value))
		}
		if got := clicked("#set button"); !strings.HasPrefix(got, "Now: ") {
			t.Fatalf("set: %s", got)
		}
	}
	burst := func() {
		t.Helper()
		if got := clicked("#burst button"); !strings.Contains(got, "240 sent") {
			t.Fatalf("burst: %s", got)
		}
		b.Wait(`document.querySelectorAll("[data-lane]").length === 10 && !document.querySelector("#burst button").disabled`)
	}

	// Each for itself: 60 at each balancer at least, so three times the limit.
	burst()
	passes := func(what, lane string, want int) {
		t.Helper()
		if n := passed(lane); n != want && period != pagePeriod {
			t.Errorf("%s: %d pass, want %d", what, n, want)
		}
	}
	passes("each for itself", "all", 3*pageLimit)
	passes("one balancer", "balancer-2", pageLimit)
	passes("the log alone", "sliding-log", pageLimit)
	passes("a bucket alone", "gcra-burst-10", 10)
	b.Screenshot("ratelimiter-local")

	// One limit for all.
	choose("sliding-log", "remote", "fail-closed")
	burst()
	passes("one limit for all", "all", pageLimit)
	b.Screenshot("ratelimiter-remote")

	// The limiter that counts ann dies.
	if got := clicked("tr[data-kind='hot'] button"); !strings.HasPrefix(got, "Killed") {
		t.Fatalf("kill: %s", got)
	}
	b.Wait(`document.querySelector("tr[data-kind='hot'] [data-col='state']").textContent === "dead"`)
	burst()
	passes("refusing all", "all", 0)
	choose("sliding-log", "remote", "fail-open")
	burst()
	passes("letting all through", "all", pageBurst)
	b.WaitText("[data-text=without]", fmt.Sprint(pageBurst))
	b.Screenshot("ratelimiter-dead")
	choose("sliding-log", "remote", "next-node")
	burst()
	passes("asking the next", "all", pageLimit)
	b.WaitText("[data-text=without]", "0")

	// It comes back, and tokens are taken in advance.
	if got := clicked("tr[data-kind='hot'] button"); !strings.HasPrefix(got, "Started") {
		t.Fatalf("start: %s", got)
	}
	b.Wait(`document.querySelector("tr[data-kind='hot'] [data-col='state']").textContent === "lives"`)
	choose("token-bucket", "remote-leases", "fail-closed")
	burst()
	if n := browser.Eval[int](b, `Number(document.querySelector("[data-text=calls]").dataset.value)`); n < 1 || n >= pageBurst {
		t.Errorf("%d calls", n)
	}
	if n := passed("all"); n < pageLimit-balancers*6 || n > pageLimit && period != pagePeriod {
		t.Errorf("with leases %d pass", n)
	}
	b.Screenshot("ratelimiter-leases")
	b.Dark(true)
	b.Screenshot("ratelimiter-dark")
	b.Dark(false)
	for _, width := range []int64{390, 320} {
		b.Viewport(width, 844)
		if n := browser.Eval[int](b, "document.documentElement.scrollWidth"); n > int(width) {
			t.Errorf("at %d pixels the page is %d wide", width, n)
		}
	}
	b.Viewport(390, 844)
	b.Wait(`document.querySelectorAll("[data-lane]").length === 10`)
	b.Screenshot("ratelimiter-narrow")
	if text := v.text(); !strings.Contains(text, "limiter-3 lives") || !strings.Contains(text, "sliding log") {
		t.Errorf("as text:\n%s", text)
	}
}

func TestCommandsRefuse(t *testing.T) {
	v := &live{fleet: &fleet{nodes: make([]*nodeProcess, nodes)}}
	form := func(list ...string) url.Values {
		f := url.Values{}
		for i := 0; i < len(list); i += 2 {
			f.Set(list[i], list[i+1])
		}
		return f
	}
	for _, f := range []url.Values{form(), form("policy", "x", "mode", "remote", "fail", "fail-open"), form("policy", "sliding-log", "mode", "remote-leases", "fail", "fail-open")} {
		if said, err := v.set(t.Context(), f); err == nil {
			t.Errorf("%v: %s", f, said)
		}
	}
	for _, n := range []string{"", "-1", "3", "x"} {
		if said, err := v.kill(t.Context(), form("node", n)); err == nil {
			t.Errorf("kill %q: %s", n, said)
		}
		if said, err := v.start(t.Context(), form("node", n)); err == nil {
			t.Errorf("start %q: %s", n, said)
		}
	}
	v.sending.Lock()
	if said, err := v.burst(t.Context(), nil); err == nil {
		t.Errorf("a second burst: %s", said)
	}
}
