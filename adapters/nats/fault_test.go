package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ashlar-go/ashlar/stream"
)

// newTopic makes a topic and returns its partitions.
func newTopic(t testing.TB, l *Log, name string, n int) []stream.Partition {
	t.Helper()
	if err := l.CreateTopic(ctx, name, &stream.TopicOptions{Partitions: n}); err != nil {
		t.Fatal(err)
	}
	var ps []stream.Partition
	for i := range n {
		ps = append(ps, stream.Partition{Topic: name, Number: i})
	}
	return ps
}

func values(vs ...string) []stream.Record {
	var out []stream.Record
	for _, v := range vs {
		out = append(out, stream.Record{Value: []byte(v)})
	}
	return out
}

// all returns the values of a partition and their offsets.
func all(t testing.TB, l *Log, p stream.Partition) (vs []string, at []int64) {
	t.Helper()
	first, next, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	c, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for r, err := range stream.Scan(c, l, p, first, next) {
		if err != nil {
			t.Fatal(err)
		}
		vs, at = append(vs, string(r.Value)), append(at, r.Offset)
	}
	return vs, at
}

// until waits for a condition that has to come about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A flaky dialer's connections break at random: before something is written, or
// when something comes.
type flaky struct {
	mu  sync.Mutex
	rng *rand.Rand
	one int // in so many calls
	cut int // how many it were
}

func (f *flaky) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &flakyConn{c, f}, nil
}

func (f *flaky) now() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.one == 0 || f.rng.IntN(f.one) > 0 {
		return false
	}
	f.cut++
	return true
}

type flakyConn struct {
	net.Conn
	f *flaky
}

var errCut = errors.New("the test cut the connection")

func (c *flakyConn) Write(b []byte) (int, error) {
	if c.f.now() {
		c.Close()
		return 0, errCut
	}
	return c.Conn.Write(b)
}

func (c *flakyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.f.now() {
		c.Close()
		return 0, errCut
	}
	return n, err
}

// TestFlakyConnection appends, compacts and transacts over connections that
// break. What was acknowledged is there once, where it was said to be.
func TestFlakyConnection(t *testing.T) {
	const seed, writers, each = 5, 3, 30
	url := single(t)
	f := &flaky{rng: rand.New(rand.NewPCG(seed, 1))}
	l := dial(t, url, &Options{Client: []natsgo.Option{natsgo.SetCustomDialer(f), natsgo.ReconnectWait(time.Millisecond)}})
	ps := newTopic(t, l, "t", 2)
	out := newTopic(t, l, "out", 2)
	keyed := stream.Partition{Topic: "keyed"}
	if err := l.CreateTopic(ctx, "keyed", &stream.TopicOptions{Compact: true}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.one = 30
	f.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	said := map[stream.Partition]map[int64]string{ps[0]: {}, ps[1]: {}, out[0]: {}, out[1]: {}, keyed: {}}
	note := func(p stream.Partition, at int64, v string) {
		mu.Lock()
		said[p][at] = v
		mu.Unlock()
	}
	for i := range writers {
		wg.Go(func() {
			for k := range each {
				v := fmt.Sprint(i, " ", k)
				p := ps[i%len(ps)]
				first, err := l.Append(ctx, p, values(v))
				if err != nil {
					t.Errorf("Append = %v", err)
					return
				}
				note(p, first, v)
			}
		})
		wg.Go(func() {
			for k := range each {
				v := fmt.Sprint(i, " ", k)
				tx := &stream.Tx{Appends: []stream.Append{{Partition: out[0], Records: values(v)}, {Partition: out[1], Records: values(v)}}}
				if k%2 == 0 {
					tx.Group, tx.Offsets = "g", map[stream.Partition]stream.Offset{ps[0]: {Next: stream.Keep, Epoch: 1}}
				}
				firsts, err := l.Transact(ctx, tx)
				if err != nil {
					t.Errorf("Transact = %v", err)
					return
				}
				note(out[0], firsts[0], v)
				note(out[1], firsts[1], v)
			}
		})
		wg.Go(func() {
			for k := range each {
				// A key of its own in each record, so that nothing is compacted away.
				v, w := fmt.Sprint(i, " ", k, "v"), fmt.Sprint(i, " ", k, "w")
				first, err := l.Append(ctx, keyed, []stream.Record{{Key: []byte(v), Value: []byte(v)}, {Key: []byte(w), Value: []byte(w)}})
				if err != nil {
					t.Errorf("Append of two keys = %v", err)
					return
				}
				note(keyed, first, v)
				note(keyed, first+1<<shift, w)
			}
		})
	}
	wg.Wait()
	f.mu.Lock()
	f.one = 0
	cut := f.cut
	f.mu.Unlock()
	for p, want := range said {
		vs, at := all(t, l, p)
		if len(vs) != len(want) {
			t.Errorf("seed %d: %v holds %d records, want %d", seed, p, len(vs), len(want))
		}
		for i, v := range vs {
			if want[at[i]] != v {
				t.Errorf("seed %d: %v holds %q at %d, want %q", seed, p, v, at[i], want[at[i]])
			}
		}
	}
	if cut < 10 {
		t.Errorf("only %d cuts", cut)
	}
}

// TestRestart stops the server under a log, which then goes on.
func TestRestart(t *testing.T) {
	s, url := startOne(t, t.TempDir(), 0)
	l := dial(t, url, &Options{Timeout: 30 * time.Second})
	p := newTopic(t, l, "t", 1)[0]
	if _, err := l.Append(ctx, p, values("before")); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan string, 1)
	first, next, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for r, err := range stream.Tail(ctx, l, p, next) {
			waiting <- fmt.Sprint(string(r.Value), err)
			return
		}
	}()
	until(t, "a reader waits", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.watchers[p] != nil
	})
	dir, port := s.StoreDir(), s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(ctx, p, values("meanwhile"))
		done <- err
	}()
	startOne(t, filepath.Dir(dir), port)
	if err := <-done; err != nil {
		t.Errorf("Append while the server was away = %v", err)
	}
	if v := <-waiting; v != "meanwhile<nil>" {
		t.Errorf("the reader that waited got %q", v)
	}
	if err := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {Next: first, Epoch: 1}}); err != nil {
		t.Error(err)
	}
	if got, _ := all(t, l, p); !slices.Equal(got, []string{"before", "meanwhile"}) {
		t.Errorf("the partition holds %q", got)
	}
}

