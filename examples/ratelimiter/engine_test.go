//go:build engines

package main

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// startRedis starts a server that ends with the test, and returns its URL.
func startRedis(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c := goredis.NewClient(&goredis.Options{Addr: address, MaxRetries: -1})
	defer c.Close()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for limit := time.After(20 * time.Second); c.Ping(t.Context()).Err() != nil; {
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatal("redis-server is not ready")
		}
	}
	return "redis://" + address
}

// TestRedis runs the whole story with Redis beside the nodes: it keeps the same limits.
func TestRedis(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), &out, config{n: 1000, redis: startRedis(t)}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "\n  Redis, leases ") {
		t.Errorf("Redis is not there:\n%s", &out)
	}
}

// Without Redis, each way to fail does what it says.
func TestRedisFails(t *testing.T) {
	t.Parallel()
	for fail, want := range map[string]int{failOpen: 120, failClosed: 0, failShare: 50} {
		url := startRedis(t)
		set := setting{Mode: modeRemote, Policy: quota, Redis: url, Run: "run", Fail: fail, Balancers: 2, Timeout: patience, Share: 7, Keep: time.Minute, Pending: 4, Flush: time.Hour}
		d, err := newDecider("b", set)
		if err != nil {
			t.Fatal(err)
		}
		c := goredis.NewClient(&goredis.Options{Addr: strings.TrimPrefix(url, "redis://"), MaxRetries: -1})
		_ = c.Shutdown(t.Context()).Err() // it answers with its end
		c.Close()
		pass := 0
		for range 120 {
			x, err := d.Check(t.Context(), "k", 1)
			if err != nil {
				t.Fatal(err)
			}
			if x.OK {
				pass++
			}
		}
		if pass != want {
			t.Errorf("%s: %d pass, want %d", fail, pass, want)
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := openRedis(setting{Policy: quota, Redis: "http://localhost"}); err == nil {
		t.Error("a URL that is not Redis'")
	}
	if _, err := openRedis(setting{Policy: quota, Mode: "none such", Redis: "redis://127.0.0.1:1", Fail: failOpen}); err == nil {
		t.Error("a mode of no name")
	}
}
