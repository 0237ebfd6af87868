package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// A node is a limiter in a process of its own, which all balancers ask. What it knows is
// in its memory. They keep connections and send a line for each question, with fields
// divided by tabs:
//
//	check  key  n                                            →  ok or no, limit, remaining, ns to retry, ns to reset
//	take   key  holder  number  held  back  need  want  ns   →  tokens, tokens left, ns to retry
//	spend  key  holder  number  n, up to the burst           →  ns that the level took to come in
//	policy JSON                                              →  ok: all that was known is forgotten
//	save                                                     →  a snapshot, in hexadecimal digits
//	load   snapshot                                          →  ok
//	stats                                                    →  questions so far
//
// Keys are written as in a URL. An error is a line that begins with "error".
type node struct {
	now func() time.Time

	mu        sync.Mutex
	spec      policySpec
	limiter   *ratelimit.Limiter
	buckets   *buckets
	questions int
}

func newNode(s policySpec, now func() time.Time) (*node, error) {
	n := &node{now: now}
	return n, n.begin(s)
}

// begin forgets everything.
func (n *node) begin(s policySpec) error {
	if s.Count < 1 || s.Period/time.Duration(s.Count) < 1 || s.Burst < 0 || float64(s.Burst)/float64(s.Count)*float64(s.Period) > float64(hundredYears) {
		return fmt.Errorf("a limit of %d in %v, and %d at once", s.Count, s.Period, s.Burst)
	}
	l, err := s.limiter(1, n.now)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spec, n.limiter, n.buckets, n.questions = s, l, newBuckets(s), 0
	return nil
}

// playNode is a node in a process of its own: it starts by printing its address.
func playNode() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n, err := newNode(quota, time.Now)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	endWithParent()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go n.serve(c) // ends with the connection
	}
}

// endWithParent ends this process when its standard input does, which the parent holds
// open.
func endWithParent() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}

// longestLine is how long a question may be: a snapshot of some thousand keys.
const longestLine = 1 << 20

func (n *node) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewScanner(c)
	in.Buffer(nil, longestLine)
	var line []byte
	for in.Scan() {
		var err error
		if line, err = n.answer(line[:0], in.Text()); err != nil {
			line = append(line[:0], "error\t"+strings.ReplaceAll(err.Error(), "\n", " ")...)
		}
		if _, err := c.Write(append(line, '\n')); err != nil {
			return
		}
	}
}

// answer appends the answer to a question.
func (n *node) answer(dst []byte, question string) ([]byte, error) {
	n.mu.Lock()
	limiter, buckets := n.limiter, n.buckets
	n.questions++
	n.mu.Unlock()
	verb, rest, _ := strings.Cut(question, "\t")
	f := fields{list: strings.Split(rest, "\t")}
	switch verb {
	case "check":
		key, count := f.text(), f.number()
		if f.end(); f.err != nil {
			return dst, f.err
		}
		d := limiter.AllowN(key, int(count))
		word := "no"
		if d.OK {
			word = "ok"
		}
		return fmt.Appendf(dst, "%s\t%d\t%d\t%d\t%d", word, d.Limit, d.Remaining, d.RetryAfter, d.ResetAfter), nil
	case "take":
		key, holder, number := f.text(), f.text(), f.number()
		held, back, need, want := f.number(), f.number(), f.number(), f.number()
		keep := f.number()
		if f.end(); f.err != nil {
			return dst, f.err
		}
		g := buckets.take(n.now(), key, holder, uint64(number), int(held), int(back), int(need), int(want), time.Duration(keep))
		return fmt.Appendf(dst, "%d\t%d\t%d", g.tokens, g.level, g.retry), nil
	case "spend":
		key, holder, number, count := f.text(), f.text(), f.number(), f.number()
		if f.end(); f.err != nil {
			return dst, f.err
		}
		if count > int64(buckets.burst) {
			return dst, fmt.Errorf("%d at once, of %d", count, buckets.burst)
		}
		return strconv.AppendInt(dst, int64(buckets.spend(n.now(), key, holder, uint64(number), int(count))), 10), nil
	case "policy":
		var s policySpec
		if err := json.Unmarshal([]byte(rest), &s); err != nil {
			return dst, err
		}
		return append(dst, "ok"...), n.begin(s)
	case "save":
		b, err := limiter.MarshalBinary()
		return fmt.Appendf(dst, "%x", b), err
	case "load":
		var b []byte
		if _, err := fmt.Sscanf(rest, "%x", &b); err != nil {
			return dst, err
		}
		l, err := ratelimit.Restore(b, limiter.Policy(), &ratelimit.Options{Now: n.now})
		if err != nil {
			return dst, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.limiter = l
		return append(dst, "ok"...), nil
	case "stats":
		n.mu.Lock()
		defer n.mu.Unlock()
		return strconv.AppendInt(dst, int64(n.questions-1), 10), nil
	}
	return dst, fmt.Errorf("no such question: %q", verb)
}

// Fields are read one after the other; the first error is kept.
type fields struct {
	list []string
	err  error
}

func (f *fields) next() string {
	if len(f.list) == 0 {
		f.err = errors.Join(f.err, errors.New("a field is missing"))
		return ""
	}
	s := f.list[0]
	f.list = f.list[1:]
	return s
}

func (f *fields) text() string {
	s, err := url.QueryUnescape(f.next())
	if err != nil && f.err == nil {
		f.err = err
	}
	return s
}

const hundredYears = 100 * 365 * 24 * time.Hour

// number is from 0 to what is a hundred years in nanoseconds.
func (f *fields) number() int64 {
	n, err := strconv.ParseInt(f.next(), 10, 64)
	if err == nil && (n < 0 || n > int64(hundredYears)) {
		err = fmt.Errorf("%d is out of range", n)
	}
	if err != nil && f.err == nil {
		f.err = err
	}
	return n
}

// end says that there are no more.
func (f *fields) end() {
	if len(f.list) > 0 && f.err == nil {
		f.err = fmt.Errorf("%d fields too many", len(f.list))
	}
}
