package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/ashlar-go/ashlar/adapters/redis"
	viagoredis "github.com/ashlar-go/ashlar/adapters/redis/goredis"
	"github.com/ashlar-go/ashlar/adapters/redis/rueidisclient"
)

var ctx = context.Background()

// A server is a redis-server in a process of its own.
type server struct {
	t    testing.TB
	addr string
	args []string
	cmd  *exec.Cmd
}

// start starts a server on a free port, and stops it at the end of the test.
func start(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	if len(args) > 1 && args[0] == "--port" {
		port, args = args[1], args[2:]
		addr = "127.0.0.1:" + port
	}
	s := &server{t: t, addr: addr, args: append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, args...)}
	s.run()
	t.Cleanup(s.kill)
	return s
}

func (s *server) run() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", s.args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := goredis.NewClient(&goredis.Options{Addr: s.addr, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	eventually(s.t, func() bool { return c.Ping(ctx).Err() == nil })
}

// kill is kill -9.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for limit := time.After(20 * time.Second); !ok(); {
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatal("waited for 20 s")
		}
	}
}

// shared is a server for all tests that leave it alone, each with its own prefix.
var shared struct {
	sync.Mutex
	s     *server
	tests int
}

func TestMain(m *testing.M) {
	if mode := os.Getenv("ASHLAR_REDIS_NODE"); mode != "" {
		node(mode)
		return
	}
	code := m.Run()
	if shared.s != nil {
		shared.s.kill()
		_ = os.RemoveAll(shared.s.args[7])
	}
	os.Exit(code)
}

// common returns the shared server and a prefix of the test's own.
func common(t testing.TB) (s *server, prefix string) {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.s == nil {
		if _, err := exec.LookPath("redis-server"); err != nil {
			t.Skip("redis-server is not installed")
		}
		dir, err := os.MkdirTemp("", "redis")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		_, port, _ := net.SplitHostPort(addr)
		s := &server{t: t, addr: addr, args: []string{"--port", port, "--save", "", "--bind", "127.0.0.1", "--dir", dir}}
		s.run()
		shared.s = s
	}
	shared.tests++
	return shared.s, "t" + strconv.Itoa(shared.tests) + ":"
}

// raw returns a go-redis client.
func raw(t testing.TB, addr string) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func viaGoRedis(t testing.TB, addr string) redis.Client { return viagoredis.New(raw(t, addr)) }

// viaPrompt is go-redis that heeds deadlines.
func viaPrompt(t testing.TB, addr string) redis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr, DisableIdentity: true, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return viagoredis.New(c)
}

func viaRueidis(t testing.TB, addr string) redis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, DisableRetry: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return rueidisclient.New(c)
}

// clients runs a test with each of the clients.
func clients(t *testing.T, test func(t *testing.T, addr, prefix string, c redis.Client)) {
	all := map[string]func(testing.TB, string) redis.Client{"goredis": viaPrompt, "rueidis": viaRueidis}
	if full {
		all["heedless"] = viaGoRedis
	}
	for name, open := range all {
		t.Run(name, func(t *testing.T) {
			s, prefix := common(t)
			test(t, s.addr, prefix, open(t, s.addr))
		})
	}
}

// A moment is the server's clock, moved by hand. Keys do not expire then.
type moment struct {
	t     testing.TB
	c     *goredis.Client
	key   string
	us    int64
	clock string
}

func newMoment(t testing.TB, addr, prefix string) *moment {
	key := prefix + "now"
	m := &moment{t: t, c: raw(t, addr), key: key, us: 1_767_268_800_123_456, clock: fmt.Sprintf(`
		local real = redis
		local redis = {pcall = real.pcall, call = function(...)
			local a = {...}
			if a[1] == 'SET' then
				assert(a[4] == 'PX' and tonumber(a[5]) >= 1)
				return real.call('SET', a[2], a[3])
			end
			if a[1] == 'PEXPIRE' or a[1] == 'PEXPIREAT' then return 1 end
			return real.call(...)
		end}
		local now = tonumber(real.call('GET', '%s'))
	`, key)}
	m.pass(0)
	return m
}

// pass lets microseconds pass.
func (m *moment) pass(us int64) {
	m.t.Helper()
	m.us += us
	if err := m.c.Set(ctx, m.key, m.us, 0).Err(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *moment) time() time.Time { return time.UnixMicro(m.us) }

// full asks for the longer tests.
var full = os.Getenv("ASHLAR_FULL") == "1"

// serve starts a server for an example.
func serve() (addr string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	c := goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	for range 2000 {
		if err = c.Ping(ctx).Err(); err == nil {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	return addr, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}, err
}
