package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the page as a visitor would: watches the day go on, moves the slider,
// looks at hours, and restarts the counters.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	v, err := startLive(t.Context(), 400_000, 17*60)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.stop(); err != nil {
			t.Error(err)
		}
	}()
	url, stop := browser.Serve(t, func(ctx context.Context, l net.Listener) error { return v.serve(ctx, l, 200*time.Millisecond, 3) })
	defer stop()

	b.Open(url)
	b.WaitState("html", "data-live", "open")
	b.WaitState("#plot", "data-state", "drawn")
	b.WaitText(`[data-text="health"]`, "all parts run")
	b.Wait(`Number(document.querySelector("#plot").dataset.points) >= 17 * 60 + 6`) // it goes on
	if n := b.Count("#plot path.series[data-n]"); n != 4 {                          // two lines, and two in the legend
		t.Errorf("%d lines, want 4", n)
	}
	b.Wait(`Number(document.querySelector('[data-text="online"]').dataset.value) > 0 &&
		Number(document.querySelector('[data-text="online"]').dataset.value) < Number(document.querySelector('[data-text="devices"]').dataset.value)`)
	b.Screenshot("activeusers")

	// A lower precision is less exact, here and in the figures.
	fine := browser.Eval[float64](b, `Number(document.querySelector("#badge").dataset.measured)`)
	slide(b, 6)
	coarse := browser.Eval[float64](b, `Number(document.querySelector("#badge").dataset.measured)`)
	if coarse < 5 || coarse < 5*fine {
		t.Errorf("at p = 6 minutes are %.2f %% off, at p = 14 %.2f %%", coarse, fine)
	}
	if text := b.Text("#badge"); !strings.Contains(text, "standard error 13 %") {
		t.Errorf("the badge says %q", text)
	}
	b.Screenshot("activeusers-p6")

	// Hours, by keyboard.
	browser.Eval[bool](b, `document.querySelector("#ask [name=by]").focus() ?? true`)
	b.Press("h")
	b.WaitState("#plot", "data-step", "60")
	b.Wait(`Number(document.querySelector("#plot").dataset.points) >= 17`)
	slide(b, 10)
	b.Dark(true)
	b.Screenshot("activeusers-dark")
	b.Dark(false)

	b.Click(`form[action="do/restart"] button`)
	b.WaitState("[data-said]", "data-kind", "ok")
	if said := b.Text("[data-said]"); !strings.HasSuffix(said, "the same bytes as before.") {
		t.Errorf("the restart says %q", said)
	}
	for _, width := range []int64{1280, 390, 320} {
		b.Viewport(width, 900)
		if n := browser.Eval[int](b, "document.documentElement.scrollWidth"); n > int(width) {
			t.Errorf("at %d pixels the page is %d wide", width, n)
		}
		b.Screenshot(fmt.Sprintf("activeusers-%d", width))
	}
	if n := browser.Eval[int](b, "performance.getEntriesByType('resource').filter(r => !r.name.startsWith(location.origin)).length"); n != 0 {
		t.Errorf("%d things were loaded from elsewhere", n)
	}
}

// slide moves the slider and waits until both charts follow.
func slide(b *browser.Browser, p int) {
	browser.Eval[bool](b, fmt.Sprintf(`(() => {
		const e = document.querySelector("#ask [name=p]");
		e.value = %d;
		return e.dispatchEvent(new Event("input", { bubbles: true }));
	})()`, p))
	for _, id := range []string{"#plot", "#cost", "#badge"} {
		b.WaitState(id, "data-p", fmt.Sprint(p))
	}
}

// The page counts what the story counts, in steps of any size.
func TestLive(t *testing.T) {
	const n = 60_000
	v, err := startLive(t.Context(), n, 9*60)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, until := range []int{9*60 + 1, 9*60 + 61, 15 * 60, 15 * 60, minutes + 7} {
		if err := v.advance(t.Context(), until); err != nil {
			t.Fatal(err)
		}
		if until == 15*60 {
			if said, err := v.restart(t.Context(), nil); err != nil || !strings.Contains(said, "the same bytes") {
				t.Fatalf("%q, %v", said, err)
			}
		}
		now := min(until, minutes)
		if want := usersIn(v.events, v.people, 0, now); v.users != want || !near(v.total.estimate[precision-leastPrecision], want, 4*0.0081) {
			t.Errorf("at %s %d users, %.0f estimated, want %d", clock(now), v.users, v.total.estimate[precision-leastPrecision], want)
		}
		if _, want := onlineAt(v.events, v.people, now); v.tables.users() != want {
			t.Errorf("at %s %d users online, want %d", clock(now), v.tables.users(), want)
		}
	}
	if len(v.byMinute) != minutes || len(v.byHour) != 24 || v.fed != n {
		t.Errorf("%d minutes, %d hours, %d events", len(v.byMinute), len(v.byHour), v.fed)
	}
	for i, f := range v.byHour {
		if f.exact != v.truth.hour[i] || !near(f.estimate[precision-leastPrecision], f.exact, 4*0.0081) {
			t.Errorf("hour %d: %d users, %.0f estimated, want %d", i, f.exact, f.estimate[precision-leastPrecision], v.truth.hour[i])
		}
	}
	for _, c := range []struct {
		url  string
		want int
		says string
	}{
		{"/curve?p=14&by=minute", 200, `"step":1,`},
		{"/curve?p=4&by=hour", 200, `"step":60,`},
		{"/curve?p=15&by=hour", 400, errPrecision.Error()},
		{"/curve?p=3&by=hour", 400, errPrecision.Error()},
		{"/curve?p=x&by=hour", 400, errPrecision.Error()},
		{"/curve?p=8&by=week", 400, errBy.Error()},
	} {
		w := httptest.NewRecorder()
		v.answer(w, httptest.NewRequest(http.MethodGet, c.url, nil))
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s is %d %.120s, want %d with %q", c.url, w.Code, w.Body, c.want, c.says)
		}
	}
}
