package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/browser"
)

// TestPage uses the dashboard as a visitor would: looks at all requests, asks for
// some labels, zooms into the outage and searches its lines.
func TestPage(t *testing.T) {
	b := browser.Start(t)
	v, err := startDashboard(t.Context(), "", 20_000)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.stop(); err != nil {
			t.Error(err)
		}
	}()
	url, stop := browser.Serve(t, v.serve)
	defer stop()

	b.Open(url)
	b.WaitState("html", "data-live", "open")
	b.WaitState("#plot", "data-state", "drawn")
	b.Wait(`Number(document.querySelector('[data-text="lines"]').dataset.value) > 10000`)
	b.WaitText(`[data-text="health"]`, "all parts run")

	// Errors: the outage stands out, and the windows of the past are all there.
	choose(b, "ask", "metric", "errors")
	b.Wait(`document.querySelector("#plot-title").textContent.startsWith("Errors")`)
	b.Wait(`Number(document.querySelector("#plot").dataset.to) - Number(document.querySelector("#plot").dataset.from) > 80 * 60000`)
	b.Wait(`Number(document.querySelector("#plot").dataset.most) > 20`)
	if rows := b.Count("#plot > svg path.series"); rows != 1 {
		t.Errorf("%d lines without a grouping, want 1", rows)
	}

	// A filter on labels, and a line for each value of one.
	choose(b, "ask", "metric", "requests")
	b.Type("#ask [name=filter]", "country=~\"de|fr|jp\" plan!=free\r")
	choose(b, "ask", "by", "country")
	b.WaitState("#plot", "data-lines", "3")
	if legend := browser.Eval[string](b, `[...document.querySelectorAll("#legend dt")].map((e) => e.textContent).sort().join()`); legend != "de,fr,jp" {
		t.Errorf("the legend shows %q, want de,fr,jp", legend)
	}
	b.Screenshot("metrics")
	b.Type("#ask [name=filter]", " nonsense\r")
	b.WaitState("#plot-said", "data-kind", "bad")
	browser.Eval[bool](b, `(document.querySelector("#ask [name=filter]").value = "") === ""`)
	choose(b, "ask", "by", "")

	// Zoom into the outage by dragging over its minutes, and search there.
	choose(b, "ask", "metric", "errors")
	b.Wait(`document.querySelector("#plot-title").textContent.startsWith("Errors") && document.querySelector("#plot").dataset.lines === "1"`)
	from := outage.Add(v.shift).UnixMilli()
	browser.Eval[bool](b, fmt.Sprintf(`(() => {
		const svg = document.querySelector("#plot svg"), r = svg.getBoundingClientRect(), p = document.querySelector("#plot").dataset;
		const W = svg.viewBox.baseVal.width, x = (t) => r.left + (64 + (W - 80) * (t - p.from) / (p.to - p.from)) * r.width / W;
		const send = (type, x) => svg.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: r.top + 50, pointerId: 1, bubbles: true }));
		svg.setPointerCapture = () => {}; // these events come from no pointer
		send("pointerdown", x(%d)); send("pointermove", x(%[2]d)); send("pointerup", x(%[2]d));
		return true;
	})()`, from-90_000, from+150_000))
	b.Wait(`Number(document.querySelector("#plot").dataset.to) - Number(document.querySelector("#plot").dataset.from) < 8 * 60000`)
	b.Type("#search [name=q]", `"POST /checkout`)
	choose(b, "search", "class", "5xx")
	b.Click("#search button")
	b.Wait(`Number(document.querySelector("#found").dataset.total) > 20`)
	want := 0
	for _, s := range generate(20_000).lines {
		if e, err := parse(s.text); err == nil && e.Method == "POST" && e.Status >= 500 && !s.arrives.After(begin.Add(past)) {
			want++
		}
	}
	if got := browser.Eval[int](b, `Number(document.querySelector("#found").dataset.total)`); got != want {
		t.Errorf("the search found %d lines, want %d", got, want)
	}
	if text := b.Text("#lines li .what"); !strings.Contains(text, `"POST /checkout HTTP/1.1" 503`) {
		t.Errorf("the first line found is %q", text)
	}
	b.Screenshot("metrics-zoom")
	b.Dark(true)
	b.Screenshot("metrics-dark")
	b.Dark(false)

	// By keyboard: out again, then a device of another year.
	browser.Eval[bool](b, `document.querySelector('[data-zoom="all"]').focus() ?? true`)
	b.Press("\r")
	b.Wait(`Number(document.querySelector("#plot").dataset.to) - Number(document.querySelector("#plot").dataset.from) > 80 * 60000`)
	choose(b, "ask", "metric", "cpu")
	b.Wait(`document.querySelector("#plot-title").textContent.startsWith("Device: CPU") && document.querySelector("#plot-said").textContent.startsWith("2014-02-14")`)
	b.Viewport(390, 900)
	b.Screenshot("metrics-narrow")
}

// choose sets a field of a form as a choice in its list does.
func choose(b *browser.Browser, form, name, value string) {
	browser.Eval[bool](b, fmt.Sprintf(`(() => {
		const f = document.getElementById(%q), e = f.elements[%q];
		e.value = %q;
		e.dispatchEvent(new Event("change", { bubbles: true }));
		return e.value === %[3]q;
	})()`, form, name, value))
}

// What cannot be answered is refused with a sentence.
func TestBadQuestions(t *testing.T) {
	v, err := startDashboard(t.Context(), "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	for deadline := time.After(30 * time.Second); v.state()["windows"].(int) == 0; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("no window has fired: %v", v.state()["health"])
		}
	}
	for _, c := range []struct {
		handler http.HandlerFunc
		url     string
		want    int
		says    string
	}{
		{answerJSON(v.query), "/query?metric=requests", 200, `"series":[{`},
		{answerJSON(v.query), "/query?metric=requests&by=country", 200, `"series":[{`},
		{answerJSON(v.query), "/query?metric=nothing", 400, "no such metric"},
		{answerJSON(v.query), "/query?metric=requests&filter=country", 400, "a filter looks like"},
		{answerJSON(v.query), "/query?metric=requests&filter=country=~(", 400, "missing closing"},
		{answerJSON(v.query), "/query?metric=requests&from=x", 400, "no time"},
		{answerJSON(v.query), "/query?metric=requests&from=20000&to=10000", 400, "range"},
		{answerJSON(v.query), "/query?metric=requests&from=0&to=9223372036854775807", 400, "range"},
		{answerJSON(v.query), "/query?metric=requests&from=10000&to=40000", 200, `"found":0`},
		{answerJSON(v.find), "/lines?q=(&regexp=on", 400, "missing closing"},
		{answerJSON(v.find), "/lines?q=(", 200, `"total":`},
		{answerJSON(v.find), "/lines?class=malformed", 200, `"class":"malformed"`},
	} {
		w := httptest.NewRecorder()
		c.handler(w, httptest.NewRequest("GET", strings.ReplaceAll(c.url, " ", "%20"), nil))
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s is %d %.120s, want %d with %q", c.url, w.Code, w.Body, c.want, c.says)
		}
	}
}
