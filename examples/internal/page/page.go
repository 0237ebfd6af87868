package page

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

//go:embed page.html
var source string

var layout = template.Must(template.New("page").Parse(source))

// A Page describes what an example serves.
type Page struct {
	Title string        // what it is, in a few words
	Lead  string        // one or two sentences: what to look at
	Body  template.HTML // the panels, with bindings
	// Script is the page's own ES module, if it draws something that the
	// bindings do not: it may import from "./static/page.js".
	Script string
	// Do holds the commands that forms with action="do/NAME" send.
	Do map[string]Command
	// Text writes the state for people without a browser. Nil: indented JSON.
	Text func() string
}

// A Command does what a form asks for and returns one sentence about it. An
// error of it is shown as it is.
type Command func(ctx context.Context, form url.Values) (said string, err error)

// A Server is an [http.Handler] for one page. It is safe for concurrent use by
// multiple goroutines.
type Server struct {
	Hub
	page Page
	mux  *http.ServeMux
	safe *http.CrossOriginProtection
}

// New returns the handler of a page, with nothing published yet.
func New(p Page) *Server {
	s := &Server{page: p, mux: http.NewServeMux(), safe: http.NewCrossOriginProtection()}
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the folder is embedded
	}
	s.mux.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(files)))
	s.mux.HandleFunc("GET /{$}", s.index)
	s.mux.HandleFunc("GET /text", s.text)
	s.mux.HandleFunc("GET /state", s.state)
	s.mux.HandleFunc("GET /script.js", s.script)
	s.mux.Handle("GET /events", &s.Hub)
	s.mux.HandleFunc("POST /do/{name}", s.do)
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	s.safe.Handler(s.mux).ServeHTTP(w, r) // commands from other sites are refused
}

// Serve serves the page on a listener until the context ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		s.Close() // event streams never end by themselves
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			_ = server.Close()
		}
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	var out bytes.Buffer
	data := struct {
		Page
		State string
	}{s.page, s.plain()}
	if err := layout.Execute(&out, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = out.WriteTo(w) // the reader may be gone
}

// plain returns the present state as text.
func (s *Server) plain() string {
	if s.page.Text != nil {
		return s.page.Text()
	}
	state, _ := s.Present()
	var out bytes.Buffer
	if json.Indent(&out, state, "", "  ") != nil {
		return "nothing yet"
	}
	return out.String()
}

func (s *Server) text(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, strings.TrimRight(s.plain(), "\n"))
}

func (s *Server) state(w http.ResponseWriter, _ *http.Request) {
	state, _ := s.Present()
	if state == nil {
		state = []byte("null")
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(state)
}

func (s *Server) script(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	fmt.Fprint(w, s.page.Script)
}

// do runs a command. A form that was sent without a script leads back to the
// page, unless the command failed.
func (s *Server) do(w http.ResponseWriter, r *http.Request) {
	command := s.page.Do[r.PathValue("name")]
	if command == nil {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	said, err := command(r.Context(), r.PostForm)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
	case strings.Contains(r.Header.Get("Accept"), "text/html"):
		http.Redirect(w, r, "../", http.StatusSeeOther)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, said)
	}
}