// TestNobodyAnswers: a server that went away for good is reported in time.
func TestNobodyAnswers(t *testing.T) {
	s, url := startOne(t, t.TempDir(), 0)
	l := dial(t, url, &Options{Timeout: time.Second})
	p := newTopic(t, l, "t", 1)[0]
	s.Shutdown()
	s.WaitForShutdown()
	_, err := l.Append(ctx, p, values("x"))
	_, _, bounds := l.Bounds(ctx, p)
	commit := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {}})
	read := l.Read(ctx, p, 0, new(stream.Batch))
	for what, err := range map[string]error{"Append": err, "Bounds": bounds, "Commit": commit, "Read": read} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want %v", what, err, context.DeadlineExceeded)
		}
	}
	c, cancel := context.WithCancel(ctx)
	cancelled := make(chan error, 1)
	go func() { cancelled <- l.Read(c, p, 0, new(stream.Batch)) }()
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("Read = %v", err)
	}
}

// TestCompaction: of each key the last record stays, whatever its length and
// bytes, and also if it comes twice in one append.
func TestCompaction(t *testing.T) {
	l := dial(t, single(t), nil)
	if err := l.CreateTopic(ctx, "keyed", &stream.TopicOptions{Compact: true, TombstoneKeep: time.Second}); err != nil {
		t.Fatal(err)
	}
	p := stream.Partition{Topic: "keyed"}
	long := strings.Repeat("k", 1000)
	put := func(kvs ...string) {
		t.Helper()
		var rs []stream.Record
		for i := 0; i < len(kvs); i += 2 {
			r := stream.Record{Key: []byte(kvs[i]), Value: []byte(kvs[i+1])}
			if kvs[i+1] == "" {
				r.Value = nil
			}
			rs = append(rs, r)
		}
		if _, err := l.Append(ctx, p, rs); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want ...string) {
		t.Helper()
		if got, _ := all(t, l, p); !slices.Equal(got, want) {
			t.Errorf("the partition holds %q, want %q", got, want)
		}
	}
	put("a", "a1")
	put("b.*>\x00", "b1", long, "c1", long+"x", "d1")
	want("a1", "b1", "c1", "d1")
	put("b.*>\x00", "b2")
	put(long, "c2", "a", "a2", "a", "a3")
	put("a", "a4")
	want("d1", "b2", "c2", "a4")
	put(long, "", "e", "e1")
	want("d1", "b2", "a4", "", "e1")
	_, end, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	put("e", "")
	until(t, "the tombstones are gone", func() bool {
		got, _ := all(t, l, p)
		return slices.Equal(got, []string{"d1", "b2", "a4"})
	})
	// A reader that stands behind what is gone waits, and goes on.
	got := make(chan string, 1)
	go func() {
		for r, err := range stream.Tail(ctx, l, p, end) {
			got <- fmt.Sprint(string(r.Value), err)
			return
		}
	}()
	put("f", "f1")
	if v := <-got; v != "f1<nil>" {
		t.Errorf("a reader behind what is gone got %q", v)
	}
	many := make([]stream.Record, maxMessages)
	for i := range many {
		many[i] = stream.Record{Key: fmt.Append(nil, i)}
	}
	if _, err := l.Append(ctx, p, many); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("Append of %d keys = %v", len(many), err)
	}
	if _, err := l.Append(ctx, p, many[:maxMessages-1]); err != nil {
		t.Errorf("Append of %d keys = %v", len(many)-1, err)
	}
}

