package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A service is what clients ask by HTTP besides their push server: where to connect,
// what they have subscribed to, what they missed, and what is new in popular topics.
type service struct {
	table     *table
	directory *directory
	store     *store
	cache     *cache
	routing   *routing
	polledAt  atomic.Int64 // subscribers from which on a topic is polled
	url       string
	server    *http.Server
}

func (s *service) start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.url = "http://" + l.Addr().String()
	s.server = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	go s.server.Serve(l) // ends with stop
	return nil
}

func (s *service) stop() { s.server.Close() }

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /route", answer(s.route))
	mux.HandleFunc("POST /leave", answer(s.leave))
	mux.HandleFunc("GET /subscriptions", answer(s.subscriptions))
	mux.HandleFunc("POST /missed", answer(s.missed))
	mux.HandleFunc("GET /poll", answer(s.poll))
	return mux
}

// answer makes a handler of a function that returns what is to be sent as JSON.
func answer[T any](f func(r *http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		var number *strconv.NumError
		switch {
		case errors.Is(err, errNoServer):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case errors.As(err, &number):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v)
		}
	}
}

func userOf(r *http.Request) (userID, error) {
	id, err := strconv.ParseUint(r.FormValue("user"), 10, 32)
	return userID(id), err
}

// A place is where to connect.
type place struct{ Server, Address string }

// route chooses a push server for a user. A client that lost one says which.
func (s *service) route(r *http.Request) (p place, err error) {
	user, err := userOf(r)
	if err != nil {
		return p, err
	}
	s.routing.suspect(r.FormValue("failed"), r.FormValue("address"))
	p.Server, p.Address, err = s.routing.assign(user)
	return p, err
}

func (s *service) leave(r *http.Request) (bool, error) {
	user, err := userOf(r)
	if err == nil {
		s.routing.leave(user)
	}
	return true, err
}

// An interest is a topic that somebody has subscribed to.
type interest struct {
	Topic  topicID
	Polled bool // the client has to ask for it
}

func (s *service) subscriptions(r *http.Request) ([]interest, error) {
	user, err := userOf(r)
	if err != nil {
		return nil, err
	}
	list, err := s.table.topicsOf(user)
	interests := make([]interest, len(list))
	for i, t := range list {
		interests[i] = interest{t, s.directory.count(t) >= int(s.polledAt.Load())}
	}
	return interests, err
}

// missed returns what came in some topics after a time of each, the oldest first:
// for who was away. The body is the times by topic.
func (s *service) missed(r *http.Request) ([]notification, error) {
	var since map[topicID]int64
	if err := json.NewDecoder(r.Body).Decode(&since); err != nil {
		return nil, err
	}
	all := []notification{}
	for topic, at := range since {
		list, err := s.store.after(topic, at)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b notification) int { return cmp.Compare(a.At, b.At) })
	return all, nil
}

// poll returns what came in one popular topic after a time. The answer is the same
// for all who ask with the same time, so a cache at the edge could give it too.
func (s *service) poll(r *http.Request) ([]notification, error) {
	topic, err := strconv.ParseUint(r.FormValue("topic"), 10, 32)
	if err != nil {
		return nil, err
	}
	after, err := strconv.ParseInt(r.FormValue("after"), 10, 64)
	if err != nil {
		return nil, err
	}
	return s.cache.after(topicID(topic), after)
}

// outside is how clients talk to the service.
var outside = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}

// ask calls the service and decodes its answer.
func ask(ctx context.Context, method, address string, query url.Values, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, address+"?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := outside.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
