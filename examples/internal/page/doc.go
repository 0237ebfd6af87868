// Package page is the one look of the examples' live pages, and how state gets
// onto them.
//
// A page is markup with bindings and a state that the program publishes. Each
// published state goes to every open page as one server-sent event; who comes
// late gets the present one first, who is slow skips to the newest. The script
// of the page changes only what differs, so that the keyboard focus stays:
//
//	program ── Publish(state) ──► Hub ── JSON over SSE ──► page.js ──► <dd data-text="appended">
//	   ▲                                                                         │
//	   └────────── Do["freeze"](form) ◄── POST do/freeze ◄── <form action="do/freeze">
//
//	p := page.New(page.Page{
//		Title: "Distributed lock",
//		Lead:  "Fifty clients, three servers, one object.",
//		Body:  body, // HTML with data-text, data-table, data-queue, data-bars, data-trace, data-line, data-map
//		Do:    map[string]page.Command{"freeze": freeze},
//	})
//	p.Publish(state)
//	http.Serve(listener, p)
//
// The bindings are listed at the head of static/page.js; the types of this
// package ([Cell], [Row], [Chip], [Bar], [Event], [Chart], [Map]) have the JSON
// that they read. Any other state may be used as well: a binding is a path into
// the JSON.
//
// Without a script the page shows its state as text and its commands still work,
// as forms; /text gives the state to curl. Nothing is fetched from elsewhere.
package page