// TestRetention: records expire, and who reads there is told.
func TestRetention(t *testing.T) {
	l := dial(t, single(t), nil)
	if err := l.CreateTopic(ctx, "t", &stream.TopicOptions{Retention: time.Second}); err != nil {
		t.Fatal(err)
	}
	p := stream.Partition{Topic: "t"}
	if _, err := l.Append(ctx, p, values("a", "b")); err != nil {
		t.Fatal(err)
	}
	_, end, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the records have expired", func() bool {
		got, _ := all(t, l, p)
		return len(got) == 0
	})
	first, err := l.Append(ctx, p, values("c"))
	if err != nil {
		t.Fatal(err)
	}
	var off *stream.OffsetError
	if err := l.Read(ctx, p, 0, new(stream.Batch)); !errors.As(err, &off) || off.First != first {
		t.Errorf("Read of what has expired = %v", err)
	}
	var b stream.Batch
	if err := l.Read(ctx, p, first, &b); err != nil || string(b.Records[0].Value) != "c" || first < end {
		t.Errorf("Read = %v, %v", b.Records, err)
	}
}

// TestDamage: a message that is no envelope is reported with its offsets, and
// reading goes on behind it.
func TestDamage(t *testing.T) {
	l := dial(t, single(t), nil)
	p := newTopic(t, l, "t", 1)[0]
	for _, v := range []string{"a", "", "b"} {
		if v == "" {
			if _, err := l.js.Publish(ctx, l.subject(p), []byte("somebody else's")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := l.Append(ctx, p, values(v)); err != nil {
			t.Fatal(err)
		}
	}
	_, end, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r, err := range stream.Scan(ctx, l, p, 0, end) {
		var d *stream.DamageError
		if errors.As(err, &d) && errors.Is(err, stream.ErrCorrupt) && d.To-d.From == 1<<shift {
			got = append(got, "damage")
		} else if err != nil {
			t.Fatal(err)
		} else {
			got = append(got, string(r.Value))
		}
	}
	if !slices.Equal(got, []string{"a", "damage", "b"}) {
		t.Errorf("the partition holds %q", got)
	}
}

// TestLimits: what does not fit is refused before anything is written.
func TestLimits(t *testing.T) {
	url := single(t)
	l := dial(t, url, &Options{MaxBatch: 10_000, Timeout: 2 * time.Second})
	p := newTopic(t, l, "t", 1)[0]
	big := []stream.Record{{Value: bytes.Repeat([]byte("x"), 10_000)}}
	if _, err := l.Append(ctx, p, big); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("Append = %v", err)
	}
	if _, err := l.Transact(ctx, &stream.Tx{Appends: []stream.Append{{Partition: p, Records: values("x")}, {Partition: p, Records: big}}}); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("Transact = %v", err)
	}
	if got, _ := all(t, l, p); len(got) != 0 {
		t.Errorf("the partition holds %.20q", got)
	}
	for name, o := range map[string]*Options{
		"Prefix":   {Prefix: "a.b"},
		"Replicas": {Replicas: -1},
		"MaxBatch": {MaxBatch: 100 << 20},
		"Timeout":  {Timeout: time.Millisecond},
	} {
		if l, err := Dial(ctx, url, o); !errors.Is(err, stream.ErrInvalid) {
			t.Errorf("Dial with a bad %s = %v", name, err)
			if err == nil {
				l.Close()
			}
		}
	}
	// A stream that is not a log's.
	if _, err := l.js.CreateStream(ctx, jetstream.StreamConfig{Name: "other", Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	if other, err := Dial(ctx, url, &Options{Prefix: "other"}); !errors.Is(err, stream.ErrInvalid) {
		t.Errorf("Dial to another's stream = %v", err)
		if err == nil {
			other.Close()
		}
	}
	if _, err := Dial(ctx, "nats://127.0.0.1:1", nil); err == nil {
		t.Error("Dial to nobody passed")
	}
}

// TestNoLeaks: Close ends every goroutine.
func TestNoLeaks(t *testing.T) {
	url := single(t)
	use := func() {
		l, err := Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := newTopic(t, l, "t", 1)[0]
		if _, err := l.Append(ctx, p, values("x")); err != nil {
			t.Fatal(err)
		}
		_, end, err := l.Bounds(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- l.Read(ctx, p, end, new(stream.Batch)) }()
		until(t, "the reader waits", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.watchers[p] != nil
		})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, stream.ErrClosed) {
			t.Errorf("Read = %v", err)
		}
	}
	// The server has goroutines for each connection, and some for good.
	count := func() int {
		buf := make([]byte, 4<<20)
		n := 0
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "adapters/nats.(*") || strings.Contains(g, "nats.go@") {
				n++
			}
		}
		return n
	}
	before := count()
	for range 3 {
		use()
	}
	until(t, "all goroutines have ended", func() bool { return count() <= before })
}
