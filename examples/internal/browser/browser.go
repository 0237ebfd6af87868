// Package browser drives a headless Chromium in tests of the examples' pages.
//
//	b := browser.Start(t)           // skips the test where no browser is installed
//	b.Open(url)
//	b.WaitState("html", "data-live", "open")
//	b.Click("button.freeze")
//	b.WaitText("[data-text=refused]", "1")
//	b.Screenshot("lock")            // lock.png, where ASHLAR_SHOTS names a folder
//
// Every method ends the test if the page does not get there in time, and tells
// what the page shows. An exception in a script of the page ends it as well.
// Only tests import this package.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take for one step: long, since a loaded
// machine is slow and a test that passes does not wait for it.
const patience = 30 * time.Second

// names are the programs to look for.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

// A Browser is a browser with one tab. It belongs to one test and its goroutine.
type Browser struct {
	t   testing.TB
	ctx context.Context

	mu     sync.Mutex
	thrown []string // exceptions in the page's scripts
}

// Start starts a browser with a new profile and ends it with the test. Without
// a browser on this machine it skips the test.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := ""
	for _, name := range names {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no browser: install chromium to test this page")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &Browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, text := range b.thrown {
			t.Errorf("exception in a script of the page: %s", text)
		}
	})
	b.Viewport(1280, 900)
	return b
}

// listen keeps exceptions. It runs in the browser's goroutine and may not call it.
func (b *Browser) listen(ev any) {
	if e, ok := ev.(*runtime.EventExceptionThrown); ok {
		text := e.ExceptionDetails.Text
		if ex := e.ExceptionDetails.Exception; ex != nil {
			text += ": " + ex.Description
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.thrown = append(b.thrown, text)
	}
}

// run does an action, within the patience for one step.
func run[T any](b *Browser, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatalf("%s: %v\nthe page shows:\n%s", what, err, b.visible())
	}
	return v
}

// visible returns the text of the page, for messages.
func (b *Browser) visible() string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// Open loads a page.
func (b *Browser) Open(url string) {
	b.t.Helper()
	run(b, "opening "+url, chromedp.Navigate(url))
}

// Viewport sets the size of the window in CSS pixels.
func (b *Browser) Viewport(width, height int64) {
	b.t.Helper()
	run(b, "viewport", chromedp.EmulateViewport(width, height))
}

// Dark sets the colour scheme that the page is told.
func (b *Browser) Dark(dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		b.t.Fatalf("colour scheme: %v", err)
	}
}

// Wait waits until a JavaScript expression is true.
func (b *Browser) Wait(expression string) {
	b.t.Helper()
	run(b, "waiting for "+expression, chromedp.Poll[chromedp.Void]("Boolean("+expression+")", chromedp.WithPollingTimeout(patience)))
}

// WaitState waits until the first element that matches the selector has the
// value in the attribute.
func (b *Browser) WaitState(selector, attribute, value string) {
	b.t.Helper()
	b.Wait(fmt.Sprintf("document.querySelector(%s)?.getAttribute(%s) === %s", quote(selector), quote(attribute), quote(value)))
}

// WaitText waits until the text of the element is this, without space around.
func (b *Browser) WaitText(selector, text string) {
	b.t.Helper()
	b.Wait(fmt.Sprintf("document.querySelector(%s)?.textContent.trim() === %s", quote(selector), quote(text)))
}

// Text returns the text of the first element that matches the selector, "" if
// there is none.
func (b *Browser) Text(selector string) string {
	b.t.Helper()
	return Eval[string](b, fmt.Sprintf("document.querySelector(%s)?.textContent.trim() ?? ''", quote(selector)))
}

// Attr returns an attribute of the first element that matches the selector, ""
// if there is none.
func (b *Browser) Attr(selector, attribute string) string {
	b.t.Helper()
	return Eval[string](b, fmt.Sprintf("document.querySelector(%s)?.getAttribute(%s) ?? ''", quote(selector), quote(attribute)))
}

// Count returns how many elements match the selector.
func (b *Browser) Count(selector string) int {
	b.t.Helper()
	return Eval[int](b, fmt.Sprintf("document.querySelectorAll(%s).length", quote(selector)))
}

// Eval returns the value of a JavaScript expression.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	return run(b, expression, chromedp.Evaluate[T](expression))
}

// Click clicks the element with the mouse.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	run(b, "clicking "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Type types text into the element.
func (b *Browser) Type(selector, text string) {
	b.t.Helper()
	run(b, "typing into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Press presses keys where the focus is: "\t" for Tab, "\r" for Enter, " " for
// Space.
func (b *Browser) Press(keys string) {
	b.t.Helper()
	run(b, fmt.Sprintf("pressing %q", keys), chromedp.KeyEvent(keys))
}

// Screenshot writes the whole page to name.png in the folder that the variable
// ASHLAR_SHOTS names; without it, it does nothing.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("ASHLAR_SHOTS")
	if dir == "" {
		return
	}
	png := run(b, "screenshot", chromedp.FullScreenshot(100))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// quote writes a string as JavaScript: JSON is a part of it.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string has JSON
	}
	return string(text)
}
