package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// publish writes the changes of the user table to its topic, as change data capture
// does from a database, unless they are there.
func publish(ctx context.Context, l stream.Log, changes []change) error {
	p := stream.Partition{Topic: topicUsers}
	_, have, err := l.Bounds(ctx, p)
	if err != nil || have > 0 {
		return err
	}
	var records []stream.Record
	for _, c := range changes {
		row, err := json.Marshal(c.profile)
		if err != nil {
			return err
		}
		records = append(records, stream.Record{Key: []byte(c.user), Value: row, Time: c.from})
	}
	for part := range slices.Chunk(records, 1000) {
		if _, err := l.Append(ctx, p, part); err != nil {
			return err
		}
	}
	return nil
}

// loadUsers reads the topic into a table that remembers which row was valid when.
func loadUsers(ctx context.Context, l stream.Log) (*flow.Table, error) {
	return flow.LoadTable(ctx, l, topicUsers, &flow.TableOptions{History: -1})
}

// nobody is the group of those who were not signed in.
const nobody = "-/-"

// group says by what an event is counted: the country and plan of its user.
func group(row []byte, ok bool) (string, error) {
	if !ok {
		return nobody, nil
	}
	var p profile
	if err := json.Unmarshal(row, &p); err != nil {
		return "", err
	}
	return p.Country + "/" + p.Plan, nil
}

// enrich completes an event with the row that was valid when it happened.
func enrich(users *flow.Table) func(context.Context, *flow.Event[access]) error {
	return func(_ context.Context, e *flow.Event[access]) (err error) {
		row, ok := users.At(e.Value.User, e.Time)
		e.Key, err = group(row, ok)
		return err
	}
}

// A userService is what the table replaces: somebody else's server, which answers
// one question per request.
type userService struct {
	*httptest.Server
	asked atomic.Int64
}

func startUserService(users *flow.Table) *userService {
	s := &userService{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		row, _ := users.Get(r.URL.Query().Get("user")) // it knows the present, not the past
		_, _ = w.Write(row)
	}))
	return s
}

// ask asks about one user.
func (s *userService) ask(ctx context.Context, user string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/?user="+user, nil)
	if err != nil {
		return err
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
