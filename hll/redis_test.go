package hll

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A redisConn speaks as much of Redis' protocol as the test needs.
type redisConn struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

// startRedis starts a real server on a socket of its own.
func startRedis(t *testing.T) *redisConn {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return &redisConn{t, c, bufio.NewReader(c)}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, out.Bytes())
		}
		time.Sleep(5 * time.Millisecond) // between questions, not before an answer
	}
}

func (c *redisConn) do(args ...any) string {
	c.t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		var s []byte
		switch a := a.(type) {
		case []byte:
			s = a
		default:
			s = fmt.Append(nil, a)
		}
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s)
	}
	if _, err := c.c.Write(b.Bytes()); err != nil {
		c.t.Fatal(err)
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '-':
		c.t.Fatalf("%v: %s", args[0], line)
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			c.t.Fatalf("%v: %s", args[0], line)
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, body); err != nil {
			c.t.Fatal(err)
		}
		return string(body[:n])
	}
	return line[1:]
}

func (c *redisConn) count(key string) float64 {
	c.t.Helper()
	n, err := strconv.ParseFloat(c.do("PFCOUNT", key), 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// near tells whether two estimators agree on one set of registers.
func near(a, b float64) bool { return a-b <= 1+0.02*b && b-a <= 1+0.02*b }

// A real server takes our bytes and we take its, and both are the same registers
// for the same items.
func TestRedis(t *testing.T) {
	r := startRedis(t)
	for _, n := range []int{0, 1, 10, 100, 600, 1200, 5000, 100_000} {
		key := fmt.Sprint("theirs", n)
		ours, err := New(14)
		if err != nil {
			t.Fatal(err)
		}
		r.do("PFADD", key)
		for i := range n {
			item := fmt.Appendf(nil, "item %d of %d", i, n) // of many lengths
			item = item[:len(item)-i%3]
			ours.AddHash(RedisHash(item))
			r.do("PFADD", key, item)
		}

		// Theirs here.
		theirs, err := ParseRedis([]byte(r.do("GET", key)))
		if err != nil {
			t.Fatalf("n=%d: %v", n, err)
		}
		registers := ours.Clone()
		if registers.regs == nil {
			registers.toRegisters()
		}
		if !bytes.Equal(theirs.regs, registers.regs) {
			t.Fatalf("n=%d: the registers differ", n)
		}

		// Ours there: alone, and merged with another set.
		b, err := ours.AppendRedis(nil)
		if err != nil {
			t.Fatal(err)
		}
		r.do("SET", "ours", b)
		if got, want := r.count("ours"), r.count(key); got != want || !near(got, ours.Estimate()) {
			t.Errorf("n=%d: Redis counts %v in ours and %v in its own, we %v", n, got, want, ours.Estimate())
		}
		r.do("DEL", "other", "both")
		for i := range 1000 {
			item := fmt.Append(nil, "another ", i)
			r.do("PFADD", "other", item)
			ours.AddHash(RedisHash(item))
		}
		r.do("PFMERGE", "both", "ours", "other")
		both, err := ParseRedis([]byte(r.do("GET", "both")))
		if err != nil {
			t.Fatal(err)
		}
		again, err := ours.AppendRedis(nil)
		if err != nil {
			t.Fatal(err)
		}
		r.do("SET", "again", again)
		if got, want := r.count("both"), r.count("again"); got != want || !near(got, both.Estimate()) {
			t.Errorf("n=%d: merged there %v, merged here %v", n, got, want)
		}

		// And in the other form, if there are two.
		if b[4] == 1 {
			dense := append(append([]byte{}, b[:redisHead]...), registers.regs[:sketchBytes(14)]...)
			dense[4] = 0
			r.do("SET", "dense", dense)
			if got, want := r.count("dense"), r.count("ours"); got != want {
				t.Errorf("n=%d: dense %v, sparse %v", n, got, want)
			}
		}
	}
}

// Export lowers, refuses, and never loses.
func TestAppendRedis(t *testing.T) {
	rng := newRand(13)
	for _, n := range []int{0, 5, 300, 2000, 20_000} {
		hs := hashesOf(rng, n)
		want, err := sketchOf(14, hs).AppendRedis(nil)
		if err != nil {
			t.Fatal(err)
		}
		high, err := sketchOf(16, hs).AppendRedis([]byte("x"))
		if err != nil || string(high) != "x"+string(want) {
			t.Errorf("n=%d: from precision 16: other bytes (%v)", n, err)
		}
		back, err := ParseRedis(want)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := back.AppendRedis(nil); err != nil || !bytes.Equal(again, want) {
			t.Errorf("n=%d: back and forth: other bytes (%v)", n, err)
		}
		if low := sketchOf(10, hs); low.regs == nil {
			if b, err := low.AppendRedis(nil); err != nil || !bytes.Equal(b, want) {
				t.Errorf("n=%d: from tokens of precision 10: other bytes (%v)", n, err)
			}
		} else if _, err := low.AppendRedis(nil); !errors.Is(err, ErrIncompatible) {
			t.Errorf("n=%d: from registers of precision 10: %v", n, err)
		}
	}
}

// What is no sketch is an error.
func TestParseRedisHostile(t *testing.T) {
	rng := newRand(14)
	plain := make([]uint64, 100) // without the ranks above 32, which the sparse form has not
	for i := range plain {
		plain[i] = rng.Uint64()
	}
	sparse, _ := sketchOf(14, plain).AppendRedis(nil)
	dense, _ := sketchOf(14, hashesOf(rng, 20_000)).AppendRedis(nil)
	if sparse[4] != 1 || dense[4] != 0 {
		t.Fatal("not the forms that are meant")
	}
	for _, b := range [][]byte{sparse, dense} {
		for n := range b {
			if _, err := ParseRedis(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("a prefix of %d of %d: %v", n, len(b), err)
			}
		}
		if _, err := ParseRedis(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("a byte too many: %v", err)
		}
	}
	dense[redisHead] = 0xff // a register of 63
	if _, err := ParseRedis(dense); !errors.Is(err, ErrCorrupt) {
		t.Error("an impossible register passes")
	}
	dense[4] = 2
	if _, err := ParseRedis(dense); !errors.Is(err, ErrCorrupt) {
		t.Error("an unknown form passes")
	}
}

// FuzzParseRedis: bytes are refused, or a sketch that comes back as itself.
func FuzzParseRedis(f *testing.F) {
	rng := newRand(15)
	for _, n := range []int{0, 3, 100} {
		b, _ := sketchOf(14, hashesOf(rng, n)).AppendRedis(nil)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseRedis(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		s.Estimate()
		out, err := s.AppendRedis(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRedis(out)
		if err != nil || !bytes.Equal(again.regs, s.regs) {
			t.Fatalf("comes back as another (%v)", err)
		}
	})
}
