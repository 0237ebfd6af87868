package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock"
)

// A store is a small object store: GET and PUT of whole objects over HTTP. With
// a guard it refuses requests with a stale token; without one it takes them all.
type store struct {
	url   string
	srv   *http.Server
	guard *lock.Guard // nil: none

	mu        sync.Mutex
	unchecked bool // the guard is passed by
	objects   map[string]string
	history   []entry
	lost      int // lines that a write left out
}

// An entry of the history is a write that was accepted, a request that was
// refused, or a remark on what happened at that point.
type entry struct {
	at      time.Time
	object  string
	token   uint64
	line    string // the last line of what was written
	refused string // why
	remark  string
}

func startStore(guarded bool) (*store, error) {
	s := &store{objects: map[string]string{}}
	var handler http.Handler = s
	if guarded {
		// In memory, like the objects: they are forgotten together.
		guard, err := lock.NewGuard(nil)
		if err != nil {
			return nil, err
		}
		s.guard, handler = guard, s.maybe(s.watch(guard.Middleware(nil)(s)))
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.url, s.srv = "http://"+ln.Addr().String(), &http.Server{Handler: handler}
	go s.srv.Serve(ln)
	return s, nil
}

func (s *store) close() { s.srv.Close() }

// ServeHTTP implements [http.Handler]. When there is a guard, it has let the
// request in.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		io.WriteString(w, s.objects[r.URL.Path])
	case http.MethodPut:
		text := string(body)
		if old := s.objects[r.URL.Path]; !strings.HasPrefix(text, old) {
			s.lost += missing(old, text)
		}
		s.objects[r.URL.Path] = text
		token, _ := lock.ParseFence(r.Header)
		s.history = append(s.history, entry{at: time.Now(), object: r.URL.Path[1:], token: token, line: lastLine(text)})
	default:
		http.Error(w, "GET or PUT", http.StatusMethodNotAllowed)
	}
}

func lastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// missing counts the lines of old that are not in text.
func missing(old, text string) (n int) {
	have := map[string]bool{}
	for line := range strings.Lines(text) {
		have[line] = true
	}
	for line := range strings.Lines(old) {
		if !have[line] {
			n++
		}
	}
	return n
}

// maybe passes the guard by while it is switched off, on the live page.
func (s *store) maybe(guarded http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.checks() {
			guarded.ServeHTTP(w, r)
		} else {
			s.ServeHTTP(w, r)
		}
	})
}

func (s *store) checks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.unchecked
}

func (s *store) check(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unchecked = !on
}

// overwritten returns how many lines were lost by writes that left them out.
func (s *store) overwritten() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// watch notes in the history what the guard refuses.
func (s *store) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(sw, r)
		if sw.status != http.StatusPreconditionFailed {
			return
		}
		token, _ := lock.ParseFence(r.Header)
		why := fmt.Sprintf("%s refused: %d has been seen", r.Method, s.guard.Highest(r.URL.Path))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.history = append(s.history, entry{at: time.Now(), object: r.URL.Path[1:], token: token, refused: why})
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// clear forgets all objects.
func (s *store) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects, s.history = map[string]string{}, nil
}

// remark notes in the history what happened beside it.
func (s *store) remark(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, entry{at: time.Now(), remark: fmt.Sprintf(format, args...)})
}

// lines returns the lines of an object.
func (s *store) lines(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSuffix(s.objects["/"+name], "\n"), "\n")
}

// writes returns the accepted writes, in order.
func (s *store) writes() []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.history), func(e entry) bool { return e.remark != "" || e.refused != "" })
}

// refusals returns how many requests the guard has refused.
func (s *store) refusals() int {
	if s.guard == nil {
		return 0
	}
	return int(s.guard.Stats().Refused)
}

// print shows the history: all remarks, and the writes next to them.
func (s *store) print(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, skipped, n := s.history, 0, 0
	near := func(i int) bool {
		for j := max(i-2, 0); j <= min(i+2, len(h)-1); j++ {
			if h[j].remark != "" || h[j].refused != "" {
				return true
			}
		}
		return i < 3 || i >= len(h)-2
	}
	for i, e := range h {
		if e.remark == "" && e.refused == "" {
			n++
		}
		if !near(i) {
			skipped++
			continue
		}
		if skipped > 0 {
			fmt.Fprintf(w, "         … %d more\n", skipped)
			skipped = 0
		}
		switch {
		case e.remark != "":
			fmt.Fprintf(w, "         ── %s\n", e.remark)
		case e.refused != "":
			fmt.Fprintf(w, "     ✗   token %4d  %s\n", e.token, e.refused)
		default:
			fmt.Fprintf(w, "  %4d.  token %4d  %s\n", n, e.token, e.line)
		}
	}
}
