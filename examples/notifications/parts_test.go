package main

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

func TestPopulation(t *testing.T) {
	p := populate(60)
	if again := populate(60); !reflect.DeepEqual(p, again) {
		t.Error("two populations differ")
	}
	if p.sizes[0] != 30_000 || len(p.sizes) != topics || p.sizes[topics-1] != 1 {
		t.Errorf("sizes %d … %d of %d", p.sizes[0], p.sizes[len(p.sizes)-1], len(p.sizes))
	}
	got := make([]int, topics)
	for i, row := range p.rows {
		if i > 0 && string(p.rows[i-1].key()) >= string(row.key()) {
			t.Fatalf("row %v after %v", row, p.rows[i-1])
		}
		if int(row.user) >= p.users {
			t.Fatalf("row %v of %d users", row, p.users)
		}
		got[row.topic-1]++
	}
	if !slices.Equal(got, p.sizes) {
		t.Error("the rows do not have the sizes")
	}
}

// The feed has what the table has, also when it was published twice, as by a
// connector that died between the log and its outbox.
func TestFeed(t *testing.T) {
	tab, err := openTable(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer tab.close()
	log := stream.NewMem()
	if err := createTopics(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	rows := []subscription{{1, 7}, {1, 9}, {2, 7}, {3, 8}}
	if err := tab.subscribe(rows...); err != nil {
		t.Fatal(err)
	}
	if err := tab.unsubscribe(subscription{2, 7}, subscription{3, 8}); err != nil {
		t.Fatal(err)
	}
	if err := tab.subscribe(subscription{3, 8}); err != nil {
		t.Fatal(err)
	}
	n, err := tab.publish(t.Context(), log)
	if err != nil || n != 7 {
		t.Fatalf("published %d, %v, want 7", n, err)
	}
	if n, err := tab.publish(t.Context(), log); n != 0 || err != nil {
		t.Fatalf("published %d more, %v", n, err)
	}
	for p := range partitions { // once more what is there
		partition := stream.Partition{Topic: topicChanges, Number: p}
		_, end, err := log.Bounds(t.Context(), partition)
		if err != nil {
			t.Fatal(err)
		}
		var again []stream.Record
		for r, err := range stream.Scan(t.Context(), log, partition, 0, end) {
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, stream.Record{Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)})
		}
		if len(again) > 0 {
			if _, err := log.Append(t.Context(), partition, again); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := newDirectory()
	if err := d.fill(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	if d.changes() != 14 {
		t.Errorf("%d changes, want 14", d.changes())
	}
	if same, err := d.equal(tab); !same || err != nil {
		t.Errorf("the map equals the table: %v, %v", same, err)
	}
	delete(d.shard(8).of[8], 3)
	if same, _ := d.equal(tab); same {
		t.Error("equal does not see that a subscriber is missing")
	}
	for topic, want := range map[topicID][]userID{7: {1}, 8: {3}, 9: {1}, 10: nil} {
		got, read, err := tab.scan(topic)
		if err != nil || !slices.Equal(got, want) || read != 3 {
			t.Errorf("scan(%d) = %v, %d rows, %v, want %v", topic, got, read, err, want)
		}
	}
	if got, err := tab.topicsOf(1); err != nil || !slices.Equal(got, []topicID{7, 9}) {
		t.Errorf("topicsOf(1) = %v, %v", got, err)
	}
}

func testStore(t *testing.T) *store {
	t.Helper()
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func moments(list []notification) (at, prev []int64) {
	for _, n := range list {
		at, prev = append(at, n.At), append(prev, n.Prev)
	}
	return at, prev
}

func TestStore(t *testing.T) {
	s := testStore(t)
	for range 2 { // a router that died stores once more
		list := []notification{{Topic: 5, At: 10}, {Topic: 6, At: 11}, {Topic: 5, At: 12}, {Topic: 4, At: 13}, {Topic: 5, At: 20}}
		if err := s.put(list); err != nil {
			t.Fatal(err)
		}
		if _, prev := moments(list); !slices.Equal(prev, []int64{0, 0, 10, 0, 12}) {
			t.Errorf("predecessors %v", prev)
		}
	}
	for _, c := range []struct {
		topic topicID
		after int64
		want  []int64
	}{{5, 0, []int64{10, 12, 20}}, {5, 10, []int64{12, 20}}, {5, 20, nil}, {6, 0, []int64{11}}, {7, 0, nil}} {
		list, err := s.after(c.topic, c.after)
		if at, _ := moments(list); err != nil || !slices.Equal(at, c.want) {
			t.Errorf("after(%d, %d) = %v, %v, want %v", c.topic, c.after, at, err, c.want)
		}
	}
	for _, c := range []struct {
		topic topicID
		most  int
		want  []int64
	}{{5, 2, []int64{12, 20}}, {5, 9, []int64{10, 12, 20}}, {6, 9, []int64{11}}, {4, 9, []int64{13}}, {9, 9, nil}, {1, 9, nil}} {
		list, err := s.latest(c.topic, c.most)
		if at, _ := moments(list); err != nil || !slices.Equal(at, c.want) {
			t.Errorf("latest(%d, %d) = %v, %v, want %v", c.topic, c.most, at, err, c.want)
		}
	}
}

func TestCache(t *testing.T) {
	s := testStore(t)
	var all []notification
	for i := range 3 * depth {
		all = append(all, notification{Topic: 1, At: int64(i + 1)})
	}
	if err := s.put(all); err != nil {
		t.Fatal(err)
	}
	c := newCache(s, time.Hour)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			list, err := c.after(1, 3*depth-2)
			if err != nil || len(list) != 2 || list[0].At != 3*depth-1 {
				t.Errorf("after = %v, %v", list, err)
			}
		})
	}
	wg.Wait()
	if polls, reads := c.count(1); polls != 50 || reads != 1 {
		t.Errorf("%d polls, %d reads, want 50 and 1", polls, reads)
	}
	// Older than what an entry holds, and exactly as old.
	for _, at := range []int64{0, depth, 2*depth - 1, 2 * depth, 2*depth + 1, 3 * depth} {
		list, err := c.after(1, at)
		if err != nil || len(list) != int(3*depth-at) {
			t.Errorf("after(%d): %d notifications, %v", at, len(list), err)
		}
	}
	if list, err := c.after(2, 0); err != nil || len(list) != 0 {
		t.Errorf("of an unknown topic: %v, %v", list, err)
	}
	old := newCache(s, 0)
	for range 3 {
		if _, err := old.after(1, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, reads := old.count(1); reads != 3 {
		t.Errorf("an entry without time to live was read %d times for 3 polls", reads)
	}
}

func TestRouting(t *testing.T) {
	r, err := newRouting()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.assign(1); err != errNoServer {
		t.Fatalf("without servers: %v", err)
	}
	var gone *httptest.Server
	for i := range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		if i == 0 {
			gone = s
		} else {
			defer s.Close()
		}
		if err := r.add(fmt.Sprint("s", i), s.Listener.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	at := map[string][]userID{}
	for u := range userID(300) {
		server, _, err := r.assign(u)
		if err != nil {
			t.Fatal(err)
		}
		at[server] = append(at[server], u)
	}
	for s, users := range at {
		if len(users) > 105 || r.balance.Load(s) != len(users) {
			t.Errorf("%s has %d users, of which the balancer knows %d; the bound is 105", s, len(users), r.balance.Load(s))
		}
	}
	// One that lives is suspected in vain.
	r.suspect("s1", r.address["s1"])
	if r.ring.Len() != 3 {
		t.Error("a living server was removed")
	}
	address := gone.Listener.Addr().String()
	gone.Close()
	r.suspect("s0", address)
	r.suspect("s0", address) // by a second client
	if r.ring.Len() != 2 || r.balance.Load("s0") != 0 {
		t.Errorf("%d servers, s0 has %d", r.ring.Len(), r.balance.Load("s0"))
	}
	for _, u := range at["s0"] {
		if server, _, _ := r.find(u); server != "" {
			t.Errorf("user %d is still at %q", u, server)
		}
		if server, _, err := r.assign(u); err != nil || server == "s0" {
			t.Errorf("user %d goes to %q, %v", u, server, err)
		}
	}
	if moved := r.settle(); moved != len(at["s0"]) {
		t.Errorf("%d moved, want %d", moved, len(at["s0"]))
	}
	for _, u := range at["s1"] {
		if server, _, _ := r.find(u); server != "s1" {
			t.Errorf("user %d of a living server is at %q", u, server)
		}
	}
	r.leave(at["s1"][0])
	if server, _, _ := r.find(at["s1"][0]); server != "" {
		t.Errorf("who has left is at %q", server)
	}
}

func TestReadEvent(t *testing.T) {
	in := bufio.NewReader(strings.NewReader("retry: 300\n\nevent: push\ndata: {\"a\": 1}\n\n: alive\n\nevent: fence\ndata: 2\n\nevent: half"))
	for _, want := range [][2]string{{"push", `{"a": 1}`}, {"fence", "2"}} {
		event, data, err := readEvent(in)
		if err != nil || event != want[0] || data != want[1] {
			t.Errorf("read %q %q, %v, want %q", event, data, err, want)
		}
	}
	if event, _, err := readEvent(in); err == nil {
		t.Errorf("half an event was read as %q", event)
	}
}

// A device with a memory shows each once, in order, whatever comes twice, late or not
// at all.
func TestDeviceMemory(t *testing.T) {
	s := &service{store: testStore(t)}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	list := make([]notification, 6)
	for i := range list {
		list[i] = notification{Topic: 3, At: int64(10 * (i + 1))}
	}
	if err := s.store.put(list); err != nil {
		t.Fatal(err)
	}
	c := newClient(1, s.url, true, time.Hour, 10) // the first is known
	c.cursor[3] = 10
	for _, i := range []int{0, 1, 1, 4, 2, 3, 4, 5} { // 2 and 3 are missing when 4 comes: all that is stored is fetched
		if err := c.take(t.Context(), list[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range list {
		if got, want := c.shown[message{3, n.At}], min(i, 1); got != want {
			t.Errorf("number %d was shown %d times, want %d", i, got, want)
		}
	}
	if want := (counts{pushed: 1, fetched: 4, dropped: 6, gaps: 1}); c.counts != want {
		t.Errorf("counts %+v, want %+v", c.counts, want)
	}
	forgetful := newClient(1, s.url, false, time.Hour, 10)
	for _, i := range []int{1, 1, 4} {
		if err := forgetful.take(t.Context(), list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if want := (counts{pushed: 3, twice: 1}); forgetful.counts != want {
		t.Errorf("without a memory: %+v, want %+v", forgetful.counts, want)
	}
}

func TestRemembering(t *testing.T) {
	list := []delivery{{0, 0}, {0, 1}, {1, 0}, {0, 0}, {1, 2}, {1, 1}, {1, 2}}
	for _, c := range []struct {
		name string
		got  remembering
		want remembering
	}{
		{"one key", rememberKeys(list, 1), remembering{twice: 2, bytes: keyBytes}},
		{"two keys", rememberKeys(list, 2), remembering{twice: 1, bytes: 2 * keyBytes}},
		{"all keys", rememberKeys(list, 0), remembering{bytes: 5 * keyBytes}},
		{"the last", rememberLast(list, 2), remembering{bytes: 2 * keyBytes, fetched: 1, requests: 1}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, c.got, c.want)
		}
	}
}

// A ring moves the share of the dead server, a remainder three quarters of all.
func TestChoosing(t *testing.T) {
	c, err := chooseAll(100_000, 400)
	if err != nil {
		t.Fatal(err)
	}
	if c.ring != c.victim || c.ring < 0.2 || c.ring > 0.3 {
		t.Errorf("on the ring %.3f move, the dead one had %.3f", c.ring, c.victim)
	}
	if c.modulo < 0.74 || c.modulo > 0.76 {
		t.Errorf("modulo moves %.3f, want 3 of 4", c.modulo)
	}
	if c.bounded > 1.05 || c.owners <= c.bounded || c.away <= 0 {
		t.Errorf("%+v", c)
	}
}
