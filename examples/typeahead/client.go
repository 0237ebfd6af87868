package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/trie"
)

// A client is somebody who types. It keeps one connection open, to the node that has the
// partition of what it types, and goes to another node only when that one says so. It is
// not safe for concurrent use.
type client struct {
	front []string // any node: where to begin
	keep  bool     // keeps its connection; otherwise it dials for each key
	conn  net.Conn
	in    *bufio.Reader
	at    string

	dialed, moved, asked int
}

func newClient(front []string, keep bool) *client { return &client{front: front, keep: keep} }

func (c *client) dial(address string) error {
	c.close()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	c.conn, c.in, c.at = conn, bufio.NewReader(conn), address
	c.dialed++
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// An answer is what a node has said, from one state of its.
type answer struct {
	generation int
	list       []trie.Suggestion
}

const mostHops = 8 // where nodes disagree for a moment, one may send back to the other

// ask sends a prefix and waits for the answer.
func (c *client) ask(prefix string) (answer, error) {
	c.asked++
	var last error
	for hop := range mostHops {
		if c.conn == nil {
			at := c.at
			if at == "" || last != nil {
				at = c.front[(c.asked+hop)%len(c.front)]
			}
			if last = c.dial(at); last != nil {
				continue
			}
		}
		a, elsewhere, err := c.once(prefix)
		switch {
		case err != nil:
			c.close()
			last = err
		case elsewhere != "":
			c.moved++
			if last = c.dial(elsewhere); last != nil {
				c.close()
			}
		default:
			if !c.keep {
				c.close()
			}
			return a, nil
		}
	}
	return answer{}, fmt.Errorf("no answer to %q after %d tries: %w", prefix, mostHops, last)
}

func (c *client) once(prefix string) (a answer, elsewhere string, err error) {
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.conn.Write([]byte("?\t" + prefix + "\n")); err != nil {
		return a, "", err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return a, "", err
	}
	f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	if len(f) < 2 || f[0] != "=" && f[0] != ">" {
		return a, "", fmt.Errorf("%s: %q", c.at, line)
	}
	if a.generation, err = strconv.Atoi(f[1]); err != nil {
		return a, "", err
	}
	if f[0] == ">" {
		return a, f[2], nil
	}
	for f = f[2:]; len(f) > 1; f = f[2:] {
		w, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return a, "", err
		}
		a.list = append(a.list, trie.Suggestion{Term: f[0], Weight: w})
	}
	return a, "", nil
}

// search types a phrase until it is suggested among the first few, as people do, and
// returns how many keys that took. Each sees the answer to each key.
func (c *client) search(want string, each func(prefix string, a answer, took time.Duration)) (keys int, err error) {
	for keys = 1; keys <= len(want); keys++ {
		prefix := want[:keys]
		began := time.Now()
		a, err := c.ask(prefix)
		if err != nil {
			return keys, err
		}
		each(prefix, a, time.Since(began))
		for i, s := range a.list {
			if i < seen && s.Term == want {
				return keys, nil
			}
		}
	}
	return len(want), nil
}

// seen is how many suggestions somebody looks at before typing on.
const seen = 5
