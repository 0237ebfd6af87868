package nats

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/streamtest"
)

// A member is a server of a cluster, in a process of its own: this test's
// program, started again.
type member struct {
	Name   string
	Port   int
	Route  int
	Routes []string
	Dir    string

	cmd   *exec.Cmd
	stdin io.Closer
}

const memberVariable = "ASHLAR_TEST_NATS_MEMBER"

func TestMain(m *testing.M) {
	if config := os.Getenv(memberVariable); config != "" {
		if err := serve(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve is a member, until it is killed or the test's end closes its input.
func serve(config string) error {
	var m member
	if err := json.Unmarshal([]byte(config), &m); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: m.Name, Host: "127.0.0.1", Port: m.Port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: m.Dir,
		Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: m.Route}, Routes: server.RoutesFromStr(strings.Join(m.Routes, ",")),
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return fmt.Errorf("%s does not start", m.Name)
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	return err
}

func (m *member) start(t testing.TB) {
	t.Helper()
	config, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), memberVariable+"="+string(config))
	m.cmd.Stderr = os.Stderr
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("%s says %q, %v", m.Name, line, err)
	}
}

// kill ends the process at once, as kill -9 does.
func (m *member) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill() // it may have ended
		_ = m.cmd.Wait()         // the error says that it was killed
		m.cmd = nil
	}
}

// three returns the members of a cluster, not started yet, and their addresses.
func three(t testing.TB) ([]*member, string) {
	t.Helper()
	var ports []int
	for range 6 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // only when all are chosen
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	var ms []*member
	var urls, routes []string
	for i := range 3 {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[3+i]))
	}
	dir := t.TempDir()
	for i := range 3 {
		m := &member{Name: fmt.Sprint("n", i), Port: ports[i], Route: ports[3+i], Routes: routes, Dir: filepath.Join(dir, fmt.Sprint(i))}
		ms = append(ms, m)
		t.Cleanup(m.kill)
	}
	return ms, strings.Join(urls, ",")
}

func TestThreeServers(t *testing.T) {
	members, url := three(t)
	var starting sync.WaitGroup
	for _, m := range members {
		starting.Go(func() { m.start(t) })
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	t.Run("Conformance", func(t *testing.T) {
		streamtest.Run(t, func(t *testing.T) stream.Log {
			return dial(t, url, &Options{Prefix: "test-" + randomID(), Replicas: 3})
		})
	})
	t.Run("Shared", func(t *testing.T) {
		streamtest.RunShared(t, func(t *testing.T) (a, b stream.Log) {
			o := &Options{Prefix: "test-" + randomID(), Replicas: 3}
			return dial(t, url, o), dial(t, url, o)
		})
	})
	t.Run("KillLeader", func(t *testing.T) { testKillLeader(t, members, url) })
}

// testKillLeader kills the server that leads the stream while records are
// appended and transactions made, starts it again, and does so once more. What
// was acknowledged is there once, whole and in order, and a reader that follows
// has seen the same.
func testKillLeader(t *testing.T, members []*member, url string) {
	const writers, kills, size = 3, 2, 3
	l := dial(t, url, &Options{Prefix: "kill", Replicas: 3})
	ps := newTopic(t, l, "t", 2)
	out := newTopic(t, l, "out", 2)
	var acks atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	appended, transacted := make([]int, writers), make([]int, writers)
	for i := range writers {
		wg.Go(func() {
			for k := 0; !stopped(); k++ {
				var vs []string
				for m := range size {
					vs = append(vs, fmt.Sprintf("%d %d %d", i, k, m))
				}
				if _, err := l.Append(ctx, ps[i%len(ps)], values(vs...)); err != nil {
					t.Errorf("Append = %v", err)
					return
				}
				appended[i] = k + 1
				acks.Add(1)
			}
		})
		wg.Go(func() {
			for k := 0; !stopped(); k++ {
				v := fmt.Sprintf("%d %d", i, k)
				_, err := l.Transact(ctx, &stream.Tx{
					Group: "g", Offsets: map[stream.Partition]stream.Offset{ps[i%len(ps)]: {Next: int64(k), Epoch: 1}},
					Appends: []stream.Append{{Partition: out[0], Records: values(v)}, {Partition: out[1], Records: values(v)}},
				})
				if err != nil {
					t.Errorf("Transact = %v", err)
					return
				}
				transacted[i] = k + 1
				acks.Add(1)
			}
		})
	}
	follow, cancel := context.WithCancel(ctx)
	defer cancel()
	var seen []string
	var seenMu sync.Mutex
	following := make(chan struct{})
	go func() {
		defer close(following)
		for r, err := range stream.Tail(follow, l, ps[0], 0) {
			if follow.Err() != nil {
				return
			}
			if err != nil {
				t.Errorf("the reader that follows: %v", err)
				return
			}
			seenMu.Lock()
			seen = append(seen, string(r.Value))
			seenMu.Unlock()
		}
	}()
	progress := func(n int64) {
		from := acks.Load()
		until(t, fmt.Sprint(n, " more acknowledgements"), func() bool { return t.Failed() || acks.Load() >= from+n })
	}
	for range kills {
		progress(100)
		leader := ""
		until(t, "the stream has a leader, and all replicas", func() bool {
			s, err := l.js.Stream(ctx, "kill")
			if err != nil {
				return false
			}
			c := s.CachedInfo().Cluster
			for _, r := range c.Replicas {
				if !r.Current || r.Offline {
					return false
				}
			}
			leader = c.Leader
			return len(c.Replicas) == 2 && leader != ""
		})
		m := members[slices.IndexFunc(members, func(m *member) bool { return m.Name == leader })]
		m.kill()
		progress(100)
		m.start(t)
	}
	progress(100)
	close(stop)
	wg.Wait()
	for i, p := range ps {
		got, at := all(t, l, p)
		next := map[int]int{}
		for i := 0; i < len(got); i += size {
			var who, k int
			fmt.Sscanf(got[i], "%d %d 0", &who, &k)
			for m := range size {
				if i+m >= len(got) || got[i+m] != fmt.Sprintf("%d %d %d", who, k, m) || at[i+m] != at[i]+int64(m) {
					t.Fatalf("%v is not whole at %d: %q", p, at[i], got[i:])
				}
			}
			if next[who] != k {
				t.Fatalf("writer %d: batch %d, want %d", who, k, next[who])
			}
			next[who]++
		}
		for w := range writers {
			if w%len(ps) == i && next[w] != appended[w] {
				t.Errorf("writer %d has %d batches, want %d", w, next[w], appended[w])
			}
		}
		if i == 0 {
			until(t, "the reader that follows has all", func() bool {
				seenMu.Lock()
				defer seenMu.Unlock()
				return t.Failed() || len(seen) >= len(got)
			})
			cancel()
			<-following
			if !slices.Equal(seen, got) {
				t.Errorf("the reader that followed saw %d records, want %d", len(seen), len(got))
			}
		}
	}
	total := 0
	for _, n := range transacted {
		total += n
	}
	for _, p := range out {
		got, _ := all(t, l, p)
		slices.Sort(got)
		if n := len(got); n != total || len(slices.Compact(got)) != n {
			t.Errorf("%v holds %d records, want %d different ones", p, n, total)
		}
	}
	t.Logf("%d acknowledgements over %d kills of the leader", acks.Load(), kills)
}
