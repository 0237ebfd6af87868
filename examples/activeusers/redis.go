package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/ashlar-go/ashlar/hll"
)

// A client for what is needed of Redis: a command goes out as an array of strings,
// and a string, a number or an error comes back.
type redis struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialRedis(addr string) (*redis, error) {
	conn, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
	if err != nil {
		return nil, err
	}
	return newRedis(conn), conn.SetDeadline(time.Now().Add(10 * time.Second))
}

func newRedis(conn net.Conn) *redis { return &redis{conn, bufio.NewReader(conn)} }

func (r *redis) do(args ...string) (string, error) {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := r.conn.Write(b); err != nil {
		return "", err
	}
	line, err := r.in.ReadString('\n')
	if err != nil || len(line) < 3 {
		return "", errors.Join(err, errors.New("no answer of Redis"))
	}
	text := line[1 : len(line)-2]
	switch line[0] {
	case '+', ':':
		return text, nil
	case '$':
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 1<<20 {
			return "", errors.Join(err, errors.New("no such key"))
		}
		body := make([]byte, n+2)
		_, err = io.ReadFull(r.in, body)
		return string(body[:n]), err
	}
	return "", errors.New("redis: " + text)
}

func (r *redis) number(args ...string) (int, error) {
	text, err := r.do(args...)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// An exported is what a Redis server says of our sketches.
type exported struct {
	bytes            int
	count            [2]int // PFCOUNT of two hours
	merged           int    // PFCOUNT of the two, merged by PFMERGE
	knows, learns    int    // PFADD of users who were there, and of as many who were not
	back             float64
	ours, oursMerged float64
}

// export gives the sketches of two hours to a server, asks it for both and for their
// union, and reads that back. The keys are removed.
func export(r *redis, a, b *hll.Sketch, present []uint32, absent []uint32) (e exported, err error) {
	prefix := fmt.Sprintf("ashlar:activeusers:%d:", os.Getpid())
	keys := []string{prefix + "a", prefix + "b", prefix + "union"}
	defer func() {
		_, gone := r.do("DEL", keys[0], keys[1], keys[2])
		err = errors.Join(err, gone)
	}()
	for i, s := range []*hll.Sketch{a, b} {
		image, err := s.AppendRedis(nil)
		if err != nil {
			return e, err
		}
		e.bytes += len(image)
		if _, err := r.do("SET", keys[i], string(image), "EX", "60"); err != nil {
			return e, err
		}
		if e.count[i], err = r.number("PFCOUNT", keys[i]); err != nil {
			return e, err
		}
	}
	if _, err := r.do("PFMERGE", keys[2], keys[0], keys[1]); err != nil {
		return e, err
	}
	if e.merged, err = r.number("PFCOUNT", keys[2]); err != nil {
		return e, err
	}
	image, err := r.do("GET", keys[2])
	if err != nil {
		return e, err
	}
	back, err := hll.ParseRedis([]byte(image))
	if err != nil {
		return e, err
	}
	union := a.Clone()
	union.Merge(b)
	e.ours, e.oursMerged, e.back = a.Estimate(), union.Estimate(), back.Estimate()
	// Users that were counted here change nothing there: both sides hash alike.
	add := func(user uint32) (int, error) {
		return r.number("PFADD", keys[0], strconv.FormatUint(uint64(user), 10))
	}
	for _, u := range present {
		n, err := add(u)
		if err != nil {
			return e, err
		}
		e.knows += 1 - n
	}
	for _, u := range absent {
		n, err := add(u)
		if err != nil {
			return e, err
		}
		e.learns += n
	}
	return e, nil
}
