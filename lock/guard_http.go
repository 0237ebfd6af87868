package lock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// FenceHeader is the HTTP header that carries a fencing token to a guarded
// store, as a decimal number without sign or leading zero.
const FenceHeader = "X-Fence-Token"

// SetFence puts the lock's token into the header of a request to a guarded
// store. Every request that is made under the lock carries it, reads too.
func (l *Lock) SetFence(h http.Header) { h.Set(FenceHeader, FormatFence(l.token)) }

// FormatFence returns a token as [FenceHeader] carries it.
func FormatFence(token uint64) string { return strconv.FormatUint(token, 10) }

// errNoFence is the absence of the header.
var errNoFence = errors.New("no " + FenceHeader + " header: lock first, and send the token along")

// ParseFence returns the token in a request's header. The error wraps
// [ErrInvalid] if there is none, more than one, or one that is not as
// [FenceHeader] says.
func ParseFence(h http.Header) (uint64, error) {
	values := h.Values(FenceHeader)
	switch len(values) {
	case 0:
		return 0, fmt.Errorf("%w: %w", ErrInvalid, errNoFence)
	case 1:
	default:
		return 0, fmt.Errorf("%w: %d %s headers", ErrInvalid, len(values), FenceHeader)
	}
	token, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil || token == 0 || FormatFence(token) != values[0] {
		return 0, fmt.Errorf("%w: %s %.30q is not a token", ErrInvalid, FenceHeader, values[0])
	}
	return token, nil
}

// A Refusal is the JSON body with which [Guard.Middleware] refuses a request.
type Refusal struct {
	Error    string `json:"error"`
	Resource string `json:"resource,omitempty"`
	Got      uint64 `json:"got,omitempty"` // the token sent
	Max      uint64 `json:"max,omitempty"` // the one that it would have to reach
}

// maxGuardedBody is the largest request body that Middleware lets through.
const maxGuardedBody = 16 << 20

// Middleware puts the guard in front of an HTTP handler. A request carries its
// token in [FenceHeader] and enters the guard for as long as the handler runs:
// GET and HEAD as [Guard.EnterRead], all others as [Guard.Enter].
//
// Resource names what a request is about. It must give one object one name,
// since two names are two fences; nil stands for the path of the URL, which
// suits handlers behind an [http.ServeMux] (it sends unclean paths elsewhere).
//
// The handler is never at the mercy of a slow client while it keeps others out:
// the request's body is read before (up to 16 MiB) and the answer is sent after.
// Handlers of larger objects, or of streams, call Enter themselves.
//
// Refusals have a [Refusal] as body:
//
//	412  the token is stale
//	428  there is no token
//	400  the token or the resource is invalid
//	413  the body is too large
//	503  the guard's store failed, or the request ended while it waited
func (g *Guard) Middleware(resource func(*http.Request) string) func(http.Handler) http.Handler {
	if resource == nil {
		resource = func(r *http.Request) string { return r.URL.Path }
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := resource(r)
			token, err := ParseFence(r.Header)
			if err != nil {
				refuse(w, name, err)
				return
			}
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxGuardedBody))
			if err != nil {
				refuse(w, name, err)
				return
			}
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(bytes.NewReader(body))
			r.ContentLength = int64(len(body))

			a := answer{header: http.Header{}}
			read := r.Method == http.MethodGet || r.Method == http.MethodHead
			leave, err := g.enter(r.Context(), name, token, read)
			if err != nil {
				refuse(w, name, err)
				return
			}
			func() {
				defer leave()
				next.ServeHTTP(&a, r)
			}()
			a.send(w)
		})
	}
}

func refuse(w http.ResponseWriter, resource string, err error) {
	f := Refusal{Error: err.Error(), Resource: resource}
	status := http.StatusServiceUnavailable
	var stale *StaleError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &stale):
		status, f.Got, f.Max = http.StatusPreconditionFailed, stale.Got, stale.Max
	case errors.Is(err, errNoFence):
		status = http.StatusPreconditionRequired
	case errors.Is(err, ErrInvalid):
		status = http.StatusBadRequest
	case errors.As(err, &large):
		status = http.StatusRequestEntityTooLarge
	default:
		w.Header().Set("Retry-After", "1")
	}
	b, _ := json.Marshal(f) // strings and numbers only
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// An answer holds a handler's response until the guard has been left.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter]. An informational status
// is not the answer; it is dropped.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *answer) send(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	w.Write(a.body.Bytes())
}
